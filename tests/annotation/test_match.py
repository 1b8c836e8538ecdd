from __future__ import annotations

import dataclasses
import threading
from typing import Any, List, Optional

import numpy as np
import pytest
from tvm import relay

from relay_trt.annotation import match
from relay_trt.annotation.match import decide, describe, matching
from relay_trt.graph import TensorSpec
from relay_trt.operators import OPERATORS, OpCall
from relay_trt.options import CompileOptions

from ..support import module

X = relay.var("x", shape=(2, 3))
ROW = TensorSpec((2, 3), "float32")


def typed(body: relay.Expr) -> relay.Call:
    return module(body)["main"].body


def seen_by_rules(call: relay.Call, monkeypatch: pytest.MonkeyPatch) -> OpCall:
    seen: List[OpCall] = []
    monkeypatch.setattr(match, "refusal", seen.append)
    decide(call)
    return seen[0]


def test_rules_see_a_call_in_plain_values(monkeypatch: pytest.MonkeyPatch) -> None:
    weight = relay.const(np.ones((4, 3), "float32"))
    seen = seen_by_rules(typed(relay.nn.leaky_relu(X, 0.5)), monkeypatch)
    assert seen == OpCall(
        name="nn.leaky_relu",
        attrs={"alpha": 0.5},
        inputs=(ROW,),
        constant=(False,),
        scalars=(None,),
        identity=seen.identity,
        outputs=(ROW,),
        options=CompileOptions(),
    )
    dense = seen_by_rules(typed(relay.nn.dense(X, weight)), monkeypatch)
    assert dense.inputs == (ROW, TensorSpec((4, 3), "float32"))
    assert dense.constant == (False, True)
    assert dense.outputs == (TensorSpec((2, 4), "float32"),)


def test_rules_see_which_operands_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def same(a: relay.Expr, b: relay.Expr) -> bool:
        return seen_by_rules(typed(relay.add(a, b)), monkeypatch).same(0, 1)

    negative = relay.negative(X)
    assert same(X, X) and same(negative, negative)
    assert not same(X, negative) and not same(negative, relay.negative(X))
    assert same(relay.const(1.0), relay.const([1.0]))
    assert not same(relay.const(1.0), relay.const(2.0)) and not same(X, relay.const(1.0))


def test_rules_see_constants_of_one_element(monkeypatch: pytest.MonkeyPatch) -> None:
    several = relay.const(np.ones((2, 3), "float32"))
    for operand, value in ((X, None), (several, None), (relay.const(2.5), 2.5), (relay.const([[-1.0]]), -1.0)):
        assert seen_by_rules(typed(relay.add(X, operand)), monkeypatch).scalars == (None, value)
    quantized = relay.qnn.op.dequantize(relay.const(np.int8(3)), relay.const(0.5), relay.const(0))
    call = seen_by_rules(typed(relay.add(X, quantized)), monkeypatch)
    assert call.constant == (False, True) and call.scalars == (None, None)  # no value that a converter could read


def test_rules_see_tuples_flattened(monkeypatch: pytest.MonkeyPatch) -> None:
    one = relay.const(np.ones((2, 1), "float32"))
    call = seen_by_rules(typed(relay.concatenate([one, X, relay.exp(X)], 1)), monkeypatch)
    assert call.inputs == (TensorSpec((2, 1), "float32"), ROW, ROW)
    assert call.constant == (True, False, False)

    halves = relay.split(X, [1], axis=1).astuple()  # not a tuple to see, but of a tuple's type
    call = seen_by_rules(typed(relay.concatenate(halves, 1)), monkeypatch)
    assert call.inputs == (TensorSpec((2, 1), "float32"), TensorSpec((2, 2), "float32"))
    assert call.constant == (False, False)


def test_attributes_without_a_plain_value_are_refused() -> None:
    """An arange has its bounds as attributes too, as expressions."""
    assert "attribute 'start' is" in str(decide(typed(relay.arange(relay.const(3.0)))))


def test_a_call_that_is_not_type_checked_is_refused() -> None:
    call = relay.exp(X)
    assert "checked_type" in str(decide(call))
    assert "checked_type" in describe(relay.exp(call))


def test_options_count_within_their_block_and_thread() -> None:
    scalars = typed(relay.add(relay.var("a", shape=()), relay.var("b", shape=())))
    explicit = CompileOptions(use_implicit_batch=False)
    elsewhere: List[Optional[str]] = []
    with matching(explicit):
        assert decide(scalars) is None
        thread = threading.Thread(target=lambda: elsewhere.append(decide(scalars)))
        thread.start()
        thread.join()
        with matching(CompileOptions()):
            assert decide(scalars) == elsewhere[0] == "a scalar has no batch, and use_implicit_batch is on"
        assert decide(scalars) is None
    assert decide(scalars) is not None
    with pytest.raises(KeyError), matching(explicit):
        raise KeyError
    assert decide(scalars) is not None


def test_describe() -> None:
    assert describe(typed(relay.concatenate([X, relay.exp(X)], 1))) == "float32[2, 3], float32[2, 3]"


def test_an_attribute_that_this_tvm_lacks_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(match, "attributes", lambda call: {})
    assert decide(typed(relay.nn.softmax(X))) == "this TVM's operator has no attribute 'axis'"


def test_what_a_rule_raises_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = dataclasses.replace(OPERATORS["nn.softmax"], rule=lambda call: call.inputs[7].dtype)
    monkeypatch.setitem(OPERATORS, "nn.softmax", wrong)
    with pytest.raises(RuntimeError, match="the rule of 'nn.softmax' raised IndexError"):
        decide(typed(relay.nn.softmax(X)))


@pytest.mark.parametrize("reason", [True, False, "", ["no"], np.bool_(True)])
def test_what_a_rule_must_not_return(reason: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(OPERATORS, "nn.softmax", dataclasses.replace(OPERATORS["nn.softmax"], rule=lambda call: reason))
    with pytest.raises(
        RuntimeError, match="the rule of 'nn.softmax' raised TypeError: it returned .* where None accepts"
    ):
        decide(typed(relay.nn.softmax(X)))
