"""How long it takes to the first result: with the plan in the cache, and with a timing cache.

    python -m benchmarks.start [--models resnet50_v1] [--level 3] [--rounds 7]

With a GPU and TensorRT: a build with a timing cache next to one without, and from load_module to the first result, next
to the same plan by TensorRT alone. Without: the CPU engine, with and without its plan in the cache.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Mapping, Type
from unittest import mock

import numpy as np
import tvm
from tvm import relay
from tvm.contrib.graph_executor import GraphModule

from relay_trt import partition_for_tensorrt
from relay_trt.runtime import Settings, plans, subgraphs
from relay_trt.runtime.builders.tensorrt import TensorRTBuilder, tensorrt_logger
from relay_trt.runtime.cache import PlanCache
from relay_trt.runtime.engines import Engine, choose_engine
from relay_trt.runtime.tensorrt_library import load_tensorrt

from . import measure, timing
from .candidates import by_plan, expect_one_subgraph, largest_difference
from .stages import Stages

MOST = 1.3  # of TensorRT's own start: what a start with the plan in the cache shall take
LEAST = 3.0  # times a build with a timing cache: what one without shall take


class Starts:
    """Starts of a library, each from its file to the first result, as in a new process that has imported everything.

    Parameters
    ----------
    library : pathlib.Path
        What is started: a copy each time, because the loader would return a file that it has loaded already.
    count : int
        How many starts there will be.
    engine : type
        What runs it.
    data : numpy.ndarray
        Its input.
    cache_dir : function
        Returns the directory of plans for the next start.
    """

    def __init__(
        self, library: Path, count: int, engine: Type[Engine], data: np.ndarray, cache_dir: Callable[[], str]
    ) -> None:
        folder = Path(tempfile.mkdtemp(dir=str(library.parent)))
        self._copies = [shutil.copy(str(library), str(folder / f"{number}.so")) for number in range(count)]
        self._engine, self._data, self._cache_dir = engine, data, cache_dir
        self._device = device_of(engine)
        self._alive: List[Any] = []  # freed at the end: it would take another start's time
        self.stages: List[Stages] = []
        self.outputs: List[np.ndarray] = []

    def start(self) -> None:
        stages = Stages()
        with mock.patch.dict(os.environ, {"TVM_TENSORRT_CACHE_DIR": self._cache_dir()}):
            with _watching(self._engine, stages):
                library = stages.wrap("load_module", tvm.runtime.load_module)(self._copies.pop())
                module = stages.wrap("executor", lambda: GraphModule(library["default"](self._device)))()
                stages.wrap("the rest of the first call", module.run)(data=self._data)
                self.outputs = [stages.wrap("result to the host", module.get_output(0).numpy)()]
        self._alive.append((library, module))
        self.stages.append(stages)

    def parts(self) -> Dict[str, float]:
        """The median seconds of each part of the starts but the first, which warms up."""
        later = [stages.seconds for stages in self.stages[1:]]
        return {name: statistics.median(seconds[name] for seconds in later) for name in later[0]}


@contextlib.contextmanager
def _watching(engine: Type[Engine], stages: Stages) -> Iterator[None]:
    """Make what the first call does stages."""
    watched = {
        "key of the plan": (plans, "plan_key"),
        "plan from the cache": (PlanCache, "load"),
        "deserialize": (engine, "load"),
        "build": (engine, "build"),
        "plan to the cache": (PlanCache, "store"),
    }
    with contextlib.ExitStack() as stack:
        for name, (owner, function) in watched.items():
            wrapped = stages.wrap(name, getattr(owner, function))
            stack.enter_context(mock.patch.object(owner, function, wrapped))
        yield


class Alone:
    """Starts of a plan by TensorRT alone: read, deserialized, run."""

    def __init__(self, plan: Path, data: np.ndarray, device: Any) -> None:
        self._plan, self._data, self._device = plan, data, device
        self._alive: List[Any] = []
        self.outputs: List[np.ndarray] = []

    def start(self) -> None:
        runtime = load_tensorrt().Runtime(tensorrt_logger())
        engine = runtime.deserialize_cuda_engine(self._plan.read_bytes())
        candidate = by_plan(engine, self._data, self._device)
        candidate.call()
        self.outputs = candidate.outputs()
        self._alive.append((candidate, engine, runtime))


def device_of(engine: Type[Engine]) -> Any:
    return tvm.cuda(0) if engine.name == "tensorrt" else tvm.cpu(0)


def export(name: str, engine: Type[Engine], path: Path) -> np.ndarray:
    """Make a network of the zoo a library; returns an input."""
    network = measure.network(name)
    mod, _ = partition_for_tensorrt(network.mod, network.params)
    expect_one_subgraph(mod)
    with tvm.transform.PassContext(opt_level=3):
        relay.build(mod, target="cuda" if engine.name == "tensorrt" else "llvm").export_library(str(path))
    return np.random.RandomState(0).uniform(-1, 1, network.shape).astype("float32")


def build(path: Path) -> None:
    """Build the engine of a library, and write down how many seconds it took, once TensorRT itself had started."""
    started = TensorRTBuilder()  # the first of a process takes TensorRT seconds
    library = tvm.runtime.load_module(str(path))
    module = GraphModule(library["default"](tvm.cuda(0)))
    (subgraph,) = subgraphs(library)
    path.with_suffix(".json").write_text(json.dumps(timing.timed(subgraph.build)))
    del module, started


def build_in_a_process(path: Path, cache: Path) -> float:
    command = [sys.executable, "-m", "benchmarks.start", "--build", str(path)]
    subprocess.run(command, check=True, env={**os.environ, "TVM_TENSORRT_CACHE_DIR": str(cache)})
    return float(json.loads(path.with_suffix(".json").read_text()))


def timing_cache(library: Path, cold: Path, warm: Path) -> Dict[str, Any]:
    """A build with an empty cache, and one with a cache that has the first one's timing cache, but not its plan."""
    without = build_in_a_process(library, cold)
    measure.say(f"built without a timing cache in {without:.2f} s")
    records = list(cold.glob("timing_*.record"))
    if not records:
        raise SystemExit(f"no timing cache was kept, only {sorted(path.name for path in cold.glob('*'))}")
    warm.mkdir(mode=0o700)
    for record in records:
        shutil.copy(str(record), str(warm))
    with_it = build_in_a_process(library, warm)
    ratio = without / with_it
    measure.say(f"built with a timing cache in {with_it:.2f} s: {verdict(ratio, f'at least {LEAST}', ratio >= LEAST)}")
    seconds = {"without": timing.rounded(without), "with": timing.rounded(with_it)}
    return {"seconds": seconds, "ratio": timing.rounded(ratio), "bytes": sum(file.stat().st_size for file in records)}


