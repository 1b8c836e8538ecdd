"""Functions put where they are called: an operator whose weights are arguments of a call then sees constants."""

from __future__ import annotations

from typing import Dict, Set

import tvm
from tvm import relay

from .expressions import bodies, operands, rebuild
from .report import is_subgraph


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
    calls: Dict[str, Set[str]] = {name: set() for name in functions}
    fixed = set()
    for name, function in functions.items():
        if not isinstance(function, relay.Function):
            fixed.add(name)
            continue

        def visit(expr: relay.Expr, name: str = name) -> None:
            if isinstance(expr, relay.Call) and isinstance(expr.op, relay.GlobalVar):
                calls[name].add(expr.op.name_hint)
            if isinstance(expr, (relay.Let, relay.Function, relay.Match)):
                fixed.add(name)
            fixed.update(e.name_hint for e in operands(expr) + bodies(expr) if isinstance(e, relay.GlobalVar))

        relay.analysis.post_order_visit(function.body, visit)
        if len(function.type_params) or _is_foreign(function):
            fixed.add(name)
    names = {called for name in functions for called in calls[name]}
    names -= fixed | {name for name in names if name in _reachable(name, calls)}
    done: Dict[str, relay.Function] = {}

    def rewritten(name: str) -> relay.Function:
        if name not in done:
            done[name] = rewrite(functions[name]) if calls[name] & names else functions[name]
        return done[name]

    def rewrite(function: relay.Function) -> relay.Function:
        new: Dict[relay.Expr, relay.Expr] = {}

        def visit(expr: relay.Expr) -> None:
            new[expr] = rebuild(expr, new.__getitem__, new.__getitem__)
            if isinstance(expr, relay.Call) and isinstance(expr.op, relay.GlobalVar) and expr.op.name_hint in names:
                callee = rewritten(expr.op.name_hint)
                new[expr] = relay.bind(callee.body, dict(zip(callee.params, new[expr].args)))

        relay.analysis.post_order_visit(function, visit)
        return new[function]

    kept = {name: rewritten(name.name_hint) for name in mod.get_global_vars() if name.name_hint not in names}
    return tvm.IRModule(kept, mod.type_definitions)


def _reachable(name: str, calls: Dict[str, Set[str]]) -> Set[str]:
    """The functions that a function calls, directly or not."""
    seen: Set[str] = set()
    todo = [name]
    while todo:
        for called in calls.get(todo.pop(), set()) - seen:
            seen.add(called)
            todo.append(called)
    return seen


def _is_foreign(function: relay.Function) -> bool:
    return bool(function.attrs) and "Compiler" in function.attrs.keys() and not is_subgraph(function)
