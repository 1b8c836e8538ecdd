"""What the generated code calls: constants come in, a function of addresses comes out."""

from __future__ import annotations

import ctypes
import gc
import weakref
from typing import Any, List

import numpy as np
import pytest
import tvm

from relay_trt.graph import GraphError
from relay_trt.runtime import module
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


# The structures that loaded libraries share with the runtime. Libraries never free theirs either.
HANDLES: List[Any] = []


def create(json: str, *constants: np.ndarray) -> Any:
    handle = module._Handle()
    HANDLES.append(handle)
    arrays = [tvm.nd.array(value) for value in constants]
    return module.create_subgraph(json, arrays, ctypes.c_void_p(ctypes.addressof(handle)))


def addresses(*arrays: tvm.nd.NDArray) -> ctypes.c_void_p:
    handles = (ctypes.c_void_p * len(arrays))(*(ctypes.addressof(array.handle.contents) for array in arrays))
    pointer = ctypes.c_void_p(ctypes.addressof(handles))
    pointer.owners = (handles, arrays)  # type: ignore[attr-defined]  # must outlive the call
    return pointer


def test_a_call() -> None:
    run = create(graph_json(), WEIGHT)
    gc.collect()  # the weights must outlive their caller's array
    for seed in range(2):
        x = random((2, 3), seed=seed)
        arrays = [tvm.nd.array(x), tvm.nd.empty((2, 4))]
        run(addresses(*arrays))
        np.testing.assert_allclose(arrays[1].numpy(), x @ WEIGHT.T, rtol=1e-5, atol=1e-6)


def test_the_weights_are_not_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    addresses: List[int] = []
    monkeypatch.setattr(
        module, "Subgraph", lambda graph, constants: addresses.extend(v.ctypes.data for v in constants.values())
    )
    array = tvm.nd.array(WEIGHT)
    HANDLES.append(module._Handle())
    module.create_subgraph(graph_json(), [array], ctypes.c_void_p(ctypes.addressof(HANDLES[-1])))
    assert addresses == [array.handle.contents.data]


def test_the_subgraph_of_a_closed_library_is_freed(monkeypatch: pytest.MonkeyPatch) -> None:
    subgraphs: List[Any] = []

    def watched(*args: Any) -> Subgraph:
        subgraph = Subgraph(*args)
        subgraphs.append(weakref.ref(subgraph))
        return subgraph

    monkeypatch.setattr(module, "Subgraph", watched)
    run = create(graph_json(), WEIGHT)
    run(addresses(tvm.nd.array(random((2, 3))), tvm.nd.empty((2, 4))))
    run.is_global = True  # the library's reference, not Python's
    HANDLES[-1].function = run.handle.value
    del run
    module.free_closed_subgraphs()
    gc.collect()
    assert subgraphs[0]() is not None
    HANDLES[-1].closed = 1
    module.free_closed_subgraphs()
    gc.collect()
    assert subgraphs[0]() is None


@pytest.mark.parametrize(
    ("constants", "message"),
    [
        ([], "needs 1 constants and got 0"),
        ([WEIGHT, WEIGHT], "needs 1 constants and got 2"),
        ([WEIGHT.T.copy()], r"constant const_0 is not float32\[4, 3\]"),
        ([WEIGHT.astype("float16")], r"constant const_0 is not float32\[4, 3\]"),
    ],
)
def test_wrong_constants(constants: List[np.ndarray], message: str) -> None:
    with pytest.raises(GraphError, match=f"tested.*{message}"):
        create(graph_json(), *constants)


def test_an_unreadable_graph() -> None:
    with pytest.raises(GraphError, match="not a JSON graph"):
        create("{", WEIGHT)


def test_the_generated_code_finds_it() -> None:
    assert tvm.get_global_func("relay_trt.create_subgraph", allow_missing=True)
