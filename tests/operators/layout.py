"""Cases of operators that move data."""

from __future__ import annotations

import dataclasses
from typing import Any, Callable, Dict, List, Tuple

import numpy as np
from hypothesis import strategies as st
from tvm import relay

from .case import (
    EXPLICIT,
    IMAGE,
    Case,
    Draw,
    Refused,
    Shape,
    axes,
    constant,
    scalar,
    shapes,
    strategy,
)


def split(x: relay.Expr, parts: Any, axis: int) -> relay.Expr:
    return relay.split(x, parts, axis=axis).astuple()


def meshgrid(*tensors: relay.Expr, indexing: str = "ij") -> relay.Expr:
    return relay.meshgrid(list(tensors), indexing).astuple()


def depth_to_space(x: relay.Expr, layout: str = "NCHW", mode: str = "DCR", block: int = 2) -> relay.Expr:
    return relay.nn.depth_to_space(x, block, layout, mode)


def bands(*widths: int) -> List[Tuple[int, int]]:
    """The widths before and after each dimension."""
    return list(zip(widths[::2], widths[1::2]))


BLOCKS = ((2, 8, 3, 4),)

CASES = [
    Case("nn.batch_flatten", "rank 4", relay.nn.batch_flatten, IMAGE),
    Case("nn.batch_flatten", "rank 2", relay.nn.batch_flatten, ((2, 3),)),
    Case("nn.batch_flatten", "rank 1", relay.nn.batch_flatten, ((2,),)),
    Case("nn.batch_flatten", "int32", relay.nn.batch_flatten, IMAGE, dtype="int32", low=-9, high=9),
    Case("concatenate", "axis 1", lambda x, y: relay.concatenate([x, y], axis=1), ((2, 3, 4), (2, 5, 4))),
    Case("concatenate", "axis -1", lambda x, y: relay.concatenate([x, y], axis=-1), ((2, 3), (2, 1))),
    Case("concatenate", "batch", lambda x, y: relay.concatenate([x, y], axis=0), ((2, 3), (4, 3)), options=EXPLICIT),
    Case("concatenate", "repeated", lambda x: relay.concatenate([x, x, x], axis=1), ((2, 3),)),
    Case("concatenate", "one", lambda x: relay.concatenate([x], axis=1), ((2, 3),)),
    Case(
        "concatenate", "constants", lambda x: relay.concatenate([constant(x, 2, 1), x, constant(x, 2, 2)], 1), ((2, 3),)
    ),
    Case("concatenate", "bool", lambda x, y: relay.concatenate([x, y], axis=1), ((2, 3), (2, 5)), dtype="bool"),
    Case("transpose", "axes", lambda x: relay.transpose(x, (0, 2, 3, 1)), ((2, 3, 4, 5),)),
    Case("transpose", "negative axes", lambda x: relay.transpose(x, (0, -1, 1)), ((2, 3, 4),)),
    Case("transpose", "no axes", relay.transpose, ((2, 3, 4),), options=EXPLICIT),
    Case("transpose", "no axes, rank 1", relay.transpose, ((3,),)),
    Case("transpose", "batch", lambda x: relay.transpose(x, (1, 0)), ((2, 3),), options=EXPLICIT),
    Case("transpose", "bool", lambda x: relay.transpose(x, (0, 2, 1)), ((2, 3, 4),), dtype="bool"),
    Case("layout_transform", "to NHWC", lambda x: relay.layout_transform(x, "NCHW", "NHWC"), IMAGE),
    Case("layout_transform", "to NCHW", lambda x: relay.layout_transform(x, "NHWC", "NCHW"), IMAGE),
    Case("layout_transform", "of a sequence", lambda x: relay.layout_transform(x, "NCW", "NWC"), ((2, 3, 4),)),
    Case("layout_transform", "batch", lambda x: relay.layout_transform(x, "NCHW", "CHWN"), IMAGE, options=EXPLICIT),
    Case("layout_transform", "of a kernel", lambda x: relay.layout_transform(x, "OIDHW", "ODHWI"), ((2, 3, 1, 2, 2),)),
    Case("reshape", "fewer dimensions", lambda x: relay.reshape(x, (2, -1)), ((2, 3, 4),)),
    Case("reshape", "more dimensions", lambda x: relay.reshape(x, (0, 2, 3, -1)), ((2, 12),)),
    Case(
        "reshape",
        "Relay's own codes",
        lambda x: relay.reshape(x, (-4, 1, 2, -3, -2)),
        ((2, 3, 4, 5),),
        options=EXPLICIT,
    ),
    Case("reshape", "batch", lambda x: relay.reshape(x, (-1,)), ((2, 3, 4),), options=EXPLICIT),
    Case("reshape", "scalar", lambda x: relay.reshape(x, ()), ((1, 1),), options=EXPLICIT),
    Case("reshape", "bool", lambda x: relay.reshape(x, (0, -1)), ((2, 3, 4),), dtype="bool"),
    Case("reshape_like", "all", relay.reshape_like, ((2, 12), (2, 3, 4))),
    Case(
        "reshape_like",
        "some",
        lambda x, y: relay.reshape_like(x, y, lhs_begin=1, lhs_end=2, rhs_begin=1, rhs_end=3),
        ((2, 12, 5), (2, 3, 4)),
    ),
    Case("reshape_like", "batch", relay.reshape_like, ((2, 12), (3, 8)), options=EXPLICIT),
    Case("contrib_reverse_reshape", "from the right", lambda x: relay.reverse_reshape(x, (-1, 0)), ((2, 1, 3),)),
    Case(
        "contrib_reverse_reshape", "batch", lambda x: relay.reverse_reshape(x, (-1, 0)), ((10, 5, 4),), options=EXPLICIT
    ),
    Case("squeeze", "one axis", lambda x: relay.squeeze(x, axis=[2]), ((2, 3, 1, 1),)),
    Case("squeeze", "negative axes", lambda x: relay.squeeze(x, axis=[-1, -2]), ((2, 3, 1, 1),)),
    Case("squeeze", "no axis", relay.squeeze, ((2, 1, 3, 1),)),
    Case("squeeze", "to a scalar", relay.squeeze, ((1, 1),), options=EXPLICIT),
    Case("expand_dims", "one axis", lambda x: relay.expand_dims(x, axis=1), ((2, 3),)),
    Case("expand_dims", "several", lambda x: relay.expand_dims(x, axis=-1, num_newaxis=3), ((2, 3),)),
    Case("expand_dims", "batch", lambda x: relay.expand_dims(x, axis=0), ((2, 3),), options=EXPLICIT),
    Case("expand_dims", "of a scalar", lambda x: relay.expand_dims(x, axis=0, num_newaxis=2), ((),), options=EXPLICIT),
    Case("nn.depth_to_space", "DCR", depth_to_space, BLOCKS),
    Case("nn.depth_to_space", "CRD", lambda x: depth_to_space(x, mode="CRD"), BLOCKS),
    Case("nn.depth_to_space", "NHWC", lambda x: depth_to_space(x, "NHWC"), ((2, 3, 4, 8),)),
    Case("nn.depth_to_space", "NHWC, CRD", lambda x: depth_to_space(x, "NHWC", "CRD"), ((2, 3, 4, 8),)),
    Case("nn.depth_to_space", "block of 3", lambda x: depth_to_space(x, block=3), ((1, 9, 2, 2),)),
    Case("nn.space_to_depth", "NCHW", lambda x: relay.nn.space_to_depth(x, 2), ((2, 3, 4, 6),)),
    Case("nn.space_to_depth", "NHWC", lambda x: relay.nn.space_to_depth(x, 2, "NHWC"), ((2, 4, 6, 3),)),
    Case(
        "nn.space_to_batch_nd",
        "padding",
        lambda x: relay.nn.space_to_batch_nd(x, [2, 3], [[1, 0], [0, 2]]),
        ((2, 3, 4, 5),),
        options=EXPLICIT,
    ),
    Case(
        "nn.space_to_batch_nd",
        "value",
        lambda x: relay.nn.space_to_batch_nd(x, [2], [[1, 1]], pad_value=0.5),
        ((1, 4),),
        options=EXPLICIT,
    ),
    Case(
        "nn.batch_to_space_nd",
        "crops",
        lambda x: relay.nn.batch_to_space_nd(x, [2, 3], [[1, 0], [0, 2]]),
        ((12, 2, 2, 5),),
        options=EXPLICIT,
    ),
    Case(
        "nn.batch_to_space_nd",
        "one dimension",
        lambda x: relay.nn.batch_to_space_nd(x, [2], [[0, 0]]),
        ((4, 3),),
        options=EXPLICIT,
    ),
    Case(
        "nn.batch_to_space_nd",
        "two dimensions behind the block",
        lambda x: relay.nn.batch_to_space_nd(x, [2], [[0, 1]]),
        ((4, 3, 2, 5),),
        options=EXPLICIT,
        # TVM's LLVM code: "repeated axis in transpose".
        same_as=lambda x: relay.reshape(
            relay.nn.batch_to_space_nd(relay.reshape(x, (4, 3, 10)), [2], [[0, 1]]), (2, 5, 2, 5)
        ),
    ),
    Case("stack", "axis 1", lambda x, y: relay.stack([x, y], axis=1), ((2, 3), (2, 3))),
    Case("stack", "axis -1", lambda x, y: relay.stack([x, y, x], axis=-1), ((2, 3), (2, 3))),
    Case("stack", "constant", lambda x: relay.stack([x, constant(x, 2, 3)], axis=-2), ((2, 3),)),
    Case("stack", "batch", lambda x, y: relay.stack([x, y], axis=0), ((2, 3), (2, 3)), options=EXPLICIT),
    Case("stack", "scalars", lambda x, y: relay.stack([x, y], axis=0), ((), ()), options=EXPLICIT),
    Case("strided_slice", "bounds", lambda x: relay.strided_slice(x, [0, 1, 2], [2, 3, 5]), ((2, 3, 5),)),
    Case("strided_slice", "strides", lambda x: relay.strided_slice(x, [0, 1, 0], [2, 6, 5], [1, 2, 3]), ((2, 7, 5),)),
    Case(
        "strided_slice",
        "negative bounds",
        lambda x: relay.strided_slice(x, [0, -3, -100], [2, -1, 100]),
        ((2, 4, 5),),
    ),
    Case(
        "strided_slice",
        "negative strides",
        lambda x: relay.strided_slice(x, [0, -1, 3], [2, -100, 0], [1, -1, -2]),
        ((2, 4, 5),),
    ),
    Case("strided_slice", "fewer bounds", lambda x: relay.strided_slice(x, [0, 1], [2]), ((2, 3, 5),)),
    Case("strided_slice", "no bounds", lambda x: relay.strided_slice(x, [], []), ((2, 3, 5),)),
    Case("strided_slice", "one stride", lambda x: relay.strided_slice(x, [0, 1], [2, 3], [1]), ((2, 3, 5),)),
    Case("strided_slice", "axes", lambda x: relay.strided_slice(x, [1, 0], [3, 2], [2, 1], axes=[2, 1]), ((2, 3, 5),)),
    Case(
        "strided_slice",
        "sizes",
        lambda x: relay.strided_slice(x, [0, 1, -3, 1], [-1, 2, 2, 9], slice_mode="size"),
        ((2, 4, 5, 3),),
    ),
    Case(
        "strided_slice",
        "sizes, strides ignored",
        lambda x: relay.strided_slice(x, [0, 1], [-1, 2], [2, 2], slice_mode="size"),
        ((2, 4),),
    ),
    Case("strided_slice", "batch", lambda x: relay.strided_slice(x, [1], [3]), ((4, 3),), options=EXPLICIT),
    Case(
        "strided_slice",
        "batch reversed",
        lambda x: relay.strided_slice(x, [3], [-9], [-1]),
        ((4, 3),),
        options=EXPLICIT,
    ),
    Case("strided_slice", "bool", lambda x: relay.strided_slice(x, [0, 1], [2, 3]), ((2, 5),), dtype="bool"),
    Case("slice_like", "all", relay.slice_like, ((2, 5, 6), (2, 3, 4))),
    Case("slice_like", "axes", lambda x, y: relay.slice_like(x, y, axes=[-1, 1]), ((2, 5, 6), (2, 3, 4))),
    Case("slice_like", "batch", relay.slice_like, ((4, 5), (2, 3)), options=EXPLICIT),
    Case("split", "sections", lambda x: split(x, 3, 1), ((2, 6, 4),)),
    Case("split", "indices", lambda x: split(x, (1, 4), -1), ((2, 3, 6),)),
    Case("split", "one section", lambda x: split(x, 1, 1), ((2, 3),)),
    Case("split", "batch", lambda x: split(x, 2, 0), ((4, 3),), options=EXPLICIT),
    Case("split", "one field", lambda x: relay.split(x, 2, axis=1)[1], ((2, 4),)),
    Case("split", "bool", lambda x: split(x, 2, 1), ((2, 4),), dtype="bool"),
    Case("reverse", "axis 1", lambda x: relay.reverse(x, 1), ((2, 3, 4),)),
    Case("reverse", "axis -1", lambda x: relay.reverse(x, -1), ((2, 3, 4),)),
    Case("reverse", "batch", lambda x: relay.reverse(x, 0), ((2, 3),), options=EXPLICIT),
    Case("tile", "all but the batch", lambda x: relay.tile(x, (1, 2, 3)), ((2, 3, 4),)),
    Case("tile", "fewer repetitions", lambda x: relay.tile(x, (2,)), ((2, 3),)),
    Case("tile", "dimensions of 1", lambda x: relay.tile(x, (1, 2, 3, 4)), ((2, 1, 3, 1),)),
    Case("tile", "nothing", lambda x: relay.tile(x, (1, 1)), ((2, 3),)),
    Case("tile", "batch", lambda x: relay.tile(x, (2, 1)), ((2, 3),), options=EXPLICIT),
    Case("tile", "more repetitions", lambda x: relay.tile(x, (2, 1, 2)), ((2, 3),), options=EXPLICIT),
    Case("tile", "of a scalar", lambda x: relay.tile(x, (2, 3)), ((),), options=EXPLICIT),
    Case("tile", "bool", lambda x: relay.tile(x, (1, 2)), ((2, 3),), dtype="bool"),
    Case("repeat", "axis 1", lambda x: relay.repeat(x, 3, 1), ((2, 3, 4),)),
    Case("repeat", "axis -1", lambda x: relay.repeat(x, 2, -1), ((2, 3, 4),)),
    Case("repeat", "batch", lambda x: relay.repeat(x, 2, 0), ((2, 3),), options=EXPLICIT),
    Case("broadcast_to", "dimensions of 1", lambda x: relay.broadcast_to(x, (2, 3, 4)), ((2, 1, 4),)),
    Case("broadcast_to", "more dimensions", lambda x: relay.broadcast_to(x, (2, 3, 4)), ((4,),), options=EXPLICIT),
    Case("broadcast_to", "of a scalar", lambda x: relay.broadcast_to(x, (2, 3)), ((),), options=EXPLICIT),
    Case("broadcast_to", "the same shape", lambda x: relay.broadcast_to(x, (2, 3)), ((2, 3),)),
    Case("broadcast_to", "bool", lambda x: relay.broadcast_to(x, (2, 3)), ((2, 1),), dtype="bool"),
    Case("broadcast_to_like", "dimensions of 1", relay.broadcast_to_like, ((2, 1, 4), (2, 3, 4))),
    Case("broadcast_to_like", "more dimensions", relay.broadcast_to_like, ((3,), (2, 3)), options=EXPLICIT),
    Case("meshgrid", "ij", meshgrid, ((2,), (3,), (4,)), options=EXPLICIT),
    Case("meshgrid", "xy", lambda *x: meshgrid(*x, indexing="xy"), ((2,), (3,), (4,)), options=EXPLICIT),
    Case("meshgrid", "a scalar, a constant", lambda x, y: meshgrid(x, y, constant(x, 2)), ((), (3,)), options=EXPLICIT),
    Case("meshgrid", "one", lambda x: meshgrid(x, indexing="xy"), ((3,),), options=EXPLICIT),
    Case("nn.pad", "zeros", lambda x: relay.nn.pad(x, bands(0, 0, 1, 2, 3, 0)), ((2, 3, 4),)),
    Case("nn.pad", "value", lambda x: relay.nn.pad(x, bands(0, 0, 1, 2), -2.5), ((2, 3),)),
    Case("nn.pad", "value of another dtype", lambda x: relay.nn.pad(x, bands(0, 0, 1, 2), 2), ((2, 3),)),
    Case("nn.pad", "value of one dimension", lambda x: relay.nn.pad(x, bands(0, 0, 1, 0), constant(x, 1)), ((2, 3),)),
    Case("nn.pad", "negative", lambda x: relay.nn.pad(x, bands(0, 0, -1, 2, -2, -1), 0.5), ((2, 3, 4),)),
    Case("nn.pad", "batch", lambda x: relay.nn.pad(x, bands(1, 0, 0, 2)), ((2, 3),), options=EXPLICIT),
    Case("nn.pad", "edge", lambda x: relay.nn.pad(x, bands(0, 0, 1, 5, -1, 2), pad_mode="edge"), ((2, 3, 4),)),
    Case("nn.pad", "reflect", lambda x: relay.nn.pad(x, bands(0, 0, 2, 1, -1, 3), pad_mode="reflect"), ((2, 3, 4),)),
    Case(
        "nn.pad", "int32", lambda x: relay.nn.pad(x, bands(0, 0, 1, 2), 2.0), ((2, 3),), dtype="int32", low=-9, high=9
    ),
    Case("nn.mirror_pad", "SYMMETRIC", lambda x: relay.nn.mirror_pad(x, bands(0, 0, 3, 1, 0, 2)), ((2, 3, 4),)),
    Case("nn.mirror_pad", "REFLECT", lambda x: relay.nn.mirror_pad(x, bands(0, 0, 2, 1), "REFLECT"), ((2, 3),)),
    Case("nn.mirror_pad", "batch", lambda x: relay.nn.mirror_pad(x, bands(2, 1, 0, 0)), ((2, 3),), options=EXPLICIT),
    Case("nn.mirror_pad", "bool", lambda x: relay.nn.mirror_pad(x, bands(0, 0, 3, 1)), ((2, 3),), dtype="bool"),
]

