"""Converters, by family; importing this package fills the registry."""

from . import elementwise, layout, nn, pooling
from .network import convert
from .registry import CONVERTERS, OpNode, converter

__all__ = ["CONVERTERS", "OpNode", "convert", "converter", "elementwise", "layout", "nn", "pooling"]
