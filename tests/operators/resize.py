"""Cases of resizing images."""

from __future__ import annotations

import dataclasses
from typing import Any, Dict, List, Optional

from hypothesis import strategies as st
from tvm import relay

from .case import EXPLICIT, Case, Draw, Refused, Shape, strategy
from .pooling import LAYOUTS, in_layout, layouts

LINE, IMAGE, VOLUME = ((2, 3, 5),), ((2, 3, 4, 5),), ((1, 2, 3, 4, 5),)
METHODS = ("nearest_neighbor", "linear", "cubic")
COORDINATES = ("half_pixel", "align_corners", "asymmetric", "pytorch_half_pixel", "tf_half_pixel_for_nn")
ROUNDINGS = ("round", "round_prefer_floor", "round_prefer_ceil", "floor", "ceil", "")


def case(op: str, name: str, shapes: Any, options: Optional[Dict[str, Any]] = None, **attrs: Any) -> Case:
    return Case(op, name, lambda x: function(op)(x, **attrs), shapes, options=options or {})


def any_layout(op: str, shape: Shape, layout: str, options: Optional[Dict[str, Any]] = None, **attrs: Any) -> Case:
    """A case of an image (N, C, spatial...) in ``layout``; TVM's own code has channels first, or last."""
    order = LAYOUTS[len(shape) - 2]

    def transposed(x: relay.Var) -> relay.Expr:
        image = relay.transpose(x, [layout.index(letter) for letter in order])
        return relay.transpose(function(op)(image, **attrs), [order.index(letter) for letter in layout])

    plain = case(op, f"{shape} {layout} {attrs}", (in_layout(shape, layout),), options, layout=layout, **attrs)
    # The last digit of a float16 result may be rounded either way.
    tolerance = 2e-3 if attrs.get("out_dtype") == "float16" else plain.rtol
    return dataclasses.replace(plain, same_as=transposed, rtol=tolerance, atol=tolerance)


def function(op: str) -> Any:
    return getattr(relay.image if op.startswith("image.") else relay.nn, op.split(".")[1])


def resizes(op: str, *targets: Any) -> List[Case]:
    """Every method with every kind of coordinates."""
    shape = {1: LINE, 2: IMAGE, 3: VOLUME}[len(targets[0])]
    return [
        case(op, f"{method}, {mode}, to {size}", shape, size=size, method=method, coordinate_transformation_mode=mode)
        for method in METHODS
        for mode in COORDINATES
        for size in targets
    ]


def rounded(size: Any, coordinates: str, rounding: str) -> Case:
    attrs: Dict[str, Any] = {"coordinate_transformation_mode": coordinates, "rounding_method": rounding}
    name = f"nearest_neighbor, {coordinates}, to {size}, {rounding or 'no rounding'}"
    return case("image.resize2d", name, IMAGE, size=size, method="nearest_neighbor", **attrs)


