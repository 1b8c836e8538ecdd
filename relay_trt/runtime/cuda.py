"""The few functions of CUDA's runtime that the TensorRT engine needs, through NVIDIA's own bindings."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import threading
import weakref
from types import ModuleType
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple

import tvm


class CudaError(RuntimeError):
    """A call of CUDA's runtime failed; the message holds its name and CUDA's own words."""


@functools.lru_cache(maxsize=None)
def _cudart() -> ModuleType:
    """``cuda-python``'s runtime API, which moved in 12.6 and left its old place in 13."""
    try:
        from cuda.bindings import runtime
    except ImportError:
        from cuda import cudart as runtime
    return runtime


def call(function: str, *arguments: Any) -> Any:
    """Call ``function`` of CUDA's runtime and return its result, or None where it has none.

    Raises
    ------
    CudaError
        Where CUDA returns an error.
    """
    cudart = _cudart()
    status, *result = getattr(cudart, function)(*arguments)
    if status != cudart.cudaError_t.cudaSuccess:
        _, name = cudart.cudaGetErrorName(status)
        _, text = cudart.cudaGetErrorString(status)
        raise CudaError(f"{function}: {name.decode()}: {text.decode()}")
    return result[0] if result else None


def device_count() -> int:
    """How many GPUs there are.

    Raises
    ------
    ImportError
        Where cuda-python is not installed.
    CudaError, RuntimeError
        Where there is no driver, or no GPU.
    """
    return int(call("cudaGetDeviceCount"))


@contextlib.contextmanager
def device(device_id: int) -> Iterator[None]:
    """Make a GPU the current one within the block."""
    previous = call("cudaGetDevice")
    call("cudaSetDevice", device_id)
    try:
        yield
    finally:
        call("cudaSetDevice", previous)


@functools.lru_cache(maxsize=None)
def describe_device(device_id: int) -> Dict[str, str]:
    """What a plan depends on of a GPU: its name and its compute capability, as in ``"9.0"``."""
    properties = call("cudaGetDeviceProperties", device_id)
    return {"gpu": properties.name.decode(), "compute_capability": f"{properties.major}.{properties.minor}"}


@contextlib.contextmanager
def stream() -> Iterator[int]:
    """A stream of the current GPU that nothing else uses, for the time of the block."""
    handle = call("cudaStreamCreate")
    try:
        yield int(handle)
    finally:
        call("cudaStreamDestroy", handle)


#: What generated code calls of the driver, by the names that it has for it.
DRIVER_FUNCTIONS = {
    "get_context": "cuCtxGetCurrent",
    "push_context": "cuCtxPushCurrent_v2",
    "pop_context": "cuCtxPopCurrent_v2",
    "launch": "cuGraphLaunch",
    "synchronize": "cuStreamSynchronize",
}


@functools.lru_cache(maxsize=None)
def _driver() -> ctypes.CDLL:
    return ctypes.CDLL("libcuda.so.1")


def driver_functions() -> Dict[str, int]:
    """The addresses of `DRIVER_FUNCTIONS`, by their names there."""
    return {
        name: ctypes.cast(getattr(_driver(), function), ctypes.c_void_p).value or 0
        for name, function in DRIVER_FUNCTIONS.items()
    }


def current_context() -> int:
    """The ``CUcontext`` of this thread's current GPU."""
    context = ctypes.c_void_p()
    status = _driver().cuCtxGetCurrent(ctypes.byref(context))
    if status != 0:
        raise CudaError(f"cuCtxGetCurrent: error {status}")
    return context.value or 0


# A GPU must not be waited for as a whole while one of its streams captures, in whatever thread: that is an error, and
# ends the capture (CUDA C++ Programming Guide, "Prohibited and Unhandled Operations").
_one_capture = threading.RLock()
#: What was dropped in the middle of the capture, by the thread that captures; None while there is no capture.
_dropped: Optional[List[Tuple[int, List[Any]]]] = None


def free_when_idle(device_id: int, things: List[Any]) -> None:
    """Empty a list of things that a GPU may still use, once it does not."""
    with _one_capture:
        if _dropped is not None:
            _dropped.append((device_id, things))
            return
        with device(device_id):
            call("cudaDeviceSynchronize")
        things.clear()


