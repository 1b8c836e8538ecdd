"""Operators along axes: sums, extremes, orders."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, List, Optional

import numpy as np

from .registry import (
    DATA,
    FLOATS,
    NUMBERS,
    OpCall,
    Operation,
    OpNode,
    axes_have_batch,
    axis_is_batch,
    in_float32,
    operator,
)

if TYPE_CHECKING:
    from ..runtime.builders import NetworkBuilder, Tensor

TRUTHS = {"all": "min", "any": "max"}
EXTREMES = {"argmax": "max", "argmin": "min"}
ORDERS = {"sort": "values", "argsort": "indices"}
SCANS = {"cumsum": ("sum", 0), "cumprod": ("prod", 1)}

LONGEST_TOP_K = 3840  # what TensorRT's TopK layer gives at most
TOP_K_AXES = 4  # it looks along one of the last four dimensions


def reduce_rule(call: OpCall) -> Optional[str]:
    """any axes, none of them named twice"""
    named = call.attrs["axis"] or []
    if len({axis % len(call.shape) for axis in named}) < len(named):
        return f"axis {named} names a dimension twice"
    return None


def reduce(net: NetworkBuilder, op: OpNode) -> Tensor:
    return _reduced(net, op, op.inputs[0], op.name)


operator("max", "min", dtypes=NUMBERS, rule=reduce_rule, touches_batch=axes_have_batch, any_dynamic=True)(reduce)
operator(
    "sum", "prod", dtypes=NUMBERS, rule=reduce_rule, touches_batch=axes_have_batch, any_dynamic=True, half="extreme"
)(in_float32(reduce))


def mean_rule(call: OpCall) -> Optional[str]:
    """any axes, none of them named twice; of integers, no dynamic one"""
    if call.inputs[0].dtype not in FLOATS and _along_dynamic(call):
        return "the mean of integers along the dynamic dimension"
    return reduce_rule(call)


@operator("mean", dtypes=NUMBERS, rule=mean_rule, touches_batch=axes_have_batch, any_dynamic=True)
@in_float32
def mean(net: NetworkBuilder, op: OpNode) -> Tensor:
    (x,) = op.inputs
    if x.dtype in FLOATS:
        return _reduced(net, op, x, "mean")
    # Relay rounds towards 0; engines do not say how an average of integers is rounded.
    return net.elementwise(_reduced(net, op, x, "sum"), net.scalar(_count(op), x), "div")


def variance_rule(call: OpCall) -> Optional[str]:
    """at least one axis, none named twice; where unbiased, of several elements and no dynamic axis"""
    data, given_mean = call.inputs
    if not call.axes():
        return "there is no axis to reduce"
    if any(size not in (1, whole) for size, whole in zip(given_mean.shape, data.shape)):
        return f"the mean {given_mean} does not broadcast to {data}"
    if call.attrs["unbiased"] and _along_dynamic(call):
        return "the unbiased variance along the dynamic dimension"
    if call.attrs["unbiased"] and _count(call) == 1:
        return "the unbiased variance of one element divides by 0"
    return reduce_rule(call)


@operator("variance", rule=variance_rule, touches_batch=axes_have_batch, any_dynamic=True)
@in_float32
def variance(net: NetworkBuilder, op: OpNode) -> Tensor:
    difference = net.elementwise(op.inputs[0], op.inputs[1], "sub")
    square = net.elementwise(difference, difference, "prod")
    if not op.attrs["unbiased"]:
        return _reduced(net, op, square, "mean")
    total = _reduced(net, op, square, "sum")
    return net.elementwise(total, net.scalar(_count(op) - 1, total), "div")


@operator(*TRUTHS, since=(7, 0, 0), dtypes=("bool",), rule=reduce_rule, touches_batch=axes_have_batch, any_dynamic=True)
def truth(net: NetworkBuilder, op: OpNode) -> Tensor:
    """As 0 and 1: the Reduce layer takes no bool."""
    return net.cast(_reduced(net, op, net.cast(op.inputs[0], "int32"), TRUTHS[op.name]), "bool")


def arg_reduce_rule(call: OpCall) -> Optional[str]:
    """at least one axis, none named twice or dynamic; of equal elements the one that Relay takes"""
    if not call.axes():
        return "there is no axis to look along"
    if _along_dynamic(call):
        return "indices along the dynamic dimension"
    return reduce_rule(call)


@operator(
    *EXTREMES, since=(7, 0, 0), dtypes=NUMBERS, rule=arg_reduce_rule, touches_batch=axes_have_batch, any_dynamic=True
)
@in_float32
def arg_reduce(net: NetworkBuilder, op: OpNode) -> Tensor:
    """The first or the last index of the extreme; the TopK layer does not say which of several it gives."""
    (x,) = op.inputs
    axes = op.axes()
    if _count(op) == 1:  # TensorRT cannot build what follows where there is nothing to choose from
        zero = net.cast(net.elementwise(x, x, "less"), "int32")
        return _reduced(net, op, zero, "min")
    extreme = net.reduce(x, EXTREMES[op.name], axes, keep_dims=True)
    sizes = [size if axis in axes else 1 for axis, size in enumerate(x.shape)]
    indices = np.arange(math.prod(sizes), dtype=np.int32).reshape(sizes)
    last = bool(op.attrs.get("select_last_index"))
    # What is not the extreme counts as the index that loses; it is a valid one even where NaN equals nothing.
    loser = net.constant(indices.min() if last else indices.max())
    winners = net.select(net.elementwise(x, extreme, "equal"), net.constant(indices), loser)
    return _reduced(net, op, winners, "max" if last else "min")


def top_k_rule(call: OpCall) -> Optional[str]:
    """floats, 2 to 3840 elements along an axis that is not dynamic; which of equal elements comes first is not said"""
    if not call.shape:
        return "a scalar has no axis"
    if call.inputs[0].dtype not in FLOATS:
        return f"{call.inputs[0]}: the dtype must be {' or '.join(FLOATS)}"
    if _returned(call) != "values" and call.outputs[-1].dtype not in ("int32", "int64", "float32"):
        return f"indices as {call.outputs[-1].dtype}"
    size = call.shape[call.axis()]
    if size < 0:
        return "the order along the dynamic dimension"
    if size == 1:
        return "the order of one element: TensorRT mixes up the others"
    if _k(call) > min(size, LONGEST_TOP_K):
        return f"{_k(call)} of {size} elements: TensorRT gives at most {min(size, LONGEST_TOP_K)}"
    return None


@operator("topk", *ORDERS, dtypes=NUMBERS, rule=top_k_rule, touches_batch=axis_is_batch)
def top_k(net: NetworkBuilder, op: OpNode) -> List[Tensor]:
    (x,) = op.inputs
    with net.full_precision():  # rounded to float16, elements that differ become equal
        values, indices = _top_k(net, x, _k(op), op.axis(), largest=not op.attrs["is_ascend"])
    results = {"values": [values], "indices": [indices], "both": [values, indices]}[_returned(op)]
    return [net.cast(result, spec.dtype) for result, spec in zip(results, op.outputs)]


def _top_k(net: NetworkBuilder, x: Tensor, k: int, axis: int, largest: bool) -> List[Tensor]:
    if axis >= x.rank - TOP_K_AXES:
        return list(net.top_k(x, k, axis, largest))
    swapped = list(range(x.rank))
    swapped[axis], swapped[-1] = swapped[-1], swapped[axis]
    results = net.top_k(net.transpose(x, swapped), k, x.rank - 1, largest)
    return [net.transpose(result, swapped) for result in results]


def _returned(op: Operation[Any]) -> str:
    """``"values"``, ``"indices"`` or ``"both"``."""
    return str(ORDERS.get(op.name) or op.attrs["ret_type"])


def _k(op: Operation[Any]) -> int:
    """How many elements are asked for: all of them where Relay's number is below 1, or where it has none."""
    k = int(op.attrs.get("k") or 0)
    return k if k > 0 else op.shape[op.axis()]


