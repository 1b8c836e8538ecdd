"""The CPU engine: ONNX Runtime."""

from __future__ import annotations

import ctypes
import logging
from typing import Any, List, Optional, Sequence, Tuple

import numpy as np
import onnxruntime
import tvm

from ..builders.onnx import OnnxBuilder
from ..converters import convert
from ..converters.network import output_name
from ..dltensor import TensorView
from .base import BuildRequest, Engine, EngineError, Shapes

logger = logging.getLogger("TensorRT")


class OnnxRuntimeEngine(Engine):
    """One inference session. Tensors on the host are read and written in place."""

    name = "onnxruntime"

    def __init__(self, session: onnxruntime.InferenceSession, constants: Sequence[Any]) -> None:
        self._session = session
        self._constants = constants  # the session reads them where they are
        self._input_names = [value.name for value in session.get_inputs()]

    @classmethod
    def unavailable(cls) -> Optional[str]:
        return None

    @classmethod
    def build(cls, request: BuildRequest) -> OnnxRuntimeEngine:
        graph = request.graph
        if request.use_fp16:
            logger.warning("%s: the CPU engine has no float16 mode: it computes in the graph's own types", graph.symbol)
        builder = OnnxBuilder()
        convert(graph, request.constants, builder)
        model = builder.model(graph.symbol)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors; its warnings are about its own optimizations
        constants = [onnxruntime.OrtValue.ortvalue_from_numpy(value) for value in model.external.values()]
        options.add_external_initializers(list(model.external), constants)
        try:
            session = onnxruntime.InferenceSession(
                model.model.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime raises its own, unrelated kinds
            raise EngineError(f"{graph.symbol}: ONNX Runtime refuses the network: {error}") from error
        return cls(session, constants)

    def accepts(self, shapes: Shapes, device_id: int) -> bool:
        return True

    def run(self, inputs: Sequence[TensorView], outputs: Sequence[TensorView]) -> None:
        binding = self._session.io_binding()
        staged: List[Tuple[TensorView, np.ndarray]] = []
        for name, tensor in zip(self._input_names, inputs):
            _bind(binding.bind_input, name, _host_copy(tensor))
        for index, tensor in enumerate(outputs):
            array = tensor.numpy() if tensor.on_host else np.empty(tensor.shape, tensor.dtype)
            if not tensor.on_host:
                staged.append((tensor, array))
            _bind(binding.bind_output, output_name(index), array)
        self._session.run_with_iobinding(binding)
        for tensor, array in staged:
            _tvm_array(tensor).copyfrom(array)


def _bind(bind: Any, name: str, array: np.ndarray) -> None:
    bind(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)


def _host_copy(tensor: TensorView) -> np.ndarray:
    """The tensor itself where the CPU can read it, else a copy that TVM makes."""
    return tensor.numpy() if tensor.on_host else _tvm_array(tensor).numpy()


def _tvm_array(tensor: TensorView) -> tvm.nd.NDArray:
    handle = ctypes.cast(tensor.handle, tvm._ffi.runtime_ctypes.TVMArrayHandle)
    return tvm.nd.NDArray(handle, is_view=True)
