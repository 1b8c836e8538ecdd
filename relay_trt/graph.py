"""The JSON graph: what code generation writes and the runtime reads, and all that the two share.

The layout is that of TVM's own JSON graphs (nodes, arg_nodes, heads, node_row_ptr, and the attributes
shape and dtype of each node), so that tools which read those read these. Operator attributes are
typed JSON values rather than strings. At the top stand the number of the format, the producer, the
symbol and the options that the subgraph was partitioned with.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from typing import Any, Dict, FrozenSet, List, Mapping, Optional, Tuple

import numpy as np

from .options import CompileOptions, as_integer
from .version import __version__

FORMAT = 1
ALIGNMENT = 64  # bytes, of each constant in a library: a cache line, and what every engine's loads can use
INPUT, CONST, KERNEL = "input", "const", "kernel"
DIGEST_ATTR = "sha256"  # of a constant: code generation has its values at hand, and the runtime need not read them


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

    @property
    def nbytes(self) -> int:
        """The size of the elements in bytes, where all dimensions are known."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize

    def admits(self, shape: Tuple[int, ...]) -> bool:
        """Whether a tensor of ``shape`` (all dimensions known) fits this one."""
        return len(shape) == len(self.shape) and all(s in (-1, d) for s, d in zip(self.shape, shape))


