"""Statistics on numbers whose answers are known, and who gets a turn when."""

from __future__ import annotations

import time
from typing import Any, Callable, List

import numpy as np
import pytest

from benchmarks.timing import Candidate, Measured, Times, compare, failure, in_turns, throughput


def test_percentiles_are_numpy_s() -> None:
    seconds = list(np.random.RandomState(0).exponential(size=37))
    for percent in (0, 1, 50, 90, 99, 100):
        assert Times(seconds).percentile(percent) == pytest.approx(np.percentile(seconds, percent))
    assert Times([3.0]).to_dict(50, 99) == {"p50": 3.0, "p99": 3.0, "calls": 1}


def test_the_coefficient_of_variation() -> None:
    assert Times([2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0]).variation == pytest.approx(2 / 5)
    assert Times([5.0] * 4).variation == 0


@pytest.mark.parametrize(
    ("launch", "device", "warnings"),
    [
        (0.79, [1.0, 1.0, 1.0], []),
        (0.81, [1.0, 1.0, 1.0], ["enqueue-bound"]),
        (0.5, [0.96, 1.0, 1.04], ["unstable"]),
        (0.5, [0.98, 1.0, 1.02], []),
        (0.9, [0.5, 1.0, 1.5], ["unstable", "enqueue-bound"]),
    ],
)
def test_warnings_are_trtexec_s(launch: float, device: List[float], warnings: List[str]) -> None:
    # Calls that are as unstable as can be: where the device's time is known, that is what must be stable.
    found = Measured([1.0, 3.0, 2.0], [launch] * 3, device).to_dict()
    assert (found["warnings"], found["p50"], found["device"], found["enqueue"]) == (warnings, 2.0, 1.0, launch)


def test_on_the_host_there_is_no_device() -> None:
    found = Measured([1.0, 1.1], [1.0, 1.1]).to_dict()
    assert found == {"p50": 1.05, "p90": 1.09, "p99": 1.099, "calls": 2, "variation": 0.04762, "warnings": ["unstable"]}


def test_launching_is_timed_by_itself() -> None:
    """Two candidates: one waits while it launches, the other after it; the device says what it likes."""
    pause: Callable[[], Any] = lambda: time.sleep(0.004)  # noqa: E731
    nothing: Callable[[], Any] = lambda: None  # noqa: E731
    made = {"early": Candidate(pause, nothing, on_device=lambda: 7.0), "late": Candidate(nothing, pause)}
    found = compare(made, 0.1)
    for measured in found.values():
        assert len(measured.calls) == len(measured.launches) >= 10
        assert min(measured.calls) >= 0.004
        assert sum(measured.calls) >= 0.05  # of the 0.1 s, the rest is what the loop itself takes
    assert min(found["early"].launches) >= 0.004 > np.median(found["late"].launches)
    assert set(found["early"].device) == {7.0}
    assert len(found["early"].device) >= 10
    assert not found["late"].device


def test_of_slow_ones_three_calls_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.timing.SLOW", 0.01)
    calls: List[str] = []

    def call() -> None:
        calls.append("called")
        time.sleep(0.02)

    slow = Candidate(call)
    assert len(compare({"slow": slow}, 0.0)["slow"].calls) == 3
    monkeypatch.setattr("benchmarks.timing.WARM_UP", 0.0)
    calls.clear()
    compare({"slow": slow}, 0.0)
    assert len(calls) == 5  # and two to see how slow it is


def test_every_other_round_is_backwards() -> None:
    order: List[str] = []
    candidates = {name: (lambda name=name: order.append(name)) for name in "abc"}
    times = in_turns(candidates, rounds=2, calls=2, warm_up=0, settle=1)
    assert "".join(order) == "aaabbbccc" + "cccbbbaaa"
    assert all(len(t.seconds) == 4 for t in times.values())


def test_throughput_is_that_of_all_threads() -> None:
    rate = throughput([lambda: time.sleep(0.01)] * 4, 0.2)
    assert 100 < rate <= 400  # one after the other they would do 100


def test_a_thread_that_fails_is_an_error_and_no_wait() -> None:
    def fail() -> None:
        raise ValueError("no memory")

    with pytest.raises(ValueError, match="no memory"):
        throughput([lambda: None, fail, lambda: None], 0.1)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (RuntimeError("out of memory\nTried to allocate"), "RuntimeError: out of memory"),
        (OSError("cannot open /home/someone/plans/a.plan"), "OSError: cannot open a.plan"),
        (
            RuntimeError("Traceback (most recent call last):\n  File x\nTVMError: no kernel\n"),
            "RuntimeError: TVMError: no kernel",
        ),
        (ValueError(), "ValueError: "),
    ],
)
def test_failures_are_one_line_without_paths(error: Exception, said: str) -> None:
    assert failure(error) == {"failed": said}
