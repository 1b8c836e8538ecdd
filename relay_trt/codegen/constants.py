"""The constants of subgraphs as files, from which the compiler takes them into the library."""

from __future__ import annotations

import atexit
import functools
import hashlib
import os
import shutil
import tempfile
from pathlib import Path
from typing import Iterable

import numpy as np

from ..graph import DIGEST_ATTR, Graph


def write_constants(graph: Graph, values: Iterable[np.ndarray]) -> Path:
    """Write the constants of a graph to a file that stays until this process ends.

    ``export_library`` may come at any time after ``relay.build``, and TVM does not tell when a module is gone.

    Parameters
    ----------
    graph : graph.Graph
        The subgraph.
    values : iterable of numpy.ndarray
        The values of its constants, in the order of `Graph.constants`.

    Returns
    -------
    pathlib.Path
        The file, in the system's folder for temporary files. Equal constants share one.

    Raises
    ------
    OSError
        Where it cannot be written.
    """
    nodes = graph.constants()
    digest = hashlib.sha256("".join(node.attrs[DIGEST_ATTR] for node in nodes).encode()).hexdigest()
    if not _folder(os.getpid()).exists():  # whoever cleans up /tmp has taken it
        _folder.cache_clear()
    path = _folder(os.getpid()) / digest
    if not path.exists():
        file = tempfile.NamedTemporaryFile(dir=path.parent, delete=False)
        try:
            with file:
                for offset, value in zip(graph.offsets(), values):
                    file.seek(offset)
                    file.write(np.ascontiguousarray(value).data)
                file.truncate(graph.offsets()[-1])
            os.replace(file.name, path)  # as a whole, or not at all
        except BaseException:
            os.unlink(file.name)
            raise
    return path


@functools.lru_cache(maxsize=None)
def _folder(process: int) -> Path:
    """A folder of this process, whose forks have their own."""
    folder = Path(tempfile.mkdtemp(prefix="relay_trt-"))

    def remove() -> None:
        if os.getpid() == process:
            shutil.rmtree(folder, ignore_errors=True)

    atexit.register(remove)
    return folder
