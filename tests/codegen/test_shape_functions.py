"""The shapes that the Relay VM is told, against those that Relay infers where all sizes are known."""

from __future__ import annotations

from typing import List, Tuple

import numpy as np
import pytest
import tvm
from tvm import relay, te

from relay_trt.codegen.shape_functions import FUNCTIONS, shape_function
from relay_trt.relay_ir import tensor_specs

from ..operators.case import Case
from ..operators.cases import FULL
from ..support import module, random

# Those of quantized operators hold others, and become them only when they are partitioned.
ASKED = [case for case in FULL if case.op in FUNCTIONS and not case.op.startswith("qnn.")]
# One case of each operator whose attributes say nothing.
ONE = {case.op: case for case in ASKED if FUNCTIONS[case.op] is FUNCTIONS["bitwise_not"]}
CASES = [case for case in ASKED if ONE.get(case.op, case) is case]


def inferred(call: relay.Call) -> List[Tuple[int, ...]]:
    return [spec.shape for spec in tensor_specs(call.checked_type)]


def computed(call: relay.Call) -> List[Tuple[int, ...]]:
    """The shapes of a call's results by the function that is registered for the operator."""
    operands = [spec.shape for argument in call.args for spec in tensor_specs(argument.checked_type)]
    inputs = [te.placeholder((len(shape),) if shape else (), "int64") for shape in operands]
    outputs = call.op.get_attr("FShapeFunc")(call.attrs, inputs, [len(shape) for shape in inferred(call)])
    arrays = [tvm.nd.array(np.array(shape, "int64") if shape else np.zeros((), "int64")) for shape in operands]
    results = [tvm.nd.array(np.zeros(len(shape), "int64")) for shape in inferred(call)]
    tvm.build(te.create_schedule([output.op for output in outputs]), [*inputs, *outputs])(*arrays, *results)
    return [tuple(result.numpy()) for result in results]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_as_relay_infers(case: Case) -> None:
    calls: List[relay.Call] = []
    relay.analysis.post_order_visit(
        case.module()["main"], lambda e: calls.append(e) if isinstance(e, relay.Call) and e.op.name == case.op else None
    )
    assert calls
    for call in calls:
        assert computed(call) == inferred(call)


def test_every_function_is_asked() -> None:
    assert {case.op for case in CASES} == {name for name in FUNCTIONS if not name.startswith("qnn.")}


def test_operands_without_dimensions() -> None:
    scale, zero_point = relay.const(0.5), relay.const(0)
    call = module(relay.qnn.op.quantize(relay.var("x", shape=(2, 3)), scale, zero_point))["main"].body
    assert computed(call) == [(2, 3)]


def test_what_tvm_has_is_not_replaced_without_need() -> None:
    shape_function("nn.relu", "no.such.operator")(lambda attrs, operands: [])
    assert not {"nn.relu", "no.such.operator"} & set(FUNCTIONS)
    assert computed(module(relay.nn.relu(relay.var("x", shape=(2, 3))))["main"].body) == [(2, 3)]


def test_a_window_with_more_padding_behind() -> None:
    """Of which TVM's own function takes twice that before."""
    x, kernel = relay.var("x", shape=(2, 3, 8, 8)), relay.const(random((4, 3, 3, 3)))
    assert computed(module(relay.nn.conv2d(x, kernel, padding=(0, 1, 2, 1)))["main"].body) == [(2, 4, 8, 8)]
