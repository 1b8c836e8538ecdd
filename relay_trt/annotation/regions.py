"""Which operators go into one subgraph together, and the functions that they become.

TVM has passes for this: AnnotateTarget, MergeCompilerRegions and PartitionGraph. With them, a tuple of which one
field comes from outside ends a subgraph and becomes an argument of the next, and a tuple that a function returns
becomes subgraphs that compute nothing. Here tuples belong to no subgraph: it is their tensors that count.
"""

from __future__ import annotations

import itertools
import re
from collections import ChainMap
from typing import Callable, Dict, Hashable, Iterable, List, Optional, Sequence, Tuple, TypeVar

import tvm
from tvm import relay

from ..operators.elementwise import CASTS
from ..relay_ir import COMPILER, is_sealed
from .expressions import LEAVES, bodies, operands, rebuild
from .match import decide

# What an expression stands for: a node, or a field of its result, or a field of that ... A node is any expression
# that has to be evaluated: no tuple, no TupleGetItem, and none of LEAVES.
Value = Tuple[relay.Expr, Tuple[int, ...]]
# What each value has become outside the subgraphs: a node or, of a node in a subgraph, the tensors used elsewhere.
Scope = ChainMap
Unwanted = Callable[[relay.Function], Optional[str]]
T = TypeVar("T", bound=Hashable)

AS_FLOATS = "whole numbers that come as floats: TensorRT may round them to float16"


def offload(mod: tvm.IRModule, unwanted: Unwanted) -> Tuple[tvm.IRModule, List[Tuple[relay.Call, str]]]:
    """Move the operators that the rules accept into functions of their own, as few as possible.

    Parameters
    ----------
    mod : tvm.IRModule
        A type-checked module.
    unwanted : function
        Why a function, made of operators that the rules accept, is not wanted nevertheless; None where it is.

    Returns
    -------
    mod : tvm.IRModule
        A type-checked module. Its new functions bear the attributes that TVM's PartitionGraph would give them.
    given_back : list of (relay.Call, str)
        The operators of the functions that are not wanted, which stay where they were, each with the reason.
    """
    offloader = _Offloader(mod, unwanted)
    for name, function in mod.functions.items():
        if isinstance(function, relay.Function):
            offloader.offload_from(name, function)
    mod = tvm.IRModule(offloader.functions, mod.type_definitions)
    return relay.transform.InferType()(mod), offloader.given_back


def group(reads: Sequence[Sequence[int]], accepted: Sequence[bool]) -> List[int]:
    """Group the nodes of a graph: accepted neighbours together, unless groups would then wait for each other.

    Parameters
    ----------
    reads : list of lists of int
        The nodes that each node reads; they precede it.
    accepted : list of bool
        Whether each node may be in a group with others.

    Returns
    -------
    list of int
        The group of each node, as the number of one of its nodes. Where an accepted node reads one of another
        group, a third group lies between the two.
    """
    home: List[int] = []
    members: Dict[int, List[int]] = {}
    waits: Dict[int, int] = {}  # the groups that each group waits for, directly or not, as bits

    def merge(first: int, second: int) -> None:
        """Merge two groups, the second of which reads the first, unless a third lies between them."""
        if first == second or any(waits[second] >> g & waits[g] >> first & 1 for g in waits):
            return
        kept, gone = sorted((first, second), key=lambda g: -len(members[g]))
        members[kept] += members[gone]
        for node in members.pop(gone):
            home[node] = kept
        both = 1 << first | 1 << second
        waits[kept] = (waits[first] | waits[second]) & ~both
        del waits[gone]
        for g, others in waits.items():
            if others & both:
                waits[g] = others & ~both | 1 << kept | waits[kept]

    for node, others in enumerate(reads):
        home.append(node)
        members[node] = [node]
        waits[node] = 0
        for i in others:
            waits[node] |= waits[home[i]] | 1 << home[i]
        for i in others:
            if accepted[node] and accepted[i]:
                merge(home[i], home[node])
    return home


