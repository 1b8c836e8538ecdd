"""The plan cache: what it gives back, and what every fault leaves behind and says."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import multiprocessing
import os
import random
import resource
import shutil
import signal
import stat
import subprocess
import threading
import time
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional

import pytest

from relay_trt.runtime.cache import PIECE, STALE, PlanCache, checksum
from relay_trt.runtime.plan_key import PlanKey

FACTS = {"tensorrt": "8.6.0", "gpu": "NVIDIA H200", "use_fp16": False, "shapes": [[1, 3]]}
KEY = PlanKey("main_0", FACTS)
OTHER = PlanKey("main_0", {**FACTS, "gpu": "Orin"})
PLAN = bytes(range(256)) * 40
NOBODY = 65534

# Real processes, but forked: one that imports TVM anew takes seconds to start.
processes = multiprocessing.get_context("fork")


@pytest.fixture
def cache(tmp_path: Path) -> PlanCache:
    return opened(tmp_path / "cache")


def opened(directory: Path, max_bytes: int = 0) -> PlanCache:
    cache = PlanCache.open(str(directory), max_bytes)
    assert cache is not None
    return cache


def key(number: int) -> PlanKey:
    return PlanKey(f"main_{number}", FACTS)


def files(cache: PlanCache, *suffixes: str) -> List[str]:
    """What is in the directory, but for locks."""
    names = sorted(path.name for path in cache.directory.iterdir() if path.suffix != ".lock")
    return [name for name in names if name.endswith(suffixes or "")]


def only(cache: PlanCache, suffix: str) -> Path:
    (name,) = files(cache, suffix)
    return cache.directory / name


def warnings(log: pytest.LogCaptureFixture) -> List[str]:
    return [record.getMessage() for record in log.records if record.levelno >= logging.WARNING]


def age(path: Path, seconds: float = STALE + 60) -> None:
    then = time.time() - seconds
    os.utime(path, (then, then))


def run_processes(count: int, function: Callable[..., None], *arguments: Any) -> None:
    children = [processes.Process(target=function, args=(number, *arguments)) for number in range(count)]
    for child in children:
        child.start()
    for child in children:
        child.join(60)
    assert [child.exitcode for child in children] == [0] * count


def mount(directory: Path, *arguments: str) -> Callable[[], object]:
    """Mount something on a directory, and return what unmounts it; where one may not, the test is skipped."""
    mounted = subprocess.run(["mount", *arguments, str(directory)], capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"cannot mount: {mounted.stderr}")
    return lambda: subprocess.run(["umount", "--lazy", str(directory)], check=True)


# Hits and misses


def test_a_hit(cache: PlanCache, log: pytest.LogCaptureFixture) -> None:
    cache.store(KEY, PLAN)
    age(only(cache, ".json"))
    assert cache.load(KEY) == PLAN
    name, digest = f"main_0-{KEY.digest[:16]}", checksum(memoryview(PLAN))
    assert files(cache) == [f"{name}-{digest[:16]}.plan", f"{name}.json"]
    assert only(cache, ".plan").read_bytes() == PLAN
    assert json.loads(only(cache, ".json").read_text()) == {
        "format": 1,
        "symbol": "main_0",
        "facts": FACTS,
        "digest": KEY.digest,
        "plan": f"{name}-{digest[:16]}.plan",
        "size": len(PLAN),
        "checksum": digest,
    }
    assert time.time() - only(cache, ".json").stat().st_mtime < 60  # marked as used
    stored, loaded = log.messages
    assert stored == f"main_0: stored a plan of 10240 bytes in the cache {cache.directory}"
    assert loaded.startswith(f"main_0: a plan of 10240 bytes from the cache {cache.directory} in ")
    assert not warnings(log)


@pytest.mark.parametrize("plan", [PLAN, bytearray(PLAN), memoryview(PLAN), memoryview(PLAN).cast("b")])
def test_any_buffer_is_a_plan(plan: Any, cache: PlanCache) -> None:
    cache.store(KEY, plan)
    assert cache.load(KEY) == PLAN


def test_an_empty_plan_is_refused(cache: PlanCache) -> None:
    with pytest.raises(ValueError, match="main_0: an empty plan"):
        cache.store(KEY, b"")
    assert not files(cache)


def test_a_miss(cache: PlanCache, log: pytest.LogCaptureFixture) -> None:
    assert cache.load(KEY) is None
    assert cache.load(KEY, again=True) is None
    assert log.messages == [f"main_0: no plan in the cache {cache.directory}"]


def test_the_same_subgraph_with_other_facts(cache: PlanCache, log: pytest.LogCaptureFixture) -> None:
    cache.store(OTHER, PLAN)
    cache.store(PlanKey("main_0", {**OTHER.facts, "tensorrt": "8.5.3"}), PLAN[:-1])
    cache.store(PlanKey("main_00", FACTS), PLAN)
    log.clear()
    assert cache.load(KEY) is None
    (message,) = log.messages
    assert message.endswith("; of the nearest there, gpu is 'Orin', not 'NVIDIA H200'")
    assert cache.load(OTHER) == PLAN
    cache.store(KEY, PLAN[::-1])
    assert (cache.load(KEY), cache.load(OTHER)) == (PLAN[::-1], PLAN)


def test_storing_again_replaces(cache: PlanCache) -> None:
    cache.store(KEY, PLAN)
    cache.store(KEY, PLAN[::-1])
    assert cache.load(KEY) == PLAN[::-1]
    assert len(files(cache)) == 2


def test_discard(cache: PlanCache, log: pytest.LogCaptureFixture) -> None:
    cache.store(KEY, PLAN)
    cache.store(OTHER, PLAN)
    cache.discard(KEY, "TensorRT cannot read it")
    (message,) = warnings(log)
    assert "main_0" in message
    assert message.endswith("is deleted: TensorRT cannot read it")
    assert (cache.load(KEY), cache.load(OTHER)) == (None, PLAN)
    assert len(files(cache)) == 2


@pytest.mark.parametrize("symbol", ["../../escape", "a/b", "", "é\n", "x" * 1000, "main_0-0123456789abcdef"])
def test_any_symbol_makes_a_safe_file_name(symbol: str, cache: PlanCache) -> None:
    odd = PlanKey(symbol, FACTS)
    cache.store(odd, PLAN)
    assert cache.load(odd) == PLAN
    assert len(files(cache)) == 2
    assert [entry.symbol for entry in cache.entries()] == [symbol]
    assert not cache.verify()


@pytest.mark.parametrize("size", [1, PIECE - 1, PIECE, 2 * PIECE + 3])
def test_checksum(size: int) -> None:
    data = random.Random(size).getrandbits(8 * size).to_bytes(size, "little")
    digests = b""
    for start in range(0, size, 8 * 1024 * 1024):
        digests += hashlib.sha256(data[start : start + 8 * 1024 * 1024]).digest()
    assert checksum(memoryview(data)) == hashlib.sha256(digests).hexdigest()


# Damage: whatever it is, it is named and deleted, and the plan can be stored again.


def damage_plan(change: Callable[[bytes], bytes]) -> Callable[[PlanCache], None]:
    return lambda cache: damaged(only(cache, ".plan"), change)


def damage_manifest(change: Callable[[bytes], bytes]) -> Callable[[PlanCache], None]:
    return lambda cache: damaged(only(cache, ".json"), change)


def damage_fields(**fields: Any) -> Callable[[PlanCache], None]:
    return damage_manifest(lambda data: json.dumps({**json.loads(data), **fields}).encode())


def damaged(path: Path, change: Callable[[bytes], bytes]) -> None:
    data = path.read_bytes()
    path.write_bytes(change(data))
    assert path.read_bytes() != data


def flip(position: int) -> Callable[[bytes], bytes]:
    return lambda data: data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]


def rename_plan_of_another(cache: PlanCache) -> None:
    plan = only(cache, ".plan")
    cache.store(key(1), PLAN[::-1])
    (other,) = cache.directory.glob("main_1-*.plan")
    other.rename(plan)
    (cache.directory / files(cache, ".json")[1]).unlink()


def rename_manifest_of_another(cache: PlanCache) -> None:
    manifest = only(cache, ".json")
    cache.store(key(1), PLAN[::-1])
    (other,) = cache.directory.glob("main_1-*.json")
    shutil.copy(str(other), str(manifest))


def make_writable(suffix: str) -> Callable[[PlanCache], None]:
    return lambda cache: only(cache, suffix).chmod(0o620)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (damage_plan(lambda data: data[:-1]), ".plan has 10239 bytes, and 10240 were written"),
        (damage_plan(lambda data: data + b"\0"), ".plan has 10241 bytes, and 10240 were written"),
        (damage_plan(lambda data: b""), ".plan has 0 bytes, and 10240 were written"),
        (damage_plan(flip(0)), ".plan has another checksum than what was written"),
        (damage_plan(flip(5000)), ".plan has another checksum than what was written"),
        (damage_plan(flip(len(PLAN) - 1)), ".plan has another checksum than what was written"),
        (lambda cache: only(cache, ".plan").unlink(), ".plan, which does not exist"),
        (rename_plan_of_another, ".plan has another checksum than what was written"),
        (make_writable(".plan"), ".plan may be written by others (mode 620)"),
        (damage_manifest(lambda data: b""), ".json is no manifest: Expecting value"),
        (damage_manifest(lambda data: data[:-1]), ".json is no manifest: Expecting"),
        (damage_manifest(lambda data: data[: len(data) // 2]), ".json is no manifest: "),
        (damage_manifest(lambda data: b"\xff" * 100), ".json is no manifest: "),
        (damage_manifest(lambda data: b"[" * 100000), ".json is no manifest: "),
        (damage_manifest(lambda data: b"[]"), ".json is no manifest: it is no JSON object"),
        (damage_manifest(lambda data: b"{}"), ".json is no manifest: symbol, facts, size, checksum missing"),
        (damage_fields(format=2), ".json is no manifest: its format is 2, and not 1"),
        (damage_fields(size="10240"), ".json is no manifest: size missing or of a wrong type"),
        (damage_fields(size=10239), ".plan has 10240 bytes, and 10239 were written"),
        (damage_fields(checksum="0" * 64), ".json is no manifest: its plan is "),
        (damage_fields(plan="../../other.plan"), ".json is no manifest: its plan is '../../other.plan', and not "),
        (damage_fields(digest="0" * 64), f".json is no manifest: its digest is '{'0' * 64}', and not "),
        (damage_fields(facts={**FACTS, "gpu": "Orin"}), ".json is no manifest: its digest is "),
        (damage_fields(facts={**FACTS, "scale": float("nan")}), ".json is no manifest: the fact 'scale'"),
        (rename_manifest_of_another, ".json is the manifest of another plan, main_1-"),
        (make_writable(".json"), ".json may be written by others (mode 620)"),
    ],
)
def test_damage(
    damage: Callable[[PlanCache], None], reason: str, cache: PlanCache, log: pytest.LogCaptureFixture
) -> None:
    cache.store(KEY, PLAN)
    damage(cache)
    assert cache.load(KEY) is None
    (message,) = warnings(log)
    assert message.startswith(f"the plan cache {cache.directory} is damaged: main_0-")
    assert message.endswith("; the entry is deleted")
    assert reason in message
    assert not list(cache.directory.glob("main_0-*.plan")) + list(cache.directory.glob("main_0-*.json"))
    assert cache.load(key(1)) in (None, PLAN[::-1])  # what was not damaged is still there
    cache.store(KEY, PLAN)
    assert cache.load(KEY) == PLAN
    assert len(warnings(log)) == 1


def same_json(one: bytes, other: bytes) -> bool:
    with contextlib.suppress(ValueError):
        return bool(json.loads(one) == json.loads(other))
    return False


def test_one_flipped_bit_anywhere(tmp_path: Path) -> None:
    generator = random.Random(0)
    for number in range(60):
        cache = opened(tmp_path / str(number))
        cache.store(KEY, PLAN)
        path = only(cache, generator.choice([".plan", ".json"]))
        before = path.read_bytes()
        data = bytearray(before)
        data[generator.randrange(len(data))] ^= 1 << generator.randrange(8)
        path.write_bytes(data)
        # Among the blanks between two fields it may do no harm.
        harmless = path.suffix == ".json" and same_json(before, bytes(data))
        assert cache.load(KEY) == (PLAN if harmless else None)


@pytest.mark.skipif(os.geteuid() != 0, reason="gives files to another user")
@pytest.mark.parametrize("suffix", [".plan", ".json"])
def test_a_file_of_another_user(suffix: str, cache: PlanCache, log: pytest.LogCaptureFixture) -> None:
    cache.store(KEY, PLAN)
    os.chown(str(only(cache, suffix)), NOBODY, NOBODY)
    assert cache.load(KEY) is None
    assert f"is owned by user {NOBODY}, and this process runs as user 0" in warnings(log)[0]
    assert not files(cache)


def test_what_cannot_be_read_is_not_deleted(cache: PlanCache, log: pytest.LogCaptureFixture) -> None:
    """A process may just have too many open files: that is no damage."""
    cache.store(KEY, PLAN)
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    held = []
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, limit[1]))
        with contextlib.suppress(OSError):
            while True:
                held.append(os.open(os.devnull, os.O_RDONLY))
        assert [cache.load(KEY), cache.load(KEY)] == [None, None]
    finally:
        for descriptor in held:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, limit)
    assert cache.load(KEY) == PLAN
    (message,) = warnings(log)
    assert "fails: Too many open files; it goes on" in message


# Writers that die, and several at once


def versions(number: int) -> List[bytes]:
    """The plans that the processes of a test store under one key."""
    return [random.Random(10 * number + version).getrandbits(8).to_bytes(1, "little") * (4 << 20) for version in (0, 1)]


def test_a_killed_writer(cache: PlanCache, log: pytest.LogCaptureFixture) -> None:
    plans = [versions(number) for number in range(2)]

    def write() -> None:
        while True:
            for number in range(2):
                for plan in plans[number]:
                    cache.store(key(number), plan)

    generator = random.Random(0)
    interrupted = 0
    for _ in range(25):
        writer = processes.Process(target=write)
        writer.start()
        time.sleep(0.02 + generator.random() / 10)
        assert writer.pid is not None
        os.kill(writer.pid, signal.SIGKILL)
        writer.join()
        interrupted += bool(files(cache, ".tmp"))
        for number in range(2):
            assert cache.load(key(number)) in (None, *plans[number])
        for name in files(cache, ".tmp", ".plan"):
            age(cache.directory / name)  # the next writer takes it for an old one
    assert interrupted  # in the middle of a write
    assert not warnings(log)
    for number in range(2):
        cache.store(key(number), plans[number][0])
        assert cache.load(key(number)) == plans[number][0]
    assert len(files(cache, ".plan")) == len(files(cache, ".json")) == 2
    assert len(files(cache)) == 4


def test_leftovers(cache: PlanCache, log: pytest.LogCaptureFixture) -> None:
    """Old ones are deleted by the next writer; those of one that may be at work, and a user's own files, are not."""
    orphan = f"main_9-{'0' * 16}-{'1' * 16}.plan"
    temporary = [f"main_9-{'0' * 16}.json.abcd_123.tmp", f"{orphan}.abcd_123.tmp", "timing.record.abcd_123.tmp"]
    own = ["notes.txt", "model.json", "engine.plan", "upload.tmp", "timing.json.tmp", "other.lock"]
    for name in (orphan, *temporary, *own):
        (cache.directory / name).write_bytes(b"x")
    cache.store(KEY, PLAN)
    assert {orphan, *temporary} < set(files(cache))
    for path in cache.directory.iterdir():
        age(path)
    cache.store(KEY, PLAN)
    assert len(files(cache)) == 2 + len(own) - 1
    assert all((cache.directory / name).exists() for name in own)
    assert cache.load(KEY) == PLAN
    assert not warnings(log)


