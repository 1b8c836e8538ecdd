"""Convolution, dense layers, bias, normalization and softmax."""

from __future__ import annotations

from typing import Optional

from .layout import TOUCHES_BATCH
from .registry import OpCall, rule
from .windows import unfit


@rule("nn.conv2d")
def conv2d(call: OpCall) -> Optional[str]:
    attrs = call.attrs
    if attrs["data_layout"] != "NCHW" or attrs["out_layout"] not in ("", "NCHW"):
        return f"data layout {attrs['data_layout']}, output layout {attrs['out_layout'] or 'same'}: both must be NCHW"
    if attrs["kernel_layout"] != "OIHW":
        return f"kernel layout {attrs['kernel_layout']}: it must be OIHW"
    if not call.constant[1]:
        return "the kernel must be a constant"
    window = [(size - 1) * dilation + 1 for size, dilation in zip(call.inputs[1].shape[2:], attrs["dilation"])]
    return unfit(call, window) or _one_dtype(call)


@rule("nn.dense")
def dense(call: OpCall) -> Optional[str]:
    if len(call.inputs[0].shape) < 2:
        return f"the input {call.inputs[0]} must have at least two dimensions"
    return _one_dtype(call)


@rule("nn.bias_add")
def bias_add(call: OpCall) -> Optional[str]:
    if call.options.use_implicit_batch and call.axis() == 0:
        return TOUCHES_BATCH
    return None


@rule("nn.batch_norm")
def batch_norm(call: OpCall) -> Optional[str]:
    if not all(call.constant[1:]):
        return "gamma, beta, moving mean and moving variance must be constants"
    if call.options.use_implicit_batch and call.axis() == 0:
        return TOUCHES_BATCH
    return None


@rule("nn.softmax")
def softmax(call: OpCall) -> Optional[str]:
    if not call.inputs[0].shape:
        return "a scalar has no axis"
    if call.options.use_implicit_batch and call.axis() == 0:
        return TOUCHES_BATCH
    return None


def _one_dtype(call: OpCall) -> Optional[str]:
    x, weight = call.inputs
    if x.dtype != weight.dtype:
        return f"the operands are {x.dtype} and {weight.dtype}: they must have one dtype"
    if call.outputs[0].dtype != x.dtype:
        return f"out_dtype {call.outputs[0].dtype} differs from the operands' {x.dtype}"
    return None
