"""Cases of operators that read or write at indices."""

from __future__ import annotations

import dataclasses
from typing import Any, Callable, Dict, List, Tuple

import numpy as np
from hypothesis import strategies as st
from tvm import relay

from .case import EXPLICIT, Case, Draw, Refused, Shape, axes, constant, dtype_of, shapes, strategy, values

FLOAT_INT = ("float32", "int32")
OUTSIDE: Dict[str, Any] = {"low": -7.0, "high": 9.0}
INSIDE: Dict[str, Any] = {"low": 0.0, "high": 3.0}


def table(*shape: int, dtype: str = "float32") -> relay.Constant:
    return relay.const(values(shape, dtype, 1, -5, 5))


def listed(*indices: Any, dtype: str = "int32") -> relay.Constant:
    return relay.const(np.array(indices, dtype))


def taken(axis: Any, **attrs: Any) -> Callable[..., relay.Expr]:
    return lambda x, i: relay.take(x, i, axis=axis, **attrs)


def places(size: int, *shape: int, axis: int = 0, low: int = 0) -> np.ndarray:
    """Indices below ``size``, none twice along ``axis``, from ``low`` on."""
    random = np.random.RandomState(3)
    others = [side for index, side in enumerate(shape) if index != axis]
    rows = [random.permutation(size)[: shape[axis]] + low for _ in range(int(np.prod(others)))]
    return np.moveaxis(np.array(rows).reshape([*others, shape[axis]]), -1, axis).astype("int32")


def computed(indices: np.ndarray, first: relay.Var) -> relay.Expr:
    """``indices`` by the network itself, whatever the scalar ``first`` is."""
    return relay.take(relay.const(indices[np.newaxis]), first, axis=0)


def one_hot(
    i: relay.Expr, depth: int = 4, axis: int = -1, on: float = 1.0, off: float = 0.0, dtype: str = "float32"
) -> relay.Expr:
    return relay.one_hot(i, relay.const(on), relay.const(off), depth, axis, dtype)


