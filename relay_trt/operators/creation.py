"""Operators that make tensors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Optional

import numpy as np

from ..graph import TensorSpec
from .registry import DATA, OpCall, OpNode, operator

if TYPE_CHECKING:
    from ..runtime.builders import NetworkBuilder, Tensor


def like_rule(call: OpCall) -> Optional[str]:
    """a shape without a dynamic dimension"""
    # A choice between a value and itself, which would have that shape, TensorRT does not broadcast.
    return "the shape is not known before run time" if -1 in call.outputs[0].shape else None


@operator("zeros", dtypes=DATA)
@operator("zeros_like", since=(7, 0, 0), dtypes=DATA, rule=like_rule, free_operands=(0,))
def zeros(net: NetworkBuilder, op: OpNode) -> Tensor:
    (spec,) = op.outputs
    return net.constant(np.zeros(spec.shape, spec.dtype))


@operator("ones", dtypes=DATA)
@operator("ones_like", since=(7, 0, 0), dtypes=DATA, rule=like_rule, free_operands=(0,))
def ones(net: NetworkBuilder, op: OpNode) -> Tensor:
    (spec,) = op.outputs
    return net.constant(np.ones(spec.shape, spec.dtype))


@operator("full", since=(5, 1, 5), dtypes=DATA)
def full(net: NetworkBuilder, op: OpNode) -> Tensor:
    return _filled(net, op.inputs[0], op.outputs[0])


@operator("full_like", since=(7, 0, 0), dtypes=DATA, rule=like_rule, free_operands=(0,))
def full_like(net: NetworkBuilder, op: OpNode) -> Tensor:
    return _filled(net, op.inputs[1], op.outputs[0])


def _filled(net: NetworkBuilder, value: Tensor, spec: TensorSpec) -> Tensor:
    """A tensor of a static shape whose elements are ``value``, a scalar of any dtype."""
    value = net.cast(value, spec.dtype)
    if value.value is not None:
        return net.constant(np.full(spec.shape, value.value))
    return net.broadcast(net.reshape(value, [1] * len(spec.shape)), spec.shape) if spec.shape else value
