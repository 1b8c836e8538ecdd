"""Network builders: `base` is what converters speak to; each other module knows one engine."""

from .base import ConversionError, NetworkBuilder, Tensor

__all__ = ["ConversionError", "NetworkBuilder", "Tensor"]
