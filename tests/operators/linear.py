"""Cases of matrix products, dense layers, einsum and biases."""

from __future__ import annotations

import functools
from typing import Any, Callable, List, Sequence

from hypothesis import strategies as st
from tvm import relay

from .case import EXPLICIT, IMAGE, Case, Draw, Refused, Shape, axes, constant, shapes, strategy


def bias_add(x: relay.Var, axis: int) -> relay.Expr:
    return relay.nn.bias_add(x, constant(x, int(x.type_annotation.shape[axis]), low=-5, high=5), axis)


def swapped(x: relay.Expr) -> relay.Expr:
    """x with its last two of three dimensions swapped."""
    return relay.transpose(x, (0, 2, 1))


def matrices(a: relay.Expr, b: relay.Expr, transpose_a: bool, transpose_b: bool) -> relay.Expr:
    """nn.matmul, which relay.nn.matmul makes nn.dense where only b is transposed."""
    return relay.op.nn._make.matmul(a, b, None, "", transpose_a, transpose_b)


def product(a: relay.Expr, b: relay.Expr, shape: Shape, columns: int, **transposes: bool) -> relay.Expr:
    """The product of a, of ``shape``, and the matrix b: TVM's LLVM code has none of more than two dimensions."""
    stacked = relay.reshape(a, (-1, *shape[-2:]))
    rows = relay.nn.batch_matmul(stacked, relay.expand_dims(b, 0), **transposes)
    return relay.reshape(rows, (*shape[:-2], shape[-1] if transposes["transpose_a"] else shape[-2], columns))


def operands(members: Sequence[str], shapes: Sequence[Shape], variables: Sequence[relay.Var]) -> List[relay.Expr]:
    """An operand of each shape: an input, a constant, or the one before again."""
    found: List[relay.Expr] = []
    rest = list(variables)
    for member, shape in zip(members, shapes):
        if member == "input":
            found.append(rest.pop(0))
        else:
            found.append(found[-1] if member == "again" else constant(variables[0], *shape, seed=7 + len(found)))
    return found


def case(
    op: str,
    name: str,
    build: Callable[..., relay.Expr],
    shapes: Sequence[Shape],
    members: Sequence[str] = ("input", "constant"),
    **fields: Any,
) -> Case:
    """A case of operands of ``shapes``; see `operands`."""

    def of_variables(function: Callable[..., relay.Expr]) -> Callable[..., relay.Expr]:
        return lambda *variables: function(*operands(members, shapes, variables))

    if fields.get("same_as"):
        fields["same_as"] = of_variables(fields["same_as"])
    inputs = tuple(shape for shape, member in zip(shapes, members) if member == "input")
    return Case(op, name, of_variables(build), inputs, **fields)


VARIABLES = ("input", "input")


def dense_case(
    name: str,
    shape: Shape,
    features: int,
    members: Sequence[str] = ("input", "constant"),
    named: bool = False,
    **fields: Any,
) -> Case:
    return case(
        "nn.dense",
        name,
        lambda x, w: relay.nn.dense(x, w, features if named else None),
        [shape, (features, shape[-1])],
        members,
        same_as=(lambda x, w: product(x, w, shape, features, transpose_a=False, transpose_b=True))
        if len(shape) > 2
        else None,
        **fields,
    )


DENSE = [
    dense_case("constant weight", (3, 7), 5),
    dense_case("named units", (3, 7), 5, named=True),
    dense_case("weight as input", (3, 7), 5, VARIABLES, options=EXPLICIT),
    dense_case("constant input", (3, 7), 5, ("constant", "input"), options=EXPLICIT),
    Case("nn.dense", "by itself", lambda x: relay.nn.dense(x, x), ((4, 7),), options=EXPLICIT),
    dense_case("one by one", (1, 1), 1),
    dense_case("rank 3", (2, 3, 7), 5),
    dense_case("rank 4, weight as input", (2, 3, 4, 7), 5, VARIABLES, options=EXPLICIT),
]


