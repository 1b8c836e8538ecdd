"""Cases of quantized tensors, and of the arithmetic on them that becomes float arithmetic between two of those.

The reference is TVM's integer arithmetic, which rounds otherwise than floats do where it requantizes and where it
averages: a result may be one quantum off. Results use all levels, so that a quantum is the 127th part of the largest.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, Optional, Tuple

import numpy as np
from hypothesis import strategies as st
from tvm import relay

from .case import Case, Draw, Refused, Shape, shapes, strategy, values

nn, qnn = relay.nn, relay.qnn.op

QUANTUM: Dict[str, Any] = {"rtol": 0.0, "atol": 1.01 / 126}
IMAGE = (2, 3, 9, 8)
Compute = Callable[..., relay.Expr]


def const(value: Any, dtype: str = "float32") -> relay.Constant:
    return relay.const(np.array(value, dtype))


def weights(*shape: int) -> relay.Constant:
    return relay.const(values(shape, "int8", 5, -127, 128))


ZERO, MIDDLE = const(0, "int32"), const(128, "int32")
BIAS = values((4,), "int32", 2, -9999, 9999)
SCALES = const([0.01, 0.02, 0.015, 0.03])
SUMS = const(np.float32(0.1) * SCALES.data.numpy())  # what sums of products with those and with steps of 0.1 stand for


def of_int8(name: str, build: Compute, *inputs: Shape, **more: Any) -> Case:
    """A case of int8 operands and an int8 result."""
    dtypes = ("int8",) * len(inputs)
    return Case("qnn.quantize", name, build, inputs, dtypes=dtypes, high=128, **{"low": -128, **QUANTUM, **more})


def in_steps(dtype: str, name: str, compute: Compute, after: float = 0.1) -> Case:
    """A case of floats that become int8, or uint8 around 128 as PyTorch has them, and floats again."""
    zero = MIDDLE if dtype == "uint8" else ZERO

    def build(x: relay.Expr) -> relay.Expr:
        y = compute(qnn.quantize(x, const(0.1), zero, out_dtype=dtype))
        return qnn.dequantize(y, const(after), zero)

    return Case("qnn.quantize", f"{dtype}, {name}", build, (IMAGE,), low=-15.0, high=15.0, **QUANTUM)


def requantized(x: relay.Expr, before: relay.Constant, after: float, axis: int = 1) -> relay.Expr:
    return qnn.requantize(x, before, ZERO, const(after), ZERO, axis=axis, out_dtype="int8")


def conv2d(
    x: relay.Expr,
    kernel: relay.Constant,
    channels: int,
    after: float,
    per_channel: bool = False,
    bias: Optional[np.ndarray] = None,
    relu: bool = False,
    **attrs: Any,
) -> relay.Expr:
    axis = attrs.get("data_layout", "NCHW").index("C")
    scale, sums = (SCALES, SUMS) if per_channel else (const(0.02), const(0.002))
    y = qnn.conv2d(x, kernel, ZERO, ZERO, const(0.1), scale, kernel_size=(3, 3), channels=channels, **attrs)
    y = y if bias is None else nn.bias_add(y, relay.const(bias), axis=axis)
    return requantized(nn.relu(y) if relu else y, sums, after, axis)


def conv2d_transpose(x: relay.Expr) -> relay.Expr:
    attrs: Dict[str, Any] = {"channels": 4, "kernel_size": (2, 2), "strides": (2, 2), "kernel_layout": "IOHW"}
    y = qnn.conv2d_transpose(x, weights(3, 4, 2, 2), ZERO, ZERO, const(0.1), SCALES, out_dtype="int32", **attrs)
    return requantized(y, SUMS, 0.1)


def dense(x: relay.Expr) -> relay.Expr:
    y = qnn.dense(x, weights(4, 12), ZERO, ZERO, const(0.1), SCALES, units=4)
    return requantized(y + relay.const(BIAS), SUMS, 0.6)


def batch_matmul(x: relay.Expr, y: relay.Expr) -> relay.Expr:
    return requantized(qnn.batch_matmul(x, y, ZERO, ZERO, const(0.1), const(0.02)), const(0.002), 0.3)


def binary(name: str, after: float) -> Compute:
    return lambda x, y: getattr(qnn, name)(x, y, const(0.1), ZERO, const(0.05), ZERO, const(after), ZERO)


def unary(name: str, before: float, after: float, low: int = -128) -> Case:
    attrs = [0.3] if name == "leaky_relu" else []

    def build(x: relay.Expr) -> relay.Expr:
        return getattr(qnn, name)(x, *attrs, const(before), ZERO, const(after), ZERO)

    def of_floats(x: relay.Expr) -> relay.Expr:
        x = {"erf": relay.erf, "softmax": nn.softmax}[name](qnn.dequantize(x, const(before), ZERO))
        return qnn.quantize(x, const(after), ZERO)

    # TVM computes the error function with scipy, and softmax of integers by a rough approximation.
    same_as = of_floats if name in ("erf", "softmax") else None
    return of_int8(f"qnn.{name}", build, (2, 3, 40), low=low, same_as=same_as)


#: Of each the step before and the step after, and the smallest operand; some releases of TVM lack some.
UNARY: Dict[str, Tuple[Any, ...]] = {
    "abs": (0.1, 0.1),
    "erf": (0.02, 0.008),
    "exp": (0.02, 0.1),
    "hardswish": (0.1, 0.1),
    "leaky_relu": (0.1, 0.1),
    "log": (0.1, 0.02, 1),
    "rsqrt": (0.1, 0.025, 1),
    "sigmoid": (0.04, 0.0078),
    "softmax": (0.1, 0.004),
    "sqrt": (0.1, 0.028, 0),
    "tanh": (0.02, 0.0078),
}


def avg_pool2d(x: relay.Expr) -> relay.Expr:
    return qnn.avg_pool2d(x, const(0.1), ZERO, const(0.05), ZERO, (2, 2), (2, 2), (0, 0), (1, 1), layout="NCHW")


def pytorch_conv2d(x: relay.Expr) -> relay.Expr:
    """As TVM's front end makes it: padded with what stands for 0, and clipped as int32."""
    x = nn.pad(x, ((0, 0), (0, 0), (1, 1), (2, 2)), 128.0)
    attrs: Dict[str, Any] = {"kernel_size": (3, 3), "channels": 4, "padding": (0, 0)}
    x = qnn.conv2d(x, weights(4, 3, 3, 3), MIDDLE, ZERO, const(0.1), SCALES, **attrs)
    x = nn.bias_add(x, qnn.quantize(const([1.0, -1.0, 2.0, 5.0]), SUMS, ZERO, axis=0, out_dtype="int32"))
    x = qnn.requantize(x, SUMS, ZERO, const(0.5), MIDDLE, axis=1, out_dtype="int32")
    return relay.cast(relay.clip(x, 128, 255), "uint8")


