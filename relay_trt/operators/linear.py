"""Matrix products, dense layers, einsum and biases."""

from __future__ import annotations

import dataclasses
import math
import string
from typing import TYPE_CHECKING, Dict, List, Optional, Sequence, Set, Tuple, TypeVar

from .registry import FLOATS, NUMBERS32, OpCall, Operation, OpNode, broadcasts_batch, known_axis_rule, operator
from .shapes import along_axis, reordered

if TYPE_CHECKING:
    from ..runtime.builders import NetworkBuilder, Tensor

T = TypeVar("T")


def one_dtype(call: OpCall) -> Optional[str]:
    """Why operands and their product cannot be computed with, if they differ in dtype."""
    dtypes = [x.dtype for x in call.inputs]
    if len(set(dtypes)) > 1:
        return f"the operands are {' and '.join(dtypes)}: they must have one dtype"
    if call.outputs[0].dtype != dtypes[0]:
        return f"out_dtype {call.outputs[0].dtype} differs from the operands' {dtypes[0]}"
    return None


def dense_rule(call: OpCall) -> Optional[str]:
    """an input of at least two dimensions; weights of two, constant or not"""
    x, weight = call.inputs
    if x.rank < 2:
        return f"the input {x} must have at least two dimensions"
    if weight.rank != 2 or -1 in weight.shape:
        return f"the weights {weight} must have two dimensions of known size"
    return one_dtype(call)


def _mixes_rows(call: OpCall) -> bool:
    """Weights that are no constants have no batch, and a transposed matrix has its batch behind."""
    return not call.constant[1] or (bool(call.attrs.get("transpose_a")) and len(call.shape) == 2)


@operator("nn.dense", rule=dense_rule, touches_batch=_mixes_rows, any_dynamic=True, half="product")
def dense(net: NetworkBuilder, op: OpNode) -> Tensor:
    x, weight = op.inputs
    return net.matrix_multiply(x, weight, transpose_b=True)


def matmul_rule(call: OpCall) -> Optional[str]:
    """a first operand of at least two dimensions, a second of two, each transposed or not"""
    if call.attrs["transpose_a"] and -1 in call.shape[-2:]:
        return "a dynamic dimension is transposed"
    return dense_rule(call)


def batch_matmul_rule(call: OpCall) -> Optional[str]:
    """three dimensions, each operand transposed or not; a batch of 1 meets any"""
    a, b = call.inputs
    if {a.rank, b.rank} != {3}:
        return f"the operands {a} and {b} must have three dimensions"
    if -1 in (a.shape[0], b.shape[0]) and {a.shape[0], b.shape[0]} - {-1, 1}:
        return f"a dynamic batch and one of {max(a.shape[0], b.shape[0])}"
    return one_dtype(call)


@operator("nn.matmul", rule=matmul_rule, touches_batch=_mixes_rows, any_dynamic=True, half="product")
@operator("nn.batch_matmul", rule=batch_matmul_rule, touches_batch=broadcasts_batch, any_dynamic=True, half="product")
def matmul(net: NetworkBuilder, op: OpNode) -> Tensor:
    a, b = op.inputs
    return net.matrix_multiply(a, b, bool(op.attrs["transpose_a"]), bool(op.attrs["transpose_b"]))


def _adds_to_batch(call: OpCall) -> bool:
    return call.axis() == 0 or not call.constant[1]


@operator(
    "nn.bias_add",
    dtypes=NUMBERS32,
    rule=known_axis_rule,
    touches_batch=_adds_to_batch,
    any_dynamic=True,
    half="passes",
)
def bias_add(net: NetworkBuilder, op: OpNode) -> Tensor:
    x, bias = op.inputs
    axis = op.axis()
    if bias.value is not None and x.dtype in FLOATS:
        return net.scale(x, None, bias.value, axis)
    return net.elementwise(x, along_axis(net, bias, axis, x.rank), "sum")


@dataclasses.dataclass(frozen=True)
class Equation:
    """What an einsum sums up, read as numpy does.

    Attributes
    ----------
    terms : list of str
        A letter for each dimension of each operand; the dimensions of an ellipsis have letters, too.
    result : str
        The letters of the result.
    sizes : dict of str to set of int
        The sizes that the dimensions of each letter have: one, or 1 and another.
    """

    terms: List[str]
    result: str
    sizes: Dict[str, Set[int]]

    @classmethod
    def read(cls, equation: str, shapes: Sequence[Sequence[int]]) -> Equation:
        """Read an equation for operands of ``shapes``."""
        left, arrow, result = equation.replace(" ", "").partition("->")
        if not arrow:
            once = [letter for letter in left if letter.isalpha() and left.count(letter) == 1]
            result = ("..." if "..." in left else "") + "".join(sorted(once))
        terms = left.split(",")
        # Those of two ellipses meet from the last dimension on.
        dots = [len(shape) - len(term.replace("...", "")) if "..." in term else 0 for term, shape in zip(terms, shapes)]
        unused = [letter for letter in string.ascii_letters if letter not in equation][: max(dots)]
        terms = [term.replace("...", "".join(unused[len(unused) - width :])) for term, width in zip(terms, dots)]
        result = result.replace("...", "".join(unused))
        sizes: Dict[str, Set[int]] = {}
        for term, shape in zip(terms, shapes):
            for letter, size in zip(term, shape):
                sizes.setdefault(letter, set()).add(size)
        return cls(terms, result, sizes)