def matmul_case(
    name: str,
    leading: Shape,
    members: Sequence[str] = ("input", "constant"),
    transpose_a: bool = False,
    transpose_b: bool = False,
    **fields: Any,
) -> Case:
    m, k, n = 3, 7, 5
    transposes = {"transpose_a": transpose_a, "transpose_b": transpose_b}
    a, b = (*leading, *((k, m) if transpose_a else (m, k))), (n, k) if transpose_b else (k, n)
    return case(
        "nn.matmul",
        name,
        lambda x, y: matrices(x, y, **transposes),
        [a, b],
        members,
        same_as=(lambda x, y: product(x, y, a, n, **transposes)) if leading else None,
        **fields,
    )


MATMUL = [
    matmul_case("constant", ()),
    matmul_case("transposed constant", (), transpose_b=True),
    matmul_case("transposed input", (), transpose_a=True, options=EXPLICIT),
    matmul_case("two inputs", (), VARIABLES, options=EXPLICIT),
    matmul_case("two inputs, both transposed", (), VARIABLES, True, True, options=EXPLICIT),
    matmul_case("constant first", (), ("constant", "input"), options=EXPLICIT),
    Case("nn.matmul", "named units", lambda x: relay.nn.matmul(x, constant(x, 7, 5), units=5), ((3, 7),)),
    matmul_case("rank 3", (2,)),
    matmul_case("rank 3, transposed input", (2,), transpose_a=True),
    matmul_case("rank 4, both transposed", (2, 2), VARIABLES, True, True, options=EXPLICIT),
    Case("nn.matmul", "by itself", lambda x: relay.nn.matmul(x, x), ((4, 4),), options=EXPLICIT),
]


def batch_matmul_case(
    name: str,
    batches: Sequence[int] = (2, 2),
    members: Sequence[str] = VARIABLES,
    transpose_a: bool = False,
    transpose_b: bool = True,
    **fields: Any,
) -> Case:
    m, k, n = 3, 7, 5
    a, b = (k, m) if transpose_a else (m, k), (n, k) if transpose_b else (k, n)
    return case(
        "nn.batch_matmul",
        name,
        lambda x, y: relay.nn.batch_matmul(x, y, transpose_a=transpose_a, transpose_b=transpose_b),
        [(batches[0], *a), (batches[1], *b)],
        members,
        **fields,
    )


BATCH_MATMUL = [
    batch_matmul_case("second transposed"),
    batch_matmul_case("none transposed", transpose_b=False),
    batch_matmul_case("first transposed", transpose_a=True, transpose_b=False),
    batch_matmul_case("both transposed", transpose_a=True),
    batch_matmul_case("constant", members=("input", "constant")),
    batch_matmul_case("constant first", members=("constant", "input")),
    batch_matmul_case("one constant matrix", (2, 1), ("input", "constant"), transpose_b=False),
    batch_matmul_case("one matrix first", (1, 2), options=EXPLICIT),
    batch_matmul_case("one matrix second", (2, 1), transpose_a=True, options=EXPLICIT),
    batch_matmul_case("batch of 1", (1, 1)),
    Case("nn.batch_matmul", "by itself", lambda x: relay.nn.batch_matmul(x, x), ((2, 3, 4),)),
]


def einsum_case(name: str, equation: str, *shapes: Shape, members: Sequence[str] = (), **fields: Any) -> Case:
    members = members or ["input"] * len(shapes)
    return case("einsum", name, lambda *tensors: relay.einsum(tensors, equation), shapes, members, **fields)


