"""Activations, unary and binary operators."""

from __future__ import annotations

from typing import Optional

from .registry import OpCall, rule


@rule("nn.relu", "sigmoid", "tanh", "exp", "log", "sqrt", "abs", "negative")
@rule("nn.leaky_relu", "sin", "cos", "atan", "ceil", "floor", since=(5, 1, 5))
@rule("erf", since=(7, 0, 0))
def unary(_: OpCall) -> Optional[str]:
    return None


@rule("clip", since=(5, 1, 5))
def clip(call: OpCall) -> Optional[str]:
    low, high = call.attrs["a_min"], call.attrs["a_max"]
    if low > high:
        return f"a_min {low} is above a_max {high}: engines disagree on which of them wins"
    return None


@rule("add", "subtract", "multiply", "divide", "power", "maximum", "minimum")
def binary(call: OpCall) -> Optional[str]:
    if all(call.constant):
        return "both operands are constants: TVM folds it"
    if call.options.use_implicit_batch and len(call.outputs[0].shape) == 0:
        return "a scalar has no batch, and use_implicit_batch is on"
    return None