CASES = [
    case("image.resize1d", "default", LINE, size=(10,)),
    case("image.resize2d", "default", IMAGE, size=(8, 10)),
    case("image.resize3d", "default", VOLUME, size=(6, 8, 10)),
    *resizes("image.resize1d", (7,)),
    *resizes("image.resize2d", (8, 7), (4, 3)),
    *resizes("image.resize3d", (6, 3, 7)),
    # Of 4 and 5 elements 12 and 9: with places on and halfway between elements.
    *(rounded((12, 9), coordinates, rounding) for coordinates in COORDINATES for rounding in ROUNDINGS),
    *(rounded((2, 10), coordinates, rounding) for coordinates in COORDINATES[:3] for rounding in ROUNDINGS),
    case("image.resize2d", "the same size", IMAGE, size=(4, 5)),
    case("image.resize2d", "the same size, nearest_neighbor", IMAGE, size=(4, 5), method="nearest_neighbor"),
    *(
        case(
            "image.resize2d",
            f"to one row, {method}, {mode}",
            IMAGE,
            size=(1, 7),
            method=method,
            coordinate_transformation_mode=mode,
        )
        for method in METHODS
        for mode in ("half_pixel", "asymmetric", "pytorch_half_pixel")
    ),
    *(
        case(
            "image.resize2d",
            f"of one pixel, {method}",
            ((2, 3, 1, 1),),
            size=(3, 2),
            method=method,
            coordinate_transformation_mode="align_corners",
        )
        for method in METHODS
    ),
    case("image.resize2d", "cubic_alpha", IMAGE, size=(8, 7), method="cubic", cubic_alpha=-0.75),
    case("image.resize2d", "cubic_exclude", IMAGE, size=(8, 7), method="cubic", cubic_alpha=-0.75, cubic_exclude=1),
    case("image.resize1d", "cubic_exclude", LINE, size=(3,), method="cubic", cubic_exclude=1),
    any_layout("image.resize2d", IMAGE[0], "NCHW", size=(8, 7), out_dtype="float16"),
    case("image.resize2d", "NHWC", ((2, 4, 5, 3),), size=(8, 7), layout="NHWC"),
    case(
        "image.resize2d",
        "NHWC, cubic_exclude",
        ((2, 4, 5, 3),),
        size=(8, 7),
        layout="NHWC",
        method="cubic",
        cubic_exclude=1,
    ),
    case(
        "image.resize2d",
        "NHWC, repeated",
        ((2, 4, 5, 3),),
        size=(8, 10),
        layout="NHWC",
        method="nearest_neighbor",
        coordinate_transformation_mode="asymmetric",
    ),
    # ONNX Runtime, if it may, moves the transposes of these through the Resize, which it then refuses.
    case("image.resize2d", "NHWC, cubic", ((2, 4, 5, 3),), size=(8, 7), layout="NHWC", method="cubic"),
    case("image.resize2d", "NHWC, cubic, fewer", ((2, 4, 5, 3),), size=(3, 7), layout="NHWC", method="cubic"),
    case("image.resize2d", "NHWC, gathered", ((2, 4, 5, 3),), size=(6, 7), layout="NHWC", method="nearest_neighbor"),
    case("image.resize1d", "NWC", ((2, 5, 3),), size=(7,), layout="NWC"),
    case("image.resize3d", "NDHWC", ((1, 3, 4, 5, 2),), size=(6, 7, 8), layout="NDHWC"),
    any_layout("image.resize2d", IMAGE[0], "HWCN", EXPLICIT, size=(8, 7)),
    any_layout("image.resize2d", IMAGE[0], "NWCH", size=(8, 10)),
    any_layout("image.resize2d", IMAGE[0], "NWHC", size=(8, 7), method="cubic", cubic_exclude=1),
    case("nn.upsampling", "default", IMAGE, scale_h=2, scale_w=3),
    case("nn.upsampling", "bilinear", IMAGE, scale_h=2, scale_w=2, method="bilinear"),
    case(
        "nn.upsampling", "bilinear, align_corners", IMAGE, scale_h=2, scale_w=3, method="bilinear", align_corners=True
    ),
    case("nn.upsampling", "bicubic", IMAGE, scale_h=2, scale_w=2, method="bicubic"),
    case("nn.upsampling", "nearest_neighbor, align_corners", IMAGE, scale_h=2, scale_w=3, align_corners=True),
    case("nn.upsampling", "fractional", IMAGE, scale_h=1.5, scale_w=2.3),
    case("nn.upsampling", "fractional, bilinear", IMAGE, scale_h=1.5, scale_w=0.7, method="bilinear"),
    case("nn.upsampling", "NHWC", ((2, 4, 5, 3),), scale_h=2, scale_w=2, layout="NHWC"),
    case("nn.upsampling3d", "default", VOLUME, scale_d=2, scale_h=2, scale_w=3),
    *(
        case(
            "nn.upsampling3d",
            f"{method}, {mode}",
            VOLUME,
            scale_d=2,
            scale_h=1.5,
            scale_w=2,
            method=method,
            coordinate_transformation_mode=mode,
        )
        for method in ("nearest_neighbor", "trilinear")
        for mode in ("half_pixel", "align_corners", "asymmetric")
    ),
    case(
        "nn.upsampling3d",
        "NDHWC",
        ((1, 3, 4, 5, 2),),
        scale_d=2,
        scale_h=2,
        scale_w=2,
        layout="NDHWC",
        method="trilinear",
    ),
]


