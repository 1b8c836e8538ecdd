"""Networks as TensorRT's own, by its Python API from 8.5 to 11: the one place that knows its versions."""

from __future__ import annotations

import ctypes
import functools
import logging
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np

from ...operators.registry import FLOATS
from ...operators.windows import Window
from ..tensorrt_library import load_tensorrt
from .base import ConversionError, NetworkBuilder, Shape, Tensor

logger = logging.getLogger("TensorRT")

_ACTIVATION = {"relu": "RELU", "sigmoid": "SIGMOID", "tanh": "TANH", "leaky_relu": "LEAKY_RELU", "clip": "CLIP"}
_UNARY = {
    "abs": "ABS",
    "acos": "ACOS",
    "acosh": "ACOSH",
    "asin": "ASIN",
    "asinh": "ASINH",
    "atan": "ATAN",
    "atanh": "ATANH",
    "ceil": "CEIL",
    "cos": "COS",
    "cosh": "COSH",
    "erf": "ERF",
    "exp": "EXP",
    "floor": "FLOOR",
    "log": "LOG",
    "neg": "NEG",
    "not": "NOT",
    "recip": "RECIP",
    "round": "ROUND",
    "sign": "SIGN",
    "sin": "SIN",
    "sinh": "SINH",
    "sqrt": "SQRT",
    "tan": "TAN",
}
_ELEMENTWISE = {
    "and": "AND",
    "div": "DIV",
    "equal": "EQUAL",
    "greater": "GREATER",
    "less": "LESS",
    "max": "MAX",
    "min": "MIN",
    "or": "OR",
    "pow": "POW",
    "prod": "PROD",
    "sub": "SUB",
    "sum": "SUM",
    "xor": "XOR",
}
_COMPARISONS = ("equal", "greater", "less")
_POOLING = {"max": "MAX", "average": "AVERAGE"}
_REDUCE = {"sum": "SUM", "prod": "PROD", "max": "MAX", "min": "MIN", "mean": "AVG"}
_RESIZE = {"nearest": "NEAREST", "linear": "LINEAR", "cubic": "CUBIC"}
_COORDINATES = {"asymmetric": "ASYMMETRIC", "half_pixel": "HALF_PIXEL", "align_corners": "ALIGN_CORNERS"}
_ROUNDING = {"floor": "FLOOR", "ceil": "CEIL", "round_prefer_floor": "HALF_DOWN", "round_prefer_ceil": "HALF_UP"}


@functools.lru_cache(maxsize=None)
def tensorrt_logger() -> Any:
    """The one logger of the process: TensorRT keeps a pointer to the first that it is given, for ever."""
    trt = load_tensorrt()
    levels = {
        trt.ILogger.Severity.INTERNAL_ERROR: logging.CRITICAL,
        trt.ILogger.Severity.ERROR: logging.ERROR,
        trt.ILogger.Severity.WARNING: logging.WARNING,
        # What TensorRT calls information is one line for each kernel that it tries.
        trt.ILogger.Severity.INFO: logging.DEBUG,
    }

    class Logger(trt.ILogger):  # type: ignore[name-defined]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            if severity in levels:
                logger.log(levels[severity], "%s", message)

    return Logger()


