"""Operators that compute element by element."""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Optional

import numpy as np

from .registry import (
    DATA,
    FLOATS,
    NUMBERS32,
    OpCall,
    OpNode,
    axis_is_batch,
    broadcasts_batch,
    in_float32,
    known_axis_rule,
    operator,
)
from .shapes import along_axis

if TYPE_CHECKING:
    from ..runtime.builders import NetworkBuilder, Tensor

# Which dimensions are known does not matter to what is computed element by element.
elementwise = functools.partial(operator, any_dynamic=True)

CASTS = ("cast", "cast_like")
LOGARITHM = {"log2": 2.0, "log10": 10.0}
BINARY = {
    "add": "sum",
    "divide": "div",
    "maximum": "max",
    "minimum": "min",
    "multiply": "prod",
    "subtract": "sub",
}
LOGICAL = {
    "bitwise_and": "and",
    "bitwise_or": "or",
    "bitwise_xor": "xor",
    "logical_and": "and",
    "logical_or": "or",
    "logical_xor": "xor",
    "maximum": "or",
    "minimum": "and",
    "multiply": "and",
}
# A comparison holds where one of these does. "Not greater" is no "less or equal": neither holds for NaN.
COMPARISON = {
    "equal": ("equal",),
    "greater": ("greater",),
    "greater_equal": ("greater", "equal"),
    "less": ("less",),
    "less_equal": ("less", "equal"),
}


# -- activations ------------------------------------------------------------------------------------------------------


@elementwise("sigmoid", "tanh")
def activation(net: NetworkBuilder, op: OpNode) -> Tensor:
    return net.activation(op.inputs[0], op.name)


@elementwise("nn.relu", dtypes=NUMBERS32, half="passes")
def relu(net: NetworkBuilder, op: OpNode) -> Tensor:
    (x,) = op.inputs
    if x.dtype == "int32":
        return net.elementwise(x, net.scalar(0, x), "max")
    return net.activation(x, "relu")


@elementwise("nn.leaky_relu", since=(5, 1, 5), half="passes")
def leaky_relu(net: NetworkBuilder, op: OpNode) -> Tensor:
    return net.activation(op.inputs[0], "leaky_relu", alpha=op.attrs["alpha"])


@elementwise("nn.prelu", since=(6, 0, 1), rule=known_axis_rule, touches_batch=axis_is_batch)
def prelu(net: NetworkBuilder, op: OpNode) -> Tensor:
    x, alpha = op.inputs
    return net.prelu(x, along_axis(net, alpha, op.axis(), x.rank))


def clip_rule(call: OpCall) -> Optional[str]:
    """a_min not above a_max, and something finite between them"""
    low, high = call.attrs["a_min"], call.attrs["a_max"]
    if low == math.inf or high == -math.inf:
        return f"a_min {low}, a_max {high}: there is nothing finite between them"
    if not low <= high:
        return f"a_min {low} is above a_max {high}: engines disagree on which of them wins"
    return None


@elementwise("clip", since=(5, 1, 5), dtypes=NUMBERS32, rule=clip_rule)
def clip(net: NetworkBuilder, op: OpNode) -> Tensor:
    (x,) = op.inputs
    low, high = op.attrs["a_min"], op.attrs["a_max"]
    if x.dtype == "int32":
        limits = np.iinfo(np.int32)
        low, high = (int(np.clip(bound, limits.min, limits.max)) for bound in (low, high))
    elif math.isfinite(low) and math.isfinite(high):
        return net.activation(x, "clip", alpha=low, beta=high)
    for bound, kind in ((low, "max"), (high, "min")):  # the Activation layer takes no infinite bound
        if math.isfinite(bound):
            x = net.elementwise(x, net.scalar(bound, x), kind)
    return x


# -- one operand ------------------------------------------------------------------------------------------------------


@elementwise("exp", "sqrt", half="extreme")
@elementwise("log", half="sensitive")
@elementwise("sin", "cos", since=(5, 1, 5), half="sensitive")  # a rounded operand misses their period
@elementwise("tan", "sinh", "cosh", since=(5, 1, 5), half="extreme")
@elementwise("asin", "acos", "atan", "asinh", "acosh", "atanh", "ceil", "floor", since=(5, 1, 5))
@elementwise("erf", since=(7, 0, 0))
def unary(net: NetworkBuilder, op: OpNode) -> Tensor:
    """The Unary layer's operations have Relay's names."""
    return net.unary(op.inputs[0], op.name)


@elementwise(*LOGARITHM, half="sensitive")
def logarithm(net: NetworkBuilder, op: OpNode) -> Tensor:
    (x,) = op.inputs
    return net.elementwise(net.unary(x, "log"), net.scalar(1.0 / math.log(LOGARITHM[op.name]), x), "prod")


@elementwise("rsqrt", half="extreme")
def rsqrt(net: NetworkBuilder, op: OpNode) -> Tensor:
    return net.unary(net.unary(op.inputs[0], "sqrt"), "recip")


