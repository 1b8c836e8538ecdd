"""Cases of operators along axes: sums, extremes, orders."""

from __future__ import annotations

from typing import Any, Callable, Dict, Optional, Sequence

from hypothesis import strategies as st
from tvm import relay

from .case import EXPLICIT, Case, Draw, Refused, Shape, attributed, axes, constant, scalar, shapes, strategy

Build = Callable[..., relay.Expr]

CUBE = ((2, 3, 4),)
PIXELS = ((2, 3, 5, 4),)
INT32, INT64, BOOL = ("int32",), ("int64",), ("bool",)
DIGITS: Dict[str, Any] = {"low": -9.0, "high": 10.0}

REDUCTIONS = {"sum": relay.sum, "prod": relay.prod, "max": relay.max, "min": relay.min, "mean": relay.mean}
EXTREMES = {"argmax": relay.argmax, "argmin": relay.argmin}
TRUTHS = {"all": relay.all, "any": relay.any}
SCANS = {"cumsum": relay.cumsum, "cumprod": relay.cumprod}


def reduction(op: str, build: Build) -> Sequence[Case]:
    """What all reductions have in common: axes, and what is left of them."""

    def case(name: str, shapes: Sequence[Shape] = CUBE, **more: Any) -> Case:
        options = {key: more.pop(key) for key in ("options", "dtypes", "low", "high") if key in more}
        return Case(op, name, lambda x: build(x, **more), tuple(shapes), **options)

    return [
        case("axis 1", axis=1),
        case("axis -1", axis=-1),
        case("two axes", PIXELS, axis=[2, 3]),
        case("axes in another order", PIXELS, axis=[-1, 1]),
        case("keepdims", PIXELS, axis=[1, 3], keepdims=True),
        case("exclude", PIXELS, axis=[0, 2], exclude=True),
        case("exclude, keepdims", PIXELS, axis=(0, -1), exclude=True, keepdims=True),
        case("no axis", axis=None, options=EXPLICIT),
        case("no axis, keepdims", axis=None, keepdims=True, options=EXPLICIT),
        case("batch", axis=0, options=EXPLICIT),
        case("exclude the other axes", axis=[1, 2], exclude=True, options=EXPLICIT),
        case("axis of 1", ((2, 1, 3),), axis=1),
        case("int32", axis=1, dtypes=INT32, **DIGITS),
    ]


def of_truth(op: str, build: Build) -> Sequence[Case]:
    compared = lambda x: build(relay.greater(x, scalar(x, 0.0)), axis=1)  # noqa: E731
    rest = [
        Case(op, name, lambda x, attrs=attrs: build(x, **attrs), PIXELS, dtypes=BOOL)
        for name, attrs in {
            "keepdims": {"axis": -1, "keepdims": True},
            "two axes": {"axis": [1, 2]},
            "exclude": {"axis": [0, 3], "exclude": True},
        }.items()
    ]
    nothing = Case(op, "no axis", build, ((2, 3),), dtypes=BOOL, options=EXPLICIT)
    return [Case(op, "of a comparison", compared, CUBE), *rest, nothing]


def arg_reduction(op: str, build: Build) -> Sequence[Case]:
    last = lambda x: build(x, axis=1, select_last_index=True)  # noqa: E731
    ties: Dict[str, Any] = {"dtypes": INT32, "low": 0.0, "high": 3.0}
    return [
        *reduction(op, build),
        Case(op, "first of equal", lambda x: build(x, axis=2), ((2, 3, 9),), **ties),
        Case(op, "last of equal", last, ((2, 9, 3),), **ties),
        Case(op, "last of equal along two axes", lambda x: build(x, [1, 3], False, False, True), PIXELS, **ties),
        Case(op, "many", lambda x: build(x, axis=1), ((2, 5000),)),
    ]


