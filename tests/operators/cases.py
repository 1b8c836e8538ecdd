"""Every operator's cases, declared once; `test_operators` runs each on every engine there is."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

import numpy as np
import tvm
from tvm import relay

from ..support import module, random, run_tvm


@dataclasses.dataclass(frozen=True, eq=False)
class Case:
    """One operator under one set of attributes.

    Attributes
    ----------
    op : str
        The Relay operator that must be offloaded.
    name : str
        What is particular about the case.
    build : function
        Makes the expression from variables, one for each shape.
    shapes : tuple of shapes
        The shapes of the variables.
    dtype : str
        The type of the variables.
    low, high : float
        The range of the random inputs.
    options : dict
        Options of `partition_for_tensorrt`.
    rtol, atol : float
        How far engines may differ; a case that asks for more than the default says why.
    same_as : function
        Makes an expression with the same value, where TVM's LLVM code cannot compute that of ``build``.
    """

    op: str
    name: str
    build: Callable[..., relay.Expr]
    shapes: Tuple[Tuple[int, ...], ...]
    dtype: str = "float32"
    low: float = -1.0
    high: float = 1.0
    options: Dict[str, Any] = dataclasses.field(default_factory=dict)
    rtol: float = 1e-4
    atol: float = 1e-4
    same_as: Optional[Callable[..., relay.Expr]] = None

    def __str__(self) -> str:
        return f"{self.op}-{self.name}"

    def module(self) -> tvm.IRModule:
        return self._module(self.build, self.dtype, self.shapes)

    def dynamic_module(self) -> tvm.IRModule:
        """One whose variables have a first dimension that is not known before run time."""
        return self._module(
            self.build, self.dtype, [(relay.Any(), *shape[1:]) if shape else () for shape in self.shapes]
        )

    def inputs(self) -> Dict[str, np.ndarray]:
        return self._inputs(self.dtype)

    def half(self) -> Case:
        """The same in float16."""
        return dataclasses.replace(self, name=f"{self.name}, float16", dtype="float16", rtol=2e-3, atol=2e-3)

    @functools.cached_property
    def expected(self) -> List[np.ndarray]:
        """What TVM's LLVM code computes.

        In float32 also for float16, of the same values: its sums in float16 are further off than any engine's.
        """
        mod = self._module(self.same_as or self.build, "float32", self.shapes)
        return [output.astype(self.dtype) for output in run_tvm(mod, self._inputs("float32"))]

    def _module(self, build: Callable[..., relay.Expr], dtype: str, shapes: Sequence[Any]) -> tvm.IRModule:
        variables = [relay.var(f"x{i}", shape=shape, dtype=dtype) for i, shape in enumerate(shapes)]
        return module(relay.Function(variables, build(*variables)))

    def _inputs(self, dtype: str) -> Dict[str, np.ndarray]:
        return {
            f"x{i}": random(shape, "float16", seed=i, low=self.low, high=self.high).astype(dtype)
            for i, shape in enumerate(self.shapes)
        }


def constant(like: relay.Var, *shape: int, seed: int = 7, low: float = -1.0, high: float = 1.0) -> relay.Constant:
    """A constant operand of random values of the type of ``like``, all of which float16 can hold."""
    values = random(shape, "float16", seed=seed, low=low, high=high)
    return relay.const(values.astype(like.type_annotation.dtype))


def scalar(like: relay.Var, value: float) -> relay.Constant:
    return relay.const(value, like.type_annotation.dtype)


def conv2d(x: relay.Var, *kernel: int, **attrs: Any) -> relay.Expr:
    return relay.nn.conv2d(x, constant(x, *kernel), **attrs)


def batch_norm(x: relay.Var, channels: int, **attrs: Any) -> relay.Expr:
    gamma, beta, mean = (constant(x, channels, seed=seed) for seed in (1, 2, 3))
    variance = constant(x, channels, seed=4, low=0.25, high=2.0)
    return relay.nn.batch_norm(x, gamma, beta, mean, variance, **attrs)[0]


def bias_add(x: relay.Var, axis: int) -> relay.Expr:
    return relay.nn.bias_add(x, constant(x, int(x.type_annotation.shape[axis])), axis)


def dense_by_rows(x: relay.Var, weight: relay.Expr, units: int) -> relay.Expr:
    """A dense layer of more than two dimensions, which TVM's LLVM code does not have."""
    *leading, channels = (int(d) for d in x.type_annotation.shape)
    rows = relay.nn.dense(relay.reshape(x, (-1, channels)), weight)
    return relay.reshape(rows, (*leading, units))