def test_locks_of_plans_that_are_gone(cache: PlanCache) -> None:
    for number in range(3):
        with cache.building(key(number)):
            pass
    cache.store(key(0), PLAN)
    for path in cache.directory.glob("*.lock"):
        age(path)
    with cache.building(key(1)):
        cache.store(KEY, PLAN)
        left = sorted(path.name.partition("-")[0] for path in cache.directory.glob("main_*.lock"))
    assert left == ["main_0", "main_1"]  # that of a plan that is there, and one that is held


def build_once(number: int, cache: PlanCache, start: Any, log_file: Path) -> None:
    start.wait()
    plan = cache.load(KEY)
    if plan is None:
        with cache.building(KEY):
            plan = cache.load(KEY)
            if plan is None:
                time.sleep(0.3)
                with open(log_file, "a") as log:
                    log.write(f"{number}\n")
                plan = PLAN
                cache.store(KEY, plan)
    assert plan == PLAN


def test_of_several_processes_one_builds(cache: PlanCache, tmp_path: Path) -> None:
    log_file = tmp_path / "builds"
    run_processes(3, build_once, cache, processes.Barrier(3), log_file)
    assert len(log_file.read_text().split()) == 1
    assert cache.load(KEY) == PLAN


def test_who_waits_says_so(cache: PlanCache, log: pytest.LogCaptureFixture) -> None:
    entered = threading.Event()

    def wait() -> None:
        with cache.building(KEY):
            entered.set()

    thread = threading.Thread(target=wait)
    with cache.building(KEY), cache.building(OTHER):
        thread.start()
        assert not entered.wait(0.3)
    thread.join()
    assert log.messages == ["main_0: waiting for another that builds the same plan"]


