"""One subgraph: what it accepts, when it builds, and that threads do not disturb each other."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from typing import Any, Dict, List, Optional, Sequence

import numpy as np
import pytest
import tvm
from tvm import relay
from tvm.runtime.vm import VirtualMachine

import relay_trt
from relay_trt.graph import Profile
from relay_trt.runtime.engines import EngineError, choose_engine
from relay_trt.runtime.engines.onnxruntime import OnnxRuntimeEngine
from relay_trt.runtime.settings import Settings
from relay_trt.runtime.subgraph import ArgumentError, Subgraph

from ..support import module, random
from .support import Network, call, dense, relu, take_only_profiles, view


@pytest.fixture(autouse=True)
def on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TVM_TENSORRT_ENGINE", "onnxruntime")


@pytest.fixture
def only_profiles(monkeypatch: pytest.MonkeyPatch) -> None:
    take_only_profiles(monkeypatch)


def batches(builds: Sequence[Any]) -> List[int]:
    """The largest batches for which engines were built."""
    return [request.profiles[0].max[0] for request in builds]


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (
            tvm.nd.empty((2, 4)),
            tvm.nd.empty((2, 3)),
            r"input 'x0' is float32\[2, 4\], and was compiled as float32\[2, 3\]",
        ),
        (tvm.nd.empty((2, 3, 1)), tvm.nd.empty((2, 3)), r"input 'x0' is float32\[2, 3, 1\]"),
        (tvm.nd.empty((2, 3), "float16"), tvm.nd.empty((2, 3)), r"input 'x0' is float16\[2, 3\]"),
        (
            tvm.nd.empty((2, 3)),
            tvm.nd.empty((3, 2)),
            r"output 0 is float32\[3, 2\], and was compiled as float32\[2, 3\]",
        ),
        (tvm.nd.empty((2, 3)), tvm.nd.empty((2, 3), "int32"), r"output 0 is int32\[2, 3\]"),
    ],
)
def test_wrong_arguments(x: tvm.nd.NDArray, y: tvm.nd.NDArray, message: str, builds: List[Any]) -> None:
    with pytest.raises(ArgumentError, match=f"tested: {message}"):
        relu(2, 3).run([view(x)], [view(y)])
    assert not builds  # an error of the caller's costs no build


def test_a_tensor_with_gaps(monkeypatch: pytest.MonkeyPatch) -> None:
    array = tvm.nd.array(np.zeros((2, 3), "float32"))
    strided = view(array)
    strided._strides = (6, 2)
    with pytest.raises(ArgumentError, match="input 'x0' is not compact"):
        relu(2, 3).run([strided], [view(array)])
    with pytest.raises(ArgumentError, match="output 0 is not compact"):
        relu(2, 3).run([view(array)], [strided])


def test_the_engine_is_built_when_it_is_needed_and_once(builds: List[Any]) -> None:
    subgraph, weight = dense(2, 7, 5)
    assert not builds
    for seed in range(3):
        x = random((2, 7), seed=seed)
        np.testing.assert_allclose(call(subgraph, x)[0], x @ weight.T, rtol=1e-5, atol=1e-5)
    assert len(builds) == 1
    assert builds[0].profiles == (Profile((2, 7), (2, 7), (2, 7)),)


def test_a_failed_build_is_tried_again(builds: List[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    subgraph = relu(2, 3)
    monkeypatch.setenv("TVM_TENSORRT_STRICT", "perhaps")
    with pytest.raises(ValueError, match="TVM_TENSORRT_STRICT"):
        call(subgraph, random((2, 3)))
    monkeypatch.delenv("TVM_TENSORRT_STRICT")
    np.testing.assert_array_equal(call(subgraph, -np.ones((2, 3), "float32"))[0], np.zeros((2, 3)))
    assert len(builds) == 1


def test_an_engine_for_other_shapes_is_built_anew(builds: List[Any], only_profiles: None) -> None:
    subgraph = relu(-1, 3)
    for batch in (2, 1, 5, 4):
        call(subgraph, random((batch, 3)), batch=batch)
    assert [request.profiles for request in builds] == [
        (Profile((1, 3), (2, 3), (2, 3)),),
        (Profile((1, 3), (5, 3), (5, 3)),),
    ]


def test_a_dynamic_batch(builds: List[Any]) -> None:
    subgraph, weight = dense(-1, 7, 5)
    for batch in (1, 4, 2, 9):
        x = random((batch, 7), seed=batch)
        np.testing.assert_allclose(call(subgraph, x, batch=batch)[0], x @ weight.T, rtol=1e-5, atol=1e-5)
    assert len(builds) == 1


def test_an_empty_batch_computes_nothing(builds: List[Any]) -> None:
    assert call(relu(-1, 3), np.empty((0, 3), "float32"), batch=0)[0].shape == (0, 3)
    assert not builds


def test_an_empty_input_of_a_full_output() -> None:
    net = Network()
    both = net.kernel("concatenate", net.input(-1, 3), net.input(2, 3), shape=(-1, 3), axis=0)
    subgraph = net.subgraph(both)
    x = random((2, 3))
    np.testing.assert_array_equal(call(subgraph, np.empty((0, 3), "float32"), x, batch=2)[0], x)


def test_an_empty_output_beside_a_full_one(engine: str) -> None:
    """A sum over an empty batch is 0: there is something to compute, or to refuse."""
    net = Network()
    x = net.input(-1, 3)
    total = net.kernel("sum", x, shape=(3,), axis=[0], keepdims=False, exclude=False)
    subgraph = net.subgraph(net.kernel("nn.relu", x, shape=(-1, 3)), total)
    call(subgraph, random((2, 3)), batch=2)
    try:
        empty, full = call(subgraph, np.empty((0, 3), "float32"), batch=0)
    except EngineError as refusal:
        assert engine == "tensorrt" and "shape (0, 3) of input 'x0'" in str(refusal)
    else:
        assert empty.shape == (0, 3)
        np.testing.assert_array_equal(full, np.zeros(3))


def test_scalars(engine: str) -> None:
    net = Network()
    subgraph = net.subgraph(net.kernel("add", net.input(), net.input(), shape=()))
    for value in (1.5, -2.0):
        (got,) = call(subgraph, np.float32(value), np.float32(3))
        assert got.shape == () and got == value + 3


# Dynamic batches

PROFILE = {"x": {"min": (1, 6), "opt": (2, 6), "max": (5, 6)}}


def scaled() -> tvm.IRModule:
    """A dense layer for any batch, multiplied by a scalar."""
    x, scale = relay.var("x", shape=(relay.Any(), 6)), relay.var("scale", shape=())
    product = relay.nn.dense(x, relay.const(random((4, 6)))) * scale
    return module(relay.Function([x, scale], relay.nn.softmax(relay.nn.relu(product))))


@pytest.fixture(scope="module")
def expected() -> Any:
    """What TVM computes of it alone."""
    return VirtualMachine(relay.vm.compile(scaled(), target="llvm"), tvm.cpu(0))


@pytest.fixture(scope="module")
def executables() -> Dict[bool, Any]:
    """Compiled without a profile, and with one."""
    compiled = {}
    for shapes in (None, PROFILE):
        mod, _ = relay_trt.partition_for_tensorrt(scaled(), use_implicit_batch=False, input_shapes=shapes)
        assert relay_trt.partition_report(mod).refused == 0
        compiled[shapes is not None] = relay.vm.compile(mod, target="llvm").mod
    return compiled


@pytest.mark.parametrize(
    ("multi_engine", "profile", "built"),
    [("0", False, [1, 5]), ("1", False, [1, 5, 2, 3]), ("0", True, [5]), ("1", True, [5])],
)
def test_batches_as_they_come(
    multi_engine: str,
    profile: bool,
    built: List[int],
    engine: str,
    expected: Any,
    executables: Dict[bool, Any],
    builds: List[Any],
    only_profiles: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One engine for all up to the largest, one for each, or one for the profile."""
    monkeypatch.setenv("TVM_TENSORRT_MULTI_ENGINE", multi_engine)
    machine = VirtualMachine(relay_trt.load(executables[profile]), tvm.cpu(0))
    for number, batch in enumerate((1, 5, 1, 0, 2, 3, 0, 1, 3, 2)):
        arguments = random((batch, 6), seed=number), np.float32(number - 4)
        got, want = (vm.invoke("main", *arguments).numpy() for vm in (machine, expected))
        assert got.shape == (batch, 4)
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
    assert batches(builds) == built


