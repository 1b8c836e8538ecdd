"""Cases of pooling."""

from __future__ import annotations

from typing import Any, Dict, List, Optional

from hypothesis import strategies as st
from tvm import relay

from .case import EXPLICIT, IMAGE, Case, Draw, Refused, Shape, attributed, strategy

LAYOUTS = {1: "NCW", 2: "NCHW", 3: "NCDHW"}
LINE, VOLUME = ((2, 3, 9),), ((1, 2, 5, 6, 7),)
LAST = ((2, 9, 8, 3),)


def pool(op: str) -> Any:
    return getattr(relay.nn, op[3:])


def in_layout(shape: Shape, layout: str) -> Shape:
    """The shape (N, C, spatial...) in another layout."""
    return tuple(shape[LAYOUTS[len(shape) - 2].index(letter)] for letter in layout)


def case(op: str, name: str, shapes: Any, options: Optional[Dict[str, Any]] = None, **attrs: Any) -> Case:
    return Case(op, name, lambda x: pool(op)(x, **attrs), shapes, options=options or {})


def windows(op: str) -> List[Case]:
    return [
        case(op, "default", IMAGE, pool_size=2),
        case(op, "strides", IMAGE, pool_size=(3, 2), strides=(2, 3)),
        case(op, "padding", IMAGE, pool_size=3, strides=2, padding=1),
        case(op, "padding of two numbers", IMAGE, pool_size=(2, 3), strides=2, padding=(0, 2)),
        case(op, "asymmetric padding", IMAGE, pool_size=3, strides=2, padding=(1, 0, 2, 1)),
        case(op, "padding as large as the window", IMAGE, pool_size=2, strides=(4, 3), padding=(0, 0, 2, 2)),
        # 9 and 8 leave nothing over: rounding up changes nothing.
        case(op, "ceil_mode, no rest", IMAGE, pool_size=(3, 2), strides=2, ceil_mode=True),
        case(op, "ceil_mode, last window beyond x", IMAGE, pool_size=2, strides=2, ceil_mode=True),
        case(
            op,
            "ceil_mode, last window beyond the padding",
            IMAGE,
            pool_size=3,
            strides=(3, 2),
            padding=(1, 0, 0, 0),
            ceil_mode=True,
        ),
        case(op, "window as large as x", IMAGE, pool_size=(9, 8), strides=1),
        case(op, "NHWC", LAST, pool_size=3, strides=(1, 2), padding=(1, 0, 0, 2), layout="NHWC"),
        case(op, "NHWC, and so its output", LAST, pool_size=3, layout="NHWC", out_layout="NHWC"),
        case(op, "NWHC", LAST, pool_size=(3, 2), strides=(1, 2), layout="NWHC"),
        case(op, "HWCN", ((9, 8, 3, 2),), EXPLICIT, pool_size=(3, 2), padding=(1, 0, 0, 1), layout="HWCN"),
    ]


def windows_of_other_ranks(kind: str) -> List[Case]:
    line, volume = f"nn.{kind}_pool1d", f"nn.{kind}_pool3d"
    return [
        case(line, "default", LINE, pool_size=2),
        case(line, "asymmetric padding", LINE, pool_size=3, strides=2, padding=(1, 2)),
        case(line, "ceil_mode", LINE, pool_size=3, strides=4, padding=1, ceil_mode=True),
        case(line, "NWC", ((2, 9, 3),), pool_size=3, layout="NWC"),
        case(volume, "default", VOLUME, pool_size=2),
        case(volume, "padding of three numbers", VOLUME, pool_size=3, strides=(1, 2, 3), padding=(0, 1, 2)),
        case(volume, "asymmetric padding", VOLUME, pool_size=3, strides=2, padding=(1, 0, 2, 0, 1, 2)),
        case(volume, "ceil_mode", VOLUME, pool_size=(2, 3, 2), strides=(2, 2, 3), padding=(0, 1, 0), ceil_mode=True),
        case(volume, "NDHWC", ((1, 5, 6, 7, 2),), pool_size=(1, 2, 3), layout="NDHWC"),
    ]


