"""The packed function that generated code calls."""

from __future__ import annotations

import ctypes
import weakref
from typing import Any, Callable, Optional

import tvm
from tvm.error import register_error

from ..graph import Graph
from .constants import read_constants
from .dltensor import TensorView
from .launches import QUESTION
from .plans import CompiledPlan
from .process import shared
from .subgraph import Subgraph

#: The live subgraphs, by the number that each answers to the question "id". A loaded library gives out no Python
#: objects, only numbers; that it owns its subgraph, and not this dictionary, is what lets a closed one be freed.
live_subgraphs: weakref.WeakValueDictionary[int, Subgraph] = weakref.WeakValueDictionary()

# The generated code reports an interrupted call under this name.
register_error("KeyboardInterrupt", KeyboardInterrupt)


@tvm.register_func("relay_trt.shared")
def shared_address() -> int:
    """The address of `process.shared`."""
    return ctypes.addressof(shared())


@tvm.register_func("relay_trt.create_subgraph")
def create_subgraph(graph_json: str, constants: ctypes.c_void_p, size: int) -> Callable[[Any], Optional[int]]:
    """Make a subgraph; called once for each, when its library is first used.

    Parameters
    ----------
    graph_json : str
        The graph, as code generation wrote it.
    constants : ctypes.c_void_p
        The address in the library of the block of its constants.
    size : int
        The size of that block, in bytes.

    Returns
    -------
    function
        Runs the subgraph; its argument is the address of an array with the addresses of the input tensors
        and then of the output tensors, each a ``DLTensor``. It returns 0; where it is interrupted, None, as TVM
        passes on no exceptions that are not errors. A string instead is a question, answered by a number: ``"id"`` by
        the subgraph's key in `live_subgraphs`, `launches.QUESTION` by the address of its captured calls, others by 0.

    Raises
    ------
    GraphError
        Where the graph cannot be read, or the constants are not those of the graph.
    """
    graph = Graph.from_json(graph_json)
    values = read_constants(graph, constants.value or 0, size)
    compiled = [] if graph.engine is None else [CompiledPlan(graph.engine, values.popitem()[1])]
    subgraph = Subgraph(graph.without_engine(), values, compiled)
    live_subgraphs[id(subgraph)] = subgraph
    num_inputs, num_tensors = len(graph.inputs()), len(graph.inputs()) + len(graph.heads)

    answers = {"id": id(subgraph), QUESTION: subgraph.launches.address}

    def run(argument: Any) -> Optional[int]:
        if isinstance(argument, str):
            return answers.get(argument, 0)
        try:
            handles = (ctypes.c_size_t * num_tensors).from_address(argument.value)
            tensors = [TensorView(handle) for handle in handles]
            subgraph.run(tensors[:num_inputs], tensors[num_inputs:])
        except (KeyboardInterrupt, SystemExit):
            return None
        return 0

    return run
