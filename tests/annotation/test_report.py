from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from tvm import relay

from relay_trt import PartitionReport, partition_for_tensorrt, partition_report
from relay_trt.annotation.report import Refusal, SubgraphReport

from ..support import module, not_offloaded, random

X = relay.var("x", shape=(2, 8, 6, 6))


def report(body: relay.Expr, **options: Any) -> PartitionReport:
    return partition_report(partition_for_tensorrt(module(body), **options)[0])


def between() -> relay.Expr:
    """Two subgraphs, and operators that stay for two reasons."""
    first = relay.nn.relu(relay.nn.conv2d(X, relay.const(random((4, 8, 3, 3)))))
    kept = not_offloaded(not_offloaded(first))
    last = relay.nn.relu(relay.nn.relu(relay.exp(kept)))
    return relay.Tuple([last, relay.reshape(last, (4, -1))])


def test_what_was_offloaded_and_what_was_not() -> None:
    assert report(between()) == PartitionReport(
        subgraphs=[
            SubgraphReport(
                symbol="tvmgen_default_tensorrt_main_0",
                operators={"nn.conv2d": 1, "nn.relu": 1},
                inputs=["tensorrt_0_i0 float32[2, 8, 6, 6]"],
                outputs=["float32[2, 4, 4, 4]"],
                macs=2 * 4 * 4 * 4 * 8 * 3 * 3,
            ),
            SubgraphReport(
                symbol="tvmgen_default_tensorrt_main_1",
                operators={"exp": 1, "nn.relu": 2},
                inputs=["tensorrt_1_i0 float32[2, 4, 4, 4]"],
                outputs=["float32[2, 4, 4, 4]"],
                macs=0,
            ),
        ],
        refusals=[
            Refusal("fast_tanh", "relay_trt has no converter for this operator", 2, "float32[2, 4, 4, 4]"),
            Refusal("reshape", "it touches the batch, and use_implicit_batch is on", 1, "float32[2, 4, 4, 4]"),
        ],
    )


def test_counts() -> None:
    found = report(between())
    assert (found.offloaded, found.refused) == (5, 3)


def test_operators_that_an_option_gives_back() -> None:
    found = report(between(), remove_no_mac_subgraphs=True)
    reason = "a subgraph without a multiply-accumulate operator, and remove_no_mac_subgraphs is on"
    assert (found.offloaded, found.refused) == (2, 6)
    assert {(refusal.operator, refusal.count) for refusal in found.refusals if refusal.reason == reason} == {
        ("exp", 1),
        ("nn.relu", 2),
    }


def test_as_text() -> None:
    first, *lines = str(report(between())).splitlines()
    assert first == "5 of 8 operators offloaded, in 2 subgraph(s)"
    cells = [[cell.strip() for cell in line.replace("│", "┃").split("┃")[1:-1]] for line in lines]
    rows = [row for row in cells if row]
    assert rows == [
        ["subgraph", "operators", "inputs", "outputs", "GMACs"],
        ["tensorrt_main_0", "1 nn.conv2d", "tensorrt_0_i0 float32[2, 8, 6, 6]", "float32[2, 4, 4, 4]", "0.000"],
        ["", "1 nn.relu", "", "", ""],
        ["tensorrt_main_1", "1 exp", "tensorrt_1_i0 float32[2, 4, 4, 4]", "float32[2, 4, 4, 4]", "0.000"],
        ["", "2 nn.relu", "", "", ""],
        ["not offloaded", "count", "reason", "for example"],
        ["fast_tanh", "2", "relay_trt has no converter for this operator", "float32[2, 4, 4, 4]"],
        ["reshape", "1", "it touches the batch, and use_implicit_batch is on", "float32[2, 4, 4, 4]"],
    ]


def test_as_text_where_there_is_nothing() -> None:
    assert str(PartitionReport([], [])).strip() == "0 of 0 operators offloaded, in 0 subgraph(s)"


def test_survives_json() -> None:
    found = report(between())
    assert PartitionReport.from_json(found.to_json()) == found
    assert json.loads(found.to_json())["refusals"][0]["operator"] == "fast_tanh"


def test_a_module_without_report_is_refused() -> None:
    with pytest.raises(ValueError, match="was not partitioned by partition_for_tensorrt"):
        partition_report(module(relay.nn.relu(X)))


def weights(*shape: int) -> relay.Constant:
    return relay.const(np.zeros(shape, "float32"))


def conv2d(*kernel: int, **attrs: Any) -> relay.Call:
    return relay.nn.conv2d(X, weights(*kernel), channels=kernel[0], kernel_size=kernel[2:], **attrs)