CASES = [
    Case("take", "axis 1", lambda x: relay.take(x, listed(2, 0, 2), axis=1), ((2, 3, 4),)),
    Case("take", "axis -1, more dimensions", lambda x: relay.take(x, listed([2, 0], [1, 1]), axis=-1), ((2, 3, 4),)),
    Case("take", "a scalar index", lambda x: relay.take(x, relay.const(2), axis=1), ((2, 3, 4),)),
    Case("take", "int64 constants", lambda x: relay.take(x, listed(2, 0, dtype="int64"), axis=1), ((2, 3),)),
    Case("take", "constants clipped", lambda x: relay.take(x, listed(-1, -5, 3, 9), axis=1), ((2, 3),)),
    Case("take", "constants wrapped", lambda x: relay.take(x, listed(-1, -5, 3, 9), axis=1, mode="wrap"), ((2, 3),)),
    Case("take", "constants, fast", lambda x: relay.take(x, listed(2, 0), axis=1, mode="fast"), ((2, 3),)),
    Case("take", "an embedding", lambda i: relay.take(table(8, 5), i, axis=0), ((2, 3),), dtypes=("int32",), high=8),
    Case("take", "clipped", taken(1), ((2, 3, 4), (2, 5)), dtypes=FLOAT_INT, options=EXPLICIT, **OUTSIDE),
    Case("take", "wrapped", taken(1, mode="wrap"), ((2, 3), (9,)), dtypes=FLOAT_INT, options=EXPLICIT, **OUTSIDE),
    Case("take", "fast", taken(1, mode="fast"), ((2, 3), (9,)), dtypes=FLOAT_INT, options=EXPLICIT, **INSIDE),
    Case("take", "a computed scalar", taken(-1), ((2, 3), ()), dtypes=FLOAT_INT, options=EXPLICIT, **OUTSIDE),
    Case("take", "batch", taken(0), ((4, 3), (2, 2)), dtypes=FLOAT_INT, options=EXPLICIT, **OUTSIDE),
    Case("take", "flattened", taken(None), ((3, 4), (2, 7)), dtypes=FLOAT_INT, options=EXPLICIT, low=-9, high=15),
    Case("take", "batch_dims", taken(1, batch_dims=1), ((2, 3, 4), (2, 5)), dtypes=FLOAT_INT, **OUTSIDE),
    Case(
        "take",
        "batch_dims, a later axis",
        taken(-1, batch_dims=1),
        ((2, 3, 4, 5), (2, 2, 7)),
        dtypes=FLOAT_INT,
        **OUTSIDE,
    ),
    Case("take", "batch_dims, all", taken(1, batch_dims=1), ((3, 4), (3,)), dtypes=FLOAT_INT, **OUTSIDE),
    Case("take", "bool", lambda x: relay.take(x, listed(2, 0), axis=1), ((2, 3),), dtype="bool"),
    Case(
        "gather",
        "axis 1",
        lambda x, i: relay.gather(x, 1, i),
        ((2, 3, 4), (2, 5, 4)),
        dtypes=FLOAT_INT,
        **INSIDE,
    ),
    Case("gather", "axis -1", lambda x: relay.gather(x, -1, relay.const(places(4, 2, 3, 2, axis=2))), ((2, 3, 4),)),
    Case(
        "gather",
        "batch",
        lambda x, i: relay.gather(x, 0, i),
        ((3, 4), (5, 4)),
        dtypes=FLOAT_INT,
        options=EXPLICIT,
        **INSIDE,
    ),
    Case("gather", "int32", lambda x, i: relay.gather(x, 1, i), ((2, 3), (2, 4)), dtype="int32", **INSIDE),
    Case(
        "gather_nd", "elements", lambda x: relay.gather_nd(x, listed([1, 0, 1], [2, 0, 1])), ((2, 3),), options=EXPLICIT
    ),
    Case("gather_nd", "slices", lambda x: relay.gather_nd(x, listed([[1, 0], [1, 1]])), ((2, 3, 4),), options=EXPLICIT),
    Case("gather_nd", "one tuple", lambda x: relay.gather_nd(x, listed(1, 2)), ((2, 3, 4),), options=EXPLICIT),
    Case("gather_nd", "to a scalar", lambda x: relay.gather_nd(x, listed(1, 2)), ((2, 3),), options=EXPLICIT),
    Case("gather_nd", "batch_dims", lambda x: relay.gather_nd(x, listed([1, 2]), batch_dims=1), ((2, 3, 4),)),
    Case(
        "gather_nd",
        "computed",
        relay.gather_nd,
        ((3, 4, 3), (2, 5)),
        dtypes=FLOAT_INT,
        options=EXPLICIT,
        **INSIDE,
    ),
    Case(
        "gather_nd",
        "two batch_dims, computed",
        lambda x, i: relay.gather_nd(x, i, batch_dims=2),
        ((2, 3, 3, 4), (1, 2, 3, 5)),
        dtypes=FLOAT_INT,
        options=EXPLICIT,
        **INSIDE,
    ),
    Case("adv_index", "one", lambda x: relay.adv_index([x, listed([2, 0], [1, 1])]), ((3, 4),), options=EXPLICIT),
    Case(
        "adv_index", "two", lambda x: relay.adv_index([x, listed(1, 0), listed(2, 3)]), ((2, 4, 3),), options=EXPLICIT
    ),
    Case(
        "adv_index",
        "broadcast, int64",
        lambda x: relay.adv_index([x, listed([1], [0], dtype="int64"), listed(2, 3, 0)]),
        ((2, 4),),
        options=EXPLICIT,
    ),
    Case(
        "adv_index",
        "computed",
        lambda x, i, j: relay.adv_index([x, i, j]),
        ((3, 4, 2), (5, 1), (2,)),
        dtypes=("float32", "int32", "int32"),
        options=EXPLICIT,
        **INSIDE,
    ),
    Case(
        "scatter_elements",
        "axis 1",
        lambda x, u: relay.scatter_elements(x, relay.const(places(5, 2, 3, 4, axis=1)), u, axis=1),
        ((2, 5, 4), (2, 3, 4)),
    ),
    Case(
        "scatter_elements",
        "negative indices",
        lambda x, u: relay.scatter_elements(x, relay.const(places(5, 2, 3, axis=1, low=-5)), u, axis=-1),
        ((2, 5), (2, 3)),
    ),
    Case(
        "scatter_elements",
        "computed indices",
        lambda x, u, first: relay.scatter_elements(x, computed(places(5, 2, 4, axis=1, low=-2), first), u, axis=1),
        ((2, 5), (2, 4), ()),
        dtypes=("float32", "float32", "int32"),
        options=EXPLICIT,
    ),
    Case(
        "scatter_elements",
        "batch, constant updates",
        lambda x: relay.scatter_elements(x, relay.const(places(4, 2, 3)), constant(x, 2, 3), axis=0),
        ((4, 3),),
        options=EXPLICIT,
    ),
    Case(
        "scatter_nd",
        "elements",
        lambda x, u: relay.scatter_nd(x, listed([1, 0, 1], [2, 0, 1]), u),
        ((2, 3), (3,)),
        options=EXPLICIT,
    ),
    Case(
        "scatter_nd",
        "slices",
        lambda x, u: relay.scatter_nd(x, listed([2, 0]), u),
        ((3, 4), (2, 4)),
        options=EXPLICIT,
    ),
    Case(
        "scatter_nd",
        "computed indices",
        lambda x, u, first: relay.scatter_nd(x, computed(places(6, 1, 2, 2, axis=2)[:, :1], first), u),
        ((6, 4), (1, 2, 4), ()),
        dtypes=("float32", "float32", "int32"),
        options=EXPLICIT,
    ),
    Case(
        "one_hot",
        "axis -1",  # with a product, for a variable that can be float16
        lambda i, x: relay.multiply(one_hot(i, dtype=dtype_of(x)), x),
        ((2, 3), (2, 3, 4)),
        dtypes=("int32", "float32"),
        low=-2,
        high=6,
    ),
    Case("one_hot", "axis 1", lambda i: one_hot(i, axis=1), ((2, 3),), dtypes=("int32",), low=-2, high=6),
    Case("one_hot", "batch", lambda i: one_hot(i, axis=0), ((2, 3),), dtypes=("int32",), high=6, options=EXPLICIT),
    Case("one_hot", "of a scalar", one_hot, ((),), dtypes=("int32",), low=2, high=3, options=EXPLICIT),
    Case("one_hot", "values", lambda i: one_hot(i, on=2.5, off=-0.5), ((2, 3),), dtypes=("int32",), low=-2, high=6),
    Case("one_hot", "int32", lambda i: one_hot(i, on=3.9, dtype="int32"), ((2, 3),), dtypes=("int32",), low=-2, high=6),
    Case("sequence_mask", "axis 1", lambda x: relay.sequence_mask(x, listed(1, 7), axis=1), ((2, 4, 3),)),
    Case(
        "sequence_mask",
        "axis 0, value",
        lambda x, n: relay.sequence_mask(x, n, mask_value=0.5, axis=0),
        ((4, 3), (3,)),
        dtypes=FLOAT_INT,
        options=EXPLICIT,
        low=-1,
        high=6,
    ),
    Case(
        "sequence_mask",
        "float lengths",
        lambda x, n: relay.sequence_mask(x, n, axis=1),
        ((3, 4), (3,)),
        low=0,
        high=4,
    ),
]

