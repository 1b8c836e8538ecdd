"""The shapes of the subgraphs' inputs, which follow from those of the network's."""

from __future__ import annotations

import json
from typing import Any, Dict, List

import numpy as np
import pytest
import tvm
from tvm import relay

from relay_trt import partition_for_tensorrt
from relay_trt.annotation.profiles import input_profiles
from relay_trt.graph import Profile
from relay_trt.relay_ir import PROFILES_ATTR

from ..support import module, not_offloaded, random

ANY = relay.Any()
SHAPES = {"min": (1, 2, 4), "opt": (2, 6, 4), "max": (3, 8, 4)}


def x(*shape: Any, dtype: str = "float32") -> relay.Var:
    return relay.var("x", shape=shape or (ANY, ANY, 4), dtype=dtype)


def profiles(mod: tvm.IRModule, shapes: Any = SHAPES, **others: Any) -> Dict[str, List[Dict[str, List[int]]]]:
    """What each subgraph carries, by its symbol, in the order of its parameters."""
    partitioned, _ = partition_for_tensorrt(mod, input_shapes={"x": shapes, **others})
    found = {}
    for name, function in partitioned.functions.items():
        if function.attrs and PROFILES_ATTR in function.attrs.keys():
            by_name = json.loads(str(function.attrs[PROFILES_ATTR]))
            found[name.name_hint] = [by_name[p.name_hint] for p in function.params if p.name_hint in by_name]
    return found


def one(mod: tvm.IRModule, shapes: Any = SHAPES, **others: Any) -> List[List[List[int]]]:
    """The smallest, best and largest shape of each dynamic input of the only subgraph."""
    (subgraph,) = profiles(mod, shapes, **others).values()
    return [[profile[name] for name in ("min", "opt", "max")] for profile in subgraph]


def test_an_input_of_main() -> None:
    assert one(module(relay.exp(x()))) == [[[1, 2, 4], [2, 6, 4], [3, 8, 4]]]


def test_one_shape_is_all_three() -> None:
    assert one(module(relay.exp(x())), (2, 6, 4)) == [[[2, 6, 4]] * 3]


def test_through_operators_of_tvm() -> None:
    halved = relay.strided_slice(not_offloaded(x()), [0, 0, 0], [2**31 - 1] * 3, [1, 2, 1])
    assert one(module(relay.exp(not_offloaded(halved)))) == [[[1, 1, 4], [2, 3, 4], [3, 4, 4]]]


def test_through_another_subgraph() -> None:
    flat = relay.reshape(relay.transpose(x(), (1, 0, 2)), (0, -1))
    assert sorted(profiles(module(relay.exp(not_offloaded(flat)))).values(), key=str) == [
        [{"min": [1, 2, 4], "opt": [2, 6, 4], "max": [3, 8, 4]}],
        [{"min": [2, 4], "opt": [6, 8], "max": [8, 12]}],
    ]


def test_a_shape_that_is_computed_is_known() -> None:
    data = not_offloaded(x())
    order = relay.const(np.array([1, 0, 2]))
    rows = relay.reshape(data, relay.take(relay.shape_of(data, "int64"), order, mode="fast"))
    assert one(module(relay.exp(rows))) == [[[2, 1, 4], [6, 2, 4], [8, 3, 4]]]


def test_a_dimension_that_shrinks() -> None:
    """What remains of nine elements without as many as the input has."""
    rest = relay.strided_slice(relay.const(random((9,))), relay.shape_of(x(ANY)), relay.const([9]))
    assert one(module(relay.exp(rest)), {"min": (1,), "opt": (2,), "max": (5,)}) == [[[4], [7], [8]]]


def test_static_inputs_have_none() -> None:
    y = relay.var("y", shape=(4,))
    assert one(module(relay.add(relay.exp(x()), y)), y=(4,)) == [[[1, 2, 4], [2, 6, 4], [3, 8, 4]]]
    assert profiles(module(relay.exp(x(2, 3))), (2, 3)) == {}


def test_in_a_let_and_in_a_branch() -> None:
    bound, data, flag = relay.var("bound"), x(), relay.var("flag", shape=(), dtype="bool")
    choice = relay.If(flag, relay.exp(not_offloaded(bound)), bound)
    mod = module(relay.Function([data, flag], relay.Let(bound, not_offloaded(relay.transpose(data)), choice)))
    assert sorted(profiles(mod).values(), key=str) == [
        [{"min": [1, 2, 4], "opt": [2, 6, 4], "max": [3, 8, 4]}],
        [{"min": [4, 2, 1], "opt": [4, 6, 2], "max": [4, 8, 3]}],
    ]


