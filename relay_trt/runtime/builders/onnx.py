"""Networks as ONNX models, for ONNX Runtime and for every tool that reads ONNX."""

from __future__ import annotations

import dataclasses
from typing import Any, Dict, List, Optional, Sequence, Tuple

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper, shape_inference

from ...operators.windows import Window
from .base import ConversionError, NetworkBuilder, Shape, Tensor

# What every version of ONNX and ONNX Runtime that we accept knows.
OPSET = 17
IR_VERSION = 8

# Constants of at least this many bytes stay outside the model: they are given to the engine as they are.
EXTERNAL_BYTES = 1024

_ACTIVATION = {"relu": "Relu", "sigmoid": "Sigmoid", "tanh": "Tanh", "leaky_relu": "LeakyRelu"}
_UNARY = {
    "abs": "Abs",
    "acos": "Acos",
    "acosh": "Acosh",
    "asin": "Asin",
    "asinh": "Asinh",
    "atan": "Atan",
    "atanh": "Atanh",
    "ceil": "Ceil",
    "cos": "Cos",
    "cosh": "Cosh",
    "erf": "Erf",
    "exp": "Exp",
    "floor": "Floor",
    "log": "Log",
    "neg": "Neg",
    "not": "Not",
    "recip": "Reciprocal",
    "round": "Round",
    "sign": "Sign",
    "sin": "Sin",
    "sinh": "Sinh",
    "sqrt": "Sqrt",
    "tan": "Tan",
}
_ELEMENTWISE = {
    "and": "And",
    "div": "Div",
    "equal": "Equal",
    "greater": "Greater",
    "less": "Less",
    "max": "Max",
    "min": "Min",
    "or": "Or",
    "pow": "Pow",
    "prod": "Mul",
    "sub": "Sub",
    "sum": "Add",
    "xor": "Xor",
}
_POOLING = {"max": "MaxPool", "average": "AveragePool"}
_REDUCE = {"sum": "ReduceSum", "prod": "ReduceProd", "max": "ReduceMax", "min": "ReduceMin", "mean": "ReduceMean"}