class TensorRTBuilder(NetworkBuilder):
    """Adds layers to an ``INetworkDefinition``.

    Parameters
    ----------
    strongly_typed : bool
        Have TensorRT compute in the network's own types: by a flag where it has one, from 10 on, until 11 where there
        is nothing else. Before, types are hints.
    pins_float32 : bool
        Where types are hints, tell each layer of float32 to compute in it; none could then compute in int8.

    Attributes
    ----------
    builder : tensorrt.Builder
        TensorRT's builder.
    network : tensorrt.INetworkDefinition
        The network; what the methods here lack, a converter may add to it itself, with `itensor` and `outputs`.
    has_float32_layers : bool
        Whether some layers were told to compute in float32.
    has_quantized_tensors : bool
        Whether some tensors are int8.
    strongly_typed : bool
        Whether TensorRT computes in the network's own types.
    """

    engine = "TensorRT"

    def __init__(self, strongly_typed: bool = False, pins_float32: bool = False) -> None:
        self._trt = trt = load_tensorrt()
        self.builder = trt.Builder(tensorrt_logger())
        # Explicit batch is a flag up to TensorRT 10 and the only way there is from 11 on, where it has no name.
        explicit = getattr(trt.NetworkDefinitionCreationFlag, "EXPLICIT_BATCH", None)
        strong = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None) if strongly_typed else None
        self.strongly_typed = strong is not None
        self._pins_float32 = pins_float32
        self.network = self.builder.create_network(
            sum(1 << int(flag) for flag in (explicit, strong) if flag is not None)
        )
        self._dtypes = {"float32": trt.float32, "float16": trt.float16, "int32": trt.int32, "bool": trt.bool}
        self._dtypes["int8"] = trt.int8
        if hasattr(trt, "int64"):  # from TensorRT 10 on
            self._dtypes["int64"] = trt.int64
        self._constants: Dict[Tensor, Any] = {}
        # TensorRT reads weights when it builds: the arrays must outlive that.
        self._weights: List[np.ndarray] = []
        self.has_float32_layers = False
        self.has_quantized_tensors = False

    def input(self, name: str, shape: Shape, dtype: str) -> Tensor:
        return Tensor(shape, dtype, handle=self.network.add_input(name, self._dtypes[dtype], shape))

    def output(self, tensor: Tensor, name: str) -> None:
        # Always a layer of its own: a network's output must not be its input, a constant or another output.
        self.scope = name
        layer = self._checked(self.network.add_identity(self.itensor(tensor)))
        output = layer.get_output(0)
        output.name = name
        if output.dtype != self._dtypes[tensor.dtype]:
            output.dtype = self._dtypes[tensor.dtype]
        self.network.mark_output(output)

    def activation(self, x: Tensor, kind: str, alpha: float = 0.0, beta: float = 0.0) -> Tensor:
        kind_ = getattr(self._trt.ActivationType, _ACTIVATION[kind])
        layer = self._checked(self.network.add_activation(self.itensor(x), kind_))
        layer.alpha, layer.beta = alpha, beta
        return self._result(layer, x.dtype)

    def unary(self, x: Tensor, kind: str) -> Tensor:
        if x.rank == 0:  # before TensorRT 8.6, the Unary layer wants a dimension
            return self.reshape(self.unary(self._with_rank(x, 1), kind), x.shape)
        operation = getattr(self._trt.UnaryOperation, _UNARY[kind])
        return self._result(self.network.add_unary(self.itensor(x), operation), x.dtype)

    def elementwise(self, a: Tensor, b: Tensor, kind: str) -> Tensor:
        operation = getattr(self._trt.ElementWiseOperation, _ELEMENTWISE[kind])
        layer = self.network.add_elementwise(*self._of_one_rank(a, b), operation)
        return self._result(layer, "bool" if kind in _COMPARISONS else a.dtype, a.dtype)

    def prelu(self, x: Tensor, slope: Tensor) -> Tensor:
        layer = self.network.add_parametric_relu(self.itensor(x), self.itensor(self._with_rank(slope, x.rank)))
        return self._result(layer, x.dtype)

    def select(self, condition: Tensor, a: Tensor, b: Tensor) -> Tensor:
        return self._result(self.network.add_select(*self._of_one_rank(condition, a, b)), a.dtype)

    def _cast(self, x: Tensor, dtype: str) -> Tensor:
        if hasattr(self.network, "add_cast"):  # from TensorRT 8.6 on
            layer = self._checked(self.network.add_cast(self.itensor(x), self._dtypes[dtype]))
        else:
            layer = self._checked(self.network.add_identity(self.itensor(x)))
            layer.set_output_type(0, self._dtypes[dtype])
        if dtype in FLOATS:  # nothing is lost where TensorRT rounds before
            return Tensor(x.shape, dtype, handle=layer.get_output(0))
        return self._result(layer, dtype, x.dtype)

    def scale(self, x: Tensor, scale: Optional[np.ndarray], shift: Optional[np.ndarray], axis: int) -> Tensor:
        if x.rank not in (4, 5) or axis != 1:  # the Scale layer has no other ranks, and no other channel
            return super().scale(x, scale, shift, axis)
        # All of one type, of which those that are empty are float32.
        weights = [
            self._trt.Weights() if value is None else self._as_weights(value.astype(np.float32))
            for value in (scale, shift)
        ]
        mode, power = self._trt.ScaleMode.CHANNEL, self._trt.Weights()
        layer = self.network.add_scale_nd(self.itensor(x), mode, weights[1], weights[0], power, axis)
        return self._result(layer, x.dtype)

    def quantize(self, x: Tensor, scale: np.ndarray, axis: int = 0) -> Tensor:
        layer = self.network.add_quantize(self.itensor(x), *self._scale_and_type(scale, "int8"))
        return self._quantization(layer, scale, axis, "int8")

    def dequantize(self, x: Tensor, scale: np.ndarray, axis: int = 0) -> Tensor:
        if x.value is not None:  # below TensorRT 10, constants are not int8
            along_axis = scale.reshape((-1,) + (1,) * (x.rank - axis - 1)) if scale.ndim else scale
            x = self.quantize(self.constant((x.value * along_axis).astype("float32")), scale, axis)
        layer = self.network.add_dequantize(self.itensor(x), *self._scale_and_type(scale, "float32"))
        return self._quantization(layer, scale, axis, "float32")

    def convolution(self, x: Tensor, kernel: Tensor, window: Window, groups: int) -> Tensor:
        if x.rank == 3:
            image, kernel = self._unsqueezed(x), self._unsqueezed(kernel)
            return self._squeezed(self.convolution(image, kernel, window.unsqueezed(), groups))
        weights = self._trt.Weights() if kernel.value is None else self._as_weights(kernel.value)
        layer = self._checked(
            self.network.add_convolution_nd(
                self.itensor(x), kernel.shape[0], kernel.shape[2:], weights, self._trt.Weights()
            )
        )
        if kernel.value is None:
            layer.set_input(1, self.itensor(kernel))
        self._set_window(layer, window)
        layer.dilation_nd, layer.num_groups = tuple(window.dilation), groups
        return self._result(layer, x.dtype)

    def deconvolution(self, x: Tensor, kernel: Tensor, window: Window, groups: int) -> Tensor:
        if x.rank == 3:
            image, kernel = self._unsqueezed(x), self._unsqueezed(kernel)
            return self._squeezed(self.deconvolution(image, kernel, window.unsqueezed(), groups))
        weights = self._as_weights(self.values(kernel))
        layer = self._checked(
            self.network.add_deconvolution_nd(
                self.itensor(x), kernel.shape[1] * groups, kernel.shape[2:], weights, self._trt.Weights()
            )
        )
        self._set_window(layer, window)
        layer.dilation_nd, layer.num_groups = tuple(window.dilation), groups
        return self._result(layer, x.dtype)

    def pooling(
        self,
        x: Tensor,
        kind: str,
        size: Sequence[int],
        window: Window,
        ceil_mode: bool = False,
        count_include_pad: bool = False,
    ) -> Tensor:
        if x.rank == 3:
            image, moved = self._unsqueezed(x), window.unsqueezed()
            return self._squeezed(self.pooling(image, kind, [*size, 1], moved, ceil_mode, count_include_pad))
        excludes = kind == "average" and not count_include_pad
        if (
            self.has_quantized_tensors
            and excludes
            and any((*window.before, *window.after))
            and not self.computes_in_float32
        ):
            with self.full_precision():  # TensorRT has no such kernel of int8, and tries no other by itself
                return self.pooling(x, kind, size, window, ceil_mode)
        kind_ = getattr(self._trt.PoolingType, _POOLING[kind])
        layer = self._checked(self.network.add_pooling_nd(self.itensor(x), kind_, tuple(size)))
        self._set_window(layer, window)
        modes = self._trt.PaddingMode
        layer.padding_mode = modes.EXPLICIT_ROUND_UP if ceil_mode else modes.EXPLICIT_ROUND_DOWN
        if kind == "average":
            layer.average_count_excludes_padding = not count_include_pad
        return self._result(layer, x.dtype)

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
        layer = self._checked(self.network.add_resize(self.itensor(x)))
        layer.resize_mode = getattr(self._trt.InterpolationMode, _RESIZE[mode])
        layer.coordinate_transformation = getattr(self._trt.ResizeCoordinateTransformation, _COORDINATES[coordinates])
        if mode == "nearest":
            layer.nearest_rounding = getattr(self._trt.ResizeRoundMode, _ROUNDING[rounding])
        if mode == "cubic":
            layer.cubic_coeff = cubic
        if -1 in x.shape:  # TensorRT 8.5 does not take dimensions that it learns at run time
            factors = scales if -1 in size and scales else map(_scale, x.shape[2:], size)
            layer.scales = [1.0, 1.0, *factors]
        else:
            layer.shape = (*x.shape[:2], *size)
        return self._result(layer, x.dtype)

    def lrn(self, x: Tensor, size: int, alpha: float, beta: float, bias: float) -> Tensor:
        return self._result(self.network.add_lrn(self.itensor(x), size, alpha, beta, bias), x.dtype)

    def matrix_multiply(self, a: Tensor, b: Tensor, transpose_a: bool = False, transpose_b: bool = False) -> Tensor:
        operation = self._trt.MatrixOperation
        left, right = self._of_one_rank(a, b)
        layer = self.network.add_matrix_multiply(
            left,
            operation.TRANSPOSE if transpose_a else operation.NONE,
            right,
            operation.TRANSPOSE if transpose_b else operation.NONE,
        )
        return self._result(layer, a.dtype)

    def softmax(self, x: Tensor, axis: int) -> Tensor:
        if x.rank == 1:  # the SoftMax layer wants two dimensions
            return self.reshape(self.softmax(self._with_rank(x, 2), 1), x.shape)
        layer = self._checked(self.network.add_softmax(self.itensor(x)))
        layer.axes = 1 << axis
        return self._result(layer, x.dtype)

    def reduce(self, x: Tensor, kind: str, axes: Sequence[int], keep_dims: bool = False) -> Tensor:
        operation = getattr(self._trt.ReduceOperation, _REDUCE[kind])
        layer = self.network.add_reduce(self.itensor(x), operation, sum(1 << axis for axis in axes), keep_dims)
        return self._result(layer, x.dtype)

    def top_k(self, x: Tensor, k: int, axis: int, largest: bool = True) -> Tuple[Tensor, Tensor]:
        if x.rank != 2 or axis != 1:
            return self._top_k_of_rows(x, k, axis, largest)
        operation = self._trt.TopKOperation.MAX if largest else self._trt.TopKOperation.MIN
        layer = self.network.add_topk(self.itensor(x), operation, k, 1 << axis)
        values, indices = self.outputs(layer, [x.dtype, "int32"])
        return values, indices

    def _top_k_of_rows(self, x: Tensor, k: int, axis: int, largest: bool) -> Tuple[Tensor, Tensor]:
        """The layer wants two dimensions; along other axes of more, TensorRT 8.6 was seen to return wrong elements."""
        last = [*(i for i in range(x.rank) if i != axis), axis]
        rows = self.reshape(self.transpose(x, last), [-1, x.shape[axis]])
        shape = [*(x.shape[i] for i in last[:-1]), k]
        inverse = sorted(range(x.rank), key=last.__getitem__)
        values, indices = (
            self.transpose(self.reshape(found, shape), inverse) for found in self.top_k(rows, k, 1, largest)
        )
        return values, indices

    def concatenation(self, tensors: Sequence[Tensor], axis: int) -> Tensor:
        layer = self._checked(self.network.add_concatenation([self.itensor(tensor) for tensor in tensors]))
        layer.axis = axis
        return self._result(layer, tensors[0].dtype)

    def _reshape(self, x: Tensor, shape: Sequence[int]) -> Tensor:
        layer = self._checked(self.network.add_shuffle(self.itensor(x)))
        layer.reshape_dims = tuple(shape)
        return self._result(layer, x.dtype)

    def _reshape_to(self, x: Tensor, sizes: Tensor, shape: Sequence[int]) -> Tensor:
        layer = self._checked(self.network.add_shuffle(self.itensor(x)))
        layer.set_input(1, self.itensor(sizes))
        return self._result(layer, x.dtype)

    def _shape(self, x: Tensor) -> Tensor:
        layer = self._checked(self.network.add_shape(self.itensor(x)))
        output = layer.get_output(0)
        dtype = "int32" if output.dtype == self._trt.int32 else "int64"  # from TensorRT 10 on
        return Tensor((x.rank,), dtype, handle=output)

    def _transpose(self, x: Tensor, permutation: Sequence[int]) -> Tensor:
        layer = self._checked(self.network.add_shuffle(self.itensor(x)))
        layer.first_transpose = self._trt.Permutation(list(permutation))
        return self._result(layer, x.dtype)

    def slice(self, x: Tensor, start: Sequence[int], size: Sequence[int], stride: Sequence[int]) -> Tensor:
        return self._result(self._slice(x, start, size, stride), x.dtype)

    def pad(self, x: Tensor, before: Sequence[int], after: Sequence[int], value: float) -> Tensor:
        size = [-1 if d < 0 else b + d + a for b, d, a in zip(before, x.shape, after)]
        added = {axis: b + a for axis, (b, a) in enumerate(zip(before, after))}
        layer = self._slice(x, [-b for b in before], size, [1] * x.rank, added)
        layer.mode = self._trt.SampleMode.FILL
        layer.set_input(4, self.itensor(self.scalar(value, x)))
        return self._result(layer, x.dtype)

    def broadcast(self, x: Tensor, shape: Sequence[int]) -> Tensor:
        # A stride of 0 reads the same element again and again.
        stride = [1 if before == after else 0 for before, after in zip(x.shape, shape)]
        return self._result(self._slice(x, [0] * x.rank, shape, stride), x.dtype)

    def gather(self, x: Tensor, indices: Tensor, axis: int) -> Tensor:
        return self._gather(x, indices, self._trt.GatherMode.DEFAULT, axis=axis)

    def gather_elements(self, x: Tensor, indices: Tensor, axis: int) -> Tensor:
        return self._gather(x, indices, self._trt.GatherMode.ELEMENT, axis=axis)

    def gather_nd(self, x: Tensor, indices: Tensor, batch_dims: int = 0) -> Tensor:
        return self._gather(x, indices, self._trt.GatherMode.ND, batch_dims=batch_dims)

    def scatter_elements(self, x: Tensor, indices: Tensor, updates: Tensor, axis: int) -> Tensor:
        layer = self._scatter(x, indices, updates, self._trt.ScatterMode.ELEMENT)
        layer.axis = axis
        return self._result(layer, x.dtype)

    def scatter_nd(self, x: Tensor, indices: Tensor, updates: Tensor) -> Tensor:
        return self._result(self._scatter(x, indices, updates, self._trt.ScatterMode.ND), x.dtype)

    def tensorrt(self) -> TensorRTBuilder:
        return self

    def itensor(self, tensor: Tensor) -> Any:
        """TensorRT's ``ITensor``; a constant becomes a layer when it is first used as one."""
        if tensor.value is None:
            return tensor.handle
        if tensor not in self._constants:
            layer = self._checked(self.network.add_constant(tensor.shape, self._as_weights(tensor.value)))
            self._constants[tensor] = layer.get_output(0)
        return self._constants[tensor]

    def outputs(self, layer: Any, dtypes: Sequence[str], read: str = "") -> List[Tensor]:
        """The outputs of a layer, which have these dtypes; ``read`` is that of its operands, where it is another.

        Raises
        ------
        ConversionError
            Where TensorRT refuses the layer.
        """
        self._checked(layer)
        # By the types that the network has here: a tensor of TensorRT's own does not know its before the build.
        pinned = (self.computes_in_float32 or self._pins_float32) and "float32" in (*dtypes, read)
        if pinned and not self.strongly_typed and hasattr(layer, "precision"):  # until TensorRT 10
            self._compute_in_float32(layer, dtypes)
        tensors = []
        for index, dtype in enumerate(dtypes):
            output = layer.get_output(index)
            try:
                shape = tuple(output.shape)
            except ValueError:  # operands or attributes that do not fit each other leave a shape without a length
                raise ConversionError(f"{self.scope}: TensorRT refuses the layer; the log says why") from None
            tensors.append(Tensor(shape, dtype, handle=output))
        return tensors

    def _result(self, layer: Any, dtype: str, read: str = "") -> Tensor:
        return self.outputs(layer, [dtype], read)[0]

    def _compute_in_float32(self, layer: Any, dtypes: Sequence[str]) -> None:
        layer.precision = self._trt.float32
        for index, dtype in enumerate(dtypes):
            if dtype == "float32":
                layer.set_output_type(index, self._trt.float32)
        self.has_float32_layers = True

    def _slice(
        self,
        x: Tensor,
        start: Sequence[int],
        size: Sequence[int],
        stride: Sequence[int],
        added: Optional[Mapping[int, int]] = None,
    ) -> Any:
        """A Slice layer; a size of -1 is x's, and what ``added`` says more."""
        known = [max(dimension, 0) for dimension in size]
        layer = self._checked(self.network.add_slice(self.itensor(x), tuple(start), tuple(known), tuple(stride)))
        if -1 in size:
            dynamic = {axis: axis for axis, dimension in enumerate(size) if dimension < 0}
            layer.set_input(2, self.itensor(self._dimensions(x, size, dynamic, added)))
        return layer

    def _gather(self, x: Tensor, indices: Tensor, mode: Any, axis: int = 0, batch_dims: int = 0) -> Tensor:
        data = self.cast(x, "int32") if x.dtype == "bool" else x  # the Gather layer takes no bool
        layer = self._checked(self.network.add_gather_v2(self.itensor(data), self.itensor(indices), mode))
        layer.axis, layer.num_elementwise_dims = axis, batch_dims
        return self.cast(self._result(layer, data.dtype), x.dtype)

    def _scatter(self, x: Tensor, indices: Tensor, updates: Tensor, mode: Any) -> Any:
        operands = [self.itensor(tensor) for tensor in (x, indices, updates)]
        return self._checked(self.network.add_scatter(*operands, mode))

    def _set_window(self, layer: Any, window: Window) -> None:
        layer.stride_nd = tuple(window.strides)
        layer.pre_padding, layer.post_padding = tuple(window.before), tuple(window.after)

    def _unsqueezed(self, x: Tensor) -> Tensor:
        """x with a last dimension of 1: windows move over two or three dimensions only."""
        return self.reshape(x, [*[0] * x.rank, 1])

    def _squeezed(self, x: Tensor) -> Tensor:
        return self.reshape(x, [0] * (x.rank - 1))

    def _of_one_rank(self, *tensors: Tensor) -> List[Any]:
        """Dimensions of 1 put in front: TensorRT broadcasts only between equal ranks."""
        rank = max(tensor.rank for tensor in tensors)
        return [self.itensor(self._with_rank(tensor, rank)) for tensor in tensors]

    def _with_rank(self, x: Tensor, rank: int) -> Tensor:
        missing = rank - x.rank
        if not missing:
            return x
        return self.reshape(x, (1,) * missing + x.shape, {missing + axis: axis for axis in range(x.rank)})

    def _scale_and_type(self, scale: np.ndarray, dtype: str) -> List[Any]:
        """The operands of a layer that quantizes or dequantizes; up to TensorRT 8, its type is no operand."""
        operand = self.itensor(self.constant(scale.astype("float32")))
        return [operand, self._dtypes[dtype]] if "int64" in self._dtypes else [operand]

    def _quantization(self, layer: Any, scale: np.ndarray, axis: int, dtype: str) -> Tensor:
        self._checked(layer)
        if scale.ndim:
            layer.axis = axis
        self.has_quantized_tensors = True
        return self._result(layer, dtype)

    def _as_weights(self, value: np.ndarray) -> Any:
        if value.dtype == np.int64 and "int64" not in self._dtypes:
            value = value.astype(np.int32)  # indices, which are below 2**31 as every dimension is
        value = np.ascontiguousarray(value)
        self._weights.append(value)
        # An array that does not own its memory: a network of TensorRT 8.6 that has a layer is never freed, as its
        # bindings have the two keep each other alive, and with it stays what weights hold.
        memory = (ctypes.c_uint8 * value.nbytes).from_address(value.ctypes.data)
        return self._trt.Weights(np.frombuffer(memoryview(memory), value.dtype))

    def _checked(self, layer: Any) -> Any:
        """TensorRT reports a refused layer by returning None, with the reason in its log."""
        if layer is None:
            raise ConversionError(f"{self.scope}: TensorRT refuses the layer; the log says why")
        if layer.name.startswith("(Unnamed Layer"):  # it is new
            layer.name = f"{self.scope}/{self.network.num_layers}"
        return layer


def _scale(before: int, after: int) -> float:
    """The factor that makes ``before`` elements ``after``: TensorRT rounds their product down."""
    scale = np.float32(after / before)
    return float(scale if int(scale * np.float32(before)) >= after else np.nextafter(scale, np.float32(np.inf)))
