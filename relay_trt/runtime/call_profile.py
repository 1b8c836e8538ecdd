"""Where the time of a call goes: TVM's kernels, the engines, the copies between host and GPU, the launches."""

from __future__ import annotations

import contextlib
import dataclasses
import statistics
import time
from collections import Counter, defaultdict
from typing import Any, Dict, List, Mapping, Tuple

import tvm
from tvm.contrib.graph_executor import GraphModule

from .library import subgraphs


@dataclasses.dataclass(frozen=True)
class Part:
    """A part of a call.

    Attributes
    ----------
    name : str
        The function that TVM's executor calls: a kernel of its own, or the symbol of a subgraph.
    kind : str
        ``"TVM"`` for a kernel; of a subgraph ``"engine"`` for what its engine computes, ``"copies"`` between the host
        and the GPU, and ``"launch"`` for all else that it takes.
    milliseconds : float
        The median of several calls.
    """

    name: str
    kind: str
    milliseconds: float


@dataclasses.dataclass(frozen=True)
class CallProfile:
    """Where the time of a call goes. ``print`` shows it as a table.

    Attributes
    ----------
    milliseconds : float
        The median of a whole call, its parts not timed.
    parts : tuple of Part
        In the order in which TVM runs them. Each was waited for, so that they may add up to more than the whole.
    """

    milliseconds: float
    parts: Tuple[Part, ...]

    def __str__(self) -> str:
        width = max([len(part.name) for part in self.parts], default=0)
        total = sum(part.milliseconds for part in self.parts) or 1.0
        rows = [
            f"{part.name:{width}}  {part.kind:6}  {part.milliseconds:9.4f} ms  {part.milliseconds / total:4.0%}"
            for part in self.parts
        ]
        return "\n".join([*rows, f"a call as a whole: {self.milliseconds:.4f} ms"])


def profile(library: tvm.runtime.Module, device: Any, inputs: Mapping[str, Any], runs: int = 20) -> CallProfile:
    """Run a library, and time the parts of its calls.

    Parameters
    ----------
    library : tvm.runtime.Module
        What ``load_module`` returned, for the graph executor.
    device : tvm.runtime.Device
        Where to run it.
    inputs : dict of str to array
        What to run it on, by the names of its inputs.
    runs : int
        How many calls are timed, after one that is not.

    Returns
    -------
    CallProfile
        The parts in the order of their calls.

    Raises
    ------
    TypeError
        Where it is no library for the graph executor.
    ValueError
        Where an input is missing, or there is none of a name; and for ``runs`` below 1.
    RuntimeError
        Where this TVM was built without its profiler, or is 0.8, which does not tell the names of inputs.
    """
    if not isinstance(library, tvm.runtime.Module) or library.type_key != "GraphExecutorFactory":
        raise TypeError("a profile is made of a library for the graph executor, as load_module returned it")
    if tvm.get_global_func("tvm.graph_executor_debug.create", allow_missing=True) is None:
        raise RuntimeError("this TVM has no graph executor that profiles: it was built without USE_PROFILER")
    if not hasattr(GraphModule, "get_input_info"):
        raise RuntimeError("this TVM does not tell the names of a library's inputs, as 0.9 and newer do")
    if runs < 1:
        raise ValueError(f"runs must be at least 1, not {runs}")
    whole = _whole_calls(library, device, inputs, runs)
    times = _parts(library, device, inputs, runs)
    parts = [Part(name, kind, statistics.median(values)) for (name, _, kind), values in times.items()]
    return CallProfile(statistics.median(whole), tuple(parts))


def _whole_calls(library: tvm.runtime.Module, device: Any, inputs: Mapping[str, Any], runs: int) -> List[float]:
    executor = GraphModule(library["default"](device))
    _set_inputs(executor, inputs)
    times = []
    for _ in range(runs + 1):
        device.sync()
        started = time.perf_counter()
        executor.run()
        device.sync()
        times.append((time.perf_counter() - started) * 1e3)
    return times[1:]


def _set_inputs(executor: GraphModule, inputs: Mapping[str, Any]) -> None:
    """One by one: as keywords, some names, such as "key", would be TVM's own."""
    shapes, _ = executor.get_input_info()
    missing, unknown = sorted(set(shapes) - set(inputs)), sorted(set(inputs) - set(shapes))
    if missing or unknown:
        raise ValueError(f"the inputs are {sorted(shapes)}, not {sorted(inputs)}")
    for name, value in inputs.items():
        executor.set_input(name, value)


def _parts(
    library: tvm.runtime.Module, device: Any, inputs: Mapping[str, Any], runs: int
) -> Dict[Tuple[str, int, str], List[float]]:
    """The times of each part, by function, by its how-manieth call within one run, and by kind."""
    from tvm.contrib.debugger.debug_executor import GraphModuleDebug  # imports much, and not every TVM has it

    executor = GraphModuleDebug(library["debug_create"]("default", device), [device], library["get_graph_json"](), None)
    _set_inputs(executor, inputs)
    times: Dict[Tuple[str, int, str], List[float]] = defaultdict(list)
    with contextlib.ExitStack() as stack:
        stack.callback(executor.exit)  # removes its folder
        watched = {subgraph.graph.symbol: stack.enter_context(subgraph.watched()) for subgraph in subgraphs(library)}
        for run in range(runs + 1):
            for calls in watched.values():
                calls.clear()
            report = executor.profile()
            if run == 0:
                continue
            seen: Counter[str] = Counter()
            for call in report.calls:
                name, milliseconds = str(call["Name"]), call["Duration (us)"].microseconds / 1e3
                if name not in watched:
                    times[name, seen[name], "TVM"].append(milliseconds)
                else:
                    parts = watched[name][-1]
                    times[name, 0, "engine"].append(parts["engine"])
                    times[name, 0, "copies"].append(parts["copies"])
                    times[name, 0, "launch"].append(max(milliseconds - sum(parts.values()), 0.0))
                seen[name] += 1
    return times