DYNAMIC = ((relay.Any(), 4),)

REFUSED = [
    Refused("transpose", relay.transpose, ((),), "a scalar has no axes"),
    Refused("reshape", lambda x: relay.reshape(x, (-1, 2)), DYNAMIC, "the dynamic first dimension must stay the first"),
    Refused(
        "reshape_like", relay.reshape_like, ((2, 4), (relay.Any(), 4)), "the dynamic first dimension is that of another"
    ),
    Refused(
        "layout_transform",
        lambda x: relay.layout_transform(x, "NCHW", "NCHW4c"),
        ((1, 8, 2, 2),),
        "from NCHW to NCHW4c: only the order of the letters may change",
    ),
    Refused("nn.depth_to_space", depth_to_space, ((1, 6, 2, 2),), "6 channels are no multiple of 2 * 2"),
    Refused(
        "nn.space_to_depth", lambda x: relay.nn.space_to_depth(x, 2), ((1, 3, 2, 5),), "2 * 5 is no multiple of 2 * 2"
    ),
    Refused(
        "nn.space_to_batch_nd",
        lambda x: relay.nn.space_to_batch_nd(x, [1, 1, 1, 1], [[0, 0]] * 4),
        ((1, 2, 2, 2, 2),),
        "it takes 9 dimensions on the way",
    ),
    Refused(
        "nn.batch_to_space_nd",
        lambda x: relay.nn.batch_to_space_nd(x, [2], [[0, 0]]),
        DYNAMIC,
        "the first dimension is dynamic",
    ),
    Refused(
        "strided_slice", lambda x: relay.strided_slice(x, [0], [2]), DYNAMIC, "is dynamic, and not all of it is taken"
    ),
    Refused(
        "slice_like", relay.slice_like, ((relay.Any(), 4), (2, 3)), "the first dimension is dynamic, and it is cut"
    ),
    Refused(
        "strided_slice",
        lambda x: relay.strided_slice(x, [0, 1], [2, 2]),
        ((2, relay.Any()),),
        "dimension 1 is dynamic, and not all of it is taken",
        options={"input_shapes": {"x0": (2, 4)}},
    ),
    Refused(
        "reshape",
        lambda x: relay.reshape(x, (-3, -3)),
        ((relay.Any(),) * 4,),
        r"the dimensions [0, 1] are dynamic, and only one may be computed",
        options={"input_shapes": {"x0": (2, 4, 2, 4)}},
    ),
    Refused("split", lambda x: split(x, (1,), 0), DYNAMIC, "the axis is dimension 0, and that is dynamic"),
    Refused("reverse", lambda x: relay.reverse(x, 0), DYNAMIC, "the axis is dimension 0, and that is dynamic"),
    Refused("repeat", lambda x: relay.repeat(x, 2, 0), DYNAMIC, "the axis is dimension 0, and that is dynamic"),
    Refused("tile", lambda x: relay.tile(x, (2, 1)), DYNAMIC, "the first dimension is dynamic, and it is repeated"),
    Refused(
        "broadcast_to", lambda x: relay.broadcast_to(x, (2, 4)), DYNAMIC, "whether a dynamic dimension is repeated"
    ),
    Refused("meshgrid", meshgrid, ((relay.Any(),),), "a dynamic dimension becomes one of the grid's"),
    Refused("nn.pad", lambda x: relay.nn.pad(x, bands(0, 0, 1, 0), pad_mode="other"), ((2, 3),), "mode other"),
    Refused(
        "nn.pad", lambda x, y: relay.nn.pad(x, bands(0, 0, 1, 0), y), ((2, 3), ()), "the value must be one constant"
    ),
    Refused(
        "nn.pad", lambda x: relay.nn.pad(x, bands(1, 0, 0, 0), pad_mode="edge"), DYNAMIC, "what it gets or loses is not"
    ),
    Refused("nn.pad", lambda x: relay.nn.pad(x, bands(-1, 0, 0, 0)), DYNAMIC, "what it gets or loses is not constant"),
    Refused("nn.pad", lambda x: relay.nn.pad(x, bands(0, 0, -3, 4)), ((2, 3),), "crop all of 3 elements"),
    Refused(
        "nn.pad",
        lambda x: relay.nn.pad(x, bands(0, 0, 3, 0), pad_mode="reflect"),
        ((2, 3),),
        "the widths 3 and 0 reflect more than 3 elements have",
    ),
    Refused("nn.pad", lambda x: relay.nn.pad(x, bands(0, 0, 1, 0)), ((2, 3),), "the dtype must be", dtypes=("bool",)),
    Refused(
        "nn.mirror_pad", lambda x: relay.nn.mirror_pad(x, bands(1, 0, 1, 0)), DYNAMIC, "is dynamic, and it is padded"
    ),
    Refused(
        "nn.mirror_pad", lambda x: relay.nn.mirror_pad(x, bands(0, 0, 0, 4)), ((2, 3),), "mirror more than 3 elements"
    ),
    Refused("stack", lambda x: relay.stack([x, x], 0), DYNAMIC, "only the first dimension may be dynamic"),
]