def scan(op: str, build: Build) -> Sequence[Case]:
    near_one: Dict[str, Any] = {"low": 0.5, "high": 1.5}  # a product of many stays in range
    return [
        Case(op, "axis 1", lambda x: build(x, axis=1), CUBE),
        Case(op, "axis -1", lambda x: build(x, axis=-1), ((2, 3, 7),)),
        Case(op, "exclusive", lambda x: build(x, axis=-2, exclusive=True), ((2, 5, 3),)),
        Case(op, "exclusive, one element", lambda x: build(x, axis=1, exclusive=True), ((2, 1),)),
        Case(op, "a power of two", lambda x: build(x, axis=1), ((2, 8, 3),)),
        Case(op, "many", lambda x: build(x, axis=1), ((2, 100),), **near_one),
        Case(op, "no axis", build, CUBE, options=EXPLICIT),
        Case(op, "batch", lambda x: build(x, axis=0), ((5, 3),), options=EXPLICIT),
        Case(op, "int32", lambda x: build(x, axis=1), ((2, 6),), dtypes=INT32, **DIGITS),
        Case(op, "int32 of bool", lambda x: build(x, axis=1, dtype="int32"), ((2, 6),), dtypes=BOOL),
        Case(op, "float32 of int32", lambda x: build(x, axis=1, dtype="float32"), ((2, 6),), dtypes=INT32, **DIGITS),
        Case(op, "int32 of floats", lambda x: build(x, axis=1, dtype="int32"), ((2, 6),), **DIGITS),
    ]


def variance(x: relay.Var, given: Optional[relay.Expr] = None, **attrs: Any) -> relay.Expr:
    return relay.variance(x, with_mean=given, **attrs)


def log_sum_exp(x: relay.Var) -> relay.Expr:
    return relay.logsumexp(x, axis=[1], keepdims=True)


CASES = [
    *(case for op, build in REDUCTIONS.items() for case in reduction(op, build)),
    Case("sum", "scalar", relay.sum, ((),), options=EXPLICIT),
    Case("sum", "no axis is left", lambda x: relay.sum(x, axis=[0, 1], exclude=True), ((2, 3),)),
    # The types of Relay say that this reduces all axes; its code reduces none.
    Case("sum", "empty list", lambda x: relay.sum(x, axis=[]), ((2, 3),), options=EXPLICIT, same_as=relay.sum),
    Case("sum", "many", lambda x: relay.sum(x, axis=1), ((2, 4000),), low=400.0, high=500.0),
    Case("sum", "log of a sum of exponentials", log_sum_exp, CUBE, low=-90.0, high=90.0),
    Case("mean", "int32, negative", lambda x: relay.mean(x, axis=1), ((9, 2),), dtypes=INT32, low=-9.0, high=-1.0),
    Case("mean", "a sum beyond float16", lambda x: relay.mean(x, axis=1), ((2, 4000),), low=400.0, high=500.0).half(),
    *reduction("variance", variance)[:-1],  # Relay's variance of integers is one of floats
    Case("variance", "unbiased", lambda x: relay.variance(x, axis=1, unbiased=True), CUBE),
    Case("variance", "unbiased, keepdims", lambda x: variance(x, axis=[1, 2], unbiased=True, keepdims=True), CUBE),
    Case("variance", "mean from elsewhere", lambda x, m: variance(x, m, axis=1), ((2, 3, 4), (2, 1, 4))),
    Case("variance", "constant mean", lambda x: variance(x, constant(x, 1, 1, 4), axis=1), CUBE),
    Case("variance", "standard deviation", lambda x: relay.std(x, axis=1, unbiased=True), CUBE),
    Case(
        "variance", "squares beyond float16", lambda x: variance(x, axis=1), ((2, 30),), low=-400.0, high=400.0
    ).half(),
    Case("variance", "large mean", lambda x: variance(x, axis=1), ((2, 64),), low=1000.0, high=1016.0),
    *(case for op, build in TRUTHS.items() for case in of_truth(op, build)),
    *(case for op, build in EXTREMES.items() for case in arg_reduction(op, build)),
    *(case for op, build in SCANS.items() for case in scan(op, build)),
    Case("topk", "both", lambda x: relay.topk(x, k=2).astuple(), CUBE),
    Case("topk", "values", lambda x: relay.topk(x, k=3, axis=1, ret_type="values"), ((2, 5, 3),)),
    Case("topk", "indices", lambda x: relay.topk(x, k=3, axis=-2, ret_type="indices"), ((2, 5, 3),)),
    Case("topk", "ascending", lambda x: relay.topk(x, k=2, is_ascend=True).astuple(), CUBE),
    Case("topk", "all", lambda x: relay.topk(x, k=0).astuple(), CUBE),
    Case("topk", "one", lambda x: relay.topk(x, k=1, axis=1).astuple(), ((2, 30),)),
    Case("topk", "batch", lambda x: relay.topk(x, k=2, axis=0).astuple(), ((4, 3),), options=EXPLICIT),
    Case("topk", "rank 1", lambda x: relay.topk(x, k=2).astuple(), ((7,),), options=EXPLICIT),
    Case("topk", "rank 6", lambda x: relay.topk(x, k=2, axis=1).astuple(), ((1, 4, 2, 1, 2, 3),)),
    Case("topk", "indices as float32", lambda x: relay.topk(x, k=2, dtype="float32").astuple(), CUBE),
    Case(
        "topk",
        "indices as int64",
        lambda x: relay.topk(x, k=2, dtype="int64").astuple(),
        CUBE,
        options={"version": (10, 0, 0)},
    ),
    Case("sort", "last axis", relay.sort, CUBE),
    Case("sort", "descending", lambda x: relay.sort(x, axis=1, is_ascend=False), ((2, 7, 3),)),
    Case("sort", "axis -2", lambda x: relay.sort(x, axis=-2), ((2, 7, 3),)),
    Case("argsort", "last axis", relay.argsort, CUBE),
    Case("argsort", "descending", lambda x: relay.argsort(x, axis=1, is_ascend=False), ((2, 7, 3),)),
    Case("argsort", "as float32", lambda x: relay.argsort(x, axis=-2, dtype="float32"), ((2, 7, 3),)),
]


