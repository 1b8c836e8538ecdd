"""Networks with several dynamic dimensions: one subgraph each, run by the Relay VM for one shape after the other."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable, Dict, List, Tuple

import numpy as np
import pytest
import tvm
from tvm import relay

import relay_trt

from ..support import assert_close, compile_for_vm, module, not_offloaded, random, run_by_vm, run_tvm

ANY = relay.Any()
WIDTH, HEADS = 32, 4
Shape = Tuple[int, ...]


def weights(*shape: int, seed: int = 1) -> relay.Constant:
    return relay.const(random(shape, seed=seed, low=-0.3, high=0.3))


def dense(x: relay.Expr, units: int, seed: int) -> relay.Expr:
    """A dense layer over the last dimension; of known sizes as TVM's own code computes it, for two dimensions."""
    shape = module_type(x).shape
    weight = weights(units, int(shape[-1]), seed=seed)
    if not all(isinstance(size, tvm.tir.IntImm) for size in shape):
        return relay.nn.dense(x, weight)
    rows = relay.nn.dense(relay.reshape(x, (-1, int(shape[-1]))), weight)
    return relay.reshape(rows, (*map(int, shape[:-1]), units))


def module_type(x: relay.Expr) -> relay.TensorType:
    return module(relay.Function(relay.analysis.free_vars(x), x))["main"].ret_type


def encoder(x: relay.Expr) -> relay.Expr:
    """A transformer's encoder layer over (batch, length, WIDTH), and its first token."""

    def norm(y: relay.Expr) -> relay.Expr:
        return relay.nn.layer_norm(y, weights(WIDTH), weights(WIDTH, seed=2))

    def heads(y: relay.Expr, seed: int) -> relay.Expr:
        y = relay.nn.bias_add(dense(y, WIDTH, seed), weights(WIDTH), axis=-1)
        y = relay.transpose(relay.reshape(y, (0, 0, HEADS, -1)), (0, 2, 1, 3))
        return relay.reshape(y, (-3, -2))

    normed = norm(x)
    query, key, value = (heads(normed, seed) for seed in (3, 4, 5))
    attention = relay.nn.softmax(relay.multiply(relay.nn.batch_matmul(query, key), relay.const(0.35)))
    y = relay.nn.batch_matmul(attention, value, transpose_b=False)
    y = relay.transpose(relay.reshape(y, (-4, -1, HEADS, -2)), (0, 2, 1, 3))
    x = relay.add(x, dense(relay.reshape(y, (0, 0, WIDTH)), WIDTH, 6))
    hidden = dense(norm(x), 4 * WIDTH, 7)
    hidden = relay.multiply(hidden, relay.sigmoid(hidden))
    return relay.take(relay.add(x, dense(hidden, WIDTH, 8)), relay.const(0), axis=1)


def masked(x: relay.Expr, mask: relay.Expr) -> relay.Expr:
    """Scores (batch, length, length) of which a mask (batch, length) leaves some out."""
    scores = relay.nn.batch_matmul(x, x)
    allowed = relay.greater(relay.expand_dims(mask, 1), relay.const(0.0))
    return relay.nn.log_softmax(relay.where(allowed, scores, relay.const(-9.0)))


def image_network(x: relay.Expr) -> relay.Expr:
    """Down and up again: an image of the same size, whatever it is."""

    def block(y: relay.Expr, channels: int, seed: int) -> relay.Expr:
        y = relay.nn.conv2d(y, weights(channels, int(module_type(y).shape[1]), 3, 3, seed=seed), padding=(1, 1))
        variance = relay.const(random((channels,), low=0.5, high=1.5))
        return relay.nn.relu(relay.nn.batch_norm(y, *[weights(channels, seed=i) for i in (1, 2, 3)], variance)[0])

    fine = block(x, 8, 1)
    coarse = relay.nn.max_pool2d(fine, (3, 3), strides=(2, 2), padding=(1, 1))
    coarse = relay.nn.group_norm(block(coarse, 8, 2), weights(8), weights(8, seed=2), num_groups=2)
    up = relay.nn.upsampling(coarse, 2, 2, method="bilinear", align_corners=False)
    up = relay.nn.conv2d(relay.nn.pad(up, ((0, 0), (0, 0), (0, 1), (1, 0))), weights(8, 8, 2, 2))
    down = relay.nn.avg_pool2d(relay.concatenate([fine, up], 1), (2, 2), strides=(2, 2))
    return relay.nn.conv2d_transpose(down, weights(16, 4, 2, 2), strides=(2, 2), channels=4, kernel_size=(2, 2))


