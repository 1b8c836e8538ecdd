from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Callable, Dict

import numpy as np
import pytest
import tvm
from tvm import relay

from relay_trt import partition_for_tensorrt, partition_report
from relay_trt.annotation import partition
from relay_trt.relay_ir import OPTIONS_ATTR, PROFILES_ATTR

from ..support import (
    assert_close,
    compile_library,
    module,
    not_offloaded,
    operators,
    random,
    run_library,
    run_offloaded,
    run_tvm,
)


def var(*shape: int) -> relay.Var:
    return relay.var("x", shape=shape)


IMAGE = relay.var("x", shape=(2, 3, 8, 8))
NHWC_IMAGE = relay.var("x", shape=(2, 8, 8, 3))
KERNEL = relay.const(random((4, 3, 3, 3)))


def nhwc() -> tvm.IRModule:
    """As TensorFlow and TFLite have it."""
    x = NHWC_IMAGE
    for i, channels in enumerate((4, 5)):
        kernel = relay.const(random((3, 3, 3 if i == 0 else 4, channels), seed=i))
        x = relay.nn.conv2d(x, kernel, padding=(1, 1), data_layout="NHWC", kernel_layout="HWIO")
        x = relay.nn.relu(relay.nn.bias_add(x, relay.const(random(channels, seed=i)), axis=3))
    return module(x)


def with_functions() -> tvm.IRModule:
    """A module whose ``main`` calls functions with weights, of which one calls another."""
    mod = tvm.IRModule()
    matrix, square = relay.TensorType((2, 3)), relay.TensorType((3, 3))
    inner, outer = relay.GlobalVar("inner"), relay.GlobalVar("outer")
    x, w = relay.var("x", matrix), relay.var("w", square)
    mod[inner] = relay.Function([x, w], relay.nn.dense(x, w), matrix)
    x, w = relay.var("x", matrix), relay.var("w", square)
    mod[outer] = relay.Function([x, w], relay.nn.relu(inner(inner(x, w), w)), matrix)
    data, weight = relay.var("data", matrix), relay.var("weight", square)
    mod["main"] = relay.Function([data, weight], outer(inner(data, weight), weight))
    return relay.transform.InferType()(mod)


@pytest.mark.parametrize("make", [nhwc, with_functions, lambda: module(relay.nn.dropout(IMAGE))])
def test_the_callers_module_is_not_changed(make: Callable[[], tvm.IRModule]) -> None:
    mod, untouched = make(), make()
    functions = dict(mod.functions.items())
    partition_for_tensorrt(mod, {"weight": np.ones((3, 3), "float32")})
    assert tvm.ir.structural_equal(mod, untouched)
    assert all(mod[name].same_as(function) for name, function in functions.items())
    assert len(mod.functions) == len(functions)


def test_the_options_travel_in_each_subgraph_and_are_returned() -> None:
    body = relay.exp(not_offloaded(relay.exp(IMAGE)))
    mod, config = partition_for_tensorrt(module(body), version=(8, 6, 1), max_workspace_size=1 << 33, use_fp16=True)
    assert config == {
        "tensorrt_version": [8, 6, 1],
        "use_implicit_batch": True,
        "remove_no_mac_subgraphs": False,
        "max_workspace_size": 1 << 33,
        "use_fp16": True,
        "dynamic_shapes": False,
    }
    attrs = [mod[subgraph.symbol].attrs for subgraph in partition_report(mod).subgraphs]
    assert [json.loads(str(a[OPTIONS_ATTR])) for a in attrs] == [config, config]


@pytest.mark.parametrize(("installed", "expected"), [((10, 3, 0), [10, 3, 0]), (None, [8, 5, 0])])
def test_the_version_is_the_installed_one(monkeypatch: pytest.MonkeyPatch, installed: Any, expected: Any) -> None:
    monkeypatch.setattr(partition, "installed_tensorrt_version", lambda: installed)
    _, config = partition_for_tensorrt(module(relay.exp(IMAGE)))
    assert config["tensorrt_version"] == expected
    assert config["use_implicit_batch"] == (installed is None)


