"""Captured calls, from the generated code's side: real libraries, launched by a driver that only a GPU can replace.

What TensorRT and CUDA capture is tested in engines/test_tensorrt.py. Here a graph adds 1 to its input, which no engine
does: a result tells who computed it.
"""

from __future__ import annotations

import contextlib
import ctypes
import subprocess
import threading
import time
from pathlib import Path
from typing import Any, Callable, List, Optional, Sequence

import numpy as np
import pytest
import tvm
from tvm import relay

import relay_trt
from relay_trt.runtime import cuda, launches
from relay_trt.runtime.dltensor import TensorView
from relay_trt.runtime.engines.onnxruntime import OnnxRuntimeEngine
from relay_trt.runtime.launches import MAX_LAUNCHES, MAX_SEEN, Captured
from relay_trt.runtime.subgraph import Subgraph

from ..support import compile_for_vm, module

DRIVER = r"""
#include <stdint.h>
#include <stddef.h>
struct graph { float *input, *output; int64_t size; int32_t launches, busy, status, freed; };
static __thread void* context;
int32_t pushed, popped, waited, wrong;
static int count(int32_t* counter) { __atomic_add_fetch(counter, 1, __ATOMIC_SEQ_CST); return 0; }
int cuCtxGetCurrent(void** current) { *current = context; return 0; }
int cuCtxPushCurrent_v2(void* pushing) { context = pushing; return count(&pushed); }
int cuCtxPopCurrent_v2(void** current) { *current = context; context = NULL; return count(&popped); }
int cuStreamSynchronize(void* stream) { (void)stream; return count(&waited); }
int cuGraphLaunch(void* launched, void* stream) {
  struct graph* graph = launched;
  (void)stream;
  /* Two threads at once, a graph that is gone, or another context than its own. */
  if (__atomic_exchange_n(&graph->busy, 1, __ATOMIC_SEQ_CST) || graph->freed || context != (void*)77) count(&wrong);
  if (graph->status == 0) {
    for (int64_t i = 0; i < graph->size; ++i) graph->output[i] = graph->input[i] + 1;
    ++graph->launches;
  }
  __atomic_store_n(&graph->busy, 0, __ATOMIC_SEQ_CST);
  return graph->status;
}
"""

CONTEXT = 77


class Graph(ctypes.Structure):
    _fields_ = [
        ("input", ctypes.c_void_p),
        ("output", ctypes.c_void_p),
        ("size", ctypes.c_int64),
        ("launches", ctypes.c_int32),
        ("busy", ctypes.c_int32),
        ("status", ctypes.c_int32),
        ("freed", ctypes.c_int32),
    ]