EXPLICIT = {"use_implicit_batch": False}
IMAGE = ((2, 3, 9, 8),)

ACTIVATIONS = [
    Case("nn.relu", "rank 0", relay.nn.relu, ((),), options=EXPLICIT),
    Case("nn.relu", "rank 1", relay.nn.relu, ((5,),)),
    Case("nn.relu", "rank 4", relay.nn.relu, ((1, 3, 5, 7),)),
    Case("nn.relu", "rank 8", relay.nn.relu, ((1, 2, 1, 3, 2, 1, 2, 2),)),
    Case("sigmoid", "wide range", relay.sigmoid, ((2, 7),), low=-9.0, high=9.0),
    Case("tanh", "wide range", relay.tanh, ((2, 7),), low=-9.0, high=9.0),
    Case("nn.leaky_relu", "default", relay.nn.leaky_relu, ((2, 3, 4),)),
    Case("nn.leaky_relu", "above 1", lambda x: relay.nn.leaky_relu(x, alpha=1.5), ((2, 3),)),
    Case("nn.leaky_relu", "negative", lambda x: relay.nn.leaky_relu(x, alpha=-0.5), ((2, 3),)),
    Case("clip", "relu6", lambda x: relay.clip(x, 0.0, 6.0), ((2, 3, 4, 5),), low=-9.0, high=9.0),
    Case("clip", "one value", lambda x: relay.clip(x, 0.5, 0.5), ((2, 3),)),
    Case("clip", "no upper bound", lambda x: relay.clip(x, -0.25, float("inf")), ((2, 3),)),
]

UNARY = [
    Case("exp", "rank 2", relay.exp, ((2, 5),), low=-4.0, high=4.0),
    Case("log", "rank 2", relay.log, ((2, 5),), low=0.01, high=9.0),
    Case("sqrt", "rank 2", relay.sqrt, ((2, 5),), low=0.0, high=9.0),
    Case("abs", "rank 2", relay.abs, ((2, 5),)),
    Case("negative", "rank 2", relay.negative, ((2, 5),)),
    Case("sin", "several periods", relay.sin, ((2, 5),), low=-9.0, high=9.0),
    Case("cos", "several periods", relay.cos, ((2, 5),), low=-9.0, high=9.0),
    Case("atan", "rank 2", relay.atan, ((2, 5),), low=-9.0, high=9.0),
    Case("ceil", "rank 2", relay.ceil, ((2, 9),), low=-3.0, high=3.0),
    Case("floor", "rank 2", relay.floor, ((2, 9),), low=-3.0, high=3.0),
    Case("erf", "rank 2", relay.erf, ((2, 5),), low=-3.0, high=3.0),
    Case("exp", "rank 0", relay.exp, ((),), options=EXPLICIT),
    Case("abs", "rank 5", relay.abs, ((1, 2, 3, 2, 2),)),
]

BINARY_OPERATORS = {
    "add": relay.add,
    "subtract": relay.subtract,
    "multiply": relay.multiply,
    "divide": relay.divide,
    "power": relay.power,
    "maximum": relay.maximum,
    "minimum": relay.minimum,
}
# Values for which all of them are defined and well conditioned.
POSITIVE = {"low": 0.5, "high": 2.0}


def binary(op: str) -> List[Case]:
    call = BINARY_OPERATORS[op]
    return [
        Case(op, "two inputs", call, ((2, 3, 4), (2, 3, 4)), **POSITIVE),
        Case(op, "constant on the right", lambda x: call(x, constant(x, 3, 1, **POSITIVE)), ((2, 3, 4),), **POSITIVE),
        Case(op, "constant on the left", lambda x: call(constant(x, 3, 1, **POSITIVE), x), ((2, 3, 4),), **POSITIVE),
        Case(op, "repeated", lambda x: call(x, x), ((2, 3),), **POSITIVE),
        Case(op, "scalar", lambda x: call(x, scalar(x, 1.5)), ((2, 3),), **POSITIVE),
    ]


