"""Operators that move data and do no arithmetic."""

from __future__ import annotations

from ..builders import NetworkBuilder, Tensor
from .registry import OpNode, converter


@converter("nn.batch_flatten")
def batch_flatten(net: NetworkBuilder, op: OpNode) -> Tensor:
    return net.reshape(op.inputs[0], [0, *op.outputs[0].shape[1:]])


@converter("concatenate")
def concatenate(net: NetworkBuilder, op: OpNode) -> Tensor:
    return net.concatenation(op.inputs, op.axis())


@converter("transpose")
def transpose(net: NetworkBuilder, op: OpNode) -> Tensor:
    (x,) = op.inputs
    axes = op.attrs["axes"] or list(reversed(range(x.rank)))
    return net.transpose(x, [axis % x.rank for axis in axes])


@converter("layout_transform")
def layout_transform(net: NetworkBuilder, op: OpNode) -> Tensor:
    source, destination = op.attrs["src_layout"], op.attrs["dst_layout"]
    return net.transpose(op.inputs[0], [source.index(letter) for letter in destination])


@converter("reshape", "squeeze", "expand_dims")
def reshape(net: NetworkBuilder, op: OpNode) -> Tensor:
    """The shape that Relay inferred is all that these need; a dynamic first dimension is copied."""
    return net.reshape(op.inputs[0], [0 if dimension < 0 else dimension for dimension in op.outputs[0].shape])
