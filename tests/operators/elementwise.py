"""Cases of operators that compute element by element."""

from __future__ import annotations

import math
from typing import Any, Callable, Dict, List

import numpy as np
import onnx
from hypothesis import strategies as st
from hypothesis.extra.numpy import mutually_broadcastable_shapes
from onnx import TensorProto
from tvm import relay

from .case import (
    EXPLICIT,
    IMAGE,
    Case,
    Draw,
    Refused,
    attributed,
    axes,
    constant,
    dtype_of,
    scalar,
    shapes,
    strategy,
    values,
)

INT32: Dict[str, Any] = {"dtypes": ("int32",), "low": -9, "high": 10}
TWO_INT32: Dict[str, Any] = {**INT32, "dtypes": ("int32", "int32")}
INFINITY = float("inf")
SPECIAL = [float("nan"), INFINITY, -INFINITY, 0.0, 0.25]


def special(like: relay.Var) -> relay.Constant:
    """A constant of shape (5,) with what compares in ways of its own."""
    return relay.const(np.array(SPECIAL, dtype_of(like)))


def odd(x: relay.Expr) -> relay.Expr:
    """Integers that are never 0."""
    return x * relay.const(2, "int32") + relay.const(1, "int32")


def halves(x: relay.Expr) -> relay.Expr:
    """Whole numbers and those half way between, of integers."""
    return relay.cast(x, "float32") * relay.const(0.5)


ACTIVATIONS = [
    Case("nn.relu", "rank 0", relay.nn.relu, ((),), options=EXPLICIT),
    Case("nn.relu", "rank 1", relay.nn.relu, ((5,),)),
    Case("nn.relu", "rank 4", relay.nn.relu, ((1, 3, 5, 7),)),
    Case("nn.relu", "rank 8", relay.nn.relu, ((1, 2, 1, 3, 2, 1, 2, 2),)),
    Case("nn.relu", "int32", relay.nn.relu, ((2, 9),), **INT32),
    Case("sigmoid", "wide range", relay.sigmoid, ((2, 7),), low=-9.0, high=9.0),
    Case("tanh", "wide range", relay.tanh, ((2, 7),), low=-9.0, high=9.0),
    Case("nn.leaky_relu", "default", relay.nn.leaky_relu, ((2, 3, 4),)),
    Case("nn.leaky_relu", "above 1", lambda x: relay.nn.leaky_relu(x, alpha=1.5), ((2, 3),)),
    Case("nn.leaky_relu", "negative", lambda x: relay.nn.leaky_relu(x, alpha=-0.5), ((2, 3),)),
    Case("nn.prelu", "constant alpha", lambda x: relay.nn.prelu(x, constant(x, 3)), IMAGE),
    Case("nn.prelu", "input alpha", relay.nn.prelu, ((2, 3, 9, 8), (3,)), options=EXPLICIT),
    Case("nn.prelu", "last axis", lambda x: relay.nn.prelu(x, constant(x, 8), axis=3), IMAGE),
    Case("nn.prelu", "input alpha, last axis", lambda x, a: relay.nn.prelu(x, a, 2), ((2, 3, 2), (2,))),
    Case("nn.prelu", "rank 1", lambda x: relay.nn.prelu(x, constant(x, 5), axis=0), ((5,),), options=EXPLICIT),
    Case("nn.prelu", "batch", lambda x: relay.nn.prelu(x, constant(x, 2), axis=0), ((2, 3),), options=EXPLICIT),
    Case("clip", "relu6", lambda x: relay.clip(x, 0.0, 6.0), ((2, 3, 4, 5),), low=-9.0, high=9.0),
    Case("clip", "one value", lambda x: relay.clip(x, 0.5, 0.5), ((2, 3),)),
    Case("clip", "no upper bound", lambda x: relay.clip(x, -0.25, INFINITY), ((2, 3),)),
    Case("clip", "int32", lambda x: relay.clip(x, -3.0, 5.0), ((2, 9),), **INT32),
    Case("clip", "int32 between fractions", lambda x: relay.clip(x, -3.5, 5.5), ((2, 9),), **INT32),
    Case(
        "clip",
        "int32 without a lower bound",
        lambda x: relay.clip(x, -INFINITY, 2.0),
        ((2, 9),),
        **INT32,
        same_as=lambda x: relay.minimum(x, relay.const(2, "int32")),  # TVM fails to make the bound an integer
    ),
]


