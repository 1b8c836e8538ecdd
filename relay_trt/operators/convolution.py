"""Convolutions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Optional

from .linear import one_dtype
from .registry import OpCall, OpNode, operator
from .windows import unfit

if TYPE_CHECKING:
    from ..runtime.builders import NetworkBuilder, Tensor


def conv2d_rule(call: OpCall) -> Optional[str]:
    """NCHW with OIHW; a constant kernel that fits the padded input; padding not below 0"""
    attrs = call.attrs
    if attrs["data_layout"] != "NCHW" or attrs["out_layout"] not in ("", "NCHW"):
        return f"data layout {attrs['data_layout']}, output layout {attrs['out_layout'] or 'same'}: both must be NCHW"
    if attrs["kernel_layout"] != "OIHW":
        return f"kernel layout {attrs['kernel_layout']}: it must be OIHW"
    if not call.constant[1]:
        return "the kernel must be a constant"
    window = [(size - 1) * dilation + 1 for size, dilation in zip(call.inputs[1].shape[2:], attrs["dilation"])]
    return unfit(call, window) or one_dtype(call)


@operator("nn.conv2d", rule=conv2d_rule)
def conv2d(net: NetworkBuilder, op: OpNode) -> Tensor:
    x, kernel = op.inputs
    before, after = op.padding()
    return net.convolution(
        x,
        kernel,
        strides=op.attrs["strides"],
        pre_padding=before,
        post_padding=after,
        dilation=op.attrs["dilation"],
        groups=op.attrs["groups"],
    )
