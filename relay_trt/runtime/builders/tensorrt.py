"""Networks as TensorRT's own, by its Python API from 8.5 to 11: the one place that knows its versions."""

from __future__ import annotations

import functools
import logging
from typing import Any, Dict, List, Optional, Sequence

import numpy as np

from ..tensorrt_library import load_tensorrt
from .base import ConversionError, NetworkBuilder, Shape, Tensor

logger = logging.getLogger("TensorRT")

_ACTIVATION = {"relu": "RELU", "sigmoid": "SIGMOID", "tanh": "TANH", "leaky_relu": "LEAKY_RELU", "clip": "CLIP"}
_UNARY = {
    "exp": "EXP",
    "log": "LOG",
    "sqrt": "SQRT",
    "abs": "ABS",
    "neg": "NEG",
    "sin": "SIN",
    "cos": "COS",
    "atan": "ATAN",
    "ceil": "CEIL",
    "floor": "FLOOR",
    "erf": "ERF",
}
_ELEMENTWISE = {"sum": "SUM", "sub": "SUB", "prod": "PROD", "div": "DIV", "pow": "POW", "max": "MAX", "min": "MIN"}
_POOLING = {"max": "MAX", "average": "AVERAGE"}


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

    Attributes
    ----------
    builder : tensorrt.Builder
        TensorRT's builder.
    network : tensorrt.INetworkDefinition
        The network; what the methods here lack, a converter may add to it itself.
    """

    engine = "TensorRT"

    def __init__(self) -> None:
        self._trt = trt = load_tensorrt()
        self.builder = trt.Builder(tensorrt_logger())
        # Explicit batch is a flag up to TensorRT 10 and the only way there is from 11 on, where it has no name.
        explicit = getattr(trt.NetworkDefinitionCreationFlag, "EXPLICIT_BATCH", None)
        self.network = self.builder.create_network(0 if explicit is None else 1 << int(explicit))
        self._dtypes = {"float32": trt.float32, "float16": trt.float16}
        self._constants: Dict[Tensor, Any] = {}
        # TensorRT reads weights when it builds: the arrays must outlive that.
        self._weights: List[np.ndarray] = []

    def input(self, name: str, shape: Shape, dtype: str) -> Tensor:
        return Tensor(shape, dtype, handle=self.network.add_input(name, self._dtypes[dtype], shape))

    def output(self, tensor: Tensor, name: str) -> None:
        # Always a layer of its own: a network's output must not be its input, a constant or another output.
        self.scope = name
        layer = self._checked(self.network.add_identity(self._itensor(tensor)))
        output = layer.get_output(0)
        output.name = name
        if output.dtype != self._dtypes[tensor.dtype]:
            output.dtype = self._dtypes[tensor.dtype]
        self.network.mark_output(output)

    def activation(self, x: Tensor, kind: str, alpha: float = 0.0, beta: float = 0.0) -> Tensor:
        kind_ = getattr(self._trt.ActivationType, _ACTIVATION[kind])
        layer = self._checked(self.network.add_activation(self._itensor(x), kind_))
        layer.alpha, layer.beta = alpha, beta
        return self._result(layer, x.dtype)

    def unary(self, x: Tensor, kind: str) -> Tensor:
        if x.rank == 0:  # before TensorRT 8.6, the Unary layer wants a dimension
            return self.reshape(self.unary(self._with_rank(x, 1), kind), x.shape)
        operation = getattr(self._trt.UnaryOperation, _UNARY[kind])
        return self._result(self.network.add_unary(self._itensor(x), operation), x.dtype)

    def elementwise(self, a: Tensor, b: Tensor, kind: str) -> Tensor:
        rank = max(a.rank, b.rank)
        operands = [self._itensor(self._with_rank(tensor, rank)) for tensor in (a, b)]
        operation = getattr(self._trt.ElementWiseOperation, _ELEMENTWISE[kind])
        return self._result(self.network.add_elementwise(*operands, operation), a.dtype)

    def scale(self, x: Tensor, scale: Optional[np.ndarray], shift: Optional[np.ndarray], axis: int) -> Tensor:
        if x.rank not in (4, 5) or axis != 1:  # the Scale layer has no other ranks, and no other channel
            for value, kind in ((scale, "prod"), (shift, "sum")):
                if value is not None:
                    along_axis = value.astype(x.dtype, copy=False).reshape((-1,) + (1,) * (x.rank - axis - 1))
                    x = self.elementwise(x, self.constant(along_axis), kind)
            return x
        weights = [self._trt.Weights() if value is None else self._as_weights(value) for value in (scale, shift)]
        mode, power = self._trt.ScaleMode.CHANNEL, self._trt.Weights()
        layer = self.network.add_scale_nd(self._itensor(x), mode, weights[1], weights[0], power, axis)
        return self._result(layer, x.dtype)

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
        weights = self._as_weights(self.values(kernel))
        layer = self._checked(
            self.network.add_convolution_nd(
                self._itensor(x), kernel.shape[0], kernel.shape[2:], weights, self._trt.Weights()
            )
        )
        layer.stride_nd, layer.dilation_nd, layer.num_groups = tuple(strides), tuple(dilation), groups
        layer.pre_padding, layer.post_padding = tuple(pre_padding), tuple(post_padding)
        return self._result(layer, x.dtype)

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
        kind_ = getattr(self._trt.PoolingType, _POOLING[kind])
        layer = self._checked(self.network.add_pooling_nd(self._itensor(x), kind_, tuple(window)))
        layer.stride_nd = tuple(strides)
        layer.pre_padding, layer.post_padding = tuple(pre_padding), tuple(post_padding)
        modes = self._trt.PaddingMode
        layer.padding_mode = modes.EXPLICIT_ROUND_UP if ceil_mode else modes.EXPLICIT_ROUND_DOWN
        if kind == "average":
            layer.average_count_excludes_padding = not count_include_pad
        return self._result(layer, x.dtype)

    def matrix_multiply(self, a: Tensor, b: Tensor, transpose_b: bool = False) -> Tensor:
        rank = max(a.rank, b.rank)
        operation = self._trt.MatrixOperation
        layer = self.network.add_matrix_multiply(
            self._itensor(self._with_rank(a, rank)),
            operation.NONE,
            self._itensor(self._with_rank(b, rank)),
            operation.TRANSPOSE if transpose_b else operation.NONE,
        )
        return self._result(layer, a.dtype)

    def softmax(self, x: Tensor, axis: int) -> Tensor:
        if x.rank == 1:  # the SoftMax layer wants two dimensions
            return self.reshape(self.softmax(self._with_rank(x, 2), 1), x.shape)
        layer = self._checked(self.network.add_softmax(self._itensor(x)))
        layer.axes = 1 << axis
        return self._result(layer, x.dtype)

    def concatenation(self, tensors: Sequence[Tensor], axis: int) -> Tensor:
        layer = self._checked(self.network.add_concatenation([self._itensor(tensor) for tensor in tensors]))
        layer.axis = axis
        return self._result(layer, tensors[0].dtype)

    def reshape(self, x: Tensor, shape: Sequence[int]) -> Tensor:
        layer = self._checked(self.network.add_shuffle(self._itensor(x)))
        layer.reshape_dims = tuple(shape)
        return self._result(layer, x.dtype)

    def transpose(self, x: Tensor, permutation: Sequence[int]) -> Tensor:
        layer = self._checked(self.network.add_shuffle(self._itensor(x)))
        layer.first_transpose = self._trt.Permutation(list(permutation))
        return self._result(layer, x.dtype)

    def _with_rank(self, x: Tensor, rank: int) -> Tensor:
        """Dimensions of 1 put in front: TensorRT broadcasts only between equal ranks."""
        missing = rank - x.rank
        if not missing:
            return x
        if x.value is not None:
            return self.constant(x.value.reshape((1,) * missing + x.shape))
        return self.reshape(x, (1,) * missing + x.shape)

    def _itensor(self, tensor: Tensor) -> Any:
        """TensorRT's tensor; a constant becomes a layer when it is first used as one."""
        if tensor.value is None:
            return tensor.handle
        if tensor not in self._constants:
            layer = self._checked(self.network.add_constant(tensor.shape, self._as_weights(tensor.value)))
            self._constants[tensor] = layer.get_output(0)
        return self._constants[tensor]

    def _as_weights(self, value: np.ndarray) -> Any:
        value = np.ascontiguousarray(value)
        self._weights.append(value)
        return self._trt.Weights(value)

    def _checked(self, layer: Any) -> Any:
        """TensorRT reports a refused layer by returning None, with the reason in its log."""
        if layer is None:
            raise ConversionError(f"{self.scope}: TensorRT refuses the layer; the log says why")
        layer.name = f"{self.scope}/{self.network.num_layers}"
        return layer

    def _result(self, layer: Any, dtype: str) -> Tensor:
        output = self._checked(layer).get_output(0)
        try:
            shape = tuple(output.shape)
        except ValueError:  # operands or attributes that do not fit each other leave a shape without a length
            raise ConversionError(f"{self.scope}: TensorRT refuses the layer; the log says why") from None
        return Tensor(shape, dtype, handle=output)
