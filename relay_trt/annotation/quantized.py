"""Integer arithmetic on quantized tensors as float arithmetic between `qnn.dequantize` and `qnn.quantize`.

That is how TensorRT is told what to compute in int8: it looks for the layers between the two and fuses all three. It
quantizes symmetrically: int8 with the zero point 0. uint8 with the zero point 128 holds the same numbers, shifted, and
takes part; what is quantized otherwise stays as it is. The numbers are the same but for rounding: each requantization
may come out one quantum further up or down.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Callable, Dict, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Set, Tuple, Union

import numpy as np
import tvm
from tvm import relay

from ..operators import OPERATORS
from ..relay_ir import attributes, is_sealed
from .expressions import rebuild

#: The zero points of what is quantized symmetrically.
SYMMETRIC = {"int8": 0, "uint8": 128}


class Signature(NamedTuple):
    """Where a call of the QNN dialect has its parts, as indices of its arguments.

    Attributes
    ----------
    operands : tuple of three ints each
        Each quantized operand, its scale and its zero point.
    result : tuple of two ints, optional
        The scale and the zero point of the result, where it is quantized anew.
    """

    operands: Tuple[Tuple[int, int, int], ...]
    result: Optional[Tuple[int, int]] = None


_PRODUCT = Signature(((0, 4, 2), (1, 5, 3)))
_BINARY = Signature(((0, 2, 3), (1, 4, 5)), (6, 7))
_UNARY = Signature(((0, 1, 2),), (3, 4))

#: Calls whose results are quantized anew, and what they compute of floats.
FLOAT_FORMS: Dict[str, Tuple[Signature, Callable[..., relay.Expr]]] = {
    "qnn.requantize": (_UNARY, lambda call, x: x),
    "qnn.add": (_BINARY, lambda call, a, b: a + b),
    "qnn.subtract": (_BINARY, lambda call, a, b: a - b),
    "qnn.mul": (_BINARY, lambda call, a, b: a * b),
    "qnn.abs": (_UNARY, lambda call, x: relay.abs(x)),
    "qnn.erf": (_UNARY, lambda call, x: relay.erf(x)),
    "qnn.exp": (_UNARY, lambda call, x: relay.exp(x)),
    "qnn.log": (_UNARY, lambda call, x: relay.log(x)),
    "qnn.rsqrt": (_UNARY, lambda call, x: relay.rsqrt(x)),
    "qnn.sigmoid": (_UNARY, lambda call, x: relay.sigmoid(x)),
    "qnn.sqrt": (_UNARY, lambda call, x: relay.sqrt(x)),
    "qnn.tanh": (_UNARY, lambda call, x: relay.tanh(x)),
    "qnn.hardswish": (_UNARY, lambda call, x: x * relay.clip(x + _float(3.0), 0.0, 6.0) * _float(1 / 6)),
    "qnn.leaky_relu": (_UNARY, lambda call, x: relay.nn.leaky_relu(x, call.attrs.alpha)),
    "qnn.softmax": (_UNARY, lambda call, x: relay.nn.softmax(x, call.attrs.axis)),
    "qnn.avg_pool2d": (_UNARY, lambda call, x: relay.Call(relay.op.get("nn.avg_pool2d"), [x], call.attrs)),
}
SIGNATURES: Dict[str, Signature] = {
    "qnn.quantize": Signature((), (1, 2)),
    "qnn.dequantize": Signature(((0, 1, 2),)),
    **{name: _PRODUCT for name in ("qnn.conv2d", "qnn.conv2d_transpose", "qnn.dense", "qnn.batch_matmul")},
    **{name: signature for name, (signature, _) in FLOAT_FORMS.items()},
}

#: Operators that move numbers, or choose among them.
COPIES = (
    "annotation.stop_fusion",
    "broadcast_to",
    "copy",
    "expand_dims",
    "layout_transform",
    "max",
    "min",
    "nn.batch_flatten",
    "nn.depth_to_space",
    "nn.max_pool1d",
    "nn.max_pool2d",
    "nn.max_pool3d",
    "nn.space_to_depth",
    "repeat",
    "reshape",
    "reverse",
    "squeeze",
    "strided_slice",
    "take",
    "tile",
    "transpose",
)
#: Operators that average, which front ends do in int32.
AVERAGES = (
    "mean",
    *(f"nn.{kind}avg_pool{n}d" for kind in ("", "adaptive_", "global_") for n in (1, 2, 3)),
)
#: Operators of floats for whose constant second operand TensorRT has int8 kernels.
WEIGHTED = ("nn.conv1d", "nn.conv2d", "nn.conv3d", "nn.dense", "nn.matmul")


@dataclasses.dataclass(frozen=True)
class Levels:
    """A tensor of 256 levels: ``int8 + zero_point``, whatever its own type.

    Attributes
    ----------
    int8 : relay.Expr
        The levels, around 0.
    scale : float
        What one level stands for.
    zero_point : int
        The level of the number 0 in the tensor itself.
    real : relay.Expr, optional
        The numbers before they were quantized, where that is known.
    """

    int8: relay.Expr
    scale: float
    zero_point: int
    real: Optional[relay.Expr] = None


@dataclasses.dataclass(frozen=True)
class Sums:
    """A tensor of int32, mostly sums of products: ``real / scale + zero_point``, rounded.

    Attributes
    ----------
    real : relay.Expr
        The numbers that it stands for, as float32.
    scale : numpy.ndarray
        What one unit stands for: one float32, or one for each index of ``axis``.
    axis : int
        Counted from the front.
    zero_point : int
        What stands for the number 0.
    """

    real: relay.Expr
    scale: np.ndarray
    axis: int = 0
    zero_point: int = 0


Known = Union[Levels, Sums]


def quantize_explicitly(mod: tvm.IRModule) -> tvm.IRModule:
    """Make the symmetrically quantized arithmetic of a module float arithmetic between ``dequantize`` and ``quantize``.

    Parameters
    ----------
    mod : tvm.IRModule
        A module as TVM's front ends make it, its weights bound as constants.

    Returns
    -------
    tvm.IRModule
        The same module where nothing in it is quantized; otherwise a new one, not type-checked, whose operators of
        the QNN dialect are ``qnn.quantize`` and ``qnn.dequantize`` of int8 with the zero point 0, and those that
        are quantized otherwise, as they were.
    """
    if not any(_is_quantized(function) for function in mod.functions.values()):
        return mod
    mod = tvm.transform.Sequential([relay.transform.FoldConstant(), relay.transform.InferType()])(mod)
    for name, function in mod.functions.items():
        if _is_quantized(function):
            mod[name] = _Rewriter().rewritten(function)
    return mod


def asymmetry(call: relay.Call) -> Optional[str]:
    """Why a type-checked call is quantized in a way that TensorRT has not, or None where it is not."""
    name = call.op.name
    if not name.startswith("qnn."):
        return None
    for dtype, scale, zero_point in _quantities(call):
        if dtype not in (*SYMMETRIC, "int32"):
            return f"TensorRT quantizes to int8, not to {dtype}"
        scales, zeros = _constant(scale), _constant(zero_point)
        if scales is None or zeros is None:
            return "TensorRT quantizes with constant scales and zero points, and one of these is computed"
        wrong = zeros[zeros != SYMMETRIC.get(dtype, zeros)]
        if wrong.size:
            accepted = "zero point 0 of int8, or 128 of uint8"
            return f"TensorRT quantizes symmetrically: {accepted}; this has {wrong.flat[0]} of {dtype}"
        if not _is_positive(scales):
            return "TensorRT quantizes with positive scales"
    return None if name in OPERATORS else "what it reads, or what reads it, is not quantized symmetrically"


class _Rewriter:
    """Rewrites one function: what each expression becomes, and what is known of those that are integers."""

    def __init__(self) -> None:
        self.new: Dict[relay.Expr, relay.Expr] = {}
        self.known: Dict[relay.Expr, Known] = {}
        # What dequantizes a constant becomes a float constant and, where it is the weights of an operator, this.
        self.weights: Dict[relay.Expr, Optional[relay.Call]] = {}
        # What dequantizes 8 bits that are computed.
        self.explicit: Set[relay.Expr] = set()
        self._dequantized: Dict[Tuple[relay.Expr, float], relay.Expr] = {}

    def rewritten(self, function: relay.Function) -> relay.Function:
        relay.analysis.post_order_visit(function, self._visit)
        return self.new[function]

    def _visit(self, expr: relay.Expr) -> None:
        result: Union[None, Known, relay.Expr] = None
        if isinstance(expr, relay.Call) and isinstance(expr.op, tvm.ir.Op) and expr.op.name in HANDLERS:
            result = HANDLERS[expr.op.name](self, expr)
        elif isinstance(expr, relay.TupleGetItem):
            result = self._field(expr)
        elif isinstance(expr, relay.Function) and is_sealed(expr):
            result = expr
        if isinstance(result, (Levels, Sums)):
            self.known[expr] = result
        if isinstance(result, relay.Expr):
            self.new[expr] = result
        elif isinstance(result, Levels):
            self.new[expr] = _integers(result, _dtype(expr))
        else:
            self.new[expr] = rebuild(expr, self.new.__getitem__, self.new.__getitem__)

    # -- operands -------------------------------------------------------------------------------------------------

    def constant(self, expr: relay.Expr) -> Optional[np.ndarray]:
        """The values of what has become a constant."""
        return _constant(self.new[expr])

    def scale(self, expr: relay.Expr) -> Optional[np.ndarray]:
        """A constant scale: one float32, or several, all positive."""
        values = self.constant(expr)
        if values is None or not _is_positive(values):
            return None
        return values.reshape(()) if values.size == 1 else values

    def zero_point(self, expr: relay.Expr) -> Optional[int]:
        """A constant zero point, where it is the same for all."""
        values = self.constant(expr)
        return int(values.flat[0]) if values is not None and (values == values.flat[0]).all() else None

    def levels(self, expr: relay.Expr, scale: float, zero_point: int) -> Optional[Levels]:
        """The levels of an operand of 8 bits, whose consumer says its scale and zero point."""
        known = self.known.get(expr)
        if isinstance(known, Sums) or (known is None and SYMMETRIC.get(_dtype(expr)) != zero_point):
            return None
        if known is None:
            shifted = self.new[expr]
            if zero_point:
                shifted = relay.cast(relay.cast(shifted, "int32") - relay.const(zero_point), "int8")
            known = self.known[expr] = Levels(shifted, scale, zero_point)
        return known if known.zero_point == zero_point else None

    def real(self, expr: relay.Expr, scale: relay.Expr, zero_point: relay.Expr, axis: int = -1) -> Optional[relay.Expr]:
        """The numbers that an operand stands for, whose consumer says its scale and zero point."""
        step, zero, known = self.scale(scale), self.zero_point(zero_point), self.known.get(expr)
        if step is None or zero is None:
            return None
        if isinstance(known, Sums):
            return _at_scale(known, step, zero, axis, _rank(expr))
        values = self.constant(expr)
        if values is not None:
            return relay.const(_dequantized(values, step, zero, axis))
        levels = self.levels(expr, float(step), zero) if step.ndim == 0 else None
        return None if levels is None else self.dequantize(levels.int8, float(step))

    def operand(self, call: relay.Call, indices: Tuple[int, int, int], axis: int = -1) -> Optional[relay.Expr]:
        """The numbers that an operand of a call stands for."""
        data, scale, zero_point = indices
        return self.real(call.args[data], call.args[scale], call.args[zero_point], axis)

    def dequantize(self, int8: relay.Expr, scale: float) -> relay.Expr:
        """One and the same call for all that read a tensor: TensorRT need not find out that they are."""
        if (int8, scale) not in self._dequantized:
            self._dequantized[int8, scale] = _dequantize(int8, np.array(scale))
        return self._dequantized[int8, scale]

    def quantized(self, real: relay.Expr, call: relay.Call, scale: int, zero_point: int) -> Optional[Known]:
        """The result of a call, whose arguments say its scale and zero point."""
        step, zero, dtype = self.scale(call.args[scale]), self.zero_point(call.args[zero_point]), _dtype(call)
        if step is None or zero is None or step.ndim or not _rank(call):  # TensorRT quantizes no scalars
            return None
        if dtype == "int32":
            return Sums(real, step, zero_point=zero)
        return _quantize(real, float(step), zero) if SYMMETRIC.get(dtype) == zero else None

    # -- operators that say how they are quantized -----------------------------------------------------------------

    def quantize(self, call: relay.Call) -> Union[None, Known, relay.Expr]:
        data, scale, zero_point = call.args
        values, step, zero = self.constant(data), self.scale(scale), self.zero_point(zero_point)
        if values is None or step is None or zero is None:
            return self.quantized(self.new[data], call, 1, 2)
        limits = np.iinfo(_dtype(call))
        levels = np.rint(values / _along(step, call.attrs.axis, values.ndim)) + zero
        return relay.const(levels.clip(limits.min, limits.max).astype(limits.dtype))

    def dequantize_call(self, call: relay.Call) -> Optional[relay.Expr]:
        data, scale, zero_point = call.args
        real = self.real(data, scale, zero_point, call.attrs.axis)
        if real is None:
            return None
        if _dtype(call) != "float32":
            return relay.cast(real, _dtype(call))
        if isinstance(self.known.get(data), Levels):
            self.explicit.add(call)
        elif self.constant(data) is not None:
            self.weights[call] = self.weight(data, scale, zero_point, call.attrs.axis)
        return real

    def weight(self, expr: relay.Expr, scale: relay.Expr, zero_point: relay.Expr, axis: int) -> Optional[relay.Call]:
        """A constant of int8 or uint8, dequantized by a call."""
        values, step, zero = self.constant(expr), self.scale(scale), self.zero_point(zero_point)
        if values is None or step is None or zero is None or SYMMETRIC.get(values.dtype.name) != zero:
            return None
        int8 = values if zero == 0 else (values.astype("int32") - zero).astype("int8")
        return _dequantize(relay.const(int8), step, axis % max(values.ndim, 1))

    def float_form(self, call: relay.Call) -> Optional[Known]:
        signature, compute = FLOAT_FORMS[call.op.name]
        axis = call.attrs.axis if call.op.name == "qnn.requantize" else -1
        reals = [self.operand(call, indices, axis) for indices in signature.operands]
        if signature.result is None or any(real is None for real in reals):
            return None
        return self.quantized(compute(call, *reals), call, *signature.result)

    def concatenate_call(self, call: relay.Call) -> Optional[Known]:
        """As `float_form`, of tuples of operands, scales and zero points."""
        tensors, scales, zero_points = call.args[:3]
        if not all(isinstance(argument, relay.Tuple) for argument in call.args[:3]):
            return None
        reals = [self.real(*operand) for operand in zip(tensors.fields, scales.fields, zero_points.fields)]
        if any(real is None for real in reals):
            return None
        return self.quantized(relay.concatenate(reals, call.attrs.axis), call, 3, 4)

    def conv2d(self, call: relay.Call) -> Optional[Known]:
        data, kernel, data_zero, kernel_zero, data_scale, kernel_scale = call.args
        attrs, layout = attributes(call), str(call.attrs.kernel_layout)
        data, attrs["padding"] = self._without_pad(data, data_zero, attrs)
        real = self.real(data, data_scale, data_zero)
        weight = self.weight(kernel, kernel_scale, kernel_zero, layout.index("O"))
        if real is None or weight is None:
            return None
        if _shape(kernel)[layout.index("O")] == attrs["channels"]:
            # Nothing may stand between the weights and the convolution, which TensorRT wants in this order.
            weight, attrs["kernel_layout"] = _turned(weight, [layout.index(letter) for letter in "OIHW"]), "OIHW"
        names = "strides padding dilation groups channels kernel_size data_layout kernel_layout out_layout"
        product = relay.nn.conv2d(real, weight, **{name: attrs[name] for name in names.split()})
        return self._sums(product, call, _channel(attrs))

    def _without_pad(
        self, data: relay.Expr, zero_point: relay.Expr, attrs: Mapping[str, Any]
    ) -> Tuple[relay.Expr, List[int]]:
        """What a convolution reads, past a pad with what stands for 0, and the padding that does both."""
        padding = _four(attrs["padding"])
        if not _is_call(data, "nn.pad") or len(data.args) < 2 or attributes(data)["pad_mode"] != "constant":
            return data, padding
        value, zero = self.constant(data.args[1]), self.zero_point(zero_point)
        widths = dict(zip(attrs["data_layout"], attributes(data)["pad_width"]))
        (top, bottom), (left, right) = widths["H"], widths["W"]
        outside = [*widths["N"], *widths["C"]]
        if value is None or value.item() != zero or any(outside) or min(top, bottom, left, right) < 0:
            return data, padding
        return data.args[0], [a + b for a, b in zip(padding, (top, left, bottom, right))]

    def conv2d_transpose(self, call: relay.Call) -> Optional[Known]:
        data, kernel, data_zero, kernel_zero, data_scale, kernel_scale = call.args
        attrs, layout = attributes(call), str(call.attrs.kernel_layout)
        scale, real = self.scale(kernel_scale), self.real(data, data_scale, data_zero)
        if real is None or scale is None or self.constant(kernel) is None:
            return None
        if scale.ndim and (layout[:2] != "IO" or attrs["groups"] != 1):  # releases of TVM differ in what O means
            return None
        # A float constant: converters of transposed convolutions want the values.
        weight = self.real(kernel, kernel_scale, kernel_zero, layout.index("O"))
        names = (
            "strides padding dilation groups channels kernel_size data_layout kernel_layout out_layout output_padding"
        )
        product = relay.nn.conv2d_transpose(real, weight, **{name: attrs[name] for name in names.split()})
        return self._sums(product, call, _channel(attrs))

    def dense(self, call: relay.Call) -> Optional[Known]:
        data, weight, data_zero, weight_zero, data_scale, weight_scale = call.args
        real = self.real(data, data_scale, data_zero)
        other = self.weight(weight, weight_scale, weight_zero, 0) or self.real(weight, weight_scale, weight_zero)
        if real is None or other is None:
            return None
        return self._sums(relay.nn.dense(real, other, call.attrs.units), call, _rank(call) - 1)

    def batch_matmul(self, call: relay.Call) -> Optional[Known]:
        reals = [self.operand(call, indices) for indices in _PRODUCT.operands]
        if any(real is None for real in reals):
            return None
        return self._sums(relay.nn.batch_matmul(*reals), call, 0)

    def _sums(self, product: relay.Expr, call: relay.Call, axis: int) -> Optional[Known]:
        """A product of the last two arguments' scales."""
        first, second = (self.scale(argument) for argument in call.args[4:6])
        if first is None or second is None or first.ndim:
            return None
        return Sums(product, first * second, axis)

    # -- operators of integers ---------------------------------------------------------------------------------------

    def bias(self, call: relay.Call) -> Optional[Known]:
        """A constant that is added to sums, in their units."""
        x, bias = call.args
        if call.op.name == "add" and isinstance(self.known.get(bias), Sums):
            x, bias = bias, x
        sums, rank = self.known.get(x), _rank(call)
        values = self.constant(bias) if sums is not None else None
        if not isinstance(sums, Sums) or values is None or _rank(x) < rank:
            return None
        is_bias = call.op.name == "nn.bias_add"
        values = _along(values, call.attrs.axis, rank) if is_bias else values
        added = (values * _along(sums.scale, sums.axis, rank)).astype("float32")
        if is_bias and added.size == values.size:
            return dataclasses.replace(
                sums, real=relay.nn.bias_add(sums.real, relay.const(added.ravel()), call.attrs.axis)
            )
        return dataclasses.replace(sums, real=sums.real + relay.const(added))

    def clip(self, call: relay.Call) -> Optional[Known]:
        return self._held(call.args[0], float(np.ceil(call.attrs.a_min)), float(np.floor(call.attrs.a_max)))

    def relu(self, call: relay.Call) -> Optional[Known]:
        return self._held(call.args[0], 0, math.inf)

    def extremum(self, call: relay.Call) -> Optional[Known]:
        """The larger, or the smaller, of a tensor and a constant of one element."""
        first, second = call.args
        x, bound = (first, second) if first in self.known else (second, first)
        value = self.constant(bound) if x in self.known else None
        if value is None or value.size != 1 or value.ndim > _rank(x):
            return None
        bounds = (value.item(), math.inf) if call.op.name == "maximum" else (-math.inf, value.item())
        return self._held(x, *bounds)

    def _held(self, expr: relay.Expr, low: float, high: float) -> Optional[Known]:
        """A tensor whose integers are held between two bounds."""
        known = self.known.get(expr)
        if known is None or low > high:
            return None
        low, high = low - known.zero_point, high - known.zero_point
        if isinstance(known, Sums) and (known.scale.ndim or low < -128 or high > 127 or not _rank(expr)):
            return _held_sums(known, low, high)
        scale, zero_point = float(known.scale), known.zero_point
        low, high = low if low > -128 else -math.inf, high if high < 127 else math.inf
        if isinstance(known, Sums):
            return _quantize(_clipped(known.real, low, high, scale), scale, zero_point)
        if (low, high) == (-math.inf, math.inf):
            return known
        # A ReLU before it is quantized: so TensorRT fuses it with a sum. Other bounds it would take for those of int8.
        before = known.real if (low, high) == (0, math.inf) else None
        real = self.dequantize(known.int8, scale) if before is None else before
        return _quantize(_clipped(real, low, high, scale), scale, zero_point)

    def cast(self, call: relay.Call) -> Optional[Known]:
        """The same integers, where the type has them all."""
        known, dtype = self.known.get(call.args[0]), _dtype(call)
        fits = dtype == "int32" or (isinstance(known, Levels) and SYMMETRIC.get(dtype) == known.zero_point)
        return known if fits else None

    def copies(self, call: relay.Call) -> Optional[Known]:
        """Operators of whose result each element is one of the first operand's."""
        known, others = self.known.get(call.args[0]), [self.new[argument] for argument in call.args[1:]]
        return known and self._through(known, lambda real: relay.Call(call.op, [real, *others], call.attrs))

    def transpose(self, call: relay.Call) -> Optional[Known]:
        """A transposed weight is a weight, too."""
        weight, rank = self.weights.get(call.args[0]), _rank(call)
        if weight is not None:
            self.weights[call] = _turned(weight, [int(a) % rank for a in call.attrs.axes or reversed(range(rank))])
        return self.copies(call)

    def averages(self, call: relay.Call) -> Optional[Known]:
        known = self.known.get(call.args[0])
        attrs = attributes(call)
        padded = any(attrs.get("padding", ())) or attrs.get("ceil_mode")
        if known is None or (padded and attrs["count_include_pad"] and known.zero_point):
            return None  # the zeros of the padding are not what stands for 0
        if padded and not attrs["count_include_pad"]:
            return None  # TensorRT 8.6 has no such kernel of int8, and does not build
        if isinstance(known, Levels) and _dtype(call) != "int32":
            return None  # TVM's sums of 8 bits overflow
        return self._through(known, lambda real: relay.Call(call.op, [real], call.attrs))

    def pad(self, call: relay.Call) -> Optional[Known]:
        known = self.known.get(call.args[0])
        value = self.constant(call.args[1]) if len(call.args) > 1 else None
        if not isinstance(known, Levels) or value is None:
            return None
        number = _float((value.item() - known.zero_point) * known.scale)
        return self._through(known, lambda real: relay.Call(call.op, [real, number], call.attrs))

    def concatenate(self, call: relay.Call) -> Optional[Known]:
        """Of tensors that share a zero point; what their levels stand for, their consumer says."""
        fields = call.args[0].fields if isinstance(call.args[0], relay.Tuple) else []
        known = [known for known in map(self.known.get, fields) if isinstance(known, Levels)]
        if not known or len(known) < len(fields) or len({levels.zero_point for levels in known}) > 1:
            return None
        if any(_is_part(field) for field in fields):  # TensorRT 8.6 loses the Quantize layer behind parts put together
            return None
        scale, zero_point = known[0].scale, known[0].zero_point
        reals = [self.dequantize(levels.int8, scale) for levels in known]
        return _quantize(relay.concatenate(reals, call.attrs.axis), scale, zero_point)

    def _field(self, expr: relay.TupleGetItem) -> Optional[Known]:
        """A part of a tensor that is split."""
        split = expr.tuple_value
        known = self.known.get(split.args[0]) if _is_call(split, "split") else None
        if known is None:
            return None

        def part(real: relay.Expr) -> relay.Expr:
            return relay.TupleGetItem(relay.Call(split.op, [real], split.attrs), expr.index)

        return self._through(known, part)

    def _through(self, known: Known, compute: Callable[[relay.Expr], relay.Expr]) -> Optional[Known]:
        if isinstance(known, Levels):
            return _quantize(compute(self.dequantize(known.int8, known.scale)), known.scale, known.zero_point)
        return None if known.scale.ndim else dataclasses.replace(known, real=compute(known.real))

    # -- operators of floats -----------------------------------------------------------------------------------------

    def weighted(self, call: relay.Call) -> Optional[relay.Expr]:
        """An operator between dequantized tensors, whose weights stay integers."""
        data, weight = call.args[0], self.weights.get(call.args[1])
        while data not in self.explicit and any(_is_call(data, name) for name in COPIES):
            data = data.args[0]
        if weight is None or data not in self.explicit:
            return None
        return relay.Call(call.op, [self.new[call.args[0]], weight], call.attrs)


