"""The TensorRT builder: the names of TensorRT that it uses, and each method on a GPU against numpy."""

from __future__ import annotations

import ast
import functools
from pathlib import Path
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Set, Tuple

import numpy as np
import pytest

import relay_trt.runtime
from relay_trt.options import parse_version
from relay_trt.runtime.builders import ConversionError
from relay_trt.runtime.builders import tensorrt as builder_module
from relay_trt.runtime.tensorrt_library import TensorRTUnavailable, load_tensorrt

from ...support import random
from ..support import Network, call
from .networks import BUILT, Built, window

RUNTIME = Path(relay_trt.runtime.__file__).parent
SOURCES = [RUNTIME / "builders" / "tensorrt.py", *(RUNTIME / "engines").glob("tensorrt*.py"), RUNTIME / "progress.py"]

HOW_TO_ADD = """
TensorRT's API changes with each release and only a few of them can be run, so each name that the sources use stands
in a table of this file. For a new one, look up (do not guess) which releases from 8.5 to 11 have it: in the bindings'
source, python/src/infer/py*.cpp of github.com/NVIDIA/TensorRT, on the branches release/8.5 ... release/11.0; or by
hasattr in the packages of PyPI (tensorrt, tensorrt-cu12-bindings). Then, if
  every release has it:           add it to EVERY_RELEASE, or to LAYERS where it is an attribute of a layer;
  only some have it:              add it to SOME_RELEASES, and let the source ask before it uses it;
  the expression is no TensorRT:  or is of a class that CLASSES does not name: see CLASSES and PLAIN.
"""

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
    "inspector": "EngineInspector",
    "measured": "ITimingCache",
    "optimization_profile": "IOptimizationProfile",
    "layer": "ILayer",
    "layer.get_output(0)": "ITensor",
    "output": "ITensor",
    "plan": "IHostMemory",
    "self._runtime": "Runtime",
    "self._loaded.engine": "ICudaEngine",
    "self._plan.engine": "ICudaEngine",
    "self._context": "IExecutionContext",
}
# Attributes whose values are Python's own: what is asked of those is nothing of TensorRT's.
PLAIN = ["ILayer.name"]