def test_numpy_and_tvm_params_are_bound() -> None:
    x, v, w = (relay.var(name, shape=(2, 2)) for name in "xvw")
    arrays = {"v": random((2, 2), seed=1), "w": random((2, 2), seed=2), "unknown": random(3)}
    mod, _ = partition_for_tensorrt(
        module(relay.Function([x, v, w], relay.add(relay.multiply(x, v), w))),
        {name: array if name == "v" else tvm.nd.array(array) for name, array in arrays.items()},
    )
    assert [param.name_hint for param in mod["main"].params] == ["x"]


def test_weights_reach_the_functions_that_main_calls(tmp_path: Path) -> None:
    mod = with_functions()
    inputs, params = {"data": random((2, 3))}, {"weight": random((3, 3), seed=1)}
    partitioned, _ = partition_for_tensorrt(mod, params)
    assert operators(partitioned) == {"nn.dense": 3, "nn.relu": 1}
    assert {name.name_hint for name in partitioned.get_global_vars()} == {"main", "tvmgen_default_tensorrt_main_0"}
    assert [param.name_hint for param in partitioned["main"].params] == ["data"]
    x, w = inputs["data"], params["weight"].T
    expected = np.maximum(x @ w @ w @ w, 0)
    assert_close(run_library(compile_library(partitioned, tmp_path / "lib.so"), inputs), [expected])


def test_functions_that_nobody_calls_are_partitioned_too() -> None:
    mod = module(relay.exp(IMAGE))
    x, weight = relay.var("x", shape=(3, 3)), relay.var("weight", shape=(3, 3))
    mod["other"] = relay.Function([x, weight], relay.nn.dense(not_offloaded(x), weight))
    mod["third"] = relay.Function([x], x)
    partitioned, _ = partition_for_tensorrt(mod, {"weight": np.ones((3, 3), "float32")})
    assert {subgraph.symbol: subgraph.operators for subgraph in partition_report(partitioned).subgraphs} == {
        "tvmgen_default_tensorrt_main_0": {"exp": 1},
        "tvmgen_default_tensorrt_other_0": {"nn.dense": 1},
    }
    assert [param.name_hint for param in partitioned["other"].params] == ["x"]
    assert partitioned["third"].body.same_as(partitioned["third"].params[0])


def test_dropout_is_removed() -> None:
    body = relay.exp(relay.nn.dropout(relay.nn.dropout(relay.nn.relu(IMAGE)), 0.3))
    mod, _ = partition_for_tensorrt(module(body))
    assert operators(mod) == {"nn.relu": 1, "exp": 1}
    assert partition_report(mod).refused == 0


@pytest.mark.parametrize(
    "moved",
    [
        pytest.param(lambda x: relay.squeeze(relay.expand_dims(x, 0)), id="squeezed"),
        pytest.param(lambda x: relay.reshape(relay.copy(x), (3, 4)), id="reshaped"),
        pytest.param(lambda x: relay.transpose(relay.strided_slice(x, [0, 1], [4, 3])), id="sliced and transposed"),
        pytest.param(relay.nn.batch_flatten, id="flattened"),
    ],
)
def test_what_is_cast_to_integers_is_cast_before_it_is_moved(
    moved: Callable[[relay.Expr], relay.Expr], tmp_path: Path
) -> None:
    """TVM then casts an input, and TensorRT, which could round that to float16, moves integers."""
    table = relay.const(random((3000, 2)))
    mod = module(relay.take(table, relay.cast(moved(var(4, 3)), "int32"), axis=0))
    partitioned, _ = partition_for_tensorrt(mod, use_implicit_batch=False)
    report = partition_report(partitioned)
    assert [(refusal.operator, refusal.count) for refusal in report.refusals] == [("cast", 1)]
    assert [text.split(maxsplit=1)[1] for text in report.subgraphs[0].inputs] == ["int32[4, 3]"]
    inputs = {"x": np.arange(2050, 2062, dtype="float32").reshape(4, 3)}
    assert_close(run_library(compile_library(partitioned, tmp_path / "lib.so"), inputs), run_tvm(mod, inputs))


@pytest.mark.parametrize(
    ("moved", "operator"),
    [
        (lambda x: relay.reshape(x, (3, 2)), "reshape"),
        (lambda x: relay.strided_slice(x, [0, 0], [1, 2]), "strided_slice"),
    ],
)
def test_what_tensorrt_computes_is_moved_before_it_is_cast(
    moved: Callable[[relay.Expr], relay.Expr], operator: str
) -> None:
    """TensorRT 8 has no int64: what is moved after that cast, TVM moves."""
    mod = module(relay.cast(moved(relay.nn.relu(var(2, 3))), "int64"))
    partitioned, _ = partition_for_tensorrt(mod, version=(8, 6, 0), use_implicit_batch=False)
    assert list(operators(partitioned)) == ["nn.relu", operator]


