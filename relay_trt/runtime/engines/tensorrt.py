"""The GPU engine: TensorRT."""

from __future__ import annotations

import logging
import time
from typing import Any, Dict, List, Optional, Sequence, Tuple

from ...graph import Graph
from ...options import parse_version
from .. import cuda
from ..builders.tensorrt import TensorRTBuilder, tensorrt_logger
from ..dltensor import CUDA, TensorView
from ..network import convert, output_name
from ..tensorrt_library import TensorRTUnavailable, load_tensorrt
from .base import BuildRequest, Engine, EngineError, Shapes

logger = logging.getLogger("TensorRT")


class TensorRTEngine(Engine):
    """A plan, deserialized, with one execution context.

    Parameters
    ----------
    graph : graph.Graph
        The subgraph that the plan was built from.
    plan : bytes-like
        The serialized engine.
    device_id : int
        The GPU that it was built on.
    """

    name = "tensorrt"

    def __init__(self, graph: Graph, plan: Any, device_id: int) -> None:
        trt = load_tensorrt()
        self._device_id = device_id
        self._inputs = [node.name for node in graph.inputs()]
        self._outputs = [output_name(index) for index in range(len(graph.heads))]
        with cuda.device(device_id):
            self._runtime = trt.Runtime(tensorrt_logger())  # must outlive the engine
            self._engine = self._runtime.deserialize_cuda_engine(plan)
            if self._engine is None:
                raise EngineError(f"{graph.symbol}: TensorRT cannot read the plan; the log says why")
            self._context = self._engine.create_execution_context()
            if self._context is None:
                raise EngineError(f"{graph.symbol}: TensorRT cannot make an execution context; the log says why")
        # The largest shape of each input: what it was compiled as, or what the profile says where that is dynamic.
        self._limits: Dict[str, Tuple[int, ...]] = {
            node.name: tuple(self._engine.get_tensor_profile_shape(node.name, 0)[2])
            if -1 in node.outputs[0].shape
            else node.outputs[0].shape
            for node in graph.inputs()
        }
        # Device memory for tensors that lie on the host, by binding.
        self._staging: Dict[str, cuda.DeviceBuffer] = {}

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
    def build(cls, request: BuildRequest) -> TensorRTEngine:
        graph = request.graph
        _check_version(graph)
        started = time.monotonic()
        with cuda.device(request.device_id):
            net = TensorRTBuilder()
            convert(graph, request.constants, net)
            plan = net.builder.build_serialized_network(net.network, _config(net, request))
            if plan is None:
                raise EngineError(f"{graph.symbol}: TensorRT cannot build the engine; the log says why")
        logger.info("%s: built an engine of %d bytes in %.1f s", graph.symbol, plan.nbytes, time.monotonic() - started)
        return cls(graph, plan, request.device_id)

    def accepts(self, shapes: Shapes, device_id: int) -> bool:
        return device_id == self._device_id and all(
            dimension <= limit
            for name, shape in zip(self._inputs, shapes)
            for dimension, limit in zip(shape, self._limits[name])
        )

    def run(self, inputs: Sequence[TensorView], outputs: Sequence[TensorView]) -> None:
        stream = cuda.current_stream()
        copies: List[Tuple[TensorView, int]] = []
        with cuda.device(self._device_id):
            for name, tensor in zip(self._inputs, inputs):
                address = self._device_address(name, tensor)
                if address != tensor.address:
                    cuda.copy_to_device(address, tensor.address, tensor.nbytes, stream)
                if not self._context.set_input_shape(name, tensor.shape):
                    raise EngineError(f"TensorRT refuses the shape {tensor.shape} of input {name!r}; the log says why")
                self._context.set_tensor_address(name, address)
            for name, tensor in zip(self._outputs, outputs):
                address = self._device_address(name, tensor)
                if address != tensor.address:
                    copies.append((tensor, address))
                self._context.set_tensor_address(name, address)
            if not self._context.execute_async_v3(stream):
                raise EngineError("TensorRT failed to run the engine; the log says why")
            for tensor, address in copies:
                cuda.copy_to_host(tensor.address, address, tensor.nbytes, stream)
            if any(tensor.device_type != CUDA for tensor in (*inputs, *outputs)):
                cuda.synchronize(stream)  # the host may change or read its tensors as soon as this returns

    def _device_address(self, name: str, tensor: TensorView) -> int:
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


def _config(net: TensorRTBuilder, request: BuildRequest) -> Any:
    """How TensorRT shall build: memory, precision, effort, and the shapes it must serve."""
    trt, settings, graph = load_tensorrt(), request.settings, request.graph
    config = net.builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, request.max_workspace_size)
    if request.use_fp16 or any(spec.dtype == "float16" for node in graph.nodes for spec in node.outputs):
        _allow_fp16(config, request)
    if net.has_float32_layers:
        config.set_flag(trt.BuilderFlag.OBEY_PRECISION_CONSTRAINTS)
    if not settings.use_tf32:
        config.clear_flag(trt.BuilderFlag.TF32)
    if settings.builder_level is not None and hasattr(config, "builder_optimization_level"):  # TensorRT 8.6
        config.builder_optimization_level = settings.builder_level
    if settings.tactic_sources is not None:
        config.set_tactic_sources(_tactic_sources(settings.tactic_sources))
    dynamic = [(node, shape) for node, shape in zip(graph.inputs(), request.shapes) if -1 in node.outputs[0].shape]
    if dynamic:
        profile = net.builder.create_optimization_profile()
        for node, shape in dynamic:
            smallest = tuple(1 if d < 0 else d for d in node.outputs[0].shape)
            profile.set_shape(node.name, smallest, shape, shape)
        config.add_optimization_profile(profile)
    return config


def _tactic_sources(names: Sequence[str]) -> int:
    known = load_tensorrt().TacticSource.__members__
    unknown = sorted(set(names) - set(known))
    if unknown:
        accepted = ", ".join(sorted(known))
        raise ValueError(f"TVM_TENSORRT_TACTIC_SOURCES has {', '.join(unknown)}; this TensorRT has {accepted}")
    return sum(1 << int(known[name]) for name in set(names))


def _allow_fp16(config: Any, request: BuildRequest) -> None:
    trt = load_tensorrt()
    if hasattr(trt.BuilderFlag, "FP16"):
        config.set_flag(trt.BuilderFlag.FP16)
        return
    reason = f"{request.graph.symbol}: TensorRT {trt.__version__} takes float16 only from the network's own types"
    if request.settings.strict:
        raise EngineError(f"{reason}, and TVM_TENSORRT_STRICT forbids computing in float32")
    logger.warning("%s: it computes in float32", reason)