def test_a_batch_beyond_the_profile(
    engine: str,
    executables: Dict[bool, Any],
    builds: List[Any],
    only_profiles: None,
    log: pytest.LogCaptureFixture,
) -> None:
    """It is said, and there is one engine for both from then on."""
    machine = VirtualMachine(relay_trt.load(executables[True]), tvm.cpu(0))
    for batch in (2, 7, 5, 1, 6):
        assert machine.invoke("main", random((batch, 6)), np.float32(1)).numpy().shape == (batch, 4)
    assert [request.profiles[0] for request in builds] == [
        Profile((1, 6), (2, 6), (5, 6)),
        Profile((1, 6), (2, 6), (7, 6)),
    ]
    lines = [record.getMessage() for record in log.records if "is outside of its profile" in record.getMessage()]
    assert len(lines) == 1 and "the shape (7, 6) of input" in lines[0]


def test_a_larger_engine_serves_all_shapes_before_it(engine: str, builds: List[Any], only_profiles: None) -> None:
    """Of two dynamic dimensions, one grows while the other shrinks."""
    subgraph = relu(-1, -1)
    for shape in ((5, 2), (2, 6), (5, 2), (5, 6), (1, 1)):
        x = random(shape)
        np.testing.assert_array_equal(call(subgraph, x, shapes=[shape])[0], np.maximum(x, 0))
    assert [request.profiles[0].max for request in builds] == [(5, 2), (5, 6)]


