"""Which half of the package needs what: proved in processes where the rest cannot be imported."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tvm import relay

import relay_trt

from .support import compile_library, module, random

BLOCK = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if any(name == blocked or name.startswith(blocked + ".") for blocked in {blocked}):
            raise ModuleNotFoundError(f"{{name}} is blocked", name=name)
sys.meta_path.insert(0, Block())
"""


def run(code: str, *blocked: str, **environment: str) -> subprocess.CompletedProcess:
    script = BLOCK.format(blocked=blocked) + code
    path = os.pathsep.join([str(Path(relay_trt.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    variables = {**os.environ, "PYTHONPATH": path, **environment}
    return subprocess.run([sys.executable, "-c", script], env=variables, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = relay.var("data", shape=(1, 3, 8, 8))
    mod = module(relay.nn.relu(relay.nn.conv2d(data, relay.const(random((4, 3, 3, 3))))))
    return compile_library(relay_trt.partition_for_tensorrt(mod)[0], tmp_path_factory.mktemp("library") / "lib.so")


def test_the_runtime_needs_only_tvms_runtime_library(library: Path, tmp_path: Path) -> None:
    code = f"""
import numpy, tvm, relay_trt.runtime
from tvm.contrib.graph_executor import GraphModule
assert tvm._ffi.base._RUNTIME_ONLY
module = GraphModule(tvm.runtime.load_module({str(library)!r})["default"](tvm.cpu(0)))
module.run(data=numpy.ones((1, 3, 8, 8), "float32"))
numpy.save({str(tmp_path / "output.npy")!r}, module.get_output(0).numpy())
"""
    done = run(code, "tvm.relay", "relay_trt.annotation", "relay_trt.codegen", TVM_USE_RUNTIME_LIB="1")
    assert done.returncode == 0, done.stderr
    kernel = random((4, 3, 3, 3))
    window_sums = np.maximum(kernel.sum(axis=(1, 2, 3)), 0)  # a convolution of ones
    output = np.load(tmp_path / "output.npy")
    np.testing.assert_allclose(output, np.broadcast_to(window_sums[:, None, None], (1, 4, 6, 6)), rtol=1e-4, atol=1e-5)


def test_the_compiler_needs_no_engine() -> None:
    code = """
from tvm import relay
import relay_trt, tvm
data = relay.var("data", shape=(1, 3))
mod, _ = relay_trt.partition_for_tensorrt(tvm.IRModule.from_expr(relay.nn.relu(data)))
relay.build(mod, "llvm")
assert relay_trt.partition_report(mod).offloaded == 1
"""
    done = run(code, "tensorrt", "onnx", "onnxruntime", "cuda", "relay_trt.runtime")
    assert done.returncode == 0, done.stderr


def test_the_package_itself_loads_neither() -> None:
    code = """
import relay_trt
assert not {"tvm", "onnx", "tensorrt", "relay_trt.runtime", "relay_trt.annotation"} & set(sys.modules)
assert "partition_for_tensorrt" in dir(relay_trt)
"""
    done = run(code)
    assert done.returncode == 0, done.stderr


def test_a_tvm_without_relay_is_named() -> None:
    done = run("from relay_trt import partition_for_tensorrt", "tvm.relay", TVM_USE_RUNTIME_LIB="1")
    assert "ImportError: relay_trt compiles with TVM's Relay, which TVM 0.8 to 0.19 has" in done.stderr


def test_a_library_without_the_runtime_says_what_to_import(library: Path) -> None:
    code = f"""
import tvm
from tvm.contrib.graph_executor import GraphModule
GraphModule(tvm.runtime.load_module({str(library)!r})["default"](tvm.cpu(0)))
"""
    done = run(code)
    assert done.returncode == 1
    assert "compiled for TensorRT by relay_trt: `import relay_trt.runtime` before loading it" in done.stderr
