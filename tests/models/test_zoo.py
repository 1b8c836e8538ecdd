"""Whole networks: one subgraph each, and what TVM computes by itself."""

from __future__ import annotations

from pathlib import Path

import pytest
import tvm

import relay_trt

from ..support import assert_close, compile_library, random, run_library, run_tvm
from .zoo import NETWORKS, network

# The small ones run in every test run, on images as small as their pooling allows.
SMALL = {"resnet18_v1": 64, "squeezenet1.1": 224, "mobilenetv2_1.0": 64}


def compare(name: str, folder: Path, image_size: int = 0, target: str = "llvm") -> None:
    mod, params, shape = network(name, image_size)
    partitioned, _ = relay_trt.partition_for_tensorrt(mod, params)
    report = relay_trt.partition_report(partitioned)
    assert (len(report.subgraphs), report.refused) == (1, 0), str(report)
    inputs = {"data": random(shape)}
    path = compile_library(partitioned, folder / "library.so", target)
    got = run_library(path, inputs, tvm.device(target, 0))
    assert_close(got, run_tvm(mod, inputs, params), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", SMALL)
def test_small_network(name: str, engine: str, tmp_path: Path) -> None:
    compare(name, tmp_path, SMALL[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_network_on_cpu(name: str, tmp_path: Path) -> None:
    compare(name, tmp_path)


@pytest.mark.gpu
@pytest.mark.parametrize("name", NETWORKS)
def test_network_on_gpu(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TVM_TENSORRT_ENGINE", "tensorrt")
    monkeypatch.setenv("TVM_TENSORRT_USE_TF32", "0")
    monkeypatch.setenv("TVM_TENSORRT_BUILDER_LEVEL", "0")
    compare(name, tmp_path, target="cuda")


@pytest.mark.parametrize("name", NETWORKS)
def test_one_subgraph_at_every_level(name: str) -> None:
    mod, params, _ = network(name)
    for opt_level in (0, 2, 3):
        with tvm.transform.PassContext(opt_level=opt_level):
            report = relay_trt.partition_report(relay_trt.partition_for_tensorrt(mod, params)[0])
        assert (len(report.subgraphs), report.refused) == (1, 0), str(report)
