"""Cases of pooling."""

from __future__ import annotations

from typing import Any, Callable, List

from hypothesis import strategies as st
from tvm import relay

from .case import (
    IMAGE,
    Case,
    Draw,
    Refused,
    attributed,
    images,
    paddings,
    pairs,
    strategy,
)


def pools(op: str) -> List[Case]:
    pool: Callable[..., relay.Expr] = getattr(relay.nn, op.split(".")[1])

    def case(name: str, **attrs: Any) -> Case:
        return Case(op, name, lambda x: pool(x, **attrs), IMAGE)

    return [
        case("default", pool_size=2),
        case("strides", pool_size=(3, 2), strides=(2, 3)),
        case("padding", pool_size=3, strides=2, padding=1),
        case("padding of two numbers", pool_size=(2, 3), strides=2, padding=(0, 2)),
        case("asymmetric padding", pool_size=3, strides=2, padding=(1, 0, 2, 1)),
        # 9 and 8 leave nothing over: rounding up changes nothing, and an average is defined.
        case("ceil_mode, no rest", pool_size=(3, 2), strides=2, ceil_mode=True),
        case("window as large as x", pool_size=(9, 8), strides=1),
    ]


CASES = [
    *pools("nn.max_pool2d"),
    *pools("nn.avg_pool2d"),
    Case(
        "nn.max_pool2d",
        "ceil_mode, last window beyond x",
        lambda x: relay.nn.max_pool2d(x, pool_size=2, strides=2, ceil_mode=True),
        IMAGE,
    ),
    Case(
        "nn.max_pool2d",
        "ceil_mode, last window beyond the padding",
        lambda x: relay.nn.max_pool2d(x, pool_size=3, strides=(3, 2), padding=(1, 0, 0, 0), ceil_mode=True),
        IMAGE,
    ),
    Case("nn.max_pool2d", "negative numbers", lambda x: relay.nn.max_pool2d(x, 3, padding=1), IMAGE, high=-0.5),
    Case(
        "nn.avg_pool2d",
        "count_include_pad",
        lambda x: relay.nn.avg_pool2d(x, pool_size=3, strides=2, padding=(1, 2), count_include_pad=True),
        IMAGE,
    ),
    Case("nn.global_max_pool2d", "default", relay.nn.global_max_pool2d, IMAGE),
    Case("nn.global_avg_pool2d", "default", relay.nn.global_avg_pool2d, IMAGE),
    Case("nn.global_avg_pool2d", "one by one", relay.nn.global_avg_pool2d, ((2, 3, 1, 1),)),
]


REFUSED = [
    Refused("nn.max_pool2d", lambda x: relay.nn.max_pool2d(x, 3, padding=-1), IMAGE, "engines cannot crop"),
    Refused("nn.max_pool2d", lambda x: relay.nn.max_pool2d(x, 3, 2), ((1, 3, 2, 8),), "the padded input [2, 8]"),
    Refused("nn.avg_pool2d", lambda x: relay.nn.avg_pool2d(x, 2), ((1, 3, 8, 8, 2),), "must have four dimensions"),
    Refused("nn.global_avg_pool2d", relay.nn.global_avg_pool2d, ((1, 3, 8, 8, 2),), "must have four dimensions"),
]


@strategy("nn.max_pool2d", "nn.avg_pool2d")
def pool2d(draw: Draw, op: str) -> Case:
    attrs = {
        "pool_size": draw(pairs(1, 4)),
        "strides": draw(pairs(1, 3)),
        "padding": draw(paddings(2)),
        "ceil_mode": draw(st.booleans()),
    }
    if op == "nn.avg_pool2d":
        attrs["count_include_pad"] = draw(st.booleans())
    return attributed(op, getattr(relay.nn, op[3:]), draw(images()), **attrs)


@strategy("nn.global_max_pool2d", "nn.global_avg_pool2d")
def global_pool2d(draw: Draw, op: str) -> Case:
    return attributed(op, getattr(relay.nn, op[3:]), draw(images()))
