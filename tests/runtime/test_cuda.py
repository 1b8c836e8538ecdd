"""The few functions of CUDA: errors in words, and memory that is freed."""

from __future__ import annotations

import ctypes
import threading
import types
from typing import Any, List, Tuple

import numpy as np
import pytest
import tvm

from relay_trt.runtime import cuda


class FakeRuntime:
    """In place of cuda-python: every call succeeds but those that are asked to fail."""

    cudaError_t = types.SimpleNamespace(cudaSuccess=0)
    cudaMemcpyKind = types.SimpleNamespace(cudaMemcpyHostToDevice="h2d", cudaMemcpyDeviceToHost="d2h")

    def __init__(self) -> None:
        self.calls: List[Tuple[Any, ...]] = []
        self.failing: List[str] = []
        self.current = 0

    def _done(self, name: str, *arguments: Any, result: Tuple[Any, ...] = ()) -> Tuple[Any, ...]:
        self.calls.append((name, *arguments))
        return (2, *[None for _ in result]) if name in self.failing else (0, *result)

    def cudaGetDevice(self) -> Tuple[Any, ...]:  # noqa: N802
        return self._done("cudaGetDevice", result=(self.current,))

    def cudaSetDevice(self, device: int) -> Tuple[Any, ...]:  # noqa: N802
        self.current = device
        return self._done("cudaSetDevice", device)

    def cudaGetDeviceCount(self) -> Tuple[Any, ...]:  # noqa: N802
        return self._done("cudaGetDeviceCount", result=(2,))

    def cudaMalloc(self, size: int) -> Tuple[Any, ...]:  # noqa: N802
        return self._done("cudaMalloc", size, result=(4096,))

    def cudaFree(self, address: int) -> Tuple[Any, ...]:  # noqa: N802
        return self._done("cudaFree", address)

    def cudaMemcpyAsync(self, *arguments: Any) -> Tuple[Any, ...]:  # noqa: N802
        return self._done("cudaMemcpyAsync", *arguments)

    cudaStreamNonBlocking = 1
    cudaStreamCaptureMode = types.SimpleNamespace(cudaStreamCaptureModeThreadLocal="thread")

    def cudaStreamCreateWithFlags(self, flags: int) -> Tuple[Any, ...]:  # noqa: N802
        return self._done("cudaStreamCreateWithFlags", flags, result=(50,))

    def cudaDeviceSynchronize(self) -> Tuple[Any, ...]:  # noqa: N802
        return self._done("cudaDeviceSynchronize")

    def cudaStreamDestroy(self, stream: int) -> Tuple[Any, ...]:  # noqa: N802
        return self._done("cudaStreamDestroy", stream)

    def cudaStreamBeginCapture(self, stream: int, mode: str) -> Tuple[Any, ...]:  # noqa: N802
        return self._done("cudaStreamBeginCapture", stream, mode)

    def cudaStreamEndCapture(self, stream: int) -> Tuple[Any, ...]:  # noqa: N802
        return self._done("cudaStreamEndCapture", stream, result=(60,))

    def cudaGraphInstantiateWithFlags(self, graph: int, flags: int) -> Tuple[Any, ...]:  # noqa: N802
        return self._done("cudaGraphInstantiateWithFlags", graph, flags, result=(70,))

    def cudaGraphDestroy(self, graph: int) -> Tuple[Any, ...]:  # noqa: N802
        return self._done("cudaGraphDestroy", graph)

    def cudaGraphExecDestroy(self, graph: int) -> Tuple[Any, ...]:  # noqa: N802
        return self._done("cudaGraphExecDestroy", graph)

    def cudaHostAlloc(self, size: int, flags: int) -> Tuple[Any, ...]:  # noqa: N802
        return self._done("cudaHostAlloc", size, flags, result=(8192,))

    def cudaFreeHost(self, address: int) -> Tuple[Any, ...]:  # noqa: N802
        return self._done("cudaFreeHost", address)

    def cudaGetErrorName(self, status: int) -> Tuple[int, bytes]:  # noqa: N802
        return 0, b"cudaErrorMemoryAllocation"

    def cudaGetErrorString(self, status: int) -> Tuple[int, bytes]:  # noqa: N802
        return 0, b"out of memory"


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> FakeRuntime:
    fake = FakeRuntime()
    monkeypatch.setattr(cuda, "_cudart", lambda: fake)
    return fake


