"""Whatever a rule accepts converts, and computes what TVM's own LLVM code does.

A handful of examples for each operator, the same in every run; RELAY_TRT_EXAMPLES=200 tries as many, new ones
in each run.
"""

from __future__ import annotations

import os
from typing import Any, Callable, Dict, List, Tuple

import numpy as np
import pytest
import tvm
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import mutually_broadcastable_shapes
from tvm import relay

from relay_trt.annotation.match import decide, matching
from relay_trt.annotation.rules import RULES
from relay_trt.codegen.serializer import serialize
from relay_trt.options import CompileOptions
from relay_trt.runtime.subgraph import Subgraph

from ..runtime.support import call
from .cases import BINARY_OPERATORS, POSITIVE, Case, batch_norm, bias_add, constant, conv2d, dense_by_rows, scalar

EXAMPLES = int(os.environ.get("RELAY_TRT_EXAMPLES", "0"))

Draw = Callable[[st.SearchStrategy], Any]
STRATEGIES: Dict[str, Callable[[Draw, str], Case]] = {}


def strategy(*ops: str) -> Callable[[Callable[[Draw, str], Case]], Callable[[Draw, str], Case]]:
    """Register how a case of ``ops`` is drawn."""

    def register(function: Callable[[Draw, str], Case]) -> Callable[[Draw, str], Case]:
        STRATEGIES.update(dict.fromkeys(ops, function))
        return function

    return register


@st.composite
def cases(draw: Draw, op: str) -> Case:
    case = STRATEGIES[op](draw, op)
    return case.half() if draw(st.booleans()) else case


def shapes(min_rank: int, max_rank: int, max_side: int = 4) -> st.SearchStrategy[Tuple[int, ...]]:
    return st.lists(st.integers(1, max_side), min_size=min_rank, max_size=max_rank).map(tuple)


def images() -> st.SearchStrategy[Tuple[int, ...]]:
    side = st.integers(1, 9)
    return st.tuples(st.integers(1, 2), st.integers(1, 4), side, side)


def pairs(low: int, high: int) -> st.SearchStrategy[Tuple[int, int]]:
    return st.tuples(st.integers(low, high), st.integers(low, high))


def paddings(high: int) -> st.SearchStrategy[Any]:
    """One, two or four numbers."""
    numbers = st.integers(0, high)
    return st.one_of(numbers, st.tuples(numbers, numbers), st.tuples(*[numbers] * 4))


def axes(shape: Tuple[int, ...]) -> st.SearchStrategy[int]:
    return st.integers(-len(shape), len(shape) - 1)


def attributed(op: str, build: Callable[..., relay.Expr], *shapes: Tuple[int, ...], **attrs: Any) -> Case:
    """A case of one input and of attributes that its name tells."""
    return Case(op, f"{shapes} {attrs}", lambda x: build(x, **attrs), shapes)


@strategy(
    "nn.relu", "sigmoid", "tanh", "exp", "abs", "atan", "ceil", "cos", "erf", "floor", "negative", "sin", "log", "sqrt"
)
def unary(draw: Draw, op: str) -> Case:
    shape = draw(shapes(0, 5))
    function = relay.nn.relu if op == "nn.relu" else getattr(relay, op)
    low = 0.01 if op in ("log", "sqrt") else -4.0
    return Case(op, str(shape), function, (shape,), low=low, high=4.0)


@strategy("nn.leaky_relu")
def leaky_relu(draw: Draw, op: str) -> Case:
    return attributed(
        op, relay.nn.leaky_relu, draw(shapes(0, 4)), alpha=draw(st.sampled_from([-0.5, 0.0, 0.25, 1.0, 2.0]))
    )


@strategy("clip")
def clip(draw: Draw, op: str) -> Case:
    bounds = st.sampled_from([-float("inf"), -0.5, 0.0, 0.25, 6.0, float("inf")])
    return attributed(op, relay.clip, draw(shapes(0, 4)), a_min=draw(bounds), a_max=draw(bounds))


@strategy(*BINARY_OPERATORS)
def binary(draw: Draw, op: str) -> Case:
    call = BINARY_OPERATORS[op]
    a, b = draw(mutually_broadcastable_shapes(num_shapes=2, min_dims=0, max_dims=4, max_side=4)).input_shapes
    build, inputs = draw(
        st.sampled_from(
            [
                (call, (a, b)),
                (lambda x: call(x, constant(x, *b, **POSITIVE)), (a,)),
                (lambda x: call(constant(x, *a, **POSITIVE), x), (b,)),
                (lambda x: call(x, scalar(x, 1.5)), (a,)),
                (lambda x: call(x, x), (a,)),
            ]
        )
    )
    return Case(op, f"{a} {b}, {len(inputs)} inputs", build, inputs, **POSITIVE)


@strategy("nn.conv2d")
def convolution(draw: Draw, op: str) -> Case:
    groups, channels, filters = draw(st.integers(1, 3)), draw(st.integers(1, 2)), draw(st.integers(1, 2))
    kernel = draw(pairs(1, 4))
    n, _, height, width = draw(images())
    attrs = {
        "strides": draw(pairs(1, 3)),
        "padding": draw(paddings(3)),
        "dilation": draw(pairs(1, 3)),
        "groups": groups,
    }
    shape = (n, groups * channels, height, width)
    weights = (groups * filters, channels, *kernel)
    return Case(op, f"{shape} {weights} {attrs}", lambda x: conv2d(x, *weights, **attrs), (shape,))


