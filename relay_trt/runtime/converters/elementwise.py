"""Activations, unary and binary operators."""

from __future__ import annotations

from ..builders import NetworkBuilder, Tensor
from .registry import OpNode, converter

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
ELEMENTWISE = {
    "add": "sum",
    "divide": "div",
    "maximum": "max",
    "minimum": "min",
    "multiply": "prod",
    "power": "pow",
    "subtract": "sub",
}


@converter(*ACTIVATION)
def activation(net: NetworkBuilder, op: OpNode) -> Tensor:
    return net.activation(op.inputs[0], ACTIVATION[op.name])


@converter("nn.leaky_relu")
def leaky_relu(net: NetworkBuilder, op: OpNode) -> Tensor:
    return net.activation(op.inputs[0], "leaky_relu", alpha=op.attrs["alpha"])


@converter("clip")
def clip(net: NetworkBuilder, op: OpNode) -> Tensor:
    return net.activation(op.inputs[0], "clip", alpha=op.attrs["a_min"], beta=op.attrs["a_max"])


@converter(*UNARY)
def unary(net: NetworkBuilder, op: OpNode) -> Tensor:
    return net.unary(op.inputs[0], UNARY[op.name])


@converter(*ELEMENTWISE)
def elementwise(net: NetworkBuilder, op: OpNode) -> Tensor:
    return net.elementwise(op.inputs[0], op.inputs[1], ELEMENTWISE[op.name])
