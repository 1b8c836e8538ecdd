from __future__ import annotations

from typing import Dict

import pytest
import tvm
from tvm import relay
from tvm.relay.prelude import Prelude

from relay_trt.annotation.expressions import bodies, operands, rebuild

x, f = relay.var("x", shape=(2,)), relay.GlobalVar("f")
cons_of = Prelude(tvm.IRModule()).mod.get_type("List")
pattern = relay.PatternConstructor(cons_of[1], [relay.PatternVar(relay.var("head")), relay.PatternWildcard()])
closure = relay.Function([x], relay.exp(x))

EXPRESSIONS = {
    "operator": relay.concatenate([x, x], 0),
    "call by name": f(x),
    "call of a value": relay.Call(closure, [x]),
    "tuple": relay.Tuple([x, relay.exp(x)]),
    "field": relay.TupleGetItem(relay.Tuple([x, relay.exp(x)]), 1),
    "if": relay.If(relay.const(True), x, relay.exp(x)),
    "let": relay.Let(relay.var("v"), relay.exp(x), relay.tanh(x)),
    "function": closure.with_attr("Primitive", tvm.tir.IntImm("int32", 1)),
    "match": relay.Match(cons_of[2](), [relay.Clause(pattern, relay.exp(x))], complete=False),
    "new reference": relay.RefCreate(relay.exp(x)),
    "read": relay.RefRead(relay.RefCreate(x)),
    "write": relay.RefWrite(relay.RefCreate(x), relay.exp(x)),
    "variable": x,
    "constant": relay.const(1.0),
    "name": f,
    "operator's name": relay.op.get("exp"),
    "constructor": cons_of[1],
}


def identity(expr: relay.Expr) -> relay.Expr:
    return expr


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_taken_apart_and_put_together(name: str) -> None:
    expr = EXPRESSIONS[name]
    assert tvm.ir.structural_equal(rebuild(expr, identity, identity), expr, map_free_vars=True)


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_each_part_is_replaced(name: str) -> None:
    """The parts are those that TVM's own visitor meets below the expression, and each is asked for once."""
    expr, asked = EXPRESSIONS[name], []

    def ask(part: relay.Expr) -> relay.Expr:
        asked.append(part)
        return part

    rebuild(expr, ask, ask)
    parts = operands(expr) + bodies(expr)
    assert sorted(map(hash, asked)) == sorted(map(hash, parts))
    below: Dict[relay.Expr, None] = {}
    for part in parts:
        relay.analysis.post_order_visit(part, lambda e: below.setdefault(e, None))
    everything: Dict[relay.Expr, None] = {}
    relay.analysis.post_order_visit(expr, lambda e: everything.setdefault(e, None))
    bound = (relay.Var, tvm.ir.Op, relay.GlobalVar, relay.Constructor)
    assert {e for e in everything if not isinstance(e, bound)} - set(below) <= {expr}


def test_a_part_becomes_another() -> None:
    expr = relay.If(relay.const(True), x, relay.exp(x))
    changed = rebuild(expr, lambda _: relay.const(False), lambda e: relay.tanh(e))
    expected = relay.If(relay.const(False), relay.tanh(x), relay.tanh(relay.exp(x)))
    assert tvm.ir.structural_equal(changed, expected, map_free_vars=True)