# The names that exist in every release from 8.5 to 11, each asked for in the binding modules of 8.5.3, 8.6.0, 8.6.1,
# 10.0.1, 10.13.3, 10.16.1, 11.0.0 and 11.4.0 (tensorrt.so of NVIDIA's packages, which can be imported without a GPU).
EVERY_RELEASE = """
    __version__ bool float16 float32 int32 int8
    ActivationType.CLIP ActivationType.LEAKY_RELU ActivationType.RELU ActivationType.SIGMOID ActivationType.TANH
    Builder.create_builder_config Builder.create_network Builder.create_optimization_profile
    Builder.build_serialized_network BuilderFlag.TF32
    ElementWiseOperation.AND ElementWiseOperation.DIV ElementWiseOperation.EQUAL ElementWiseOperation.GREATER
    ElementWiseOperation.LESS ElementWiseOperation.MAX ElementWiseOperation.MIN ElementWiseOperation.OR
    ElementWiseOperation.POW ElementWiseOperation.PROD ElementWiseOperation.SUB ElementWiseOperation.SUM
    ElementWiseOperation.XOR
    GatherMode.DEFAULT GatherMode.ELEMENT GatherMode.ND
    EngineInspector.get_engine_information
    IBuilderConfig.add_optimization_profile IBuilderConfig.clear_flag IBuilderConfig.create_timing_cache
    IBuilderConfig.get_timing_cache IBuilderConfig.profiling_verbosity IBuilderConfig.set_flag
    IBuilderConfig.set_timing_cache
    IBuilderConfig.set_memory_pool_limit IBuilderConfig.set_preview_feature IBuilderConfig.set_tactic_sources
    ICudaEngine.create_engine_inspector ICudaEngine.create_execution_context ICudaEngine.get_tensor_dtype
    ICudaEngine.serialize
    IExecutionContext.device_memory IExecutionContext.execute_async_v3 IExecutionContext.get_tensor_shape
    IExecutionContext.profiler IExecutionContext.set_input_shape IExecutionContext.set_tensor_address
    IHostMemory.nbytes
    ILogger ILogger.Severity ILogger.Severity.ERROR ILogger.Severity.INFO ILogger.Severity.INTERNAL_ERROR
    ILogger.Severity.WARNING ILogger.__init__
    INetworkDefinition.add_activation INetworkDefinition.add_concatenation INetworkDefinition.add_constant
    INetworkDefinition.add_convolution_nd INetworkDefinition.add_deconvolution_nd
    INetworkDefinition.add_dequantize
    INetworkDefinition.add_elementwise INetworkDefinition.add_gather_v2 INetworkDefinition.add_identity
    INetworkDefinition.add_input INetworkDefinition.add_lrn INetworkDefinition.add_matrix_multiply
    INetworkDefinition.add_parametric_relu INetworkDefinition.add_pooling_nd INetworkDefinition.add_quantize
    INetworkDefinition.add_reduce
    INetworkDefinition.add_resize INetworkDefinition.add_scale_nd INetworkDefinition.add_scatter
    INetworkDefinition.add_select INetworkDefinition.add_shape INetworkDefinition.add_shuffle
    INetworkDefinition.add_slice INetworkDefinition.add_softmax INetworkDefinition.add_topk
    INetworkDefinition.add_unary INetworkDefinition.mark_output INetworkDefinition.num_layers
    InterpolationMode.CUBIC InterpolationMode.LINEAR InterpolationMode.NEAREST
    IOptimizationProfile.set_shape IProfiler.__init__
    ITensor.dtype ITensor.name ITensor.shape
    ITimingCache.combine ITimingCache.serialize LayerInformationFormat.JSON
    MatrixOperation.NONE MatrixOperation.TRANSPOSE
    MemoryPoolType.WORKSPACE NetworkDefinitionCreationFlag
    PaddingMode.EXPLICIT_ROUND_DOWN PaddingMode.EXPLICIT_ROUND_UP Permutation PoolingType.AVERAGE PoolingType.MAX
    ProfilingVerbosity.DETAILED
    ReduceOperation.AVG ReduceOperation.MAX ReduceOperation.MIN ReduceOperation.PROD ReduceOperation.SUM
    ResizeCoordinateTransformation.ALIGN_CORNERS ResizeCoordinateTransformation.ASYMMETRIC
    ResizeCoordinateTransformation.HALF_PIXEL
    ResizeRoundMode.CEIL ResizeRoundMode.FLOOR ResizeRoundMode.HALF_DOWN ResizeRoundMode.HALF_UP
    Runtime Runtime.deserialize_cuda_engine
    SampleMode.FILL ScaleMode.CHANNEL ScatterMode.ELEMENT ScatterMode.ND TopKOperation.MAX TopKOperation.MIN
    UnaryOperation.ABS UnaryOperation.ACOS UnaryOperation.ACOSH UnaryOperation.ASIN UnaryOperation.ASINH
    UnaryOperation.ATAN UnaryOperation.ATANH UnaryOperation.CEIL UnaryOperation.COS UnaryOperation.COSH
    UnaryOperation.ERF UnaryOperation.EXP UnaryOperation.FLOOR UnaryOperation.LOG UnaryOperation.NEG
    UnaryOperation.NOT UnaryOperation.RECIP UnaryOperation.ROUND UnaryOperation.SIGN UnaryOperation.SIN
    UnaryOperation.SINH UnaryOperation.SQRT UnaryOperation.TAN
    Weights nptype
"""
# Attributes of layers, whose classes the source does not name: all those on which it uses them. From the same sources.
LAYERS = {
    "ILayer.alpha": "IActivationLayer",
    "ILayer.average_count_excludes_padding": "IPoolingLayer",
    "ILayer.axes": "ISoftMaxLayer",
    "ILayer.axis": "IConcatenationLayer IDequantizeLayer IGatherLayer IQuantizeLayer IScatterLayer",
    "ILayer.beta": "IActivationLayer",
    "ILayer.coordinate_transformation": "IResizeLayer",
    "ILayer.cubic_coeff": "IResizeLayer",
    "ILayer.dilation_nd": "IConvolutionLayer IDeconvolutionLayer",
    "ILayer.first_transpose": "IShuffleLayer",
    "ILayer.get_output": "ILayer",
    "ILayer.mode": "ISliceLayer",
    "ILayer.name": "ILayer",
    "ILayer.nearest_rounding": "IResizeLayer",
    "ILayer.num_elementwise_dims": "IGatherLayer",
    "ILayer.num_groups": "IConvolutionLayer IDeconvolutionLayer",
    "ILayer.padding_mode": "IPoolingLayer",
    "ILayer.post_padding": "IConvolutionLayer IDeconvolutionLayer IPoolingLayer",
    "ILayer.pre_padding": "IConvolutionLayer IDeconvolutionLayer IPoolingLayer",
    "ILayer.reshape_dims": "IShuffleLayer",
    "ILayer.resize_mode": "IResizeLayer",
    "ILayer.scales": "IResizeLayer",
    "ILayer.set_input": "IConvolutionLayer IResizeLayer IShuffleLayer ISliceLayer",
    "ILayer.shape": "IResizeLayer",
    "ILayer.stride_nd": "IConvolutionLayer IDeconvolutionLayer IPoolingLayer",
}


