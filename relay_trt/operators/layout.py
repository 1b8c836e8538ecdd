"""Operators that move data and do no arithmetic."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Dict, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from .registry import DATA, NUMBERS, OpCall, Operation, OpNode, axis_is_batch, operator
from .shapes import reordered, sizes, with_one

if TYPE_CHECKING:
    from ..runtime.builders import NetworkBuilder, Tensor


#: A bound as large as this stands for the end of any dimension.
UNBOUNDED = 2**31 - 1


def changes_batch(call: OpCall) -> bool:
    """Whether dimension 0 of the first operand and of the first output differ, or there is none."""
    return call.shape[:1] != call.outputs[0].shape[:1] or not call.shape


def always(call: OpCall) -> bool:
    """For operators that change or mix dimension 0 whatever their attributes are."""
    return True


# -- other dimensions, the same order ---------------------------------------------------------------------------------


def keeps_first_rule(call: OpCall) -> Optional[str]:
    """any shape; a dynamic first dimension must stay the first"""
    before, after = call.shape, call.outputs[0].shape
    # Two dynamic dimensions may differ: from (?, 4) to (?, 2) the first one doubles.
    if -1 in before and (changes_batch(call) or math.prod(before[1:]) != math.prod(after[1:])):
        return "the dynamic first dimension must stay the first"
    if -1 in after and -1 not in before:
        return "the dynamic first dimension is that of another tensor"
    return None


def reshape_rule(call: OpCall) -> Optional[str]:
    """any shape; a dynamic first dimension must stay the first; with input_shapes, all but one are copied or known"""
    if not call.options.dynamic_shapes:
        return keeps_first_rule(call)
    copied = _copied(call)
    computed = [place for place, size in enumerate(call.outputs[0].shape) if size < 0 and place not in copied]
    return f"the dimensions {computed} are dynamic, and only one may be computed" if len(computed) > 1 else None


def reverse_reshape_rule(call: OpCall) -> Optional[str]:
    """any shape without a dynamic dimension"""
    return "the Relay VM does not know the shape of its result" if -1 in call.shape else None


@operator("reshape_like", dtypes=DATA, rule=keeps_first_rule, touches_batch=changes_batch, free_operands=(1,))
@operator("contrib_reverse_reshape", dtypes=DATA, rule=reverse_reshape_rule, touches_batch=changes_batch)
def keep_first(net: NetworkBuilder, op: OpNode) -> Tensor:
    """The shape that Relay inferred is all that these need."""
    return net.reshape(op.inputs[0], sizes(op.outputs[0].shape))


@operator(
    "reshape",
    "squeeze",
    "expand_dims",
    "nn.batch_flatten",
    dtypes=DATA,
    rule=reshape_rule,
    touches_batch=changes_batch,
    any_dynamic=True,
)
def reshape(net: NetworkBuilder, op: OpNode) -> Tensor:
    return net.reshape(op.inputs[0], op.outputs[0].shape, _copied(op))


def _copied(op: Operation[Any]) -> Dict[int, int]:
    """The dimensions of the result that are one of the operand, whatever its size: their places there and here."""
    before, after = op.shape, op.outputs[0].shape
    if op.name == "nn.batch_flatten":
        return {0: 0}
    if op.name == "expand_dims":
        axis = op.axis(rank=len(before) + 1)
        added = len(after) - len(before)
        return {place if place < axis else place + added: place for place in range(len(before))}
    if op.name == "squeeze":
        listed = None if op.attrs["axis"] is None else {axis % len(before) for axis in op.attrs["axis"]}
        kept = [i for i, size in enumerate(before) if (size != 1 if listed is None else i not in listed)]
        return dict(enumerate(kept))
    # Where no other is dynamic, the first stays what it is if the others hold as much as before.
    same = before[:1] == after[:1] == (-1,) and -1 not in (*before[1:], *after[1:])
    first = {0: 0} if same and math.prod(before[1:]) == math.prod(after[1:]) else {}
    return {**first, **_copied_by(op.attrs["newshape"], len(before), bool(op.attrs.get("allowzero")))}


def _copied_by(newshape: Sequence[int], rank: int, allowzero: bool) -> Dict[int, int]:
    """The same, by Relay's notation: 0 copies one, -2 all that follow; -3 joins two, -4 splits one in the next two."""
    copied: Dict[int, int] = {}
    source = place = 0
    entries = iter(newshape)
    for entry in entries:
        copies = rank - source if entry == -2 else int(entry == 0 and not allowzero)
        copied.update((place + i, source + i) for i in range(copies))
        if entry == -4:
            next(entries), next(entries)
        taken, made = {-2: (copies, copies), -3: (2, 1), -4: (1, 2)}.get(entry, (1, 1))
        source, place = source + taken, place + made
    return copied


