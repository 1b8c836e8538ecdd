"""The environment variables: what each is read as, and what is refused."""

from __future__ import annotations

import logging
from typing import Any, Dict

import pytest

from relay_trt.runtime.settings import Settings, configure_logging


def read(**variables: str) -> Settings:
    names = {"NUM_CALI_INT8": "TENSORRT_NUM_CALI_INT8"}  # without the prefix, as TVM's own integration has it
    return Settings.from_environment({names.get(name, f"TVM_TENSORRT_{name}"): v for name, v in variables.items()})


def test_defaults() -> None:
    assert read() == Settings() == Settings(engine="auto", use_tf32=True, strict=False)


@pytest.mark.parametrize(
    ("name", "value", "attribute", "expected"),
    [
        ("ENGINE", "tensorrt", "engine", "tensorrt"),
        ("ENGINE", "onnxruntime", "engine", "onnxruntime"),
        ("USE_FP16", "1", "use_fp16", True),
        ("USE_FP16", "false", "use_fp16", False),
        ("STRONG_TYPES", "1", "strong_types", True),
        ("NUM_CALI_INT8", "8", "calibration_calls", 8),
        ("MULTI_ENGINE", "1", "multi_engine", True),
        ("MAX_ENGINES", "3", "max_engines", 3),
        ("CACHE_DIR", "/some/where", "cache_dir", "/some/where"),
        ("CACHE_SIZE", "1000", "cache_size", 1000),
        ("CACHE_SIZE", "0", "cache_size", 0),
        ("CUDA_GRAPH", "0", "cuda_graph", False),
        ("USE_TF32", "0", "use_tf32", False),
        ("USE_TF32", "true", "use_tf32", True),
        ("MAX_WORKSPACE_SIZE", "1024", "max_workspace_size", 1024),
        ("MAX_WORKSPACE_SIZE", "0", "max_workspace_size", None),
        ("BUILDER_LEVEL", "0", "builder_level", 0),
        ("BUILDER_LEVEL", "5", "builder_level", 5),
        ("TACTIC_SOURCES", "JIT_CONVOLUTIONS, CUDNN", "tactic_sources", ("JIT_CONVOLUTIONS", "CUDNN")),
        ("STRICT", "1", "strict", True),
        ("LOG_LEVEL", "DEBUG", "log_level", "DEBUG"),
    ],
)
def test_value(name: str, value: str, attribute: str, expected: Any) -> None:
    settings = read(**{name: value})
    assert getattr(settings, attribute) == expected
    assert read(**{name: ""}) == Settings()  # an empty variable is as if it were unset


@pytest.mark.parametrize(
    ("name", "value", "accepted"),
    [
        ("ENGINE", "TensorRT", "auto, tensorrt, onnxruntime"),
        ("USE_FP16", "yes", "0, 1, false, true"),
        ("USE_TF32", "2", "0, 1, false, true"),
        ("STRICT", "on", "0, 1, false, true"),
        ("MAX_WORKSPACE_SIZE", "1GB", "a number of bytes"),
        ("MAX_WORKSPACE_SIZE", "-1", "a number of bytes"),
        ("BUILDER_LEVEL", "6", "a level from 0 to 5"),
        ("MAX_ENGINES", "0", "a number of engines above 0"),
        ("CACHE_SIZE", "1e9", "a number of bytes"),
        ("MULTI_ENGINE", "many", "0, 1, false, true"),
        ("LOG_LEVEL", "debug", "DEBUG, INFO, WARNING, ERROR"),
    ],
)
def test_malformed(name: str, value: str, accepted: str) -> None:
    with pytest.raises(ValueError) as raised:
        read(**{name: value})
    assert f"TVM_TENSORRT_{name} is {value!r}" in str(raised.value)
    assert accepted in str(raised.value)


@pytest.mark.parametrize("calls", ["0", "-1", "ten"])
def test_malformed_number_of_calibration_calls(calls: str) -> None:
    with pytest.raises(ValueError, match=f"^TENSORRT_NUM_CALI_INT8 is '{calls}'; accepted is a number of calls"):
        read(USE_INT8="1", NUM_CALI_INT8=calls)


def test_int8_needs_a_number_of_calibration_calls() -> None:
    with pytest.raises(ValueError, match="TVM_TENSORRT_USE_INT8 is set, but TENSORRT_NUM_CALI_INT8 is not"):
        read(USE_INT8="1")
    assert read(USE_INT8="1", NUM_CALI_INT8="2") == Settings(use_int8=True, calibration_calls=2)


def test_an_unknown_variable_is_reported(log: pytest.LogCaptureFixture) -> None:
    read(USE_FP61="1", USE_FP16="1")
    (record,) = log.records
    assert record.levelno == logging.WARNING
    assert "TVM_TENSORRT_USE_FP61 is set" in record.getMessage()
    assert "TVM_TENSORRT_USE_FP16" in record.getMessage()


def test_the_environment_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TVM_TENSORRT_BUILDER_LEVEL", "3")
    assert Settings.from_environment().builder_level == 3


@pytest.mark.parametrize(("settings", "level"), [({}, logging.INFO), ({"log_level": "ERROR"}, logging.ERROR)])
def test_log_level(settings: Dict[str, str], level: int, log: pytest.LogCaptureFixture) -> None:
    configure_logging(Settings(**settings))
    assert logging.getLogger("TensorRT").level == level
