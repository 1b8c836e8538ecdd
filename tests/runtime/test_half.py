"""float16 by the types of a graph: what it computes, and what stays in float32."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Tuple

import numpy as np
import pytest
import tvm
from tvm import relay

import relay_trt
from relay_trt.codegen.serializer import serialize
from relay_trt.graph import DIGEST_ATTR, INPUT, KERNEL, Entry, Graph, Node, TensorSpec
from relay_trt.operators import OPERATORS, Operator
from relay_trt.options import CompileOptions
from relay_trt.runtime import half
from relay_trt.runtime.half import holds, in_half
from relay_trt.runtime.subgraph import Subgraph

from ..models import stored, zoo
from ..operators.case import Case
from ..operators.cases import FULL
from ..support import assert_close, compile_library, module, random, run_library, run_tvm
from .support import LONG_SUMS, Network, call

CASES = [case for case in FULL if "float32" in (case.dtypes or [case.dtype]) and "float16" in OPERATORS[case.op].dtypes]

#: Cases of which float16 cannot hold the inputs.
BEYOND = {"round-just below a half": "the inputs are halves to float16"}

Constants = Dict[str, np.ndarray]


def serialized(function: relay.Function) -> Tuple[Graph, Constants]:
    """The graph of a typed function, and its constants."""
    graph = serialize(function, "tested", CompileOptions(use_implicit_batch=False))
    values: List[np.ndarray] = []
    relay.analysis.post_order_visit(
        function, lambda e: values.append(e.data.numpy()) if isinstance(e, relay.Constant) else None
    )
    return graph, {node.name: value for node, value in zip(graph.constants(), values)}


def offloaded(mod: tvm.IRModule, params: Optional[Dict[str, Any]] = None) -> Tuple[Graph, Constants]:
    """The one subgraph that a module becomes."""
    partitioned, _ = relay_trt.partition_for_tensorrt(mod, params, use_implicit_batch=False)
    (function,) = [function for var, function in partitioned.functions.items() if var.name_hint != "main"]
    return serialized(function)


def halved(graph: Graph, constants: Constants) -> Tuple[Graph, Constants]:
    """The graph in float16, as it would be written and read."""
    result, values = in_half(graph, constants)
    document = result.to_json()
    read = Graph.from_json(document)
    assert json.loads(read.to_json()) == json.loads(document)
    assert read.inputs() == [node for node in graph.nodes if node.op == INPUT]
    assert read.outputs() == graph.outputs()
    assert {node.name: (node.outputs[0].shape, node.outputs[0].dtype) for node in read.constants()} == {
        name: (value.shape, value.dtype.name) for name, value in values.items()
    }
    return read, values


def run(body: Callable[..., relay.Expr], *inputs: np.ndarray) -> Tuple[List[np.ndarray], List[np.ndarray], Graph]:
    """What a function of these inputs gives in float16, what TVM computes in float32, and the graph in float16."""
    variables = [relay.var(f"x{i}", shape=value.shape, dtype=str(value.dtype)) for i, value in enumerate(inputs)]
    mod = module(relay.Function(variables, body(*variables)))
    graph, values = halved(*serialized(mod["main"]))
    want = run_tvm(mod, {f"x{i}": value for i, value in enumerate(inputs)})
    return call(Subgraph(graph, values), *inputs), want, graph


def in_float32(graph: Graph) -> List[str]:
    """The operators that give float32, casts left out."""
    return [
        node.name
        for node in graph.nodes
        if node.op == KERNEL and node.name != "cast" and node.outputs[0].dtype == "float32"
    ]


def casts(graph: Graph) -> List[Tuple[int, str]]:
    """What is cast, and to which type."""
    return [(node.inputs[0].node, node.outputs[0].dtype) for node in graph.nodes if node.name == "cast"]


# -- what it computes -------------------------------------------------------------------------------------------------


def first_and_others() -> List[Any]:
    """The first case of each operator; the others are slow, in number."""
    cases = [case for case in CASES if str(case) not in BEYOND]
    first = {case.op: case for case in reversed(cases)}
    return [pytest.param(case, marks=[] if first[case.op] is case else [pytest.mark.slow]) for case in cases]


@pytest.mark.parametrize("case", first_and_others(), ids=str)
def test_operator(case: Case, engine: str) -> None:
    version, installed = case.options.get("version"), relay_trt.get_tensorrt_version()
    if engine == "tensorrt" and version and installed and version > installed:
        pytest.skip(f"needs TensorRT {version}")
    exact, constants = serialized(case.module()["main"])
    graph, values = halved(exact, constants)
    if graph.nodes == Graph.from_json(exact.to_json()).nodes:
        return  # all of it stays in float32, and so is what `test_operators` runs
    got = call(Subgraph(graph, values), *case.inputs().values())
    assert_close(got, case.expected, max(case.rtol, 2e-3), max(case.atol, 2e-3))


NETWORKS = {
    **{name: lambda name=name: stored.network(name) for name in stored.NAMES},
    **{name: lambda name=name: zoo.network(name, 64) for name in ("resnet18_v1", "mobilenetv2_1.0")},
}
SLOW = ("mobilenetv2_1.0",)  # for TVM to compile


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else []) for name in NETWORKS]
)
def test_network(name: str, engine: str) -> None:
    network = NETWORKS[name]()
    data = random(network.shape)
    graph, values = halved(*offloaded(network.mod, network.params))
    for got, want in zip(call(Subgraph(graph, values), data), run_tvm(network.mod, {"data": data}, network.params)):
        a, b = got.astype("float64").ravel(), want.astype("float64").ravel()
        assert a @ b / np.linalg.norm(a) / np.linalg.norm(b) > 0.9999
        assert np.abs(a - b).max() < 3e-3 * np.abs(b).max()


@pytest.mark.parametrize("name", ["resnet18_v1", "mobilenetv2_1.0", "efficientnet_se", "unet", "transformer_encoder"])
def test_no_layer_is_left_behind(name: str) -> None:
    """But for the casts of the input and of the output, all of it is in float16."""
    network = NETWORKS[name]()
    graph, _ = halved(*offloaded(network.mod, network.params))
    assert in_float32(graph) == []
    assert [dtype for _, dtype in casts(graph)] == ["float16", "float32"]
    products = [node for node in graph.nodes if node.op == KERNEL and OPERATORS[node.name].half == "product"]
    assert products and all(graph.spec(entry).dtype == "float16" for node in products for entry in node.inputs)


SUMS = {
    **LONG_SUMS,
    "sum": lambda x, one, zero: relay.sum(x, axis=-1),
    "a mean by hand": lambda x, one, zero: relay.nn.relu(relay.divide(relay.sum(x, axis=-1), relay.const(512.0))),
    "an l2 norm by hand": lambda x, one, zero: relay.divide(x, length(x)),
    "a layer norm by hand": lambda x, one, zero: relay.add(relay.multiply(standardized(x), one), zero),
}


def in_float16(x: relay.Expr) -> relay.Expr:
    """The same, by a matrix product: what leads from an input to what stays in float32 would stay there, too."""
    width = int(x.type_annotation.shape[-1])
    return relay.nn.dense(x, relay.const(np.eye(width, dtype="float32")))


def length(x: relay.Expr) -> relay.Expr:
    return relay.sqrt(relay.sum(relay.multiply(x, x), axis=-1, keepdims=True))


def standardized(x: relay.Expr) -> relay.Expr:
    """As PyTorch and ONNX write a layer norm out."""
    centered = relay.subtract(x, relay.mean(x, axis=-1, keepdims=True))
    variance = relay.mean(relay.power(centered, relay.const(2.0)), axis=-1, keepdims=True)
    return relay.divide(centered, relay.sqrt(relay.add(variance, relay.const(1e-12))))


@pytest.mark.parametrize("op", SUMS)
def test_long_sums(op: str, engine: str) -> None:
    """Sums, or sums of squares, of what float16 can hold, but not their sums."""
    one, zero = (relay.const(np.full(512, value, "float32")) for value in (1, 0))
    x = random((8, 512), "float16", low=100, high=300).astype("float32")
    got, want, _ = run(lambda x: relay.nn.relu(SUMS[op](in_float16(x), one, zero)), x)
    assert_close(got, want, rtol=2e-3, atol=2e-3)


def test_a_row_of_zeros_stays_one(engine: str) -> None:
    """What is added lest something is divided by 0 would be 0 in float16."""
    x = np.zeros((2, 8), "float32")
    x[1] = random((8,), "float16")
    got, want, _ = run(lambda x: relay.nn.relu(standardized(in_float16(x))), x)
    assert_close(got, want, rtol=2e-3, atol=2e-3)


def masked_softmax(scores: relay.Expr, mask: relay.Expr) -> relay.Expr:
    """As in BERT: a large negative number is added where the mask is 0."""
    one, large = relay.const(1.0), relay.const(-1e9)
    added = relay.multiply(relay.subtract(one, relay.cast(mask, "float32")), large)
    return relay.nn.softmax(relay.add(relay.nn.batch_matmul(scores, scores), relay.expand_dims(added, 1)))


def test_a_mask_of_large_numbers(engine: str) -> None:
    """Also where all is masked: softmax of nothing but the same number is no NaN."""
    mask = np.int32([[1, 1, 0, 1], [0, 0, 0, 0]])
    got, want, graph = run(masked_softmax, random((2, 4, 4)), mask)
    assert_close(got, want, rtol=5e-3, atol=5e-3)
    assert "nn.batch_matmul" not in in_float32(graph)


def test_a_softplus_written_out(engine: str) -> None:
    x, one = np.linspace(-20, 40, 61, dtype="float32")[np.newaxis], relay.const(1.0)
    got, want, _ = run(lambda x: relay.nn.relu(relay.log(relay.add(relay.exp(in_float16(x)), one))), x)
    assert_close(got, want, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize(("op", "least"), [("nn.softmax", -17.0), ("sigmoid", -12.0)])
def test_the_logarithm_of_a_small_probability(op: str, least: float, engine: str) -> None:
    """The least is that of which each engine's float32 still has the digits."""
    operator = {"nn.softmax": relay.nn.softmax, "sigmoid": relay.sigmoid}[op]
    got, want, graph = run(lambda x: relay.log(operator(in_float16(x))), np.float32([[least, 0.0]]))
    assert_close(got, want, rtol=2e-3, atol=2e-4)
    assert in_float32(graph) == [op, "log"]