def in_int32(compute: Compute, dtype: str) -> Compute:
    return lambda x: relay.cast(compute(relay.cast(x, "int32")), dtype)


def quantized_weights(x: relay.Expr) -> relay.Expr:
    """As ONNX models with QuantizeLinear and DequantizeLinear have it."""
    x = qnn.dequantize(qnn.quantize(x, const(0.1), ZERO), const(0.1), ZERO)
    y = nn.conv2d(x, qnn.dequantize(weights(4, 3, 3, 3), SCALES, ZERO, axis=0), padding=(1, 1), channels=4)
    return qnn.dequantize(qnn.quantize(y, const(0.5), ZERO), const(0.5), ZERO)


#: What moves numbers, chooses among them or bounds them, of tensors of either type.
MOVES: Dict[str, Callable[[relay.Expr, str], relay.Expr]] = {
    "nothing": lambda x, _: x,
    "max_pool2d": lambda x, _: nn.max_pool2d(x, (3, 3), (2, 2), padding=(1, 1)),
    "reshape": lambda x, _: relay.reshape(x, (2, 27, 8)),
    "transpose": lambda x, _: relay.transpose(x, (0, 3, 1, 2)),
    "squeeze": lambda x, _: relay.squeeze(relay.expand_dims(x, 1), [1]),
    "batch_flatten": lambda x, _: nn.batch_flatten(x),
    "strided_slice": lambda x, _: relay.strided_slice(x, [0, 1, 0, 0], [2, 3, 9, 8]),
    "concatenate": lambda x, _: relay.concatenate([x, nn.max_pool2d(x, (3, 3), padding=(1, 1))], 1),
    "split": lambda x, _: relay.split(x, 3, 1)[1],
    "clip": lambda x, dtype: relay.clip(x, *((98, 220) if dtype == "uint8" else (-30, 92))),
    "maximum": lambda x, dtype: relay.maximum(x, const(MIDDLE.data.numpy() if dtype == "uint8" else 0, dtype)),
    "minimum": lambda x, dtype: relay.minimum(x, const(100, dtype)),
    "pad": lambda x, _: nn.pad(x, ((0, 0), (0, 0), (1, 0), (0, 2)), 100.0),
    "mean": lambda x, dtype: in_int32(lambda x: relay.mean(x, 3), dtype)(nn.max_pool2d(x, (2, 2))),
    "adaptive_avg_pool2d": lambda x, dtype: in_int32(lambda x: nn.adaptive_avg_pool2d(x, (9, 4)), dtype)(x),
    "avg_pool2d": lambda x, dtype: in_int32(lambda x: nn.avg_pool2d(x, (1, 2)), dtype)(x),
}


