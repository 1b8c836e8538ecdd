"""Small networks, one or more for each method of a builder, with what they compute according to numpy.

The docstrings of `relay_trt.runtime.builders.base` say what each method means; here stands the same in code.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from typing import Any, Callable, Dict, List, Sequence, Tuple

import numpy as np
import pytest

from relay_trt.runtime.builders import NetworkBuilder, Tensor

from ...support import random
from ..support import Network, call

Shape = Tuple[int, ...]


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
        The range of the inputs.
    """

    name: str
    build: Callable[..., Tensor]
    expected: Callable[..., np.ndarray]
    shapes: Tuple[Shape, ...] = ((2, 3, 4),)
    low: float = -2.0
    high: float = 2.0

    def __str__(self) -> str:
        return self.name

    def inputs(self) -> List[np.ndarray]:
        return [random(shape, seed=seed, low=self.low, high=self.high) for seed, shape in enumerate(self.shapes)]

    def add_to(self, net: NetworkBuilder) -> None:
        net.scope = "tested"
        tensors = [net.input(f"x{i}", shape, "float32") for i, shape in enumerate(self.shapes)]
        net.output(self.build(net, *tensors), "output_0")

    def check(self, engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """Build it for an engine, run it, compare."""
        inputs = self.inputs()
        want = self.expected(*inputs)
        monkeypatch.setenv("TVM_TENSORRT_ENGINE", engine)
        monkeypatch.setattr(f"relay_trt.runtime.engines.{engine}.convert", lambda _, __, net: self.add_to(net))
        net = Network()
        entries = [net.input(*shape) for shape in self.shapes]
        (got,) = call(net.subgraph(net.kernel("built by hand", *entries, shape=want.shape)), *inputs)
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4 * max(1.0, float(np.abs(want).max())))


def windows(
    x: np.ndarray,
    window: Sequence[int],
    strides: Sequence[int],
    before: Sequence[int],
    after: Sequence[int],
    fill: float,
    dilation: Sequence[int],
    ceil_mode: bool = False,
) -> Tuple[Shape, Dict[Shape, np.ndarray]]:
    """How many windows there are in each dimension, and the elements of each, by its place."""
    extent = [(w - 1) * d + 1 for w, d in zip(window, dilation)]
    rounded = math.ceil if ceil_mode else math.floor
    counts = tuple(
        rounded((size + b + a - e) / stride) + 1
        for size, b, a, e, stride in zip(x.shape[2:], before, after, extent, strides)
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
    strides: Sequence[int],
    pre_padding: Sequence[int],
    post_padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
) -> np.ndarray:
    counts, parts = windows(x, kernel.shape[2:], strides, pre_padding, post_padding, 0, dilation)
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
    window: Sequence[int],
    strides: Sequence[int],
    pre_padding: Sequence[int],
    post_padding: Sequence[int],
    ceil_mode: bool = False,
    count_include_pad: bool = False,
) -> np.ndarray:
    fill = -np.inf if kind == "max" else 0 if count_include_pad else np.nan
    counts, parts = windows(x, window, strides, pre_padding, post_padding, fill, [1] * len(window), ceil_mode)
    result = np.zeros((*x.shape[:2], *counts), "float32")
    axes = tuple(range(2, x.ndim))
    for place, part in parts.items():
        result[(slice(None), slice(None), *place)] = part.max(axes) if kind == "max" else np.nanmean(part, axes)
    return result


def convolution(name: str, shape: Shape, kernel: Shape, **attrs: Any) -> Built:
    n = len(kernel) - 2
    given = {"strides": [1] * n, "pre_padding": [0] * n, "post_padding": [0] * n, "dilation": [1] * n, "groups": 1}
    given.update(attrs)
    weights = random(kernel, seed=9)
    return Built(
        f"convolution, {name}",
        lambda net, x: net.convolution(x, net.constant(weights), **given),
        lambda x: convolve(x, weights, **given),
        (shape,),
    )