DYNAMIC = ((relay.Any(), 4),)

REFUSED = [
    # TensorRT was seen to write the first of its elements only.
    Refused("one_hot", lambda i: one_hot(i, 2, 0, 1.0, 1.0, "float32"), ((),), "the same", dtypes=("int32",)),
    Refused("take", lambda x: relay.take(x, listed(1), axis=0), DYNAMIC, "mode clip needs its size"),
    Refused("take", lambda x: relay.take(x, listed(1), axis=1, mode="other"), ((2, 3),), "mode other: it must be clip"),
    Refused("take", taken(1, batch_dims=1, mode="wrap"), ((2, 3), (2,)), "batch_dims with mode wrap", dtypes=FLOAT_INT),
    Refused("take", relay.take, ((2, 3), (4,)), "indices must be int32", dtypes=("float32", "bool")),
    Refused(
        "scatter_elements",
        lambda x, u: relay.scatter_elements(x, relay.const(places(3, 2, 3, axis=1)), u, 1, "add"),
        ((2, 3), (2, 3)),
        "reduction add: TensorRT's Scatter layer only replaces",
    ),
    Refused(
        "scatter_elements",
        lambda x, u: relay.scatter_elements(x, listed([1]), u, 1),
        ((2, 3), (2, 3)),
        "must have the shape of the indices",
    ),
    Refused(
        "scatter_elements",
        lambda x, u: relay.scatter_elements(x, listed([1]), u, 1),
        ((2, 3), (1, 1)),
        "must have the data's other dimensions",
    ),
    Refused(
        "scatter_elements",
        lambda x: relay.scatter_elements(x, x, x, 0),
        DYNAMIC,
        "the axis is the first dimension, and that is dynamic",
        dtypes=("int32",),
    ),
    Refused(
        "scatter_nd",
        lambda x, u: relay.scatter_nd(x, listed([1]), u, "add"),
        ((2, 3), (1, 3)),
        "mode add: TensorRT's Scatter layer only replaces",
    ),
    Refused(
        "adv_index",
        lambda x, i, j: relay.adv_index([x, i, j]),
        ((2, 3), (relay.Any(),), (1,)),
        "whether a dynamic dimension is repeated is not known",
        dtypes=("float32", "int32", "int32"),
    ),
    Refused(
        "one_hot",
        lambda i, on: relay.one_hot(i, on, relay.const(0.0), 3, -1, "float32"),
        ((2,), ()),
        "the on and off values must be one constant each",
        dtypes=("int32", "float32"),
    ),
    Refused("one_hot", lambda i: one_hot(i, dtype="bool"), ((2,),), "the dtype must be", dtypes=("int32",)),
    Refused(
        "sequence_mask",
        lambda x, n: relay.sequence_mask(x, n, axis=0),
        ((relay.Any(), 4), (4,)),
        "the axis is dimension 0, and that is dynamic",
        dtypes=FLOAT_INT,
    ),
]


