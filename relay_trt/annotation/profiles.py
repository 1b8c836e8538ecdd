"""The shapes that each subgraph's inputs will have, from those that are given for the inputs of ``main``."""

from __future__ import annotations

import logging
from typing import Any, Dict, List, Mapping, Sequence, Tuple, Union

import tvm
from tvm import relay

from ..graph import Profile, TensorSpec
from ..relay_ir import is_subgraph, tensor_specs
from .expressions import rebuild

logger = logging.getLogger("TensorRT")

#: What may be given for one input: its smallest, best and largest shape, or the one that it always has.
InputShapes = Union[Sequence[int], Mapping[str, Sequence[int]]]

# A parameter of a subgraph: the symbol of that, and the name of the parameter.
_Place = Tuple[str, str]


def input_profiles(main: relay.Function, input_shapes: Mapping[str, InputShapes]) -> Dict[str, Profile]:
    """The profiles that are given for the inputs of ``main``.

    Parameters
    ----------
    main : relay.Function
        The function, type-checked, its weights bound.
    input_shapes : dict
        By the name of an input, the dict that `partition_for_tensorrt` documents, or one shape.

    Returns
    -------
    dict of str to Profile
        By the name of the input.

    Raises
    ------
    TypeError
        Where ``input_shapes`` is no dict.
    ValueError
        Where a name is unknown, an input with dynamic dimensions is left out, or the shapes are not what that
        input may have; the message names it.
    """
    if not isinstance(input_shapes, Mapping):
        raise TypeError(f"input_shapes must be a dict of shapes by input, not {type(input_shapes).__name__}")
    types = {param.name_hint: param.checked_type for param in main.params}
    profiles = {}
    for name, shapes in input_shapes.items():
        if name not in types:
            raise ValueError(f"input_shapes: there is no input {name!r}; there are {', '.join(types) or 'none'}")
        if not isinstance(types[name], relay.TensorType):
            raise ValueError(f"input_shapes: the input {name!r} is no tensor, but {types[name]}")
        profiles[name] = _profile(name, shapes, *tensor_specs(types[name]))
    for name, type_ in types.items():
        if name not in profiles and _is_dynamic(type_):
            raise ValueError(f"input_shapes: the shapes of the input {name!r} are missing, which is {type_}")
    return profiles


def subgraph_profiles(mod: tvm.IRModule, inputs: Mapping[str, Profile]) -> Dict[str, Dict[str, Profile]]:
    """The profiles of the subgraphs' inputs that have dynamic dimensions.

    Relay infers them: for the smallest, the best and the largest shapes of its inputs, ``main`` is type-checked with
    the subgraphs put where they are called. Nothing is run. A shape that depends on data cannot be known; a warning
    names it.

    Parameters
    ----------
    mod : tvm.IRModule
        The partitioned module.
    inputs : dict of str to Profile
        What `input_profiles` returned for it.

    Returns
    -------
    dict of str to dict
        By the symbol of a subgraph and by the name of its parameter.

    Raises
    ------
    ValueError
        Where the network cannot have inputs of these shapes.
    """
    main = relay.transform.ToGraphNormalForm()(mod)["main"]
    arguments, result = _arguments(main, mod)
    found: Dict[str, Dict[str, Profile]] = {}
    # The result, too: all of the network must be able to have these shapes.
    main = relay.Function(main.params, relay.Tuple([*arguments.values(), result]))
    inferred = [
        _inferred(main, mod, {name: getattr(profile, which) for name, profile in inputs.items()})
        for which in ("min", "opt", "max")
    ]
    shapes = {place: [tensor_specs(types[i])[0].shape for types in inferred] for i, place in enumerate(arguments)}
    for symbol, name in _dynamic_params(mod):
        known = shapes.get((symbol, name), [])
        if not known or any(d < 1 for shape in known for d in shape):
            logger.warning(
                "%s: the shapes of its input %s do not follow from input_shapes; it has no profile", symbol, name
            )
            continue
        # What shrinks where an input grows is smallest for the largest input.
        smallest, largest = (tuple(map(choose, *known)) for choose in (min, max))
        found.setdefault(symbol, {})[name] = Profile(smallest, known[1], largest)
    return found


