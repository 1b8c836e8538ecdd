"""What is made of stored results: verdicts, tables, a plot."""

from __future__ import annotations

import copy
import json
import math
import sys
from pathlib import Path
from typing import Any, Dict, List

import pytest

from benchmarks import report


def row(p50: float, **more: Any) -> Dict[str, Any]:
    return {"p50": p50, "p90": p50, "p99": p50 * 1.5, "calls": 10, "variation": 0.01, "warnings": [], **more}


def case(model: str, precision: str = "float16", batch: int = 1, **rows: Any) -> Dict[str, Any]:
    return {"model": model, "image size": 224, "precision": precision, "batch": batch, "rows": rows}


def document(device: str, *cases: Dict[str, Any]) -> Dict[str, Any]:
    return {
        "command": f"python -m benchmarks.bench --models {' '.join(one['model'] for one in cases)}",
        "date": "2026-01-02",
        "cpu": "A CPU",
        "cores": 2,
        "versions": {"python": "3.11"},
        "variables": {},
        "results": {"device": device, "notes": ["a note"], "cases": list(cases)},
    }


def gpu_case(**changed: float) -> Dict[str, Any]:
    """ResNet-18 as promised, each promise just about; ``changed`` are other values of p50, or of what is named."""
    values = {"relay_trt": 1.05e-4, "enqueue": 9e-6, "pytorch": 3.15e-4, "host": 2.3e-4, "pinned": 1.15e-4}
    values = {**values, "threads": 9500.0, **changed}
    made = case(
        "resnet18_v1",
        relay_trt=row(values["relay_trt"], enqueue=values["enqueue"], device=1e-4),
        graph=row(1e-4, enqueue=5e-6, device=1e-4),
        host=row(values["host"]),
        pinned=row(values["pinned"]),
    )
    made["rows"].update(
        {"host-graph": row(2e-4), "pinned-graph": row(1e-4), "pytorch-graph": row(values["pytorch"], about="NHWC")}
    )
    made["threads"] = {"relay_trt": values["threads"], "enqueue": 5000.0, "graph": 10000.0}
    return made


def kept(*cases: Dict[str, Any], device: str = "gpu") -> List[Any]:
    return [one["kept"] for one in report.verdicts(document(device, *cases)["results"])]


@pytest.mark.parametrize(
    ("changed", "missed"),
    [
        ({}, None),
        ({"relay_trt": 1.06e-4, "pytorch": 3.2e-4}, 0),
        ({"enqueue": 9.1e-6}, 1),
        ({"pytorch": 3.14e-4}, 2),
        ({"host": 2.31e-4}, 3),
        ({"pinned": 1.16e-4}, 4),
        ({"threads": 9499.0}, 5),
    ],
)
def test_each_promise_on_a_gpu(changed: Dict[str, float], missed: Any) -> None:
    # Whole numbers of microseconds are not whole in binary: 9 and 5 are 4 but for the last bit.
    just = {"enqueue": 8.99e-6, "relay_trt": 1.0499e-4, "host": 2.299e-4, "pinned": 1.1499e-4}
    assert kept(gpu_case(**{**just, **changed})) == [index != missed for index in range(6)]


def test_promises_are_about_batch_1_and_some_about_float16() -> None:
    slow = {"relay_trt": 1.0}
    assert kept({**gpu_case(**slow), "batch": 8}) == [None] * 6
    in_float32 = {**gpu_case(**slow), "precision": "float32"}
    assert kept(in_float32)[0] is None
    assert kept(in_float32)[2] is None
    assert kept(in_float32, gpu_case())[0] is True


def test_promises_on_a_cpu() -> None:
    made = case("resnet18_v1", "float32", relay_trt=row(1.14), onnxruntime=row(1.0))
    made["compile"] = {"partition": 1.0, "relay.build": 5.0, "export": 4.1}
    other = case("vgg16", "float32", relay_trt=row(1.16), onnxruntime=row(1.0))
    other["compile"] = {"partition": 100.0}
    assert kept(made, other, device="cpu") == [True, False, False]
    lines = report.verdict_lines(document("cpu", made, other)["results"])
    assert lines[1].startswith("MISSED: vgg16 at 224, float32, batch 1: ")
    assert "1.16; at most 1.15" in lines[1]


def test_what_was_not_measured_is_no_verdict() -> None:
    failed = case("resnet18_v1", relay_trt=row(1.0), graph={"failed": "RuntimeError: no"}, tvm={"left out": "float32"})
    assert kept(failed) == [None] * 6
    lines = report.verdict_lines(document("gpu", failed)["results"])
    assert all(line.startswith("not measured: ") for line in lines)


