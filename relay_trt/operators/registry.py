"""The registry of operators: which Relay operator TensorRT takes, from which version, and how it is built.

One `Operator` holds both halves of what relay_trt knows of a Relay operator: when it may be offloaded, which is
asked while a module is partitioned, and its converter, which adds it to a network on the target. `operator`
registers one; that is all that it takes to add one, in this package or outside of it.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import (
    TYPE_CHECKING,
    Any,
    Callable,
    Dict,
    Generic,
    Hashable,
    List,
    Literal,
    Mapping,
    Optional,
    Sequence,
    Tuple,
    TypeVar,
    Union,
)

from ..graph import TensorSpec
from ..options import CompileOptions, Version

if TYPE_CHECKING:  # the compiler needs no network builders
    from ..runtime.builders import NetworkBuilder, Tensor

MAX_RANK = 8  # TensorRT's Dims::MAX_DIMS

FLOATS = ("float32", "float16")
NUMBERS32 = (*FLOATS, "int32")
NUMBERS = (*NUMBERS32, "int64")
#: What TensorRT moves around without computing with it; int64 from TensorRT 10 on.
DATA = (*NUMBERS, "bool")
INT64_SINCE: Version = (10, 0, 0)

#: What float16 means for an operator of floats, where `half.in_half` chooses types: nothing in particular; results may
#: be beyond float16, or so near to 0 that it matters; operands may be, and results are not; results are as far out of
#: range as operands, as of what only moves them; or it is a matrix product, what float16 is wanted for.
Half = Literal["plain", "extreme", "sensitive", "passes", "product"]

T = TypeVar("T")
Scalar = Union[bool, int, float]


@dataclasses.dataclass(frozen=True)
class Operation(Generic[T]):
    """One call of a Relay operator.

    Attributes
    ----------
    name : str
        The Relay operator.
    attrs : dict
        Its attributes as plain values.
    inputs : tuple
        Its operands, tuples flattened; each has a shape, a dtype and a rank.
    outputs : tuple of TensorSpec
        The shapes and dtypes that Relay inferred for its outputs.
    """

    name: str
    attrs: Mapping[str, Any]
    inputs: Tuple[T, ...]
    outputs: Tuple[TensorSpec, ...]

    @property
    def shape(self) -> Tuple[int, ...]:
        """The shape of the first operand; -1 where a dimension is not known before run time."""
        shape: Tuple[int, ...] = self.inputs[0].shape  # type: ignore[attr-defined]
        return shape

    def axis(self, name: str = "axis", rank: Optional[int] = None) -> int:
        """The attribute ``name`` counted from the front; ``rank`` is the first operand's unless given."""
        axis = int(self.attrs[name])
        return axis + (len(self.shape) if rank is None else rank) if axis < 0 else axis

    def axes(self, name: str = "axis") -> List[int]:
        """The attribute ``name``, one axis of the first operand or several, sorted and counted from the front.

        None or an empty list stands for all of them; with the attribute ``exclude``, for all others.
        """
        value, rank = self.attrs[name], len(self.shape)
        listed = [value] if isinstance(value, int) else value or []
        axes = {int(axis) + rank if axis < 0 else int(axis) for axis in listed}
        if value is None or (value == [] and not self.attrs.get("exclude")):
            axes = set(range(rank))
        elif self.attrs.get("exclude"):
            axes = set(range(rank)) - axes
        return sorted(axes)

    def padding(self) -> Tuple[List[int], List[int]]:
        """The attribute ``padding`` of a window, before and after each spatial dimension.

        Relay has one number, one for each dimension, or those before each and then those after each.
        """
        numbers: List[int] = self.attrs["padding"]
        spatial = len(self.shape) - 2
        if len(numbers) == 2 * spatial and len(numbers) > 1:
            return numbers[:spatial], numbers[spatial:]
        both = numbers * spatial if len(numbers) == 1 else numbers
        return both, both


@dataclasses.dataclass(frozen=True)
class OpCall(Operation[TensorSpec]):
    """One call as a rule sees it, while a module is partitioned.

    Attributes
    ----------
    constant : tuple of bool
        Whether each operand is a constant.
    scalars : tuple
        The value of each operand that is a constant of one element; None for any other.
    identity : tuple
        For each operand, what is equal for those that are the same; see `same`.
    options : CompileOptions
        What the module is partitioned for.
    """

    constant: Tuple[bool, ...]
    scalars: Tuple[Optional[Scalar], ...]
    identity: Tuple[Hashable, ...]
    options: CompileOptions

    def same(self, a: int, b: int) -> bool:
        """Whether two operands are one expression, or constants of one element that are equal."""
        return self.identity[a] == self.identity[b]


