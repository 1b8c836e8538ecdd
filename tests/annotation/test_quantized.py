"""Integer arithmetic made explicit: what it becomes, that it stays what it was, and what is left alone.

TVM runs both forms here. A requantization may come out one quantum off.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, List

import numpy as np
import pytest
import tvm
from tvm import relay

from relay_trt.annotation.quantized import asymmetry, quantize_explicitly

from ..operators.case import values
from ..support import module, run_tvm

nn, qnn = relay.nn, relay.qnn.op
SHAPE = (2, 3, 8, 8)


def const(value: Any, dtype: str = "float32") -> relay.Constant:
    return relay.const(np.array(value, dtype))


def var(*shape: Any, dtype: str = "float32") -> relay.Var:
    return relay.var("x", shape=shape or SHAPE, dtype=dtype)


ZERO, MIDDLE, STEP = const(0, "int32"), const(128, "int32"), const(0.1)
WEIGHTS = values((4, 3, 3, 3), "int8", 5, -127, 128)
SCALES = const([0.01, 0.02, 0.015, 0.03])
SUMS = const(np.float32(0.1) * SCALES.data.numpy())


FLOAT_CONV2D: Dict[str, Any] = {"kernel_size": (3, 3), "channels": 4}


def uint8(x: relay.Expr) -> relay.Expr:
    return qnn.quantize(x, STEP, MIDDLE, out_dtype="uint8")


def conv2d(x: relay.Expr, zero: relay.Expr = ZERO, scale: relay.Expr = SCALES, **attrs: Any) -> relay.Expr:
    attrs = {"kernel_size": (3, 3), "channels": 4, "padding": (0, 0), **attrs}
    return qnn.conv2d(x, relay.const(WEIGHTS), zero, ZERO, STEP, scale, **attrs)


def requantize(x: relay.Expr, before: relay.Expr = SUMS, dtype: str = "int8", zero: relay.Expr = ZERO) -> relay.Expr:
    return qnn.requantize(x, before, ZERO, const(0.5), zero, axis=1, out_dtype=dtype)


def calls(mod: tvm.IRModule) -> List[relay.Call]:
    found: List[relay.Call] = []
    relay.analysis.post_order_visit(
        mod["main"], lambda e: found.append(e) if isinstance(e, relay.Call) and isinstance(e.op, tvm.ir.Op) else None
    )
    return found


def names(mod: tvm.IRModule) -> List[str]:
    return [call.op.name for call in calls(mod)]


def explicit(body: relay.Expr) -> tvm.IRModule:
    return relay.transform.InferType()(quantize_explicitly(module(body)))


def assert_same(body: relay.Expr, quanta: float = 1.0, further: Any = None) -> tvm.IRModule:
    """Both forms compute the same, integers or numbers with steps of 0.5, but for a few quanta."""
    before, after = module(body), explicit(body)
    with tvm.transform.PassContext(opt_level=3):
        after = tvm.transform.Sequential([further])(after) if further else after
    (param,) = before["main"].params
    dtype = param.type_annotation.dtype
    low, high = {"float32": (-15, 15), "int8": (-128, 128), "uint8": (0, 256)}[dtype]
    data = values(tuple(int(size) for size in param.type_annotation.shape), dtype, 0, low, high)
    want = run_tvm(before, {"x": data}, opt_level=2)[0]
    got = run_tvm(after, {"x": data}, opt_level=2)[0]
    assert got.dtype == want.dtype
    quantum = 0.5 if want.dtype == "float32" else 1
    np.testing.assert_allclose(got.astype("float64"), want.astype("float64"), rtol=1e-5, atol=quanta * quantum * 1.01)
    return after


def test_a_module_without_quantization_is_returned_as_it_is() -> None:
    mod = module(nn.relu(var()))
    assert quantize_explicitly(mod) is mod


UNTOUCHED = {
    "asymmetric uint8": qnn.dequantize(
        qnn.quantize(var(), STEP, const(3, "int32"), out_dtype="uint8"), STEP, const(3, "int32")
    ),
    "uint8 around 0": nn.max_pool2d(qnn.quantize(var(), STEP, ZERO, out_dtype="uint8")),
    "int16": qnn.dequantize(qnn.quantize(var(), STEP, ZERO, out_dtype="int16"), STEP, ZERO),
    "a computed scale": qnn.quantize(var(), relay.max(var()), ZERO),
    "what an asymmetric result is made of": qnn.requantize(
        conv2d(var(dtype="int8")), SUMS, ZERO, STEP, const(7, "int32"), axis=1
    ),
    "weights that are no constant": qnn.conv2d(
        var(dtype="int8"), relay.var("w", shape=(4, 3, 3, 3), dtype="int8"), ZERO, ZERO, STEP, STEP, (3, 3), 4
    ),
}


@pytest.mark.parametrize("name", UNTOUCHED)
def test_what_is_left_alone(name: str) -> None:
    before = module(UNTOUCHED[name])
    assert tvm.ir.structural_equal(relay.transform.InferType()(quantize_explicitly(before)), before)


def test_functions_of_other_compilers_are_left_alone() -> None:
    inner = var(dtype="int8")
    function = relay.Function([inner], requantize(conv2d(inner)))
    function = function.with_attr("Compiler", "another").with_attr("global_symbol", "f").with_attr("Primitive", 1)
    data = var(dtype="int8")
    mod = tvm.IRModule({"main": relay.Function([data], relay.Call(relay.GlobalVar("f"), [data])), "f": function})
    assert quantize_explicitly(mod) is mod


def test_a_convolution() -> None:
    sums = nn.bias_add(conv2d(var(dtype="int8")), const([900, -900, 0, 50], "int32"))
    after = assert_same(qnn.dequantize(requantize(sums), const(0.5), ZERO))
    operands = ["qnn.dequantize", "qnn.dequantize"]
    assert names(after) == [*operands, "nn.conv2d", "nn.bias_add", "qnn.quantize", "qnn.dequantize"]
    weight = calls(after)[1]
    assert weight.args[0].data.numpy().dtype == np.int8 and weight.attrs.axis == 0
    bias = calls(after)[3].args[1].data.numpy()
    np.testing.assert_allclose(bias, SUMS.data.numpy() * [900, -900, 0, 50], rtol=1e-6)


def test_padding_goes_into_the_convolution_and_relu_before_the_quantization() -> None:
    """As TVM's front end has PyTorch's layers."""
    x = nn.pad(uint8(var()), ((0, 0), (0, 0), (1, 2), (3, 4)), 128.0)
    x = requantize(conv2d(x, MIDDLE, padding=(1, 0)), dtype="int32", zero=MIDDLE)
    x = relay.cast(relay.clip(x, 128, 255), "uint8")
    after = assert_same(qnn.dequantize(x, const(0.5), MIDDLE))
    quantized = ["qnn.quantize", "qnn.dequantize"]
    assert names(after) == [*quantized, "qnn.dequantize", "nn.conv2d", "nn.relu", *quantized]
    assert [int(n) for n in calls(after)[3].attrs.padding] == [2, 3, 3, 4]


def test_other_padding_stays() -> None:
    x = nn.pad(uint8(var()), ((0, 0), (0, 0), (1, 1), (1, 1)), 100.0)
    after = assert_same(qnn.dequantize(requantize(conv2d(x, MIDDLE)), const(0.5), ZERO))
    assert "nn.pad" in names(after)


def test_weights_come_in_the_order_of_tensorrt() -> None:
    kernel = relay.const(WEIGHTS.transpose(2, 3, 1, 0).copy())
    attrs: Dict[str, Any] = {"kernel_size": (3, 3), "channels": 4, "data_layout": "NHWC", "kernel_layout": "HWIO"}
    sums = qnn.conv2d(var(2, 8, 8, 3, dtype="int8"), kernel, ZERO, ZERO, STEP, SCALES, **attrs)
    body = qnn.requantize(sums, SUMS, ZERO, const(0.5), ZERO, axis=3)
    # TVM compiles it only with the data in that order, too.
    after = assert_same(body, further=relay.transform.ConvertLayout({"nn.conv2d": ["NCHW", "default"]}))
    weights = [call for call in calls(after) if isinstance(call.args[0], relay.Constant)]
    np.testing.assert_array_equal(weights[0].args[0].data.numpy(), WEIGHTS)
    assert "layout_transform" not in [call.op.name for call in calls(after) if call.args[0] in weights]


def test_uint8_of_tvm_is_recovered() -> None:
    """What else reads a tensor gets the very integers."""
    levels = nn.max_pool2d(uint8(var()))
    both = relay.cast(levels, "float32") + qnn.dequantize(levels, const(0.5), MIDDLE)
    after = assert_same(both, quanta=3)
    assert {call.checked_type.dtype for call in calls(after) if call.op.name == "qnn.quantize"} == {"int8"}
    (data,) = (relay.cast(uint8(var()), "int32"),)
    assert_same(data)


def test_an_input_of_uint8_is_shifted_by_tvm() -> None:
    after = assert_same(requantize(conv2d(var(dtype="uint8"), MIDDLE)))
    assert names(after)[:4] == ["cast", "subtract", "cast", "qnn.dequantize"]


def test_sums_are_computed_for_each_that_reads_them() -> None:
    sums = conv2d(var(dtype="int8"))
    after = assert_same(sums + relay.cast(requantize(sums), "int32"))
    assert {"nn.conv2d", "qnn.conv2d"} <= set(names(after))


def test_a_consumer_may_say_another_scale() -> None:
    """As TVM's front end has a product with a number: the same integers of another scale."""
    assert_same(qnn.dequantize(requantize(conv2d(var(dtype="int8")), const(SUMS.data.numpy() * 3)), const(0.5), ZERO))
    assert_same(qnn.dequantize(uint8(var()), const(0.5), MIDDLE))