class Some(NamedTuple):
    """Which releases have a name, and the conditions of the source, one of which each use must stand under.

    A condition that begins with ``not`` is the ``else`` of an ``if``. Without conditions, the name may only be asked
    for: by hasattr, or by getattr with a default.
    """

    since: Tuple[int, int] = (8, 5)
    until: int = 11
    conditions: Tuple[str, ...] = ()


HAS_PRECISION = 'hasattr(layer, "precision")'
HAS_STRATEGY = 'hasattr(trt, "ExecutionContextAllocationStrategy")'
HAS_SIZE_V2 = 'hasattr(self._loaded.engine, "device_memory_size_v2")'
# Names that some releases lack, by the same modules. Those until 10 are in 10.16.1, and gone in 11.0.0 and 11.4.0;
# of the builder's flags, NVIDIA's list "Removed Python APIs and Replacements" from 10 to 11 says it too.
SOME_RELEASES = {
    "BuilderFlag.FP16": Some(until=10, conditions=('hasattr(trt.BuilderFlag, "FP16")',)),
    "BuilderFlag.INT8": Some(until=10, conditions=('hasattr(trt.BuilderFlag, "INT8")', "calibrator is not None")),
    "BuilderFlag.OBEY_PRECISION_CONSTRAINTS": Some(until=10, conditions=("net.has_float32_layers",)),
    # Not in 8.5.3, in 8.6.0.
    "IBuilderConfig.builder_optimization_level": Some(
        since=(8, 6), conditions=('hasattr(config, "builder_optimization_level")',)
    ),
    # Not in 8.6.1, in 10.0.1.
    "ExecutionContextAllocationStrategy.USER_MANAGED": Some(since=(10, 0), conditions=(HAS_STRATEGY,)),
    "ICudaEngine.create_execution_context_without_device_memory": Some(until=10, conditions=(f"not {HAS_STRATEGY}",)),
    # Not in 10.0.1, in 10.13.3; by NVIDIA's release notes, both came with 10.1.
    "ICudaEngine.device_memory_size_v2": Some(since=(10, 1), conditions=(HAS_SIZE_V2,)),
    "IExecutionContext.set_device_memory": Some(
        since=(10, 1), conditions=('hasattr(self._context, "set_device_memory")',)
    ),
    "ICudaEngine.device_memory_size": Some(until=10, conditions=(f"not {HAS_SIZE_V2}",)),
    "IBuilderConfig.int8_calibrator": Some(until=10, conditions=("calibrator is not None",)),
    "IBuilderConfig.set_calibration_profile": Some(until=10, conditions=("calibrator is not None",)),
    "IInt8EntropyCalibrator2.__init__": Some(until=10, conditions=("request.calibration is not None",)),
    # By the bindings' source, it came with 9.0, the interface and the property together.
    "IBuilderConfig.progress_monitor": Some(since=(9, 0), conditions=("monitor is not None",)),
    "IProgressMonitor": Some(since=(9, 0), conditions=('hasattr(trt, "IProgressMonitor")',)),
    "ILayer.precision": Some(until=10, conditions=(HAS_PRECISION,)),
    # Where there is no Cast layer (8.5), or where layers have precisions.
    "ILayer.set_output_type": Some(until=10, conditions=(HAS_PRECISION, 'not hasattr(self.network, "add_cast")')),
    # Not in 8.5.3, in 8.6.0.
    "INetworkDefinition.add_cast": Some(since=(8, 6), conditions=('hasattr(self.network, "add_cast")',)),
    # To set the type of a tensor: a property without a setter from 11.0.0 on.
    "ITensor.dtype =": Some(until=10, conditions=("output.dtype != self._dtypes[tensor.dtype]",)),
    "NetworkDefinitionCreationFlag.EXPLICIT_BATCH": Some(until=10),
    # Not in 8.6.1, in 10.0.1.
    "NetworkDefinitionCreationFlag.STRONGLY_TYPED": Some(since=(9, 0)),
    # Not in 8.5.3, in 8.6.0.
    "PreviewFeature.PROFILE_SHARING_0806": Some(
        since=(8, 6), until=10, conditions=('hasattr(trt.PreviewFeature, "PROFILE_SHARING_0806")',)
    ),
    # Not in 8.6.1, in 10.0.1; by the bindings' source, it came with 9.0, of which there are previews only.
    "int64": Some(since=(9, 0), conditions=('hasattr(trt, "int64")',)),
}
# The conditions that are not hasattr, and why they hold only where the name exists.
BECAUSE = {
    "calibrator is not None": "it is what `_calibrator` made, from a calibration",
    "request.calibration is not None": "`calibrates` allows one where IInt8EntropyCalibrator2 exists",
    "monitor is not None": "progress.py makes one where IProgressMonitor exists, and releases have both names or none",
    "net.has_float32_layers": "it becomes true under HAS_PRECISION only, and 11 removed both names together",
    "output.dtype != self._dtypes[tensor.dtype]": "from 11 on, networks are strongly typed: layers keep their types",
}

