from __future__ import annotations

import json
from typing import Any, Optional

import pytest
import tvm
from tvm import relay

from relay_trt import relay_ir
from relay_trt.graph import TensorSpec
from relay_trt.relay_ir import COMPILER, attributes, compiler_of, is_sealed, is_subgraph, operator_calls, tensor_specs

from .support import module

X = relay.var("x", shape=(1, 3, 8, 8))


def tensor(*shape: Any, dtype: str = "float32") -> relay.TensorType:
    return relay.TensorType(shape, dtype)


def test_tensor_specs() -> None:
    assert tensor_specs(tensor(2, 3)) == (TensorSpec((2, 3), "float32"),)
    assert tensor_specs(tensor(dtype="bool")) == (TensorSpec((), "bool"),)


def test_dimensions_that_are_not_known() -> None:
    (spec,) = tensor_specs(tensor(relay.Any(), tvm.tir.Var("n", "int32"), tvm.tir.IntImm("int64", 1 << 40)))
    assert spec.shape == (-1, -1, 1 << 40)


def test_tuples_are_flattened() -> None:
    nested = relay.TupleType([tensor(1), relay.TupleType([tensor(2), relay.TupleType([])]), tensor(3)])
    assert [spec.shape for spec in tensor_specs(nested)] == [(1,), (2,), (3,)]


@pytest.mark.parametrize("type_", [relay.FuncType([tensor(1)], tensor(1)), relay.RefType(tensor(1))])
def test_what_is_no_tensor_is_named(type_: relay.Type) -> None:
    with pytest.raises(ValueError, match="float32.* is not a tensor"):
        tensor_specs(relay.TupleType([tensor(2), type_]))


def attributes_of(body: relay.Expr) -> Any:
    return attributes(module(body)["main"].body)


def test_attributes_are_plain() -> None:
    kernel = relay.var("w", shape=(4, 3, 3, 3))
    found = attributes_of(relay.nn.conv2d(X, kernel, strides=(2, 1), padding=(1, 0), channels=4))
    assert found == json.loads(json.dumps(found))
    assert {key: found[key] for key in ("strides", "padding", "groups", "channels", "data_layout", "out_layout")} == {
        "strides": [2, 1],
        "padding": [1, 0, 1, 0],
        "groups": 1,
        "channels": 4,
        "data_layout": "NCHW",
        "out_layout": "",
    }
    assert type(found["groups"]) is int


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (relay.exp(X), {}),
        (relay.clip(X, -1.5, 6), {"a_min": -1.5, "a_max": 6.0}),
        (relay.transpose(X), {"axes": None}),
        (relay.nn.softmax(X, -1), {"axis": -1}),
        (relay.sum(X, [1, 2], keepdims=True), {"axis": [1, 2], "keepdims": 1, "exclude": 0}),
        (relay.cast(X, "float16"), {"dtype": "float16"}),
        (relay.split(X, [1, 2], 1).astuple(), {"indices_or_sections": [1, 2], "axis": 1}),
        (relay.nn.pad(X, ((0, 0), (0, 0), (1, 2), (3, 4))), {"pad_width": [[0, 0], [0, 0], [1, 2], [3, 4]]}),
    ],
    ids=lambda value: value.op.name if isinstance(value, relay.Call) else "",
)
def test_attributes(body: relay.Call, expected: Any) -> None:
    found = attributes_of(body)
    assert {key: found[key] for key in expected} == expected
    assert [type(found[key]) for key in expected] == [type(value) for value in expected.values()]


def test_an_attribute_without_plain_value_is_named() -> None:
    with pytest.raises(ValueError, match="attribute 'start' is .*, a Constant"):
        attributes_of(relay.arange(relay.const(3.0)))


PLAIN = relay.Function([X], relay.exp(X))
FUSED = PLAIN.with_attr("Primitive", tvm.tir.IntImm("int32", 1))


@pytest.mark.parametrize(
    ("function", "compiler", "sealed"),
    [
        pytest.param(PLAIN, None, False, id="without attributes"),
        pytest.param(PLAIN.with_attr("Inline", 1), None, False, id="with others"),
        pytest.param(FUSED, None, True, id="fused by TVM"),
        pytest.param(PLAIN.with_attr("Compiler", "other"), "other", True, id="another compiler's"),
        pytest.param(FUSED.with_attr("Compiler", COMPILER), COMPILER, True, id="ours"),
        pytest.param(tvm.tir.PrimFunc([], tvm.tir.Evaluate(0)), None, False, id="no function of Relay"),
    ],
)
def test_who_compiles_a_function(function: tvm.ir.BaseFunc, compiler: Optional[str], sealed: bool) -> None:
    assert compiler_of(function) == compiler
    assert is_subgraph(function) == (compiler == COMPILER)
    assert is_sealed(function) == sealed


def test_calls_of_operators_come_after_those_that_they_read() -> None:
    inner = relay.var("y", shape=(1, 3, 8, 8))
    shared = relay.exp(X)
    body = relay.Tuple([relay.tanh(shared), relay.Function([inner], relay.abs(inner))(shared)])
    found = [call.op.name for call in operator_calls(relay.Function([X], body))]
    assert sorted(found) == ["abs", "exp", "tanh"]
    assert found.index("exp") < found.index("tanh")


def test_the_compilers_name_is_free_in_this_tvm() -> None:
    taken = relay_ir.COMPILER in tvm.target.Target.list_kinds()
    assert not taken
    assert relay_ir.COMPILER in ("tensorrt", "relay_trt")