BINARY = [
    *(case for op in BINARY_OPERATORS for case in binary(op)),
    Case("add", "rank 1 to rank 4", relay.add, ((2, 3, 4, 5), (5,)), options=EXPLICIT),
    Case("add", "rank 4 from rank 2", relay.add, ((4, 1), (2, 3, 4, 5)), options=EXPLICIT),
    Case("add", "both broadcast", relay.add, ((2, 1, 4), (2, 3, 1))),
    Case("add", "constant of higher rank", lambda x: relay.add(x, constant(x, 2, 3, 4)), ((4,),), options=EXPLICIT),
    Case("add", "batch of the constant", lambda x: relay.add(x, constant(x, 4, 3)), ((1, 3),), options=EXPLICIT),
    Case("add", "scalars", relay.add, ((), ()), options=EXPLICIT),
    Case("add", "scalar input", relay.add, ((2, 3), ()), options=EXPLICIT),
    # TVM's own rule refuses a constant of the batch's size in four dimensions.
    Case("add", "batched constant", lambda x: relay.add(x, constant(x, 2, 3, 4, 5)), ((2, 3, 4, 5),)),
    Case("add", "the same constant twice", lambda x: (lambda c: (x + c) * c)(constant(x, 3)), ((2, 3),)),
    Case("subtract", "negative numbers", relay.subtract, ((2, 3), (2, 3))),
    Case("divide", "negative numbers", lambda x: x / constant(x, 3, low=-2.0, high=-0.5), ((2, 3),)),
    Case("power", "square of negative numbers", lambda x: relay.power(x, scalar(x, 2.0)), ((2, 5),)),
    Case("power", "cube of negative numbers", lambda x: relay.power(x, scalar(x, 3.0)), ((2, 5),)),
]

CONVOLUTIONS = [
    Case("nn.conv2d", "3x3", lambda x: conv2d(x, 4, 3, 3, 3, padding=1), IMAGE),
    Case("nn.conv2d", "1x1", lambda x: conv2d(x, 4, 3, 1, 1), IMAGE),
    Case("nn.conv2d", "strides", lambda x: conv2d(x, 4, 3, 3, 2, strides=(2, 3), padding=(2, 1)), IMAGE),
    Case("nn.conv2d", "asymmetric padding", lambda x: conv2d(x, 4, 3, 3, 3, padding=(1, 2, 0, 3)), IMAGE),
    Case("nn.conv2d", "padding above the kernel", lambda x: conv2d(x, 4, 3, 1, 2, padding=(2, 3)), IMAGE),
    Case("nn.conv2d", "dilation", lambda x: conv2d(x, 4, 3, 3, 2, dilation=(2, 3), padding=(2, 0)), IMAGE),
    Case(
        "nn.conv2d",
        "all at once",
        lambda x: conv2d(x, 4, 3, 2, 3, strides=(2, 1), padding=(0, 1, 2, 3), dilation=2),
        IMAGE,
    ),
    Case("nn.conv2d", "groups", lambda x: conv2d(x, 6, 2, 3, 3, groups=2, padding=1), ((2, 4, 7, 6),)),
    Case("nn.conv2d", "depthwise", lambda x: conv2d(x, 4, 1, 3, 3, groups=4, strides=2), ((2, 4, 7, 6),)),
    Case("nn.conv2d", "depthwise, multiplier 2", lambda x: conv2d(x, 8, 1, 3, 3, groups=4, padding=1), ((1, 4, 7, 6),)),
    Case("nn.conv2d", "named channels", lambda x: conv2d(x, 4, 3, 3, 3, channels=4, kernel_size=(3, 3)), IMAGE),
    Case("nn.conv2d", "kernel as large as x", lambda x: conv2d(x, 2, 3, 9, 8), IMAGE),
    # What a front end may write, and relay.nn.conv2d itself does not: two numbers instead of four.
    Case(
        "nn.conv2d",
        "padding of two numbers",
        lambda x: relay.op.nn._make.conv2d(
            x, constant(x, 4, 3, 3, 3), [1, 1], [0, 1], [1, 1], 1, None, None, "NCHW", "OIHW", "", ""
        ),
        IMAGE,
    ),
    Case(
        "nn.conv2d", "NHWC", lambda x: conv2d(x, 3, 3, 3, 4, data_layout="NHWC", kernel_layout="HWIO"), ((1, 7, 6, 3),)
    ),
]

