"""Cases of normalization and softmax."""

from __future__ import annotations

from typing import Any, Callable, Dict

from hypothesis import strategies as st
from tvm import relay

from .case import EXPLICIT, IMAGE, Case, Draw, Refused, Shape, attributed, axes, constant, shapes, strategy

CUBE = ((2, 3, 4),)
# Squares of these are beyond float16.
LARGE: Dict[str, Any] = {"low": -500.0, "high": 500.0}
# A mean that is large against what is around it, such that the mean of squares has no digits left for a variance.
OFFSET: Dict[str, Any] = {"low": 100.0, "high": 101.0}

SOFTMAX = {
    "nn.softmax": relay.nn.softmax,
    "nn.log_softmax": relay.nn.log_softmax,
    "nn.fast_softmax": relay.nn.fast_softmax,
}


def batch_norm(x: relay.Var, channels: int, **attrs: Any) -> relay.Expr:
    gamma, beta, mean = (constant(x, channels, seed=seed) for seed in (1, 2, 3))
    variance = constant(x, channels, seed=4, low=0.25, high=2.0)
    return relay.nn.batch_norm(x, gamma, beta, mean, variance, **attrs)[0]


def computed_batch_norm(x: relay.Var, *given: relay.Expr, **attrs: Any) -> relay.Expr:
    """The variance is made positive."""
    gamma, beta, mean, variance = given
    return relay.nn.batch_norm(x, gamma, beta, mean, relay.exp(variance), **attrs)[0]


def affine(norm: Callable[..., relay.Expr], x: relay.Var, channels: int, **attrs: Any) -> relay.Expr:
    """A norm with a constant gamma and beta."""
    return norm(x, constant(x, channels, seed=1), constant(x, channels, seed=2), **attrs)


def layer_norm(x: relay.Var, channels: int, **attrs: Any) -> relay.Expr:
    return affine(relay.nn.layer_norm, x, channels, **attrs)


def instance_norm(x: relay.Var, channels: int, **attrs: Any) -> relay.Expr:
    return affine(relay.nn.instance_norm, x, channels, **attrs)


def group_norm(x: relay.Var, channels: int, **attrs: Any) -> relay.Expr:
    return affine(relay.nn.group_norm, x, channels, **attrs)


NORMS = {
    "nn.layer_norm": relay.nn.layer_norm,
    "nn.instance_norm": relay.nn.instance_norm,
    "nn.group_norm": relay.nn.group_norm,
}