# Where each is defined and well conditioned.
RANGES = {
    "acos": (-0.9, 0.9),
    "acosh": (1.1, 9.0),
    "asin": (-0.9, 0.9),
    "asinh": (-9.0, 9.0),
    "atan": (-9.0, 9.0),
    "atanh": (-0.9, 0.9),
    "ceil": (-3.0, 3.0),
    "copy": (-9.0, 9.0),
    "cosh": (-3.0, 3.0),
    "erf": (-3.0, 3.0),
    "exp": (-4.0, 4.0),
    "floor": (-3.0, 3.0),
    "log": (0.01, 9.0),
    "log10": (0.01, 9.0),
    "log2": (0.01, 9.0),
    "nn.relu": (-9.0, 9.0),
    "round": (-3.0, 3.0),
    "rsqrt": (0.1, 9.0),
    "sigmoid": (-9.0, 9.0),
    "sign": (-1.0, 1.0),
    "sinh": (-3.0, 3.0),
    "sqrt": (0.0, 9.0),
    "tan": (-1.2, 1.2),
    "tanh": (-9.0, 9.0),
    "trunc": (-3.0, 3.0),
}

UNARY = [
    Case("abs", "rank 2", relay.abs, ((2, 5),)),
    Case("negative", "rank 2", relay.negative, ((2, 5),)),
    Case("sin", "several periods", relay.sin, ((2, 5),), low=-9.0, high=9.0),
    Case("cos", "several periods", relay.cos, ((2, 5),), low=-9.0, high=9.0),
    *(
        Case(op, "rank 2", getattr(relay, op), ((2, 9),), low=low, high=high)
        for op, (low, high) in RANGES.items()
        if op not in ("nn.relu", "sigmoid", "tanh")
    ),
    Case("exp", "rank 0", relay.exp, ((),), options=EXPLICIT),
    Case("abs", "rank 5", relay.abs, ((1, 2, 3, 2, 2),)),
    Case("abs", "int32", relay.abs, ((2, 9),), **INT32),
    Case("negative", "int32", relay.negative, ((2, 9),), **INT32),
    Case("sign", "int32", relay.sign, ((2, 9),), **INT32),
    Case("sign", "zeros", lambda x: relay.sign(halves(x)), ((2, 9),), dtypes=("int32",), low=-2, high=3),
    Case("copy", "int32", relay.copy, ((2, 9),), **INT32),
    Case("copy", "bool", relay.copy, ((2, 9),), dtypes=("bool",)),
    *(
        Case(op, "halves", lambda x, op=op: getattr(relay, op)(halves(x)), ((4, 9),), **INT32)
        for op in ("round", "trunc", "ceil", "floor")
    ),
    # 0.49999997, which plus a half is 1 in float32.
    Case("round", "just below a half", lambda x: relay.round(x * scalar(x, 1 - 2.0**-24)), ((2,),), low=0.5, high=0.5),
    Case("isnan", "rank 2", lambda x: relay.isnan(relay.log(x)), ((2, 9),)),
    Case("isinf", "rank 2", lambda x: relay.isinf(relay.exp(x * scalar(x, 2000.0))), ((2, 9),)),
    Case("isfinite", "rank 2", lambda x: relay.isfinite(relay.exp(x * scalar(x, 2000.0))), ((2, 9),)),
    *(
        Case(op, "every kind", lambda x, op=op: getattr(relay, op)(x + special(x)), ((3, 5),))
        for op in ("isnan", "isinf", "isfinite")
    ),
    Case("logical_not", "of a comparison", lambda x: relay.logical_not(x > scalar(x, 0.0)), ((2, 9),)),
    Case("logical_not", "of an input", relay.logical_not, ((2, 9),), dtypes=("bool",)),
    Case("logical_not", "rank 0", relay.logical_not, ((),), dtypes=("bool",), options=EXPLICIT),
    Case("bitwise_not", "of a comparison", lambda x: relay.bitwise_not(x > scalar(x, 0.0)), ((2, 9),)),
    Case("bitwise_not", "of an input", relay.bitwise_not, ((2, 9),), dtypes=("bool",)),
]