@dataclasses.dataclass(frozen=True)
class OnnxModel:
    """A model and the constants that stay outside it, by name."""

    model: onnx.ModelProto
    external: Dict[str, np.ndarray]

    def complete(self) -> onnx.ModelProto:
        """The model with its constants inside, as other tools read it; protobuf holds 2 GiB at most."""
        model = onnx.ModelProto()
        model.CopyFrom(self.model)
        for initializer in model.graph.initializer:
            if initializer.name in self.external:
                initializer.CopyFrom(numpy_helper.from_array(self.external[initializer.name], initializer.name))
        return model


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
        attrs: Dict[str, Any] = {"alpha": alpha} if kind == "leaky_relu" else {}
        return self._add(_ACTIVATION[kind], [x], **attrs)

    def unary(self, x: Tensor, kind: str) -> Tensor:
        return self._add(_UNARY[kind], [x])

    def elementwise(self, a: Tensor, b: Tensor, kind: str) -> Tensor:
        return self._add(_ELEMENTWISE[kind], [a, b])

    def prelu(self, x: Tensor, slope: Tensor) -> Tensor:
        return self._add("PRelu", [x, slope])

    def select(self, condition: Tensor, a: Tensor, b: Tensor) -> Tensor:
        return self._add("Where", [condition, a, b])

    def _cast(self, x: Tensor, dtype: str) -> Tensor:
        return self._add("Cast", [x], to=_element_type(dtype))

    def quantize(self, x: Tensor, scale: np.ndarray, axis: int = 0) -> Tensor:
        return self._quantization("QuantizeLinear", x, scale, axis)

    def dequantize(self, x: Tensor, scale: np.ndarray, axis: int = 0) -> Tensor:
        return self._quantization("DequantizeLinear", x, scale, axis)

    def convolution(self, x: Tensor, kernel: Tensor, window: Window, groups: int) -> Tensor:
        return self._add("Conv", [x, kernel], **_attributes(window), dilations=window.dilation, group=groups)

    def deconvolution(self, x: Tensor, kernel: Tensor, window: Window, groups: int) -> Tensor:
        return self._add("ConvTranspose", [x, kernel], **_attributes(window), dilations=window.dilation, group=groups)

    def pooling(
        self,
        x: Tensor,
        kind: str,
        size: Sequence[int],
        window: Window,
        ceil_mode: bool = False,
        count_include_pad: bool = False,
    ) -> Tensor:
        modes: Dict[str, Any] = {"count_include_pad": int(count_include_pad)} if kind == "average" else {}
        ceil = int(ceil_mode)
        return self._add(_POOLING[kind], [x], kernel_shape=size, **_attributes(window), ceil_mode=ceil, **modes)

    def resize(
        self,
        x: Tensor,
        size: Sequence[int],
        mode: str,
        coordinates: str,
        rounding: str = "",
        cubic: float = -0.75,
        scales: Optional[Sequence[float]] = None,
    ) -> Tensor:
        shape = (*x.shape[:2], *size)
        attrs: Dict[str, Any] = {"mode": mode, "coordinate_transformation_mode": coordinates}
        if mode == "nearest":
            attrs["nearest_mode"] = rounding
        if mode == "cubic":
            attrs["cubic_coeff_a"] = cubic
        if -1 in size:
            factors = self.constant(np.array([1.0, 1.0, *(scales or ())], np.float32))
            return self._add("Resize", [x, None, factors], shape, **attrs)  # no region of interest
        dynamic = {axis: axis for axis, dimension in enumerate(shape) if dimension < 0}
        sizes = self._dimensions(x, shape, dynamic) if dynamic else self._int64(shape)
        return self._add("Resize", [x, None, None, sizes], shape, **attrs)

    def lrn(self, x: Tensor, size: int, alpha: float, beta: float, bias: float) -> Tensor:
        return self._add("LRN", [x], size=size, alpha=alpha, beta=beta, bias=bias)

    def matrix_multiply(self, a: Tensor, b: Tensor, transpose_a: bool = False, transpose_b: bool = False) -> Tensor:
        if a.rank == b.rank == 2 and (transpose_a or transpose_b):  # no transposed copy of a weight
            return self._add("Gemm", [a, b], transA=int(transpose_a), transB=int(transpose_b))
        a = self._transposed(a) if transpose_a else a
        b = self._transposed(b) if transpose_b else b
        return self._add("MatMul", [a, b])

    def softmax(self, x: Tensor, axis: int) -> Tensor:
        return self._add("Softmax", [x], axis=axis)

    def reduce(self, x: Tensor, kind: str, axes: Sequence[int], keep_dims: bool = False) -> Tensor:
        if kind == "sum":  # the first whose axes have become an operand
            return self._add("ReduceSum", [x, self._int64(axes)], keepdims=int(keep_dims))
        return self._add(_REDUCE[kind], [x], axes=axes, keepdims=int(keep_dims))

    def top_k(self, x: Tensor, k: int, axis: int, largest: bool = True) -> Tuple[Tensor, Tensor]:
        operands = [x, self._int64([k])]
        node = self._node("TopK", operands, 2, {"axis": axis, "largest": int(largest)})
        values, indices = self._inferred(node, operands)
        return values, self.cast(indices, "int32")

    def concatenation(self, tensors: Sequence[Tensor], axis: int) -> Tensor:
        return self._add("Concat", tensors, axis=axis)

    def _reshape(self, x: Tensor, shape: Sequence[int]) -> Tensor:
        return self._add("Reshape", [x, self._int64(shape)])

    def _reshape_to(self, x: Tensor, sizes: Tensor, shape: Sequence[int]) -> Tensor:
        return self._add("Reshape", [x, sizes], tuple(shape))

    def _shape(self, x: Tensor) -> Tensor:
        return self._add("Shape", [x])

    def _transpose(self, x: Tensor, permutation: Sequence[int]) -> Tensor:
        return self._add("Transpose", [x], perm=permutation)

    def slice(self, x: Tensor, start: Sequence[int], size: Sequence[int], stride: Sequence[int]) -> Tensor:
        axes = [axis for axis, count in enumerate(size) if count >= 0]
        ends = [start[axis] + size[axis] * stride[axis] for axis in axes]
        # An end below 0 would count from the back; what lies before the first element has no other name.
        ends = [end if end >= 0 else np.iinfo(np.int64).min for end in ends]
        operands = [[start[axis] for axis in axes], ends, axes, [stride[axis] for axis in axes]]
        return self._add("Slice", [x, *map(self._int64, operands)])

    def pad(self, x: Tensor, before: Sequence[int], after: Sequence[int], value: float) -> Tensor:
        return self._add("Pad", [x, self._int64([*before, *after]), self.scalar(value, x)], mode="constant")

    def broadcast(self, x: Tensor, shape: Sequence[int]) -> Tensor:
        return self._add("Expand", [x, self._int64([max(dimension, 1) for dimension in shape])])

    def gather(self, x: Tensor, indices: Tensor, axis: int) -> Tensor:
        return self._add("Gather", [x, indices], axis=axis)

    def gather_elements(self, x: Tensor, indices: Tensor, axis: int) -> Tensor:
        return self._add("GatherElements", [x, indices], axis=axis)

    def gather_nd(self, x: Tensor, indices: Tensor, batch_dims: int = 0) -> Tensor:
        return self._add("GatherND", [x, self.cast(indices, "int64")], batch_dims=batch_dims)

    def scatter_elements(self, x: Tensor, indices: Tensor, updates: Tensor, axis: int) -> Tensor:
        return self._add("ScatterElements", [x, indices, updates], axis=axis)

    def scatter_nd(self, x: Tensor, indices: Tensor, updates: Tensor) -> Tensor:
        return self._add("ScatterND", [x, self.cast(indices, "int64"), updates])

    def _transposed(self, x: Tensor) -> Tensor:
        return self.transpose(x, [*range(x.rank - 2), x.rank - 1, x.rank - 2])

    def _quantization(self, op: str, x: Tensor, scale: np.ndarray, axis: int) -> Tensor:
        attrs: Dict[str, Any] = {"axis": axis} if scale.ndim else {}
        zero_point = self.constant(np.zeros(scale.shape, "int8"))
        return self._add(op, [x, self.constant(scale.astype("float32")), zero_point], **attrs)

    def _int64(self, values: Sequence[int]) -> Tensor:
        return self.constant(np.array(values, np.int64))

    def _add(self, op: str, inputs: Sequence[Optional[Tensor]], shape: Optional[Shape] = None, **attrs: Any) -> Tensor:
        """Append a node of one output, and infer that; ``shape`` is its shape where onnx cannot tell it."""
        node = self._node(op, inputs, 1, attrs)
        if shape is not None and inputs[0] is not None:
            self._nodes.append(node)
            return Tensor(shape, inputs[0].dtype, handle=node.output[0])
        return self._inferred(node, [tensor for tensor in inputs if tensor is not None])[0]

    def _node(self, op: str, inputs: Sequence[Optional[Tensor]], outputs: int, attrs: Dict[str, Any]) -> Any:
        label = f"{self.scope}/{op}_{len(self._nodes)}"
        names = ["" if tensor is None else self._name(tensor) for tensor in inputs]
        results = [label, *(f"{label}_{index}" for index in range(1, outputs))]
        return helper.make_node(op, names, results, name=label, **attrs)

    def _inferred(self, node: Any, inputs: Sequence[Tensor]) -> List[Tensor]:
        """Append a node whose outputs onnx infers."""
        types = {self._name(tensor): _type(tensor) for tensor in inputs}
        # Only small integer constants (the shape of a Reshape) decide the shape of an output.
        values = {
            self._name(tensor): numpy_helper.from_array(tensor.value)
            for tensor in inputs
            if tensor.value is not None and tensor.value.dtype == np.int64
        }
        schema = onnx.defs.get_schema(node.op_type, OPSET, "")
        try:
            inferred = shape_inference.infer_node_outputs(schema, node, types, values)
        except Exception as error:  # onnx raises its own, unrelated kinds
            raise ConversionError(f"{self.scope}: ONNX refuses {node.op_type}: {error}") from error
        self._nodes.append(node)
        tensors = []
        for name in node.output:
            type_ = inferred[name].tensor_type
            shape = tuple(d.dim_value if d.HasField("dim_value") else -1 for d in type_.shape.dim)
            tensors.append(Tensor(shape, _dtype(type_.elem_type), handle=name))
        return tensors

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
            return numpy_helper.from_array(value, name)
        self._external[name] = np.ascontiguousarray(value)
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


def _attributes(window: Window) -> Dict[str, Any]:
    return {"strides": window.strides, "pads": [*window.before, *window.after]}