DENSE = [
    Case("nn.dense", "constant weight", lambda x: relay.nn.dense(x, constant(x, 5, 7)), ((3, 7),)),
    Case("nn.dense", "weight as input", relay.nn.dense, ((3, 7), (5, 7)), options=EXPLICIT),
    Case("nn.dense", "constant input", lambda w: relay.nn.dense(constant(w, 5, 7), w), ((5, 7),), options=EXPLICIT),
    Case("nn.dense", "by itself", lambda x: relay.nn.dense(x, x), ((4, 7),)),
    Case("nn.dense", "one by one", lambda x: relay.nn.dense(x, constant(x, 1, 1)), ((1, 1),)),
    Case(
        "nn.dense",
        "rank 3",
        lambda x: relay.nn.dense(x, constant(x, 5, 7)),
        ((2, 3, 7),),
        same_as=lambda x: dense_by_rows(x, constant(x, 5, 7), 5),
    ),
    Case(
        "nn.dense",
        "rank 4, weight as input",
        relay.nn.dense,
        ((2, 3, 4, 7), (5, 7)),
        options=EXPLICIT,
        same_as=lambda x, w: dense_by_rows(x, w, 5),
    ),
]

CHANNELS = [
    *(
        Case("nn.bias_add", f"rank {len(shape)}, axis {axis}", functools.partial(bias_add, axis=axis), (shape,))
        for shape, axis in [
            ((2, 7), 1),
            ((2, 3, 4), 2),
            ((2, 3, 9, 8), 1),
            ((2, 3, 9, 8), 2),
            ((2, 3, 9, 8), -1),
            ((2, 3, 4, 5, 2), -4),
        ]
    ),
    Case("nn.bias_add", "rank 1", lambda x: bias_add(x, 0), ((7,),), options=EXPLICIT),
    Case("nn.bias_add", "rank 4, batch", lambda x: bias_add(x, 0), IMAGE, options=EXPLICIT),
    Case("nn.bias_add", "bias as input", relay.nn.bias_add, ((2, 3, 4, 5), (3,)), options=EXPLICIT),
    Case(
        "nn.bias_add",
        "bias as input, last axis",
        lambda x, b: relay.nn.bias_add(x, b, axis=-1),
        ((2, 3, 4, 5), (5,)),
        options=EXPLICIT,
    ),
    Case("nn.batch_norm", "rank 4", lambda x: batch_norm(x, 3), IMAGE),
    Case("nn.batch_norm", "rank 2", lambda x: batch_norm(x, 7), ((3, 7),)),
    Case("nn.batch_norm", "rank 3", lambda x: batch_norm(x, 3), ((2, 3, 4),)),
    Case("nn.batch_norm", "rank 5", lambda x: batch_norm(x, 3), ((1, 3, 4, 2, 2),)),
    Case("nn.batch_norm", "axis 3", lambda x: batch_norm(x, 8, axis=3), IMAGE),
    Case("nn.batch_norm", "axis -1", lambda x: batch_norm(x, 8, axis=-1), IMAGE),
    Case("nn.batch_norm", "axis 2 of 3", lambda x: batch_norm(x, 4, axis=2), ((2, 3, 4),)),
    Case("nn.batch_norm", "axis 0", lambda x: batch_norm(x, 2, axis=0), IMAGE, options=EXPLICIT),
    Case("nn.batch_norm", "no scale", lambda x: batch_norm(x, 3, scale=False), IMAGE),
    Case("nn.batch_norm", "no center", lambda x: batch_norm(x, 3, center=False), IMAGE),
    Case("nn.batch_norm", "large epsilon", lambda x: batch_norm(x, 3, epsilon=0.5), IMAGE),
    Case("nn.softmax", "rank 1", lambda x: relay.nn.softmax(x, axis=0), ((7,),), options=EXPLICIT),
    Case("nn.softmax", "rank 2", relay.nn.softmax, ((3, 7),), low=-9.0, high=9.0),
    Case("nn.softmax", "channels", lambda x: relay.nn.softmax(x, axis=1), IMAGE),
    Case("nn.softmax", "axis -2", lambda x: relay.nn.softmax(x, axis=-2), ((2, 3, 4),)),
    Case("nn.softmax", "batch", lambda x: relay.nn.softmax(x, axis=0), ((2, 3, 4),), options=EXPLICIT),
    Case("nn.softmax", "large values", relay.nn.softmax, ((2, 5),), low=-500.0, high=500.0),
]