# Not every TensorRT's Unary layer takes integers; the ElementWise layer does.


@elementwise("negative", dtypes=NUMBERS32, half="passes")
def negative(net: NetworkBuilder, op: OpNode) -> Tensor:
    return _negated(net, op.inputs[0])


@elementwise("abs", dtypes=NUMBERS32, half="passes")
def absolute(net: NetworkBuilder, op: OpNode) -> Tensor:
    (x,) = op.inputs
    return net.elementwise(x, _negated(net, x), "max") if x.dtype == "int32" else net.unary(x, "abs")


@elementwise("sign", since=(8, 0, 0), dtypes=NUMBERS32)
def sign(net: NetworkBuilder, op: OpNode) -> Tensor:
    (x,) = op.inputs
    if x.dtype != "int32":
        return net.unary(x, "sign")
    return net.elementwise(net.elementwise(x, net.scalar(-1, x), "max"), net.scalar(1, x), "min")


@elementwise("trunc", since=(7, 0, 0))
def trunc(net: NetworkBuilder, op: OpNode) -> Tensor:
    return _truncated(net, op.inputs[0])


@elementwise("round", since=(7, 0, 0))
def round_half_away(net: NetworkBuilder, op: OpNode) -> Tensor:
    """Halves go away from 0; the layer that rounds takes them to even numbers."""
    (x,) = op.inputs
    size = net.unary(x, "abs")
    below = net.unary(size, "floor")
    # Not floor(size + 0.5), which is 1 for the largest number below a half.
    is_nearer = net.elementwise(net.elementwise(size, below, "sub"), net.scalar(0.5, x), "less")
    rounded = net.select(is_nearer, below, net.elementwise(below, net.scalar(1.0, x), "sum"))
    return net.select(_is_negative(net, x), _negated(net, rounded), rounded)


@elementwise("copy", dtypes=DATA)
def copy(net: NetworkBuilder, op: OpNode) -> Tensor:
    return op.inputs[0]


@elementwise("cast", dtypes=DATA)
@elementwise("cast_like", dtypes=DATA, free_operands=(1,))
def cast(net: NetworkBuilder, op: OpNode) -> Tensor:
    return net.cast(op.inputs[0], op.outputs[0].dtype)


# -- two operands -----------------------------------------------------------------------------------------------------


def or_rule(call: OpCall) -> Optional[str]:
    """any operands; of bool, two that differ, neither of them one constant"""
    one_constant = any(value is not None for value in call.scalars)
    if call.inputs[0].dtype == "bool" and (one_constant or call.same(0, 1)):
        return "of bool and one constant, or of the same operand twice: TensorRT 8.6 crashes"
    return None


@elementwise("add", "subtract", dtypes=NUMBERS32, touches_batch=broadcasts_batch, half="passes")
@elementwise("divide", dtypes=NUMBERS32, touches_batch=broadcasts_batch)
@elementwise("multiply", dtypes=(*NUMBERS32, "bool"), touches_batch=broadcasts_batch)
@elementwise("minimum", dtypes=(*NUMBERS32, "bool"), touches_batch=broadcasts_batch, half="passes")
@elementwise("maximum", dtypes=(*NUMBERS32, "bool"), rule=or_rule, touches_batch=broadcasts_batch, half="passes")
@elementwise(
    "logical_or", "bitwise_or", since=(7, 0, 0), dtypes=("bool",), rule=or_rule, touches_batch=broadcasts_batch
)
@elementwise("logical_and", "logical_xor", since=(7, 0, 0), dtypes=("bool",), touches_batch=broadcasts_batch)
@elementwise("bitwise_and", "bitwise_xor", since=(7, 0, 0), dtypes=("bool",), touches_batch=broadcasts_batch)
def binary(net: NetworkBuilder, op: OpNode) -> Tensor:
    a, b = op.inputs
    return net.elementwise(a, b, (LOGICAL if a.dtype == "bool" else BINARY)[op.name])


@elementwise("power", touches_batch=broadcasts_batch, half="extreme")
def power(net: NetworkBuilder, op: OpNode) -> Tensor:
    """Squares and cubes are products: quicker than a power, and right for negative bases whatever a power does."""
    base, exponent = op.inputs
    times = exponent.value.item() if exponent.value is not None and exponent.value.size == 1 else None
    if times not in (2.0, 3.0) or exponent.rank > base.rank:
        return net.elementwise(base, exponent, "pow")
    square = net.elementwise(base, base, "prod")
    return square if times == 2.0 else net.elementwise(square, base, "prod")


# A quotient just below a whole number would become it in float16.
@elementwise("floor_divide", "trunc_divide", since=(7, 0, 0), dtypes=NUMBERS32, touches_batch=broadcasts_batch)
@in_float32
def whole_division(net: NetworkBuilder, op: OpNode) -> Tensor:
    a, b = op.inputs
    return _whole_quotient(net, a, b, rounds_down=op.name == "floor_divide")