Handler = Callable[[_Rewriter, relay.Call], Union[None, Known, relay.Expr]]
HANDLERS: Dict[str, Handler] = {
    "qnn.quantize": _Rewriter.quantize,
    "qnn.dequantize": _Rewriter.dequantize_call,
    "qnn.conv2d": _Rewriter.conv2d,
    "qnn.conv2d_transpose": _Rewriter.conv2d_transpose,
    "qnn.dense": _Rewriter.dense,
    "qnn.batch_matmul": _Rewriter.batch_matmul,
    "qnn.concatenate": _Rewriter.concatenate_call,
    **{name: _Rewriter.float_form for name in FLOAT_FORMS},
    "add": _Rewriter.bias,
    "nn.bias_add": _Rewriter.bias,
    "clip": _Rewriter.clip,
    "nn.relu": _Rewriter.relu,
    "maximum": _Rewriter.extremum,
    "minimum": _Rewriter.extremum,
    "cast": _Rewriter.cast,
    "nn.pad": _Rewriter.pad,
    "concatenate": _Rewriter.concatenate,
    **{name: _Rewriter.copies for name in COPIES},
    "transpose": _Rewriter.transpose,
    **{name: _Rewriter.averages for name in AVERAGES},
    **{name: _Rewriter.weighted for name in WEIGHTED},
}


