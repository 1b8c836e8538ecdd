"""Which engine is chosen, and what is said where the one that was wanted cannot be had."""

from __future__ import annotations

import logging
from typing import Optional

import pytest

from relay_trt.graph import Profile
from relay_trt.runtime import engines
from relay_trt.runtime.engines import (
    BuildRequest,
    EngineError,
    choose_engine,
    get_tensorrt_version,
    is_tensorrt_runtime_enabled,
)
from relay_trt.runtime.engines.onnxruntime import OnnxRuntimeEngine
from relay_trt.runtime.engines.tensorrt import TensorRTEngine
from relay_trt.runtime.settings import Settings
from relay_trt.runtime.tensorrt_library import TensorRTUnavailable

from ..support import relu


@pytest.fixture(autouse=True)
def nothing_reported_yet() -> None:
    engines._warn_of_fallback.cache_clear()


def tensorrt(monkeypatch: pytest.MonkeyPatch, unavailable: Optional[str]) -> None:
    """Let TensorRT be usable, or not for a reason."""
    monkeypatch.setattr(TensorRTEngine, "unavailable", lambda: unavailable)


def test_tensorrt_is_preferred(monkeypatch: pytest.MonkeyPatch, log: pytest.LogCaptureFixture) -> None:
    tensorrt(monkeypatch, None)
    assert choose_engine(Settings()) is TensorRTEngine
    assert choose_engine(Settings(engine="onnxruntime")) is OnnxRuntimeEngine
    assert not log.records


def test_without_tensorrt_the_cpu_engine_is_chosen_with_one_line(
    monkeypatch: pytest.MonkeyPatch, log: pytest.LogCaptureFixture
) -> None:
    tensorrt(monkeypatch, "there is no NVIDIA GPU")
    for _ in range(3):
        assert choose_engine(Settings()) is OnnxRuntimeEngine
    (record,) = log.records
    assert record.levelno == logging.WARNING
    assert record.getMessage().endswith("ONNX Runtime's CPU engine: there is no NVIDIA GPU")


def test_strict_forbids_that(monkeypatch: pytest.MonkeyPatch) -> None:
    tensorrt(monkeypatch, "there is no NVIDIA GPU")
    with pytest.raises(EngineError, match="TVM_TENSORRT_STRICT forbids the CPU engine: there is no NVIDIA GPU"):
        choose_engine(Settings(strict=True))
    assert choose_engine(Settings(strict=True, engine="onnxruntime")) is OnnxRuntimeEngine  # asked for, no fallback


def test_tensorrt_by_name_is_tensorrt_or_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    tensorrt(monkeypatch, "there is no NVIDIA GPU")
    with pytest.raises(EngineError, match="TVM_TENSORRT_ENGINE asks for tensorrt.*there is no NVIDIA GPU"):
        choose_engine(Settings(engine="tensorrt"))


def test_no_engine_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    tensorrt(monkeypatch, "there is no NVIDIA GPU")
    # As on a target that has no ONNX Runtime: its module cannot be imported.
    monkeypatch.setitem(engines._CLASSES, "onnxruntime", (".no_such_module", "OnnxRuntimeEngine"))
    with pytest.raises(EngineError, match="no engine can be used: TensorRT: there is no NVIDIA GPU; ONNX Runtime: No"):
        choose_engine(Settings())


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (TensorRTUnavailable("TensorRT 7.2.3 is too old"), "TensorRT 7.2.3 is too old"),
        (ModuleNotFoundError("No module named 'cuda'"), r"cuda-python is not installed \(No module named 'cuda'\)"),
        (RuntimeError("Failed to dlopen libcuda.so.1"), "no NVIDIA GPU that CUDA can use: Failed to dlopen"),
    ],
)
def test_why_tensorrt_is_unavailable(monkeypatch: pytest.MonkeyPatch, error: Exception, reason: str) -> None:
    def fail() -> None:
        raise error

    first = isinstance(error, TensorRTUnavailable)
    monkeypatch.setattr("relay_trt.runtime.engines.tensorrt.load_tensorrt", fail if first else lambda: None)
    monkeypatch.setattr("relay_trt.runtime.cuda.device_count", fail)
    with pytest.raises(EngineError, match=reason):
        choose_engine(Settings(engine="tensorrt"))
    assert not is_tensorrt_runtime_enabled()


def test_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relay_trt.runtime.engines.tensorrt.load_tensorrt", lambda: None)
    monkeypatch.setattr("relay_trt.runtime.cuda.device_count", lambda: 0)
    assert TensorRTEngine.unavailable() == "there is no NVIDIA GPU"
    monkeypatch.setattr("relay_trt.runtime.cuda.device_count", lambda: 1)
    assert TensorRTEngine.unavailable() is None


def test_the_version(monkeypatch: pytest.MonkeyPatch) -> None:
    class Library:
        __version__ = "10.3.0.26"

    monkeypatch.setattr(engines, "load_tensorrt", lambda: Library)
    assert get_tensorrt_version() == (10, 3, 0)

    def fail() -> None:
        raise TensorRTUnavailable("there is none")

    monkeypatch.setattr(engines, "load_tensorrt", fail)
    assert get_tensorrt_version() is None


@pytest.mark.parametrize(
    ("variable", "option", "expected"),
    [(None, False, False), (None, True, True), (True, False, True), (False, True, False)],
)
def test_a_variable_wins_over_the_option(variable: Optional[bool], option: bool, expected: bool) -> None:
    graph = relu(2, use_fp16=option, max_workspace_size=1024).graph
    sizes = {None: 1024, True: 4096, False: 1}
    settings = Settings(use_fp16=variable, max_workspace_size=None if variable is None else sizes[variable])
    request = BuildRequest(graph, {}, settings, (Profile((2,), (2,), (2,)),))
    assert request.use_fp16 is expected
    assert request.max_workspace_size == sizes[variable]


@pytest.mark.gpu
def test_the_real_one() -> None:
    assert choose_engine(Settings()) is TensorRTEngine
    assert is_tensorrt_runtime_enabled()
    assert get_tensorrt_version() >= (8, 5, 0)
