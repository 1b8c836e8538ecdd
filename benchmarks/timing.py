"""Timing in turns, and statistics. Needs Python alone: what is compared runs in other environments, too."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import re
import statistics
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Sequence

# The habits of TensorRT's trtexec.
WARM_UP = 0.2  # seconds
LEAST = 10  # calls, however long they take
ENQUEUE_BOUND = 0.8  # of the device's time: from there on, it is the host that takes it
UNSTABLE = 0.025  # of the mean: a standard deviation above that

ROUNDS = 4  # how often each has its turn
SETTLE = 0.02  # seconds at the start of each: caches are still the others', and their threads may be spinning
SLOW = 0.5  # seconds of one call: of such ones, less is asked for
LEAST_SLOW = 3  # calls


def nothing() -> None:
    """What there is to do where nothing is."""


@dataclasses.dataclass(frozen=True)
class Candidate:
    """Something that computes a network.

    Attributes
    ----------
    launch : function
        Starts the computation; it may return before that is done.
    wait : function
        Returns when the computation is done.
    outputs : function
        The outputs of the last computation, as arrays of numpy.
    on_device : function, optional
        Computes once, and returns the seconds that the device took for it.
    about : str
        What there is to know about it.
    """

    launch: Callable[[], Any]
    wait: Callable[[], Any] = nothing
    outputs: Callable[[], List[Any]] = list
    on_device: Optional[Callable[[], float]] = None
    about: str = ""

    def call(self) -> None:
        """Compute, and wait for it."""
        self.launch()
        self.wait()


class Times:
    """The seconds of repeated calls of one thing."""

    def __init__(self, seconds: Sequence[float]) -> None:
        self.seconds = list(seconds)

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def variation(self) -> float:
        """The coefficient of variation: the standard deviation as a part of the mean."""
        return statistics.pstdev(self.seconds) / statistics.fmean(self.seconds)

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


@dataclasses.dataclass
class Measured:
    """What was measured of a candidate, in seconds: its calls, of each the part until it was launched, the device."""

    calls: List[float] = dataclasses.field(default_factory=list)
    launches: List[float] = dataclasses.field(default_factory=list)
    device: List[float] = dataclasses.field(default_factory=list)

    def to_dict(self) -> Dict[str, Any]:
        """Percentiles and what to beware of; the host's part and the device's only of what runs on a device."""
        calls = Times(self.calls)
        found = calls.to_dict(50, 90, 99)
        # As trtexec has it, the device's own time must be stable; the host's is at the mercy of all that runs there.
        variation = (Times(self.device) if self.device else calls).variation
        found["variation"] = rounded(variation)
        warnings = ["unstable"] if variation > UNSTABLE else []
        if self.device:
            enqueue, device = Times(self.launches).median, Times(self.device).median
            found.update(enqueue=rounded(enqueue), device=rounded(device))
            warnings += ["enqueue-bound"] if enqueue > ENQUEUE_BOUND * device else []
        return {**found, "warnings": warnings}


def compare(candidates: Mapping[str, Candidate], seconds: float) -> Dict[str, Measured]:
    """Time candidates in turns.

    Each is warmed up for 0.2 s, and then timed for at least 10 calls and at least this many seconds, and half as long
    for the device's time. Of candidates that take more than half a second, three calls will do.
    """
    # The faster of two: one of the first calls may do what later ones need not.
    single = {name: min(timed(candidate.call) for _ in range(2)) for name, candidate in candidates.items()}
    for name, candidate in candidates.items():
        repeat(candidate.call, WARM_UP - single[name], 0)
    found = {name: Measured() for name in candidates}
    for name in turns(list(candidates), ROUNDS):
        if single[name] <= SLOW:
            _turn(candidates[name], found[name], seconds / ROUNDS)
        elif len(found[name].calls) < LEAST_SLOW:
            _take(candidates[name], found[name])
    return found


def _turn(candidate: Candidate, measured: Measured, seconds: float) -> None:
    on_device, calls = candidate.on_device, -(-LEAST // ROUNDS)
    repeat(candidate.call, SETTLE, 1)
    repeat(lambda: _take(candidate, measured), seconds, calls)
    if on_device:
        repeat(lambda: measured.device.append(on_device()), seconds / 2, calls)


def _take(candidate: Candidate, measured: Measured) -> None:
    """Time one call. The device has nothing else to do when it begins."""
    start = time.perf_counter()
    candidate.launch()
    launched = time.perf_counter()
    candidate.wait()
    end = time.perf_counter()
    measured.calls.append(end - start)
    measured.launches.append(launched - start)


def repeat(function: Callable[[], Any], seconds: float, least: int) -> None:
    """Call a function for that long, and at least so often."""
    end = time.perf_counter() + seconds
    while least > 0 or time.perf_counter() < end:
        function()
        least -= 1


def throughput(calls: Sequence[Callable[[], Any]], seconds: float) -> float:
    """Calls a second of all together, each in a thread of its own, after a warm-up there."""
    together = threading.Barrier(len(calls))

    def work(call: Callable[[], Any]) -> float:
        try:
            repeat(call, WARM_UP, 1)
        except BaseException:
            together.abort()  # the others would wait for ever
            raise
        together.wait()
        count, start = 0, time.perf_counter()
        while time.perf_counter() < start + seconds:
            call()
            count += 1
        return count / (time.perf_counter() - start)

    with ThreadPoolExecutor(len(calls)) as threads:
        futures = [threads.submit(work, call) for call in calls]
    errors = [error for error in (future.exception() for future in futures) if error]
    for error in sorted(errors, key=lambda error: isinstance(error, threading.BrokenBarrierError)):
        raise error
    return sum(future.result() for future in futures)


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
        repeat(function, 0, warm_up)
    seconds: Dict[str, List[float]] = {name: [] for name in candidates}
    for name in turns(list(candidates), rounds):
        repeat(candidates[name], 0, settle)
        seconds[name] += [timed(candidates[name]) for _ in range(calls)]
    return {name: Times(values) for name, values in seconds.items()}


def turns(names: Sequence[str], rounds: int) -> Iterator[str]:
    """Each name once in each round, in every other one backwards. Garbage is collected between turns."""
    for turn in range(rounds):
        for name in names if turn % 2 == 0 else reversed(names):
            with _without_collections():
                yield name


@contextlib.contextmanager
def _without_collections() -> Iterator[None]:
    gc.collect()
    gc.disable()  # as timeit does: a collection belongs to nobody
    try:
        yield
    finally:
        gc.enable()


def timed(function: Callable[[], Any]) -> float:
    """The seconds of one call."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def failure(error: BaseException) -> Dict[str, str]:
    """What stands in place of numbers: one line, without the paths of this machine."""
    lines = [line for line in str(error).splitlines() if line.strip()] or [""]
    # TVM's errors begin with a traceback.
    line = lines[-1] if lines[0].startswith("Traceback") else lines[0]
    return {"failed": re.sub(r"(/[\w.+-]+)+/", "", f"{type(error).__name__}: {line.strip()}")[:200]}


def ratio(ours: Times, others: Times) -> float:
    """Median to median."""
    return ours.median / others.median


def rounded(number: float) -> float:
    """To four significant digits: no clock here knows more."""
    return float(f"{number:.4g}")
