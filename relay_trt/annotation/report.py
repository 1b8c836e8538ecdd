"""What was offloaded, what was not, and why."""

from __future__ import annotations

import dataclasses
import io
import json
import math
from typing import Any, Callable, Dict, Iterable, List, Mapping, Sequence, Tuple

import tvm
from rich.console import Console
from rich.table import Table
from tvm import relay

from ..operators.linear import Equation
from ..relay_ir import attributes, is_sealed, is_subgraph, operator_calls, tensor_specs
from .match import decide, describe

FUSED = "it is fused already, or another compiler has it: partition before the module is optimized"

Attributes = Mapping[str, Any]
Shape = Sequence[int]

# The attribute of `main` in which a partitioned module carries its report.
REPORT_ATTR = "relay_trt.report"


@dataclasses.dataclass(frozen=True)
class SubgraphReport:
    """One subgraph that TensorRT runs: its symbol, operators with their counts, inputs, outputs and MACs.

    ``macs`` counts the multiply-accumulates of convolutions and matrix products; a dynamic batch counts as 1.
    """

    symbol: str
    operators: Dict[str, int]
    inputs: List[str]
    outputs: List[str]
    macs: int


@dataclasses.dataclass(frozen=True)
class Refusal:
    """An operator that TVM keeps: its name, why, how often, and the operands of the first such call."""

    operator: str
    reason: str
    count: int
    example: str


