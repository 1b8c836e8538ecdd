"""Networks as ONNX models, for ONNX Runtime and for every tool that reads ONNX."""

from __future__ import annotations

import dataclasses
from typing import Any, Dict, List, Optional, Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, shape_inference

from .base import ConversionError, NetworkBuilder, Shape, Tensor

# Opset 17 and IR 8: the newest that onnx 1.13 and onnxruntime 1.15, the oldest we accept, both know.
OPSET = 17
IR_VERSION = 8

# Constants of at least this many bytes stay outside the model: they are given to the engine as they are.
EXTERNAL_BYTES = 1024

_ACTIVATION = {"relu": "Relu", "sigmoid": "Sigmoid", "tanh": "Tanh", "leaky_relu": "LeakyRelu"}
_UNARY = {
    "exp": "Exp",
    "log": "Log",
    "sqrt": "Sqrt",
    "abs": "Abs",
    "neg": "Neg",
    "sin": "Sin",
    "cos": "Cos",
    "atan": "Atan",
    "ceil": "Ceil",
    "floor": "Floor",
    "erf": "Erf",
}
_ELEMENTWISE = {"sum": "Add", "sub": "Sub", "prod": "Mul", "div": "Div", "pow": "Pow", "max": "Max", "min": "Min"}
_POOLING = {"max": "MaxPool", "average": "AveragePool"}


@dataclasses.dataclass(frozen=True)
class OnnxModel:
    """A model and the constants that stay outside it, by name."""

    model: onnx.ModelProto
    external: Dict[str, np.ndarray]