class ExecutableGraph:
    """What a function enqueued, as one thing that can be launched again and again.

    Parameters
    ----------
    enqueue : function
        Enqueues work on the stream that is its argument. It is not run, only captured.

    Raises
    ------
    CudaError
        Where some of the work cannot be captured.
    """

    def __init__(self, enqueue: Callable[[int], None]) -> None:
        global _dropped
        with _one_capture:
            _dropped = []
            try:
                self._handle = self._captured(enqueue)
            finally:
                dropped, _dropped = _dropped, None
                for device_id, things in dropped:
                    free_when_idle(device_id, things)

    def _captured(self, enqueue: Callable[[int], None]) -> Any:
        cudart = _cudart()
        # A blocking stream would meet work that other threads enqueue on the default stream, which ends a capture.
        stream = call("cudaStreamCreateWithFlags", cudart.cudaStreamNonBlocking)
        try:
            mode = cudart.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
            call("cudaStreamBeginCapture", stream, mode)
            try:
                enqueue(int(stream))
            except BaseException:
                cudart.cudaStreamEndCapture(stream)  # its error would hide the one that is raised
                raise
            graph = call("cudaStreamEndCapture", stream)
            try:
                return call("cudaGraphInstantiateWithFlags", graph, 0)
            finally:
                call("cudaGraphDestroy", graph)
        finally:
            call("cudaStreamDestroy", stream)

    def __del__(self) -> None:
        handle = getattr(self, "_handle", None)
        if handle is not None:
            _cudart().cudaGraphExecDestroy(handle)  # at the end of the process CUDA may be gone

    @property
    def address(self) -> int:
        """The ``CUgraphExec``."""
        return int(self._handle)


class Stopwatch:
    """The time that the GPU takes between points of a stream."""

    def __init__(self, stream: int) -> None:
        self._stream = stream
        self._events: List[Tuple[str, Any]] = []
        self.lap("")

    def __del__(self) -> None:
        for _, event in self._events:
            _cudart().cudaEventDestroy(event)

    def lap(self, kind: str) -> None:
        """What was enqueued since the last point is of this kind."""
        event = call("cudaEventCreate")
        self._events.append((kind, event))
        call("cudaEventRecord", event, self._stream)

    def milliseconds(self, kind: str) -> float:
        """How long all of one kind took; waits for the GPU."""
        synchronize(self._stream)
        pairs = zip(self._events, self._events[1:])
        return float(sum(call("cudaEventElapsedTime", start, end) for (_, start), (of, end) in pairs if of == kind))


def current_stream() -> int:
    """TVM's current stream of this thread; the default stream (0) where this TVM has no way to ask."""
    get_stream = tvm.get_global_func("runtime.get_cuda_stream", allow_missing=True)
    stream = get_stream() if get_stream else None
    return (stream.value or 0) if stream is not None else 0


class DeviceBuffer:
    """Memory on the current GPU, freed with the object."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.address = int(call("cudaMalloc", max(size, 1)))

    def __del__(self) -> None:
        address = getattr(self, "address", None)
        if address is not None:
            _cudart().cudaFree(address)  # at the end of the process CUDA may be gone: nothing to do about it


class Scratch:
    """Memory on one GPU for what the work of one stream needs only while it runs.

    Work on a stream runs in its order, so that one block serves all that comes as a whole, as graphs do. What is
    enqueued kernel by kernel comes mixed with what other threads enqueue, and so has a block to itself until it is
    enqueued. All blocks are of the current GPU, and grow to the largest that is asked for.
    """

    def __init__(self) -> None:
        self._changing = threading.Lock()
        self._for_graphs: Optional[DeviceBuffer] = None
        self._free: List[DeviceBuffer] = []

    def for_graphs(self, size: int) -> DeviceBuffer:
        """The block of all graphs; who got it before it grew keeps the smaller."""
        with self._changing:
            if self._for_graphs is None or self._for_graphs.size < size:
                self._for_graphs = DeviceBuffer(size)
            return self._for_graphs

    @contextlib.contextmanager
    def borrowed(self, size: int) -> Iterator[DeviceBuffer]:
        """A block that nobody else has while this block of code enqueues."""
        with self._changing:
            block = self._free.pop() if self._free else None
        if block is None or block.size < size:
            del block  # before there is a larger one
            block = DeviceBuffer(size)
        try:
            yield block
        finally:
            with self._changing:
                self._free.append(block)


_scratch: weakref.WeakValueDictionary[Tuple[int, int], Scratch] = weakref.WeakValueDictionary()
_finding_scratch = threading.Lock()


def scratch(device_id: int, stream: int) -> Scratch:
    """That of a stream, the same for all who ask while one of them has it."""
    with _finding_scratch:
        return _scratch.setdefault((device_id, stream), Scratch())


class PinnedBuffer:
    """Memory on the host that the GPU reads and writes by itself, freed with the object."""

    def __init__(self, size: int) -> None:
        self.address = int(call("cudaHostAlloc", max(size, 1), 0))

    def __del__(self) -> None:
        address = getattr(self, "address", None)
        if address is not None:
            _cudart().cudaFreeHost(address)  # at the end of the process CUDA may be gone


def copy_to_device(destination: int, source: int, size: int, stream: int) -> None:
    """Enqueue a copy of ``size`` bytes from the host."""
    call("cudaMemcpyAsync", destination, source, size, _cudart().cudaMemcpyKind.cudaMemcpyHostToDevice, stream)


def copy_to_host(destination: int, source: int, size: int, stream: int) -> None:
    """Enqueue a copy of ``size`` bytes to the host."""
    call("cudaMemcpyAsync", destination, source, size, _cudart().cudaMemcpyKind.cudaMemcpyDeviceToHost, stream)


def synchronize(stream: int) -> None:
    """Wait for the work on a stream."""
    call("cudaStreamSynchronize", stream)
