"""JSON, weights and tensors to engines and outputs. Needs only TVM's runtime library.

Importing this package registers what compiled libraries call.
"""

from . import module
from .engines import get_tensorrt_version, is_tensorrt_runtime_enabled
from .settings import Settings

__all__ = ["Settings", "get_tensorrt_version", "is_tensorrt_runtime_enabled", "module"]
