from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import threading
import time
import weakref
from pathlib import Path
from typing import Any, Callable, List

import numpy as np
import pytest
import tvm
from tvm import relay
from tvm._ffi.runtime_ctypes import TVMArray
from tvm.contrib.graph_executor import GraphModule
from tvm.runtime.vm import Executable, VirtualMachine

import relay_trt
from relay_trt.codegen import c_source
from relay_trt.codegen.pass_config import KEY
from relay_trt.graph import FORMAT, Graph
from relay_trt.runtime import module as runtime
from relay_trt.runtime.subgraph import Subgraph

from ..support import (
    assert_close,
    compile_library,
    fork,
    module,
    not_offloaded,
    random,
    run_graph,
    run_library,
    run_tvm,
)

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
    executable = relay.vm.compile(partitioned, target="llvm")
    machine = VirtualMachine(relay_trt.load(executable), tvm.cpu(0))
    assert_close([machine.invoke("main", DATA["x"]).numpy()], expected)
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
    monkeypatch.setattr(
        module_of_codegen, "c_source", lambda graph, path: [graphs.append(graph), original(graph, path)][1]
    )
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


def test_the_pass_context_wins_where_it_differs_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    mod, config = relay_trt.partition_for_tensorrt(
        network(), version=(8, 6, 1), max_workspace_size=1 << 20, use_fp16=True
    )

    def build() -> None:
        with tvm.transform.PassContext(opt_level=3, config={KEY: {"use_fp16": False}}):
            relay.build(mod, target="llvm")

    for graph in serialized(mod, monkeypatch, build):
        assert graph.options.to_dict() == {**config, "use_fp16": False}


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
    shapeless = TVMArray.from_buffer_copy(x.handle.contents)
    shapeless.shape = None
    with pytest.raises(Exception, match=f"{symbol} got a tensor without a shape, as TVM's AOT executor has them"):
        subgraph(tvm.nd.NDArray(ctypes.pointer(shapeless), is_view=True), y)


def subgraph_function(library: tvm.runtime.Module, mod: tvm.IRModule) -> Any:
    """The function of a module's first subgraph."""
    return library.get_function(relay_trt.partition_report(mod).subgraphs[0].symbol, query_imports=True)


def test_a_subgraph_answers_questions(partitioned: tvm.IRModule, tmp_path: Path) -> None:
    library = tvm.runtime.load_module(str(compile_library(partitioned, tmp_path / "lib.so")))
    function = subgraph_function(library, partitioned)
    found = runtime.live_subgraphs[function("id")]
    assert found.graph.symbol == relay_trt.partition_report(partitioned).subgraphs[0].symbol
    assert function("what a later library asks") == 0


class Stop(BaseException):
    """As KeyboardInterrupt, one that TVM does not take for an error; and one that the runtime does not know."""


