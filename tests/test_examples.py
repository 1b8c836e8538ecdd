"""What the README and the documents tell a reader to run."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Dict

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


def run(name: str, folder: Path) -> str:
    done = subprocess.run([sys.executable, EXAMPLES / name], cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_guides_script(tmp_path: Path) -> None:
    assert float(run("guide.py", tmp_path).split("MXNet")[1]) < 1e-3
    assert (tmp_path / "compiled.so").exists()


def custom_operators(folder: Path) -> Dict[str, float]:
    differences = re.findall(r"(\w+): largest difference from TVM (\S+)", run("custom_operators.py", folder))
    return {name: float(difference) for name, difference in differences}


def test_custom_operators(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TVM_TENSORRT_ENGINE", "onnxruntime")
    differences = custom_operators(tmp_path)
    assert {"fast_exp", "cross_entropy"} <= set(differences)
    assert max(differences["fast_exp"], differences["cross_entropy"]) < 1e-4


@pytest.mark.gpu
def test_custom_operators_with_a_plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TVM_TENSORRT_ENGINE", "tensorrt")
    differences = custom_operators(tmp_path)
    assert set(differences) == {"fast_exp", "cross_entropy", "roi_align"}
    assert max(differences.values()) < 1e-4
