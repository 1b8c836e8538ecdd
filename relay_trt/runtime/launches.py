"""The calls of a subgraph that were captured, where its generated code finds them.

A call that comes with the tensors of an earlier one, on the same stream, need not go to Python: the generated code
compares their addresses and launches the CUDA graph that was captured of it.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import functools
import threading
import time
from collections import OrderedDict
from typing import Any, Dict, Hashable, Iterator, Optional, Sequence, Type

from . import cuda
from .dltensor import TensorView
from .process import uninterrupted

_libc = ctypes.CDLL(None)

MAX_LAUNCHES = 16
MAX_SEEN = 64  # of the calls that are remembered: one that comes again is captured
#: How long a captured call is in use after it was launched, in nanoseconds. Where more calls come in turn than there
#: are places, to capture each anew would take longer than to enqueue it.
IDLE = 1_000_000_000
MAX_NDIM = 8  # TensorRT's own limit
#: What the generated code asks for: a library may have been compiled for another layout.
QUESTION = "launches, version 3"


@dataclasses.dataclass(frozen=True)
class Captured:
    """A call as a CUDA graph.

    Attributes
    ----------
    engine : Engine
        What it was captured of.
    graph : int
        The ``CUgraphExec``.
    context : int
        The ``CUcontext`` that it belongs to.
    stream : int
        The only stream on which it may be launched.
    staging : sequence of int
        For each tensor the address of pinned memory where the graph reads or writes it; 0 where it does that in place.
    synchronize : bool
        Whether a tensor lies on the host, so that the call must wait for the GPU.
    owner : object
        What the graph needs while it is used, and itself; freed with this.
    """

    engine: Any
    graph: int
    context: int
    stream: int
    staging: Sequence[int]
    synchronize: bool
    owner: Any


@contextlib.contextmanager
def _locked(launch: Any) -> Iterator[Any]:
    """With the lock that generated code holds while it launches."""
    mutex = ctypes.byref(launch.lock)
    _libc.pthread_mutex_lock(mutex)
    try:
        yield launch
    finally:
        _libc.pthread_mutex_unlock(mutex)


class Launches:
    """The captured calls of one subgraph, at most `MAX_LAUNCHES`.

    Parameters
    ----------
    num_tensors : int
        How many inputs and outputs the subgraph has.
    """

    def __init__(self, num_tensors: int) -> None:
        self._table = _layout(num_tensors)()
        # By place: what was captured, and of which call.
        self._captured: Dict[int, Captured] = {}
        self._calls: Dict[int, Hashable] = {}
        self._seen: OrderedDict[Hashable, None] = OrderedDict()
        self._changing = threading.Lock()

    @property
    def address(self) -> int:
        """Of the structure that the generated code reads."""
        return ctypes.addressof(self._table)

    def wanted(self, tensors: Sequence[TensorView], stream: int) -> bool:
        """Whether a call is worth capturing: one with these tensors came lately on the stream, and there is a place."""
        call = _call(tensors, stream)
        with self._changing:
            again = call in self._seen
            self._seen[call] = None
            self._seen.move_to_end(call)
            if len(self._seen) > MAX_SEEN:
                self._seen.popitem(last=False)
            return again and self._place(call) is not None

    def keep(self, captured: Captured, tensors: Sequence[TensorView]) -> None:
        """Have calls with these tensors launched from now on."""
        functions = cuda.driver_functions()
        call = _call(tensors, captured.stream)

        def change() -> None:
            with self._changing:
                place = self._place(call)
                if place is None:  # another thread has taken it
                    return
                before, self._captured[place], self._calls[place] = self._captured.get(place), captured, call
                for name, function in functions.items():
                    setattr(self._table, name, function)
                with _locked(self._table.places[place]) as launch:
                    launch.graph, launch.context, launch.stream = captured.graph, captured.context, captured.stream
                    launch.synchronize = captured.synchronize
                    launch.last_use = time.monotonic_ns()
                    for kept, tensor, staging in zip(launch.tensors, tensors, captured.staging):
                        kept.data, kept.staging, kept.nbytes = tensor.address, staging, tensor.nbytes
                        kept.device_type, kept.device_id = tensor.device_type, tensor.device_id
                        kept.ndim, kept.dtype = len(tensor.shape), tensor.raw_dtype
                        kept.shape[: len(tensor.shape)] = tensor.shape
                self._table.used = max(self._table.used, place + 1)
            del before  # outside of the locks: to be freed, it waits for the GPU

        uninterrupted(change)

    def forget(self, engines: Sequence[Any]) -> None:
        """Give up what was captured of these engines."""

        def change() -> None:
            with self._changing:
                places = [place for place, captured in self._captured.items() if captured.engine in engines]
                for place in places:
                    with _locked(self._table.places[place]) as launch:
                        launch.graph = None
                    del self._calls[place]
                given_up = [self._captured.pop(place) for place in places]
            del given_up  # as above

        uninterrupted(change)

    def last_use(self, engine: Any) -> int:
        """When one of an engine's calls was launched last: nanoseconds of the monotonic clock, or 0."""
        with self._changing:
            uses = [
                self._table.places[i].last_use for i, captured in self._captured.items() if captured.engine is engine
            ]
        return max(uses, default=0)

    def _place(self, call: Hashable) -> Optional[int]:
        """Where a call may be kept: where it is, as its launch failed; where nothing is, or nothing that is in use."""
        same = [place for place, kept in self._calls.items() if kept == call]
        free = [place for place in range(MAX_LAUNCHES) if place not in self._captured]
        if free and not same:
            return free[0]
        longest = min(same or self._captured, key=lambda place: self._table.places[place].last_use)
        return longest if time.monotonic_ns() - self._table.places[longest].last_use >= IDLE else None


def _call(tensors: Sequence[TensorView], stream: int) -> Hashable:
    """What must be equal for a captured call to be launched; dtypes are the subgraph's."""
    return stream, tuple((x.address, x.device_type, x.device_id, x.shape) for x in tensors)


class _Tensor(ctypes.Structure):
    _fields_ = [
        ("data", ctypes.c_void_p),
        ("staging", ctypes.c_void_p),
        ("nbytes", ctypes.c_int64),
        ("device_type", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("dtype", ctypes.c_uint32),
        ("device_id", ctypes.c_int32),
        ("shape", ctypes.c_int64 * MAX_NDIM),
    ]


@functools.lru_cache(maxsize=None)
def _layout(num_tensors: int) -> Type[ctypes.Structure]:
    """``Launches`` of ``subgraph.c``."""

    class Launch(ctypes.Structure):
        _fields_ = [
            ("lock", ctypes.c_uint64 * 8),
            ("graph", ctypes.c_void_p),
            ("context", ctypes.c_void_p),
            ("stream", ctypes.c_void_p),
            ("synchronize", ctypes.c_int64),
            ("last_use", ctypes.c_int64),
            ("tensors", _Tensor * num_tensors),
        ]

    class Table(ctypes.Structure):
        _fields_ = [
            *((name, ctypes.c_void_p) for name in cuda.DRIVER_FUNCTIONS),
            ("used", ctypes.c_int64),
            ("places", Launch * MAX_LAUNCHES),
        ]

    return Table
