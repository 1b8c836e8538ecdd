"""Norms that are folded and layers that are quantized, for measuring."""

from __future__ import annotations

from collections import Counter
from typing import Dict, Tuple

import numpy as np
import tvm
from tvm import relay

from benchmarks.quantize import folded, quantized
from relay_trt.relay_ir import operator_calls

from ..support import assert_close, module, random, run_tvm


def operators(mod: tvm.IRModule) -> Dict[str, int]:
    return Counter(call.op.name for call in operator_calls(mod["main"]))


def norm(x: relay.Expr, channels: int, seed: int) -> relay.Expr:
    low_high = ((0.5, 2.0), (-1.0, 1.0), (-1.0, 1.0), (0.5, 2.0))  # gamma, beta, mean, variance
    values = [random((channels,), seed=seed + i, low=low, high=high) for i, (low, high) in enumerate(low_high)]
    return relay.nn.batch_norm(x, *map(relay.const, values))


def convolution(x: relay.Expr, shape: Tuple[int, ...], seed: int) -> relay.Expr:
    return relay.nn.conv2d(x, relay.const(random(shape, seed=seed)), padding=(1, 1), kernel_size=shape[2:])


def test_norms_after_convolutions_are_folded_once_each() -> None:
    data = relay.var("data", shape=(1, 3, 8, 8))
    biased = relay.nn.bias_add(convolution(data, (4, 3, 3, 3), seed=1), relay.const(random((4,), seed=2)))
    first = norm(biased, 4, seed=3)
    second = norm(convolution(relay.nn.relu(first[0]), (4, 4, 3, 3), seed=7), 4, seed=8)[0]
    # The front end makes a new field of the tuple for each that reads it; one norm has no convolution before it.
    summed = relay.TupleGetItem(first.tuple_value, 0) + second
    mod = module(norm(summed, 4, seed=12)[0])
    inputs = {"data": random((1, 3, 8, 8))}
    assert operators(folded(mod))["nn.conv2d"] == 2
    assert operators(folded(mod))["nn.batch_norm"] == 1
    assert_close(run_tvm(folded(mod), inputs), run_tvm(mod, inputs), rtol=1e-5, atol=1e-5)


def test_dense_layers_are_quantized_as_by_hand() -> None:
    weight = random((5, 6), seed=1) * np.array([[1], [0.01], [100], [1], [0]], "float32")
    mod = module(relay.nn.dense(relay.var("data", shape=(2, 6)), relay.const(weight)))
    batches = [random((2, 6), seed=seed, high=3.0) for seed in (2, 3, 4)]
    data = random((2, 6), seed=5, high=4.0)  # some of it is more than was seen
    scale = max(np.abs(batch).max() for batch in batches) / 127
    scales = np.abs(weight).max(1, keepdims=True) / 127
    scales[scales == 0] = 1
    want = (np.rint(data / scale).clip(-128, 127) * scale) @ (np.rint(weight / scales) * scales).T
    assert_close(run_tvm(quantized(mod, batches), {"data": data}), [want], rtol=1e-5, atol=1e-5)


def test_a_tensor_is_quantized_once_for_all_that_read_it() -> None:
    data = relay.var("data", shape=(1, 3, 8, 8))
    mod = module(convolution(data, (4, 3, 3, 3), seed=1) + convolution(data, (4, 3, 3, 3), seed=2))
    found = operators(quantized(mod, [random((1, 3, 8, 8))]))
    # The image, the two weights, which are quantized already, and the two terms of the sum.
    assert (found["qnn.quantize"], found["qnn.dequantize"], found["nn.conv2d"]) == (3, 5, 2)


def test_what_is_added_to_a_constant_stays_as_it_is() -> None:
    mod = module(relay.var("data", shape=(4, 4)) + relay.const(random((4,))))
    assert operators(quantized(mod, [random((4, 4))])) == {"add": 1}


def test_products_of_two_tensors_stay_as_they_are() -> None:
    data = relay.var("data", shape=(4, 4))
    mod = module(relay.nn.dense(relay.nn.dense(data, data), relay.const(random((4, 4)))))
    found = operators(quantized(mod, [random((4, 4))]))
    assert (found["qnn.quantize"], found["nn.dense"]) == (1, 2)
    tvm.ir.assert_structural_equal(folded(mod), relay.transform.InferType()(mod))