def test_a_cast_to_floats_is_not_moved() -> None:
    mod = module(relay.cast(relay.reshape(var(2, 3), (3, 2)), "float16"))
    partitioned, _ = partition_for_tensorrt(mod, use_implicit_batch=False)
    assert list(operators(partitioned)) == ["reshape", "cast"]


@pytest.mark.parametrize("opt_level", range(4))
def test_channels_come_first_whatever_tvms_level(opt_level: int) -> None:
    with tvm.transform.PassContext(opt_level=opt_level):
        mod, _ = partition_for_tensorrt(nhwc())
    (subgraph,) = partition_report(mod).subgraphs
    assert partition_report(mod).refused == 0
    assert subgraph.operators == {"layout_transform": 2, "nn.conv2d": 2, "add": 2, "nn.relu": 2}


@pytest.mark.parametrize(
    ("op", "kernel_layout", "dimensions"),
    [("conv2d_transpose", "HWOI", 2), ("conv3d", "DHWIO", 3), ("conv3d_transpose", "DHWOI", 3)],
)
def test_channels_come_first_once_for_a_chain(op: str, kernel_layout: str, dimensions: int) -> None:
    x: relay.Expr = relay.var("x", shape=(2, *(6,) * dimensions, 4))
    attrs = {"data_layout": f"N{kernel_layout[:dimensions]}C", "kernel_layout": kernel_layout}
    for _ in range(2):
        kernel = relay.const(random((*(3,) * dimensions, 4, 4)))
        x = relay.nn.relu(getattr(relay.nn, op)(x, kernel, channels=4, kernel_size=(3,) * dimensions, **attrs))
    mod, _ = partition_for_tensorrt(module(x))
    assert operators(mod) == {"layout_transform": 2, f"nn.{op}": 2, "nn.relu": 2}
    assert partition_report(mod).refused == 0


def test_channels_come_first_and_the_result_is_the_same(tmp_path: Path) -> None:
    inputs = {"x": random((2, 8, 8, 3))}
    assert_close(run_offloaded(nhwc(), inputs, tmp_path), run_tvm(nhwc(), inputs))


def test_a_network_in_nchw_keeps_its_bias_add() -> None:
    body = relay.nn.bias_add(relay.nn.conv2d(IMAGE, KERNEL), relay.const(random(4)))
    assert operators(partition_for_tensorrt(module(body))[0]) == {"nn.conv2d": 1, "nn.bias_add": 1}


def test_subgraphs_without_multiply_accumulates_are_given_back() -> None:
    body = relay.exp(not_offloaded(relay.nn.relu(relay.nn.conv2d(IMAGE, KERNEL))))
    assert operators(partition_for_tensorrt(module(body))[0]) == {"nn.conv2d": 1, "nn.relu": 1, "exp": 1}
    mod, _ = partition_for_tensorrt(module(body), remove_no_mac_subgraphs=True)
    assert operators(mod) == {"nn.conv2d": 1, "nn.relu": 1}


@pytest.mark.parametrize(
    ("op", "body", "reason"),
    [
        ("add", relay.add(var(2, 3), var(1, 3)), "it touches the batch, and use_implicit_batch is on"),
        ("add", relay.add(var(2, 3), var(3)), "it touches the batch, and use_implicit_batch is on"),
        ("nn.prelu", relay.nn.prelu(var(2, 3), var(3)), r"the batches \[2, 3\], and use_implicit_batch is on"),
        ("full", relay.full(var(), (2, 3)), "a scalar as input, and use_implicit_batch is on"),
    ],
)
def test_an_implicit_batch_is_one_batch(op: str, body: relay.Expr, reason: str) -> None:
    mod = module(body)
    partitioned, _ = partition_for_tensorrt(mod)
    (refusal,) = partition_report(partitioned).refusals
    assert re.search(reason, refusal.reason)
    assert operators(partitioned) == {}
    assert operators(partition_for_tensorrt(mod, use_implicit_batch=False)[0]) == {op: 1}
    assert operators(partition_for_tensorrt(mod, version=(10, 0, 0))[0]) == {op: 1}


