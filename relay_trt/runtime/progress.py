"""Builds that take their time: what is shown of them, and that Ctrl-C ends the wait for one at once."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import logging
import queue
import signal
import sys
import threading
import time
from concurrent.futures import CancelledError, Future
from typing import Any, Callable, ContextManager, Dict, Iterator, List, Optional, Tuple, TypeVar

from tqdm import tqdm

from .tensorrt_library import load_tensorrt

logger = logging.getLogger("TensorRT")

Result = TypeVar("Result")

_POLL = 0.1  # seconds between two looks at a build
_FIRST_LINE, _LONGEST_PAUSE = 10, 60  # seconds to the first line of the log, and between two at the most

# TensorRT builds one network at a time in a process.
_one_build = threading.Lock()


@dataclasses.dataclass
class _Phase:
    parent: Optional[str]
    steps: int
    done: int = 0


class Progress:
    """How far a build is, and whether it is still wanted.

    Its first three methods are those of TensorRT's ``IProgressMonitor``: the builder calls them from its threads.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._phases: Dict[str, _Phase] = {}  # those that run, in the order in which they started
        self._cancelled = threading.Event()

    def phase_start(self, phase_name: str, parent_phase: Optional[str], num_steps: int) -> None:
        """A phase starts, within one that runs or on its own; no other that runs has its name."""
        with self._lock:
            self._phases[phase_name] = _Phase(parent_phase, max(num_steps, 1))

    def phase_finish(self, phase_name: str) -> None:
        """A phase ends, perhaps before its last step."""
        with self._lock:
            self._phases.pop(phase_name, None)

    def step_complete(self, phase_name: str, step: int) -> bool:
        """A step, counted from 0, is done. Returns whether to go on."""
        with self._lock:
            if phase_name in self._phases:
                self._phases[phase_name].done = step + 1
        return not self.cancelled

    def cancel(self) -> None:
        """Say that the result is not wanted any more."""
        self._cancelled.set()

    @property
    def cancelled(self) -> bool:
        """Whether the result is not wanted any more."""
        return self._cancelled.is_set()

    @property
    def state(self) -> Optional[Tuple[str, float]]:
        """The phase that started last, and how much of the outermost phase is done, from 0 to 1.

        None where that is not known: TensorRT tells it from 9.0 on, while it is in a phase.
        """
        with self._lock:
            if not self._phases:
                return None
            *_, latest = self._phases
            return latest, self._done(next(iter(self._phases)))

    def _done(self, name: str) -> float:
        """How much of a phase is done. One within it is a part of the step that runs."""
        phase = self._phases[name]
        within = [self._done(other) for other, inner in self._phases.items() if inner.parent == name]
        return min((phase.done + max(within, default=0.0)) / phase.steps, 1.0)


def tensorrt_monitor(progress: Progress) -> Optional[Any]:
    """The ``tensorrt.IProgressMonitor`` for a build's configuration; None before TensorRT 9.0, which has none.

    By it TensorRT reports to ``progress``, and is told to stop where the result is not wanted any more.
    """
    trt = load_tensorrt()
    return _monitor_class(trt.IProgressMonitor)(progress) if hasattr(trt, "IProgressMonitor") else None


@functools.lru_cache(maxsize=None)
def _monitor_class(interface: Any) -> Any:
    class Monitor(interface):
        def __init__(self, progress: Progress) -> None:
            interface.__init__(self)
            self._progress = progress

        def phase_start(self, phase_name: str, parent_phase: Optional[str], num_steps: int) -> None:
            self._progress.phase_start(phase_name, parent_phase, num_steps)

        def phase_finish(self, phase_name: str) -> None:
            self._progress.phase_finish(phase_name)

        def step_complete(self, phase_name: str, step: int) -> bool:
            return self._progress.step_complete(phase_name, step)

    return Monitor


class _BuildThread(threading.Thread):
    def __init__(self, name: str, work: Callable[[], None], progress: Progress) -> None:
        # A daemon: Python waits for others before it calls `end_builds`, and a second Ctrl-C would end that wait.
        super().__init__(name=f"relay_trt-build {name}", target=work, daemon=True)
        self.progress = progress


