"""Many threads, models and executors at once: each call gives what it gives alone."""

from __future__ import annotations

import ctypes
import sys
import threading
from pathlib import Path
from typing import Any, Callable, Dict, List, NamedTuple, Tuple

import numpy as np
import pytest
import tvm
from tvm import relay
from tvm.contrib.graph_executor import GraphModule
from tvm.runtime.vm import VirtualMachine

import relay_trt
from relay_trt.runtime import cuda
from relay_trt.runtime import module as runtime
from relay_trt.runtime.engines import BuildRequest

from ..support import assert_close, compile_library, module, not_offloaded, random, run_graph, run_tvm
from .support import call, dense, in_threads, relu, view

THREADS = 16


def convolution(x: relay.Expr, channels: int, seed: int, inputs: int = 3) -> relay.Expr:
    weight = relay.const(random((channels, inputs, 3, 3), seed=seed))
    return relay.nn.relu(relay.nn.conv2d(x, weight, padding=(1, 1)))


def two_subgraphs() -> tvm.IRModule:
    x = relay.var("x", shape=(2, 3, 16, 16))
    rest = relay.nn.batch_flatten(not_offloaded(convolution(x, 4, seed=1)))
    return module(relay.Function([x], relay.nn.dense(rest, relay.const(random((5, 1024), seed=2)))))


def perceptron() -> tvm.IRModule:
    x = relay.var("x", shape=(3, 32))
    hidden = relay.nn.relu(relay.nn.dense(x, relay.const(random((64, 32), seed=3))))
    return module(relay.Function([x], relay.nn.softmax(relay.nn.dense(hidden, relay.const(random((8, 64), seed=4))))))


def any_batch(*shape: int) -> relay.Var:
    return relay.var("x", shape=(relay.Any(), *shape))


def dynamic_perceptron() -> tvm.IRModule:
    x = any_batch(24)
    return module(relay.Function([x], relay.sigmoid(relay.nn.dense(x, relay.const(random((10, 24), seed=5))))))


def dynamic_convolutions() -> tvm.IRModule:
    x = any_batch(3, 8, 8)
    return module(relay.Function([x], convolution(convolution(x, 8, seed=6), 6, seed=7, inputs=8)))


class Model(NamedTuple):
    """A library, and how many rows its input may have."""

    path: Path
    shape: Tuple[int, ...]  # of the input, without the batch
    batches: Tuple[int, ...]
    by_vm: bool

    def executors(self, count: int) -> List[Callable[[np.ndarray], np.ndarray]]:
        """That many executors of one library, each of which computes the output for an input."""
        library = tvm.runtime.load_module(str(self.path))
        return [self._executor(library) for _ in range(count)]

    def _executor(self, library: tvm.runtime.Module) -> Callable[[np.ndarray], np.ndarray]:
        if self.by_vm:
            machine = VirtualMachine(library, tvm.cpu(0))
            return lambda x: np.array(machine.invoke("main", x).numpy())
        graph_module = GraphModule(library["default"](tvm.cpu(0)))
        return lambda x: np.array(run_graph(graph_module, {"x": x})[0])


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> List[Model]:
    """Two for the graph executor, and for the VM two that take several batches, with one engine for all of them."""
    folder = tmp_path_factory.mktemp("models")
    found = []
    for build, shape, batches in (
        (two_subgraphs, (3, 16, 16), (2,)),
        (perceptron, (32,), (3,)),
        (dynamic_perceptron, (24,), (1, 2, 3, 4, 5, 6)),
        (dynamic_convolutions, (3, 8, 8), (1, 2, 3, 4)),
    ):
        by_vm = len(batches) > 1
        path = folder / f"{build.__name__}.so"
        profile = {"min": (1, *shape), "opt": (2, *shape), "max": (batches[-1], *shape)}
        mod, _ = relay_trt.partition_for_tensorrt(build(), input_shapes={"x": profile} if by_vm else None)
        if by_vm:
            relay.vm.compile(mod, target="llvm").mod.export_library(str(path))
        else:
            compile_library(mod, path)
        found.append(Model(path, shape, batches, by_vm))
    return found


def test_threads_models_and_batches_at_once(engine: str, models: List[Model], builds: List[BuildRequest]) -> None:
    """Engines are built in the middle of it; bit by bit, the results are those of the same calls one by one."""
    total = 2000 if engine == "tensorrt" else 600
    executors = [model.executors(THREADS) for model in models]
    calls: List[Tuple[int, np.ndarray]] = []
    for number in range(total):
        turn, which = divmod(number, len(models))
        batches = models[which].batches
        calls.append((which, random((batches[turn % len(batches)], *models[which].shape), seed=number)))
    results: List[Any] = [None] * total
    numbers = iter(range(total))  # next() of it is atomic: threads take the next call as they become free

    def work(thread: int) -> None:
        for number in numbers:
            which, x = calls[number]
            results[number] = executors[which][thread](x)

    in_threads(THREADS, work)
    assert len(builds) == 5  # one for each subgraph
    for (which, x), got in zip(calls, results):
        np.testing.assert_array_equal(got, executors[which][0](x))
    assert len(builds) == 5


def test_that_they_are_right(engine: str, models: List[Model]) -> None:
    """What the comparison of threads with each other cannot tell."""
    mods = [two_subgraphs(), perceptron()]
    for model, mod in zip(models, mods):
        x = random((model.batches[0], *model.shape))
        assert_close([model.executors(1)[0](x)], run_tvm(mod, {"x": x}))


