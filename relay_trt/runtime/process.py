"""What the libraries of a process share with the runtime: how closed ones are freed, and how the process ends.

A library's destructor runs with the loader's lock held, and the threads of an engine that is freed may want that lock.
So the destructor only writes the handle of its subgraph to a pipe, and a thread of this module frees what it reads.

A thread that wants Python's lock when Python is ending is ended by it. Inside TVM's C++ that aborts the process. So the
generated code lets no thread but the main one into Python once the process is ending, and its end waits for those that
are in.
"""

from __future__ import annotations

import _thread
import atexit
import ctypes
import logging
import os
import sys
import threading
import time
from typing import Callable, Optional, Set

import tvm

from .progress import end_builds

logger = logging.getLogger("TensorRT")

_HANDLE_SIZE = ctypes.sizeof(ctypes.c_void_p)


class Shared(ctypes.Structure):
    """``struct shared`` of ``subgraph.c``.

    Attributes
    ----------
    ending : int
        1 once only the main thread may enter Python.
    inside : int
        How many threads the generated code has let into Python.
    release_descriptor : int
        The pipe that takes the handles of subgraphs to be freed; a write to it does not block. -1 without one.
    """

    _fields_ = [("ending", ctypes.c_int32), ("inside", ctypes.c_int32), ("release_descriptor", ctypes.c_int32)]


def _allocate() -> Shared:
    calloc = ctypes.CDLL(None).calloc
    calloc.argtypes, calloc.restype = [ctypes.c_size_t, ctypes.c_size_t], ctypes.c_void_p
    # Never freed: libraries are closed later than Python ends.
    made = Shared.from_address(calloc(1, ctypes.sizeof(Shared)))
    made.release_descriptor = -1
    return made


_shared = _allocate()
_starting = threading.Lock()
_releasing: Optional[threading.Thread] = None
_changing: Set[object] = set()


def shared() -> Shared:
    """What generated code is given the address of; the thread that frees subgraphs runs from the first call on."""
    with _starting:
        if _releasing is None:
            _start_releasing()
    return _shared


def uninterrupted(change: Callable[[], None]) -> None:
    """Make a change that signals, as Ctrl-C's, do not break off half-way, and wait for it.

    They interrupt the main thread, between any two steps: so another thread makes it, to its end also where the wait is
    interrupted. Not one of `threading`'s, whose start is many steps: an interrupted one fails, or keeps the thread, and
    what it holds, for good.
    """
    made = threading.Lock()

    def make() -> None:
        _changing.add(made)
        try:
            change()
        finally:
            _changing.discard(made)
            made.release()

    made.acquire()
    _thread.start_new_thread(make, ())
    made.acquire()


def _start_releasing() -> None:
    global _releasing
    incoming, outgoing = os.pipe()  # closed by the end of the process
    os.set_blocking(outgoing, False)  # it holds 8,192 handles; what it has no room for is not freed
    _releasing = threading.Thread(target=_free_all, args=(incoming,), name="relay_trt-release", daemon=True)
    _releasing.start()
    _shared.release_descriptor = outgoing


def _free_all(incoming: int) -> None:
    while True:
        handle = int.from_bytes(os.read(incoming, _HANDLE_SIZE), sys.byteorder)
        if handle == 0:
            return
        tvm._ffi.base._LIB.TVMFuncFree(ctypes.c_void_p(handle))


def _forget() -> None:
    """A forked process has no thread but its own, and must not have the thread of its parent free anything."""
    global _releasing, _starting
    _shared.ending = _shared.inside = 0
    _shared.release_descriptor = -1
    _releasing, _starting = None, threading.Lock()
    _changing.clear()


os.register_at_fork(after_in_child=_forget)


@atexit.register
def _end() -> None:
    """Let the threads that are in calls or make changes leave, and the one that frees subgraphs end what it does."""
    _shared.ending = 1
    end_builds()
    due = time.monotonic() + 1
    while True:
        time.sleep(0.001)  # first: a thread that has not seen `ending` must be seen to be inside
        inside = max(_shared.inside, 0) + len(_changing)  # below 0 where a process was forked in the middle of a call
        if not inside:
            break
        if time.monotonic() > due:
            logger.warning("the process ends when %d calls have returned; Ctrl-C ends it at once", inside)
            due = float("inf")
    if _releasing is not None:
        os.set_blocking(_shared.release_descriptor, True)
        os.write(_shared.release_descriptor, bytes(_HANDLE_SIZE))
        _releasing.join()
        os.set_blocking(_shared.release_descriptor, False)  # for libraries that are closed from here on: nobody reads
