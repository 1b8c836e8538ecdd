"""What the benchmarks share besides timing: networks, tables, and results as JSON."""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import shlex
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any, Dict, Mapping, NamedTuple, Sequence, Tuple

import numpy as np
import tvm
from rich.console import Console
from rich.markup import escape
from rich.table import Table

import relay_trt
from tools import mxnet_zoo

RESULTS = Path(__file__).with_name("results")
PACKAGES = ("mxnet", "numpy", "onnx", "onnxruntime", "tensorrt")
PATHS = ("--keep", "--output", "--torch-python")  # options whose values nobody else needs to know
# Those that change what is measured, and hold no path.
VARIABLES = tuple(f"TVM_TENSORRT_{name}" for name in ("BUILDER_", "CUDA_GRAPH", "STRONG_TYPES", "TACTIC_", "USE_"))

# Fresh norms and biases do nothing: with such values, losing one shows.
RANGES = {
    "gamma": (0.8, 1.2),
    "beta": (-0.2, 0.2),
    "running_mean": (-0.2, 0.2),
    "running_var": (0.8, 1.2),
    "bias": (-0.2, 0.2),
}

console = Console(width=None if sys.stdout.isatty() else 120)

os.environ.setdefault("TOPHUB_LOCATION", "NONE")  # TVM tries a download for each target otherwise


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print a table; the first column is text, the others numbers."""
    drawn = Table(title=title, title_justify="left")
    for i, column in enumerate(columns):
        drawn.add_column(column, justify="left" if i == 0 else "right")
    for row in rows:
        drawn.add_row(*[f"{cell:.4g}" if isinstance(cell, float) else escape(str(cell)) for cell in row])
    console.print(drawn)


def say(text: str) -> None:
    """Print a line as it is: rich would take what stands in brackets for a style."""
    console.print(text, markup=False, soft_wrap=True)


class Network(NamedTuple):
    """A network of MXNet's model zoo with random weights."""

    mod: tvm.IRModule
    params: Dict[str, tvm.nd.NDArray]
    shape: Tuple[int, ...]  # of its input ``data``
    data: np.ndarray
    expected: np.ndarray  # what MXNet makes of the data


def network(name: str, image_size: int = 0, batch: int = 1) -> Network:
    """A network as Relay, and an input; ``image_size`` 0 is the one that it is made for."""
    mxnet = mxnet_zoo.import_mxnet()
    from tvm import relay

    size = image_size or mxnet_zoo.image_size(name)
    shape = (batch, 3, size, size)
    block = mxnet_zoo.block(name, (1, *shape[1:]))
    for parameter_name, parameter in block.collect_params().items():
        for ending, (low, high) in RANGES.items():
            if parameter_name.endswith(ending):
                parameter.set_data(mxnet.nd.random.uniform(low, high, parameter.shape))
    data = np.random.RandomState(0).uniform(-1, 1, shape).astype("float32")
    expected = block(mxnet.nd.array(data)).asnumpy()
    mxnet.nd.waitall()  # oneDNN reorders weights in place, and they are read next
    mod, params = relay.frontend.from_mxnet(block, shape={"data": shape}, dtype="float32")
    return Network(mod, params, shape, data, expected)


def parser(description: str, name: str) -> argparse.ArgumentParser:
    """A parser with the option that all benchmarks have."""
    made = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}", description=description, allow_abbrev=False)
    made.add_argument("--output", type=Path, default=RESULTS / f"{name}.json", help="where the JSON goes")
    return made


def write(arguments: argparse.Namespace, name: str, results: Mapping[str, Any]) -> None:
    """Write the results with what they depend on."""
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(document(name, results), indent=1) + "\n", encoding="utf-8")
    console.print(f"written to {os.path.relpath(arguments.output)}")


def document(name: str, results: Mapping[str, Any]) -> Dict[str, Any]:
    """Results with what they depend on. Not the host's name nor any path: they are to be published."""
    words, given = [], iter(sys.argv[1:])
    for word in given:
        if word in PATHS:
            next(given, None)
        elif not word.startswith(tuple(f"{option}=" for option in PATHS)):
            words.append(word)
    command = shlex.join(["python", "-m", f"benchmarks.{name}", *words])
    return {"command": command, **environment(), "results": results}


def environment() -> Dict[str, Any]:
    """The date, the machine, and the versions of what was measured."""
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    # These two may lie on the path without being installed.
    versions.update({"relay_trt": relay_trt.__version__, "apache-tvm": tvm.__version__})
    described = {
        "date": datetime.date.today().isoformat(),
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "versions": versions,
        "variables": {name: value for name, value in os.environ.items() if name.startswith(VARIABLES)},
    }
    gpu = _gpu()
    return {**described, "gpu": gpu} if gpu else described


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _gpu() -> str:
    query = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        return subprocess.run(query, check=True, capture_output=True, text=True).stdout.splitlines()[0]
    except (OSError, subprocess.CalledProcessError, IndexError):
        return ""
