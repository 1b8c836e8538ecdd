from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import tvm
from tvm import relay
from tvm.contrib.graph_executor import GraphModule

import relay_trt
from relay_trt.runtime.call_profile import CallProfile, Part
from relay_trt.runtime.engines.onnxruntime import OnnxRuntimeEngine

from ..support import assert_close, compile_for_vm, compile_library, module, not_offloaded, random, run_graph, run_tvm

DATA = {"x": random((1, 3, 16, 16))}


def network() -> tvm.IRModule:
    """Two subgraphs, with an operator between them that TVM keeps."""
    x = relay.var("x", shape=(1, 3, 16, 16))
    between = not_offloaded(relay.nn.conv2d(x, relay.const(random((4, 3, 3, 3)))))
    return module(relay.nn.conv2d(between, relay.const(random((5, 4, 3, 3)))))


@pytest.fixture
def library(tmp_path: Path) -> Any:
    partitioned, _ = relay_trt.partition_for_tensorrt(network())
    return tvm.runtime.load_module(str(compile_library(partitioned, tmp_path / "library.so")))


def test_the_parts_of_a_call(engine: str, library: Any) -> None:
    profile = relay_trt.profile(library, tvm.cpu(0), DATA, runs=3)
    first, second = (subgraph.graph.symbol for subgraph in relay_trt.subgraphs(library))
    (kernel,) = (part.name for part in profile.parts if part.kind == "TVM")
    assert "fast_tanh" in kernel
    of_subgraph = ("engine", "copies", "launch")
    assert [(part.name, part.kind) for part in profile.parts] == [
        *((first, kind) for kind in of_subgraph),
        (kernel, "TVM"),
        *((second, kind) for kind in of_subgraph),
    ]
    assert profile.milliseconds > 0
    assert all(part.milliseconds > 0 for part in profile.parts if part.kind in ("engine", "TVM"))
    copied = [part.milliseconds > 0 for part in profile.parts if part.kind == "copies"]
    assert copied == [engine == "tensorrt"] * 2  # the tensors lie on the host


def test_calls_are_as_they_were_afterwards(engine: str, library: Any) -> None:
    relay_trt.profile(library, tvm.cpu(0), DATA, runs=1)
    assert not any(subgraph._watched for subgraph in relay_trt.subgraphs(library))
    for _ in range(4):
        assert_close(run_graph(GraphModule(library["default"](tvm.cpu(0))), DATA), run_tvm(network(), DATA))


def test_inputs_may_have_any_name(engine: str, tmp_path: Path) -> None:
    """Also those of TVM's own parameters."""
    key, value = (relay.var(name, shape=(2, 3)) for name in ("key", "value"))
    mod, _ = relay_trt.partition_for_tensorrt(module(relay.Function([key, value], relay.nn.dense(key, value))))
    library = tvm.runtime.load_module(str(compile_library(mod, tmp_path / "library.so")))
    inputs = {"key": random((2, 3)), "value": random((2, 3))}
    assert relay_trt.profile(library, tvm.cpu(0), inputs, runs=1).milliseconds > 0


@pytest.mark.parametrize(
    ("inputs", "runs", "message"),
    [
        ({"y": DATA["x"]}, 1, r"the inputs are \['x'\], not \['y'\]"),
        ({}, 1, r"not \[\]"),
        (DATA, 0, "at least 1, not 0"),
    ],
)
def test_wrong_arguments(inputs: Any, runs: int, message: str, library: Any) -> None:
    with pytest.raises(ValueError, match=message):
        relay_trt.profile(library, tvm.cpu(0), inputs, runs)


def test_the_engine_s_time_is_the_engine_s(library: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """And what comes before it is the launch's."""
    monkeypatch.setenv("TVM_TENSORRT_ENGINE", "onnxruntime")
    compute, bind = OnnxRuntimeEngine._run, OnnxRuntimeEngine.timed

    def slow_engine(self: Any, inputs: Any, outputs: Any, lap: Any = lambda _: None) -> None:
        def late(kind: str) -> None:
            if kind == "engine":
                time.sleep(0.02)
            lap(kind)

        compute(self, inputs, outputs, late)

    def slow_launch(self: Any, *tensors: Any) -> Any:
        time.sleep(0.01)
        return bind(self, *tensors)

    monkeypatch.setattr(OnnxRuntimeEngine, "_run", slow_engine)
    monkeypatch.setattr(OnnxRuntimeEngine, "timed", slow_launch)
    profile = relay_trt.profile(library, tvm.cpu(0), DATA, runs=3)
    for part in profile.parts:
        least = {"engine": 20, "launch": 10}.get(part.kind, 0)
        assert part.milliseconds >= least
    assert profile.milliseconds >= 40  # the two engines


def test_it_prints_a_table() -> None:
    parts = (Part("tvmgen_default_tensorrt_main_0", "engine", 0.3), Part("kernel", "TVM", 0.1))
    assert str(CallProfile(0.5, parts)).splitlines() == [
        "tvmgen_default_tensorrt_main_0  engine     0.3000 ms   75%",
        "kernel                          TVM        0.1000 ms   25%",
        "a call as a whole: 0.5000 ms",
    ]


def test_what_it_cannot_profile(library: Any, tmp_path: Path) -> None:
    partitioned, _ = relay_trt.partition_for_tensorrt(network())
    for_vm = tvm.runtime.load_module(str(compile_for_vm(partitioned, tmp_path / "vm.so")))
    for other in (for_vm, GraphModule(library["default"](tvm.cpu(0)))):
        with pytest.raises(TypeError, match="a library for the graph executor, as load_module returned it"):
            relay_trt.profile(other, tvm.cpu(0), DATA)


def test_a_tvm_that_does_not_name_inputs(library: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(GraphModule, "get_input_info")
    with pytest.raises(RuntimeError, match=r"does not tell the names of a library's inputs, as 0\.9 and newer do"):
        relay_trt.profile(library, tvm.cpu(0), DATA)
