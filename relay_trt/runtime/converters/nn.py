"""Convolution, dense layers, bias, normalization and softmax."""

from __future__ import annotations

from typing import List

import numpy as np

from ..builders import NetworkBuilder, Tensor
from .registry import OpNode, converter


@converter("nn.conv2d")
def conv2d(net: NetworkBuilder, op: OpNode) -> Tensor:
    x, kernel = op.inputs
    before, after = op.padding()
    return net.convolution(
        x,
        kernel,
        strides=op.attrs["strides"],
        pre_padding=before,
        post_padding=after,
        dilation=op.attrs["dilation"],
        groups=op.attrs["groups"],
    )


@converter("nn.dense")
def dense(net: NetworkBuilder, op: OpNode) -> Tensor:
    x, weight = op.inputs
    return net.matrix_multiply(x, weight, transpose_b=True)


@converter("nn.bias_add")
def bias_add(net: NetworkBuilder, op: OpNode) -> Tensor:
    x, bias = op.inputs
    axis = op.axis()
    if bias.value is not None:
        return net.scale(x, None, bias.value, axis)
    along_axis = net.reshape(bias, [-1] + [1] * (x.rank - axis - 1))
    return net.elementwise(x, along_axis, "sum")


@converter("nn.batch_norm")
def batch_norm(net: NetworkBuilder, op: OpNode) -> List[Tensor]:
    """(x - mean) / sqrt(variance + epsilon) * gamma + beta, folded into one scale and one shift for each channel."""
    x, gamma, beta, mean, variance = op.inputs
    # Folded in float64, so that float16 models lose nothing.
    scale = 1.0 / np.sqrt(net.values(variance).astype(np.float64) + op.attrs["epsilon"])
    if op.attrs["scale"]:
        scale = scale * net.values(gamma)
    shift = -net.values(mean) * scale
    if op.attrs["center"]:
        shift = shift + net.values(beta)
    result = net.scale(x, scale.astype(np.float32), shift.astype(np.float32), op.axis())
    return [result, mean, variance]  # at inference, the moving statistics stay what they are


@converter("nn.softmax")
def softmax(net: NetworkBuilder, op: OpNode) -> Tensor:
    return net.softmax(op.inputs[0], op.axis())