# What is rounded to float16 is off by up to 5e-4. TVM casts to integers what a subgraph would be given as floats.
CASTS = [
    Case("cast", "float32 to int32", lambda x: relay.cast(-x, "int32"), ((2, 9),), low=-9.0, high=9.0),
    Case("cast", "float32 to bool", lambda x: relay.cast(halves(x), "bool"), ((2, 9),), **INT32),
    Case("cast", "fractions to bool", lambda x: relay.cast(x, "bool"), ((2, 9),)),
    Case("cast", "float32 to float16", lambda x: relay.cast(x, "float16"), ((2, 9),), rtol=2e-3, atol=2e-3),
    Case(
        "cast",
        "float32 to float16 and back",
        lambda x: relay.cast(relay.cast(x, "float16"), "float32"),
        ((2, 9),),
        rtol=2e-3,
        atol=2e-3,
    ),
    Case("cast", "float32 to float32", lambda x: relay.cast(x, "float32"), ((2, 9),)),
    Case("cast", "int32 to float32", lambda x: relay.cast(x, "float32"), ((2, 9),), **INT32),
    Case("cast", "int32 to float16", lambda x: relay.cast(x, "float16"), ((2, 9),), **INT32),
    Case("cast", "int32 to bool", lambda x: relay.cast(x, "bool"), ((2, 9),), **INT32),
    Case("cast", "bool to float32", lambda x: relay.cast(x, "float32"), ((2, 9),), dtypes=("bool",)),
    Case("cast", "bool to int32", lambda x: relay.cast(x, "int32"), ((2, 9),), dtypes=("bool",)),
    Case("cast", "rank 0", lambda x: relay.cast(-x, "int32"), ((),), low=-9.0, high=9.0, options=EXPLICIT),
    Case("cast_like", "a constant", lambda x: relay.cast_like(-x, relay.const(1, "int32")), ((2, 9),), low=-9, high=9),
    Case(
        "cast_like",
        "an input",
        lambda x, y: relay.cast_like(-x, y),
        ((2, 9), (2, 3)),
        dtypes=("float32", "int32"),
        low=-9,
        high=9,
    ),
    Case("cast_like", "another result", lambda x: relay.cast_like(x, x > scalar(x, 0.5)), ((2, 9),)),
]


BINARY_OPERATORS = {
    "add": relay.add,
    "subtract": relay.subtract,
    "multiply": relay.multiply,
    "divide": relay.divide,
    "power": relay.power,
    "maximum": relay.maximum,
    "minimum": relay.minimum,
    "floor_divide": relay.floor_divide,
    "floor_mod": relay.floor_mod,
    "trunc_divide": relay.trunc_divide,
    "trunc_mod": relay.trunc_mod,
}
WHOLE = ("divide", "floor_divide", "floor_mod", "mod", "trunc_divide", "trunc_mod")
# Values for which all of them are defined and well conditioned.
POSITIVE: Dict[str, Any] = {"low": 0.5, "high": 2.0}


def binary(op: str) -> List[Case]:
    call = BINARY_OPERATORS[op]
    return [
        Case(op, "two inputs", call, ((2, 3, 4), (2, 3, 4)), **POSITIVE),
        Case(op, "constant on the right", lambda x: call(x, constant(x, 3, 1, **POSITIVE)), ((2, 3, 4),), **POSITIVE),
        Case(op, "constant on the left", lambda x: call(constant(x, 3, 1, **POSITIVE), x), ((2, 3, 4),), **POSITIVE),
        Case(op, "repeated", lambda x: call(x, x), ((2, 3),), **POSITIVE),
        Case(op, "scalar", lambda x: call(x, scalar(x, 1.5)), ((2, 3),), **POSITIVE),
    ]


