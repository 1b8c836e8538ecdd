"""The TensorRT builder: the names of TensorRT that it uses, and each method on a GPU against numpy."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any, Dict, Iterator, List, Tuple

import numpy as np
import pytest

import relay_trt.runtime
from relay_trt.runtime.builders import ConversionError
from relay_trt.runtime.builders import tensorrt as builder_module
from relay_trt.runtime.tensorrt_library import TensorRTUnavailable, load_tensorrt

from ...support import random
from ..support import Network, call
from .networks import BUILT, Built

RUNTIME = Path(relay_trt.runtime.__file__).parent
SOURCES = [RUNTIME / "builders" / "tensorrt.py", RUNTIME / "engines" / "tensorrt.py"]

# What the expressions of those files are: TensorRT's classes, by the source text of the expression.
CLASSES = {
    "trt": "",
    "self._trt": "",
    "modes": "PaddingMode",
    "operation": "MatrixOperation",
    "self.builder": "Builder",
    "net.builder": "Builder",
    "self.network": "INetworkDefinition",
    "net.network": "INetworkDefinition",
    "config": "IBuilderConfig",
    "profile": "IOptimizationProfile",
    "layer": "ILayer",
    "output": "ITensor",
    "plan": "IHostMemory",
    "self._runtime": "Runtime",
    "self._engine": "ICudaEngine",
    "self._context": "IExecutionContext",
}

# The names that exist in every release from 8.5 to 11, by NVIDIA's Python API references and migration guides.
EVERY_RELEASE = """
    __version__ float16 float32
    ActivationType.CLIP ActivationType.LEAKY_RELU ActivationType.RELU ActivationType.SIGMOID ActivationType.TANH
    Builder.create_builder_config Builder.create_network Builder.create_optimization_profile
    Builder.build_serialized_network BuilderFlag.TF32
    ElementWiseOperation.DIV ElementWiseOperation.MAX ElementWiseOperation.MIN ElementWiseOperation.POW
    ElementWiseOperation.PROD ElementWiseOperation.SUB ElementWiseOperation.SUM
    IBuilderConfig.add_optimization_profile IBuilderConfig.clear_flag IBuilderConfig.set_flag
    IBuilderConfig.set_memory_pool_limit IBuilderConfig.set_tactic_sources
    ICudaEngine.create_execution_context ICudaEngine.get_tensor_profile_shape
    IExecutionContext.execute_async_v3 IExecutionContext.set_input_shape IExecutionContext.set_tensor_address
    IHostMemory.nbytes
    ILogger ILogger.Severity ILogger.Severity.ERROR ILogger.Severity.INFO ILogger.Severity.INTERNAL_ERROR
    ILogger.Severity.WARNING ILogger.__init__
    INetworkDefinition.add_activation INetworkDefinition.add_concatenation INetworkDefinition.add_constant
    INetworkDefinition.add_convolution_nd INetworkDefinition.add_elementwise INetworkDefinition.add_identity
    INetworkDefinition.add_input INetworkDefinition.add_matrix_multiply INetworkDefinition.add_pooling_nd
    INetworkDefinition.add_scale_nd INetworkDefinition.add_shuffle INetworkDefinition.add_softmax
    INetworkDefinition.add_unary INetworkDefinition.mark_output INetworkDefinition.num_layers
    IOptimizationProfile.set_shape
    ITensor.dtype ITensor.name ITensor.shape
    MatrixOperation.NONE MatrixOperation.TRANSPOSE
    MemoryPoolType.WORKSPACE NetworkDefinitionCreationFlag
    PaddingMode.EXPLICIT_ROUND_DOWN PaddingMode.EXPLICIT_ROUND_UP Permutation PoolingType.AVERAGE PoolingType.MAX
    Runtime Runtime.deserialize_cuda_engine ScaleMode.CHANNEL
    UnaryOperation.ABS UnaryOperation.ATAN UnaryOperation.CEIL UnaryOperation.COS UnaryOperation.ERF
    UnaryOperation.EXP UnaryOperation.FLOOR UnaryOperation.LOG UnaryOperation.NEG UnaryOperation.SIN
    UnaryOperation.SQRT
    Weights
