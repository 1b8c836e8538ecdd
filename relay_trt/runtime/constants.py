"""The constants of a subgraph, where they lie in its library."""

from __future__ import annotations

import ctypes
import logging
import os
from typing import Dict, Optional

import numpy as np

from ..graph import Graph, GraphError

logger = logging.getLogger("TensorRT")


def read_constants(graph: Graph, address: int, size: int) -> Dict[str, np.ndarray]:
    """The values of a graph's constants, by name.

    Parameters
    ----------
    graph : graph.Graph
        The subgraph.
    address, size : int
        The block that holds them in the loaded library, in bytes.

    Returns
    -------
    dict of str to numpy.ndarray
        Arrays that cannot be written to. They outlive the library, and those that nobody reads take no memory.

    Raises
    ------
    GraphError
        Where the block is not of the size that the graph's constants have.
    """
    offsets = graph.offsets()
    if size != offsets[-1]:
        raise GraphError(f"{graph.symbol} has {offsets[-1]} bytes of constants, and its library {size}")
    block = outliving(address, size)
    values = {}
    for node, offset in zip(graph.constants(), offsets):
        spec = node.outputs[0]
        values[node.name] = block[offset : offset + spec.nbytes].view(spec.dtype).reshape(spec.shape)
    return values


def outliving(address: int, size: int) -> np.ndarray:
    """The bytes of a loaded library as an array that is good after the library is closed.

    The library's file is mapped once more; where it is gone, or another one has taken its place, they are copied.
    """
    block = _mapped(address, size) if size else None
    if block is None:
        block = np.frombuffer(ctypes.string_at(address, size), "uint8")
    return block


def _mapped(address: int, size: int) -> Optional[np.ndarray]:
    # Each line is as "7f0c1000-7f0c9000 r--p 00002000 fd:01 1048602    /path/of/the/library.so".
    try:
        with open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as maps:
            for line in maps:
                start, _, end = line.split(" ", 1)[0].partition("-")
                if int(start, 16) <= address < int(end, 16):
                    break
            else:
                return None
        _, _, offset, _, inode, path = line.rstrip("\n").split(None, 5)
        # Not the device: of a file in a container's layers, the two differ.
        if os.stat(path).st_ino != int(inode):
            return None
        begin = int(offset, 16) + address - int(start, 16)
        return np.asarray(np.memmap(path, np.uint8, "r", begin, size))
    except (OSError, ValueError) as error:
        logger.debug("the constants are copied: %s", error)
        return None