def test_a_builder_that_hangs_is_not_waited_for_forever(cache: PlanCache, log: pytest.LogCaptureFixture) -> None:
    with cache.building(KEY), cache.building(KEY, patience=0.1):
        pass
    (message,) = warnings(log)
    assert f"the plan cache {cache.directory} fails: " in message
    assert "could not be acquired" in message


def test_an_error_in_a_build_frees_the_lock(cache: PlanCache, log: pytest.LogCaptureFixture) -> None:
    with pytest.raises(KeyboardInterrupt), cache.building(KEY):
        raise KeyboardInterrupt
    with cache.building(KEY):
        pass
    assert not log.messages


def work(seed: int, directory: Path) -> None:
    cache = opened(directory, 3 * len(PLAN))
    generator = random.Random(seed)
    for _ in range(40):
        number = generator.randrange(5)
        plan = bytes([number, generator.randrange(2)]) * (len(PLAN) // 2)
        if generator.random() < 0.5:
            cache.store(key(number), plan)
        else:
            found = cache.load(key(number))
            assert found is None or (found[0], len(found)) == (number, len(PLAN))
            assert found is None or found == bytes(found[:2]) * (len(PLAN) // 2)


def test_threads_and_processes_at_once(tmp_path: Path, log: pytest.LogCaptureFixture) -> None:
    cache = opened(tmp_path / "cache", 3 * len(PLAN))
    failures: List[BaseException] = []

    def guarded(seed: int) -> None:
        try:
            work(seed, cache.directory)
        except BaseException as error:
            failures.append(error)

    children = [processes.Process(target=work, args=(seed, cache.directory)) for seed in (100, 101)]
    for child in children:
        child.start()
    threads = [threading.Thread(target=guarded, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for child in children:
        child.join()
    assert not failures
    assert [child.exitcode for child in children] == [0, 0]
    assert not warnings(log)
    assert not cache.verify()
    assert len(files(cache, ".plan")) == len(files(cache, ".json")) <= 3
    assert not files(cache, ".tmp")


# The bound


def test_what_was_not_used_for_longest_goes(tmp_path: Path, log: pytest.LogCaptureFixture) -> None:
    cache = opened(tmp_path, 3 * len(PLAN))
    for number in range(3):
        cache.store(key(number), PLAN)
        age(cache.directory / files(cache, ".json")[number], 1000 - number)
    assert cache.load(key(0)) == PLAN
    log.clear()
    cache.store(key(3), PLAN)
    assert [name[:6] for name in files(cache, ".json")] == ["main_0", "main_2", "main_3"]
    assert [name[:6] for name in files(cache, ".plan")] == ["main_0", "main_2", "main_3"]
    deleted, stored = log.messages
    assert deleted == f"the plan main_1-{key(1).digest[:16]} is deleted: the cache {tmp_path} is full"
    cache.store(key(4), PLAN * 3)
    assert [name[:6] for name in files(cache, ".json")] == ["main_4"]
    assert cache.load(key(4)) == PLAN * 3


def test_the_plan_that_was_just_stored_stays(tmp_path: Path) -> None:
    cache = opened(tmp_path, len(PLAN))
    cache.store(key(0), PLAN)
    age(only(cache, ".json"), -1000)  # from a machine whose clock is ahead
    cache.store(key(1), PLAN)
    assert [name[:6] for name in files(cache, ".json")] == ["main_1"]


def test_a_plan_that_is_too_big(tmp_path: Path, log: pytest.LogCaptureFixture) -> None:
    cache = opened(tmp_path, len(PLAN))
    cache.store(key(0), PLAN)
    cache.store(key(1), PLAN + b"\0")
    assert warnings(log) == [f"main_1: a plan of 10241 bytes is more than the cache {tmp_path} may hold: 10240"]
    assert cache.load(key(0)) == PLAN
    assert len(files(cache)) == 2


def test_a_negative_bound(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="the bound of a plan cache is -1 bytes"):
        PlanCache.open(str(tmp_path), -1)


# The directory


def test_it_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    cache = opened(tmp_path / "a" / "b")
    cache.store(KEY, PLAN)
    cache.update("timing", lambda old: b"x")
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "a", tmp_path / "a" / "b")} == {0o700}
    assert {stat.S_IMODE(path.stat().st_mode) for path in cache.directory.iterdir()} == {0o600}


def test_the_home_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert opened(Path("~/cache")).directory == tmp_path / "cache"


def give_away(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if os.geteuid() == 0:
        os.chown(str(path), NOBODY, NOBODY)
    else:
        user = os.geteuid()
        monkeypatch.setattr(os, "geteuid", lambda: user + 1)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda path, patch: path.chmod(0o770), "it may be written by others (mode 770), and engines are code"),
        (lambda path, patch: path.chmod(0o1777), "it may be written by others (mode 1777), and engines are code"),
        (give_away, "it is owned by user "),
        (lambda path, patch: (path.rmdir(), path.write_text("x")), "it is not a directory"),
    ],
)
def test_a_directory_that_is_not_used(
    spoil: Callable[[Path, pytest.MonkeyPatch], Any],
    reason: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    log: pytest.LogCaptureFixture,
) -> None:
    path = tmp_path / "cache"
    path.mkdir(0o700)
    spoil(path, monkeypatch)
    assert [PlanCache.open(str(path), 0), PlanCache.open(str(path), 0)] == [None, None]
    (message,) = warnings(log)  # one, though it was tried twice
    assert f"the plan cache {path} is not used: {reason}" in message
    assert message.endswith("; every process builds its own engines")