def test_a_result(runtime: FakeRuntime) -> None:
    assert cuda.device_count() == 2
    assert cuda.call("cudaSetDevice", 1) is None


def test_an_error_is_in_words(runtime: FakeRuntime) -> None:
    runtime.failing.append("cudaMalloc")
    with pytest.raises(cuda.CudaError, match="cudaMalloc: cudaErrorMemoryAllocation: out of memory"):
        cuda.DeviceBuffer(1 << 40)
    assert ("cudaFree", 4096) not in runtime.calls


def test_a_buffer_is_freed(runtime: FakeRuntime) -> None:
    buffer = cuda.DeviceBuffer(16)
    assert (buffer.size, buffer.address) == (16, 4096)
    del buffer
    assert runtime.calls == [("cudaMalloc", 16), ("cudaFree", 4096)]


def test_an_empty_buffer_has_an_address(runtime: FakeRuntime) -> None:
    assert cuda.DeviceBuffer(0).address == 4096
    assert ("cudaMalloc", 1) in runtime.calls


def test_the_device_is_restored_whatever_happens(runtime: FakeRuntime) -> None:
    with pytest.raises(KeyError), cuda.device(1):
        assert runtime.current == 1
        raise KeyError
    assert runtime.current == 0


def test_copies(runtime: FakeRuntime) -> None:
    cuda.copy_to_device(1, 2, 3, 4)
    cuda.copy_to_host(5, 6, 7, 8)
    assert runtime.calls == [("cudaMemcpyAsync", 1, 2, 3, "h2d", 4), ("cudaMemcpyAsync", 5, 6, 7, "d2h", 8)]


def test_pinned_memory_is_freed(runtime: FakeRuntime) -> None:
    buffer = cuda.PinnedBuffer(16)
    assert buffer.address == 8192
    del buffer
    assert runtime.calls == [("cudaHostAlloc", 16, 0), ("cudaFreeHost", 8192)]


def test_a_graph(runtime: FakeRuntime) -> None:
    graph = cuda.ExecutableGraph(lambda stream: runtime.calls.append(("enqueue", stream)))
    assert graph.address == 70
    names = [name for name, *_ in runtime.calls]
    assert names[:4] == ["cudaStreamCreateWithFlags", "cudaStreamBeginCapture", "enqueue", "cudaStreamEndCapture"]
    assert ("enqueue", 50) in runtime.calls
    del graph
    assert [name for name, *_ in runtime.calls[4:]] == [
        *("cudaGraphInstantiateWithFlags", "cudaGraphDestroy", "cudaStreamDestroy", "cudaGraphExecDestroy")
    ]


@pytest.mark.parametrize("failing", ["cudaStreamBeginCapture", "cudaStreamEndCapture", "cudaGraphInstantiateWithFlags"])
def test_what_cannot_be_captured(failing: str, runtime: FakeRuntime) -> None:
    runtime.failing.append(failing)
    with pytest.raises(cuda.CudaError, match=failing):
        cuda.ExecutableGraph(lambda stream: None)
    names = [name for name, *_ in runtime.calls]
    assert names[-1] == "cudaStreamDestroy"
    assert ("cudaGraphDestroy" in names) == (failing == "cudaGraphInstantiateWithFlags")
    assert "cudaGraphExecDestroy" not in names


def test_a_capture_ends_whatever_happens(runtime: FakeRuntime) -> None:
    def enqueue(stream: int) -> None:
        raise KeyError

    with pytest.raises(KeyError):
        cuda.ExecutableGraph(enqueue)
    assert [name for name, *_ in runtime.calls[-2:]] == ["cudaStreamEndCapture", "cudaStreamDestroy"]


