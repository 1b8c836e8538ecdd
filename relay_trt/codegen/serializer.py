"""A partitioned Relay function as a `Graph`."""

from __future__ import annotations

import json
from typing import Any, Dict, Iterator, List, Mapping, Optional, Tuple

import numpy as np
import tvm
from tvm import relay

from ..graph import CONST, DIGEST_ATTR, INPUT, KERNEL, Entry, Graph, Node, Profile, TensorSpec, array_digest
from ..options import CompileOptions
from ..relay_ir import ENGINE_ATTR, OPTIONS_ATTR, PLAN_ATTR, PROFILES_ATTR, attributes, tensor_specs


def serialize(function: relay.Function, symbol: str, options: CompileOptions) -> Graph:
    """Serialize a partitioned function.

    Constants are named ``<symbol>_const_<i>`` in the order in which TVM's ExprVisitor meets them, which is also that
    of their values from `constants_of`.

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

    def constant(value: np.ndarray) -> Node:
        nonlocal constants
        constants += 1
        # Not of its Relay type: that may be another operand's, with dynamic dimensions.
        spec = TensorSpec(value.shape, value.dtype.name)
        return Node(CONST, f"{symbol}_const_{constants - 1}", (spec,), attrs={DIGEST_ATTR: array_digest(value)})

    def visit(expr: relay.Expr) -> None:
        if isinstance(expr, (tvm.ir.Op, relay.Function)):
            return
        if isinstance(expr, relay.Constant):
            add(expr, constant(expr.data.numpy()))
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

    profiles = _attribute(function, PROFILES_ATTR) or {}
    for param in function.params:
        add(param, _input(param, profiles))
    relay.analysis.post_order_visit(function, visit)
    nodes.extend(constant(plan.numpy()) for plan in _plans(function))
    return Graph(symbol, tuple(nodes), entries[function.body], options, _attribute(function, ENGINE_ATTR))


def constants_of(function: relay.Function) -> Iterator[np.ndarray]:
    """The values of the constants of a function, in the order of `Graph.constants`: a copy of each, in its turn."""
    constants: List[relay.Constant] = []

    def visit(expr: relay.Expr) -> None:
        if isinstance(expr, relay.Constant):
            constants.append(expr)

    relay.analysis.post_order_visit(function, visit)
    return (array.numpy() for array in (*(constant.data for constant in constants), *_plans(function)))


def options_of(function: relay.Function) -> CompileOptions:
    """What a function was partitioned with; the defaults for one that another tool partitioned."""
    return CompileOptions.from_dict(_attribute(function, OPTIONS_ATTR) or {})


def _plans(function: relay.Function) -> List[tvm.nd.NDArray]:
    """The plan of the engine that travels with a function, as its last constant; none where there is no engine."""
    attrs = function.attrs
    return [attrs[PLAN_ATTR]] if attrs and PLAN_ATTR in attrs.keys() else []


def _attribute(function: relay.Function, name: str) -> Optional[Dict[str, Any]]:
    attrs = function.attrs
    return json.loads(str(attrs[name])) if attrs and name in attrs.keys() else None


def _input(param: relay.Var, profiles: Mapping[str, Any]) -> Node:
    name, specs = param.name_hint, tensor_specs(param.checked_type)
    return Node(INPUT, name, specs, profile=Profile.from_dict(profiles[name], specs[0]) if name in profiles else None)
