"""Operators that read or write at indices.

Relay says what becomes of an index outside of a dimension only for `take`; elsewhere TVM's code reads and writes
wherever that leads, except that `scatter_elements` counts negative ones from the end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Optional

import numpy as np

from .layout import always, axis_rule, changes_batch
from .registry import DATA, NUMBERS, OpCall, Operation, OpNode, axis_is_batch, operator
from .shapes import with_one

if TYPE_CHECKING:
    from ..runtime.builders import NetworkBuilder, Tensor
    from ..runtime.builders.base import Shape

INDICES = ("int32", "int64")
MODES = ("clip", "wrap", "fast")


def not_indices(call: OpCall, *operands: int) -> Optional[str]:
    """Why some of these operands are no indices, or None where all are."""
    for operand in operands:
        if call.inputs[operand].dtype not in INDICES:
            return f"{call.inputs[operand]}: indices must be {' or '.join(INDICES)}"
    return None


# -- take -------------------------------------------------------------------------------------------------------------


def _take_axis(op: Operation[Any]) -> int:
    """The axis; of the flattened tensor where there is none."""
    return 0 if op.attrs["axis"] is None else op.axis()


def _batch_dims(op: Operation[Any]) -> int:
    """The leading dimensions that data and indices share."""
    count = 0 if op.attrs["axis"] is None else int(op.attrs["batch_dims"])
    return count + len(op.inputs[1].shape) if count < 0 else count


def take_rule(call: OpCall) -> Optional[str]:
    """any axis or none; clip, wrap and fast; of a dynamic axis, index 0; batch_dims with clip, from TensorRT 8.2 on"""
    mode = call.attrs["mode"]
    if mode not in MODES:
        return f"mode {mode}: it must be {' or '.join(MODES)}"
    if _batch_dims(call) and mode != "clip":
        return f"batch_dims with mode {mode}: TVM itself computes them with clip only"
    if _batch_dims(call) and call.options.tensorrt_version < (8, 2, 0):
        return "batch_dims needs TensorRT 8.2.0 or newer"
    taken = call.shape if call.attrs["axis"] is None else call.shape[_take_axis(call) :][:1]
    if -1 in taken and mode != "fast" and not _takes_first(call):
        return f"the axis is dimension {_take_axis(call)}, and that is dynamic: mode {mode} needs its size"
    return not_indices(call, 1)


def _takes_first(call: OpCall) -> bool:
    """Whether the only index is 0, which is inside of any size."""
    return call.scalars[1] == 0


def _take_touches_batch(call: OpCall) -> bool:
    if _batch_dims(call):
        return False
    table, constant_indices = call.constant
    if table and call.attrs["axis"] in (None, 0):  # the batch is that of the indices
        return not call.inputs[1].shape
    return not constant_indices or changes_batch(call) or _take_axis(call) == 0


@operator("take", dtypes=DATA, rule=take_rule, touches_batch=_take_touches_batch, any_dynamic=True)
def take(net: NetworkBuilder, op: OpNode) -> Tensor:
    x, indices = op.inputs
    axis, batch_dims = _take_axis(op), _batch_dims(op)
    if op.attrs["axis"] is None:
        x = net.reshape(x, [-1])
    indices = _inside(net, indices, x.shape[axis], op.attrs["mode"])
    if not batch_dims:
        return net.gather(x, indices, axis)
    # GatherND takes the first dimension behind the batch: the axis goes there, and those before it back.
    skipped = list(range(batch_dims, axis))
    x = net.transpose(x, [*range(batch_dims), axis, *skipped, *range(axis + 1, x.rank)])
    taken = net.gather_nd(x, net.reshape(indices, [*[0] * indices.rank, 1]), batch_dims)
    first = indices.rank
    back = [*range(batch_dims), *range(first, first + len(skipped)), *range(batch_dims, first)]
    return net.transpose(taken, [*back, *range(len(back), taken.rank)])


def _inside(net: NetworkBuilder, indices: Tensor, size: int, mode: str) -> Tensor:
    """``indices`` into a dimension of ``size`` with those outside clipped or wrapped."""
    if mode == "fast" or size < 0:  # the rule accepts a dynamic one where every index is inside
        return indices
    if indices.value is not None:
        return net.constant(indices.value.clip(0, size - 1) if mode == "clip" else indices.value % size)
    if mode == "clip":
        not_below = net.elementwise(indices, net.scalar(0, indices), "max")
        return net.elementwise(not_below, net.scalar(size - 1, indices), "min")
    # A remainder has the sign of the index: with one size added it is positive, and its own remainder the place.
    return _remainder(net, net.elementwise(_remainder(net, indices, size), net.scalar(size, indices), "sum"), size)


def _remainder(net: NetworkBuilder, x: Tensor, divisor: int) -> Tensor:
    """x - x / divisor * divisor, where a quotient of integers is cut off towards 0."""
    by = net.scalar(divisor, x)
    return net.elementwise(x, net.elementwise(net.elementwise(x, by, "div"), by, "prod"), "sub")


# -- gather -----------------------------------------------------------------------------------------------------------


def gather_rule(call: OpCall) -> Optional[str]:
    """any axis, any batch_dims"""
    return not_indices(call, 1)


@operator("gather", since=(8, 2, 0), dtypes=DATA, rule=gather_rule, touches_batch=axis_is_batch, any_dynamic=True)
def gather(net: NetworkBuilder, op: OpNode) -> Tensor:
    return net.gather_elements(op.inputs[0], op.inputs[1], op.axis())


@operator(
    "gather_nd",
    since=(8, 2, 0),
    dtypes=DATA,
    rule=gather_rule,
    touches_batch=lambda call: not call.attrs["batch_dims"],
)
def gather_nd(net: NetworkBuilder, op: OpNode) -> Tensor:
    x, indices = op.inputs
    return net.gather_nd(x, _tuples_last(net, indices), op.attrs["batch_dims"])


def _tuples_last(net: NetworkBuilder, indices: Tensor) -> Tensor:
    """Relay's index tuples are along the first dimension, everyone else's along the last."""
    return net.transpose(indices, [*range(1, indices.rank), 0])


def adv_index_rule(call: OpCall) -> Optional[str]:
    """any indices that broadcast; dynamic ones all of one shape"""
    shapes = {spec.shape for spec in call.inputs[1:]}
    if len(shapes) > 1 and any(-1 in shape for shape in shapes):
        return "whether a dynamic dimension is repeated is not known"
    return not_indices(call, *range(1, len(call.inputs)))


@operator("adv_index", since=(8, 2, 0), dtypes=DATA, rule=adv_index_rule, touches_batch=always)
def adv_index(net: NetworkBuilder, op: OpNode) -> Tensor:
    x, *indices = op.inputs
    if len(indices) == 1:
        return net.gather(x, indices[0], 0)
    shape = op.outputs[0].shape[: len(op.outputs[0].shape) - (x.rank - len(indices))]
    return net.gather_nd(x, net.concatenation([_column(net, index, shape) for index in indices], len(shape)))


def _column(net: NetworkBuilder, index: Tensor, shape: Shape) -> Tensor:
    """``index`` as int32, broadcast to ``shape``, with a last dimension of 1."""
    index = net.cast(index, "int32")
    if index.shape != shape:
        index = net.broadcast(net.reshape(index, [1] * (len(shape) - index.rank) + list(index.shape)), shape)
    return net.reshape(index, [*[0] * len(shape), 1])


# -- scatter ----------------------------------------------------------------------------------------------------------


def scatter_elements_rule(call: OpCall) -> Optional[str]:
    """update; indices and updates of one shape, which but for the axis is the data's"""
    if call.attrs.get("reduction", "update") != "update":
        return f"reduction {call.attrs['reduction']}: TensorRT's Scatter layer only replaces"
    data, indices, updates = (list(spec.shape) for spec in call.inputs)
    axis = call.axis()
    if indices != updates:
        return f"the updates {call.inputs[2]} must have the shape of the indices {call.inputs[1]}"
    if data[axis] < 0:
        return "the axis is the first dimension, and that is dynamic"
    if indices[:axis] + indices[axis + 1 :] != data[:axis] + data[axis + 1 :] or indices[axis] > data[axis]:
        return f"the indices {call.inputs[1]} must have the data's other dimensions, and no more than its axis"
    return not_indices(call, 1)


