"""Engines that are built when a module is compiled, and travel in the library."""

from __future__ import annotations

import json

import numpy as np
import tvm
from tvm import relay

from .codegen.serializer import constants_of, options_of, serialize
from .relay_ir import ENGINE_ATTR, PLAN_ATTR, is_subgraph
from .runtime.engines import EngineError
from .runtime.engines.tensorrt import TensorRTEngine
from .runtime.settings import Settings
from .runtime.subgraph import Subgraph


def build_engines(mod: tvm.IRModule, device_id: int = 0) -> tvm.IRModule:
    """Build the engines of a partitioned module here and now, on the kind of GPU that it will run on.

    They become constants of the module, and so part of what ``export_library`` writes. A process that loads the
    library uses them where everything that a plan depends on is the same: GPU, TensorRT, settings. Where something
    is not, it says what and builds its own.

    Parameters
    ----------
    mod : tvm.IRModule
        What `partition_for_tensorrt` returned. It is not changed.
    device_id : int
        The GPU.

    Returns
    -------
    tvm.IRModule
        The module with engines, to be given to ``relay.build`` or ``relay.vm.compile``.

    Raises
    ------
    ValueError
        Where a subgraph has an input with dynamic dimensions and no profile: its engine depends on the calls. Where
        a variable ``TVM_TENSORRT_*`` is malformed.
    EngineError, ConversionError
        Where an engine cannot be built, as without TensorRT or a GPU; the CPU engine's is built only where
        ``TVM_TENSORRT_ENGINE=onnxruntime`` asks for it.
    """
    mod = relay.transform.InferType()(mod)
    subgraphs = {name: function for name, function in mod.functions.items() if is_subgraph(function)}
    if subgraphs:
        _check_engine(Settings.from_environment())
    for name, function in subgraphs.items():
        mod[name] = _with_engine(function, device_id)
    return relay.transform.InferType()(mod)


def _check_engine(settings: Settings) -> None:
    """Allow no fallback: a target that has TensorRT could not use what it gives, and would carry the weights twice."""
    missing = TensorRTEngine.unavailable() if settings.engine == "auto" else None
    if missing:
        raise EngineError(
            f"TensorRT cannot be used here, so no engine was built: {missing}. Call build_engines where the target's "
            "kind of GPU and TensorRT are, or set TVM_TENSORRT_ENGINE=onnxruntime to have the CPU engine's built"
        )


def _with_engine(function: relay.Function, device_id: int) -> relay.Function:
    graph = serialize(function, str(function.attrs["global_symbol"]), options_of(function)).without_engine()
    constants = {node.name: value for node, value in zip(graph.constants(), constants_of(function))}
    compiled = Subgraph(graph, constants).compiled_plan(device_id)
    plan = tvm.nd.array(np.frombuffer(compiled.plan, "uint8"))
    return function.with_attr(PLAN_ATTR, plan).with_attr(ENGINE_ATTR, json.dumps(compiled.facts))
