"""What TensorRT builds: precision, kernel timings, tactics."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any, Dict, List, Tuple

import numpy as np
import pytest
import tvm
from tvm import relay
from tvm.contrib.graph_executor import GraphModule

import relay_trt
from relay_trt.runtime.engines import EngineError
from relay_trt.runtime.engines.tensorrt import _uses_float16
from relay_trt.runtime.subgraph import Subgraph
from relay_trt.runtime.tensorrt_library import load_tensorrt

from ...support import assert_close, compile_library, module, random, run_graph, run_tvm
from ..support import CPU, GPU, LONG_SUMS, Network, call, dense, relu

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("exact_and_quick")]


def product(size: int, **options: Any) -> Tuple[Subgraph, np.ndarray, np.ndarray]:
    """A product of large matrices: its subgraph, its input and its value."""
    subgraph, weight = dense(size, size, size, **options)
    x = random((size, size), seed=1)
    return subgraph, x, x.astype("float64") @ weight.T.astype("float64")


def error(subgraph: Subgraph, x: np.ndarray, want: np.ndarray) -> float:
    """How far the output is off, in the scale of its values."""
    (got,) = call(subgraph, x, devices=[GPU])
    return float(np.abs(got - want).max() / np.abs(want).max())


def test_tf32(monkeypatch: pytest.MonkeyPatch) -> None:
    # TensorRT itself chooses the fastest kernel: only a full search of a large product surely ends with TF32.
    monkeypatch.setenv("TVM_TENSORRT_BUILDER_LEVEL", "3")
    errors: Dict[str, float] = {}
    for switch in ("0", "1"):
        monkeypatch.setenv("TVM_TENSORRT_USE_TF32", switch)
        errors[switch] = error(*product(2048))
    assert errors["0"] < 1e-5
    assert 1e-5 < errors["1"] < 1e-2


@pytest.mark.parametrize(
    ("option", "variable", "half"), [(True, None, True), (False, "1", True), (True, "0", False), (False, None, False)]
)
def test_fp16(option: bool, variable: Any, half: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if half and not hasattr(load_tensorrt().BuilderFlag, "FP16"):
        pytest.skip("this TensorRT takes float16 only from the network's own types")
    monkeypatch.setenv("TVM_TENSORRT_BUILDER_LEVEL", "3")
    if variable is not None:
        monkeypatch.setenv("TVM_TENSORRT_USE_FP16", variable)
    off = error(*product(1024, use_fp16=option))
    assert (1e-5 < off < 1e-2) if half else off < 1e-5


def test_fp16_by_types(monkeypatch: pytest.MonkeyPatch) -> None:
    """What TensorRT 11 has in place of the flag: here as the network's own types."""
    monkeypatch.setenv("TVM_TENSORRT_BUILDER_LEVEL", "3")
    monkeypatch.setenv("TVM_TENSORRT_STRONG_TYPES", "1")
    subgraph, x, want = product(1024, use_fp16=True)
    assert 1e-5 < error(subgraph, x, want) < 1e-2
    assert any(map(_uses_float16, subgraph.information()))
    assert error(*product(1024)) < 1e-5  # of float16 nobody spoke


def test_float16_is_verified(monkeypatch: pytest.MonkeyPatch, log: pytest.LogCaptureFixture) -> None:
    """A network in which TensorRT may not use float16 at all stands for one in which it does not want to."""
    x = random((4, 64), low=1, high=2)
    net = Network()
    mean = net.kernel("mean", net.input(4, 64), shape=(4,), axis=[1], keepdims=False, exclude=False)
    subgraph = net.subgraph(mean, use_fp16=True)
    np.testing.assert_allclose(call(subgraph, x)[0], x.mean(axis=1), rtol=1e-5)
    assert "tested: float16 was asked for, and TensorRT chose float32 for every layer" in log.text
    monkeypatch.setenv("TVM_TENSORRT_STRICT", "1")
    with pytest.raises(EngineError, match="TensorRT chose float32 for every layer, which TVM_TENSORRT_STRICT forbids"):
        call(net.subgraph(mean, use_fp16=True), x)


def test_of_layers_that_were_made_one_nothing_is_known(
    monkeypatch: pytest.MonkeyPatch, log: pytest.LogCaptureFixture
) -> None:
    """They may well compute in float16, although what they read and write is float32."""
    monkeypatch.setenv("TVM_TENSORRT_STRICT", "1")
    net, table = Network(), random((10, 3))
    indices = net.kernel("cast", net.input(2), shape=(2,), dtype="int32")
    taken = net.kernel("take", net.constant(table), indices, shape=(2, 3), axis=0, mode="clip", batch_dims=0)
    subgraph = net.subgraph(taken, use_fp16=True)
    np.testing.assert_allclose(call(subgraph, np.float32([7, 3]))[0], table[[7, 3]], rtol=1e-3, atol=1e-3)
    assert "ForeignNode[" in str(subgraph.information())
    assert "chose float32" not in log.text


def test_float16_is_counted(monkeypatch: pytest.MonkeyPatch, log: pytest.LogCaptureFixture) -> None:
    monkeypatch.setenv("TVM_TENSORRT_BUILDER_LEVEL", "3")
    monkeypatch.setenv("TVM_TENSORRT_STRICT", "1")
    subgraph, x, want = product(1024, use_fp16=True)
    assert error(subgraph, x, want) < 1e-2
    assert re.search(r"tested: [1-9]\d* of \d+ layers read or write float16", log.text)


