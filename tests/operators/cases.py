"""Every operator's cases, as the families declare them; `test_operators` runs each on every engine there is."""

from __future__ import annotations

from relay_trt.operators import OPERATORS

from . import (
    convolution,
    creation,
    elementwise,
    indexing,
    layout,
    linear,
    normalization,
    pooling,
    quantization,
    reduction,
    resize,
)

FAMILIES = [
    convolution,
    creation,
    elementwise,
    indexing,
    layout,
    linear,
    normalization,
    pooling,
    quantization,
    reduction,
    resize,
]

FULL = [case for family in FAMILIES for case in family.CASES]

# The first case of each operator that computes with floats, of those without options where there are any.
_FIRST = {case.op: case for case in reversed(sorted(FULL, key=lambda case: bool(case.options)))}
HALF = [
    case.half()
    for case in _FIRST.values()
    if "float32" in (case.dtypes or [case.dtype]) and "float16" in OPERATORS[case.op].dtypes
]

CASES = FULL + HALF

REFUSED = [refused for family in FAMILIES for refused in family.REFUSED]
