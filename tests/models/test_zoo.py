"""Networks of MXNet's zoo: one subgraph each, and what TVM computes by itself."""

from __future__ import annotations

from pathlib import Path

import pytest
import tvm

import relay_trt

from .support import compare
from .zoo import NETWORKS, network

# The small ones run in every test run, on images as small as their pooling allows.
SMALL = {"resnet18_v1": 64, "squeezenet1.1": 224, "mobilenetv2_1.0": 64}


@pytest.mark.parametrize("name", SMALL)
def test_small_network(name: str, engine: str, tmp_path: Path) -> None:
    compare(network(name, SMALL[name]), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_network_on_cpu(name: str, tmp_path: Path) -> None:
    compare(network(name), tmp_path)


@pytest.mark.gpu
@pytest.mark.usefixtures("exact_and_quick")
@pytest.mark.parametrize("name", NETWORKS)
def test_network_on_gpu(name: str, tmp_path: Path) -> None:
    compare(network(name), tmp_path, target="cuda")


@pytest.mark.parametrize("name", NETWORKS)
def test_one_subgraph_at_every_level(name: str) -> None:
    mod, params, _ = network(name)
    for opt_level in (0, 2, 3):
        with tvm.transform.PassContext(opt_level=opt_level):
            report = relay_trt.partition_report(relay_trt.partition_for_tensorrt(mod, params)[0])
        assert (len(report.subgraphs), report.refused) == (1, 0), str(report)
