from __future__ import annotations

import json
from pathlib import Path
from typing import List, Tuple

import numpy as np
import pytest
import tvm
from tvm import relay

from relay_trt.codegen.serializer import constants_of, options_of, serialize
from relay_trt.graph import CONST, DIGEST_ATTR, INPUT, KERNEL, Entry, Graph, Profile, array_digest
from relay_trt.options import CompileOptions
from relay_trt.relay_ir import OPTIONS_ATTR, PROFILES_ATTR

from ..support import assert_close, module, random, run_offloaded, run_tvm

X = relay.var("x", shape=(1, 3, 4, 4))


def graph(body: relay.Expr) -> Graph:
    return serialize(module(body)["main"], "f", CompileOptions())


def kernels(serialized: Graph) -> List[Tuple[str, Tuple[Entry, ...]]]:
    return [(node.name, node.inputs) for node in serialized.nodes if node.op == KERNEL]


def test_nodes_inputs_and_attributes() -> None:
    kernel = relay.const(random((8, 3, 3, 3)))
    serialized = graph(relay.nn.conv2d(X, kernel, strides=(2, 1), padding=(1, 0), groups=1))
    assert [node.op for node in serialized.nodes] == [INPUT, CONST, KERNEL]
    assert [node.name for node in serialized.nodes] == ["x", "f_const_0", "nn.conv2d"]
    conv = serialized.nodes[2]
    assert conv.inputs == (Entry(0), Entry(1))
    assert conv.outputs[0].shape == (1, 8, 2, 2)
    assert conv.attrs["strides"] == [2, 1]
    assert conv.attrs["padding"] == [1, 0, 1, 0]
    assert conv.attrs["data_layout"] == "NCHW"
    assert conv.attrs["channels"] is None
    assert serialized.heads == (Entry(2),)


def test_an_operand_twice() -> None:
    assert kernels(graph(relay.add(X, X))) == [("add", (Entry(0), Entry(0)))]
    assert kernels(graph(relay.concatenate([X, X], 1))) == [("concatenate", (Entry(0), Entry(0)))]


def test_tuples_are_flattened() -> None:
    vector = relay.const(np.ones(3, "float32"))
    norm = relay.nn.batch_norm(X, vector, vector, vector, vector)
    serialized = graph(relay.Tuple([relay.nn.relu(norm[0]), norm[2]]))
    assert [len(node.outputs) for node in serialized.nodes] == [1, 1, 3, 1]
    assert kernels(serialized)[1] == ("nn.relu", (Entry(2, 0),))
    assert serialized.heads == (Entry(3), Entry(2, 2))


def test_a_parameter_as_result() -> None:
    serialized = graph(relay.Tuple([X, relay.nn.relu(X), X]))
    assert serialized.heads == (Entry(0), Entry(1), Entry(0))


def test_dynamic_batch() -> None:
    x = relay.var("x", shape=(relay.Any(), 3))
    assert graph(relay.nn.relu(x)).nodes[1].outputs[0].shape == (-1, 3)


def test_profiles_reach_the_inputs() -> None:
    x, y = relay.var("x", shape=(relay.Any(), 3)), relay.var("y", shape=(1, 3))
    shapes = {"x": {"min": [1, 3], "opt": [2, 3], "max": [5, 3]}}
    function = module(relay.add(x, y))["main"].with_attr(PROFILES_ATTR, json.dumps(shapes))
    nodes = serialize(function, "f", CompileOptions()).inputs()
    assert {node.name: node.profile for node in nodes} == {"x": Profile((1, 3), (2, 3), (5, 3)), "y": None}


def test_a_constant_has_its_own_shape() -> None:
    """Relay gives the lengths here the type of a dimension that is not known."""
    lengths = relay.const(np.array([1, 2], "int32"))
    serialized = graph(relay.sequence_mask(relay.var("x", shape=(3, relay.Any())), lengths))
    assert [node.outputs[0].shape for node in serialized.nodes if node.op == CONST] == [(2,)]


def test_what_cannot_be_serialized_is_named() -> None:
    with pytest.raises(ValueError, match="f: a If cannot be serialized"):
        graph(relay.If(relay.const(True), X, X))


def test_constants_come_in_tvms_order(tmp_path: Path) -> None:
    """Shared, repeated and nested constants reach the network as the values that they were in Relay."""
    a, b, c = (relay.const(random((1, 3, 1, 1), seed=seed)) for seed in range(3))
    left = relay.multiply(relay.add(a, X), b)
    right = relay.subtract(b, relay.maximum(c, relay.multiply(X, a)))
    body = relay.concatenate([relay.add(left, right), relay.multiply(c, left), relay.subtract(right, a)], 1)
    mod = module(body)
    inputs = {"x": random((1, 3, 4, 4))}
    assert_close(run_offloaded(mod, inputs, tmp_path), run_tvm(mod, inputs))


def test_equal_constants_are_kept_apart(tmp_path: Path) -> None:
    ones = [relay.const(np.ones((1, 3, 1, 1), "float32")) for _ in range(2)]
    mod = module(relay.multiply(relay.add(X, ones[0]), ones[1]))
    assert isinstance(mod, tvm.IRModule)
    inputs = {"x": random((1, 3, 4, 4))}
    assert_close(run_offloaded(mod, inputs, tmp_path), run_tvm(mod, inputs))


def test_the_values_of_constants_and_their_digests() -> None:
    first, second = random((3, 1, 1)), random((3, 1, 1), seed=1)
    function = module(relay.multiply(relay.add(X, relay.const(first)), relay.const(second)))["main"]
    serialized = serialize(function, "f", CompileOptions())
    values = list(constants_of(function))
    assert len(values) == len(serialized.constants()) == 2
    for node, value, want in zip(serialized.constants(), values, (first, second)):
        np.testing.assert_array_equal(value, want)
        assert node.attrs == {DIGEST_ATTR: array_digest(want)}


def test_the_options_of_a_function() -> None:
    function = module(relay.nn.relu(X))["main"]
    assert options_of(function) == CompileOptions()
    options = CompileOptions((8, 6, 1), use_fp16=True)
    assert options_of(function.with_attr(OPTIONS_ATTR, json.dumps(options.to_dict()))) == options
