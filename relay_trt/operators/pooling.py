"""Pooling."""

from __future__ import annotations

from typing import TYPE_CHECKING, List, Optional

from .registry import OpCall, OpNode, operator
from .windows import unfit

if TYPE_CHECKING:
    from ..runtime.builders import NetworkBuilder, Tensor

KINDS = {"nn.max_pool2d": "max", "nn.avg_pool2d": "average"}
GLOBAL_KINDS = {"nn.global_max_pool2d": "max", "nn.global_avg_pool2d": "average"}


def pool2d_rule(call: OpCall) -> Optional[str]:
    """NCHW; no dilation; padding smaller than the window"""
    attrs = call.attrs
    if any(dilation != 1 for dilation in attrs["dilation"]):
        return f"dilation {attrs['dilation']}: TensorRT's pooling has none"
    before, after = call.padding()
    if any(pad >= window for pad, window in zip(before + after, attrs["pool_size"] * 2)):
        return f"padding {attrs['padding']} is not smaller than the window {attrs['pool_size']}"
    return (
        _layout(call)
        or unfit(call, attrs["pool_size"])
        or _ceil_mode(call, before, after)
        or _average(call, before, after)
    )


@operator(*KINDS, rule=pool2d_rule)
def pool2d(net: NetworkBuilder, op: OpNode) -> Tensor:
    before, after = op.padding()
    return net.pooling(
        op.inputs[0],
        KINDS[op.name],
        window=op.attrs["pool_size"],
        strides=op.attrs["strides"],
        pre_padding=before,
        post_padding=after,
        ceil_mode=bool(op.attrs["ceil_mode"]),
        count_include_pad=bool(op.attrs.get("count_include_pad", False)),
    )


def global_pool2d_rule(call: OpCall) -> Optional[str]:
    """NCHW"""
    return _layout(call)


@operator(*GLOBAL_KINDS, rule=global_pool2d_rule)
def global_pool2d(net: NetworkBuilder, op: OpNode) -> Tensor:
    (x,) = op.inputs
    return net.pooling(
        x, GLOBAL_KINDS[op.name], window=x.shape[2:], strides=[1, 1], pre_padding=[0, 0], post_padding=[0, 0]
    )


def _layout(call: OpCall) -> Optional[str]:
    layout, out_layout = call.attrs["layout"], call.attrs["out_layout"]
    if layout != "NCHW" or out_layout not in ("", "NCHW"):
        return f"layout {layout}, output layout {out_layout or 'the same'}: both must be NCHW"
    if len(call.shape) != 4:
        return f"the input {call.inputs[0]} must have four dimensions"
    return None


def _ceil_mode(call: OpCall, before: List[int], after: List[int]) -> Optional[str]:
    """Rounding up adds a last window that reaches beyond the padding; engines disagree on some of those."""
    if not call.attrs["ceil_mode"]:
        return None
    sizes, windows, strides = call.shape[2:], call.attrs["pool_size"], call.attrs["strides"]
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
