"""The GPU engine: TensorRT."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import functools
import json
import logging
import re
import statistics
import threading
import time
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

import numpy as np

from ...graph import Graph, Profile
from ...options import parse_version
from .. import cuda
from ..builders.tensorrt import TensorRTBuilder, tensorrt_logger
from ..calibration import Calibration
from ..dltensor import CPU, CUDA, TensorView
from ..half import in_half
from ..launches import Captured
from ..network import convert, output_name
from ..progress import building
from ..tensorrt_library import TensorRTUnavailable, load_tensorrt
from .base import BuildRequest, Engine, EngineError, Layer, Shapes, random_values

logger = logging.getLogger("TensorRT")

# What builds measured of kernels, by the names of timing caches: where no directory keeps it, the other subgraphs and
# batches of this process have it still. Only one build runs at a time.
_measured: Dict[str, bytes] = {}

# Contexts that an engine keeps, one for each stream: programs have a handful, and each holds memory.
MAX_CONTEXTS = 16


class TensorRTEngine(Engine):
    """A plan, deserialized, with an execution context for each stream that uses it.

    Work on one stream runs in its order, so that calls on the same stream can share a context and the device memory
    that their host tensors pass through; calls on different streams share nothing but the weights.

    Parameters
    ----------
    request : BuildRequest
        What the plan was built from.
    plan : bytes-like
        The serialized engine.
    """

    name = "tensorrt"

    def __init__(self, request: BuildRequest, plan: Any) -> None:
        trt = load_tensorrt()
        symbol = request.graph.symbol
        self._symbol = symbol
        self._device_id = request.device_id
        self._specs = {node.name: node.outputs[0] for node in request.graph.inputs()}
        self._profiles = request.profiles
        self._outputs = [output_name(index) for index in range(len(request.graph.heads))]
        with cuda.device(self._device_id):
            self._runtime = trt.Runtime(tensorrt_logger())  # must outlive the engine
            self._engine = self._runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            raise EngineError(f"{symbol}: TensorRT cannot read the plan; the log says why")
        # In TensorRT 8.5, contexts cannot share an optimization profile, and there is one for all of them.
        dynamic = any(-1 in spec.shape for spec in self._specs.values())
        self._one_context = dynamic and parse_version(trt.__version__) < (8, 6, 0)
        self._captures = request.settings.cuda_graph and not self._one_context
        self._contexts: collections.OrderedDict[int, _Context] = collections.OrderedDict()
        self._lock = threading.Lock()  # of the contexts' dict
        with cuda.device(self._device_id):
            self._context(cuda.current_stream())  # where there is not enough memory for one, better now

    def __del__(self) -> None:
        """Free contexts, engine and runtime, in that order."""
        with contextlib.suppress(Exception):  # the process may be ending, and CUDA gone
            with cuda.device(self._device_id):
                self._contexts.clear()
                self._engine = None
                self._runtime = None

    @classmethod
    def unavailable(cls) -> Optional[str]:
        try:
            load_tensorrt()
            if cuda.device_count() == 0:
                return "there is no NVIDIA GPU"
        except TensorRTUnavailable as error:
            return str(error)
        except ImportError as error:
            return f"cuda-python is not installed ({error}): pip install 'relay_trt[tensorrt]'"
        except RuntimeError as error:  # cuda-python raises it where there is no driver
            return f"there is no NVIDIA GPU that CUDA can use: {error}"
        return None

    @classmethod
    def facts(cls, request: BuildRequest) -> Dict[str, Any]:
        settings = request.settings
        return {
            "engine": cls.name,
            "tensorrt": load_tensorrt().__version__,
            **cuda.describe_device(request.device_id),
            "max_workspace_size": request.max_workspace_size,
            "strong_types": settings.strong_types,
            "use_tf32": settings.use_tf32,
            "builder_level": settings.builder_level,
            "tactic_sources": settings.tactic_sources,
        }

    @classmethod
    def calibrates(cls, request: BuildRequest) -> bool:
        if not request.settings.use_int8:
            return False
        if hasattr(load_tensorrt(), "IInt8EntropyCalibrator2"):
            return not _is_quantized(request.graph)
        reason = f"{request.graph.symbol}: this TensorRT has no calibration: quantize the model itself"
        if request.settings.strict:
            raise EngineError(f"{reason}; TVM_TENSORRT_STRICT forbids to go on without int8")
        logger.warning("%s; it computes without int8", reason)
        return False

    @classmethod
    def build(cls, request: BuildRequest) -> TensorRTEngine:
        graph = request.graph
        _check_version(graph)
        started = time.monotonic()
        plan = building(graph.symbol, functools.partial(_build, request))
        engine = cls(request, plan)
        seconds = time.monotonic() - started
        logger.info("%s: built an engine of %d bytes in %.1f s", graph.symbol, plan.nbytes, seconds)
        if request.use_fp16:
            engine._verify_float16(request)
        return engine

    @classmethod
    def load(cls, request: BuildRequest, plan: Any) -> TensorRTEngine:
        _check_version(request.graph)
        return cls(request, plan)

    def serialize(self) -> Any:
        with cuda.device(self._device_id):
            return self._engine.serialize()

    def accepts(self, shapes: Shapes, device_id: int) -> bool:
        return device_id == self._device_id and all(
            profile.admits(shape) for profile, shape in zip(self._profiles, shapes)
        )

    def run(self, inputs: Sequence[TensorView], outputs: Sequence[TensorView]) -> None:
        stream = cuda.current_stream()
        with cuda.device(self._device_id):
            context = self._context(stream)
            try:
                context.run(inputs, outputs, stream)
            except Exception:
                with self._lock:  # what state it is in, nobody knows
                    self._contexts.pop(self._owner(stream), None)
                raise

    def timed(self, inputs: Sequence[TensorView], outputs: Sequence[TensorView]) -> Dict[str, float]:
        stream = cuda.current_stream()
        with cuda.device(self._device_id):
            watch = self._context(stream).timed(inputs, outputs, stream)
            return {kind: watch.milliseconds(kind) for kind in ("engine", "copies")}

    @property
    def captures(self) -> bool:
        return self._captures

    def capture(self, inputs: Sequence[TensorView], outputs: Sequence[TensorView]) -> Optional[Captured]:
        stream = cuda.current_stream()
        with cuda.device(self._device_id):
            try:
                # Of its own: the graph holds the addresses of this context's memory.
                context = _Context(self, self._engine, stream, shares_memory=True)
                context.run(inputs, outputs, stream)  # TensorRT must have run once in these shapes
                return context.captured(self, inputs, outputs, stream)
            except (EngineError, cuda.CudaError) as error:
                self._captures = False
                logger.warning("%s: calls are enqueued, as they cannot be captured: %s", self._symbol, error)
                return None

    def information(self) -> List[Dict[str, Any]]:
        trt = load_tensorrt()
        inspector = self._engine.create_engine_inspector()
        text = inspector.get_engine_information(trt.LayerInformationFormat.JSON)
        layers: List[Any] = json.loads(text)["Layers"]
        # A plan that was built without details has nothing but names.
        return [layer if isinstance(layer, dict) else {"Name": layer} for layer in layers]

    def profile(self, runs: int) -> List[Layer]:
        trt = load_tensorrt()
        times: Dict[str, List[float]] = {}

        class Profiler(trt.IProfiler):  # type: ignore[name-defined]
            def __init__(self) -> None:
                trt.IProfiler.__init__(self)

            def report_layer_time(self, layer_name: str, ms: float) -> None:
                times.setdefault(layer_name, []).append(ms)

        with cuda.device(self._device_id), cuda.stream() as stream:
            if self._one_context:
                self._contexts.clear()  # the next call makes it anew
            context = _Context(self, self._engine, stream)
            profiler = context.profiler = Profiler()
            shapes = {name: profile.opt for name, profile in zip(self._specs, self._profiles)}
            buffers = context.bind_random(shapes)
            for run in range(runs + 1):
                context.execute()
                cuda.synchronize(stream)
                if run == 0:  # the first loads kernels
                    times.clear()
        del buffers, profiler  # alive until here: TensorRT keeps no reference
        return [Layer(name, statistics.median(values)) for name, values in times.items()]

    def _context(self, stream: int) -> _Context:
        owner = self._owner(stream)
        context = self._contexts.get(owner)
        if context is not None:
            return context
        with self._lock:
            if owner not in self._contexts:
                if len(self._contexts) == MAX_CONTEXTS:
                    self._contexts.popitem(last=False)
                self._contexts[owner] = _Context(self, self._engine, stream)
            return self._contexts[owner]

    def _owner(self, stream: int) -> int:
        """The stream under which the context for a stream is kept."""
        return 0 if self._one_context else stream

    def _verify_float16(self, request: BuildRequest) -> None:
        """TensorRT may compute in float32 what it was allowed to compute in float16."""
        layers = self.information()
        half = sum(map(_uses_float16, layers))
        logger.info("%s: %d of %d layers read or write float16", self._symbol, half, len(layers))
        if half or not any(spec.dtype == "float32" for node in request.graph.nodes for spec in node.outputs):
            return
        reason = f"{self._symbol}: float16 was asked for, and TensorRT chose float32 for every layer"
        if request.settings.strict:
            raise EngineError(f"{reason}, which TVM_TENSORRT_STRICT forbids")
        logger.warning("%s", reason)


class _Context:
    """An execution context that belongs to one stream, or where it must, to all; and to one caller at a time."""

    def __init__(self, owner: TensorRTEngine, engine: Any, stream: int, shares_memory: bool = False) -> None:
        self._symbol, self._device_id = owner._symbol, owner._device_id
        self._inputs, self._outputs = list(owner._specs), owner._outputs
        self._engine, self._stream = engine, stream
        self._for_all_streams = owner._one_context
        self._context = self._without_memory() if shares_memory else self._engine.create_execution_context()
        if self._context is None:
            raise EngineError(f"{self._symbol}: TensorRT cannot make an execution context; the log says why")
        if shares_memory:
            self._share_memory()
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
            with cuda.device(self._device_id):
                cuda.call("cudaDeviceSynchronize")  # of the one stream, nobody knows whether it still exists
                self._context = None
                self._staging.clear()

    def run(self, inputs: Sequence[TensorView], outputs: Sequence[TensorView], stream: int) -> None:
        tensors = (*inputs, *outputs)
        with self._lock:
            self._bind_all(inputs, outputs, stream)
            self._enqueue(inputs, outputs, [tensor.address for tensor in tensors])
            # The host may change or read its tensors as soon as this returns, and another stream begin the next run.
            if self._for_all_streams or any(tensor.device_type != CUDA for tensor in tensors):
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
        for name, tensor in zip(self._inputs, inputs):
            self.bind_input(name, tensor.shape, self._on_device(name, tensor))
        for name, tensor in zip(self._outputs, outputs):
            self.bind(name, self._on_device(name, tensor))
        self._check(inputs, outputs)

    def captured(
        self, engine: TensorRTEngine, inputs: Sequence[TensorView], outputs: Sequence[TensorView], stream: int
    ) -> Captured:
        """What `run` has just done with these tensors, as a graph."""
        tensors = (*inputs, *outputs)
        pinned = [cuda.PinnedBuffer(tensor.nbytes) if tensor.device_type == CPU else None for tensor in tensors]
        on_host = [buffer.address if buffer else tensor.address for buffer, tensor in zip(pinned, tensors)]

        def enqueue(capturing: int) -> None:
            self._stream = capturing
            self._enqueue(inputs, outputs, on_host)

        with self._lock:
            graph = cuda.ExecutableGraph(enqueue)
        return Captured(
            engine,
            graph.address,
            cuda.current_context(),
            stream,
            staging=[buffer.address if buffer else 0 for buffer in pinned],
            synchronize=any(tensor.device_type != CUDA for tensor in tensors),
            owner=(self, pinned, graph),
        )

    def _enqueue(
        self,
        inputs: Sequence[TensorView],
        outputs: Sequence[TensorView],
        on_host: Sequence[int],
        lap: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Enqueue a run and the copies from and to the host, where each tensor lies at the address in ``on_host``.

        ``lap`` hears of each part when it has been enqueued: engine or copies.
        """
        for name, tensor, address in zip(self._inputs, inputs, on_host):
            if tensor.device_type != CUDA:
                cuda.copy_to_device(self._staging[name].address, address, tensor.nbytes, self._stream)
        lap("copies")
        self.execute()
        lap("engine")
        for name, tensor, address in zip(self._outputs, outputs, on_host[len(inputs) :]):
            if tensor.device_type != CUDA:
                cuda.copy_to_host(address, self._staging[name].address, tensor.nbytes, self._stream)
        lap("copies")

    def _without_memory(self) -> Any:
        trt = load_tensorrt()
        if hasattr(trt, "ExecutionContextAllocationStrategy"):  # from TensorRT 10 on, and from 11 on the only way
            return self._engine.create_execution_context(trt.ExecutionContextAllocationStrategy.USER_MANAGED)
        else:
            return self._engine.create_execution_context_without_device_memory()

    def _share_memory(self) -> None:
        """Have activations where all others that share memory on this stream have theirs."""
        if hasattr(self._engine, "device_memory_size_v2"):  # from TensorRT 10.1 on
            size = self._engine.device_memory_size_v2
        else:
            size = self._engine.device_memory_size
        self._memory = cuda.scratch(self._device_id, self._stream, size)
        if hasattr(self._context, "set_device_memory"):  # from TensorRT 10.1 on
            self._context.set_device_memory(self._memory.address, size)
        else:
            self._context.device_memory = self._memory.address

    def _check(self, inputs: Sequence[TensorView], outputs: Sequence[TensorView]) -> None:
        """Where TVM has inferred another shape than TensorRT, an output would be written past its end."""
        shapes = tuple(tensor.shape for tensor in (*inputs, *outputs))
        if shapes == self._checked:
            return
        for name, tensor in zip(self._outputs, outputs):
            computed = tuple(self._context.get_tensor_shape(name))
            if computed != tensor.shape:
                raise EngineError(f"{self._symbol}: TensorRT computes {name} as {computed}, TVM has {tensor.shape}")
        self._checked = shapes

    def bind_input(self, name: str, shape: Tuple[int, ...], address: int) -> None:
        if self._shapes.get(name) != shape:
            if not self._context.set_input_shape(name, shape):
                raise EngineError(f"{self._symbol}: TensorRT refuses the shape {shape} of input {name!r}")
            self._shapes[name] = shape
        self.bind(name, address)

    def bind(self, name: str, address: int) -> None:
        if self._addresses.get(name) != address:
            self._context.set_tensor_address(name, address)
            self._addresses[name] = address

    def execute(self) -> None:
        if not self._context.execute_async_v3(self._stream):
            raise EngineError(f"{self._symbol}: TensorRT failed to run the engine; the log says why")

    def bind_random(self, shapes: Mapping[str, Tuple[int, ...]]) -> List[cuda.DeviceBuffer]:
        """Bind inputs of random values in these shapes, and outputs; returns the memory, for the caller to keep."""
        buffers: List[cuda.DeviceBuffer] = []
        trt = load_tensorrt()
        for name, shape in shapes.items():
            value = random_values(shape, trt.nptype(self._engine.get_tensor_dtype(name)))
            buffers.append(cuda.DeviceBuffer(value.nbytes))
            cuda.copy_to_device(buffers[-1].address, value.ctypes.data, value.nbytes, self._stream)
            cuda.synchronize(self._stream)
            self.bind_input(name, shape, buffers[-1].address)
        for name in self._outputs:
            dtype = np.dtype(trt.nptype(self._engine.get_tensor_dtype(name)))
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


