"""Quantized networks: from PyTorch, and from ONNX in both of its forms.

A requantization may come out one quantum higher or lower than TVM's, and that through all layers: a result is compared
to a few quanta of its own.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any, Dict, List

import numpy as np
import onnx
import onnxruntime
import pytest
import tvm
from onnx import TensorProto, helper, numpy_helper
from tvm import relay

import relay_trt

from ..support import compile_library, random, run_library, run_tvm
from . import stored

NAMES = sorted(f"quantized/{path.stem}" for path in (stored.FOLDER / "quantized").glob("*.json"))
SHAPE = (1, 3, 32, 32)
IMAGE = {"data": random(SHAPE)}
FEW = 4


def run(mod: tvm.IRModule, folder: Path, subgraphs: int = 1, refused: bool = False) -> np.ndarray:
    """The result, of as many subgraphs; ``refused``: of which operators are left out, for that they are asymmetric."""
    partitioned, _ = relay_trt.partition_for_tensorrt(mod)
    report = relay_trt.partition_report(partitioned)
    if refused:
        assert "TensorRT quantizes symmetrically" in str([refusal.reason for refusal in report.refusals])
    else:
        assert (len(report.subgraphs), report.refused) == (subgraphs, 0), str(report)
    (result,) = run_library(compile_library(partitioned, folder / "library.so"), IMAGE)
    return result


def by_tvm(mod: tvm.IRModule) -> np.ndarray:
    (result,) = run_tvm(mod, IMAGE, opt_level=2)  # below, TVM fails to compile what it quantizes of constants
    return result


def assert_within(quanta: int, got: np.ndarray, want: np.ndarray, mod: tvm.IRModule) -> None:
    """Results agree that the last call of a network dequantizes."""
    quantum = mod["main"].body.args[1].data.numpy().item()
    assert 20 * quantum < np.abs(want).max() < 128.5 * quantum
    np.testing.assert_allclose(got, want, rtol=0, atol=(quanta + 0.01) * quantum)


@pytest.mark.parametrize("name", NAMES)
def test_from_pytorch(name: str, engine: str, tmp_path: Path) -> None:
    mod = stored.load(name)
    assert_within(FEW, run(mod, tmp_path), by_tvm(mod), mod)


FLOATS = {
    "float32": {},
    "float16 where it is faster": {"TVM_TENSORRT_USE_FP16": "1"},
    "float16 by types": {"TVM_TENSORRT_USE_FP16": "1", "TVM_TENSORRT_STRONG_TYPES": "1"},
}


@pytest.mark.gpu
@pytest.mark.usefixtures("exact_and_quick")
@pytest.mark.parametrize("variables", FLOATS.values(), ids=FLOATS)
@pytest.mark.parametrize("name", NAMES)
def test_products_are_computed_in_int8(
    name: str, variables: Dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Whatever is asked for of what is not quantized."""
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)
    partitioned, _ = relay_trt.partition_for_tensorrt(stored.load(name))
    library = tvm.runtime.load_module(str(compile_library(partitioned, tmp_path / "library.so")))
    library["default"](tvm.cpu(0))
    (subgraph,) = relay_trt.subgraphs(library)
    subgraph.build()
    products = [node for node in subgraph.graph.nodes if node.name in ("nn.conv2d", "nn.dense")]
    assert len(products) > 4
    assert sum("Int8" in str(layer["Inputs"]) for layer in subgraph.information()) >= len(products)


@pytest.mark.parametrize("name", NAMES)
def test_stored_network_is_what_pytorch_computes(name: str, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from .quantized import imported

    module, mod = imported(name)
    assert tvm.ir.structural_equal(stored.load(name), mod), "python -m tools.import_pytorch stores the networks anew"
    want = module(torch.from_numpy(IMAGE["data"])).numpy()
    assert_within(FEW, run(mod, tmp_path), want, mod)


class Onnx:
    """An ONNX model, node by node, with a constant for each array.

    Weights are of 7 bits: on CPUs without VNNI, ONNX Runtime's sums of larger products saturate.
    """

    def __init__(self, dtype: str = "int8", zero_point: int = 0) -> None:
        self.nodes: List[Any] = []
        self.constants: Dict[str, np.ndarray] = {}
        self.zero = self.constant(np.array(zero_point, dtype))
        self._random = np.random.RandomState(0)

    def constant(self, value: np.ndarray) -> str:
        name = f"constant_{len(self.constants)}"
        self.constants[name] = value
        return name

    def scale(self, value: float) -> str:
        return self.constant(np.float32(value))

    def weights(self, *shape: int) -> List[str]:
        """Integers, their scales, one for each of the first dimension, and their zero points."""
        integers = self._random.randint(-63, 64, shape).astype("int8")
        scales = self._random.uniform(0.3, 1.0, shape[0]) / 40 / np.sqrt(np.prod(shape[1:]))
        return [*map(self.constant, (integers, scales.astype("float32"), np.zeros(shape[0], "int8")))]

    def bias(self, count: int) -> str:
        return self.constant(self._random.randint(-999, 999, count).astype("int32"))

    def add(self, op: str, inputs: List[str], domain: str = "", **attrs: Any) -> str:
        name = f"{op}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [name], name=name, domain=domain, **attrs))
        return name

    def model(self, output: str) -> onnx.ModelProto:
        graph = helper.make_graph(
            self.nodes,
            "quantized",
            [helper.make_tensor_value_info("data", TensorProto.FLOAT, SHAPE)],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)],
            [numpy_helper.from_array(np.asarray(value), name) for name, value in self.constants.items()],
        )
        opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=8)


