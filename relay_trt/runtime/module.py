"""The packed function that generated code calls."""

from __future__ import annotations

import ctypes
from typing import Any, Callable

import tvm

from ..graph import Graph, GraphError, TensorSpec
from .dltensor import TensorView
from .subgraph import Subgraph


@tvm.register_func("relay_trt.create_subgraph")
def create_subgraph(graph_json: str, constants: Any) -> Callable[[Any], None]:
    """Make a subgraph; called once for each, when its library is first used.

    Parameters
    ----------
    graph_json : str
        The graph, as code generation wrote it.
    constants : Array of NDArray
        The values of its constants, in the order of `Graph.constants`.

    Returns
    -------
    function
        Runs the subgraph; its argument is the address of an array with the addresses of the input tensors
        and then of the output tensors, each a ``DLTensor``.

    Raises
    ------
    GraphError
        Where the graph cannot be read, or the constants are not those of the graph.
    """
    graph = Graph.from_json(graph_json)
    nodes = graph.constants()
    if len(constants) != len(nodes):
        raise GraphError(f"{graph.symbol} needs {len(nodes)} constants and got {len(constants)}")
    arrays = list(constants)  # owns the memory that the views below share
    values = {}
    for node, array in zip(nodes, arrays):
        view = TensorView(ctypes.addressof(array.handle.contents))
        if TensorSpec(view.shape, view.dtype) != node.outputs[0]:
            raise GraphError(f"{graph.symbol}: constant {node.name} is not {node.outputs[0]}")
        values[node.name] = view.numpy()
    subgraph = Subgraph(graph, values)
    num_inputs, num_tensors = len(graph.inputs()), len(graph.inputs()) + len(graph.heads)

    def run(addresses: Any, _owner: Any = arrays) -> None:
        handles = (ctypes.c_size_t * num_tensors).from_address(addresses.value)
        tensors = [TensorView(handle) for handle in handles]
        subgraph.run(tensors[:num_inputs], tensors[num_inputs:])

    return run
