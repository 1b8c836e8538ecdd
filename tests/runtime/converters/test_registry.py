"""The registry of converters, and what a converter sees of an operator."""

from __future__ import annotations

from typing import Any, List

import pytest

from relay_trt.graph import TensorSpec
from relay_trt.runtime.builders import Tensor
from relay_trt.runtime.converters import CONVERTERS, OpNode, converter


def node(*shape: int, **attrs: Any) -> OpNode:
    return OpNode("tested", attrs, (Tensor(shape, "float32"),), (TensorSpec(shape, "float32"),))


def test_registering(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relay_trt.runtime.converters.registry.CONVERTERS", {})

    @converter("a", "b")
    def convert(net: Any, op: OpNode) -> Tensor:
        return op.inputs[0]

    from relay_trt.runtime.converters import registry

    assert registry.CONVERTERS == {"a": convert, "b": convert}


def test_an_operator_has_one_converter() -> None:
    before = dict(CONVERTERS)
    with pytest.raises(ValueError, match="operator 'nn.relu' has a converter already"):
        converter("nn.relu")(lambda net, op: op.inputs[0])
    assert before == CONVERTERS


@pytest.mark.parametrize(("axis", "expected"), [(0, 0), (2, 2), (-1, 2), (-3, 0)])
def test_axis(axis: int, expected: int) -> None:
    assert node(2, 3, 4, axis=axis).axis() == expected
    assert node(2, 3, 4, other=axis).axis("other") == expected


@pytest.mark.parametrize(
    ("padding", "before", "after"),
    [([1], [1, 1], [1, 1]), ([1, 2], [1, 2], [1, 2]), ([1, 2, 3, 4], [1, 2], [3, 4])],
)
def test_padding(padding: List[int], before: List[int], after: List[int]) -> None:
    assert node(1, 3, 8, 8, padding=padding).padding() == (before, after)