def int32(op: str) -> List[Case]:
    """Cases of every sign; what divides is never 0."""
    function = getattr(relay, op)
    call: Callable[..., relay.Expr] = (lambda a, b: function(a, odd(b))) if op in WHOLE else function
    return [
        Case(op, "int32", call, ((9, 9), (9, 9)), **TWO_INT32),
        Case(
            op, "int32, constant on the left", lambda x: call(constant(x, 9, 1, low=-9, high=9), x), ((9, 9),), **INT32
        ),
        Case(op, "int32, constant on the right", lambda x: function(x, relay.const(-3, "int32")), ((9, 9),), **INT32),
        Case(op, "int32, repeated", lambda x: call(x, x), ((2, 9),), **INT32),
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
    *(
        Case(op, "of every sign", getattr(relay, op), ((9, 9), (9, 9)), low=-9.0, high=9.0)
        for op in ("floor_divide", "floor_mod", "trunc_divide", "trunc_mod")
    ),
    Case(
        "mod",
        "of floats made whole",
        lambda x: relay.mod(relay.cast(-x, "int32"), relay.const(4, "int32")),
        ((2, 9),),
        low=-9,
        high=9,
    ),
    *(case for op in BINARY_OPERATORS if op != "power" for case in int32(op)),
    *int32("mod"),
    Case("power", "square of negative numbers", lambda x: relay.power(x, scalar(x, 2.0)), ((2, 5),)),
    Case("power", "cube of negative numbers", lambda x: relay.power(x, scalar(x, 3.0)), ((2, 5),)),
    Case("power", "square by a constant of rank 2", lambda x: relay.power(x, relay.const([[2.0]])), ((2, 5),)),
    Case(
        "power",
        "square by a higher rank",
        lambda x: relay.power(x, relay.const([[[2.0]]])),
        ((1, 5),),
        options=EXPLICIT,
    ),
    *(
        Case(
            "power",
            f"negative numbers to the power of {exponent}",
            lambda x, exponent=exponent: relay.power(x, scalar(x, exponent)),
            ((2, 5),),
            low=-2.0,
            high=-0.5,
        )
        for exponent in (-3.0, -2.0, -1.0, 0.0, 1.0, 4.0, 5.0)
    ),
    Case(
        "power",
        "negative numbers to a constant's powers",
        lambda x: relay.power(x, relay.const(np.arange(-4.0, 5.0, dtype="float32"))),
        ((2, 9),),
        low=-2.0,
        high=-0.5,
    ),
    Case(
        "power",
        "negative numbers to an input's powers",
        lambda x, y: relay.power(relay.cast(odd(x), "float32"), relay.cast(y, "float32")),
        ((2, 9), (2, 9)),
        dtypes=("int32", "int32"),
        low=-4,
        high=5,
    ),
    Case("power", "roots", lambda x: relay.power(x, scalar(x, 0.5)), ((2, 5),), low=0.0, high=9.0),
    Case("power", "reciprocal roots", lambda x: relay.power(x, scalar(x, -1 / 3)), ((2, 5),), **POSITIVE),
]


COMPARISONS = ["equal", "not_equal", "less", "less_equal", "greater", "greater_equal"]
LOGICAL = ["logical_and", "logical_or", "logical_xor", "bitwise_and", "bitwise_or", "bitwise_xor"]


def comparison(op: str) -> List[Case]:
    call = getattr(relay, op)
    return [
        Case(op, "two inputs", call, ((2, 9), (2, 9))),
        Case(op, "equal numbers", lambda x, y: call(halves(x), halves(y)), ((9, 9), (9, 9)), **TWO_INT32),
        Case(op, "repeated", lambda x: call(x, x), ((2, 9),)),
        Case(op, "scalar", lambda x: call(x, scalar(x, 0.5)), ((2, 9),)),
        Case(op, "scalar on the left", lambda x: call(scalar(x, 0.5), x), ((2, 9),)),
        Case(op, "NaN and infinity", lambda x: call(x + special(x), special(x)), ((2, 5),)),
        Case(op, "NaN and infinity on the left", lambda x: call(special(x), x), ((2, 5),)),
        Case(op, "int32", call, ((9, 9), (9, 9)), dtypes=("int32", "int32"), low=-2, high=3),
        Case(op, "bool", call, ((9, 1), (9, 9)), dtypes=("bool", "bool")),
    ]


def logical(op: str) -> List[Case]:
    call = getattr(relay, op)
    return [
        Case(op, "comparisons", lambda x, y: call(x > scalar(x, 0.0), y > x), ((2, 9), (2, 9))),
        Case(op, "inputs", call, ((9, 1), (9, 9)), dtypes=("bool", "bool")),
        Case(op, "constant", lambda x: call(constant(x, 9), x), ((9, 9),), dtypes=("bool",)),
    ]