EINSUM = [
    einsum_case("matrices", "bij,bjk->bik", (2, 3, 4), (2, 4, 5)),
    einsum_case("constant", "bij,jk->bik", (2, 3, 4), (4, 5), members=("input", "constant")),
    einsum_case("constant first", "jk,bij->bki", (4, 5), (2, 3, 4), members=("constant", "input")),
    einsum_case("no result named", "ib,bj", (3, 4), (4, 5), options=EXPLICIT),
    einsum_case("no result named, not in order", "bca", (2, 3, 4), options=EXPLICIT),
    einsum_case("spaces and capitals", " b I x, b x J -> b J I ", (2, 3, 4), (2, 4, 5)),
    einsum_case("transpose", "bij->bji", (2, 3, 4)),
    einsum_case("sum", "bijk->bj", (2, 3, 4, 5)),
    einsum_case("to a scalar", "bi,bi->", (2, 3), (2, 3), options=EXPLICIT),
    einsum_case("element by element", "bij,bij->bij", (2, 3, 4), (2, 3, 4)),
    einsum_case("outer", "bi,bj->bij", (2, 3), (2, 4)),
    einsum_case("sum of one operand's own", "bij,bk->bk", (2, 3, 4), (2, 5)),
    einsum_case("by itself", "bij,bkj->bik", (2, 3, 4), (2, 3, 4), members=("input", "again")),
    einsum_case("three", "bi,ij,bj->bj", (2, 3), (3, 4), (2, 4), members=("input", "constant", "input")),
    einsum_case("four", "i,i,j,bj->b", (3,), (3,), (4,), (2, 4), options=EXPLICIT),
    einsum_case("a scalar", ",bj->bj", (), (2, 4), options=EXPLICIT),
    einsum_case("ellipsis", "...ij,...jk->...ik", (2, 3, 4, 5), (2, 3, 5, 2)),
    einsum_case("ellipses of two ranks", "...ij,...j->...i", (2, 3, 4, 5), (3, 5), options=EXPLICIT),
    einsum_case("ellipsis summed up", "b...,b->b", (2, 3, 4), (2,)),
    einsum_case("ellipsis, no result named", "j...b,j", (2, 3, 4), (2,), options=EXPLICIT),
    einsum_case("an ellipsis of nothing", "...i,...i->...", (3,), (2, 3), options=EXPLICIT),
    einsum_case("dimensions of 1", "bij,bjk->bik", (2, 1, 4), (1, 1, 5), members=("input", "constant")),
    einsum_case("dimensions of 1 in both", "bij,bij->bij", (2, 1, 4), (2, 3, 1)),
    einsum_case("dimensions of 1 in an ellipsis", "...ij,...jk->...ik", (1, 3, 2, 4), (2, 1, 4, 5), options=EXPLICIT),
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
    Case("nn.bias_add", "rank 4", functools.partial(bias_add, axis=1), IMAGE).half(),
    Case("nn.bias_add", "bias as input", relay.nn.bias_add, ((2, 3, 4, 5), (3,)), options=EXPLICIT),
    Case(
        "nn.bias_add",
        "bias as input, last axis",
        lambda x, b: relay.nn.bias_add(x, b, axis=-1),
        ((2, 3, 4, 5), (5,)),
        options=EXPLICIT,
    ),
    Case(
        "nn.bias_add",
        "constant x",
        lambda b: relay.nn.bias_add(constant(b, 2, 3, 4), b),
        ((3,),),
        options=EXPLICIT,
    ),
    Case("nn.bias_add", "integers", lambda x: bias_add(x, 1), IMAGE, dtype="int32", low=-9, high=9),
    Case(
        "nn.bias_add",
        "integers, bias as input",
        relay.nn.bias_add,
        ((2, 3, 4), (3,)),
        dtype="int32",
        low=-9,
        high=9,
        options=EXPLICIT,
    ),
]


CASES = DENSE + MATMUL + BATCH_MATMUL + EINSUM + BIASES
REFUSED = [
    Refused("nn.dense", relay.nn.dense, ((7,), (5, 7)), "must have at least two dimensions"),
    Refused("nn.dense", relay.nn.dense, ((3, 7), (5, 7)), "operands are float32 and float16", ("float32", "float16")),
    Refused(
        "nn.dense",
        lambda x, w: relay.nn.dense(x, w, out_dtype="float32"),
        ((3, 7), (5, 7)),
        "out_dtype float32 differs from the operands' float16",
        ("float16", "float16"),
    ),
    Refused("einsum", lambda x: relay.einsum([x], "bii->bi"), ((2, 3, 3),), "it takes a diagonal"),
]


