"""Engines: `base` is what a subgraph asks of one; each other module is one."""

from __future__ import annotations

import functools
import importlib
import logging
from typing import Dict, Optional, Tuple, Type

from ...options import Version, parse_version
from ..settings import Settings
from ..tensorrt_library import TensorRTUnavailable, load_tensorrt
from .base import BuildRequest, Engine, EngineError, Layer, Shapes

__all__ = [
    "BuildRequest",
    "Engine",
    "EngineError",
    "Layer",
    "Shapes",
    "choose_engine",
    "get_tensorrt_version",
    "is_tensorrt_runtime_enabled",
]

logger = logging.getLogger("TensorRT")

# Imported when asked for: a target has no ONNX Runtime where it has TensorRT, or the other way round.
_CLASSES: Dict[str, Tuple[str, str]] = {
    "tensorrt": (".tensorrt", "TensorRTEngine"),
    "onnxruntime": (".onnxruntime", "OnnxRuntimeEngine"),
}


def choose_engine(settings: Settings) -> Type[Engine]:
    """The engine that ``TVM_TENSORRT_ENGINE`` asks for, or the best there is.

    Raises
    ------
    EngineError
        Where the one that was asked for by name, or any at all, cannot be used here.
    """
    if settings.engine != "auto":
        engine, reason = _look_up(settings.engine)
        if reason:
            raise EngineError(f"TVM_TENSORRT_ENGINE asks for {settings.engine}, which cannot be used: {reason}")
        return engine
    tensorrt, no_tensorrt = _look_up("tensorrt")
    if not no_tensorrt:
        return tensorrt
    if settings.strict:
        raise EngineError(f"TensorRT cannot be used, and TVM_TENSORRT_STRICT forbids the CPU engine: {no_tensorrt}")
    onnxruntime, no_onnxruntime = _look_up("onnxruntime")
    if no_onnxruntime:
        raise EngineError(f"no engine can be used: TensorRT: {no_tensorrt}; ONNX Runtime: {no_onnxruntime}")
    _warn_of_fallback(no_tensorrt)
    return onnxruntime


@functools.lru_cache(maxsize=None)  # once in a process: every subgraph chooses
def _warn_of_fallback(reason: str) -> None:
    logger.warning("TensorRT cannot be used, subgraphs run on ONNX Runtime's CPU engine: %s", reason)


def is_tensorrt_runtime_enabled() -> bool:
    """Whether TensorRT can run subgraphs here: its package, its libraries and a GPU are there."""
    return not _look_up("tensorrt")[1]


def get_tensorrt_version() -> Optional[Version]:
    """The version of the TensorRT that can be imported here, or None where there is none."""
    try:
        return parse_version(load_tensorrt().__version__)
    except TensorRTUnavailable:
        return None


def _look_up(name: str) -> Tuple[Type[Engine], str]:
    """The class of an engine, and why it cannot be used, or nothing."""
    module, class_name = _CLASSES[name]
    try:
        engine: Type[Engine] = getattr(importlib.import_module(module, __name__), class_name)
    except ImportError as error:
        return Engine, str(error)
    return engine, engine.unavailable() or ""