def _check_version(graph: Graph) -> None:
    installed, wanted = parse_version(load_tensorrt().__version__), graph.options.tensorrt_version
    if wanted > installed:
        raise EngineError(
            f"{graph.symbol} was compiled for TensorRT {'.'.join(map(str, wanted))}, and this is "
            f"{'.'.join(map(str, installed))}: partition with version={installed}"
        )


def _build(request: BuildRequest, monitor: Optional[Any]) -> Any:
    """The plan. Runs in a thread of its own."""
    trt = load_tensorrt()
    with cuda.device(request.device_id):
        typed = request.use_fp16 and (request.settings.strong_types or not hasattr(trt.BuilderFlag, "FP16"))
        graph, constants = request.graph, request.constants
        if typed:
            graph, constants = in_half(graph, constants)
        net = TensorRTBuilder(strongly_typed=typed)
        convert(graph, constants, net)
        config = net.builder.create_builder_config()
        # It must outlive the build.
        calibrator = _calibrator(graph, request.calibration) if request.calibration is not None else None
        with _timing_cache(config, request):
            _configure(config, net, dataclasses.replace(request, graph=graph), calibrator)
            if monitor is not None:
                config.progress_monitor = monitor
            plan = net.builder.build_serialized_network(net.network, config)
    if plan is None:
        raise EngineError(f"{graph.symbol}: TensorRT cannot build the engine; the log says why")
    return plan


