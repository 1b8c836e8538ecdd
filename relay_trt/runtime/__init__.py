"""JSON, weights and tensors to engines and outputs. Needs only TVM's runtime library.

Importing this package registers what compiled libraries call.
"""

from . import module
from .call_profile import CallProfile, profile
from .engines import get_tensorrt_version, is_tensorrt_runtime_enabled
from .library import subgraphs, warm_up
from .settings import Settings
from .subgraph import Subgraph

__all__ = [
    "CallProfile",
    "Settings",
    "Subgraph",
    "get_tensorrt_version",
    "is_tensorrt_runtime_enabled",
    "module",
    "profile",
    "subgraphs",
    "warm_up",
]