def data_dtype(draw: Draw) -> str:
    return str(draw(st.sampled_from(["float32", "float32", "int32", "bool"])))


def number_dtype(draw: Draw) -> str:
    return str(draw(st.sampled_from(["float32", "int32"])))


def indexed(
    draw: Draw, op: str, name: str, build: Callable[..., relay.Expr], shape: Shape, indices: np.ndarray, dtype: str
) -> Case:
    """A case of data and of indices, constant or an input: of an input the values are random, below 3."""
    if draw(st.booleans()):
        known = indices.astype(draw(st.sampled_from(["int32", "int64"])))
        case = Case(op, f"{shape} {name} {known.tolist()}", lambda x: build(x, relay.const(known)), (shape,), dtype)
    else:
        case = Case(op, f"{shape} {name} {indices.shape}", build, (shape, indices.shape), dtypes=(dtype, "int32"))
    return dataclasses.replace(case, low=0, high=3)


def random_indices(draw: Draw, shape: Shape, low: int, high: int) -> np.ndarray:
    return np.random.RandomState(draw(st.integers(0, 99))).randint(low, high, shape)


@strategy("take")
def take(draw: Draw, op: str) -> Case:
    mode = draw(st.sampled_from(["clip", "wrap", "fast"]))
    side = st.integers(3 if mode == "fast" else 1, 5)
    shape = tuple(draw(st.lists(side, min_size=1, max_size=4)))
    axis = draw(st.one_of(st.none(), axes(shape)))
    size = int(np.prod(shape)) if axis is None else shape[axis]
    batch_dims = (
        0 if axis is None or mode != "clip" else draw(st.sampled_from([0, draw(st.integers(0, axis % len(shape)))]))
    )
    rest = draw(shapes(0, 2))
    of_table, dtype = draw(st.booleans()), data_dtype(draw)
    outside = 0 if mode == "fast" else 7
    indices = random_indices(draw, (*shape[:batch_dims], *rest), -outside, size + outside)

    def build(x: relay.Expr, i: relay.Expr) -> relay.Expr:
        return relay.take(x, i, axis=axis, batch_dims=batch_dims, mode=mode)

    name = f"{axis} {batch_dims} {mode}"
    if of_table:
        data = table(*shape, dtype=dtype)
        case = Case(op, f"table {shape} {name}", lambda i: build(data, i), (indices.shape,), "int32")
        return dataclasses.replace(case, low=-outside, high=3 + outside)
    case = indexed(draw, op, name, build, shape, indices, dtype)
    return case if mode == "fast" else dataclasses.replace(case, low=-9, high=9)


@strategy("gather")
def gather(draw: Draw, op: str) -> Case:
    shape = tuple(draw(st.lists(st.integers(3, 5), min_size=1, max_size=4)))
    axis = draw(axes(shape))
    picked = list(shape)
    picked[axis] = draw(st.integers(1, 6))
    indices = random_indices(draw, tuple(picked), 0, shape[axis])
    return indexed(draw, op, str(axis), lambda x, i: relay.gather(x, axis, i), shape, indices, data_dtype(draw))


@strategy("gather_nd")
def gather_nd(draw: Draw, op: str) -> Case:
    shape = tuple(draw(st.lists(st.integers(3, 4), min_size=1, max_size=4)))
    batch_dims = draw(st.integers(0, len(shape) - 1))
    length = draw(st.integers(1, len(shape) - batch_dims))
    indices = random_indices(draw, (length, *shape[:batch_dims], *draw(shapes(0, 2))), 0, 3)

    def build(x: relay.Expr, i: relay.Expr) -> relay.Expr:
        return relay.gather_nd(x, i, batch_dims=batch_dims)

    return indexed(draw, op, str(batch_dims), build, shape, indices, data_dtype(draw))


