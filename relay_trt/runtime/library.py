"""The subgraphs of a loaded library: to build their engines before the first call, and to look inside."""

from __future__ import annotations

import contextlib
from typing import Any, List, Optional

import tvm

from .module import live_subgraphs
from .subgraph import Subgraph


def subgraphs(library: tvm.runtime.Module) -> List[Subgraph]:
    """The subgraphs of a loaded library, in the order of their symbols.

    Parameters
    ----------
    library : tvm.runtime.Module
        What ``load_module`` returned. It has its subgraphs from when an executor is made of it: TVM
        initializes them then.

    Raises
    ------
    TypeError
        Where it is something else; of an executor, TVM does not tell the library.
    """
    if not isinstance(library, tvm.runtime.Module):
        raise TypeError(f"the library that load_module returned is needed, not a {type(library).__name__}")
    # Weak references, as the dictionary must not be walked through while another thread loads or closes a library.
    everywhere = [reference() for reference in live_subgraphs.valuerefs()]
    found = [subgraph for subgraph in everywhere if subgraph is not None and _owns(library, subgraph)]
    return sorted(found, key=lambda subgraph: (len(subgraph.graph.symbol), subgraph.graph.symbol))


def warm_up(library: tvm.runtime.Module, batch: Optional[int] = None, device_id: int = 0) -> None:
    """Build all engines of a library, or load them, so that the first request is not the one that waits.

    Parameters
    ----------
    library : tvm.runtime.Module
        What ``load_module`` returned, and an executor was made of.
    batch : int, optional
        What a dynamic first dimension will be; without it, profiles must say.
    device_id : int
        The GPU.

    Raises
    ------
    ValueError
        Where the library has no subgraphs (or no executor yet), an input has a dynamic dimension of which neither
        ``batch`` nor a profile tells, or a ``TVM_TENSORRT_`` variable is malformed.
    EngineError, ConversionError
        Where an engine cannot be built.
    """
    found = subgraphs(library)
    if not found:
        raise ValueError("no subgraphs to warm up: make an executor of the library first, or nothing was offloaded")
    for subgraph in found:
        subgraph.build(batch, device_id)


def _owns(library: tvm.runtime.Module, subgraph: Subgraph) -> bool:
    """Libraries may have equal symbols: the one whose function answers with the subgraph's number has it."""
    function = _function(library, subgraph.graph.symbol)
    return function is not None and bool(function("id") == id(subgraph))


def _function(library: tvm.runtime.Module, symbol: str) -> Optional[Any]:
    """A function of the compiled code that has it: asked for it, TVM's loader of constants would make the subgraph."""
    todo = [library]
    while todo:
        module = todo.pop()
        if module.type_key == "library":
            with contextlib.suppress(AttributeError):  # TVM 0.8 has no way to ask before
                return module.get_function(symbol)
        todo.extend(module.imported_modules)
    return None
