"""Fixtures that every test may use."""

from __future__ import annotations

import logging
import os
import signal
from typing import Any, Callable, Iterator, List

import numpy as np
import pytest

os.environ.setdefault("TOPHUB_LOCATION", "NONE")  # TVM tries a download for each target otherwise
np.bool = bool  # type: ignore[attr-defined]  # mxnet 1.9.1 uses the name that numpy 1.24 removed


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test depends on the variables of the shell that started it.

    But for two: on a machine without cuBLAS and cuDNN, TensorRT 8.5 cannot build unless it is told to do without; and
    with TVM_TENSORRT_CUDA_GRAPH=1, `support.run_graph` calls until a call is launched as a CUDA graph.
    """
    kept = ("TVM_TENSORRT_TACTIC_SOURCES", "TVM_TENSORRT_CUDA_GRAPH")
    for name in list(os.environ):
        if name.startswith("TVM_TENSORRT_") and name not in kept:
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """What the library logs, from INFO on."""
    caplog.set_level(logging.INFO, logger="TensorRT")
    return caplog


@pytest.fixture
def exact_and_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """TensorRT at full precision, and quick to build."""
    from relay_trt import get_tensorrt_version

    monkeypatch.setenv("TVM_TENSORRT_ENGINE", "tensorrt")
    monkeypatch.setenv("TVM_TENSORRT_USE_TF32", "0")
    installed = get_tensorrt_version()
    if installed is None or installed >= (8, 6, 0):  # which has levels; older ones warn that they have none
        monkeypatch.setenv("TVM_TENSORRT_BUILDER_LEVEL", "0")


@pytest.fixture(params=["onnxruntime", pytest.param("tensorrt", marks=pytest.mark.gpu)])
def engine(request: pytest.FixtureRequest, exact_and_quick: None, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each engine there is, chosen by name, at full precision and quick to build."""
    monkeypatch.setenv("TVM_TENSORRT_ENGINE", request.param)
    return str(request.param)


@pytest.fixture
def builds(monkeypatch: pytest.MonkeyPatch) -> List[Any]:
    """The requests for which engines of either kind are built."""
    from relay_trt.runtime.engines.onnxruntime import OnnxRuntimeEngine
    from relay_trt.runtime.engines.tensorrt import TensorRTEngine

    requests: List[Any] = []
    for engine in (OnnxRuntimeEngine, TensorRTEngine):

        def counted(request: Any, build: Any = engine.build) -> Any:
            requests.append(request)
            return build(request)

        monkeypatch.setattr(engine, "build", counted)
    return requests


@pytest.fixture
def alarm() -> Iterator[Callable[[float], None]]:
    """Has a signal raise KeyboardInterrupt after some seconds, as Ctrl-C's does, which shells may have ignored."""
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)

    def set_alarm(seconds: float) -> None:
        signal.setitimer(signal.ITIMER_REAL, seconds)

    yield set_alarm
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)