"""
# Attributes of layers, whose classes the source does not name.
LAYERS = {
    "ILayer.alpha": "IActivationLayer",
    "ILayer.average_count_excludes_padding": "IPoolingLayer",
    "ILayer.axes": "ISoftMaxLayer",
    "ILayer.axis": "IConcatenationLayer",
    "ILayer.beta": "IActivationLayer",
    "ILayer.dilation_nd": "IConvolutionLayer",
    "ILayer.first_transpose": "IShuffleLayer",
    "ILayer.get_output": "ILayer",
    "ILayer.name": "ILayer",
    "ILayer.num_groups": "IConvolutionLayer",
    "ILayer.padding_mode": "IPoolingLayer",
    "ILayer.post_padding": "IPoolingLayer",
    "ILayer.pre_padding": "IPoolingLayer",
    "ILayer.reshape_dims": "IShuffleLayer",
    "ILayer.stride_nd": "IPoolingLayer",
}
# Names that some releases lack: the source must ask before it uses them.
SOME_RELEASES = {
    "BuilderFlag.FP16": "until 10: from 11 on, precision stands in the network",
    "IBuilderConfig.builder_optimization_level": "from 8.6 on",
    "NetworkDefinitionCreationFlag.EXPLICIT_BATCH": "until 10: 11 knows no other batch",
}
# Tables of the builder from whose values it makes names.
TABLES = {
    "_ACTIVATION": "ActivationType",
    "_UNARY": "UnaryOperation",
    "_ELEMENTWISE": "ElementWiseOperation",
    "_POOLING": "PoolingType",
}


def used_names(source: Path) -> Iterator[Tuple[str, bool]]:
    """TensorRT's names in a file, and whether the file asks for them by hasattr or getattr."""
    text = source.read_text()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Attribute):
            owner, name = ast.get_source_segment(text, node.value) or "", node.attr
            yield from ((qualified, False) for qualified in qualify(owner, name))
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("hasattr", "getattr"):
            owner, name = (ast.get_source_segment(text, argument) or "" for argument in node.args[:2])
            if name.startswith('"'):
                yield from ((qualified, True) for qualified in qualify(owner, name.strip('"')))


def qualify(owner: str, name: str) -> Iterator[str]:
    """``trt.BuilderFlag`` and ``TF32`` are ``BuilderFlag.TF32``; what is not TensorRT's is nothing."""
    for prefix, cls in sorted(CLASSES.items(), key=lambda item: -len(item[0])):
        if owner == prefix or owner.startswith(prefix + "."):
            yield ".".join(part for part in (cls, owner[len(prefix) + 1 :], name) if part)
            return


def all_used_names() -> Dict[str, bool]:
    names: Dict[str, bool] = {}
    for source in SOURCES:
        for name, asked in used_names(source):
            names[name] = names.get(name, False) or asked
    for table, cls in TABLES.items():
        names.update({f"{cls}.{value}": False for value in getattr(builder_module, table).values()})
    # Classes are named on the way to what is in them.
    return {name: asked for name, asked in names.items() if not any(other.startswith(f"{name}.") for other in names)}


KNOWN = set(EVERY_RELEASE.split()) | set(LAYERS) | set(SOME_RELEASES)


def test_only_names_that_were_looked_up_are_used() -> None:
    used = set(all_used_names())
    assert not used - KNOWN, "look up which releases have these, and add them to the tables"
    classes = {name for name in KNOWN if any(other.startswith(f"{name}.") for other in KNOWN)}
    assert not KNOWN - used - classes - {"ILogger", "ILogger.Severity"}, "nothing uses these any more"


def test_what_some_releases_lack_is_asked_for() -> None:
    used = all_used_names()
    assert [name for name in SOME_RELEASES if not used[name]] == []