class _Offloader:
    """Rewrites the functions of a module, and adds the new ones."""

    def __init__(self, mod: tvm.IRModule, unwanted: Unwanted) -> None:
        self.functions = dict(mod.functions.items())
        self.given_back: List[Tuple[relay.Call, str]] = []
        self._unwanted = unwanted
        self._names = {name.name_hint for name in self.functions}
        self._prefix = ""

    def offload_from(self, name: relay.GlobalVar, function: relay.Function) -> None:
        self._prefix = f"tvmgen_default_{COMPILER}_{re.sub('[^A-Za-z0-9_]', '_', name.name_hint)}_"
        self.functions[name] = self._function(function, ChainMap())

    def _function(self, function: relay.Function, scope: Scope) -> relay.Function:
        """The function with its operators offloaded."""
        if is_sealed(function):
            return function
        body = self._block(function.body, scope)
        return relay.Function(function.params, body, function.ret_type, function.type_params, function.attrs)

    def _block(self, root: relay.Expr, outer: Scope) -> relay.Expr:
        """What an expression becomes, of which nothing is evaluated in ``outer`` unless it is used there too."""
        scope = outer.new_child()
        bindings = []
        while isinstance(root, relay.Let):  # not one within the other: there may be thousands
            self._evaluate(root.value, [root.body], scope)
            bindings.append((root.var, _outside(root.value, scope)))
            root = root.body
        self._evaluate(root, [], scope)
        new = _outside(root, scope)
        for var, value in reversed(bindings):
            new = relay.Let(var, value, new)
        return new

    def _evaluate(self, root: relay.Expr, later: List[relay.Expr], scope: Scope) -> None:
        """Put into ``scope`` what the nodes of an expression have become; ``later`` uses them as well."""
        reads = _reads(root, scope)
        used = {*_unknown([root], scope), *_unknown_inside(later, reads, scope)}
        nodes = _sorted(reads, lambda node: [base for base, _ in reads[node]])
        number = {node: i for i, node in enumerate(nodes)}
        accepted = [_is_operator(node) and decide(node) is None for node in nodes]
        read = [[number[base] for base, _ in reads[node]] for node in nodes]
        home = group(read, accepted)
        rounded = [
            i
            for i, node in enumerate(nodes)
            if accepted[i] and _makes_integers(node) and all(home[other] != home[i] for other in read[i])
        ]
        if rounded:
            for i in rounded:
                accepted[i] = False
                self.given_back.append((nodes[i], AS_FLOATS))
            home = group(read, accepted)
        groups: Dict[int, List[relay.Expr]] = {}
        waits: Dict[int, List[int]] = {}
        for node, g in zip(nodes, home):
            groups.setdefault(g, []).append(node)
            from_elsewhere = [value for value in reads[node] if home[number[value[0]]] != g]
            waits.setdefault(g, []).extend(home[number[base]] for base, _ in from_elsewhere)
            used.update(from_elsewhere)
        for g in _sorted(groups, waits.__getitem__):
            if accepted[g]:
                self._offload(groups[g], [v for node in groups[g] for v in _tensors(node) if v in used], scope)
            else:
                scope[(nodes[g], ())] = self._rebuild(nodes[g], scope)

    def _offload(self, calls: List[relay.Call], outputs: List[Value], scope: Scope) -> None:
        """Make a function of a group, and put what has become of its outputs into ``scope``."""
        index = next(i for i in itertools.count() if f"{self._prefix}{i}" not in self._names)
        symbol = f"{self._prefix}{index}"
        inner: Dict[relay.Expr, relay.Expr] = {}
        params: Dict[Value, relay.Var] = {}

        def inside(value: Value) -> relay.Expr:
            base, path = value
            if isinstance(base, relay.Constant):
                return base
            if base in inner:
                return _field(inner[base], path)
            if value not in params:
                params[value] = relay.Var(f"{COMPILER}_{index}_i{len(params)}", _type(value))
            return params[value]

        for call in calls:
            inner[call] = relay.Call(call.op, [_assemble(a, inside) for a in call.args], call.attrs, call.type_args)
        results, types = [inside(value) for value in outputs], [_type(value) for value in outputs]
        body, type_ = (results[0], types[0]) if len(outputs) == 1 else (relay.Tuple(results), relay.TupleType(types))
        function = relay.Function(list(params.values()), body, type_)
        reason = self._unwanted(function)
        if reason is not None:
            for call in calls:
                scope[(call, ())] = self._rebuild(call, scope)
                self.given_back.append((call, reason))
            return
        one = tvm.tir.IntImm("int32", 1)
        for attr in (("Primitive", one), ("Inline", one), ("Compiler", COMPILER), ("global_symbol", symbol)):
            function = function.with_attr(*attr)
        name = relay.GlobalVar(symbol)
        self._names.add(symbol)
        self.functions[name] = function
        result = relay.Call(name, [_outside(_field(*value), scope) for value in params])
        for i, value in enumerate(outputs):
            scope[value] = result if len(outputs) == 1 else relay.TupleGetItem(result, i)

    def _rebuild(self, node: relay.Expr, scope: Scope) -> relay.Expr:
        """A node that stays with TVM, reading what its operands have become."""
        if isinstance(node, relay.Function):
            return self._function(node, scope)
        if isinstance(node, relay.Let):
            return self._block(node, scope)
        return rebuild(node, lambda expr: _outside(expr, scope), lambda expr: self._block(expr, scope))