@dataclasses.dataclass(frozen=True)
class PartitionReport:
    """The subgraphs of a module and the operators that stayed outside. ``str()`` draws both as tables."""

    subgraphs: List[SubgraphReport]
    refusals: List[Refusal]

    @property
    def offloaded(self) -> int:
        """How many operators TensorRT runs."""
        return sum(sum(subgraph.operators.values()) for subgraph in self.subgraphs)

    @property
    def refused(self) -> int:
        """How many operators TVM keeps."""
        return sum(refusal.count for refusal in self.refusals)

    def to_json(self) -> str:
        """The report as JSON; `from_json` reads it back."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> PartitionReport:
        """Read what `to_json` wrote."""
        document = json.loads(text)
        return cls(
            subgraphs=[SubgraphReport(**subgraph) for subgraph in document["subgraphs"]],
            refusals=[Refusal(**refusal) for refusal in document["refusals"]],
        )

    def __str__(self) -> str:
        console = Console(file=io.StringIO(), width=120, markup=False)
        total = self.offloaded + self.refused
        console.print(f"{self.offloaded} of {total} operators offloaded, in {len(self.subgraphs)} subgraph(s)")
        if self.subgraphs:
            table = Table("subgraph", "operators", "inputs", "outputs", "GMACs")
            for subgraph in self.subgraphs:
                operators = "\n".join(f"{count:4} {name}" for name, count in subgraph.operators.items())
                inputs, outputs = "\n".join(subgraph.inputs), "\n".join(subgraph.outputs)
                symbol = subgraph.symbol.replace("tvmgen_default_", "")  # TVM's prefix of every symbol
                table.add_row(symbol, operators, inputs, outputs, f"{subgraph.macs / 1e9:.3f}")
            console.print(table)
        if self.refusals:
            table = Table("not offloaded", "count", "reason", "for example")
            for refusal in self.refusals:
                table.add_row(refusal.operator, str(refusal.count), refusal.reason, refusal.example)
            console.print(table)
        return console.file.getvalue()  # type: ignore[attr-defined]


def partition_report(mod: tvm.IRModule) -> PartitionReport:
    """The report of a module that `partition_for_tensorrt` returned.

    Parameters
    ----------
    mod : tvm.IRModule
        The partitioned module.

    Returns
    -------
    PartitionReport
        What was offloaded, what was not, and why.

    Raises
    ------
    ValueError
        Where ``mod`` does not come from `partition_for_tensorrt`.
    """
    attrs = mod["main"].attrs
    if attrs is None or REPORT_ATTR not in attrs.keys():
        raise ValueError("the module has no report: it was not partitioned by partition_for_tensorrt")
    return PartitionReport.from_json(str(attrs[REPORT_ATTR]))


def subgraph_report(function: relay.Function) -> SubgraphReport:
    """Describe one partitioned function."""
    operators: Dict[str, int] = {}
    macs = 0
    for call in operator_calls(function):
        operators[call.op.name] = operators.get(call.op.name, 0) + 1
        macs += _macs(call)
    return SubgraphReport(
        symbol=str(function.attrs["global_symbol"]),
        operators=operators,
        inputs=[f"{param.name_hint} {spec}" for param in function.params for spec in tensor_specs(param.checked_type)],
        outputs=[str(spec) for spec in tensor_specs(function.body.checked_type)],
        macs=macs,
    )


def refused_calls(mod: tvm.IRModule) -> List[Tuple[relay.Call, str]]:
    """The operators outside the subgraphs of a module that the rules refuse, each with the reason."""
    refused: List[Tuple[relay.Call, str]] = []
    for function in mod.functions.values():
        if isinstance(function, relay.Function) and not is_subgraph(function):
            fused = set(_fused_calls(function))
            reasons = [(call, FUSED if call in fused else decide(call)) for call in operator_calls(function)]
            refused += [(call, reason) for call, reason in reasons if reason is not None]
    return refused


def _fused_calls(function: relay.Function) -> List[relay.Call]:
    """The calls in functions within a function that are finished."""
    sealed: List[relay.Function] = []

    def visit(expr: relay.Expr) -> None:
        if isinstance(expr, relay.Function) and is_sealed(expr):
            sealed.append(expr)

    relay.analysis.post_order_visit(function, visit)
    return [call for inner in sealed for call in operator_calls(inner)]


def summarize(refused: Iterable[Tuple[relay.Call, str]]) -> List[Refusal]:
    """Count refused calls by operator and reason."""
    found: Dict[Tuple[str, str], Refusal] = {}
    for call, reason in refused:
        key = (call.op.name, reason)
        earlier = found.get(key) or Refusal(*key, count=0, example=describe(call))
        found[key] = dataclasses.replace(earlier, count=earlier.count + 1)
    return list(found.values())


def _macs(call: relay.Call) -> int:
    """The multiply-accumulates of a call; a dimension that is not known counts as 1."""
    if call.op.name not in MAC_OPERATORS:
        return 0
    operands = [spec.shape for argument in call.args for spec in tensor_specs(argument.checked_type)]
    (output,) = tensor_specs(call.checked_type)
    return MAC_OPERATORS[call.op.name](attributes(call), operands, output.shape)


def _volume(shape: Shape) -> int:
    return math.prod(max(dimension, 1) for dimension in shape)


def _of_convolution(attrs: Attributes, operands: Sequence[Shape], output: Shape) -> int:
    """Each element of the output sums over one filter."""
    channels = output[(attrs["out_layout"] or attrs["data_layout"]).index("C")]
    return _volume(output) * _volume(operands[1]) // channels


def _of_transposed_convolution(attrs: Attributes, operands: Sequence[Shape], output: Shape) -> int:
    """Each element of the input is multiplied by all that the kernel has for its channel."""
    channels = operands[0][attrs["data_layout"].index("C")]
    return _volume(operands[0]) * _volume(operands[1]) // channels


def _of_product(attrs: Attributes, operands: Sequence[Shape], output: Shape) -> int:
    """Each element of the output sums over the dimension that both matrices have."""
    return _volume(output) * max(operands[0][-2 if attrs.get("transpose_a") else -1], 1)


def _of_einsum(attrs: Attributes, operands: Sequence[Shape], output: Shape) -> int:
    """One for each combination of all indices and each operand after the first."""
    sizes = Equation.read(attrs["equation"], operands).sizes
    return (len(operands) - 1) * _volume([max(found) for found in sizes.values()])


# How often each operator multiplies and accumulates: those that `remove_no_mac_subgraphs` looks for.
MAC_OPERATORS: Dict[str, Callable[[Attributes, Sequence[Shape], Shape], int]] = {
    "nn.conv1d": _of_convolution,
    "nn.conv2d": _of_convolution,
    "nn.conv3d": _of_convolution,
    "nn.conv1d_transpose": _of_transposed_convolution,
    "nn.conv2d_transpose": _of_transposed_convolution,
    "nn.conv3d_transpose": _of_transposed_convolution,
    "nn.dense": _of_product,
    "nn.matmul": _of_product,
    "nn.batch_matmul": _of_product,
    "einsum": _of_einsum,
}
