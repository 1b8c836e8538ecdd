"""Relay calls put before the rules."""

from __future__ import annotations

import contextlib
import contextvars
import math
from typing import Hashable, Iterator, List, Optional

import tvm
from tvm import relay

from ..operators import OpCall, refusal
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
    """Why a type-checked call cannot be offloaded, or None where it can. Never raises for valid Relay."""
    try:
        return asymmetry(call) or refusal(op_call(call, _options.get()))
    except ValueError as error:  # an operand that is no tensor, an attribute that JSON cannot hold
        return str(error)
    except KeyError as error:  # an attribute that TVM added later
        return f"this TVM's operator has no attribute {error}"


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
    return OpCall(
        name=call.op.name,
        attrs=attributes(call),
        inputs=tuple(spec for specs in inputs for spec in specs),
        constant=tuple(_is_constant(operand) for operand, specs in zip(operands, inputs) for _ in specs),
        identity=tuple((_identity(operand), i) for operand, specs in zip(operands, inputs) for i in range(len(specs))),
        outputs=tensor_specs(call.checked_type),
        options=options,
    )


def _is_constant(operand: relay.Expr) -> bool:
    """Whether an operand is a constant, or one that is quantized."""
    if isinstance(operand, relay.Call) and isinstance(operand.op, tvm.ir.Op) and operand.op.name == "qnn.dequantize":
        operand = operand.args[0]
    return isinstance(operand, relay.Constant)


def _identity(operand: relay.Expr) -> Hashable:
    """The value of a constant of one element, of anything else itself."""
    if isinstance(operand, relay.Constant) and math.prod(operand.data.shape) == 1:
        return operand.data.dtype, operand.data.numpy().item()
    return operand