WHERE = [
    Case("where", "a comparison", lambda x, y: relay.where(x > y, x, y), ((2, 9), (2, 9))),
    Case("where", "an input", relay.where, ((2, 9), (2, 9), (2, 9)), dtypes=("bool", "float32", "float32")),
    Case(
        "where", "all broadcast", relay.where, ((2, 1, 4), (2, 3, 1), (2, 3, 4)), dtypes=("bool", "float32", "float32")
    ),
    Case(
        "where",
        "ranks",
        relay.where,
        ((4,), (2, 3, 1), ()),
        dtypes=("bool", "float32", "float32"),
        options=EXPLICIT,
    ),
    Case("where", "scalars", lambda x: relay.where(x > scalar(x, 0.0), scalar(x, 1.0), scalar(x, -1.0)), ((2, 9),)),
    Case(
        "where",
        "constant condition",
        lambda x, y: relay.where(relay.const(np.arange(9) % 2 == 0), x, y),
        ((2, 9), (2, 9)),
    ),
    Case("where", "int32", relay.where, ((2, 9), (2, 9), (2, 9)), dtypes=("bool", "int32", "int32"), low=-9, high=9),
    Case("where", "bool", relay.where, ((2, 9), (2, 9), (9,)), dtypes=("bool", "bool", "bool"), options=EXPLICIT),
    Case("where", "int32 condition", relay.where, ((9, 9),) * 3, dtypes=("int32",) * 3, low=-1, high=2),
    Case("where", "float32 condition", lambda x, y: relay.where(relay.nn.relu(x), x, y), ((2, 9), (2, 9))),
    Case("where", "repeated", lambda x: relay.where(x > scalar(x, 0.0), x, x), ((2, 9),)),
]


def from_onnx(node: str, **attrs: Any) -> Callable[[relay.Var], relay.Expr]:
    """What TVM's ONNX front end writes for one node of one operand."""

    def build(x: relay.Var) -> relay.Expr:
        shape = [int(dimension) for dimension in x.type_annotation.shape]
        tensors = [onnx.helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("x", "y")]
        nodes = [onnx.helper.make_node(node, ["x"], ["y"], **attrs)]
        graph = onnx.helper.make_graph(nodes, node, tensors[:1], tensors[1:])
        model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)])
        function = relay.frontend.from_onnx(model, {"x": shape})[0]["main"]
        return relay.bind(function.body, {function.params[0]: x})

    return build


def softplus_pytorch(x: relay.Var) -> relay.Expr:
    beta = relay.const(1.0)
    softplus = relay.log(relay.exp(x * beta) + relay.const(1.0)) / beta
    return relay.where(relay.greater(x * beta, relay.full_like(x, relay.const(2))), x, softplus)


def hard_sigmoid_pytorch(x: relay.Var) -> relay.Expr:
    return relay.clip(x + relay.const(3.0), 0.0, 6.0) / relay.const(6.0)


def log_sigmoid_pytorch(x: relay.Var) -> relay.Expr:
    return relay.minimum(relay.const(0.0), x) - relay.log(relay.exp(-relay.abs(x)) + relay.const(1.0))


def gelu_pytorch(x: relay.Var) -> relay.Expr:
    return x * (relay.const(0.5) + relay.erf(x * relay.const(0.5**0.5)) * relay.const(0.5))


def gelu_tanh(x: relay.Var) -> relay.Expr:
    inner = relay.const(math.sqrt(2 / math.pi)) * (x + relay.const(0.044715) * relay.power(x, relay.const(3.0)))
    return relay.const(0.5) * x * (relay.const(1.0) + relay.tanh(inner))


def elu_mxnet(x: relay.Var) -> relay.Expr:
    return relay.nn.relu(relay.const(1.0) - relay.exp(x)) * relay.const(-0.25) + relay.nn.relu(x)


def softrelu_mxnet(x: relay.Var) -> relay.Expr:
    return relay.log(relay.const(1.0) + relay.exp(relay.negative(relay.abs(x)))) + relay.nn.relu(x)


def smooth_l1_mxnet(x: relay.Var) -> relay.Expr:
    return relay.where(relay.less(x, relay.const(1.0)), relay.const(0.5) * x * x, relay.abs(x) - relay.const(0.5))


def logical_mxnet(x: relay.Var, y: relay.Var) -> relay.Expr:
    return relay.cast(relay.logical_or(relay.cast(x, "bool"), relay.cast(y, "bool")), "float32")