def scan_rule(call: OpCall) -> Optional[str]:
    """numbers along any axis but a dynamic one, or over all elements"""
    if call.outputs[0].dtype == "bool":
        return "the result as bool"
    scanned = call.shape if call.attrs["axis"] is None else (call.shape[call.axis()],)
    return "the elements along the dynamic dimension" if -1 in scanned else None


def _scans_batch(call: OpCall) -> bool:
    return call.attrs["axis"] is None or axis_is_batch(call)


@operator(*SCANS, since=(8, 0, 0), dtypes=DATA, rule=scan_rule, touches_batch=_scans_batch, half="extreme")
@in_float32
def scan(net: NetworkBuilder, op: OpNode) -> Tensor:
    """Each step doubles how many elements are combined: as many layers as the length has bits, not elements."""
    kind, identity = SCANS[op.name]
    dtype = op.outputs[0].dtype
    x = net.cast(op.inputs[0], "float32" if dtype == "float16" else dtype)
    if op.attrs["axis"] is None:
        x, axis = net.reshape(x, [-1]), 0
    else:
        axis = op.axis()
    if op.attrs["exclusive"]:
        x = _shifted(net, x, axis, 1, identity)
    distance = 1
    while distance < x.shape[axis]:
        x = net.elementwise(x, _shifted(net, x, axis, distance, identity), kind)
        distance *= 2
    return x


def _shifted(net: NetworkBuilder, x: Tensor, axis: int, distance: int, filler: int) -> Tensor:
    """x moved back along ``axis``, what falls off the end left out."""
    before = [distance if index == axis else 0 for index in range(x.rank)]
    padded = net.pad(x, before, [0] * x.rank, filler)
    return net.slice(padded, [0] * x.rank, x.shape, [1] * x.rank)


def _reduced(net: NetworkBuilder, op: OpNode, x: Tensor, kind: str) -> Tensor:
    """x reduced over the axes of ``op``, of which there may be none."""
    axes = op.axes()
    return net.reduce(x, kind, axes, bool(op.attrs["keepdims"])) if axes else x


def _along_dynamic(call: OpCall) -> bool:
    return any(call.shape[axis] < 0 for axis in call.axes())


def _count(op: Operation[Any]) -> int:
    """How many elements become one."""
    return math.prod(op.shape[axis] for axis in op.axes())
