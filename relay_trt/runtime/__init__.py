"""JSON, weights and tensors to engines and outputs. Needs only TVM's runtime library.

Importing this package registers what compiled libraries call.
"""

from . import module
from .converters import converter
from .settings import Settings

__all__ = ["Settings", "converter", "module"]