# The `mod` of floats is exact in TVM, and cannot be had from a quotient that is rounded.
@elementwise("mod", since=(7, 0, 0), dtypes=("int32",), touches_batch=broadcasts_batch)
@elementwise("floor_mod", "trunc_mod", since=(7, 0, 0), dtypes=NUMBERS32, touches_batch=broadcasts_batch)
@in_float32
def remainder(net: NetworkBuilder, op: OpNode) -> Tensor:
    a, b = op.inputs
    return _rest(net, a, b, _whole_quotient(net, a, b, rounds_down=op.name == "floor_mod"))


@elementwise(*COMPARISON, since=(7, 0, 0), dtypes=(*NUMBERS32, "bool"), touches_batch=broadcasts_batch)
def comparison(net: NetworkBuilder, op: OpNode) -> Tensor:
    # TensorRT compares numbers only.
    a, b = (net.cast(x, "int32") if x.dtype == "bool" else x for x in op.inputs)
    first, *others = (net.elementwise(a, b, kind) for kind in COMPARISON[op.name])
    return net.elementwise(first, others[0], "or") if others else first


@elementwise("not_equal", since=(7, 0, 0), dtypes=(*NUMBERS32, "bool"), touches_batch=broadcasts_batch)
def not_equal(net: NetworkBuilder, op: OpNode) -> Tensor:
    a, b = op.inputs
    if a.dtype == "bool":
        return net.elementwise(a, b, "xor")
    return net.unary(net.elementwise(a, b, "equal"), "not")


# -- bool and choice --------------------------------------------------------------------------------------------------


@elementwise("logical_not", "bitwise_not", since=(7, 0, 0), dtypes=("bool",))
def logical_not(net: NetworkBuilder, op: OpNode) -> Tensor:
    return net.unary(op.inputs[0], "not")


def classification_rule(call: OpCall) -> Optional[str]:
    """floats"""
    return None if call.inputs[0].dtype in FLOATS else f"{call.inputs[0]}: only floats have NaN and infinity"


@elementwise("isnan", "isinf", "isfinite", since=(7, 0, 0), dtypes=(*FLOATS, "bool"), rule=classification_rule)
@in_float32
def classification(net: NetworkBuilder, op: OpNode) -> Tensor:
    (x,) = op.inputs
    if op.name == "isnan":
        return net.unary(net.elementwise(x, x, "equal"), "not")
    if op.name == "isfinite":
        return net.elementwise(net.unary(x, "abs"), net.scalar(np.inf, x), "less")
    # To TensorRT, infinity does not equal infinity.
    return net.elementwise(net.unary(x, "abs"), net.scalar(np.finfo(x.dtype).max, x), "greater")


def where_rule(call: OpCall) -> Optional[str]:
    """two choices that differ, or that are known to be as large as the result"""
    choice, result = call.inputs[1].shape, call.outputs[0].shape
    if call.same(1, 2) and (choice != result or -1 in result):
        return "both choices are the same: TensorRT forgets that they broadcast"
    return None


@elementwise("where", since=(7, 0, 0), dtypes=DATA, rule=where_rule, touches_batch=broadcasts_batch, free_operands=(0,))
def where(net: NetworkBuilder, op: OpNode) -> Tensor:
    condition, a, b = op.inputs
    condition = net.cast(condition, "bool")
    if a.dtype != "bool":
        return net.select(condition, a, b)
    chosen = net.elementwise(condition, a, "and")
    return net.elementwise(chosen, net.elementwise(net.unary(condition, "not"), b, "and"), "or")


def _negated(net: NetworkBuilder, x: Tensor) -> Tensor:
    return net.elementwise(net.scalar(0, x), x, "sub") if x.dtype == "int32" else net.unary(x, "neg")


def _is_negative(net: NetworkBuilder, x: Tensor) -> Tensor:
    return net.elementwise(x, net.scalar(0, x), "less")


def _truncated(net: NetworkBuilder, x: Tensor) -> Tensor:
    return net.select(_is_negative(net, x), net.unary(x, "ceil"), net.unary(x, "floor"))


def _whole_quotient(net: NetworkBuilder, a: Tensor, b: Tensor, rounds_down: bool) -> Tensor:
    """a / b rounded down or towards 0."""
    quotient = net.elementwise(a, b, "div")
    if a.dtype != "int32":
        return net.unary(quotient, "floor") if rounds_down else _truncated(net, quotient)
    if not rounds_down:
        return quotient
    # A quotient below 0 of which something remains was rounded up.
    is_below_0 = net.elementwise(_is_negative(net, a), _is_negative(net, b), "xor")
    is_whole = net.elementwise(_rest(net, a, b, quotient), net.scalar(0, a), "equal")
    was_rounded_up = net.elementwise(is_below_0, net.unary(is_whole, "not"), "and")
    return net.elementwise(quotient, net.cast(was_rounded_up, "int32"), "sub")


def _rest(net: NetworkBuilder, a: Tensor, b: Tensor, quotient: Tensor) -> Tensor:
    return net.elementwise(a, net.elementwise(quotient, b, "prod"), "sub")
