"""Pooling: over windows, over the parts of an image, and over all of it."""

from __future__ import annotations

import dataclasses
import functools
from typing import TYPE_CHECKING, List, Optional, Tuple

import numpy as np

from .registry import OpCall, Operation, OpNode, in_float32, operator
from .shapes import reordered
from .windows import SPATIAL, Window, channels_first, misplaced, moves_batch, spatial_sizes, unfit

if TYPE_CHECKING:
    from ..runtime.builders import NetworkBuilder, Tensor

WINDOWS_OF_THREE_DIMENSIONS = (6, 0, 1)


@dataclasses.dataclass(frozen=True)
class Side:
    """One spatial dimension: ``windows`` over ``size`` elements between ``before`` and ``after`` of padding.

    Both numbers are -1 where the dimension is dynamic.
    """

    size: int
    window: int
    stride: int
    before: int
    after: int
    windows: int

    @property
    def is_dynamic(self) -> bool:
        """Whether its size is not known before run time."""
        return self.size < 0

    @property
    def needed(self) -> int:
        """The padding behind that the last window reaches; with ceil_mode that may be more than there is."""
        if self.is_dynamic:  # `_unfit_dynamic` has made sure of it
            return self.after
        return max((self.windows - 1) * self.stride + self.window - self.size - self.before, 0)

    @property
    def padded_too_much(self) -> bool:
        """Whether the padding is not smaller than the window, as TensorRT's pooling wants it."""
        return max(self.before, self.after) >= self.window

    def members(self, count_padding: bool = False) -> List[int]:
        """How many elements each window holds, with or without those of the padding."""
        first, end = (-self.before, self.size + self.after) if count_padding else (0, self.size)
        starts = [index * self.stride - self.before for index in range(self.windows)]
        return [min(start + self.window, end) - max(start, first) for start in starts]


def _sides(op: Operation) -> List[Side]:
    layout, before_and_after = op.attrs["layout"], op.padding()
    sizes, windows = (spatial_sizes(shape, layout) for shape in (op.shape, op.outputs[0].shape))
    numbers = zip(sizes, op.attrs["pool_size"], op.attrs["strides"], *before_and_after, windows)
    return [Side(*side) for side in numbers]


def pool_rule(call: OpCall) -> Optional[str]:
    """any permutation of N, C and the spatial dimensions as layout; no dilation; no window of padding only"""
    attrs = call.attrs
    if any(dilation != 1 for dilation in attrs.get("dilation", [])):
        return f"dilation {attrs['dilation']}: TensorRT's pooling has none"
    reason = _misplaced(call) or unfit(call, attrs["pool_size"], attrs["layout"]) or _unfit_dynamic(call)
    if reason is None and any(min(side.members()) < 1 for side in _sides(call) if not side.is_dynamic):
        return f"padding {attrs['padding']}, ceil_mode {bool(attrs['ceil_mode'])}: a window holds padding only"
    return reason


def _unfit_dynamic(call: OpCall) -> Optional[str]:
    """Why what windows hold cannot be told from padding, or None where it can or where all sizes are known."""
    attrs, sides = call.attrs, _sides(call)
    if not any(side.is_dynamic for side in sides):
        return None
    if any(side.padded_too_much for side in sides):
        return f"padding {attrs['padding']} of dynamic dimensions: it must be smaller than the window"
    averages = "count_include_pad" in attrs
    if attrs["ceil_mode"] and (averages or any(side.stride + side.after > side.window for side in sides)):
        return "ceil_mode of dynamic dimensions: what the last window holds is not known"
    if averages and attrs["count_include_pad"] and any(side.before != side.after for side in sides):
        return f"padding {attrs['padding']} of dynamic dimensions, which counts: it must be the same on both sides"
    return None


@operator("nn.max_pool1d", "nn.max_pool2d", rule=pool_rule, touches_batch=moves_batch, any_dynamic=True)
@operator(
    "nn.max_pool3d", since=WINDOWS_OF_THREE_DIMENSIONS, rule=pool_rule, touches_batch=moves_batch, any_dynamic=True
)
def max_pool(net: NetworkBuilder, op: OpNode) -> Tensor:
    layout, sides = op.attrs["layout"], _sides(op)
    x = reordered(net, op.inputs[0], layout, channels_first(layout))
    if any(side.padded_too_much for side in sides):
        x, sides = _padded(net, x, sides, float(np.finfo(x.dtype).min))
    x = _pooled(net, x, sides, "max", ceil_mode=bool(op.attrs["ceil_mode"]))
    return reordered(net, x, channels_first(layout), layout)


@operator("nn.avg_pool1d", "nn.avg_pool2d", rule=pool_rule, touches_batch=moves_batch, any_dynamic=True)
@operator(
    "nn.avg_pool3d", since=WINDOWS_OF_THREE_DIMENSIONS, rule=pool_rule, touches_batch=moves_batch, any_dynamic=True
)
def avg_pool(net: NetworkBuilder, op: OpNode) -> Tensor:
    layout, sides = op.attrs["layout"], _sides(op)
    x = reordered(net, op.inputs[0], layout, channels_first(layout))
    x = _averages(net, x, sides, bool(op.attrs["count_include_pad"]))
    return reordered(net, x, channels_first(layout), layout)


