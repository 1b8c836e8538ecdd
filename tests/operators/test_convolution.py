"""Transposed kernels as TVM 0.8 names their dimensions: what this TVM's types refuse cannot be a case."""

from __future__ import annotations

from typing import Any, Dict, Optional, Tuple

import numpy as np
import pytest

from relay_trt.graph import TensorSpec
from relay_trt.operators import OPERATORS, OpCall, OpNode, refusal
from relay_trt.options import CompileOptions
from relay_trt.runtime.builders.onnx import OnnxBuilder

X, Y = (1, 3, 5, 5), (1, 2, 7, 7)


def attributes(kernel_layout: str) -> Dict[str, Any]:
    return {
        "strides": [1, 1],
        "padding": [0, 0, 0, 0],
        "output_padding": [0, 0],
        "dilation": [1, 1],
        "groups": 1,
        "data_layout": "NCHW",
        "kernel_layout": kernel_layout,
        "out_layout": "",
    }


def reason(kernel: Tuple[int, ...], kernel_layout: str, output: Tuple[int, ...] = Y) -> Optional[str]:
    inputs, outputs = (TensorSpec(X, "float32"), TensorSpec(kernel, "float32")), (TensorSpec(output, "float32"),)
    attrs, options = attributes(kernel_layout), CompileOptions()
    return refusal(OpCall("nn.conv2d_transpose", attrs, inputs, outputs, (False, True), (None, None), (0, 1), options))


@pytest.mark.parametrize(
    ("kernel", "kernel_layout"),
    [((3, 2, 3, 3), "IOHW"), ((3, 2, 3, 3), "OIHW"), ((3, 3, 3, 2), "OHWI"), ((3, 3, 3, 2), "IHWO")],
)
def test_the_shapes_decide(kernel: Tuple[int, ...], kernel_layout: str) -> None:
    assert reason(kernel, kernel_layout) is None
    net = OnnxBuilder()
    op = OpNode(
        "nn.conv2d_transpose",
        attributes(kernel_layout),
        (net.input("x", X, "float32"), net.constant(np.zeros(kernel, "float32"))),
        (TensorSpec(Y, "float32"),),
    )
    assert OPERATORS["nn.conv2d_transpose"].convert(net, op).shape == Y


def test_where_they_do_not_it_is_refused() -> None:
    equal = (1, 3, 7, 7)
    assert reason((3, 3, 3, 3), "IOHW", equal) is None
    assert "releases of TVM differ" in str(reason((3, 3, 3, 3), "OIHW", equal))
    assert "does not take 3 channels to 2" in str(reason((3, 4, 3, 3), "IOHW"))