def test_a_bound_of_sums() -> None:
    one = const(0.02)
    sums = relay.clip(conv2d(var(dtype="int8"), scale=one), -2000, 5000)
    assert "clip" in names(assert_same(requantize(sums, const(0.002))))
    sums = nn.relu(conv2d(var(dtype="int8")))
    assert "nn.relu" in names(assert_same(requantize(sums)))


def test_what_an_average_counts() -> None:
    """Zeros of the padding are no zeros of uint8 around 128, and to leave them out TensorRT has no kernel."""

    def averaged(dtype: str, count_include_pad: bool) -> relay.Expr:
        x = relay.cast(uint8(var()) if dtype == "uint8" else var(dtype="int8"), "int32")
        x = relay.cast(nn.avg_pool2d(x, (3, 3), padding=(1, 1), count_include_pad=count_include_pad), dtype)
        return x if dtype == "uint8" else qnn.dequantize(x, STEP, ZERO)

    def computed(*arguments: Any) -> str:
        after = assert_same(averaged(*arguments))
        (pool,) = (call for call in calls(after) if "pool" in call.op.name)
        return str(pool.args[0].checked_type.dtype)

    assert computed("uint8", True) == computed("uint8", False) == computed("int8", False) == "int32"


def test_constants_are_folded() -> None:
    """Float weights that the network quantizes, and integers that it dequantizes for anything but weights."""
    weights = qnn.quantize(relay.const(WEIGHTS * SCALES.data.numpy().reshape(-1, 1, 1, 1)), SCALES, ZERO, axis=0)
    x = qnn.dequantize(var(dtype="int8"), STEP, ZERO)
    y = nn.conv2d(x, qnn.dequantize(weights, SCALES, ZERO, axis=0), **FLOAT_CONV2D)
    y = nn.bias_add(y, qnn.dequantize(const([5, -7, 0, 1], "int32"), SUMS, ZERO))
    after = assert_same(y, quanta=0)
    assert names(after) == ["qnn.dequantize", "qnn.dequantize", "nn.conv2d", "nn.bias_add"]
    np.testing.assert_array_equal(calls(after)[1].args[0].data.numpy(), WEIGHTS)


