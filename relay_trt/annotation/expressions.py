"""Relay expressions taken apart and put together again, without recursion: networks are deeper than Python's stack."""

from __future__ import annotations

from typing import Callable, List

import tvm
from tvm import relay

LEAVES = (relay.Var, relay.Constant, relay.GlobalVar, tvm.ir.Op, relay.Constructor)

Rewrite = Callable[[relay.Expr], relay.Expr]


def operands(expr: relay.Expr) -> List[relay.Expr]:
    """What is evaluated before an expression; not the operator or function that it calls by name."""
    if isinstance(expr, relay.Call):
        return [*expr.args, *([] if isinstance(expr.op, LEAVES) else [expr.op])]
    if isinstance(expr, relay.Tuple):
        return list(expr.fields)
    if isinstance(expr, relay.TupleGetItem):
        return [expr.tuple_value]
    if isinstance(expr, relay.If):
        return [expr.cond]
    if isinstance(expr, relay.Let):
        return [expr.value]
    if isinstance(expr, relay.Match):
        return [expr.data]
    if isinstance(expr, relay.RefCreate):
        return [expr.value]
    if isinstance(expr, relay.RefRead):
        return [expr.ref]
    if isinstance(expr, relay.RefWrite):
        return [expr.ref, expr.value]
    return []


def bodies(expr: relay.Expr) -> List[relay.Expr]:
    """What is evaluated with an expression, if at all: branches, and the bodies of functions and of Let."""
    if isinstance(expr, relay.If):
        return [expr.true_branch, expr.false_branch]
    if isinstance(expr, relay.Match):
        return [clause.rhs for clause in expr.clauses]
    return [expr.body] if isinstance(expr, (relay.Let, relay.Function)) else []


def rebuild(expr: relay.Expr, operand: Rewrite, body: Rewrite) -> relay.Expr:
    """An expression of other operands and bodies: those that the two functions make of its own."""
    if isinstance(expr, relay.Call):
        op = expr.op if isinstance(expr.op, LEAVES) else operand(expr.op)
        return relay.Call(op, [operand(argument) for argument in expr.args], expr.attrs, expr.type_args, expr.span)
    if isinstance(expr, relay.Tuple):
        return relay.Tuple([operand(field) for field in expr.fields], expr.span)
    if isinstance(expr, relay.TupleGetItem):
        return relay.TupleGetItem(operand(expr.tuple_value), expr.index)
    if isinstance(expr, relay.If):
        return relay.If(operand(expr.cond), body(expr.true_branch), body(expr.false_branch))
    if isinstance(expr, relay.Let):
        return relay.Let(expr.var, operand(expr.value), body(expr.body))
    if isinstance(expr, relay.Function):
        return relay.Function(expr.params, body(expr.body), expr.ret_type, expr.type_params, expr.attrs)
    if isinstance(expr, relay.Match):
        clauses = [relay.Clause(clause.lhs, body(clause.rhs)) for clause in expr.clauses]
        return relay.Match(operand(expr.data), clauses, expr.complete)
    if isinstance(expr, LEAVES):
        return expr
    return type(expr)(*map(operand, operands(expr)))  # RefCreate, RefRead, RefWrite
