"""Engines in the library: used where they fit, and where they do not, it is said and one is built."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any, List

import numpy as np
import pytest
import tvm
from tvm import relay
from tvm.contrib.graph_executor import GraphModule

import relay_trt
from relay_trt.codegen.serializer import options_of, serialize
from relay_trt.relay_ir import is_subgraph
from relay_trt.runtime.engines import EngineError
from relay_trt.runtime.engines.onnxruntime import OnnxRuntimeEngine
from relay_trt.runtime.engines.tensorrt import TensorRTEngine

from .support import assert_close, compile_library, module, not_offloaded, random, run_library, run_tvm

INPUTS = {"x": random((2, 3, 8, 8))}


def network(seed: int = 0) -> tvm.IRModule:
    """Two subgraphs; the first has two outputs."""
    x = relay.var("x", shape=(2, 3, 8, 8))
    y = relay.nn.conv2d(x, relay.const(random((4, 3, 3, 3), seed=seed)), padding=(1, 1))
    rest = relay.nn.batch_flatten(not_offloaded(relay.nn.relu(y)))
    product = relay.nn.dense(rest, relay.const(random((5, 256), seed=seed + 1)))
    return module(relay.Function([x], relay.Tuple([product, relay.sigmoid(y)])))


def with_engines(mod: tvm.IRModule) -> tvm.IRModule:
    return relay_trt.build_engines(relay_trt.partition_for_tensorrt(mod)[0])


def test_nothing_is_built_where_it_runs(engine: str, tmp_path: Path, builds: List[Any]) -> None:
    mod = network()
    path = compile_library(with_engines(mod), tmp_path / "library.so")
    assert len(builds) == 2
    assert_close(run_library(path, INPUTS), run_tvm(mod, INPUTS))
    assert len(builds) == 2


SCRIPT = """
import sys
sys.path.insert(0, {root!r})
import logging
logging.basicConfig(level=logging.INFO, stream=sys.stdout)
import numpy as np
import relay_trt.runtime
from tests.support import random, run_library
outputs = run_library({path!r}, {{"x": random((2, 3, 8, 8))}})
np.savez({outputs!r}, *outputs)
"""


def test_another_process_finds_them(engine: str, tmp_path: Path) -> None:
    mod = network()
    path = compile_library(with_engines(mod), tmp_path / "library.so")
    root = str(Path(relay_trt.__file__).parents[1])
    script = SCRIPT.format(root=root, path=str(path), outputs=str(tmp_path / "outputs.npz"))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=os.environ)
    assert done.returncode == 0, done.stderr
    assert "the engine" not in done.stdout and "built" not in done.stdout, done.stdout
    outputs = np.load(tmp_path / "outputs.npz")
    assert_close([outputs[name] for name in outputs.files], run_tvm(mod, INPUTS))


def test_where_the_target_differs_it_says_how_and_builds(
    engine: str, tmp_path: Path, builds: List[Any], monkeypatch: pytest.MonkeyPatch, log: pytest.LogCaptureFixture
) -> None:
    """Another GPU, another release: whatever an engine's facts tell."""
    mod = network()
    path = compile_library(with_engines(mod), tmp_path / "library.so")
    kind = TensorRTEngine if engine == "tensorrt" else OnnxRuntimeEngine
    facts = kind.facts
    monkeypatch.setattr(kind, "facts", lambda request: {**facts(request), "gpu": "another"})
    assert_close(run_library(path, INPUTS), run_tvm(mod, INPUTS))
    assert len(builds) == 4
    warnings = [record.getMessage() for record in log.records if record.levelname == "WARNING"]
    assert len([line for line in warnings if "none of the engines in the library fits: gpu is" in line]) == 2


def test_settings_are_part_of_it(
    engine: str, tmp_path: Path, builds: List[Any], monkeypatch: pytest.MonkeyPatch, log: pytest.LogCaptureFixture
) -> None:
    path = compile_library(with_engines(network()), tmp_path / "library.so")
    monkeypatch.setenv("TVM_TENSORRT_USE_FP16", "1")
    run_library(path, INPUTS)
    assert len(builds) == 4
    assert "none of the engines in the library fits: use_fp16 is False, not True" in log.text


def test_options_of_the_build_win(engine: str, tmp_path: Path, builds: List[Any]) -> None:
    """A PassContext may ask for something else than what the engines were built with."""
    mod = with_engines(network())
    config = {"relay.ext.tensorrt.options": relay_trt.CompileOptions(max_workspace_size=1 << 25).to_dict()}
    with tvm.transform.PassContext(opt_level=3, config=config):
        library = relay.build(mod, target="llvm")
    library.export_library(str(tmp_path / "library.so"))
    run_library(tmp_path / "library.so", INPUTS)
    assert len(builds) == 4


def test_to_build_them_again_replaces_them(engine: str, tmp_path: Path, builds: List[Any]) -> None:
    mod = network()
    once = with_engines(mod)
    twice = relay_trt.build_engines(once)
    for name, function in twice.functions.items():
        if is_subgraph(function):
            graphs = [serialize(f, "s", options_of(f)) for f in (once[name], function)]
            assert len(graphs[0].constants()) == len(graphs[1].constants()) == 2
    path = compile_library(twice, tmp_path / "library.so")
    builds.clear()
    assert_close(run_library(path, INPUTS), run_tvm(mod, INPUTS))
    assert not builds