def test_constant_zero_points_may_be_many() -> None:
    zeros = const(np.zeros(4), "int32")
    weight = qnn.dequantize(relay.const(WEIGHTS), SCALES, zeros, axis=0)
    after = explicit(nn.conv2d(qnn.dequantize(var(dtype="int8"), STEP, ZERO), weight))
    assert not calls(after)[1].args[2].checked_type.shape


def test_asymmetric_weights_become_floats() -> None:
    weight = qnn.dequantize(const(WEIGHTS, "int8"), STEP, const(3, "int32"))
    after = assert_same(nn.conv2d(qnn.dequantize(var(dtype="int8"), STEP, ZERO), weight, **FLOAT_CONV2D), quanta=0)
    assert names(after) == ["qnn.dequantize", "nn.conv2d"]


def test_weights_of_floats_become_floats() -> None:
    """TensorRT has no kernels for int8 weights and float data."""
    weight = qnn.dequantize(relay.const(WEIGHTS), SCALES, ZERO, axis=0)
    assert names(assert_same(nn.conv2d(var(), weight, **FLOAT_CONV2D), quanta=0)) == ["nn.conv2d"]
    weight = qnn.dequantize(relay.const(WEIGHTS[0, 0]), STEP, ZERO)
    x = qnn.dequantize(var(2, 3, dtype="int8"), STEP, ZERO)
    assert names(assert_same(relay.add(x, relay.reshape(weight, (3, 1, 3))), quanta=0))[-1] == "add"