def test_no_gpu_is_waited_for_while_it_captures(runtime: FakeRuntime) -> None:
    """Neither by the thread that captures, where garbage is collected, nor by another."""
    mine, theirs = [object()], [object()]
    other = threading.Thread(target=cuda.free_when_idle, args=(0, theirs))

    def enqueue(stream: int) -> None:
        cuda.free_when_idle(1, mine)
        other.start()
        other.join(0.1)
        assert mine and theirs
        assert "cudaDeviceSynchronize" not in [name for name, *_ in runtime.calls]

    cuda.ExecutableGraph(enqueue)
    other.join()
    assert not mine and not theirs
    names = [name for name, *_ in runtime.calls]
    assert names.index("cudaStreamEndCapture") < names.index("cudaDeviceSynchronize")
    assert names.count("cudaDeviceSynchronize") == 2
    assert ("cudaSetDevice", 1) in runtime.calls


def test_graphs_share_memory(runtime: FakeRuntime) -> None:
    scratch = cuda.Scratch()
    first = scratch.for_graphs(100)
    assert scratch.for_graphs(50) is first
    larger = scratch.for_graphs(200)
    assert larger is not first and larger.size == 200
    assert scratch.for_graphs(100) is larger


def test_who_enqueues_has_memory_to_himself(runtime: FakeRuntime) -> None:
    scratch = cuda.Scratch()
    graphs = scratch.for_graphs(100)
    with scratch.borrowed(100) as one, scratch.borrowed(50) as other:
        assert len({id(graphs), id(one), id(other)}) == 3
    with scratch.borrowed(50) as later:
        assert later is one
    del one, later
    runtime.calls.clear()
    with pytest.raises(KeyError), scratch.borrowed(200) as larger:
        assert runtime.calls == [("cudaFree", 4096), ("cudaMalloc", 200)]  # in this order, or memory may not suffice
        raise KeyError
    with scratch.borrowed(100) as later:
        assert later is larger


def test_scratch_memory_is_a_stream_s(runtime: FakeRuntime) -> None:
    scratch = cuda.scratch(0, 1)
    assert cuda.scratch(0, 1) is scratch
    assert cuda.scratch(0, 2) is not scratch
    assert cuda.scratch(1, 1) is not scratch
    block = scratch.for_graphs(100)
    del scratch
    assert cuda.scratch(0, 1).for_graphs(10) is not block  # nobody had it any more


def test_a_tvm_that_does_not_tell_its_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tvm, "get_global_func", lambda name, allow_missing: None)
    assert cuda.current_stream() == 0


@pytest.mark.parametrize(("stream", "expected"), [(None, 0), (ctypes.c_void_p(None), 0), (ctypes.c_void_p(77), 77)])
def test_tvm_s_stream(stream: Any, expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tvm, "get_global_func", lambda name, allow_missing: lambda: stream)
    assert cuda.current_stream() == expected


@pytest.mark.gpu
class TestOnAGpu:
    def test_devices(self) -> None:
        assert cuda.device_count() >= 1
        with pytest.raises(cuda.CudaError, match="cudaSetDevice: cudaErrorInvalidDevice: "), cuda.device(99):
            pass
        assert cuda.call("cudaGetDevice") == 0

    def test_there_and_back(self) -> None:
        there = np.arange(10, dtype="float32")
        back = np.zeros_like(there)
        buffer = cuda.DeviceBuffer(there.nbytes)
        cuda.copy_to_device(buffer.address, there.ctypes.data, there.nbytes, 0)
        cuda.copy_to_host(back.ctypes.data, buffer.address, there.nbytes, 0)
        cuda.synchronize(0)
        np.testing.assert_array_equal(back, there)

    def test_memory_is_given_back(self) -> None:
        cuda.DeviceBuffer(1)  # CUDA's own memory for the context comes first
        free, _ = memory()
        for _ in range(4):
            cuda.DeviceBuffer(1 << 28)
        assert memory()[0] > free - (1 << 28)

    def test_the_stream_is_tvm_s(self) -> None:
        device = tvm.cuda(0)
        assert cuda.current_stream() == 0
        stream = device.create_raw_stream()
        device.set_raw_stream(stream)
        try:
            assert cuda.current_stream() == stream.value
            cuda.synchronize(stream.value)
        finally:
            device.set_raw_stream(ctypes.c_void_p(None))
            device.free_raw_stream(stream)


def memory() -> Tuple[int, int]:
    """Free and total memory of the GPU."""
    _, free, total = cuda._cudart().cudaMemGetInfo()
    return free, total
