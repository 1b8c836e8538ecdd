"""What annotation and code generation both ask of Relay: types and attributes as plain values, whose a function is."""

from __future__ import annotations

from typing import Any, Dict, List, Optional, Tuple

from .graph import TensorSpec

try:
    import tvm
    from tvm import relay
except ImportError as error:
    raise ImportError(
        f"relay_trt compiles with TVM's Relay, which TVM 0.8 to 0.19 has; this environment has none ({error}). "
        "To run a compiled library, `import relay_trt.runtime` is enough"
    ) from error

# The name of the external compiler: the Compiler attribute of partitioned functions, and `relay.ext.<compiler>`.
# A TVM that was built with its own TensorRT code generation has that name already; another one lets both live in
# one process.
_TAKEN = "tensorrt" in tvm.target.Target.list_kinds() or tvm.get_global_func("relay.ext.tensorrt", allow_missing=True)
COMPILER = "relay_trt" if _TAKEN else "tensorrt"

# The attributes of a partitioned function that hold, as JSON, its options, the profiles of its parameters, and what the
# engine that is in it was built from and for.
OPTIONS_ATTR = "relay_trt.options"
PROFILES_ATTR = "relay_trt.profiles"
ENGINE_ATTR = "relay_trt.engine"
PLAN_ATTR = "relay_trt.plan"


def compiler_of(function: tvm.ir.BaseFunc) -> Optional[str]:
    """The external compiler that a function was partitioned for, or None where TVM compiles it."""
    attrs = function.attrs
    return str(attrs["Compiler"]) if attrs is not None and "Compiler" in attrs.keys() else None


def is_subgraph(function: tvm.ir.BaseFunc) -> bool:
    """Whether a function is one of ours: it was partitioned for this compiler."""
    return compiler_of(function) == COMPILER


def is_sealed(function: tvm.ir.BaseFunc) -> bool:
    """Whether a function is finished: TVM has fused it, or it was partitioned for a compiler, ours or another.

    What is inside of it stays as it is.
    """
    fused = function.attrs is not None and "Primitive" in function.attrs.keys()
    return fused or compiler_of(function) is not None


def operator_calls(function: relay.Function) -> List[relay.Call]:
    """The calls of Relay operators in a function, in topological order."""
    calls: List[relay.Call] = []

    def visit(expr: relay.Expr) -> None:
        if isinstance(expr, relay.Call) and isinstance(expr.op, tvm.ir.Op):
            calls.append(expr)

    relay.analysis.post_order_visit(function, visit)
    return calls


def tensor_specs(type_: relay.Type) -> Tuple[TensorSpec, ...]:
    """The tensors of a checked type, tuples flattened.

    Raises
    ------
    ValueError
        Where the type is neither a tensor nor a tuple of tensors.
    """
    if isinstance(type_, relay.TupleType):
        return tuple(spec for field in type_.fields for spec in tensor_specs(field))
    if not isinstance(type_, relay.TensorType):
        raise ValueError(f"{type_} is not a tensor")
    return (TensorSpec(tuple(_dimension(d) for d in type_.shape), str(type_.dtype)),)


def attributes(call: relay.Call) -> Dict[str, Any]:
    """The attributes of a call as values that JSON can hold.

    Raises
    ------
    ValueError
        Where an attribute is of a kind that has no such value; the message names it.
    """
    return plain(call.attrs)


def plain(attrs: Any) -> Dict[str, Any]:
    """The attributes of an operator, None where it has none, as `attributes` returns those of a call."""
    return {} if attrs is None else {name: _plain(value, name) for name, value in _fields(attrs).items()}


def _fields(attrs: Any) -> Dict[str, Any]:
    if isinstance(attrs, tvm.ir.Attrs):
        return {str(name): attrs[name] for name in attrs.keys()}
    # Those that TVM's Python has no class for, such as AdaptivePool1DAttrs.
    return {str(field.name): getattr(attrs, field.name) for field in tvm.ir.Attrs.list_field_info(attrs)}


def _dimension(dimension: Any) -> int:
    return int(dimension) if isinstance(dimension, (int, tvm.tir.IntImm)) else -1


def _plain(value: Any, name: str) -> Any:
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, (str, tvm.runtime.container.String)):
        return str(value)
    if isinstance(value, (tvm.tir.IntImm, tvm.tir.FloatImm)):
        return value.value
    if isinstance(value, (tvm.ir.Array, list, tuple)):
        return [_plain(element, name) for element in value]
    raise ValueError(f"attribute {name!r} is {value!r}, a {type(value).__name__}")
