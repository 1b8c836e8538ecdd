"""Networks from PyTorch: one subgraph each, and what TVM computes by itself."""

from __future__ import annotations

from pathlib import Path

import pytest
import tvm

from ..support import assert_close, random, run_tvm
from .stored import NAMES, half, load, network
from .support import compare


@pytest.mark.parametrize("name", NAMES)
def test_network(name: str, engine: str, tmp_path: Path) -> None:
    compare(network(name), tmp_path, use_implicit_batch=False)


@pytest.mark.parametrize("name", ["transformer_encoder", "vit"])
def test_network_in_float16(name: str, engine: str, tmp_path: Path) -> None:
    exact = network(name)
    (want,) = run_tvm(exact.mod, {"data": random(exact.shape)}, exact.params)
    compare(half(exact), tmp_path, want=[want.astype("float16")], rtol=5e-3, atol=5e-3, use_implicit_batch=False)


def test_every_network_is_stored() -> None:
    pytest.importorskip("torch")
    from .pytorch import NETWORKS

    assert sorted(NETWORKS) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_stored_network_is_what_pytorch_computes(name: str) -> None:
    torch = pytest.importorskip("torch")
    from .pytorch import imported

    stored = load(name)
    module, mod, params = imported(name)
    assert tvm.ir.structural_equal(stored, mod), "python -m tools.import_pytorch stores the networks anew"
    data = random(network(name).shape)
    want = module(torch.from_numpy(data)).detach().numpy()
    assert_close(run_tvm(stored, {"data": data}, params), [want], rtol=1e-3, atol=1e-4)