def _configure(config: Any, net: TensorRTBuilder, request: BuildRequest, calibrator: Optional[Any]) -> None:
    """How TensorRT shall build: memory, precision, effort, and the shapes it must serve."""
    trt, settings, graph = load_tensorrt(), request.settings, request.graph
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, request.max_workspace_size)
    # What the inspector tells of a plan is written when it is built.
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    if not net.strongly_typed:
        _set_precision_flags(config, net, request)
    if not settings.use_tf32:
        config.clear_flag(trt.BuilderFlag.TF32)
    if settings.builder_level is not None and hasattr(config, "builder_optimization_level"):  # TensorRT 8.6
        config.builder_optimization_level = settings.builder_level
    if settings.tactic_sources is not None:
        config.set_tactic_sources(_tactic_sources(settings.tactic_sources))
    profile = _optimization_profile(net, graph, request.profiles)
    if profile is not None:
        config.add_optimization_profile(profile)
        if hasattr(trt.PreviewFeature, "PROFILE_SHARING_0806"):  # in 8.6 not the default yet, from 9 on it is
            config.set_preview_feature(trt.PreviewFeature.PROFILE_SHARING_0806, True)
    if calibrator is not None:
        config.set_flag(trt.BuilderFlag.INT8)
        config.int8_calibrator = calibrator
        if profile is not None:
            config.set_calibration_profile(profile)


