"""A partitioned Relay function as a `Graph`."""

from __future__ import annotations

from typing import Dict, List, Tuple

import tvm
from tvm import relay

from ..graph import CONST, INPUT, KERNEL, Entry, Graph, Node
from ..options import CompileOptions
from ..relay_ir import attributes, tensor_specs


def serialize(function: relay.Function, symbol: str, options: CompileOptions) -> Graph:
    """Serialize a partitioned function.

    Constants are named ``<symbol>_const_<i>`` in the order in which TVM's ExprVisitor meets them: TVM walks
    the function a second time to collect their values (``UpdateConstants``), by the same names.

    Parameters
    ----------
    function : relay.Function
        A type-checked function without nested functions.
    symbol : str
        Its global symbol.
    options : CompileOptions
        What to build it with.

    Returns
    -------
    graph.Graph
        Its nodes in topological order, parameters first.

    Raises
    ------
    ValueError
        Where the function holds something other than operators, tuples, parameters and constants.
    """
    nodes: List[Node] = []
    constants = 0
    entries: Dict[relay.Expr, Tuple[Entry, ...]] = {}

    def add(expr: relay.Expr, node: Node) -> None:
        nodes.append(node)
        entries[expr] = tuple(Entry(len(nodes) - 1, index) for index in range(len(node.outputs)))

    def visit(expr: relay.Expr) -> None:
        nonlocal constants
        if isinstance(expr, (tvm.ir.Op, relay.Function)):
            return
        if isinstance(expr, relay.Constant):
            add(expr, Node(CONST, f"{symbol}_const_{constants}", tensor_specs(expr.checked_type)))
            constants += 1
        elif isinstance(expr, relay.Tuple):
            entries[expr] = tuple(entry for field in expr.fields for entry in entries[field])
        elif isinstance(expr, relay.TupleGetItem):
            widths = [len(tensor_specs(field)) for field in expr.tuple_value.checked_type.fields]
            start = sum(widths[: expr.index])
            entries[expr] = entries[expr.tuple_value][start : start + widths[expr.index]]
        elif isinstance(expr, relay.Call) and isinstance(expr.op, tvm.ir.Op):
            inputs = tuple(entry for argument in expr.args for entry in entries[argument])
            outputs = tensor_specs(expr.checked_type)
            add(expr, Node(KERNEL, expr.op.name, outputs, inputs, attributes(expr)))
        elif expr not in entries:
            raise ValueError(f"{symbol}: a {type(expr).__name__} cannot be serialized")

    for param in function.params:
        add(param, Node(INPUT, param.name_hint, tensor_specs(param.checked_type)))
    relay.analysis.post_order_visit(function, visit)
    return Graph(symbol, tuple(nodes), entries[function.body], options)
