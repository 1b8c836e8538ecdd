"""Seven networks by relay_trt, by the bare engine, by TVM alone and by PyTorch: times, errors, and what is promised.

    python -m benchmarks.bench [--models ...] [--precisions ...] [--batches ...] [--rows ...] [--seconds 1] [--level 3]

With a GPU and TensorRT: TensorRT. Without: the CPU engine. What there is so far is written after each case.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence
from unittest import mock

import tvm
from tvm import relay
from tvm.contrib.graph_executor import GraphModule

from relay_trt import partition_for_tensorrt, partition_report, subgraphs, warm_up
from relay_trt.runtime import Settings
from relay_trt.runtime.builders.tensorrt import TensorRTBuilder, tensorrt_logger
from relay_trt.runtime.engines import choose_engine
from relay_trt.runtime.tensorrt_library import load_tensorrt

from . import candidates, measure, report, timing
from .timing import Candidate, failure, rounded

ROOT = Path(__file__).resolve().parents[1]
MODELS = ("resnet18_v1", "resnet50_v1", "squeezenet1.1", "mobilenetv2_1.0", "inceptionv3", "densenet121", "vgg16")
PYTORCH = ("pytorch", "pytorch-graph", "pytorch-compile")
ROWS = {
    "gpu": ("relay_trt", "graph", "enqueue", "tvm", "host", "threads", *PYTORCH),
    "cpu": ("relay_trt", "onnxruntime", "tvm", "threads", "pytorch", "pytorch-compile"),
}
DEFAULT_ROWS = {"gpu": ROWS["gpu"], "cpu": ("relay_trt", "onnxruntime", "tvm")}
PRECISIONS = {"gpu": ("float32", "float16"), "cpu": ("float32",)}
BATCHES = {"gpu": (1, 8, 32), "cpu": (1,)}
THREADS = 8
SLOWEST = 5

# TVM's LLVM compiles each for one to two minutes on two cores, and so only where the row is asked for by name.
LONG_TO_COMPILE = ("inceptionv3", "densenet121")

NOTES = {
    "gpu": (
        "float32 is with TF32, as TensorRT and PyTorch have it here; TVM computes without.",
        "PyTorch's networks are torchvision's, with other random weights: only the times compare.",
    ),
    "cpu": ("ONNX Runtime is given the same network, its tensors are bound once, and both have its default threads.",),
}
ERRORS = "error: the largest difference from MXNet's own output, as a part of the largest value."

Maker = Callable[[], Candidate]


class Deployed(NamedTuple):
    """A library that was loaded, an executor of it, and the seconds that its engine then took."""

    library: tvm.runtime.Module
    module: GraphModule
    seconds: float


class Bench:
    """The rows of one case.

    Parameters
    ----------
    network : measure.Network
        What is compiled.
    case : dict
        ``"precision"``, ``"batch"``, ``"rows"``; what is found goes here.
    folder : pathlib.Path
        For libraries.
    engines : pathlib.Path
        For engines, and the seconds that they took to build; those that are there are not built again.
    on_gpu : bool
        Whether relay_trt runs it by TensorRT.
    """

    def __init__(
        self, network: measure.Network, case: Dict[str, Any], folder: Path, engines: Path, on_gpu: bool
    ) -> None:
        self._network, self._case, self._on_gpu = network, case, on_gpu
        self._folder, self._cold, self._warm = folder, engines / "cold", engines / "warm"
        self._seconds = engines / "seconds.json"
        self._target = "cuda" if on_gpu else "llvm"
        self._device = tvm.device(self._target, 0)
        self._copies = itertools.count()

    def measure(self, rows: Sequence[str], seconds: float) -> None:
        """Compile, build, and time the rows; what fails is written down, and the others have their turn."""
        makers = {name: make for name, make in self._makers().items() if name in rows}
        try:
            self._compile()
            self._deployed = self._build_times()
        except Exception as error:
            self._case["rows"].update({name: failure(error) for name in makers if name != "tvm"})
            makers, rows = {name: make for name, make in makers.items() if name == "tvm"}, ()
        self._compare(makers, seconds)
        if self._case["batch"] == 1 and "host" in rows:
            self._compare(self._makers_on_host(), seconds)
        if self._case["batch"] == 1 and "threads" in rows:
            self._find("threads", lambda: self._threads(seconds))
        if "relay_trt" in rows:
            self._find("layers", self._layers)

    def _find(self, name: str, find: Callable[[], Any]) -> None:
        try:
            self._case[name] = find()
        except Exception as error:
            self._case[name] = failure(error)

    def _compile(self) -> None:
        """Partition, build and export; each takes its time."""
        start = time.perf_counter()
        use_fp16 = self._case["precision"] == "float16"
        self._mod, _ = partition_for_tensorrt(self._network.mod, self._network.params, use_fp16=use_fp16)
        seconds = {"partition": rounded(time.perf_counter() - start), **self._export(self._target)}
        self._case.update(compile=seconds, subgraphs=len(partition_report(self._mod).subgraphs))

    def _export(self, target: str) -> Dict[str, float]:
        start = time.perf_counter()
        with tvm.transform.PassContext(opt_level=3):
            library = relay.build(self._mod, target=target)
        built = time.perf_counter()
        library.export_library(str(self._path(target)))
        return {"relay.build": rounded(built - start), "export": rounded(time.perf_counter() - built)}

    def _path(self, target: str) -> Path:
        return self._folder / f"{target}.so"

    def _build_times(self) -> Deployed:
        """Build with an empty cache, then with the kernel timings of that, then load the plan of the first."""
        if not self._seconds.exists():
            shutil.rmtree(self._cold, ignore_errors=True)  # what a run left that was cut short
            shutil.rmtree(self._warm, ignore_errors=True)
            seconds = {"cold": self._deploy(self._target, self._cold).seconds}
            records = list(self._cold.glob("timing_*.record"))
            if records:
                self._warm.mkdir(mode=0o700)
                for record in records:
                    shutil.copy(str(record), str(self._warm))
                seconds["timing cache"] = self._deploy(self._target, self._warm).seconds
            self._seconds.write_text(json.dumps(seconds), encoding="utf-8")
        deployed = self._deploy(self._target, self._cold)
        self._case["build"] = {**json.loads(self._seconds.read_text("utf-8")), "plan cache": deployed.seconds}
        return deployed

    def _deploy(self, target: str, cache: Path) -> Deployed:
        """Load a library, by a new name: the loader would return one that it has loaded already."""
        path = shutil.copy(str(self._path(target)), str(self._folder / f"{target}_{next(self._copies)}.so"))
        with mock.patch.dict(os.environ, {"TVM_TENSORRT_CACHE_DIR": str(cache)}):
            library = tvm.runtime.load_module(path)
            module = GraphModule(library["default"](tvm.device(target, 0)))
            return Deployed(library, module, rounded(timing.timed(lambda: warm_up(library))))

    def _layers(self) -> Dict[str, Any]:
        """How many layers the engines have, what they take together, each timed by itself, and the slowest."""
        layers = [layer for subgraph in subgraphs(self._deployed.library) for layer in subgraph.profile()]
        slowest = sorted(layers, key=lambda layer: -layer.milliseconds)[:SLOWEST]
        together = sum(layer.milliseconds for layer in layers)
        named = [[layer.name, rounded(layer.milliseconds)] for layer in slowest]
        return {"number": len(layers), "milliseconds": rounded(together), "slowest": named}

    def _makers(self) -> Dict[str, Maker]:
        network, data, device = self._network, self._network.data, self._device

        def by_tvm() -> Candidate:
            library = candidates.compiled(network.mod, self._target, network.params)
            return candidates.by_graph_executor(GraphModule(library["default"](device)), data, device)

        return {
            "relay_trt": lambda: candidates.by_graph_executor(self._deployed.module, data, device),
            "graph": lambda: candidates.by_cuda_graph(self._plan, data, device),
            "enqueue": lambda: candidates.by_plan(self._plan, data, device),
            "onnxruntime": lambda: candidates.by_onnxruntime(self._serialized(), data),
            "tvm": by_tvm,
        }

    def _makers_on_host(self) -> Dict[str, Maker]:
        data, device = self._network.data, self._device

        @functools.lru_cache(maxsize=None)
        def on_host() -> Deployed:
            self._export("llvm")
            return self._deploy("llvm", self._cold)

        def pinned() -> Candidate:
            memory = tvm.runtime.Device(tvm.runtime.Device.kDLCUDAHost, 0)
            return candidates.by_graph_executor_on_host(GraphModule(on_host().library["default"](memory)), data)

        return {
            "host": lambda: candidates.by_graph_executor_on_host(on_host().module, data),
            "host-graph": lambda: candidates.by_cuda_graph_from_host(self._plan, data, device, copies=True),
            "pinned": pinned,
            "pinned-graph": lambda: candidates.by_cuda_graph_from_host(self._plan, data, device, copies=False),
            "arrays": lambda: candidates.by_graph_executor_from_arrays(on_host().module, data),
        }

    def _serialized(self) -> Any:
        (subgraph,) = subgraphs(self._deployed.library)  # several would not be the same thing as one engine
        return subgraph.compiled_plan().plan

    @functools.cached_property
    def _plan(self) -> Any:
        """The engine, for TensorRT alone."""
        self._runtime = load_tensorrt().Runtime(tensorrt_logger())  # must outlive it
        return self._runtime.deserialize_cuda_engine(self._serialized())

    def _compare(self, makers: Mapping[str, Maker], seconds: float) -> None:
        """Time in turns what can be made and called."""
        found, made = self._case["rows"], {}
        for name, make in makers.items():
            try:
                candidate = make()
                candidate.call()
                made[name] = candidate
            except Exception as error:
                found[name] = failure(error)
        try:
            times = timing.compare(made, seconds)
        except Exception as error:
            found.update({name: failure(error) for name in made})
            return
        for name, measured in times.items():
            difference = candidates.largest_difference(made[name].outputs(), [self._network.expected])
            found[name] = {**measured.to_dict(), "error": rounded(difference)}

    def _threads(self, seconds: float) -> Dict[str, float]:
        """Calls a second by modules, and by what they use without TVM around it, each in a thread of its own."""
        data, device, library = self._network.data, self._device, self._deployed.library
        modules = [GraphModule(library["default"](device)) for _ in range(THREADS)]
        ours = [candidates.by_graph_executor(module, data, device) for module in modules]
        if self._on_gpu:
            compared = {
                "relay_trt": [candidates.on_a_stream(one, device) for one in ours],
                "enqueue": [candidates.by_plan(self._plan, data, device) for _ in modules],
                "graph": [candidates.by_cuda_graph(self._plan, data, device) for _ in modules],
            }
        else:
            bare = [candidates.by_onnxruntime(self._serialized(), data) for _ in modules]
            compared = {"relay_trt": ours, "onnxruntime": bare}
        calls = {name: [one.call for one in some] for name, some in compared.items()}
        rates: Dict[str, List[float]] = {name: [] for name in calls}
        for name in timing.turns(list(calls), timing.ROUNDS):
            rates[name].append(timing.throughput(calls[name], seconds / timing.ROUNDS))
        return {name: rounded(statistics.median(values)) for name, values in rates.items()}


def find_pytorch(given: Optional[str]) -> Optional[str]:
    """A Python that has PyTorch and torchvision: the one that was given, this one, or one that the shell would find."""
    folders = os.environ.get("PATH", "").split(os.pathsep)
    found = [sys.executable, *filter(None, (shutil.which("python3", path=folder) for folder in folders))]
    for python in [given] if given else dict.fromkeys(found):
        command = [python, "-c", "import torch, torchvision"]
        if subprocess.run(command, env=environment_of(python), capture_output=True, check=False).returncode == 0:
            return python
    if given:
        raise SystemExit(f"--torch-python is {given}, which cannot import torch and torchvision")
    return None


def environment_of(python: str) -> Dict[str, str]:
    """For another Python, without what was set for this one: packages, and libraries other than the GPU's driver."""
    if python == sys.executable:
        return dict(os.environ)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    folders = kept.pop("LD_LIBRARY_PATH", "").split(os.pathsep)
    drivers = [folder for folder in folders if folder and Path(folder, "libcuda.so.1").exists()]
    return {**kept, "LD_LIBRARY_PATH": os.pathsep.join(drivers)} if drivers else kept


