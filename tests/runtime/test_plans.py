"""Where an engine comes from: what is asked first, what is said, and what a plan's key depends on."""

from __future__ import annotations

import dataclasses
import logging
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, Callable, Dict, List, Tuple

import numpy as np
import pytest
import tvm

import relay_trt
from relay_trt.graph import Profile
from relay_trt.runtime.cache import PlanCache
from relay_trt.runtime.calibration import Calibration
from relay_trt.runtime.engines import BuildRequest, Engine, EngineError, choose_engine
from relay_trt.runtime.plan_key import PlanKey
from relay_trt.runtime.plans import CompiledPlan, obtain, open_cache, plan_key
from relay_trt.runtime.settings import Settings

from ..support import random
from .support import Network, view

X = random((2, 7), seed=9)


@pytest.fixture
def kind(engine: str) -> Any:
    """The class of the engine."""
    return choose_engine(Settings.from_environment())


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PlanCache:
    monkeypatch.setenv("TVM_TENSORRT_CACHE_DIR", str(tmp_path / "cache"))
    opened = open_cache(Settings.from_environment())
    assert opened is not None
    return opened


def dense(symbol: str = "tested", seed: int = 0, batch: int = 2, **options: Any) -> BuildRequest:
    """What a dense layer of 7 channels and 5 units is built from, for a batch of 2."""
    net = Network()
    product = net.kernel("nn.dense", net.input(batch, 7), net.constant(random((5, 7), seed=seed)), shape=(batch, 5))
    graph = dataclasses.replace(net.graph(product, **options), symbol=symbol)
    profile = Profile((1 if batch < 0 else 2, 7), (2, 7), (2, 7))
    return BuildRequest(graph, net.constants, Settings.from_environment(), (profile,))


def cached(request: BuildRequest, cache: PlanCache) -> BuildRequest:
    return dataclasses.replace(request, cache=cache)


def assert_computes(engine: Engine, seed: int = 0) -> None:
    x, y = tvm.nd.array(X), tvm.nd.array(np.full((2, 5), 77, "float32"))
    engine.run([view(x)], [view(y)])
    np.testing.assert_allclose(y.numpy(), X @ random((5, 7), seed=seed).T, rtol=1e-5, atol=1e-5)


def said(log: pytest.LogCaptureFixture, level: int = logging.WARNING) -> List[str]:
    """What was logged at this level by relay_trt itself, and not by TensorRT: what names a subgraph."""
    records = [record for record in log.records if record.levelno == level]
    return [record.getMessage() for record in records if record.getMessage().startswith("tested: ")]


def as_compiled(kind: Any, request: BuildRequest, **facts: Any) -> CompiledPlan:
    """An engine as it travels in a library, with some of its facts changed."""
    return CompiledPlan({**plan_key(kind, request).facts, **facts}, kind.build(request).serialize())


# What is asked first


def test_without_a_cache_it_is_built_each_time(kind: Any, builds: List[Any], log: pytest.LogCaptureFixture) -> None:
    for number in (1, 2):
        assert_computes(obtain(kind, dense()))
        assert len(builds) == number
    assert open_cache(Settings.from_environment()) is None
    assert not [line for line in said(log, logging.INFO) if "cache" in line]


def test_the_cache_comes_before_a_build(
    kind: Any, cache: PlanCache, builds: List[Any], log: pytest.LogCaptureFixture
) -> None:
    request = cached(dense(), cache)
    assert_computes(obtain(kind, request))
    assert log.text.count(f"tested: no plan in the cache {cache.directory}") == 1
    assert "tested: stored a plan of " in log.text
    log.clear()
    assert_computes(obtain(kind, request))
    assert len(builds) == 1
    (line,) = said(log, logging.INFO)
    assert line.startswith("tested: a plan of ") and f"bytes from the cache {cache.directory} in " in line


def test_the_library_comes_before_the_cache(
    kind: Any, cache: PlanCache, builds: List[Any], log: pytest.LogCaptureFixture
) -> None:
    compiled = as_compiled(kind, dense())
    obtain(kind, cached(dense(), cache))
    builds.clear()
    log.clear()
    assert_computes(obtain(kind, cached(dense(), cache), [compiled]))
    assert not builds and not said(log) and not said(log, logging.INFO)


def test_of_several_in_the_library_the_one_that_fits_is_taken(
    kind: Any, builds: List[Any], log: pytest.LogCaptureFixture
) -> None:
    others = [as_compiled(kind, dense(seed=1)), as_compiled(kind, dense(), gpu="another")]
    compiled = as_compiled(kind, dense())
    builds.clear()
    assert_computes(obtain(kind, dense(), [*others, compiled]))
    assert not builds and not said(log)