def run_build(name: str, build: Callable[[Progress], Result]) -> Result:
    """Run a build in a thread of its own, one at a time in the process, and wait for it.

    While it runs, a bar is shown where standard error is a terminal, and lines are logged elsewhere. An exception
    that interrupts the wait, such as Ctrl-C's, ends it at once: the build is told by its progress, and what it
    returns nevertheless is dropped. The next build starts when it has ended, and so does the end of the process.

    Parameters
    ----------
    name : str
        What is built, for messages.
    build : function
        Builds it; its argument is a `Progress` to report to. In its thread nothing is set that belongs to a thread,
        such as CUDA's current device.

    Returns
    -------
    object
        What ``build`` returned.

    Raises
    ------
    Exception
        What ``build`` raised.
    """
    progress = Progress()
    outcomes: queue.SimpleQueue[Future[Result]] = queue.SimpleQueue()

    def work() -> None:
        outcome: Future[Result] = Future()
        try:
            with _one_build:
                if progress.cancelled:
                    raise CancelledError
                outcome.set_result(build(progress))
        except BaseException as error:
            outcome.set_exception(error)
        outcomes.put(outcome)

    try:
        _BuildThread(name, work, progress).start()
        with _shown(name, progress) as show:
            outcome = _wait(outcomes, show)
    except BaseException:
        progress.cancel()
        logger.warning("%s: the wait for the build was interrupted", name)
        raise
    return outcome.result()


def _wait(outcomes: queue.SimpleQueue[Future[Result]], show: Callable[[], None]) -> Future[Result]:
    # This queue is C: unlike threading's own conditions, it is sound where a signal interrupts it anywhere.
    while True:
        with contextlib.suppress(queue.Empty):
            return outcomes.get(timeout=_POLL)
        show()


def end_builds() -> None:
    """Wait, at the end of the process, for the builds that nobody waits for: it crashes where TensorRT still builds."""
    builds: List[_BuildThread] = [thread for thread in threading.enumerate() if isinstance(thread, _BuildThread)]
    if not builds:
        return
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends the process now, without what would crash
    logger.warning("waiting for TensorRT to end a build that was interrupted; Ctrl-C ends the process at once")
    for build in builds:
        build.progress.cancel()
    for build in builds:
        build.join()


def _shown(name: str, progress: Progress) -> ContextManager[Callable[[], None]]:
    """A function that shows a build as it is now; to be called again and again while it runs."""
    on_terminal = sys.stderr is not None and sys.stderr.isatty()
    return _bar(name, progress) if on_terminal else _lines(name, progress)


class _Bar(tqdm):
    monitor_interval = 0  # no thread that draws bars nobody updates


@contextlib.contextmanager
def _bar(name: str, progress: Progress) -> Iterator[Callable[[], None]]:
    by_time = "{desc}: building the engine, {elapsed}"
    by_steps = "{desc}: {percentage:3.0f}%|{bar}| {elapsed}{postfix}"
    # What is built within half a second is not shown.
    with _Bar(desc=name, total=1, bar_format=by_time, miniters=0, delay=0.5, leave=False, dynamic_ncols=True) as bar:

        def show() -> None:
            state = progress.state
            bar.bar_format = by_steps if state else by_time
            phase, done = state or ("", 0.0)
            bar.set_postfix_str(phase, refresh=False)
            bar.update(done - bar.n)

        yield show


@contextlib.contextmanager
def _lines(name: str, progress: Progress) -> Iterator[Callable[[], None]]:
    started = time.monotonic()
    due = pause = _FIRST_LINE
    logger.info("%s: building the engine", name)

    def show() -> None:
        nonlocal due, pause
        elapsed = time.monotonic() - started
        if elapsed < due:
            return
        state = progress.state
        details = f" ({state[1]:.0%}, {state[0]})" if state else ""
        logger.info("%s: still building after %.0f s%s", name, elapsed, details)
        pause = min(2 * pause, _LONGEST_PAUSE)
        due += pause

    yield show
