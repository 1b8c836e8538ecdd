"""How much host memory compiling and running take, next to the size of the weights.

    python -m benchmarks.memory [network ...] [--tvm]

Each step runs in a process of its own: memory that an earlier one gave back to malloc, and not to the system, would
hide what a later one takes.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Tuple
from unittest import mock

import numpy as np
import tvm

from . import measure

MB = 1e6


class Watch:
    """The process's resident memory before, within and after steps, which may be nested.

    Read from the kernel, because what copies weights is C++, which tracemalloc does not see. ru_maxrss would not do: a
    child starts with its parent's, and it cannot be reset between two steps.
    """

    def __init__(self) -> None:
        gc.collect()
        Path("/proc/self/clear_refs").write_text("5")  # what was taken to read the model, and given back, is no part
        self.baseline = self.peak = resident()["VmRSS"]
        self.steps: List[Dict[str, Any]] = []
        self._open: List[Dict[str, Any]] = []

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[None]:
        self._tick()
        before = resident()
        step: Dict[str, Any] = {"step": name, "depth": len(self._open), "peak": before["VmRSS"]}
        self.steps.append(step)
        self._open.append(step)
        try:
            yield
        finally:
            self._tick()
            self._open.pop()
            after = resident()
            step["peak"] -= before["VmRSS"]
            step["kept"] = after["RssAnon"] - before["RssAnon"]
            step["mapped"] = after["RssFile"] - before["RssFile"]

    def function(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, each of its calls a step."""

        def watched(*args: Any, **kwargs: Any) -> Any:
            with self.step(name):
                return function(*args, **kwargs)

        return watched

    @contextlib.contextmanager
    def packed_function(self, name: str) -> Iterator[None]:
        """Make each call of a function that TVM looks up by name a step within the block."""
        original = tvm.get_global_func(name)
        tvm.register_func(name, self.function(name, original), override=True)
        try:
            yield
        finally:
            tvm.register_func(name, original, override=True)

    def _tick(self) -> None:
        """Take note of the peak since the last tick, and start a new one."""
        high = resident()["VmHWM"]
        self.peak = max(self.peak, high)
        for step in self._open:
            step["peak"] = max(step["peak"], high)
        Path("/proc/self/clear_refs").write_text("5")

    def to_dict(self) -> Dict[str, Any]:
        return {"peak": self.peak - self.baseline, "steps": self.steps}


def resident() -> Dict[str, int]:
    """Bytes of memory that the process holds now (VmRSS: its own, RssAnon, and of files, RssFile), and held at most."""
    status = Path("/proc/self/status").read_text()
    names = ("VmRSS", "VmHWM", "RssAnon", "RssFile")
    return {name: int(re.findall(rf"{name}:\s+(\d+) kB", status)[0]) << 10 for name in names}


def save_model(name: str, folder: Path) -> None:
    """In a process of its own, so that MXNet's memory is nobody else's."""
    network = measure.network(name)
    (folder / "model.json").write_text(tvm.ir.save_json(network.mod))
    (folder / "model.params").write_bytes(tvm.runtime.save_param_dict(network.params))
    (folder / "model.shape").write_text(json.dumps(network.shape))


def load_model(folder: Path) -> Tuple[tvm.IRModule, Dict[str, tvm.nd.NDArray]]:
    params = tvm.runtime.load_param_dict((folder / "model.params").read_bytes())
    return tvm.ir.load_json((folder / "model.json").read_text()), params


def compile_by_relay_trt(folder: Path) -> Dict[str, Any]:
    from tvm import relay

    import relay_trt.annotation
    import relay_trt.relay_ir

    mod, params = load_model(folder)
    weights = sum(value.numpy().nbytes for value in params.values())
    watch = Watch()
    with watch.step("partition_for_tensorrt"):
        mod, _ = relay_trt.annotation.partition_for_tensorrt(mod, params)
    with watch.step("relay.build"), watch.packed_function(f"relay.ext.{relay_trt.relay_ir.COMPILER}"):
        with tvm.transform.PassContext(opt_level=3):
            library = relay.build(mod, target="llvm", params=params)
    with watch.step("export_library"):
        library.export_library(str(folder / "relay_trt.so"))
    return {"weights": weights, **watch.to_dict()}