@dataclasses.dataclass(frozen=True)
class OpNode(Operation["Tensor"]):
    """One call as a converter sees it; ``value`` of a constant operand holds its values."""


#: Why a call cannot be offloaded, or None where it can. Never raises.
Rule = Callable[[OpCall], Optional[str]]
#: Adds an operator to a network; returns its output, or a list where there are several.
Converter = Callable[["NetworkBuilder", OpNode], Union["Tensor", Sequence["Tensor"]]]


@dataclasses.dataclass(frozen=True)
class Operator:
    """All that relay_trt knows of one Relay operator.

    Attributes
    ----------
    name : str
        The Relay operator.
    convert : function
        Its converter.
    since : tuple of three ints
        The first TensorRT that has what it needs.
    dtypes : tuple of str
        What its operands and outputs may be.
    rule : function, optional
        Why a call cannot be offloaded, or None where it can; an operator without one always can. The first
        line of its docstring says what it accepts.
    touches_batch : function, optional
        Whether a call changes or mixes dimension 0, which ``use_implicit_batch`` leaves to TVM.
    any_dynamic : bool
        Whether rule and converter are right where dimensions other than the first are dynamic, which may be so
        in modules that are partitioned with ``input_shapes``.
    of_constants : bool
        Whether calls of nothing but constants are offloaded, too: TVM does not fold them.
    half : str
        What float16 means for it; see `Half`.
    free_operands : tuple of int
        The operands whose floats may have either type: only their shapes are asked, they are compared with something,
        or the converter computes with them in float32.
    """

    name: str
    convert: Converter
    since: Version = (5, 0, 0)
    dtypes: Tuple[str, ...] = FLOATS
    rule: Optional[Rule] = None
    touches_batch: Optional[Callable[[OpCall], bool]] = None
    any_dynamic: bool = False
    of_constants: bool = False
    half: Half = "plain"
    free_operands: Tuple[int, ...] = ()

    @property
    def computes_in_float32(self) -> bool:
        """Whether float16 and float32 are the same to its converter: it is one by `in_float32`."""
        return getattr(self.convert, "computes_in_float32", False)


OPERATORS: Dict[str, Operator] = {}


def operator(
    *names: str,
    since: Version = (5, 0, 0),
    dtypes: Tuple[str, ...] = FLOATS,
    rule: Optional[Rule] = None,
    touches_batch: Optional[Callable[[OpCall], bool]] = None,
    any_dynamic: bool = False,
    of_constants: bool = False,
    half: Half = "plain",
    free_operands: Tuple[int, ...] = (),
    override: bool = False,
) -> Callable[[Converter], Converter]:
    """Register the decorated function as the converter of Relay operators.

    What holds for every operator need not be said again: ranks, dynamic dimensions, empty tensors. With the
    decorator in a module of your own, import that module both where you partition and where you run.

    Parameters
    ----------
    names : str
        The Relay operators.
    since : tuple of three ints
        The first TensorRT that has what the converter adds.
    dtypes : tuple of str
        What operands and outputs may be.
    rule : function, optional
        Why an `OpCall` cannot be offloaded, or None where it can. Without one, every call is.
    touches_batch : function, optional
        Whether an `OpCall` changes or mixes dimension 0.
    any_dynamic : bool
        Whether rule and converter are right where dimensions other than the first are dynamic. In shapes these are
        -1; two of them are not known to be equal.
    of_constants : bool
        Whether calls of nothing but constants are offloaded, too: TVM does not fold them.
    half : {"plain", "extreme", "sensitive", "passes", "product"}
        What float16 means for it, where ``TVM_TENSORRT_STRONG_TYPES`` or TensorRT 11 has types chosen: see `Half`.
    free_operands : tuple of int
        The operands whose floats may have either type, float32 or float16.
    override : bool
        Replace the operator where there is one of that name.

    Raises
    ------
    TypeError
        Where there is no name, as in a decorator without parentheses, or ``dtypes`` or ``since`` is no tuple.
    ValueError
        Where there is one of that name, and ``override`` is not set. None of the names is registered then.
    """
    if not names or not all(isinstance(name, str) for name in names):
        raise TypeError(f"operator() takes the names of Relay operators, as in @operator('exp'), not {names}")
    if isinstance(dtypes, str):
        raise TypeError(f"dtypes is a tuple, as in ({dtypes!r},), not {dtypes!r}")
    if not isinstance(since, tuple):
        raise TypeError(f"since is a tuple, as in (8, 6, 0), not {since!r}")

    def register(convert: Converter) -> Converter:
        taken = [name for name in names if name in OPERATORS and not override]
        if taken:
            raise ValueError(f"operator {taken[0]!r} is registered already; override=True replaces it")
        for name in names:
            OPERATORS[name] = Operator(
                name, convert, since, dtypes, rule, touches_batch, any_dynamic, of_constants, half, free_operands
            )
        return convert

    return register


