"""Functions put where they are called: an operator whose weights are arguments of a call then sees constants."""

from __future__ import annotations

from typing import Dict, List, Mapping, Set, Tuple

import tvm
from tvm import relay

from ..relay_ir import COMPILER, compiler_of
from .expressions import bodies, operands, rebuild

# By the name of each function, names of functions.
CallGraph = Dict[str, Set[str]]


def inline(mod: tvm.IRModule) -> tvm.IRModule:
    """Put the functions of a module where they are called, and drop them.

    TVM's own pass does not do where a function is a value, calls itself, or is generic. Here such functions stay, and
    so do those that another compiler takes and those that bind variables, which may be bound in one place only.

    Parameters
    ----------
    mod : tvm.IRModule
        The module.

    Returns
    -------
    tvm.IRModule
        A new module, not type-checked.
    """
    functions = {name.name_hint: function for name, function in mod.functions.items()}
    calls, fixed = _call_graph(functions)
    reached = {name: _reached(name, calls) for name in functions}
    inlinable = _inlinable(calls, reached, fixed)
    done: Dict[str, relay.Function] = {}
    # Callees first: a function reaches all that its callee does and, unless that calls itself, the callee besides.
    for name in sorted(functions, key=lambda name: len(reached[name])):
        done[name] = _inlined(functions[name], {callee: done[callee] for callee in calls[name] & inlinable})
    kept = {name: done[name.name_hint] for name in mod.get_global_vars() if name.name_hint not in inlinable}
    return tvm.IRModule(kept, mod.type_definitions)


def _call_graph(functions: Mapping[str, tvm.ir.BaseFunc]) -> Tuple[CallGraph, Set[str]]:
    """Which functions each function calls, and which must stay functions of their own, whoever calls them."""
    calls: CallGraph = {name: set() for name in functions}
    fixed: Set[str] = set()
    for name, function in functions.items():
        if not isinstance(function, relay.Function):
            fixed.add(name)
            continue
        parts: List[relay.Expr] = []
        relay.analysis.post_order_visit(function.body, parts.append)
        calls[name] = {part.op.name_hint for part in parts if _calls_a_function(part)}
        values = [function.body, *(value for part in parts for value in operands(part) + bodies(part))]
        fixed |= {value.name_hint for value in values if isinstance(value, relay.GlobalVar)}
        binds = any(isinstance(part, (relay.Let, relay.Function, relay.Match)) for part in parts)
        if binds or len(function.type_params) or compiler_of(function) not in (None, COMPILER):
            fixed.add(name)
    return calls, fixed


def _inlinable(calls: CallGraph, reached: CallGraph, fixed: Set[str]) -> Set[str]:
    """The functions that are called, do not call themselves, and need not stay."""
    called: Set[str] = set().union(*calls.values())
    return {name for name in called - fixed if name not in reached[name]}


def _reached(name: str, calls: CallGraph) -> Set[str]:
    """The functions that a function calls, directly or not."""
    seen: Set[str] = set()
    todo = [name]
    while todo:
        for called in calls[todo.pop()] - seen:
            seen.add(called)
            todo.append(called)
    return seen


def _inlined(function: tvm.ir.BaseFunc, callees: Mapping[str, relay.Function]) -> tvm.ir.BaseFunc:
    """A function that has the bodies of others where it called them."""
    if not callees:
        return function
    new: Dict[relay.Expr, relay.Expr] = {}

    def visit(expr: relay.Expr) -> None:
        new[expr] = rebuild(expr, new.__getitem__, new.__getitem__)
        if _calls_a_function(expr) and expr.op.name_hint in callees:
            callee = callees[expr.op.name_hint]
            new[expr] = relay.bind(callee.body, dict(zip(callee.params, new[expr].args)))

    relay.analysis.post_order_visit(function, visit)
    return new[function]


def _calls_a_function(expr: relay.Expr) -> bool:
    return isinstance(expr, relay.Call) and isinstance(expr.op, relay.GlobalVar)