def where_mxnet(x: relay.Var) -> relay.Expr:
    condition = relay.greater(x, relay.const(0.0)).astype("float32")
    return relay.where(condition, x, relay.ones_like(x) * relay.const(-2.0))


def masked_fill_pytorch(mask: relay.Var, x: relay.Var) -> relay.Expr:
    return relay.where(mask, relay.cast(relay.const(-1e9), "float32"), x)


#: The activations that no Relay operator is, as the front ends write them: all of each goes into one subgraph.
FRONT_END_FORMS = [
    *(
        Case(op, f"{node}, ONNX", from_onnx(node, **attrs), ((2, 3, 9),), low=-4.0, high=4.0)
        for op, node, attrs in [
            ("exp", "Elu", {"alpha": 0.5}),
            ("exp", "Selu", {}),
            ("exp", "Celu", {"alpha": 0.5}),
            ("log", "Softplus", {}),
            ("divide", "Softsign", {}),
            ("clip", "HardSigmoid", {"alpha": 0.25}),
            ("clip", "HardSwish", {}),
            ("tanh", "Mish", {}),
            ("erf", "Gelu", {}),
            ("greater", "ThresholdedRelu", {"alpha": 0.5}),
            ("where", "Shrink", {"lambd": 0.5, "bias": 0.25}),
            ("copy", "Identity", {}),
            ("sign", "Sign", {}),
        ]
    ),
    Case("divide", "Reciprocal, ONNX", from_onnx("Reciprocal"), ((2, 9),), **POSITIVE),
    Case("erf", "GELU, PyTorch", gelu_pytorch, ((2, 9),), low=-4.0, high=4.0),
    Case("sigmoid", "SiLU, PyTorch", lambda x: x * relay.sigmoid(x), ((2, 9),), low=-4.0, high=4.0),
    Case("where", "softplus, PyTorch", softplus_pytorch, ((2, 9),), low=-4.0, high=4.0),
    Case("clip", "hard sigmoid, PyTorch", hard_sigmoid_pytorch, ((2, 9),), low=-4.0, high=4.0),
    Case("clip", "hard swish, PyTorch", lambda x: x * hard_sigmoid_pytorch(x), ((2, 9),), low=-4.0, high=4.0),
    Case("log", "log sigmoid, PyTorch", log_sigmoid_pytorch, ((2, 9),), low=-4.0, high=4.0),
    Case("power", "square, PyTorch", lambda x: relay.power(x, relay.const(2, "float32")), ((2, 9),)),
    Case("power", "GELU by tanh", gelu_tanh, ((2, 9),), low=-4.0, high=4.0),
    Case("where", "masked fill, PyTorch", masked_fill_pytorch, ((2, 9), (2, 9)), dtypes=("bool", "float32")),
    Case("exp", "ELU, MXNet", elu_mxnet, ((2, 9),), low=-4.0, high=4.0),
    Case("log", "softrelu, MXNet", softrelu_mxnet, ((2, 9),), low=-4.0, high=4.0),
    Case("where", "smooth L1, MXNet", smooth_l1_mxnet, ((2, 9),), low=-4.0, high=4.0),
    Case("logical_or", "of floats, MXNet", logical_mxnet, ((2, 9), (2, 9))),
    Case("where", "with a scalar, MXNet", where_mxnet, ((2, 9),)),
]


CASES = [
    *ACTIVATIONS,
    *UNARY,
    *CASTS,
    *BINARY,
    *(case for op in COMPARISONS for case in comparison(op)),
    *(case for op in LOGICAL for case in logical(op)),
    *(
        Case(op, "bool", getattr(relay, op), ((9, 9), (9, 1)), dtypes=("bool", "bool"))
        for op in ("multiply", "maximum", "minimum")
    ),
    *WHERE,
    *FRONT_END_FORMS,
]

