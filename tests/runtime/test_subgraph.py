"""One subgraph: what it accepts, when it builds, and that threads do not disturb each other."""

from __future__ import annotations

import threading
import time
from typing import Any, List

import numpy as np
import pytest
import tvm

from relay_trt.runtime.engines.onnxruntime import OnnxRuntimeEngine
from relay_trt.runtime.subgraph import ArgumentError, Subgraph

from ..support import random
from .support import Network, call, dense, relu, view


@pytest.fixture(autouse=True)
def on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TVM_TENSORRT_ENGINE", "onnxruntime")


@pytest.fixture
def builds(monkeypatch: pytest.MonkeyPatch) -> List[Any]:
    """The requests for which engines were built."""
    requests: List[Any] = []
    build = OnnxRuntimeEngine.build

    def counted(request: Any) -> OnnxRuntimeEngine:
        requests.append(request)
        return build(request)

    monkeypatch.setattr(OnnxRuntimeEngine, "build", counted)
    return requests


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
    assert builds[0].shapes == ((2, 7),)


def test_a_failed_build_is_tried_again(builds: List[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    subgraph = relu(2, 3)
    monkeypatch.setenv("TVM_TENSORRT_STRICT", "perhaps")
    with pytest.raises(ValueError, match="TVM_TENSORRT_STRICT"):
        call(subgraph, random((2, 3)))
    monkeypatch.delenv("TVM_TENSORRT_STRICT")
    np.testing.assert_array_equal(call(subgraph, -np.ones((2, 3), "float32"))[0], np.zeros((2, 3)))
    assert len(builds) == 1


def test_an_engine_for_other_shapes_is_built_anew(builds: List[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OnnxRuntimeEngine, "accepts", lambda self, shapes, device_id: shapes[0][0] <= 4)
    subgraph = relu(-1, 3)
    for batch in (2, 4, 5, 1):
        call(subgraph, random((batch, 3)), batch=batch)
    assert [request.shapes for request in builds] == [((2, 3),), ((5, 3),)]


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
    run = OnnxRuntimeEngine.run

    def slow(self: OnnxRuntimeEngine, *tensors: Any) -> None:
        running.append(1)
        time.sleep(1e-4)
        assert len(running) == 1  # an engine is used by one thread at a time
        run(self, *tensors)
        running.pop()

    monkeypatch.setattr(OnnxRuntimeEngine, "run", slow)
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
