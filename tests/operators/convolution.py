"""Cases of convolutions."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from tvm import relay

from ..support import random
from .case import (
    IMAGE,
    Case,
    Draw,
    Refused,
    constant,
    images,
    paddings,
    pairs,
    strategy,
)


def conv2d(x: relay.Var, *kernel: int, **attrs: Any) -> relay.Expr:
    return relay.nn.conv2d(x, constant(x, *kernel), **attrs)


CASES = [
    Case("nn.conv2d", "3x3", lambda x: conv2d(x, 4, 3, 3, 3, padding=1), IMAGE),
    Case("nn.conv2d", "1x1", lambda x: conv2d(x, 4, 3, 1, 1), IMAGE),
    Case("nn.conv2d", "strides", lambda x: conv2d(x, 4, 3, 3, 2, strides=(2, 3), padding=(2, 1)), IMAGE),
    Case("nn.conv2d", "asymmetric padding", lambda x: conv2d(x, 4, 3, 3, 3, padding=(1, 2, 0, 3)), IMAGE),
    Case("nn.conv2d", "padding above the kernel", lambda x: conv2d(x, 4, 3, 1, 2, padding=(2, 3)), IMAGE),
    Case("nn.conv2d", "dilation", lambda x: conv2d(x, 4, 3, 3, 2, dilation=(2, 3), padding=(2, 0)), IMAGE),
    Case(
        "nn.conv2d",
        "all at once",
        lambda x: conv2d(x, 4, 3, 2, 3, strides=(2, 1), padding=(0, 1, 2, 3), dilation=2),
        IMAGE,
    ),
    Case("nn.conv2d", "groups", lambda x: conv2d(x, 6, 2, 3, 3, groups=2, padding=1), ((2, 4, 7, 6),)),
    Case("nn.conv2d", "depthwise", lambda x: conv2d(x, 4, 1, 3, 3, groups=4, strides=2), ((2, 4, 7, 6),)),
    Case("nn.conv2d", "depthwise, multiplier 2", lambda x: conv2d(x, 8, 1, 3, 3, groups=4, padding=1), ((1, 4, 7, 6),)),
    Case("nn.conv2d", "named channels", lambda x: conv2d(x, 4, 3, 3, 3, channels=4, kernel_size=(3, 3)), IMAGE),
    Case("nn.conv2d", "kernel as large as x", lambda x: conv2d(x, 2, 3, 9, 8), IMAGE),
    # What a front end may write, and relay.nn.conv2d itself does not: two numbers instead of four.
    Case(
        "nn.conv2d",
        "padding of two numbers",
        lambda x: relay.op.nn._make.conv2d(
            x, constant(x, 4, 3, 3, 3), [1, 1], [0, 1], [1, 1], 1, None, None, "NCHW", "OIHW", "", ""
        ),
        IMAGE,
    ),
    Case(
        "nn.conv2d", "NHWC", lambda x: conv2d(x, 3, 3, 3, 4, data_layout="NHWC", kernel_layout="HWIO"), ((1, 7, 6, 3),)
    ),
]


REFUSED = [
    Refused("nn.conv2d", lambda x: conv2d(x, 2, 3, 3, 3, padding=(1, -1)), IMAGE, "engines cannot crop"),
    Refused(
        "nn.conv2d",
        lambda x: conv2d(x, 2, 3, 3, 3, dilation=4, padding=(0, 1)),
        ((1, 3, 6, 8),),
        "the window [9, 9] is larger than the padded input [6, 10]",
    ),
    Refused(
        "nn.conv2d",
        lambda x: relay.nn.conv2d(x, relay.const(random((2, 3, 3, 3), "float16"))),
        IMAGE,
        "the operands are float32 and float16",
    ),
]


@strategy("nn.conv2d")
def convolution(draw: Draw, op: str) -> Case:
    groups, channels, filters = draw(st.integers(1, 3)), draw(st.integers(1, 2)), draw(st.integers(1, 2))
    kernel = draw(pairs(1, 4))
    n, _, height, width = draw(images())
    attrs = {
        "strides": draw(pairs(1, 3)),
        "padding": draw(paddings(3)),
        "dilation": draw(pairs(1, 3)),
        "groups": groups,
    }
    shape = (n, groups * channels, height, width)
    weights = (groups * filters, channels, *kernel)
    return Case(op, f"{shape} {weights} {attrs}", lambda x: conv2d(x, *weights, **attrs), (shape,))
