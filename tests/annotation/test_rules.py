"""What the rules refuse, and why. What they accept is put to the test by tests/operators."""

from __future__ import annotations

import re
from typing import Any, Dict, Optional

import numpy as np
import pytest
import tvm
from hypothesis import given, settings
from hypothesis import strategies as st
from tvm import relay

from relay_trt.annotation.match import decide, matching
from relay_trt.annotation.rules import RULES, OpCall, refusal, rule
from relay_trt.graph import TensorSpec
from relay_trt.options import CompileOptions
from relay_trt.runtime.converters import CONVERTERS

from ..support import module

IMPLICIT = CompileOptions((8, 6, 1))
EXPLICIT = CompileOptions((8, 6, 1), use_implicit_batch=False)
ANY = relay.Any()
BATCH = "it changes the batch, and use_implicit_batch is on"
SCALAR = "a scalar has no batch, and use_implicit_batch is on"


def var(*shape: Any, dtype: str = "float32") -> relay.Var:
    return relay.var("x", shape=shape, dtype=dtype)


def const(*shape: int, dtype: str = "float32") -> relay.Constant:
    return relay.const(np.ones(shape, dtype))


def why_not(body: relay.Expr, options: CompileOptions = IMPLICIT) -> Optional[str]:
    """Why the last operator of ``body`` is refused."""
    call = module(body)["main"].body
    with matching(options):
        return decide(call.tuple_value if isinstance(call, relay.TupleGetItem) else call)


def batch_norm(x: relay.Expr, axis: int = 1, mean: Optional[relay.Expr] = None) -> relay.Expr:
    return relay.nn.batch_norm(x, const(3), const(3), mean or const(3), const(3), axis=axis)[0]


IMAGE = var(2, 3, 8, 8)
KERNEL = const(4, 3, 3, 3)
nn = relay.nn