def warm_start(starts: Starts, alone: Alone, rounds: int) -> Dict[str, Any]:
    """Starts with the plan in the cache, and of the plan by TensorRT alone, in turns."""
    times = timing.in_turns({"relay_trt": starts.start, "TensorRT alone": alone.start}, rounds)
    ratio = timing.ratio(times["relay_trt"], times["TensorRT alone"])
    difference = largest_difference(starts.outputs, alone.outputs)
    show("from the file to the first result", times)
    show_parts("relay_trt", starts)
    measure.say(f"{verdict(ratio, f'at most {MOST}', ratio <= MOST)}; outputs differ by {difference:.0e}")
    found = {"seconds": to_dict(times), "ratio": timing.rounded(ratio), "difference": difference}
    return {**found, "parts": parts_to_dict(starts)}


def on_gpu(name: str, engine: Type[Engine], folder: Path, rounds: int, found: Dict[str, Any]) -> None:
    library, cold = folder / "library.so", folder / "cold"
    data = export(name, engine, library)
    found["timing cache"] = timing_cache(library, cold, folder / "warm")
    (plan,) = cold.glob("*.plan")
    found["plan bytes"] = plan.stat().st_size
    measure.say(f"the plan has {found['plan bytes'] / 1e6:.1f} MB, the library {library.stat().st_size / 1e6:.1f} MB")
    starts = Starts(library, rounds + 1, engine, data, lambda: str(cold))
    found["warm start"] = warm_start(starts, Alone(plan, data, tvm.cuda(0)), rounds)


