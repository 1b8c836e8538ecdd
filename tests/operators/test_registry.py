"""The registry, what rules and converters see of an operator, and what is refused whatever the operator."""

from __future__ import annotations

import dataclasses
import re
from typing import Any, List, Optional

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tvm import relay

import relay_trt
from relay_trt.annotation.match import decide, matching, op_call
from relay_trt.graph import TensorSpec
from relay_trt.operators import OPERATORS, OpCall, OpNode, in_float32, operator, refusal
from relay_trt.options import CompileOptions
from relay_trt.runtime.builders import Tensor
from relay_trt.runtime.builders.onnx import OnnxBuilder

from ..support import module
from .case import EXPLICIT, HERE, STRATEGIES, Case
from .cases import CASES

ANY = relay.Any()
nn = relay.nn


def var(*shape: Any, dtype: str = "float32") -> relay.Var:
    return relay.var("x", shape=shape, dtype=dtype)


def const(*shape: int) -> relay.Constant:
    return relay.const(np.ones(shape, "float32"))


def why_not(body: relay.Expr, version: Any = (8, 6, 1), use_implicit_batch: bool = False) -> Optional[str]:
    """Why the last operator of ``body`` is refused."""
    with matching(CompileOptions(version, use_implicit_batch)):
        return decide(module(body)["main"].body)


