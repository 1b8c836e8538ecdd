"""PyTorch's networks as Relay, from the files of `tools/import_pytorch.py`: to test them needs no PyTorch."""

from __future__ import annotations

import json
import math
import zlib
from pathlib import Path
from typing import Sequence, Tuple

import numpy as np
import tvm
from tvm import relay

from .support import Network

FOLDER = Path(__file__).with_name("relay")
NAMES = sorted(path.stem for path in FOLDER.glob("*.json"))


def save(name: str, mod: tvm.IRModule) -> None:
    document = json.loads(tvm.ir.save_json(mod))
    (FOLDER / f"{name}.json").write_text(json.dumps(document, separators=(",", ":")) + "\n")


def load(name: str) -> tvm.IRModule:
    return tvm.ir.load_json((FOLDER / f"{name}.json").read_text())


def network(name: str) -> Network:
    """A stored network; its first parameter is its input, the others are weights."""
    mod = load(name)
    data, *weights = mod["main"].params
    params = {var.name_hint: tvm.nd.array(weight(var.name_hint, _shape(var))) for var in weights}
    return Network(mod, params, _shape(data))


def weight(name: str, shape: Sequence[int]) -> np.ndarray:
    """Random values, the same in every run, such that no layer does nothing and no value runs away."""
    low, high = _range(name, shape)
    return np.random.RandomState(zlib.crc32(name.encode())).uniform(low, high, shape).astype("float32")


def _range(name: str, shape: Sequence[int]) -> Tuple[float, float]:
    ranges = {"running_var": (0.8, 1.2), "running_mean": (-0.2, 0.2), "bias": (-0.2, 0.2), "anchors": (8.0, 64.0)}
    for ending, values in ranges.items():
        if name.endswith(ending):
            return values
    if len(shape) == 1:  # a normalization's scale, or the slopes of a PReLU
        return 0.5, 1.5
    bound = math.sqrt(6 / math.prod(shape[1:]))  # what keeps the scale of values through layers that end with a ReLU
    return -bound, bound


def half(network: Network) -> Network:
    """The network in float16."""
    mod = tvm.IRModule.from_expr(_Half().visit(network.mod["main"]))
    params = {name: tvm.nd.array(value.numpy().astype("float16")) for name, value in network.params.items()}
    return Network(mod, params, network.shape)


class _Half(relay.ExprMutator):
    """Makes the variables and constants that are float32 float16."""

    def visit_var(self, var: relay.Var) -> relay.Var:
        return relay.var(var.name_hint, shape=_shape(var), dtype="float16")

    def visit_constant(self, constant: relay.Constant) -> relay.Constant:
        value = constant.data.numpy()
        return relay.const(value.astype("float16")) if value.dtype == np.float32 else constant


def _shape(var: relay.Var) -> Tuple[int, ...]:
    return tuple(int(size) for size in var.type_annotation.shape)
