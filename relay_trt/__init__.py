"""TensorRT for Apache TVM's Relay, as a plugin.

The names below are loaded when they are first used, so that ``import relay_trt.runtime`` works where
only TVM's runtime library is installed, and the compiler where TensorRT is not.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, List

from .version import __version__

if TYPE_CHECKING:
    from .ahead_of_time import build_engines
    from .annotation import PartitionReport, partition_for_tensorrt, partition_report
    from .codegen import load
    from .operators import OpCall, OpNode, operator
    from .options import CompileOptions
    from .runtime import get_tensorrt_version, is_tensorrt_runtime_enabled, profile, subgraphs, warm_up

_HOME = {
    "CompileOptions": "options",
    "OpCall": "operators",
    "OpNode": "operators",
    "PartitionReport": "annotation",
    "build_engines": "ahead_of_time",
    "partition_for_tensorrt": "annotation",
    "partition_report": "annotation",
    "load": "codegen",
    "operator": "operators",
    "get_tensorrt_version": "runtime",
    "is_tensorrt_runtime_enabled": "runtime",
    "profile": "runtime",
    "subgraphs": "runtime",
    "warm_up": "runtime",
}

__all__ = [
    "CompileOptions",
    "OpCall",
    "OpNode",
    "PartitionReport",
    "__version__",
    "build_engines",
    "get_tensorrt_version",
    "is_tensorrt_runtime_enabled",
    "load",
    "operator",
    "partition_for_tensorrt",
    "partition_report",
    "profile",
    "subgraphs",
    "warm_up",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'relay_trt' has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)


def __dir__() -> List[str]:
    return sorted(__all__)