class Gpu:
    """The driver, and what engines capture for it."""

    def __init__(self, driver: ctypes.CDLL) -> None:
        self.driver = driver
        self.graphs: List[Graph] = []
        self.stream = 0
        self.staged = False
        self.refuses = False

    def number(self, name: str) -> int:
        return ctypes.c_int32.in_dll(self.driver, name).value

    def capture(self, engine: Any, inputs: Sequence[TensorView], outputs: Sequence[TensorView]) -> Optional[Captured]:
        if self.refuses:
            return None
        engine.run(inputs, outputs)
        (tensor,), (result,) = inputs, outputs
        graph = Graph(tensor.address, result.address, tensor.nbytes // 4)
        staging = [0, 0]
        buffers = [np.zeros(tensor.nbytes, "uint8") for _ in staging]
        if self.staged:
            staging = [buffer.ctypes.data for buffer in buffers]
            graph.input, graph.output = staging
        self.graphs.append(graph)
        owner = Owner(graph, buffers)
        return Captured(engine, ctypes.addressof(graph), CONTEXT, self.stream, staging, self.staged, owner)

    @property
    def launches(self) -> List[int]:
        return [graph.launches for graph in self.graphs]


class Owner:
    def __init__(self, graph: Graph, buffers: List[np.ndarray]) -> None:
        self.graph, self.buffers = graph, buffers

    def __del__(self) -> None:
        self.graph.freed = 1


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    folder = tmp_path_factory.mktemp("driver")
    (folder / "driver.c").write_text(DRIVER)
    subprocess.run(["gcc", "-O2", "-shared", "-fPIC", "-o", folder / "driver.so", folder / "driver.c"], check=True)
    return ctypes.CDLL(str(folder / "driver.so"))


@pytest.fixture
def gpu(driver: ctypes.CDLL, monkeypatch: pytest.MonkeyPatch) -> Gpu:
    made = Gpu(driver)
    for name in ("pushed", "popped", "waited", "wrong"):
        ctypes.c_int32.in_dll(driver, name).value = 0
    monkeypatch.setenv("TVM_TENSORRT_ENGINE", "onnxruntime")
    monkeypatch.setattr(cuda, "_driver", lambda: driver)
    monkeypatch.setattr(OnnxRuntimeEngine, "captures", True)
    monkeypatch.setattr(OnnxRuntimeEngine, "capture", lambda engine, *tensors: made.capture(engine, *tensors))
    return made


def relu(rows: Any, tmp_path: Path) -> Callable[..., Any]:
    """A library that computes the ReLU of some rows of 4 numbers: its function."""
    partitioned, _ = relay_trt.partition_for_tensorrt(
        module(relay.nn.relu(relay.var("x", shape=(rows, 4)))), use_implicit_batch=False
    )
    library = tvm.runtime.load_module(str(compile_for_vm(partitioned, tmp_path / "library.so")))
    symbol = relay_trt.partition_report(partitioned).subgraphs[0].symbol
    return library.get_function(symbol, query_imports=True)


def subgraph_of(function: Callable[..., Any]) -> Subgraph:
    return relay_trt.runtime.module.live_subgraphs[function("id")]


def tensors(rows: int = 2, value: float = -1) -> List[tvm.nd.NDArray]:
    return [tvm.nd.array(np.full((rows, 4), value, "float32")), tvm.nd.array(np.full((rows, 4), 55, "float32"))]


VALUE, BY_ENGINE, BY_GRAPH = -3.0, 0.0, -2.0


def run(function: Callable[..., Any], x: tvm.nd.NDArray, y: tvm.nd.NDArray) -> float:
    y.copyfrom(np.full(y.shape, 55, "float32"))
    function(x, y)
    (value,) = set(y.numpy().ravel().tolist())
    return float(value)


def test_a_call_that_comes_again_is_launched(gpu: Gpu, tmp_path: Path) -> None:
    function = relu(2, tmp_path)
    x, y = tensors(value=VALUE)
    assert [run(function, x, y) for _ in range(5)] == [BY_ENGINE, BY_ENGINE, BY_GRAPH, BY_GRAPH, BY_GRAPH]
    assert gpu.launches == [3]
    x.copyfrom(np.full((2, 4), 10, "float32"))
    assert run(function, x, y) == 11
    assert gpu.number("pushed") == gpu.number("popped") == 4
    assert gpu.number("waited") == gpu.number("wrong") == 0


def test_tensors_on_the_host_are_copied(gpu: Gpu, tmp_path: Path) -> None:
    gpu.staged = True
    function = relu(2, tmp_path)
    x, y = tensors(value=VALUE)
    assert [run(function, x, y) for _ in range(3)] == [BY_ENGINE, BY_ENGINE, BY_GRAPH]
    x.copyfrom(np.full((2, 4), 10, "float32"))
    assert run(function, x, y) == 11
    assert gpu.number("waited") == gpu.launches[0] == 2


def test_other_tensors_are_not_launched(gpu: Gpu, tmp_path: Path) -> None:
    function = relu(2, tmp_path)
    x, y = tensors(value=VALUE)
    others = [tensors(value=VALUE) for _ in range(2)]
    for _ in range(3):
        run(function, x, y)
    assert run(function, x, others[0][1]) == run(function, others[1][0], y) == BY_ENGINE
    assert run(function, x, y) == BY_GRAPH


def test_another_shape_at_the_same_addresses(gpu: Gpu, tmp_path: Path) -> None:
    function = relu(relay.Any(), tmp_path)
    x, y = tensors(4, VALUE)
    for _ in range(3):
        run(function, x, y)
    assert gpu.launches == [1]
    y.copyfrom(np.full((4, 4), 55, "float32"))
    half = [array._create_view((2, 4)) for array in (x, y)]
    assert run(function, *half) == BY_ENGINE
    assert gpu.launches == [1]
    assert [run(function, *half) for _ in range(2)] == [BY_ENGINE, BY_GRAPH]
    assert (y.numpy()[2:] == 55).all()


def test_another_kind_of_memory_at_the_same_address(gpu: Gpu, tmp_path: Path) -> None:
    """A graph that reads pinned memory by itself cannot read what took its place."""
    function = relu(2, tmp_path)
    x, y = tensors(value=VALUE)
    device = x.handle.contents.device
    try:
        device.device_type = tvm.runtime.Device.kDLCUDAHost
        assert [run(function, x, y) for _ in range(3)] == [BY_ENGINE, BY_ENGINE, BY_GRAPH]
    finally:
        device.device_type = tvm.runtime.Device.kDLCPU  # what it is, and is freed as
    assert [run(function, x, y) for _ in range(3)] == [BY_ENGINE, BY_ENGINE, BY_GRAPH]


def test_another_stream(gpu: Gpu, tmp_path: Path) -> None:
    gpu.stream = 4096
    function = relu(2, tmp_path)
    x, y = tensors(value=VALUE)
    assert {run(function, x, y) for _ in range(5)} == {BY_ENGINE}
    assert gpu.launches[0] == 0


def test_a_launch_that_fails(gpu: Gpu, tmp_path: Path) -> None:
    """The engine runs the call, and says what the error is."""
    function = relu(2, tmp_path)
    x, y = tensors(value=VALUE)
    for _ in range(3):
        run(function, x, y)
    gpu.graphs[0].status = 700
    assert run(function, x, y) == BY_ENGINE
    assert gpu.number("pushed") == gpu.number("popped")


def test_a_launch_that_failed_is_captured_anew_but_not_at_once(
    gpu: Gpu, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    function = relu(2, tmp_path)
    x, y = tensors(value=VALUE)
    for _ in range(3):
        run(function, x, y)
    gpu.graphs[0].status = 2
    for _ in range(5):
        assert run(function, x, y) == BY_ENGINE
    assert len(gpu.graphs) == 1
    monkeypatch.setattr(launches, "IDLE", 0)
    assert [run(function, x, y) for _ in range(2)] == [BY_ENGINE, BY_GRAPH]
    assert [graph.freed for graph in gpu.graphs] == [1, 0]


def test_a_signal_leaves_no_lock_locked(gpu: Gpu, alarm: Callable[[float], None], tmp_path: Path) -> None:
    """Ctrl-C comes while the main thread waits for another that launches."""
    function = relu(2, tmp_path)
    subgraph = subgraph_of(function)
    x, y = tensors(value=VALUE)
    for _ in range(3):
        run(function, x, y)
    (captured,) = subgraph.launches._captured.values()
    launch = subgraph.launches._table.places[0]
    mutex = ctypes.byref(launch.lock)
    libc = ctypes.CDLL(None)
    libc.pthread_mutex_lock(mutex)  # as C does while it launches
    alarm(0.2)
    with pytest.raises(KeyboardInterrupt):
        subgraph.launches.forget([captured.engine])
    libc.pthread_mutex_unlock(mutex)
    end = time.monotonic() + 10
    while launch.graph and time.monotonic() < end:
        time.sleep(0.01)
    assert not launch.graph  # it was forgotten all the same
    assert libc.pthread_mutex_trylock(mutex) == 0
    libc.pthread_mutex_unlock(mutex)


def test_signals_do_not_break_the_table(
    gpu: Gpu, alarm: Callable[[float], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever they interrupt a call: later ones launch no graph that is gone, and get no other call's results."""
    monkeypatch.setattr(launches, "IDLE", 0)
    function = relu(2, tmp_path)
    calls = [tensors(value=-10.0 - number) for number in range(MAX_LAUNCHES + 2)]
    rng = np.random.RandomState(0)
    for _ in range(150):
        with contextlib.suppress(KeyboardInterrupt):
            alarm(rng.uniform(1e-6, 4e-4))
            for _ in range(2):
                function(*calls[rng.randint(len(calls))])
            alarm(0)
        for number in rng.choice(len(calls), 3, replace=False):
            assert run(function, *calls[number]) in (BY_ENGINE, -9.0 - number)
    assert gpu.number("wrong") == 0


def test_what_cannot_be_captured_is_run(gpu: Gpu, tmp_path: Path) -> None:
    gpu.refuses = True
    function = relu(2, tmp_path)
    x, y = tensors(value=VALUE)
    assert {run(function, x, y) for _ in range(5)} == {BY_ENGINE}


def test_the_least_recently_used_goes(gpu: Gpu, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launches, "IDLE", 0)
    function = relu(2, tmp_path)
    calls = [tensors(value=VALUE) for _ in range(MAX_LAUNCHES + 1)]
    for x, y in calls:
        for _ in range(3):
            run(function, x, y)
        run(function, *calls[0])  # in use all the time
    assert [graph.freed for graph in gpu.graphs[: MAX_LAUNCHES + 1]] == [0, 1, *[0] * (MAX_LAUNCHES - 1)]
    assert run(function, *calls[0]) == run(function, *calls[-1]) == BY_GRAPH
    assert run(function, *calls[1]) == BY_ENGINE
    assert gpu.number("wrong") == 0


def test_tensors_that_never_come_again(gpu: Gpu, tmp_path: Path) -> None:
    function = relu(2, tmp_path)
    calls = [tensors(value=VALUE) for _ in range(MAX_SEEN + 1)]
    for _ in range(3):
        assert {run(function, *call) for call in calls} == {BY_ENGINE}
    assert gpu.graphs == []


def test_more_calls_in_turn_than_places(gpu: Gpu, tmp_path: Path) -> None:
    """None takes the place of another that is in use: to capture takes longer than to enqueue."""
    function = relu(2, tmp_path)
    calls = [tensors(value=VALUE) for _ in range(MAX_LAUNCHES + 4)]
    for _ in range(2):
        assert {run(function, *call) for call in calls} == {BY_ENGINE}
    for _ in range(5):
        assert [run(function, *call) for call in calls] == [BY_GRAPH] * MAX_LAUNCHES + [BY_ENGINE] * 4
    assert len(gpu.graphs) == MAX_LAUNCHES


def test_the_same_tensors_on_other_streams(gpu: Gpu, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    function = relu(2, tmp_path)
    x, y = tensors(value=VALUE)
    for stream in range(1, 40):  # a stream for each request
        monkeypatch.setattr(cuda, "current_stream", lambda stream=stream: stream)
        assert run(function, x, y) == BY_ENGINE
    assert gpu.graphs == []


def test_an_engine_that_is_replaced(gpu: Gpu, tmp_path: Path) -> None:
    """As long as another thread launches, and not once after."""
    function = relu(2, tmp_path)
    launches = subgraph_of(function).launches
    x, y = tensors(value=VALUE)
    stop = threading.Event()
    results = set()

    def work() -> None:
        while not stop.is_set():
            function(x, y)
            results.update(y.numpy().ravel().tolist())

    thread = threading.Thread(target=work)
    thread.start()
    try:
        for _ in range(50):
            while not gpu.launches or gpu.graphs[-1].freed or gpu.launches[-1] == 0:
                pass
            (engine,) = {captured.engine for captured in launches._captured.values()}
            launches.forget([engine])
            assert all(graph.freed for graph in gpu.graphs[:-1])
    finally:
        stop.set()
        thread.join()
    assert results == {BY_ENGINE, BY_GRAPH}
    assert gpu.number("wrong") == 0


def test_an_engine_that_is_replaced_while_it_captures(gpu: Gpu, tmp_path: Path) -> None:
    function = relu(2, tmp_path)
    subgraph = subgraph_of(function)
    capture = gpu.capture

    def replaced(engine: Any, *tensors: Any) -> Optional[Captured]:
        subgraph._engines = ()
        return capture(engine, *tensors)

    gpu.capture = replaced  # type: ignore[method-assign]
    x, y = tensors(value=VALUE)
    assert {run(function, x, y) for _ in range(4)} == {BY_ENGINE}
    assert all(graph.freed for graph in gpu.graphs)


def test_threads_with_tensors_of_their_own(gpu: Gpu, tmp_path: Path) -> None:
    function = relu(2, tmp_path)
    wrong: List[Any] = []

    def work(number: int) -> None:
        x, y = tensors(value=-number)
        for call in range(300):
            result = run(function, x, y)
            if result not in ((0.0,) if call < 2 else (1.0 - number,)):
                wrong.append((number, call, result))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(2, 10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert gpu.launches == [298] * 8
    assert gpu.number("wrong") == 0


def test_a_subgraph_frees_what_it_captured(gpu: Gpu, tmp_path: Path) -> None:
    function = relu(2, tmp_path)
    x, y = tensors(value=VALUE)
    for _ in range(3):
        run(function, x, y)
    launches = subgraph_of(function).launches
    assert launches.last_use(gpu.graphs) == 0
    (captured,) = launches._captured.values()
    assert launches.last_use(captured.engine) > 0
    del captured, launches, function
    deadline = threading.Event()
    for _ in range(1000):
        if gpu.graphs[0].freed:
            return
        deadline.wait(0.01)
    pytest.fail("the graph was not freed with its library")