CASES = [
    Case("nn.batch_norm", "rank 4", lambda x: batch_norm(x, 3), IMAGE),
    Case("nn.batch_norm", "rank 2", lambda x: batch_norm(x, 7), ((3, 7),)),
    Case("nn.batch_norm", "rank 3", lambda x: batch_norm(x, 3), ((2, 3, 4),)),
    Case("nn.batch_norm", "rank 5", lambda x: batch_norm(x, 3), ((1, 3, 4, 2, 2),)),
    Case("nn.batch_norm", "axis 3", lambda x: batch_norm(x, 8, axis=3), IMAGE),
    Case("nn.batch_norm", "axis -1", lambda x: batch_norm(x, 8, axis=-1), IMAGE),
    Case("nn.batch_norm", "axis 2 of 3", lambda x: batch_norm(x, 4, axis=2), ((2, 3, 4),)),
    Case("nn.batch_norm", "axis 0", lambda x: batch_norm(x, 2, axis=0), IMAGE, options=EXPLICIT),
    Case("nn.batch_norm", "no scale", lambda x: batch_norm(x, 3, scale=False), IMAGE),
    Case("nn.batch_norm", "no center", lambda x: batch_norm(x, 3, center=False), IMAGE),
    Case("nn.batch_norm", "large epsilon", lambda x: batch_norm(x, 3, epsilon=0.5), IMAGE),
    Case("nn.batch_norm", "computed statistics", computed_batch_norm, (*IMAGE, *[(3,)] * 4), options=EXPLICIT),
    Case(
        "nn.batch_norm",
        "computed gamma, axis -1, no center",
        lambda x, gamma: relay.nn.batch_norm(
            x,
            gamma,
            constant(x, 4, seed=1),
            constant(x, 4, seed=2),
            constant(x, 4, seed=3, low=0.5, high=2.0),
            axis=-1,
            center=False,
        )[0],
        ((2, 3, 4), (4,)),
        options=EXPLICIT,
    ),
    Case("nn.layer_norm", "rank 3", lambda x: layer_norm(x, 4), CUBE),
    Case("nn.layer_norm", "rank 2", lambda x: layer_norm(x, 7), ((3, 7),)),
    Case("nn.layer_norm", "axis 1", lambda x: layer_norm(x, 3, axis=1), IMAGE),
    Case("nn.layer_norm", "batch", lambda x: layer_norm(x, 2, axis=0), CUBE, options=EXPLICIT),
    Case("nn.layer_norm", "no scale", lambda x: layer_norm(x, 4, scale=False), CUBE),
    Case("nn.layer_norm", "no center", lambda x: layer_norm(x, 4, center=False), CUBE),
    Case("nn.layer_norm", "large epsilon", lambda x: layer_norm(x, 4, epsilon=0.5), CUBE),
    Case("nn.layer_norm", "computed", relay.nn.layer_norm, (*CUBE, (4,), (4,)), options=EXPLICIT),
    Case("nn.layer_norm", "squares beyond float16", lambda x: layer_norm(x, 64), ((2, 64),), **LARGE).half(),
    Case("nn.layer_norm", "large mean", lambda x: layer_norm(x, 64), ((2, 64),), **OFFSET),
    Case("nn.instance_norm", "rank 4", lambda x: instance_norm(x, 3), IMAGE),
    Case("nn.instance_norm", "rank 3", lambda x: instance_norm(x, 3), CUBE),
    Case("nn.instance_norm", "rank 5", lambda x: instance_norm(x, 3), ((1, 3, 4, 2, 2),)),
    Case("nn.instance_norm", "axis -1", lambda x: instance_norm(x, 8, axis=-1), IMAGE),
    Case("nn.instance_norm", "axis 0", lambda x: instance_norm(x, 2, axis=0), CUBE, options=EXPLICIT),
    Case("nn.instance_norm", "no scale", lambda x: instance_norm(x, 3, scale=False), IMAGE),
    Case("nn.instance_norm", "no center", lambda x: instance_norm(x, 3, center=False), IMAGE),
    Case("nn.instance_norm", "computed", relay.nn.instance_norm, (*IMAGE, (3,), (3,)), options=EXPLICIT),
    Case("nn.instance_norm", "squares beyond float16", lambda x: instance_norm(x, 3), IMAGE, **LARGE).half(),
    Case("nn.instance_norm", "large mean", lambda x: instance_norm(x, 3), IMAGE, **OFFSET),
    Case("nn.group_norm", "rank 4", lambda x: group_norm(x, 6, num_groups=3), ((2, 6, 4, 5),)),
    Case("nn.group_norm", "rank 2", lambda x: group_norm(x, 6, num_groups=2), ((2, 6),)),
    Case("nn.group_norm", "rank 3, one group", lambda x: group_norm(x, 3, num_groups=1), CUBE),
    Case("nn.group_norm", "a group for each channel", lambda x: group_norm(x, 3, num_groups=3), CUBE),
    Case("nn.group_norm", "axis -1", lambda x: group_norm(x, 8, num_groups=2, axis=-1), IMAGE),
    Case("nn.group_norm", "axis 2", lambda x: group_norm(x, 4, num_groups=2, axis=2), ((2, 3, 4, 5),)),
    Case("nn.group_norm", "axis 0", lambda x: group_norm(x, 4, num_groups=2, axis=0), ((4, 3),), options=EXPLICIT),
    Case("nn.group_norm", "no scale", lambda x: group_norm(x, 6, num_groups=3, scale=False), ((2, 6, 4),)),
    Case("nn.group_norm", "no center", lambda x: group_norm(x, 6, num_groups=3, center=False), ((2, 6, 4),)),
    Case(
        "nn.group_norm",
        "computed",
        lambda x, gamma, beta: relay.nn.group_norm(x, gamma, beta, num_groups=3),
        ((2, 6, 4), (6,), (6,)),
        options=EXPLICIT,
    ),
    Case(
        "nn.group_norm", "squares beyond float16", lambda x: group_norm(x, 4, num_groups=2), ((2, 4, 9),), **LARGE
    ).half(),
    Case("nn.group_norm", "large mean", lambda x: group_norm(x, 4, num_groups=2), ((2, 4, 9),), **OFFSET),
    Case("nn.l2_normalize", "channels", lambda x: relay.nn.l2_normalize(x, 1e-5, [1]), IMAGE),
    Case("nn.l2_normalize", "axes -1 and 1", lambda x: relay.nn.l2_normalize(x, 1e-5, [-1, 1]), IMAGE),
    Case("nn.l2_normalize", "no axis", lambda x: relay.nn.l2_normalize(x, 1e-5), ((3, 4),), options=EXPLICIT),
    Case("nn.l2_normalize", "batch", lambda x: relay.nn.l2_normalize(x, 1e-5, [0]), ((3, 4),), options=EXPLICIT),
    Case("nn.l2_normalize", "large epsilon", lambda x: relay.nn.l2_normalize(x, 1.0, [1]), ((3, 4),)),
    Case(
        "nn.l2_normalize", "squares beyond float16", lambda x: relay.nn.l2_normalize(x, 1e-5, [1]), ((3, 64),), **LARGE
    ).half(),
    Case("nn.lrn", "channels second", lambda x: relay.nn.lrn(x, size=3, alpha=1.0), ((2, 7, 4, 3),)),
    Case("nn.lrn", "as given", relay.nn.lrn, IMAGE),
    Case("nn.lrn", "channels last", lambda x: relay.nn.lrn(x, size=5, axis=3, alpha=0.5), IMAGE),
    Case(  # TVM's own code takes no axis from the back
        "nn.lrn", "axis -1", lambda x: relay.nn.lrn(x, axis=-1), IMAGE, same_as=lambda x: relay.nn.lrn(x, axis=3)
    ),
    Case("nn.lrn", "one channel", lambda x: relay.nn.lrn(x, size=1, alpha=2.0, beta=0.5, bias=1.0), IMAGE),
    Case("nn.lrn", "more than there are", lambda x: relay.nn.lrn(x, size=15, alpha=2.0), IMAGE),
    Case(
        "nn.lrn", "squares beyond float16", lambda x: relay.nn.lrn(x, size=3, alpha=0.01), ((2, 7, 4, 3),), **LARGE
    ).half(),
    *(
        case
        for op, build in SOFTMAX.items()
        for case in [
            Case(op, "rank 2", build, ((3, 7),), low=-9.0, high=9.0),
            Case(op, "rank 1", lambda x, build=build: build(x, axis=0), ((7,),), options=EXPLICIT),
            Case(op, "channels", lambda x, build=build: build(x, axis=1), IMAGE),
            Case(op, "axis -2", lambda x, build=build: build(x, axis=-2), ((2, 3, 4),)),
            Case(op, "batch", lambda x, build=build: build(x, axis=0), ((2, 3, 4),), options=EXPLICIT),
            Case(op, "large values", build, ((2, 5),), low=-500.0, high=500.0),
        ]
    ),
]