def by_pytorch(python: str, cases: Sequence[Dict[str, Any]], rows: Sequence[str], seconds: float, on_gpu: bool) -> Any:
    """Have PyTorch's rows of one network measured by another Python; returns the versions of what it has."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "pytorch.json"
        options = {
            "--image-size": [cases[0]["image size"]],
            "--precisions": dict.fromkeys(case["precision"] for case in cases),
            "--batches": dict.fromkeys(case["batch"] for case in cases),
            "--rows": rows,
            "--seconds": [seconds],
            "--device": ["cuda" if on_gpu else "cpu"],
            "--output": [output],
        }
        words = [str(word) for option, values in options.items() for word in (option, *values)]
        command = [python, "-m", "benchmarks.pytorch", cases[0]["model"], *words]
        done = subprocess.run(
            command, cwd=str(ROOT), env=environment_of(python), stderr=subprocess.PIPE, text=True, check=False
        )
        found = json.loads(output.read_text(encoding="utf-8")) if output.exists() else {"versions": {}, "cases": []}
    measured = {(case["precision"], case["batch"]): case["rows"] for case in found["cases"]}
    reason = failure(RuntimeError(f"exit status {done.returncode}: {(done.stderr.splitlines() or [''])[-1]}"))
    for case in cases:
        case["rows"].update(
            {row: measured.get((case["precision"], case["batch"]), {}).get(row, reason) for row in rows}
        )
    return found["versions"]


def measure_model(name: str, arguments: argparse.Namespace, device: str, done: Callable[[Dict[str, Any]], None]) -> Any:
    """The cases of one network, one after the other; ``done`` is told of each."""
    for batch in arguments.batches:
        network = measure.network(name, arguments.image_size, batch)
        for precision in arguments.precisions:
            case = {"model": name, "image size": network.shape[-1], "precision": precision, "batch": batch, "rows": {}}
            rows = [row for row in arguments.rows if row not in PYTORCH]
            variables = {
                "TVM_TENSORRT_USE_FP16": "1" if precision == "float16" else "0",
                "TVM_TENSORRT_USE_INT8": "0",
            }
            reason = left_out(name, precision, device, arguments.all_rows)
            if "tvm" in rows and reason:
                rows.remove("tvm")
            with tempfile.TemporaryDirectory() as folder, mock.patch.dict(os.environ, variables):
                level = os.environ.get("TVM_TENSORRT_BUILDER_LEVEL", "default")
                engines = (arguments.keep or Path(folder)) / f"{name}-{network.shape[-1]}-{precision}-{batch}-{level}"
                engines.mkdir(mode=0o700, parents=True, exist_ok=True)
                Bench(network, case, Path(folder), engines, device == "gpu").measure(rows, arguments.seconds)
            if reason and "tvm" in arguments.rows:
                case["rows"]["tvm"] = {"left out": reason}
            done(case)


def left_out(model: str, precision: str, device: str, by_default: bool) -> str:
    """Why TVM's own code is not measured, or nothing."""
    if precision != "float32":
        return "in float32 alone"
    if by_default and device == "cpu" and model in LONG_TO_COMPILE:
        return "LLVM takes more than a minute for it; --rows tvm measures it"
    return ""