def averages_with_padding() -> List[Case]:
    op = "nn.avg_pool2d"
    count: Dict[str, Any] = {"count_include_pad": True}
    return [
        case(op, "count_include_pad", IMAGE, pool_size=3, strides=2, padding=(1, 2), **count),
        case(op, "count_include_pad, asymmetric", IMAGE, pool_size=3, strides=2, padding=(1, 0, 2, 1), **count),
        case(
            op, "count_include_pad, ceil_mode", IMAGE, pool_size=3, strides=2, padding=(0, 1), ceil_mode=True, **count
        ),
        case(op, "count_include_pad, none", IMAGE, pool_size=3, **count),
        case(op, "count_include_pad, NHWC", LAST, pool_size=3, padding=(1, 0, 2, 1), layout="NHWC", **count),
        case("nn.avg_pool1d", "count_include_pad", LINE, pool_size=3, padding=(1, 2), **count),
        case("nn.avg_pool3d", "count_include_pad", VOLUME, pool_size=3, strides=2, padding=(0, 1, 2), **count),
    ]


def whole_images(op: str) -> List[Case]:
    return [
        case(op, "default", IMAGE),
        case(op, "one by one", ((2, 3, 1, 1),)),
        case(op, "NHWC", LAST, layout="NHWC"),
        case(op, "HWCN", ((9, 8, 3, 2),), EXPLICIT, layout="HWCN"),
    ]


def parts(kind: str) -> List[Case]:
    line, image, volume = (f"nn.adaptive_{kind}_pool{dimensions}d" for dimensions in (1, 2, 3))
    return [
        case(line, "equal parts", LINE, output_size=3),
        case(line, "overlapping parts", LINE, output_size=4),
        case(line, "NWC", ((2, 9, 3),), output_size=(2,), layout="NWC"),
        case(image, "equal parts", IMAGE, output_size=(3, 4)),
        case(image, "one part", IMAGE, output_size=(1, 1)),
        case(image, "no size: as before", IMAGE),
        case(image, "one size for both", IMAGE, output_size=[1]),
        case(image, "one row", IMAGE, output_size=(1, 8)),
        case(image, "one column in parts", IMAGE, output_size=(3, 1)),
        case(image, "overlapping parts", IMAGE, output_size=(4, 3)),
        case(image, "overlapping in one dimension", IMAGE, output_size=(9, 5)),
        case(image, "more parts than elements", IMAGE, output_size=(11, 16)),
        case(image, "NHWC", LAST, output_size=(3, 2), layout="NHWC"),
        case(image, "NHWC, overlapping parts", LAST, output_size=(4, 3), layout="NHWC"),
        case(volume, "equal parts", VOLUME, output_size=(5, 2, 1)),
        case(volume, "overlapping parts", VOLUME, output_size=(2, 4, 7)),
        case(volume, "NDHWC", ((1, 5, 6, 7, 2),), output_size=(5, 3, 7), layout="NDHWC"),
    ]


CASES = [
    *windows("nn.max_pool2d"),
    *windows("nn.avg_pool2d"),
    *windows_of_other_ranks("max"),
    *windows_of_other_ranks("avg"),
    *averages_with_padding(),
    Case("nn.max_pool2d", "negative numbers", lambda x: relay.nn.max_pool2d(x, 3, padding=1), IMAGE, high=-0.5),
    Case(
        "nn.max_pool2d",
        "negative numbers, padding as large as the window",
        lambda x: relay.nn.max_pool2d(x, 2, strides=(4, 3), padding=(0, 0, 2, 2)),
        IMAGE,
        high=-0.5,
    ),
    *whole_images("nn.global_max_pool2d"),
    *whole_images("nn.global_avg_pool2d"),
    # 10000 elements whose float16 sum is above all that float16 holds.
    Case(
        "nn.global_avg_pool2d",
        "a large sum",
        relay.nn.global_avg_pool2d,
        ((1, 2, 100, 100),),
        "float16",
        low=50,
        high=60,
    ),
    *parts("max"),
    *parts("avg"),
]


