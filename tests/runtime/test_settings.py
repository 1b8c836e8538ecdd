"""The environment variables: what each is read as, and what is refused."""

from __future__ import annotations

import logging
from typing import Any, Dict

import pytest

from relay_trt.runtime.settings import Settings, configure_logging


def read(**variables: str) -> Settings:
    return Settings.from_environment({f"TVM_TENSORRT_{name}": value for name, value in variables.items()})


def test_defaults() -> None:
    assert read() == Settings() == Settings(engine="auto", use_tf32=True, strict=False)


@pytest.mark.parametrize(
    ("name", "value", "attribute", "expected"),
    [
        ("ENGINE", "tensorrt", "engine", "tensorrt"),
        ("ENGINE", "onnxruntime", "engine", "onnxruntime"),
        ("USE_FP16", "1", "use_fp16", True),
        ("USE_FP16", "false", "use_fp16", False),
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
        ("LOG_LEVEL", "debug", "DEBUG, INFO, WARNING, ERROR"),
    ],
)
def test_malformed(name: str, value: str, accepted: str) -> None:
    with pytest.raises(ValueError) as raised:
        read(**{name: value})
    assert f"TVM_TENSORRT_{name} is {value!r}" in str(raised.value)
    assert accepted in str(raised.value)


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
