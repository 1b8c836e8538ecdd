"""Writes docs/operators.md from the registry of operators, their cases, and the results of the GPU tests.

python -m tools.operators_table
"""

from __future__ import annotations

import collections
import functools
import inspect
import re
from pathlib import Path
from typing import Any, Callable, Dict, List

from tvm import relay

from relay_trt.annotation.quantized import quantize_explicitly
from relay_trt.codegen.serializer import serialize
from relay_trt.operators import OPERATORS, Operator
from relay_trt.operators.registry import DATA, FLOATS
from relay_trt.options import CompileOptions
from relay_trt.runtime.builders import NetworkBuilder
from relay_trt.runtime.builders.onnx import OnnxBuilder
from relay_trt.runtime.network import convert
from tests.operators.case import Case
from tests.operators.cases import CASES

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "operators.md"
VERIFIED = ROOT / "docs" / "verified"

HEAD = """# The operators

Written by `python -m tools.operators_table`; a test keeps it true.

* **TensorRT**: the first version that has what the operator needs, for `partition_for_tensorrt(version=...)`.
* **Types**: of operands and results. *data* is float32, float16, int32, bool, and int64 from TensorRT 10 on; constant
  indices may be int64 before.
* **Dynamic**: which dimensions may be dynamic: the first, or any where the module is partitioned with `input_shapes`.
* **Accepts**: what the operator's rule asks for, beyond what holds for all: at most 8 dimensions, none of them empty.
  A refusal names the attribute and the reason, in `partition_report(mod)`.
* **Built of**: the methods of [the network builder](../relay_trt/runtime/builders/base.py) that its converter calls.
* The last columns count the cases in tests/operators that were seen to agree with TVM's LLVM result: on the CPU engine
  in every test run, and on an H200 ([details](verified.md)).

"""


def page() -> str:
    """The whole page."""
    cases = collections.defaultdict(list)
    for case in CASES:
        cases[case.op].append(case)
    seen = {path.stem.replace("tensorrt-", "TensorRT "): passed(path) for path in sorted(VERIFIED.glob("*.txt"))}
    header = ["Operator", "TensorRT", "Types", "Dynamic", "Accepts", "Built of", "CPU", *seen]
    rows = [header, ["---"] * len(header)]
    for name in sorted(OPERATORS):
        counts = [len(cases[name]), *(results[name] for results in seen.values())]
        cells = [f"`{name}`", *described(OPERATORS[name]), built_of(cases[name])]
        rows.append([*cells, *(str(count) if count else "" for count in counts)])
    return HEAD + "".join(f"| {' | '.join(row)} |\n" for row in rows)


def described(row: Operator) -> List[str]:
    """From which TensorRT, which types, which dynamic dimensions, which attributes."""
    types = {DATA: "data", FLOATS: "floats"}.get(row.dtypes) or ", ".join(row.dtypes)
    accepts = (inspect.getdoc(row.rule) or "").splitlines()[0].rstrip(".") if row.rule else "all"
    dynamic = "any" if row.any_dynamic else "first"
    return [".".join(map(str, row.since)), types, dynamic, accepts.replace("|", "\\|")]


def passed(path: Path) -> Dict[str, int]:
    """How many cases of each operator passed, by pytest's own report."""
    return collections.Counter(re.findall(r"test_operator\[tensorrt-([\w.]+)-.* PASSED", path.read_text()))


def built_of(cases: List[Case]) -> str:
    """The builder's methods that the converter calls for these cases."""
    methods: Dict[str, None] = {}
    for case in cases:
        function = relay.transform.InferType()(quantize_explicitly(case.module()))["main"]
        graph = serialize(function, "shown", CompileOptions())
        values: List[Any] = []
        relay.analysis.post_order_visit(
            function, lambda e, values=values: values.append(e) if isinstance(e, relay.Constant) else None
        )
        constants = {node.name: value.data.numpy() for node, value in zip(graph.constants(), values)}
        recorder = Recorder(case.op)
        convert(graph, constants, recorder)
        methods.update(recorder.methods)
    return ", ".join(methods)


class Recorder(OnnxBuilder):
    """Remembers which of its methods the converter of one operator calls."""

    def __init__(self, op: str) -> None:
        self.op, self.depth = op, 0
        self.methods: Dict[str, None] = {}
        super().__init__()


def recorded(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
    """The method, which is remembered where a converter, and not another method, calls it."""
    signature = inspect.signature(method)

    @functools.wraps(method)
    def call(net: Recorder, *args: Any, **kwargs: Any) -> Any:
        if net.depth == 0 and net.scope.rpartition("_")[0] == net.op:
            kind = signature.bind(net, *args, **kwargs).arguments.get("kind")
            net.methods[f"{name} *{kind}*" if kind else name] = None
        net.depth += 1
        try:
            return method(net, *args, **kwargs)
        finally:
            net.depth -= 1

    return call


NOT_LAYERS = {"input", "output", "constant", "scalar", "values", "full_precision", "tensorrt", "rank"}
for _name, _method in inspect.getmembers(OnnxBuilder, inspect.isfunction):
    if hasattr(NetworkBuilder, _name) and not _name.startswith("_") and _name not in NOT_LAYERS:
        setattr(Recorder, _name, recorded(_name, _method))


if __name__ == "__main__":
    PAGE.write_text(page())