STEPS = (0.01, 0.05, 0.06, 0.08, 0.02, 0.006)  # of the activations, in order


def qdq(dtype: str, zero_point: int) -> onnx.ModelProto:
    """Floats between QuantizeLinear and DequantizeLinear."""
    net = Onnx(dtype, zero_point)

    def again(x: str, step: int) -> str:
        scale = net.scale(STEPS[step])
        return net.add("DequantizeLinear", [net.add("QuantizeLinear", [x, scale, net.zero]), scale, net.zero])

    def weighted(op: str, x: str, shape: List[int], before: int, **attrs: Any) -> str:
        weights = net.weights(*shape)
        sums = net.constant(np.float32(STEPS[before]) * net.constants[weights[1]])
        bias = net.add(
            "DequantizeLinear", [net.bias(shape[0]), sums, net.constant(np.zeros(shape[0], "int32"))], axis=0
        )
        return net.add(op, [x, net.add("DequantizeLinear", weights, axis=0), bias], **attrs)

    x = again("data", 0)
    x = again(net.add("Relu", [weighted("Conv", x, [8, 3, 3, 3], 0, pads=[1] * 4, strides=[2, 2])]), 1)
    x = net.add("MaxPool", [x], kernel_shape=[2, 2], strides=[2, 2])
    y = again(weighted("Conv", again(x, 1), [8, 1, 3, 3], 1, pads=[1] * 4, group=8), 2)
    x = again(net.add("Relu", [net.add("Add", [x, y])]), 3)
    x = again(net.add("Flatten", [net.add("GlobalAveragePool", [x])]), 4)
    return net.model(again(weighted("Gemm", x, [10, 8], 4, transB=1), 5))


def qoperators() -> onnx.ModelProto:
    """Operators of integers, as ONNX and as ONNX Runtime have them."""
    net = Onnx()
    zero, steps = net.zero, [net.scale(step) for step in STEPS]
    microsoft = functools.partial(net.add, domain="com.microsoft")

    def conv(x: str, shape: List[int], before: int, after: int, **attrs: Any) -> str:
        inputs = [x, steps[before], zero, *net.weights(*shape), steps[after], zero, net.bias(shape[0])]
        return net.add("QLinearConv", inputs, **attrs)

    x = net.add("QuantizeLinear", ["data", steps[0], zero])
    x = conv(x, [8, 3, 3, 3], 0, 1, pads=[1] * 4, strides=[2, 2])
    x = net.add("MaxPool", [x], kernel_shape=[2, 2], strides=[2, 2])
    y = conv(x, [8, 1, 3, 3], 1, 2, pads=[1] * 4, group=8)
    x = microsoft("QLinearAdd", [x, steps[1], zero, y, steps[2], zero, steps[3], zero])
    x = microsoft("QLinearGlobalAveragePool", [x, steps[3], zero, steps[4], zero], channels_last=0)
    x = net.add("Flatten", [x])
    integers = net.constant(net._random.randint(-63, 64, (8, 10)).astype("int8"))
    x = net.add("QLinearMatMul", [x, steps[4], zero, integers, net.scale(0.01), zero, steps[5], zero])
    return net.model(net.add("DequantizeLinear", [x, steps[5], zero]))


MODELS = {"QDQ": qdq("int8", 0), "QDQ of uint8": qdq("uint8", 128), "QOperator": qoperators()}


def imported(model: onnx.ModelProto) -> tvm.IRModule:
    mod, params = relay.frontend.from_onnx(model, {"data": SHAPE})
    return tvm.IRModule.from_expr(relay.build_module.bind_params_by_name(mod["main"], params))


def by_onnxruntime(model: onnx.ModelProto) -> np.ndarray:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (result,) = session.run(None, IMAGE)
    return result


@pytest.mark.parametrize("name", MODELS)
def test_from_onnx(name: str, engine: str, tmp_path: Path) -> None:
    mod = imported(MODELS[name])
    got = run(mod, tmp_path)
    assert_within(FEW, got, by_onnxruntime(MODELS[name]), mod)
    assert_within(FEW, got, by_tvm(mod), mod)


@pytest.mark.parametrize(("dtype", "zero_point"), [("uint8", 0), ("uint8", 120), ("int8", 5)])
def test_asymmetric_network(dtype: str, zero_point: int, tmp_path: Path) -> None:
    model = qdq(dtype, zero_point)
    mod = imported(model)
    assert_within(FEW, run(mod, tmp_path, refused=True), by_onnxruntime(model), mod)
