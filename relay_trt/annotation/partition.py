"""`partition_for_tensorrt`: split a Relay module into subgraphs that TensorRT runs and the rest."""

from __future__ import annotations

import functools
import json
import logging
import operator
from typing import Any, Dict, List, Mapping, Optional, Tuple

import tvm
from tvm import relay
from tvm.relay import dataflow_pattern as dfp

from .. import codegen  # noqa: F401  registers relay.ext.<compiler>, which relay.build calls
from ..graph import Profile
from ..options import OLDEST_TENSORRT, CompileOptions, installed_tensorrt_version
from ..relay_ir import OPTIONS_ATTR, PROFILES_ATTR, is_sealed, is_subgraph, operator_calls, tensor_specs
from .inline import inline
from .match import matching
from .profiles import InputShapes, input_profiles, subgraph_profiles
from .quantized import quantize_explicitly
from .regions import offload
from .report import (
    MAC_OPERATORS,
    REPORT_ATTR,
    PartitionReport,
    refused_calls,
    subgraph_report,
    summarize,
)

logger = logging.getLogger("TensorRT")

# The layouts that TensorRT's convolutions have, for those that TVM's ConvertLayout knows: it takes one pair of
# transposes for a whole chain of operators, converters one for each. "default" leaves the kernel's to TVM.
LAYOUTS = {
    "nn.conv2d": ["NCHW", "default"],
    "nn.conv2d_transpose": ["NCHW", "default"],
    "nn.conv3d": ["NCDHW", "default"],
    "nn.conv3d_transpose": ["NCDHW", "default"],
}

# What gives the elements of its one operand, whatever their type.
MOVES = ("copy", "expand_dims", "nn.batch_flatten", "reshape", "squeeze", "strided_slice", "transpose")


def partition_for_tensorrt(
    mod: tvm.IRModule,
    params: Optional[Mapping[str, Any]] = None,
    version: Optional[Tuple[int, int, int]] = None,
    use_implicit_batch: bool = True,
    remove_no_mac_subgraphs: bool = False,
    max_workspace_size: int = 1 << 30,
    use_fp16: bool = False,
    input_shapes: Optional[Mapping[str, InputShapes]] = None,
) -> Tuple[tvm.IRModule, Dict[str, Any]]:
    """Split a module: what TensorRT supports goes into subgraphs, the rest stays with TVM.

    Parameters
    ----------
    mod : tvm.IRModule
        The Relay module, as TVM's front ends return it. It is not changed.
    params : dict of str to tvm.nd.NDArray or numpy.ndarray, optional
        The weights by parameter name. They are bound as constants.
    version : tuple of three ints, optional
        The TensorRT to compile for; by default the one that is installed here, and 8.5.0 where none is.
    use_implicit_batch : bool
        Leave to TVM what touches the batch (dimension 0). Has no effect from TensorRT 10 on.
    remove_no_mac_subgraphs : bool
        Give subgraphs without a multiply-accumulate operator back to TVM.
    max_workspace_size : int
        Bytes of scratch memory that TensorRT may use for one engine.
    use_fp16 : bool
        Let TensorRT compute in float16 where that is faster.
    input_shapes : dict, optional
        The shapes that the inputs of ``main`` with dynamic dimensions (``relay.Any()``) will have: by name, a dict
        with the shapes ``"min"``, ``"opt"`` (the one to be fastest for) and ``"max"``, or one shape for all three.
        Engines are then built once, for all of them, and dimensions other than the first may be dynamic. Without
        it only the first may, and an engine is built anew where a call asks for more. Turns ``use_implicit_batch``
        off.

    Returns
    -------
    mod : tvm.IRModule
        The partitioned module, to be given to ``relay.build``; `partition_report` tells what was done.
    config : dict
        The options. They travel in the module already; passing them on as
        ``PassContext(config={"relay.ext.tensorrt.options": config})`` works too, and wins where it differs. Not so
        where the key is TVM's own, as in old releases that were built with TVM's TensorRT: those raise an error, as
        they do not know all of these options.

    Raises
    ------
    ValueError, TypeError
        Where an option or the module is not what is accepted; the message names it.
    RuntimeError
        Where this TVM was built without LLVM.
    """
    options = CompileOptions(
        tensorrt_version=version if version is not None else installed_tensorrt_version() or OLDEST_TENSORRT,
        use_implicit_batch=use_implicit_batch,
        remove_no_mac_subgraphs=remove_no_mac_subgraphs,
        max_workspace_size=max_workspace_size,
        use_fp16=use_fp16,
        dynamic_shapes=input_shapes is not None,
    )
    _check_module(mod)
    # ConvertLayout is a pass of level 3, and TVM's default level is 2: the result must not depend on it.
    attrs = mod.attrs
    with tvm.transform.PassContext(opt_level=3), matching(options):
        mod = _prepare(mod, params or {})
        inputs = None if input_shapes is None else input_profiles(mod["main"], input_shapes)
        mod, given_back = offload(mod, lambda function: _unwanted(function, options))
        report = PartitionReport(
            subgraphs=[subgraph_report(function) for function in _subgraphs(mod).values()],
            refusals=summarize(refused_calls(mod) + given_back),
        )
        profiles = {} if inputs is None else subgraph_profiles(mod, inputs)
    for name, function in _subgraphs(mod).items():
        mod[name] = _labelled(function, options, profiles.get(name.name_hint, {}))
    mod["main"] = mod["main"].with_attr(REPORT_ATTR, report.to_json())
    for name in attrs.keys() if attrs else ():
        mod = mod.with_attr(name, tvm.runtime.convert(attrs[name]))
    logger.info("%s", report)
    return mod, options.to_dict()


