"""Matrix products, dense layers and biases."""

from __future__ import annotations

from typing import TYPE_CHECKING, Optional

from .registry import OpCall, OpNode, axis_is_batch, operator

if TYPE_CHECKING:
    from ..runtime.builders import NetworkBuilder, Tensor


def one_dtype(call: OpCall) -> Optional[str]:
    """Why two operands and their product cannot be computed with, if they differ in dtype."""
    x, weight = call.inputs[:2]
    if x.dtype != weight.dtype:
        return f"the operands are {x.dtype} and {weight.dtype}: they must have one dtype"
    if call.outputs[0].dtype != x.dtype:
        return f"out_dtype {call.outputs[0].dtype} differs from the operands' {x.dtype}"
    return None


def dense_rule(call: OpCall) -> Optional[str]:
    """an input of at least two dimensions; weights of the same dtype, constant or not"""
    if len(call.shape) < 2:
        return f"the input {call.inputs[0]} must have at least two dimensions"
    return one_dtype(call)


@operator("nn.dense", rule=dense_rule)
def dense(net: NetworkBuilder, op: OpNode) -> Tensor:
    x, weight = op.inputs
    return net.matrix_multiply(x, weight, transpose_b=True)


@operator("nn.bias_add", touches_batch=axis_is_batch)
def bias_add(net: NetworkBuilder, op: OpNode) -> Tensor:
    x, bias = op.inputs
    axis = op.axis()
    if bias.value is not None:
        return net.scale(x, None, bias.value, axis)
    along_axis = net.reshape(bias, [-1] + [1] * (x.rank - axis - 1))
    return net.elementwise(x, along_axis, "sum")