def _set_precision_flags(config: Any, net: TensorRTBuilder, request: BuildRequest) -> None:
    trt = load_tensorrt()
    halves = any(spec.dtype == "float16" for node in request.graph.nodes for spec in node.outputs)
    # TensorRT 11 has none of these flags: its networks are always strongly typed.
    if (request.use_fp16 or halves) and hasattr(trt.BuilderFlag, "FP16"):
        config.set_flag(trt.BuilderFlag.FP16)
    if net.has_quantized_tensors and hasattr(trt.BuilderFlag, "INT8"):
        config.set_flag(trt.BuilderFlag.INT8)
    if net.has_float32_layers:
        config.set_flag(trt.BuilderFlag.OBEY_PRECISION_CONSTRAINTS)


def _optimization_profile(net: TensorRTBuilder, graph: Graph, profiles: Sequence[Profile]) -> Optional[Any]:
    dynamic = [(node, profile) for node, profile in zip(graph.inputs(), profiles) if -1 in node.outputs[0].shape]
    if not dynamic:
        return None
    optimization_profile = net.builder.create_optimization_profile()
    for node, profile in dynamic:
        optimization_profile.set_shape(node.name, profile.min, profile.opt, profile.max)
    return optimization_profile


def _tactic_sources(names: Sequence[str]) -> int:
    known = load_tensorrt().TacticSource.__members__
    unknown = sorted(set(names) - set(known))
    if unknown:
        accepted = ", ".join(sorted(known))
        raise ValueError(f"TVM_TENSORRT_TACTIC_SOURCES has {', '.join(unknown)}; this TensorRT has {accepted}")
    return sum(1 << int(known[name]) for name in set(names))


