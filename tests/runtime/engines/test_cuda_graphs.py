"""Captured calls on a GPU: `tests/runtime/test_launches.py` has the side of the generated code."""

from __future__ import annotations

import ctypes
import shutil
import threading
from pathlib import Path
from typing import Any, Callable, List

import numpy as np
import pytest
import tvm
from tvm import relay
from tvm.contrib.graph_executor import GraphModule

import relay_trt
from relay_trt.runtime import cuda
from relay_trt.runtime.subgraph import Subgraph

from ...support import compile_for_vm, compile_library, module, not_offloaded, random
from ..support import CPU, GPU, PLACES, in_threads

pytestmark = pytest.mark.gpu

PINNED = tvm.runtime.Device(3, 0)
WEIGHT = random((5, 7))


@pytest.fixture(autouse=True)
def captured(exact_and_quick: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TVM_TENSORRT_CUDA_GRAPH", "1")


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> List[Any]:
    """The calls that reach Python."""
    seen: List[Any] = []
    original = Subgraph.run
    monkeypatch.setattr(Subgraph, "run", lambda *arguments: [seen.append(None), original(*arguments)][1])
    return seen


def dense(rows: Any, folder: Path) -> Callable[..., Any]:
    """One that multiplies rows of 7 numbers by `WEIGHT`."""
    return compiled(relay.nn.relu(relay.nn.dense(relay.var("x", shape=(rows, 7)), relay.const(WEIGHT))), folder)


def compiled(expression: relay.Expr, folder: Path) -> Callable[..., Any]:
    """The function of a library that computes an expression of ``x``, all of which is one subgraph."""
    mod = module(expression)
    partitioned, _ = relay_trt.partition_for_tensorrt(mod, use_implicit_batch=False)
    library = tvm.runtime.load_module(str(compile_for_vm(partitioned, folder / "library.so")))
    symbol = relay_trt.partition_report(partitioned).subgraphs[0].symbol
    return library.get_function(symbol, query_imports=True)


def want(x: np.ndarray) -> np.ndarray:
    return np.maximum(x @ WEIGHT.T, 0)


def check(function: Callable[..., Any], x: Any, y: Any, seed: int, stream: Any = None) -> None:
    """Call with new values in the same tensors."""
    value = random(x.shape, seed=seed)
    x.copyfrom(value)
    y.copyfrom(np.full(y.shape, 77, "float32"))
    GPU.sync()
    function(x, y)
    GPU.sync(stream)
    np.testing.assert_allclose(y.numpy(), want(value), rtol=1e-5, atol=1e-5)


def tensors(rows: int, devices: List[Any]) -> List[Any]:
    return [tvm.nd.empty((rows, 7), device=devices[0]), tvm.nd.empty((rows, 5), device=devices[1])]


def captures_dynamic_shapes() -> bool:
    """TensorRT 8.5 has no second context for an engine with dynamic shapes."""
    return (relay_trt.get_tensorrt_version() or (0, 0, 0)) >= (8, 6, 0)


@pytest.mark.parametrize("devices", [*PLACES.values(), [PINNED, PINNED]], ids=[*PLACES, "pinned"])
def test_a_call_that_comes_again_does_not_reach_python(devices: List[Any], runs: List[Any], tmp_path: Path) -> None:
    function = dense(3, tmp_path)
    x, y = tensors(3, devices)
    for seed in range(6):
        check(function, x, y, seed)
    assert len(runs) == 2


def test_it_can_be_turned_off(runs: List[Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TVM_TENSORRT_CUDA_GRAPH", "0")
    function = dense(3, tmp_path)
    x, y = tensors(3, [GPU, GPU])
    for seed in range(4):
        check(function, x, y, seed)
    assert len(runs) == 4


def test_batches_in_turns(runs: List[Any], tmp_path: Path) -> None:
    function = dense(relay.Any(), tmp_path)
    calls = [tensors(rows, [GPU, GPU]) for rows in (4, 1, 3)]
    for seed in range(8):
        for x, y in calls:
            check(function, x, y, seed)
    assert len(runs) <= 9 if captures_dynamic_shapes() else len(runs) == 24


def test_an_engine_that_grows_is_captured_anew(runs: List[Any], tmp_path: Path) -> None:
    function = dense(relay.Any(), tmp_path)
    small, large = tensors(1, [GPU, GPU]), tensors(5, [GPU, GPU])
    for x, y in (small, large, small):
        for seed in range(4):
            check(function, x, y, seed)
    subgraph = relay_trt.runtime.module.live_subgraphs[function("id")]
    (kept,) = subgraph._engines
    engines = {captured.engine for captured in subgraph.launches._captured.values()}
    assert engines == ({kept.engine} if captures_dynamic_shapes() else set())


def test_each_stream_captures_for_itself(runs: List[Any], tmp_path: Path) -> None:
    function = dense(3, tmp_path)
    x, y = tensors(3, [GPU, GPU])
    streams = [GPU.create_raw_stream() for _ in range(2)]
    try:
        for seed in range(4):
            for stream in streams:
                GPU.set_raw_stream(stream)
                check(function, x, y, seed, stream)
    finally:
        GPU.set_raw_stream(ctypes.c_void_p(None))
    subgraph = relay_trt.runtime.module.live_subgraphs[function("id")]
    assert len({captured.stream for captured in subgraph.launches._captured.values()}) == 2


def test_threads_with_tensors_of_their_own(tmp_path: Path) -> None:
    function = dense(3, tmp_path)
    failures: List[BaseException] = []

    def work(number: int) -> None:
        try:
            x, y = tensors(3, [GPU, GPU] if number % 2 else [CPU, CPU])
            for seed in range(100):
                check(function, x, y, 1000 * number + seed)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_what_cannot_be_captured_is_enqueued(
    runs: List[Any], monkeypatch: pytest.MonkeyPatch, log: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    def refuse(*_: Any) -> None:
        raise cuda.CudaError("cudaStreamEndCapture: cudaErrorStreamCaptureUnsupported: it waits for the host")

    monkeypatch.setattr(cuda, "ExecutableGraph", refuse)
    function = dense(3, tmp_path)
    x, y = tensors(3, [GPU, GPU])
    for seed in range(5):
        check(function, x, y, seed)
    assert len(runs) == 5
    assert log.text.count("calls are enqueued, as they cannot be captured: cudaStreamEndCapture") == 1


def test_work_that_cannot_be_captured_leaves_the_gpu_usable(tmp_path: Path) -> None:
    with pytest.raises(cuda.CudaError):
        cuda.ExecutableGraph(lambda stream: cuda.synchronize(stream))  # not allowed within a capture
    function = dense(3, tmp_path)
    x, y = tensors(3, [GPU, GPU])
    for seed in range(4):
        check(function, x, y, seed)


@pytest.mark.skipif(not shutil.which("nvcc"), reason="TVM's own CUDA code is compiled by nvcc")
def test_tvm_s_kernels_between_two_subgraphs(runs: List[Any], tmp_path: Path) -> None:
    """All is on one stream, and waits for nothing else."""
    first, second = random((9, 7)), random((5, 9), seed=1)
    between = not_offloaded(relay.nn.dense(relay.var("x", shape=(3, 7)), relay.const(first)))
    mod = module(relay.nn.dense(between, relay.const(second)))
    partitioned, _ = relay_trt.partition_for_tensorrt(mod, use_implicit_batch=False)
    assert len(relay_trt.partition_report(partitioned).subgraphs) == 2
    library = tvm.runtime.load_module(str(compile_library(partitioned, tmp_path / "library.so", "cuda")))
    executor = GraphModule(library["default"](GPU))
    for seed in range(6):
        value = random((3, 7), seed=seed)
        executor.run(x=value)
        expected = np.tanh(value @ first.T) @ second.T
        np.testing.assert_allclose(executor.get_output(0).numpy(), expected, rtol=1e-4, atol=1e-4)
    assert len(runs) == 4


def test_captured_calls_of_a_stream_share_memory(tmp_path: Path) -> None:
    function = dense(3, tmp_path)
    calls = [tensors(3, [GPU, GPU]) for _ in range(3)]
    for seed in range(4):
        for x, y in calls:
            check(function, x, y, seed)
    subgraph = relay_trt.runtime.module.live_subgraphs[function("id")]
    memory = [captured.owner[1] for captured in subgraph.launches._captured.values()]
    assert len(memory) == 3
    assert len({id(block) for block in memory}) == 1


def test_threads_on_one_stream(tmp_path: Path) -> None:
    """Kernels that one thread enqueues come between those of another, and between the graphs of a third."""
    shape, threads, turns = (4, 16, 24, 24), 8, 60
    functions = []
    for thread in range(threads):
        result = relay.var("x", shape=shape)
        for layer in range(6):  # each leaves activations for the next
            weight = relay.const(random((16, 16, 3, 3), seed=10 * thread + layer))
            result = relay.nn.relu(relay.nn.conv2d(result, weight, padding=(1, 1)) * relay.const(0.2))
        folder = tmp_path / str(thread)
        folder.mkdir()
        functions.append(compiled(result, folder))
    again = [[tvm.nd.empty(shape, device=GPU) for _ in range(2)] for _ in range(threads)]

    def call(thread: int, turn: int) -> np.ndarray:
        """Every other call comes with tensors that came before, and is captured."""
        x, y = again[thread] if turn % 2 else [tvm.nd.empty(shape, device=GPU) for _ in range(2)]
        x.copyfrom(random(shape, seed=100 * thread + turn))
        functions[thread](x, y)
        return np.array(y.numpy())

    expected = [[call(thread, turn) for turn in range(turns)] for thread in range(threads)]

    def work(thread: int) -> None:
        for turn in range(turns):
            np.testing.assert_array_equal(call(thread, turn), expected[thread][turn])

    in_threads(threads, work)


def test_a_library_is_dropped_while_its_launches_run(tmp_path: Path) -> None:
    for round_ in range(5):
        folder = tmp_path / str(round_)
        folder.mkdir()
        function = dense(3, folder)
        x, y = tensors(3, [GPU, GPU])
        for seed in range(3):
            check(function, x, y, seed)
        for _ in range(100):
            function(x, y)
        del function
        GPU.sync()
