"""Subgraphs and their tensors for the tests of the runtime, without a compiled library around them."""

from __future__ import annotations

import ctypes
import threading
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

import numpy as np
import pytest
import tvm
from tvm import relay

from relay_trt.graph import CONST, INPUT, KERNEL, Entry, Graph, Node, TensorSpec
from relay_trt.options import CompileOptions
from relay_trt.runtime.dltensor import TensorView
from relay_trt.runtime.engines.onnxruntime import OnnxRuntimeEngine
from relay_trt.runtime.subgraph import Subgraph

from ..support import random

CPU, GPU = tvm.cpu(0), tvm.cuda(0)
#: Where inputs and outputs lie, in turn.
PLACES = {"device": [GPU, GPU], "host": [CPU, CPU], "host to device": [CPU, GPU], "device to host": [GPU, CPU]}

#: Sums, or sums of squares, of what float16 can hold, but not their sums.
LONG_SUMS = {
    "mean": lambda x, one, zero: relay.mean(x, axis=-1),
    "variance": lambda x, one, zero: relay.variance(x, axis=-1),
    "nn.l2_normalize": lambda x, one, zero: relay.nn.l2_normalize(x, eps=1e-6, axis=[1]),
    "nn.layer_norm": lambda x, one, zero: relay.nn.layer_norm(x, one, zero),
    "nn.group_norm": lambda x, one, zero: relay.nn.group_norm(x, one, zero, num_groups=2),
}


def view(array: tvm.nd.NDArray) -> TensorView:
    """What the runtime sees of an array, which must outlive it."""
    return TensorView(ctypes.addressof(array.handle.contents))


def call(
    subgraph: Subgraph,
    *inputs: np.ndarray,
    devices: Sequence[Any] = (tvm.cpu(0),),
    batch: Optional[int] = None,
    shapes: Optional[Sequence[Tuple[int, ...]]] = None,
) -> List[np.ndarray]:
    """The outputs of one call. Tensors lie on ``devices`` in turn.

    Of outputs with dynamic dimensions, ``shapes`` are the shapes, or ``batch`` is what is dynamic.
    """
    specs = shapes or [tuple(batch if d < 0 else d for d in spec.shape) for spec in subgraph.graph.outputs()]
    arrays = [tvm.nd.array(value, devices[i % len(devices)]) for i, value in enumerate(inputs)]
    for i, (shape, spec) in enumerate(zip(specs, subgraph.graph.outputs()), len(arrays)):
        # Filled with what no test expects: an output that is not written is noticed.
        arrays.append(tvm.nd.array(np.full(shape, 77, spec.dtype), devices[i % len(devices)]))
    views = [view(array) for array in arrays]
    subgraph.run(views[: len(inputs)], views[len(inputs) :])
    for device in devices:
        device.sync()
    return [array.numpy() for array in arrays[len(inputs) :]]


def take_only_profiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the CPU engine, which takes any shape, take what TensorRT's engines do."""

    def accepts(engine: Any, shapes: Any, device_id: int) -> bool:
        request = engine._request
        fits = all(profile.admits(shape) for profile, shape in zip(request.profiles, shapes))
        return fits and request.device_id == device_id

    monkeypatch.setattr(OnnxRuntimeEngine, "accepts", accepts)


class Network:
    """A graph, node by node, with the values of its constants."""

    def __init__(self) -> None:
        self.nodes: List[Node] = []
        self.constants: Dict[str, np.ndarray] = {}

    def input(self, *shape: int, dtype: str = "float32") -> Entry:
        return self._add(Node(INPUT, f"x{len(self.nodes)}", (TensorSpec(shape, dtype),)))

    def constant(self, value: np.ndarray) -> Entry:
        name = f"const_{len(self.constants)}"
        self.constants[name] = value
        return self._add(Node(CONST, name, (TensorSpec(value.shape, value.dtype.name),)))

    def kernel(self, op: str, *inputs: Entry, shape: Tuple[int, ...], dtype: str = "float32", **attrs: Any) -> Entry:
        return self._add(Node(KERNEL, op, (TensorSpec(shape, dtype),), inputs, attrs))

    def graph(self, *heads: Entry, **options: Any) -> Graph:
        return Graph("tested", tuple(self.nodes), heads, CompileOptions(**options))

    def subgraph(self, *heads: Entry, **options: Any) -> Subgraph:
        return Subgraph(self.graph(*heads, **options), self.constants)

    def _add(self, node: Node) -> Entry:
        self.nodes.append(node)
        return Entry(len(self.nodes) - 1)


def relu(*shape: int, **options: Any) -> Subgraph:
    """One input, one output, no constants."""
    net = Network()
    return net.subgraph(net.kernel("nn.relu", net.input(*shape), shape=shape), **options)


def dense(batch: int, channels: int, units: int, **options: Any) -> Tuple[Subgraph, np.ndarray]:
    """A dense layer and its weight."""
    net, weight = Network(), random((units, channels))
    product = net.kernel("nn.dense", net.input(batch, channels), net.constant(weight), shape=(batch, units))
    return net.subgraph(product, **options), weight


def in_threads(count: int, work: Callable[[int], None]) -> None:
    """Run ``work`` in that many threads, which begin together; the first error of one of them is raised."""
    errors: List[BaseException] = []
    start = threading.Barrier(count)

    def run(number: int) -> None:
        start.wait()
        try:
            work(number)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
