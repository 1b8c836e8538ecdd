"""What tests share: modules compiled and run, by TVM alone and through relay_trt, and compared."""

from __future__ import annotations

import gc
import os
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Union

import numpy as np
import tvm
from tvm import relay
from tvm.contrib.graph_executor import GraphModule

import relay_trt
import relay_trt.runtime  # noqa: F401  registers what compiled libraries call

Arrays = Mapping[str, np.ndarray]


def module(body: Union[relay.Expr, relay.Function]) -> tvm.IRModule:
    """A type-checked module whose ``main`` computes ``body``."""
    return relay.transform.InferType()(tvm.IRModule.from_expr(body))


def not_offloaded(x: relay.Expr) -> relay.Expr:
    """An operator that relay_trt has no converter for: TVM's FastMath pass makes it, and no front end."""
    return relay.op.tensor._make.fast_tanh(x)


def random(shape: Any, dtype: str = "float32", seed: int = 0, low: float = -1.0, high: float = 1.0) -> np.ndarray:
    """Uniform random numbers, the same in every run."""
    return np.random.RandomState(seed).uniform(low, high, shape).astype(dtype)


def run_tvm(mod: tvm.IRModule, inputs: Arrays, params: Optional[Arrays] = None, opt_level: int = 1) -> List[np.ndarray]:
    """The outputs by TVM's LLVM code alone: the reference of every comparison."""
    with tvm.transform.PassContext(opt_level=opt_level):
        library = relay.build(mod, target="llvm", params=dict(params or {}))
    return run_graph(GraphModule(library["default"](tvm.cpu(0))), inputs)


def run_graph(graph_module: GraphModule, inputs: Arrays) -> List[np.ndarray]:
    """The outputs of a call of a graph executor.

    With CUDA graphs, of three calls, which must agree: one that is enqueued, one that is then captured, and one that
    launches what was captured.
    """

    def call() -> List[np.ndarray]:
        graph_module.run(**inputs)
        return [graph_module.get_output(i).numpy() for i in range(graph_module.get_num_outputs())]

    outputs = call()
    for _ in range(2 if os.environ.get("TVM_TENSORRT_CUDA_GRAPH") == "1" else 0):
        for output, again in zip(outputs, call()):
            np.testing.assert_array_equal(again, output)
    return outputs


def compile_library(mod: tvm.IRModule, path: Path, target: str = "llvm", params: Optional[Arrays] = None) -> Path:
    """Build a partitioned module and export it."""
    with tvm.transform.PassContext(opt_level=3):
        library = relay.build(mod, target=target, params=dict(params or {}))
    library.export_library(str(path))
    return path


def run_library(path: Path, inputs: Arrays, device: Any = None) -> List[np.ndarray]:
    """The outputs of an exported library, by the graph executor."""
    library = tvm.runtime.load_module(str(path))
    return run_graph(GraphModule(library["default"](device or tvm.cpu(0))), inputs)


def compile_for_vm(mod: tvm.IRModule, path: Path, target: str = "llvm") -> Path:
    """Build a partitioned module for the Relay VM and export it."""
    with tvm.transform.PassContext(opt_level=3):
        executable = relay.vm.compile(mod, target=target)
    executable.mod.export_library(str(path))
    return path


def run_by_vm(path: Path, *calls: Arrays) -> List[List[np.ndarray]]:
    """The outputs of each call of what `compile_for_vm` exported."""
    machine = tvm.runtime.vm.VirtualMachine(tvm.runtime.load_module(str(path)), tvm.cpu(0))
    results = [machine.invoke("main", **inputs) for inputs in calls]
    return [[r.numpy() for r in ([result] if isinstance(result, tvm.nd.NDArray) else result)] for result in results]


def run_offloaded(
    mod: tvm.IRModule, inputs: Arrays, folder: Path, params: Optional[Arrays] = None, **options: Any
) -> List[np.ndarray]:
    """Partition with ``options``, assert that all operators went into one subgraph, compile, run."""
    partitioned, _ = relay_trt.partition_for_tensorrt(mod, dict(params or {}), **options)
    report = relay_trt.partition_report(partitioned)
    assert report.refused == 0, str(report)
    assert len(report.subgraphs) == 1, str(report)
    return run_library(compile_library(partitioned, folder / "library.so"), inputs)


def assert_close(got: List[np.ndarray], want: List[np.ndarray], rtol: float = 1e-4, atol: float = 1e-4) -> None:
    """Outputs agree; ``atol`` is relative to the largest value of each output."""
    assert len(got) == len(want)
    for got_output, want_output in zip(got, want):
        assert got_output.dtype == want_output.dtype
        scale = float(np.abs(want_output).max()) if want_output.size else 1.0
        np.testing.assert_allclose(got_output, want_output, rtol=rtol, atol=atol * max(scale, 1e-30))


def operators(mod: tvm.IRModule) -> Dict[str, int]:
    """How often each operator is in the subgraphs of a partitioned module."""
    counts: Dict[str, int] = {}
    for subgraph in relay_trt.partition_report(mod).subgraphs:
        for name, count in subgraph.operators.items():
            counts[name] = counts.get(name, 0) + count
    return counts


def fork() -> int:
    """As ``os.fork``; the forked process collects no garbage of this one.

    There may be an engine in it. To free one there is to wait for threads that the fork does not have, and so for ever
    where others have got their stacks.
    """
    gc.freeze()
    pid = os.fork()
    if pid:
        gc.unfreeze()
    return pid
