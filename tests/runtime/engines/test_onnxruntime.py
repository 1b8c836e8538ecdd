"""The CPU engine: memory, binding, what it says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, List

import numpy as np
import onnxruntime
import pytest
import tvm
from tvm import relay

import relay_trt
from relay_trt.graph import Profile
from relay_trt.options import parse_version
from relay_trt.runtime.engines import BuildRequest, EngineError
from relay_trt.runtime.engines.onnxruntime import OnnxRuntimeEngine
from relay_trt.runtime.settings import Settings

from ...support import assert_close, compile_library, module, random, run_library, run_tvm
from ..support import Network, view


def build(net: Network, graph: Any, **settings: Any) -> OnnxRuntimeEngine:
    shapes = (node.outputs[0].shape for node in graph.inputs())
    profiles = tuple(Profile(shape, shape, shape) for shape in shapes)
    return OnnxRuntimeEngine.build(BuildRequest(graph, net.constants, Settings(**settings), profiles))


def addition(*shape: int, **options: Any) -> OnnxRuntimeEngine:
    net = Network()
    graph = net.graph(net.kernel("add", net.input(*shape), net.input(*shape), shape=shape), **options)
    return build(net, graph)


def arrays(*values: np.ndarray) -> List[tvm.nd.NDArray]:
    return [tvm.nd.array(value) for value in values]


def test_tensors_are_read_and_written_where_they_lie() -> None:
    engine = addition(2, 3)
    a, b, c = arrays(random((2, 3)), random((2, 3), seed=1), np.zeros((2, 3), "float32"))
    engine.run([view(a), view(b)], [view(c)])
    np.testing.assert_array_equal(c.numpy(), a.numpy() + b.numpy())
    # Others of the same shapes, then the first ones with other values.
    d, e = arrays(random((2, 3), seed=2), np.zeros((2, 3), "float32"))
    engine.run([view(d), view(b)], [view(e)])
    np.testing.assert_array_equal(e.numpy(), d.numpy() + b.numpy())
    a.copyfrom(random((2, 3), seed=3))
    engine.run([view(a), view(b)], [view(c)])
    np.testing.assert_array_equal(c.numpy(), a.numpy() + b.numpy())
    np.testing.assert_array_equal(e.numpy(), d.numpy() + b.numpy())


def test_the_same_memory_in_another_shape() -> None:
    engine = addition(-1, 2)
    a, b, c = arrays(random((4, 2)), random((4, 2), seed=1), np.zeros((4, 2), "float32"))
    for batch in (4, 1, 3):
        c.copyfrom(np.zeros((4, 2), "float32"))
        views = [view(array) for array in (a, b, c)]
        for tensor in views:
            tensor.shape = (batch, 2)
        engine.run(views[:2], views[2:])
        np.testing.assert_array_equal(c.numpy()[:batch], (a.numpy() + b.numpy())[:batch])
        np.testing.assert_array_equal(c.numpy()[batch:], 0)


def test_a_call_that_was_interrupted_leaves_nothing_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal comes when the session has been told of another tensor, but before it is noted."""
    engine = addition(2, 3)
    a, b, c, d = arrays(*(random((2, 3), seed=seed) for seed in range(4)))
    engine.run([view(a), view(b)], [view(c)])
    bind_input = engine._binding.bind_input

    def interrupted(*arguments: Any) -> None:
        bind_input(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(engine._binding, "bind_input", interrupted)
        with pytest.raises(KeyboardInterrupt):
            engine.run([view(d), view(b)], [view(c)])
    engine.run([view(a), view(b)], [view(c)])
    np.testing.assert_array_equal(c.numpy(), a.numpy() + b.numpy())


def test_nothing_is_bound_anew_for_the_same_tensors(monkeypatch: pytest.MonkeyPatch) -> None:
    bound: List[str] = []

    class Binding:
        """In place of onnxruntime's."""

        def bind_input(self, name: str, *_: Any) -> None:
            bound.append(name)

        bind_output = bind_input

    engine = addition(2, 3)
    monkeypatch.setattr(engine, "_binding", Binding())
    monkeypatch.setattr(engine, "_session", SimpleNamespace(run_with_iobinding=lambda binding: None))
    a, b, c, d = arrays(*[random((2, 3))] * 4)
    for output in (c, c, d, d):
        engine.run([view(a), view(b)], [view(output)])
    assert bound == ["x0", "x1", "output_0", "output_0"]


def test_it_takes_every_shape() -> None:
    assert addition(-1, 3).accepts(((5, 3), (5, 3)), 0)


def test_a_network_that_it_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("[ONNXRuntimeError] : NOT_IMPLEMENTED")

    monkeypatch.setattr("onnxruntime.InferenceSession", fail)
    with pytest.raises(EngineError, match="tested: ONNX Runtime refuses the network.*NOT_IMPLEMENTED"):
        addition(2, 3)


def test_a_failing_run() -> None:
    engine = addition(-1, 3)
    a, b, c = arrays(random((2, 3)), random((3, 3)), random((3, 3)))
    with pytest.raises(EngineError, match="ONNX Runtime failed to run the network"):
        engine.run([view(a), view(b)], [view(c)])  # 2 and 3 do not broadcast
    engine.run([view(b), view(b)], [view(c)])
    np.testing.assert_array_equal(c.numpy(), 2 * b.numpy())


def test_float16_is_not_silently_ignored(log: pytest.LogCaptureFixture) -> None:
    addition(2, 3, use_fp16=True)
    assert "use_fp16 is for TensorRT" in log.text
    log.clear()
    addition(2, 3)
    assert not log.records


MEASURE = """
import sys
import numpy as np
sys.path.insert(0, {tests!r})
import relay_trt.runtime.engines.onnxruntime
from tests.runtime.support import Network, call

def peak():  # of this process alone: what getrusage says may be the parent's
    return next(int(line.split()[1]) << 10 for line in open("/proc/self/status") if line.startswith("VmHWM"))

net = Network()
x = net.input(1, 2048)
for seed in range(8):
    weight = np.full((2048, 2048), 1 / 2048, "float32")
    x = net.kernel("nn.dense", x, net.constant(weight), shape=(1, 2048))
subgraph = net.subgraph(x)
before = peak()
(output,) = call(subgraph, np.ones((1, 2048), "float32"))
assert abs(output - 1).max() < 1e-3
print((peak() - before) / sum(value.nbytes for value in net.constants.values()))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.skipif(parse_version(onnxruntime.__version__) < (1, 23, 0), reason="this ONNX Runtime copies them twice")
def test_weights_are_copied_once() -> None:
    tests = str(Path(relay_trt.__file__).parents[1])
    environment = {**os.environ, "TVM_TENSORRT_ENGINE": "onnxruntime"}
    done = subprocess.run(
        [sys.executable, "-c", MEASURE.format(tests=tests)], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 1.5  # one copy, and what one weight needs while it is reordered


def test_an_output_that_is_also_quantized_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the same scale: one of ONNX Runtime's optimizers would take the output away."""
    monkeypatch.setenv("TVM_TENSORRT_ENGINE", "onnxruntime")
    qnn, scale, zero = relay.qnn.op, relay.const(0.1), relay.const(0)
    quantized = qnn.quantize(relay.var("x", shape=(2, 6)), scale, zero, out_dtype="int8")
    again = qnn.requantize(quantized, scale, zero, scale, zero, out_dtype="int8")
    mod = module(relay.Tuple([quantized, again]))
    inputs = {"x": random((2, 6))}
    partitioned, _ = relay_trt.partition_for_tensorrt(mod, use_implicit_batch=False)
    assert relay_trt.partition_report(partitioned).refused == 0
    assert_close(run_library(compile_library(partitioned, tmp_path / "library.so"), inputs), run_tvm(mod, inputs))