def test_squares_stay_with_their_root(engine: str) -> None:
    """Those of what float16 holds, and that are themselves beyond it, or nothing to it."""
    x = np.float32([[300.0, 400.0], [5e-5, 0.0]])
    got, want, graph = run(lambda x: length(in_float16(x)), x)
    assert_close(got, want, rtol=2e-3, atol=1e-6)
    assert in_float32(graph) == ["multiply", "sum", "sqrt"]


def test_what_is_beyond_float16_passes_on(engine: str) -> None:
    """Until a quotient brings it back."""

    def body(x: relay.Expr) -> relay.Expr:
        total = relay.sum(in_float16(x), axis=-1)
        grown = relay.nn.relu(relay.add(relay.reshape(total, (2, 1)), relay.const(1.0)))
        return relay.nn.relu(relay.divide(grown, relay.const(100.0)))

    got, want, graph = run(body, np.full((2, 64), 2000, "float32"))
    assert_close(got, want, rtol=2e-3, atol=2e-3)
    assert in_float32(graph) == ["sum", "reshape", "add", "nn.relu", "divide"]


def test_an_embedding_of_time(engine: str) -> None:
    """Sines of large numbers, as of the time steps of a diffusion model."""
    frequencies = relay.const(np.exp(np.linspace(0, -9, 16, dtype="float32")))

    def embedding(time: relay.Expr) -> relay.Expr:
        phase = relay.multiply(relay.expand_dims(time, 1), frequencies)
        return relay.nn.relu(relay.concatenate([relay.sin(phase), relay.cos(phase)], 1))

    got, want, _ = run(embedding, np.float32([999.3, 501.7]))
    assert_close(got, want, rtol=2e-3, atol=2e-3)


