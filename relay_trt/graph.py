"""The JSON graph: what code generation writes and the runtime reads, and all that the two share.

The layout is that of TVM's own JSON graphs (nodes, arg_nodes, heads, node_row_ptr, and the attributes
shape and dtype of each node), so that tools which read those read these. Operator attributes are
typed JSON values rather than strings. At the top stand the number of the format, the producer, the
symbol and the options that the subgraph was partitioned with.
"""

from __future__ import annotations

import dataclasses
import json
from typing import Any, Dict, List, Mapping, Tuple

from .options import CompileOptions
from .version import __version__

FORMAT = 1
INPUT, CONST, KERNEL = "input", "const", "kernel"


class GraphError(ValueError):
    """A JSON graph is malformed, or was written in a format that this version cannot read."""


@dataclasses.dataclass(frozen=True)
class TensorSpec:
    """Shape and dtype of a tensor; a dimension of -1 is not known before run time."""

    shape: Tuple[int, ...]
    dtype: str

    def __str__(self) -> str:
        return f"{self.dtype}[{', '.join('?' if d < 0 else str(d) for d in self.shape)}]"

    @property
    def rank(self) -> int:
        """The number of dimensions."""
        return len(self.shape)

    def admits(self, shape: Tuple[int, ...]) -> bool:
        """Whether a tensor of ``shape`` (all dimensions known) fits this one."""
        return len(shape) == len(self.shape) and all(s in (-1, d) for s, d in zip(self.shape, shape))


@dataclasses.dataclass(frozen=True)
class Entry:
    """One output of one node."""

    node: int
    index: int = 0


@dataclasses.dataclass(frozen=True)
class Node:
    """A network input, a constant, or a kernel: one Relay operator.

    Attributes
    ----------
    op : str
        ``"input"``, ``"const"`` or ``"kernel"``.
    name : str
        The Relay operator of a kernel; otherwise the name of the parameter or constant.
    outputs : tuple of TensorSpec
        What it produces; a kernel may produce several tensors.
    inputs : tuple of Entry
        The operands of a kernel, tuples flattened. They precede it in the graph.
    attrs : dict
        The Relay attributes of a kernel.
    """

    op: str
    name: str
    outputs: Tuple[TensorSpec, ...]
    inputs: Tuple[Entry, ...] = ()
    attrs: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Graph:
    """One subgraph, its nodes in topological order."""

    symbol: str
    nodes: Tuple[Node, ...]
    heads: Tuple[Entry, ...]
    options: CompileOptions

    def inputs(self) -> List[Node]:
        """The network's inputs, in the order of the function's arguments."""
        return [node for node in self.nodes if node.op == INPUT]

    def constants(self) -> List[Node]:
        """The constants, in the order in which TVM's constant loader hands them over."""
        return [node for node in self.nodes if node.op == CONST]

    def spec(self, entry: Entry) -> TensorSpec:
        """Shape and dtype of an entry."""
        return self.nodes[entry.node].outputs[entry.index]

    def outputs(self) -> List[TensorSpec]:
        """What the subgraph produces, in the order of the function's results."""
        return [self.spec(head) for head in self.heads]

    def to_json(self) -> str:
        """Write the graph; `from_json` reads it back."""
        row_ptr = [0]
        for node in self.nodes:
            row_ptr.append(row_ptr[-1] + len(node.outputs))
        document = {
            "format": FORMAT,
            "producer": f"relay_trt {__version__}",
            "symbol": self.symbol,
            "options": self.options.to_dict(),
            "nodes": [_node_to_json(node) for node in self.nodes],
            "arg_nodes": [i for i, node in enumerate(self.nodes) if node.op != KERNEL],
            "heads": [[head.node, head.index, 0] for head in self.heads],
            "node_row_ptr": row_ptr,
        }
        return json.dumps(document, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Graph:
        """Read a graph and check it.

        Raises
        ------
        GraphError
            Where the text is not such a graph, or is of a newer format; the message says what is wrong.
        """
        try:
            document = json.loads(text)
        except json.JSONDecodeError as error:
            raise GraphError(f"not a JSON graph: {error}") from None
        if not isinstance(document, dict) or not isinstance(document.get("format"), int):
            raise GraphError("not a relay_trt graph: it has no format number")
        if document["format"] > FORMAT:
            producer = document.get("producer", "an unknown producer")
            raise GraphError(
                f"the graph has format {document['format']}, written by {producer}; "
                f"this relay_trt {__version__} reads formats up to {FORMAT}: install a newer one"
            )
        try:
            graph = cls(
                symbol=document["symbol"],
                nodes=tuple(_node_from_json(node) for node in document["nodes"]),
                heads=tuple(Entry(head[0], head[1]) for head in document["heads"]),
                options=CompileOptions.from_dict(document["options"]),
            )
            graph._check()
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            detail = f"{error.args[0]!r} is missing" if isinstance(error, KeyError) else str(error)
            raise GraphError(f"malformed graph {document.get('symbol', '')!r}: {detail}") from error
        return graph

    def _check(self) -> None:
        for i, node in enumerate(self.nodes):
            if node.op not in (INPUT, CONST, KERNEL):
                raise ValueError(f"node {i} has the unknown op {node.op!r}")
            for entry in node.inputs:
                if not 0 <= entry.node < i:
                    raise ValueError(f"node {i} ({node.name}) reads node {entry.node}, which does not precede it")
                self._check_entry(entry)
        if not self.heads:
            raise ValueError("it has no heads")
        for head in self.heads:
            self._check_entry(head)

    def _check_entry(self, entry: Entry) -> None:
        if not 0 <= entry.node < len(self.nodes) or not 0 <= entry.index < len(self.nodes[entry.node].outputs):
            raise ValueError(f"there is no output {entry.index} of node {entry.node}")


def _node_to_json(node: Node) -> Dict[str, Any]:
    attrs: Dict[str, Any] = {
        **node.attrs,
        "shape": [[list(output.shape) for output in node.outputs]],
        "dtype": [[output.dtype for output in node.outputs]],
    }
    document: Dict[str, Any] = {"op": node.op, "name": node.name, "attrs": attrs}
    if node.op == KERNEL:
        attrs["num_inputs"], attrs["num_outputs"] = str(len(node.inputs)), str(len(node.outputs))
        document["inputs"] = [[entry.node, entry.index, 0] for entry in node.inputs]
    return document


def _node_from_json(document: Mapping[str, Any]) -> Node:
    attrs = dict(document["attrs"])
    for derived in ("num_inputs", "num_outputs"):
        attrs.pop(derived, None)
    shapes, dtypes = attrs.pop("shape")[0], attrs.pop("dtype")[0]
    if len(shapes) != len(dtypes) or not all(type(d) is int and d >= -1 for shape in shapes for d in shape):
        raise ValueError(f"shape and dtype of node {document['name']!r} do not describe its outputs")
    return Node(
        op=document["op"],
        name=document["name"],
        outputs=tuple(TensorSpec(tuple(shape), str(dtype)) for shape, dtype in zip(shapes, dtypes)),
        inputs=tuple(Entry(entry[0], entry[1]) for entry in document.get("inputs", ())),
        attrs=attrs,
    )
