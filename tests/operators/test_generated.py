"""Whatever a rule accepts converts, and computes what TVM's own LLVM code does.

A handful of examples for each operator, the same in every run; RELAY_TRT_EXAMPLES=200 tries as many, new ones
in each run.
"""

from __future__ import annotations

import os
from typing import Any, Callable, List

import numpy as np
import pytest
import tvm
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from tvm import relay

from relay_trt.annotation.match import decide, matching
from relay_trt.codegen.serializer import serialize
from relay_trt.options import CompileOptions
from relay_trt.runtime.subgraph import Subgraph

from ..runtime.support import call
from . import cases as _  # noqa: F401  declares the strategies
from .case import HERE, STRATEGIES, Case, Draw

EXAMPLES = int(os.environ.get("RELAY_TRT_EXAMPLES", "0"))


@st.composite
def cases(draw: Draw, op: str) -> Case:
    case = STRATEGIES[op](draw, op)
    return case.half() if draw(st.booleans()) else case


def test_every_operator_has_a_strategy() -> None:
    assert set(STRATEGIES) == HERE


@pytest.mark.parametrize("op", sorted(HERE))
def test_accepted_means_correct(op: str, engine: str) -> None:
    @settings(
        max_examples=EXAMPLES or 5,
        derandomize=not EXAMPLES,
        database=None,
        deadline=None,
        suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
    )
    @given(case=cases(op), dynamic=st.booleans())
    def check(case: Case, dynamic: bool) -> None:
        function = accepted(case.dynamic_module if dynamic else case.module)
        assume(function is not None)
        for got, want in zip(run(function, case), case.expected):
            # The operands are about 1: where they cancel out, what is left may be off by that much.
            scale = max(1.0, float(np.abs(want).max()))
            np.testing.assert_allclose(got, want, rtol=case.rtol, atol=case.atol * scale)

    check()


def accepted(module: Callable[[], tvm.IRModule]) -> Any:
    """The typed function of a case, or None where Relay's types or our rule refuse it."""
    try:
        function = module()["main"]
    except (tvm.TVMError, TypeError):  # a constant as large as a dimension that is not known
        return None
    calls: List[relay.Call] = []
    relay.analysis.post_order_visit(function, lambda e: calls.append(e) if isinstance(e, relay.Call) else None)
    with matching(CompileOptions(use_implicit_batch=False)):
        return function if all(decide(call) is None for call in calls) else None


def run(function: relay.Function, case: Case) -> List[np.ndarray]:
    """The outputs, by the subgraph that the function becomes, without a compiler in between."""
    graph = serialize(function, "generated", CompileOptions())
    values: List[np.ndarray] = []
    relay.analysis.post_order_visit(
        function, lambda e: values.append(e.data.numpy()) if isinstance(e, relay.Constant) else None
    )
    subgraph = Subgraph(graph, {node.name: value for node, value in zip(graph.constants(), values)})
    batch = case.expected[0].shape[0] if case.expected[0].ndim else None
    return call(subgraph, *case.inputs().values(), batch=batch)