def moved(draw: Draw, op: str, build: Callable[..., relay.Expr], *shapes: Shape, **attrs: Any) -> Case:
    """A case of any dtype that data of is moved."""
    case = Case(op, f"{shapes} {attrs}", lambda *x: build(*x, **attrs), shapes, low=-9, high=9)
    return dataclasses.replace(case, dtype=draw(st.sampled_from(["float32", "float32", "int32", "bool"])))


@strategy("nn.batch_flatten")
def batch_flatten(draw: Draw, op: str) -> Case:
    return moved(draw, op, relay.nn.batch_flatten, draw(shapes(1, 5)))


@strategy("concatenate")
def concatenate(draw: Draw, op: str) -> Case:
    shape = draw(shapes(1, 4))
    axis = draw(axes(shape))
    # An input, the first input again, or a constant.
    members = draw(st.lists(st.sampled_from(["input", "repeated", "constant"]), min_size=1, max_size=4))
    sizes = [draw(st.integers(1, 3)) for _ in members]
    of_size = {size: (*shape[: axis % len(shape)], size, *shape[axis % len(shape) + 1 :]) for size in sizes}
    inputs = [shape, *(of_size[size] for member, size in zip(members, sizes) if member == "input")]

    def build(first: relay.Var, *others: relay.Var) -> relay.Expr:
        rest = list(others)
        tensors = [first]
        for member, size in zip(members, sizes):
            tensors.append(
                rest.pop(0) if member == "input" else first if member == "repeated" else constant(first, *of_size[size])
            )
        return relay.concatenate(tensors, axis=axis)

    return Case(op, f"{inputs} {members} {axis}", build, tuple(inputs))


