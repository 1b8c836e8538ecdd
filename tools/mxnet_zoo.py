"""Networks of MXNet's model zoo, which tests and benchmarks compile."""

from __future__ import annotations

from typing import Any, Tuple

import numpy as np


def import_mxnet() -> Any:
    """MXNet 1.9.1 uses a name that numpy 1.24 removed."""
    vars(np)["bool"] = bool
    import mxnet

    return mxnet


def image_size(name: str) -> int:
    """The one that a network is made for."""
    return 299 if name == "inceptionv3" else 224


def block(name: str, shape: Tuple[int, ...]) -> Any:
    """A network with random weights, the same in every run, that are there to be read.

    Parameters
    ----------
    name : str
        As the zoo has it.
    shape : tuple of int
        Of its input.
    """
    mxnet = import_mxnet()
    from mxnet.gluon.model_zoo.vision import get_model

    mxnet.random.seed(0)
    np.random.seed(0)
    made = get_model(name)
    made.initialize(mxnet.init.Xavier())
    # MXNet knows the shapes of the weights, and so makes them, only now. It does so in the background, where
    # oneDNN reorders them in place: wait, or what is read may be neither the one order nor the other.
    made(mxnet.nd.zeros(shape)).wait_to_read()
    return made