def test_one_in_the_library_that_does_not_fit(
    kind: Any, cache: PlanCache, builds: List[Any], log: pytest.LogCaptureFixture
) -> None:
    """What differs is named, of the nearest; then the cache has its turn, and a build is the last."""
    far = as_compiled(kind, dense(), gpu="another", engine="none", driver="none")
    near = as_compiled(kind, dense(), use_fp16=True)
    builds.clear()
    for number in (1, 2):
        log.clear()
        assert_computes(obtain(kind, cached(dense(), cache), [far, near]))
        assert said(log) == ["tested: none of the engines in the library fits: use_fp16 is True, not False"]
        assert len(builds) == 1
        assert ("from the cache" in log.text) == (number == 2)


def test_one_in_the_library_that_cannot_be_read(kind: Any, builds: List[Any], log: pytest.LogCaptureFixture) -> None:
    compiled = CompiledPlan(plan_key(kind, dense()).facts, np.frombuffer(b"no plan at all", "uint8"))
    assert_computes(obtain(kind, dense(), [compiled]))
    assert len(builds) == 1
    unusable, none_fits = said(log)
    assert unusable.startswith("tested: the engine in the library is of no use: tested: ")
    assert none_fits == "tested: none of the engines in the library fits: it is damaged"


# Plans that their checksums vouch for, and that are of no use all the same


def test_a_cached_plan_that_cannot_be_read_is_replaced(
    kind: Any, cache: PlanCache, builds: List[Any], log: pytest.LogCaptureFixture
) -> None:
    request, other = cached(dense(), cache), cached(dense("other"), cache)
    obtain(kind, other)
    cache.store(plan_key(kind, request), b"no plan at all")
    builds.clear()
    log.clear()
    assert_computes(obtain(kind, request))
    assert len(builds) == 1
    (line,) = said(log)
    assert f"in the cache {cache.directory} is deleted: tested: " in line
    for again in (request, other):
        assert_computes(obtain(kind, again))
    assert len(builds) == 1