@strategy("transpose")
def transpose(draw: Draw, op: str) -> Case:
    shape = draw(shapes(0, 5))
    order = draw(st.permutations(range(len(shape))))
    signs = [draw(st.sampled_from([0, len(shape)])) for _ in shape]
    permutation = [axis - back for axis, back in zip(order, signs)]
    return moved(draw, op, relay.transpose, shape, axes=draw(st.sampled_from([None, permutation])))


@strategy("layout_transform")
def layout_transform(draw: Draw, op: str) -> Case:
    shape = draw(shapes(1, 5))
    source = "NCDHW"[: len(shape)] if len(shape) != 4 else "NCHW"
    destination = "".join(draw(st.permutations(source)))
    return moved(draw, op, relay.layout_transform, shape, src_layout=source, dst_layout=destination)


@strategy("reshape")
def reshape(draw: Draw, op: str) -> Case:
    factors = draw(shapes(0, 5))
    splits = sorted(draw(st.lists(st.integers(0, len(factors)), max_size=4)))
    shape = [int(np.prod(factors[a:b])) for a, b in zip([0, *splits], [*splits, len(factors)])]
    if draw(st.booleans()):
        shape[draw(axes(tuple(shape)))] = -1
    return moved(draw, op, relay.reshape, factors, newshape=shape)