ONE, TWO = ((2, 9),), ((2, 9), (2, 9))
REFUSED = [
    Refused("clip", lambda x: relay.clip(x, 1.0, -1.0), ONE, "a_min 1.0 is above a_max -1.0"),
    # What TensorRT was seen to compute wrongly, or to crash on.
    Refused("clip", lambda x: relay.clip(x, -math.inf, -math.inf), ONE, "there is nothing finite between them"),
    Refused("logical_or", lambda x: relay.logical_or(x, x), ONE, "the same operand twice", ("bool",)),
    Refused("maximum", lambda x: relay.maximum(x, relay.const(True)), ONE, "of bool and one constant", ("bool",)),
    Refused("where", lambda c, x: relay.where(c, x, x), ((2, 3), (3,)), "the same", ("bool", "float32")),
    Refused("where", lambda c: relay.where(c, relay.const(1.0), relay.const(1.0)), ONE, "TensorRT forgets", ("bool",)),
    Refused("mod", relay.mod, TWO, "the dtype must be int32"),
    Refused("isnan", relay.isnan, ONE, "only floats have NaN and infinity", ("bool",)),
    Refused("power", relay.power, TWO, "the dtype must be float32 or float16", ("int32", "int32")),
    Refused("floor", relay.floor, ONE, "the dtype must be float32 or float16", ("int32",)),
    Refused("nn.leaky_relu", relay.nn.leaky_relu, ONE, "the dtype must be float32 or float16", ("int32",)),
    Refused("logical_xor", relay.logical_xor, TWO, "the dtype must be bool", ("int32", "int32")),
    Refused("bitwise_not", relay.bitwise_not, ONE, "the dtype must be bool", ("int32",)),
    Refused("add", relay.add, TWO, "the dtype must be float32 or float16 or int32", ("bool", "bool")),
    Refused("cast", lambda x: relay.cast(x, "int64"), ONE, "int64 needs TensorRT 10 or newer"),
    Refused("cast", lambda x: relay.cast(x, "uint8"), ONE, "uint8[2, 9]: the dtype must be"),
]


@strategy(*RANGES, "abs", "cos", "negative", "sin")
def unary(draw: Draw, op: str) -> Case:
    shape = draw(shapes(0, 5))
    function = relay.nn.relu if op == "nn.relu" else getattr(relay, op)
    low, high = RANGES.get(op, (-9.0, 9.0))
    dtype = draw(st.sampled_from(["float32", "float32", "int32"]))
    if dtype == "int32":
        low, high = -9, 9
    return Case(op, f"{shape} {dtype}", function, (shape,), dtypes=(dtype,), low=low, high=high)


@strategy("isnan", "isinf", "isfinite")
def classification(draw: Draw, op: str) -> Case:
    shape = (*draw(shapes(0, 4)), 5)
    return Case(op, str(shape), lambda x: getattr(relay, op)(x + special(x)), (shape,))


@strategy("logical_not", "bitwise_not")
def logical_not(draw: Draw, op: str) -> Case:
    shape = draw(shapes(0, 5))
    return Case(op, str(shape), getattr(relay, op), (shape,), dtypes=("bool",))


@strategy("nn.leaky_relu")
def leaky_relu(draw: Draw, op: str) -> Case:
    return attributed(
        op, relay.nn.leaky_relu, draw(shapes(0, 4)), alpha=draw(st.sampled_from([-0.5, 0.0, 0.25, 1.0, 2.0]))
    )


@strategy("nn.prelu")
def prelu(draw: Draw, op: str) -> Case:
    shape = draw(shapes(1, 5))
    axis = draw(axes(shape))
    if draw(st.booleans()):
        return Case(op, f"{shape} {axis}", lambda x: relay.nn.prelu(x, constant(x, shape[axis]), axis), (shape,))
    return Case(op, f"{shape} {axis} input", lambda x, a: relay.nn.prelu(x, a, axis), (shape, (shape[axis],)))


@strategy("clip")
def clip(draw: Draw, op: str) -> Case:
    dtype = draw(st.sampled_from(["float32", "int32"]))
    # TVM cannot make an integer of an infinity.
    infinite = [-INFINITY, INFINITY] if dtype == "float32" else []
    bounds = st.sampled_from([*infinite, -3.5, -0.5, 0.0, 0.25, 2.75, 6.0])
    low, high, shape = draw(bounds), draw(bounds), draw(shapes(0, 4))
    name = f"{shape} {dtype} {low} {high}"
    return Case(op, name, lambda x: relay.clip(x, low, high), (shape,), dtypes=(dtype,), low=-9, high=9)


