"""How TensorRT runs: tensors, copies from and to the host, captures."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np

from .. import cuda
from ..dltensor import CPU, CUDA, TensorView
from ..launches import Captured
from ..tensorrt_library import load_tensorrt
from .base import Engine, EngineError, Shapes, random_values


@dataclasses.dataclass(frozen=True)
class LoadedPlan:
    """A deserialized plan.

    Attributes
    ----------
    symbol : str
        The name of the subgraph.
    device_id : int
        The GPU that it is on.
    engine : tensorrt.ICudaEngine
        TensorRT's own.
    inputs, outputs : sequence of str
        The names of its tensors, in the order of the subgraph's arguments.
    one_context : bool
        Whether it can have no more than one execution context, which then serves all streams.
    """

    symbol: str
    device_id: int
    engine: Any
    inputs: Sequence[str]
    outputs: Sequence[str]
    one_context: bool


class ExecutionContext:
    """An execution context that belongs to one stream, or where it must, to all; and to one caller at a time.

    What belongs to one stream has its activations in memory that it shares with all others of that stream.

    Parameters
    ----------
    loaded : LoadedPlan
        What it executes.
    stream : int
        The stream that it belongs to.

    Raises
    ------
    EngineError
        Where TensorRT cannot make it.
    """

    def __init__(self, loaded: LoadedPlan, stream: int) -> None:
        self._loaded, self._stream = loaded, stream
        self._context = loaded.engine.create_execution_context() if loaded.one_context else self._without_memory()
        if self._context is None:
            raise EngineError(f"{self._loaded.symbol}: TensorRT cannot make an execution context; the log says why")
        if not loaded.one_context:
            self._scratch = cuda.scratch(loaded.device_id, stream)
            self._size = self._memory_size()
            self._memory = 0  # where TensorRT has been told to have its activations
            with self._scratch.borrowed(self._size):
                pass  # where there is not enough, better now
        # What TensorRT has been told: most calls come with the same tensors again.
        self._addresses: Dict[str, int] = {}
        self._shapes: Dict[str, Tuple[int, ...]] = {}
        self._checked: Optional[Shapes] = None  # those of the last call's tensors
        # Device memory for tensors that lie on the host, by binding.
        self._staging: Dict[str, cuda.DeviceBuffer] = {}
        self._lock = threading.Lock()

    def __del__(self) -> None:
        """Let the GPU finish what was enqueued: it uses the context and the staging memory."""
        with contextlib.suppress(Exception):  # the process may be ending, and CUDA gone
            used = [self._context, self._staging]
            del self._context, self._staging
            cuda.free_when_idle(self._loaded.device_id, used)  # of its stream, nobody knows whether it still exists

    def run(self, inputs: Sequence[TensorView], outputs: Sequence[TensorView], stream: int) -> None:
        tensors = (*inputs, *outputs)
        with self._lock:
            self._bind_all(inputs, outputs, stream)
            self._enqueue(inputs, outputs, [tensor.address for tensor in tensors])
            # The host may change or read its tensors as soon as this returns, and another stream begin the next run.
            if self._loaded.one_context or any(tensor.device_type != CUDA for tensor in tensors):
                cuda.synchronize(stream)

    def timed(self, inputs: Sequence[TensorView], outputs: Sequence[TensorView], stream: int) -> cuda.Stopwatch:
        """Run, and have the engine and the copies timed."""
        with self._lock:
            self._bind_all(inputs, outputs, stream)
            watch = cuda.Stopwatch(stream)
            self._enqueue(inputs, outputs, [tensor.address for tensor in (*inputs, *outputs)], watch.lap)
            cuda.synchronize(stream)
            return watch

    def _bind_all(self, inputs: Sequence[TensorView], outputs: Sequence[TensorView], stream: int) -> None:
        self._stream = stream
        for name, tensor in zip(self._loaded.inputs, inputs):
            self.bind_input(name, tensor.shape, self._on_device(name, tensor))
        for name, tensor in zip(self._loaded.outputs, outputs):
            self.bind(name, self._on_device(name, tensor))
        self._check(inputs, outputs)

    def captured(
        self, engine: Engine, inputs: Sequence[TensorView], outputs: Sequence[TensorView], stream: int
    ) -> Captured:
        """What `run` has just done with these tensors, as a graph."""
        tensors = (*inputs, *outputs)
        pinned = [cuda.PinnedBuffer(tensor.nbytes) if tensor.device_type == CPU else None for tensor in tensors]
        on_host = [buffer.address if buffer else tensor.address for buffer, tensor in zip(pinned, tensors)]
        memory = self._scratch.for_graphs(self._size)

        def enqueue(capturing: int) -> None:
            self._stream = capturing
            self._enqueue(inputs, outputs, on_host, execute=lambda: self._execute_in(memory))

        with self._lock:
            graph = cuda.ExecutableGraph(enqueue)
        return Captured(
            engine,
            graph.address,
            cuda.current_context(),
            stream,
            staging=[buffer.address if buffer else 0 for buffer in pinned],
            synchronize=any(tensor.device_type != CUDA for tensor in tensors),
            owner=(self, memory, pinned, graph),
        )

    def _enqueue(
        self,
        inputs: Sequence[TensorView],
        outputs: Sequence[TensorView],
        on_host: Sequence[int],
        lap: Callable[[str], None] = lambda _: None,
        execute: Optional[Callable[[], None]] = None,
    ) -> None:
        """Enqueue a run and the copies from and to the host, where each tensor lies at the address in ``on_host``.

        ``lap`` hears of each part when it has been enqueued: engine or copies. ``execute`` is another way to enqueue
        the engine.
        """
        to_device = self._copies(self._loaded.inputs, inputs, on_host)
        for staged, address, size in to_device:
            cuda.copy_to_device(staged, address, size, self._stream)
        if to_device:
            lap("copies")
        (execute or self.execute)()
        lap("engine")
        to_host = self._copies(self._loaded.outputs, outputs, on_host[len(inputs) :])
        for staged, address, size in to_host:
            cuda.copy_to_host(address, staged, size, self._stream)
        if to_host:
            lap("copies")

    def _copies(
        self, names: Sequence[str], tensors: Sequence[TensorView], on_host: Sequence[int]
    ) -> List[Tuple[int, int, int]]:
        """Where tensors that are not on the GPU are staged there, where on the host they lie, and their sizes."""
        return [
            (self._staging[name].address, address, tensor.nbytes)
            for name, tensor, address in zip(names, tensors, on_host)
            if tensor.device_type != CUDA
        ]

    def _without_memory(self) -> Any:
        trt = load_tensorrt()
        if hasattr(trt, "ExecutionContextAllocationStrategy"):  # from TensorRT 10 on, and from 11 on the only way
            return self._loaded.engine.create_execution_context(trt.ExecutionContextAllocationStrategy.USER_MANAGED)
        else:
            return self._loaded.engine.create_execution_context_without_device_memory()

    def _memory_size(self) -> int:
        """How many bytes the activations take."""
        if hasattr(self._loaded.engine, "device_memory_size_v2"):  # from TensorRT 10.1 on
            return int(self._loaded.engine.device_memory_size_v2)
        else:
            return int(self._loaded.engine.device_memory_size)

    def _check(self, inputs: Sequence[TensorView], outputs: Sequence[TensorView]) -> None:
        """Where TVM has inferred another shape than TensorRT, an output would be written past its end."""
        shapes = tuple(tensor.shape for tensor in (*inputs, *outputs))
        if shapes == self._checked:
            return
        for name, tensor in zip(self._loaded.outputs, outputs):
            computed = tuple(self._context.get_tensor_shape(name))
            if computed != tensor.shape:
                raise EngineError(
                    f"{self._loaded.symbol}: TensorRT computes {name} as {computed}, TVM has {tensor.shape}"
                )
        self._checked = shapes

    def bind_input(self, name: str, shape: Tuple[int, ...], address: int) -> None:
        if self._shapes.get(name) != shape:
            self._shapes.pop(name, None)  # where this is interrupted, nobody knows what TensorRT knows
            self._checked = None
            if not self._context.set_input_shape(name, shape):
                raise EngineError(f"{self._loaded.symbol}: TensorRT refuses the shape {shape} of input {name!r}")
            self._shapes[name] = shape
        self.bind(name, address)

    def bind(self, name: str, address: int) -> None:
        if self._addresses.get(name) != address:
            self._addresses.pop(name, None)  # as above
            self._context.set_tensor_address(name, address)
            self._addresses[name] = address

    def execute(self) -> None:
        """Enqueue a run."""
        if self._loaded.one_context:  # which has memory of its own
            self._launch()
        else:
            with self._scratch.borrowed(self._size) as memory:
                self._execute_in(memory)

    def _execute_in(self, memory: cuda.DeviceBuffer) -> None:
        """Enqueue a run with its activations there."""
        if memory.address != self._memory:
            self._memory = 0  # as above
            if hasattr(self._context, "set_device_memory"):  # from TensorRT 10.1 on
                self._context.set_device_memory(memory.address, self._size)
            else:
                self._context.device_memory = memory.address
            self._memory = memory.address
        self._launch()

    def _launch(self) -> None:
        if not self._context.execute_async_v3(self._stream):
            raise EngineError(f"{self._loaded.symbol}: TensorRT failed to run the engine; the log says why")

    def bind_random(self, shapes: Mapping[str, Tuple[int, ...]]) -> List[cuda.DeviceBuffer]:
        """Bind inputs of random values in these shapes, and outputs; returns the memory, for the caller to keep."""
        buffers: List[cuda.DeviceBuffer] = []
        trt = load_tensorrt()
        for name, shape in shapes.items():
            value = random_values(shape, trt.nptype(self._loaded.engine.get_tensor_dtype(name)))
            buffers.append(cuda.DeviceBuffer(value.nbytes))
            cuda.copy_to_device(buffers[-1].address, value.ctypes.data, value.nbytes, self._stream)
            cuda.synchronize(self._stream)
            self.bind_input(name, shape, buffers[-1].address)
        for name in self._loaded.outputs:
            dtype = np.dtype(trt.nptype(self._loaded.engine.get_tensor_dtype(name)))
            size = int(np.prod(self._context.get_tensor_shape(name), dtype=np.int64)) * dtype.itemsize
            buffers.append(cuda.DeviceBuffer(size))
            self.bind(name, buffers[-1].address)
        return buffers

    @property
    def profiler(self) -> Any:
        return self._context.profiler

    @profiler.setter
    def profiler(self, profiler: Any) -> None:
        self._context.profiler = profiler

    def _on_device(self, name: str, tensor: TensorView) -> int:
        """Where TensorRT reads or writes a tensor: for one on the host, memory that it is copied from or to."""
        if tensor.device_type == CUDA:
            return tensor.address
        buffer = self._staging.get(name)
        if buffer is None or buffer.size < tensor.nbytes:
            buffer = self._staging[name] = cuda.DeviceBuffer(tensor.nbytes)
        return buffer.address
