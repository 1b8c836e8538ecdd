"""From a loaded library to its subgraphs: found, warmed up, looked into."""

from __future__ import annotations

import gc
import re
from pathlib import Path
from typing import Any, Tuple

import numpy as np
import onnxruntime
import pytest
import tvm
from tvm import relay
from tvm.contrib.graph_executor import GraphModule
from tvm.runtime.vm import VirtualMachine

import relay_trt
from relay_trt.runtime.engines import EngineError

from ..support import assert_close, compile_library, module, not_offloaded, random, run_graph, run_tvm


def two_subgraphs(seed: int = 0) -> tvm.IRModule:
    """A convolution, an operator that stays with TVM, and a dense layer."""
    x = relay.var("x", shape=(2, 3, 8, 8))
    y = relay.nn.relu(relay.nn.conv2d(x, relay.const(random((4, 3, 3, 3), seed=seed)), padding=(1, 1)))
    y = relay.nn.batch_flatten(not_offloaded(y))
    return module(relay.Function([x], relay.nn.dense(y, relay.const(random((5, 256), seed=seed + 1)))))


def loaded(mod: tvm.IRModule, path: Path) -> Tuple[tvm.runtime.Module, GraphModule]:
    partitioned, _ = relay_trt.partition_for_tensorrt(mod)
    library = tvm.runtime.load_module(str(compile_library(partitioned, path)))
    return library, GraphModule(library["default"](tvm.cpu(0)))


def test_each_library_has_its_own(engine: str, tmp_path: Path) -> None:
    first, _first = loaded(two_subgraphs(), tmp_path / "first.so")
    second, _second = loaded(two_subgraphs(7), tmp_path / "second.so")
    found = relay_trt.subgraphs(first)
    symbols = [subgraph.graph.symbol for subgraph in found]
    assert len(symbols) == 2 and symbols == sorted(symbols)
    others = relay_trt.subgraphs(second)
    assert [subgraph.graph.symbol for subgraph in others] == symbols  # equal names
    assert not {id(subgraph) for subgraph in found} & {id(subgraph) for subgraph in others}


def test_warm_up_builds_all_that_the_first_call_needs(
    engine: str, tmp_path: Path, log: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    mod = two_subgraphs()
    library, executor = loaded(mod, tmp_path / "library.so")
    with pytest.raises(EngineError, match="tvmgen_default_tensorrt_main_0 has no engine yet: run it, or call build"):
        relay_trt.subgraphs(library)[0].information()
    relay_trt.warm_up(library)
    monkeypatch.setenv("TVM_TENSORRT_ENGINE", "none")  # settings are read when an engine is built: none is any more
    inputs = {"x": random((2, 3, 8, 8))}
    assert_close(run_graph(executor, inputs), run_tvm(mod, inputs))


def test_what_has_no_executor_has_no_subgraphs_yet(tmp_path: Path) -> None:
    """Not even where another library, with the same symbols, has its own."""
    _other, _executor = loaded(two_subgraphs(), tmp_path / "first.so")
    partitioned, _ = relay_trt.partition_for_tensorrt(two_subgraphs(7))
    library = tvm.runtime.load_module(str(compile_library(partitioned, tmp_path / "second.so")))
    for _ in range(2):
        assert relay_trt.subgraphs(library) == []
        with pytest.raises(ValueError, match="make an executor of the library first"):
            relay_trt.warm_up(library)


@pytest.mark.parametrize("batch", [0, -3, 2.5, True, "8"])
def test_a_batch_that_is_none(batch: Any, tmp_path: Path) -> None:
    library, _executor = loaded(two_subgraphs(), tmp_path / "library.so")
    with pytest.raises(ValueError, match=re.escape(f"batch is {batch!r}: it must be an integer above 0")):
        relay_trt.warm_up(library, batch=batch)


def test_looking_inside(engine: str, tmp_path: Path) -> None:
    mod = two_subgraphs()
    library, executor = loaded(mod, tmp_path / "library.so")
    run_graph(executor, {"x": random((2, 3, 8, 8))})
    for subgraph, names in zip(relay_trt.subgraphs(library), ("conv", "dense|gemm|matmul")):
        assert re.search(names, str(subgraph.information()), re.IGNORECASE)
        layers = subgraph.profile(runs=3)
        assert sum(layer.milliseconds for layer in layers) > 0  # some take none: TensorRT gives two one buffer


def test_the_onnx_of_a_subgraph(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another reader of ONNX computes what TVM does; no engine is needed for that."""
    mod = two_subgraphs()
    library, _executor = loaded(mod, tmp_path / "library.so")
    x = random((2, 3, 8, 8))
    value = x
    for subgraph, between in zip(relay_trt.subgraphs(library), (np.tanh, None)):
        path = tmp_path / f"{subgraph.graph.symbol}.onnx"
        path.write_bytes(subgraph.onnx().SerializeToString())
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        shape = subgraph.graph.inputs()[0].outputs[0].shape
        (value,) = session.run(None, {session.get_inputs()[0].name: value.reshape(shape)})
        value = between(value) if between else value
    assert_close([value], run_tvm(mod, {"x": x}), rtol=1e-3, atol=1e-3)  # TVM's fast tanh is not numpy's


def test_a_dynamic_batch_in_the_vm(engine: str, tmp_path: Path) -> None:
    x = relay.var("x", shape=(relay.Any(), 6))
    mod = module(relay.Function([x], relay.nn.relu(relay.nn.dense(x, relay.const(random((4, 6)))))))
    partitioned, _ = relay_trt.partition_for_tensorrt(mod)
    executable = relay.vm.compile(partitioned, target="llvm")
    executable.mod.export_library(str(tmp_path / "library.so"))
    library = tvm.runtime.load_module(str(tmp_path / "library.so"))
    machine = VirtualMachine(library, tvm.cpu(0))
    with pytest.raises(ValueError, match=r"input .* is float32\[\?, 6\]: without a profile .* only a batch can be"):
        relay_trt.warm_up(library)
    relay_trt.warm_up(library, batch=3)
    (subgraph,) = relay_trt.subgraphs(library)
    assert subgraph.information()
    value = random((3, 6))
    got = machine.invoke("main", value).numpy()
    np.testing.assert_allclose(got, np.maximum(value @ random((4, 6)).T, 0), rtol=1e-5, atol=1e-5)


def test_what_has_no_subgraphs(tmp_path: Path) -> None:
    x = relay.var("x", shape=(2, 3))
    library, _executor = loaded(module(relay.Function([x], not_offloaded(x))), tmp_path / "library.so")
    assert relay_trt.subgraphs(library) == []
    with pytest.raises(ValueError, match="no subgraphs to warm up"):
        relay_trt.warm_up(library)


@pytest.mark.parametrize("wrong", [None, "library.so", 3])
def test_what_is_no_library(wrong: Any) -> None:
    with pytest.raises(TypeError, match="the library that load_module returned is needed, not a"):
        relay_trt.subgraphs(wrong)


def test_a_subgraph_outlives_its_library(engine: str, tmp_path: Path) -> None:
    """Whoever holds it can use it: its weights are the library's, and stay."""
    library, executor = loaded(two_subgraphs(), tmp_path / "library.so")
    subgraph = relay_trt.subgraphs(library)[0]
    before = subgraph.onnx().SerializeToString()
    del library, executor
    gc.collect()
    subgraph.build()
    assert subgraph.onnx().SerializeToString() == before
