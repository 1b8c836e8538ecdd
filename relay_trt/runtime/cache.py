"""Plans, timing caches and calibration tables on disk, for the processes that come after this one."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import functools
import hashlib
import json
import logging
import multiprocessing.pool
import os
import re
import stat
import tempfile
import time
from pathlib import Path
from typing import Any, BinaryIO, Callable, Dict, Iterator, List, Mapping, NamedTuple, Optional, Pattern, Tuple, Union

import filelock
import numpy as np

from .plan_key import PlanKey

logger = logging.getLogger("TensorRT")

Buffer = Union[bytes, bytearray, memoryview]

FORMAT = 1  # of the manifests
PIECE = 8 << 20  # bytes that one thread hashes at a time
STALE = 3600.0  # seconds after which what a writer left behind is taken for a killed writer's
BUILD_PATIENCE = 3600.0  # seconds to wait for another process's build
LOCK_PATIENCE = 10.0  # seconds to wait for the other locks, which are held for a moment

# The cache's own files. It touches no others.
MANIFEST = re.compile(r"(?P<name>[A-Za-z0-9_]+-[0-9a-f]{16})\.json")
PLAN = re.compile(r"(?P<name>[A-Za-z0-9_]+-[0-9a-f]{16})-[0-9a-f]{16}\.plan")
RECORD = re.compile(r"(?P<name>[A-Za-z0-9_-]+)\.record")
LOCK = re.compile(r"(?P<name>[A-Za-z0-9_]+-[0-9a-f]{16})\.lock")
TEMPORARY = re.compile(r"[A-Za-z0-9_-]+\.(json|plan|record)\.[a-z0-9_]+\.tmp")


def checksum(data: memoryview) -> str:
    """A digest of a plan, fast for hundreds of megabytes.

    Parameters
    ----------
    data : memoryview
        Bytes.

    Returns
    -------
    str
        The SHA-256, in hexadecimal, of the SHA-256s of the pieces of 8 MiB one after the other. The pieces are
        hashed by threads in parallel: hashlib releases the interpreter's lock.
    """
    return _checksum_of_pieces(len(data), lambda start: data[start : start + PIECE])


def _checksum_of_pieces(size: int, piece: Callable[[int], memoryview]) -> str:
    starts = range(0, size, PIECE)
    # Not concurrent.futures': that has no threads any more for those that outlive the main one.
    with multiprocessing.pool.ThreadPool(max(min(len(starts), os.cpu_count() or 1), 1)) as pool:
        digests = pool.map(lambda start: hashlib.sha256(piece(start)).digest(), starts, chunksize=1)
    return hashlib.sha256(b"".join(digests)).hexdigest()


@dataclasses.dataclass(frozen=True)
class CacheEntry:
    """What the cache holds under one name.

    Attributes
    ----------
    name : str
        Of the entry; of a plan, its symbol and the beginning of its key's digest.
    kind : str
        ``"plan"`` or ``"record"``.
    symbol : str
        The subgraph of a plan; empty for a record.
    size : int
        Bytes.
    last_used : float
        Seconds since 1970.
    facts : dict of str to JSON values
        What the plan was built from and for; empty for a record, and for a plan whose manifest is damaged.
    """

    name: str
    kind: str
    symbol: str
    size: int
    last_used: float
    facts: Mapping[str, Any]


class PlanCache:
    """A directory of plans that any number of models, processes, threads and GPUs may share at once.

    A plan has two files: ``<symbol>-<digest>-<checksum>.plan``, and ``<symbol>-<digest>.json``, its manifest, which
    says what the plan was built from, its size and its checksum. Each is written under a temporary name and renamed
    when it is complete and on the disk, the manifest last. Names change only under one lock of the directory, held for
    a moment; reading needs no lock. A plan whose files are not exactly what was written is deleted, with a warning, and
    never returned. Small records, such as timing caches, are ``<name>.record``: their SHA-256, then the bytes.

    Make one with `open`.

    Parameters
    ----------
    directory : pathlib.Path
        Where the files are; it exists and is nobody else's.
    max_bytes : int
        How many bytes of plans to keep; 0 sets no bound. Records are small, and not counted.
    """

    def __init__(self, directory: Path, max_bytes: int) -> None:
        self.directory = directory
        self.max_bytes = max_bytes

    @classmethod
    def open(cls, directory: str, max_bytes: int) -> Optional[PlanCache]:
        """Use a directory, which is made where it does not exist, for its owner alone.

        Engines are code that is run: a directory that another user may write to is not used. One of root's is, as
        root may write everywhere.

        Parameters
        ----------
        directory : str
            Its path; ``~`` is the home directory.
        max_bytes : int
            How many bytes of plans to keep; 0 sets no bound.

        Returns
        -------
        PlanCache, optional
            None where the directory cannot be used; one warning in a process says why.

        Raises
        ------
        ValueError
            Where ``max_bytes`` is negative.
        """
        if max_bytes < 0:
            raise ValueError(f"the bound of a plan cache is {max_bytes} bytes; accepted is 0, for none, or more")
        path = Path(os.path.abspath(os.path.expanduser(directory)))
        try:
            _make_directory(path)
            reason = _refusal(path)
        except OSError as error:
            reason = _cause(error)
        if reason is None:
            return cls(path, max_bytes)
        _warn_once(f"the plan cache {path} is not used: {reason}; every process builds its own engines")
        return None

    def load(self, key: PlanKey, again: bool = False) -> Optional[memoryview]:
        """The plan of a key, verified; None where there is none that can be used.

        That there is none is logged, but not when it is looked for ``again``.
        """
        name = _plan_name(key)
        started = time.monotonic()
        try:
            plan = self._verified(name, key.digest)
        except FileNotFoundError:
            if not again:
                logger.info("%s: no plan in the cache %s%s", key.symbol, self.directory, self._nearest(key))
            return None
        except OSError as error:
            self._warn_of(error)
            return None
        with contextlib.suppress(OSError):  # a cache may be read-only
            os.utime(self._manifest_path(name))
        seconds = time.monotonic() - started
        logger.info(
            "%s: a plan of %d bytes from the cache %s in %.2f s", key.symbol, len(plan), self.directory, seconds
        )
        return plan

    def store(self, key: PlanKey, plan: Buffer) -> None:
        """Keep a plan, then remove what has not been used for longest until the bound holds.

        Where it cannot be written there is a warning, one in a process for each cause, and no error.

        Parameters
        ----------
        key : PlanKey
            What it was built from.
        plan : bytes-like
            The serialized engine.

        Raises
        ------
        ValueError
            Where the plan is empty.
        """
        data = memoryview(plan).cast("B")
        if not data:
            raise ValueError(f"{key.symbol}: an empty plan cannot be stored")
        if 0 < self.max_bytes < len(data):
            what = f"{key.symbol}: a plan of {len(data)} bytes"
            logger.warning("%s is more than the cache %s may hold: %d", what, self.directory, self.max_bytes)
            return
        manifest = _Manifest(key, len(data), checksum(data))
        try:
            with self._written(manifest.plan, data) as plan_file, self._written(
                f"{manifest.name}.json", manifest.to_json()
            ) as manifest_file, self._changing():
                os.replace(plan_file, self.directory / manifest.plan)
                os.replace(manifest_file, self._manifest_path(manifest.name))
                self._sync()
                self._remove_plans(manifest.name, keep=manifest.plan)
                self._remove_leftovers()
                self._evict(keep=manifest.name)
        except OSError as error:
            self._warn_of(error)
            return
        logger.info("%s: stored a plan of %d bytes in the cache %s", key.symbol, len(data), self.directory)

    def discard(self, key: PlanKey, reason: str) -> None:
        """Delete a plan that cannot be used although it is what was written; a warning gives the reason."""
        name = _plan_name(key)
        logger.warning("%s: the plan %s in the cache %s is deleted: %s", key.symbol, name, self.directory, reason)
        with self._changing():
            self._remove_plan(name)

    @contextlib.contextmanager
    def building(self, key: PlanKey, patience: float = BUILD_PATIENCE) -> Iterator[None]:
        """Of those that build a plan, let one in at a time: the next ones find it when they look again.

        Parameters
        ----------
        key : PlanKey
            What is built.
        patience : float
            Seconds to wait for the others. After that, and where the directory cannot be locked, there is a warning,
            and it goes on without the lock.
        """
        with self._held(_plan_name(key), patience, f"{key.symbol}: waiting for another that builds the same plan"):
            yield

    def read(self, name: str) -> Optional[bytes]:
        """The record of that name; None where there is none, or it is damaged, which a warning says."""
        path = self._record_path(name)
        try:
            with contextlib.suppress(_Damaged):
                return _read_record(path)
            with self._changing():
                try:
                    return _read_record(path)
                except _Damaged as damage:
                    self._warn_of_damage(damage)
                    self._unlink(path)
        except FileNotFoundError:
            pass
        except OSError as error:
            self._warn_of(error)
        return None

    def update(self, name: str, merge: Callable[[Optional[bytes]], bytes]) -> None:
        """Replace a record; of several processes that do so at once, each sees what the one before left.

        Where it cannot be written there is a warning, one in a process for each cause, and no error.

        Parameters
        ----------
        name : str
            Of the record.
        merge : function
            Gets the record as it is, or None where there is none, and returns what it shall be.
        """
        path = self._record_path(name)
        with self._held(path.name):
            data = merge(self.read(name))
            try:
                with self._written(path.name, hashlib.sha256(data).digest() + data) as file, self._changing():
                    os.replace(file, path)
                    self._sync()
            except OSError as error:
                self._warn_of(error)

    def entries(self) -> List[CacheEntry]:
        """Everything that is kept, by name."""
        sizes = self._plan_sizes()
        plans = [
            self._plan_entry(file.name, sizes.get(file.name, 0), file.status.st_mtime) for file in self._files(MANIFEST)
        ]
        records = [
            CacheEntry(file.name, "record", "", file.status.st_size, file.status.st_mtime, {})
            for file in self._files(RECORD)
        ]
        return sorted(plans + records, key=lambda entry: (entry.kind, entry.name))

    def verify(self, delete: bool = False) -> List[Tuple[CacheEntry, str, bool]]:
        """Read everything that is kept.

        Parameters
        ----------
        delete : bool
            Whether to delete what is damaged.

        Returns
        -------
        list of (CacheEntry, str, bool)
            What is damaged or cannot be read, how, and whether it was deleted.
        """
        problems = []
        for entry in self.entries():
            if self._problem(entry) is None:
                continue
            with self._changing():
                problem = self._problem(entry)
                if problem is not None:
                    problems.append((entry, problem, delete and self._remove(entry)))
        return problems

    def clear(self, symbol: Optional[str] = None, older_than: float = 0.0) -> List[CacheEntry]:
        """Delete entries; and, where all are meant, what killed writers left behind and unused locks.

        Parameters
        ----------
        symbol : str, optional
            Only plans of this subgraph.
        older_than : float
            Only what has not been used for so many seconds.

        Returns
        -------
        list of CacheEntry
            What was deleted.
        """
        latest = time.time() - older_than if older_than else float("inf")
        with self._changing():
            removed = [
                entry
                for entry in self.entries()
                if (symbol is None or entry.symbol == symbol) and entry.last_used < latest and self._remove(entry)
            ]
            if symbol is None:
                self._remove_leftovers()
        return removed

    def _verified(self, name: str, digest: str) -> memoryview:
        """A plan; where it is damaged it is deleted, and FileNotFoundError raised."""
        with contextlib.suppress(_Damaged):
            return self._read_plan(name, digest)
        with self._changing():  # a writer may have replaced the files in between
            try:
                return self._read_plan(name, digest)
            except _Damaged as damage:
                self._warn_of_damage(damage)
                self._remove_plan(name)
                raise FileNotFoundError from damage

    def _read_plan(self, name: str, digest: Optional[str]) -> memoryview:
        """The plan that has this name, and that digest where one is given."""
        manifest = self._read_manifest(name)
        if manifest.name != name or digest not in (None, manifest.key.digest):
            raise _Damaged(f"{name}.json is the manifest of another plan, {manifest.name}")
        try:
            return _read_checked(self.directory / manifest.plan, manifest.size, manifest.checksum)
        except FileNotFoundError:
            raise _Damaged(f"{name}.json names the plan {manifest.plan}, which does not exist") from None

    def _read_manifest(self, name: str) -> _Manifest:
        path = self._manifest_path(name)
        try:
            return _Manifest.from_json(_read(path))
        except (ValueError, RecursionError) as error:
            raise _Damaged(f"{path.name} is no manifest: {error}") from error

    def _plan_entry(self, name: str, size: int, last_used: float) -> CacheEntry:
        try:
            manifest = self._read_manifest(name)
        except (_Damaged, OSError):
            return CacheEntry(name, "plan", name.rpartition("-")[0], size, last_used, {})
        return CacheEntry(name, "plan", manifest.key.symbol, size, last_used, manifest.key.facts)

    def _problem(self, entry: CacheEntry) -> Optional[str]:
        try:
            if entry.kind == "record":
                _read_record(self.directory / f"{entry.name}.record")
            else:
                self._read_plan(entry.name, None)
        except FileNotFoundError:
            return None  # it was removed meanwhile
        except _Damaged as damage:
            return str(damage)
        except OSError as error:
            return f"it cannot be read: {error}"
        return None

    def _nearest(self, key: PlanKey) -> str:
        """What differs in the stored plan of the same subgraph that is most like the one that is wanted."""
        prefix = _plan_name(key).rpartition("-")[0]
        found = []
        for file in self._files(MANIFEST):
            if file.name.rpartition("-")[0] == prefix:
                with contextlib.suppress(_Damaged, OSError):
                    found.append(key.differences(self._read_manifest(file.name).key.facts))
        nearest = min(found, key=lambda text: text.count(";"), default="")
        return nearest and f"; of the nearest there, {nearest}"

    @contextlib.contextmanager
    def _written(self, name: str, data: Buffer) -> Iterator[str]:
        """A temporary file with these bytes, on the disk; it is deleted unless it gets another name."""
        _make_directory(self.directory)  # it may have been deleted meanwhile
        descriptor, path = tempfile.mkstemp(".tmp", f"{name}.", str(self.directory))
        try:
            with open(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(descriptor)
            yield path
        finally:
            with contextlib.suppress(OSError):
                os.unlink(path)

    def _sync(self) -> None:
        # Not every network file system can: a power cut may then lose the newest names, and a load finds it out.
        with contextlib.suppress(OSError):
            descriptor = os.open(str(self.directory), os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def _changing(self) -> contextlib.AbstractContextManager[None]:
        """Held while names change, so that nobody deletes what another has just put there."""
        return self._held("directory")

    @contextlib.contextmanager
    def _held(self, name: str, patience: float = LOCK_PATIENCE, waiting: str = "") -> Iterator[None]:
        """Hold a lock; where it is not to be had, go on without it, after a warning."""
        lock = self._lock(name)
        with contextlib.ExitStack() as held:
            try:
                _make_directory(self.directory)  # filelock would, for more than its owner
                try:
                    held.enter_context(lock.acquire(timeout=0))
                except filelock.Timeout:
                    _try_to_lock(lock.lock_file)
                    if waiting:
                        logger.info("%s", waiting)
                    held.enter_context(lock.acquire(timeout=patience))
            except (OSError, NotImplementedError) as error:  # a Timeout is an OSError
                self._warn_of(error)
            yield

    def _lock(self, name: str) -> filelock.BaseFileLock:
        return filelock.FileLock(str(self.directory / f"{name}.lock"), mode=0o600)

    def _remove(self, entry: CacheEntry) -> bool:
        if entry.kind == "record":
            return self._unlink(self.directory / f"{entry.name}.record")
        return self._remove_plan(entry.name)

    def _remove_plan(self, name: str) -> bool:
        # The manifest first: a reader must never see one without its plan.
        removed = self._unlink(self._manifest_path(name))
        self._remove_plans(name)
        return removed

    def _remove_plans(self, name: str, keep: str = "") -> None:
        for file in self._files(PLAN):
            if file.name == name and file.path.name != keep:
                self._unlink(file.path)

    def _remove_leftovers(self) -> None:
        """Delete what killed writers left behind, and locks of plans that are no more."""
        stale = time.time() - STALE
        names = {file.name for file in self._files(MANIFEST)}
        orphans = [file for file in self._files(PLAN) if file.name not in names]
        for file in self._files(TEMPORARY) + orphans:
            if file.status.st_mtime < stale:
                self._unlink(file.path)
        for file in self._files(LOCK):
            if file.status.st_mtime < stale and file.name not in names:
                # One that is held is in use. OSError is also a Timeout.
                with contextlib.suppress(OSError, NotImplementedError), self._lock(file.name).acquire(timeout=0):
                    self._unlink(file.path)

    def _evict(self, keep: str) -> None:
        """Delete what has not been used for longest until the bound holds."""
        sizes = self._plan_sizes()
        excess = sum(sizes.values()) - self.max_bytes if self.max_bytes else 0
        for file in sorted(self._files(MANIFEST), key=lambda file: file.status.st_mtime):
            if excess > 0 and file.name != keep:
                logger.info("the plan %s is deleted: the cache %s is full", file.name, self.directory)
                self._remove_plan(file.name)
                excess -= sizes.get(file.name, 0)

    def _plan_sizes(self) -> Dict[str, int]:
        sizes: Dict[str, int] = {}
        for file in self._files(PLAN):
            sizes[file.name] = sizes.get(file.name, 0) + file.status.st_size
        return sizes

    def _files(self, pattern: Pattern[str]) -> List[_File]:
        files = []
        try:
            for name in os.listdir(str(self.directory)):
                match = pattern.fullmatch(name)
                path = self.directory / name
                if match:
                    with contextlib.suppress(FileNotFoundError):  # it was just removed
                        files.append(_File(path, match.groupdict().get("name", ""), path.lstat()))
        except OSError as error:
            self._warn_of(error)
        return files

    def _unlink(self, path: Path) -> bool:
        try:
            path.unlink()
        except FileNotFoundError:
            return False
        except OSError as error:
            self._warn_of(error)
            return False
        return True

    def _manifest_path(self, name: str) -> Path:
        return self.directory / f"{name}.json"

    def _record_path(self, name: str) -> Path:
        safe = _safe(name)
        if safe != name:
            safe = f"{safe}-{hashlib.sha256(name.encode()).hexdigest()[:16]}"
        return self.directory / f"{safe}.record"

    def _warn_of(self, error: Exception) -> None:
        _warn_once(
            f"the plan cache {self.directory} fails: {_cause(error)}; it goes on, and may not keep what is built"
        )

    def _warn_of_damage(self, damage: _Damaged) -> None:
        logger.warning("the plan cache %s is damaged: %s; the entry is deleted", self.directory, damage)


class _Damaged(Exception):
    """A file is not what was written; the message names it and says why."""


class _File(NamedTuple):
    path: Path
    name: str  # of the entry that it belongs to
    status: os.stat_result


@dataclasses.dataclass(frozen=True)
class _Manifest:
    """What a plan was built from, and what it must be."""

    key: PlanKey
    size: int
    checksum: str

    @property
    def name(self) -> str:
        return _plan_name(self.key)

    @property
    def plan(self) -> str:
        return f"{self.name}-{self.checksum[:16]}.plan"

    def to_json(self) -> bytes:
        return json.dumps(self._fields(), indent=1, sort_keys=True).encode()

    def _fields(self) -> Dict[str, Any]:
        key = {"symbol": self.key.symbol, "facts": self.key.facts, "digest": self.key.digest}
        return {"format": FORMAT, **key, "plan": self.plan, "size": self.size, "checksum": self.checksum}

    @classmethod
    def from_json(cls, text: bytes) -> _Manifest:
        """Read a manifest; ValueError says what is wrong with it."""
        fields = json.loads(text)
        if not isinstance(fields, dict):
            raise ValueError("it is no JSON object")
        types = {"symbol": str, "facts": dict, "size": int, "checksum": str}
        wrong = [name for name, expected in types.items() if type(fields.get(name)) is not expected]
        if wrong:
            raise ValueError(f"{', '.join(wrong)} missing or of a wrong type")
        manifest = cls(PlanKey(fields["symbol"], fields["facts"]), fields["size"], fields["checksum"])
        for name, expected in manifest._fields().items():
            if fields.get(name) != expected:
                raise ValueError(f"its {name} is {fields.get(name)!r}, and not {expected!r}")
        return manifest


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    with open(str(path), "rb") as file:
        others = _writable_by_others(os.fstat(file.fileno()))
        if others:
            raise _Damaged(f"{path.name} {others}")
        yield file


def _read(path: Path) -> bytes:
    with _opened(path) as file:
        return file.read()


def _read_checked(path: Path, size: int, expected: str) -> memoryview:
    """A file of that size and checksum.

    The threads that hash its pieces read them too: most of the time that a large plan takes goes into the first use of
    the memory that it is read to. A mapping of the file would need none, but end the process if another truncates it.
    """
    with _opened(path) as file:
        found = os.fstat(file.fileno()).st_size
        if found != size:
            raise _Damaged(f"{path.name} has {found} bytes, and {size} were written")
        plan = np.empty(size, np.uint8).data

        def piece(start: int) -> memoryview:
            view = plan[start : start + PIECE]
            done = 0
            while done < len(view):
                count = os.preadv(file.fileno(), [view[done:]], start + done)
                if count == 0:
                    raise _Damaged(f"{path.name} became shorter while it was read")
                done += count
            return view

        if _checksum_of_pieces(size, piece) != expected:
            raise _Damaged(f"{path.name} has another checksum than what was written")
        return plan


def _read_record(path: Path) -> bytes:
    data = _read(path)
    if hashlib.sha256(data[32:]).digest() != data[:32]:
        raise _Damaged(f"{path.name} has another checksum than what was written")
    return data[32:]


def _try_to_lock(file: str) -> None:
    """Raise OSError where files cannot be locked: older filelocks take that for a lock that another holds, and wait."""
    with open(file, "ab") as opened, contextlib.suppress(BlockingIOError):
        fcntl.flock(opened.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)


def _make_directory(path: Path) -> None:
    missing = [parent for parent in (path, *path.parents) if not parent.exists()]
    for parent in reversed(missing):
        parent.mkdir(0o700, exist_ok=True)


def _refusal(path: Path) -> Optional[str]:
    """Why a directory is not used; None where it may be."""
    status = path.stat()
    if not stat.S_ISDIR(status.st_mode):
        return "it is not a directory"
    if not os.access(str(path), os.R_OK | os.X_OK):
        return "it cannot be read"
    others = _writable_by_others(status)
    return others and f"it {others}, and engines are code that is run"


def _writable_by_others(status: os.stat_result) -> Optional[str]:
    """Who else may have written a file or directory, root aside."""
    if status.st_uid not in (os.geteuid(), 0):
        return f"is owned by user {status.st_uid}, and this process runs as user {os.geteuid()}"
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return f"may be written by others (mode {stat.S_IMODE(status.st_mode):o})"
    return None


def _plan_name(key: PlanKey) -> str:
    return f"{_safe(key.symbol)}-{key.digest[:16]}"


def _safe(name: str) -> str:
    """A name as part of a file's: what is no letter, digit or underscore is replaced, and it has an end."""
    return re.sub(r"[^A-Za-z0-9_]", "_", name)[:100] or "_"


def _cause(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


@functools.lru_cache(maxsize=None)  # once in a process: the cause is there for every plan
def _warn_once(message: str) -> None:
    logger.warning("%s", message)
