from __future__ import annotations

import ctypes
import logging
import os
import shutil
import subprocess
from pathlib import Path
from typing import Tuple

import numpy as np
import pytest

from relay_trt.graph import GraphError
from relay_trt.runtime.constants import outliving, read_constants

from ..support import random
from .support import Network

SIZE = 3 << 20


@pytest.fixture
def library(tmp_path: Path) -> Tuple[Path, bytes]:
    """A library with a block of constants, and what is in it."""
    content = np.random.default_rng(0).integers(0, 256, SIZE, "uint8").tobytes()
    (tmp_path / "content").write_bytes(content)
    source = (
        f'__asm__(".section .rodata\\n.balign 64\\n.globl block\\nblock: .incbin \\"{tmp_path}/content\\"\\n.text");'
    )
    (tmp_path / "source.c").write_text(source)
    path = tmp_path / "library.so"
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", path, tmp_path / "source.c"], check=True)
    return path, content


def load(path: Path) -> Tuple[ctypes.CDLL, int]:
    loaded = ctypes.CDLL(str(path))
    return loaded, ctypes.addressof(ctypes.c_ubyte.in_dll(loaded, "block"))


def close(loaded: ctypes.CDLL) -> None:
    closed = ctypes.CDLL(None)
    closed.dlclose.argtypes = [ctypes.c_void_p]
    assert closed.dlclose(loaded._handle) == 0


def is_mapped(path: Path) -> bool:
    return str(path) in Path("/proc/self/maps").read_text()


def test_they_outlive_the_library(library: Tuple[Path, bytes]) -> None:
    path, content = library
    loaded, address = load(path)
    block = outliving(address, SIZE)
    close(loaded)
    assert is_mapped(path)  # by the array alone: nothing was copied
    path.unlink()
    assert block.tobytes() == content
    assert not block.flags.writeable
    del block
    assert not is_mapped(path)


def test_a_part_of_them(library: Tuple[Path, bytes]) -> None:
    path, content = library
    loaded, address = load(path)
    assert outliving(address + 4097, 100).tobytes() == content[4097:4197]
    close(loaded)


@pytest.mark.parametrize("change", ["gone", "replaced", "replaced by a short one"])
def test_copied_where_the_file_is_not_the_librarys(change: str, library: Tuple[Path, bytes]) -> None:
    path, content = library
    loaded, address = load(path)
    path.rename(path.with_suffix(".old"))
    if change == "replaced":
        shutil.copy(path.with_suffix(".old"), path)
        with open(path, "r+b") as file:
            file.write(bytes(os.path.getsize(path)))
    elif change == "replaced by a short one":
        path.write_bytes(b"short")
    # A moved file is still the library's, under another name; one that is removed is not.
    path.with_suffix(".old").unlink()
    block = outliving(address, SIZE)
    close(loaded)
    assert block.tobytes() == content
    assert not block.flags.writeable


def test_a_moved_library_is_found(library: Tuple[Path, bytes]) -> None:
    path, content = library
    loaded, address = load(path)
    path.rename(path.with_suffix(".moved"))
    block = outliving(address, SIZE)
    close(loaded)
    assert is_mapped(path.with_suffix(".moved"))
    assert block.tobytes() == content


def test_memory_that_is_no_file(caplog: pytest.LogCaptureFixture) -> None:
    array = np.arange(1000, dtype="uint8")
    with caplog.at_level(logging.DEBUG, "TensorRT"):
        block = outliving(array.ctypes.data, array.nbytes)
    array[:] = 0
    assert block[:256].tolist() == list(range(256))


def test_nothing() -> None:
    assert outliving(0, 0).nbytes == 0


def test_shapes_and_types() -> None:
    net = Network()
    values = [random((4, 3)), np.array(7, "int64"), np.zeros((0, 2), "float32"), np.array([True, False])]
    constants = [net.constant(value) for value in values]
    graph = net.graph(constants[0])
    block = np.zeros(graph.offsets()[-1], "uint8")
    for value, offset in zip(values, graph.offsets()):
        block[offset : offset + value.nbytes] = np.frombuffer(value.tobytes(), "uint8")
    found = read_constants(graph, block.ctypes.data, block.nbytes)
    assert list(found) == [node.name for node in graph.constants()]
    for value, read in zip(values, found.values()):
        assert read.dtype == value.dtype
        np.testing.assert_array_equal(read, value)
    with pytest.raises(GraphError, match="tested has 192 bytes of constants, and its library 64"):
        read_constants(graph, block.ctypes.data, 64)
