"""Between floats and int8, symmetrically: all that TensorRT has of quantized arithmetic.

What else is quantized in Relay, `annotation.quantized` makes float arithmetic between these two.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Optional

import numpy as np

from .registry import OpCall, OpNode, operator

if TYPE_CHECKING:
    from ..runtime.builders import NetworkBuilder, Tensor

# The zero point is int32.
DTYPES = ("float32", "int8", "int32")


def quantize_rule(call: OpCall) -> Optional[str]:
    """float32 to int8; a constant, positive scale; the zero point 0"""
    return _unfit_types(call, "float32", "int8") or _unfit_scale(call)


def dequantize_rule(call: OpCall) -> Optional[str]:
    """int8 to float32; a constant, positive scale, of a constant one for each channel, too; the zero point 0"""
    return _unfit_types(call, "int8", "float32") or _unfit_scale(call)


@operator("qnn.quantize", since=(8, 0, 0), dtypes=DTYPES, rule=quantize_rule, any_dynamic=True)
def quantize(net: NetworkBuilder, op: OpNode) -> Tensor:
    return net.quantize(op.inputs[0], _scale(net, op), op.axis())


@operator("qnn.dequantize", since=(8, 0, 0), dtypes=DTYPES, rule=dequantize_rule, any_dynamic=True, of_constants=True)
def dequantize(net: NetworkBuilder, op: OpNode) -> Tensor:
    return net.dequantize(op.inputs[0], _scale(net, op), op.axis())


def _scale(net: NetworkBuilder, op: OpNode) -> np.ndarray:
    scale = net.values(op.inputs[1])
    return scale.reshape(()) if scale.size == 1 else scale


def _unfit_types(call: OpCall, before: str, after: str) -> Optional[str]:
    data, result = call.inputs[0], call.outputs[0]
    if data.dtype != before or result.dtype != after:
        return f"TensorRT quantizes float32 to int8; this makes {result.dtype} of {data.dtype}"
    return None if data.rank else "TensorRT does not quantize scalars"


def _unfit_scale(call: OpCall) -> Optional[str]:
    if not call.constant[1] or not call.constant[2]:
        return "scale and zero point must be constants"
    if call.scalars[2] != 0:
        return "the zero point must be 0"
    scale = call.scalars[1]
    if scale is None:
        return None if call.constant[0] else "only a constant may have several scales"
    return None if scale > 0 and math.isfinite(scale) else f"the scale {scale} must be positive"
