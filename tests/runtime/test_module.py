"""What the generated code calls: constants come in, a function of addresses comes out."""

from __future__ import annotations

import ctypes
import gc
from typing import Any

import numpy as np
import pytest
import tvm

from relay_trt.graph import GraphError
from relay_trt.runtime import module
from relay_trt.runtime.process import Shared, shared
from relay_trt.runtime.subgraph import Subgraph

from ..support import random
from .support import Network


@pytest.fixture(autouse=True)
def on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TVM_TENSORRT_ENGINE", "onnxruntime")


WEIGHT = random((4, 3))


def graph_json() -> str:
    net = Network()
    x, weight = net.input(2, 3), net.constant(WEIGHT)
    return net.graph(net.kernel("nn.dense", x, weight, shape=(2, 4))).to_json()


def create(json: str, *constants: np.ndarray) -> Any:
    """As the generated code does, with the constants in memory that is overwritten afterwards, as if it were gone."""
    block = np.zeros(64 * len(constants), "uint8")
    for number, value in enumerate(constants):
        block[64 * number :][: value.nbytes] = np.frombuffer(value.tobytes(), "uint8")
    created = module.create_subgraph(json, ctypes.c_void_p(block.ctypes.data), block.nbytes)
    block[:] = 0
    return created


def addresses(*arrays: tvm.nd.NDArray) -> ctypes.c_void_p:
    handles = (ctypes.c_void_p * len(arrays))(*(ctypes.addressof(array.handle.contents) for array in arrays))
    pointer = ctypes.c_void_p(ctypes.addressof(handles))
    pointer.owners = (handles, arrays)  # type: ignore[attr-defined]  # must outlive the call
    return pointer


def test_a_call() -> None:
    run = create(graph_json(), WEIGHT)
    for seed in range(2):
        x = random((2, 3), seed=seed)
        arrays = [tvm.nd.array(x), tvm.nd.empty((2, 4))]
        run(addresses(*arrays))
        np.testing.assert_allclose(arrays[1].numpy(), x @ WEIGHT.T, rtol=1e-5, atol=1e-6)


def test_a_subgraph_is_found_by_its_number() -> None:
    run = create(graph_json(), WEIGHT)
    number = run("id")
    assert module.live_subgraphs[number].graph.symbol == "tested"
    del run
    gc.collect()
    assert number not in module.live_subgraphs


@pytest.mark.parametrize("exception", [KeyboardInterrupt, SystemExit])
def test_an_interrupted_call_returns_nothing(exception: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """TVM would drop the exception."""

    def interrupt(*_: object) -> None:
        raise exception

    run = create(graph_json(), WEIGHT)
    arrays = [tvm.nd.array(random((2, 3))), tvm.nd.empty((2, 4))]
    assert run(addresses(*arrays)) == 0
    monkeypatch.setattr(Subgraph, "run", interrupt)
    assert run(addresses(*arrays)) is None


def test_constants_of_another_size() -> None:
    with pytest.raises(GraphError, match="tested has 64 bytes of constants, and its library 128"):
        create(graph_json(), WEIGHT, WEIGHT)


def test_an_unreadable_graph() -> None:
    with pytest.raises(GraphError, match="not a JSON graph"):
        create("{", WEIGHT)


def test_the_generated_code_finds_it() -> None:
    assert tvm.get_global_func("relay_trt.create_subgraph", allow_missing=True)
    address = tvm.get_global_func("relay_trt.shared")()
    assert Shared.from_address(address).release_descriptor == shared().release_descriptor >= 0