@contextlib.contextmanager
def _timing_cache(config: Any, request: BuildRequest) -> Iterator[None]:
    """Let the build within use what earlier ones measured of kernels, and keep what it measures itself."""
    if request.settings.builder_level == 0:  # at that level, TensorRT measures nothing
        yield
        return
    name, cache = _timing_cache_name(request), request.cache
    known = _measured.get(name) if cache is None else cache.read(name)
    if not config.set_timing_cache(config.create_timing_cache(known or b""), False):
        logger.warning("%s: TensorRT refuses the timing cache %s: it begins a new one", request.graph.symbol, name)
        config.set_timing_cache(config.create_timing_cache(b""), False)
    yield
    measured = config.get_timing_cache()

    def merge(current: Optional[bytes]) -> bytes:
        # Another process may have written meanwhile.
        if current is not None:
            measured.combine(config.create_timing_cache(current), False)
        return bytes(measured.serialize())

    if cache is None:
        _measured[name] = bytes(measured.serialize())
    else:
        cache.update(name, merge)


def _timing_cache_name(request: BuildRequest) -> str:
    """Timing caches are good for one TensorRT and one kind of GPU."""
    device = cuda.describe_device(request.device_id)
    parts = ["timing", load_tensorrt().__version__, device["gpu"], device["compute_capability"]]
    return re.sub(r"[^A-Za-z0-9]+", "_", "_".join(parts))