REFUSED = {
    # What holds for every operator.
    "no rule": (relay.sinh(IMAGE), "relay_trt has no converter for this operator"),
    "integers": (nn.relu(var(2, 3, dtype="int32")), r"int32\[2, 3\]: the dtype must be float32 or float16"),
    "nine dimensions": (nn.relu(var(*[1] * 9)), "at most 8 dimensions"),
    "a dynamic dimension": (nn.relu(var(2, ANY)), r"float32\[2, \?\]: only the first dimension may be dynamic"),
    "an empty tensor": (nn.relu(var(2, 0)), r"float32\[2, 0\]: it is empty"),
    # Elementwise.
    "clip with nothing between": (relay.clip(IMAGE, 1.0, -1.0), "a_min 1.0 is above a_max -1.0"),
    "two constants": (relay.add(const(2), const(2)), "both operands are constants"),
    "scalars": (relay.add(var(), const()), SCALAR),
    # Layout.
    "concatenate batches": (relay.concatenate([IMAGE, IMAGE], -4), BATCH),
    "transpose the batch": (relay.transpose(IMAGE, (-3, 0, 2, 3)), BATCH),
    "transpose all": (relay.transpose(IMAGE), BATCH),
    "transpose a scalar": (relay.transpose(var(), []), "a scalar has no axes"),
    "blocks of channels": (relay.layout_transform(IMAGE, "NCHW", "NCHW3c"), "from NCHW to NCHW3c"),
    "reshape the batch": (relay.reshape(IMAGE, (1, -1)), BATCH),
    "squeeze the batch": (relay.squeeze(var(1, 3), [0]), BATCH),
    "expand before the batch": (relay.expand_dims(IMAGE, 0), BATCH),
    "reshape a dynamic batch": (relay.reshape(var(ANY, 4), (-1, 2)), "the dynamic first dimension must stay"),
    # Networks.
    "conv2d in NHWC": (nn.conv2d(var(2, 8, 8, 3), const(3, 3, 3, 4), data_layout="NHWC", kernel_layout="HWIO"), "NHWC"),
    "conv2d to NHWC": (nn.conv2d(IMAGE, KERNEL, out_layout="NHWC"), "output layout NHWC: both must be NCHW"),
    "conv2d with HWIO": (nn.conv2d(IMAGE, const(3, 3, 3, 4), kernel_layout="HWIO"), "kernel layout HWIO"),
    "conv2d with a variable": (nn.conv2d(IMAGE, relay.var("w", shape=(4, 3, 3, 3))), "kernel must be a constant"),
    "conv2d to float64": (nn.conv2d(IMAGE, KERNEL, out_dtype="float64"), "float64.*dtype must be"),
    "conv2d to float16": (nn.conv2d(IMAGE, KERNEL, out_dtype="float16"), "out_dtype float16 differs"),
    "conv2d that crops": (nn.conv2d(IMAGE, KERNEL, padding=(-1, 0)), "engines cannot crop"),
    "dense to float16": (nn.dense(var(2, 3), const(4, 3), out_dtype="float16"), "out_dtype float16 differs"),
    "dense of a vector": (nn.dense(var(3), const(4, 3)), "at least two dimensions"),
    "bias of the batch": (nn.bias_add(IMAGE, const(2), axis=-4), BATCH),
    "batch_norm of the batch": (batch_norm(var(3, 2), axis=0), BATCH),
    "batch_norm that learns": (batch_norm(IMAGE, mean=relay.var("mean", shape=(3,))), "must be constants"),
    "softmax of the batch": (nn.softmax(IMAGE, 0), BATCH),
    # Pooling.
    "pool with dilation": (nn.max_pool2d(IMAGE, (2, 2), dilation=(2, 2)), r"dilation \[2, 2\]"),
    "pool in padding": (nn.max_pool2d(IMAGE, (2, 2), padding=(2, 0)), "not smaller than the window"),
    "pool in NHWC": (nn.max_pool2d(IMAGE, (2, 2), layout="NHWC"), "layout NHWC, output layout the same"),
    "global pool in NHWC": (nn.global_avg_pool2d(IMAGE, layout="NHWC"), "layout NHWC"),
    "a window of padding": (
        nn.max_pool2d(var(1, 1, 3, 3), (2, 2), (3, 3), padding=(0, 0, 1, 1), ceil_mode=True),
        "a window that holds padding only",
    ),
    "an average beyond the padding": (
        nn.avg_pool2d(var(1, 1, 6, 6), (3, 3), (2, 2), ceil_mode=True),
        "a window that reaches beyond the padding",
    ),
    "an average of one-sided padding": (
        nn.avg_pool2d(IMAGE, (2, 2), padding=(0, 0, 1, 1), count_include_pad=True),
        "count_include_pad with the asymmetric padding",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_is_refused_with_the_reason(name: str) -> None:
    body, reason = REFUSED[name]
    assert re.search(reason, why_not(body) or "accepted")


@pytest.mark.parametrize("name", [name for name, (_, why) in REFUSED.items() if why in (BATCH, SCALAR)])
def test_implicit_batch_is_a_choice(name: str) -> None:
    assert why_not(REFUSED[name][0], EXPLICIT) is None


def test_what_is_like_the_refused_is_accepted() -> None:
    accepted = [
        nn.conv2d(IMAGE, KERNEL, out_layout="NCHW", out_dtype="float32"),
        nn.max_pool2d(var(1, 1, 4, 4), (2, 2), (3, 3), padding=(0, 0, 1, 1), ceil_mode=True),
        nn.avg_pool2d(var(1, 1, 7, 7), (3, 3), (2, 2), ceil_mode=True, count_include_pad=True),
        relay.reshape(var(ANY, 4), (-1, 2, 2)),
        relay.transpose(IMAGE, (0, -1, 1, 2)),
        relay.concatenate([IMAGE, IMAGE], -3),
        batch_norm(var(ANY, 3)),
        relay.add(var(2, dtype="float16"), const(2, dtype="float16")),
    ]
    assert [why_not(body) for body in accepted] == [None] * len(accepted)


def test_an_operator_waits_for_its_tensorrt() -> None:
    assert why_not(relay.erf(IMAGE), CompileOptions((6, 0, 1))) == "needs TensorRT 7.0.0 or newer"
    assert why_not(relay.erf(IMAGE), CompileOptions((7, 0, 0))) is None


def test_an_operator_has_one_rule() -> None:
    with pytest.raises(ValueError, match=r"operator 'nn\.relu' has a rule already"):
        rule("nn.relu")(lambda call: None)


def test_what_a_rule_accepts_has_a_converter() -> None:
    assert set(RULES) == set(CONVERTERS)
    assert all(name == row.op for name, row in RULES.items())


NUMBER = st.integers(-3, 5)
PAIR = st.lists(NUMBER, min_size=2, max_size=2)
LAYOUT = st.sampled_from(["", "NCHW", "NHWC", "OIHW", "HWIO", "NCHW4c"])
ATTRIBUTES: Dict[str, st.SearchStrategy] = {
    "axes": st.none() | st.lists(NUMBER, max_size=5),
    "axis": NUMBER,
    "ceil_mode": st.booleans(),
    "count_include_pad": st.booleans(),
    "padding": st.sampled_from([1, 2, 4]).flatmap(lambda size: st.lists(NUMBER, min_size=size, max_size=size)),
    **dict.fromkeys(["a_min", "a_max"], st.floats()),
    **dict.fromkeys(["data_layout", "dst_layout", "kernel_layout", "layout", "out_layout", "src_layout"], LAYOUT),
    **dict.fromkeys(["dilation", "pool_size", "strides"], PAIR),
}
SPEC = st.builds(
    TensorSpec, st.lists(st.integers(-1, 4), max_size=6).map(tuple), st.sampled_from(["float32", "float16", "int8"])
)


class Drawn(Dict[str, Any]):
    """Attributes that come to be when a rule asks for them."""

    def __init__(self, data: st.DataObject) -> None:
        self.data = data

    def __missing__(self, name: str) -> Any:
        self[name] = self.data.draw(ATTRIBUTES[name], label=name)
        return self[name]


@given(st.data())
@settings(max_examples=400, deadline=None)
def test_no_rule_raises(data: st.DataObject) -> None:
    op = data.draw(st.sampled_from(sorted(RULES)), label="op")
    num_inputs = tvm.ir.Op.get(op).num_inputs if op != "concatenate" else 2
    inputs = data.draw(st.tuples(*[SPEC] * num_inputs), label="inputs")
    constant = data.draw(st.tuples(*[st.booleans()] * num_inputs), label="constant")
    outputs = data.draw(st.tuples(SPEC), label="outputs")
    options = data.draw(st.sampled_from([IMPLICIT, EXPLICIT]), label="options")
    reason = refusal(OpCall(op, Drawn(data), inputs, constant, outputs, options))
    assert reason is None or reason
