"""Cases of matrix products, dense layers and biases."""

from __future__ import annotations

import functools

from hypothesis import strategies as st
from tvm import relay

from .case import EXPLICIT, IMAGE, Case, Draw, Refused, attributed, axes, constant, shapes, strategy


def bias_add(x: relay.Var, axis: int) -> relay.Expr:
    return relay.nn.bias_add(x, constant(x, int(x.type_annotation.shape[axis])), axis)


def dense_by_rows(x: relay.Var, weight: relay.Expr, units: int) -> relay.Expr:
    """A dense layer of more than two dimensions, which TVM's LLVM code does not have."""
    *leading, channels = (int(d) for d in x.type_annotation.shape)
    rows = relay.nn.dense(relay.reshape(x, (-1, channels)), weight)
    return relay.reshape(rows, (*leading, units))


DENSE = [
    Case("nn.dense", "constant weight", lambda x: relay.nn.dense(x, constant(x, 5, 7)), ((3, 7),)),
    Case("nn.dense", "weight as input", relay.nn.dense, ((3, 7), (5, 7)), options=EXPLICIT),
    Case("nn.dense", "constant input", lambda w: relay.nn.dense(constant(w, 5, 7), w), ((5, 7),), options=EXPLICIT),
    Case("nn.dense", "by itself", lambda x: relay.nn.dense(x, x), ((4, 7),)),
    Case("nn.dense", "one by one", lambda x: relay.nn.dense(x, constant(x, 1, 1)), ((1, 1),)),
    Case(
        "nn.dense",
        "rank 3",
        lambda x: relay.nn.dense(x, constant(x, 5, 7)),
        ((2, 3, 7),),
        same_as=lambda x: dense_by_rows(x, constant(x, 5, 7), 5),
    ),
    Case(
        "nn.dense",
        "rank 4, weight as input",
        relay.nn.dense,
        ((2, 3, 4, 7), (5, 7)),
        options=EXPLICIT,
        same_as=lambda x, w: dense_by_rows(x, w, 5),
    ),
]


BIASES = [
    *(
        Case("nn.bias_add", f"rank {len(shape)}, axis {axis}", functools.partial(bias_add, axis=axis), (shape,))
        for shape, axis in [
            ((2, 7), 1),
            ((2, 3, 4), 2),
            ((2, 3, 9, 8), 1),
            ((2, 3, 9, 8), 2),
            ((2, 3, 9, 8), -1),
            ((2, 3, 4, 5, 2), -4),
        ]
    ),
    Case("nn.bias_add", "rank 1", lambda x: bias_add(x, 0), ((7,),), options=EXPLICIT),
    Case("nn.bias_add", "rank 4, batch", lambda x: bias_add(x, 0), IMAGE, options=EXPLICIT),
    Case("nn.bias_add", "bias as input", relay.nn.bias_add, ((2, 3, 4, 5), (3,)), options=EXPLICIT),
    Case(
        "nn.bias_add",
        "bias as input, last axis",
        lambda x, b: relay.nn.bias_add(x, b, axis=-1),
        ((2, 3, 4, 5), (5,)),
        options=EXPLICIT,
    ),
]


CASES = DENSE + BIASES
REFUSED = [
    Refused("nn.dense", relay.nn.dense, ((7,), (5, 7)), "must have at least two dimensions"),
    Refused("nn.dense", relay.nn.dense, ((3, 7), (5, 7)), "operands are float32 and float16", ("float32", "float16")),
]


@strategy("nn.dense")
def dense(draw: Draw, op: str) -> Case:
    shape, units = draw(shapes(1, 4)), draw(st.integers(1, 5))
    kernel = (units, shape[-1])
    if draw(st.booleans()):
        return Case(
            op,
            f"{shape} {kernel}",
            relay.nn.dense,
            (shape, kernel),
            same_as=lambda x, weight: dense_by_rows(x, weight, units),
        )
    return Case(
        op,
        f"{shape} {kernel}, constant",
        lambda x: relay.nn.dense(x, constant(x, *kernel)),
        (shape,),
        same_as=lambda x: dense_by_rows(x, constant(x, *kernel), units),
    )


@strategy("nn.bias_add")
def biases(draw: Draw, op: str) -> Case:
    shape = draw(shapes(1, 5))
    axis = draw(axes(shape))
    if draw(st.booleans()):
        return attributed(op, bias_add, shape, axis=axis)
    return Case(op, f"{shape} {axis}", lambda x, b: relay.nn.bias_add(x, b, axis), (shape, (shape[axis],)))