def _calibrator(graph: Graph, calibration: Calibration) -> Any:
    """What feeds TensorRT the kept calls, or their table."""
    trt = load_tensorrt()

    class Calibrator(trt.IInt8EntropyCalibrator2):  # type: ignore[name-defined]
        def __init__(self) -> None:
            trt.IInt8EntropyCalibrator2.__init__(self)
            self._batches = iter(calibration.batches)
            self._buffers: Dict[str, cuda.DeviceBuffer] = {}

        def get_batch_size(self) -> int:
            return 1  # of networks with an explicit batch, TensorRT asks and does not care

        def get_batch(self, names: Sequence[str]) -> Optional[List[int]]:
            batch = next(self._batches, None)
            if batch is None:
                return None
            for node, value in zip(graph.inputs(), batch):
                if node.name not in self._buffers:  # all calls that were kept have the same shapes
                    self._buffers[node.name] = cuda.DeviceBuffer(value.nbytes)
                cuda.copy_to_device(self._buffers[node.name].address, value.ctypes.data, value.nbytes, 0)
            cuda.synchronize(0)
            return [self._buffers[name].address for name in names]

        def read_calibration_cache(self) -> Optional[bytes]:
            return calibration.table

        def write_calibration_cache(self, table: Any) -> None:
            calibration.table = bytes(table)

    return Calibrator()


def _is_quantized(graph: Graph) -> bool:
    return any(node.name in ("qnn.quantize", "qnn.dequantize") for node in graph.nodes)


def _uses_float16(described: Mapping[str, Any]) -> bool:
    """Whether an inspected layer reads or writes float16, which TensorRT 8 calls FP16 and later ones Half."""
    return bool(re.search(r"\b(FP16|Half)\b", json.dumps([described.get("Inputs"), described.get("Outputs")])))
