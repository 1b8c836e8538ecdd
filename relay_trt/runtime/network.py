"""A whole graph as a network: the converter of each operator in turn."""

from __future__ import annotations

from typing import Dict, List, Mapping, Sequence, Tuple

import numpy as np

from ..graph import CONST, INPUT, Entry, Graph, Node, TensorSpec
from ..operators import OPERATORS, OpNode
from .builders import ConversionError, NetworkBuilder, Tensor


def convert(graph: Graph, constants: Mapping[str, np.ndarray], net: NetworkBuilder) -> None:
    """Add a whole graph to a network.

    Inputs keep the names of the graph's; output i becomes ``output_<i>``.

    Parameters
    ----------
    graph : graph.Graph
        The subgraph.
    constants : dict of str to numpy.ndarray
        The values of its constants, by name. They are not copied.
    net : NetworkBuilder
        The network to add to.

    Raises
    ------
    ConversionError
        Where an operator has no converter, its converter raises an error, or the engine does not take it; the message
        names the operator.
    """
    tensors: Dict[Entry, Tensor] = {}
    for i, node in enumerate(graph.nodes):
        for index, tensor in enumerate(_tensors(graph, i, node, constants, net, tensors)):
            tensors[Entry(i, index)] = tensor
    for index, head in enumerate(graph.heads):
        net.output(tensors[head], output_name(index))


def output_name(index: int) -> str:
    """The name of a network's output."""
    return f"output_{index}"


def _tensors(
    graph: Graph,
    index: int,
    node: Node,
    constants: Mapping[str, np.ndarray],
    net: NetworkBuilder,
    tensors: Mapping[Entry, Tensor],
) -> Sequence[Tensor]:
    if node.op == INPUT:
        return [net.input(node.name, node.outputs[0].shape, node.outputs[0].dtype)]
    if node.op == CONST:
        return [net.constant(constants[node.name])]
    net.scope = f"{node.name}_{index}"
    if node.name not in OPERATORS:
        raise ConversionError(
            f"{graph.symbol}: operator {node.name!r} has no converter in this process; "
            "import here too the module that registers it, or install a newer relay_trt"
        )
    op = OpNode(node.name, node.attrs, tuple(tensors[entry] for entry in node.inputs), node.outputs)
    where = f"{graph.symbol}: {node.name} (node {index})"
    try:
        result = OPERATORS[node.name].convert(net, op)
        results: List[Tensor] = [result] if isinstance(result, Tensor) else list(result)
    except (ConversionError, MemoryError):
        raise
    except Exception as error:  # anybody may have written the converter
        raise ConversionError(f"{where}: its converter raised {type(error).__name__}: {error}") from error
    _check(where, node.outputs, results)
    return results


def _check(where: str, expected: Tuple[TensorSpec, ...], results: Sequence[Tensor]) -> None:
    """A converter and Relay must agree on what comes out: otherwise an engine would write past a buffer."""
    if len(results) != len(expected):
        raise ConversionError(f"{where} became {len(results)} tensors, not {len(expected)}")
    for spec, tensor in zip(expected, results):
        if not isinstance(tensor, Tensor):
            raise ConversionError(f"{where} became {type(tensor).__name__} {tensor!r}, not a tensor")
        same = len(spec.shape) == tensor.rank and all(a == b or -1 in (a, b) for a, b in zip(spec.shape, tensor.shape))
        if not same or spec.dtype != tensor.dtype:
            raise ConversionError(f"{where} became {TensorSpec(tensor.shape, tensor.dtype)}, not {spec}")
