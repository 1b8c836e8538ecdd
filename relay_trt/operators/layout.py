"""Operators that move data and do no arithmetic."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Optional

from .registry import DATA, OpCall, OpNode, axis_is_batch, operator

if TYPE_CHECKING:
    from ..runtime.builders import NetworkBuilder, Tensor

LAYOUTS = {("NCHW", "NHWC"), ("NHWC", "NCHW")}


@operator("nn.batch_flatten")
def batch_flatten(net: NetworkBuilder, op: OpNode) -> Tensor:
    return net.reshape(op.inputs[0], [0, *op.outputs[0].shape[1:]])


@operator("concatenate", dtypes=DATA, touches_batch=axis_is_batch)
def concatenate(net: NetworkBuilder, op: OpNode) -> Tensor:
    return net.concatenation(op.inputs, op.axis())


def transpose_rule(call: OpCall) -> Optional[str]:
    """any axes of at least one dimension"""
    return "a scalar has no axes" if not call.shape else None


def _moves_batch(call: OpCall) -> bool:
    axes = call.attrs["axes"]
    return (axes[0] % len(call.shape) if axes else len(call.shape) - 1) != 0


@operator("transpose", dtypes=DATA, rule=transpose_rule, touches_batch=_moves_batch)
def transpose(net: NetworkBuilder, op: OpNode) -> Tensor:
    (x,) = op.inputs
    axes = op.attrs["axes"] or list(reversed(range(x.rank)))
    return net.transpose(x, [axis % x.rank for axis in axes])


def layout_transform_rule(call: OpCall) -> Optional[str]:
    """from NCHW to NHWC and back"""
    layouts = (call.attrs["src_layout"], call.attrs["dst_layout"])
    if layouts not in LAYOUTS:
        return f"from {layouts[0]} to {layouts[1]}: only NCHW and NHWC are converted"
    return None


@operator("layout_transform", rule=layout_transform_rule)
def layout_transform(net: NetworkBuilder, op: OpNode) -> Tensor:
    source, destination = op.attrs["src_layout"], op.attrs["dst_layout"]
    return net.transpose(op.inputs[0], [source.index(letter) for letter in destination])


def _changes_batch(call: OpCall) -> bool:
    return call.shape[:1] != call.outputs[0].shape[:1] or not call.shape


def reshape_rule(call: OpCall) -> Optional[str]:
    """any shape; a dynamic first dimension must stay the first"""
    before, after = call.shape, call.outputs[0].shape
    # Two dynamic dimensions may differ: from (?, 4) to (?, 2) the first one doubles.
    if -1 in before and (_changes_batch(call) or math.prod(before[1:]) != math.prod(after[1:])):
        return "the dynamic first dimension must stay the first"
    return None


@operator("reshape", "squeeze", "expand_dims", dtypes=DATA, rule=reshape_rule, touches_batch=_changes_batch)
def reshape(net: NetworkBuilder, op: OpNode) -> Tensor:
    """The shape that Relay inferred is all that these need; a dynamic first dimension is copied."""
    return net.reshape(op.inputs[0], [0 if dimension < 0 else dimension for dimension in op.outputs[0].shape])