REFUSED = [
    Refused("nn.group_norm", lambda x: group_norm(x, 5, num_groups=2), ((2, 5, 3),), "5 channels do not make 2 groups"),
    Refused(
        "nn.group_norm", lambda x: group_norm(x, 4, num_groups=2, axis=0), ((relay.Any(), 3),), "the dynamic dimension"
    ),
    Refused("nn.lrn", lambda x: relay.nn.lrn(x, size=4), IMAGE, "a window of 4: it must be odd"),
    Refused("nn.lrn", lambda x: relay.nn.lrn(x, size=17), IMAGE, "at most 15"),
    Refused("nn.lrn", relay.nn.lrn, CUBE, "it must be 1 or 3 of four"),
    Refused("nn.lrn", lambda x: relay.nn.lrn(x, axis=2), IMAGE, "it must be 1 or 3 of four"),
    Refused("nn.lrn", lambda x: relay.nn.lrn(x, bias=0.0), IMAGE, "bias 0.0: TensorRT takes"),
    Refused("nn.softmax", lambda x: relay.nn.softmax(x), ((2, 3),), "the dtype must be", ("int32",)),
    Refused("nn.l2_normalize", lambda x: relay.nn.l2_normalize(x, 1e-5, [1, 1]), ((2, 3),), "names a dimension twice"),
]


