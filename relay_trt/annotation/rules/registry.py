"""The registry of rules: which Relay operator TensorRT takes, from which version, under which attributes.

A rule is a function of an `OpCall` that returns None where the operator may be offloaded, and otherwise
the reason why not. It never raises. What holds for every operator (dtypes, ranks, dynamic dimensions,
the TensorRT version) is checked before the rule is asked; see `refusal`.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Callable, Dict, Mapping, Optional, Tuple

from ...graph import TensorSpec
from ...options import CompileOptions, Version

MAX_RANK = 8  # TensorRT's Dims::MAX_DIMS
FLOATS = ("float32", "float16")


@dataclasses.dataclass(frozen=True)
class OpCall:
    """One call of a Relay operator, as a rule sees it.

    Attributes
    ----------
    name : str
        The Relay operator.
    attrs : dict
        Its attributes as plain values.
    inputs : tuple of TensorSpec
        Its operands, tuples flattened.
    constant : tuple of bool
        Whether each operand is a constant.
    outputs : tuple of TensorSpec
        What it produces.
    options : CompileOptions
        What the module is partitioned for.
    """

    name: str
    attrs: Mapping[str, Any]
    inputs: Tuple[TensorSpec, ...]
    constant: Tuple[bool, ...]
    outputs: Tuple[TensorSpec, ...]
    options: CompileOptions

    def axis(self, name: str = "axis", rank: Optional[int] = None) -> int:
        """The attribute ``name`` counted from the front; ``rank`` is the first operand's unless given."""
        axis = int(self.attrs[name])
        return axis + (len(self.inputs[0].shape) if rank is None else rank) if axis < 0 else axis


Check = Callable[[OpCall], Optional[str]]


@dataclasses.dataclass(frozen=True)
class Rule:
    """One row of the registry: the operator, the first TensorRT that takes it, the check of its attributes."""

    op: str
    since: Version
    check: Check


RULES: Dict[str, Rule] = {}


def rule(*ops: str, since: Version = (5, 0, 0)) -> Callable[[Check], Check]:
    """Register the decorated check for ``ops``.

    Raises
    ------
    ValueError
        Where one of them has a rule already.
    """

    def register(check: Check) -> Check:
        for op in ops:
            if op in RULES:
                raise ValueError(f"operator {op!r} has a rule already")
            RULES[op] = Rule(op, since, check)
        return check

    return register


def refusal(call: OpCall) -> Optional[str]:
    """Why ``call`` cannot be offloaded, or None where it can."""
    row = RULES.get(call.name)
    if row is None:
        return "relay_trt has no converter for this operator"
    if call.options.tensorrt_version < row.since:
        return f"needs TensorRT {'.'.join(map(str, row.since))} or newer"
    for spec in call.inputs + call.outputs:
        reason = _unfit(spec)
        if reason:
            return reason
    return row.check(call)


def _unfit(spec: TensorSpec) -> Optional[str]:
    if spec.dtype not in FLOATS:
        return f"{spec}: the dtype must be float32 or float16"
    if len(spec.shape) > MAX_RANK:
        return f"{spec}: TensorRT has at most {MAX_RANK} dimensions"
    if -1 in spec.shape[1:]:
        return f"{spec}: only the first dimension may be dynamic"
    if 0 in spec.shape:
        return f"{spec}: it is empty"
    return None
