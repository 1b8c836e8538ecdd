"""Relay calls put before the rules."""

from __future__ import annotations

import contextlib
import contextvars
import math
from typing import Iterator, List, Optional

import tvm
from tvm import relay

from ..operators import OpCall, refusal
from ..operators.registry import Scalar
from ..options import CompileOptions
from ..relay_ir import attributes, tensor_specs
from .quantized import asymmetry

# What the module that is being partitioned is partitioned for; each thread sees its own.
_options: contextvars.ContextVar[CompileOptions] = contextvars.ContextVar("options", default=CompileOptions())


@contextlib.contextmanager
def matching(options: CompileOptions) -> Iterator[None]:
    """Decide calls under ``options`` within the block."""
    token = _options.set(options)
    try:
        yield
    finally:
        _options.reset(token)


def decide(call: relay.Call) -> Optional[str]:
    """Why a type-checked call cannot be offloaded, or None where it can.

    Raises
    ------
    RuntimeError
        Where a rule raises an error, which none may.
    """
    try:
        reason = asymmetry(call)
        if reason:
            return reason
        seen = op_call(call, _options.get())
    except ValueError as error:  # an operand that is no tensor, an attribute that JSON cannot hold
        return str(error)
    try:
        return refusal(seen)
    except KeyError as error:  # an attribute that TVM added later
        return f"this TVM's operator has no attribute {error}"
    except Exception as error:  # anybody may have written the rule
        raise RuntimeError(f"the rule of {seen.name!r} raised {type(error).__name__}: {error}") from error


def describe(call: relay.Call) -> str:
    """The operands of a call, as a report shows them."""
    try:
        return ", ".join(str(spec) for operand in call.args for spec in tensor_specs(operand.checked_type))
    except ValueError as error:
        return str(error)


def op_call(call: relay.Call, options: CompileOptions) -> OpCall:
    """A type-checked call as a rule sees it."""
    operands: List[relay.Expr] = []
    for argument in call.args:
        operands.extend(argument.fields if isinstance(argument, relay.Tuple) else [argument])
    inputs = [tensor_specs(operand.checked_type) for operand in operands]
    scalars = [_scalar(operand) for operand in operands]
    identities = [
        operand if value is None else (operand.data.dtype, value) for operand, value in zip(operands, scalars)
    ]
    return OpCall(
        name=call.op.name,
        attrs=attributes(call),
        inputs=tuple(spec for specs in inputs for spec in specs),
        constant=tuple(_is_constant(operand) for operand, specs in zip(operands, inputs) for _ in specs),
        scalars=tuple(value for value, specs in zip(scalars, inputs) for _ in specs),
        identity=tuple((identity, i) for identity, specs in zip(identities, inputs) for i in range(len(specs))),
        outputs=tensor_specs(call.checked_type),
        options=options,
    )


def _is_constant(operand: relay.Expr) -> bool:
    """Whether an operand is a constant, or one that is quantized."""
    if isinstance(operand, relay.Call) and isinstance(operand.op, tvm.ir.Op) and operand.op.name == "qnn.dequantize":
        operand = operand.args[0]
    return isinstance(operand, relay.Constant)


def _scalar(operand: relay.Expr) -> Optional[Scalar]:
    """The value of a constant of one element."""
    if isinstance(operand, relay.Constant) and math.prod(operand.data.shape) == 1:
        value: Scalar = operand.data.numpy().item()
        return value
    return None
