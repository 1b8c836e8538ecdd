"""Resizing images."""

from __future__ import annotations

import dataclasses
import functools
from typing import TYPE_CHECKING, Any, Dict, List, Optional, Sequence, Tuple, Union

import numpy as np

from .registry import OpCall, Operation, OpNode, in_float32, operator
from .shapes import reordered
from .windows import SPATIAL, channels_first, misplaced, moves_batch, spatial_sizes

if TYPE_CHECKING:
    from ..runtime.builders import NetworkBuilder, Tensor

METHODS = ("nearest_neighbor", "linear", "cubic")
ROUNDINGS = ("round", "round_prefer_floor", "round_prefer_ceil", "floor", "ceil")
# By the others, the elements of each dimension are gathered.
ENGINE_COORDINATES = ("half_pixel", "align_corners", "asymmetric")
COORDINATES = (*ENGINE_COORDINATES, "pytorch_half_pixel", "tf_half_pixel_for_nn")


@dataclasses.dataclass(frozen=True)
class Resizing:
    """How TVM resizes, whichever the operator."""

    method: str
    coordinates: str
    rounding: str
    cubic_alpha: float
    cubic_exclude: bool
    dimensions: int

    @staticmethod
    def of(op: Operation) -> Resizing:
        """What the attributes of a call say, and where they say nothing, what TVM takes."""
        attrs = op.attrs
        corners = "align_corners" if attrs.get("align_corners") else "asymmetric"
        coordinates = attrs.get("coordinate_transformation_mode", corners)
        method = attrs["method"].lower()
        return Resizing(
            method={"bilinear": "linear", "trilinear": "linear", "bicubic": "cubic"}.get(method, method),
            coordinates=coordinates,
            rounding=attrs.get("rounding_method") or ("round" if coordinates == "align_corners" else "floor"),
            cubic_alpha=attrs.get("cubic_alpha", -0.5),
            cubic_exclude=bool(attrs.get("cubic_exclude", False)),
            dimensions=len(op.shape) - 2,
        )

    def engine_coordinates(self, targets: List[int]) -> Optional[str]:
        """Which of an engine's coordinates interpolate to ``targets`` as TVM does; None where none do."""
        if self.method == "cubic" and (self.dimensions != 2 or self.cubic_exclude):
            return None
        half_pixel = self.coordinates == "pytorch_half_pixel" and 1 not in targets
        coordinates = "half_pixel" if half_pixel else self.coordinates
        return coordinates if coordinates in ENGINE_COORDINATES else None

    def places(self, size: int, target: int) -> np.ndarray:
        """Where each of ``target`` elements comes from among ``size``, in float32 as TVM computes it."""
        index, half = np.arange(target, dtype=np.float32), np.float32(0.5)
        scale = np.float32(size) / np.float32(target)
        if self.coordinates == "align_corners":
            return np.float32(size - 1) / np.float32(target - 1) * index
        if self.coordinates == "asymmetric":
            return scale * index
        if self.coordinates == "tf_half_pixel_for_nn":
            return (index + half) * scale
        if self.coordinates == "pytorch_half_pixel" and target == 1:
            return index
        return (index + half) * scale - half

    def nearest(self, size: int, target: int) -> np.ndarray:
        """Which element each one is."""
        half, epsilon = np.float32(0.5), np.float32(1e-5)
        places = self.places(size, target)
        if self.dimensions == 2 and self.coordinates == "asymmetric" and _divides(size, target):
            nearest = np.arange(target) // (target // size)
        elif self.rounding == "round":  # half away from 0, and what is below 0 is outside
            nearest = np.floor(places.astype(np.float64) + 0.5)
        elif self.rounding == "round_prefer_floor":
            nearest = np.ceil(places - half)
        elif self.rounding == "round_prefer_ceil":
            nearest = np.floor(places + half)
        elif self.rounding == "floor":
            nearest = np.floor(places + epsilon)
        else:
            nearest = np.ceil(places - epsilon)
        return np.clip(nearest, 0, size - 1).astype(np.int32)

    def taps(self, size: int, target: int) -> List[Tuple[np.ndarray, np.ndarray]]:
        """The elements that each one is a sum of, and their weights."""
        places = self.places(size, target)
        base = np.floor(places)
        t = (places - base).astype(np.float64)
        if self.method == "linear":
            first, weights = base, np.stack([1 - t, t])
        else:
            first, weights = base - 1, _cubic_weights(t, self.cubic_alpha)
        indices = first.astype(np.int32) + np.arange(len(weights), dtype=np.int32)[:, np.newaxis]
        if self.cubic_exclude and self.method == "cubic":
            weights = np.where((indices < 0) | (indices >= size), 0.0, weights)
            weights = weights / weights.sum(axis=0)
        return list(zip(np.clip(indices, 0, size - 1), weights))


def _divides(size: int, target: int) -> bool:
    """Whether TVM divides integers instead of multiplying floats, which then are rounded down in any case."""
    return target % size == 0 and target // size <= 1 / (1e-5 * size + 1e-5)


def _cubic_weights(t: np.ndarray, alpha: float) -> np.ndarray:
    t2, t3 = t**2, t**3
    return np.stack(
        [
            alpha * (t3 - 2 * t2 + t),
            (alpha + 2) * t3 - (3 + alpha) * t2 + 1,
            -(alpha + 2) * t3 + (3 + 2 * alpha) * t2 - alpha * t,
            -alpha * t3 + alpha * t2,
        ]
    )