def compile_by_tvm(folder: Path) -> Dict[str, Any]:
    from tvm import relay

    mod, params = load_model(folder)
    watch = Watch()
    with watch.step("relay.build"), tvm.transform.PassContext(opt_level=3):
        library = relay.build(mod, target="llvm", params=params)
    with watch.step("export_library"):
        library.export_library(str(folder / "TVM.so"))
    return watch.to_dict()


def run_by_relay_trt(folder: Path) -> Dict[str, Any]:
    import onnxruntime

    from relay_trt.runtime.engines import onnxruntime as engine
    from relay_trt.runtime.network import convert

    watch = Watch()
    session = watch.function("onnxruntime.InferenceSession", onnxruntime.InferenceSession)
    with contextlib.ExitStack() as stack:
        stack.enter_context(watch.packed_function("relay_trt.create_subgraph"))
        stack.enter_context(mock.patch.object(engine, "convert", watch.function("conversion to ONNX", convert)))
        stack.enter_context(mock.patch.object(onnxruntime, "InferenceSession", session))
        run(watch, folder / "relay_trt.so")
    return watch.to_dict()


def run_by_tvm(folder: Path) -> Dict[str, Any]:
    watch = Watch()
    run(watch, folder / "TVM.so")
    return watch.to_dict()


def run(watch: Watch, path: Path) -> None:
    from tvm.contrib.graph_executor import GraphModule

    data = np.ones(json.loads(path.with_name("model.shape").read_text()), "float32")
    with watch.step("load_module"):
        library = tvm.runtime.load_module(str(path))
    with watch.step("GraphModule"):
        module = GraphModule(library["default"](tvm.cpu(0)))
    for which in ("first", "second"):
        with watch.step(f"{which} run"):
            module.run(data=data)


STEPS: Dict[str, Callable[[Path], Dict[str, Any]]] = {
    "compile by relay_trt": compile_by_relay_trt,
    "run by relay_trt": run_by_relay_trt,
    "compile by TVM": compile_by_tvm,
    "run by TVM": run_by_tvm,
}


def in_a_process(step: str, name: str, folder: Path) -> None:
    # Otherwise malloc takes what was freed first from the heap, where it is still the process's.
    settings = {"MALLOC_MMAP_THRESHOLD_": "131072", "TVM_TENSORRT_ENGINE": "onnxruntime"}
    command = [sys.executable, "-m", "benchmarks.memory", name, "--step", step, "--folder", str(folder)]
    subprocess.run(command, check=True, env={**os.environ, **settings})


def show(step: str, found: Dict[str, Any], weights: int) -> None:
    def amounts(*numbers: int) -> List[str]:
        return [f"{round(number / MB)} MB = {max(number / weights, 0):.2f}" for number in numbers]

    rows = [("  " * s["depth"] + s["step"], *amounts(s["peak"], s["kept"], s["mapped"])) for s in found["steps"]]
    rows.append(("the most at any time", *amounts(found["peak"]), "", ""))
    measure.table(
        f"{step}: host memory, also as a multiple of the weights' {weights / MB:.0f} MB",
        ["", "most while it ran", "still allocated after it", "in mapped files"],
        rows,
    )


def main() -> None:
    parser = measure.parser(__doc__.splitlines()[0], "memory")
    parser.add_argument("networks", nargs="*", default=["resnet50_v1", "vgg16"], help="of MXNet's model zoo")
    parser.add_argument("--tvm", action="store_true", help="also TVM alone, by LLVM: compiling takes a minute or more")
    parser.add_argument("--step", help="do only this, in this process; for the script itself")
    parser.add_argument("--folder", type=Path, help="where steps find each other's files; for the script itself")
    arguments = parser.parse_args()
    if arguments.step == "model":
        save_model(arguments.networks[0], arguments.folder)
        return
    if arguments.step:
        (arguments.folder / "found.json").write_text(json.dumps(STEPS[arguments.step](arguments.folder)))
        return

    results: Dict[str, Any] = {}
    for name in arguments.networks:
        measure.console.rule(name)
        results[name] = {}
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            in_a_process("model", name, folder)
            for step in STEPS:
                if step.endswith("TVM") and not arguments.tvm:
                    continue
                in_a_process(step, name, folder)
                found = json.loads((folder / "found.json").read_text())
                weights = results[name].setdefault("weights", found.pop("weights", 0))
                show(step, found, weights)
                results[name][step] = found
    measure.write(arguments, "memory", results)


if __name__ == "__main__":
    main()