def drawn_affine(draw: Draw) -> Dict[str, Any]:
    return {
        "scale": draw(st.booleans()),
        "center": draw(st.booleans()),
        "epsilon": draw(st.sampled_from([1e-5, 1e-2])),
    }


def drawn_range(draw: Draw) -> Dict[str, Any]:
    drawn: Dict[str, Any] = draw(st.sampled_from([{}, LARGE, OFFSET]))
    return drawn


@strategy("nn.batch_norm")
def batch_norms(draw: Draw, op: str) -> Case:
    shape = draw(shapes(1, 5))
    axis = draw(axes(shape))
    attrs = {"axis": axis, **drawn_affine(draw)}
    if draw(st.booleans()):
        return attributed(op, batch_norm, shape, channels=shape[axis], **attrs)
    inputs = [draw(st.booleans()) for _ in range(4)]

    def build(x: relay.Var, *given: relay.Var) -> relay.Expr:
        rest = list(given)
        operands = [rest.pop(0) if is_input else constant(x, shape[axis], seed=i) for i, is_input in enumerate(inputs)]
        return computed_batch_norm(x, *operands, **attrs)

    return Case(op, f"{shape} {inputs} {attrs}", build, (shape, *[(shape[axis],)] * sum(inputs)))


@strategy(*NORMS)
def norms(draw: Draw, op: str) -> Case:
    shape = draw(shapes(1, 5))
    axis = draw(axes(shape))
    attrs = {"axis": axis, **drawn_affine(draw)}
    if op == "nn.group_norm":
        attrs["num_groups"] = draw(st.integers(1, 4))
    inputs = draw(st.integers(0, 2))

    def build(x: relay.Var, *given: relay.Var) -> relay.Expr:
        constants = [constant(x, shape[axis], seed=seed) for seed in range(2 - inputs)]
        return NORMS[op](x, *given, *constants, **attrs)

    operands: Any = (shape, *[(shape[axis],)] * inputs)
    return Case(op, f"{operands} {attrs}", build, operands, **drawn_range(draw))


@strategy("nn.l2_normalize")
def l2_normalize(draw: Draw, op: str) -> Case:
    shape = draw(shapes(1, 5))
    several = st.lists(axes(shape), min_size=1, unique_by=lambda axis: axis % len(shape))
    attrs = {"eps": draw(st.sampled_from([1e-10, 1e-2])), "axis": draw(st.one_of(st.none(), several))}
    name, build = f"{shape} {attrs}", lambda x: relay.nn.l2_normalize(x, **attrs)  # noqa: E731
    return Case(op, name, build, (shape,), **drawn_range(draw))


@strategy("nn.lrn")
def lrn(draw: Draw, op: str) -> Case:
    shape = draw(shapes(4, 4, max_side=9) if draw(st.booleans()) else shapes(1, 5))
    attrs = {
        "size": draw(st.integers(1, 17)),
        "axis": draw(st.integers(0, len(shape) - 1)),
        "bias": draw(st.sampled_from([0.0, 1.0, 2.0])),
        "alpha": draw(st.sampled_from([1e-5, 1e-1, 1.0])),
        "beta": draw(st.sampled_from([0.001, 0.5, 0.75])),
    }
    return Case(op, f"{shape} {attrs}", lambda x: relay.nn.lrn(x, **attrs), (shape,), **drawn_range(draw))


@strategy(*SOFTMAX)
def softmax(draw: Draw, op: str) -> Case:
    shape: Shape = draw(shapes(1, 5))
    case = attributed(op, SOFTMAX[op], shape, axis=draw(axes(shape)))
    return Case(op, case.name, case.build, case.shapes, **draw(st.sampled_from([{}, LARGE])))
