"""The command relay-trt-cache: what it prints, and what it leaves."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from relay_trt.runtime.cache import PlanCache
from relay_trt.runtime.cache_command import main
from relay_trt.runtime.plan_key import PlanKey

FACTS = {
    "tensorrt": "8.6.0",
    "gpu": "NVIDIA H200",
    "use_fp16": True,
    "use_tf32": True,
    "use_dla": False,
    "calibration": "0123",
    "profiles": [
        {"min": [1, 3, 224, 224], "opt": [2, 3, 224, 224], "max": [8, 3, 224, 224]},
        {"min": [1, 10], "opt": [1, 10], "max": [1, 10]},
        {"min": [], "opt": [], "max": []},
    ],
}
KEYS = [
    PlanKey("main_0", FACTS),
    PlanKey("main_1", {"onnxruntime": "1.16.3", "gpu": "G" * 100, "profiles": {"data": [1]}, "calibration": None}),
    PlanKey("main_2", {}),
]
PLAN = bytes(3 << 20)


@pytest.fixture
def cache(tmp_path: Path) -> PlanCache:
    cache = PlanCache.open(str(tmp_path), 0)
    assert cache is not None
    for key in KEYS:
        cache.store(key, PLAN)
    cache.update("timing", lambda old: b"x" * (1 << 20))
    (tmp_path / "notes.txt").write_text("the user's own")
    used = time.mktime((2026, 1, 2, 3, 4, 5, 0, 0, -1))
    os.utime(str(next(tmp_path.glob("main_0-*.json"))), (used, used))
    return cache


def spoil(cache: PlanCache) -> None:
    next(cache.directory.glob("main_1-*.plan")).write_bytes(b"x")


def test_list(cache: PlanCache, capsys: pytest.CaptureFixture) -> None:
    assert main(["list", str(cache.directory)]) == 0
    heading, first, second, third, record, total = capsys.readouterr().out.splitlines()
    assert re.split("  +", heading) == ["symbol", "engine", "GPU", "precision", "shapes", "size", "last used"]
    cells = ["main_0", "tensorrt 8.6.0", "NVIDIA H200", "fp16, tf32, int8", "1..8x3x224x224, 1x10, scalar", "3.0 MiB"]
    assert re.split("  +", first) == [*cells, "2026-01-02 03:04"]
    cells = ["main_1", "onnxruntime 1.16.3", f"{'G' * 37}...", '{"data": [1]}', "3.0 MiB"]
    assert re.split("  +", second)[:-1] == cells
    assert re.split("  +", third)[:2] == ["main_2", "3.0 MiB"]
    assert re.split("  +", record)[:2] == ["(record timing)", "1.0 MiB"]
    assert total == "3 plans and 1 records, 10.0 MiB"
    assert heading.index("size") == first.index("3.0 MiB") == record.index("1.0 MiB")


def test_list_of_nothing(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["list", str(tmp_path)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "0 plans and 0 records, 0.0 MiB"


def test_verify(cache: PlanCache, capsys: pytest.CaptureFixture) -> None:
    assert main(["verify", str(cache.directory)]) == 0
    assert capsys.readouterr().out == "0 of 4 are damaged\n"
    spoil(cache)
    for _ in range(2):
        assert main(["verify", str(cache.directory)]) == 1
        damaged, count = capsys.readouterr().out.splitlines()
        assert re.fullmatch(r"main_1-\w+: main_1-.*\.plan has 1 bytes, and 3145728 were written", damaged)
        assert count == "1 of 4 are damaged"


def test_verify_deletes(cache: PlanCache, capsys: pytest.CaptureFixture) -> None:
    spoil(cache)
    assert main(["verify", str(cache.directory), "--delete"]) == 1
    damaged, count = capsys.readouterr().out.splitlines()
    assert damaged.endswith(" were written; deleted")
    assert count == "1 of 4 are damaged"
    assert main(["verify", str(cache.directory)]) == 0
    assert not list(cache.directory.glob("main_1-*.plan"))


def test_what_cannot_be_deleted_is_said(
    cache: PlanCache, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(cache)
    monkeypatch.setattr(PlanCache, "_remove", lambda *_: False)  # as for a user who may only read
    assert main(["verify", str(cache.directory), "--delete"]) == 1
    assert "; it could not be deleted" in capsys.readouterr().out
    assert main(["clear", str(cache.directory)]) == 2
    said = capsys.readouterr()
    assert said.out.startswith("deleted: 0 plans and 0 records")
    assert "3 plans and 1 records, " in said.err and "could not be deleted" in said.err


def test_as_a_module(cache: PlanCache) -> None:
    command = [sys.executable, "-m", "relay_trt.runtime.cache_command", "list", str(cache.directory)]
    assert "main_1" in subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize(
    ("arguments", "left", "deleted"),
    [
        ([], [], "3 plans and 1 records, 10.0 MiB"),
        (["--symbol", "main_1"], ["main_0", "main_2", "timing"], "1 plans and 0 records, 3.0 MiB"),
        (["--older-than", "1"], ["main_1", "main_2", "timing"], "1 plans and 0 records, 3.0 MiB"),
        (["--symbol", "main_1", "--older-than", "0.5"], ["main_0", "main_1", "main_2", "timing"], "0 plans and 0 "),
    ],
)
def test_clear(arguments: list, left: list, deleted: str, cache: PlanCache, capsys: pytest.CaptureFixture) -> None:
    assert main(["clear", str(cache.directory), *arguments]) == 0
    assert capsys.readouterr().out.startswith(f"deleted: {deleted}")
    assert [entry.symbol or entry.name for entry in cache.entries()] == left
    assert (cache.directory / "notes.txt").read_text() == "the user's own"


def test_the_directory_of_the_environment(
    cache: PlanCache, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setenv("TVM_TENSORRT_CACHE_DIR", str(cache.directory))
    assert main(["verify"]) == 0


def test_without_a_directory(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["list"]) == 2
    assert "relay-trt-cache: name the directory, or set TVM_TENSORRT_CACHE_DIR" in capsys.readouterr().err
    assert main(["list", str(tmp_path / "none")]) == 2
    assert f"there is no directory {tmp_path}/none" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_a_directory_that_is_not_used(tmp_path: Path, log: pytest.LogCaptureFixture) -> None:
    tmp_path.chmod(0o777)
    assert main(["clear", str(tmp_path)]) == 2
    assert "it may be written by others" in log.messages[0]


@pytest.mark.parametrize("days", ["-1", "nan", "week"])
def test_a_wrong_age(days: str, cache: PlanCache, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit):
        main(["clear", str(cache.directory), "--older-than", days])
    assert "--older-than" in capsys.readouterr().err
    assert len(cache.entries()) == 4
