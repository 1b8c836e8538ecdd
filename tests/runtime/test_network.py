"""A whole graph converted: names, order, and what a wrong converter is told."""

from __future__ import annotations

from typing import Any, Callable

import numpy as np
import pytest

from relay_trt.graph import INPUT, KERNEL, Entry, Graph, Node, TensorSpec
from relay_trt.operators import OPERATORS, Operator
from relay_trt.options import CompileOptions
from relay_trt.runtime.builders import ConversionError
from relay_trt.runtime.builders.onnx import OnnxBuilder
from relay_trt.runtime.network import convert

from ..support import random
from .support import Network


def converted(net: Network, graph: Graph) -> Any:
    builder = OnnxBuilder()
    convert(graph, net.constants, builder)
    return builder.model("tested")


def test_inputs_and_outputs_keep_their_order_and_names() -> None:
    net = Network()
    a, b = net.input(2, 3), net.input(2, 3)
    negative = net.kernel("negative", b, shape=(2, 3))
    graph = converted(net, net.graph(negative, a, negative)).model.graph
    assert [value.name for value in graph.input] == ["x0", "x1"]
    assert [value.name for value in graph.output] == ["output_0", "output_1", "output_2"]


def test_constants_are_not_copied() -> None:
    net = Network()
    weight = random((32, 16))
    product = net.kernel("nn.dense", net.input(2, 16), net.constant(weight), shape=(2, 32))
    (external,) = converted(net, net.graph(product)).external.values()
    assert external is weight


def test_layers_bear_the_operator_s_name() -> None:
    net = Network()
    y = net.kernel("nn.relu", net.kernel("negative", net.input(2), shape=(2,)), shape=(2,))
    names = [node.name for node in converted(net, net.graph(y)).model.graph.node]
    assert names[0].startswith("negative_1/") and names[1].startswith("nn.relu_2/")


def test_an_operator_with_several_outputs(monkeypatch: pytest.MonkeyPatch) -> None:
    both = Operator("both", lambda net, op: [net.unary(op.inputs[0], "neg"), op.inputs[0]])
    monkeypatch.setitem(OPERATORS, "both", both)
    spec = TensorSpec((2,), "float32")
    nodes = (Node(INPUT, "x", (spec,)), Node(KERNEL, "both", (spec, spec), (Entry(0),)))
    model = converted(Network(), Graph("tested", nodes, (Entry(1, 1), Entry(1, 0)), CompileOptions())).model
    first, second = [node for node in model.graph.node if node.op_type == "Identity"]
    assert first.input == ["x"]
    assert second.input[0].startswith("both_1/Neg")


def test_an_unknown_operator_is_named() -> None:
    net = Network()
    graph = net.graph(net.kernel("my.operator", net.input(2), shape=(2,)))
    with pytest.raises(
        ConversionError,
        match="tested: operator 'my.operator' has no converter in this process; import here too the module",
    ):
        converted(net, graph)


@pytest.mark.parametrize(
    ("converter", "message"),
    [
        (lambda net, op: [op.inputs[0], op.inputs[0]], " became 2 tensors, not 1"),
        (lambda net, op: [], " became 0 tensors, not 1"),
        (lambda net, op: net.reshape(op.inputs[0], [3, 2]), r" became float32\[3, 2\], not float32\[2, 3\]"),
        (lambda net, op: net.reshape(op.inputs[0], [2, 3, 1]), r" became float32\[2, 3, 1\], not float32\[2, 3\]"),
        (lambda net, op: net.constant(np.zeros((2, 3), "float16")), r" became float16\[2, 3\], not float32\[2, 3\]"),
        (lambda net, op: ["x"], " became str 'x', not a tensor"),
        (lambda net, op: net.unary(op.inputs[0], "expo"), ": its converter raised KeyError: 'expo'"),
        (lambda net, op: net.elementwise(op.inputs[0], 1.0, "sum"), ": its converter raised AttributeError: .*'float'"),
        (lambda net, op: None, ": its converter raised TypeError: .*NoneType"),
    ],
)
def test_a_converter_must_agree_with_relay_and_raise_nothing(
    converter: Callable[..., Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(OPERATORS, "wrong", Operator("wrong", converter))
    net = Network()
    graph = net.graph(net.kernel("wrong", net.input(2, 3), shape=(2, 3)))
    with pytest.raises(ConversionError, match=rf"tested: wrong \(node 1\){message}"):
        converted(net, graph)


def test_dynamic_dimensions_agree_with_any() -> None:
    net = Network()
    y = net.kernel("reshape", net.input(-1, 4), shape=(-1, 2, 2), newshape=[0, 2, 2])
    (output,) = converted(net, net.graph(y)).model.graph.output
    assert [d.dim_value for d in output.type.tensor_type.shape.dim] == [0, 2, 2]


def test_what_the_engine_refuses_passes() -> None:
    net = Network()
    graph = net.graph(net.kernel("add", net.input(2, 3), net.input(2, 4), shape=(2, 4)))
    with pytest.raises(ConversionError, match="add_2: ONNX refuses Add"):
        converted(net, graph)
