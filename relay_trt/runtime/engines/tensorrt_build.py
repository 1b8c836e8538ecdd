"""How TensorRT builds: precision, memory, shapes, kernel timings, calibration."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import re
from typing import Any, Dict, Iterator, List, Optional, Sequence

from ...graph import Graph, Profile
from .. import cuda
from ..builders.tensorrt import TensorRTBuilder
from ..calibration import Calibration
from ..half import in_half
from ..network import convert
from ..tensorrt_library import load_tensorrt
from .base import BuildRequest, EngineError

logger = logging.getLogger("TensorRT")

# What builds measured of kernels, by the names of timing caches: where no directory keeps it, the other subgraphs and
# batches of this process have it still. Only one build runs at a time.
_measured: Dict[str, bytes] = {}


def build_plan(request: BuildRequest, monitor: Optional[Any]) -> Any:
    """The plan of a request, as TensorRT's ``IHostMemory``. Runs in a thread of its own.

    Parameters
    ----------
    request : BuildRequest
        What to build from.
    monitor : tensorrt.IProgressMonitor, optional
        What TensorRT reports its progress to.

    Raises
    ------
    ConversionError, EngineError
        Where TensorRT refuses the network, or cannot build it.
    """
    trt = load_tensorrt()
    with cuda.device(request.device_id):
        graph, constants = request.graph, request.constants
        if request.use_fp16:
            typed = request.settings.strong_types or not hasattr(trt.BuilderFlag, "FP16")
            if typed:
                graph, constants = in_half(graph, constants)
        else:  # a model's own float16 says where it wants that; calibration chooses types itself
            typed = "float16" in graph.dtypes and request.calibration is None
        net = TensorRTBuilder(strongly_typed=typed, pins_float32=typed and not is_quantized(graph))
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


def is_quantized(graph: Graph) -> bool:
    """Whether the graph says itself what to compute in int8."""
    return any(node.name in ("qnn.quantize", "qnn.dequantize") for node in graph.nodes)


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
    if settings.builder_level is not None:
        if hasattr(config, "builder_optimization_level"):  # from TensorRT 8.6 on
            config.builder_optimization_level = settings.builder_level
        else:
            logger.warning("%s: TVM_TENSORRT_BUILDER_LEVEL has no effect before TensorRT 8.6", graph.symbol)
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
            config.set_calibration_profile(_calibration_profile(net, graph, request) or profile)


def _set_precision_flags(config: Any, net: TensorRTBuilder, request: BuildRequest) -> None:
    trt = load_tensorrt()
    # TensorRT 11 has none of these flags: its networks are always strongly typed.
    if (request.use_fp16 or "float16" in request.graph.dtypes) and hasattr(trt.BuilderFlag, "FP16"):
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


def _calibration_profile(net: TensorRTBuilder, graph: Graph, request: BuildRequest) -> Optional[Any]:
    """The shapes of the calls that were kept, where they are not the best ones of the engine's own profile.

    TensorRT calibrates with the best shapes of a profile, and reads as much of the calls as those have.
    """
    calibration = request.calibration
    if calibration is None or not calibration.batches:  # with a table, it does not calibrate
        return None
    if calibration.shapes == tuple(profile.opt for profile in request.profiles):
        return None
    return _optimization_profile(net, graph, [Profile(shape, shape, shape) for shape in calibration.shapes])


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
