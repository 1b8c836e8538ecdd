"""The CPU engine: ONNX Runtime."""

from __future__ import annotations

import ctypes
import logging
from typing import Callable, Dict, List, Optional, Sequence, Set, Tuple

import numpy as np
import onnx
import onnxruntime
import tvm

from ..builders.base import Shape
from ..builders.onnx import OnnxBuilder
from ..dltensor import TensorView
from ..network import convert
from .base import BuildRequest, Engine, EngineError, Shapes

logger = logging.getLogger("TensorRT")


class OnnxRuntimeEngine(Engine):
    """One inference session. Tensors on the host are read and written in place."""

    name = "onnxruntime"

    def __init__(self, session: onnxruntime.InferenceSession, constants: Sequence[onnxruntime.OrtValue]) -> None:
        self._session = session
        self._constants = constants  # ONNX Runtime 1.23 has copied them; that every version does is not promised
        self._inputs = [value.name for value in session.get_inputs()]
        self._outputs = [value.name for value in session.get_outputs()]
        # To bind a tensor takes longer than to run a small network, and most calls come with the same tensors again.
        self._binding = session.io_binding()
        self._bound: Dict[str, Tuple[int, Shape]] = {}

    @classmethod
    def unavailable(cls) -> Optional[str]:
        return None

    @classmethod
    def build(cls, request: BuildRequest) -> OnnxRuntimeEngine:
        graph = request.graph
        if request.use_fp16:
            logger.warning("%s: use_fp16 is for TensorRT; the CPU engine keeps the graph's own types", graph.symbol)
        builder = OnnxBuilder()
        convert(graph, request.constants, builder)
        model = builder.model(graph.symbol)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors; its warnings are about its own optimizations
        # Of all ways to give it the weights, this one copies them once, and lets it fold and reorder them. Without
        # a copy (add_initializer) it refuses the models whose weights its optimizations want to read.
        constants = [onnxruntime.OrtValue.ortvalue_from_numpy(value) for value in model.external.values()]
        options.add_external_initializers(list(model.external), constants)
        try:
            session = onnxruntime.InferenceSession(
                model.model.SerializeToString(),
                options,
                providers=["CPUExecutionProvider"],
                disabled_optimizers=_harmful_optimizers(model.model),
            )
        except Exception as error:  # onnxruntime raises its own, unrelated kinds
            raise EngineError(f"{graph.symbol}: ONNX Runtime refuses the network: {error}") from error
        return cls(session, constants)

    def accepts(self, shapes: Shapes, device_id: int) -> bool:
        return True

    def run(self, inputs: Sequence[TensorView], outputs: Sequence[TensorView]) -> None:
        copies: List[np.ndarray] = []  # on the host, of tensors that are not
        results: List[Tuple[TensorView, np.ndarray]] = []
        for name, tensor in zip(self._inputs, inputs):
            address = tensor.address
            if not tensor.on_host:
                copies.append(_tvm_array(tensor).numpy())
                address = copies[-1].ctypes.data
            self._bind(self._binding.bind_input, name, tensor, address)
        for name, tensor in zip(self._outputs, outputs):
            address = tensor.address
            if not tensor.on_host:
                results.append((tensor, np.empty(tensor.shape, tensor.dtype)))
                address = results[-1][1].ctypes.data
            self._bind(self._binding.bind_output, name, tensor, address)
        try:
            self._session.run_with_iobinding(self._binding)
        except Exception as error:  # onnxruntime raises its own, unrelated kinds
            raise EngineError(f"ONNX Runtime failed to run the network: {error}") from error
        for tensor, result in results:
            _tvm_array(tensor).copyfrom(result)

    def _bind(self, bind: Callable[..., None], name: str, tensor: TensorView, address: int) -> None:
        """Tell the session where a tensor lies, unless it knows."""
        if self._bound.get(name) != (address, tensor.shape):
            bind(name, "cpu", 0, np.dtype(tensor.dtype), tensor.shape, address)
            self._bound[name] = (address, tensor.shape)


def _harmful_optimizers(model: onnx.ModelProto) -> Set[str]:
    """What moves transposes through an interpolating Resize, into orders of dimensions that its kernel refuses."""
    resizes = [node for node in model.graph.node if node.op_type == "Resize"]
    modes = {attribute.s for node in resizes for attribute in node.attribute if attribute.name == "mode"}
    # It runs twice, under two names.
    return {"TransposeOptimizer", "TransposeOptimizer_CPUExecutionProvider"} if modes - {b"nearest"} else set()


def _tvm_array(tensor: TensorView) -> tvm.nd.NDArray:
    handle = ctypes.cast(tensor.handle, tvm._ffi.runtime_ctypes.TVMArrayHandle)
    return tvm.nd.NDArray(handle, is_view=True)
