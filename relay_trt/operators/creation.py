"""Operators that make tensors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..graph import TensorSpec
from .registry import DATA, OpNode, operator

if TYPE_CHECKING:
    from ..runtime.builders import NetworkBuilder, Tensor


@operator("zeros", dtypes=DATA)
def zeros(net: NetworkBuilder, op: OpNode) -> Tensor:
    (spec,) = op.outputs
    return net.constant(np.zeros(spec.shape, spec.dtype))


@operator("ones", dtypes=DATA)
def ones(net: NetworkBuilder, op: OpNode) -> Tensor:
    (spec,) = op.outputs
    return net.constant(np.ones(spec.shape, spec.dtype))


@operator("full", since=(5, 1, 5), dtypes=DATA)
def full(net: NetworkBuilder, op: OpNode) -> Tensor:
    return _filled(net, op.inputs[0], op.outputs[0])


@operator("full_like", since=(7, 0, 0), dtypes=DATA)
def full_like(net: NetworkBuilder, op: OpNode) -> Tensor:
    like, value = op.inputs
    return _filled_like(net, like, value, op.outputs[0])


@operator("zeros_like", since=(7, 0, 0), dtypes=DATA)
def zeros_like(net: NetworkBuilder, op: OpNode) -> Tensor:
    return _filled_like(net, op.inputs[0], net.constant(np.array(0)), op.outputs[0])


@operator("ones_like", since=(7, 0, 0), dtypes=DATA)
def ones_like(net: NetworkBuilder, op: OpNode) -> Tensor:
    return _filled_like(net, op.inputs[0], net.constant(np.array(1)), op.outputs[0])


def _filled(net: NetworkBuilder, value: Tensor, spec: TensorSpec) -> Tensor:
    """A tensor of a static shape whose elements are ``value``, a scalar of any dtype."""
    value = net.cast(value, spec.dtype)
    if value.value is not None:
        return net.constant(np.full(spec.shape, value.value))
    return net.broadcast(net.reshape(value, [1] * len(spec.shape)), spec.shape) if spec.shape else value


def _filled_like(net: NetworkBuilder, like: Tensor, value: Tensor, spec: TensorSpec) -> Tensor:
    if -1 not in spec.shape:
        return _filled(net, value, spec)
    # A choice between the value and itself, by a condition that has the shape of ``like``, whatever that holds.
    number = net.cast(like, "int32") if like.dtype == "bool" else like
    value = net.cast(net.cast(value, spec.dtype), number.dtype)
    return net.cast(net.select(net.elementwise(number, number, "equal"), value, value), spec.dtype)