@operator(
    "scatter_elements",
    "scatter",  # in older TVM
    since=(8, 2, 0),
    dtypes=NUMBERS,
    rule=scatter_elements_rule,
    touches_batch=axis_is_batch,
)
def scatter_elements(net: NetworkBuilder, op: OpNode) -> Tensor:
    (x, indices, updates), axis = op.inputs, op.axis()
    return net.scatter_elements(x, _from_front(net, indices, x.shape[axis]), updates, axis)


def _from_front(net: NetworkBuilder, indices: Tensor, size: int) -> Tensor:
    """``indices`` into a dimension of ``size`` with the negative ones, which count from the end, made positive."""
    if indices.value is not None:
        return net.constant(np.where(indices.value < 0, indices.value + size, indices.value))
    negative = net.elementwise(indices, net.scalar(0, indices), "less")
    return net.select(negative, net.elementwise(indices, net.scalar(size, indices), "sum"), indices)


def scatter_nd_rule(call: OpCall) -> Optional[str]:
    """update"""
    if call.attrs["mode"] != "update":
        return f"mode {call.attrs['mode']}: TensorRT's Scatter layer only replaces"
    return not_indices(call, 1)


@operator("scatter_nd", since=(8, 2, 0), dtypes=NUMBERS, rule=scatter_nd_rule, touches_batch=always)
def scatter_nd(net: NetworkBuilder, op: OpNode) -> Tensor:
    x, indices, updates = op.inputs
    return net.scatter_nd(x, _tuples_last(net, indices), updates)