def test_libraries_come_and_go_in_threads(
    engine: str, models: List[Model], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same files: loaded, run and closed by all threads at once, with one cache of engines."""
    monkeypatch.setenv("TVM_TENSORRT_CACHE_DIR", str(tmp_path / "cache"))
    inputs = [random((model.batches[0], *model.shape), seed=1) for model in models]
    expected = [model.executors(1)[0](x) for model, x in zip(models, inputs)]

    def work(thread: int) -> None:
        for turn in range(4):
            which = (thread + turn) % len(models)
            (run,) = models[which].executors(1)
            for _ in range(2):
                np.testing.assert_array_equal(run(inputs[which]), expected[which])

    in_threads(8, work)


def test_growing_batches_in_threads(engine: str) -> None:
    """Engines are replaced by larger ones while others still use them."""
    subgraph, weight = dense(-1, 7, 5)

    def work(thread: int) -> None:
        for turn in range(12):
            batch = 1 + (thread + turn) % 12
            x = random((batch, 7), seed=100 * thread + turn)
            (got,) = call(subgraph, x, batch=batch)
            np.testing.assert_allclose(got, x @ weight.T, rtol=1e-4, atol=1e-5)

    in_threads(8, work)


def test_a_library_s_subgraphs_while_others_load_theirs(models: List[Model]) -> None:
    library = tvm.runtime.load_module(str(models[0].path))
    executor = GraphModule(library["default"](tvm.cpu(0)))
    kept = [relu(2) for _ in range(1000)]  # so many that to look through all takes its time
    runtime.live_subgraphs.update((id(subgraph), subgraph) for subgraph in kept)
    done = threading.Event()

    def load() -> None:
        while not done.is_set():
            made = [runtime.create_subgraph(relu(2).graph.to_json(), ctypes.c_void_p(), 0) for _ in range(20)]
            del made

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    threads = [threading.Thread(target=load) for _ in range(3)]
    try:
        for thread in threads:
            thread.start()
        for _ in range(25):
            assert len(relay_trt.subgraphs(library)) == 2
    finally:
        done.set()
        for thread in threads:
            thread.join()
        sys.setswitchinterval(interval)
    del executor


# On GPUs


only_tensorrt = pytest.mark.parametrize("engine", [pytest.param("tensorrt", marks=pytest.mark.gpu)], indirect=True)


@only_tensorrt
def test_each_thread_on_a_stream_of_its_own(engine: str) -> None:
    """With the default stream they are more than an engine keeps contexts for: those are made anew again and again."""
    gpu = tvm.cuda(0)
    most = 6
    wide = 1 << 14
    subgraphs = [dense(most, 32, 16)[0], dense(-1, 24, 8)[0], relu(most, wide), relu(-1, wide)]
    widths = [(32, 16), (24, 8), (wide, wide), (wide, wide)]

    def run(number: int, stream: Any) -> np.ndarray:
        which = number % len(subgraphs)
        batch = 1 + number // len(subgraphs) % most if which % 2 else most
        width_in, width_out = widths[which]
        # Filled anew each time: a result of an earlier call is no result.
        x = tvm.nd.array(random((batch, width_in), seed=number % 64), gpu)
        y = tvm.nd.array(np.full((batch, width_out), 77, "float32"), gpu)
        subgraphs[which].run([view(x)], [view(y)])
        gpu.sync(stream)  # and no other
        return y.numpy()

    for number in range(len(subgraphs)):  # the largest batches first: one engine then serves all
        run((most - 1) * len(subgraphs) + number, None)
    total = 2000
    results: List[Any] = [None] * total
    numbers = iter(range(total))

    def work(thread: int) -> None:
        stream = gpu.create_raw_stream()
        gpu.set_raw_stream(stream)
        try:
            for number in numbers:
                results[number] = run(number, stream)
        finally:
            gpu.set_raw_stream(ctypes.c_void_p(None))
            gpu.free_raw_stream(stream)

    in_threads(THREADS, work)
    for number, got in enumerate(results):
        np.testing.assert_array_equal(got, run(number, None))


@only_tensorrt
def test_two_gpus_at_once(engine: str, tmp_path: Path, builds: List[BuildRequest]) -> None:
    """One library, and an engine on each GPU."""
    if cuda.device_count() < 2:
        pytest.skip("there is one GPU")
    x = relay.var("x", shape=(2, 3, 16, 16))
    mod = module(relay.Function([x], convolution(x, 4, seed=1)))
    partitioned, _ = relay_trt.partition_for_tensorrt(mod)
    path = compile_library(partitioned, tmp_path / "library.so", target="cuda")
    library = tvm.runtime.load_module(str(path))
    modules = [GraphModule(library["default"](tvm.cuda(number % 2))) for number in range(8)]
    inputs = [random((2, 3, 16, 16), seed=seed) for seed in range(50)]
    results: Dict[Tuple[int, int], np.ndarray] = {}

    def work(thread: int) -> None:
        for seed, value in enumerate(inputs):
            results[thread, seed] = run_graph(modules[thread], {"x": value})[0]

    in_threads(len(modules), work)
    assert sorted(request.device_id for request in builds) == [0, 1]
    for seed, value in enumerate(inputs):
        want = run_tvm(mod, {"x": value}) if seed % 10 == 0 else None
        for thread, graph_module in enumerate(modules):
            np.testing.assert_array_equal(results[thread, seed], run_graph(graph_module, {"x": value})[0])
            if want is not None:
                assert_close([results[thread, seed]], want)