def test_a_dynamic_batch_is_any_batch() -> None:
    mod = module(relay.add(relay.var("x", shape=(relay.Any(), 3)), relay.var("y", shape=(2, 3))))
    assert operators(partition_for_tensorrt(mod)[0]) == {"add": 1}


def test_input_shapes_let_any_dimension_be_dynamic() -> None:
    x, weight = relay.var("x", shape=(2, relay.Any(), 4)), relay.const(random((4, 4)))
    mod = module(relay.nn.relu(not_offloaded(relay.nn.dense(x, weight))))
    partitioned, _ = partition_for_tensorrt(mod)
    assert operators(partitioned) == {}
    assert {refusal.reason for refusal in partition_report(partitioned).refusals[:1]} == {
        "float32[2, ?, 4]: only the first dimension may be dynamic without input_shapes"
    }
    shapes = {"min": (2, 1, 4), "opt": (2, 3, 4), "max": (2, 9, 4)}
    partitioned, config = partition_for_tensorrt(mod, input_shapes={"x": shapes})
    assert operators(partitioned) == {"nn.dense": 1, "nn.relu": 1}
    assert config["dynamic_shapes"] and not config["use_implicit_batch"]
    functions = [partitioned[subgraph.symbol] for subgraph in partition_report(partitioned).subgraphs]
    assert [json.loads(str(function.attrs[PROFILES_ATTR])) for function in functions] == [
        {function.params[0].name_hint: {name: list(shape) for name, shape in shapes.items()}} for function in functions
    ]


def test_an_operator_may_refuse_them() -> None:
    mod = module(relay.cumsum(relay.var("x", shape=(2, relay.Any())), 0))
    partitioned, _ = partition_for_tensorrt(mod, input_shapes={"x": (2, 3)})
    (refusal,) = partition_report(partitioned).refusals
    assert refusal.reason == "float32[2, ?]: only the first dimension may be dynamic of this operator"


def test_partitioning_again_changes_nothing() -> None:
    body = relay.exp(not_offloaded(relay.exp(IMAGE)))
    once, _ = partition_for_tensorrt(module(body))
    twice, _ = partition_for_tensorrt(once)
    assert tvm.ir.structural_equal(once, twice)


@pytest.mark.parametrize(
    ("mod", "error", "message"),
    [
        (relay.Function([IMAGE], IMAGE), TypeError, "mod must be a tvm.IRModule, not Function"),
        (None, TypeError, "mod must be a tvm.IRModule, not NoneType"),
        (tvm.IRModule(), ValueError, "no function `main`; it has no functions"),
        (tvm.IRModule({"f": relay.Function([IMAGE], IMAGE)}), ValueError, "no function `main`; it has f"),
    ],
)
def test_wrong_modules_are_named(mod: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        partition_for_tensorrt(mod)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"version": (8, 6)}, r"three integers, like \(8, 6, 1\), not \(8, 6\)"),
        ({"version": ()}, r"three integers.* not \(\)"),
        ({"use_implicit_batch": 2}, "'use_implicit_batch' must be True or False, not 2"),
        ({"remove_no_mac_subgraphs": "no"}, "'remove_no_mac_subgraphs' must be True or False"),
        ({"max_workspace_size": 0}, "'max_workspace_size' must be a number of bytes above 0"),
        ({"use_fp16": None}, "'use_fp16' must be True or False, not None"),
    ],
)
def test_wrong_options_are_named(options: Dict[str, Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        partition_for_tensorrt(module(IMAGE), **options)


def test_tvm_needs_llvm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tvm.runtime, "enabled", lambda target: target != "llvm")
    with pytest.raises(RuntimeError, match="this TVM was built without LLVM"):
        partition_for_tensorrt(module(IMAGE))


def test_the_report_is_logged(log: pytest.LogCaptureFixture) -> None:
    partition_for_tensorrt(module(relay.exp(IMAGE)))
    assert "1 of 1 operators offloaded, in 1 subgraph(s)" in log.text


def test_a_modules_attributes_stay() -> None:
    mod = module(relay.nn.relu(relay.var("x", shape=(1, 3)))).with_attr("mine", tvm.runtime.String("value"))
    partitioned, _ = partition_for_tensorrt(mod)
    assert str(partitioned.attrs["mine"]) == "value"
