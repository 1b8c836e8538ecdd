"""Normalization and softmax."""

from __future__ import annotations

from typing import TYPE_CHECKING, List, Optional

import numpy as np

from .registry import OpCall, OpNode, axis_is_batch, in_float32, operator

if TYPE_CHECKING:
    from ..runtime.builders import NetworkBuilder, Tensor


def batch_norm_rule(call: OpCall) -> Optional[str]:
    """any axis; gamma, beta, mean and variance constant"""
    if not all(call.constant[1:]):
        return "gamma, beta, moving mean and moving variance must be constants"
    return None


@operator("nn.batch_norm", rule=batch_norm_rule, touches_batch=axis_is_batch)
def batch_norm(net: NetworkBuilder, op: OpNode) -> List[Tensor]:
    """(x - mean) / sqrt(variance + epsilon) * gamma + beta, folded into one scale and one shift for each channel."""
    x, gamma, beta, mean, variance = op.inputs
    # Folded in float64, so that float16 models lose nothing.
    scale = 1.0 / np.sqrt(net.values(variance).astype(np.float64) + op.attrs["epsilon"])
    if op.attrs["scale"]:
        scale = scale * net.values(gamma)
    shift = -net.values(mean) * scale
    if op.attrs["center"]:
        shift = shift + net.values(beta)
    result = net.scale(x, scale.astype(np.float32), shift.astype(np.float32), op.axis())
    return [result, mean, variance]  # at inference, the moving statistics stay what they are


def softmax_rule(call: OpCall) -> Optional[str]:
    """any axis of at least one dimension"""
    return "a scalar has no axis" if not call.shape else None


@operator("nn.softmax", rule=softmax_rule, touches_batch=axis_is_batch)
@in_float32
def softmax(net: NetworkBuilder, op: OpNode) -> Tensor:
    return net.softmax(op.inputs[0], op.axis())
