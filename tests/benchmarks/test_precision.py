"""The numbers that are printed, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.precision import differences, images, uses


def test_differences_are_those_of_their_definitions() -> None:
    want = [np.array([[3.0, 4.0]]), np.array([[1.0, 0.0]])]
    got = [np.array([[3.0, 4.0]]), np.array([[0.0, 1.0]])]
    found = differences(got, want)
    # Of the second call, whose outputs are exchanged, all is wrong. Outputs vary by 1 and 2 about their means.
    assert found == pytest.approx(
        {"difference": 1 / 4, "cosine": 0.0, "noise": np.sqrt(2 / 4 / 2.5), "same class": 0.5}
    )
    assert differences(want, want) == pytest.approx({"difference": 0, "cosine": 1, "noise": 0, "same class": 1})


@pytest.mark.parametrize(
    ("said", "half", "int8"),
    [
        ("Row major linear FP32", False, False),
        ("Channel major FP16 format where channel % 8 == 0", True, False),
        ("Thirty-two wide channel vectorized row major Int8 format", False, True),
        ("Half", True, False),
        ("Int32", False, False),
    ],
)
def test_types_of_layers_are_those_of_their_tensors(said: str, half: bool, int8: bool) -> None:
    float32 = {"Name": "Int8 Half", "Format/Datatype": "Float"}
    for layer in (
        {"Name": "Half", "Inputs": [{"Name": "x", "Format/Datatype": said}], "Outputs": [float32]},
        {"Name": "Half", "Inputs": [float32], "Outputs": [{"Name": "x", "Format/Datatype": said}]},
    ):
        assert (uses(layer, "float16"), uses(layer, "int8")) == (half, int8)


def test_layers_of_onnx_runtime_tell_no_types() -> None:
    assert not uses({"name": "conv", "op": "Conv", "inputs": ["Half"], "outputs": ["y"]}, "float16")


def test_images_are_normalized_and_all_different() -> None:
    batches = images(3, 50, seed=1)
    assert {(batch.shape, batch.dtype.name) for batch in batches} == {((1, 3, 50, 50), "float32")}
    assert max(np.abs(batch).max() for batch in batches) < 3  # 0 and 1, by ImageNet's mean and deviation
    assert all(np.abs(a - b).mean() > 0.1 for a, b in zip(batches, batches[1:]))
    assert all((a == b).all() for a, b in zip(batches, images(3, 50, seed=1)))
