"""Cases of operators that compute element by element."""

from __future__ import annotations

from typing import List

from hypothesis import strategies as st
from hypothesis.extra.numpy import mutually_broadcastable_shapes
from tvm import relay

from .case import EXPLICIT, Case, Draw, Refused, attributed, constant, scalar, shapes, strategy

ACTIVATIONS = [
    Case("nn.relu", "rank 0", relay.nn.relu, ((),), options=EXPLICIT),
    Case("nn.relu", "rank 1", relay.nn.relu, ((5,),)),
    Case("nn.relu", "rank 4", relay.nn.relu, ((1, 3, 5, 7),)),
    Case("nn.relu", "rank 8", relay.nn.relu, ((1, 2, 1, 3, 2, 1, 2, 2),)),
    Case("sigmoid", "wide range", relay.sigmoid, ((2, 7),), low=-9.0, high=9.0),
    Case("tanh", "wide range", relay.tanh, ((2, 7),), low=-9.0, high=9.0),
    Case("nn.leaky_relu", "default", relay.nn.leaky_relu, ((2, 3, 4),)),
    Case("nn.leaky_relu", "above 1", lambda x: relay.nn.leaky_relu(x, alpha=1.5), ((2, 3),)),
    Case("nn.leaky_relu", "negative", lambda x: relay.nn.leaky_relu(x, alpha=-0.5), ((2, 3),)),
    Case("clip", "relu6", lambda x: relay.clip(x, 0.0, 6.0), ((2, 3, 4, 5),), low=-9.0, high=9.0),
    Case("clip", "one value", lambda x: relay.clip(x, 0.5, 0.5), ((2, 3),)),
    Case("clip", "no upper bound", lambda x: relay.clip(x, -0.25, float("inf")), ((2, 3),)),
]


UNARY = [
    Case("exp", "rank 2", relay.exp, ((2, 5),), low=-4.0, high=4.0),
    Case("log", "rank 2", relay.log, ((2, 5),), low=0.01, high=9.0),
    Case("sqrt", "rank 2", relay.sqrt, ((2, 5),), low=0.0, high=9.0),
    Case("abs", "rank 2", relay.abs, ((2, 5),)),
    Case("negative", "rank 2", relay.negative, ((2, 5),)),
    Case("sin", "several periods", relay.sin, ((2, 5),), low=-9.0, high=9.0),
    Case("cos", "several periods", relay.cos, ((2, 5),), low=-9.0, high=9.0),
    Case("atan", "rank 2", relay.atan, ((2, 5),), low=-9.0, high=9.0),
    Case("ceil", "rank 2", relay.ceil, ((2, 9),), low=-3.0, high=3.0),
    Case("floor", "rank 2", relay.floor, ((2, 9),), low=-3.0, high=3.0),
    Case("erf", "rank 2", relay.erf, ((2, 5),), low=-3.0, high=3.0),
    Case("exp", "rank 0", relay.exp, ((),), options=EXPLICIT),
    Case("abs", "rank 5", relay.abs, ((1, 2, 3, 2, 2),)),
]


BINARY_OPERATORS = {
    "add": relay.add,
    "subtract": relay.subtract,
    "multiply": relay.multiply,
    "divide": relay.divide,
    "power": relay.power,
    "maximum": relay.maximum,
    "minimum": relay.minimum,
}
# Values for which all of them are defined and well conditioned.
POSITIVE = {"low": 0.5, "high": 2.0}


def binary(op: str) -> List[Case]:
    call = BINARY_OPERATORS[op]
    return [
        Case(op, "two inputs", call, ((2, 3, 4), (2, 3, 4)), **POSITIVE),
        Case(op, "constant on the right", lambda x: call(x, constant(x, 3, 1, **POSITIVE)), ((2, 3, 4),), **POSITIVE),
        Case(op, "constant on the left", lambda x: call(constant(x, 3, 1, **POSITIVE), x), ((2, 3, 4),), **POSITIVE),
        Case(op, "repeated", lambda x: call(x, x), ((2, 3),), **POSITIVE),
        Case(op, "scalar", lambda x: call(x, scalar(x, 1.5)), ((2, 3),), **POSITIVE),
    ]


