"""The GPU engine: TensorRT."""

from __future__ import annotations

import collections
import contextlib
import json
import logging
import re
import statistics
import threading
import time
from typing import Any, Dict, List, Mapping, Optional, Sequence

from ...graph import Graph
from ...options import parse_version
from .. import cuda
from ..builders.tensorrt import tensorrt_logger
from ..dltensor import TensorView
from ..launches import Captured
from ..network import output_name
from ..progress import run_build, tensorrt_monitor
from ..tensorrt_library import TensorRTUnavailable, load_tensorrt
from .base import BuildRequest, Engine, EngineError, Layer, Shapes
from .tensorrt_build import build_plan, is_quantized
from .tensorrt_context import ExecutionContext, LoadedPlan

logger = logging.getLogger("TensorRT")

# Contexts that an engine keeps, one for each stream: programs have a handful, and each holds memory.
MAX_CONTEXTS = 16
MAX_FAILED_CAPTURES = 3


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
        graph, device_id = request.graph, request.device_id
        self._profiles = request.profiles
        # In TensorRT 8.5, contexts cannot share an optimization profile, and there is one for all of them.
        dynamic = any(-1 in node.outputs[0].shape for node in graph.inputs())
        one_context = dynamic and parse_version(trt.__version__) < (8, 6, 0)
        self._captures = request.settings.cuda_graph and not one_context
        self._failed_captures = 0
        self._contexts: collections.OrderedDict[int, ExecutionContext] = collections.OrderedDict()
        self._lock = threading.Lock()  # of the contexts' dict
        with cuda.device(device_id):
            self._runtime = trt.Runtime(tensorrt_logger())  # must outlive the engine
            engine = self._runtime.deserialize_cuda_engine(plan)
            if engine is None:
                raise EngineError(f"{graph.symbol}: TensorRT cannot read the plan; the log says why")
            inputs = [node.name for node in graph.inputs()]
            outputs = [output_name(index) for index in range(len(graph.heads))]
            self._plan = LoadedPlan(graph.symbol, device_id, engine, inputs, outputs, one_context)
            self._context(cuda.current_stream())  # where there is not enough memory for one, better now

    def __del__(self) -> None:
        """Free contexts, engine and runtime, in that order."""
        with contextlib.suppress(Exception):  # the process may be ending, and CUDA gone
            with cuda.device(self._plan.device_id):
                self._contexts.clear()
                del self._plan
                del self._runtime

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
            return not is_quantized(request.graph)
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
        plan = run_build(graph.symbol, lambda progress: build_plan(request, tensorrt_monitor(progress)))
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
        with cuda.device(self._plan.device_id):
            return self._plan.engine.serialize()

    def accepts(self, shapes: Shapes, device_id: int) -> bool:
        return device_id == self._plan.device_id and all(
            profile.admits(shape) for profile, shape in zip(self._profiles, shapes)
        )

    def run(self, inputs: Sequence[TensorView], outputs: Sequence[TensorView]) -> None:
        stream = cuda.current_stream()
        with cuda.device(self._plan.device_id):
            context = self._context(stream)
            try:
                context.run(inputs, outputs, stream)
            except BaseException:
                with self._lock:  # what state it is in, nobody knows
                    self._contexts.pop(self._owner(stream), None)
                raise

    def timed(self, inputs: Sequence[TensorView], outputs: Sequence[TensorView]) -> Dict[str, float]:
        stream = cuda.current_stream()
        with cuda.device(self._plan.device_id):
            watch = self._context(stream).timed(inputs, outputs, stream)
            return {kind: watch.milliseconds(kind) for kind in ("engine", "copies")}

    @property
    def captures(self) -> bool:
        return self._captures

    def capture(self, inputs: Sequence[TensorView], outputs: Sequence[TensorView]) -> Optional[Captured]:
        stream = cuda.current_stream()
        with cuda.device(self._plan.device_id):
            try:
                # Of its own: the graph holds the addresses of this context's memory.
                context = ExecutionContext(self._plan, stream)
            except (EngineError, cuda.CudaError) as error:
                self._cannot_capture(error)
                return None
            context.run(inputs, outputs, stream)  # TensorRT must have run once in these shapes
            try:
                return context.captured(self, inputs, outputs, stream)
            except (EngineError, cuda.CudaError) as error:
                self._cannot_capture(error)
                return None

    def _cannot_capture(self, error: Exception) -> None:
        """Others may have ended this capture, by waiting for the whole GPU; so it takes several to give up."""
        self._failed_captures += 1
        self._captures = self._failed_captures < MAX_FAILED_CAPTURES
        if not self._captures:
            logger.warning("%s: calls are enqueued, as they cannot be captured: %s", self._plan.symbol, error)

    def information(self) -> List[Dict[str, Any]]:
        trt = load_tensorrt()
        inspector = self._plan.engine.create_engine_inspector()
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

        with cuda.device(self._plan.device_id), cuda.stream() as stream:
            if self._plan.one_context:
                self._contexts.clear()  # the next call makes it anew
            context = ExecutionContext(self._plan, stream)
            profiler = context.profiler = Profiler()
            shapes = {name: profile.opt for name, profile in zip(self._plan.inputs, self._profiles)}
            buffers = context.bind_random(shapes)
            for run in range(runs + 1):
                context.execute()
                cuda.synchronize(stream)
                if run == 0:  # the first loads kernels
                    times.clear()
        del buffers, profiler  # alive until here: TensorRT keeps no reference
        return [Layer(name, statistics.median(values)) for name, values in times.items()]

    def _context(self, stream: int) -> ExecutionContext:
        owner = self._owner(stream)
        context = self._contexts.get(owner)
        if context is not None:
            with contextlib.suppress(KeyError):  # another thread has dropped it, and it lives as long as it is used
                self._contexts.move_to_end(owner)
            return context
        with self._lock:
            if owner not in self._contexts:
                if len(self._contexts) == MAX_CONTEXTS:
                    self._contexts.popitem(last=False)
                self._contexts[owner] = ExecutionContext(self._plan, stream)
            return self._contexts[owner]

    def _owner(self, stream: int) -> int:
        """The stream under which the context for a stream is kept."""
        return 0 if self._plan.one_context else stream

    def _verify_float16(self, request: BuildRequest) -> None:
        """TensorRT may compute in float32 what it was allowed to compute in float16."""
        layers = self.information()
        half = sum(map(_uses_float16, layers))
        logger.info("%s: %d of %d layers read or write float16", self._plan.symbol, half, len(layers))
        if half or "float32" not in request.graph.dtypes or any(map(_is_many_layers, layers)):
            return
        reason = f"{self._plan.symbol}: float16 was asked for, and TensorRT chose float32 for every layer"
        if request.settings.strict:
            raise EngineError(f"{reason}, which TVM_TENSORRT_STRICT forbids")
        logger.warning("%s", reason)


def _check_version(graph: Graph) -> None:
    installed, wanted = parse_version(load_tensorrt().__version__), graph.options.tensorrt_version
    if wanted > installed:
        raise EngineError(
            f"{graph.symbol} was compiled for TensorRT {'.'.join(map(str, wanted))}, and this is "
            f"{'.'.join(map(str, installed))}: partition with version={installed}"
        )


def _is_many_layers(described: Mapping[str, Any]) -> bool:
    """Whether an inspected layer is several that TensorRT's compiler has made one; of their types nothing is told."""
    return "ForeignNode[" in described.get("Name", "")


def _uses_float16(described: Mapping[str, Any]) -> bool:
    """Whether an inspected layer reads or writes float16, which TensorRT 8 calls FP16 and later ones Half."""
    return bool(re.search(r"\b(FP16|Half)\b", json.dumps([described.get("Inputs"), described.get("Outputs")])))