def test_of_many_engines_the_least_recently_used_goes(
    engine: str, builds: List[Any], only_profiles: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TVM_TENSORRT_MULTI_ENGINE", "1")
    monkeypatch.setenv("TVM_TENSORRT_MAX_ENGINES", "2")
    subgraph, weight = dense(-1, 7, 5)
    references: List[weakref.ref] = []
    for batch in (1, 2, 1, 3, 1, 2, 1, 2):
        x = random((batch, 7), seed=batch)
        np.testing.assert_allclose(call(subgraph, x, batch=batch)[0], x @ weight.T, rtol=1e-5, atol=1e-5)
        references += [weakref.ref(kept.engine) for kept in subgraph._engines]
    assert batches(builds) == [1, 2, 3, 2]
    gc.collect()
    assert len({id(reference()) for reference in references if reference()}) == 2  # the others are freed


def test_each_gpu_has_as_many(builds: List[Any], only_profiles: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TVM_TENSORRT_MULTI_ENGINE", "1")
    monkeypatch.setenv("TVM_TENSORRT_MAX_ENGINES", "1")
    subgraph, _ = dense(-1, 7, 5)
    for batch, device_id in ((1, 0), (1, 1), (2, 0), (1, 1), (2, 0), (1, 0)):
        subgraph.build(batch, device_id)
    assert [(request.profiles[0].max[0], request.device_id) for request in builds] == [(1, 0), (1, 1), (2, 0), (1, 0)]


def test_an_engine_serves_while_a_larger_one_is_built(
    engine: str, builds: List[Any], only_profiles: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    subgraph, weight = dense(-1, 7, 5)

    def result(batch: int) -> Optional[np.ndarray]:
        x = random((batch, 7), seed=batch)
        (got,) = call(subgraph, x, batch=batch)
        np.testing.assert_allclose(got, x @ weight.T, rtol=1e-5, atol=1e-5)
        return got

    result(2)
    kind = choose_engine(Settings.from_environment())
    build, begun, may_end = kind.build, threading.Event(), threading.Event()

    def slow(request: Any) -> Any:
        begun.set()
        assert may_end.wait(60)
        return build(request)

    monkeypatch.setattr(kind, "build", slow)
    larger: List[Any] = []
    threads = [threading.Thread(target=lambda: larger.append(result(4))) for _ in range(3)]
    for thread in threads:
        thread.start()
    assert begun.wait(60)
    for batch in (1, 2, 1):
        result(batch)
    assert not larger and batches(builds) == [2]
    may_end.set()
    for thread in threads:
        thread.join()
    assert len(larger) == 3 and batches(builds) == [2, 4]


def test_outputs_may_be_inputs_constants_and_each_other() -> None:
    net = Network()
    x, c = net.input(2, 3), net.constant(random((4,)))
    y = net.kernel("negative", x, shape=(2, 3))
    value = random((2, 3))
    got = call(net.subgraph(x, y, c, y, x), value)
    for output, want in zip(got, [value, -value, random((4,)), -value, value]):
        np.testing.assert_array_equal(output, want)


def test_the_same_tensor_as_two_inputs() -> None:
    net = Network()
    subgraph = net.subgraph(net.kernel("add", net.input(2, 3), net.input(2, 3), shape=(2, 3)))
    x, y = tvm.nd.array(random((2, 3))), tvm.nd.empty((2, 3))
    subgraph.run([view(x), view(x)], [view(y)])
    np.testing.assert_array_equal(y.numpy(), 2 * x.numpy())


def test_threads_get_what_one_alone_gets(builds: List[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    running: List[int] = []
    run = OnnxRuntimeEngine._run  # what is within the engine's lock

    def slow(self: OnnxRuntimeEngine, *tensors: Any) -> None:
        running.append(1)
        time.sleep(1e-4)
        assert len(running) == 1  # an engine is used by one thread at a time
        run(self, *tensors)
        running.pop()

    monkeypatch.setattr(OnnxRuntimeEngine, "_run", slow)
    subgraph, weight = dense(3, 32, 16)
    inputs = [random((3, 32), seed=seed) for seed in range(8)]
    outputs: List[List[np.ndarray]] = [[] for _ in inputs]
    start = threading.Barrier(len(inputs))

    def work(index: int) -> None:
        start.wait()
        for _ in range(20):
            outputs[index].append(call(subgraph, inputs[index])[0])

    threads = [threading.Thread(target=work, args=(index,)) for index in range(len(inputs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(builds) == 1
    for x, got in zip(inputs, outputs):
        assert len(got) == 20
        for output in got:
            np.testing.assert_allclose(output, x @ weight.T, rtol=1e-5, atol=1e-5)


def test_subgraphs_do_not_share_anything() -> None:
    subgraphs: List[Subgraph] = [relu(2, 3), relu(4, 5)]
    for _ in range(2):
        for subgraph, shape in zip(subgraphs, [(2, 3), (4, 5)]):
            x = random(shape)
            np.testing.assert_array_equal(call(subgraph, x)[0], np.maximum(x, 0))