def test_it_stays_where_it_cannot_be_built_either(
    kind: Any, cache: PlanCache, builds: List[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without memory, neither loads nor builds succeed, and it is not the plan's fault."""
    request = cached(dense(), cache)
    obtain(kind, request)

    def fail(*_: object) -> Engine:
        raise EngineError("no memory")

    with monkeypatch.context() as patch:
        patch.setattr(kind, "load", fail)
        patch.setattr(kind, "build", fail)
        with pytest.raises(EngineError, match="no memory"):
            obtain(kind, request)
    assert_computes(obtain(kind, request))
    assert len(builds) == 1


def test_a_build_that_fails_leaves_nothing(kind: Any, cache: PlanCache, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(request: BuildRequest) -> Engine:
        raise EngineError("it cannot be built")

    request = cached(dense(), cache)
    with monkeypatch.context() as patch:
        patch.setattr(kind, "build", fail)
        for _ in range(2):  # nor is the lock held any more
            with pytest.raises(EngineError, match="it cannot be built"):
                obtain(kind, request)
    assert not [entry for entry in cache.entries() if entry.kind == "plan"]
    assert_computes(obtain(kind, request))


# Threads


def test_of_many_threads_one_builds(kind: Any, cache: PlanCache, builds: List[Any]) -> None:
    """Libraries that hold the same subgraph, each used by a thread of its own."""
    engines: List[Engine] = []
    start = threading.Barrier(8)

    def work() -> None:
        start.wait()
        engines.append(obtain(kind, cached(dense(), cache)))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(builds) == 1
    assert len({id(engine) for engine in engines}) == 8
    for engine in engines:
        assert_computes(engine)


# Calibration


def test_a_plan_for_int8_is_kept_under_its_table(kind: Any, cache: PlanCache, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the build there is no table, and afterwards the plan depends on it."""
    plain = plan_key(kind, dense())
    calibration = Calibration("tested", 1)
    request = dataclasses.replace(cached(dense(), cache), calibration=calibration)
    build = kind.build

    def with_table(request: BuildRequest) -> Engine:
        calibration.table = b"a table"
        return build(dataclasses.replace(request, calibration=None))  # what it computes does not matter here

    monkeypatch.setattr(kind, "build", with_table)
    obtain(kind, request)
    (entry,) = [entry for entry in cache.entries() if entry.kind == "plan"]
    assert entry.facts == plan_key(kind, request).facts
    assert plain.differences(entry.facts).startswith("calibration is ")


# Keys


def with_settings(request: BuildRequest, **settings: Any) -> BuildRequest:
    return dataclasses.replace(request, settings=dataclasses.replace(request.settings, **settings))


CHANGES: Dict[str, Callable[[], BuildRequest]] = {
    "weights": lambda: dense(seed=1),
    "graph": lambda: dense(batch=-1),
    "option": lambda: dense(max_workspace_size=1 << 20),
    "float16 by option": lambda: dense(use_fp16=True),
    "float16 by variable": lambda: with_settings(dense(), use_fp16=True),
    "profile": lambda: dataclasses.replace(dense(), profiles=(Profile((1, 7), (2, 7), (2, 7)),)),
    "best shape": lambda: dataclasses.replace(dense(), profiles=(Profile((2, 7), (1, 7), (2, 7)),)),
    "table": lambda: dataclasses.replace(dense(), calibration=Calibration("tested", 1, b"a table")),
    "symbol": lambda: dense("another"),
}
# What only TensorRT's plans depend on.
SETTINGS: Dict[str, Any] = {
    "max_workspace_size": 1 << 20,
    "strong_types": True,
    "use_tf32": True,
    "builder_level": 1,
    "tactic_sources": ("EDGE_MASK_CONVOLUTIONS",),
}


def test_equal_requests_have_equal_keys(kind: Any) -> None:
    """Wherever their weights lie, and whatever does not change the plan."""
    key = plan_key(kind, dense())
    assert plan_key(kind, dense()) == key
    same = with_settings(dense(), cache_dir="/elsewhere", cache_size=1, log_level="INFO", max_engines=3, strict=True)
    assert plan_key(kind, same) == key


@pytest.mark.parametrize("change", CHANGES)
def test_whatever_changes_a_plan_changes_its_key(kind: Any, change: str) -> None:
    assert plan_key(kind, CHANGES[change]()).digest != plan_key(kind, dense()).digest


def test_a_variable_and_an_option_that_ask_for_the_same(kind: Any) -> None:
    """What counts is what it is built with; the option is part of the graph too."""
    facts = plan_key(kind, with_settings(dense(), use_fp16=True)).facts
    assert facts["use_fp16"] is plan_key(kind, dense(use_fp16=True)).facts["use_fp16"] is True


@pytest.mark.gpu
@pytest.mark.parametrize("setting", SETTINGS)
def test_settings_of_tensorrt(setting: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TVM_TENSORRT_ENGINE", "tensorrt")
    monkeypatch.setenv("TVM_TENSORRT_USE_TF32", "0")
    monkeypatch.delenv("TVM_TENSORRT_TACTIC_SOURCES", raising=False)
    kind = choose_engine(Settings.from_environment())
    changed = plan_key(kind, with_settings(dense(), **{setting: SETTINGS[setting]}))
    plain = plan_key(kind, dense())
    assert changed.digest != plain.digest
    assert plain.differences(changed.facts).startswith(f"{setting} is ")


def test_facts_name_what_runs_it(kind: Any, engine: str) -> None:
    facts = plan_key(kind, dense()).facts
    assert facts["engine"] == engine
    assert facts["relay_trt"] == relay_trt.__version__
    versions: Tuple[str, ...] = ("onnxruntime", "onnx")
    if engine == "tensorrt":
        versions = ("tensorrt", "gpu", "compute_capability")
    assert all(isinstance(facts[name], str) and facts[name] for name in versions)


IN_ANOTHER_PROCESS = """
import sys
sys.path.insert(0, sys.argv[1])
from relay_trt.runtime.engines import choose_engine
from relay_trt.runtime.plans import plan_key
from relay_trt.runtime.settings import Settings
from tests.runtime.test_plans import CHANGES, dense
kind = choose_engine(Settings.from_environment())
for request in (dense(), *(change() for change in CHANGES.values())):
    print(plan_key(kind, request).digest)
"""


def test_keys_are_the_same_in_another_process(kind: Any) -> None:
    root = str(Path(relay_trt.__file__).parents[1])
    environment = {**os.environ, "PYTHONHASHSEED": "12345"}
    command = [sys.executable, "-c", IN_ANOTHER_PROCESS, root]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    requests = [dense(), *(change() for change in CHANGES.values())]
    assert done.stdout.split() == [plan_key(kind, request).digest for request in requests]


def test_what_is_read_from_a_library_is_the_key_again(kind: Any) -> None:
    """A plan's facts travel as JSON."""
    compiled = as_compiled(kind, dense())
    assert not plan_key(kind, dense()).differences(PlanKey("tested", compiled.facts).facts)
