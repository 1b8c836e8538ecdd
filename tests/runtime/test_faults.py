"""Faults: whatever goes wrong on the disk, in a build or in a call, the result is right or the error clear."""

from __future__ import annotations

import gc
import json
import logging
from pathlib import Path
from typing import Any, Callable, Dict, List, Tuple

import numpy as np
import pytest

from relay_trt.runtime import cuda
from relay_trt.runtime.builders import ConversionError
from relay_trt.runtime.builders.tensorrt import TensorRTBuilder
from relay_trt.runtime.cache import PlanCache
from relay_trt.runtime.engines import BuildRequest, EngineError, choose_engine, tensorrt_build
from relay_trt.runtime.engines.onnxruntime import OnnxRuntimeEngine
from relay_trt.runtime.engines.tensorrt_context import ExecutionContext
from relay_trt.runtime.plan_key import PlanKey
from relay_trt.runtime.settings import Settings
from relay_trt.runtime.subgraph import Subgraph

from ..support import random
from .support import Network, call, relu
from .test_cache import give_away, read_only

X = random((2, 7), seed=9)

only_tensorrt = pytest.mark.parametrize("engine", [pytest.param("tensorrt", marks=pytest.mark.gpu)], indirect=True)


@pytest.fixture
def cache(engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PlanCache:
    """The cache that subgraphs use; in it are the plans of `dense` and of another model, whose symbol is the same."""
    monkeypatch.setenv("TVM_TENSORRT_CACHE_DIR", str(tmp_path / "cache"))
    assert_right(dense())
    call(relu(3, 4), random((3, 4)))
    opened = PlanCache.open(str(tmp_path / "cache"), 0)
    assert opened is not None
    assert len(plans(opened)) == 2
    return opened


def dense(seed: int = 0) -> Subgraph:
    """A dense layer, as it is in each process that loads its library."""
    net = Network()
    weight = net.constant(random((5, 7), seed=seed))
    return net.subgraph(net.kernel("nn.dense", net.input(2, 7), weight, shape=(2, 5)))


def assert_right(subgraph: Subgraph, seed: int = 0) -> None:
    np.testing.assert_allclose(call(subgraph, X)[0], X @ random((5, 7), seed=seed).T, rtol=1e-5, atol=1e-5)


def assert_other_model_is_there(builds: List[BuildRequest]) -> None:
    before = len(builds)
    x = random((3, 4), seed=1)
    np.testing.assert_array_equal(call(relu(3, 4), x)[0], np.maximum(x, 0))
    assert len(builds) == before


def plans(cache: PlanCache) -> Dict[str, Any]:
    """The facts of the plans in the cache, by the names of their entries."""
    return {entry.name: entry.facts for entry in cache.entries() if entry.kind == "plan"}


def files_of(cache: PlanCache, subgraph: Subgraph) -> Tuple[Path, Path]:
    """The manifest and the plan of a subgraph."""
    digest = subgraph.graph.digest(subgraph._constants)
    (name,) = [name for name, facts in plans(cache).items() if facts["graph"] == digest]
    (plan,) = cache.directory.glob(f"{name}-*.plan")
    return cache.directory / f"{name}.json", plan


def warnings(log: pytest.LogCaptureFixture) -> List[str]:
    """Those of relay_trt itself, without TensorRT's own."""
    texts = [record.getMessage() for record in log.records if record.levelno == logging.WARNING]
    return [text for text in texts if text.startswith(("tested: ", "the plan"))]


# On the disk


def truncated(manifest: Path, plan: Path) -> None:
    plan.write_bytes(plan.read_bytes()[:-100])


def one_flipped_bit(manifest: Path, plan: Path) -> None:
    data = bytearray(plan.read_bytes())
    data[len(data) // 2] ^= 1
    plan.write_bytes(data)


def empty(manifest: Path, plan: Path) -> None:
    plan.write_bytes(b"")


def without_plan(manifest: Path, plan: Path) -> None:
    plan.unlink()


def empty_manifest(manifest: Path, plan: Path) -> None:
    manifest.write_bytes(b"")


def manifest_of_another_gpu(manifest: Path, plan: Path) -> None:
    """As where somebody copied a plan to where it does not belong."""
    fields = json.loads(manifest.read_text())
    fields["facts"]["gpu"] = "another"
    manifest.write_text(json.dumps(fields))


def writable_by_all(manifest: Path, plan: Path) -> None:
    plan.chmod(0o666)


DAMAGES: List[Tuple[Callable[[Path, Path], None], str]] = [
    (truncated, "were written; the entry is deleted"),
    (one_flipped_bit, "has another checksum than what was written; the entry is deleted"),
    (empty, "has 0 bytes, and"),
    (without_plan, "which does not exist; the entry is deleted"),
    (empty_manifest, "is no manifest: "),
    (manifest_of_another_gpu, "is no manifest: its digest is "),
    (writable_by_all, "may be written by others (mode 666); the entry is deleted"),
]


@pytest.mark.parametrize(("damage", "message"), DAMAGES, ids=[damage.__name__ for damage, _ in DAMAGES])
def test_a_damaged_entry(
    damage: Callable[[Path, Path], None],
    message: str,
    cache: PlanCache,
    builds: List[BuildRequest],
    log: pytest.LogCaptureFixture,
) -> None:
    """It is said, the engine is built once more, and the entry is good again; other models' are as they were."""
    damage(*files_of(cache, dense()))
    log.clear()
    assert_right(dense())
    assert len(builds) == 1
    (warning,) = warnings(log)
    assert warning.startswith(f"the plan cache {cache.directory} is damaged: tested-") and message in warning
    assert_healed(cache, builds)


def test_a_plan_without_its_manifest(cache: PlanCache, builds: List[BuildRequest], log: Any) -> None:
    """As a writer leaves it that is killed between the two."""
    manifest, _ = files_of(cache, dense())
    manifest.unlink()
    log.clear()
    assert_right(dense())
    assert len(builds) == 1 and not warnings(log)
    assert_healed(cache, builds)


def assert_healed(cache: PlanCache, builds: List[BuildRequest]) -> None:
    before = len(builds)
    assert_right(dense())
    assert_other_model_is_there(builds)
    assert len(builds) == before
    assert len(plans(cache)) == 2
    assert not cache.verify()


def garbage(plan: bytes) -> bytes:
    return random((1000,)).tobytes()


def half_of_it(plan: bytes) -> bytes:
    return plan[: len(plan) // 2]


def check_forgery(forge: Callable[[bytes], bytes], cache: PlanCache, builds: List[BuildRequest], log: Any) -> None:
    manifest, plan = files_of(cache, dense())
    fields = json.loads(manifest.read_text())
    cache.store(PlanKey(fields["symbol"], fields["facts"]), forge(plan.read_bytes()))
    log.clear()
    assert_right(dense())
    assert len(builds) == 1
    (warning,) = warnings(log)
    assert warning.startswith("tested: the plan tested-")
    assert f" in the cache {cache.directory} is deleted: tested: " in warning
    assert_healed(cache, builds)


def test_garbage_that_its_checksum_vouches_for(
    cache: PlanCache, builds: List[BuildRequest], log: pytest.LogCaptureFixture
) -> None:
    """Under the right key, but nothing that the engine can read: it is said, and the plan is replaced."""
    check_forgery(garbage, cache, builds, log)


@only_tensorrt
def test_half_a_plan_that_its_checksum_vouches_for(
    cache: PlanCache, builds: List[BuildRequest], log: pytest.LogCaptureFixture
) -> None:
    check_forgery(half_of_it, cache, builds, log)


# What is another's


@pytest.mark.parametrize("fact", ["version", "gpu"])
def test_a_plan_for_another_machine_is_not_found(
    fact: str,
    engine: str,
    cache: PlanCache,
    builds: List[BuildRequest],
    log: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Both kinds of machine share one directory, and each has its own."""
    name = engine if fact == "version" else fact  # the fact with the engine's version bears the engine's name
    kind = choose_engine(Settings.from_environment())
    facts = kind.facts
    with monkeypatch.context() as patch:
        patch.setattr(kind, "facts", lambda request: {**facts(request), name: "another"})
        assert_right(dense(1), 1)
    assert len(builds) == 1
    log.clear()
    assert_right(dense(1), 1)
    assert len(builds) == 2
    assert f"no plan in the cache {cache.directory}; of the nearest there, " in log.text
    assert not warnings(log)
    assert len(plans(cache)) == 4
    assert_healed_all(cache, builds)


def assert_healed_all(cache: PlanCache, builds: List[BuildRequest]) -> None:
    before = len(builds)
    assert_right(dense(1), 1)
    assert_right(dense())
    assert_other_model_is_there(builds)
    assert len(builds) == before
    assert not cache.verify()


def test_other_weights_in_the_same_graph(cache: PlanCache, builds: List[BuildRequest]) -> None:
    """A model that was trained on has plans of its own, beside the old one's."""
    assert_right(dense(1), 1)
    assert len(builds) == 1
    assert len(plans(cache)) == 3
    assert_healed_all(cache, builds)


# Directories


@pytest.mark.parametrize("spoil", [give_away, lambda path, _: path.chmod(0o777)], ids=["another's", "open to all"])
def test_a_directory_that_is_not_trusted(
    spoil: Callable[[Path, pytest.MonkeyPatch], None],
    cache: PlanCache,
    builds: List[BuildRequest],
    log: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is neither read nor written, every process builds, and one line says why."""
    before = sorted(cache.directory.iterdir())
    spoil(cache.directory, monkeypatch)
    log.clear()
    for number in (1, 2):
        assert_right(dense())
        assert len(builds) == number
    (warning,) = warnings(log)
    assert warning.startswith(f"the plan cache {cache.directory} is not used: it ")
    assert sorted(cache.directory.iterdir()) == before


def test_a_read_only_directory(cache: PlanCache, builds: List[BuildRequest], log: pytest.LogCaptureFixture) -> None:
    log.clear()
    with read_only(cache.directory):
        assert_right(dense())
        assert not builds and not warnings(log)  # as with one that can be written
        for number in (1, 2):
            assert_right(dense(1), 1)
            assert len(builds) == number
    (warning,) = warnings(log)
    assert warning.startswith(f"the plan cache {cache.directory} fails: ")
    assert_healed(cache, builds)


def test_a_damaged_entry_in_a_read_only_directory(
    cache: PlanCache, builds: List[BuildRequest], log: pytest.LogCaptureFixture
) -> None:
    one_flipped_bit(*files_of(cache, dense()))
    with read_only(cache.directory):
        for number in (1, 2):
            assert_right(dense())
            assert len(builds) == number
    assert any("has another checksum than what was written" in warning for warning in warnings(log))
    assert_right(dense())
    assert_healed(cache, builds)


# Builds


def test_a_graph_that_cannot_be_built(cache: PlanCache, builds: List[BuildRequest]) -> None:
    net = Network()
    subgraph = net.subgraph(net.kernel("nn.unheard_of", net.input(2), shape=(2,)))
    for number in (1, 2):
        with pytest.raises(ConversionError, match="tested: operator 'nn.unheard_of' has no converter"):
            call(subgraph, random((2,)))
        assert len(builds) == number  # tried again: an import may have brought the converter
    assert_healed(cache, builds)


@only_tensorrt
def test_a_build_that_tensorrt_gives_up(
    cache: PlanCache, builds: List[BuildRequest], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Failing:
        """TensorRT's builder, but what it builds is nothing."""

        def __init__(self, builder: Any) -> None:
            self._builder = builder

        def __getattr__(self, name: str) -> Any:
            return getattr(self._builder, name)

        def build_serialized_network(self, network: Any, config: Any) -> None:
            return None

    def failing_builder(**options: Any) -> TensorRTBuilder:
        net = TensorRTBuilder(**options)
        net.builder = Failing(net.builder)
        return net

    subgraph = dense(1)
    with monkeypatch.context() as patch:
        patch.setattr(tensorrt_build, "TensorRTBuilder", failing_builder)
        for _ in range(2):
            with pytest.raises(EngineError, match="tested: TensorRT cannot build the engine; the log says why"):
                call(subgraph, X)
    assert len(plans(cache)) == 2
    assert_right(subgraph, 1)
    assert len(builds) == 3
    assert len(plans(cache)) == 3
    assert_healed_all(cache, builds)


def fill_device(leave: int) -> List[cuda.DeviceBuffer]:
    """Device memory that is taken, until no more than ``leave`` bytes and a little are left."""
    buffers: List[cuda.DeviceBuffer] = []
    piece = 1 << 40
    while piece >= 1 << 20:
        try:
            while cuda.call("cudaMemGetInfo") >= leave + piece:  # the free bytes
                buffers.append(cuda.DeviceBuffer(piece))
        except cuda.CudaError:
            pass  # so much, but not in one piece
        piece //= 2
    return buffers


@only_tensorrt
@pytest.mark.parametrize("is_cached", [False, True], ids=["to build", "to load"])
def test_out_of_device_memory(is_cached: bool, cache: PlanCache, builds: List[BuildRequest]) -> None:
    """An error, and no more: once there is memory, the same subgraph works, and a good plan is still there."""
    size = 8192  # 256 MiB of weights
    net, weight = Network(), random((size, size))
    product = net.kernel("nn.dense", net.input(1, size), net.constant(weight), shape=(1, size))
    graph, x = net.graph(product), random((1, size), seed=1)
    if is_cached:
        call(Subgraph(graph, net.constants), x)
        gc.collect()
    before = plans(cache)
    subgraph = Subgraph(graph, net.constants)
    taken = fill_device(leave=128 << 20)
    try:
        with pytest.raises((EngineError, cuda.CudaError)):
            call(subgraph, x)
    finally:
        del taken
    assert plans(cache) == before
    builds.clear()
    (got,) = call(subgraph, x)
    assert len(builds) == (0 if is_cached else 1)
    want = x.astype("float64") @ weight.T.astype("float64")
    assert np.abs(got - want).max() < 1e-4 * np.abs(want).max()
    assert_other_model_is_there(builds)


# Calls


def test_a_call_that_fails(
    engine: str, cache: PlanCache, builds: List[BuildRequest], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next one works, with the same engine."""

    def fail(*_: object) -> None:
        raise EngineError("the engine reports an error")

    subgraph = dense()
    where: Tuple[Any, str] = (OnnxRuntimeEngine, "_run")
    if engine == "tensorrt":
        where = (ExecutionContext, "execute")
    for _ in range(2):
        with monkeypatch.context() as patch:
            patch.setattr(*where, fail)
            with pytest.raises(EngineError, match="the engine reports an error"):
                call(subgraph, X)
        assert_right(subgraph)
    assert not builds
    assert_healed(cache, builds)


def test_an_error_of_onnx_runtime_s_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """An index that is out of bounds; TensorRT reads a zero there."""
    monkeypatch.setenv("TVM_TENSORRT_ENGINE", "onnxruntime")
    net = Network()
    indices = net.input(1, 2, dtype="int32")
    subgraph = net.subgraph(net.kernel("gather_nd", net.input(5), indices, shape=(2,), batch_dims=0, index_rank=None))
    x = random((5,))
    for index in (1, 99, 2):
        if index == 99:
            with pytest.raises(EngineError, match="ONNX Runtime failed to run the network: .*invalid index"):
                call(subgraph, np.int32([[0, index]]), x)
        else:
            np.testing.assert_array_equal(call(subgraph, np.int32([[0, index]]), x)[0], x[[0, index]])


# Variables

MALFORMED = {
    "TVM_TENSORRT_ENGINE": "cuda",
    "TVM_TENSORRT_USE_FP16": "yes",
    "TVM_TENSORRT_STRONG_TYPES": "2",
    "TVM_TENSORRT_USE_INT8": "1",  # without TENSORRT_NUM_CALI_INT8
    "TENSORRT_NUM_CALI_INT8": "0",
    "TVM_TENSORRT_USE_TF32": "on",
    "TVM_TENSORRT_MAX_WORKSPACE_SIZE": "1G",
    "TVM_TENSORRT_BUILDER_LEVEL": "6",
    "TVM_TENSORRT_MULTI_ENGINE": "-1",
    "TVM_TENSORRT_MAX_ENGINES": "0",
    "TVM_TENSORRT_CACHE_SIZE": "-1",
    "TVM_TENSORRT_STRICT": "perhaps",
    "TVM_TENSORRT_LOG_LEVEL": "verbose",
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_variable(
    name: str, cache: PlanCache, builds: List[BuildRequest], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names it, and the same subgraph works when it is mended."""
    subgraph = dense()
    with monkeypatch.context() as patch:
        patch.setenv(name, MALFORMED[name])
        with pytest.raises(ValueError, match=f"^{name} is "):
            call(subgraph, X)
    assert_right(subgraph)
    assert not builds
