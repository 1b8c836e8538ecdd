"""Tables, verdicts and a plot of what bench.py measured. Needs none of what it measured with.

    python -m benchmarks.report bench_gpu.json [more.json ...] --output FOLDER

draws them again, of one run or of several on one machine together.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from .timing import rounded

Case = Mapping[str, Any]
Document = Dict[str, Any]

# What each row is, in the order of tables and legends.
ROWS = {
    "relay_trt": "relay_trt",
    "graph": "TensorRT, CUDA graph",
    "enqueue": "TensorRT, execute_async_v3",
    "onnxruntime": "ONNX Runtime",
    "tvm": "TVM, untuned",
    "pytorch": "PyTorch, eager",
    "pytorch-graph": "PyTorch, CUDA graph",
    "pytorch-compile": "PyTorch, torch.compile",
    "host": "relay_trt, host tensors",
    "host-graph": "CUDA graph, host tensors",
    "pinned": "relay_trt, pinned tensors",
    "pinned-graph": "CUDA graph, pinned tensors",
    "arrays": "relay_trt, numpy's arrays",
}
ON_HOST = ("host", "host-graph", "pinned", "pinned-graph", "arrays")  # another question: not in the plot
MARKERS = "osD^vP*X"
COLUMNS = ("", "p50 ms", "p90 ms", "p99 ms", "host ms", "device ms", "variation", "error", "")
BUILD_COLUMNS = ("seconds", "subgraphs", "partition", "relay.build", "export", "cold", "timing cache", "plan cache")
LAYER_COLUMNS = ("milliseconds", "layers", "together", "the slowest")
ENVIRONMENT = ("cpu", "cores", "gpu", "variables")  # what runs that are put together must share, and versions


class Promise(NamedTuple):
    """What relay_trt is to keep, batch 1."""

    text: str
    device: str
    value: Callable[[Case], Optional[float]]  # None where the case has nothing to do with it, or lacks a row
    bound: Callable[[Case], float]
    at_least: bool = False


def number(case: Case, row: str, field: str = "p50") -> float:
    """Of a row; not a number where it has none."""
    return float(case["rows"].get(row, {}).get(field, math.nan))


def _in_float16(case: Case, value: float) -> float:
    return value if case["precision"] == "float16" else math.nan


def _bare_threads(case: Case) -> List[float]:
    """Calls a second by threads without relay_trt."""
    return [rate for name, rate in case["threads"].items() if name != "relay_trt"]


# How many times faster than PyTorch in a CUDA graph.
FASTER = {"resnet18_v1": 3.0, "resnet50_v1": 3.0, "squeezenet1.1": 2.5}

PROMISES = (
    Promise(
        "a call takes, of the bare CUDA graph's time,",
        "gpu",
        lambda c: _in_float16(c, number(c, "relay_trt") / number(c, "graph")),
        lambda c: 1.05,
    ),
    Promise(
        "the host's part of a call is, above the bare graph launch's, in microseconds,",
        "gpu",
        lambda c: (number(c, "relay_trt", "enqueue") - number(c, "graph", "enqueue")) * 1e6,
        lambda c: 4.0,
    ),
    Promise(
        "PyTorch in a CUDA graph takes, in relay_trt's times,",
        "gpu",
        lambda c: _in_float16(c, number(c, "pytorch-graph") / number(c, "relay_trt")) if c["model"] in FASTER else None,
        lambda c: FASTER[c["model"]],
        at_least=True,
    ),
    Promise(
        "with tensors on the host, a call takes, of the time of copy, CUDA graph, copy through pinned memory,",
        "gpu",
        lambda c: number(c, "host") / number(c, "host-graph"),
        lambda c: 1.15,
    ),
    Promise(
        "with tensors in pinned memory, a call takes, of the time of copy, CUDA graph, copy,",
        "gpu",
        lambda c: number(c, "pinned") / number(c, "pinned-graph"),
        lambda c: 1.15,
    ),
    Promise(
        "8 modules in 8 threads do, of the calls of 8 bare contexts or of their CUDA graphs,",
        "gpu",
        lambda c: c["threads"]["relay_trt"] / max(_bare_threads(c)) if "relay_trt" in c.get("threads", {}) else None,
        lambda c: 0.95,
        at_least=True,
    ),
    Promise(
        "a call takes, of ONNX Runtime's time,",
        "cpu",
        lambda c: number(c, "relay_trt") / number(c, "onnxruntime"),
        lambda c: 1.15,
    ),
    Promise(
        "partition, relay.build and export take, in seconds,",
        "cpu",
        lambda c: sum(c["compile"].values()) if c["model"] == "resnet18_v1" and "compile" in c else None,
        lambda c: 10.0,
    ),
)


def verdicts(results: Mapping[str, Any]) -> List[Dict[str, Any]]:
    """What became of each promise, case by case.

    Returns
    -------
    list of dict
        ``"promise"``, and ``"kept"``: whether, or None where nothing was measured that would tell. Where something
        was, also ``"case"``, ``"value"`` and ``"bound"``.
    """
    found: List[Dict[str, Any]] = []
    for promise in PROMISES:
        if promise.device != results["device"]:
            continue
        told = [_verdict(promise, case) for case in results["cases"] if case["batch"] == 1]
        found += [one for one in told if one] or [{"promise": promise.text, "kept": None}]
    return found


def _verdict(promise: Promise, case: Case) -> Optional[Dict[str, Any]]:
    value = promise.value(case)
    if value is None or math.isnan(value):
        return None
    bound = promise.bound(case)
    kept = value >= bound if promise.at_least else value <= bound
    limit = f"{'at least' if promise.at_least else 'at most'} {bound:g}"
    return {"promise": promise.text, "case": title(case), "value": rounded(value), "bound": limit, "kept": kept}


def verdict_lines(results: Mapping[str, Any]) -> List[str]:
    """A line for each verdict."""
    lines = []
    for one in verdicts(results):
        if one["kept"] is None:
            lines.append(f"not measured: {one['promise'].rstrip(',')}")
        else:
            kept = "kept" if one["kept"] else "MISSED"
            lines.append(f"{kept}: {one['case']}: {one['promise']} {one['value']:.3g}; {one['bound']}")
    return lines


def title(case: Case) -> str:
    return f"{case['model']} at {case['image size']}, {case['precision']}, batch {case['batch']}"


def rows_of(case: Case) -> List[Tuple[str, ...]]:
    """The cells of a case, by `COLUMNS`."""
    return [cells(ROWS[row], case["rows"][row]) for row in ROWS if row in case["rows"]]


def cells(name: str, row: Mapping[str, Any]) -> Tuple[str, ...]:
    about = [row["about"]] if row.get("about") else []
    for why in ("failed", "left out"):
        if why in row:
            return (name, *[""] * 7, f"{why}: {row[why]}")
    return (
        name,
        *(milliseconds(row.get(field)) for field in ("p50", "p90", "p99", "enqueue", "device")),
        f"{row['variation']:.1%}",
        f"{row['error']:.0e}" if "error" in row else "",
        ", ".join([*about, *row["warnings"]]),
    )


def milliseconds(seconds: Optional[float]) -> str:
    return "" if seconds is None else f"{seconds * 1e3:.4g}"


def build_cells(case: Case) -> Tuple[str, ...]:
    """By `BUILD_COLUMNS`."""
    spent = {**case.get("compile", {}), **case.get("build", {})}
    seconds = [spent.get(column) for column in BUILD_COLUMNS[2:]]
    counted = str(case.get("subgraphs", ""))
    return (title(case), counted, *("" if value is None else f"{value:.3g}" for value in seconds))


def threads_line(case: Case) -> str:
    """What eight threads did, or nothing."""
    threads = case.get("threads")
    if not threads:
        return ""
    if "failed" in threads:
        return f"{title(case)}: 8 threads failed: {threads['failed']}"
    rates = ", ".join(f"{ROWS[name]} {rate:.4g}" for name, rate in threads.items())
    return f"{title(case)}: calls a second by 8 in 8 threads: {rates}"


def layer_cells(case: Case) -> Tuple[str, ...]:
    """Of `LAYER_COLUMNS`."""
    layers = case["layers"]
    if "failed" in layers:
        return (title(case), "", "", f"failed: {layers['failed']}")
    slowest = (f"{_shortened(name)} {taken:.3g}" for name, taken in layers["slowest"])
    return (title(case), str(layers["number"]), f"{layers['milliseconds']:.3g}", "; ".join(slowest))


def _shortened(name: str) -> str:
    return name if len(name) <= 50 else f"{name[:47]}..."


def markdown(document: Document) -> str:
    """The whole of a run."""
    results, cases = document["results"], document["results"]["cases"]
    versions = ", ".join(f"{name} {version}" for name, version in document["versions"].items())
    machine = ", ".join(str(document[key]) for key in ("gpu", "cpu") if key in document)
    lines = [
        f"# bench, {document['date']}",
        "",
        f"{machine}, {document['cores']} cores; {versions}.",
        "",
        *(f"    {command}" for command in document["command"].splitlines()),
        "",
        *(f"* {note}" for note in results["notes"]),
        "",
        "## Verdicts",
        "",
        *(f"* {line}" for line in verdict_lines(results)),
        "",
        "## p50 in milliseconds",
        "",
    ]
    for (precision, batch), group in grouped(cases).items():
        names = [row for row in ROWS if any(row in case["rows"] for case in group)]
        lines += [f"{precision}, batch {batch}:", ""]
        lines += _table(["", *(ROWS[name] for name in names)], [_summary(case, names) for case in group])
    lines += ["## Compiling and building, seconds", "", *_table(BUILD_COLUMNS, map(build_cells, cases))]
    layers = [layer_cells(case) for case in cases if "layers" in case]
    lines += ["## Layers, each timed by itself", "", *_table(LAYER_COLUMNS, layers)] if layers else []
    threads = [f"* {line}" for line in map(threads_line, cases) if line]
    lines += ["## Threads", "", *threads, ""] if threads else []
    lines += ["## Each case", ""]
    for case in cases:
        lines += [f"{title(case)}:", "", *_table(COLUMNS, rows_of(case))]
    return "\n".join(lines).rstrip() + "\n"


def grouped(cases: Sequence[Case]) -> Dict[Tuple[str, int], List[Case]]:
    """By precision and batch."""
    groups: Dict[Tuple[str, int], List[Case]] = {}
    for case in cases:
        groups.setdefault((case["precision"], case["batch"]), []).append(case)
    return groups


def _summary(case: Case, names: Sequence[str]) -> List[str]:
    rows = case["rows"]
    texts = [milliseconds(rows.get(name, {}).get("p50")) for name in names]
    return [
        case["model"],
        *(text or ("failed" if "failed" in rows.get(n, {}) else "") for n, text in zip(names, texts)),
    ]


def _table(columns: Sequence[str], rows: Any) -> Iterator[str]:
    yield f"| {' | '.join(columns)} |"
    yield f"|{'---|' * len(columns)}"
    for row in rows:
        yield f"| {' | '.join(cell.replace('|', '/') for cell in row)} |"
    yield ""


def plot(document: Document, path: Path) -> None:
    """p50 of each row but those on the host, with a line to its p99; a panel for each precision and batch there is.

    Raises
    ------
    ImportError
        Where matplotlib is not installed.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullFormatter

    cases = [case for case in document["results"]["cases"] if any("p50" in row for row in case["rows"].values())]
    groups = grouped(cases)
    precisions = list(dict.fromkeys(precision for precision, _ in groups)) or [""]
    batches = sorted({batch for _, batch in groups}) or [0]
    most = [max(len(groups.get((precision, batch), [])) for precision in precisions) for batch in batches]
    measured = [
        (name, row["p50"] * 1e3, row["p99"] * 1e3)
        for case in cases
        for name, row in case["rows"].items()
        if "p50" in row and name not in ON_HOST
    ]
    shown = [row for row in ROWS if row in {name for name, _, _ in measured}]
    limits = (0.8 * min(p50 for _, p50, _ in measured), 1.25 * max(p99 for _, _, p99 in measured)) if measured else None
    heights = [0.8 + number * (0.2 + 0.1 * len(shown)) for number in most]
    figure = Figure(figsize=(2 + 5 * len(precisions), 1.5 + sum(heights)), layout="constrained")
    panels = figure.subplots(
        len(batches), len(precisions), sharex=True, squeeze=False, gridspec_kw={"height_ratios": heights}
    )
    for column, precision in enumerate(precisions):
        for panel, batch, number in zip(panels[:, column], batches, most):
            group = groups.get((precision, batch), [])
            if not group:
                panel.remove()
                continue
            panel.set_title(f"{precision}, batch {batch}")
            for index, row in enumerate(shown):
                below = 0.7 * ((index + 0.5) / len(shown) - 0.5)  # the rows of a model are below each other
                _dots(panel, [(y + below, case["rows"].get(row, {})) for y, case in enumerate(group)], row)
            panel.set(xscale="log", xlim=limits, xlabel="ms, p50 to p99", ylim=(number - 0.5, -0.5))
            panel.set_yticks(range(len(group)), [case["model"] for case in group])
            panel.tick_params(labelbottom=True)
            panel.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            panel.xaxis.set_major_formatter("{x:g}")
            panel.xaxis.set_minor_formatter(NullFormatter())
            panel.grid(alpha=0.3, axis="x")
    handles = {label: h for p in figure.axes for h, label in zip(*p.get_legend_handles_labels())}
    if handles:
        figure.legend(
            handles.values(), handles.keys(), loc="outside lower center", ncols=2 * len(precisions), frameon=False
        )
    figure.suptitle(", ".join(str(document[key]) for key in ("gpu", "cpu") if key in document))
    figure.savefig(str(path), dpi=120, metadata={"Software": None})


