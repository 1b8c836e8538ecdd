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
from typing import Any, Dict, Hashable, Iterator, Sequence, Type

from . import cuda
from .dltensor import TensorView

_libc = ctypes.CDLL(None)

MAX_LAUNCHES = 16
MAX_NDIM = 8  # TensorRT's own limit
#: What the generated code asks for: a library may have been compiled for another layout.
QUESTION = "launches, version 2"


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
    """The captured calls of one subgraph, at most `MAX_LAUNCHES`; of more, the least recently used goes.

    Parameters
    ----------
    num_tensors : int
        How many inputs and outputs the subgraph has.
    """

    def __init__(self, num_tensors: int) -> None:
        self._table = _layout(num_tensors)()
        self._captured: Dict[int, Captured] = {}  # by place
        self._seen: OrderedDict[Hashable, None] = OrderedDict()
        self._changing = threading.Lock()

    @property
    def address(self) -> int:
        """Of the structure that the generated code reads."""
        return ctypes.addressof(self._table)

    def seen(self, tensors: Sequence[TensorView]) -> bool:
        """Whether a call with these tensors came lately: one that comes again is worth capturing."""
        call = tuple((tensor.address, tensor.device_type, tensor.shape) for tensor in tensors)
        with self._changing:
            again = call in self._seen
            self._seen[call] = None
            self._seen.move_to_end(call)
            if len(self._seen) > MAX_LAUNCHES:
                self._seen.popitem(last=False)
        return again

    def keep(self, captured: Captured, tensors: Sequence[TensorView]) -> None:
        """Have calls with these tensors launched from now on."""
        with self._changing:
            place = self._place()
            before = self._captured.get(place)
            self._captured[place] = captured
            for name, function in cuda.driver_functions().items():
                setattr(self._table, name, function)
            launch = self._table.places[place]
            with _locked(launch):
                launch.graph, launch.context, launch.stream = captured.graph, captured.context, captured.stream
                launch.synchronize = captured.synchronize
                launch.last_use = time.monotonic_ns()
                for kept, tensor, staging in zip(launch.tensors, tensors, captured.staging):
                    kept.data, kept.staging, kept.nbytes = tensor.address, staging, tensor.nbytes
                    kept.device_type = tensor.device_type
                    kept.ndim, kept.dtype = len(tensor.shape), tensor.raw_dtype
                    kept.shape[: len(tensor.shape)] = tensor.shape
            self._table.used = max(self._table.used, place + 1)
        del before  # freed outside of the locks: it waits for the GPU

    def forget(self, engines: Sequence[Any]) -> None:
        """Give up what was captured of these engines."""
        with self._changing:
            places = [place for place, captured in self._captured.items() if captured.engine in engines]
            for place in places:
                with _locked(self._table.places[place]) as launch:
                    launch.graph = None
            given_up = [self._captured.pop(place) for place in places]
        del given_up

    def last_use(self, engine: Any) -> int:
        """When one of an engine's calls was launched last: nanoseconds of the monotonic clock, or 0."""
        with self._changing:
            uses = [
                self._table.places[i].last_use for i, captured in self._captured.items() if captured.engine is engine
            ]
        return max(uses, default=0)

    def _place(self) -> int:
        free = [place for place in range(MAX_LAUNCHES) if place not in self._captured]
        return free[0] if free else min(range(MAX_LAUNCHES), key=lambda place: self._table.places[place].last_use)


class _Tensor(ctypes.Structure):
    _fields_ = [
        ("data", ctypes.c_void_p),
        ("staging", ctypes.c_void_p),
        ("nbytes", ctypes.c_int64),
        ("device_type", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("dtype", ctypes.c_uint32),
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