@strategy("nn.dense")
def dense(draw: Draw, op: str) -> Case:
    shape, features, named = draw(shapes(1, 4)), draw(st.integers(1, 5)), draw(st.booleans())
    members = draw(st.sampled_from([("input", "constant"), VARIABLES, ("constant", "input")]))
    return dense_case(f"{shape} {features} {named} {members}", shape, features, members, named)


@strategy("nn.matmul")
def matmul(draw: Draw, op: str) -> Case:
    shape, n = draw(shapes(2, 4)), draw(st.integers(1, 5))
    transposes = {"transpose_a": draw(st.booleans()), "transpose_b": draw(st.booleans())}
    k = shape[-2] if transposes["transpose_a"] else shape[-1]
    members = draw(st.sampled_from([("input", "constant"), VARIABLES, ("constant", "input")]))
    return case(
        op,
        f"{shape} {n} {transposes} {members}",
        lambda a, b: matrices(a, b, **transposes),
        [shape, (n, k) if transposes["transpose_b"] else (k, n)],
        members,
        same_as=lambda a, b: product(a, b, shape, n, **transposes),
    )


@strategy("nn.batch_matmul")
def batch_matmul(draw: Draw, op: str) -> Case:
    batch, m, k, n = draw(shapes(4, 4))
    a, b = draw(st.sampled_from([(batch, batch), (1, batch), (batch, 1)]))
    transposes = {"transpose_a": draw(st.booleans()), "transpose_b": draw(st.booleans())}
    members = draw(st.sampled_from([VARIABLES, ("input", "constant"), ("constant", "input")]))
    return case(
        op,
        f"{a} {b} {m} {k} {n} {transposes} {members}",
        lambda x, y: relay.nn.batch_matmul(x, y, **transposes),
        [(a, k, m) if transposes["transpose_a"] else (a, m, k), (b, n, k) if transposes["transpose_b"] else (b, k, n)],
        members,
    )


@strategy("einsum")
def einsum(draw: Draw, op: str) -> Case:
    """Operands of letters, an ellipsis in some, and a result of letters that they have."""
    sizes = dict(zip("bcIxyz", draw(shapes(6, 6))))
    letters = st.lists(st.sampled_from(list(sizes)), max_size=3, unique=draw(st.sampled_from([True, True, False])))
    terms = draw(st.lists(letters, min_size=1, max_size=4))
    dots = [draw(st.one_of(st.none(), st.integers(0, len(term)))) for term in terms]
    ellipsis = draw(shapes(0, 2))

    found, written = [], []
    for term, place in zip(terms, dots):
        own = [size if draw(st.integers(0, 5)) else 1 for size in (sizes[letter] for letter in term)]
        if place is not None:
            own[place:place] = ellipsis[draw(st.integers(0, len(ellipsis))) :]
        found.append(tuple(own))
        written.append("".join(term if place is None else [*term[:place], "...", *term[place:]]))
    equation = ",".join(written)
    used = sorted({letter for term in terms for letter in term})
    if draw(st.booleans()):
        result = draw(st.permutations(used).flatmap(lambda all: st.integers(0, len(all)).map(lambda n: all[:n])))
        if any(place is not None for place in dots):
            result.insert(draw(st.integers(0, len(result))), "...")
        equation += "->" + "".join(result)
    members = ["input", *(draw(st.sampled_from(["input", "constant"])) for _ in terms[1:])]
    return einsum_case(f"{equation} {found} {members}", equation, *found, members=members)


@strategy("nn.bias_add")
def biases(draw: Draw, op: str) -> Case:
    shape = draw(shapes(1, 5))
    axis = draw(axes(shape))
    members = draw(st.sampled_from([("input", "constant"), VARIABLES, ("constant", "input")]))
    dtype = draw(st.sampled_from(["float32", "float32", "int32"]))
    return case(
        op,
        f"{shape} {axis} {members} {dtype}",
        lambda x, bias: relay.nn.bias_add(x, bias, axis),
        [shape, (shape[axis],)],
        members,
        dtype=dtype,
        low=-9,
        high=9,
    )