def _dots(panel: Any, places: Sequence[Tuple[float, Mapping[str, Any]]], row: str) -> None:
    known = [(y, measured) for y, measured in places if "p50" in measured]
    if not known:
        return
    index = list(ROWS).index(row)
    y = [place for place, _ in known]
    p50, p99 = ([measured[field] * 1e3 for _, measured in known] for field in ("p50", "p99"))
    panel.hlines(y, p50, p99, color=f"C{index % 10}", linewidth=1)
    panel.scatter(p50, y, color=f"C{index % 10}", marker=MARKERS[index], s=30, label=ROWS[row])


def write(document: Document, folder: Path, with_plot: bool = True) -> List[str]:
    """Write JSON, Markdown and, where matplotlib is, a plot, which takes a second; returns the names of the files."""
    folder.mkdir(parents=True, exist_ok=True)
    results = document["results"]
    document = {**document, "results": {**results, "verdicts": verdicts(results)}}
    base = folder / f"bench_{results['device']}"
    base.with_suffix(".json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    base.with_suffix(".md").write_text(markdown(document), encoding="utf-8")
    written = [f"{base.name}.json", f"{base.name}.md"]
    if not with_plot:
        return written
    try:
        plot(document, base.with_suffix(".png"))
    except ImportError:
        return written
    return [*written, f"{base.name}.png"]


def together(documents: Sequence[Document]) -> Document:
    """Runs on one machine as one.

    Raises
    ------
    SystemExit
        Where they are of different machines or versions, or have a case in common.
    """
    first = documents[0]
    for key in (*ENVIRONMENT, "device"):
        values = [document.get(key, document["results"].get(key)) for document in documents]
        if any(value != values[0] for value in values):
            raise SystemExit(f"these are no runs of one machine: {key} is {' and '.join(map(str, values))}")
    versions: Dict[str, str] = {}
    for document in documents:
        for package, version in document["versions"].items():  # one without PyTorch's rows has no version of it
            if versions.setdefault(package, version) != version:
                raise SystemExit(f"these are no runs of one machine: {package} is {versions[package]} and {version}")
    cases = sorted(
        (case for document in documents for case in document["results"]["cases"]),
        key=lambda case: (case["model"], case["precision"], case["batch"]),
    )
    titles = [title(case) for case in cases]
    twice = sorted({name for name in titles if titles.count(name) > 1})
    if twice:
        raise SystemExit(f"measured in more than one of them: {'; '.join(twice)}")
    commands = "\n".join(document["command"] for document in documents)
    notes = list(dict.fromkeys(note for document in documents for note in document["results"]["notes"]))
    return {
        **first,
        "date": " and ".join(sorted({document["date"] for document in documents})),
        "command": commands,
        "versions": versions,
        "results": {**first["results"], "notes": notes, "cases": cases},
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.report", description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="+", type=Path, help="JSON that bench.py wrote")
    parser.add_argument("--output", type=Path, required=True, help="the folder to write to")
    arguments = parser.parse_args()
    documents = [json.loads(file.read_text(encoding="utf-8")) for file in arguments.files]
    names = write(together(documents), arguments.output)
    print(f"written: {', '.join(names)}")


if __name__ == "__main__":
    main()
