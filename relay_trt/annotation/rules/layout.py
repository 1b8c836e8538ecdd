"""Operators that move data and do no arithmetic."""

from __future__ import annotations

import math
from typing import Optional

from .registry import OpCall, rule

TOUCHES_BATCH = "it changes the batch, and use_implicit_batch is on"
LAYOUTS = {("NCHW", "NHWC"), ("NHWC", "NCHW")}


@rule("nn.batch_flatten")
def batch_flatten(_: OpCall) -> Optional[str]:
    return None


@rule("concatenate")
def concatenate(call: OpCall) -> Optional[str]:
    if call.options.use_implicit_batch and call.axis() == 0:
        return TOUCHES_BATCH
    return None


@rule("transpose")
def transpose(call: OpCall) -> Optional[str]:
    rank = len(call.inputs[0].shape)
    if rank == 0:
        return "a scalar has no axes"
    axes = call.attrs["axes"] or list(reversed(range(rank)))
    if call.options.use_implicit_batch and axes[0] % rank != 0:
        return TOUCHES_BATCH
    return None


@rule("layout_transform")
def layout_transform(call: OpCall) -> Optional[str]:
    layouts = (call.attrs["src_layout"], call.attrs["dst_layout"])
    if layouts not in LAYOUTS:
        return f"from {layouts[0]} to {layouts[1]}: only NCHW and NHWC are converted"
    return None


@rule("reshape", "squeeze", "expand_dims")
def reshape(call: OpCall) -> Optional[str]:
    before, after = call.inputs[0].shape, call.outputs[0].shape
    keeps_batch = before[:1] == after[:1] != ()
    # Two dynamic dimensions may differ: from (?, 4) to (?, 2) the first one doubles.
    if -1 in before and not (keeps_batch and math.prod(before[1:]) == math.prod(after[1:])):
        return "the dynamic first dimension must stay the first"
    if call.options.use_implicit_batch and not keeps_batch:
        return TOUCHES_BATCH
    return None