# -- another order ----------------------------------------------------------------------------------------------------


def transpose_rule(call: OpCall) -> Optional[str]:
    """any axes of at least one dimension"""
    return "a scalar has no axes" if not call.shape else None


def _moves_batch(call: OpCall) -> bool:
    axes = call.attrs["axes"]
    return (axes[0] % len(call.shape) if axes else len(call.shape) - 1) != 0


@operator("transpose", dtypes=DATA, rule=transpose_rule, touches_batch=_moves_batch, any_dynamic=True)
def transpose(net: NetworkBuilder, op: OpNode) -> Tensor:
    (x,) = op.inputs
    axes = op.attrs["axes"] or list(reversed(range(x.rank)))
    return net.transpose(x, [axis % x.rank for axis in axes])


def layout_transform_rule(call: OpCall) -> Optional[str]:
    """the same letters in another order; no blocks as in NCHW4c"""
    source, destination = call.attrs["src_layout"], call.attrs["dst_layout"]
    if sorted(source) != sorted(destination) or not source.isalpha() or len(set(source)) != len(source):
        return f"from {source} to {destination}: only the order of the letters may change"
    return None


def _layout_moves_batch(call: OpCall) -> bool:
    return bool(call.attrs["src_layout"][0] != call.attrs["dst_layout"][0])


@operator(
    "layout_transform",
    dtypes=DATA,
    rule=layout_transform_rule,
    touches_batch=_layout_moves_batch,
    any_dynamic=True,
)
def layout_transform(net: NetworkBuilder, op: OpNode) -> Tensor:
    return reordered(net, op.inputs[0], op.attrs["src_layout"], op.attrs["dst_layout"])


# What a block of y times x pixels is in each layout: split off the channels, and split off the image.
BLOCKS = {
    ("NCHW", "DCR"): ("NyxCHW", "NCHyWx"),
    ("NCHW", "CRD"): ("NCyxHW", "NCHyWx"),
    ("NHWC", "DCR"): ("NHWyxC", "NHyWxC"),
    ("NHWC", "CRD"): ("NHWCyx", "NHyWxC"),
}


def _image(op: Operation[Any]) -> Dict[str, int]:
    return dict(zip(op.attrs["layout"], op.shape))


def depth_to_space_rule(call: OpCall) -> Optional[str]:
    """NCHW or NHWC; a number of channels that the block divides"""
    if call.attrs["layout"] not in ("NCHW", "NHWC"):
        return f"layout {call.attrs['layout']}: it must be NCHW or NHWC"
    block, channels = call.attrs["block_size"], _image(call)["C"]
    if channels % block**2:
        return f"{channels} channels are no multiple of {block} * {block}"
    return None


