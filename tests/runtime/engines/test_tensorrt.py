"""The GPU engine: tensors wherever they lie, precision, dynamic shapes, errors."""

from __future__ import annotations

import ctypes
import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, Dict, List, Tuple

import numpy as np
import pytest
import tvm
from tvm import relay
from tvm.contrib.graph_executor import GraphModule

import relay_trt
from relay_trt.graph import Profile
from relay_trt.runtime import cuda
from relay_trt.runtime.builders import ConversionError
from relay_trt.runtime.engines import BuildRequest, EngineError
from relay_trt.runtime.engines.tensorrt import TensorRTEngine, _uses_float16
from relay_trt.runtime.settings import Settings
from relay_trt.runtime.subgraph import Subgraph
from relay_trt.runtime.tensorrt_library import load_tensorrt

from ...support import assert_close, compile_library, module, random, run_graph, run_tvm
from ..support import Network, call, dense, relu, view

pytestmark = pytest.mark.gpu

CPU, GPU = tvm.cpu(0), tvm.cuda(0)
PLACES = {"device": [GPU], "host": [CPU], "host to device": [CPU, GPU], "device to host": [GPU, CPU]}


@pytest.fixture(autouse=True)
def exact_and_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TVM_TENSORRT_ENGINE", "tensorrt")
    monkeypatch.setenv("TVM_TENSORRT_USE_TF32", "0")
    monkeypatch.setenv("TVM_TENSORRT_BUILDER_LEVEL", "0")


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


def test_the_host_may_change_its_tensors_at_once() -> None:
    subgraph = relu(1 << 20)
    x, y = tvm.nd.array(np.ones((1 << 20,), "float32")), tvm.nd.empty((1 << 20,))
    for value in range(1, 5):
        x.copyfrom(np.full((1 << 20,), value, "float32"))
        subgraph.run([view(x)], [view(y)])
        assert (y.numpy() == value).all()


def product(size: int, **options: Any) -> Tuple[Subgraph, np.ndarray, np.ndarray]:
    """A product of large matrices: its subgraph, its input and its value."""
    subgraph, weight = dense(size, size, size, **options)
    x = random((size, size), seed=1)
    return subgraph, x, x.astype("float64") @ weight.T.astype("float64")


def error(subgraph: Subgraph, x: np.ndarray, want: np.ndarray) -> float:
    """How far the output is off, in the scale of its values."""
    (got,) = call(subgraph, x, devices=[GPU])
    return float(np.abs(got - want).max() / np.abs(want).max())


def test_tf32(monkeypatch: pytest.MonkeyPatch) -> None:
    # TensorRT itself chooses the fastest kernel: only a full search of a large product surely ends with TF32.
    monkeypatch.setenv("TVM_TENSORRT_BUILDER_LEVEL", "3")
    errors: Dict[str, float] = {}
    for switch in ("0", "1"):
        monkeypatch.setenv("TVM_TENSORRT_USE_TF32", switch)
        errors[switch] = error(*product(2048))
    assert errors["0"] < 1e-5
    assert 1e-5 < errors["1"] < 1e-2


