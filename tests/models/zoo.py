"""Networks of MXNet's model zoo as Relay, with random weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import tvm
from tvm import relay

from tools import mxnet_zoo

from .support import Network

# As the zoo names them.
NETWORKS = (
    "resnet18_v1",
    "squeezenet1.1",
    "mobilenetv2_1.0",
    "resnet50_v1",
    "resnet18_v2",
    "mobilenet1.0",
    "densenet121",
    "inceptionv3",
    "alexnet",
    "vgg11_bn",
)


def network(name: str, image_size: int = 0, batch: int = 1) -> Network:
    """A network of the zoo; ``image_size`` 0 is the one that it is made for."""
    size = image_size or mxnet_zoo.image_size(name)
    shape = (batch, 3, size, size)
    block = mxnet_zoo.block(name, shape)
    mod, params = relay.frontend.from_mxnet(block, shape={"data": shape}, dtype="float32")
    return Network(mod, {name: _plausible(name, value) for name, value in params.items()}, shape)


def _plausible(name: str, value: Any) -> tvm.nd.NDArray:
    """Fresh normalization layers and biases do nothing: give them values, so that losing one shows."""
    random = np.random.RandomState(len(name))
    ranges = {"gamma": (0.8, 1.2), "running_var": (0.8, 1.2), "beta": (-0.2, 0.2), "running_mean": (-0.2, 0.2)}
    ranges["bias"] = (-0.2, 0.2)
    for ending, (low, high) in ranges.items():
        if name.endswith(ending):
            return tvm.nd.array(random.uniform(low, high, value.shape).astype("float32"))
    return value
