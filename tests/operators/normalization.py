"""Cases of normalization and softmax."""

from __future__ import annotations

from typing import Any, List

from hypothesis import strategies as st
from tvm import relay

from .case import EXPLICIT, IMAGE, Case, Draw, Refused, attributed, axes, constant, shapes, strategy


def batch_norm(x: relay.Var, channels: int, **attrs: Any) -> relay.Expr:
    gamma, beta, mean = (constant(x, channels, seed=seed) for seed in (1, 2, 3))
    variance = constant(x, channels, seed=4, low=0.25, high=2.0)
    return relay.nn.batch_norm(x, gamma, beta, mean, variance, **attrs)[0]


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
    Case("nn.softmax", "rank 1", lambda x: relay.nn.softmax(x, axis=0), ((7,),), options=EXPLICIT),
    Case("nn.softmax", "rank 2", relay.nn.softmax, ((3, 7),), low=-9.0, high=9.0),
    Case("nn.softmax", "channels", lambda x: relay.nn.softmax(x, axis=1), IMAGE),
    Case("nn.softmax", "axis -2", lambda x: relay.nn.softmax(x, axis=-2), ((2, 3, 4),)),
    Case("nn.softmax", "batch", lambda x: relay.nn.softmax(x, axis=0), ((2, 3, 4),), options=EXPLICIT),
    Case("nn.softmax", "large values", relay.nn.softmax, ((2, 5),), low=-500.0, high=500.0),
]


REFUSED: List[Refused] = []


@strategy("nn.batch_norm")
def normalization(draw: Draw, op: str) -> Case:
    shape = draw(shapes(1, 5))
    axis = draw(axes(shape))
    return attributed(
        op,
        batch_norm,
        shape,
        channels=shape[axis],
        axis=axis,
        scale=draw(st.booleans()),
        center=draw(st.booleans()),
        epsilon=draw(st.sampled_from([1e-5, 1e-2])),
    )


@strategy("nn.softmax")
def softmax(draw: Draw, op: str) -> Case:
    shape = draw(shapes(1, 4))
    return attributed(op, relay.nn.softmax, shape, axis=draw(axes(shape)))
