"""Small networks, one or more for each method of a builder, with what they compute according to numpy.

The docstrings of `relay_trt.runtime.builders.base` say what each method means; here stands the same in code.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

import numpy as np
import pytest

from relay_trt.operators.windows import Window
from relay_trt.runtime.builders import NetworkBuilder, Tensor

from ...operators.case import values
from ...support import random
from ..support import Network, call

Shape = Tuple[int, ...]

# Where each engine converts a graph.
CONVERTS = {"onnxruntime": "onnxruntime", "tensorrt": "tensorrt_build"}


@dataclasses.dataclass(frozen=True)
class Built:
    """A network by the methods of a builder.

    Attributes
    ----------
    name : str
        What it shows.
    build : function
        Makes the output from the builder and its inputs.
    expected : function
        Makes the output from arrays.
    shapes : tuple of shapes
        The shapes of the inputs.
    low, high : float
        The range of the inputs; integers are below ``high``.
    dtypes : tuple of str
        The types of the inputs, where they are not float32.
    dynamic : bool
        Whether the builder is not told the first dimension of the inputs.
    axes : tuple of int
        Which dimensions it is not told instead; ``inferred`` is then the shape of the output as far as it is known.
    """

    name: str
    build: Callable[..., Tensor]
    expected: Callable[..., np.ndarray]
    shapes: Tuple[Shape, ...] = ((2, 3, 4),)
    low: float = -2.0
    high: float = 2.0
    dtypes: Tuple[str, ...] = ()
    dynamic: bool = False
    axes: Tuple[int, ...] = (0,)
    inferred: Optional[Shape] = None

    def __str__(self) -> str:
        return self.name

    def declared(self) -> List[Tuple[Shape, str]]:
        """The shapes and types of the inputs, as the builder is told them."""
        dtypes = self.dtypes or ("float32",) * len(self.shapes)
        return [(self._declared(shape) if self.dynamic else shape, dtype) for shape, dtype in zip(self.shapes, dtypes)]

    def _declared(self, shape: Shape) -> Shape:
        return tuple(-1 if axis in self.axes else size for axis, size in enumerate(shape))

    def inputs(self) -> List[np.ndarray]:
        declared = enumerate(zip(self.shapes, self.declared()))
        return [values(shape, dtype, seed, self.low, self.high) for seed, (shape, (_, dtype)) in declared]

    def output_shape(self) -> Shape:
        """The shape of the output, as the builder must infer it."""
        shape = self.expected(*self.inputs()).shape
        return self.inferred or ((-1, *shape[1:]) if self.dynamic else shape)

    def add_to(self, net: NetworkBuilder) -> None:
        net.scope = "tested"
        tensors = [net.input(f"x{i}", shape, dtype) for i, (shape, dtype) in enumerate(self.declared())]
        net.output(self.build(net, *tensors), "output_0")

    def check(self, engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """Build it for an engine, run it, compare."""
        inputs = self.inputs()
        want = self.expected(*inputs)
        monkeypatch.setenv("TVM_TENSORRT_ENGINE", engine)
        module = f"relay_trt.runtime.engines.{CONVERTS[engine]}"
        monkeypatch.setattr(f"{module}.convert", lambda _, __, net: self.add_to(net))
        net = Network()
        entries = [net.input(*shape, dtype=dtype) for shape, dtype in self.declared()]
        output = net.kernel("built by hand", *entries, shape=self.output_shape(), dtype=want.dtype.name)
        (got,) = call(net.subgraph(output), *inputs, shapes=[want.shape])
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4 * max(1.0, float(np.abs(want).max())))


def windows(
    x: np.ndarray, size: Sequence[int], window: Window, fill: float, ceil_mode: bool = False
) -> Tuple[Shape, Dict[Shape, np.ndarray]]:
    """How many windows there are in each dimension, and the elements of each, by its place."""
    strides, before, after, dilation = dataclasses.astuple(window)
    extent = [(w - 1) * d + 1 for w, d in zip(size, dilation)]
    rounded = math.ceil if ceil_mode else math.floor
    counts = tuple(
        rounded((whole + b + a - e) / stride) + 1
        for whole, b, a, e, stride in zip(x.shape[2:], before, after, extent, strides)
    )
    # Behind the padding too, for the last window of ceil_mode.
    pads = [(0, 0), (0, 0), *((b, a + stride) for b, a, stride in zip(before, after, strides))]
    padded = np.pad(x, pads, constant_values=fill)
    places = itertools.product(*map(range, counts))
    return counts, {
        place: padded[
            (
                slice(None),
                slice(None),
                *(slice(i * s, i * s + e, d) for i, s, e, d in zip(place, strides, extent, dilation)),
            )
        ]
        for place in places
    }


def convolve(
    x: np.ndarray,
    kernel: np.ndarray,
    window: Window,
    groups: int,
) -> np.ndarray:
    counts, parts = windows(x, kernel.shape[2:], window, 0)
    result = np.zeros((x.shape[0], kernel.shape[0], *counts), "float32")
    axes = tuple(range(2, kernel.ndim))
    for place, part in parts.items():
        for o in range(kernel.shape[0]):
            first = o // (kernel.shape[0] // groups) * kernel.shape[1]
            channels = part[:, first : first + kernel.shape[1]]
            result[(slice(None), o, *place)] = (channels * kernel[o]).sum(axis=(1, *axes))
    return result


def pool(
    x: np.ndarray,
    kind: str,
    size: Sequence[int],
    window: Window,
    ceil_mode: bool = False,
    count_include_pad: bool = False,
) -> np.ndarray:
    fill = -np.inf if kind == "max" else 0 if count_include_pad else np.nan
    counts, parts = windows(x, size, window, fill, ceil_mode)
    result = np.zeros((*x.shape[:2], *counts), "float32")
    axes = tuple(range(2, x.ndim))
    for place, part in parts.items():
        result[(slice(None), slice(None), *place)] = part.max(axes) if kind == "max" else np.nanmean(part, axes)
    return result


def deconvolve(
    x: np.ndarray,
    kernel: np.ndarray,
    window: Window,
    groups: int,
) -> np.ndarray:
    """Each element of x adds the kernel, times itself, to the result; then the padding is cut off."""
    strides, dilation = window.strides, window.dilation
    extent = [(k - 1) * d + 1 for k, d in zip(kernel.shape[2:], dilation)]
    full = [(size - 1) * s + e for size, s, e in zip(x.shape[2:], strides, extent)]
    outputs, channels = kernel.shape[1], x.shape[1] // groups
    result = np.zeros((x.shape[0], outputs * groups, *full), "float32")
    for place in itertools.product(*map(range, x.shape[2:])):
        covered = tuple(slice(p * s, p * s + e, d) for p, s, e, d in zip(place, strides, extent, dilation))
        for c in range(x.shape[1]):
            first = c // channels * outputs
            part = result[(slice(None), slice(first, first + outputs), *covered)]
            part += np.multiply.outer(x[(slice(None), c, *place)], kernel[c])
    kept = (slice(before, size - after) for before, after, size in zip(window.before, window.after, full))
    return result[(slice(None), slice(None), *kept)]


def resized(
    x: np.ndarray, size: Sequence[int], mode: str, coordinates: str, rounding: str = "", cubic: float = -0.75
) -> np.ndarray:
    """One dimension after the other, by the weights of the old elements in each new one."""
    for axis, new in enumerate(size, start=2):
        old = x.shape[axis]
        weights = np.zeros((new, old))
        for i in range(new):
            place = {
                "asymmetric": i * old / new,
                "half_pixel": (i + 0.5) * old / new - 0.5,
                "align_corners": i * (old - 1) / max(new - 1, 1),
            }[coordinates]
            base = math.floor(place)
            t = place - base
            if mode == "nearest":
                halves = {"round_prefer_floor": math.ceil(place - 0.5), "round_prefer_ceil": math.floor(place + 0.5)}
                taps = {{"floor": base, "ceil": math.ceil(place), **halves}[rounding]: 1.0}
            elif mode == "linear":
                taps = {base: 1 - t, base + 1: t}
            else:
                near, far = (
                    lambda d: (cubic + 2) * d**3 - (cubic + 3) * d**2 + 1,
                    lambda d: cubic * (d**3 - 5 * d**2 + 8 * d - 4),
                )
                taps = {base - 1: far(1 + t), base: near(t), base + 1: near(1 - t), base + 2: far(2 - t)}
            for tap, weight in taps.items():
                weights[i, min(max(tap, 0), old - 1)] += weight
        x = np.moveaxis(np.tensordot(weights, x, (1, axis)), 0, axis)
    return x.astype("float32")


def window(dimensions: int, **attrs: Sequence[int]) -> Window:
    """A window that moves by one element, but for ``attrs``."""
    ones, zeros = [1] * dimensions, [0] * dimensions
    return Window(**{"strides": ones, "before": zeros, "after": zeros, "dilation": ones, **attrs})


def convolution(name: str, shape: Shape, kernel: Shape, groups: int = 1, **attrs: Any) -> Built:
    moved = window(len(kernel) - 2, **attrs)
    weights = random(kernel, seed=9)
    return Built(
        f"convolution, {name}",
        lambda net, x: net.convolution(x, net.constant(weights), moved, groups),
        lambda x: convolve(x, weights, moved, groups),
        (shape,),
    )


def deconvolution(name: str, shape: Shape, kernel: Shape, groups: int = 1, **attrs: Any) -> Built:
    moved = window(len(kernel) - 2, **attrs)
    weights = random(kernel, seed=9)
    return Built(
        f"deconvolution, {name}",
        lambda net, x: net.deconvolution(x, net.constant(weights), moved, groups),
        lambda x: deconvolve(x, weights, moved, groups),
        (shape,),
    )


def resize(shape: Shape, dynamic: bool = False, **attrs: Any) -> Built:
    return Built(
        f"resize, {shape} {attrs}{', dynamic' if dynamic else ''}",
        lambda net, x: net.resize(x, **attrs),
        lambda x: resized(x, **attrs),
        (shape,),
        dynamic=dynamic,
    )


def pooling(
    name: str, kind: str, shape: Shape = (2, 3, 7, 6), modes: Optional[Dict[str, bool]] = None, **attrs: Any
) -> Built:
    n = len(shape) - 2
    moved, size, given = window(n, **{"strides": [2] * n, **attrs}), [3] * n, modes or {}
    return Built(
        f"{kind} pooling, {name}",
        lambda net, x: net.pooling(x, kind, size, moved, **given),
        lambda x: pool(x, kind, size, moved, **given),
        (shape,),
    )


def unary(kind: str, expected: Callable[[np.ndarray], np.ndarray], **bounds: float) -> Built:
    return Built(kind, lambda net, x: net.unary(x, kind), expected, **bounds)


def elementwise(kind: str, expected: Callable[..., np.ndarray], *shapes: Shape) -> Built:
    return Built(
        f"{kind} of {shapes}", lambda net, a, b: net.elementwise(a, b, kind), expected, shapes, low=0.5, high=2.0
    )


def matmul(name: str, a: Shape, b: Shape, **transposes: bool) -> Built:
    def expected(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        x = np.swapaxes(x, -1, -2) if transposes.get("transpose_a") else x
        return x @ (np.swapaxes(y, -1, -2) if transposes.get("transpose_b") else y)

    return Built(
        f"matrix_multiply, {name}", lambda net, x, y: net.matrix_multiply(x, y, **transposes), expected, (a, b)
    )


def softmax(axis: int) -> Built:
    def expected(x: np.ndarray) -> np.ndarray:
        powers = np.exp(x - x.max(axis, keepdims=True))
        return powers / powers.sum(axis, keepdims=True)

    return Built(f"softmax, axis {axis}", lambda net, x: net.softmax(x, axis), expected, low=-99, high=99)


def scaled(name: str, shape: Shape, axis: int, scale: bool = True, shift: bool = True) -> Built:
    size = shape[axis]
    factors = random((size,), seed=5) if scale else None
    terms = random((size,), seed=6) if shift else None
    along = [1] * len(shape)
    along[axis] = size

    def expected(x: np.ndarray) -> np.ndarray:
        x = x if factors is None else x * factors.reshape(along)
        return x if terms is None else x + terms.reshape(along)

    return Built(f"scale, {name}", lambda net, x: net.scale(x, factors, terms, axis), expected, (shape,))


def quantized_convolution(shape: Shape, kernel: Shape) -> Built:
    """As TensorRT wants it, to compute it in int8: between tensors that are dequantized, and one that is quantized."""
    weights = values(kernel, "int8", 9, -128, 128)
    scales = random((kernel[0],), seed=8, low=0.01, high=0.1)
    moved = window(2)
    step = np.float32(0.05)

    def build(net: NetworkBuilder, x: Tensor) -> Tensor:
        product = net.convolution(
            net.dequantize(net.quantize(x, step), step), net.dequantize(net.constant(weights), scales, 0), moved, 1
        )
        return net.dequantize(net.quantize(product, np.float32(16.0)), np.float32(16.0))

    def expected(x: np.ndarray) -> np.ndarray:
        product = convolve(quantized(x, step) * step, weights * scales.reshape(-1, 1, 1, 1), moved, 1)
        return quantized(product, np.float32(16.0)) * np.float32(16.0)

    return Built("convolution, quantized", build, expected, (shape,))


def constant_operand(name: str, value: np.ndarray, left: bool = False) -> Built:
    def build(net: NetworkBuilder, x: Tensor) -> Tensor:
        operands = [net.constant(value), x] if left else [x, net.constant(value)]
        return net.elementwise(*operands, "sub")

    return Built(f"constant {name}", build, lambda x: value - x if left else x - value)


def moved_constant(net: NetworkBuilder, x: Tensor) -> Tensor:
    """x, with a constant added that is brought into its shape."""
    constant = net.reshape(net.transpose(net.constant(MOVED), [1, 0]), [0, -1, 1, 3], {3: 1})
    assert constant.value is not None
    return net.elementwise(x, constant, "sum")


MOVED = random((6, 2), seed=4)
SCALES = np.float32([0.5, 0.01, 2.0])


def quantized(x: np.ndarray, scale: Any = 0.25) -> np.ndarray:
    return np.clip(np.rint(x / scale), -128, 127).astype("int8")


def twice(net: NetworkBuilder, x: Tensor) -> Tensor:
    value = net.constant(random((3, 4), seed=3))
    return net.elementwise(net.elementwise(x, value, "sum"), value, "prod")


INT, BOOL = ("int32",), ("bool",)
NINE = {"low": -9, "high": 9}


def integers(kind: str, expected: Callable[..., np.ndarray]) -> Built:
    build = lambda net, a, b: net.elementwise(a, b, kind)  # noqa: E731
    return Built(f"{kind} of integers", build, expected, ((2, 3), (2, 3)), dtypes=INT * 2, **NINE)


def logical(kind: str, expected: Callable[..., np.ndarray]) -> Built:
    return Built(kind, lambda net, a, b: net.elementwise(a, b, kind), expected, ((2, 3, 4), (3, 1)), dtypes=BOOL * 2)


def cast(before: str, after: str) -> Built:
    bounds = {"low": -2.5, "high": 2.5} if before == "float32" else NINE
    name, build = f"cast from {before} to {after}", lambda net, x: net.cast(x, after)
    return Built(name, build, lambda x: x.astype(after), dtypes=(before,), **bounds)


def reduced(kind: str, function: Callable[..., np.ndarray], *axes: int, keep_dims: bool = False, **more: Any) -> Built:
    return Built(
        f"{kind} over {axes}, keep_dims {keep_dims} {more}",
        lambda net, x: net.reduce(x, kind, axes, keep_dims),
        lambda x: function(x, axis=axes, keepdims=keep_dims).astype(x.dtype),
        **more,
    )


def top(output: int, largest: bool, shape: Shape, axis: int) -> Built:
    def expected(x: np.ndarray) -> np.ndarray:
        order = np.argsort(-x if largest else x, axis).take(range(2), axis)
        return order.astype("int32") if output else np.take_along_axis(x, order, axis)

    name = f"top_k, {shape}, axis {axis}, {'largest' if largest else 'smallest'}, {['values', 'indices'][output]}"
    return Built(name, lambda net, x: net.top_k(x, 2, axis, largest)[output], expected, (shape,))


def sliced(
    name: str, start: List[int], size: List[int], stride: List[int], shape: Shape = (4, 5), **more: Any
) -> Built:
    def expected(x: np.ndarray) -> np.ndarray:
        for axis, (first, count, step) in enumerate(zip(start, size, stride)):
            if count >= 0:
                x = x.take([first + i * step for i in range(count)], axis)
        return x

    return Built(f"slice, {name}", lambda net, x: net.slice(x, start, size, stride), expected, (shape,), **more)


def padded(name: str, before: List[int], after: List[int], value: float, **more: Any) -> Built:
    return Built(
        f"pad, {name}",
        lambda net, x: net.pad(x, before, after, value),
        lambda x: np.pad(x, list(zip(before, after)), constant_values=value),
        ((2, 3),),
        **more,
    )


def broadcast(name: str, shape: Shape, to: Shape, **more: Any) -> Built:
    return Built(
        f"broadcast, {name}",
        lambda net, x: net.broadcast(x, to),
        lambda x: np.broadcast_to(x, [old if new < 0 else new for old, new in zip(x.shape, to)]),
        (shape,),
        **more,
    )


def indexed(name: str, method: str, expected: Callable[..., np.ndarray], *shapes: Shape, **attrs: Any) -> Built:
    """A method of x, int32 indices below 3, and for scattering updates."""
    dtypes = attrs.pop("dtypes", ("float32", "int32", "float32")[: len(shapes)])
    build = lambda net, *tensors: getattr(net, method)(*tensors, **attrs)  # noqa: E731
    return Built(f"{method}, {name}", build, expected, shapes, low=0, high=3, dtypes=dtypes)


def scattered(name: str, method: str, expected: Callable[..., np.ndarray], indices: Any, updates: Shape) -> Built:
    """A method of x (3, 4), constant indices, and updates."""
    places = np.array(indices, "int32")
    attrs = {"axis": 0} if method == "scatter_elements" else {}
    build = lambda net, x, y: getattr(net, method)(x, net.constant(places), y, **attrs)  # noqa: E731
    return Built(f"{method}, {name}", build, lambda x, y: expected(x.copy(), places, y), ((3, 4), updates))


def put_elements(x: np.ndarray, indices: np.ndarray, updates: np.ndarray) -> np.ndarray:
    np.put_along_axis(x, indices, updates, 0)
    return x


def put_tuples(x: np.ndarray, indices: np.ndarray, updates: np.ndarray) -> np.ndarray:
    x[tuple(np.moveaxis(indices, -1, 0))] = updates
    return x


def normalized(x: np.ndarray) -> np.ndarray:
    squares = np.pad(x**2, [(0, 0), (1, 1), (0, 0), (0, 0)])
    total = sum(squares[:, i : i + x.shape[1]] for i in range(3))
    return x / (2.0 + 0.5 / 3 * total) ** 0.75


def in_full_precision(net: NetworkBuilder, x: Tensor) -> Tensor:
    with net.full_precision():
        return net.elementwise(x, net.scalar(0.5, x), "prod")


def in_full_precision_sliced(net: NetworkBuilder, x: Tensor) -> Tensor:
    with net.full_precision():
        return net.reshape(net.slice(x, [0, 1, 0], [-1, 2, -1], [1, 1, 1]), [1, -1, 2, -1], {1: 0, 3: 2})


def dynamic(name: str, build: Callable[..., Tensor], expected: Callable[..., np.ndarray], *shapes: Shape) -> Built:
    return Built(f"{name}, dynamic", build, expected, shapes or ((2, 3, 4),), dynamic=True)


def unknown(
    name: str,
    build: Callable[..., Tensor],
    expected: Callable[..., np.ndarray],
    axes: Tuple[int, ...],
    inferred: Shape,
    *shapes: Shape,
) -> Built:
    """With several dynamic dimensions."""
    return Built(
        f"{name}, {axes} dynamic", build, expected, shapes or ((2, 3, 4),), dynamic=True, axes=axes, inferred=inferred
    )


BUILT = [
    Built("relu", lambda net, x: net.activation(x, "relu"), lambda x: np.maximum(x, 0)),
    Built("sigmoid", lambda net, x: net.activation(x, "sigmoid"), lambda x: 1 / (1 + np.exp(-x))),
    Built("tanh", lambda net, x: net.activation(x, "tanh"), np.tanh),
    Built(
        "leaky_relu", lambda net, x: net.activation(x, "leaky_relu", alpha=0.3), lambda x: np.where(x < 0, 0.3 * x, x)
    ),
    Built("clip", lambda net, x: net.activation(x, "clip", alpha=-0.5, beta=1.0), lambda x: np.clip(x, -0.5, 1.0)),
    unary("exp", np.exp),
    unary("log", np.log, low=0.1),
    unary("sqrt", np.sqrt, low=0.0),
    unary("abs", np.abs),
    unary("neg", np.negative),
    unary("sin", np.sin),
    unary("cos", np.cos),
    unary("atan", np.arctan),
    unary("ceil", np.ceil),
    unary("floor", np.floor),
    unary("erf", np.vectorize(math.erf, otypes=["float32"])),
    *(
        elementwise(kind, function, (2, 3, 4), (2, 3, 4))
        for kind, function in {
            "sum": np.add,
            "sub": np.subtract,
            "prod": np.multiply,
            "div": np.divide,
            "pow": np.power,
            "max": np.maximum,
            "min": np.minimum,
        }.items()
    ),
    elementwise("sub", np.subtract, (2, 1, 4), (3, 1)),
    elementwise("sub", np.subtract, (4,), (2, 3, 4)),
    elementwise("sub", np.subtract, (), (2, 3)),
    constant_operand("on the right", random((3, 1))),
    constant_operand("on the left", random((4,)), left=True),
    constant_operand("of rank 0", np.float32(0.25)),
    Built("constant, twice", twice, lambda x: (x + random((3, 4), seed=3)) * random((3, 4), seed=3)),
    unary("acos", np.arccos, low=-1.0, high=1.0),
    unary("acosh", np.arccosh, low=1.0),
    unary("asin", np.arcsin, low=-1.0, high=1.0),
    unary("asinh", np.arcsinh),
    unary("atanh", np.arctanh, low=-0.9, high=0.9),
    unary("cosh", np.cosh),
    unary("recip", np.reciprocal, low=0.5),
    unary("round", np.round),
    unary("sign", np.sign),
    unary("sinh", np.sinh),
    unary("tan", np.tan, low=-1.0, high=1.0),
    Built(
        "round, half to even",
        lambda net, x: net.unary(
            net.elementwise(net.cast(x, "float32"), net.constant(np.float32(0.5)), "prod"), "round"
        ),
        lambda x: np.round(x * 0.5).astype("float32"),
        dtypes=INT,
        **NINE,
    ),
    Built("not", lambda net, x: net.unary(x, "not"), np.logical_not, dtypes=BOOL),
    Built("sign of zero", lambda net, x: net.unary(net.unary(x, "floor"), "sign"), lambda x: np.sign(np.floor(x))),
    *(
        integers(kind, function)
        for kind, function in {
            "sum": np.add,
            "sub": np.subtract,
            "prod": np.multiply,
            "max": np.maximum,
            "min": np.minimum,
            "equal": np.equal,
            "greater": np.greater,
            "less": np.less,
        }.items()
    ),
    *(
        Built(
            f"integers by {divisor}",
            lambda net, x, divisor=divisor: net.elementwise(x, net.constant(np.int32(divisor)), "div"),
            lambda x, divisor=divisor: np.trunc(x / divisor).astype("int32"),
            dtypes=INT,
            **NINE,
        )
        for divisor in (3, -4)
    ),
    *(
        Built(
            f"{kind} of equal and other numbers",
            lambda net, x, kind=kind: net.elementwise(net.unary(x, "floor"), net.scalar(0, x), kind),
            lambda x, function=function: function(np.floor(x), 0),
        )
        for kind, function in {"equal": np.equal, "greater": np.greater, "less": np.less}.items()
    ),
    logical("and", np.logical_and),
    logical("or", np.logical_or),
    logical("xor", np.logical_xor),
    Built(
        "select",
        lambda net, c, a, b: net.select(c, a, b),
        np.where,
        ((3, 1), (2, 1, 4), (4,)),
        dtypes=("bool", "float32", "float32"),
    ),
    Built(
        "select of integers",
        lambda net, c, a: net.select(c, a, net.scalar(7, a)),
        lambda c, a: np.where(c, a, np.int32(7)),
        ((2, 3), (2, 3)),
        dtypes=("bool", "int32"),
        **NINE,
    ),
    *(
        cast(before, after)
        for before in ("float32", "int32", "bool")
        for after in ("float32", "float16", "int32", "bool")
        if before != after
    ),
    Built(
        "cast of a constant",
        lambda net, x: net.elementwise(x, net.cast(net.scalar(2, x), "float32"), "prod"),
        lambda x: x * 2,
    ),
    Built(
        "quantize",
        lambda net, x: net.quantize(x, np.float32(0.25)),
        quantized,
        low=-40.0,
        high=40.0,
    ),
    Built(
        "quantize, half to even",
        lambda net, x: net.quantize(net.unary(x, "round"), np.float32(2.0)),
        lambda x: quantized(np.rint(x), np.float32(2.0)),
        low=-40.0,
        high=40.0,
    ),
    Built(
        "dequantize",
        lambda net, x: net.dequantize(x, np.float32(0.25)),
        lambda x: x * np.float32(0.25),
        dtypes=("int8",),
        low=-128,
        high=128,
    ),
    Built(
        "quantize, dequantize",
        lambda net, x: net.dequantize(net.quantize(x, np.float32(0.25)), np.float32(0.25)),
        lambda x: quantized(x) * np.float32(0.25),
        low=-40.0,
        high=40.0,
    ),
    *(
        Built(
            f"dequantize of a constant, scales along {axis}",
            lambda net, x, value=value, axis=axis: net.elementwise(
                x, net.dequantize(net.constant(value), SCALES, axis), "prod"
            ),
            lambda x, value=value, axis=axis: x * value * SCALES.reshape((3,) + (1,) * (value.ndim - axis - 1)),
        )
        for axis, value in {
            1: values((2, 3, 4), "int8", 3, -128, 128),
            0: values((3, 4), "int8", 3, -128, 128),
        }.items()
    ),
    Built(
        "dequantize of a constant, one scale",
        lambda net, x: net.elementwise(
            x, net.dequantize(net.constant(np.int8([-128, 0, 1, 127])), np.float32(0.3)), "prod"
        ),
        lambda x: x * np.float32([-128, 0, 1, 127]) * np.float32(0.3),
    ),
    quantized_convolution((2, 3, 7, 6), (4, 3, 3, 2)),
    Built("full precision", in_full_precision, lambda x: x * np.float32(0.5)),
    Built("prelu", lambda net, x, a: net.prelu(x, a), lambda x, a: np.where(x < 0, a * x, x), ((2, 3, 4), (3, 1))),
    scaled("rank 4", (2, 3, 4, 5), 1),
    scaled("rank 4, axis 0", (2, 3, 4, 5), 0),
    scaled("rank 4, axis 2", (2, 3, 4, 5), 2),
    scaled("rank 4, axis 3", (2, 3, 4, 5), 3),
    scaled("rank 5", (2, 3, 4, 5, 2), 1),
    scaled("rank 5, axis 4", (2, 3, 4, 5, 2), 4),
    scaled("rank 2", (2, 3), 1),
    scaled("rank 1", (3,), 0),
    scaled("no scale", (2, 3, 4, 5), 1, scale=False),
    scaled("no shift", (2, 3, 4, 5), 1, shift=False),
    scaled("neither", (2, 3, 4, 5), 1, scale=False, shift=False),
    convolution("plain", (2, 3, 7, 6), (4, 3, 3, 2)),
    convolution("strides", (2, 3, 7, 6), (4, 3, 3, 2), strides=[2, 3]),
    convolution("asymmetric padding", (2, 3, 7, 6), (4, 3, 3, 2), before=[1, 0], after=[0, 2]),
    convolution("dilation", (2, 3, 7, 6), (4, 3, 3, 2), dilation=[2, 3]),
    convolution("groups", (2, 4, 7, 6), (6, 2, 3, 2), groups=2),
    convolution("depthwise", (2, 4, 7, 6), (4, 1, 3, 3), groups=4, before=[1, 1], after=[1, 1]),
    convolution("three dimensions", (1, 2, 5, 4, 3), (3, 2, 2, 3, 2), strides=[2, 1, 1]),
    convolution("one dimension", (2, 3, 7), (4, 3, 3), strides=[2], before=[1], after=[2], dilation=[2]),
    Built(
        "convolution, kernel as input",
        lambda net, x, kernel: net.convolution(x, kernel, window(2, before=[1, 0], after=[0, 1]), 1),
        lambda x, kernel: convolve(x, kernel, window(2, before=[1, 0], after=[0, 1]), 1),
        ((2, 3, 7, 6), (4, 3, 3, 2)),
    ),
    deconvolution("plain", (2, 3, 4, 5), (3, 4, 3, 2)),
    deconvolution("strides", (2, 3, 4, 5), (3, 4, 3, 2), strides=[2, 3]),
    deconvolution("asymmetric padding", (2, 3, 4, 5), (3, 4, 3, 2), before=[1, 0], after=[2, 1]),
    deconvolution("dilation", (2, 3, 4, 5), (3, 4, 3, 2), dilation=[2, 3]),
    deconvolution("groups", (2, 4, 4, 5), (4, 3, 3, 2), groups=2, strides=[2, 2]),
    deconvolution("one dimension", (2, 3, 4), (3, 4, 3), strides=[2], before=[1]),
    deconvolution("three dimensions", (1, 2, 3, 4, 2), (2, 3, 2, 3, 2), strides=[2, 1, 1]),
    pooling("one dimension", "max", shape=(2, 3, 7), before=[1], modes={"ceil_mode": True}),
    pooling("one dimension", "average", shape=(2, 3, 7), before=[1], after=[1], modes={"count_include_pad": True}),
    pooling("plain", "max"),
    pooling("padding", "max", before=[1, 2], after=[0, 1]),
    pooling("ceil_mode", "max", strides=[3, 2], modes={"ceil_mode": True}),
    pooling("three dimensions", "max", shape=(1, 2, 5, 4, 3)),
    pooling("plain", "average"),
    pooling("padding", "average", before=[1, 2], after=[0, 1]),
    pooling("padding counts", "average", before=[1, 2], after=[1, 2], modes={"count_include_pad": True}),
    matmul("plain", (3, 4), (4, 5)),
    matmul("transposed", (3, 4), (5, 4), transpose_b=True),
    matmul("batches", (2, 3, 4), (2, 4, 5)),
    matmul("one of many", (2, 3, 4), (5, 4), transpose_b=True),
    matmul("broadcast batches", (2, 1, 3, 4), (6, 4, 5)),
    matmul("both transposed", (2, 4, 3), (2, 5, 4), transpose_a=True, transpose_b=True),
    matmul("transposed, rank 2", (4, 3), (4, 5), transpose_a=True),
    *(
        resize((2, 3, 4, 5), size=size, mode="nearest", coordinates=coordinates, rounding=rounding)
        for size, coordinates, rounding in [
            ([8, 10], "asymmetric", "floor"),
            ([7, 3], "asymmetric", "ceil"),
            ([7, 3], "half_pixel", "round_prefer_floor"),
            ([8, 10], "half_pixel", "round_prefer_ceil"),
            ([7, 9], "align_corners", "round_prefer_ceil"),
            ([7, 9], "align_corners", "round_prefer_floor"),
        ]
    ),
    *(
        resize((2, 3, 4, 5), size=size, mode=mode, coordinates=coordinates)
        for mode in ("linear", "cubic")
        for size in ([8, 10], [7, 3])
        for coordinates in ("asymmetric", "half_pixel", "align_corners")
    ),
    resize((2, 3, 4, 5), size=[7, 9], mode="cubic", coordinates="half_pixel", cubic=-0.5),
    resize((2, 3, 4), size=[7], mode="linear", coordinates="half_pixel"),
    resize((2, 3, 4, 3, 2), size=[7, 2, 4], mode="linear", coordinates="align_corners"),
    resize((2, 3, 4, 3, 2), size=[7, 2, 4], mode="nearest", coordinates="asymmetric", rounding="floor"),
    resize((2, 3, 4, 5), dynamic=True, size=[7, 9], mode="linear", coordinates="half_pixel"),
    resize((2, 3, 4, 5), dynamic=True, size=[12, 5], mode="nearest", coordinates="asymmetric", rounding="floor"),
    resize((2, 3, 4, 5), dynamic=True, size=[7, 9], mode="cubic", coordinates="align_corners"),
    Built("lrn", lambda net, x: net.lrn(x, 3, 0.5, 0.75, 2.0), normalized, ((2, 5, 3, 4),)),
    *(softmax(axis) for axis in range(3)),
    *(
        reduced(kind, function, *axes, keep_dims=keep_dims)
        for kind, function in {"sum": np.sum, "prod": np.prod, "max": np.max, "min": np.min, "mean": np.mean}.items()
        for axes, keep_dims in [((1,), False), ((0, 2), True)]
    ),
    reduced("sum", np.sum, 0, 1, 2),
    reduced("sum", np.sum, 0, shapes=((4,),)),
    *(
        reduced(kind, function, 1, dtypes=INT, **NINE)
        for kind, function in {"sum": np.sum, "max": np.max, "min": np.min}.items()
    ),
    *(top(output, largest, (2, 3, 4), axis) for output in (0, 1) for largest in (True, False) for axis in (1, 2)),
    top(1, True, (5,), 0),
    Built(
        "concatenation",
        lambda net, a, b: net.concatenation([a, b, a], 1),
        lambda a, b: np.concatenate([a, b, a], 1),
        ((2, 3), (2, 4)),
    ),
    Built("concatenation of one", lambda net, x: net.concatenation([x], 0), lambda x: x),
    Built("reshape", lambda net, x: net.reshape(x, [4, 6]), lambda x: x.reshape(4, 6)),
    Built("reshape, 0 copies", lambda net, x: net.reshape(x, [0, 0, 2, 2]), lambda x: x.reshape(2, 3, 2, 2)),
    Built("reshape, -1 is the rest", lambda net, x: net.reshape(x, [0, -1]), lambda x: x.reshape(2, 12)),
    Built("reshape to a scalar", lambda net, x: net.reshape(x, []), lambda x: x.reshape(()), ((1, 1),)),
    Built("reshape of a constant", moved_constant, lambda x: x + MOVED.T.reshape(2, 2, 1, 3), ((2, 2, 4, 3),)),
    Built("transpose", lambda net, x: net.transpose(x, [2, 0, 1]), lambda x: x.transpose(2, 0, 1)),
    sliced("part", [1, 0], [2, 5], [1, 1]),
    sliced("steps", [0, 1], [2, 2], [3, 2]),
    sliced("backwards", [3, 4], [4, 2], [-1, -3]),
    sliced("dynamic", [0, 1], [-1, 3], [1, 1], dynamic=True),
    sliced("backwards, dynamic", [0, 4], [-1, 5], [1, -1], dynamic=True),
    padded("zeros", [0, 1], [2, 0], 0.0),
    padded("a value", [1, 1], [0, 2], -1.5),
    padded("integers", [1, 1], [0, 2], 7, dtypes=INT, **NINE),
    padded("dynamic", [0, 1], [0, 2], 3.0, dynamic=True),
    broadcast("one dimension", (2, 1, 4), (2, 3, 4)),
    broadcast("all", (1, 1), (3, 2)),
    broadcast("integers", (1, 3), (2, 3), dtypes=INT, **NINE),
    broadcast("dynamic", (2, 1, 4), (-1, 3, 4), dynamic=True),
    indexed("axis 0", "gather", lambda x, i: np.take(x, i, 0), (3, 4), (2, 5), axis=0),
    indexed("axis 1", "gather", lambda x, i: np.take(x, i, 1), (2, 3, 4), (5,), axis=1),
    indexed("one index", "gather", lambda x, i: np.take(x, i, 1), (2, 3, 4), (), axis=1),
    indexed("integers", "gather", lambda x, i: np.take(x, i, 0), (3, 4), (2,), axis=0, dtypes=INT * 2),
    indexed("bools", "gather", lambda x, i: np.take(x, i, 0), (3, 4), (2,), axis=0, dtypes=("bool", "int32")),
    indexed("axis 1", "gather_elements", lambda x, i: np.take_along_axis(x, i, 1), (2, 3, 4), (2, 5, 4), axis=1),
    indexed("tuples", "gather_nd", lambda x, i: x[i[..., 0], i[..., 1]], (3, 4, 5), (2, 2, 2)),
    indexed("partial tuples", "gather_nd", lambda x, i: x[i[..., 0]], (3, 4, 5), (2, 1)),
    indexed(
        "batch_dims",
        "gather_nd",
        lambda x, i: np.stack([x[b, i[b, :, 0]] for b in range(2)]),
        (2, 3, 4),
        (2, 5, 1),
        batch_dims=1,
    ),
    scattered("plain", "scatter_elements", put_elements, [[2, 0, 1, 2], [0, 1, 2, 1]], (2, 4)),
    scattered("tuples", "scatter_nd", put_tuples, [[2, 1], [0, 3]], (2,)),
    scattered("rows", "scatter_nd", put_tuples, [[2], [0]], (2, 4)),
    *(
        Built(f"{name} of {dtype}", build, expected, dtypes=(dtype,), **NINE)
        for dtype in ("int32", "bool")
        for name, build, expected in [
            ("concatenation", lambda net, x: net.concatenation([x, x], 1), lambda x: np.concatenate([x, x], 1)),
            ("reshape", lambda net, x: net.reshape(x, [4, 6]), lambda x: x.reshape(4, 6)),
            ("transpose", lambda net, x: net.transpose(x, [2, 0, 1]), lambda x: x.transpose(2, 0, 1)),
            ("slice", lambda net, x: net.slice(x, [0, 1, 3], [2, 2, 4], [1, 1, -1]), lambda x: x[:, 1:, ::-1]),
            ("output", lambda net, x: x, lambda x: x),
        ]
    ),
    dynamic("reduce", lambda net, x: net.reduce(x, "mean", [1], True), lambda x: x.mean(1, keepdims=True)),
    dynamic("softmax", lambda net, x: net.softmax(x, 2), lambda x: np.exp(x) / np.exp(x).sum(2, keepdims=True)),
    dynamic("gather", lambda net, x: net.gather(x, net.constant(np.int32([2, 0])), 1), lambda x: x[:, [2, 0]]),
    dynamic(
        "pooling, one dimension",
        lambda net, x: net.pooling(x, "max", [2], window(1, strides=[2])),
        lambda x: x.reshape(2, 3, 2, 2).max(3),
    ),
    unknown(
        "sum of ranks 2 and 3",
        lambda net, a, b: net.elementwise(a, b, "sum"),
        lambda a, b: a + b,
        (0, 1, 2),
        (-1, -1, -1),
        (3, 4),
        (2, 1, 4),
    ),
    unknown(
        "reshape", lambda net, x: net.reshape(x, [0, 0, 2, 2]), lambda x: x.reshape(2, 3, 2, 2), (0, 1), (-1, -1, 2, 2)
    ),
    unknown(
        "reshape, the rest",
        lambda net, x: net.reshape(x, [0, -1, 2]),
        lambda x: x.reshape(2, 6, 2),
        (0, 1),
        (-1, -1, 2),
    ),
    unknown(
        "reshape, copied from elsewhere",
        lambda net, x: net.reshape(x, [1, -1, 2, -1, 2], {1: 0, 3: 1}),
        lambda x: x.reshape(1, 2, 2, 3, 2),
        (0, 1),
        (1, -1, 2, -1, 2),
        (2, 3, 4),
    ),
    unknown(
        "reshape, the rest and copied from elsewhere",
        lambda net, x: net.reshape(x, [-1, -1, 5], {1: 2}),
        lambda x: x.reshape(6, 4, 5),
        (0, 1, 2),
        (-1, -1, 5),
        (2, 3, 4, 5),
    ),
    unknown(
        "slice",
        lambda net, x: net.slice(x, [0, 1, 0], [-1, 2, -1], [1, 1, 1]),
        lambda x: x[:, 1:],
        (0, 2),
        (-1, 2, -1),
    ),
    unknown(
        "slice and reshape in full precision",
        in_full_precision_sliced,
        lambda x: x[:, 1:].reshape(1, 2, 2, 4),
        (0, 2),
        (1, -1, 2, -1),
    ),
    unknown(
        "pad",
        lambda net, x: net.pad(x, [0, 1, 2], [0, 0, 1], 3.0),
        lambda x: np.pad(x, [(0, 0), (1, 0), (2, 1)], constant_values=3.0),
        (0, 2),
        (-1, 4, -1),
    ),
    unknown(
        "broadcast",
        lambda net, x: net.broadcast(x, [-1, 3, -1]),
        lambda x: np.broadcast_to(x, (2, 3, 4)),
        (0, 2),
        (-1, 3, -1),
        (2, 1, 4),
    ),
    unknown(
        "concatenation along it",
        lambda net, a, b: net.concatenation([a, b], 1),
        lambda a, b: np.concatenate([a, b], 1),
        (1,),
        (2, -1),
        (2, 3),
        (2, 4),
    ),
    unknown(
        "batches of products",
        lambda net, a, b: net.matrix_multiply(a, b, transpose_b=True),
        lambda a, b: a @ b.transpose(0, 2, 1),
        (0, 1),
        (-1, -1, -1),
        (2, 3, 4),
        (2, 5, 4),
    ),
    unknown(
        "softmax",
        lambda net, x: net.softmax(x, 2),
        lambda x: np.exp(x) / np.exp(x).sum(2, keepdims=True),
        (0, 1, 2),
        (-1, -1, -1),
    ),
    unknown(
        "convolution",
        lambda net, x: net.convolution(x, net.constant(random((5, 3, 2, 2))), window(2, after=[1, 0]), 1),
        lambda x: convolve(x, random((5, 3, 2, 2)), window(2, after=[1, 0]), 1),
        (0, 2, 3),
        (-1, 5, -1, -1),
        (2, 3, 5, 6),
    ),
    unknown(
        "convolution, one dimension",
        lambda net, x: net.convolution(x, net.constant(random((5, 3, 2))), window(1, strides=[2], before=[1]), 1),
        lambda x: convolve(x, random((5, 3, 2)), window(1, strides=[2], before=[1]), 1),
        (0, 2),
        (-1, 5, -1),
        (2, 3, 5),
    ),
    unknown(
        "pooling",
        lambda net, x: net.pooling(x, "average", [2, 2], window(2, strides=[2, 2], before=[1, 0])),
        lambda x: pool(x, "average", [2, 2], window(2, strides=[2, 2], before=[1, 0])),
        (2, 3),
        (2, 3, -1, -1),
        (2, 3, 5, 6),
    ),
    *(
        unknown(
            f"resize, {how}",
            lambda net, x, how=how: net.resize(x, [-1, -1], **how, scales=[2.0, 3.0]),
            lambda x, how=how: resized(x, [2 * x.shape[2], 3 * x.shape[3]], **how),
            (0, 2, 3),
            (-1, 3, -1, -1),
            (2, 3, 4, 5),
        )
        for how in (
            {"mode": "nearest", "coordinates": "asymmetric", "rounding": "floor"},
            {"mode": "linear", "coordinates": "half_pixel"},
            {"mode": "linear", "coordinates": "align_corners"},
            {"mode": "cubic", "coordinates": "asymmetric"},
        )
    ),
    unknown(
        "scale",
        lambda net, x: net.scale(x, random((3,)), None, 1),
        lambda x: x * random((3, 1, 1)),
        (0, 2, 3),
        (-1, 3, -1, -1),
        (2, 3, 4, 5),
    ),
    dynamic("top_k", lambda net, x: net.top_k(x, 1, 1)[0], lambda x: x.max(1, keepdims=True)),
    Built(
        "values of a constant",
        lambda net, x: net.scale(x, net.values(net.constant(random((3,), seed=4))), None, 1),
        lambda x: x * random((3, 1), seed=4),
    ),
    Built("input as output", lambda net, x: x, lambda x: x),
    Built("constant as output", lambda net, x: net.constant(random((2, 3))), lambda x: random((2, 3))),
]