@operator("nn.depth_to_space", dtypes=DATA, rule=depth_to_space_rule)
def depth_to_space(net: NetworkBuilder, op: OpNode) -> Tensor:
    block, image = op.attrs["block_size"], _image(op)
    # All but DCR is CRD to TVM, which calls it CDR.
    before, after = BLOCKS[op.attrs["layout"], "DCR" if op.attrs["mode"] == "DCR" else "CRD"]
    return _by_blocks(net, op, {**image, "C": image["C"] // block**2, "y": block, "x": block}, before, after)


def space_to_depth_rule(call: OpCall) -> Optional[str]:
    """NCHW or NHWC; height and width that the block divides"""
    if call.attrs["layout"] not in ("NCHW", "NHWC"):
        return f"layout {call.attrs['layout']}: it must be NCHW or NHWC"
    block, image = call.attrs["block_size"], _image(call)
    if image["H"] % block or image["W"] % block:
        return f"an image of {image['H']} * {image['W']} is no multiple of {block} * {block}"
    return None


@operator("nn.space_to_depth", dtypes=DATA, rule=space_to_depth_rule)
def space_to_depth(net: NetworkBuilder, op: OpNode) -> Tensor:
    block, image = op.attrs["block_size"], _image(op)
    after, before = BLOCKS[op.attrs["layout"], "DCR"]
    image = {**image, "H": image["H"] // block, "W": image["W"] // block, "y": block, "x": block}
    return _by_blocks(net, op, image, before, after)


def _by_blocks(net: NetworkBuilder, op: OpNode, image: Mapping[str, int], before: str, after: str) -> Tensor:
    """The first operand with its dimensions split into ``before``, reordered to ``after``, and joined again."""
    split = net.reshape(op.inputs[0], sizes([image[letter] for letter in before]))
    return net.reshape(reordered(net, split, before, after), sizes(op.outputs[0].shape))


def batch_blocks_rule(call: OpCall) -> Optional[str]:
    """a batch that is not dynamic; as many dimensions as eight hold with one more for each block"""
    rank = len(call.shape) + len(call.attrs["block_shape"])
    if rank > 8:
        return f"it takes {rank} dimensions on the way, and TensorRT has at most 8"
    if -1 in call.shape:
        return "the first dimension is dynamic, and blocks change it"
    return None


@operator("nn.space_to_batch_nd", since=(8, 0, 0), dtypes=NUMBERS, rule=batch_blocks_rule, touches_batch=always)
def space_to_batch_nd(net: NetworkBuilder, op: OpNode) -> Tensor:
    (x,), blocks = op.inputs, op.attrs["block_shape"]
    paddings = [[0, 0], *op.attrs["paddings"], *[[0, 0]] * (x.rank - len(blocks) - 1)]
    x = _padded(net, x, paddings, op.attrs["pad_value"])
    spatial, rest = x.shape[1 : len(blocks) + 1], x.shape[len(blocks) + 1 :]
    split = [number for size, block in zip(spatial, blocks) for number in (size // block, block)]
    x = net.reshape(x, [x.shape[0], *split, *rest])
    outer, inner = range(1, 2 * len(blocks), 2), range(2, 2 * len(blocks) + 1, 2)
    x = net.transpose(x, [*inner, 0, *outer, *range(2 * len(blocks) + 1, x.rank)])
    return net.reshape(x, op.outputs[0].shape)


@operator("nn.batch_to_space_nd", since=(5, 1, 5), dtypes=DATA, rule=batch_blocks_rule, touches_batch=always)
def batch_to_space_nd(net: NetworkBuilder, op: OpNode) -> Tensor:
    (x,), blocks, crops = op.inputs, op.attrs["block_shape"], op.attrs["crops"]
    count, spatial, rest = len(blocks), x.shape[1 : len(blocks) + 1], x.shape[len(blocks) + 1 :]
    batch = x.shape[0] // math.prod(blocks)
    split = net.reshape(x, [*blocks, batch, *spatial, *rest])
    pairs = [axis for block in range(count) for axis in (count + 1 + block, block)]
    joined = net.transpose(split, [count, *pairs, *range(2 * count + 1, split.rank)])
    image = net.reshape(joined, [batch, *(size * block for size, block in zip(spatial, blocks)), *rest])
    start = [0, *(before for before, _ in crops), *[0] * len(rest)]
    return net.slice(image, start, op.outputs[0].shape, [1] * image.rank)


# -- tensors joined ---------------------------------------------------------------------------------------------------


@operator("concatenate", dtypes=DATA, touches_batch=axis_is_batch, any_dynamic=True)
def concatenate(net: NetworkBuilder, op: OpNode) -> Tensor:
    return net.concatenation(op.inputs, op.axis())


def _stack_axis(op: Operation[Any]) -> int:
    return op.axis(rank=len(op.shape) + 1)


@operator("stack", dtypes=DATA, touches_batch=lambda call: _stack_axis(call) == 0, any_dynamic=True)
def stack(net: NetworkBuilder, op: OpNode) -> Tensor:
    axis = _stack_axis(op)
    return net.concatenation([with_one(net, x, axis) for x in op.inputs], axis)


# -- parts of a tensor ------------------------------------------------------------------------------------------------


class Bounds(NamedTuple):
    """What `strided_slice` takes of one dimension, from ``begin`` or else from its first element on."""

    begin: Optional[int] = None
    to_end: bool = True
    stride: int = 1

    @property
    def is_whole(self) -> bool:
        """Whether it takes all of a dimension, however large."""
        return not self.begin and self.to_end and self.stride == 1

    def start(self, size: int) -> int:
        """The index of the first element in a dimension of ``size``."""
        if self.begin is None:
            return 0 if self.stride > 0 else size - 1
        return min(max(self.begin + size if self.begin < 0 else self.begin, 0), size - 1)


def _bounds(op: Operation[Any]) -> List[Bounds]:
    """The bounds of every dimension."""
    attrs, bounds = op.attrs, [Bounds()] * len(op.shape)
    by_size = attrs["slice_mode"] == "size"
    begin, end, strides = attrs["begin"], attrs["end"], [] if by_size else attrs["strides"] or []
    axes = range(max(len(begin), len(end))) if attrs.get("axes") is None else attrs["axes"]
    for index, axis in enumerate(axes):
        first, last, stride = (values[index] if index < len(values) else None for values in (begin, end, strides))
        to_end = last is None or (last < 0 if by_size else last >= UNBOUNDED)
        bounds[axis] = Bounds(first, to_end, 1 if stride is None else stride)
    return bounds


def strided_slice_rule(call: OpCall) -> Optional[str]:
    """any bounds and strides; all of a dynamic dimension"""
    if not call.shape:
        return "a scalar has no axes"
    for axis, (size, bounds) in enumerate(zip(call.shape, _bounds(call))):
        if size < 0 and not bounds.is_whole:
            return f"dimension {axis} is dynamic, and not all of it is taken"
    return None


def _slice_touches_batch(call: OpCall) -> bool:
    return changes_batch(call) or _bounds(call)[0].stride < 0


@operator(
    "strided_slice",
    since=(5, 1, 5),
    dtypes=DATA,
    rule=strided_slice_rule,
    touches_batch=_slice_touches_batch,
    any_dynamic=True,
)
def strided_slice(net: NetworkBuilder, op: OpNode) -> Tensor:
    bounds = _bounds(op)
    start = [0 if size < 0 else bound.start(size) for size, bound in zip(op.shape, bounds)]
    return net.slice(op.inputs[0], start, op.outputs[0].shape, [bound.stride for bound in bounds])


def slice_like_rule(call: OpCall) -> Optional[str]:
    """any axes; a dynamic first dimension must not be among them"""
    axes = call.attrs["axes"]
    if -1 in call.shape and (not axes or 0 in call.axes("axes")):
        return "the first dimension is dynamic, and it is cut"
    return None


@operator(
    "slice_like", since=(5, 1, 5), dtypes=DATA, rule=slice_like_rule, touches_batch=changes_batch, free_operands=(1,)
)
def slice_like(net: NetworkBuilder, op: OpNode) -> Tensor:
    x = op.inputs[0]
    return net.slice(x, [0] * x.rank, op.outputs[0].shape, [1] * x.rank)


def axis_rule(call: OpCall) -> Optional[str]:
    """any axis but a dynamic one"""
    if not call.shape:
        return "a scalar has no axes"
    if call.shape[call.axis()] < 0:
        return f"the axis is dimension {call.axis()}, and that is dynamic"
    return None


@operator("split", since=(5, 1, 5), dtypes=DATA, rule=axis_rule, touches_batch=axis_is_batch, any_dynamic=True)
def split(net: NetworkBuilder, op: OpNode) -> List[Tensor]:
    (x,), axis = op.inputs, op.axis()
    parts, start = [], [0] * x.rank
    for spec in op.outputs:
        parts.append(net.slice(x, list(start), spec.shape, [1] * x.rank))
        start[axis] += spec.shape[axis]
    return parts


@operator("reverse", since=(5, 1, 5), dtypes=DATA, rule=axis_rule, touches_batch=axis_is_batch, any_dynamic=True)
def reverse(net: NetworkBuilder, op: OpNode) -> Tensor:
    (x,), axis = op.inputs, op.axis()
    start, stride = [0] * x.rank, [1] * x.rank
    start[axis], stride[axis] = x.shape[axis] - 1, -1
    return net.slice(x, start, x.shape, stride)


# -- elements repeated ------------------------------------------------------------------------------------------------


def _picked(net: NetworkBuilder, x: Tensor, axis: int, indices: np.ndarray) -> Tensor:
    """x with the elements of one dimension at ``indices``; x itself where that is what it has."""
    if np.array_equal(indices, np.arange(x.shape[axis])):
        return x
    return net.gather(x, net.constant(indices.astype(np.int32)), axis)


def tile_rule(call: OpCall) -> Optional[str]:
    """any repetitions; a dynamic first dimension stays the first and is not repeated"""
    if -1 in call.shape and (len(call.attrs["reps"]) > len(call.shape) or _repetitions(call)[0] != 1):
        return "the first dimension is dynamic, and it is repeated"
    return None


def _repetitions(op: Operation[Any]) -> List[int]:
    """How often each dimension of the output is repeated."""
    reps: List[int] = op.attrs["reps"]
    return [1] * (len(op.shape) - len(reps)) + reps


def _tile_touches_batch(call: OpCall) -> bool:
    return changes_batch(call) or len(call.attrs["reps"]) > len(call.shape)


@operator("tile", since=(5, 1, 5), dtypes=DATA, rule=tile_rule, touches_batch=_tile_touches_batch)
def tile(net: NetworkBuilder, op: OpNode) -> Tensor:
    repetitions = _repetitions(op)
    x = _with_rank(net, op.inputs[0], len(repetitions))
    # Dimensions of 1 are broadcast all at once.
    x = _broadcast(net, x, [count if size == 1 else size for size, count in zip(x.shape, repetitions)])
    for axis, count in enumerate(repetitions):
        if count > 1 and x.shape[axis] != op.outputs[0].shape[axis]:
            x = _picked(net, x, axis, np.tile(np.arange(x.shape[axis]), count))
    return x


@operator("repeat", dtypes=DATA, rule=axis_rule, touches_batch=axis_is_batch)
def repeat(net: NetworkBuilder, op: OpNode) -> Tensor:
    (x,), axis = op.inputs, op.axis()
    return _picked(net, x, axis, np.repeat(np.arange(x.shape[axis]), op.attrs["repeats"]))


def broadcast_rule(call: OpCall) -> Optional[str]:
    """any shape without a dynamic dimension"""
    if -1 in (*call.shape, *call.outputs[0].shape):
        return "whether a dynamic dimension is repeated is not known"
    return None


@operator(
    "broadcast_to",
    "broadcast_to_like",
    since=(5, 1, 5),
    dtypes=DATA,
    rule=broadcast_rule,
    touches_batch=lambda call: changes_batch(call) or len(call.shape) != len(call.outputs[0].shape),
    free_operands=(1,),
)
def broadcast_to(net: NetworkBuilder, op: OpNode) -> Tensor:
    shape = op.outputs[0].shape
    return _broadcast(net, _with_rank(net, op.inputs[0], len(shape)), shape)


def meshgrid_rule(call: OpCall) -> Optional[str]:
    """any tensors of one dimension, none of them dynamic"""
    if any(-1 in spec.shape for spec in call.inputs):
        return "a dynamic dimension becomes one of the grid's"
    return None


@operator("meshgrid", since=(5, 1, 5), dtypes=DATA, rule=meshgrid_rule, touches_batch=always)
def meshgrid(net: NetworkBuilder, op: OpNode) -> List[Tensor]:
    rank, shape = len(op.inputs), op.outputs[0].shape
    axes = list(range(rank))
    if op.attrs["indexing"] == "xy":
        axes[:2] = reversed(axes[:2])
    along = (net.reshape(x, [1] * axis + [-1] + [1] * (rank - axis - 1)) for x, axis in zip(op.inputs, axes))
    return [_broadcast(net, x, shape) for x in along]


def _with_rank(net: NetworkBuilder, x: Tensor, rank: int) -> Tensor:
    """x with dimensions of 1 put in front."""
    return x if x.rank == rank else net.reshape(x, [1] * (rank - x.rank) + list(x.shape))


def _broadcast(net: NetworkBuilder, x: Tensor, shape: Sequence[int]) -> Tensor:
    return x if tuple(shape) == x.shape else net.broadcast(x, shape)


# -- elements around a tensor -----------------------------------------------------------------------------------------


def _pad_touches_batch(call: OpCall) -> bool:
    return any(call.attrs["pad_width"][0])


def pad_rule(call: OpCall) -> Optional[str]:
    """constant with a constant value, edge, reflect; negative widths crop; a dynamic dimension only gets constants"""
    mode, widths = call.attrs["pad_mode"], call.attrs["pad_width"]
    if mode not in ("constant", "edge", "reflect"):
        return f"mode {mode}: it must be constant, edge or reflect"
    if mode == "constant" and call.scalars[1] is None:
        return "the value must be one constant"
    for axis, (size, (before, after)) in enumerate(zip(call.shape, widths)):
        if size < 0 and (before or after) and (mode != "constant" or min(before, after) < 0):
            return f"dimension {axis} is dynamic, and what it gets or loses is not constant"
        if size >= 0 and size + min(before, 0) + min(after, 0) <= 0:
            return f"the widths {before} and {after} crop all of {size} elements"
        if mode == "reflect" and not _mirrors(size, before, after, 1):
            return f"the widths {before} and {after} reflect more than {size} elements have"
    return None


@operator("nn.pad", since=(8, 0, 0), dtypes=NUMBERS, rule=pad_rule, touches_batch=_pad_touches_batch, any_dynamic=True)
def pad(net: NetworkBuilder, op: OpNode) -> Tensor:
    x, value = op.inputs
    mode, widths = op.attrs["pad_mode"], op.attrs["pad_width"]
    if mode == "constant":
        return _padded(net, x, widths, net.values(value).astype(x.dtype).item())
    for axis, size, reached in _reached(x.shape, widths):
        x = _picked(net, x, axis, reached.clip(0, size - 1) if mode == "edge" else _mirrored(reached, size, 1))
    return x


def mirror_pad_rule(call: OpCall) -> Optional[str]:
    """SYMMETRIC, REFLECT; no more than the dimension has"""
    edge = _edge(call)
    for axis, (size, (before, after)) in enumerate(zip(call.shape, call.attrs["pad_width"])):
        if size < 0 and (before or after):
            return f"dimension {axis} is dynamic, and it is padded"
        if not _mirrors(size, before, after, edge):
            return f"the widths {before} and {after} mirror more than {size} elements have"
    return None


@operator("nn.mirror_pad", dtypes=DATA, rule=mirror_pad_rule, touches_batch=_pad_touches_batch, any_dynamic=True)
def mirror_pad(net: NetworkBuilder, op: OpNode) -> Tensor:
    (x,), edge = op.inputs, _edge(op)
    for axis, size, reached in _reached(x.shape, op.attrs["pad_width"]):
        x = _picked(net, x, axis, _mirrored(reached, size, edge))
    return x


def _edge(op: Operation[Any]) -> int:
    """How many elements at each end are not mirrored themselves."""
    return 0 if op.attrs["mode"] == "SYMMETRIC" else 1


def _mirrors(size: int, before: int, after: int, edge: int) -> bool:
    """Whether one mirror at each end is enough for these widths."""
    return size < 0 or max(before, after, 0) <= size - edge


def _reached(shape: Sequence[int], widths: Sequence[Sequence[int]]) -> Iterator[Tuple[int, int, np.ndarray]]:
    """Each axis that is padded, its size, and which indices it reaches, below 0 and above the size too."""
    for axis, (size, (before, after)) in enumerate(zip(shape, widths)):
        if before or after:
            yield axis, size, np.arange(-before, size + after)


def _mirrored(indices: np.ndarray, size: int, edge: int) -> np.ndarray:
    """``indices`` with those before the first and behind the last mirrored there."""
    indices = np.where(indices < 0, edge - 1 - indices, indices)
    return np.where(indices >= size, 2 * size - 1 - edge - indices, indices)


def _padded(net: NetworkBuilder, x: Tensor, widths: Sequence[Sequence[int]], value: float) -> Tensor:
    """x with ``value`` around it; a negative width crops."""
    crops = [(max(-before, 0), max(-after, 0)) for before, after in widths]
    if any(before or after for before, after in crops):
        size = [d if d < 0 else d - before - after for d, (before, after) in zip(x.shape, crops)]
        x = net.slice(x, [before for before, _ in crops], size, [1] * x.rank)
    added = [(max(before, 0), max(after, 0)) for before, after in widths]
    if any(before or after for before, after in added):
        x = net.pad(x, [before for before, _ in added], [after for _, after in added], value)
    return x