def _profile(name: str, shapes: InputShapes, spec: TensorSpec) -> Profile:
    by_name = shapes if isinstance(shapes, Mapping) else dict.fromkeys(("min", "opt", "max"), shapes)
    try:
        return Profile.from_dict(by_name, spec)
    except ValueError as error:
        raise ValueError(f"input_shapes: of the input {name!r}, {error}") from None


def _is_dynamic(type_: relay.Type) -> bool:
    try:
        return any(-1 in spec.shape for spec in tensor_specs(type_))
    except ValueError:  # no tensors: what becomes of it, type inference says
        return False


def _dynamic_params(mod: tvm.IRModule) -> List[_Place]:
    return [
        (name.name_hint, param.name_hint)
        for name, function in mod.functions.items()
        if is_subgraph(function)
        for param in function.params
        if _is_dynamic(param.checked_type)
    ]


def _arguments(main: relay.Function, mod: tvm.IRModule) -> Tuple[Dict[_Place, relay.Expr], relay.Expr]:
    """What ``main`` calls its subgraphs with, and what it returns, without calls of subgraphs in it.

    An argument is left out that depends on more than the inputs of ``main``, as on a parameter of a function within.
    """
    dynamic = set(_dynamic_params(mod))
    new: Dict[relay.Expr, relay.Expr] = {}
    found: Dict[_Place, relay.Expr] = {}

    def visit(expr: relay.Expr) -> None:
        new[expr] = rebuild(expr, new.__getitem__, new.__getitem__)
        if isinstance(expr, relay.Call) and isinstance(expr.op, relay.GlobalVar) and is_subgraph(mod[expr.op]):
            callee, arguments = mod[expr.op], new[expr].args
            new[expr] = relay.bind(callee.body, dict(zip(callee.params, arguments)))
            places = [(expr.op.name_hint, param.name_hint) for param in callee.params]
            found.update((place, argument) for place, argument in zip(places, arguments) if place in dynamic)

    relay.analysis.post_order_visit(main, visit)
    inputs = set(main.params)
    known = {place: argument for place, argument in found.items() if set(relay.analysis.free_vars(argument)) <= inputs}
    return known, new[main].body


def _inferred(main: relay.Function, mod: tvm.IRModule, shapes: Mapping[str, Tuple[int, ...]]) -> List[relay.Type]:
    """The types that ``main``, which calls functions of a module, returns for inputs of these shapes."""
    params = {param: relay.Var(param.name_hint, _typed(param, shapes.get(param.name_hint))) for param in main.params}
    # A new name: that of the module's own main bears the type of that.
    functions = {name: function for name, function in mod.functions.items() if name.name_hint != "main"}
    functions[relay.GlobalVar("main")] = relay.Function(list(params.values()), relay.bind(main.body, params))
    try:
        typed = relay.transform.InferType()(tvm.IRModule(functions, mod.type_definitions))
        if _is_dynamic(typed["main"].ret_type):  # shapes that are computed are constants by now
            typed = relay.transform.InferType()(relay.transform.DynamicToStatic()(typed))
    except tvm.TVMError as error:
        listed = ", ".join(f"{name} {list(shape)}" for name, shape in shapes.items())
        reason = str(error).strip().splitlines()[-1]  # behind TVM's own stack
        raise ValueError(f"input_shapes: the network cannot have the inputs {listed}: {reason}") from error
    return list(typed["main"].ret_type.fields)


def _typed(param: relay.Var, shape: Any) -> relay.Type:
    type_ = param.checked_type
    return type_ if shape is None else relay.TensorType(shape, type_.dtype)
