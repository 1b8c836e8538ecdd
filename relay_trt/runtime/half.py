"""A float32 graph made to compute in float16, by the types of its tensors.

That is how TensorRT wants it where types are strong: always from TensorRT 11 on, and before by choice. What a subgraph
takes and gives keeps its types, integers and truths stay what they are, and tensors in between become float16. But in
float32 stays

* what is not of float16: an operator that does not take it; one with a constant or an attribute that float16 cannot
  hold (too large, too near to 0, or a whole number that it would round); numbers that were integers; indices;
* what leaves the range of float16 soon: exponentials, powers, roots, logarithms and sums; and sines, whose period a
  rounded operand misses. With them stay the arithmetic that nothing else reads, as the squares under a root, and the
  arithmetic on their results, up to the product or quotient that brings these back into range;
* what is quantized: TensorRT makes int8 of what it finds between `qnn.dequantize` and `qnn.quantize`;
* what leads from float32 to one of those, to an index or to a truth without a matrix product in between: an index that
  is computed from a network's input is the one that it was.

Each operator says itself which of these it is (`operators.Half`).

Operators that compute in float32 inside (`operators.in_float32`) read and give either type: results are float32 where
nothing reads them as float16. A cast of the model's own to float32 is one of those: where it leads to float16 it
vanishes, as what follows computes in float16 anyway, and where it leads to what stays in float32 it does what it says.
"""

from __future__ import annotations

import collections
import dataclasses
from typing import Any, DefaultDict, Dict, List, Mapping, NamedTuple, Set, Tuple

import numpy as np

from ..graph import CONST, KERNEL, Entry, Graph, Node, TensorSpec
from ..operators import OPERATORS
from ..operators.elementwise import CASTS

FLOAT32, FLOAT16 = "float32", "float16"
LARGEST = float(np.finfo(FLOAT16).max)
SMALLEST = float(np.finfo(FLOAT16).tiny)  # of those that keep all their bits

#: What it gives is computed with in int8, where no cast lies in between.
DEQUANTIZE = "qnn.dequantize"
#: What stays in float32 where nothing else reads it than what does.
ARITHMETIC = frozenset({"add", "divide", "maximum", "mean", "minimum", "multiply", "sigmoid", "subtract"})
#: What adds a constant: a small one, as a bias, is lost in what it is added to.
SUMS = ("add", "nn.bias_add", "subtract")


def in_half(graph: Graph, constants: Mapping[str, np.ndarray]) -> Tuple[Graph, Dict[str, np.ndarray]]:
    """Make a graph compute in float16 where that is right; the module says where it is.

    Parameters
    ----------
    graph : graph.Graph
        The subgraph.
    constants : dict of str to numpy.ndarray
        The values of its constants, by name.

    Returns
    -------
    graph.Graph
        The same function of the same inputs and outputs; equal to ``graph`` where nothing becomes float16.
    dict of str to numpy.ndarray
        The values of its constants. Those that stay float32 are not copied.
    """
    return _Rewriting(graph, constants, _Types(graph, constants)).result()


def holds(value: np.ndarray) -> bool:
    """Whether float16 can stand for these values: none of them is lost or, where all are whole numbers, rounded."""
    finite = np.isfinite(value)
    largest = float(np.abs(value).max(initial=0, where=finite))
    if largest > LARGEST:
        return False
    if largest <= 2048:  # up to which float16 has all whole numbers
        return largest == 0 or largest >= SMALLEST
    whole = bool((np.rint(value) == value).all(where=finite))
    return not whole or bool((value.astype(FLOAT16) == value).all(where=finite))


class _Use(NamedTuple):
    """One operand of one node."""

    node: int
    operand: int