def classifier(x: relay.Expr) -> relay.Expr:
    """Channels last, and a score whatever the size of the image."""
    y = relay.nn.conv2d(
        x, weights(3, 3, 3, 8), padding=(1, 1), data_layout="NHWC", kernel_layout="HWIO", strides=(2, 2)
    )
    y = relay.nn.global_avg_pool2d(relay.nn.relu(y), layout="NHWC")
    return relay.nn.softmax(relay.nn.dense(relay.nn.batch_flatten(y), weights(5, 8)))


def after_tvm(x: relay.Expr) -> relay.Expr:
    """What TVM computes first decides how large the subgraph's input is."""
    halved = relay.strided_slice(not_offloaded(x), [0, 0, 0], [2**31 - 1] * 3, [1, 2, 1])
    return relay.nn.relu(dense(not_offloaded(halved), 8, 1))


Network = Tuple[Callable[..., relay.Expr], List[Tuple[Any, ...]], List[List[Shape]]]

#: What makes each network, the shapes of its inputs, and those of each call: the smallest, one between, the largest.
NETWORKS: Dict[str, Network] = {
    "encoder": (encoder, [(ANY, ANY, WIDTH)], [[(1, 2, WIDTH)], [(3, 5, WIDTH)], [(4, 9, WIDTH)]]),
    "masked": (masked, [(ANY, ANY, 8), (ANY, ANY)], [[(1, 2, 8), (1, 2)], [(2, 5, 8), (2, 5)], [(3, 7, 8), (3, 7)]]),
    "image": (image_network, [(1, 3, ANY, ANY)], [[(1, 3, 8, 8)], [(1, 3, 12, 20)], [(1, 3, 32, 24)]]),
    "classifier": (classifier, [(ANY, ANY, ANY, 3)], [[(1, 4, 5, 3)], [(2, 9, 7, 3)], [(5, 16, 16, 3)]]),
}


def function(build: Callable[..., relay.Expr], shapes: List[Tuple[Any, ...]]) -> tvm.IRModule:
    inputs = [relay.var(f"x{i}", shape=shape) for i, shape in enumerate(shapes)]
    return module(relay.Function(inputs, build(*inputs)))


def arrays(shapes: List[Shape]) -> Dict[str, np.ndarray]:
    return {f"x{i}": random(shape, seed=i) for i, shape in enumerate(shapes)}


def compare(network: Network, folder: Path, subgraphs: int = 1, refused: int = 0) -> None:
    """Partition, compile, run all calls, and the largest again before the smallest; compare with TVM's own code."""
    build, declared, calls = network
    input_shapes = {
        f"x{i}": {name: call[i] for name, call in zip(("min", "opt", "max"), calls)} for i in range(len(declared))
    }
    partitioned, _ = relay_trt.partition_for_tensorrt(function(build, declared), input_shapes=input_shapes)
    report = relay_trt.partition_report(partitioned)
    assert (len(report.subgraphs), report.refused) == (subgraphs, refused), str(report)
    calls = [*calls, calls[2], calls[0]]
    got = run_by_vm(compile_for_vm(partitioned, folder / "library.so"), *map(arrays, calls))
    for shapes, outputs in zip(calls, got):
        want = run_tvm(function(build, list(shapes)), arrays(shapes))
        assert [output.shape for output in outputs] == [output.shape for output in want]
        assert_close(outputs, want, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", NETWORKS)
def test_network(name: str, engine: str, tmp_path: Path) -> None:
    compare(NETWORKS[name], tmp_path)


def test_behind_operators_of_tvm(engine: str, tmp_path: Path) -> None:
    calls = [[(1, 2, 4)], [(2, 5, 4)], [(3, 9, 4)]]
    compare((after_tvm, [(ANY, ANY, 4)], calls), tmp_path, refused=3)


def test_without_input_shapes_only_the_batch_is(tmp_path: Path) -> None:
    partitioned, _ = relay_trt.partition_for_tensorrt(function(*NETWORKS["encoder"][:2]))
    report = relay_trt.partition_report(partitioned)
    assert report.offloaded == 0
    assert all("without input_shapes" in refusal.reason for refusal in report.refusals), str(report)
