"""How long one inference takes by relay_trt, next to the engine that it uses, without TVM around it.

    python -m benchmarks.latency [network] [--image-size N] [--tvm]

With a GPU and TensorRT: TensorRT in float32 and float16, next to the same plan run by execute_async_v3. Without: the
CPU engine, next to the same network given to ONNX Runtime directly.
"""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional
from unittest import mock

import numpy as np
import onnxruntime
import tvm
from tvm import relay
from tvm.contrib.graph_executor import GraphModule

import relay_trt.runtime  # noqa: F401  registers what compiled libraries call
from relay_trt import partition_for_tensorrt, partition_report
from relay_trt.runtime.builders.onnx import OnnxBuilder
from relay_trt.runtime.cuda import current_stream
from relay_trt.runtime.engines.base import BuildRequest, Engine
from relay_trt.runtime.engines.onnxruntime import OnnxRuntimeEngine
from relay_trt.runtime.engines.tensorrt import TensorRTEngine
from relay_trt.runtime.network import convert

from . import measure


class Candidate(NamedTuple):
    """What is timed: a call that has computed everything when it returns, and its outputs after it."""

    call: Callable[[], Any]
    outputs: Callable[[], List[np.ndarray]]


class Built(NamedTuple):
    """An engine that relay_trt built, and what from."""

    request: BuildRequest
    engine: Engine


def by_graph_executor(library: Any, data: np.ndarray, device: Any) -> Candidate:
    """An exported and loaded library; its input lies on the device already."""
    module = GraphModule(library["default"](device))
    module.set_input("data", tvm.nd.array(data, device))

    def call() -> None:
        module.run()
        device.sync()

    return Candidate(call, lambda: [module.get_output(i).numpy() for i in range(module.get_num_outputs())])


def by_relay_trt(mod: tvm.IRModule, target: str, data: np.ndarray, engine: Any, built: List[Built]) -> Candidate:
    """A partitioned module; its first call, which builds the engines, is done."""
    candidate = by_graph_executor(compiled(mod, target), data, tvm.device(target, 0))
    with building(engine, built):
        candidate.call()
    return candidate


def compiled(mod: tvm.IRModule, target: str, params: Optional[Dict[str, Any]] = None) -> Any:
    """Built, exported and loaded again, as what is deployed is."""
    with tvm.transform.PassContext(opt_level=3):
        library = relay.build(mod, target=target, params=params)
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "library.so")
        library.export_library(path)
        return tvm.runtime.load_module(path)


@contextlib.contextmanager
def building(engine: Any, built: List[Built]) -> Iterator[None]:
    """Use this engine within the block, and remember what it builds."""
    build = engine.build

    def remember(request: BuildRequest) -> Engine:
        built.append(Built(request, build(request)))
        return built[-1].engine

    with mock.patch.object(engine, "build", remember), mock.patch.dict(
        "os.environ", {"TVM_TENSORRT_ENGINE": engine.name}
    ):
        yield