REFUSED = {
    "no rule": (relay.nn.bitpack(var(8, 8, dtype="int32")), "relay_trt has no converter for this operator"),
    "integers": (relay.erf(var(2, 3, dtype="int32")), r"int32\[2, 3\]: the dtype must be float32 or float16"),
    "doubles": (nn.relu(var(2, 3, dtype="float64")), "the dtype must be float32 or float16"),
    "doubles, moved": (relay.transpose(var(2, 3, dtype="float64")), "float16 or int32 or int64 or bool"),
    "long integers": (relay.transpose(var(2, 3, dtype="int64")), "int64 needs TensorRT 10"),
    "nine dimensions": (nn.relu(var(*[1] * 9)), "at most 8 dimensions"),
    "a dynamic dimension": (nn.relu(var(2, ANY)), r"float32\[2, \?\]: only the first dimension may be dynamic"),
    "an empty tensor": (nn.relu(var(2, 0)), r"float32\[2, 0\]: it is empty"),
    "two constants": (relay.add(const(2), const(2)), "all operands are constants"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_is_refused_whatever_the_operator(name: str) -> None:
    body, reason = REFUSED[name]
    assert re.search(reason, why_not(body) or "accepted")


def test_what_is_like_the_refused_is_accepted() -> None:
    assert why_not(relay.transpose(var(2, 3, dtype="int64")), (10, 0, 0)) is None
    assert why_not(nn.relu(var(ANY, 2))) is None
    assert why_not(relay.add(var(2), const(2))) is None


def test_an_operator_waits_for_its_tensorrt() -> None:
    assert why_not(relay.erf(var(2, 3)), (6, 0, 1)) == "needs TensorRT 7.0.0 or newer"
    assert why_not(relay.erf(var(2, 3)), (7, 0, 0)) is None


def test_a_scalar_has_no_batch() -> None:
    assert why_not(relay.exp(var()), use_implicit_batch=True) == "a scalar has no batch, and use_implicit_batch is on"


@pytest.mark.parametrize("case", [case for case in CASES if case.options == EXPLICIT], ids=str)
def test_implicit_batch_leaves_to_tvm_what_touches_the_batch(case: Case) -> None:
    """Every case that asks for an explicit batch needs it; that the others do not, `test_operators` shows."""
    partitioned, _ = relay_trt.partition_for_tensorrt(case.module(), use_implicit_batch=True)
    refusals = relay_trt.partition_report(partitioned).refusals
    assert [refusal for refusal in refusals if "use_implicit_batch is on" in refusal.reason], refusals


def test_registering(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relay_trt.operators.registry.OPERATORS", registered := {})

    @operator("a", "b", since=(9, 0, 0))
    def convert(net: Any, op: OpNode) -> Tensor:
        return op.inputs[0]

    assert [(row.name, row.convert, row.since) for row in registered.values()] == [
        ("a", convert, (9, 0, 0)),
        ("b", convert, (9, 0, 0)),
    ]
    with pytest.raises(TypeError, match=r"names of Relay operators, as in @operator\('exp'\), not \(<function"):
        operator(convert)  # type: ignore[arg-type]  # as a decorator without parentheses does
    with pytest.raises(TypeError, match="names of Relay operators"):
        operator()
    with pytest.raises(TypeError, match=r"dtypes is a tuple, as in \('float32',\), not 'float32'"):
        operator("c", dtypes="float32")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"since is a tuple, as in \(8, 6, 0\), not '8.6'"):
        operator("c", since="8.6")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="operator 'a' is registered already"):
        operator("c", "a")(convert)
    assert "c" not in registered
    with pytest.raises(ValueError, match="operator 'a' is registered already; override=True replaces it"):
        operator("a")(convert)
    operator("a", override=True)(lambda net, op: op.inputs[0])
    assert registered["a"].convert is not convert


def test_every_operator_says_what_it_accepts() -> None:
    """The first line of a rule's docstring stands in docs/operators.md."""
    assert [row.name for row in OPERATORS.values() if row.rule and not (row.rule.__doc__ or "").strip()] == []


def node(*shape: int, **attrs: Any) -> OpNode:
    return OpNode("tested", attrs, (Tensor(shape, "float32"),), (TensorSpec(shape, "float32"),))


@pytest.mark.parametrize(("axis", "expected"), [(0, 0), (2, 2), (-1, 2), (-3, 0)])
def test_axis(axis: int, expected: int) -> None:
    assert node(2, 3, 4, axis=axis).axis() == expected
    assert node(2, 3, 4, other=axis).axis("other") == expected
    assert node(2, axis=-1).axis(rank=5) == 4


@pytest.mark.parametrize(
    ("attrs", "expected"),
    [
        ({"axis": None}, [0, 1, 2]),
        ({"axis": -1}, [2]),
        ({"axis": [2, -3]}, [0, 2]),
        ({"axis": [1], "exclude": True}, [0, 2]),
        ({"axis": [1], "exclude": False}, [1]),
    ],
)
def test_axes(attrs: Any, expected: List[int]) -> None:
    assert node(2, 3, 4, **attrs).axes() == expected


@pytest.mark.parametrize(
    ("shape", "padding", "before", "after"),
    [
        ((1, 3, 8, 8), [1], [1, 1], [1, 1]),
        ((1, 3, 8, 8), [1, 2], [1, 2], [1, 2]),
        ((1, 3, 8, 8), [1, 2, 3, 4], [1, 2], [3, 4]),
        ((1, 3, 8), [1], [1], [1]),
        ((1, 3, 8), [1, 2], [1], [2]),
        ((1, 3, 8, 8, 8), [1, 2, 3], [1, 2, 3], [1, 2, 3]),
        ((1, 3, 8, 8, 8), [1, 2, 3, 4, 5, 6], [1, 2, 3], [4, 5, 6]),
    ],
)
def test_padding(shape: Any, padding: List[int], before: List[int], after: List[int]) -> None:
    assert node(*shape, padding=padding).padding() == (before, after)


def test_in_float32() -> None:
    """Operands come as float32, results go back as what Relay inferred."""
    net, seen = OnnxBuilder(), []

    @in_float32
    def convert(net: Any, op: OpNode) -> Tensor:
        seen.extend([op.inputs[0].dtype, op.inputs[1].dtype, net.computes_in_float32])
        return op.inputs[0]

    x, i = net.input("x", (2,), "float16"), net.input("i", (2,), "int32")
    (result,) = convert(net, OpNode("tested", {}, (x, i), (TensorSpec((2,), "float16"),)))
    assert (seen, result.dtype) == (["float32", "int32", True], "float16")
    assert not net.computes_in_float32


DTYPES = st.sampled_from(["float32", "float16", "int32", "int64", "bool", "int8"])
VERSIONS = st.sampled_from([(5, 0, 0), (7, 0, 0), (8, 5, 0), (8, 6, 1), (10, 0, 0)])


@pytest.mark.parametrize("op", sorted(HERE))
def test_no_rule_raises(op: str) -> None:
    """Whatever dtypes, constants, dynamic dimensions and options come with attributes that Relay allows."""

    @settings(max_examples=20, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.data())
    def check(data: st.DataObject) -> None:
        case = STRATEGIES[op](data.draw, op)
        try:
            function = case.module()["main"]
        except Exception:  # Relay's own types refuse it
            return
        calls: List[relay.Call] = []
        relay.analysis.post_order_visit(function, lambda e: calls.append(e) if isinstance(e, relay.Call) else None)
        for call in calls:
            drawn = varied(op_call(call, CompileOptions()), data)
            reason = refusal(drawn)
            assert reason is None or reason

    check()


def varied(call: OpCall, data: st.DataObject) -> OpCall:
    """A call with other dtypes, constants, dynamic dimensions and options."""

    def spec(spec: TensorSpec) -> TensorSpec:
        shape = tuple(-1 if data.draw(st.integers(0, 9)) == 0 else dimension for dimension in spec.shape)
        return TensorSpec(shape, data.draw(DTYPES) if data.draw(st.booleans()) else spec.dtype)

    return dataclasses.replace(
        call,
        inputs=tuple(map(spec, call.inputs)),
        outputs=tuple(map(spec, call.outputs)),
        constant=tuple(data.draw(st.booleans()) for _ in call.inputs),
        options=CompileOptions(data.draw(VERSIONS), data.draw(st.booleans())),
    )
