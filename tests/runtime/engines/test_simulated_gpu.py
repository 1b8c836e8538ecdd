"""Threads that use TensorRT's engine at once, against a GPU that is simulated: see `simulated_gpu`.

`test_cuda_graphs.py` has the real one.
"""

from __future__ import annotations

import ctypes
import gc
import shutil
import time
import types
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List

import numpy as np
import pytest
import tvm
from tvm import relay

import relay_trt
from relay_trt.runtime import cuda, subgraph
from relay_trt.runtime.engines import tensorrt, tensorrt_context

from ...support import compile_for_vm, module
from ..support import in_threads
from .simulated_gpu import Context, SimulatedGpu

ROWS = 2


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimulatedGpu]:
    made = SimulatedGpu()

    class Engine(tensorrt.TensorRTEngine):
        @classmethod
        def facts(cls, request: Any) -> Dict[str, Any]:
            return {}

        @classmethod
        def build(cls, request: Any) -> Any:
            return cls(request, b"a plan")

    plans = types.SimpleNamespace(deserialize_cuda_engine=lambda plan: Context(made))
    trt = types.SimpleNamespace(__version__="8.6.0", Runtime=lambda logger: plans)
    for where in (tensorrt, tensorrt_context):
        monkeypatch.setattr(where, "load_tensorrt", lambda: trt)
    monkeypatch.setattr(tensorrt, "tensorrt_logger", lambda: None)
    monkeypatch.setattr(subgraph, "choose_engine", lambda settings: Engine)
    monkeypatch.setattr(cuda, "_cudart", lambda: made)
    monkeypatch.setattr(cuda, "_driver", lambda: made)
    monkeypatch.setattr(cuda, "current_context", lambda: 0)
    monkeypatch.setattr(cuda, "_scratch", type(cuda._scratch)())  # what is in it is another GPU's
    yield made
    gc.collect()  # what an exception's traceback still holds
    end = time.monotonic() + 10
    while made.allocated and time.monotonic() < end:  # a thread frees what is left, on this GPU
        time.sleep(0.01)
    made.streams[0].end()
    assert not made.allocated
    assert not made.wrong


@pytest.fixture
def pair() -> Iterator[Callable[[], List[tvm.nd.NDArray]]]:
    """Makes an input and an output whose memory is taken for the GPU's."""
    made: List[tvm.nd.NDArray] = []

    def make() -> List[tvm.nd.NDArray]:
        tensors = [tvm.nd.array(np.zeros((ROWS, 4), "float32")) for _ in range(2)]
        for tensor in tensors:
            tensor.handle.contents.device.device_type = tvm.runtime.Device.kDLCUDA
        made.extend(tensors)
        return tensors

    yield make
    for tensor in made:
        tensor.handle.contents.device.device_type = tvm.runtime.Device.kDLCPU  # what it is, and is freed as


@pytest.fixture
def functions(tmp_path: Path) -> Callable[[], Callable[..., Any]]:
    """Loads copies of a library: the function of each."""
    mod = module(relay.nn.relu(relay.var("x", shape=(ROWS, 4))))
    partitioned, _ = relay_trt.partition_for_tensorrt(mod, use_implicit_batch=False)
    path = compile_for_vm(partitioned, tmp_path / "library.so")
    symbol = relay_trt.partition_report(partitioned).subgraphs[0].symbol
    numbers = iter(range(1000))

    def load() -> Callable[..., Any]:
        copy = shutil.copy(str(path), str(tmp_path / f"{next(numbers)}.so"))
        return tvm.runtime.load_module(copy).get_function(symbol, query_imports=True)

    return load


def elements(tensor: tvm.nd.NDArray) -> np.ndarray:
    memory = (ctypes.c_float * (4 * ROWS)).from_address(tensor.handle.contents.data)
    return np.frombuffer(memory, "float32")


def call(gpu: SimulatedGpu, function: Callable[..., Any], pair: List[tvm.nd.NDArray], value: float) -> None:
    x, y = map(elements, pair)
    x[:] = value
    function(*pair)
    gpu.streams[0].wait()
    assert set(y.tolist()) == {2 * (value + 1)}


def test_engines_share_a_stream(gpu: SimulatedGpu, functions: Any, pair: Any) -> None:
    """Calls that are enqueued mix with each other and with graphs: none may touch another's activations."""
    threads = 6
    loaded = [functions() for _ in range(threads)]
    again = [pair() for _ in range(threads)]
    new = [[pair() for _ in range(25)] for _ in range(threads)]

    def work(thread: int) -> None:
        for turn in range(50):
            tensors = again[thread] if turn % 2 else new[thread][turn // 2]
            call(gpu, loaded[thread], tensors, 100.0 * thread + turn)

    in_threads(threads, work)
    assert not gpu.wrong
    for function in loaded:
        engine = relay_trt.runtime.module.live_subgraphs[function("id")]._engines[0].engine
        assert engine.captures


def test_libraries_go_while_others_are_captured(gpu: SimulatedGpu, functions: Any, pair: Any) -> None:
    """What is freed is waited for, and not in the middle of a capture."""

    def work(thread: int) -> None:
        tensors = [pair() for _ in range(3)]
        for turn in range(8):
            function = functions()
            for value in range(3):
                for one in tensors:
                    call(gpu, function, one, 10.0 * thread + turn + value)
            engine = relay_trt.runtime.module.live_subgraphs[function("id")]._engines[0].engine
            assert engine._failed_captures == 0
            del engine, function

    in_threads(4, work)
    assert not gpu.wrong


@pytest.mark.parametrize(("failures", "captures"), [(1, True), (2, True), (3, False)])
def test_captures_that_fail(
    failures: int,
    captures: bool,
    gpu: SimulatedGpu,
    functions: Any,
    pair: Any,
    monkeypatch: pytest.MonkeyPatch,
    log: pytest.LogCaptureFixture,
) -> None:
    """Others may have ended them: they are tried again, three times in all."""
    instantiate = gpu.cudaGraphInstantiateWithFlags
    left = iter(range(failures))
    monkeypatch.setattr(
        gpu,
        "cudaGraphInstantiateWithFlags",
        lambda *graph: instantiate(*graph) if next(left, None) is None else (900, None),
    )
    function, tensors = functions(), pair()
    for value in range(6):
        call(gpu, function, tensors, value)
    launches = relay_trt.runtime.module.live_subgraphs[function("id")].launches
    assert bool(launches._captured) is captures
    assert log.text.count("calls are enqueued, as they cannot be captured: cudaGraphInstantiate") == (not captures)
    log.clear()  # its error has a traceback, and that the context


def test_a_call_that_was_interrupted_leaves_nothing_wrong(
    gpu: SimulatedGpu, functions: Any, pair: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A signal comes when TensorRT has been told of another tensor, but before that is noted."""
    monkeypatch.setenv("TVM_TENSORRT_CUDA_GRAPH", "0")
    function, first, second = functions(), pair(), pair()
    call(gpu, function, first, 1)
    tell = Context.set_tensor_address

    def interrupted(self: Context, name: str, address: int) -> None:
        tell(self, name, address)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Context, "set_tensor_address", interrupted)
        with pytest.raises(KeyboardInterrupt):
            function(*second)
    call(gpu, function, first, 2)
    call(gpu, function, second, 3)
