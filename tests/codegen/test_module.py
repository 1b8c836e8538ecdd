from __future__ import annotations

import gc
import weakref
from pathlib import Path
from typing import Any, Callable, List

import numpy as np
import pytest
import tvm
from tvm import relay
from tvm.contrib.graph_executor import GraphModule
from tvm.runtime.vm import Executable, VirtualMachine

import relay_trt
from relay_trt.codegen import c_source
from relay_trt.codegen.pass_config import KEY
from relay_trt.graph import FORMAT, Graph
from relay_trt.runtime import module as runtime
from relay_trt.runtime.subgraph import Subgraph

from ..support import assert_close, compile_library, module, not_offloaded, random, run_graph, run_library, run_tvm

DATA = {"x": random((1, 3, 8, 8))}


def network(seed: int = 0) -> tvm.IRModule:
    """Two subgraphs, with an operator between them that TVM keeps."""
    x = relay.var("x", shape=(1, 3, 8, 8))
    first = relay.nn.relu(relay.nn.conv2d(x, relay.const(random((4, 3, 3, 3), seed=seed))))
    between = not_offloaded(first)
    return module(relay.nn.relu(relay.add(between, relay.const(random((4, 1, 1), seed=seed + 1)))))


@pytest.fixture
def partitioned() -> tvm.IRModule:
    return relay_trt.partition_for_tensorrt(network())[0]


@pytest.fixture
def expected() -> List[np.ndarray]:
    return run_tvm(network(), DATA)


def test_graph_executor(partitioned: tvm.IRModule, expected: List[np.ndarray], tmp_path: Path) -> None:
    assert len(relay_trt.partition_report(partitioned).subgraphs) == 2
    assert_close(run_library(compile_library(partitioned, tmp_path / "lib.so"), DATA), expected)


def test_virtual_machine(partitioned: tvm.IRModule, expected: List[np.ndarray], tmp_path: Path) -> None:
    with tvm.transform.PassContext(opt_level=3):
        executable = relay.vm.compile(partitioned, target="llvm")
    executable.mod.export_library(str(tmp_path / "vm.so"))
    machine = VirtualMachine(tvm.runtime.load_module(str(tmp_path / "vm.so")), tvm.cpu(0))
    assert_close([machine.invoke("main", DATA["x"]).numpy()], expected)


def test_virtual_machine_saved_in_two_parts(
    partitioned: tvm.IRModule, expected: List[np.ndarray], tmp_path: Path
) -> None:
    with tvm.transform.PassContext(opt_level=3):
        code, library = relay.vm.compile(partitioned, target="llvm").save()
    library.export_library(str(tmp_path / "vm.so"))
    executable = Executable.load_exec(code, tvm.runtime.load_module(str(tmp_path / "vm.so")))
    assert_close([VirtualMachine(executable, tvm.cpu(0)).invoke("main", DATA["x"]).numpy()], expected)


def test_aot_executor_is_refused(partitioned: tvm.IRModule) -> None:
    executor = relay.backend.Executor("aot", {"interface-api": "packed", "unpacked-api": False})
    with pytest.raises(Exception, match="does not work with TVM's AOT executor.*graph executor or the VM"):
        relay.build(partitioned, target="llvm", executor=executor, runtime=relay.backend.Runtime("cpp"))


def test_load_runs_without_exporting(partitioned: tvm.IRModule, expected: List[np.ndarray]) -> None:
    library = relay_trt.load(relay.build(partitioned, target="llvm"))
    assert_close(run_graph(GraphModule(library["default"](tvm.cpu(0))), DATA), expected)


def test_one_file_loaded_twice(partitioned: tvm.IRModule, expected: List[np.ndarray], tmp_path: Path) -> None:
    path = compile_library(partitioned, tmp_path / "lib.so")
    first = tvm.runtime.load_module(str(path))
    second = tvm.runtime.load_module(str(path))
    modules = [GraphModule(library["default"](tvm.cpu(0))) for library in (first, first, second)]
    del first, second
    for graph_module in modules:
        assert_close(run_graph(graph_module, DATA), expected)


