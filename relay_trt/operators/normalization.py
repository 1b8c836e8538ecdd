"""Normalization and softmax."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, List, Optional, Sequence

import numpy as np

from .reduction import reduce_rule
from .registry import MAX_RANK, OpCall, OpNode, axes_have_batch, axis_is_batch, in_float32, known_axis_rule, operator
from .shapes import along_axis, sizes

if TYPE_CHECKING:
    from ..runtime.builders import NetworkBuilder, Tensor

# What TensorRT's LRN layer takes.
LARGEST_LRN_WINDOW = 15
LRN_RANGES = {"alpha": (-1e20, 1e20), "beta": (0.01, 1e5), "bias": (1e-5, 1e10)}


@operator(
    "nn.batch_norm", rule=known_axis_rule, touches_batch=axis_is_batch, any_dynamic=True, free_operands=(1, 2, 3, 4)
)
def batch_norm(net: NetworkBuilder, op: OpNode) -> List[Tensor]:
    """(x - mean) / sqrt(variance + epsilon) * gamma + beta, by the statistics that are given."""
    _, gamma, beta, mean, variance = op.inputs
    used = [mean, variance, *([gamma] if op.attrs["scale"] else []), *([beta] if op.attrs["center"] else [])]
    constant = all(tensor.value is not None for tensor in used)
    result = _folded_batch_norm(net, op) if constant else _computed_batch_norm(net, op)[0]
    return [result, mean, variance]  # at inference, the moving statistics stay what they are


def _folded_batch_norm(net: NetworkBuilder, op: OpNode) -> Tensor:
    """One scale and one shift for each channel, in float64, so that float16 models lose nothing."""
    x, gamma, beta, mean, variance = op.inputs
    scale = 1.0 / np.sqrt(net.values(variance).astype(np.float64) + op.attrs["epsilon"])
    if op.attrs["scale"]:
        scale = scale * net.values(gamma)
    shift = -net.values(mean) * scale
    if op.attrs["center"]:
        shift = shift + net.values(beta)
    return net.scale(x, scale.astype(np.float32), shift.astype(np.float32), op.axis())


@in_float32
def _computed_batch_norm(net: NetworkBuilder, op: OpNode) -> Tensor:
    x, gamma, beta, mean, variance = op.inputs
    axis = op.axis()
    centered = net.elementwise(x, along_axis(net, mean, axis, x.rank), "sub")
    deviation = _deviation(net, along_axis(net, variance, axis, x.rank), op.attrs["epsilon"])
    return _scaled(net, op, net.elementwise(centered, deviation, "div"), gamma, beta)


@operator("nn.layer_norm", rule=known_axis_rule, touches_batch=axis_is_batch, any_dynamic=True)
@in_float32
def layer_norm(net: NetworkBuilder, op: OpNode) -> Tensor:
    x, gamma, beta = op.inputs
    return _scaled(net, op, _normalized(net, x, [op.axis()], op.attrs["epsilon"]), gamma, beta)


@operator("nn.instance_norm", rule=known_axis_rule, touches_batch=axis_is_batch, any_dynamic=True)
@in_float32
def instance_norm(net: NetworkBuilder, op: OpNode) -> Tensor:
    x, gamma, beta = op.inputs
    axes = [axis for axis in range(1, x.rank) if axis != op.axis()]  # at least one: Relay wants three dimensions
    return _scaled(net, op, _normalized(net, x, axes, op.attrs["epsilon"]), gamma, beta)


def group_norm_rule(call: OpCall) -> Optional[str]:
    """any channel axis but a dynamic one, of as many channels as make whole groups"""
    channels, groups = call.shape[call.axis()], call.attrs["num_groups"]
    if channels < 0:
        return "groups of the dynamic dimension"
    if groups < 1 or channels % groups:
        return f"{channels} channels do not make {groups} groups"
    if -1 in call.shape[1:] and len(call.shape) == MAX_RANK:
        return f"it takes {MAX_RANK + 1} dimensions on the way, and TensorRT has at most {MAX_RANK}"
    return None


@operator("nn.group_norm", rule=group_norm_rule, touches_batch=axis_is_batch, any_dynamic=True)
@in_float32
def group_norm(net: NetworkBuilder, op: OpNode) -> Tensor:
    """Relay's groups hold what lies behind the channels, but not what lies between them and the batch."""
    x, gamma, beta = op.inputs
    axis, groups = op.axis(), op.attrs["num_groups"]
    if -1 in x.shape[1:]:
        return _scaled(net, op, _normalized_groups(net, x, axis, groups, op.attrs["epsilon"]), gamma, beta)
    before = [0, math.prod(x.shape[1:axis])][: min(axis, 2)]
    grouped = net.reshape(x, [*before, groups, math.prod(x.shape[axis:]) // groups])
    normalized = _normalized(net, grouped, [grouped.rank - 1], op.attrs["epsilon"])
    return _scaled(net, op, net.reshape(normalized, sizes(x.shape)), gamma, beta)


def _normalized_groups(net: NetworkBuilder, x: Tensor, axis: int, groups: int, epsilon: float) -> Tensor:
    """x normalized in groups of channels, its other dimensions kept apart: they cannot be told from their product."""
    split = {place: place if place < axis else place + 1 for place in range(x.rank) if place != axis}
    shape = [*x.shape[:axis], groups, x.shape[axis] // groups, *x.shape[axis + 1 :]]
    grouped = net.reshape(x, shape, {place: source for source, place in split.items()})
    return net.reshape(_normalized(net, grouped, range(axis + 1, grouped.rank), epsilon), x.shape, split)


@operator("nn.l2_normalize", rule=reduce_rule, touches_batch=axes_have_batch, any_dynamic=True)
@in_float32
def l2_normalize(net: NetworkBuilder, op: OpNode) -> Tensor:
    (x,) = op.inputs
    squares = net.elementwise(x, x, "prod")
    total = net.reduce(squares, "sum", op.axes(), keep_dims=True) if x.rank else squares
    at_least = net.elementwise(total, net.scalar(op.attrs["eps"], x), "max")
    return net.elementwise(x, net.unary(at_least, "sqrt"), "div")


def lrn_rule(call: OpCall) -> Optional[str]:
    """four dimensions, channels second or last, an odd window of at most 15 channels"""
    if len(call.shape) != 4 or call.axis() not in (1, 3):
        return f"axis {call.attrs['axis']} of {call.inputs[0]}: it must be 1 or 3 of four"
    size = call.attrs["size"]
    if size % 2 == 0 or not 1 <= size <= LARGEST_LRN_WINDOW:
        return f"a window of {size}: it must be odd and at most {LARGEST_LRN_WINDOW}"
    for name, (low, high) in LRN_RANGES.items():
        if not low <= call.attrs[name] <= high:
            return f"{name} {call.attrs[name]}: TensorRT takes {low} to {high}"
    return None


@operator("nn.lrn", rule=lrn_rule, any_dynamic=True)
@in_float32
def lrn(net: NetworkBuilder, op: OpNode) -> Tensor:
    (x,) = op.inputs
    last = op.axis() == 3
    channels_second = net.transpose(x, [0, 3, 1, 2]) if last else x
    size, alpha, beta, bias = (op.attrs[name] for name in ("size", "alpha", "beta", "bias"))
    result = net.lrn(channels_second, size, alpha, beta, bias)
    return net.transpose(result, [0, 2, 3, 1]) if last else result


def softmax_rule(call: OpCall) -> Optional[str]:
    """any axis of at least one dimension"""
    return "a scalar has no axis" if not call.shape else None


@operator("nn.softmax", "nn.fast_softmax", rule=softmax_rule, touches_batch=axis_is_batch, any_dynamic=True)
@in_float32
def softmax(net: NetworkBuilder, op: OpNode) -> Tensor:
    return net.softmax(op.inputs[0], op.axis())


@operator("nn.log_softmax", rule=softmax_rule, touches_batch=axis_is_batch, any_dynamic=True)
@in_float32
def log_softmax(net: NetworkBuilder, op: OpNode) -> Tensor:
    """x - max - log(sum(exp(x - max))): the logarithm of a softmax would be that of 0."""
    (x,) = op.inputs
    below_max = net.elementwise(x, net.reduce(x, "max", [op.axis()], keep_dims=True), "sub")
    total = net.reduce(net.unary(below_max, "exp"), "sum", [op.axis()], keep_dims=True)
    return net.elementwise(below_max, net.unary(total, "log"), "sub")


def _normalized(net: NetworkBuilder, x: Tensor, axes: Sequence[int], epsilon: float) -> Tensor:
    """(x - mean) / sqrt(variance + epsilon) along ``axes``."""
    centered = net.elementwise(x, net.reduce(x, "mean", axes, keep_dims=True), "sub")
    variance = net.reduce(net.elementwise(centered, centered, "prod"), "mean", axes, keep_dims=True)
    return net.elementwise(centered, _deviation(net, variance, epsilon), "div")


def _deviation(net: NetworkBuilder, variance: Tensor, epsilon: float) -> Tensor:
    return net.unary(net.elementwise(variance, net.scalar(epsilon, variance), "sum"), "sqrt")


def _scaled(net: NetworkBuilder, op: OpNode, x: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
    """x * gamma + beta along the axis of ``op``, as far as it scales and centers."""
    if op.attrs["scale"]:
        x = net.elementwise(x, along_axis(net, gamma, op.axis(), x.rank), "prod")
    if op.attrs["center"]:
        x = net.elementwise(x, along_axis(net, beta, op.axis(), x.rank), "sum")
    return x