def _averages(net: NetworkBuilder, x: Tensor, sides: List[Side], count_padding: bool) -> Tensor:
    """Engines disagree on windows that reach beyond the padding, and on asymmetric padding that counts.

    There, a layer of its own pads with zeros, and a factor for each window mends what it was divided by.
    """
    if not any(
        side.padded_too_much or side.needed > side.after or (count_padding and side.before != side.after)
        for side in sides
    ):
        return _pooled(net, x, sides, "average", count_include_pad=count_padding)
    factors = [side.window / np.array(side.members(count_padding)) for side in sides]
    factor = functools.reduce(np.multiply.outer, factors).astype(x.dtype)
    averages = _pooled(net, *_padded(net, x, sides, 0.0), kind="average")
    return averages if (factor == 1).all() else net.elementwise(averages, net.constant(factor), "prod")


def _padded(net: NetworkBuilder, x: Tensor, sides: List[Side], value: float) -> Tuple[Tensor, List[Side]]:
    """x with its padding, as far as the windows reach, as part of it."""
    padded = net.pad(x, [0, 0, *(side.before for side in sides)], [0, 0, *(side.needed for side in sides)], value)
    return padded, [
        dataclasses.replace(side, size=side.size + side.before + side.needed, before=0, after=0) for side in sides
    ]


def _pooled(net: NetworkBuilder, x: Tensor, sides: List[Side], kind: str, **modes: bool) -> Tensor:
    window = Window(
        strides=[side.stride for side in sides],
        before=[side.before for side in sides],
        after=[side.after for side in sides],
        dilation=[1] * len(sides),
    )
    return net.pooling(x, kind, [side.window for side in sides], window, **modes)


def _misplaced(call: OpCall) -> Optional[str]:
    return misplaced(call, call.attrs["layout"], call.attrs.get("out_layout", ""))


def parts_rule(call: OpCall) -> Optional[str]:
    """any permutation of N, C and the spatial dimensions as layout; a dynamic image becomes one element"""
    reason = _misplaced(call)
    if reason is None:
        sizes, parts = (spatial_sizes(shape, call.attrs["layout"]) for shape in (call.shape, call.outputs[0].shape))
        if -1 in sizes and any(part not in (1, size) for size, part in zip(sizes, parts)):
            return f"{parts} parts of {call.inputs[0]}"
    return reason


@operator(
    "nn.global_max_pool2d",
    "nn.adaptive_max_pool1d",
    "nn.adaptive_max_pool2d",
    "nn.adaptive_max_pool3d",
    rule=parts_rule,
    touches_batch=moves_batch,
    any_dynamic=True,
)
def max_of_parts(net: NetworkBuilder, op: OpNode) -> Tensor:
    return _parts(net, op, "max")


@operator(
    "nn.global_avg_pool2d",
    "nn.adaptive_avg_pool1d",
    "nn.adaptive_avg_pool2d",
    "nn.adaptive_avg_pool3d",
    rule=parts_rule,
    touches_batch=moves_batch,
    any_dynamic=True,
)
@in_float32
def mean_of_parts(net: NetworkBuilder, op: OpNode) -> Tensor:
    return _parts(net, op, "mean")


def _parts(net: NetworkBuilder, op: OpNode, kind: str) -> Tensor:
    """One element for each part of an image: for all of it, for equal parts, or for parts that overlap."""
    (x,) = op.inputs
    layout, parts = op.attrs["layout"], op.outputs[0].shape
    axes = [axis for axis, letter in enumerate(layout) if letter in SPATIAL and x.shape[axis] != parts[axis]]
    if not axes:
        return x
    if all(parts[axis] == 1 for axis in axes):
        return net.reduce(x, kind, axes, keep_dims=True)
    if any(x.shape[axis] % parts[axis] for axis in axes):
        for axis in axes:
            x = _overlapping_parts(net, x, axis, parts[axis], kind)
        return x
    sizes, counts = spatial_sizes(x.shape, layout), spatial_sizes(parts, layout)
    sides = [Side(size, size // count, size // count, 0, 0, count) for size, count in zip(sizes, counts)]
    x = reordered(net, x, layout, channels_first(layout))
    x = _pooled(net, x, sides, {"mean": "average"}.get(kind, kind))
    return reordered(net, x, channels_first(layout), layout)


def _overlapping_parts(net: NetworkBuilder, x: Tensor, axis: int, parts: int, kind: str) -> Tensor:
    """One dimension: the elements of each part side by side, in a dimension of their own, and then reduced."""
    size = x.shape[axis]
    spans = [range(part * size // parts, -(-(part + 1) * size // parts)) for part in range(parts)]
    longest = max(map(len, spans))
    # A shorter part has its last element several times, which then share its weight.
    indices = [[span[min(place, len(span) - 1)] for place in range(longest)] for span in spans]
    x = net.gather(x, net.constant(np.array(indices, np.int32)), axis)
    if kind == "mean":
        weights = [[1 / len(span) / row.count(index) for index in row] for span, row in zip(spans, indices)]
        factor = np.array(weights, x.dtype).reshape(parts, longest, *[1] * (x.rank - axis - 2))
        x, kind = net.elementwise(x, net.constant(factor), "prod"), "sum"
    return net.reduce(x, kind, [axis + 1])