@pytest.mark.parametrize("case", ["data", "a function"])
def test_what_does_not_follow_is_said(case: str, log: pytest.LogCaptureFixture) -> None:
    if case == "data":
        mod = module(relay.exp(not_offloaded(relay.cast(relay.argwhere(x(ANY, 4)), "float32"))))
        shapes: Any = {"min": (1, 4), "opt": (2, 4), "max": (3, 4)}
    else:
        parameter, data = relay.var("p", shape=(ANY, ANY, 4)), x()
        closure = relay.Function([parameter], relay.exp(parameter))
        called = relay.var("f")
        mod, shapes = module(relay.Function([data], relay.Let(called, closure, called(called(data))))), SHAPES
    assert profiles(mod, shapes) == {}
    assert "do not follow from input_shapes; it has no profile" in log.text


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ({"y": SHAPES}, "there is no input 'y'; there are x"),
        ({}, r"the shapes of the input 'x' are missing, which is Tensor\[\(\?, \?, 4\), float32\]"),
        ({"x": {"min": (1, 2, 4)}}, "of the input 'x', {'min': .* does not consist of min, opt, max"),
        ({"x": {**SHAPES, "min": (1, 2)}}, r"min is \[1, 2\], which float32\[\?, \?, 4\] does not admit"),
        ({"x": {**SHAPES, "max": (3, 8, 5)}}, r"max is \[3, 8, 5\], which float32\[\?, \?, 4\] does not admit"),
        ({"x": {**SHAPES, "min": (4, 2, 4)}}, r"min \[4, 2, 4\], opt .*: no dimension may exceed the next"),
        ({"x": {**SHAPES, "min": (0, 2, 4)}}, r"min is \(0, 2, 4\): it must be a list of integers above 0"),
        ({"x": (1, 2.0, 4)}, r"min is \(1, 2.0, 4\): it must be a list of integers above 0"),
        ({"x": 3}, "min is 3: it must be a list of integers above 0"),
    ],
)
def test_wrong_shapes_are_named(shapes: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"input_shapes: .*{message}"):
        partition_for_tensorrt(module(relay.exp(x())), input_shapes=shapes)


def test_wrong_kinds_are_named() -> None:
    with pytest.raises(TypeError, match="input_shapes must be a dict of shapes by input, not list"):
        partition_for_tensorrt(module(relay.exp(x())), input_shapes=[SHAPES])
    pair = relay.var("pair", type_annotation=relay.TupleType([relay.TensorType((2, 3))] * 2))
    with pytest.raises(ValueError, match="the input 'pair' is no tensor"):
        input_profiles(module(relay.Function([pair], pair))["main"], {"pair": (2, 3)})


def test_weights_are_no_inputs() -> None:
    data, weight = x(), relay.var("weight", shape=(ANY, 4))
    mod = module(relay.Function([data, weight], relay.nn.dense(data, weight)))
    partitioned, _ = partition_for_tensorrt(mod, {"weight": random((5, 4))}, input_shapes={"x": SHAPES})
    assert [param.name_hint for param in partitioned["main"].params] == ["x"]


def test_shapes_that_the_network_cannot_have() -> None:
    y = relay.var("y", shape=(ANY, ANY, 4))
    mod = module(relay.nn.batch_matmul(x(), y))
    with pytest.raises(ValueError, match=r"the network cannot have the inputs x \[3, 8, 4\], y \[2, 8, 4\]"):
        partition_for_tensorrt(mod, input_shapes={"x": SHAPES, "y": {**SHAPES, "max": (2, 8, 4)}})


def test_the_modules_types_stay() -> None:
    partitioned, _ = partition_for_tensorrt(module(relay.exp(x())), input_shapes={"x": SHAPES})
    assert str(partitioned["main"].params[0].checked_type) == str(relay.TensorType((ANY, ANY, 4)))
    assert "1, 2" not in str(partitioned.get_global_var("main").checked_type)


def test_profile_of_an_input() -> None:
    assert input_profiles(module(relay.exp(x()))["main"], {"x": SHAPES}) == {
        "x": Profile((1, 2, 4), (2, 6, 4), (3, 8, 4))
    }
