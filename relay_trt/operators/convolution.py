"""Convolutions and transposed convolutions over one to three spatial dimensions, in any layout."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, List, Optional, Sequence, Tuple, TypeVar

import numpy as np

from ..graph import TensorSpec
from .linear import one_dtype
from .registry import OpCall, Operation, OpNode, operator
from .shapes import reordered
from .windows import Window, unfit

if TYPE_CHECKING:
    from ..runtime.builders import NetworkBuilder, Tensor

#: The spatial dimensions of each operator, in the order of its strides, padding and dilation.
SPATIAL_OF = {
    "nn.conv1d": "W",
    "nn.conv2d": "HW",
    "nn.conv3d": "DHW",
    "nn.conv1d_transpose": "W",
    "nn.conv2d_transpose": "HW",
    "nn.conv3d_transpose": "DHW",
}

T = TypeVar("T")


def convolution_rule(call: OpCall) -> Optional[str]:
    """any permutation of the dimensions as layout; a kernel that fits the padded input; padding not below 0"""
    return _unreadable(call) or _unfit_kernel(call) or one_dtype(call)


def transposed_rule(call: OpCall) -> Optional[str]:
    """any permutation of the dimensions as layout; a constant kernel; padding not below 0"""
    return _unreadable(call) or _unfit_transposed(call) or one_dtype(call)


def _mixes_batch(call: OpCall) -> bool:
    layouts = (call.attrs["data_layout"], _out_layout(call))
    return not call.constant[1] or any(layout[0] != "N" for layout in layouts)


convolving = functools.partial(operator, touches_batch=_mixes_batch, any_dynamic=True, half="product")


@convolving("nn.conv1d", "nn.conv2d", rule=convolution_rule)
@convolving("nn.conv3d", since=(6, 0, 1), rule=convolution_rule)
def convolution(net: NetworkBuilder, op: OpNode) -> Tensor:
    x, kernel = op.inputs
    groups, spatial = op.attrs["groups"], SPATIAL_OF[op.name]
    image = reordered(net, x, op.attrs["data_layout"], "NC" + spatial)
    kernel = reordered(net, kernel, op.attrs["kernel_layout"], "OI" + spatial)
    if groups == image.shape[1] and kernel.shape[1] > 1:  # (C, multiplier, spatial...)
        kernel = net.reshape(kernel, (-1, 1, *kernel.shape[2:]))
    window = Window(op.attrs["strides"], *op.padding(), op.attrs["dilation"])
    result = net.convolution(image, kernel, window, groups)
    return reordered(net, result, "NC" + spatial, _out_layout(op))


@convolving("nn.conv1d_transpose", "nn.conv2d_transpose", rule=transposed_rule)
@convolving("nn.conv3d_transpose", since=(6, 0, 1), rule=transposed_rule)
def transposed_convolution(net: NetworkBuilder, op: OpNode) -> Tensor:
    x, kernel = op.inputs
    dilation, spatial = op.attrs["dilation"], SPATIAL_OF[op.name]
    image = reordered(net, x, op.attrs["data_layout"], "NC" + spatial)
    kernel = reordered(net, kernel, op.attrs["kernel_layout"], _channel_orders(op)[0] + spatial)
    before, after = op.padding()
    # Output padding lets stand what padding would cut off. Beyond that there are zeros: as many as zeros at the
    # end of the kernel make.
    after = [a - output for a, output in zip(after, op.attrs["output_padding"])]
    zeros = [max(-a + d - 1, 0) // d for a, d in zip(after, dilation)]
    kernel = net.constant(np.pad(net.values(kernel), [(0, 0), (0, 0), *((0, count) for count in zeros)]))
    after = [a + count * d for a, count, d in zip(after, zeros, dilation)]
    result = net.deconvolution(image, kernel, Window(op.attrs["strides"], before, after, dilation), op.attrs["groups"])
    return reordered(net, result, "NC" + spatial, _out_layout(op))


def _unreadable(call: OpCall) -> Optional[str]:
    """Why the layouts do not say which dimension is which, or which are known."""
    for attr, letters in (("data_layout", "NC"), ("kernel_layout", "OI"), ("out_layout", "NC")):
        layout, letters = call.attrs[attr] or call.attrs["data_layout"], letters + SPATIAL_OF[call.name]
        if sorted(layout) != sorted(letters):
            return f"{attr} {layout}: it must be a permutation of {letters}"
    if -1 in call.shape and call.attrs["data_layout"][0] != "N":
        return "the dynamic first dimension must be the batch"
    if min(_channels(call)) < 0:
        return "the number of channels must be known"
    if -1 in call.inputs[1].shape:
        return "the shape of the kernel must be known"
    return None


def _unfit_kernel(call: OpCall) -> Optional[str]:
    letters, groups = "OI" + SPATIAL_OF[call.name], call.attrs["groups"]
    filters, per_group, *window = _sizes(call.inputs[1].shape, call.attrs["kernel_layout"], letters)
    channels, outputs = _channels(call)
    # A depthwise kernel may have the filters of each channel as its input channels: (C, multiplier, spatial...).
    depthwise = groups == channels == filters and filters * per_group == outputs
    if not depthwise and (channels, outputs) != (per_group * groups, filters):
        return _misfit(call)
    extent = [(size - 1) * dilation + 1 for size, dilation in zip(window, call.attrs["dilation"])]
    return unfit(call, extent, call.attrs["data_layout"])


def _unfit_transposed(call: OpCall) -> Optional[str]:
    before, after = call.padding()
    if not call.constant[1]:
        return "the kernel must be a constant"
    if min(before + after) < 0:
        return f"padding {call.attrs['padding']}: engines only cut off"
    orders, layout = _channel_orders(call), call.attrs["kernel_layout"]
    if not orders:
        return _misfit(call)
    sizes, inferred = _transposed_sizes(call), _sizes(call.outputs[0].shape, _out_layout(call), SPATIAL_OF[call.name])
    image = _sizes(call.shape, call.attrs["data_layout"], SPATIAL_OF[call.name])
    if sizes != inferred or any(size < 1 for size, whole in zip(sizes, image) if whole >= 0):
        return f"the result would have the sizes {sizes}, and Relay infers {inferred}"
    if len(orders) > 1 and layout.index("O") < layout.index("I"):
        return f"kernel_layout {layout}: releases of TVM differ in which of two equal dimensions belongs to the input"
    return None


def _misfit(call: OpCall) -> str:
    channels, outputs = _channels(call)
    return (
        f"the kernel {call.inputs[1]} does not take {channels} channels to {outputs} in {call.attrs['groups']} group(s)"
    )


def _transposed_sizes(call: OpCall) -> List[int]:
    attrs, spatial, (before, after) = call.attrs, SPATIAL_OF[call.name], call.padding()
    image = _sizes(call.shape, attrs["data_layout"], spatial)
    window = _sizes(call.inputs[1].shape, attrs["kernel_layout"], spatial)
    sides = zip(image, window, attrs["strides"], attrs["dilation"], attrs["output_padding"], before, after)
    return [
        -1 if size < 0 else (size - 1) * stride + (k - 1) * d + 1 + o - b - a for size, k, stride, d, o, b, a in sides
    ]


def _sizes(shape: Sequence[int], layout: str, letters: str) -> List[int]:
    """The dimensions of ``shape``, which ``layout`` names, in the order of ``letters``."""
    return [shape[layout.index(letter)] for letter in letters]


def _out_layout(op: Operation[T]) -> str:
    return str(op.attrs["out_layout"] or op.attrs["data_layout"])


def _channels(op: Operation[T]) -> Tuple[int, int]:
    """The channels of the input and of the output."""
    return op.shape[op.attrs["data_layout"].index("C")], op.outputs[0].shape[_out_layout(op).index("C")]


def _channel_orders(op: Operation[T]) -> List[str]:
    """How a transposed kernel's channels may be meant: the letter of the input's, then that of the output's.

    The input's are I, and until TVM 0.12, operator after operator, they were O: only orders that fit the shapes are
    listed.
    """
    kernel: TensorSpec = op.inputs[1]  # type: ignore[assignment]
    channels, outputs = _channels(op)
    sizes = {order: _sizes(kernel.shape, op.attrs["kernel_layout"], order) for order in ("IO", "OI")}
    return [order for order, (i, o) in sizes.items() if (i, o * op.attrs["groups"]) == (channels, outputs)]
