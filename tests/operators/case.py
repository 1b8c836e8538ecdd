"""How a case of an operator is declared; each family of operators declares its own, in the module of its name."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

import numpy as np
import tvm
from hypothesis import strategies as st
from tvm import relay

from relay_trt.annotation.match import decide, matching
from relay_trt.operators import OPERATORS
from relay_trt.options import CompileOptions

from ..support import module, random, run_tvm

Shape = Tuple[int, ...]

#: The operators that both relay_trt and this TVM have: of one that was renamed, TVM may keep a name without a meaning.
HERE = {
    name for name in map(str, tvm.ir.Op.list_op_names()) if name in OPERATORS and tvm.ir.Op.get(name).num_inputs >= 0
}


@dataclasses.dataclass(frozen=True, eq=False)
class Case:
    """One operator under one set of attributes.

    Attributes
    ----------
    op : str
        The Relay operator that must be offloaded.
    name : str
        What is particular about the case.
    build : function
        Makes the expression from variables, one for each shape.
    shapes : tuple of shapes
        The shapes of the variables.
    dtype : str
        The type of the variables.
    dtypes : tuple of str
        The type of each variable, where they differ. float32 among them becomes float16 in `half`.
    low, high : float
        The range of the random inputs; integers are below ``high``.
    options : dict
        Options of `partition_for_tensorrt`.
    rtol, atol : float
        How far engines may differ; a case that asks for more than the default says why.
    same_as : function
        Makes an expression with the same value, where TVM's LLVM code cannot compute that of ``build``.
    """

    op: str
    name: str
    build: Callable[..., relay.Expr]
    shapes: Tuple[Shape, ...]
    dtype: str = "float32"
    dtypes: Tuple[str, ...] = ()
    low: float = -1.0
    high: float = 1.0
    options: Dict[str, Any] = dataclasses.field(default_factory=dict)
    rtol: float = 1e-4
    atol: float = 1e-4
    same_as: Optional[Callable[..., relay.Expr]] = None

    def __str__(self) -> str:
        return f"{self.op}-{self.name}"

    def module(self) -> tvm.IRModule:
        return self._module(self.build, self._dtypes, self.shapes)

    def dynamic_module(self, *dynamic: Sequence[bool]) -> tvm.IRModule:
        """One some of whose variables' dimensions are not known before run time.

        ``dynamic`` says which: for each variable whether each dimension is one; without it, the first ones are.
        """
        masks = dynamic or [[axis == 0 for axis in range(len(shape))] for shape in self.shapes]
        shapes = [
            [relay.Any() if unknown else size for size, unknown in zip(shape, mask)]
            for shape, mask in zip(self.shapes, masks)
        ]
        return self._module(self.build, self._dtypes, shapes)

    def input_shapes(self) -> Dict[str, Shape]:
        """The shapes of the variables by their names."""
        return {f"x{i}": shape for i, shape in enumerate(self.shapes)}

    def inputs(self) -> Dict[str, np.ndarray]:
        return self._inputs(self._dtypes)

    def half(self) -> Case:
        """The same in float16."""
        dtypes = tuple(_half(dtype) for dtype in self.dtypes)
        name = f"{self.name}, float16"
        return dataclasses.replace(self, name=name, dtype=_half(self.dtype), dtypes=dtypes, rtol=2e-3, atol=2e-3)

    @functools.cached_property
    def expected(self) -> List[np.ndarray]:
        """What TVM's LLVM code computes.

        In float32 also for float16, of the same values: its sums in float16 are further off than any engine's.
        """
        dtypes = ["float32" if dtype == "float16" else dtype for dtype in self._dtypes]
        outputs = run_tvm(self._module(self.same_as or self.build, dtypes, self.shapes), self._inputs(dtypes))
        halves = "float16" in self._dtypes
        return [output.astype("float16") if halves and output.dtype == "float32" else output for output in outputs]

    @property
    def _dtypes(self) -> Sequence[str]:
        return self.dtypes or [self.dtype] * len(self.shapes)

    def _module(self, build: Callable[..., relay.Expr], dtypes: Sequence[str], shapes: Sequence[Any]) -> tvm.IRModule:
        named = enumerate(zip(shapes, dtypes))
        variables = [relay.var(f"x{i}", shape=shape, dtype=dtype) for i, (shape, dtype) in named]
        return module(relay.Function(variables, build(*variables)))

    def _inputs(self, dtypes: Sequence[str]) -> Dict[str, np.ndarray]:
        return {
            f"x{i}": values(shape, dtype, i, self.low, self.high)
            for i, (shape, dtype) in enumerate(zip(self.shapes, dtypes))
        }


def accepted(module: Callable[[], tvm.IRModule]) -> Optional[tvm.IRModule]:
    """The typed module of a case, or None where Relay's types or our rules refuse it."""
    try:
        mod = module()
    except (tvm.TVMError, TypeError):  # a constant as large as a dimension that is not known
        return None
    calls: List[relay.Call] = []
    relay.analysis.post_order_visit(mod["main"], lambda e: calls.append(e) if isinstance(e, relay.Call) else None)
    with matching(CompileOptions(dynamic_shapes=True)):
        return mod if all(decide(call) is None for call in calls) else None


