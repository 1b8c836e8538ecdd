"""Operators that compute element by element."""

from __future__ import annotations

from typing import TYPE_CHECKING, Optional

from .registry import OpCall, OpNode, operator

if TYPE_CHECKING:
    from ..runtime.builders import NetworkBuilder, Tensor

ACTIVATION = {"nn.relu": "relu", "sigmoid": "sigmoid", "tanh": "tanh"}
UNARY = {
    "abs": "abs",
    "atan": "atan",
    "ceil": "ceil",
    "cos": "cos",
    "erf": "erf",
    "exp": "exp",
    "floor": "floor",
    "log": "log",
    "negative": "neg",
    "sin": "sin",
    "sqrt": "sqrt",
}
BINARY = {
    "add": "sum",
    "divide": "div",
    "maximum": "max",
    "minimum": "min",
    "multiply": "prod",
    "power": "pow",
    "subtract": "sub",
}


@operator(*ACTIVATION)
def activation(net: NetworkBuilder, op: OpNode) -> Tensor:
    return net.activation(op.inputs[0], ACTIVATION[op.name])


@operator("nn.leaky_relu", since=(5, 1, 5))
def leaky_relu(net: NetworkBuilder, op: OpNode) -> Tensor:
    return net.activation(op.inputs[0], "leaky_relu", alpha=op.attrs["alpha"])


def clip_rule(call: OpCall) -> Optional[str]:
    """a_min not above a_max"""
    low, high = call.attrs["a_min"], call.attrs["a_max"]
    if low > high:
        return f"a_min {low} is above a_max {high}: engines disagree on which of them wins"
    return None


@operator("clip", since=(5, 1, 5), rule=clip_rule)
def clip(net: NetworkBuilder, op: OpNode) -> Tensor:
    return net.activation(op.inputs[0], "clip", alpha=op.attrs["a_min"], beta=op.attrs["a_max"])


@operator("exp", "log", "sqrt", "abs", "negative")
@operator("sin", "cos", "atan", "ceil", "floor", since=(5, 1, 5))
@operator("erf", since=(7, 0, 0))
def unary(net: NetworkBuilder, op: OpNode) -> Tensor:
    return net.unary(op.inputs[0], UNARY[op.name])


@operator(*BINARY)
def binary(net: NetworkBuilder, op: OpNode) -> Tensor:
    return net.elementwise(op.inputs[0], op.inputs[1], BINARY[op.name])