def _quantities(call: relay.Call) -> Iterator[Tuple[str, relay.Expr, relay.Expr]]:
    """The type, the scale and the zero point of each quantized tensor that a call reads or makes."""
    args, signature = call.args, SIGNATURES.get(call.op.name, Signature(()))
    for data, scale, zero_point in signature.operands:
        yield _dtype(args[data]), args[scale], args[zero_point]
    if call.op.name == "qnn.concatenate" and all(isinstance(argument, relay.Tuple) for argument in args[1:3]):
        for type_, scale, zero_point in zip(args[0].checked_type.fields, args[1].fields, args[2].fields):
            yield str(type_.dtype), scale, zero_point
    if signature.result is not None:
        yield _dtype(call), args[signature.result[0]], args[signature.result[1]]


def _is_quantized(function: tvm.ir.BaseFunc) -> bool:
    """Whether a function has operators of the QNN dialect, and may still be changed."""
    found: List[bool] = []

    def visit(expr: relay.Expr) -> None:
        if isinstance(expr, tvm.ir.Op) and expr.name.startswith("qnn."):
            found.append(True)

    if isinstance(function, relay.Function) and not is_sealed(function):
        relay.analysis.post_order_visit(function, visit)
    return bool(found)


def _is_call(expr: relay.Expr, name: str) -> bool:
    return isinstance(expr, relay.Call) and isinstance(expr.op, tvm.ir.Op) and expr.op.name == name