class _Types:
    """Which kernels of a graph stay in float32, and so the type of every tensor."""

    def __init__(self, graph: Graph, constants: Mapping[str, np.ndarray]) -> None:
        self.graph = graph
        self._constants = constants
        self._uses: DefaultDict[int, List[_Use]] = collections.defaultdict(list)
        for i, node in enumerate(graph.nodes):
            for operand, entry in enumerate(node.inputs):
                if graph.spec(entry).dtype == FLOAT32:
                    self._uses[entry.node].append(_Use(i, operand))
        self._kernels = [i for i, node in enumerate(graph.nodes) if node.op == KERNEL and self._has_float32(node)]
        self._kept: Set[int] = set()
        self._keep_what_must_stay()
        self._keep_what_joins(self._on_the_way())

    def given(self, entry: Entry) -> str:
        """The type in which a tensor is computed."""
        node, dtype = self.graph.nodes[entry.node], self.graph.spec(entry).dtype
        if node.name == "nn.batch_norm" and entry.index:  # its statistics, as they came
            return self.given(node.inputs[entry.index + 2])
        if dtype != FLOAT32 or node.op != KERNEL or entry.node in self._kept or _is_index(node, entry.index):
            return dtype
        return FLOAT16

    def read(self, i: int, operand: int) -> str:
        """The type in which a kernel reads an operand."""
        node = self.graph.nodes[i]
        entry = node.inputs[operand]
        if _is_float_cast(self.graph, node) and operand == 0:
            return self.given(Entry(i))
        dtype = self.graph.spec(entry).dtype
        if dtype != FLOAT32 or self._is_free(_Use(i, operand)):
            return self.given(entry)
        return FLOAT32 if i in self._kept else FLOAT16

    def _keep_what_must_stay(self) -> None:
        """From the first kernel on: what float16 cannot hold, and what computes with that."""
        extreme: Set[int] = set()
        for i in self._kernels:
            node = self.graph.nodes[i]
            reads_extreme = any(
                entry.node in extreme and self.graph.spec(entry).dtype == FLOAT32
                for operand, entry in enumerate(node.inputs)
                if not _is_free_operand(node, operand)
            )
            gives_extreme = self._makes_extremes(node) or (reads_extreme and _passes(node.name))
            # Operators that compute in float32 read it as it is, and matrix products are what float16 is for.
            must_follow = not _computes_in_float32(node.name) and not _is_product(node.name)
            must_stay = not _takes(node.name, FLOAT16) or _kind(node.name) == "sensitive"
            if must_stay or gives_extreme or (reads_extreme and must_follow):
                self._kept.add(i)
            if gives_extreme or _has_index(node):
                extreme.add(i)

    def _on_the_way(self) -> Set[int]:
        """From the last kernel on: keep what only those read that must stay, and give what leads to one or an index."""
        leading: Set[int] = set()
        must_stay = set(self._kept)
        heads = {head.node for head in self.graph.heads}
        for i in reversed(self._kernels):
            name, uses = self.graph.nodes[i].name, self._uses[i]
            if i in self._kept or _is_product(name):
                continue
            if name in ARITHMETIC and uses and all(use.node in must_stay for use in uses):
                must_stay.add(i)
                self._kept.add(i)
            elif _computes_in_float32(name) and (uses or i in heads) and all(map(self._reads_either, uses)):
                self._kept.add(i)
            if uses and all(use.node in must_stay or use.node in leading or self._is_exact(use) for use in uses):
                leading.add(i)
        return leading

    def _keep_what_joins(self, leading: Set[int]) -> None:
        """From the first kernel on: keep what needs no cast for it."""
        for i in self._kernels:
            node = self.graph.nodes[i]
            computed = {
                self.given(entry)
                for operand, entry in enumerate(node.inputs)
                if self.graph.spec(entry).dtype == FLOAT32
                and self.graph.nodes[entry.node].op != CONST
                and not _is_free_operand(node, operand)
            }
            if (i in leading and computed <= {FLOAT32}) or (_gives_indices(node) and FLOAT32 in computed):
                self._kept.add(i)

    def _is_free(self, use: _Use) -> bool:
        """Whether an operand may have either type."""
        node = self.graph.nodes[use.node]
        return _computes_in_float32(node.name) or _is_free_operand(node, use.operand)

    def _reads_either(self, use: _Use) -> bool:
        """Whether an operand may be float32 without a cast to float16."""
        return self._is_free(use) or self._is_exact(use) or use.node in self._kept

    def _is_exact(self, use: _Use) -> bool:
        """Whether an operand decides over an index or a truth."""
        node = self.graph.nodes[use.node]
        return _gives_indices(node) or _is_free_operand(node, use.operand)

    def _has_float32(self, node: Node) -> bool:
        return any(spec.dtype == FLOAT32 for spec in (*node.outputs, *map(self.graph.spec, node.inputs)))

    def _makes_extremes(self, node: Node) -> bool:
        """Whether a result may be out of the range of float16, whatever the operands."""
        if _kind(node.name) == "extreme" or node.name == DEQUANTIZE or _has_lost_attribute(node):
            return True
        if _is_product(node.name) and any(self.graph.nodes[x.node].name == DEQUANTIZE for x in node.inputs):
            return True
        if node.name in CASTS and self.graph.spec(node.inputs[0]).dtype in ("int32", "int64"):
            return True
        return any(not self._holds(node, operand) for operand in range(len(node.inputs)))

    def _holds(self, node: Node, operand: int) -> bool:
        """Whether float16 can stand for an operand, as far as its values are known and matter."""
        entry = node.inputs[operand]
        source = self.graph.nodes[entry.node]
        if source.op != CONST or source.outputs[0].dtype != FLOAT32 or _is_free_operand(node, operand):
            return True
        value = self._constants[source.name]
        if _computes_in_float32(node.name) or (node.name in SUMS and value.size > 1):
            value = np.where(np.abs(value) < SMALLEST, 0, value)
        return holds(value)