def pools(op: str) -> List[Case]:
    pool: Callable[..., relay.Expr] = getattr(relay.nn, op.split(".")[1])

    def case(name: str, **attrs: Any) -> Case:
        return Case(op, name, lambda x: pool(x, **attrs), IMAGE)

    return [
        case("default", pool_size=2),
        case("strides", pool_size=(3, 2), strides=(2, 3)),
        case("padding", pool_size=3, strides=2, padding=1),
        case("padding of two numbers", pool_size=(2, 3), strides=2, padding=(0, 2)),
        case("asymmetric padding", pool_size=3, strides=2, padding=(1, 0, 2, 1)),
        # 9 and 8 leave nothing over: rounding up changes nothing, and an average is defined.
        case("ceil_mode, no rest", pool_size=(3, 2), strides=2, ceil_mode=True),
        case("window as large as x", pool_size=(9, 8), strides=1),
    ]


POOLING = [
    *pools("nn.max_pool2d"),
    *pools("nn.avg_pool2d"),
    Case(
        "nn.max_pool2d",
        "ceil_mode, last window beyond x",
        lambda x: relay.nn.max_pool2d(x, pool_size=2, strides=2, ceil_mode=True),
        IMAGE,
    ),
    Case(
        "nn.max_pool2d",
        "ceil_mode, last window beyond the padding",
        lambda x: relay.nn.max_pool2d(x, pool_size=3, strides=(3, 2), padding=(1, 0, 0, 0), ceil_mode=True),
        IMAGE,
    ),
    Case("nn.max_pool2d", "negative numbers", lambda x: relay.nn.max_pool2d(x, 3, padding=1), IMAGE, high=-0.5),
    Case(
        "nn.avg_pool2d",
        "count_include_pad",
        lambda x: relay.nn.avg_pool2d(x, pool_size=3, strides=2, padding=(1, 2), count_include_pad=True),
        IMAGE,
    ),
    Case("nn.global_max_pool2d", "default", relay.nn.global_max_pool2d, IMAGE),
    Case("nn.global_avg_pool2d", "default", relay.nn.global_avg_pool2d, IMAGE),
    Case("nn.global_avg_pool2d", "one by one", relay.nn.global_avg_pool2d, ((2, 3, 1, 1),)),
]

LAYOUT = [
    Case("nn.batch_flatten", "rank 4", relay.nn.batch_flatten, IMAGE),
    Case("nn.batch_flatten", "rank 2", relay.nn.batch_flatten, ((2, 3),)),
    Case("nn.batch_flatten", "rank 1", relay.nn.batch_flatten, ((2,),)),
    Case("concatenate", "axis 1", lambda x, y: relay.concatenate([x, y], axis=1), ((2, 3, 4), (2, 5, 4))),
    Case("concatenate", "axis -1", lambda x, y: relay.concatenate([x, y], axis=-1), ((2, 3), (2, 1))),
    Case("concatenate", "batch", lambda x, y: relay.concatenate([x, y], axis=0), ((2, 3), (4, 3)), options=EXPLICIT),
    Case("concatenate", "repeated", lambda x: relay.concatenate([x, x, x], axis=1), ((2, 3),)),
    Case("concatenate", "one", lambda x: relay.concatenate([x], axis=1), ((2, 3),)),
    Case(
        "concatenate", "constants", lambda x: relay.concatenate([constant(x, 2, 1), x, constant(x, 2, 2)], 1), ((2, 3),)
    ),
    Case("transpose", "axes", lambda x: relay.transpose(x, (0, 2, 3, 1)), ((2, 3, 4, 5),)),
    Case("transpose", "negative axes", lambda x: relay.transpose(x, (0, -1, 1)), ((2, 3, 4),)),
    Case("transpose", "no axes", relay.transpose, ((2, 3, 4),), options=EXPLICIT),
    Case("transpose", "no axes, rank 1", relay.transpose, ((3,),)),
    Case("transpose", "batch", lambda x: relay.transpose(x, (1, 0)), ((2, 3),), options=EXPLICIT),
    Case("layout_transform", "to NHWC", lambda x: relay.layout_transform(x, "NCHW", "NHWC"), IMAGE),
    Case("layout_transform", "to NCHW", lambda x: relay.layout_transform(x, "NHWC", "NCHW"), IMAGE),
    Case("reshape", "fewer dimensions", lambda x: relay.reshape(x, (2, -1)), ((2, 3, 4),)),
    Case("reshape", "more dimensions", lambda x: relay.reshape(x, (0, 2, 3, -1)), ((2, 12),)),
    Case(
        "reshape",
        "Relay's own codes",
        lambda x: relay.reshape(x, (-4, 1, 2, -3, -2)),
        ((2, 3, 4, 5),),
        options=EXPLICIT,
    ),
    Case("reshape", "batch", lambda x: relay.reshape(x, (-1,)), ((2, 3, 4),), options=EXPLICIT),
    Case("reshape", "scalar", lambda x: relay.reshape(x, ()), ((1, 1),), options=EXPLICIT),
    Case("squeeze", "one axis", lambda x: relay.squeeze(x, axis=[2]), ((2, 3, 1, 1),)),
    Case("squeeze", "negative axes", lambda x: relay.squeeze(x, axis=[-1, -2]), ((2, 3, 1, 1),)),
    Case("squeeze", "no axis", relay.squeeze, ((2, 1, 3, 1),)),
    Case("squeeze", "to a scalar", relay.squeeze, ((1, 1),), options=EXPLICIT),
    Case("expand_dims", "one axis", lambda x: relay.expand_dims(x, axis=1), ((2, 3),)),
    Case("expand_dims", "several", lambda x: relay.expand_dims(x, axis=-1, num_newaxis=3), ((2, 3),)),
    Case("expand_dims", "batch", lambda x: relay.expand_dims(x, axis=0), ((2, 3),), options=EXPLICIT),
    Case("expand_dims", "of a scalar", lambda x: relay.expand_dims(x, axis=0, num_newaxis=2), ((),), options=EXPLICIT),
]

