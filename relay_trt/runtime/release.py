"""Frees the subgraphs of closed libraries, outside of the loader.

A library's destructor runs with the loader's lock held, and the threads of an engine that is freed may want that lock.
So the destructor only writes the handle of its subgraph to a pipe, and a thread of this module frees what it reads.
"""

from __future__ import annotations

import atexit
import ctypes
import functools
import os
import sys
import threading

import tvm

_HANDLE_SIZE = ctypes.sizeof(ctypes.c_void_p)


# Two threads that ask first and at once may get two pipes, each of which works.
@functools.lru_cache(maxsize=None)
def release_descriptor() -> int:
    """The file descriptor to which a library of this process writes the handle of a subgraph, to have it freed.

    Such a write does not block: the pipe holds 8,192 handles, and what it has no room for is not freed.
    """
    incoming, outgoing = os.pipe()  # closed by the end of the process: libraries are closed later than Python ends
    os.set_blocking(outgoing, False)
    thread = threading.Thread(target=_free_all, args=(incoming,), name="relay_trt-release", daemon=True)
    thread.start()
    atexit.register(_finish, os.getpid(), outgoing, thread)
    return outgoing


# The pipe of a forked process would be its parent's, whose thread would free the parent's subgraphs.
os.register_at_fork(after_in_child=release_descriptor.cache_clear)


def _free_all(incoming: int) -> None:
    while True:
        handle = int.from_bytes(os.read(incoming, _HANDLE_SIZE), sys.byteorder)
        if handle == 0:
            return
        tvm._ffi.base._LIB.TVMFuncFree(ctypes.c_void_p(handle))


def _finish(pid: int, outgoing: int, thread: threading.Thread) -> None:
    """Let the thread end what it does: Python must not end while it frees an engine."""
    if os.getpid() == pid:
        os.set_blocking(outgoing, True)
        os.write(outgoing, bytes(_HANDLE_SIZE))
        thread.join()
        os.set_blocking(outgoing, False)  # for libraries that are closed from here on: nobody reads
