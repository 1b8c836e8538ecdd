"""The ways to compute a network that are compared: a compiled library, and what it uses without TVM around it."""

from __future__ import annotations

import ctypes
import tempfile
import threading
import weakref
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Sequence

import numpy as np
import onnxruntime
import tvm
from tvm import relay
from tvm.contrib.graph_executor import GraphModule

from relay_trt import partition_report
from relay_trt.runtime import cuda

from .timing import Candidate


def compiled(mod: tvm.IRModule, target: str, params: Optional[Dict[str, Any]] = None) -> Any:
    """Built, exported and loaded again, as what is deployed is."""
    with tvm.transform.PassContext(opt_level=3):
        library = relay.build(mod, target=target, params=params)
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "library.so")
        library.export_library(path)
        return tvm.runtime.load_module(path)


def by_graph_executor(module: GraphModule, data: np.ndarray, device: Any) -> Candidate:
    """An executor; its input lies on the device already."""
    module.set_input("data", tvm.nd.array(data, device))
    if device.device_type == tvm.cpu().device_type:
        return Candidate(module.run, outputs=lambda: outputs_of(module))
    seconds = on_device(module.run, cuda.current_stream())
    return Candidate(module.run, device.sync, lambda: outputs_of(module), seconds)


def on_a_stream(candidate: Candidate, device: Any) -> Candidate:
    """An executor on a stream of its own, which becomes TVM's in the thread that calls it."""
    stream = device.create_raw_stream()
    prepared = threading.local()

    def launch() -> None:
        if not hasattr(prepared, "done"):
            device.set_raw_stream(stream)
            prepared.done = True
        candidate.launch()

    weakref.finalize(launch, device.free_raw_stream, stream)
    return Candidate(launch, lambda: device.sync(stream), candidate.outputs)


def by_graph_executor_on_host(module: GraphModule, data: np.ndarray) -> Candidate:
    """An executor whose tensors are on the host."""
    module.set_input("data", data)
    return Candidate(module.run, outputs=lambda: outputs_of(module))


def by_graph_executor_from_arrays(module: GraphModule, data: np.ndarray) -> Candidate:
    """An executor whose tensors are on the host, given an array and asked for one in each call."""

    def call() -> None:
        module.set_input("data", data)
        module.run()
        module.get_output(0).numpy()

    return Candidate(call, outputs=lambda: outputs_of(module))


def outputs_of(module: GraphModule) -> List[np.ndarray]:
    return [module.get_output(index).numpy() for index in range(module.get_num_outputs())]


def by_onnxruntime(model: bytes, data: np.ndarray) -> Candidate:
    """A session of ONNX Runtime's own defaults; inputs and outputs are bound once, as fast as it goes."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # its warnings are about its own optimizations
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    binding = session.io_binding()
    binding.bind_cpu_input(session.get_inputs()[0].name, data)
    for output in session.get_outputs():
        binding.bind_output(output.name, "cpu")
    return Candidate(lambda: session.run_with_iobinding(binding), outputs=binding.copy_outputs_to_cpu)


class Bound:
    """A plan's execution context on a stream of its own, and its tensors on the GPU: one input, and the outputs."""

    def __init__(self, context: Any, tensor: tvm.nd.NDArray, outputs: List[tvm.nd.NDArray]) -> None:
        self.context, self.input, self.outputs = context, tensor, outputs
        # TVM's default stream, on which other candidates run, would wait for all of the blocking kind.
        self.stream = int(cuda.call("cudaStreamCreateWithFlags", cuda._cudart().cudaStreamNonBlocking))

    def __del__(self) -> None:
        cuda._cudart().cudaStreamDestroy(self.stream)

    def enqueue(self, stream: Optional[int] = None) -> None:
        """On its own stream, unless it is to be captured on another."""
        if not self.context.execute_async_v3(self.stream if stream is None else stream):
            raise RuntimeError("TensorRT failed to run the engine; its log says why")

    def wait(self) -> None:
        cuda.synchronize(self.stream)

    def results(self) -> List[np.ndarray]:
        return [output.numpy() for output in self.outputs]


