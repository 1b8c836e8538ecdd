from __future__ import annotations

from typing import Callable, List

import pytest
import tvm
from tvm import relay
from tvm.relay.prelude import Prelude

from relay_trt.annotation.inline import inline
from relay_trt.relay_ir import COMPILER

TYPE = relay.TensorType((2,))
f, g, main = relay.GlobalVar("f"), relay.GlobalVar("g"), relay.GlobalVar("main")


def function(body: Callable[[relay.Var], relay.Expr]) -> relay.Function:
    x = relay.var("x", TYPE)
    return relay.Function([x], body(x), TYPE)


EXP = function(lambda x: relay.exp(x))


def typed(functions: dict) -> tvm.IRModule:
    return relay.transform.InferType()(tvm.IRModule(functions))


def inlined(functions: dict) -> tvm.IRModule:
    return relay.transform.InferType()(inline(typed(functions)))


def names(mod: tvm.IRModule) -> List[str]:
    return sorted(name.name_hint for name in mod.get_global_vars())


def test_functions_that_call_functions() -> None:
    mod = inlined(
        {
            f: EXP,
            g: function(lambda x: relay.tanh(f(x)) + f(relay.abs(x))),
            main: function(lambda x: g(g(x))),
        }
    )

    def expected_g(x: relay.Expr) -> relay.Expr:
        return relay.tanh(relay.exp(x)) + relay.exp(relay.abs(x))

    assert tvm.ir.structural_equal(mod, typed({main: function(lambda x: expected_g(expected_g(x)))}))


def test_in_branches_bindings_and_tuples() -> None:
    def program(call: Callable[[relay.Expr], relay.Expr]) -> tvm.IRModule:
        v = relay.var("v")
        return function(
            lambda x: relay.Let(
                v,
                call(x),
                relay.If(relay.const(True), call(v), relay.TupleGetItem(relay.Tuple([x, call(call(v))]), 1)),
            )
        )

    assert tvm.ir.structural_equal(inlined({f: EXP, main: program(f)}), typed({main: program(relay.exp)}))


def test_what_is_already_partitioned_for_us() -> None:
    subgraph = EXP.with_attr("Compiler", COMPILER).with_attr("global_symbol", "f")
    assert names(inlined({f: subgraph, main: function(f)})) == ["main"]


def bind(x: relay.Var) -> relay.Expr:
    v = relay.var("v")
    return relay.Let(v, relay.exp(x), v)


def forever(x: relay.Var) -> relay.Expr:
    return relay.If(relay.const(True), x, f(x))


A = relay.TypeVar("A")
ANY = relay.var("any", A)


@pytest.mark.parametrize(
    "callee",
    [
        pytest.param(relay.Function([ANY], ANY, A, [A]), id="is generic"),
        pytest.param(function(forever), id="calls itself"),
        pytest.param(function(bind), id="binds a variable"),
        pytest.param(function(lambda x: function(relay.exp)(x)), id="has a function inside"),
        pytest.param(EXP.with_attr("Compiler", "other").with_attr("global_symbol", "f"), id="another compiler's"),
    ],
)
def test_what_stays(callee: relay.Function) -> None:
    before = typed({f: callee, main: function(lambda x: f(f(x)))})
    assert tvm.ir.structural_equal(relay.transform.InferType()(inline(before)), before)


def test_functions_that_call_each_other_stay() -> None:
    even = function(lambda x: relay.If(relay.const(True), x, g(x)))
    odd = function(lambda x: f(x))
    assert names(inlined({f: even, g: odd, main: function(f)})) == ["f", "g", "main"]


def test_a_function_that_is_passed_on_stays() -> None:
    mod = inlined({f: EXP, main: function(lambda x: relay.Let(relay.var("v"), f, f(x)))})
    assert names(mod) == ["f", "main"]


def test_a_function_that_is_returned_stays() -> None:
    mod = inlined({f: EXP, g: relay.Function([], f), main: function(f)})
    assert names(mod) == ["f", "g", "main"]


def test_functions_that_are_not_relays_stay() -> None:
    prim = tvm.tir.PrimFunc([], tvm.tir.Evaluate(0))
    assert names(inlined({f: EXP, g: prim, main: function(f)})) == ["g", "main"]


def test_tvms_prelude_stays() -> None:
    """Generic, recursive and of higher order: TVM's own inlining fails on some of its functions."""
    prelude = Prelude(tvm.IRModule())
    before = names(prelude.mod)
    _, cons, nil = prelude.mod.get_type("List")
    x = relay.var("x", TYPE)
    prelude.mod["main"] = relay.Function([x], relay.exp(prelude.hd(cons(relay.tanh(x), nil()))))
    assert {"hd", "foldl", "map"} < set(names(relay.transform.InferType()(inline(prelude.mod)))) <= {*before, "main"}
