"""Every operator's cases, declared once; `test_operators` runs each on every engine there is."""

from __future__ import annotations

import dataclasses
from typing import Any, Callable, Dict, Tuple

from tvm import relay

from ..support import random


@dataclasses.dataclass(frozen=True)
class Case:
    """One operator under one set of attributes.

    Attributes
    ----------
    op : str
        The Relay operator that must be offloaded.
    name : str
        What is particular about the case.
    build : function
        Makes the expression from variables, one for each shape.
    shapes : tuple of shapes
        The shapes of the variables.
    dtype : str
        The type of the variables.
    low, high : float
        The range of the random inputs.
    options : dict
        Options of `partition_for_tensorrt`.
    rtol, atol : float
        How far engines may differ; a case that asks for more than the default says why.
    """

    op: str
    name: str
    build: Callable[..., relay.Expr]
    shapes: Tuple[Tuple[int, ...], ...]
    dtype: str = "float32"
    low: float = -1.0
    high: float = 1.0
    options: Dict[str, Any] = dataclasses.field(default_factory=dict)
    rtol: float = 1e-4
    atol: float = 1e-4

    def __str__(self) -> str:
        return f"{self.op}-{self.name}"


def constant(*shape: int, seed: int = 7, low: float = -1.0, high: float = 1.0) -> relay.Constant:
    """A constant operand of random values."""
    return relay.const(random(shape, seed=seed, low=low, high=high))


CASES = [
    Case("nn.relu", "rank 4", relay.nn.relu, ((1, 3, 5, 7),)),
]