# Names that releases up to 11 removed, by the first release without them, and what stands for them.
GONE = {
    "max_workspace_size": "10: set_memory_pool_limit",
    "build_engine": "10: build_serialized_network",
    "build_cuda_engine": "8: build_serialized_network",
    "execute_async_v2": "10: execute_async_v3",
    "get_binding_index": "10: the tensors' names",
    "add_convolution": "10: add_convolution_nd",
    "add_pooling": "10: add_pooling_nd",
    "add_deconvolution": "10: add_deconvolution_nd",
    "add_fully_connected": "10: add_matrix_multiply",
    "add_padding": "10: add_slice",
    # Up to 8.6, this and SliceMode were further names of the same enumerations.
    "ResizeMode": "10: InterpolationMode",
    "SliceMode": "10: SampleMode",
    "STRICT_TYPES": "10: OBEY_PRECISION_CONSTRAINTS",
    "platform_has_fast_fp16": "11: nothing",
    "platform_has_fast_int8": "11: nothing",
    "precision_is_set": "11: nothing",
    "output_type_is_set": "11: nothing",
    "dynamic_range": "11: Q/DQ layers",
}


class Source:
    """One file, and what stands where in it."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tree = ast.parse(text)
        self._segments: Dict[ast.AST, str] = {}
        self._parents = {child: parent for parent in ast.walk(self.tree) for child in ast.iter_child_nodes(parent)}

    def segment(self, node: ast.AST) -> str:
        if node not in self._segments:  # to find one takes a walk through the whole text
            self._segments[node] = ast.get_source_segment(self.text, node) or ""
        return self._segments[node]

    def names(self) -> Iterator[Tuple[str, Optional[ast.AST]]]:
        """TensorRT's names, each with the place that uses it; None where the file only asks whether it exists."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Attribute):
                for name in qualify(self.segment(node.value), node.attr):
                    written = isinstance(node.ctx, ast.Store) and f"{name} =" in SOME_RELEASES
                    yield f"{name} =" if written else name, node
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                if node.func.id in ("hasattr", "getattr"):
                    asks = node.func.id == "hasattr" or len(node.args) == 3
                    for attribute in self._attributes(node.args[1]):
                        for name in qualify(self.segment(node.args[0]), attribute):
                            yield name, None if asks else node

    def _attributes(self, argument: ast.AST) -> List[str]:
        """What an argument of getattr may be: a literal, or the values of a table of the builder."""
        text = self.segment(argument)
        if text.startswith('"'):
            return [text.strip('"')]
        if isinstance(argument, ast.Subscript) and isinstance(argument.value, ast.Name):
            table = getattr(builder_module, argument.value.id, None)
            if isinstance(table, dict):
                return list(table.values())
        return [f"<{text}>"]  # in no table, hence reported: its values cannot be seen

    def stands_under(self, node: ast.AST, condition: str, callees: Tuple[ast.AST, ...] = ()) -> bool:
        """Whether a place is reached only where a condition holds: in an if, or in a function called only in one."""
        place = node
        while place in self._parents:
            child, place = place, self._parents[place]
            if isinstance(place, (ast.If, ast.IfExp)):
                body = place.body if isinstance(place.body, list) else [place.body]
                test = place.test
                both = test.values if isinstance(test, ast.BoolOp) and isinstance(test.op, ast.And) else [test]
                if child in body and condition in map(self.segment, both):
                    return True
                if child not in body and child is not test and condition == f"not {self.segment(test)}":
                    return True
            elif isinstance(place, ast.FunctionDef):
                if place in callees:  # functions that call each other are reached from elsewhere
                    return True
                calls = self._calls(place)
                return bool(calls) and all(self.stands_under(call, condition, (*callees, place)) for call in calls)
        return False

    def _calls(self, function: ast.FunctionDef) -> List[ast.AST]:
        within, name = set(ast.walk(function)), function.name
        if name == "__init__":  # the class is called
            name = self._parents[function].name  # type: ignore[attr-defined]
        called = [node for node in ast.walk(self.tree) if isinstance(node, ast.Call) and node not in within]
        return [call for call in called if self.segment(call.func).split(".")[-1] == name]