# -- indices ----------------------------------------------------------------------------------------------------------

INDICES = {
    "tokens as floats, moved and computed": lambda x, table: relay.take(
        table, relay.cast(relay.floor(relay.add(relay.reshape(x, (2, 1)), relay.const(0.25))), "int32"), axis=0
    ),
    "compared": lambda x, table: relay.take(
        table, relay.cast(relay.greater(relay.negative(x), relay.const(-2048.5)), "int32"), axis=0
    ),
}


@pytest.mark.parametrize("name", INDICES)
def test_indices_are_not_rounded(name: str, engine: str) -> None:
    """float16 has no 2049; the table itself is in float16."""
    table = random((4000, 3))
    got, want, graph = run(lambda x: INDICES[name](x, relay.const(table)), np.float32([2049, 3333]))
    assert_close(got, want, rtol=1e-3, atol=1e-3)
    assert [graph.spec(node.inputs[0]).dtype for node in graph.nodes if node.name == "take"] == ["float16"]


@pytest.mark.parametrize("op", [relay.argmax, relay.argmin])
def test_an_index_is_not_that_of_a_near_equal(op: Callable[..., relay.Expr], engine: str) -> None:
    x = np.random.default_rng(0).permuted(1 + np.tile(np.arange(512, dtype="float32"), (4, 1)) / (1 << 14), axis=1)
    got, want, _ = run(lambda x: op(relay.nn.relu(x), axis=1), x)
    np.testing.assert_array_equal(got[0], want[0])


