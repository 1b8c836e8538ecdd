"""The CPU engine: ONNX Runtime."""

from __future__ import annotations

import json
import logging
import statistics
import tempfile
import threading
import time
from typing import Any, Callable, Dict, List, Optional, Sequence, Set, Tuple

import numpy as np
import onnx
import onnxruntime

from ..builders.base import Shape
from ..builders.onnx import OnnxBuilder, OnnxModel
from ..dltensor import TensorView, copy_to_host, tvm_array
from ..network import convert
from .base import BuildRequest, Engine, EngineError, Layer, Shapes, random_values

logger = logging.getLogger("TensorRT")


class OnnxRuntimeEngine(Engine):
    """One inference session. Tensors on the host are read and written in place."""

    name = "onnxruntime"

    def __init__(self, request: BuildRequest, model: OnnxModel, content: bytes) -> None:
        self._request = request
        # Not the model itself: one that was loaded has all of the weights in it, and the content has them, too.
        self._content, self._external = content, model.external
        self._disabled_optimizers = _harmful_optimizers(model.model)
        # Of all ways to give it the weights, this one copies them once, and lets it fold and reorder them. Without
        # a copy (add_initializer) it refuses the models whose weights its optimizations want to read.
        constants = [onnxruntime.OrtValue.ortvalue_from_numpy(value) for value in model.external.values()]
        self._constants = constants  # ONNX Runtime 1.23 has copied them; that every version does is not promised
        self._session = session = self._new_session(_session_options())
        self._inputs = [value.name for value in session.get_inputs()]
        self._outputs = [value.name for value in session.get_outputs()]
        # To bind a tensor takes longer than to run a small network, and most calls come with the same tensors again.
        self._binding = session.io_binding()
        self._bound: Dict[str, Tuple[int, Shape]] = {}
        self._lock = threading.Lock()  # a binding belongs to one caller at a time

    @classmethod
    def unavailable(cls) -> Optional[str]:
        return None

    @classmethod
    def facts(cls, request: BuildRequest) -> Dict[str, Any]:
        return {"engine": cls.name, "onnxruntime": onnxruntime.__version__, "onnx": onnx.version.version}

    @classmethod
    def build(cls, request: BuildRequest) -> OnnxRuntimeEngine:
        graph = request.graph
        if request.use_fp16:
            logger.warning("%s: use_fp16 is for TensorRT; the CPU engine keeps the graph's own types", graph.symbol)
        if request.settings.use_int8:
            logger.warning("%s: int8 calibration is for TensorRT; the CPU engine does not do it", graph.symbol)
        builder = OnnxBuilder()
        convert(graph, request.constants, builder)
        model = builder.model(graph.symbol)
        return cls(request, model, model.model.SerializeToString())

    @classmethod
    def load(cls, request: BuildRequest, plan: Any) -> OnnxRuntimeEngine:
        content = bytes(plan)
        try:
            model = onnx.ModelProto.FromString(content)
        except Exception as error:  # protobuf's own kinds, which differ by version
            raise EngineError(f"{request.graph.symbol}: the plan is no ONNX model: {error}") from error
        return cls(request, OnnxModel(model, {}), content)

    def serialize(self) -> bytes:
        if not self._external:
            return self._content
        model = OnnxModel(onnx.ModelProto.FromString(self._content), self._external)
        return bytes(model.complete().SerializeToString())

    def accepts(self, shapes: Shapes, device_id: int) -> bool:
        return True

    def run(self, inputs: Sequence[TensorView], outputs: Sequence[TensorView]) -> None:
        with self._lock:
            self._run(inputs, outputs)

    def timed(self, inputs: Sequence[TensorView], outputs: Sequence[TensorView]) -> Dict[str, float]:
        milliseconds = {"engine": 0.0, "copies": 0.0, "launch": 0.0}
        last = time.perf_counter()

        def lap(kind: str) -> None:
            nonlocal last
            now = time.perf_counter()
            milliseconds[kind] += (now - last) * 1e3
            last = now

        with self._lock:
            self._run(inputs, outputs, lap)
        del milliseconds["launch"]
        return milliseconds

    def information(self) -> List[Dict[str, Any]]:
        with tempfile.NamedTemporaryFile(suffix=".onnx") as file:
            options = _session_options()
            options.optimized_model_filepath = file.name
            self._new_session(options)
            nodes = onnx.load(file.name, load_external_data=False).graph.node
        return [
            {"name": node.name, "op": node.op_type, "inputs": list(node.input), "outputs": list(node.output)}
            for node in nodes
        ]

    def profile(self, runs: int) -> List[Layer]:
        with tempfile.TemporaryDirectory() as folder:
            options = _session_options()
            options.enable_profiling = True
            options.profile_file_prefix = f"{folder}/profile"
            session = self._new_session(options)
            feed = {
                node.name: random_values(profile.opt, node.outputs[0].dtype)
                for node, profile in zip(self._request.graph.inputs(), self._request.profiles)
            }
            for _ in range(runs):
                session.run(None, feed)
            with open(session.end_profiling()) as file:
                events = json.load(file)
        times: Dict[str, List[float]] = {}
        for event in events:
            if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
                times.setdefault(event["name"][: -len("_kernel_time")], []).append(event["dur"] / 1000)
        return [Layer(name, statistics.median(durations)) for name, durations in times.items()]

    def _new_session(self, options: onnxruntime.SessionOptions) -> onnxruntime.InferenceSession:
        options.add_external_initializers(list(self._external), self._constants)
        try:
            return onnxruntime.InferenceSession(
                self._content,
                options,
                providers=["CPUExecutionProvider"],
                disabled_optimizers=self._disabled_optimizers,
            )
        except Exception as error:  # onnxruntime raises its own, unrelated kinds
            symbol = self._request.graph.symbol
            raise EngineError(f"{symbol}: ONNX Runtime refuses the network: {error}") from error

    def _run(
        self, inputs: Sequence[TensorView], outputs: Sequence[TensorView], lap: Callable[[str], None] = lambda _: None
    ) -> None:
        """Run; ``lap`` hears of each part when it is done: engine, copies, or launch."""
        copies: List[np.ndarray] = []  # on the host, of tensors that are not
        results: List[Tuple[TensorView, np.ndarray]] = []
        for name, tensor in zip(self._inputs, inputs):
            address = tensor.address
            if not tensor.on_host:
                copies.append(copy_to_host(tensor))
                address = copies[-1].ctypes.data
            self._bind(self._binding.bind_input, name, tensor, address)
        for name, tensor in zip(self._outputs, outputs):
            address = tensor.address
            if not tensor.on_host:
                results.append((tensor, np.empty(tensor.shape, tensor.dtype)))
                address = results[-1][1].ctypes.data
            self._bind(self._binding.bind_output, name, tensor, address)
        lap("copies" if copies else "launch")
        try:
            self._session.run_with_iobinding(self._binding)
        except Exception as error:  # onnxruntime raises its own, unrelated kinds
            raise EngineError(f"ONNX Runtime failed to run the network: {error}") from error
        lap("engine")
        for tensor, result in results:
            tvm_array(tensor).copyfrom(result)
        lap("copies" if results else "launch")

    def _bind(self, bind: Callable[..., None], name: str, tensor: TensorView, address: int) -> None:
        """Tell the session where a tensor lies, unless it knows."""
        if self._bound.get(name) != (address, tensor.shape):
            self._bound.pop(name, None)  # where this is interrupted, nobody knows what it knows
            bind(name, "cpu", 0, np.dtype(tensor.dtype), tensor.shape, address)
            self._bound[name] = (address, tensor.shape)


def _session_options() -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors; its warnings are about its own optimizations
    # Its int8 kernels round otherwise than the float operators that they replace and, on CPUs without VNNI, saturate.
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    return options


def _harmful_optimizers(model: onnx.ModelProto) -> Set[str]:
    """The optimizers of ONNX Runtime that make models of this kind invalid."""
    harmful = set()
    if any(node.op_type == "QuantizeLinear" for node in model.graph.node):
        harmful.add("QDQFinalCleanupTransformer")  # removes what an output of the network still reads
    resizes = [node for node in model.graph.node if node.op_type == "Resize"]
    modes = {attribute.s for node in resizes for attribute in node.attribute if attribute.name == "mode"}
    if modes - {b"nearest"}:
        # Moves transposes through it, into orders of dimensions that its kernel refuses; runs twice, under two names.
        harmful |= {"TransposeOptimizer", "TransposeOptimizer_CPUExecutionProvider"}
    return harmful
