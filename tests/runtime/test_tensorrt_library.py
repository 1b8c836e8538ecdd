"""TensorRT's package: what is said where it cannot be used."""

from __future__ import annotations

import builtins
import sys
import types
from pathlib import Path
from typing import Any, Iterator

import pytest

from relay_trt.runtime import tensorrt_library
from relay_trt.runtime.tensorrt_library import TensorRTUnavailable, load_tensorrt


@pytest.fixture(autouse=True)
def not_loaded_yet() -> Iterator[None]:
    load_tensorrt.cache_clear()
    yield
    load_tensorrt.cache_clear()


def library(version: str) -> types.ModuleType:
    module = types.ModuleType("tensorrt")
    module.__version__ = version  # type: ignore[attr-defined]
    return module


@pytest.mark.parametrize("version", ["8.5.0.12", "8.6.1", "10.3.0", "11.0.0.1"])
def test_a_usable_one(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", library(version))
    assert load_tensorrt() is sys.modules["tensorrt"]


def test_one_that_is_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", library("8.4.3.1"))
    with pytest.raises(TensorRTUnavailable, match="TensorRT 8.4.3.1 is too old: the runtime needs 8.5.0 or newer"):
        load_tensorrt()


def failing_import(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    import_ = builtins.__import__

    def fail(name: str, *arguments: Any) -> Any:
        if name == "tensorrt":
            raise error
        return import_(name, *arguments)

    monkeypatch.delitem(sys.modules, "tensorrt", raising=False)
    monkeypatch.setattr(builtins, "__import__", fail)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            ModuleNotFoundError("No module named 'tensorrt'", name="tensorrt"),
            r"is not installed: pip install 'relay_trt\[",
        ),
        (ModuleNotFoundError("No module named 'numpy'", name="numpy"), "cannot be imported: No module named 'numpy'"),
        (ImportError("libcudnn.so.8: cannot open shared object file"), "cannot be imported: libcudnn.so.8"),
        (OSError("libnvinfer.so.8: cannot open shared object file"), "cannot be imported: libnvinfer.so.8"),
    ],
)
def test_why_it_cannot_be_imported(error: Exception, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    failing_import(monkeypatch, error)
    with pytest.raises(TensorRTUnavailable, match=f"TensorRT's Python package {message}"):
        load_tensorrt()


def test_a_failure_is_no_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        failing_import(patch, ModuleNotFoundError("No module named 'tensorrt'", name="tensorrt"))
        with pytest.raises(TensorRTUnavailable):
            load_tensorrt()
    monkeypatch.setitem(sys.modules, "tensorrt", library("8.6.1"))
    assert load_tensorrt().__version__ == "8.6.1"


def test_libraries_that_are_not_where_config_cmake_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tensorrt_library, "USE_TENSORRT_RUNTIME", "/opt/TensorRT-8.6")
    monkeypatch.setattr(tensorrt_library, "__file__", str(tmp_path / "tensorrt_library.py"))
    with pytest.raises(
        TensorRTUnavailable, match=r"the libraries of /opt/TensorRT-8.6 \(USE_TENSORRT_RUNTIME in config"
    ):
        load_tensorrt()
