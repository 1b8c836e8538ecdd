"""Tensors wherever they lie, and streams."""

from __future__ import annotations

import ctypes
from typing import Any, List

import numpy as np
import pytest
import tvm

from relay_trt.runtime import cuda

from ...support import random
from ..support import CPU, GPU, PLACES, Network, call, dense, relu, view

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("exact_and_quick")]


@pytest.mark.parametrize("devices", PLACES.values(), ids=PLACES)
def test_tensors_may_lie_anywhere(devices: List[Any], builds: List[Any]) -> None:
    subgraph, weight = dense(2, 7, 5)
    for seed in range(3):
        x = random((2, 7), seed=seed)
        np.testing.assert_allclose(call(subgraph, x, devices=devices)[0], x @ weight.T, rtol=1e-5, atol=1e-5)
    assert len(builds) == 1


def test_inputs_and_outputs_here_and_there() -> None:
    net = Network()
    a, b = net.input(2, 3), net.input(2, 3)
    total = net.kernel("add", a, b, shape=(2, 3))
    subgraph = net.subgraph(total, net.kernel("negative", total, shape=(2, 3)), b)
    x, y = random((2, 3)), random((2, 3), seed=1)
    for devices in ([GPU, CPU, CPU, GPU, CPU], [CPU, GPU, GPU, CPU, GPU]):
        for got, want in zip(call(subgraph, x, y, devices=devices), [x + y, -(x + y), y]):
            np.testing.assert_allclose(got, want, rtol=1e-6)


@pytest.mark.parametrize(("device", "copies"), [(GPU, False), (CPU, True)])
def test_only_copies_take_time_to_copy(device: Any, copies: bool) -> None:
    subgraph = relu(1 << 20)
    x, y = tvm.nd.array(np.ones((1 << 20,), "float32"), device), tvm.nd.empty((1 << 20,), device=device)
    subgraph.run([view(x)], [view(y)])
    times = subgraph._engines[0].engine.timed([view(x)], [view(y)])
    assert times["engine"] > 0
    assert (times["copies"] > 0) is copies


def test_the_host_may_change_its_tensors_at_once() -> None:
    subgraph = relu(1 << 20)
    x, y = tvm.nd.array(np.ones((1 << 20,), "float32")), tvm.nd.empty((1 << 20,))
    for value in range(1, 5):
        x.copyfrom(np.full((1 << 20,), value, "float32"))
        subgraph.run([view(x)], [view(y)])
        assert (y.numpy() == value).all()


def test_the_work_is_on_tvm_s_stream() -> None:
    subgraph = relu(1 << 20)
    x = tvm.nd.array(np.full((1 << 20,), 3, "float32"), GPU)
    y = tvm.nd.array(np.zeros((1 << 20,), "float32"), GPU)
    subgraph.run([view(x)], [view(y)])  # builds
    y.copyfrom(np.zeros((1 << 20,), "float32"))
    stream = GPU.create_raw_stream()
    GPU.set_raw_stream(stream)
    try:
        subgraph.run([view(x)], [view(y)])
        GPU.sync(stream)  # and nothing else
    finally:
        GPU.set_raw_stream(ctypes.c_void_p(None))
    assert (y.numpy() == 3).all()
    GPU.free_raw_stream(stream)


def test_each_stream_has_its_own_context() -> None:
    subgraph = relu(1 << 16)
    value = random((1 << 16,))
    call(subgraph, value, devices=[GPU])
    engine = subgraph._engines[0].engine
    streams = [GPU.create_raw_stream() for _ in range(2)]
    try:
        for stream in streams * 2:
            GPU.set_raw_stream(stream)
            x, y = tvm.nd.array(value, GPU), tvm.nd.empty((1 << 16,), device=GPU)
            subgraph.run([view(x)], [view(y)])
            GPU.sync(stream)
            np.testing.assert_array_equal(y.numpy(), np.maximum(value, 0))
        assert len(engine._contexts) == 3
    finally:
        GPU.set_raw_stream(ctypes.c_void_p(None))
        del engine, subgraph
        for stream in streams:
            GPU.free_raw_stream(stream)


def test_there_are_not_more_contexts_than_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relay_trt.runtime.engines.tensorrt.MAX_CONTEXTS", 2)
    subgraph = relu(8)
    value = random((8,))
    call(subgraph, value, devices=[GPU])
    engine = subgraph._engines[0].engine
    for _ in range(4):
        with cuda.stream() as stream:
            GPU.set_raw_stream(ctypes.c_void_p(stream))
            try:
                np.testing.assert_array_equal(call(subgraph, value, devices=[GPU])[0], np.maximum(value, 0))
            finally:
                GPU.set_raw_stream(ctypes.c_void_p(None))
        assert len(engine._contexts) <= 2