@strategy("squeeze")
def squeeze(draw: Draw, op: str) -> Case:
    shape = draw(shapes(1, 5, max_side=2))
    ones = [axis for axis, size in enumerate(shape) if size == 1]
    axis = [index - draw(st.sampled_from([0, len(shape)])) for index in ones if draw(st.booleans())]
    return moved(draw, op, relay.squeeze, shape, axis=axis or None)


@strategy("expand_dims")
def expand_dims(draw: Draw, op: str) -> Case:
    shape = draw(shapes(0, 4))
    axis = draw(st.integers(-len(shape) - 1, len(shape)))
    return moved(draw, op, relay.expand_dims, shape, axis=axis, num_newaxis=draw(st.integers(0, 3)))


@strategy("reshape_like")
def reshape_like(draw: Draw, op: str) -> Case:
    before, factors, after = (draw(shapes(low, high)) for low, high in ((0, 2), (1, 3), (0, 2)))
    joined = (*before, int(np.prod(factors)), *after)
    ends = {"lhs_begin": len(before), "lhs_end": len(before) + 1, "rhs_begin": 1, "rhs_end": 1 + len(factors)}
    like = (draw(st.integers(1, 3)), *factors, draw(st.integers(1, 3)))
    if draw(st.booleans()):  # the whole of both
        ends, like = {}, (*before, *factors, *after)
    return moved(draw, op, relay.reshape_like, joined, like, **ends)