def test_two_models_with_the_same_symbols(tmp_path: Path) -> None:
    networks = [network(seed) for seed in (0, 5)]
    paths = [
        compile_library(relay_trt.partition_for_tensorrt(mod)[0], tmp_path / f"{i}.so")
        for i, mod in enumerate(networks)
    ]
    libraries = [tvm.runtime.load_module(str(path)) for path in paths]
    modules = [GraphModule(library["default"](tvm.cpu(0))) for library in libraries]
    for graph_module, mod in zip(modules, networks):
        assert_close(run_graph(graph_module, DATA), run_tvm(mod, DATA))


def serialized(partitioned: tvm.IRModule, monkeypatch: pytest.MonkeyPatch, build: Callable[[], object]) -> List[Graph]:
    """The graphs that code generation writes during ``build``."""
    graphs: List[Graph] = []
    module_of_codegen = relay_trt.codegen.module
    original = c_source.c_source
    monkeypatch.setattr(module_of_codegen, "c_source", lambda graph: [graphs.append(graph), original(graph)][1])
    build()
    return graphs


def test_options_travel_in_the_function(monkeypatch: pytest.MonkeyPatch) -> None:
    mod, config = relay_trt.partition_for_tensorrt(network(), version=(8, 6, 1), max_workspace_size=1 << 20)
    (first, second) = serialized(mod, monkeypatch, lambda: relay.build(mod, target="llvm"))
    assert first.options.to_dict() == second.options.to_dict() == config


def test_options_of_the_pass_context_win(monkeypatch: pytest.MonkeyPatch) -> None:
    mod, config = relay_trt.partition_for_tensorrt(network())

    def build() -> None:
        with tvm.transform.PassContext(opt_level=3, config={KEY: {**config, "use_fp16": True}}):
            relay.build(mod, target="llvm")

    assert [graph.options.use_fp16 for graph in serialized(mod, monkeypatch, build)] == [True, True]


def test_a_newer_format_is_refused(partitioned: tvm.IRModule, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = Graph.to_json
    monkeypatch.setattr(Graph, "to_json", lambda graph: original(graph).replace(f'"format":{FORMAT}', '"format":99'))
    path = compile_library(partitioned, tmp_path / "lib.so")
    with pytest.raises(Exception, match="format 99, written by relay_trt.*install a newer one"):
        run_library(path, DATA)


def test_wrong_arguments_are_named(partitioned: tvm.IRModule, tmp_path: Path) -> None:
    library = tvm.runtime.load_module(str(compile_library(partitioned, tmp_path / "lib.so")))
    symbol = relay_trt.partition_report(partitioned).subgraphs[0].symbol
    subgraph = library.get_function(symbol, query_imports=True)
    x, y = tvm.nd.array(DATA["x"]), tvm.nd.array(np.zeros((1, 4, 6, 6), "float32"))
    subgraph(x, y)
    with pytest.raises(Exception, match=f"{symbol} expects 1 inputs and 1 outputs, and got another number"):
        subgraph(x)
    with pytest.raises(Exception, match=f"{symbol} expects tensors, and got an argument of another type"):
        subgraph(x, 1.0)
    with pytest.raises(Exception, match=r"input '\w+_i0' is float64\[1, 3, 8, 8\], and was compiled as float32"):
        subgraph(tvm.nd.array(DATA["x"].astype("float64")), y)
    with pytest.raises(Exception, match=r"input '\w+_i0' is float32\[1, 3, 8, 9\]"):
        subgraph(tvm.nd.array(np.zeros((1, 3, 8, 9), "float32")), y)
    with pytest.raises(Exception, match=r"output 0 is float32\[1, 3, 8, 8\], and was compiled as .*1, 4, 6, 6"):
        subgraph(x, x)


def test_a_closed_library_is_freed_outside_of_the_loader(
    partitioned: tvm.IRModule, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loader holds a lock while it closes a library, and an engine's threads may wait for that lock."""
    made: List[weakref.ref] = []

    def create(*args: Any) -> Subgraph:
        subgraph = Subgraph(*args)
        made.append(weakref.ref(subgraph))
        return subgraph

    monkeypatch.setattr(runtime, "Subgraph", create)
    run_library(compile_library(partitioned, tmp_path / "lib.so"), DATA)
    gc.collect()
    assert [reference() is None for reference in made] == [True, True]