def _equation(op: Operation[T]) -> Equation:
    return Equation.read(op.attrs["equation"], [x.shape for x in op.inputs])  # type: ignore[attr-defined]


def einsum_rule(call: OpCall) -> Optional[str]:
    """any number of operands; an ellipsis, and dimensions of 1 that meet others; no diagonals"""
    equation = _equation(call)
    if any(len(set(letters)) < len(letters) for letters in (*equation.terms, equation.result)):
        return f"equation {call.attrs['equation']}: it takes a diagonal"
    if any(-1 in sizes and sizes - {-1, 1} for sizes in equation.sizes.values()):
        return "the dynamic first dimension meets one of known size"
    dynamic = [letter for letter, sizes in equation.sizes.items() if -1 in sizes and letter not in equation.result]
    if any(sum(letter in term for term in equation.terms) > 1 for letter in dynamic):
        return "a sum of products over the dynamic first dimension"
    return one_dtype(call)


def _sums_over_batch(call: OpCall) -> bool:
    equation = _equation(call)
    batches = {term[:1] for term, constant in zip(equation.terms, call.constant) if not constant}
    return batches != {equation.result[:1]}


@operator("einsum", rule=einsum_rule, touches_batch=_sums_over_batch, half="product")
def einsum(net: NetworkBuilder, op: OpNode) -> Tensor:
    """Matrix products, two operands at a time: what both have is a batch or summed up, the rest are rows and columns.

    TensorRT's Einsum layer does the same for two operands, but not without cuBLAS in TensorRT 8.5.
    """
    equation = _equation(op)
    operands = [_without_ones(net, x, term, equation.sizes) for x, term in zip(op.inputs, equation.terms)]
    x, term = operands.pop(0)
    while operands:
        y, other = operands.pop(0)
        later = "".join(letters for _, letters in operands) + equation.result
        x, term = _product(net, *_summed(net, x, term, other + later), *_summed(net, y, other, term + later), later)
    x, term = _summed(net, x, term, equation.result)
    return reordered(net, x, term, equation.result)


def _summed(net: NetworkBuilder, x: Tensor, term: str, kept: str) -> Tuple[Tensor, str]:
    """x summed up over the dimensions whose letters are not in ``kept``."""
    axes = [axis for axis, letter in enumerate(term) if letter not in kept]
    if not axes:
        return x, term
    with net.full_precision():
        total = net.cast(net.reduce(net.cast(x, "float32"), "sum", axes), x.dtype)
    return total, "".join(letter for letter in term if letter in kept)


def _product(net: NetworkBuilder, x: Tensor, term: str, y: Tensor, other: str, later: str) -> Tuple[Tensor, str]:
    """The product of two operands, summed up over the letters that they share and that are not needed ``later``."""
    batch = [letter for letter in term if letter in other and letter in later]
    inner = [letter for letter in term if letter in other and letter not in later]
    rows = [letter for letter in term if letter not in other]
    columns = [letter for letter in other if letter not in term]
    sizes = {**dict(zip(other, y.shape)), **dict(zip(term, x.shape))}

    def matrix(z: Tensor, letters: str, first: List[str], second: List[str]) -> Tensor:
        z = reordered(net, z, letters, "".join((*batch, *first, *second)))
        return net.reshape(z, [*(0 for _ in batch), _joined(sizes, first), _joined(sizes, second)])

    product = net.matrix_multiply(matrix(x, term, rows, inner), matrix(y, other, inner, columns))
    split = [0 for _ in batch] + [sizes[letter] for letter in (*rows, *columns)]
    return net.reshape(product, split), "".join((*batch, *rows, *columns))


def _joined(sizes: Dict[str, int], letters: Sequence[str]) -> int:
    """The size of several dimensions as one; -1 where one of them is dynamic."""
    joined = [sizes[letter] for letter in letters]
    return -1 if -1 in joined else math.prod(joined)


def _without_ones(net: NetworkBuilder, x: Tensor, term: str, sizes: Dict[str, Set[int]]) -> Tuple[Tensor, str]:
    """x without its dimensions of 1 that meet others, and the letters of those that stay."""
    kept = [axis for axis, letter in enumerate(term) if x.shape[axis] != 1 or sizes[letter] == {1}]
    if len(kept) == x.rank:
        return x, term
    return net.reshape(x, [max(x.shape[axis], 0) for axis in kept]), "".join(term[axis] for axis in kept)