def test_a_transposed_weight() -> None:
    """As ONNX's Gemm has it."""
    weight = qnn.dequantize(relay.const(WEIGHTS[:, :, 0, 0].T.copy()), SCALES, ZERO, axis=1)
    x = qnn.dequantize(var(5, 3, dtype="int8"), STEP, ZERO)
    after = assert_same(nn.dense(x, relay.transpose(weight)), quanta=0)
    assert names(after) == ["qnn.dequantize", "qnn.dequantize", "nn.dense"]
    assert calls(after)[1].attrs.axis == 0


def test_a_split() -> None:
    after = assert_same(qnn.dequantize(relay.split(uint8(var()), 3, axis=1)[1], const(0.5), MIDDLE))
    assert {call.args[0].checked_type.dtype for call in calls(after) if call.op.name == "split"} == {"float32"}


def test_parts_that_are_put_together_stay_integers() -> None:
    """TensorRT would get them wrong."""
    parts = relay.split(uint8(var()), 3, axis=1)
    after = assert_same(qnn.dequantize(relay.concatenate([parts[2], parts[0]], 1), const(0.5), MIDDLE))
    assert {call.checked_type.dtype for call in calls(after) if call.op.name == "concatenate"} == {"uint8"}


def test_branches() -> None:
    x, flag = var(dtype="int8"), relay.var("flag", shape=(), dtype="bool")
    body = relay.If(flag, requantize(conv2d(x)), requantize(nn.relu(conv2d(x))))
    mod = relay.transform.InferType()(quantize_explicitly(module(relay.Function([flag, x], body))))
    branches = mod["main"].body
    assert [branch.op.name for branch in (branches.true_branch, branches.false_branch)] == ["qnn.quantize"] * 2


def test_very_deep_networks() -> None:
    x = uint8(var(1, 4))
    for _ in range(3000):
        x = nn.relu(relay.maximum(x, const(1, "uint8")))
    quantize_explicitly(module(x))


@pytest.mark.parametrize("extremum", [relay.maximum, relay.minimum])
def test_extremes_of_what_is_not_quantized_stay(extremum: Callable[..., relay.Expr]) -> None:
    a, b = var(), relay.var("b", shape=var().type_annotation.shape)
    mod = module(relay.add(extremum(a, b), qnn.dequantize(qnn.quantize(a, STEP, ZERO), STEP, ZERO)))
    found = relay.transform.InferType()(quantize_explicitly(mod))["main"].body
    assert found.args[0].op.name == extremum(a, b).op.name


REASONS: Dict[str, Callable[[], relay.Expr]] = {
    "zero point 0 of int8, or 128 of uint8; this has 3 of int8": lambda: qnn.add(
        var(dtype="int8"), var(dtype="int8"), STEP, ZERO, STEP, const(3, "int32"), STEP, ZERO
    ),
    "this has 0 of uint8": lambda: qnn.quantize(var(), STEP, ZERO, out_dtype="uint8"),
    "this has 9 of int8": lambda: qnn.concatenate([var(dtype="int8")], [STEP], [const(9, "int32")], STEP, ZERO, 1),
    "TensorRT quantizes to int8, not to int16": lambda: qnn.quantize(var(), STEP, ZERO, out_dtype="int16"),
    "one of these is computed": lambda: qnn.quantize(var(), relay.max(var()), ZERO),
    "positive scales": lambda: qnn.quantize(var(), const(-1.0), ZERO),
    "what it reads, or what reads it": lambda: conv2d(var(dtype="int8")),
}


@pytest.mark.parametrize("reason", REASONS)
def test_reasons(reason: str) -> None:
    assert reason in str(asymmetry(module(REASONS[reason]())["main"].body))


def test_no_reason() -> None:
    assert asymmetry(module(nn.relu(var()))["main"].body) is None
    assert asymmetry(module(qnn.quantize(var(), STEP, ZERO))["main"].body) is None