def parse(device: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bench", description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=MODELS, help="of MXNet's model zoo")
    parser.add_argument("--precisions", nargs="+", default=PRECISIONS[device], choices=PRECISIONS[device])
    parser.add_argument("--batches", nargs="+", type=int, default=BATCHES[device], help="images in one call")
    parser.add_argument(
        "--rows", nargs="+", choices=ROWS[device], help="what to measure; relay_trt is always among them"
    )
    parser.add_argument("--seconds", type=float, default=1.0, help="how long each row is timed at least")
    parser.add_argument("--level", type=int, help="TVM_TENSORRT_BUILDER_LEVEL; else the variable or TensorRT's own")
    parser.add_argument("--image-size", type=int, default=0, help="0 is the one that a network is made for")
    parser.add_argument("--keep", type=Path, help="keep engines in this folder, and build none that is there")
    parser.add_argument("--output", type=Path, default=measure.RESULTS, help="the folder for JSON, Markdown and plot")
    parser.add_argument("--torch-python", help="a Python with PyTorch and torchvision; else this one, or a python3")
    arguments = parser.parse_args()
    arguments.all_rows = not arguments.rows
    arguments.rows = list(dict.fromkeys(["relay_trt", *(arguments.rows or DEFAULT_ROWS[device])]))
    return arguments


def main() -> None:
    device = "gpu" if choose_engine(Settings.from_environment()).name == "tensorrt" else "cpu"
    arguments = parse(device)
    if arguments.level is not None:
        os.environ["TVM_TENSORRT_BUILDER_LEVEL"] = str(arguments.level)
    notes = [*NOTES[device], ERRORS]
    pytorch_rows = [row for row in arguments.rows if row in PYTORCH]
    python = find_pytorch(arguments.torch_python) if pytorch_rows else None
    if pytorch_rows and not python:
        notes.append("PyTorch's rows are left out: no Python with torch and torchvision was found (--torch-python).")
        measure.say(notes[-1])
    results: Dict[str, Any] = {"device": device, "notes": notes, "cases": []}
    document = measure.document("bench", results)
    started = TensorRTBuilder() if device == "gpu" else None  # the first of a process takes TensorRT seconds

    def done(case: Dict[str, Any]) -> None:
        results["cases"].append(case)
        report.write(document, arguments.output, with_plot=False)
        show(case)

    for name in arguments.models:
        measure.console.rule(name)
        before = len(results["cases"])
        measure_model(name, arguments, device, done)
        if python:
            cases = results["cases"][before:]
            versions = by_pytorch(python, cases, pytorch_rows, arguments.seconds, device == "gpu")
            document["versions"].update(versions)
            for case in cases:
                show(case)
        written = report.write(document, arguments.output)
    measure.table("seconds", report.BUILD_COLUMNS, [report.build_cells(case) for case in results["cases"]])
    for line in report.verdict_lines(results):
        measure.say(line)
    measure.say(f"written to {os.path.relpath(arguments.output)}: {', '.join(written)}")
    del started


def show(case: Mapping[str, Any]) -> None:
    measure.table(report.title(case), report.COLUMNS, report.rows_of(case))
    if report.threads_line(case):
        measure.say(report.threads_line(case))


if __name__ == "__main__":
    main()