def quantized(dtype: str, zero_point: int, scale: float = 0.1) -> Compute:
    return lambda x: qnn.quantize(x, const(scale), const(zero_point, "int32"), out_dtype=dtype)


def dequantized(zero_point: int, scale: float = 0.1) -> Compute:
    return lambda x: qnn.dequantize(x, const(scale), const(zero_point, "int32"))


CASES = [
    Case("qnn.quantize", "rank 4", quantized("int8", 0), (IMAGE,), low=-15.0, high=15.0, **QUANTUM),
    Case("qnn.quantize", "rank 1", quantized("int8", 0, 2.0), ((9,),), low=-300, high=300, **QUANTUM),
    Case("qnn.quantize", "weights", quantized_weights, (IMAGE,), low=-15.0, high=15.0, **QUANTUM),
    Case("qnn.dequantize", "rank 4", dequantized(0), (IMAGE,), dtypes=("int8",), low=-128, high=128),
    Case("qnn.dequantize", "rank 1", dequantized(0, 0.7), ((9,),), dtypes=("int8",), low=-128, high=128),
    of_int8("qnn.requantize", lambda x: requantized(x, const(0.1), 0.08), IMAGE),
    of_int8("qnn.conv2d", lambda x: conv2d(x, weights(4, 3, 3, 3), 4, 0.8), IMAGE),
    of_int8("qnn.conv2d, per channel", lambda x: conv2d(x, weights(4, 3, 3, 3), 4, 0.5, per_channel=True), IMAGE),
    of_int8(
        "qnn.conv2d, bias and relu",
        lambda x: conv2d(x, weights(4, 3, 3, 3), 4, 0.5, True, BIAS, True, padding=(1, 2)),
        IMAGE,
    ),
    of_int8(
        "qnn.conv2d, depthwise",
        lambda x: conv2d(x, weights(4, 1, 3, 3), 4, 0.3, True, strides=(2, 2), groups=4, padding=(1, 1)),
        (2, 4, 9, 8),
    ),
    of_int8(
        "qnn.conv2d, NHWC",
        lambda x: conv2d(x, weights(3, 3, 3, 4), 4, 0.5, True, BIAS, data_layout="NHWC", kernel_layout="HWIO"),
        (2, 9, 8, 3),
    ),
    of_int8("qnn.conv2d_transpose", conv2d_transpose, IMAGE),
    of_int8("qnn.dense", dense, (9, 12)),
    of_int8("qnn.batch_matmul", batch_matmul, (2, 5, 6), (2, 7, 6)),
    of_int8("qnn.add", binary("add", 0.12), IMAGE, IMAGE),
    of_int8("qnn.subtract", binary("subtract", 0.12), IMAGE, IMAGE),
    of_int8("qnn.mul", binary("mul", 0.4), IMAGE, IMAGE),
    of_int8(
        "qnn.concatenate",
        lambda x, y: qnn.concatenate([x, y], [const(0.1), const(0.05)], [ZERO, ZERO], const(0.1), ZERO, 1),
        IMAGE,
        (2, 4, 9, 8),
    ),
    *(unary(name, *steps) for name, steps in UNARY.items() if hasattr(qnn, name)),
    *([of_int8("qnn.avg_pool2d", avg_pool2d, IMAGE)] if hasattr(qnn, "avg_pool2d") else []),
    in_steps("uint8", "as PyTorch's convolution", pytorch_conv2d, 0.5),
    *(
        in_steps(dtype, name, lambda x, move=move, dtype=dtype: move(x, dtype))
        for dtype in ("int8", "uint8")
        for name, move in MOVES.items()
    ),
]