@strategy("contrib_reverse_reshape")
def reverse_reshape(draw: Draw, op: str) -> Case:
    shape = draw(shapes(1, 4))
    copied = draw(st.integers(0, len(shape) - 1))
    return moved(draw, op, relay.reverse_reshape, shape, newshape=[-1] + [0] * copied)


def blocks(draw: Draw) -> Tuple[int, str, Shape]:
    """A block's size, a layout, and an image of blocks in that layout."""
    block, sides = draw(st.integers(1, 3)), st.integers(1, 3)
    n, c, h, w = (draw(sides) for _ in range(4))
    nchw = draw(st.booleans())
    return block, "NCHW" if nchw else "NHWC", (n, c, h, w) if nchw else (n, h, w, c)


@strategy("nn.depth_to_space")
def depth_to_space_case(draw: Draw, op: str) -> Case:
    block, layout, shape = blocks(draw)
    channel = layout.index("C")
    channels = shape[channel] * block**2 + draw(st.sampled_from([0, 0, 0, 1]))
    shape = (*shape[:channel], channels, *shape[channel + 1 :])
    mode = draw(st.sampled_from(["DCR", "CRD", "CDR"]))
    return moved(draw, op, relay.nn.depth_to_space, shape, block_size=block, layout=layout, mode=mode)