def test_cells() -> None:
    measured = row(0.00123456, enqueue=2e-5, device=1e-3, error=1.6e-3, about="NHWC", warnings=["unstable"])
    measured["variation"] = 0.031
    cells = report.cells("x", measured)
    assert cells == ("x", "1.235", "1.235", "1.852", "0.02", "1", "3.1%", "2e-03", "NHWC, unstable")
    assert report.cells("x", {"failed": "no memory"})[-1] == "failed: no memory"
    assert len(report.cells("x", {"left out": "why"})) == len(cells) == len(report.COLUMNS)


def stored(tmp_path: Path, name: str, made: Dict[str, Any]) -> Path:
    path = tmp_path / name
    path.write_text(json.dumps(made))
    return path


def test_reports_are_drawn_from_what_is_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = document("gpu", gpu_case())
    layers = {"number": 3, "milliseconds": 0.25, "slowest": [["a" * 60, 0.1234], ["b", 0.1]]}
    second = document(
        "gpu",
        {**gpu_case(), "model": "vgg16", "layers": layers},
        {**gpu_case(), "batch": 8, "layers": {"failed": "no"}},
    )
    files = [str(stored(tmp_path, name, made)) for name, made in (("a.json", first), ("b.json", second))]
    monkeypatch.setattr(sys, "argv", ["report", *files, "--output", str(tmp_path / "drawn")])
    report.main()
    drawn = json.loads((tmp_path / "drawn" / "bench_gpu.json").read_text())
    assert [report.title(one) for one in drawn["results"]["cases"]] == [
        "resnet18_v1 at 224, float16, batch 1",
        "resnet18_v1 at 224, float16, batch 8",
        "vgg16 at 224, float16, batch 1",
    ]
    assert drawn["command"].splitlines() == [first["command"], second["command"]]
    text = (tmp_path / "drawn" / "bench_gpu.md").read_text()
    assert "| vgg16 | 0.105 | 0.1 |" in text
    assert "| resnet18_v1 at 224, float16, batch 8 |  |  | failed: no |" in text
    assert f"| vgg16 at 224, float16, batch 1 | 3 | 0.25 | {'a' * 47}... 0.123; b 0.1 |" in text
    assert "8 threads: relay_trt 9500, TensorRT, execute_async_v3 5000, TensorRT, CUDA graph 1e+04" in text
    assert (tmp_path / "drawn" / "bench_gpu.png").read_bytes().startswith(b"\x89PNG")


def test_runs_of_two_machines_are_not_put_together() -> None:
    other = copy.deepcopy(document("gpu", {**gpu_case(), "model": "vgg16"}))
    other["versions"]["python"] = "3.12"
    with pytest.raises(SystemExit, match=r"no runs of one machine: python is 3\.11.* and 3\.12"):
        report.together([document("gpu", gpu_case()), other])


def test_runs_with_and_without_pytorch_are_put_together() -> None:
    other = copy.deepcopy(document("gpu", {**gpu_case(), "model": "vgg16"}))
    other["versions"]["torch"] = "2.11"
    joined = report.together([document("gpu", gpu_case()), other])
    assert joined["versions"] == other["versions"]
    assert len(joined["results"]["cases"]) == 2


@pytest.mark.parametrize("where", ["gpu", "variables"])
def test_runs_in_different_surroundings_are_not_put_together(where: str) -> None:
    other = {**document("gpu", {**gpu_case(), "model": "vgg16"}), where: "another"}
    with pytest.raises(SystemExit, match=f"no runs of one machine: {where} is .* and another"):
        report.together([document("gpu", gpu_case()), other])


def test_the_order_of_runs_does_not_matter() -> None:
    runs = [document("gpu", {**gpu_case(), "model": model}) for model in ("vgg16", "densenet121")]
    joined = [report.together(order)["results"] for order in (runs, runs[::-1])]
    assert joined[0] == joined[1]
    assert [case["model"] for case in joined[0]["cases"]] == ["densenet121", "vgg16"]


def test_runs_of_two_days_have_both_dates() -> None:
    days = {"vgg16": "2026-11-22", "densenet121": "2026-11-21", "resnet50_v1": "2026-11-21"}
    runs = [{**document("gpu", {**gpu_case(), "model": model}), "date": day} for model, day in days.items()]
    assert report.together(runs)["date"] == "2026-11-21 and 2026-11-22"


def test_a_case_that_was_measured_twice_is_not_put_together() -> None:
    with pytest.raises(SystemExit, match="in more than one of them: resnet18_v1 at 224, float16, batch 1"):
        report.together([document("gpu", gpu_case()), document("gpu", gpu_case())])


def test_a_plot_of_nothing_is_a_plot(tmp_path: Path) -> None:
    nothing = document("gpu", case("resnet18_v1", relay_trt={"failed": "no"}))
    assert [Path(name).suffix for name in report.write(nothing, tmp_path)] == [".json", ".md", ".png"]
    assert "failed: no" in (tmp_path / "bench_gpu.md").read_text()


def test_a_row_that_is_missing_is_not_a_number() -> None:
    assert math.isnan(report.number(case("resnet18_v1"), "graph"))
    assert report.number(gpu_case(), "graph") == 1e-4
