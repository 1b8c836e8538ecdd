"""The packed function that generated code calls."""

from __future__ import annotations

import ctypes
import threading
from typing import Any, Callable, List

import tvm

from ..graph import Graph, GraphError, TensorSpec
from .dltensor import TensorView
from .subgraph import Subgraph


class _Handle(ctypes.Structure):
    """What a loaded library shares: the packed function that it holds, and whether it has been closed.

    The library allocates it and never frees it, so that it can be read at any time.
    """

    _fields_ = [("function", ctypes.c_void_p), ("closed", ctypes.c_int)]


_handles: List[_Handle] = []
_handles_lock = threading.Lock()


def free_closed_subgraphs() -> None:
    """Free the subgraphs, with their engines, whose libraries have been closed.

    A library cannot do that itself when it is closed: the loader holds a lock then which an engine's threads
    wait for when they end.
    """
    with _handles_lock:
        closed = [handle for handle in _handles if handle.closed]
        _handles[:] = [handle for handle in _handles if not handle.closed]
    for handle in closed:
        tvm.runtime.packed_func.PackedFunc(ctypes.c_void_p(handle.function), False)  # which owns it, and lets go


@tvm.register_func("relay_trt.create_subgraph")
def create_subgraph(graph_json: str, constants: Any, address: Any = None) -> Callable[[Any], None]:
    """Make a subgraph; called once for each, when its library is first used.

    Parameters
    ----------
    graph_json : str
        The graph, as code generation wrote it.
    constants : Array of NDArray
        The values of its constants, in the order of `Graph.constants`.
    address : handle, optional
        Where the library that calls has its `_Handle`.

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
    free_closed_subgraphs()
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

    if address is not None:
        with _handles_lock:
            _handles.append(_Handle.from_address(address.value))
    return run
