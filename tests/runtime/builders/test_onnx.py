"""The ONNX builder: each method against numpy, and the models that it makes."""

from __future__ import annotations

import inspect
from typing import Any, Dict

import numpy as np
import onnx
import pytest

from relay_trt.runtime.builders import ConversionError, NetworkBuilder
from relay_trt.runtime.builders.onnx import EXTERNAL_BYTES, OnnxBuilder

from ...support import random
from .networks import BUILT, Built


@pytest.mark.parametrize("built", BUILT, ids=str)
def test_method(built: Built, monkeypatch: pytest.MonkeyPatch) -> None:
    built.check("onnxruntime", monkeypatch)


def test_every_method_is_tried() -> None:
    """Only what is called in `networks` can be said to be tested."""
    methods = {name for name, _ in inspect.getmembers(NetworkBuilder, inspect.isfunction)}
    used: Dict[str, int] = {}

    class Recorder(OnnxBuilder):
        def __getattribute__(self, name: str) -> Any:
            used[name] = used.get(name, 0) + 1
            return super().__getattribute__(name)

    for built in BUILT:
        built.add_to(Recorder())
    assert methods - {"tensorrt"} <= set(used)


@pytest.mark.parametrize("built", BUILT, ids=str)
def test_models_are_valid(built: Built) -> None:
    net = OnnxBuilder()
    built.add_to(net)
    model = net.model("tested")
    assert not model.external
    onnx.checker.check_model(model.model, full_check=True)
    (output,) = model.model.graph.output
    assert tuple(d.dim_value or -1 for d in output.type.tensor_type.shape.dim) == built.output_shape()


def test_models_for_the_oldest_tools() -> None:
    model = OnnxBuilder().model("tested").model
    assert (model.ir_version, [opset.version for opset in model.opset_import]) == (8, [17])


def test_large_constants_stay_where_they_are() -> None:
    net = OnnxBuilder()
    large, small = random((EXTERNAL_BYTES // 4,)), random((EXTERNAL_BYTES // 4 - 1,))
    net.output(net.elementwise(net.constant(large), net.constant(large), "sum"), "output_0")
    net.output(net.constant(small), "output_1")
    model = net.model("tested")
    (shared, other) = model.external.values()
    assert shared is large and other is large
    assert model.model.ByteSize() < small.nbytes + 1000


def test_a_constant_is_written_once() -> None:
    net = OnnxBuilder()
    constant = net.constant(random((3,)))
    net.output(net.elementwise(constant, constant, "sum"), "output_0")
    net.output(constant, "output_1")
    assert len(net.model("tested").model.graph.initializer) == 1


def test_dynamic_dimensions() -> None:
    net = OnnxBuilder()
    x = net.input("x", (-1, 4), "float32")
    flat = net.reshape(x, [0, 2, 2])
    assert flat.shape == (-1, 2, 2)
    assert net.reshape(flat, [0, -1]).shape == (-1, 4)
    assert net.elementwise(flat, net.constant(random((2, 1))), "sum").shape == (-1, 2, 2)
    assert net.matrix_multiply(x, net.constant(random((5, 4))), transpose_b=True).shape == (-1, 5)


def test_float16_stays_float16() -> None:
    net = OnnxBuilder()
    x = net.input("x", (2, 3), "float16")
    for tensor in (
        net.activation(x, "clip", alpha=0.0, beta=6.0),
        net.scale(x, random((3,)), random((3,)), 1),
        net.matrix_multiply(x, x, transpose_b=True),
    ):
        assert tensor.dtype == "float16"


@pytest.mark.parametrize(
    ("build", "op"),
    [
        (lambda net, x: net.elementwise(x, net.constant(random((4,))), "sum"), "Add"),
        (lambda net, x: net.elementwise(x, net.constant(random((3,), "float16")), "sum"), "Add"),
        (lambda net, x: net.matrix_multiply(x, x), "MatMul"),
        (lambda net, x: net.concatenation([x, net.constant(random((3, 3)))], 1), "Concat"),
    ],
)
def test_what_does_not_fit_is_named(build: Any, op: str) -> None:
    net = OnnxBuilder()
    x = net.input("x", (2, 3), "float32")
    net.scope = "add_7"
    with pytest.raises(ConversionError, match=f"add_7: ONNX refuses {op}"):
        build(net, x)


def test_what_is_computed_has_no_values() -> None:
    net = OnnxBuilder()
    net.scope = "nn.conv2d_2"
    with pytest.raises(ConversionError, match="nn.conv2d_2: this operand must be a constant"):
        net.values(net.input("x", (2, 3), "float32"))


def test_the_inputs_of_numpy() -> None:
    """Arrays that are not contiguous, and numbers, are constants too."""
    net = OnnxBuilder()
    strided = np.arange(12, dtype="float32").reshape(3, 4).T
    net.output(net.constant(strided), "output_0")
    (initializer,) = net.model("tested").model.graph.initializer
    np.testing.assert_array_equal(onnx.numpy_helper.to_array(initializer), strided)
