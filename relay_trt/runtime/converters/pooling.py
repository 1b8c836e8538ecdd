"""Pooling."""

from __future__ import annotations

from ..builders import NetworkBuilder, Tensor
from .registry import OpNode, converter

KINDS = {"nn.max_pool2d": "max", "nn.avg_pool2d": "average"}
GLOBAL_KINDS = {"nn.global_max_pool2d": "max", "nn.global_avg_pool2d": "average"}


@converter(*KINDS)
def pool2d(net: NetworkBuilder, op: OpNode) -> Tensor:
    before, after = op.padding()
    return net.pooling(
        op.inputs[0],
        KINDS[op.name],
        window=op.attrs["pool_size"],
        strides=op.attrs["strides"],
        pre_padding=before,
        post_padding=after,
        ceil_mode=bool(op.attrs["ceil_mode"]),
        count_include_pad=bool(op.attrs.get("count_include_pad", False)),
    )


@converter(*GLOBAL_KINDS)
def global_pool2d(net: NetworkBuilder, op: OpNode) -> Tensor:
    (x,) = op.inputs
    return net.pooling(
        x, GLOBAL_KINDS[op.name], window=x.shape[2:], strides=[1, 1], pre_padding=[0, 0], post_padding=[0, 0]
    )