def refusal(call: OpCall) -> Optional[str]:
    """Why ``call`` cannot be offloaded, or None where it can."""
    row = OPERATORS.get(call.name)
    if row is None:
        return "relay_trt has no converter for this operator"
    if call.options.tensorrt_version < row.since:
        return f"needs TensorRT {'.'.join(map(str, row.since))} or newer"
    for spec, constant in [*zip(call.inputs, call.constant), *((spec, False) for spec in call.outputs)]:
        reason = _unfit(spec, constant, row, call.options)
        if reason:
            return reason
    if call.inputs and all(call.constant) and not row.of_constants:
        return "all operands are constants: TVM folds it"
    reason = row.rule(call) if row.rule else None
    if reason is not None and not (isinstance(reason, str) and reason):
        raise TypeError(f"it returned {reason!r}, where None accepts and words refuse")
    if reason is None and call.options.use_implicit_batch:
        if any(not spec.shape for spec in call.outputs):
            return "a scalar has no batch, and use_implicit_batch is on"
        if row.touches_batch and row.touches_batch(call):
            return "it touches the batch, and use_implicit_batch is on"
    return reason


def _unfit(spec: TensorSpec, constant: bool, row: Operator, options: CompileOptions) -> Optional[str]:
    if spec.dtype not in row.dtypes:
        return f"{spec}: the dtype must be {' or '.join(row.dtypes)}"
    # Constants of int64 are indices, which a converter narrows.
    if spec.dtype == "int64" and not constant and options.tensorrt_version < INT64_SINCE:
        return f"{spec}: int64 needs TensorRT 10 or newer"
    if len(spec.shape) > MAX_RANK:
        return f"{spec}: TensorRT has at most {MAX_RANK} dimensions"
    if -1 in spec.shape[1:] and not (options.dynamic_shapes and row.any_dynamic):
        why = "of this operator" if options.dynamic_shapes else "without input_shapes"
        return f"{spec}: only the first dimension may be dynamic {why}"
    if 0 in spec.shape:
        return f"{spec}: it is empty"
    return None


def known_axis_rule(call: OpCall) -> Optional[str]:
    """any axis; behind the first, of a known size"""
    axis = call.axis() if call.shape else 0
    return f"axis {axis} is dynamic, and it has parameters" if axis > 0 and call.shape[axis] < 0 else None


def axis_is_batch(call: OpCall) -> bool:
    """Whether the attribute ``axis`` names dimension 0: what most operators that touch the batch have in common."""
    return call.axis() == 0


def axes_have_batch(call: OpCall) -> bool:
    """Whether dimension 0 is among the axes of the attribute ``axis``."""
    return 0 in call.axes()


def broadcasts_batch(call: OpCall) -> bool:
    """Whether dimension 0 of the result is not that of an operand that is computed; a dynamic one is any."""
    result = call.outputs[0].shape
    computed = [x.shape for x, constant in zip(call.inputs, call.constant) if not constant]
    return any(len(shape) < len(result) or len({*shape[:1], *result[:1]} - {-1}) > 1 for shape in computed)


def in_float32(convert: Converter) -> Callable[[NetworkBuilder, OpNode], List[Tensor]]:
    """Compute in float32 whatever the operands are: a float16 sum of many terms, or of squares, overflows.

    The converter gets float32 operands, and what it returns is cast to the dtypes that Relay inferred.
    """

    @functools.wraps(convert)
    def converted(net: NetworkBuilder, op: OpNode) -> List[Tensor]:
        with net.full_precision():
            inputs = tuple(net.cast(x, "float32") if x.dtype == "float16" else x for x in op.inputs)
            results = convert(net, dataclasses.replace(op, inputs=inputs))
            tensors = results if isinstance(results, (list, tuple)) else [results]
            return [net.cast(tensor, spec.dtype) for tensor, spec in zip(tensors, op.outputs)]

    converted.computes_in_float32 = True  # type: ignore[attr-defined]
    return converted
