from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Dict

import numpy as np
import pytest

from relay_trt.codegen.constants import write_constants
from relay_trt.graph import ALIGNMENT, CONST, DIGEST_ATTR, Entry, Graph, Node, TensorSpec, array_digest
from relay_trt.options import CompileOptions

VALUES = {
    "three": np.float32([1, 2, 3]),
    "scalar": np.array(7, "int64"),
    "empty": np.zeros((0, 4), "float32"),
    "turned": np.arange(6, dtype="float16").reshape(2, 3).T,  # its elements are in another order
    "flags": np.array([True, False]),
}


def graph_of(values: Dict[str, np.ndarray]) -> Graph:
    nodes = tuple(
        Node(CONST, name, (TensorSpec(value.shape, value.dtype.name),), attrs={DIGEST_ATTR: array_digest(value)})
        for name, value in values.items()
    )
    return Graph("main_0", nodes, (Entry(0),), CompileOptions())


def test_each_constant_is_at_its_offset() -> None:
    graph = graph_of(VALUES)
    content = write_constants(graph, VALUES.values()).read_bytes()
    *offsets, end = graph.offsets()
    assert len(content) == end
    for offset, value in zip(offsets, VALUES.values()):
        assert offset % ALIGNMENT == 0
        assert content[offset : offset + value.nbytes] == value.tobytes()


def test_no_constants() -> None:
    assert write_constants(graph_of({}), []).read_bytes() == b""


def test_equal_constants_share_a_file() -> None:
    first, second = (write_constants(graph_of(VALUES), VALUES.values()) for _ in range(2))
    changed = {**VALUES, "three": np.float32([1, 2, 4])}
    third = write_constants(graph_of(changed), changed.values())
    assert first == second != third
    assert first.parent == third.parent


SCRIPT = """
import os, sys
import numpy as np
from tests.codegen.test_constants import VALUES, graph_of, write_constants
path = write_constants(graph_of(VALUES), VALUES.values())
child = os.fork()
if child == 0:
    changed = {"three": np.float32([4])}
    print(write_constants(graph_of(changed), changed.values()), flush=True)
    sys.exit()  # runs what is to be done at exit
assert os.waitpid(child, 0)[1] == 0
assert path.exists()
print(path)
"""


def test_a_process_removes_its_own() -> None:
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=root, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": "."}
    )
    assert done.returncode == 0, done.stderr
    forked, own = map(Path, done.stdout.split())
    assert forked.parent != own.parent
    assert not forked.parent.exists() and not own.parent.exists()


def test_nothing_is_half_written() -> None:
    values = {"big": np.ones(1 << 20, "float32")}
    graph = graph_of(values)
    folder = write_constants(graph_of({}), []).parent
    before = set(folder.iterdir())
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            write_constants(graph, values.values())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert set(folder.iterdir()) == before
    assert write_constants(graph, values.values()).read_bytes() == values["big"].tobytes()


def test_a_folder_that_was_cleaned_away() -> None:
    graph = graph_of(VALUES)
    path = write_constants(graph, VALUES.values())
    content = path.read_bytes()
    shutil.rmtree(path.parent)
    assert write_constants(graph, VALUES.values()).read_bytes() == content