REFUSED = [
    Refused("nn.max_pool2d", lambda x: relay.nn.max_pool2d(x, 3, padding=-1), IMAGE, "engines cannot crop"),
    Refused("nn.max_pool2d", lambda x: relay.nn.max_pool2d(x, 3, 2), ((1, 3, 2, 8),), "the padded input [2, 8]"),
    Refused("nn.max_pool2d", lambda x: relay.nn.max_pool2d(x, 3, 1, dilation=(1, 2)), IMAGE, "dilation [1, 2]"),
    Refused("nn.avg_pool1d", lambda x: relay.nn.avg_pool1d(x, 2, dilation=2), LINE, "dilation [2]"),
    Refused("nn.max_pool2d", lambda x: relay.nn.max_pool2d(x, 2, padding=(2, 0)), IMAGE, "holds padding only"),
    Refused(
        "nn.avg_pool1d",
        lambda x: relay.nn.avg_pool1d(x, 2, 3, padding=1, ceil_mode=True),
        ((1, 3, 4),),
        "ceil_mode True: a window holds padding only",
    ),
    Refused("nn.avg_pool2d", lambda x: relay.nn.avg_pool2d(x, 2), ((1, 3, 8, 8, 2),), "have the 4 dimensions of NCHW"),
    Refused("nn.avg_pool2d", lambda x: relay.nn.avg_pool2d(x, 2, layout="NCHW2c"), ((1, 3, 8, 8, 2),), "layout NCHW2c"),
    Refused(
        "nn.max_pool2d",
        lambda x: relay.nn.max_pool2d(x, 2, out_layout="NHWC"),
        IMAGE,
        "layout NCHW, output layout NHWC",
    ),
    Refused(
        "nn.global_avg_pool2d", relay.nn.global_avg_pool2d, ((1, 3, 8, 8, 2),), "must have the 4 dimensions of NCHW"
    ),
    Refused(
        "nn.adaptive_avg_pool2d",
        lambda x: relay.nn.adaptive_avg_pool2d(x, (None, 2)),
        IMAGE,
        "only the first dimension may be dynamic",
    ),
]


def layouts(dimensions: int) -> st.SearchStrategy[str]:
    channels_first = LAYOUTS[dimensions]
    return st.sampled_from([channels_first, "N" + channels_first[2:] + "C"]) | st.permutations(channels_first).map(
        "".join
    )


def images(dimensions: int, max_side: int = 9) -> st.SearchStrategy[Shape]:
    sides = [st.integers(1, max_side if dimensions < 3 else 6)] * dimensions
    return st.tuples(st.integers(1, 2), st.integers(1, 4), *sides)


@strategy(*(f"nn.{kind}_pool{dimensions}d" for kind in ("max", "avg") for dimensions in (1, 2, 3)))
def pooled(draw: Draw, op: str) -> Case:
    dimensions = int(op[-2])
    several = lambda low, high: st.tuples(*[st.integers(low, high)] * dimensions)  # noqa: E731
    layout = draw(layouts(dimensions))
    attrs = {
        "pool_size": draw(several(1, 4)),
        "strides": draw(several(1, 3)),
        "dilation": draw(st.sampled_from([(1,), (1,), (1,), (2,)])) * dimensions,
        "padding": draw(st.integers(0, 2) | several(0, 2) | st.tuples(*[st.integers(0, 3)] * 2 * dimensions)),
        "ceil_mode": draw(st.booleans()),
        "layout": layout,
        "out_layout": draw(st.sampled_from(["", layout])),
    }
    if "avg" in op:
        attrs["count_include_pad"] = draw(st.booleans())
    return attributed(op, pool(op), in_layout(draw(images(dimensions)), layout), **attrs)


@strategy("nn.global_max_pool2d", "nn.global_avg_pool2d")
def whole(draw: Draw, op: str) -> Case:
    layout = draw(layouts(2))
    return attributed(op, pool(op), in_layout(draw(images(2)), layout), layout=layout)


@strategy(*(f"nn.adaptive_{kind}_pool{dimensions}d" for kind in ("max", "avg") for dimensions in (1, 2, 3)))
def adaptive(draw: Draw, op: str) -> Case:
    dimensions = int(op[-2])
    layout, shape = draw(layouts(dimensions)), draw(images(dimensions))
    # A size of its own, or one that divides.
    sizes = [
        draw(st.integers(1, 10) | st.sampled_from([d for d in range(1, side + 1) if side % d == 0]))
        for side in shape[2:]
    ]
    size = draw(st.sampled_from([None, sizes, sizes, sizes]))
    return attributed(op, pool(op), in_layout(shape, layout), output_size=size, layout=layout)
