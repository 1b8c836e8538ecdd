"""Pooling."""

from __future__ import annotations

from typing import List, Optional

from .registry import OpCall, rule
from .windows import padding, unfit


@rule("nn.max_pool2d", "nn.avg_pool2d")
def pool2d(call: OpCall) -> Optional[str]:
    attrs = call.attrs
    if any(dilation != 1 for dilation in attrs["dilation"]):
        return f"dilation {attrs['dilation']}: TensorRT's pooling has none"
    before, after = padding(call)
    if any(pad >= window for pad, window in zip(before + after, attrs["pool_size"] * 2)):
        return f"padding {attrs['padding']} is not smaller than the window {attrs['pool_size']}"
    return (
        _layout(call)
        or unfit(call, attrs["pool_size"])
        or _ceil_mode(call, before, after)
        or _average(call, before, after)
    )


@rule("nn.global_max_pool2d", "nn.global_avg_pool2d")
def global_pool2d(call: OpCall) -> Optional[str]:
    return _layout(call)


def _layout(call: OpCall) -> Optional[str]:
    layout, out_layout = call.attrs["layout"], call.attrs["out_layout"]
    if layout != "NCHW" or out_layout not in ("", "NCHW"):
        return f"layout {layout}, output layout {out_layout or 'the same'}: both must be NCHW"
    if len(call.inputs[0].shape) != 4:
        return f"the input {call.inputs[0]} must have four dimensions"
    return None


def _ceil_mode(call: OpCall, before: List[int], after: List[int]) -> Optional[str]:
    """Rounding up adds a last window that reaches beyond the padding; engines disagree on some of those."""
    if not call.attrs["ceil_mode"]:
        return None
    sizes, windows, strides = call.inputs[0].shape[2:], call.attrs["pool_size"], call.attrs["strides"]
    for size, output, window, stride, b, a in zip(sizes, call.outputs[0].shape[2:], windows, strides, before, after):
        if (output - 1) * stride >= size + b:
            return "ceil_mode adds a window that holds padding only"
        if call.name == "nn.avg_pool2d" and (size + b + a - window) % stride:
            return "ceil_mode adds a window that reaches beyond the padding, and engines average that differently"
    return None


def _average(call: OpCall, before: List[int], after: List[int]) -> Optional[str]:
    if call.name == "nn.avg_pool2d" and call.attrs["count_include_pad"] and before != after:
        return f"count_include_pad with the asymmetric padding {call.attrs['padding']}"
    return None