def test_plans_are_smaller_in_float16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TVM_TENSORRT_BUILDER_LEVEL", "3")
    sizes = []
    for half in (False, True):
        subgraph, x, _ = product(1024, use_fp16=half)
        call(subgraph, x)
        sizes.append(len(bytes(subgraph.compiled_plan().plan)))
    assert sizes[1] < 0.7 * sizes[0]  # the weights are nearly all of it


def test_float16_tensors() -> None:
    net = Network()
    x = net.input(2, 8, dtype="float16")
    weight = net.constant(random((4, 8), "float16"))
    subgraph = net.subgraph(net.kernel("nn.dense", x, weight, shape=(2, 4), dtype="float16"))
    value = random((2, 8), "float16", seed=1)
    want = value.astype("float32") @ random((4, 8), "float16").astype("float32").T
    (got,) = call(subgraph, value, devices=[GPU])
    assert got.dtype == np.float16
    np.testing.assert_allclose(got, want, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("op", LONG_SUMS)
def test_long_sums_in_float16(op: str, dtype: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Allowed to compute in float16, TensorRT still does not overflow; nor where the tensors are float16."""
    monkeypatch.setenv("TVM_TENSORRT_BUILDER_LEVEL", "3")

    def body(dtype: str) -> tvm.IRModule:
        x = relay.var("x", shape=(8, 4096), dtype=dtype)
        one, zero = (relay.const(np.full(4096, value, dtype)) for value in (1, 0))
        return module(relay.Function([x], LONG_SUMS[op](relay.nn.relu(x), one, zero)))

    value = random((8, 4096), "float16", low=100, high=300)
    partitioned, _ = relay_trt.partition_for_tensorrt(body(dtype), use_fp16=True, use_implicit_batch=False)
    assert relay_trt.partition_report(partitioned).refused == 0
    library = compile_library(partitioned, tmp_path / "library.so")
    got = run_graph(GraphModule(tvm.runtime.load_module(str(library))["default"](CPU)), {"x": value.astype(dtype)})
    want = run_tvm(body("float32"), {"x": value.astype("float32")})
    assert_close([output.astype("float32") for output in got], want, rtol=2e-3, atol=2e-3)


def test_an_index_is_not_that_of_a_near_equal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rounded to float16, the largest elements would be equal, and the first of them would win."""
    monkeypatch.setenv("TVM_TENSORRT_BUILDER_LEVEL", "3")
    x = relay.var("x", shape=(4, 512))
    mod = module(relay.Function([x], relay.argmax(relay.nn.relu(x), axis=1)))
    value = np.random.default_rng(0).permuted(1 + np.tile(np.arange(512, dtype="float32"), (4, 1)) / (1 << 14), axis=1)
    partitioned, _ = relay_trt.partition_for_tensorrt(mod, use_fp16=True)
    assert relay_trt.partition_report(partitioned).refused == 0
    library = compile_library(partitioned, tmp_path / "library.so")
    (got,) = run_graph(GraphModule(tvm.runtime.load_module(str(library))["default"](CPU)), {"x": value})
    np.testing.assert_array_equal(got, value.argmax(axis=1))


def layers(seed: int) -> Subgraph:
    """A network of layers that are the same for every seed, but for their weights."""
    net = Network()
    x = net.input(8, 512)
    for layer in range(3):
        weight = net.constant(random((512, 512), seed=10 * seed + layer))
        x = net.kernel("nn.dense", x, weight, shape=(8, 512))
        x = net.kernel("nn.relu", x, shape=(8, 512))
    return net.subgraph(x)


def check_that_nothing_new_was_measured(sizes: List[int]) -> None:
    """Of a timing cache after the first network and after the second."""
    first, second = sizes
    if (relay_trt.get_tensorrt_version() or (0, 0, 0)) < (8, 6, 0):
        first = min(second, 5 * first // 4)  # 8.5 calls some of its own entries invalid, and measures these again
    assert first == second > 100


def test_a_warm_timing_cache_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another network with the same layers finds what the first measured."""
    monkeypatch.setenv("TVM_TENSORRT_BUILDER_LEVEL", "3")
    monkeypatch.setenv("TVM_TENSORRT_CACHE_DIR", str(tmp_path / "cache"))
    seconds, records = [], []
    for seed in range(2):
        started = time.monotonic()
        call(layers(seed), random((8, 512)))
        seconds.append(time.monotonic() - started)
        (record,) = (tmp_path / "cache").glob("timing_*.record")
        records.append(record.stat().st_size)
    check_that_nothing_new_was_measured(records)
    assert len(list((tmp_path / "cache").glob("*.plan"))) == 2
    print("cold and warm:", seconds)


def test_without_a_directory_a_process_keeps_its_timings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TVM_TENSORRT_BUILDER_LEVEL", "3")
    monkeypatch.setattr("relay_trt.runtime.engines.tensorrt_build._measured", measured := {})  # type: ignore[var-annotated]
    sizes = []
    for seed in range(2):
        call(layers(seed), random((8, 512)))
        (timings,) = measured.values()
        sizes.append(len(timings))
    check_that_nothing_new_was_measured(sizes)


def test_tactic_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TVM_TENSORRT_TACTIC_SOURCES", "EDGE_MASK_CONVOLUTIONS, JIT_CONVOLUTIONS")
    call(relu(2, 3), random((2, 3)))
    monkeypatch.setenv("TVM_TENSORRT_TACTIC_SOURCES", "CUDNN,CUFFT")
    with pytest.raises(ValueError, match="TACTIC_SOURCES has CUFFT; this TensorRT has .*EDGE_MASK_CONVOLUTIONS"):
        call(relu(2, 3), random((2, 3)))
