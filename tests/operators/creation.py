"""Cases of operators that make tensors."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from tvm import relay

from .case import EXPLICIT, Case, Draw, Refused, dtype_of, scalar, shapes, strategy

ONE = ((2, 3, 4),)
CASES = [
    Case("zeros", "added", lambda x: x + relay.zeros((2, 3, 4), dtype_of(x)), ONE),
    Case("zeros", "int32", lambda x: x + relay.zeros((2, 3, 4), "int32"), ONE, dtypes=("int32",), high=9),
    Case("zeros", "broadcast", lambda x: x + relay.zeros((), dtype_of(x)), ONE, options=EXPLICIT),
    Case("ones", "added", lambda x: x + relay.ones((2, 3, 4), dtype_of(x)), ONE),
    Case(
        "ones",
        "bool",
        lambda x: relay.logical_xor(x, relay.ones((3, 1), "bool")),
        ONE,
        dtypes=("bool",),
        options=EXPLICIT,
    ),
    Case("full", "of an input", lambda x: relay.full(x, (2, 3)), ((),), options=EXPLICIT),
    Case("full", "of a sum", lambda x: x + relay.full(relay.sum(x), (2, 3, 4)), ONE, options=EXPLICIT),
    Case("full", "of another type", lambda x: relay.full(x, (2,), "int32"), ((),), options=EXPLICIT, low=2, high=9),
    Case("full", "a scalar", lambda x: relay.full(x, ()), ((),), options=EXPLICIT),
    Case("full_like", "a constant", lambda x: x + relay.full_like(x, scalar(x, 1.5)), ONE),
    Case(
        "full_like",
        "an int32 constant",
        lambda x: x + relay.full_like(x, relay.const(2)),
        ONE,
        same_as=lambda x: x + scalar(x, 2.0),  # TVM's SimplifyExpr adds the int32 itself, and fails
    ),
    Case("full_like", "an input", relay.full_like, ((2, 3, 4), ()), options=EXPLICIT),
    Case("full_like", "of int32", lambda x: relay.full_like(x, relay.const(3)), ONE, dtypes=("int32",), high=9),
    Case("zeros_like", "added", lambda x: x + relay.zeros_like(x), ONE),
    Case("zeros_like", "alone", relay.zeros_like, ONE),
    Case("zeros_like", "bool", relay.zeros_like, ONE, dtypes=("bool",)),
    Case("ones_like", "added", lambda x: x + relay.ones_like(x), ONE),
    Case("ones_like", "alone", relay.ones_like, ONE),
    Case("ones_like", "int32", relay.ones_like, ONE, dtypes=("int32",), high=9),
]

REFUSED = [
    # To TensorRT, a choice between a value and itself does not broadcast.
    Refused("full_like", lambda x: relay.full_like(x, relay.const(1.5)), ((relay.Any(), 3),), "not known before run"),
    Refused("zeros_like", relay.zeros_like, ONE, "int64 needs TensorRT 10 or newer", ("int64",)),
    Refused("full", lambda x: relay.full(x, (2,), "int8"), ((),), "int8[2]: the dtype must be"),
]

DTYPES = st.sampled_from(["float32", "int32", "bool"])


@strategy("zeros", "ones")
def made(draw: Draw, op: str) -> Case:
    shape, dtype = draw(shapes(0, 5)), draw(DTYPES)
    return Case(op, f"{shape} {dtype}", lambda x: getattr(relay, op)(shape, dtype), ((2,),))


@strategy("full")
def full(draw: Draw, op: str) -> Case:
    shape, source, target = draw(shapes(0, 5)), draw(DTYPES), draw(DTYPES)
    name = f"{shape} {source} {target}"
    return Case(op, name, lambda x: relay.full(x, shape, target), ((),), dtypes=(source,), low=-9, high=9)


@strategy("zeros_like", "ones_like")
def like(draw: Draw, op: str) -> Case:
    shape, dtype = draw(shapes(0, 5)), draw(DTYPES)
    return Case(op, f"{shape} {dtype}", getattr(relay, op), (shape,), dtypes=(dtype,))


@strategy("full_like")
def full_like(draw: Draw, op: str) -> Case:
    shape, dtype, value = draw(shapes(0, 5)), draw(DTYPES), draw(DTYPES)
    build, inputs = draw(
        st.sampled_from(
            [
                (relay.full_like, (shape, ())),
                # One that the tensor's type has: TVM cannot make a bool of another constant.
                (lambda x: relay.full_like(x, relay.const(np.array(3).astype(dtype).astype(value))), (shape,)),
            ]
        )
    )
    name = f"{shape} {dtype} {value}, {len(inputs)} inputs"
    return Case(op, name, build, inputs, dtypes=(dtype, value)[: len(inputs)], low=-9, high=9)
