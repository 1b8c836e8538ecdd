"""Every operator, partitioned, compiled and run on each engine, against TVM's own LLVM code."""

from __future__ import annotations

from pathlib import Path

import pytest

import relay_trt

from ..support import assert_close, compile_library, operators, run_library
from .case import HERE, Case, Refused
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


@pytest.mark.parametrize("refused", REFUSED, ids=str)
def test_refused(refused: Refused) -> None:
    partitioned, _ = relay_trt.partition_for_tensorrt(refused.module(), use_implicit_batch=False)
    refusals = relay_trt.partition_report(partitioned).refusals
    assert [refusal.operator for refusal in refusals] == [refused.op]
    assert refused.reason in refusals[0].reason