BINARY = [
    *(case for op in BINARY_OPERATORS for case in binary(op)),
    Case("add", "rank 1 to rank 4", relay.add, ((2, 3, 4, 5), (5,)), options=EXPLICIT),
    Case("add", "rank 4 from rank 2", relay.add, ((4, 1), (2, 3, 4, 5)), options=EXPLICIT),
    Case("add", "both broadcast", relay.add, ((2, 1, 4), (2, 3, 1))),
    Case("add", "constant of higher rank", lambda x: relay.add(x, constant(x, 2, 3, 4)), ((4,),), options=EXPLICIT),
    Case("add", "batch of the constant", lambda x: relay.add(x, constant(x, 4, 3)), ((1, 3),), options=EXPLICIT),
    Case("add", "scalars", relay.add, ((), ()), options=EXPLICIT),
    Case("add", "scalar input", relay.add, ((2, 3), ()), options=EXPLICIT),
    # TVM's own rule refuses a constant of the batch's size in four dimensions.
    Case("add", "batched constant", lambda x: relay.add(x, constant(x, 2, 3, 4, 5)), ((2, 3, 4, 5),)),
    Case("add", "the same constant twice", lambda x: (lambda c: (x + c) * c)(constant(x, 3)), ((2, 3),)),
    Case("subtract", "negative numbers", relay.subtract, ((2, 3), (2, 3))),
    Case("divide", "negative numbers", lambda x: x / constant(x, 3, low=-2.0, high=-0.5), ((2, 3),)),
    Case("power", "square of negative numbers", lambda x: relay.power(x, scalar(x, 2.0)), ((2, 5),)),
    Case("power", "cube of negative numbers", lambda x: relay.power(x, scalar(x, 3.0)), ((2, 5),)),
]


CASES = ACTIVATIONS + UNARY + BINARY
REFUSED = [
    Refused("clip", lambda x: relay.clip(x, 1.0, -1.0), ((2, 3),), "a_min 1.0 is above a_max -1.0"),
]


@strategy(
    "nn.relu", "sigmoid", "tanh", "exp", "abs", "atan", "ceil", "cos", "erf", "floor", "negative", "sin", "log", "sqrt"
)
def unary(draw: Draw, op: str) -> Case:
    shape = draw(shapes(0, 5))
    function = relay.nn.relu if op == "nn.relu" else getattr(relay, op)
    low = 0.01 if op in ("log", "sqrt") else -4.0
    return Case(op, str(shape), function, (shape,), low=low, high=4.0)


@strategy("nn.leaky_relu")
def leaky_relu(draw: Draw, op: str) -> Case:
    return attributed(
        op, relay.nn.leaky_relu, draw(shapes(0, 4)), alpha=draw(st.sampled_from([-0.5, 0.0, 0.25, 1.0, 2.0]))
    )


@strategy("clip")
def clip(draw: Draw, op: str) -> Case:
    bounds = st.sampled_from([-float("inf"), -0.5, 0.0, 0.25, 6.0, float("inf")])
    return attributed(op, relay.clip, draw(shapes(0, 4)), a_min=draw(bounds), a_max=draw(bounds))


@strategy(*BINARY_OPERATORS)
def binaries(draw: Draw, op: str) -> Case:
    call = BINARY_OPERATORS[op]
    a, b = draw(mutually_broadcastable_shapes(num_shapes=2, min_dims=0, max_dims=4, max_side=4)).input_shapes
    build, inputs = draw(
        st.sampled_from(
            [
                (call, (a, b)),
                (lambda x: call(x, constant(x, *b, **POSITIVE)), (a,)),
                (lambda x: call(constant(x, *a, **POSITIVE), x), (b,)),
                (lambda x: call(x, scalar(x, 1.5)), (a,)),
                (lambda x: call(x, x), (a,)),
            ]
        )
    )
    return Case(op, f"{a} {b}, {len(inputs)} inputs", build, inputs, **POSITIVE)
