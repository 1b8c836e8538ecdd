"""What the benchmarks share: timing in turns, statistics, tables, and results as JSON."""

from __future__ import annotations

import argparse
import datetime
import gc
import json
import os
import platform
import shlex
import statistics
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Sequence

import numpy as np
import tvm
from rich.console import Console
from rich.table import Table

import relay_trt

RESULTS = Path(__file__).with_name("results")
PACKAGES = ("mxnet", "numpy", "onnx", "onnxruntime", "tensorrt")
VARIABLES = ("TVM_TENSORRT_USE_", "TVM_TENSORRT_TACTIC_")  # those that change what is measured, and hold no path

console = Console(width=None if sys.stdout.isatty() else 120)

os.environ.setdefault("TOPHUB_LOCATION", "NONE")  # TVM tries a download for each target otherwise


class Times:
    """The seconds of repeated calls of one thing."""

    def __init__(self, seconds: Sequence[float]) -> None:
        self.seconds = list(seconds)

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    def percentile(self, percent: float) -> float:
        """By linear interpolation between the two nearest."""
        ordered = sorted(self.seconds)
        position = (len(ordered) - 1) * percent / 100
        low = int(position)
        high = min(low + 1, len(ordered) - 1)
        return ordered[low] + (ordered[high] - ordered[low]) * (position - low)

    def to_dict(self, *percents: int) -> Dict[str, Any]:
        numbers = {f"p{percent}": rounded(self.percentile(percent)) for percent in percents}
        return {**numbers, "calls": len(self.seconds)}


def in_turns(
    candidates: Mapping[str, Callable[[], Any]], rounds: int, calls: int = 1, warm_up: int = 1, settle: int = 0
) -> Dict[str, Times]:
    """Time several things in turns, so that what else the machine does falls on all of them alike.

    Parameters
    ----------
    candidates : dict of str to function
        What to time. The order is reversed in every other round.
    rounds : int
        How often each has its turn.
    calls : int
        How many calls of one turn are timed.
    warm_up : int
        How many calls each gets before the first round.
    settle : int
        How many calls at the start of each turn are not timed: caches and spinning threads are still the others'.
    """
    for function in candidates.values():
        for _ in range(warm_up):
            function()
    seconds: Dict[str, List[float]] = {name: [] for name in candidates}
    for turn in range(rounds):
        order = list(candidates) if turn % 2 == 0 else list(reversed(list(candidates)))
        for name in order:
            gc.collect()
            gc.disable()  # as timeit does: a collection belongs to nobody
            try:
                for _ in range(settle):
                    candidates[name]()
                for _ in range(calls):
                    seconds[name].append(timed(candidates[name]))
            finally:
                gc.enable()
    return {name: Times(values) for name, values in seconds.items()}


def timed(function: Callable[[], Any]) -> float:
    """The seconds of one call."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def ratio(ours: Times, others: Times) -> float:
    """Median to median."""
    return ours.median / others.median


def rounded(number: float) -> float:
    """To four significant digits: no clock here knows more."""
    return float(f"{number:.4g}")


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print a table; the first column is text, the others numbers."""
    drawn = Table(title=title, title_justify="left")
    for i, column in enumerate(columns):
        drawn.add_column(column, justify="left" if i == 0 else "right")
    for row in rows:
        drawn.add_row(*[f"{cell:.4g}" if isinstance(cell, float) else str(cell) for cell in row])
    console.print(drawn)


def say(text: str) -> None:
    """Print a line as it is: rich would take what stands in brackets for a style."""
    console.print(text, markup=False, soft_wrap=True)


def import_mxnet() -> Any:
    """MXNet 1.9.1 uses a name that numpy 1.24 removed."""
    vars(np)["bool"] = bool
    import mxnet

    return mxnet


def network(name: str, image_size: int = 0) -> Any:
    """A network of MXNet's model zoo as Relay: its module, its weights, the shape of its input ``data``.

    ``image_size`` 0 is the one that it is made for.
    """
    import_mxnet()
    from tests.models import zoo

    return zoo.network(name, image_size or zoo.NETWORKS.get(name, 224))


def parser(description: str, name: str) -> argparse.ArgumentParser:
    """A parser with the option that all benchmarks have."""
    made = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}", description=description, allow_abbrev=False)
    made.add_argument("--output", type=Path, default=RESULTS / f"{name}.json", help="where the JSON goes")
    return made


def write(arguments: argparse.Namespace, name: str, results: Mapping[str, Any]) -> None:
    """Write the results with what they depend on. Not the host's name nor any path: the file is to be published."""
    words, given = [], iter(sys.argv[1:])
    for word in given:
        if word == "--output":
            next(given, None)
        elif not word.startswith("--output="):
            words.append(word)
    document = {
        "command": shlex.join(["python", "-m", f"benchmarks.{name}", *words]),
        **environment(),
        "results": results,
    }
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    console.print(f"written to {os.path.relpath(arguments.output)}")


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
