"""What the README tells a reader to run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parents[1] / "examples"


def test_the_guides_script(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, EXAMPLES / "guide.py"], cwd=tmp_path, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    difference = float(done.stdout.split("MXNet")[1])
    assert difference < 1e-3
    assert (tmp_path / "compiled.so").exists()
