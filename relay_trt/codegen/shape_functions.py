"""Shapes at run time: what the Relay VM asks of each operator with dynamic dimensions, also of those in a subgraph.

TVM's own functions are missing for operators that it takes apart before it asks, such as a norm, and wrong for some
windows: those with other padding behind than before, with ceil_mode, with groups, or over another number of
dimensions than two. The functions here are registered where TVM has none, and for windows in place of TVM's.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Mapping, Sequence

import tvm
from tvm import relay, te, tir

from ..operators.convolution import SPATIAL_OF
from ..operators.linear import Equation
from ..relay_ir import plain

# Above that of TVM's own functions.
LEVEL = 15

Sizes = List[Any]
#: The sizes of each output from the operator's attributes and the sizes of each operand, all of them expressions.
Function = Callable[[Mapping[str, Any], List[Sizes]], List[Sizes]]

#: What was registered.
FUNCTIONS: Dict[str, Function] = {}


def shape_function(*names: str, instead: bool = False) -> Callable[[Function], Function]:
    """Register the decorated function for operators that this TVM has, without a function or with any (``instead``)."""

    def register(function: Function) -> Function:
        def outputs(attrs: Any, inputs: Sequence[te.Tensor], _: Any) -> List[te.Tensor]:
            # Of a scalar, TVM makes no vector of no sizes.
            sizes = [[shape[i] for i in range(int(shape.shape[0]))] if len(shape.shape) else [] for shape in inputs]
            return [_tensor(result) for result in function(plain(attrs), sizes)]

        for name in known.intersection(names):
            if instead or relay.op.get(name).get_attr("FShapeFunc") is None:
                relay.op.op.register_shape_func(name, False, outputs, LEVEL)
                FUNCTIONS[name] = function
        return function

    known = set(map(str, tvm.ir.Op.list_op_names()))
    return register


def _tensor(sizes: Sizes) -> te.Tensor:
    def size(i: tir.Var) -> Any:
        chosen = tir.const(0, "int64")
        for place, number in enumerate(sizes):
            chosen = tir.Select(i == place, tir.Cast("int64", number), chosen)
        return chosen

    return te.compute((len(sizes),), size, name="shape")


def _named(layout: str, sizes: Sizes) -> Dict[str, Any]:
    return dict(zip(layout, sizes))


def _of_window(size: Any, window: Any, stride: int, padding: int, ceil_mode: bool = False) -> Any:
    return (size + padding - window + (stride - 1 if ceil_mode else 0)) // stride + 1


def _paddings(numbers: Sequence[int], dimensions: int) -> List[int]:
    """Of each spatial dimension what is before and behind it, in Relay's notations."""
    before_and_behind = list(numbers) * (2 * dimensions // len(numbers))
    return [before_and_behind[i] + before_and_behind[i + dimensions] for i in range(dimensions)]


# -- one operand says all ---------------------------------------------------------------------------------------------


@shape_function(
    "abs",
    "acos",
    "acosh",
    "asin",
    "asinh",
    "atan",
    "atanh",
    "cos",
    "cosh",
    "erf",
    "isfinite",
    "isinf",
    "isnan",
    "log10",
    "reverse",
    "sequence_mask",
    "sign",
    "sin",
    "sinh",
    "trunc",
    "nn.group_norm",
    "nn.instance_norm",
    "nn.l2_normalize",
    "nn.layer_norm",
    "nn.log_softmax",
    "nn.lrn",
    "qnn.dequantize",
    "qnn.quantize",
)
@shape_function("bitwise_not", instead=True)  # TVM's takes two operands
def _same(attrs: Mapping[str, Any], operands: List[Sizes]) -> List[Sizes]:
    return operands[:1]


@shape_function("nn.batch_norm")
def _batch_norm(attrs: Mapping[str, Any], operands: List[Sizes]) -> List[Sizes]:
    return [operands[0], operands[3], operands[4]]


@shape_function("any")
def _reduced(attrs: Mapping[str, Any], operands: List[Sizes]) -> List[Sizes]:
    (sizes,) = operands
    listed = range(len(sizes)) if attrs["axis"] is None else [axis % len(sizes) for axis in attrs["axis"]]
    axes = set(range(len(sizes))) - set(listed) if attrs["exclude"] else set(listed)
    if attrs["keepdims"]:
        return [[1 if axis in axes else size for axis, size in enumerate(sizes)]]
    return [[size for axis, size in enumerate(sizes) if axis not in axes]]


@shape_function("slice_like")
def _cut(attrs: Mapping[str, Any], operands: List[Sizes]) -> List[Sizes]:
    sizes, like = operands
    axes = [axis % len(sizes) for axis in attrs["axes"]] if attrs["axes"] else range(len(like))
    return [[like[axis] if axis in axes else size for axis, size in enumerate(sizes)]]


@shape_function("einsum")
def _einsum(attrs: Mapping[str, Any], operands: List[Sizes]) -> List[Sizes]:
    equation = Equation.read(attrs["equation"], [[1] * len(sizes) for sizes in operands])
    found: Dict[str, Any] = {}
    for term, sizes in zip(equation.terms, operands):
        for letter, size in zip(term, sizes):
            found[letter] = tir.Max(found[letter], size) if letter in found else size  # 1 meets any
    return [[found[letter] for letter in equation.result]]


# -- images -----------------------------------------------------------------------------------------------------------


@shape_function("nn.conv1d", "nn.conv2d", "nn.conv3d", instead=True)
def _convolution(attrs: Mapping[str, Any], operands: List[Sizes]) -> List[Sizes]:
    return _convolved(attrs, operands, SPATIAL_OF[f"nn.conv{len(attrs['strides'])}d"], transposed=False)


@shape_function("nn.conv1d_transpose", "nn.conv2d_transpose", "nn.conv3d_transpose", instead=True)
def _transposed_convolution(attrs: Mapping[str, Any], operands: List[Sizes]) -> List[Sizes]:
    return _convolved(attrs, operands, SPATIAL_OF[f"nn.conv{len(attrs['strides'])}d"], transposed=True)


def _convolved(attrs: Mapping[str, Any], operands: List[Sizes], spatial: str, transposed: bool) -> List[Sizes]:
    image, kernel = _named(attrs["data_layout"], operands[0]), _named(attrs["kernel_layout"], operands[1])
    # Whichever of the kernel's channels are those of one group.
    sizes = {"N": image["N"], "C": kernel["O"] * kernel["I"] * attrs["groups"] // image["C"]}
    paddings = _paddings(attrs["padding"], len(spatial))
    for i, letter in enumerate(spatial):
        stride, extent = attrs["strides"][i], (kernel[letter] - 1) * attrs["dilation"][i] + 1
        if transposed:
            sizes[letter] = (image[letter] - 1) * stride + extent - paddings[i] + attrs["output_padding"][i]
        else:
            sizes[letter] = _of_window(image[letter], extent, stride, paddings[i])
    return [[sizes[letter] for letter in attrs["out_layout"] or attrs["data_layout"]]]


POOLS = [f"nn.{kind}_pool{dimensions}d" for kind in ("max", "avg") for dimensions in (1, 2, 3)]


@shape_function(*POOLS, instead=True)
def _pooling(attrs: Mapping[str, Any], operands: List[Sizes]) -> List[Sizes]:
    sizes = _named(attrs["layout"], operands[0])
    spatial = [letter for letter in "DHW" if letter in sizes]
    paddings = _paddings(attrs["padding"], len(spatial))
    for i, letter in enumerate(spatial):
        extent = (attrs["pool_size"][i] - 1) * attrs.get("dilation", [1] * len(spatial))[i] + 1
        sizes[letter] = _of_window(sizes[letter], extent, attrs["strides"][i], paddings[i], bool(attrs["ceil_mode"]))
    return [[sizes[letter] for letter in attrs["layout"]]]


@shape_function(*(f"nn.adaptive_{kind}_pool{dimensions}d" for kind in ("max", "avg") for dimensions in (1, 2, 3)))
def _adaptive_pooling(attrs: Mapping[str, Any], operands: List[Sizes]) -> List[Sizes]:
    sizes, numbers = _named(attrs["layout"], operands[0]), attrs["output_size"] or []
    spatial = [letter for letter in "DHW" if letter in sizes]
    sizes.update(zip(spatial, numbers * len(spatial) if len(numbers) == 1 else numbers))
    return [[sizes[letter] for letter in attrs["layout"]]]


@shape_function("nn.upsampling", "nn.upsampling3d")
def _upsampling(attrs: Mapping[str, Any], operands: List[Sizes]) -> List[Sizes]:
    sizes = _named(attrs["layout"], operands[0])
    for letter in "DHW":
        if letter in sizes:
            exact = tir.Cast("float64", sizes[letter]) * tir.const(attrs[f"scale_{letter.lower()}"], "float64")
            sizes[letter] = tir.Cast("int64", tir.round(exact))
    return [[sizes[letter] for letter in attrs["layout"]]]


@shape_function("image.resize1d", "image.resize3d", instead=True)  # TVM's of one dimension asks for two
def _resized(attrs: Mapping[str, Any], operands: List[Sizes]) -> List[Sizes]:
    sizes = _named(attrs["layout"], operands[0])
    sizes.update(zip([letter for letter in "DHW" if letter in sizes], attrs["size"]))
    return [[sizes[letter] for letter in attrs["layout"]]]


@shape_function("nn.depth_to_space")
def _depth_to_space(attrs: Mapping[str, Any], operands: List[Sizes]) -> List[Sizes]:
    return _by_blocks(attrs, operands, lambda size, block: size * block, lambda size, block: size // block)


@shape_function("nn.space_to_depth")
def _space_to_depth(attrs: Mapping[str, Any], operands: List[Sizes]) -> List[Sizes]:
    return _by_blocks(attrs, operands, lambda size, block: size // block, lambda size, block: size * block)


def _by_blocks(
    attrs: Mapping[str, Any], operands: List[Sizes], side: Callable[..., Any], depth: Callable[..., Any]
) -> List[Sizes]:
    sizes, block = _named(attrs["layout"], operands[0]), attrs["block_size"]
    sizes = {**sizes, "H": side(sizes["H"], block), "W": side(sizes["W"], block), "C": depth(sizes["C"], block**2)}
    return [[sizes[letter] for letter in attrs["layout"]]]