@pytest.mark.parametrize(
    ("body", "macs"),
    [
        (conv2d(16, 8, 3, 3, padding=(1, 1)), 2 * 16 * 6 * 6 * 8 * 3 * 3),
        (conv2d(16, 8, 5, 1, strides=(2, 3)), 2 * 16 * 1 * 2 * 8 * 5 * 1),
        (conv2d(16, 2, 3, 3, groups=4), 2 * 16 * 4 * 4 * 2 * 3 * 3),
        (conv2d(8, 1, 3, 3, groups=8), 2 * 8 * 4 * 4 * 1 * 3 * 3),
        (relay.nn.dense(relay.var("x", shape=(2, 10)), weights(7, 10)), 2 * 7 * 10),
        (relay.nn.batch_matmul(relay.var("x", shape=(2, 3, 10)), weights(2, 7, 10)), 2 * 3 * 7 * 10),
        (relay.nn.relu(X), 0),
    ],
)
def test_multiply_accumulates(body: relay.Expr, macs: int) -> None:
    (subgraph,) = report(body).subgraphs
    assert subgraph.macs == macs == relay.analysis.get_total_mac_number(module(body)["main"])


CHANNELS_LAST = {"data_layout": "NHWC", "kernel_layout": "HWIO"}


@pytest.mark.parametrize(
    ("body", "macs"),
    [
        (relay.nn.conv1d(relay.var("x", shape=(2, 8, 9)), weights(6, 8, 3)), 2 * 6 * 7 * 8 * 3),
        (relay.nn.conv2d(relay.var("x", shape=(2, 6, 5, 8)), weights(3, 3, 8, 4), **CHANNELS_LAST), 2 * 12 * 4 * 8 * 9),
        (relay.nn.conv3d(relay.var("x", shape=(1, 8, 4, 5, 6)), weights(6, 8, 2, 3, 4)), 6 * 3 * 3 * 3 * 8 * 24),
        # (C, multiplier, spatial...)
        (
            relay.nn.conv2d(X, weights(8, 2, 3, 3), groups=8, channels=16, kernel_size=(3, 3)),
            2 * 16 * 4 * 4 * 3 * 3,
        ),
        # Each element of the input meets all of the kernel, whatever the strides.
        (relay.nn.conv1d_transpose(relay.var("x", shape=(2, 8, 9)), weights(8, 6, 3)), 2 * 8 * 9 * 6 * 3),
        (relay.nn.conv2d_transpose(X, weights(8, 5, 3, 3), strides=(2, 2)), 2 * 8 * 6 * 6 * 5 * 3 * 3),
        (
            relay.nn.conv2d_transpose(X, weights(8, 5, 3, 3), groups=2, channels=10, kernel_size=(3, 3)),
            2 * 8 * 6 * 6 * 5 * 3 * 3,
        ),
        (
            relay.nn.conv3d_transpose(relay.var("x", shape=(1, 8, 4, 5, 6)), weights(8, 6, 2, 2, 2)),
            8 * 4 * 5 * 6 * 6 * 8,
        ),
        (relay.nn.dense(relay.var("x", shape=(2, 3, 10)), weights(7, 10)), 2 * 3 * 7 * 10),
        (relay.nn.matmul(relay.var("x", shape=(2, 10)), weights(10, 7)), 2 * 7 * 10),
        (relay.nn.matmul(relay.var("x", shape=(2, 10, 3)), weights(10, 7), transpose_a=True), 2 * 3 * 7 * 10),
        (
            relay.nn.batch_matmul(relay.var("x", shape=(2, 10, 3)), weights(2, 7, 10), transpose_a=True),
            2 * 3 * 7 * 10,
        ),
        (relay.einsum([relay.var("x", shape=(2, 3, 10)), weights(10, 7)], "bij,jk->bik"), 2 * 3 * 7 * 10),
        (relay.einsum([relay.var("x", shape=(2, 3, 10)), weights(2, 1, 10)], "...,...->..."), 2 * 3 * 10),
        (relay.einsum([relay.var("x", shape=(2, 3, 10))], "bij->bi"), 0),
    ],
)
def test_multiply_accumulates_that_tvm_does_not_count(body: relay.Expr, macs: int) -> None:
    (subgraph,) = report(body).subgraphs
    assert subgraph.macs == macs


def test_a_dynamic_batch_counts_as_one() -> None:
    x = relay.var("x", shape=(relay.Any(), 10))
    (subgraph,) = report(relay.nn.dense(x, weights(7, 10))).subgraphs
    assert subgraph.macs == 70
    assert subgraph.inputs == ["tensorrt_0_i0 float32[?, 10]"]


def test_subgraphs_are_in_the_order_of_their_numbers() -> None:
    body: relay.Expr = X
    for _ in range(12):
        body = not_offloaded(relay.exp(body))
    symbols = [subgraph.symbol for subgraph in report(body).subgraphs]
    assert symbols == [f"tvmgen_default_tensorrt_main_{i}" for i in range(12)]


def test_what_is_fused_already_is_said() -> None:
    mod = relay.transform.InferType()(module(relay.exp(relay.tanh(relay.var("x", shape=(2, 3))))))
    fused = relay.transform.FuseOps(2)(mod)
    found = partition_report(partition_for_tensorrt(fused, use_implicit_batch=False)[0])
    assert [(refusal.operator, refusal.count) for refusal in found.refusals] == [("tanh", 1), ("exp", 1)]
    assert all("partition before the module is optimized" in refusal.reason for refusal in found.refusals)


def test_reasons_are_shown_as_they_are() -> None:
    text = str(PartitionReport([], [Refusal("exp", "needs [batch, heads] and [/b]", 1, "float32[2]")]))
    assert "needs [batch, heads] and [/b]" in text