@strategy("adv_index")
def adv_index(draw: Draw, op: str) -> Case:
    shape = tuple(draw(st.lists(st.integers(3, 4), min_size=1, max_size=4)))
    whole = draw(shapes(1, 3))
    known: List[Any] = []
    inputs: List[Shape] = []
    for _ in range(draw(st.integers(1, len(shape)))):
        of_one = tuple(draw(st.sampled_from([size, size, 1])) for size in whole[draw(st.integers(0, len(whole) - 1)) :])
        if draw(st.booleans()):
            inputs.append(of_one)
            known.append(None)
        else:
            dtype = draw(st.sampled_from(["int32", "int64"]))
            known.append(relay.const(random_indices(draw, of_one, 0, 3).astype(dtype)))

    def build(x: relay.Var, *given: relay.Var) -> relay.Expr:
        rest = list(given)
        return relay.adv_index([x, *(rest.pop(0) if index is None else index for index in known)])

    dtypes = (data_dtype(draw), *["int32"] * len(inputs))
    return Case(op, f"{shape} {known} {inputs}", build, (shape, *inputs), dtypes=dtypes, low=0, high=3)


def scattered(
    draw: Draw, op: str, name: str, build: Callable[..., relay.Expr], shape: Shape, indices: np.ndarray, updates: Shape
) -> Case:
    """A case of data, of indices none of which is there twice, and of updates."""
    dtype, known_updates = number_dtype(draw), draw(st.booleans())
    given = (shape,) if known_updates else (shape, updates)

    def constant_updates(x: relay.Var, i: relay.Expr, *u: relay.Var) -> relay.Expr:
        return build(x, i, *(u or [constant(x, *updates, low=-5, high=5)]))

    name = f"{shape} {name} {indices.tolist()} {updates}"
    if draw(st.booleans()):
        known = relay.const(indices.astype(draw(st.sampled_from(["int32", "int64"]))))
        case = Case(op, name, lambda x, *u: constant_updates(x, known, *u), given, dtype)
    else:
        case = Case(
            op,
            f"computed {name}",
            lambda first, x, *u: constant_updates(x, computed(indices, first), *u),
            ((), *given),
            dtypes=("int32", *[dtype] * len(given)),
        )
    return dataclasses.replace(case, low=-5, high=5)


@strategy("scatter_elements")
def scatter_elements(draw: Draw, op: str) -> Case:
    shape = draw(shapes(1, 4))
    axis = draw(axes(shape))
    picked = list(shape)
    picked[axis] = draw(st.integers(1, shape[axis]))
    low = draw(st.integers(-shape[axis], 0))
    indices = places(shape[axis], *picked, axis=axis % len(shape), low=low)

    def build(x: relay.Expr, i: relay.Expr, u: relay.Expr) -> relay.Expr:
        return relay.scatter_elements(x, i, u, axis)

    return scattered(draw, op, str(axis), build, shape, indices, tuple(picked))


@strategy("scatter_nd")
def scatter_nd(draw: Draw, op: str) -> Case:
    shape = draw(shapes(1, 4))
    length = draw(st.integers(1, len(shape)))
    count = draw(st.integers(1, int(np.prod(shape[:length]))))
    chosen = np.random.RandomState(draw(st.integers(0, 99))).permutation(int(np.prod(shape[:length])))[:count]
    outer: Tuple[int, ...] = draw(st.sampled_from([(count,), (count, 1), (1, count)]))
    indices = np.array(np.unravel_index(chosen, shape[:length])).reshape((length, *outer)).astype("int32")
    return scattered(draw, op, "", relay.scatter_nd, shape, indices, (*outer, *shape[length:]))


@strategy("one_hot")
def one_hot_case(draw: Draw, op: str) -> Case:
    shape = draw(shapes(0, 4))
    axis, depth = draw(st.integers(-1, len(shape))), draw(st.integers(1, 5))
    on, off = (draw(st.sampled_from([0.0, 1.0, -2.5])) for _ in range(2))
    dtype = draw(st.sampled_from(["float32", "float16", "int32"]))
    name = f"{shape} {axis} {depth} {on} {off} {dtype}"
    case = Case(op, name, lambda i: one_hot(i, depth, axis, on, off, dtype), (shape,), "int32")
    return dataclasses.replace(case, low=-2, high=7)


@strategy("sequence_mask")
def sequence_mask(draw: Draw, op: str) -> Case:
    shape = draw(shapes(2, 4))
    axis, value = draw(st.integers(0, 1)), draw(st.sampled_from([0.0, 1.0, -2.5]))
    attrs = {"axis": axis, "mask_value": value}
    dtypes = (number_dtype(draw), draw(st.sampled_from(["int32", "float32"])))
    given = (shape, (shape[1 - axis],))
    case = Case(op, f"{given} {attrs}", lambda x, n: relay.sequence_mask(x, n, **attrs), given, dtypes=dtypes)
    return dataclasses.replace(case, low=-1, high=6)