REFUSED = [
    # TensorRT was seen to give the first element for all.
    Refused("topk", lambda x: relay.topk(x, k=1, axis=1).astuple(), ((2, 1, 1, 1, 1),), "the order of one element"),
    Refused("sum", lambda x: relay.sum(x), ((2, 3),), "the dtype must be", BOOL),
    Refused("any", lambda x: relay.any(x), ((2, 3),), "the dtype must be bool"),
    # Without keepdims, TVM's own type inference reads beyond the shape.
    Refused("max", lambda x: relay.max(x, axis=[1, -1], keepdims=True), ((2, 3),), "names a dimension twice"),
    Refused(
        "mean", lambda x: relay.mean(x, axis=0), ((relay.Any(), 3),), "integers along the dynamic dimension", INT32
    ),
    Refused("sum", lambda x: relay.sum(x, axis=1), ((2, 3),), "int64 needs TensorRT 10", INT64),
    Refused(
        "variance",
        lambda x, m: relay.variance(x, axis=1, with_mean=m),
        ((2, 1), (2, 3)),
        "does not broadcast to",
    ),
    Refused("variance", lambda x, m: variance(x, m, axis=0, exclude=True), ((2,), (1,)), "no axis to reduce"),
    Refused("variance", lambda x, m: variance(x, m, axis=1, unbiased=True), ((2, 1), (2, 1)), "divides by 0"),
    Refused(
        "variance",
        lambda x, m: variance(x, m, axis=0, unbiased=True),
        ((relay.Any(), 3), (1, 3)),
        "unbiased variance along the dynamic dimension",
    ),
    Refused("argmax", lambda x: relay.argmax(x, axis=[0, 1], exclude=True), ((2, 3),), "no axis to look along"),
    Refused("argmax", lambda x: relay.argmax(x, axis=1), ((2, 3),), "the dtype must be", BOOL),
    Refused("argmin", lambda x: relay.argmin(x, axis=0), ((relay.Any(), 3),), "indices along the dynamic dimension"),
    Refused("topk", lambda x: relay.topk(x, k=2, axis=0).astuple(), ((relay.Any(), 3),), "the dynamic dimension"),
    Refused("topk", lambda x: relay.topk(x, k=4).astuple(), ((2, 3),), "4 of 3 elements"),
    Refused("topk", lambda x: relay.topk(x, k=4000).astuple(), ((1, 5000),), "TensorRT gives at most 3840"),
    Refused("sort", relay.sort, ((1, 4000),), "TensorRT gives at most 3840"),
    Refused("argsort", relay.argsort, ((2, 3),), "the dtype must be float32 or float16", INT32),
    Refused("argsort", lambda x: relay.argsort(x, dtype="float16"), ((2, 3),), "indices as float16"),
    Refused("sort", lambda x: relay.sort(x), ((),), "a scalar has no axis"),
    Refused("cumsum", relay.cumsum, ((relay.Any(), 3),), "the elements along the dynamic dimension"),
    Refused("cumprod", lambda x: relay.cumprod(x, axis=0), ((relay.Any(), 3),), "along the dynamic dimension"),
    Refused("cumsum", lambda x: relay.cumsum(x, axis=0), ((2, 3),), "the result as bool", BOOL),
]