def test_the_module_that_was_passed_is_not_changed(engine: str) -> None:
    partitioned, _ = relay_trt.partition_for_tensorrt(network())
    before = partitioned.astext()
    relay_trt.build_engines(partitioned)
    assert partitioned.astext() == before


def test_through_the_vm(engine: str, tmp_path: Path, builds: List[Any]) -> None:
    mod = network()
    executable = relay.vm.compile(with_engines(mod), target="llvm")
    executable.mod.export_library(str(tmp_path / "library.so"))
    machine = tvm.runtime.vm.VirtualMachine(tvm.runtime.load_module(str(tmp_path / "library.so")), tvm.cpu(0))
    builds.clear()
    got = machine.invoke("main", INPUTS["x"])
    assert_close([output.numpy() for output in got], run_tvm(mod, INPUTS))
    assert not builds


def test_a_dynamic_batch_through_the_vm(engine: str, tmp_path: Path, builds: List[Any]) -> None:
    x = relay.var("x", shape=(relay.Any(), 6))
    mod = module(relay.Function([x], relay.nn.relu(relay.nn.dense(x, relay.const(random((4, 6)))))))
    shapes = {"x": {"min": (1, 6), "opt": (2, 6), "max": (4, 6)}}
    partitioned, _ = relay_trt.partition_for_tensorrt(mod, input_shapes=shapes)
    executable = relay.vm.compile(relay_trt.build_engines(partitioned), target="llvm")
    executable.mod.export_library(str(tmp_path / "library.so"))
    machine = tvm.runtime.vm.VirtualMachine(tvm.runtime.load_module(str(tmp_path / "library.so")), tvm.cpu(0))
    builds.clear()
    for batch in (1, 4, 3):
        value = random((batch, 6), seed=batch)
        assert_close([machine.invoke("main", value).numpy()], [np.maximum(value @ random((4, 6)).T, 0)])
    assert not builds


def test_a_dynamic_batch_needs_a_profile(engine: str) -> None:
    x = relay.var("x", shape=(relay.Any(), 6))
    mod = module(relay.Function([x], relay.nn.relu(relay.nn.dense(x, relay.const(random((4, 6)))))))
    with pytest.raises(ValueError, match=r"is float32\[\?, 6\]: without a profile \(input_shapes of partition"):
        with_engines(mod)


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TensorRTEngine, "unavailable", lambda: "there is no NVIDIA GPU")


@pytest.mark.parametrize("strict", ["0", "1"])
def test_without_tensorrt_nothing_is_built_instead(
    no_gpu: None, strict: str, builds: List[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The CPU engine's plan would double the file, and be of no use to a target that has a GPU."""
    monkeypatch.setenv("TVM_TENSORRT_STRICT", strict)
    with pytest.raises(EngineError, match="there is no NVIDIA GPU.*target's kind of GPU.*TVM_TENSORRT_ENGINE=onnx"):
        with_engines(network())
    assert not builds


def test_tensorrt_by_name_is_tensorrt_too(no_gpu: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TVM_TENSORRT_ENGINE", "tensorrt")
    with pytest.raises(EngineError, match="TVM_TENSORRT_ENGINE asks for tensorrt.*there is no NVIDIA GPU"):
        with_engines(network())


def test_the_cpu_engine_is_built_where_it_is_asked_for(
    no_gpu: None, tmp_path: Path, builds: List[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TVM_TENSORRT_ENGINE", "onnxruntime")
    mod = network()
    path = compile_library(with_engines(mod), tmp_path / "library.so")
    monkeypatch.delenv("TVM_TENSORRT_ENGINE")
    assert len(builds) == 2
    assert_close(run_library(path, INPUTS), run_tvm(mod, INPUTS))
    assert len(builds) == 2


def test_without_subgraphs_there_is_nothing_to_build(no_gpu: None) -> None:
    mod = module(not_offloaded(relay.var("x", shape=(2, 3))))
    assert [name.name_hint for name in with_engines(mod).get_global_vars()] == ["main"]


def test_a_malformed_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TVM_TENSORRT_BUILDER_LEVEL", "high")
    with pytest.raises(ValueError, match="TVM_TENSORRT_BUILDER_LEVEL is 'high'; accepted is a level from 0 to 5"):
        with_engines(network())


def test_a_library_with_an_engine_is_cached_too(
    engine: str, tmp_path: Path, builds: List[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the library's engine does not fit, the cache has its turn."""
    path = compile_library(with_engines(network()), tmp_path / "library.so")
    monkeypatch.setenv("TVM_TENSORRT_USE_FP16", "1")
    monkeypatch.setenv("TVM_TENSORRT_CACHE_DIR", str(tmp_path / "cache"))
    for _ in range(2):
        run_library(path, INPUTS)
    assert len(builds) == 4


def test_executors_share_them(engine: str, tmp_path: Path, builds: List[Any]) -> None:
    path = compile_library(with_engines(network()), tmp_path / "library.so")
    library = tvm.runtime.load_module(str(path))
    builds.clear()
    for _ in range(2):
        GraphModule(library["default"](tvm.cpu(0))).run(**INPUTS)
    assert not builds