def test_tokens_as_floats(engine: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What TensorRT is given as float32, it may round before the first layer, and so TVM casts it."""
    monkeypatch.setenv("TVM_TENSORRT_STRONG_TYPES", "1")
    x, table = relay.var("x0", shape=(2,)), random((4000, 3))
    tokens = {"x0": np.float32([2049, 3333])}
    mod = module(relay.take(relay.const(table), relay.cast(x, "int32"), axis=0))
    partitioned, _ = relay_trt.partition_for_tensorrt(mod, use_implicit_batch=False, use_fp16=True)
    (subgraph,) = relay_trt.partition_report(partitioned).subgraphs
    assert [text.split()[1] for text in subgraph.inputs] == ["int32[2]"]
    library = compile_library(partitioned, tmp_path / "library.so")
    assert_close(run_library(library, tokens), run_tvm(mod, tokens), rtol=1e-3, atol=1e-3)


def test_indices_as_floats_stay_whole(engine: str) -> None:
    """MXNet's are float32; of 3000, float16 would round some."""
    x = np.random.RandomState(0).permutation(3000)[np.newaxis].astype("float32") / 4
    got, want, graph = run(lambda x: relay.argsort(relay.nn.relu(x), dtype="float32"), x)
    np.testing.assert_array_equal(got[0], want[0])


def test_lengths_stay_whole(engine: str) -> None:
    x, lengths = random((3000, 2), "float16").astype("float32"), np.float32([2049, 2999])
    got, want, graph = run(lambda x, n: relay.nn.relu(relay.sequence_mask(x, n, axis=0, mask_value=0.5)), x, lengths)
    assert_close(got, want, rtol=2e-3, atol=2e-3)
    (masked,) = [node for node in graph.nodes if node.name == "sequence_mask"]
    assert [graph.spec(entry).dtype for entry in masked.inputs] == ["float16", "float32"]


def test_a_comparison_of_what_is_in_float16_is_in_float16() -> None:
    net = Network()
    x = net.kernel("nn.dense", net.input(2, 4), net.constant(random((4, 4))), shape=(2, 4))
    greater = net.kernel("greater", x, net.constant(np.float32(0.5)), shape=(2, 4), dtype="bool")
    graph, _ = halved(net.graph(greater), net.constants)
    assert {graph.spec(entry).dtype for entry in graph.nodes[-1].inputs} == {"float16"}


# -- constants and attributes -----------------------------------------------------------------------------------------


def test_a_constant_in_float16_has_no_digest_of_float32() -> None:
    one, table = relay.const(np.float32(1e-12)), relay.const(random((4,)))
    _, _, graph = run(lambda x: relay.Tuple([relay.add(x, table), relay.add(x, one)]), random((2, 4)))
    assert {node.outputs[0].dtype: DIGEST_ATTR in node.attrs for node in graph.constants()} == {
        "float16": False,
        "float32": True,
    }


@pytest.mark.parametrize(
    ("value", "held"),
    [
        (0.1, True),
        (65504.0, True),
        (70000.5, False),
        (-1e9, False),
        (np.inf, True),
        (0.0, True),
        (1e-3, True),
        (1e-12, False),
        (1e-5, False),  # a subnormal number
        ([1.0, 1e-12], True),
        (2048.0, True),
        (4097.0, False),
        (4096.0, True),
        (np.arange(3000.0), False),
        (np.arange(3000.0) + 0.1, True),
        (np.zeros((0,)), True),
        ([np.nan, 1.0], True),
        ([np.nan, np.inf, 3001.0], False),
    ],
)
def test_holds(value: Any, held: bool) -> None:
    assert holds(np.float32(value)) is held


@pytest.mark.parametrize(
    ("op", "value", "stays"),
    [
        ("multiply", 0.1, False),
        ("multiply", 1e-6, True),
        ("maximum", -1e9, True),
        ("add", np.full(4, 1e-7), False),  # a bias
        ("add", 1e-7, True),
        ("nn.bias_add", np.full(4, 1e-7), False),
        ("nn.bias_add", np.full(4, 1e5), True),
    ],
)
def test_a_constant_keeps_its_operator_in_float32(op: str, value: Any, stays: bool) -> None:
    net = Network()
    attrs = {"axis": 1} if op == "nn.bias_add" else {}
    y = net.kernel(op, net.input(2, 4), net.constant(np.array(value, "float32")), shape=(2, 4), **attrs)
    graph, values = halved(net.graph(y), net.constants)
    assert in_float32(graph) == ([op] if stays else [])
    (constant,) = values.values()
    assert constant.dtype == ("float32" if stays else "float16")
    assert (constant is net.constants["const_0"]) == stays


@pytest.mark.parametrize(
    ("low", "high", "stays", "bounds"),
    [
        (0.0, 6.0, False, (0.0, 6.0)),
        (0.0, 3.4e38, False, (0.0, np.inf)),
        (-1e30, 1.0, False, (-np.inf, 1.0)),
        (1e-12, 1.0, True, (1e-12, 1.0)),
        (0.0, 4095.0, True, (0.0, 4095.0)),
        (1e5, 1e6, True, (1e5, 1e6)),
        (-1e6, -1e5, True, (-1e6, -1e5)),
        (-np.inf, 0.0, False, (-np.inf, 0.0)),
    ],
)
def test_the_bounds_of_clip(low: float, high: float, stays: bool, bounds: Tuple[float, float]) -> None:
    net = Network()
    x = net.input(3)
    y = net.kernel("clip", x, shape=(3,), a_min=low, a_max=high)
    graph, values = halved(net.graph(y), {})
    (clip,) = [node for node in graph.nodes if node.name == "clip"]
    assert (bool(in_float32(graph)), (clip.attrs["a_min"], clip.attrs["a_max"])) == (stays, bounds)
    value = np.float32([-3, 0.5, 9])
    (got,) = call(Subgraph(graph, values), value)
    np.testing.assert_allclose(got, value.clip(low, high), rtol=1e-6)


@pytest.mark.parametrize(("value", "stays"), [(0.0, False), (-1e9, True)])
def test_the_value_of_a_mask(value: float, stays: bool) -> None:
    net = Network()
    lengths = net.input(3, dtype="int32")
    y = net.kernel("sequence_mask", net.input(4, 3), lengths, shape=(4, 3), axis=0, mask_value=value)
    assert in_float32(halved(net.graph(y), {})[0]) == (["sequence_mask"] if stays else [])


def test_a_padding_of_the_lowest_number(engine: str) -> None:
    """As TVM's ONNX importer pads before it takes a maximum."""
    lowest, kernel = relay.const(float(np.finfo("float32").min)), relay.const(random((2, 2, 1, 1)))

    def body(x: relay.Expr) -> relay.Expr:
        padded = relay.nn.pad(relay.nn.conv2d(x, kernel), ((0, 0), (0, 0), (1, 1), (1, 1)), lowest)
        return relay.nn.relu(relay.nn.max_pool2d(padded, (3, 3), (2, 2)))

    got, want, graph = run(body, random((1, 2, 7, 7), "float16").astype("float32"))
    assert_close(got, want, rtol=2e-3, atol=2e-3)
    assert in_float32(graph) == ["nn.pad", "nn.max_pool2d"]


def test_attributes_name_the_new_types() -> None:
    net = Network()
    zeros = net.kernel("zeros", shape=(2,))
    dtypes = {"dtype": "float32", "out_dtype": "float32"}
    nodes = [*net.nodes[:-1], Node(KERNEL, "zeros", (TensorSpec((2,), "float32"),), (), dtypes)]
    graph, _ = in_half(Graph("tested", tuple(nodes), (zeros,), CompileOptions()), {})
    assert graph.nodes[0].attrs == {"dtype": "float16", "out_dtype": "float16"}


@pytest.mark.parametrize("name", ["quantized/resnet", "quantized/mobilenet"])
def test_what_is_quantized_is_left_alone(name: str) -> None:
    """Casts between them and what TensorRT computes in int8 would part them."""
    graph, values = offloaded(stored.load(name))
    assert "nn.conv2d" in [node.name for node in graph.nodes]
    assert in_half(graph, values) == (graph, values)


# -- the graph --------------------------------------------------------------------------------------------------------


def unchanged() -> List[Tuple[Graph, Constants]]:
    """Graphs in which nothing is to become float16."""
    ints = Network()
    i = ints.kernel("add", ints.input(2, dtype="int32"), ints.constant(np.int32([1, 2])), shape=(2,), dtype="int32")
    through = Network()
    x = through.input(2)
    halves = Network()
    h = halves.kernel("nn.relu", halves.input(2, dtype="float16"), shape=(2,), dtype="float16")
    indices = Network()
    large = indices.kernel("nn.relu", indices.input(2, 3), shape=(2, 3))
    best = indices.kernel("argmax", large, shape=(2,), dtype="int32", axis=[1], keepdims=False, exclude=False)
    roots = Network()
    root = roots.kernel("sqrt", roots.input(2), shape=(2,))
    networks = [(ints, i), (through, x), (halves, h), (indices, best), (roots, root)]
    return [(net.graph(head), net.constants) for net, head in networks]


@pytest.mark.parametrize(("graph", "constants"), unchanged())
def test_what_needs_no_float16_is_left_alone(graph: Graph, constants: Constants) -> None:
    assert in_half(graph, constants) == (graph, constants)


def test_casts_are_not_repeated() -> None:
    """One behind the input, one behind what several outputs and a root read."""
    net = Network()
    x = net.input(2, 4)
    first, second = (net.kernel(op, x, shape=(2, 4)) for op in ("nn.relu", "tanh"))
    total = net.kernel("multiply", first, second, shape=(2, 4))
    root = net.kernel("sqrt", total, shape=(2, 4))
    graph, _ = halved(net.graph(root, total, total, net.kernel("sigmoid", total, shape=(2, 4))), {})
    names = [node.name for node in graph.nodes]
    assert names == ["x0", "cast", "nn.relu", "tanh", "multiply", "cast", "sqrt", "sigmoid", "cast"]
    assert graph.heads == (Entry(6), Entry(5), Entry(5), Entry(8))


def test_a_constant_comes_once_in_each_type() -> None:
    net = Network()
    x, value = net.input(2, 4), net.constant(random((4,)))
    first = net.kernel("nn.bias_add", x, value, shape=(2, 4), axis=1)
    second = net.kernel("nn.bias_add", first, value, shape=(2, 4), axis=1)
    norm = net.kernel("nn.layer_norm", second, value, value, shape=(2, 4), axis=1, epsilon=0.1, center=1, scale=1)
    graph, values = halved(net.graph(norm, value), net.constants)
    assert {name: array.dtype.name for name, array in values.items()} == {
        "const_0": "float32",
        "const_0_float16": "float16",
    }
    (got, constant) = call(Subgraph(graph, values), np.zeros((2, 4), "float32"))
    np.testing.assert_array_equal(constant, net.constants["const_0"])
    assert np.isfinite(got).all()


def test_statistics_stay_what_they_are(engine: str) -> None:
    """Those of a batch norm are constants that its converter folds, and results that may be read."""
    net = Network()
    statistics = [net.constant(value) for value in np.float32([[0.3, 2.0], [-0.1, 0.2], [3e-6, -1e-6], [1e-9, 2e-9]])]
    x = net.kernel("nn.relu", net.input(3, 2), shape=(3, 2))
    specs = tuple(TensorSpec(shape, "float32") for shape in ((3, 2), (2,), (2,)))
    attrs = {"axis": 1, "epsilon": 1e-8, "center": 1, "scale": 1}
    norm = Node(KERNEL, "nn.batch_norm", specs, (x, *statistics), attrs)
    nodes, heads = (*net.nodes, norm), tuple(Entry(len(net.nodes), index) for index in range(3))
    graph, values = halved(Graph("tested", nodes, heads, CompileOptions()), net.constants)
    assert [spec.dtype for spec in graph.nodes[-2].outputs] == ["float16", "float32", "float32"]
    gamma, beta, mean, variance = (values[f"const_{index}"] for index in range(4))
    data = np.abs(random((3, 2), "float16", high=1e-2)).astype("float32")
    got, same_mean, same_variance = call(Subgraph(graph, values), data)
    want = (data - mean) / np.sqrt(variance + 1e-8) * gamma + beta
    np.testing.assert_allclose(got, want, rtol=2e-3, atol=2e-3 * np.abs(want).max())
    np.testing.assert_array_equal(same_mean, mean)
    np.testing.assert_array_equal(same_variance, variance)


def test_casts_of_the_model_vanish_where_they_lead_to_float16() -> None:
    """A float16 model with a part in float32, of which only what float16 cannot do stays there."""
    net = Network()
    x = net.input(2, 4, dtype="float16")
    wide = net.kernel("cast", x, shape=(2, 4))
    product = net.kernel("nn.dense", wide, net.constant(random((4, 4))), shape=(2, 4))
    root = net.kernel("sqrt", wide, shape=(2, 4))
    back = [net.kernel("cast", y, shape=(2, 4), dtype="float16") for y in (product, root)]
    graph, _ = halved(net.graph(*back, wide), net.constants)
    names = [node.name for node in graph.nodes]
    assert names == ["x0", "cast", "const_0", "nn.dense", "sqrt", "cast"]
    assert in_float32(graph) == ["sqrt"]
    assert graph.heads == (Entry(3), Entry(5), Entry(1))


def test_whole_numbers_that_become_floats_stay_in_float32(engine: str) -> None:
    x = np.int32([[70001, 5], [3, 2049]])
    got, want, graph = run(lambda x: relay.multiply(relay.cast(x, "float32"), relay.const(0.5)), x)
    assert_close(got, want, rtol=1e-6, atol=1e-6)
    assert in_float32(graph) == ["multiply"]


def test_an_operator_that_does_not_take_float16(monkeypatch: pytest.MonkeyPatch) -> None:
    only = Operator("only.float32", lambda net, op: net.unary(op.inputs[0], "neg"), dtypes=("float32",))
    monkeypatch.setitem(OPERATORS, only.name, only)
    net = Network()
    y = net.kernel("nn.dense", net.input(3, 3), net.constant(random((3, 3))), shape=(3, 3))
    for op in ("nn.relu", "only.float32", "no.converter", "nn.relu"):
        y = net.kernel(op, y, shape=(3, 3))
    graph, _ = halved(net.graph(y), net.constants)
    assert in_float32(graph) == ["only.float32", "no.converter"]


def test_a_dynamic_batch(engine: str) -> None:
    net = Network()
    x = net.input(-1, 4)
    weight = net.constant(random((3, 4)))
    graph, values = halved(net.graph(net.kernel("nn.dense", x, weight, shape=(-1, 3))), net.constants)
    data = random((5, 4))
    (got,) = call(Subgraph(graph, values), data, batch=5)
    np.testing.assert_allclose(got, data @ random((3, 4)).T, rtol=5e-3, atol=5e-3)


def test_every_operator_that_is_named_exists() -> None:
    assert {*half.CASTS, *half.ARITHMETIC, *half.SUMS} <= set(OPERATORS)
    assert set(BEYOND) <= set(map(str, CASES))