@pytest.mark.parametrize(
    ("option", "variable", "half"), [(True, None, True), (False, "1", True), (True, "0", False), (False, None, False)]
)
def test_fp16(option: bool, variable: Any, half: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if half and not hasattr(load_tensorrt().BuilderFlag, "FP16"):
        pytest.skip("this TensorRT takes float16 only from the network's own types")
    monkeypatch.setenv("TVM_TENSORRT_BUILDER_LEVEL", "3")
    if variable is not None:
        monkeypatch.setenv("TVM_TENSORRT_USE_FP16", variable)
    off = error(*product(1024, use_fp16=option))
    assert (1e-5 < off < 1e-2) if half else off < 1e-5


def test_fp16_by_types(monkeypatch: pytest.MonkeyPatch) -> None:
    """What TensorRT 11 has in place of the flag: here as the network's own types."""
    monkeypatch.setenv("TVM_TENSORRT_BUILDER_LEVEL", "3")
    monkeypatch.setenv("TVM_TENSORRT_STRONG_TYPES", "1")
    subgraph, x, want = product(1024, use_fp16=True)
    assert 1e-5 < error(subgraph, x, want) < 1e-2
    assert any(map(_uses_float16, subgraph.information()))
    assert error(*product(1024)) < 1e-5  # of float16 nobody spoke


def test_float16_is_verified(monkeypatch: pytest.MonkeyPatch, log: pytest.LogCaptureFixture) -> None:
    """A network in which TensorRT may not use float16 at all stands for one in which it does not want to."""
    x = random((4, 64), low=1, high=2)
    net = Network()
    mean = net.kernel("mean", net.input(4, 64), shape=(4,), axis=[1], keepdims=False, exclude=False)
    subgraph = net.subgraph(mean, use_fp16=True)
    np.testing.assert_allclose(call(subgraph, x)[0], x.mean(axis=1), rtol=1e-5)
    assert "tested: float16 was asked for, and TensorRT chose float32 for every layer" in log.text
    monkeypatch.setenv("TVM_TENSORRT_STRICT", "1")
    with pytest.raises(EngineError, match="TensorRT chose float32 for every layer, which TVM_TENSORRT_STRICT forbids"):
        call(net.subgraph(mean, use_fp16=True), x)


def test_float16_is_counted(monkeypatch: pytest.MonkeyPatch, log: pytest.LogCaptureFixture) -> None:
    monkeypatch.setenv("TVM_TENSORRT_BUILDER_LEVEL", "3")
    monkeypatch.setenv("TVM_TENSORRT_STRICT", "1")
    subgraph, x, want = product(1024, use_fp16=True)
    assert error(subgraph, x, want) < 1e-2
    assert re.search(r"tested: [1-9]\d* of \d+ layers read or write float16", log.text)


def test_plans_are_smaller_in_float16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TVM_TENSORRT_BUILDER_LEVEL", "3")
    sizes = []
    for half in (False, True):
        subgraph, x, _ = product(1024, use_fp16=half)
        call(subgraph, x)
        sizes.append(len(bytes(subgraph.compiled_plan().plan)))
    assert sizes[1] < 0.7 * sizes[0]  # the weights are nearly all of it


def test_float16_tensors() -> None:
    net = Network()
    x = net.input(2, 8, dtype="float16")
    weight = net.constant(random((4, 8), "float16"))
    subgraph = net.subgraph(net.kernel("nn.dense", x, weight, shape=(2, 4), dtype="float16"))
    value = random((2, 8), "float16", seed=1)
    want = value.astype("float32") @ random((4, 8), "float16").astype("float32").T
    (got,) = call(subgraph, value, devices=[GPU])
    assert got.dtype == np.float16
    np.testing.assert_allclose(got, want, rtol=2e-3, atol=2e-3)


# Sums, or sums of squares, of what float16 can hold, but not their sums.
LONG_SUMS = {
    "mean": lambda x, one, zero: relay.mean(x, axis=-1),
    "variance": lambda x, one, zero: relay.variance(x, axis=-1),
    "nn.l2_normalize": lambda x, one, zero: relay.nn.l2_normalize(x, eps=1e-6, axis=[1]),
    "nn.layer_norm": lambda x, one, zero: relay.nn.layer_norm(x, one, zero),
    "nn.group_norm": lambda x, one, zero: relay.nn.group_norm(x, one, zero, num_groups=2),
}


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("op", LONG_SUMS)
def test_long_sums_in_float16(op: str, dtype: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Allowed to compute in float16, TensorRT still does not overflow; nor where the tensors are float16."""
    monkeypatch.setenv("TVM_TENSORRT_BUILDER_LEVEL", "3")

    def body(dtype: str) -> tvm.IRModule:
        x = relay.var("x", shape=(8, 4096), dtype=dtype)
        one, zero = (relay.const(np.full(4096, value, dtype)) for value in (1, 0))
        return module(relay.Function([x], LONG_SUMS[op](relay.nn.relu(x), one, zero)))

    value = random((8, 4096), "float16", low=100, high=300)
    partitioned, _ = relay_trt.partition_for_tensorrt(body(dtype), use_fp16=True, use_implicit_batch=False)
    assert relay_trt.partition_report(partitioned).refused == 0
    library = compile_library(partitioned, tmp_path / "library.so")
    got = run_graph(GraphModule(tvm.runtime.load_module(str(library))["default"](CPU)), {"x": value.astype(dtype)})
    want = run_tvm(body("float32"), {"x": value.astype("float32")})
    assert_close([output.astype("float32") for output in got], want, rtol=2e-3, atol=2e-3)


def test_an_index_is_not_that_of_a_near_equal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rounded to float16, the largest elements would be equal, and the first of them would win."""
    monkeypatch.setenv("TVM_TENSORRT_BUILDER_LEVEL", "3")
    x = relay.var("x", shape=(4, 512))
    mod = module(relay.Function([x], relay.argmax(relay.nn.relu(x), axis=1)))
    value = np.random.default_rng(0).permuted(1 + np.tile(np.arange(512, dtype="float32"), (4, 1)) / (1 << 14), axis=1)
    partitioned, _ = relay_trt.partition_for_tensorrt(mod, use_fp16=True)
    assert relay_trt.partition_report(partitioned).refused == 0
    library = compile_library(partitioned, tmp_path / "library.so")
    (got,) = run_graph(GraphModule(tvm.runtime.load_module(str(library))["default"](CPU)), {"x": value})
    np.testing.assert_array_equal(got, value.argmax(axis=1))


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


def test_the_inspector_tells_of_types_and_kernels() -> None:
    subgraph, x, _ = product(64)
    call(subgraph, x)
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


def layers(seed: int) -> Subgraph:
    """A network of layers that are the same for every seed, but for their weights."""
    net = Network()
    x = net.input(8, 512)
    for layer in range(3):
        weight = net.constant(random((512, 512), seed=10 * seed + layer))
        x = net.kernel("nn.dense", x, weight, shape=(8, 512))
        x = net.kernel("nn.relu", x, shape=(8, 512))
    return net.subgraph(x)


def test_a_warm_timing_cache_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another network with the same layers finds what the first measured."""
    monkeypatch.setenv("TVM_TENSORRT_BUILDER_LEVEL", "3")
    monkeypatch.setenv("TVM_TENSORRT_CACHE_DIR", str(tmp_path / "cache"))
    seconds, records = [], []
    for seed in range(2):
        started = time.monotonic()
        call(layers(seed), random((8, 512)))
        seconds.append(time.monotonic() - started)
        (record,) = (tmp_path / "cache").glob("timing_*.record")
        records.append(record.stat().st_size)
    assert records[0] == records[1] > 100  # nothing new was measured the second time
    assert len(list((tmp_path / "cache").glob("*.plan"))) == 2
    print("cold and warm:", seconds)


def test_without_a_directory_a_process_keeps_its_timings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TVM_TENSORRT_BUILDER_LEVEL", "3")
    monkeypatch.setattr("relay_trt.runtime.engines.tensorrt._measured", measured := {})  # type: ignore[var-annotated]
    sizes = []
    for seed in range(2):
        call(layers(seed), random((8, 512)))
        (timings,) = measured.values()
        sizes.append(len(timings))
    assert sizes[0] == sizes[1] > 100


def test_tactic_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TVM_TENSORRT_TACTIC_SOURCES", "EDGE_MASK_CONVOLUTIONS, JIT_CONVOLUTIONS")
    call(relu(2, 3), random((2, 3)))
    monkeypatch.setenv("TVM_TENSORRT_TACTIC_SOURCES", "CUDNN,CUFFT")
    with pytest.raises(ValueError, match="TACTIC_SOURCES has CUFFT; this TensorRT has .*EDGE_MASK_CONVOLUTIONS"):
        call(relu(2, 3), random((2, 3)))