# Where the runtime does not catch it, ctypes drops it, with a warning.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("exception", [KeyboardInterrupt, SystemExit, Stop])
def test_an_interrupted_call_does_not_succeed(
    partitioned: tvm.IRModule,
    expected: List[np.ndarray],
    exception: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupt(*_: object) -> None:
        raise exception

    path = compile_library(partitioned, tmp_path / "lib.so")
    with monkeypatch.context() as patch:
        patch.setattr(runtime.Graph, "from_json", interrupt)
        with pytest.raises(KeyboardInterrupt, match="main_0 was interrupted before it was done"):
            run_library(path, DATA)
    graph_module = GraphModule(tvm.runtime.load_module(str(path))["default"](tvm.cpu(0)))
    with monkeypatch.context() as patch:
        patch.setattr(Subgraph, "run", interrupt)
        with pytest.raises(KeyboardInterrupt, match="main_0 was interrupted before it was done"):
            run_graph(graph_module, DATA)
    assert_close(run_graph(graph_module, DATA), expected)


def chain(length: int) -> tvm.IRModule:
    """That many subgraphs, one after the other."""
    x = relay.var("x", shape=(1, 3, 8, 8))
    body: relay.Expr = x
    for _ in range(length):
        body = not_offloaded(relay.nn.relu(body))
    mod, _ = relay_trt.partition_for_tensorrt(module(body))
    assert len(relay_trt.partition_report(mod).subgraphs) == length
    return mod


MANY = 40


@pytest.fixture(scope="module")
def long_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_library(chain(MANY), tmp_path_factory.mktemp("long") / "lib.so")


@pytest.fixture
def freed(monkeypatch: pytest.MonkeyPatch) -> List[str]:
    """For each subgraph that is freed, the thread that does it."""
    threads: List[str] = []
    references: List[weakref.ref] = []

    def create(*args: Any, **kwargs: Any) -> Subgraph:
        subgraph = Subgraph(*args, **kwargs)
        references.append(weakref.ref(subgraph, lambda _: threads.append(threading.current_thread().name)))
        return subgraph

    monkeypatch.setattr(runtime, "Subgraph", create)
    monkeypatch.setattr(runtime, "references", references, raising=False)  # they must live for their callbacks
    return threads


def wait_for(condition: Callable[[], bool], seconds: float = 10) -> bool:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
    return condition()


def test_a_closed_library_is_freed_outside_of_the_loader(long_library: Path, freed: List[str]) -> None:
    """The loader holds a lock while it closes a library, and an engine's threads may wait for that lock."""
    run_library(long_library, DATA)
    assert wait_for(lambda: len(freed) == MANY)
    assert set(freed) == {"relay_trt-release"}


def test_it_is_freed_while_the_main_thread_waits(long_library: Path, freed: List[str]) -> None:
    """In a lock, for something that comes only after that."""
    lock = threading.Lock()
    lock.acquire()

    def work() -> None:
        run_library(long_library, DATA)
        if wait_for(lambda: len(freed) == MANY):
            lock.release()

    threading.Thread(target=work).start()
    assert lock.acquire(timeout=20)


def test_a_forked_process_does_not_free_its_parents(
    partitioned: tvm.IRModule, tmp_path: Path, freed: List[str]
) -> None:
    library = tvm.runtime.load_module(str(compile_library(partitioned, tmp_path / "lib.so")))
    function = subgraph_function(library, partitioned)
    number = function("id")
    pid = fork()
    if pid == 0:
        del library, function  # closes its copy
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    assert not wait_for(lambda: bool(freed), seconds=0.3)
    assert function("id") == number
    x, y = tvm.nd.array(DATA["x"]), tvm.nd.array(np.zeros((1, 4, 6, 6), "float32"))
    function(x, y)
    del library, function
    assert wait_for(lambda: len(freed) == 1)


END = """if True:
    import sys, weakref
    import numpy as np, tvm
    from tvm.contrib.graph_executor import GraphModule
    import relay_trt.runtime

    modules = [GraphModule(tvm.runtime.load_module(path)["default"](tvm.cpu(0))) for path in sys.argv[1:]]
    for module in modules:
        module.run(x=np.ones((1, 3, 8, 8), "float32"))
    say = lambda _: print("freed", flush=True)
    references = [weakref.ref(subgraph, say) for subgraph in relay_trt.runtime.module.live_subgraphs.values()]
"""


@pytest.mark.parametrize(
    ("last", "freed"),
    [("", 0), ("del modules, module\n", MANY + 2), ("del modules, module; raise SystemExit", MANY + 2)],
    ids=["as it is", "closed", "closed and left"],
)
def test_a_process_ends_cleanly(
    partitioned: tvm.IRModule, long_library: Path, tmp_path: Path, last: str, freed: int
) -> None:
    libraries = [long_library, compile_library(partitioned, tmp_path / "lib.so")]
    done = subprocess.run(
        [sys.executable, "-W", "error::ResourceWarning", "-c", f"{END}    {last}", *libraries],
        env={**os.environ, "TVM_TENSORRT_ENGINE": "onnxruntime"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split() == ["freed"] * freed