@strategy("nn.space_to_depth")
def space_to_depth(draw: Draw, op: str) -> Case:
    block, layout, shape = blocks(draw)
    odd = draw(st.sampled_from([0, 0, 0, 1]))
    shape = tuple(size * block + odd if letter in "HW" else size for letter, size in zip(layout, shape))
    return moved(draw, op, relay.nn.space_to_depth, shape, block_size=block, layout=layout)


@strategy("nn.space_to_batch_nd")
def space_to_batch_nd(draw: Draw, op: str) -> Case:
    sizes = draw(st.lists(st.integers(1, 3), min_size=1, max_size=3))
    paddings = [draw(st.tuples(st.integers(0, 2), st.integers(0, 2))) for _ in sizes]
    spatial = []
    for size, (before, after) in zip(sizes, paddings):
        least = max(1, -(-(before + after) // size) * size - before - after)
        spatial.append(least + (-(least + before + after)) % size + size * draw(st.integers(0, 1)))
    shape = (draw(st.integers(1, 3)), *spatial, *draw(shapes(0, 2)))
    attrs = {"block_shape": sizes, "paddings": [list(pair) for pair in paddings]}
    return moved(draw, op, relay.nn.space_to_batch_nd, shape, pad_value=draw(st.sampled_from([0, 1, 0.5])), **attrs)


@strategy("nn.batch_to_space_nd")
def batch_to_space_nd(draw: Draw, op: str) -> Case:
    sizes = draw(st.lists(st.integers(1, 3), min_size=1, max_size=3))
    spatial = [draw(st.integers(1, 3)) for _ in sizes]
    crops = []
    for size, length in zip(sizes, spatial):
        before = draw(st.integers(0, min(2, size * length - 1)))
        crops.append([before, draw(st.integers(0, min(2, size * length - 1 - before)))])
    # TVM's own code computes no more than one dimension behind the blocks.
    shape = (int(np.prod(sizes)) * draw(st.integers(1, 2)), *spatial, *draw(shapes(0, 1)))
    return moved(draw, op, relay.nn.batch_to_space_nd, shape, block_shape=sizes, crops=crops)


@strategy("stack")
def stack(draw: Draw, op: str) -> Case:
    shape = draw(shapes(0, 4))
    axis = draw(st.integers(-len(shape) - 1, len(shape)))
    members = draw(st.lists(st.sampled_from(["input", "repeated", "constant"]), min_size=1, max_size=4))

    def build(first: relay.Var, *others: relay.Var) -> relay.Expr:
        rest, tensors = list(others), [first]
        for member in members:
            tensors.append(
                {"input": rest.pop, "repeated": lambda: first, "constant": lambda: constant(first, *shape)}[member]()
            )
        return relay.stack(tensors, axis)

    case = moved(draw, op, build, *[shape] * (1 + members.count("input")))
    return dataclasses.replace(case, name=f"{shape} {members} {axis}")


@strategy("strided_slice")
def strided_slice(draw: Draw, op: str) -> Case:
    shape = draw(shapes(1, 4, max_side=6))
    listed = draw(st.permutations(range(len(shape))))[: draw(st.integers(0, len(shape)))]
    named = draw(st.booleans())
    begin, end, strides = [], [], []
    for axis in listed if named else range(len(listed)):
        # Not all is taken of what the first dimension has, where that is dynamic: it is often the whole of it.
        bounds = st.one_of(st.integers(-shape[axis] - 1, shape[axis] + 1), st.sampled_from([2**31 - 1, 2**63 - 1]))
        begin.append(draw(st.sampled_from([0, draw(st.integers(-shape[axis] - 1, shape[axis]))])))
        end.append(draw(bounds))
        strides.append(draw(st.sampled_from([1, 1, 2, 3, -1, -2])))
    attrs: Dict[str, Any] = {"axes": list(listed)} if named else {}
    if draw(st.booleans()):
        attrs["slice_mode"] = "size"
    if not named and draw(st.booleans()):
        strides = strides[: draw(st.integers(0, len(strides)))]
    return moved(draw, op, relay.strided_slice, shape, begin=begin, end=end, strides=strides, **attrs)


@strategy("slice_like")
def slice_like(draw: Draw, op: str) -> Case:
    shape = draw(shapes(1, 4))
    like = tuple(draw(st.integers(1, size)) for size in shape)
    chosen = draw(st.one_of(st.none(), st.lists(axes(shape), max_size=len(shape), unique_by=lambda a: a % len(shape))))
    return moved(draw, op, relay.slice_like, shape, like, axes=chosen)


@strategy("split")
def split_case(draw: Draw, op: str) -> Case:
    shape = list(draw(shapes(1, 4, max_side=6)))
    axis = draw(axes(tuple(shape)))
    parts = draw(st.integers(1, 4))
    if draw(st.booleans()):
        shape[axis] *= parts
    else:
        parts = sorted(draw(st.sets(st.integers(1, max(shape[axis] - 1, 1)))))
    return moved(draw, op, split, tuple(shape), parts=parts, axis=axis)


@strategy("reverse")
def reverse(draw: Draw, op: str) -> Case:
    shape = draw(shapes(1, 5))
    return moved(draw, op, relay.reverse, shape, axis=draw(axes(shape)))


@strategy("tile")
def tile(draw: Draw, op: str) -> Case:
    return moved(draw, op, relay.tile, draw(shapes(0, 4)), reps=list(draw(shapes(0, 5, max_side=3))))


@strategy("repeat")
def repeat(draw: Draw, op: str) -> Case:
    shape = draw(shapes(1, 5))
    return moved(draw, op, relay.repeat, shape, repeats=draw(st.integers(1, 4)), axis=draw(axes(shape)))


def broadcastable(draw: Draw) -> Tuple[Shape, Shape]:
    """A shape, and one to which it broadcasts."""
    shape = draw(shapes(0, 4))
    return tuple(draw(st.sampled_from([size, 1])) for size in shape[draw(st.integers(0, len(shape))) :]), shape


@strategy("broadcast_to")
def broadcast_to(draw: Draw, op: str) -> Case:
    before, after = broadcastable(draw)
    return moved(draw, op, relay.broadcast_to, before, shape=after)


@strategy("broadcast_to_like")
def broadcast_to_like(draw: Draw, op: str) -> Case:
    return moved(draw, op, relay.broadcast_to_like, *broadcastable(draw))


@strategy("meshgrid")
def meshgrid_case(draw: Draw, op: str) -> Case:
    tensors = draw(st.lists(shapes(0, 1), min_size=1, max_size=4))
    return moved(draw, op, meshgrid, *tensors, indexing=draw(st.sampled_from(["ij", "xy"])))


def widths(draw: Draw, shape: Shape, least: int) -> List[Tuple[int, int]]:
    """Numbers before and after each dimension; none for the first one, often, which may be dynamic."""
    number = st.integers(least, 4)
    pairs = [draw(st.tuples(number, number)) for _ in shape]
    return [(0, 0), *pairs[1:]] if draw(st.booleans()) else pairs


@strategy("nn.pad")
def pad(draw: Draw, op: str) -> Case:
    shape = draw(shapes(1, 4))
    mode = draw(st.sampled_from(["constant", "edge", "reflect"]))
    value, own_dtype = draw(st.sampled_from([0, 1, -2.5])), draw(st.booleans())
    around = widths(draw, shape, -2)

    def build(x: relay.Var) -> relay.Expr:
        return relay.nn.pad(x, around, scalar(x, value) if own_dtype else value, mode)

    return moved(draw, op, build, shape)


@strategy("nn.mirror_pad")
def mirror_pad(draw: Draw, op: str) -> Case:
    shape = draw(shapes(1, 4))
    mode = draw(st.sampled_from(["SYMMETRIC", "REFLECT"]))
    return moved(draw, op, relay.nn.mirror_pad, shape, pad_width=widths(draw, shape, 0), mode=mode)