FULL = ACTIVATIONS + UNARY + BINARY + CONVOLUTIONS + DENSE + CHANNELS + POOLING + LAYOUT

# The first case of each operator.
HALF = [case.half() for case in {case.op: case for case in reversed(FULL) if not case.options}.values()]

CASES = FULL + HALF


@dataclasses.dataclass(frozen=True, eq=False)
class Refused:
    """One operator as Relay's types allow it, but not every engine, or not TVM itself, computes it."""

    op: str
    build: Callable[..., relay.Expr]
    shapes: Tuple[Tuple[int, ...], ...]
    reason: str
    dtypes: Tuple[str, ...] = ("float32", "float32")

    def __str__(self) -> str:
        return f"{self.op}-{self.reason}"

    def module(self) -> tvm.IRModule:
        pairs = zip(self.shapes, self.dtypes)
        variables = [relay.var(f"x{i}", shape=shape, dtype=dtype) for i, (shape, dtype) in enumerate(pairs)]
        return module(relay.Function(variables, self.build(*variables)))


# Each of these once ended in an error, a wrong result or a crash at run time.
REFUSED = [
    Refused("clip", lambda x: relay.clip(x, 1.0, -1.0), ((2, 3),), "a_min 1.0 is above a_max -1.0"),
    Refused("transpose", relay.transpose, ((),), "a scalar has no axes"),
    Refused("nn.conv2d", lambda x: conv2d(x, 2, 3, 3, 3, padding=(1, -1)), IMAGE, "engines cannot crop"),
    Refused(
        "nn.conv2d",
        lambda x: conv2d(x, 2, 3, 3, 3, dilation=4, padding=(0, 1)),
        ((1, 3, 6, 8),),
        "the window [9, 9] is larger than the padded input [6, 10]",
    ),
    Refused(
        "nn.conv2d",
        lambda x: relay.nn.conv2d(x, relay.const(random((2, 3, 3, 3), "float16"))),
        IMAGE,
        "the operands are float32 and float16",
    ),
    Refused("nn.dense", relay.nn.dense, ((7,), (5, 7)), "must have at least two dimensions"),
    Refused("nn.dense", relay.nn.dense, ((3, 7), (5, 7)), "operands are float32 and float16", ("float32", "float16")),
    Refused("nn.max_pool2d", lambda x: relay.nn.max_pool2d(x, 3, padding=-1), IMAGE, "engines cannot crop"),
    Refused("nn.max_pool2d", lambda x: relay.nn.max_pool2d(x, 3, 2), ((1, 3, 2, 8),), "the padded input [2, 8]"),
    Refused("nn.avg_pool2d", lambda x: relay.nn.avg_pool2d(x, 2), ((1, 3, 8, 8, 2),), "must have four dimensions"),
    Refused("nn.global_avg_pool2d", relay.nn.global_avg_pool2d, ((1, 3, 8, 8, 2),), "must have four dimensions"),
]
