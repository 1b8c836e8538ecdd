"""Subgraphs of closed libraries, by their handles alone; tests/codegen/test_module.py closes real ones."""

from __future__ import annotations

import contextlib
import ctypes
import os
import random
import subprocess
import sys
import threading
import time
import weakref
from typing import Any, Callable, List, Tuple

import pytest
import tvm

from relay_trt.runtime.process import shared, uninterrupted

from ..support import fork


class Engine:
    """What a packed function owns."""


def handle() -> Tuple[bytes, weakref.ref]:
    """The handle of a packed function that nobody else frees, and what it owns."""
    engine = Engine()
    function = tvm.runtime.convert(lambda: engine)
    function.is_global = True  # TVM's object does not free it
    return bytes(ctypes.c_void_p(function.handle.value)), weakref.ref(engine)


def wait_for(condition: Callable[[], bool]) -> bool:
    end = time.monotonic() + 10
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
    return condition()


def release_threads() -> List[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "relay_trt-release"]


def test_what_is_written_is_freed() -> None:
    descriptor = shared().release_descriptor
    made = [handle() for _ in range(100)]
    assert all(reference() for _, reference in made)
    for written, _ in made:
        assert os.write(descriptor, written) == len(written)
    assert wait_for(lambda: not any(reference() for _, reference in made))


def test_one_thread_for_all() -> None:
    assert len({shared().release_descriptor for _ in range(3)}) == 1
    assert len(release_threads()) == 1
    assert release_threads()[0].daemon  # the process does not wait for it


def test_a_write_does_not_block() -> None:
    """A destructor runs with the loader's lock held."""
    assert not os.get_blocking(shared().release_descriptor)


def in_a_fork(test: Callable[[], Any]) -> Any:
    """What a forked process computes, as text."""
    ours, theirs = os.pipe()
    pid = fork()
    if pid == 0:
        try:
            os.write(theirs, str(test()).encode())
        finally:
            os._exit(0)
    os.close(theirs)
    with os.fdopen(ours) as result:
        text = result.read()
    os.waitpid(pid, 0)
    return text


def test_a_change_is_made_or_not_begun_whatever_comes_between(alarm: Callable[[float], None]) -> None:
    rng = random.Random(0)
    for _ in range(2000):
        begun: List[int] = []
        made: List[int] = []

        def change(begun: List[int] = begun, made: List[int] = made) -> None:
            begun.append(1)
            made.append(1)

        with contextlib.suppress(KeyboardInterrupt):
            alarm(rng.uniform(1e-6, 2e-4))
            uninterrupted(change)
            assert made
            alarm(0)
        assert wait_for(lambda begun=begun, made=made: begun == made)


CHANGES = """
import signal, time
from relay_trt.runtime.process import uninterrupted

def change():
    time.sleep(1)
    print("made")

signal.signal(signal.SIGALRM, signal.default_int_handler)
signal.setitimer(signal.ITIMER_REAL, 0.2)
uninterrupted(change)
"""


def test_the_process_ends_when_a_change_is_made() -> None:
    done = subprocess.run([sys.executable, "-c", CHANGES], capture_output=True, text=True, check=False)
    assert done.stderr.splitlines()[-1] == "KeyboardInterrupt"
    assert done.stdout == "made\n"


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_process_has_its_own() -> None:
    parents = shared().release_descriptor

    def works() -> Tuple[bool, bool, int]:
        written, reference = handle()
        os.write(shared().release_descriptor, written)
        freed = wait_for(lambda: not reference())
        return shared().release_descriptor != parents, freed, len(release_threads())

    assert in_a_fork(works) == str((True, True, 1))
    assert shared().release_descriptor == parents