@dataclasses.dataclass(frozen=True)
class Profile:
    """The shapes that a network input will have, for TensorRT's optimization profile.

    Attributes
    ----------
    min, opt, max : tuple of int
        The smallest shape, the one to be fastest for, and the largest; no dimension of one exceeds that of the next.
    """

    min: Tuple[int, ...]
    opt: Tuple[int, ...]
    max: Tuple[int, ...]

    def admits(self, shape: Tuple[int, ...]) -> bool:
        """Whether an input of ``shape`` lies between the smallest and the largest."""
        return len(shape) == len(self.min) and all(low <= d <= high for low, d, high in zip(self.min, shape, self.max))

    def including(self, shape: Tuple[int, ...]) -> Profile:
        """The profile that admits ``shape`` too."""
        return Profile(tuple(map(min, self.min, shape)), self.opt, tuple(map(max, self.max, shape)))

    def to_dict(self) -> Dict[str, List[int]]:
        """The shapes as a dict that JSON can hold; `from_dict` reads it back."""
        return {name: list(shape) for name, shape in dataclasses.asdict(self).items()}

    @classmethod
    def from_dict(cls, shapes: Mapping[str, Any], spec: TensorSpec) -> Profile:
        """Read the shapes of an input that was declared as ``spec``.

        Raises
        ------
        ValueError
            Where they are not three shapes of positive integers, in order, that the input may have.
        """
        names = [field.name for field in dataclasses.fields(cls)]
        if not isinstance(shapes, Mapping) or sorted(shapes) != sorted(names):
            raise ValueError(f"{shapes!r} does not consist of {', '.join(names)}")
        for name in names:
            shape = shapes[name]
            if not isinstance(shape, (list, tuple)) or not all((as_integer(d) or 0) > 0 for d in shape):
                raise ValueError(f"{name} is {shape!r}: it must be a list of integers above 0")
            if not spec.admits(tuple(shape)):
                raise ValueError(f"{name} is {list(shape)}, which {spec} does not admit")
        smallest, best, largest = (tuple(map(int, shapes[name])) for name in names)
        if any(not low <= d <= high for low, d, high in zip(smallest, best, largest)):
            listed = f"min {list(smallest)}, opt {list(best)} and max {list(largest)}"
            raise ValueError(f"{listed}: no dimension may exceed the next one's")
        return cls(smallest, best, largest)


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
    profile : Profile, optional
        The shapes that an input with dynamic dimensions will have, where they are known.
    """

    op: str
    name: str
    outputs: Tuple[TensorSpec, ...]
    inputs: Tuple[Entry, ...] = ()
    attrs: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    profile: Optional[Profile] = None


@dataclasses.dataclass(frozen=True)
class Graph:
    """One subgraph, its nodes in topological order.

    Attributes
    ----------
    symbol : str
        The global symbol of its function.
    nodes : tuple of Node
        Inputs, constants and kernels.
    heads : tuple of Entry
        What it produces.
    options : CompileOptions
        What it was partitioned with.
    engine : dict, optional
        What the engine was built from and for that travels in the library: the last constant is its plan, as uint8.
    """

    symbol: str
    nodes: Tuple[Node, ...]
    heads: Tuple[Entry, ...]
    options: CompileOptions
    engine: Optional[Mapping[str, Any]] = None

    def inputs(self) -> List[Node]:
        """The network's inputs, in the order of the function's arguments."""
        return [node for node in self.nodes if node.op == INPUT]

    def constants(self) -> List[Node]:
        """The constants, in the order in which they lie in the library."""
        return [node for node in self.nodes if node.op == CONST]

    def offsets(self) -> List[int]:
        """Where each constant begins in the library's block of them, and where the block ends, in bytes."""
        offsets = [0]
        for node in self.constants():
            end = offsets[-1] + node.outputs[0].nbytes
            offsets.append(end + -end % ALIGNMENT)
        return offsets

    @property
    def dtypes(self) -> FrozenSet[str]:
        """Those of all its tensors."""
        return frozenset(spec.dtype for node in self.nodes for spec in node.outputs)

    def spec(self, entry: Entry) -> TensorSpec:
        """Shape and dtype of an entry."""
        return self.nodes[entry.node].outputs[entry.index]

    def outputs(self) -> List[TensorSpec]:
        """What the subgraph produces, in the order of the function's results."""
        return [self.spec(head) for head in self.heads]

    def without_engine(self) -> Graph:
        """The same graph without the engine that travels with it, and without its plan."""
        if self.engine is None:
            return self
        plan = self.constants()[-1]
        return dataclasses.replace(self, nodes=tuple(node for node in self.nodes if node is not plan), engine=None)

    def digest(self, constants: Mapping[str, np.ndarray]) -> str:
        """What tells this graph with these weights from all others: a SHA-256, in hexadecimal.

        Parameters
        ----------
        constants : dict of str to numpy.ndarray
            The values of its constants; those are read whose digests are not in the graph.
        """
        total = hashlib.sha256(self.to_json().encode())
        for node in self.constants():
            total.update((node.attrs.get(DIGEST_ATTR) or array_digest(constants[node.name])).encode())
        return total.hexdigest()

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
        if self.engine is not None:
            document["engine"] = dict(self.engine)
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
                engine=document.get("engine"),
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
        if self.engine is not None and (self.nodes[-1].op != CONST or self.nodes[-1].outputs[0].dtype != "uint8"):
            raise ValueError("it has an engine, but its last node is no plan")
        if not self.heads:
            raise ValueError("it has no heads")
        for head in self.heads:
            self._check_entry(head)

    def _check_entry(self, entry: Entry) -> None:
        if not 0 <= entry.node < len(self.nodes) or not 0 <= entry.index < len(self.nodes[entry.node].outputs):
            raise ValueError(f"there is no output {entry.index} of node {entry.node}")


def array_digest(value: np.ndarray) -> str:
    """The SHA-256, in hexadecimal, of the elements of an array in their order."""
    return hashlib.sha256(np.ascontiguousarray(value).data).hexdigest()


def _node_to_json(node: Node) -> Dict[str, Any]:
    attrs: Dict[str, Any] = {
        **node.attrs,
        "shape": [[list(output.shape) for output in node.outputs]],
        "dtype": [[output.dtype for output in node.outputs]],
    }
    if node.profile is not None:
        attrs["profile"] = node.profile.to_dict()
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
    outputs = tuple(TensorSpec(tuple(shape), str(dtype)) for shape, dtype in zip(shapes, dtypes))
    profile = attrs.pop("profile", None) if document["op"] == INPUT else None
    return Node(
        op=document["op"],
        name=document["name"],
        outputs=outputs,
        inputs=tuple(Entry(entry[0], entry[1]) for entry in document.get("inputs", ())),
        attrs=attrs,
        profile=None if profile is None else Profile.from_dict(profile, outputs[0]),
    )