# -- indices compared -------------------------------------------------------------------------------------------------


def _one_hot_axis(op: Operation[Any]) -> int:
    return op.axis(rank=len(op.shape) + 1)


def one_hot_rule(call: OpCall) -> Optional[str]:
    """any axis; constant on and off values that differ"""
    if None in call.scalars[1:3]:
        return "the on and off values must be one constant each"
    if call.same(1, 2):
        return "the on and off values are the same: TensorRT forgets how many there are"
    return not_indices(call, 0)


@operator(
    "one_hot",
    since=(7, 0, 0),
    dtypes=NUMBERS,
    rule=one_hot_rule,
    touches_batch=lambda call: _one_hot_axis(call) == 0,
    any_dynamic=True,
)
def one_hot(net: NetworkBuilder, op: OpNode) -> Tensor:
    indices, axis = op.inputs[0], _one_hot_axis(op)
    places = _places(net, op.attrs["depth"], indices.rank - axis, indices.dtype)
    indices = with_one(net, indices, axis)
    on, off = (net.constant(net.values(x).astype(op.outputs[0].dtype).reshape(())) for x in op.inputs[1:])
    return net.select(net.elementwise(indices, places, "equal"), on, off)


def _places(net: NetworkBuilder, count: int, behind: int, dtype: str) -> Tensor:
    """0, 1, ... along a dimension with ``behind`` more behind it."""
    return net.constant(np.arange(count, dtype=dtype).reshape([count] + [1] * behind))


def sequence_mask_rule(call: OpCall) -> Optional[str]:
    """axis 0 or 1, with the batch in the other; the axis not dynamic"""
    if call.inputs[1].dtype not in (*INDICES, "float32"):
        return f"{call.inputs[1]}: lengths must be int32, int64 or float32"
    return axis_rule(call)


@operator(
    "sequence_mask",
    since=(7, 0, 0),
    dtypes=NUMBERS,
    rule=sequence_mask_rule,
    touches_batch=axis_is_batch,
    free_operands=(1,),
)
def sequence_mask(net: NetworkBuilder, op: OpNode) -> Tensor:
    (x, lengths), axis = op.inputs, op.axis()
    places = _places(net, x.shape[axis], 1 - axis, lengths.dtype)
    lengths = net.reshape(lengths, [1, -1] if axis == 0 else [-1, 1])
    kept = net.reshape(net.elementwise(places, lengths, "less"), [*x.shape[:2], *[1] * (x.rank - 2)])
    return net.select(kept, x, net.scalar(op.attrs["mask_value"], x))
