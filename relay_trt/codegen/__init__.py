"""Partitioned Relay functions to JSON and C source. Needs TVM's compiler; never imports TensorRT."""

from .. import relay_ir  # noqa: F401  first: it says what is missing where this TVM has no Relay
from . import shape_functions  # noqa: F401  registers what the Relay VM asks for
from .module import load

__all__ = ["load"]