@pytest.mark.parametrize(
    "gone",
    [
        *["max_workspace_size", "build_engine", "build_cuda_engine", "execute_async_v2", "get_binding_index"],  # 10
        *["add_convolution(", "add_pooling(", "add_fully_connected", "add_scale(", "add_deconvolution("],  # 10
        *[r"\.precision", "set_output_type", "platform_has_fast", "STRICT_TYPES"],  # 11
    ],
)
def test_what_newer_releases_removed_is_not_used(gone: str) -> None:
    pattern = re.escape(gone[:-1]) + r"\(" if gone.endswith("(") else gone
    for source in SOURCES:
        code = re.sub(r"request\.max_workspace_size", "", source.read_text())
        assert not re.search(pattern, code), source


def test_the_installed_release_has_them() -> None:
    try:
        trt = load_tensorrt()
    except TensorRTUnavailable as unavailable:
        pytest.skip(str(unavailable))
    missing: List[str] = []
    for name in sorted(KNOWN - set(SOME_RELEASES)):
        cls, _, attribute = name.partition(".")
        owner: Any = trt
        for part in (LAYERS.get(name, cls), *attribute.split(".")) if attribute else (cls,):
            if not hasattr(owner, part):
                missing.append(name)
                break
            owner = getattr(owner, part)
    assert not missing


@pytest.mark.gpu
class TestOnAGpu:
    @pytest.fixture(autouse=True)
    def exact_and_quick(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TVM_TENSORRT_ENGINE", "tensorrt")
        monkeypatch.setenv("TVM_TENSORRT_USE_TF32", "0")
        monkeypatch.setenv("TVM_TENSORRT_BUILDER_LEVEL", "0")

    @pytest.mark.parametrize("built", BUILT, ids=str)
    def test_method(self, built: Built, monkeypatch: pytest.MonkeyPatch) -> None:
        built.check("tensorrt", monkeypatch)

    def test_a_kernel_must_be_a_constant(self) -> None:
        net = builder_module.TensorRTBuilder()
        x, kernel = net.input("x", (1, 3, 8, 8), "float32"), net.input("k", (3, 4, 3, 3), "float32")
        net.scope = "nn.conv2d_transpose_2"
        with pytest.raises(ConversionError, match="nn.conv2d_transpose_2: this operand must be a constant"):
            net.deconvolution(x, kernel, [1, 1], [0, 0], [0, 0], [1, 1], 1)

    def test_what_does_not_fit_is_named(self) -> None:
        net = builder_module.TensorRTBuilder()
        x, y = net.input("x", (2, 3), "float32"), net.input("y", (2, 4), "float32")
        net.scope = "add_2"
        with pytest.raises(ConversionError, match="add_2: TensorRT refuses the layer"):
            net.elementwise(x, y, "sum")

    def test_its_messages_are_logged(self, log: pytest.LogCaptureFixture) -> None:
        net = builder_module.TensorRTBuilder()
        x = net.input("x", (2, 3), "float32")
        with pytest.raises(ConversionError):
            net.concatenation([x, net.input("y", (3, 4), "float32")], 1)
        assert [record for record in log.records if record.levelname == "ERROR"]

    @pytest.mark.parametrize("op", ["nn.relu", "negative", "nn.batch_flatten"])
    def test_dynamic_dimensions(self, op: str) -> None:
        net = Network()
        subgraph = net.subgraph(net.kernel(op, net.input(-1, 3), shape=(-1, 3)))
        x = random((2, 3))
        want = {"nn.relu": np.maximum(x, 0), "negative": -x, "nn.batch_flatten": x}[op]
        np.testing.assert_allclose(call(subgraph, x, batch=2)[0], want)

    def test_a_dynamic_operand_of_lower_rank(self) -> None:
        net = Network()
        total = net.kernel("add", net.input(1, 3, 4), net.input(3, 4), shape=(1, 3, 4))
        flat = net.kernel("nn.batch_flatten", total, shape=(1, 12))
        other = net.input(-1, 12)
        subgraph = net.subgraph(net.kernel("add", flat, other, shape=(-1, 12)))
        a, b, c = random((1, 3, 4)), random((3, 4), seed=1), random((5, 12), seed=2)
        np.testing.assert_allclose(call(subgraph, a, b, c, batch=5)[0], (a + b).reshape(1, 12) + c, rtol=1e-5)