def _check_module(mod: Any) -> None:
    if not isinstance(mod, tvm.IRModule):
        raise TypeError(f"mod must be a tvm.IRModule, not {type(mod).__name__}")
    names = [name.name_hint for name in mod.get_global_vars()]
    if "main" not in names:
        raise ValueError(f"the module has no function `main`; it has {', '.join(names) or 'no functions'}")
    if not tvm.runtime.enabled("llvm"):
        raise RuntimeError("this TVM was built without LLVM, which folding constants and building host code need")


def _prepare(mod: tvm.IRModule, params: Mapping[str, Any]) -> tvm.IRModule:
    """Bring a module into the form that the rules expect: weights as constants, NCHW, no dropout."""
    mod = inline(mod)
    if params:
        for name in mod.get_global_vars():
            if isinstance(mod[name], relay.Function):
                mod[name] = relay.build_module.bind_params_by_name(mod[name], dict(params))
    _rewrite(mod, _RemoveDropout())
    mod = quantize_explicitly(mod)
    _rewrite(mod, _CastFirst())
    # Only where it is needed: what ConvertLayout requires, and a Sequential runs, takes every bias_add apart.
    layout = [relay.transform.ConvertLayout(LAYOUTS)] if _needs_layout(mod) else []
    passes = [*layout, relay.transform.FoldConstant(), relay.transform.InferType()]
    return tvm.transform.Sequential(passes)(mod)


def _rewrite(mod: tvm.IRModule, callback: dfp.DFPatternCallback) -> None:
    for name, function in _functions(mod).items():
        mod[name] = dfp.rewrite(callback, function)


class _RemoveDropout(dfp.DFPatternCallback):
    """Inference drops nothing: the first output of dropout is its input."""

    def __init__(self) -> None:
        super().__init__()
        self.data = dfp.wildcard()
        self.pattern = dfp.is_tuple_get_item(dfp.is_op("nn.dropout")(self.data), 0)

    def callback(self, pre: relay.Expr, post: relay.Expr, node_map: Mapping[Any, Any]) -> relay.Expr:
        return node_map[self.data][0]


class _CastFirst(dfp.DFPatternCallback):
    """An input that is moved and then cast to integers is cast first: `offload` leaves the cast of an input to TVM."""

    def __init__(self) -> None:
        super().__init__()
        moved = [dfp.is_op(name)(dfp.wildcard()) for name in MOVES]
        self.pattern = dfp.is_op("cast")(functools.reduce(operator.or_, moved))

    def callback(self, pre: relay.Expr, post: relay.Expr, node_map: Mapping[Any, Any]) -> relay.Expr:
        (moved,) = post.args
        source = moved
        while isinstance(source, relay.Call) and isinstance(source.op, tvm.ir.Op) and source.op.name in MOVES:
            (source,) = source.args
        if not _is_float32_input(source) or not str(post.attrs.dtype).startswith("int"):
            return post
        return relay.Call(moved.op, [relay.Call(post.op, moved.args, post.attrs)], moved.attrs)


def _is_float32_input(expr: relay.Expr) -> bool:
    type_ = expr.type_annotation if isinstance(expr, relay.Var) else None
    return isinstance(type_, relay.TensorType) and type_.dtype == "float32"


def _needs_layout(mod: tvm.IRModule) -> bool:
    return any(
        call.op.name in LAYOUTS and str(call.attrs.data_layout) != LAYOUTS[call.op.name][0]
        for function in _functions(mod).values()
        for call in operator_calls(function)
    )


def _functions(mod: tvm.IRModule) -> Dict[tvm.ir.GlobalVar, relay.Function]:
    """Those of Relay that no compiler has taken yet."""
    functions = mod.functions.items()
    return {name: f for name, f in functions if isinstance(f, relay.Function) and not is_sealed(f)}


def _subgraphs(mod: tvm.IRModule) -> Dict[tvm.ir.GlobalVar, relay.Function]:
    names = [name for name, function in mod.functions.items() if is_subgraph(function)]
    return {name: mod[name] for name in sorted(names, key=lambda name: (len(name.name_hint), name.name_hint))}


def _labelled(function: relay.Function, options: CompileOptions, profiles: Mapping[str, Profile]) -> relay.Function:
    """A subgraph with what code generation must know of it."""
    function = function.with_attr(OPTIONS_ATTR, json.dumps(options.to_dict()))
    shapes = {param: profile.to_dict() for param, profile in profiles.items()}
    return function.with_attr(PROFILES_ATTR, json.dumps(shapes)) if shapes else function


def _unwanted(function: relay.Function, options: CompileOptions) -> Optional[str]:
    if not function.params:
        return "a subgraph without inputs"
    if options.use_implicit_batch:
        shapes = [spec.shape for param in function.params for spec in tensor_specs(param.type_annotation)]
        if () in shapes:
            return "a subgraph with a scalar as input, and use_implicit_batch is on"
        batches: List[int] = sorted({shape[0] for shape in shapes if shape[0] >= 0})
        if len(batches) > 1:
            return f"a subgraph whose inputs have the batches {batches}, and use_implicit_batch is on"
    if options.remove_no_mac_subgraphs and not any(call.op.name in MAC_OPERATORS for call in operator_calls(function)):
        return "a subgraph without a multiply-accumulate operator, and remove_no_mac_subgraphs is on"
    return None
