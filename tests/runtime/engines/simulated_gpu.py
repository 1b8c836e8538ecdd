"""A GPU and a TensorRT for the tests of what their users do at once: streams are threads, and what is freed is watched.

It does what CUDA and TensorRT document, and what a real GPU does too rarely to be tested: kernels of several threads
mix on a stream; to wait for the whole GPU fails while a stream captures, and ends the capture; a context and its
activations must stay its own until its kernels have run. Its one network computes 2 * (x + 1) in two kernels, with
activations between them.
"""

from __future__ import annotations

import collections
import ctypes
import queue
import random
import threading
import time
import types
from typing import Any, Callable, Dict, List, Optional, Set, Tuple

import numpy as np

Kernel = Callable[[], None]


class Stream:
    """Runs kernels one after the other, in a thread of its own; or captures them."""

    def __init__(self) -> None:
        self.captured: Optional[List[Kernel]] = None
        self.capture_failed = False
        self._work: queue.Queue[Optional[Kernel]] = queue.Queue()
        threading.Thread(target=self._run, daemon=True).start()

    def enqueue(self, kernel: Kernel) -> None:
        if self.captured is None:
            self._work.put(kernel)
        else:
            self.captured.append(kernel)

    def wait(self) -> None:
        self._work.join()

    def end(self) -> None:
        self._work.put(None)

    def _run(self) -> None:
        while True:
            kernel = self._work.get()
            if kernel is None:
                return
            kernel()
            self._work.task_done()


class SimulatedGpu:
    """What CUDA keeps, and cuda-python's functions of the same names; each returns a status and its results."""

    cudaError_t = types.SimpleNamespace(cudaSuccess=0)
    cudaMemcpyKind = types.SimpleNamespace(cudaMemcpyHostToDevice=1, cudaMemcpyDeviceToHost=2)
    cudaStreamCaptureMode = types.SimpleNamespace(cudaStreamCaptureModeThreadLocal=1)
    cudaStreamNonBlocking = 1

    def __init__(self) -> None:
        self.streams: Dict[int, Stream] = {0: Stream()}
        self.wrong: collections.Counter[str] = collections.Counter()
        self._graphs: Dict[int, List[Kernel]] = {}
        self._memory: Dict[int, np.ndarray] = {}  # what is freed too
        self.allocated: Set[int] = set()
        self._numbers = iter(range(1 << 20, 1 << 30, 16))
        self._launch = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)(self._launch_graph)
        self._one = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)(lambda argument: 0)
        self.cuCtxGetCurrent = self.cuCtxPushCurrent_v2 = self.cuCtxPopCurrent_v2 = self.cuStreamSynchronize = self._one
        self.cuGraphLaunch = self._launch

    def _launch_graph(self, graph: int, stream: Optional[int]) -> int:
        for kernel in self._graphs[graph]:
            self.streams[stream or 0].enqueue(kernel)
        return 0

    def _no_result(self, *_: Any) -> Tuple[int]:
        return (0,)

    cudaSetDevice = cudaGraphDestroy = cudaGraphExecDestroy = _no_result  # noqa: N815

    def cudaGetDevice(self) -> Tuple[int, int]:  # noqa: N802
        return 0, 0

    def cudaGetErrorName(self, status: int) -> Tuple[int, bytes]:  # noqa: N802
        return 0, f"error {status}".encode()

    cudaGetErrorString = cudaGetErrorName  # noqa: N815

    def cudaMalloc(self, size: int) -> Tuple[int, int]:  # noqa: N802
        memory = np.full(size + 256, 0xAB, "uint8")
        self._memory[memory.ctypes.data] = memory
        self.allocated.add(memory.ctypes.data)
        return 0, memory.ctypes.data

    def cudaFree(self, address: int) -> Tuple[int]:  # noqa: N802
        """Waits for what may use it; what uses it later finds something else there."""
        for stream in list(self.streams.values()):
            stream.wait()
        self._memory[address].fill(0xCD)
        self.allocated.remove(address)
        return (0,)

    def cudaDeviceSynchronize(self) -> Tuple[int]:  # noqa: N802
        streams = list(self.streams.values())
        capturing = [stream for stream in streams if stream.captured is not None]
        for stream in capturing:
            stream.capture_failed = True
        if capturing:
            return (900,)
        for stream in streams:
            stream.wait()
        return (0,)

    def cudaStreamSynchronize(self, stream: int) -> Tuple[int]:  # noqa: N802
        self.streams[stream].wait()
        return (0,)

    def cudaStreamCreateWithFlags(self, flags: int) -> Tuple[int, int]:  # noqa: N802
        number = next(self._numbers)
        self.streams[number] = Stream()
        return 0, number

    def cudaStreamDestroy(self, stream: int) -> Tuple[int]:  # noqa: N802
        self.streams.pop(stream).end()
        return (0,)

    def cudaStreamBeginCapture(self, stream: int, mode: int) -> Tuple[int]:  # noqa: N802
        self.streams[stream].captured = []
        return (0,)

    def cudaStreamEndCapture(self, stream: int) -> Tuple[int, Optional[List[Kernel]]]:  # noqa: N802
        captured, self.streams[stream].captured = self.streams[stream].captured, None
        return (901, None) if self.streams[stream].capture_failed else (0, captured)

    def cudaGraphInstantiateWithFlags(self, graph: List[Kernel], flags: int) -> Tuple[int, int]:  # noqa: N802
        number = next(self._numbers)
        self._graphs[number] = graph
        return 0, number


class Context:
    """An execution context, and the engine that makes them."""

    device_memory_size = 1024
    device_memory = 0

    def __init__(self, gpu: SimulatedGpu) -> None:
        self._gpu = gpu
        self._state = {"alive": True, "running": 0}
        self._shapes: Dict[str, Tuple[int, ...]] = {}
        self._addresses: Dict[str, int] = {}

    def create_execution_context_without_device_memory(self) -> Context:
        return Context(self._gpu)

    def __del__(self) -> None:
        self._state["alive"] = False
        if self._state["running"]:
            self._gpu.wrong["a context is destroyed while the GPU runs it"] += 1

    def set_input_shape(self, name: str, shape: Tuple[int, ...]) -> bool:
        self._shapes[name] = shape
        return True

    def set_tensor_address(self, name: str, address: int) -> None:
        self._addresses[name] = address

    def get_tensor_shape(self, name: str) -> Tuple[int, ...]:
        (shape,) = self._shapes.values()
        return shape

    def execute_async_v3(self, handle: int) -> bool:
        stream, state, activations = self._gpu.streams[handle], self._state, self.device_memory
        (shape,), (x, y) = self._shapes.values(), self._addresses.values()
        captured = stream.captured is not None

        def elements(address: int) -> np.ndarray:
            if not state["alive"]:
                self._gpu.wrong["kernels of a context that is gone"] += 1
            return np.frombuffer((ctypes.c_float * int(np.prod(shape))).from_address(address), "float32")

        def first() -> None:
            elements(activations)[:] = elements(x) + 1

        def second() -> None:
            elements(y)[:] = elements(activations) * 2
            state["running"] -= not captured

        state["running"] += not captured
        stream.enqueue(first)
        time.sleep(random.random() * 1e-4)  # other threads have their turn, as TensorRT lets them
        stream.enqueue(second)
        return True