class _Rewriting:
    """A graph with new types: each tensor in the one in which it is computed, and once more where it is needed."""

    def __init__(self, graph: Graph, constants: Mapping[str, np.ndarray], types: _Types) -> None:
        self._graph = graph
        self._types = types
        self._values = constants
        self._nodes: List[Node] = []
        self._constants: Dict[str, np.ndarray] = {}
        #: Where the tensors of the old graph are in the new one, by type.
        self._entries: Dict[Tuple[Entry, str], Entry] = {}
        self._needed: DefaultDict[Entry, Set[str]] = collections.defaultdict(set)
        for head in graph.heads:
            self._needed[head].add(graph.spec(head).dtype)
        for i in reversed(range(len(graph.nodes))):
            for operand, entry in enumerate(graph.nodes[i].inputs):
                self._needed[entry].add(types.read(i, operand))

    def result(self) -> Tuple[Graph, Dict[str, np.ndarray]]:
        """The new graph and its constants."""
        for i, node in enumerate(self._graph.nodes):
            if node.op == CONST:
                self._add_constant(Entry(i), node)
                continue
            if _is_float_cast(self._graph, node):
                dtype = self._types.given(Entry(i))
                self._entries[Entry(i), dtype] = self._entries[node.inputs[0], dtype]
            else:
                self._add(i, self._kernel(i, node))
            for index in range(len(node.outputs)):
                self._add_casts(Entry(i, index))
        heads = tuple(self._entries[head, self._graph.spec(head).dtype] for head in self._graph.heads)
        return dataclasses.replace(self._graph, nodes=tuple(self._nodes), heads=heads), self._constants

    def _kernel(self, i: int, node: Node) -> Node:
        types = self._types
        outputs = tuple(TensorSpec(spec.shape, types.given(Entry(i, k))) for k, spec in enumerate(node.outputs))
        inputs = tuple(self._entries[entry, types.read(i, operand)] for operand, entry in enumerate(node.inputs))
        return dataclasses.replace(node, outputs=outputs, inputs=inputs, attrs=_attributes(node, outputs))

    def _add(self, i: int, node: Node) -> None:
        self._nodes.append(node)
        for index, spec in enumerate(node.outputs):
            self._entries[Entry(i, index), spec.dtype] = Entry(len(self._nodes) - 1, index)

    def _add_casts(self, entry: Entry) -> None:
        given = self._types.given(entry)
        for dtype in sorted(self._needed[entry] - {given}):
            spec = TensorSpec(self._graph.spec(entry).shape, dtype)
            self._nodes.append(Node(KERNEL, "cast", (spec,), (self._entries[entry, given],)))
            self._entries[entry, dtype] = Entry(len(self._nodes) - 1)

    def _add_constant(self, entry: Entry, node: Node) -> None:
        """A constant in each type in which it is read; it keeps its name where that is one."""
        (spec,) = node.outputs
        dtypes = sorted(self._needed[entry], reverse=True) or [spec.dtype]
        for dtype in dtypes:
            name = node.name if dtype == dtypes[0] else f"{node.name}_{dtype}"
            self._constants[name] = self._values[node.name].astype(dtype, copy=False)
            attrs = node.attrs if dtype == spec.dtype else {}  # which tell one array from others
            self._add(entry.node, Node(CONST, name, (TensorSpec(spec.shape, dtype),), attrs=attrs))