def pooling(name: str, kind: str, shape: Shape = (2, 3, 7, 6), **attrs: Any) -> Built:
    n = len(shape) - 2
    given = {"window": [3] * n, "strides": [2] * n, "pre_padding": [0] * n, "post_padding": [0] * n, **attrs}
    return Built(
        f"{kind} pooling, {name}",
        lambda net, x: net.pooling(x, kind, **given),
        lambda x: pool(x, kind, **given),
        (shape,),
    )


def unary(kind: str, expected: Callable[[np.ndarray], np.ndarray], **bounds: float) -> Built:
    return Built(kind, lambda net, x: net.unary(x, kind), expected, **bounds)


def elementwise(kind: str, expected: Callable[..., np.ndarray], *shapes: Shape) -> Built:
    return Built(
        f"{kind} of {shapes}", lambda net, a, b: net.elementwise(a, b, kind), expected, shapes, low=0.5, high=2.0
    )


def matmul(name: str, a: Shape, b: Shape, transpose_b: bool = False) -> Built:
    def expected(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return x @ (np.swapaxes(y, -1, -2) if transpose_b else y)

    return Built(f"matrix_multiply, {name}", lambda net, x, y: net.matrix_multiply(x, y, transpose_b), expected, (a, b))


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


def constant_operand(name: str, value: np.ndarray, left: bool = False) -> Built:
    def build(net: NetworkBuilder, x: Tensor) -> Tensor:
        operands = [net.constant(value), x] if left else [x, net.constant(value)]
        return net.elementwise(*operands, "sub")

    return Built(f"constant {name}", build, lambda x: value - x if left else x - value)


def twice(net: NetworkBuilder, x: Tensor) -> Tensor:
    value = net.constant(random((3, 4), seed=3))
    return net.elementwise(net.elementwise(x, value, "sum"), value, "prod")


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
    convolution("asymmetric padding", (2, 3, 7, 6), (4, 3, 3, 2), pre_padding=[1, 0], post_padding=[0, 2]),
    convolution("dilation", (2, 3, 7, 6), (4, 3, 3, 2), dilation=[2, 3]),
    convolution("groups", (2, 4, 7, 6), (6, 2, 3, 2), groups=2),
    convolution("depthwise", (2, 4, 7, 6), (4, 1, 3, 3), groups=4, pre_padding=[1, 1], post_padding=[1, 1]),
    convolution("three dimensions", (1, 2, 5, 4, 3), (3, 2, 2, 3, 2), strides=[2, 1, 1]),
    pooling("plain", "max"),
    pooling("padding", "max", pre_padding=[1, 2], post_padding=[0, 1]),
    pooling("ceil_mode", "max", strides=[3, 2], ceil_mode=True),
    pooling("three dimensions", "max", shape=(1, 2, 5, 4, 3)),
    pooling("plain", "average"),
    pooling("padding", "average", pre_padding=[1, 2], post_padding=[0, 1]),
    pooling("padding counts", "average", pre_padding=[1, 2], post_padding=[1, 2], count_include_pad=True),
    matmul("plain", (3, 4), (4, 5)),
    matmul("transposed", (3, 4), (5, 4), transpose_b=True),
    matmul("batches", (2, 3, 4), (2, 4, 5)),
    matmul("one of many", (2, 3, 4), (5, 4), transpose_b=True),
    matmul("broadcast batches", (2, 1, 3, 4), (6, 4, 5)),
    *(softmax(axis) for axis in range(3)),
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
    Built("transpose", lambda net, x: net.transpose(x, [2, 0, 1]), lambda x: x.transpose(2, 0, 1)),
    Built(
        "values of a constant",
        lambda net, x: net.scale(x, net.values(net.constant(random((3,), seed=4))), None, 1),
        lambda x: x * random((3, 1), seed=4),
    ),
    Built("input as output", lambda net, x: x, lambda x: x),
    Built("constant as output", lambda net, x: net.constant(random((2, 3))), lambda x: random((2, 3))),
]