@strategy("cast")
def cast(draw: Draw, op: str) -> Case:
    dtypes = st.sampled_from(["float32", "float16", "int32", "int64", "bool"])
    source, target, shape = draw(dtypes), draw(dtypes), draw(shapes(0, 5))
    # Half a unit in float16's last place is more than 1e-4.
    tolerance = 2e-3 if "float16" in (source, target) else 1e-4
    return Case(
        op,
        f"{shape} {source} {target}",
        lambda x: relay.cast(x, target),
        (shape,),
        dtypes=(source,),
        low=-9,
        high=9,
        rtol=tolerance,
        atol=tolerance,
    )


@strategy("cast_like")
def cast_like(draw: Draw, op: str) -> Case:
    dtypes = st.sampled_from(["float32", "int32", "bool"])
    source, target, one, other = draw(dtypes), draw(dtypes), draw(shapes(0, 4)), draw(shapes(0, 4))
    build, inputs = draw(
        st.sampled_from(
            [
                (relay.cast_like, ((one, source), (other, target))),
                (lambda x: relay.cast_like(x, relay.const(np.ones(other, target))), ((one, source),)),
            ]
        )
    )
    kinds = tuple(dtype for _, dtype in inputs)
    return Case(op, f"{inputs} {target}", build, tuple(shape for shape, _ in inputs), dtypes=kinds, low=-9, high=9)


def of_drawn(op: str, dtype: str, negated: bool) -> Callable[..., relay.Expr]:
    """The operator of operands of which no divisor is 0, and of which many are equal where they are compared."""
    function = getattr(relay, op)
    if dtype == "int32" and op in WHOLE:
        return lambda x, y: function(x, odd(y))
    if dtype == "float32" and op in COMPARISONS:
        return lambda x, y: function(relay.ceil(x), relay.floor(y))
    if dtype == "float32" and negated:
        return lambda x, y: function(x, relay.negative(y))
    return function


@strategy(*BINARY_OPERATORS, "mod", *COMPARISONS, *LOGICAL)
def binaries(draw: Draw, op: str) -> Case:
    a, b = draw(mutually_broadcastable_shapes(num_shapes=2, min_dims=0, max_dims=4, max_side=4)).input_shapes
    dtype, negated = draw(st.sampled_from(["float32", "float32", "int32", "bool"])), draw(st.booleans())
    call = of_drawn(op, dtype, negated)
    low, high = {"int32": (-9, 10), "bool": (0, 1), "float32": (0.5, 2.0)}[dtype]
    if dtype == "float32" and op != "power":
        low, high = draw(st.sampled_from([(0.5, 2.0), (-2.0, -0.5)]))
    limits: Dict[str, Any] = {"low": low, "high": high}
    build, inputs = draw(
        st.sampled_from(
            [
                (call, (a, b)),
                (lambda x: call(x, constant(x, *b, **limits)), (a,)),
                (lambda x: call(constant(x, *a, **limits), x), (b,)),
                (lambda x: call(x, scalar(x, high)), (a,)),
                (lambda x: call(x, x), (a,)),
            ]
        )
    )
    name = f"{dtype} {a} {b}, {len(inputs)} inputs, {limits} {negated}"
    return Case(op, name, build, inputs, dtypes=(dtype,) * len(inputs), **limits)


@strategy("where")
def where(draw: Draw, op: str) -> Case:
    three = draw(mutually_broadcastable_shapes(num_shapes=3, min_dims=0, max_dims=4, max_side=4)).input_shapes
    dtypes = st.sampled_from(["float32", "int32", "bool"])
    condition, dtype = draw(dtypes), draw(dtypes)
    operands = [(shape, dtype, draw(st.booleans())) for shape, dtype in zip(three, (condition, dtype, dtype))]

    def build(*variables: relay.Var) -> relay.Expr:
        rest = list(variables)
        return relay.where(
            *(
                relay.const(values(shape, dtype, seed, -2, 2)) if fixed else rest.pop(0)
                for seed, (shape, dtype, fixed) in enumerate(operands, start=3)
            )
        )

    inputs = [(shape, dtype) for shape, dtype, fixed in operands if not fixed]
    return Case(
        op,
        str(operands),
        build,
        tuple(shape for shape, _ in inputs),
        dtypes=tuple(dtype for _, dtype in inputs),
        low=-2,
        high=2,
    )