REFUSED = [
    Refused(
        "image.resize2d",
        lambda x: relay.image.resize2d(
            x, (3, 3), (0.0, 0.0, 0.5, 0.5), coordinate_transformation_mode="tf_crop_and_resize"
        ),
        IMAGE,
        "coordinate_transformation_mode tf_crop_and_resize",
    ),
    Refused("image.resize2d", lambda x: relay.image.resize2d(x, (3, 3), method="area"), IMAGE, "method area"),
    Refused(
        "image.resize2d",
        lambda x: relay.image.resize2d(x, (3, 3), method="nearest_neighbor", rounding_method="up"),
        IMAGE,
        "rounding_method up",
    ),
    Refused(
        "image.resize2d",
        lambda x: relay.image.resize2d(x, (1, 3), coordinate_transformation_mode="align_corners"),
        IMAGE,
        "align_corners to a size of 1",
    ),
    Refused(
        "nn.upsampling", lambda x: relay.nn.upsampling(x, 1, 2, align_corners=True), ((1, 2, 1, 3),), "to a size of 1"
    ),
    Refused(
        "image.resize3d",
        lambda x: relay.image.resize3d(x, (3, 3, 3), method="cubic", cubic_exclude=1),
        VOLUME,
        "cubic_exclude in three dimensions",
    ),
    Refused("image.resize2d", lambda x: relay.image.resize2d(x, (3, 3), out_dtype="int32"), IMAGE, "int32"),
    Refused(
        "image.resize2d",
        lambda x: relay.image.resize2d(x, (8, 8), layout="NCHW2c"),
        ((1, 2, 4, 4, 2),),
        "layout NCHW2c",
    ),
]


def images(dimensions: int) -> st.SearchStrategy[Shape]:
    sides = [st.integers(1, 12 if dimensions < 3 else 6)] * dimensions
    return st.tuples(st.integers(1, 2), st.integers(1, 3), *sides)


@strategy("image.resize1d", "image.resize2d", "image.resize3d")
def resized(draw: Draw, op: str) -> Case:
    dimensions = int(op[-2])
    layout, shape = draw(layouts(dimensions)), draw(images(dimensions))
    # A size of its own, or a multiple.
    size = [draw(st.integers(1, 16) | st.sampled_from([side, 2 * side, 3 * side])) for side in shape[2:]]
    attrs = {
        "size": size,
        "method": draw(st.sampled_from(METHODS)),
        "coordinate_transformation_mode": draw(st.sampled_from([*COORDINATES, "tf_crop_and_resize"])),
        "rounding_method": draw(st.sampled_from(ROUNDINGS)),
        "cubic_alpha": draw(st.sampled_from([-0.5, -0.75, 0.25])),
        "cubic_exclude": draw(st.integers(0, 1)),
        "out_dtype": draw(st.sampled_from(["", "", "float32", "float16"])),
    }
    return any_layout(op, shape, layout, **attrs)


@strategy("nn.upsampling", "nn.upsampling3d")
def upsampled(draw: Draw, op: str) -> Case:
    dimensions = 3 if op.endswith("3d") else 2
    layout = draw(layouts(dimensions))
    scales = st.integers(1, 3) | st.sampled_from([0.5, 1.25, 1.5, 2.3])
    attrs = {f"scale_{letter}": draw(scales) for letter in LAYOUTS[dimensions][2:].lower()}
    if dimensions == 2:
        attrs["align_corners"] = draw(st.booleans())
        attrs["method"] = draw(st.sampled_from(["nearest_neighbor", "bilinear", "bicubic"]))
    else:
        attrs["coordinate_transformation_mode"] = draw(st.sampled_from(COORDINATES))
        attrs["method"] = draw(st.sampled_from(["nearest_neighbor", "trilinear"]))
    return any_layout(op, draw(images(dimensions)), layout, **attrs)
