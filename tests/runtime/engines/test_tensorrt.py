"""The GPU engine: dynamic shapes, threads, plans, what it tells, errors."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, List

import numpy as np
import pytest
import tvm
from tvm import relay
from tvm.contrib.graph_executor import GraphModule

import relay_trt
from relay_trt.graph import Profile
from relay_trt.runtime.builders import ConversionError
from relay_trt.runtime.engines import BuildRequest, EngineError
from relay_trt.runtime.engines.tensorrt import TensorRTEngine
from relay_trt.runtime.settings import Settings
from relay_trt.runtime.subgraph import Subgraph
from relay_trt.runtime.tensorrt_library import load_tensorrt

from ...support import assert_close, compile_library, module, random, run_graph, run_tvm
from ..support import CPU, GPU, Network, call, dense, relu, view

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("exact_and_quick")]


def test_a_graph_for_a_newer_tensorrt_is_refused() -> None:
    with pytest.raises(EngineError, match="tested was compiled for TensorRT 99.1.2, and this is .*: partition with"):
        call(relu(2, 3, tensorrt_version=(99, 1, 2)), random((2, 3)))


@pytest.mark.parametrize("devices", [[GPU], [CPU]], ids=["device", "host"])
def test_a_dynamic_batch_builds_only_for_more(devices: List[Any], builds: List[Any]) -> None:
    subgraph, weight = dense(-1, 7, 5)
    for batch in (2, 1, 4, 3, 4, 5, 1):
        x = random((batch, 7), seed=batch)
        (got,) = call(subgraph, x, devices=devices, batch=batch)
        np.testing.assert_allclose(got, x @ weight.T, rtol=1e-5, atol=1e-5)
    assert [request.profiles for request in builds] == [
        (Profile((1, 7), (batch, 7), (batch, 7)),) for batch in (2, 4, 5)
    ]


def test_an_empty_batch_computes_nothing(builds: List[Any]) -> None:
    assert call(relu(-1, 3), np.empty((0, 3), "float32"), devices=[GPU], batch=0)[0].shape == (0, 3)
    assert not builds


def test_an_empty_input_of_a_full_output_is_computed_or_refused() -> None:
    net = Network()
    subgraph = net.subgraph(net.kernel("concatenate", net.input(-1, 3), net.input(2, 3), shape=(-1, 3), axis=0))
    x = random((2, 3))
    call(subgraph, x, x, batch=4)
    try:
        (got,) = call(subgraph, np.empty((0, 3), "float32"), x, batch=2)
    except EngineError as refusal:
        assert "shape (0, 3) of input 'x0'" in str(refusal)
    else:
        np.testing.assert_array_equal(got, x)


def test_two_subgraphs_on_one_gpu() -> None:
    first, weight = dense(2, 7, 5)
    second = relu(3, 4)
    for seed in range(3):
        x, y = random((2, 7), seed=seed), random((3, 4), seed=seed)
        np.testing.assert_allclose(call(first, x, devices=[GPU])[0], x @ weight.T, rtol=1e-5, atol=1e-5)
        np.testing.assert_array_equal(call(second, y, devices=[GPU])[0], np.maximum(y, 0))


def test_engines_come_and_go() -> None:
    """TensorRT's logger and the memory of each engine outlive what needs them, and no longer."""
    for _ in range(5):
        np.testing.assert_array_equal(call(relu(2), np.float32([-1, 1]), devices=[GPU])[0], [0, 1])


