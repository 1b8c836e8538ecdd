"""A run of the benchmark on a small image, from the command to the files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict

import pytest

from benchmarks import bench

ROOT = Path(__file__).parents[2]


def run(*options: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.bench", *options]
    environment = {**os.environ, "TVM_TENSORRT_ENGINE": "onnxruntime", "PYTHONPATH": str(ROOT), **variables}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=500)


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("output")
    options = ["--models", "resnet18_v1", "--image-size", "32", "--rows", "onnxruntime", "threads"]
    done = run(*options, "--seconds", "0.05", "--keep", str(folder / "kept"), "--output", str(folder))
    assert done.returncode == 0, done.stderr
    assert "ONNX Runtime's time" in done.stdout
    return folder


@pytest.fixture(scope="module")
def document(output: Path) -> Dict[str, Any]:
    loaded: Dict[str, Any] = json.loads((output / "bench_cpu.json").read_text())
    return loaded


def test_the_rows_of_a_case(document: Dict[str, Any]) -> None:
    (case,) = document["results"]["cases"]
    assert (case["model"], case["image size"], case["precision"], case["batch"]) == ("resnet18_v1", 32, "float32", 1)
    assert set(case["rows"]) == {"relay_trt", "onnxruntime"}
    for row in case["rows"].values():
        assert 0 < row["p50"] <= row["p90"] <= row["p99"]
        assert row["calls"] >= 10
        assert row["variation"] >= 0
        assert row["error"] < 1e-5  # of MXNet's own output
    assert case["subgraphs"] == 1
    assert set(case["compile"]) == {"partition", "relay.build", "export"}
    assert set(case["build"]) == {"cold", "plan cache"}
    assert case["layers"]["number"] > 20
    times = [taken for _, taken in case["layers"]["slowest"]]
    assert len(times) == 5 and times == sorted(times, reverse=True) and sum(times) < case["layers"]["milliseconds"]
    assert case["threads"]["relay_trt"] > 0
    assert case["threads"]["onnxruntime"] > 0


def test_engines_are_kept(output: Path, document: Dict[str, Any], tmp_path: Path) -> None:
    (plan,) = (output / "kept").rglob("*.plan")
    written = plan.stat().st_mtime_ns
    options = ["--models", "resnet18_v1", "--image-size", "32", "--rows", "relay_trt", "--seconds", "0.05"]
    done = run(*options, "--keep", str(output / "kept"), "--output", str(tmp_path))
    assert done.returncode == 0, done.stderr
    (case,) = json.loads((tmp_path / "bench_cpu.json").read_text())["results"]["cases"]
    assert case["build"]["cold"] == document["results"]["cases"][0]["build"]["cold"]
    assert plan.stat().st_mtime_ns == written


def test_the_verdicts_of_a_run(document: Dict[str, Any]) -> None:
    found = document["results"]["verdicts"]
    assert [isinstance(one["kept"], bool) for one in found] == [True, True]


def test_what_is_published_names_no_place(output: Path, document: Dict[str, Any]) -> None:
    assert "--output" not in document["command"]
    for name in ("bench_cpu.json", "bench_cpu.md"):
        text = (output / name).read_text()
        assert str(output) not in text
        assert str(ROOT) not in text
    assert {"date", "cpu", "cores", "versions"} <= set(document)


def test_the_other_files(output: Path) -> None:
    assert "| resnet18_v1 at 32, float32, batch 1 | 1 |" in (output / "bench_cpu.md").read_text()
    assert (output / "bench_cpu.png").read_bytes().startswith(b"\x89PNG")


def test_a_row_of_the_other_device_is_refused(tmp_path: Path) -> None:
    done = run("--rows", "graph", "--output", str(tmp_path))
    assert done.returncode == 2
    assert "invalid choice: 'graph'" in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_python_without_pytorch_is_an_error() -> None:
    with pytest.raises(SystemExit, match="--torch-python is false, which cannot import torch"):
        bench.find_pytorch("false")  # the command, as little of a Python as can be


def test_another_python_gets_nothing_of_this_one_but_the_driver(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver, ours = tmp_path / "driver", tmp_path / "ours"
    for folder, library in ((driver, "libcuda.so.1"), (ours, "libcudnn.so.8")):
        folder.mkdir()
        (folder / library).touch()
    monkeypatch.setenv("LD_LIBRARY_PATH", f"{ours}:{driver}:")
    monkeypatch.setenv("PYTHONPATH", str(ours))
    environment = bench.environment_of("another")
    assert environment["LD_LIBRARY_PATH"] == str(driver)
    assert "PYTHONPATH" not in environment
    assert bench.environment_of(sys.executable)["PYTHONPATH"] == str(ours)


def test_what_is_left_out() -> None:
    assert bench.left_out("resnet18_v1", "float16", "gpu", by_default=False) == "in float32 alone"
    assert bench.left_out("densenet121", "float32", "cpu", by_default=True)
    assert not bench.left_out("densenet121", "float32", "cpu", by_default=False)
    assert not bench.left_out("densenet121", "float32", "gpu", by_default=True)
    assert not bench.left_out("vgg16", "float32", "cpu", by_default=True)
