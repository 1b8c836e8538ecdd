"""Cases of operators that move data."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from tvm import relay

from .case import (
    EXPLICIT,
    IMAGE,
    Case,
    Draw,
    Refused,
    attributed,
    axes,
    constant,
    images,
    shapes,
    strategy,
)

CASES = [
    Case("nn.batch_flatten", "rank 4", relay.nn.batch_flatten, IMAGE),
    Case("nn.batch_flatten", "rank 2", relay.nn.batch_flatten, ((2, 3),)),
    Case("nn.batch_flatten", "rank 1", relay.nn.batch_flatten, ((2,),)),
    Case("concatenate", "axis 1", lambda x, y: relay.concatenate([x, y], axis=1), ((2, 3, 4), (2, 5, 4))),
    Case("concatenate", "axis -1", lambda x, y: relay.concatenate([x, y], axis=-1), ((2, 3), (2, 1))),
    Case("concatenate", "batch", lambda x, y: relay.concatenate([x, y], axis=0), ((2, 3), (4, 3)), options=EXPLICIT),
    Case("concatenate", "repeated", lambda x: relay.concatenate([x, x, x], axis=1), ((2, 3),)),
    Case("concatenate", "one", lambda x: relay.concatenate([x], axis=1), ((2, 3),)),
    Case(
        "concatenate", "constants", lambda x: relay.concatenate([constant(x, 2, 1), x, constant(x, 2, 2)], 1), ((2, 3),)
    ),
    Case("transpose", "axes", lambda x: relay.transpose(x, (0, 2, 3, 1)), ((2, 3, 4, 5),)),
    Case("transpose", "negative axes", lambda x: relay.transpose(x, (0, -1, 1)), ((2, 3, 4),)),
    Case("transpose", "no axes", relay.transpose, ((2, 3, 4),), options=EXPLICIT),
    Case("transpose", "no axes, rank 1", relay.transpose, ((3,),)),
    Case("transpose", "batch", lambda x: relay.transpose(x, (1, 0)), ((2, 3),), options=EXPLICIT),
    Case("layout_transform", "to NHWC", lambda x: relay.layout_transform(x, "NCHW", "NHWC"), IMAGE),
    Case("layout_transform", "to NCHW", lambda x: relay.layout_transform(x, "NHWC", "NCHW"), IMAGE),
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
    Case("squeeze", "one axis", lambda x: relay.squeeze(x, axis=[2]), ((2, 3, 1, 1),)),
    Case("squeeze", "negative axes", lambda x: relay.squeeze(x, axis=[-1, -2]), ((2, 3, 1, 1),)),
    Case("squeeze", "no axis", relay.squeeze, ((2, 1, 3, 1),)),
    Case("squeeze", "to a scalar", relay.squeeze, ((1, 1),), options=EXPLICIT),
    Case("expand_dims", "one axis", lambda x: relay.expand_dims(x, axis=1), ((2, 3),)),
    Case("expand_dims", "several", lambda x: relay.expand_dims(x, axis=-1, num_newaxis=3), ((2, 3),)),
    Case("expand_dims", "batch", lambda x: relay.expand_dims(x, axis=0), ((2, 3),), options=EXPLICIT),
    Case("expand_dims", "of a scalar", lambda x: relay.expand_dims(x, axis=0, num_newaxis=2), ((),), options=EXPLICIT),
]


REFUSED = [
    Refused("transpose", relay.transpose, ((),), "a scalar has no axes"),
]


@strategy("nn.batch_flatten")
def batch_flatten(draw: Draw, op: str) -> Case:
    return attributed(op, relay.nn.batch_flatten, draw(shapes(1, 5)))


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
    return attributed(op, relay.transpose, shape, axes=draw(st.sampled_from([None, permutation])))


@strategy("layout_transform")
def layout_transform(draw: Draw, op: str) -> Case:
    layouts = draw(st.permutations(["NCHW", "NHWC"]))
    return attributed(op, relay.layout_transform, draw(images()), src_layout=layouts[0], dst_layout=layouts[1])


@strategy("reshape")
def reshape(draw: Draw, op: str) -> Case:
    factors = draw(shapes(0, 5))
    splits = sorted(draw(st.lists(st.integers(0, len(factors)), max_size=4)))
    shape = [int(np.prod(factors[a:b])) for a, b in zip([0, *splits], [*splits, len(factors)])]
    if draw(st.booleans()):
        shape[draw(axes(tuple(shape)))] = -1
    return attributed(op, relay.reshape, factors, newshape=shape)


@strategy("squeeze")
def squeeze(draw: Draw, op: str) -> Case:
    shape = draw(shapes(1, 5, max_side=2))
    ones = [axis for axis, size in enumerate(shape) if size == 1]
    axis = [index - draw(st.sampled_from([0, len(shape)])) for index in ones if draw(st.booleans())]
    return attributed(op, relay.squeeze, shape, axis=axis or None)


@strategy("expand_dims")
def expand_dims(draw: Draw, op: str) -> Case:
    shape = draw(shapes(0, 4))
    axis = draw(st.integers(-len(shape) - 1, len(shape)))
    return attributed(op, relay.expand_dims, shape, axis=axis, num_newaxis=draw(st.integers(0, 3)))