def by_onnxruntime(request: BuildRequest, data: np.ndarray) -> Candidate:
    """A session of ONNX Runtime's own defaults; inputs and outputs are bound once, as fast as it goes."""
    builder = OnnxBuilder()
    convert(request.graph, request.constants, builder)
    model = builder.model(request.graph.symbol)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # its warnings are about its own optimizations
    values = [onnxruntime.OrtValue.ortvalue_from_numpy(value) for value in model.external.values()]
    options.add_external_initializers(list(model.external), values)
    session = onnxruntime.InferenceSession(model.model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    binding = session.io_binding()
    binding.bind_cpu_input(session.get_inputs()[0].name, data)
    for output in session.get_outputs():
        binding.bind_output(output.name, "cpu")

    def call(_owner: Any = values) -> None:
        session.run_with_iobinding(binding)

    return Candidate(call, binding.copy_outputs_to_cpu)


def by_tensorrt(built: Built, data: np.ndarray, device: Any) -> Optional[Candidate]:
    """The plan that relay_trt built, in an execution context of its own; None where it cannot be had."""
    plan = getattr(built.engine, "_engine", None)
    if plan is None:
        measure.say("the engine keeps its plan elsewhere: no comparison with execute_async_v3")
        return None
    return by_plan(plan, data, device)


def by_plan(plan: Any, data: np.ndarray, device: Any) -> Candidate:
    """A deserialized plan by TensorRT alone; its input lies on the device already."""
    import tensorrt

    context = plan.create_execution_context()
    tensors, outputs = [], []
    for index in range(plan.num_io_tensors):
        name = plan.get_tensor_name(index)
        if plan.get_tensor_mode(name) == tensorrt.TensorIOMode.INPUT:
            tensor = tvm.nd.array(data, device)
            context.set_input_shape(name, data.shape)
        else:
            dtype = np.dtype(tensorrt.nptype(plan.get_tensor_dtype(name))).name
            tensor = tvm.nd.empty(tuple(context.get_tensor_shape(name)), dtype, device)
            outputs.append(tensor)
        context.set_tensor_address(name, tensor.handle.contents.data)
        tensors.append(tensor)  # keeps their memory
    stream = current_stream()

    def call(_owner: Any = tensors) -> None:
        context.execute_async_v3(stream)
        device.sync()

    return Candidate(call, lambda: [output.numpy() for output in outputs])


def on_cpu(network: Any, data: np.ndarray, with_tvm: bool) -> Dict[str, Candidate]:
    mod, _ = partition_for_tensorrt(network.mod, network.params)
    expect_one_subgraph(mod)
    built: List[Built] = []
    candidates = {"relay_trt": by_relay_trt(mod, "llvm", data, OnnxRuntimeEngine, built)}
    candidates["ONNX Runtime"] = by_onnxruntime(built[0].request, data)
    if with_tvm:
        candidates["TVM, LLVM"] = by_graph_executor(compiled(network.mod, "llvm", network.params), data, tvm.cpu(0))
    return candidates


def on_gpu(network: Any, data: np.ndarray, use_fp16: bool) -> Dict[str, Candidate]:
    mod, _ = partition_for_tensorrt(network.mod, network.params, use_fp16=use_fp16)
    expect_one_subgraph(mod)
    built: List[Built] = []
    candidates = {"relay_trt": by_relay_trt(mod, "cuda", data, TensorRTEngine, built)}
    bare = by_tensorrt(built[0], data, tvm.cuda(0))
    return {**candidates, "execute_async_v3": bare} if bare else candidates


def expect_one_subgraph(mod: tvm.IRModule) -> None:
    """An engine next to several, with TVM's operators in between, would not be the same thing."""
    report = partition_report(mod)
    if report.refused or len(report.subgraphs) != 1:
        raise SystemExit(f"only a network that goes into one subgraph can be compared with its engine:\n{report}")


def compare(title: str, candidates: Dict[str, Candidate], rounds: int, calls: int) -> Dict[str, Any]:
    """Time in turns; the ratio is to the second, what relay_trt uses."""
    times = measure.in_turns({name: c.call for name, c in candidates.items()}, rounds, calls, warm_up=10, settle=3)
    outputs = {name: candidate.outputs() for name, candidate in candidates.items()}
    base = times[list(candidates)[min(1, len(candidates) - 1)]]
    rows, found = [], {}
    for name, time in times.items():
        difference = largest_difference(outputs[name], outputs["relay_trt"])
        percentiles = [time.percentile(percent) * 1e3 for percent in (50, 90, 99)]
        ratio, more = measure.ratio(time, base), (time.median - base.median) * 1e6
        rows.append((name, *percentiles, ratio, f"{more:+.0f}", f"{difference:.0e}"))
        found[name] = {**time.to_dict(50, 90, 99), "ratio": measure.rounded(ratio)}
    columns = ["", "p50 ms", "p90 ms", "p99 ms", "ratio of p50", "difference, us", "outputs differ by"]
    measure.table(f"{title}, {rounds} rounds of {calls} calls in turns", columns, rows)
    return found


def largest_difference(outputs: List[np.ndarray], expected: List[np.ndarray]) -> float:
    """As a part of the largest value."""
    return max(float(np.abs(a - b).max() / np.abs(b).max()) for a, b in zip(outputs, expected))


def main() -> None:
    parser = measure.parser(__doc__.splitlines()[0], "latency")
    parser.add_argument("network", nargs="?", default="resnet18_v1", help="of MXNet's model zoo")
    parser.add_argument("--image-size", type=int, default=0, help="a small one shows what a call costs by itself")
    parser.add_argument("--rounds", type=int, default=10, help="how many turns each has")
    parser.add_argument("--calls", type=int, default=30, help="how many calls of a turn are timed")
    parser.add_argument("--tvm", action="store_true", help="also TVM alone, by LLVM and untuned; not on a GPU")
    arguments = parser.parse_args()
    network = measure.network(arguments.network, arguments.image_size)
    data = np.random.RandomState(0).uniform(-1, 1, network.shape).astype("float32")
    title = f"{arguments.network} at {network.shape[-1]}, batch 1"

    unavailable = TensorRTEngine.unavailable()
    if unavailable:
        measure.say(f"the CPU engine, because TensorRT cannot be used: {unavailable}")
        found = compare(title, on_cpu(network, data, arguments.tvm), arguments.rounds, arguments.calls)
        results = {"CPU": {"float32": found}}
    elif arguments.tvm:
        parser.error("--tvm compares on the CPU; here is a GPU with TensorRT")
    else:
        by_precision = {
            precision: compare(
                f"{title}, {precision}", on_gpu(network, data, use_fp16), arguments.rounds, arguments.calls
            )
            for precision, use_fp16 in (("float32", False), ("float16", True))
        }
        results = {"GPU": by_precision}
    measure.write(arguments, "latency", {title: results})


if __name__ == "__main__":
    main()