def resize_rule(call: OpCall) -> Optional[str]:
    """any permutation of N, C and the spatial dimensions as layout; no region of interest"""
    how, layout = Resizing.of(call), call.attrs["layout"]
    if how.method not in METHODS:
        return f"method {how.method}: TVM has {', '.join(METHODS)}"
    if how.coordinates not in COORDINATES:
        return f"coordinate_transformation_mode {how.coordinates}: it must be one of {', '.join(COORDINATES)}"
    if how.method == "nearest_neighbor" and how.rounding not in ROUNDINGS:
        return f"rounding_method {how.rounding}: TVM has {', '.join(ROUNDINGS)}"
    if how.method == "cubic" and how.cubic_exclude and how.dimensions == 3:
        return "cubic_exclude in three dimensions: TVM mixes up the weights of the dimensions"
    reason = misplaced(call, layout)
    if reason is None and how.coordinates == "align_corners" and 1 in spatial_sizes(call.outputs[0].shape, layout):
        return "align_corners to a size of 1: TVM divides by 0"
    return reason


def upsampling_rule(call: OpCall) -> Optional[str]:
    """as for image.resize2d; a dynamic size a whole number of times, by what engines call asymmetric where nearest"""
    reason, how, layout = resize_rule(call), Resizing.of(call), call.attrs["layout"]
    sizes = spatial_sizes(call.outputs[0].shape, layout) if reason is None else []
    if -1 not in sizes:
        return reason
    if any(scale != int(scale) for scale in _scales(call)):
        return f"dynamic dimensions become {_scales(call)} times as large: it must be a whole number of times"
    nearest = how.method == "nearest_neighbor"
    if how.coordinates != "asymmetric" if nearest else how.engine_coordinates(sizes) is None:
        return f"method {how.method}, coordinates {how.coordinates}: the sizes must be known"
    return None


def _scales(op: Operation[Any]) -> List[float]:
    """How many times as large each spatial dimension becomes."""
    return [op.attrs[f"scale_{letter.lower()}"] for letter in SPATIAL if letter in op.attrs["layout"]]


@operator(
    "image.resize1d",
    "image.resize2d",
    "image.resize3d",
    since=(6, 0, 1),
    rule=resize_rule,
    touches_batch=moves_batch,
)
@operator(
    "nn.upsampling",
    "nn.upsampling3d",
    since=(6, 0, 1),
    rule=upsampling_rule,
    touches_batch=moves_batch,
    any_dynamic=True,
)
def resize(net: NetworkBuilder, op: OpNode) -> Union[Tensor, Sequence[Tensor]]:
    how, layout, dtype = Resizing.of(op), op.attrs["layout"], op.outputs[0].dtype
    if how.method == "nearest_neighbor":
        return net.cast(_nearest(net, op, how), dtype)
    coordinates = how.engine_coordinates(spatial_sizes(op.outputs[0].shape, layout))
    if coordinates is None:
        return _sum_of_taps(net, op)
    x = net.cast(op.inputs[0], dtype) if dtype == "float32" else op.inputs[0]
    return net.cast(_by_engine(net, x, op, how.method, coordinates, cubic=how.cubic_alpha), dtype)


def _by_engine(
    net: NetworkBuilder, x: Tensor, op: OpNode, mode: str, coordinates: str, rounding: str = "", cubic: float = -0.75
) -> Tensor:
    layout = op.attrs["layout"]
    x = reordered(net, x, layout, channels_first(layout))
    size = spatial_sizes(op.outputs[0].shape, layout)
    x = net.resize(x, size, mode, coordinates, rounding, cubic, _scales(op) if -1 in size else None)
    return reordered(net, x, channels_first(layout), layout)


def _sides(op: OpNode) -> Dict[int, Tuple[int, int]]:
    """Each spatial axis with its size before and after."""
    target = op.outputs[0].shape
    return {i: (op.shape[i], target[i]) for i, letter in enumerate(op.attrs["layout"]) if letter in SPATIAL}


def _nearest(net: NetworkBuilder, op: OpNode, how: Resizing) -> Tensor:
    """By the engine where each element is repeated as often, which leaves it nothing to round; else gathered."""
    (x,) = op.inputs
    if -1 in spatial_sizes(x.shape, op.attrs["layout"]):
        return _by_engine(net, x, op, "nearest", "asymmetric", "floor")
    indices = {axis: how.nearest(size, target) for axis, (size, target) in _sides(op).items()}
    moved = {axis: index for axis, index in indices.items() if not np.array_equal(index, np.arange(x.shape[axis]))}
    if not moved:
        return x
    if all(_repeats(index, x.shape[axis]) for axis, index in moved.items()):
        return _by_engine(net, x, op, "nearest", "asymmetric", "floor")
    for axis, index in moved.items():
        x = net.gather(x, net.constant(index), axis)
    return x


def _repeats(indices: np.ndarray, size: int) -> bool:
    return len(indices) % size == 0 and np.array_equal(indices, np.arange(size).repeat(len(indices) // size))


@in_float32
def _sum_of_taps(net: NetworkBuilder, op: OpNode) -> Tensor:
    """One dimension after the other, each element as the weighted sum of those that it comes from."""
    (x,) = op.inputs
    how = Resizing.of(op)
    for axis, (size, target) in _sides(op).items():
        if np.array_equal(how.places(size, target), np.arange(size)):
            continue
        along_axis = (-1,) + (1,) * (x.rank - axis - 1)
        terms = [
            net.elementwise(
                net.gather(x, net.constant(indices), axis),
                net.constant(weights.astype(x.dtype).reshape(along_axis)),
                "prod",
            )
            for indices, weights in how.taps(size, target)
        ]
        x = functools.reduce(lambda a, b: net.elementwise(a, b, "sum"), terms)
    return x