class OnnxBuilder(NetworkBuilder):
    """Builds an ONNX graph, node by node; onnx infers each tensor's shape."""

    engine = "ONNX"

    def __init__(self) -> None:
        self._nodes: List[onnx.NodeProto] = []
        self._inputs: List[onnx.ValueInfoProto] = []
        self._outputs: List[onnx.ValueInfoProto] = []
        self._initializers: List[TensorProto] = []
        self._external: Dict[str, np.ndarray] = {}
        self._constant_names: Dict[Tensor, str] = {}

    def model(self, name: str) -> OnnxModel:
        """The finished model."""
        graph = helper.make_graph(self._nodes, name, self._inputs, self._outputs, self._initializers)
        opsets = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(graph, producer_name="relay_trt", opset_imports=opsets, ir_version=IR_VERSION)
        return OnnxModel(model, self._external)

    def input(self, name: str, shape: Shape, dtype: str) -> Tensor:
        self._inputs.append(helper.make_tensor_value_info(name, _element_type(dtype), _dims(name, shape)))
        return Tensor(shape, dtype, handle=name)

    def output(self, tensor: Tensor, name: str) -> None:
        # Always a node of its own: an ONNX output needs its own name, whatever else the tensor is.
        self._nodes.append(helper.make_node("Identity", [self._name(tensor)], [name], name=f"{name}_identity"))
        shape = _dims(name, tensor.shape)
        self._outputs.append(helper.make_tensor_value_info(name, _element_type(tensor.dtype), shape))

    def activation(self, x: Tensor, kind: str, alpha: float = 0.0, beta: float = 0.0) -> Tensor:
        if kind == "clip":
            low, high = (self.constant(np.array(bound, x.dtype)) for bound in (alpha, beta))
            return self._add("Clip", [x, low, high])
        return self._add(_ACTIVATION[kind], [x], **({"alpha": alpha} if kind == "leaky_relu" else {}))

    def unary(self, x: Tensor, kind: str) -> Tensor:
        return self._add(_UNARY[kind], [x])

    def elementwise(self, a: Tensor, b: Tensor, kind: str) -> Tensor:
        return self._add(_ELEMENTWISE[kind], [a, b])

    def scale(self, x: Tensor, scale: Optional[np.ndarray], shift: Optional[np.ndarray], axis: int) -> Tensor:
        for value, kind in ((scale, "prod"), (shift, "sum")):
            if value is not None:
                along_axis = value.astype(x.dtype, copy=False).reshape((-1,) + (1,) * (x.rank - axis - 1))
                x = self.elementwise(x, self.constant(along_axis), kind)
        return x

    def convolution(
        self,
        x: Tensor,
        kernel: Tensor,
        strides: Sequence[int],
        pre_padding: Sequence[int],
        post_padding: Sequence[int],
        dilation: Sequence[int],
        groups: int,
    ) -> Tensor:
        pads = [*pre_padding, *post_padding]
        return self._add("Conv", [x, kernel], strides=strides, pads=pads, dilations=dilation, group=groups)

    def pooling(
        self,
        x: Tensor,
        kind: str,
        window: Sequence[int],
        strides: Sequence[int],
        pre_padding: Sequence[int],
        post_padding: Sequence[int],
        ceil_mode: bool = False,
        count_include_pad: bool = False,
    ) -> Tensor:
        attrs: Dict[str, Any] = {"kernel_shape": window, "strides": strides, "pads": [*pre_padding, *post_padding]}
        attrs["ceil_mode"] = int(ceil_mode)
        if kind == "average":
            attrs["count_include_pad"] = int(count_include_pad)
        return self._add(_POOLING[kind], [x], **attrs)

    def matrix_multiply(self, a: Tensor, b: Tensor, transpose_b: bool = False) -> Tensor:
        if transpose_b and a.rank == b.rank == 2:
            return self._add("Gemm", [a, b], transB=1)  # no transposed copy of a weight
        if transpose_b:
            b = self.transpose(b, [*range(b.rank - 2), b.rank - 1, b.rank - 2])
        return self._add("MatMul", [a, b])

    def softmax(self, x: Tensor, axis: int) -> Tensor:
        return self._add("Softmax", [x], axis=axis)

    def concatenation(self, tensors: Sequence[Tensor], axis: int) -> Tensor:
        return self._add("Concat", tensors, axis=axis)

    def reshape(self, x: Tensor, shape: Sequence[int]) -> Tensor:
        return self._add("Reshape", [x, self.constant(np.array(shape, np.int64))])

    def transpose(self, x: Tensor, permutation: Sequence[int]) -> Tensor:
        return self._add("Transpose", [x], perm=permutation)

    def _add(self, op: str, inputs: Sequence[Tensor], **attrs: Any) -> Tensor:
        """Append a node and infer its output."""
        names = [self._name(tensor) for tensor in inputs]
        label = f"{self.scope}/{op}_{len(self._nodes)}"
        node = helper.make_node(op, names, [label], name=label, **attrs)
        schema = onnx.defs.get_schema(op, OPSET, "")
        types = {name: _type(tensor) for name, tensor in zip(names, inputs)}
        # Only small integer constants (the shape of a Reshape) decide the shape of an output.
        values = {
            name: onnx.numpy_helper.from_array(tensor.value)
            for name, tensor in zip(names, inputs)
            if tensor.value is not None and tensor.value.dtype == np.int64
        }
        try:
            inferred = shape_inference.infer_node_outputs(schema, node, types, values)[label].tensor_type
        except Exception as error:  # onnx raises its own, unrelated kinds
            raise ConversionError(f"{self.scope}: ONNX refuses {op}: {error}") from error
        self._nodes.append(node)
        shape = tuple(d.dim_value if d.HasField("dim_value") else -1 for d in inferred.shape.dim)
        return Tensor(shape, _dtype(inferred.elem_type), handle=label)

    def _name(self, tensor: Tensor) -> str:
        """The name of a tensor in the graph; a constant gets one when it is first used."""
        if tensor.value is None:
            return str(tensor.handle)
        if tensor not in self._constant_names:
            name = f"constant_{len(self._constant_names)}"
            self._constant_names[tensor] = name
            self._initializers.append(self._initializer(name, tensor.value))
        return self._constant_names[tensor]

    def _initializer(self, name: str, value: np.ndarray) -> TensorProto:
        if value.nbytes < EXTERNAL_BYTES:
            return onnx.numpy_helper.from_array(value, name)
        self._external[name] = value
        proto = TensorProto(name=name, data_type=_element_type(value.dtype.name), dims=value.shape)
        proto.data_location = TensorProto.EXTERNAL
        proto.external_data.add(key="location", value="given at run time")
        return proto


def _element_type(dtype: str) -> int:
    return int(helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))


def _dtype(element_type: int) -> str:
    return str(np.dtype(helper.tensor_dtype_to_np_dtype(element_type)).name)


def _dims(name: str, shape: Shape) -> List[Any]:
    return [f"{name}_dim{i}" if d < 0 else d for i, d in enumerate(shape)]


def _type(tensor: Tensor) -> onnx.TypeProto:
    shape = [None if d < 0 else d for d in tensor.shape]
    return helper.make_tensor_type_proto(_element_type(tensor.dtype), shape)