def qualify(owner: str, name: str) -> Iterator[str]:
    """``trt.BuilderFlag`` and ``TF32`` are ``BuilderFlag.TF32``; what is not TensorRT's is nothing."""
    for prefix, cls in sorted(CLASSES.items(), key=lambda item: -len(item[0])):
        if owner == prefix or owner.startswith(prefix + "."):
            parts = [part for part in (cls, owner[len(prefix) + 1 :], name) if part]
            if ".".join(parts[:-1]) not in PLAIN:
                yield ".".join(parts)
            return


@functools.lru_cache(maxsize=None)
def read_sources() -> List[Source]:
    return [Source(path.read_text()) for path in SOURCES]


def used_names() -> Set[str]:
    names = {name for source in read_sources() for name, _ in source.names()}
    # Classes are named on the way to what is in them.
    return {name for name in names if not any(other.startswith(f"{name}.") for other in names)}


def unguarded(source: Source) -> Iterator[str]:
    """The uses of names that some releases lack which stand under none of their conditions."""
    for name, node in source.names():
        if node is not None and name in SOME_RELEASES:
            if not any(source.stands_under(node, condition) for condition in SOME_RELEASES[name].conditions):
                yield f"{name} in line {node.lineno}"  # type: ignore[attr-defined]


def exists(trt: Any, name: str) -> bool:
    """Whether a release has a name of the tables."""
    path, _, written = name.partition(" ")
    cls, _, attributes = path.partition(".")
    for owner in LAYERS.get(path, cls).split():
        value = trt
        for part in (owner, *attributes.split(".")) if attributes else (owner,):
            if not hasattr(value, part):
                return False
            value = getattr(value, part)
        if written and value.fset is None:
            return False
    return True


def disagreements(trt: Any) -> List[str]:
    """The names of the tables that a release has or lacks against them."""
    version = parse_version(trt.__version__)
    wrong = [f"{name} is missing" for name in sorted({*EVERY_RELEASE.split(), *LAYERS}) if not exists(trt, name)]
    for name, some in SOME_RELEASES.items():
        if exists(trt, name) != (some.since <= version[:2] and version[0] <= some.until):
            wrong.append(f"{name} is {'there' if exists(trt, name) else 'missing'}, against SOME_RELEASES")
    return wrong


KNOWN = {*EVERY_RELEASE.split(), *LAYERS, *SOME_RELEASES}


