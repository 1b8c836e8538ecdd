from __future__ import annotations

import pytest


@pytest.fixture
def exact_and_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """TensorRT at full precision, and quick to build."""
    monkeypatch.setenv("TVM_TENSORRT_ENGINE", "tensorrt")
    monkeypatch.setenv("TVM_TENSORRT_USE_TF32", "0")
    monkeypatch.setenv("TVM_TENSORRT_BUILDER_LEVEL", "0")
