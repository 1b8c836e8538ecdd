"""Calibration: which calls are kept, and that they are computed as any other."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, List, Optional

import numpy as np
import pytest
import tvm

from relay_trt.graph import Profile
from relay_trt.runtime.calibration import Calibration
from relay_trt.runtime.engines import EngineError
from relay_trt.runtime.engines.onnxruntime import OnnxRuntimeEngine
from relay_trt.runtime.subgraph import Subgraph

from ..support import random
from .support import Network, call, dense, view


def kept(calibration: Calibration, *values: np.ndarray) -> None:
    arrays = [tvm.nd.array(value) for value in values]
    calibration.keep([view(array) for array in arrays])
    for array in arrays:
        array.copyfrom(np.zeros(array.shape, array.dtype))  # the caller may overwrite its tensors


def test_calls_are_copied_until_there_are_enough() -> None:
    calibration = Calibration("tested", 2)
    for seed in range(3):
        assert calibration.complete is (seed == 2)
        kept(calibration, random((2, 3), seed=seed), random((4,), seed=seed))
    assert calibration.shapes == ((2, 3), (4,))
    assert len(calibration.batches) == 2
    for seed, (x, y) in enumerate(calibration.batches):
        np.testing.assert_array_equal(x, random((2, 3), seed=seed))
        np.testing.assert_array_equal(y, random((4,), seed=seed))


def test_calls_of_other_shapes_do_not_count(log: pytest.LogCaptureFixture) -> None:
    calibration = Calibration("tested", 2)
    for batch in (2, 3, 3, 2):
        kept(calibration, random((batch, 3)))
    assert calibration.complete
    assert [x.shape for (x,) in calibration.batches] == [(2, 3), (2, 3)]
    (record,) = log.records
    assert "by calls of the first one's shapes, (2, 3)" in record.getMessage()


def test_a_table_needs_no_calls() -> None:
    calibration = Calibration("tested", 2, b"a table")
    assert calibration.complete
    kept(calibration, random((2, 3)))
    assert not calibration.batches
    assert calibration.digest != Calibration("tested", 2, b"another table").digest
    assert Calibration("tested", 2).digest is None


def network(batch: int = -1, size: int = 56, profile: Optional[Profile] = None) -> Subgraph:
    """Convolutions with a relu between: what int8 is for, and so large that TensorRT finds it faster."""
    net = Network()
    x = net.input(batch, 3, size, size)
    net.nodes[0] = dataclasses.replace(net.nodes[0], profile=profile)
    window = dict(strides=[1, 1], padding=[1, 1, 1, 1], dilation=[1, 1], groups=1, channels=None, kernel_size=None)
    layouts = dict(data_layout="NCHW", kernel_layout="OIHW", out_layout="", out_dtype="")
    for channels, inputs in ((128, 3), (128, 128), (128, 128)):
        bound = (9 * inputs) ** -0.5
        weight = net.constant(random((channels, inputs, 3, 3), seed=channels + inputs, low=-bound, high=bound))
        shape = (batch, channels, size, size)
        x = net.kernel("nn.conv2d", x, weight, shape=shape, **window, **layouts)
        x = net.kernel("nn.relu", x, shape=shape)
    return net.subgraph(x)


@pytest.fixture
def calibrating(engine: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """int8 is asked for with three calls; the CPU engine, which has none, gets a table and computes as before."""
    monkeypatch.setenv("TVM_TENSORRT_USE_INT8", "1")
    monkeypatch.setenv("TENSORRT_NUM_CALI_INT8", "3")
    monkeypatch.setenv("TVM_TENSORRT_BUILDER_LEVEL", "3")
    monkeypatch.setenv("TVM_TENSORRT_CACHE_DIR", str(tmp_path / "cache"))
    if engine == "onnxruntime":
        build = OnnxRuntimeEngine.build

        def with_table(request: Any) -> OnnxRuntimeEngine:
            if request.calibration is not None:
                request.calibration.table = request.calibration.table or b"a table"
            return build(request)

        monkeypatch.setattr(OnnxRuntimeEngine, "calibrates", lambda request: request.settings.use_int8)
        monkeypatch.setattr(OnnxRuntimeEngine, "build", with_table)
    return engine


def relative_error(got: np.ndarray, want: np.ndarray) -> float:
    return float(np.abs(got - want).max() / np.abs(want).max())


def test_from_calibration_to_int8_and_back_from_the_cache(
    calibrating: str, builds: List[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    values = [random((2, 3, 56, 56), seed=seed) for seed in range(5)]
    with monkeypatch.context() as patch:
        patch.delenv("TVM_TENSORRT_USE_INT8")
        want = [call(network(2), value)[0] for value in values]
    builds.clear()
    subgraph = network(2)
    errors = [relative_error(call(subgraph, value)[0], expected) for value, expected in zip(values, want)]
    assert max(errors[:3]) < 1e-5  # full precision while it calibrates
    assert max(errors[3:]) < 0.1
    assert [request.calibration is not None for request in builds] == [True]  # the other came from the cache
    assert not builds[-1].calibration.batches  # what was kept is let go
    if calibrating == "tensorrt":
        assert min(errors[3:]) > 1e-4
        assert any("Int8" in str(layer) for layer in subgraph.information())
    again = network(2)  # as in another process: table and engine are in the cache
    for value in values:
        np.testing.assert_array_equal(call(again, value)[0], call(subgraph, value)[0])
    assert len(builds) == 1


def test_a_dynamic_batch(calibrating: str, builds: List[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """A larger batch after calibration needs another engine: for int8 too, by the same table."""
    subgraph = network()
    for batch in (2, 2, 2, 2, 4, 1):
        (got,) = call(subgraph, random((batch, 3, 56, 56), seed=batch), batch=batch)
        assert np.isfinite(got).all() and got.max() > 0
    calibrated = [request.calibration is not None for request in builds]
    assert calibrated == ([False, True] if calibrating == "onnxruntime" else [False, True, True])
    if calibrating == "tensorrt":
        assert [request.profiles[0].max[0] for request in builds] == [2, 2, 4]


def test_a_profile_whose_best_batch_is_another(calibrating: str, builds: List[Any]) -> None:
    """TensorRT would calibrate with that, and read more than the calls have."""
    shapes = [(batch, 3, 56, 56) for batch in (1, 4, 8)]
    subgraph, exact = network(profile=Profile(*shapes)), network()
    values = [random((1, 3, 56, 56), seed=seed) for seed in range(5)]
    got = [call(subgraph, value, batch=1)[0] for value in values]
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("TVM_TENSORRT_USE_INT8")
        want = [call(exact, value, batch=1)[0] for value in values]
    assert max(relative_error(a, b) for a, b in zip(got, want)) < 0.1


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> List[BaseException]:
    """What the next calibrated builds of the CPU engine raise; in place of `calibrating`, as no GPU fails by order."""
    monkeypatch.setenv("TVM_TENSORRT_ENGINE", "onnxruntime")
    monkeypatch.setenv("TVM_TENSORRT_USE_INT8", "1")
    monkeypatch.setenv("TENSORRT_NUM_CALI_INT8", "2")
    errors: List[BaseException] = []
    build = OnnxRuntimeEngine.build

    def built(request: Any) -> OnnxRuntimeEngine:
        if request.calibration is not None:
            if errors:
                raise errors.pop()
            request.calibration.table = b"a table"
        return build(request)

    monkeypatch.setattr(OnnxRuntimeEngine, "calibrates", lambda request: request.settings.use_int8)
    monkeypatch.setattr(OnnxRuntimeEngine, "build", built)
    return errors


def test_a_calibrated_build_that_fails(failing: List[BaseException], log: pytest.LogCaptureFixture) -> None:
    """The calls, which are computed already, are none the worse; nothing is kept of them."""
    failing.append(EngineError("out of memory"))
    subgraph, weight = dense(-1, 7, 5)
    for seed in range(4):
        x = random((2, 7), seed=seed)
        np.testing.assert_allclose(call(subgraph, x, batch=2)[0], x @ weight.T, rtol=1e-4, atol=1e-5)
    assert log.text.count("computed without int8, as the engine that was calibrated failed: out of memory") == 1
    assert subgraph._calibrations[0].batches == []
    call(subgraph, random((4, 7)), batch=4)  # another engine, without int8 too
    assert all(kept.request.calibration is None for kept in subgraph._engines)


def test_a_calibrated_build_that_fails_where_int8_is_a_must(
    failing: List[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TVM_TENSORRT_STRICT", "1")
    failing.append(EngineError("out of memory"))
    subgraph, _ = dense(2, 7, 5)
    call(subgraph, random((2, 7)))
    with pytest.raises(EngineError, match="out of memory"):
        call(subgraph, random((2, 7)))
    call(subgraph, random((2, 7)))  # the next tries again
    assert subgraph._engines[0].request.calibration is not None


def test_a_calibrated_build_that_is_interrupted(failing: List[BaseException]) -> None:
    failing.append(KeyboardInterrupt())
    subgraph, _ = dense(2, 7, 5)
    call(subgraph, random((2, 7)))
    with pytest.raises(KeyboardInterrupt):
        call(subgraph, random((2, 7)))
    call(subgraph, random((2, 7)))
    assert subgraph._engines[0].request.calibration is not None


def test_without_calibration_it_is_said(monkeypatch: pytest.MonkeyPatch, log: pytest.LogCaptureFixture) -> None:
    monkeypatch.setenv("TVM_TENSORRT_ENGINE", "onnxruntime")
    monkeypatch.setenv("TVM_TENSORRT_USE_INT8", "1")
    monkeypatch.setenv("TENSORRT_NUM_CALI_INT8", "3")
    call(network(1), random((1, 3, 56, 56)))
    assert "int8 calibration is for TensorRT; the CPU engine does not do it" in log.text
