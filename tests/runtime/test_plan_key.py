"""The key of a plan: when two are the same, and how a difference reads."""

from __future__ import annotations

import dataclasses
import hashlib
from typing import Any, Dict

import pytest

from relay_trt.runtime.plan_key import PlanKey

FACTS: Dict[str, Any] = {"tensorrt": "8.6.0", "gpu": "NVIDIA H200", "use_fp16": True, "shapes": [[1, 3], []]}


def test_the_digest_is_of_canonical_json() -> None:
    text = '{"facts":{"gpu":"NVIDIA H200","shapes":[[1,3],[]],"tensorrt":"8.6.0","use_fp16":true},"symbol":"main_0"}'
    assert PlanKey("main_0", FACTS).digest == hashlib.sha256(text.encode()).hexdigest()


def test_neither_order_nor_tuples_matter() -> None:
    facts = {**dict(reversed(list(FACTS.items()))), "shapes": ((1, 3), ())}
    assert PlanKey("main_0", facts) == PlanKey("main_0", FACTS)
    assert PlanKey("main_0", facts).digest == PlanKey("main_0", FACTS).digest


@pytest.mark.parametrize("changed", [{"gpu": "Orin"}, {"use_fp16": 1}, {"shapes": [[1, 3]]}, {"more": None}])
def test_every_fact_matters(changed: Dict[str, Any]) -> None:
    assert PlanKey("main_0", {**FACTS, **changed}).digest != PlanKey("main_0", FACTS).digest


def test_the_symbol_matters() -> None:
    assert PlanKey("main_1", FACTS).digest != PlanKey("main_0", FACTS).digest


def test_a_key_does_not_change() -> None:
    facts = {"shapes": [[1, 3]]}
    key = PlanKey("main_0", facts)
    facts["shapes"].append([4])
    assert key.facts == {"shapes": [[1, 3]]}
    assert hash(key) == hash(PlanKey("main_0", key.facts))
    with pytest.raises(dataclasses.FrozenInstanceError):
        key.symbol = "main_1"  # type: ignore[misc]


@pytest.mark.parametrize(("value", "error"), [(float("nan"), ValueError), ({1, 2}, TypeError), (b"x", TypeError)])
def test_what_is_no_json(value: Any, error: type) -> None:
    with pytest.raises(error, match="the fact 'scale' of a plan's key is .*, no JSON value"):
        PlanKey("main_0", {"gpu": "Orin", "scale": value})


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({}, ""),
        ({"gpu": "Orin"}, "gpu is 'Orin', not 'NVIDIA H200'"),
        (
            {"tensorrt": "8.5.3", "gpu": "Orin"},
            "gpu is 'Orin', not 'NVIDIA H200'; tensorrt is '8.5.3', not '8.6.0'",
        ),
        ({"use_fp16": 1}, "use_fp16 is 1, not True"),
        ({"dla": None}, "dla is None, not absent"),
        ({"gpu": "x" * 1000}, f"gpu is '{'x' * 59}..., not 'NVIDIA H200'"),
    ],
)
def test_differences(changed: Dict[str, Any], message: str) -> None:
    assert PlanKey("main_0", FACTS).differences({**FACTS, **changed}) == message


def test_a_fact_that_is_missing() -> None:
    facts = {name: value for name, value in FACTS.items() if name != "gpu"}
    assert PlanKey("main_0", FACTS).differences(facts) == "gpu is absent, not 'NVIDIA H200'"
