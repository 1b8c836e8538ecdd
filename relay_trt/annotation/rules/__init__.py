"""Rules, by family; importing this package fills the registry."""

from . import elementwise, layout, nn, pooling
from .registry import RULES, OpCall, Rule, refusal, rule

__all__ = ["RULES", "OpCall", "Rule", "elementwise", "layout", "nn", "pooling", "refusal", "rule"]