def _is_operator(node: relay.Expr) -> bool:
    return isinstance(node, relay.Call) and isinstance(node.op, tvm.ir.Op)


def _makes_integers(call: relay.Call) -> bool:
    """Whether a call makes integers of floats that float16 may not have.

    What a subgraph is given as float32, TensorRT may make float16 before anything reads it, whatever the types within
    are: 8.6 was seen to, when that took less time. Indices among that would become others.
    """
    return (
        call.op.name in CASTS
        and call.args[0].checked_type.dtype == "float32"
        and call.checked_type.dtype.startswith("int")
    )


def _value(expr: relay.Expr) -> Value:
    """What an expression stands for; the other fields of a tuple whose field is taken are none of its business."""
    path: Tuple[int, ...] = ()
    while True:
        if isinstance(expr, relay.TupleGetItem):
            expr, path = expr.tuple_value, (expr.index, *path)
        elif isinstance(expr, relay.Tuple) and path:
            expr, path = expr.fields[path[0]], path[1:]
        else:
            return expr, path


def _field(expr: relay.Expr, path: Iterable[int]) -> relay.Expr:
    for index in path:
        expr = relay.TupleGetItem(expr, index)
    return expr


def _type(value: Value) -> relay.Type:
    type_ = value[0].checked_type
    for index in value[1]:
        type_ = type_.fields[index]
    return type_


def _assemble(expr: relay.Expr, tensor: Callable[[Value], relay.Expr]) -> relay.Expr:
    """An expression made anew of its tensors, as tuples of them where it is a tuple."""

    def make(value: Value) -> relay.Expr:
        base, path = value
        if isinstance(base, relay.Tuple):
            return relay.Tuple([make(_value(field)) for field in base.fields])
        type_ = _type(value)
        if isinstance(type_, relay.TupleType) and len(type_.fields):
            return relay.Tuple([make((base, (*path, index))) for index in range(len(type_.fields))])
        return tensor(value)

    return make(_value(expr))


def _tensors(expr: relay.Expr) -> List[Value]:
    """The tensors of an expression, tuples flattened."""
    found: List[Value] = []

    def tensor(value: Value) -> relay.Expr:
        found.append(value)
        return value[0]

    _assemble(expr, tensor)
    return found


def _outside(expr: relay.Expr, scope: Scope) -> relay.Expr:
    """What an expression has become outside the subgraphs."""
    base, path = _value(expr)
    if isinstance(base, relay.Tuple):
        return relay.Tuple([_outside(field, scope) for field in base.fields])
    if isinstance(base, LEAVES) or (base, ()) in scope:
        return _field(scope.get((base, ()), base), path)
    return _assemble(expr, scope.__getitem__)


def _unknown(exprs: Iterable[relay.Expr], scope: Scope) -> List[Value]:
    """The tensors of expressions that are not in ``scope`` yet."""
    values = [value for expr in exprs for value in _tensors(expr) if not isinstance(value[0], LEAVES)]
    return [value for value in values if value not in scope and (value[0], ()) not in scope]


def _unknown_inside(exprs: List[relay.Expr], nodes: Dict[relay.Expr, List[Value]], scope: Scope) -> List[Value]:
    """What expressions that are evaluated later use of ``nodes``."""
    found: List[Value] = []
    todo, seen = list(exprs), set()
    while todo:
        for value in _unknown([todo.pop()], scope):
            if value[0] in nodes:
                found.append(value)
            elif value[0] not in seen:
                seen.add(value[0])
                todo += operands(value[0]) + bodies(value[0])
    return found


def _reads(root: relay.Expr, scope: Scope) -> Dict[relay.Expr, List[Value]]:
    """The nodes that an expression needs and ``scope`` has not, and what each of them reads of the others."""
    reads: Dict[relay.Expr, List[Value]] = {}
    todo = [base for base, _ in _unknown([root], scope)]
    while todo:
        node = todo.pop()
        if node not in reads:
            reads[node] = _unknown(operands(node), scope)
            todo += [base for base, _ in reads[node]]
    for node, values in reads.items():
        values += _unknown_inside(bodies(node), reads, scope)
    return reads


def _sorted(nodes: Iterable[T], reads: Callable[[T], Sequence[T]]) -> List[T]:
    """Nodes in topological order: what a node reads comes before it."""
    done: Dict[T, None] = {}
    opened = set()
    todo = list(nodes)[::-1]
    while todo:
        node = todo[-1]
        if node in opened:
            done[todo.pop()] = None
        else:
            opened.add(node)
            todo += [other for other in reads(node)[::-1] if other not in opened]
    return list(done)