REFUSED = [
    Refused("qnn.quantize", quantized("uint8", 3), (IMAGE,), "128 of uint8; this has 3 of uint8"),
    Refused("qnn.quantize", quantized("int8", -7), (IMAGE,), "or 128 of uint8; this has -7 of int8"),
    Refused("qnn.quantize", quantized("int16", 0), (IMAGE,), "TensorRT quantizes to int8, not to int16"),
    Refused("qnn.quantize", quantized("int32", 0), (IMAGE,), "this makes int32 of float32"),
    Refused("qnn.quantize", quantized("int8", 0, -0.1), (IMAGE,), "positive scales"),
    Refused("qnn.quantize", quantized("int8", 0), ((),), "TensorRT does not quantize scalars"),
    Refused("qnn.quantize", lambda x, s: qnn.quantize(x, s, ZERO), (IMAGE, ()), "one of these is computed"),
    Refused(
        "qnn.quantize",
        lambda x: qnn.quantize(x, SCALES, ZERO, axis=1),
        ((2, 4),),
        "only a constant may have several scales",
    ),
    Refused("qnn.dequantize", dequantized(9), (IMAGE,), "this has 9 of int8", ("int8",)),
    Refused("qnn.dequantize", dequantized(0), (IMAGE,), "this makes float32 of int32", ("int32",)),
    Refused(
        "qnn.add",
        lambda x, y: qnn.add(x, y, const(0.1), ZERO, const(0.1), const(1, "int32"), const(0.1), ZERO),
        (IMAGE, IMAGE),
        "this has 1 of int8",
        ("int8", "int8"),
    ),
]


@strategy("qnn.quantize")
def quantize_case(draw: Draw, op: str) -> Case:
    shape, scale = draw(shapes(1, 5)), draw(st.floats(0.01, 10.0))
    axis = draw(st.integers(-len(shape), len(shape) - 1))
    build = lambda x: qnn.quantize(x, const(scale), ZERO, axis=axis)  # noqa: E731
    return Case(op, f"{shape} {scale} {axis}", build, (shape,), low=-150 * scale, high=150 * scale, **QUANTUM)


@strategy("qnn.dequantize")
def dequantize_case(draw: Draw, op: str) -> Case:
    shape, scale = draw(shapes(1, 5)), draw(st.floats(0.01, 10.0))
    return Case(op, f"{shape} {scale}", dequantized(0, scale), (shape,), dtypes=("int8",), low=-128, high=128)