def _half(dtype: str) -> str:
    return "float16" if dtype == "float32" else dtype


def values(shape: Shape, dtype: str, seed: int, low: float = -1.0, high: float = 1.0) -> np.ndarray:
    """Random values, of floats such as float16 can hold, of integers from ``low`` to below ``high``."""
    if dtype == "bool":
        return random(shape, "float32", seed) > 0
    if dtype.startswith("int"):
        return np.random.RandomState(seed).randint(int(low), int(high), shape).astype(dtype)
    return random(shape, "float16", seed, low, high).astype(dtype)


def dtype_of(like: relay.Var) -> str:
    return str(like.type_annotation.dtype)


def constant(like: relay.Var, *shape: int, seed: int = 7, low: float = -1.0, high: float = 1.0) -> relay.Constant:
    """A constant operand of random values of the type of ``like``."""
    return relay.const(values(shape, dtype_of(like), seed, low, high))


def scalar(like: relay.Var, value: float) -> relay.Constant:
    return relay.const(value, dtype_of(like))


EXPLICIT = {"use_implicit_batch": False}
IMAGE = ((2, 3, 9, 8),)


@dataclasses.dataclass(frozen=True, eq=False)
class Refused:
    """One operator as Relay's types allow it, but not every engine, or not TVM itself, computes it."""

    op: str
    build: Callable[..., relay.Expr]
    shapes: Tuple[Shape, ...]
    reason: str
    dtypes: Tuple[str, ...] = ()
    options: Dict[str, Any] = dataclasses.field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.op}-{self.reason}"

    def module(self) -> tvm.IRModule:
        dtypes = self.dtypes or ("float32",) * len(self.shapes)
        variables = [
            relay.var(f"x{i}", shape=shape, dtype=dtype) for i, (shape, dtype) in enumerate(zip(self.shapes, dtypes))
        ]
        return module(relay.Function(variables, self.build(*variables)))


Draw = Callable[[st.SearchStrategy], Any]
Strategy = Callable[[Draw, str], Case]

#: How a case of each operator is drawn, over all that its attributes and operands may be.
STRATEGIES: Dict[str, Strategy] = {}


def strategy(*ops: str) -> Callable[[Strategy], Strategy]:
    """Register how a case of ``ops`` is drawn."""

    def register(function: Strategy) -> Strategy:
        for op in ops:
            if op in STRATEGIES:
                raise ValueError(f"operator {op!r} has a strategy already")
            STRATEGIES[op] = function
        return function

    return register


def shapes(min_rank: int, max_rank: int, max_side: int = 4) -> st.SearchStrategy[Shape]:
    return st.lists(st.integers(1, max_side), min_size=min_rank, max_size=max_rank).map(tuple)


def axes(shape: Shape) -> st.SearchStrategy[int]:
    """An axis, counted from the front or from the back."""
    return st.integers(-len(shape), len(shape) - 1)


def attributed(op: str, build: Callable[..., relay.Expr], *shapes: Shape, **attrs: Any) -> Case:
    """A case of one input and of attributes that its name tells."""
    return Case(op, f"{shapes} {attrs}", lambda x: build(x, **attrs), shapes)


def images() -> st.SearchStrategy[Tuple[int, ...]]:
    side = st.integers(1, 9)
    return st.tuples(st.integers(1, 2), st.integers(1, 4), side, side)


def pairs(low: int, high: int) -> st.SearchStrategy[Tuple[int, int]]:
    return st.tuples(st.integers(low, high), st.integers(low, high))


def paddings(high: int) -> st.SearchStrategy[Any]:
    """One, two or four numbers."""
    numbers = st.integers(0, high)
    return st.one_of(numbers, st.tuples(numbers, numbers), st.tuples(*[numbers] * 4))
