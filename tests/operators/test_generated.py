"""Whatever a rule accepts converts, and computes what TVM's own LLVM code does.

A handful of examples for each operator, the same in every run; RELAY_TRT_EXAMPLES=200 tries as many, new ones
in each run.
"""

from __future__ import annotations

import dataclasses
import functools
import os
from typing import List, Tuple

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from tvm import relay

from relay_trt.codegen.serializer import serialize
from relay_trt.graph import Profile
from relay_trt.options import CompileOptions
from relay_trt.runtime.subgraph import Subgraph

from ..runtime.support import call
from . import cases as _  # noqa: F401  declares the strategies
from .case import HERE, STRATEGIES, Case, Draw, Shape, accepted

EXAMPLES = int(os.environ.get("RELAY_TRT_EXAMPLES", "0"))


@st.composite
def cases(draw: Draw, op: str) -> Case:
    case = STRATEGIES[op](draw, op)
    return case.half() if draw(st.booleans()) else case


def mask(shape: Shape) -> st.SearchStrategy[Tuple[bool, ...]]:
    """Which dimensions are dynamic."""
    return st.tuples(*[st.booleans()] * len(shape))


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
    @given(data=st.data())
    def check(data: st.DataObject) -> None:
        case = data.draw(cases(op))
        dynamic = data.draw(st.sampled_from(["none", "the first", "any"]))
        masks = data.draw(st.tuples(*map(mask, case.shapes))) if dynamic == "any" else ()
        module = accepted(case.module if dynamic == "none" else functools.partial(case.dynamic_module, *masks))
        # What is wrong with known sizes, such as a window beyond the image, cannot be seen where they are not known.
        assume(module is not None and accepted(case.module) is not None)
        for got, want in zip(run(module["main"], case), case.expected):
            # The operands are about 1: where they cancel out, what is left may be off by that much.
            scale = max(1.0, float(np.abs(want).max()))
            np.testing.assert_allclose(got, want, rtol=case.rtol, atol=case.atol * scale)

    check()


def run(function: relay.Function, case: Case) -> List[np.ndarray]:
    """The outputs, by the subgraph that the function becomes, without a compiler in between."""
    graph = serialize(function, "generated", CompileOptions())
    shapes = dict(zip((node.name for node in graph.inputs()), case.shapes))
    nodes = [dataclasses.replace(n, profile=one_shape(shapes[n.name])) if n.name in shapes else n for n in graph.nodes]
    graph = dataclasses.replace(graph, nodes=tuple(nodes))
    values: List[np.ndarray] = []
    relay.analysis.post_order_visit(
        function, lambda e: values.append(e.data.numpy()) if isinstance(e, relay.Constant) else None
    )
    subgraph = Subgraph(graph, {node.name: value for node, value in zip(graph.constants(), values)})
    return call(subgraph, *case.inputs().values(), shapes=[output.shape for output in case.expected])


def one_shape(shape: Shape) -> Profile:
    return Profile(shape, shape, shape)
