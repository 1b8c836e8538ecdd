"""The operators, by family; importing this package fills the registry."""

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
from .registry import OPERATORS, OpCall, Operation, Operator, OpNode, in_float32, operator, refusal

__all__ = [
    "OPERATORS",
    "OpCall",
    "OpNode",
    "Operation",
    "Operator",
    "convolution",
    "creation",
    "elementwise",
    "in_float32",
    "indexing",
    "layout",
    "linear",
    "normalization",
    "operator",
    "pooling",
    "quantization",
    "reduction",
    "refusal",
    "resize",
]