def test_threads_get_what_one_alone_gets() -> None:
    subgraph, weight = dense(3, 32, 16)
    inputs = [random((3, 32), seed=seed) for seed in range(4)]
    outputs: List[List[np.ndarray]] = [[] for _ in inputs]

    def work(index: int) -> None:
        for _ in range(20):
            outputs[index].append(call(subgraph, inputs[index], devices=[[GPU], [CPU]][index % 2])[0])

    threads = [threading.Thread(target=work, args=(index,)) for index in range(len(inputs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for x, got in zip(inputs, outputs):
        assert len(got) == 20
        for output in got:
            np.testing.assert_allclose(output, x @ weight.T, rtol=1e-5, atol=1e-5)


def test_through_the_graph_executor(tmp_path: Path) -> None:
    """Compiled for cuda, with all operators offloaded: no kernel of TVM's own is needed."""
    data = relay.var("data", shape=(1, 3, 16, 16))
    kernel = relay.const(random((4, 3, 3, 3)))
    mod = module(relay.nn.softmax(relay.nn.relu(relay.nn.conv2d(data, kernel, padding=(1, 1))), axis=1))
    inputs = {"data": random((1, 3, 16, 16))}
    partitioned, _ = relay_trt.partition_for_tensorrt(mod)
    path = compile_library(partitioned, tmp_path / "library.so", target="cuda")
    graph_module = GraphModule(tvm.runtime.load_module(str(path))["default"](GPU))
    want = run_tvm(mod, inputs)
    for _ in range(3):
        assert_close(run_graph(graph_module, inputs), want)


def test_an_operator_that_tensorrt_does_not_have() -> None:
    net = Network()
    with pytest.raises(ConversionError, match="operator 'nn.unheard_of' has no converter"):
        call(net.subgraph(net.kernel("nn.unheard_of", net.input(2), shape=(2,))), random((2,)))


def request(subgraph: Subgraph, **settings: Any) -> BuildRequest:
    """What a static subgraph's engine is built from."""
    shapes = [node.outputs[0].shape for node in subgraph.graph.inputs()]
    profiles = tuple(Profile(shape, shape, shape) for shape in shapes)
    return BuildRequest(subgraph.graph, subgraph._constants, Settings(**settings), profiles)


def test_a_plan_that_is_none(log: pytest.LogCaptureFixture) -> None:
    with pytest.raises(EngineError, match="tested: TensorRT cannot read the plan; the log says why"):
        TensorRTEngine.load(request(relu(2, 3)), b"no plan at all")
    assert [record for record in log.records if record.levelname == "ERROR"]


def test_the_build_is_reported(log: pytest.LogCaptureFixture) -> None:
    call(relu(2, 3), random((2, 3)))
    assert "tested: built an engine of " in log.text


EXIT = """
import sys
sys.path.insert(0, {tests!r})
import numpy as np, tvm
from tests.runtime.support import call, dense, relu
subgraph, weight = dense(2, 7, 5)
(output,) = call(subgraph, np.ones((2, 7), "float32"), devices=[tvm.cuda(0), tvm.cpu(0)])
np.testing.assert_allclose(output, np.ones((2, 7)) @ weight.T, rtol=1e-4, atol=1e-4)
other = relu(2, 3)  # alive at the end, with an engine and with staging buffers
call(other, np.ones((2, 3), "float32"))
"""


def test_the_interpreter_exits_cleanly() -> None:
    script = EXIT.format(tests=str(Path(relay_trt.__file__).parents[1]))
    done = subprocess.run([sys.executable, "-c", script], env=os.environ, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    for word in ("Traceback", "Exception ignored", "terminate", "CUDA error", "Segmentation"):
        assert word not in done.stderr


def test_a_plan_is_read_back() -> None:
    subgraph, weight = dense(2, 7, 5)
    x = random((2, 7))
    (before,) = call(subgraph, x)
    plan = subgraph.compiled_plan()
    assert plan.facts["tensorrt"] == load_tensorrt().__version__
    assert plan.facts["gpu"] and plan.facts["compute_capability"]
    engine = TensorRTEngine.load(request(subgraph), bytes(plan.plan))
    arrays = [tvm.nd.array(x), tvm.nd.empty((2, 5))]
    engine.run([view(arrays[0])], [view(arrays[1])])
    np.testing.assert_array_equal(arrays[1].numpy(), before)


def test_the_inspector_tells_of_types_and_kernels() -> None:
    subgraph, _ = dense(64, 64, 64)
    call(subgraph, random((64, 64)))
    (layer, *_) = subgraph.information()
    assert {"Name", "Inputs", "Outputs"} <= set(layer)
    assert "nn.dense" in str(subgraph.information())


def test_layers_are_timed_with_any_type_of_input() -> None:
    net = Network()
    x, indices = net.input(64, 64), net.input(3, dtype="int32")
    taken = net.kernel("take", x, indices, shape=(3, 64), axis=0, mode="clip", batch_dims=0)
    subgraph = net.subgraph(net.kernel("nn.relu", taken, shape=(3, 64)))
    with pytest.raises(EngineError, match="tested has no engine yet"):
        subgraph.profile()
    call(subgraph, random((64, 64)), np.array([5, 0, 63], "int32"), devices=[GPU])
    layers = subgraph.profile(runs=5)
    assert sum(layer.milliseconds for layer in layers) > 0