def _is_part(expr: relay.Expr) -> bool:
    return isinstance(expr, relay.TupleGetItem) or _is_call(expr, "strided_slice")


def _dtype(expr: relay.Expr) -> str:
    return str(expr.checked_type.dtype)


def _shape(expr: relay.Expr) -> List[Any]:
    return list(expr.checked_type.shape)


def _rank(expr: relay.Expr) -> int:
    return len(_shape(expr))


def _channel(attrs: Mapping[str, Any]) -> int:
    """The place of the channels in the result of a convolution."""
    return str(attrs["out_layout"] or attrs["data_layout"]).index("C")


def _four(padding: List[int]) -> List[int]:
    """The padding of an image at the top, the left, the bottom and the right."""
    return padding * (4 // len(padding))


def _constant(expr: relay.Expr) -> Optional[np.ndarray]:
    return expr.data.numpy() if isinstance(expr, relay.Constant) else None


def _is_positive(values: np.ndarray) -> bool:
    return bool(np.all(np.isfinite(values) & (values > 0)))


def _along(values: np.ndarray, axis: int, rank: int) -> np.ndarray:
    """A vector as it broadcasts along an axis; a scalar as it is."""
    return values.reshape((-1,) + (1,) * (rank - 1 - int(axis) % rank)) if values.ndim else values


def _float(value: float) -> relay.Constant:
    return relay.const(np.float32(value))


def _dequantize(int8: relay.Expr, scale: np.ndarray, axis: int = 0) -> relay.Call:
    return relay.qnn.op.dequantize(int8, relay.const(scale.astype("float32")), relay.const(0), axis)


def _turned(weight: relay.Call, order: Sequence[int]) -> relay.Call:
    """A dequantized constant with its dimensions in another order."""
    int8, scale, _ = weight.args
    values = np.ascontiguousarray(int8.data.numpy().transpose(order))
    return _dequantize(relay.const(values), scale.data.numpy(), list(order).index(weight.attrs.axis))


def _quantize(real: relay.Expr, scale: float, zero_point: int) -> Levels:
    int8 = relay.qnn.op.quantize(real, _float(scale), relay.const(0), out_dtype="int8")
    return Levels(int8, scale, zero_point, real)


def _integers(levels: Levels, dtype: str) -> relay.Expr:
    """The tensor itself, for those that must have it."""
    if dtype == "int8":
        return levels.int8
    return relay.cast(relay.cast(levels.int8, "int32") + relay.const(levels.zero_point), dtype)


def _dequantized(values: np.ndarray, scale: np.ndarray, zero_point: int, axis: int) -> np.ndarray:
    """The numbers that constant integers stand for."""
    return ((values.astype("float64") - zero_point) * _along(scale, axis, values.ndim)).astype("float32")


def _at_scale(sums: Sums, scale: np.ndarray, zero_point: int, axis: int, rank: int) -> Optional[relay.Expr]:
    """The numbers that sums stand for by a consumer's scale, which mostly is the product of their operands'."""
    if zero_point != sums.zero_point or (scale.ndim and sums.scale.ndim and axis % rank != sums.axis):
        return None
    ratio = scale / sums.scale
    if np.allclose(ratio, 1.0, rtol=1e-5):
        return sums.real
    return sums.real * relay.const(_along(ratio.astype("float32"), axis if scale.ndim else sums.axis, rank))


def _held_sums(sums: Sums, low: float, high: float) -> Optional[Sums]:
    if not sums.scale.ndim:
        return dataclasses.replace(sums, real=_clipped(sums.real, low, high, float(sums.scale)))
    return dataclasses.replace(sums, real=relay.nn.relu(sums.real)) if (low, high) == (0, math.inf) else None


def _clipped(real: relay.Expr, low: float, high: float, scale: float) -> relay.Expr:
    """Numbers held between two multiples of their scale, either of which may be infinite."""
    if (low, high) == (0, math.inf):
        return relay.nn.relu(real)
    if math.isfinite(low) and math.isfinite(high):
        return relay.clip(real, low * scale, high * scale)
    if math.isfinite(low):
        return relay.maximum(real, _float(low * scale))
    return relay.minimum(real, _float(high * scale)) if math.isfinite(high) else real
