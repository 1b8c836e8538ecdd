from __future__ import annotations

import ctypes
import dataclasses
import shutil
import subprocess
from pathlib import Path

import pytest
import tvm

from relay_trt.codegen.c_source import c_source
from relay_trt.graph import ALIGNMENT, CONST, INPUT, KERNEL, Entry, Graph, Node, TensorSpec
from relay_trt.options import CompileOptions

SPEC = TensorSpec((2, 3), "float32")
GRAPH = Graph(
    symbol="main_0",
    nodes=(
        Node(INPUT, "data", (SPEC,)),
        Node(CONST, "main_0_const_0", (SPEC,)),
        Node(KERNEL, "add", (SPEC,), (Entry(0), Entry(1)), {"text": 'a "quoted\\path"\n??/ %s é', "list": [1, None]}),
    ),
    heads=(Entry(2),),
    options=CompileOptions(),
)
CONSTANTS = bytes(range(24)) + bytes(40)  # six numbers, and what fills the last 64 bytes


@pytest.fixture
def constants(tmp_path: Path) -> Path:
    path = tmp_path / "constants"
    path.write_bytes(CONSTANTS)
    return path


@pytest.mark.parametrize("compiler", [["gcc", "-x", "c", "-std=gnu99"], ["g++", "-x", "c++"], ["clang", "-x", "c"]])
def test_compiles_without_warnings(compiler: str, constants: Path, tmp_path: Path) -> None:
    if not shutil.which(compiler[0]):
        pytest.skip(f"{compiler[0]} is not installed")
    (tmp_path / "source").write_text(c_source(GRAPH, constants))
    options = ["-Wall", "-Wextra", "-Werror", "-fPIC", "-shared", "-o", tmp_path / "lib.so"]
    subprocess.run([*compiler, *options, tmp_path / "source"], check=True)


def test_it_needs_tvm_and_the_c_library_alone(constants: Path, tmp_path: Path) -> None:
    """A target's processes may have no Python, and its Python no shared library."""
    (tmp_path / "source.c").write_text(c_source(GRAPH, constants))
    subprocess.run(["gcc", "-fPIC", "-c", "-o", tmp_path / "source.o", tmp_path / "source.c"], check=True)
    done = subprocess.run(["nm", "-u", tmp_path / "source.o"], capture_output=True, text=True, check=True)
    names = {line.split()[-1] for line in done.stdout.splitlines()} - {"_GLOBAL_OFFSET_TABLE_", "__stack_chk_fail"}
    assert {name for name in names if not name.startswith("TVM")} == {
        *(
            "getpid",
            "pause",
            "syscall",
            "write",
            "memcpy",
            "clock_gettime",
            "pthread_mutex_lock",
            "pthread_mutex_unlock",
        )
    }


def test_the_json_arrives_as_it_was(constants: Path, tmp_path: Path) -> None:
    """Whatever characters a graph holds, and however long it is."""
    many = tuple(dataclasses.replace(GRAPH.nodes[2], attrs={**GRAPH.nodes[2].attrs, "i": i}) for i in range(500))
    graph = dataclasses.replace(GRAPH, nodes=GRAPH.nodes + many)
    source = c_source(graph, constants).replace("static const char graph_json", "const char graph_json")
    (tmp_path / "source.c").write_text(source)
    subprocess.run(["gcc", "-fPIC", "-shared", "-o", tmp_path / "lib.so", tmp_path / "source.c"], check=True)
    text = ctypes.cast(loaded(tmp_path / "lib.so").graph_json, ctypes.c_char_p).value
    assert text is not None
    assert Graph.from_json(text.decode()) == graph


def loaded(library: Path) -> ctypes.CDLL:
    ctypes.CDLL(tvm._ffi.base._LIB._name, mode=ctypes.RTLD_GLOBAL)  # the C API that the source calls
    return ctypes.CDLL(str(library))


@pytest.mark.parametrize("folder", ["plain", "with a space", "back\\slash", "é"])
def test_the_constants_are_in_the_library(folder: str, constants: Path, tmp_path: Path) -> None:
    path = tmp_path / folder / "constants"
    path.parent.mkdir()
    constants.rename(path)
    source = c_source(GRAPH, path).replace("static void* const volatile constants", "void* const volatile constants")
    (tmp_path / "source.c").write_text(source)
    subprocess.run(["gcc", "-fPIC", "-shared", "-o", tmp_path / "lib.so", tmp_path / "source.c"], check=True)
    address = ctypes.c_void_p.in_dll(loaded(tmp_path / "lib.so"), "constants").value
    assert address is not None and address % ALIGNMENT == 0
    assert ctypes.string_at(address, len(CONSTANTS)) == CONSTANTS


def test_compiled_where_the_constants_are_not(tmp_path: Path) -> None:
    (tmp_path / "source.c").write_text(c_source(GRAPH, tmp_path / "gone"))
    done = subprocess.run(["gcc", "-c", "-o", tmp_path / "o", tmp_path / "source.c"], capture_output=True, text=True)
    assert done.returncode != 0
    assert "compile this where relay.build ran" in done.stderr