def drawn_axis(draw: Draw, shape: Shape, exclude: bool) -> Any:
    """One axis, several, or all: None, which TVM's own code cannot exclude, or an empty list, which it can only."""
    every: st.SearchStrategy[Any] = st.just([] if exclude else None)
    if not shape:
        return draw(every)
    several = st.lists(axes(shape), min_size=1, unique_by=lambda axis: axis % len(shape))
    return draw(st.one_of(every, axes(shape), several))


def drawn_reduction(draw: Draw, shape: Shape) -> Dict[str, Any]:
    exclude = draw(st.booleans())
    return {"axis": drawn_axis(draw, shape, exclude), "keepdims": draw(st.booleans()), "exclude": exclude}


def with_dtype(case: Case, dtype: str, low: float, high: float) -> Case:
    return Case(case.op, f"{case.name} {dtype}", case.build, case.shapes, dtypes=(dtype,), low=low, high=high)


@strategy(*REDUCTIONS)
def reductions(draw: Draw, op: str) -> Case:
    shape = draw(shapes(0, 5))
    case = attributed(op, REDUCTIONS[op], shape, **drawn_reduction(draw, shape))
    return with_dtype(case, draw(st.sampled_from(["float32", "int32"])), -9.0, 10.0)


@strategy("variance")
def variances(draw: Draw, op: str) -> Case:
    shape = draw(shapes(0, 5))
    attrs = {**drawn_reduction(draw, shape), "unbiased": draw(st.booleans())}
    if draw(st.booleans()):
        return attributed(op, variance, shape, **attrs)
    means = tuple(draw(st.sampled_from([1, size])) for size in shape)
    if draw(st.booleans()):
        return attributed(op, lambda x, **attrs: variance(x, constant(x, *means), **attrs), shape, **attrs)
    return Case(op, f"{shape} {means} {attrs}", lambda x, m: variance(x, m, **attrs), (shape, means))


@strategy(*TRUTHS)
def truths(draw: Draw, op: str) -> Case:
    shape = draw(shapes(0, 5))
    case = attributed(op, TRUTHS[op], shape, **drawn_reduction(draw, shape))
    return with_dtype(case, "bool", 0.0, 1.0)


@strategy(*EXTREMES)
def extremes(draw: Draw, op: str) -> Case:
    shape = draw(shapes(0, 5))
    attrs = {**drawn_reduction(draw, shape), "select_last_index": draw(st.booleans())}
    case = attributed(op, EXTREMES[op], shape, **attrs)
    return with_dtype(case, draw(st.sampled_from(["float32", "int32"])), -2.0, 3.0)


@strategy("topk")
def top_k(draw: Draw, op: str) -> Case:
    shape = draw(shapes(0, 6, max_side=5))
    attrs = {
        "k": draw(st.integers(-1, 5)),
        "axis": draw(axes(shape)) if shape else -1,
        "ret_type": draw(st.sampled_from(["both", "values", "indices"])),
        "is_ascend": draw(st.booleans()),
        "dtype": draw(st.sampled_from(["int32", "float32"])),
    }

    def build(x: relay.Var, **attrs: Any) -> relay.Expr:
        result = relay.topk(x, **attrs)
        return result.astuple() if attrs["ret_type"] == "both" else result

    return attributed(op, build, shape, **attrs)


@strategy("sort", "argsort")
def orders(draw: Draw, op: str) -> Case:
    shape = draw(shapes(0, 6, max_side=5))
    attrs = {"axis": draw(axes(shape)) if shape else -1, "is_ascend": draw(st.booleans())}
    if op == "sort":
        return attributed(op, relay.sort, shape, **attrs)
    return attributed(op, relay.argsort, shape, dtype=draw(st.sampled_from(["int32", "float32"])), **attrs)


@strategy(*SCANS)
def scans(draw: Draw, op: str) -> Case:
    shape = draw(shapes(1, 5, max_side=9 if draw(st.booleans()) else 3))
    attrs = {
        "axis": draw(st.one_of(st.none(), axes(shape))),
        "dtype": draw(st.sampled_from(["", "int32", "float32"])),
        "exclusive": draw(st.sampled_from([None, False, True])),
    }
    case = attributed(op, SCANS[op], shape, **attrs)
    return with_dtype(case, draw(st.sampled_from(["float32", "int32", "bool"])), -2.0, 3.0)
