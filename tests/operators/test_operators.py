"""Every operator, partitioned, compiled and run on each engine, against TVM's own LLVM code."""

from __future__ import annotations

import functools
import itertools
from pathlib import Path
from typing import Tuple

import pytest
import tvm

import relay_trt
from relay_trt.operators import OPERATORS

from ..support import assert_close, compile_for_vm, compile_library, operators, run_by_vm, run_library
from .case import HERE, Case, Refused, accepted
from .cases import CASES, REFUSED


def test_every_operator_has_cases() -> None:
    assert {case.op for case in CASES} == HERE
    assert len({str(case) for case in CASES}) == len(CASES)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_operator(case: Case, engine: str, tmp_path: Path) -> None:
    version, installed = case.options.get("version"), relay_trt.get_tensorrt_version()
    if engine == "tensorrt" and version and installed and version > installed:
        pytest.skip(f"needs TensorRT {version}")
    partitioned, _ = relay_trt.partition_for_tensorrt(case.module(), **case.options)
    report = relay_trt.partition_report(partitioned)
    assert report.refused == 0 and len(report.subgraphs) == 1, str(report)
    assert case.op in operators(partitioned), str(report)  # no pass has taken it apart
    library = compile_library(partitioned, tmp_path / "library.so")
    assert_close(run_library(library, case.inputs()), case.expected, case.rtol, case.atol)


@pytest.mark.parametrize("op", sorted(HERE))
def test_dynamic_dimensions(op: str, engine: str, tmp_path: Path) -> None:
    case, module, dynamic = most_dynamic(op)
    assert not OPERATORS[op].any_dynamic or set(dynamic) - {0}
    if not dynamic:
        pytest.skip("it takes no dynamic dimensions")
    partitioned, _ = relay_trt.partition_for_tensorrt(module, input_shapes=case.input_shapes())
    report = relay_trt.partition_report(partitioned)
    assert report.refused == 0 and len(report.subgraphs) == 1, str(report)
    (got,) = run_by_vm(compile_for_vm(partitioned, tmp_path / "library.so"), case.inputs())
    assert_close(got, case.expected, case.rtol, case.atol)


def most_dynamic(op: str) -> Tuple[Case, tvm.IRModule, Tuple[int, ...]]:
    """A case of an operator, its module with as many dynamic dimensions as the operator takes, and which these are."""
    cases = [case for case in CASES if case.op == op]
    rank = max(len(shape) for case in cases for shape in case.shapes)
    for count in range(rank, 0, -1):
        for axes, case in itertools.product(reversed(list(itertools.combinations(range(rank), count))), cases):
            masks = [[axis in axes for axis in range(len(shape))] for shape in case.shapes]
            module = accepted(functools.partial(case.dynamic_module, *masks)) if any(map(any, masks)) else None
            if module is not None:
                return case, module, axes
    return cases[0], cases[0].module(), ()


@pytest.mark.parametrize("refused", REFUSED, ids=str)
def test_refused(refused: Refused) -> None:
    partitioned, _ = relay_trt.partition_for_tensorrt(refused.module(), use_implicit_batch=False, **refused.options)
    refusals = relay_trt.partition_report(partitioned).refusals
    assert [refusal.operator for refusal in refusals] == [refused.op]
    assert refused.reason in refusals[0].reason