@strategy("nn.dense")
def dense(draw: Draw, op: str) -> Case:
    shape, units = draw(shapes(1, 4)), draw(st.integers(1, 5))
    kernel = (units, shape[-1])
    if draw(st.booleans()):
        return Case(
            op,
            f"{shape} {kernel}",
            relay.nn.dense,
            (shape, kernel),
            same_as=lambda x, weight: dense_by_rows(x, weight, units),
        )
    return Case(
        op,
        f"{shape} {kernel}, constant",
        lambda x: relay.nn.dense(x, constant(x, *kernel)),
        (shape,),
        same_as=lambda x: dense_by_rows(x, constant(x, *kernel), units),
    )


@strategy("nn.bias_add")
def biases(draw: Draw, op: str) -> Case:
    shape = draw(shapes(1, 5))
    axis = draw(axes(shape))
    if draw(st.booleans()):
        return attributed(op, bias_add, shape, axis=axis)
    return Case(op, f"{shape} {axis}", lambda x, b: relay.nn.bias_add(x, b, axis), (shape, (shape[axis],)))


@strategy("nn.batch_norm")
def normalization(draw: Draw, op: str) -> Case:
    shape = draw(shapes(1, 5))
    axis = draw(axes(shape))
    return attributed(
        op,
        batch_norm,
        shape,
        channels=shape[axis],
        axis=axis,
        scale=draw(st.booleans()),
        center=draw(st.booleans()),
        epsilon=draw(st.sampled_from([1e-5, 1e-2])),
    )


@strategy("nn.softmax")
def softmax(draw: Draw, op: str) -> Case:
    shape = draw(shapes(1, 4))
    return attributed(op, relay.nn.softmax, shape, axis=draw(axes(shape)))


@strategy("nn.max_pool2d", "nn.avg_pool2d")
def pool2d(draw: Draw, op: str) -> Case:
    attrs = {
        "pool_size": draw(pairs(1, 4)),
        "strides": draw(pairs(1, 3)),
        "padding": draw(paddings(2)),
        "ceil_mode": draw(st.booleans()),
    }
    if op == "nn.avg_pool2d":
        attrs["count_include_pad"] = draw(st.booleans())
    return attributed(op, getattr(relay.nn, op[3:]), draw(images()), **attrs)


@strategy("nn.global_max_pool2d", "nn.global_avg_pool2d")
def global_pool2d(draw: Draw, op: str) -> Case:
    return attributed(op, getattr(relay.nn, op[3:]), draw(images()))


@strategy("nn.batch_flatten")
def batch_flatten(draw: Draw, op: str) -> Case:
    return attributed(op, relay.nn.batch_flatten, draw(shapes(1, 5)))


@strategy("concatenate")
def concatenate(draw: Draw, op: str) -> Case:
    shape = draw(shapes(1, 4))
    axis = draw(axes(shape))
    # An input, the first input again, or a constant.
    members = draw(st.lists(st.sampled_from(["input", "repeated", "constant"]), min_size=1, max_size=4))
    sizes = [draw(st.integers(1, 3)) for _ in members]
    of_size = {size: (*shape[: axis % len(shape)], size, *shape[axis % len(shape) + 1 :]) for size in sizes}
    inputs = [shape, *(of_size[size] for member, size in zip(members, sizes) if member == "input")]

    def build(first: relay.Var, *others: relay.Var) -> relay.Expr:
        rest = list(others)
        tensors = [first]
        for member, size in zip(members, sizes):
            tensors.append(
                rest.pop(0) if member == "input" else first if member == "repeated" else constant(first, *of_size[size])
            )
        return relay.concatenate(tensors, axis=axis)

    return Case(op, f"{inputs} {members} {axis}", build, tuple(inputs))


@strategy("transpose")
def transpose(draw: Draw, op: str) -> Case:
    shape = draw(shapes(0, 5))
    order = draw(st.permutations(range(len(shape))))
    signs = [draw(st.sampled_from([0, len(shape)])) for _ in shape]
    permutation = [axis - back for axis, back in zip(order, signs)]
    return attributed(op, relay.transpose, shape, axes=draw(st.sampled_from([None, permutation])))


@strategy("layout_transform")
def layout_transform(draw: Draw, op: str) -> Case:
    layouts = draw(st.permutations(["NCHW", "NHWC"]))
    return attributed(op, relay.layout_transform, draw(images()), src_layout=layouts[0], dst_layout=layouts[1])


@strategy("reshape")
def reshape(draw: Draw, op: str) -> Case:
    factors = draw(shapes(0, 5))
    splits = sorted(draw(st.lists(st.integers(0, len(factors)), max_size=4)))
    shape = [int(np.prod(factors[a:b])) for a, b in zip([0, *splits], [*splits, len(factors)])]
    if draw(st.booleans()):
        shape[draw(axes(tuple(shape)))] = -1
    return attributed(op, relay.reshape, factors, newshape=shape)


@strategy("squeeze")
def squeeze(draw: Draw, op: str) -> Case:
    shape = draw(shapes(1, 5, max_side=2))
    ones = [axis for axis, size in enumerate(shape) if size == 1]
    axis = [index - draw(st.sampled_from([0, len(shape)])) for index in ones if draw(st.booleans())]
    return attributed(op, relay.squeeze, shape, axis=axis or None)


@strategy("expand_dims")
def expand_dims(draw: Draw, op: str) -> Case:
    shape = draw(shapes(0, 4))
    axis = draw(st.integers(-len(shape) - 1, len(shape)))
    return attributed(op, relay.expand_dims, shape, axis=axis, num_newaxis=draw(st.integers(0, 3)))


def test_every_operator_has_a_strategy() -> None:
    assert set(STRATEGIES) == set(RULES)


@pytest.mark.parametrize("op", sorted(RULES))
def test_accepted_means_correct(op: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TVM_TENSORRT_ENGINE", "onnxruntime")

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