def bound(plan: Any, data: np.ndarray, device: Any) -> Bound:
    """A deserialized plan, ready to run by TensorRT alone; its input lies on the device already."""
    import tensorrt

    context = plan.create_execution_context()
    names = [plan.get_tensor_name(index) for index in range(plan.num_io_tensors)]
    is_input = {name: plan.get_tensor_mode(name) == tensorrt.TensorIOMode.INPUT for name in names}
    (name,) = [name for name in names if is_input[name]]
    context.set_input_shape(name, data.shape)
    tensors = {name: tvm.nd.array(data, device)}
    for name in [name for name in names if not is_input[name]]:
        dtype = np.dtype(tensorrt.nptype(plan.get_tensor_dtype(name))).name
        tensors[name] = tvm.nd.empty(tuple(context.get_tensor_shape(name)), dtype, device)
    for name, tensor in tensors.items():
        context.set_tensor_address(name, address(tensor))
    first, *others = tensors.values()
    device.sync()  # for the copy of the input: streams of that kind do not wait for it
    return Bound(context, first, others)


def address(tensor: tvm.nd.NDArray) -> int:
    return int(tensor.handle.contents.data)


def by_plan(plan: Any, data: np.ndarray, device: Any) -> Candidate:
    """A deserialized plan, enqueued by execute_async_v3."""
    ready = bound(plan, data, device)
    return Candidate(ready.enqueue, ready.wait, ready.results, on_device(ready.enqueue, ready.stream))


def by_cuda_graph(plan: Any, data: np.ndarray, device: Any) -> Candidate:
    """A deserialized plan, captured in a CUDA graph."""
    ready = bound(plan, data, device)
    launch = captured(ready)
    return Candidate(launch, ready.wait, ready.results, on_device(launch, ready.stream))


def by_cuda_graph_from_host(plan: Any, data: np.ndarray, device: Any, copies: bool) -> Candidate:
    """A CUDA graph between copies from pinned memory to the GPU and back.

    With ``copies``, the input is first copied into the pinned memory, and the outputs are copied out of it in the end.
    """
    ready = bound(plan, data, device)
    launch_graph = captured(ready)
    pinned = Pinned(data.shape, data.dtype.name)
    pinned.array[...] = data
    results = [Pinned(output.shape, output.dtype) for output in ready.outputs]

    def launch() -> None:
        if copies:
            pinned.array[...] = data
        cuda.copy_to_device(address(ready.input), pinned.address, data.nbytes, ready.stream)
        launch_graph()
        for output, result in zip(ready.outputs, results):
            cuda.copy_to_host(result.address, address(output), result.array.nbytes, ready.stream)

    def values() -> List[np.ndarray]:
        return [result.array.copy() for result in results]

    def wait() -> None:
        ready.wait()
        if copies:
            values()

    return Candidate(launch, wait, values)


def captured(ready: Bound) -> Callable[[], None]:
    """Launches what the context enqueues, as a CUDA graph."""
    ready.enqueue()  # TensorRT does then what it puts off until the first run, and cannot do while capturing
    ready.wait()
    graph = cuda.ExecutableGraph(ready.enqueue)
    cudart = cuda._cudart()
    # Without what cuda.call and conversions of arguments take, which would be part of the time.
    launch, executable, stream = cudart.cudaGraphLaunch, cudart.cudaGraphExec_t(graph.address), ready.stream

    def launch_graph(_owner: Any = (ready, graph)) -> None:
        (status,) = launch(executable, stream)
        if status:
            raise RuntimeError(f"CUDA failed to launch the graph: {status}")

    return launch_graph


class Pinned:
    """Memory of the host that the GPU can copy from and to by itself, as an array."""

    def __init__(self, shape: Sequence[int], dtype: str) -> None:
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        self._buffer = cuda.PinnedBuffer(size)
        self.address = self._buffer.address
        memory = (ctypes.c_uint8 * size).from_address(self.address)
        self.array = np.ctypeslib.as_array(memory).view(dtype).reshape(tuple(shape))


def on_device(launch: Callable[[], Any], stream: int) -> Callable[[], float]:
    """Returns the device's seconds of what a function enqueues on a stream."""

    def seconds() -> float:
        launch()  # keeps the device busy until what is timed is enqueued
        watch = cuda.Stopwatch(stream)
        launch()
        watch.lap("call")
        return watch.milliseconds("call") / 1e3

    return seconds


def expect_one_subgraph(mod: tvm.IRModule) -> None:
    """An engine next to several, with TVM's operators in between, would not be the same thing."""
    report = partition_report(mod)
    if report.refused or len(report.subgraphs) != 1:
        raise SystemExit(f"only a network that goes into one subgraph can be compared with its engine:\n{report}")


def largest_difference(outputs: Sequence[np.ndarray], expected: Sequence[np.ndarray]) -> float:
    """As a part of the largest value."""
    return max(float(np.abs(a - b).max() / np.abs(b).max()) for a, b in zip(outputs, expected))