def test_a_directory_below_a_file(tmp_path: Path, log: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("x")
    assert PlanCache.open(str(tmp_path / "file" / "cache"), 0) is None
    assert f"the plan cache {tmp_path}/file/cache is not used: Not a directory" in warnings(log)[0]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read and write everything")
@pytest.mark.parametrize(("mode", "reason"), [(0o300, "it cannot be read"), (0o600, "it cannot be read")])
def test_a_directory_that_cannot_be_read(mode: int, reason: str, tmp_path: Path, log: pytest.LogCaptureFixture) -> None:
    tmp_path.chmod(mode)
    assert PlanCache.open(str(tmp_path), 0) is None
    tmp_path.chmod(0o700)
    assert reason in warnings(log)[0]


@contextlib.contextmanager
def read_only(directory: Path) -> Iterator[None]:
    """Writing is refused: by a mount where root runs this, who may write whatever the mode is, else by the mode."""
    if os.geteuid() == 0:
        unmount = mount(directory, "--bind", str(directory))
        try:
            mount(directory, "-o", "remount,bind,ro")
            yield
        finally:
            unmount()
    else:
        directory.chmod(0o500)
        try:
            yield
        finally:
            directory.chmod(0o700)


def test_a_read_only_directory(cache: PlanCache, log: pytest.LogCaptureFixture) -> None:
    cache.store(KEY, PLAN)
    cache.update("timing", lambda old: b"old")
    with read_only(cache.directory):
        again = opened(cache.directory)
        assert (again.load(KEY), again.read("timing")) == (PLAN, b"old")
        assert not warnings(log)
        for number in (1, 2):
            with again.building(key(number)):
                again.store(key(number), PLAN)
        again.update("timing", lambda old: b"new")
        assert (again.load(key(1)), again.read("timing")) == (None, b"old")
        (message,) = warnings(log)
        assert "fails: Read-only file system; it goes on" in message or "fails: Permission denied" in message
    assert len(files(cache)) == 3


def test_a_damaged_plan_in_a_read_only_directory(cache: PlanCache, log: pytest.LogCaptureFixture) -> None:
    cache.store(KEY, PLAN)
    only(cache, ".plan").write_bytes(PLAN[::-1])
    with read_only(cache.directory):
        assert cache.load(KEY) is None
        assert any("has another checksum than what was written" in message for message in warnings(log))


@contextlib.contextmanager
def small_file_system(directory: Path) -> Iterator[None]:
    unmount = mount(directory, "-t", "tmpfs", "-o", "size=64k,mode=700", "none")
    try:
        yield
    finally:
        unmount()


@contextlib.contextmanager
def small_files(directory: Path) -> Iterator[None]:
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (32 << 10, limit[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)


@pytest.mark.parametrize(
    ("limited", "cause"), [(small_file_system, "No space left on device"), (small_files, "File too large")]
)
def test_a_full_disk(
    limited: Callable[[Path], Any], cause: str, cache: PlanCache, log: pytest.LogCaptureFixture
) -> None:
    with limited(cache.directory):
        cache.store(key(0), PLAN)
        cache.update("timing", lambda old: b"old")
        for number in (1, 2):
            cache.store(key(number), PLAN * 20)
            assert cache.load(key(number)) is None
        cache.update("timing", lambda old: PLAN * 20)
        (message,) = warnings(log)
        assert f"fails: {cause}; it goes on" in message
        assert (cache.load(key(0)), cache.read("timing")) == (PLAN, b"old")
        assert len(files(cache)) == 3  # nothing half-written


def test_a_directory_that_is_deleted(cache: PlanCache, log: pytest.LogCaptureFixture) -> None:
    def delete() -> None:
        shutil.rmtree(str(cache.directory), ignore_errors=True)

    for step in (
        lambda: cache.load(KEY),
        lambda: cache.discard(KEY, "tested"),
        lambda: cache.read("timing"),
        lambda: cache.store(KEY, PLAN),
        lambda: cache.update("timing", lambda old: b"x"),
    ):
        delete()
        step()
    delete()
    with cache.building(KEY):
        cache.store(KEY, PLAN)
    assert cache.load(KEY) == PLAN
    assert stat.S_IMODE(cache.directory.stat().st_mode) == 0o700
    delete()
    assert not cache.entries()


def test_a_directory_that_becomes_a_file(cache: PlanCache, log: pytest.LogCaptureFixture) -> None:
    cache.store(KEY, PLAN)
    shutil.rmtree(str(cache.directory))
    cache.directory.write_text("x")
    with cache.building(KEY):
        assert cache.load(KEY) is None
        cache.store(KEY, PLAN)
    cache.update("timing", lambda old: b"x")
    assert cache.read("timing") is None
    cache.discard(KEY, "tested")
    assert not cache.entries()
    assert any("fails: Not a directory" in message for message in warnings(log))


def test_a_file_system_without_locks(
    cache: PlanCache, log: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flock(descriptor: int, operation: int) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("fcntl.flock", flock)
    with cache.building(KEY):
        cache.store(KEY, PLAN)
    cache.update("timing", lambda old: b"x")
    assert (cache.load(KEY), cache.read("timing")) == (PLAN, b"x")
    (message,) = warnings(log)
    assert "fails: Operation not supported; it goes on" in message


# Records


def test_a_record(cache: PlanCache, log: pytest.LogCaptureFixture) -> None:
    assert cache.read("timing") is None
    seen: List[Optional[bytes]] = []

    def merge(old: Optional[bytes]) -> bytes:
        seen.append(old)
        return (old or b"") + b"x"

    for _ in range(3):
        cache.update("timing", merge)
    assert seen == [None, b"x", b"xx"]
    assert cache.read("timing") == b"xxx"
    assert only(cache, ".record").name == "timing.record"
    assert only(cache, ".record").read_bytes() == hashlib.sha256(b"xxx").digest() + b"xxx"
    assert not log.messages


def test_an_empty_record(cache: PlanCache) -> None:
    cache.update("timing", lambda old: b"")
    assert cache.read("timing") == b""


@pytest.mark.parametrize("name", ["../timing", "NVIDIA H200", "x" * 1000, ""])
def test_any_name_of_a_record(name: str, cache: PlanCache) -> None:
    cache.update(name, lambda old: b"x")
    cache.update(f"{name} ", lambda old: b"y")
    assert (cache.read(name), cache.read(f"{name} ")) == (b"x", b"y")
    assert len(files(cache, ".record")) == len(cache.entries()) == 2


@pytest.mark.parametrize("damage", [b"", b"x" * 10, b"x" * 40])
def test_a_damaged_record(damage: bytes, cache: PlanCache, log: pytest.LogCaptureFixture) -> None:
    cache.update("timing", lambda old: b"table")
    only(cache, ".record").write_bytes(damage)
    assert cache.read("timing") is None
    (message,) = warnings(log)
    assert f"the plan cache {cache.directory} is damaged: timing.record has another checksum" in message
    assert not files(cache)
    cache.update("timing", lambda old: b"new" if old is None else b"merged")
    assert cache.read("timing") == b"new"


def test_a_damaged_record_is_not_merged(cache: PlanCache, log: pytest.LogCaptureFixture) -> None:
    cache.update("timing", lambda old: b"table")
    damaged(only(cache, ".record"), flip(35))
    cache.update("timing", lambda old: b"new" if old is None else b"merged")
    assert cache.read("timing") == b"new"
    assert len(warnings(log)) == 1


def test_a_merge_that_fails_changes_nothing(cache: PlanCache) -> None:
    cache.update("timing", lambda old: b"table")
    with pytest.raises(ZeroDivisionError):
        cache.update("timing", lambda old: b"x" * (1 // 0))
    cache.update("timing", lambda old: (old or b"") + b"!")
    assert cache.read("timing") == b"table!"


def merge_in(number: int, cache: PlanCache) -> None:
    for index in range(20):
        token = f"{number}.{index} ".encode()
        cache.update("timing", lambda old: (old or b"") + token)  # noqa: B023  it is called at once


def test_processes_that_merge_lose_nothing(cache: PlanCache) -> None:
    run_processes(3, merge_in, cache)
    assert sorted((cache.read("timing") or b"").decode().split()) == sorted(
        f"{number}.{index}" for number in range(3) for index in range(20)
    )


# What is kept


def test_entries(cache: PlanCache) -> None:
    cache.store(KEY, PLAN)
    cache.store(key(1), PLAN * 2)
    cache.update("timing", lambda old: b"x")
    for path in cache.directory.iterdir():
        age(path, 1000)
    (cache.directory / "notes.txt").write_text("x")
    first, second, record = cache.entries()
    assert (first.name, first.kind, first.symbol) == (f"main_0-{KEY.digest[:16]}", "plan", "main_0")
    assert (first.size, first.facts) == (len(PLAN), FACTS)
    assert (second.symbol, second.size) == ("main_1", 2 * len(PLAN))
    assert (record.name, record.kind, record.symbol, record.size) == ("timing", "record", "", 33)
    assert {round(time.time() - entry.last_used, -2) for entry in (first, second, record)} == {1000}


@pytest.mark.parametrize("delete", [False, True])
def test_verify(delete: bool, cache: PlanCache) -> None:
    for number in range(4):
        cache.store(key(number), PLAN)
    cache.update("timing", lambda old: b"x")
    assert cache.verify() == []
    before = files(cache)
    damaged(cache.directory / files(cache, ".plan")[1], flip(7))
    damaged(cache.directory / files(cache, ".json")[2], lambda data: b"")
    damaged(only(cache, ".record"), flip(32))
    found = cache.verify(delete)
    assert [deleted for _, _, deleted in found] == [delete] * 3
    problems: Dict[str, str] = {entry.name[:6]: problem for entry, problem, _ in found}
    assert list(problems) == ["main_1", "main_2", "timing"]
    assert "has another checksum" in problems["main_1"]
    assert "is no manifest" in problems["main_2"]
    assert "has another checksum" in problems["timing"]
    assert files(cache) == ([name for name in before if name[:6] in ("main_0", "main_3")] if delete else before)
    assert bool(cache.verify()) != delete


def test_clear(cache: PlanCache) -> None:
    for number in range(3):
        cache.store(key(number), PLAN)
    cache.update("timing", lambda old: b"x")
    (cache.directory / "notes.txt").write_text("x")
    damaged(cache.directory / files(cache, ".json")[1], lambda data: b"")
    age(cache.directory / files(cache, ".json")[0], 1000)
    assert [entry.name[:6] for entry in cache.clear("main_2")] == ["main_2"]
    assert [entry.name[:6] for entry in cache.clear("main")] == []
    assert [entry.name[:6] for entry in cache.clear(older_than=500)] == ["main_0"]
    assert [entry.name[:6] for entry in cache.clear()] == ["main_1", "timing"]
    assert files(cache) == ["notes.txt"]
