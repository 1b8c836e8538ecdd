"""Networks of MXNet's model zoo as Relay, with random weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import tvm
from tvm import relay

from .support import Network

# As the zoo names them; the image size that each is made for.
NETWORKS = {
    "resnet18_v1": 224,
    "squeezenet1.1": 224,
    "mobilenetv2_1.0": 224,
    "resnet50_v1": 224,
    "resnet18_v2": 224,
    "mobilenet1.0": 224,
    "densenet121": 224,
    "inceptionv3": 299,
    "alexnet": 224,
    "vgg11_bn": 224,
}


def network(name: str, image_size: int = 0, batch: int = 1) -> Network:
    """A network of the zoo; ``image_size`` 0 is the one that it is made for."""
    import mxnet
    from mxnet.gluon.model_zoo.vision import get_model

    size = image_size or NETWORKS[name]
    shape = (batch, 3, size, size)
    mxnet.random.seed(0)
    np.random.seed(0)
    block = get_model(name)
    block.initialize(mxnet.init.Xavier())
    # MXNet knows the shapes of the weights, and so makes them, only now. It does so in the background, where
    # oneDNN reorders them in place: wait, or what is read may be neither the one order nor the other.
    block(mxnet.nd.zeros(shape)).wait_to_read()
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
