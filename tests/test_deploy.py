"""An exported file somewhere else: in a process without the compiler, and on another processor."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tvm
from tvm import relay
from tvm.contrib import cc

from relay_trt import partition_for_tensorrt

from .support import assert_close, compile_library, module, not_offloaded, random, run_tvm

RUN = Path(__file__).parents[1] / "examples" / "run.py"
AARCH64_COMPILER = "aarch64-linux-gnu-g++"


def partitioned() -> tvm.IRModule:
    """A convolution for TensorRT between two operators that TVM keeps."""
    data = relay.var("data", shape=(1, 3, 16, 16))
    kernel = relay.const(random((4, 3, 3, 3)))
    body = relay.tanh(relay.nn.conv2d(not_offloaded(data), kernel, padding=(1, 1)))
    return module(not_offloaded(body))


def test_another_process(tmp_path: Path) -> None:
    mod = partitioned()
    library = compile_library(partition_for_tensorrt(mod)[0], tmp_path / "compiled.so")
    data = random((1, 3, 16, 16))
    np.save(tmp_path / "input.npy", data)
    command = [sys.executable, RUN, library, tmp_path / "input.npy", tmp_path / "output.npy"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert_close([np.load(tmp_path / "output.npy")], run_tvm(mod, {"data": data}))


@pytest.mark.skipif(not shutil.which(AARCH64_COMPILER), reason=f"{AARCH64_COMPILER} is not installed")
@pytest.mark.parametrize("target", ["cuda", "llvm -mtriple=aarch64-linux-gnu"])
def test_cross_compiled_for_a_jetson(tmp_path: Path, target: str) -> None:
    host = "llvm -mtriple=aarch64-linux-gnu"
    data = relay.var("data", shape=(1, 3, 16, 16))
    mod, _ = partition_for_tensorrt(module(relay.nn.conv2d(data, relay.const(random((4, 3, 3, 3))))))
    with tvm.transform.PassContext(opt_level=3):
        library = relay.build(mod, target=tvm.target.Target(target, host=host))
    path = tmp_path / "compiled.so"
    library.export_library(str(path), fcompile=cc.cross_compiler(AARCH64_COMPILER))

    header = subprocess.run(["readelf", "--file-header", path], capture_output=True, text=True, check=True).stdout
    assert "AArch64" in header
    assert "DYN" in header
    symbols = subprocess.run(["nm", "--dynamic", path], capture_output=True, text=True, check=True).stdout
    defined = {line.split()[-1] for line in symbols.splitlines() if " T " in line}
    symbol = "tvmgen_default_tensorrt_main_0"
    assert {symbol, f"__init_{symbol}"} <= defined
    undefined = {line.split()[-1].split("@")[0] for line in symbols.splitlines() if " U " in line}
    assert {"TVMFuncCall", "TVMFuncGetGlobal"} <= undefined