def on_cpu(name: str, engine: Type[Engine], folder: Path, rounds: int, found: Dict[str, Any]) -> None:
    library = folder / "library.so"
    data = export(name, engine, library)
    kept = str(folder / "kept")
    starts = {
        "empty cache": Starts(library, rounds + 1, engine, data, lambda: tempfile.mkdtemp(dir=str(folder))),
        "warm cache": Starts(library, rounds + 1, engine, data, lambda: kept),
    }
    times = timing.in_turns({kind: of_kind.start for kind, of_kind in starts.items()}, rounds)
    show("from the file to the first result", times)
    for kind, of_kind in starts.items():
        show_parts(kind, of_kind)
    found["start"] = to_dict(times)
    found["parts"] = {kind: parts_to_dict(of_kind) for kind, of_kind in starts.items()}


def show(title: str, times: Mapping[str, timing.Times]) -> None:
    rows = [(name, t.median, "  ".join(f"{seconds:.3f}" for seconds in t.seconds)) for name, t in times.items()]
    measure.table(f"{title}, in turns", ["", "median s", "all"], rows)


def show_parts(name: str, starts: Starts) -> None:
    parts = starts.parts()
    rows = [(part, seconds * 1e3, f"{seconds / sum(parts.values()):.0%}") for part, seconds in parts.items()]
    measure.table(f"{name}: where its time goes, each line without the others", ["", "median ms", "share"], rows)


def to_dict(times: Mapping[str, timing.Times]) -> Dict[str, Any]:
    return {
        name: {"p50": timing.rounded(t.median), "all": list(map(timing.rounded, t.seconds))}
        for name, t in times.items()
    }


def parts_to_dict(starts: Starts) -> Dict[str, float]:
    return {part: timing.rounded(seconds) for part, seconds in starts.parts().items()}


def verdict(ratio: float, wanted: str, kept: bool) -> str:
    return f"ratio {ratio:.2f}, wanted is {wanted}{'' if kept else ', MISSED'}"


def main() -> None:
    parser = measure.parser(__doc__.splitlines()[0], "start")
    parser.add_argument("--models", nargs="+", default=["resnet50_v1"], help="of MXNet's model zoo")
    parser.add_argument(
        "--level", type=int, help="TVM_TENSORRT_BUILDER_LEVEL; without it, the variable or TensorRT's own"
    )
    parser.add_argument("--rounds", type=int, default=7, help="how often each start is timed")
    parser.add_argument(
        "--build", type=Path, help="build this library's engine, in this process; for the script itself"
    )
    arguments = parser.parse_args()
    if arguments.build:
        build(arguments.build)
        return
    if arguments.level is not None:
        os.environ["TVM_TENSORRT_BUILDER_LEVEL"] = str(arguments.level)
    engine = choose_engine(Settings.from_environment())
    results: Dict[str, Any] = {"engine": engine.name}
    for name in arguments.models:
        measure.console.rule(name)
        results[name] = {}
        with tempfile.TemporaryDirectory() as folder:
            measure_start = on_gpu if engine.name == "tensorrt" else on_cpu
            try:
                measure_start(name, engine, Path(folder), arguments.rounds, results[name])
            finally:  # what there is so far took its time
                measure.write(arguments, "start", results)


if __name__ == "__main__":
    main()