def _is_float_cast(graph: Graph, node: Node) -> bool:
    """Whether a node casts floats to floats."""
    return node.name in CASTS and {graph.spec(node.inputs[0]).dtype, node.outputs[0].dtype} <= {FLOAT32, FLOAT16}


def _is_free_operand(node: Node, operand: int) -> bool:
    return node.name in OPERATORS and operand in OPERATORS[node.name].free_operands


def _kind(name: str) -> str:
    """What the operator says that float16 means for it."""
    return OPERATORS[name].half if name in OPERATORS else "plain"


def _is_product(name: str) -> bool:
    return _kind(name) == "product"


def _takes(name: str, dtype: str) -> bool:
    return name in OPERATORS and dtype in OPERATORS[name].dtypes


def _computes_in_float32(name: str) -> bool:
    """Whether the types of operands and results are free."""
    return name in CASTS or (name in OPERATORS and OPERATORS[name].computes_in_float32)


def _passes(name: str) -> bool:
    """Whether results are as far out of range as operands: what takes int64 moves elements, or picks some."""
    return _kind(name) == "passes" or _takes(name, "int64")


def _gives_indices(node: Node) -> bool:
    """Whether a result is an index, a truth or another whole number."""
    some = any(spec.dtype not in (FLOAT32, FLOAT16) for spec in node.outputs)
    return some or _has_index(node)


def _has_index(node: Node) -> bool:
    return any(_is_index(node, index) for index in range(len(node.outputs)))


def _is_index(node: Node, index: int) -> bool:
    """Whether an output holds indices, which to Relay may be floats."""
    return node.name == "argsort" or (node.name == "topk" and (index == 1 or node.attrs["ret_type"] == "indices"))


def _has_lost_attribute(node: Node) -> bool:
    """Whether an attribute is a number that float16 cannot hold."""
    if node.name == "nn.batch_norm" or _computes_in_float32(node.name):
        return False
    numbers = {name: value for name, value in _attributes_in_half(node).items() if isinstance(value, float)}
    return any(not holds(np.array(value)) for value in numbers.values())


def _attributes(node: Node, outputs: Tuple[TensorSpec, ...]) -> Mapping[str, Any]:
    """The attributes for results of other types."""
    if outputs == node.outputs:
        return node.attrs
    return {
        name: outputs[-1].dtype if name in ("dtype", "out_dtype") and value == FLOAT32 else value
        for name, value in _attributes_in_half(node).items()
    }


def _attributes_in_half(node: Node) -> Mapping[str, Any]:
    """The attributes with what bounds nothing in float16 left out."""
    if node.name != "clip":
        return node.attrs
    low, high = node.attrs["a_min"], node.attrs["a_max"]
    return {
        **node.attrs,
        "a_min": -np.inf if low <= -LARGEST else low,
        "a_max": np.inf if high >= LARGEST else high,
    }