def test_only_names_that_were_looked_up_are_used() -> None:
    unknown = used_names() - KNOWN
    assert not unknown, f"in no table: {', '.join(sorted(unknown))}{HOW_TO_ADD}"


def test_the_tables_have_no_name_that_is_not_used() -> None:
    classes = {name for name in KNOWN if any(other.startswith(f"{name}.") for other in KNOWN)}
    unused = KNOWN - used_names() - classes - set(PLAIN)
    assert not unused, f"take out of the tables, nothing uses them: {', '.join(sorted(unused))}"


def test_what_some_releases_lack_is_asked_for() -> None:
    found = [use for source in read_sources() for use in unguarded(source)]
    assert not found, f"under none of the conditions that SOME_RELEASES names: {'; '.join(found)}{HOW_TO_ADD}"


def test_a_condition_is_hasattr_or_has_a_reason() -> None:
    conditions = {condition for some in SOME_RELEASES.values() for condition in some.conditions}
    named = {condition for condition in conditions if not condition.replace("not ", "").startswith("hasattr(")}
    assert named == set(BECAUSE), "say in BECAUSE why the name exists where the condition holds"


def test_only_layers_that_have_a_precision_are_float32_layers() -> None:
    source = read_sources()[0]
    statements = [node for node in ast.walk(source.tree) if isinstance(node, ast.Assign)]
    said = [node for node in statements if source.segment(node) == "self.has_float32_layers = True"]
    assert said and all(source.stands_under(node, HAS_PRECISION) for node in said)


@pytest.mark.parametrize(
    ("use", "found"),
    [
        ("layer.precision = trt.float32", True),
        ('if hasattr(layer, "precision"):\n    layer.precision = trt.float32', False),
        ('if wanted and hasattr(layer, "precision"):\n    layer.precision = trt.float32', False),
        ('if wanted or hasattr(layer, "precision"):\n    layer.precision = trt.float32', True),
        ('if hasattr(layer, "precision"):\n    pass\nelse:\n    layer.precision = trt.float32', True),
        ('if hasattr(self.network, "add_cast"):\n    pass\nelse:\n    layer.set_output_type(0, dtype)', False),
        ("def f():\n    layer.precision = trt.float32", True),
        ('def f():\n    layer.precision = trt.float32\nif hasattr(layer, "precision"):\n    f()', False),
        ('def f():\n    layer.precision = trt.float32\nif hasattr(layer, "precision"):\n    f()\nf()', True),
        ('hasattr(trt, "int64")', False),
        ('getattr(trt, "int64", None)', False),
        ('getattr(trt, "int64")', True),
    ],
)
def test_a_use_that_is_not_asked_for_is_found(use: str, found: bool) -> None:
    assert bool(list(unguarded(Source(use)))) is found


@pytest.mark.parametrize("name", GONE)
def test_what_newer_releases_removed_is_not_used(name: str) -> None:
    # Of whatever owner: a name that is gone must not hide behind an expression that CLASSES does not know.
    found = [
        f"{source.segment(node)} in line {node.lineno}"
        for source in read_sources()
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Attribute) and node.attr == name and source.segment(node.value) != "request"
    ]
    assert not found, f"gone from TensorRT {GONE[name]} stands for it: {'; '.join(found)}"


def test_the_installed_release_is_as_the_tables_say() -> None:
    try:
        trt = load_tensorrt()
    except TensorRTUnavailable as unavailable:
        pytest.skip(str(unavailable))
    assert not disagreements(trt)


@pytest.mark.gpu
@pytest.mark.usefixtures("exact_and_quick")
class TestOnAGpu:
    @pytest.mark.parametrize("built", BUILT, ids=str)
    def test_method(self, built: Built, monkeypatch: pytest.MonkeyPatch) -> None:
        built.check("tensorrt", monkeypatch)

    def test_a_kernel_must_be_a_constant(self) -> None:
        net = builder_module.TensorRTBuilder()
        x, kernel = net.input("x", (1, 3, 8, 8), "float32"), net.input("k", (3, 4, 3, 3), "float32")
        net.scope = "nn.conv2d_transpose_2"
        with pytest.raises(ConversionError, match="nn.conv2d_transpose_2: this operand must be a constant"):
            net.deconvolution(x, kernel, window(2), 1)

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
