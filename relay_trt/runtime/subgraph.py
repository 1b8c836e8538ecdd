"""One subgraph at run time: its engines, built when they are first needed."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import threading
import time
from typing import TYPE_CHECKING, Any, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

import numpy as np

from ..graph import Graph, Node, Profile, TensorSpec
from ..options import as_integer
from . import cuda
from .builders import ConversionError
from .cache import PlanCache
from .calibration import Calibration
from .dltensor import CUDA, TensorView
from .engines import BuildRequest, Engine, EngineError, Layer, Shapes, choose_engine
from .launches import Launches
from .plans import CompiledPlan, obtain, open_cache, plan_key
from .settings import Settings, configure_logging

if TYPE_CHECKING:
    import onnx

logger = logging.getLogger("TensorRT")


class ArgumentError(ValueError):
    """A subgraph was called with tensors that it was not compiled for."""


class Subgraph:
    """One subgraph of a loaded library.

    Parameters
    ----------
    graph : graph.Graph
        The subgraph.
    constants : dict of str to numpy.ndarray
        The values of its constants, by name. They are not copied.
    compiled : sequence of CompiledPlan
        Engines that were built when the library was compiled.
    """

    def __init__(
        self,
        graph: Graph,
        constants: Mapping[str, np.ndarray],
        compiled: Sequence[CompiledPlan] = (),
    ) -> None:
        self.graph = graph
        self._constants = constants
        self._compiled = compiled
        # What messages call each argument, and what it must be: the inputs, then the outputs.
        self._arguments: List[Tuple[str, TensorSpec]] = [
            *((f"input {node.name!r}", node.outputs[0]) for node in graph.inputs()),
            *((f"output {index}", spec) for index, spec in enumerate(graph.outputs())),
        ]
        # Never changed, only replaced: a call looks its engine up without a lock.
        self._engines: Tuple[_Kept, ...] = ()
        #: The calls that generated code launches by itself.
        self.launches = Launches(len(self._arguments))
        self._building = threading.Lock()
        # By thread: the times of its calls, while it is watched.
        self._watched: Dict[int, List[Mapping[str, float]]] = {}
        # By GPU: for int8, and those of them that still want calls.
        self._calibrations: Dict[int, Calibration] = {}
        self._calibrating: Dict[int, Calibration] = {}

    def run(self, inputs: Sequence[TensorView], outputs: Sequence[TensorView]) -> None:
        """Compute the outputs; the first call, and a call with shapes that no engine takes, builds an engine.

        Raises
        ------
        ArgumentError
            Where a tensor's dtype, shape or layout is not the subgraph's; the message names the tensor.
        EngineError, ConversionError
            Where no engine can be built, or it reports an error.
        ValueError
            Where an engine must be built, and a ``TVM_TENSORRT_`` variable is malformed.
        """
        self._check(inputs, outputs)
        if all(0 in tensor.shape for tensor in outputs):
            return  # an empty batch: there is nothing to compute
        shapes = tuple(tensor.shape for tensor in inputs)
        device_id = next((tensor.device_id for tensor in (*inputs, *outputs) if tensor.device_type == CUDA), 0)
        engine = self._engine(shapes, device_id)
        watched = self._watched.get(threading.get_ident())
        if watched is not None:
            watched.append(engine.timed(inputs, outputs))
        elif device_id in self._calibrating:
            engine.run(inputs, outputs)
            self._calibrate(inputs, device_id)
        elif not (engine.captures and self._captured(engine, inputs, outputs)):
            engine.run(inputs, outputs)

    @contextlib.contextmanager
    def watched(self) -> Iterator[List[Mapping[str, float]]]:
        """Time each call of this thread within the block: a list of what `Engine.timed` returned."""
        times: List[Mapping[str, float]] = []
        self.launches.forget([kept.engine for kept in self._engines])  # they would not come here
        self._watched[threading.get_ident()] = times
        try:
            yield times
        finally:
            del self._watched[threading.get_ident()]

    def build(self, batch: Optional[int] = None, device_id: int = 0) -> None:
        """Build the engine that calls will need, or load it, before the first of them comes.

        Parameters
        ----------
        batch : int, optional
            What a dynamic first dimension of the inputs will be; without it, profiles must say.
        device_id : int
            The GPU.

        Raises
        ------
        ValueError
            Where ``batch`` is no integer above 0, an input has a dynamic dimension of which neither it nor a profile
            tells, or a ``TVM_TENSORRT_`` variable is malformed.
        EngineError, ConversionError
            Where no engine can be built.
        """
        size = as_integer(batch)
        if batch is not None and (size is None or size < 1):
            raise ValueError(f"batch is {batch!r}: it must be an integer above 0")
        self._engine(tuple(_expected_shape(node, size) for node in self.graph.inputs()), device_id)

    def compiled_plan(self, device_id: int = 0) -> CompiledPlan:
        """The engine that `build` makes, as it travels in a library. Raises what `build` raises."""
        self.build(device_id=device_id)
        kept = self._last()
        return CompiledPlan(plan_key(type(kept.engine), kept.request).facts, kept.engine.serialize())

    def information(self) -> List[Dict[str, Any]]:
        """What the engine that was used last tells of its layers: names, tensors, formats, kernels.

        Of TensorRT it is what its engine inspector has, of ONNX Runtime the nodes that its optimizations left.

        Raises
        ------
        EngineError
            Where there is no engine yet.
        """
        return self._last().engine.information()

    def profile(self, runs: int = 20) -> List[Layer]:
        """How long each layer takes of the engine that was used last.

        Parameters
        ----------
        runs : int
            How often to run it, on inputs of random values in the shapes that it was optimized for.

        Raises
        ------
        EngineError
            Where there is no engine yet, or it reports an error.
        """
        return self._last().engine.profile(runs)

    def onnx(self) -> onnx.ModelProto:
        """The subgraph as an ONNX model, weights included, for Netron, trtexec, Polygraphy and others.

        Raises
        ------
        ConversionError
            Where ONNX has no way to say it.
        """
        # Imported here: a target that has TensorRT may have no onnx.
        from .builders.onnx import OnnxBuilder
        from .network import convert

        builder = OnnxBuilder()
        convert(self.graph, self._constants, builder)
        return builder.model(self.graph.symbol).complete()

    def _captured(self, engine: Engine, inputs: Sequence[TensorView], outputs: Sequence[TensorView]) -> bool:
        """Run and capture a call that came before, so that generated code launches it when it comes again."""
        tensors = (*inputs, *outputs)
        wanted = self.launches.wanted(tensors, cuda.current_stream())
        captured = engine.capture(inputs, outputs) if wanted else None
        if captured is not None:
            self.launches.keep(captured, tensors)
            if all(kept.engine is not engine for kept in self._engines):  # another thread has replaced it meanwhile
                self.launches.forget([engine])
        return captured is not None

    def _check(self, inputs: Sequence[TensorView], outputs: Sequence[TensorView]) -> None:
        for (what, spec), tensor in zip(self._arguments, (*inputs, *outputs)):
            if tensor.dtype != spec.dtype or not (tensor.shape == spec.shape or spec.admits(tensor.shape)):
                given = TensorSpec(tensor.shape, tensor.dtype)
                raise ArgumentError(f"{self.graph.symbol}: {what} is {given}, and was compiled as {spec}")
            if not tensor.is_compact:
                raise ArgumentError(f"{self.graph.symbol}: {what} is not compact: its elements are in another order")

    def _last(self) -> _Kept:
        if not self._engines:
            raise EngineError(f"{self.graph.symbol} has no engine yet: run it, or call build()")
        return max(self._engines, key=self._last_use)

    def _last_use(self, kept: _Kept) -> int:
        return max(kept.last_use, self.launches.last_use(kept.engine))

    def _engine(self, shapes: Shapes, device_id: int) -> Engine:
        engine = self._find(shapes, device_id)
        if engine is not None:
            return engine
        # No engine is built for empty inputs, which some operators take: one for a single element will have to do.
        shapes = tuple(tuple(max(dimension, 1) for dimension in shape) for shape in shapes)
        with self._building:
            # Another thread may have built it while this one waited for the lock.
            return self._find(shapes, device_id) or self._add(shapes, device_id)

    def _find(self, shapes: Shapes, device_id: int) -> Optional[Engine]:
        for kept in self._engines:
            if kept.engine.accepts(shapes, device_id):
                kept.last_use = time.monotonic_ns()
                return kept.engine
        return None

    def _add(self, shapes: Shapes, device_id: int) -> Engine:
        settings = Settings.from_environment()
        configure_logging(settings)
        engine_class = choose_engine(settings)
        before = [kept for kept in self._engines if kept.request.device_id == device_id]
        request = BuildRequest(
            self.graph,
            self._constants,
            settings,
            self._profiles(shapes, settings, before),
            device_id,
            cache=open_cache(settings),
        )
        if engine_class.calibrates(request):
            request = self._with_calibration(request)
        if before:
            logger.info("%s: no engine serves the shapes %s: another one is needed", self.graph.symbol, shapes)
        added = _Kept(obtain(engine_class, request, self._compiled), request, time.monotonic_ns())
        if request.calibration is not None:
            self._keep_table(request.calibration, request.cache)
            before = [kept for kept in before if kept.request.calibration is not None]
        self._replace(added, before if settings.multi_engine else [], settings.max_engines)
        return added.engine

    def _replace(self, added: _Kept, before: List[_Kept], most: int) -> None:
        """Give up the engines that ``added`` takes the place of; they are freed when no call uses them any more."""
        others = [kept for kept in self._engines if kept.request.device_id != added.request.device_id]
        latest = sorted(before, key=self._last_use, reverse=True)[: most - 1]
        replaced, self._engines = self._engines, (added, *latest, *others)
        self.launches.forget([kept.engine for kept in replaced if kept not in self._engines])

    def _profiles(self, shapes: Shapes, settings: Settings, before: Sequence[_Kept]) -> Tuple[Profile, ...]:
        """The shapes that a new engine must serve."""
        profiles = []
        for index, (node, shape) in enumerate(zip(self.graph.inputs(), shapes)):
            profile = node.profile
            if profile is None and (settings.multi_engine or -1 not in node.outputs[0].shape):
                profiles.append(Profile(shape, shape, shape))
                continue
            if profile is None:
                smallest = tuple(1 if dimension < 0 else dimension for dimension in node.outputs[0].shape)
                profile = Profile(smallest, shape, shape)
            elif not profile.admits(shape):
                logger.warning(
                    "%s: the shape %s of input %r is outside of its profile, from %s to %s: the engine is built anew",
                    *(self.graph.symbol, shape, node.name, profile.min, profile.max),
                )
            for kept in before:
                profile = profile.including(kept.request.profiles[index].min)
                profile = profile.including(kept.request.profiles[index].max)
            profiles.append(profile.including(shape))
        return tuple(profiles)

    def _with_calibration(self, request: BuildRequest) -> BuildRequest:
        """The request for int8, once calibration is complete; until then, calls are computed in full precision."""
        device_id = request.device_id
        calibration = self._calibrations.get(device_id)
        if calibration is None:
            table = request.cache.read(self._table_name) if request.cache else None
            calls = request.settings.calibration_calls or 0
            calibration = self._calibrations[device_id] = Calibration(self.graph.symbol, calls, table)
        if calibration.failed:
            return request
        if calibration.complete:
            return dataclasses.replace(request, calibration=calibration)
        self._calibrating[device_id] = calibration
        return request

    def _calibrate(self, inputs: Sequence[TensorView], device_id: int) -> None:
        """Keep the inputs of a call; the last of those that are wanted has the engine for int8 built."""
        with self._building:
            calibration = self._calibrating.get(device_id)
            if calibration is None:  # another thread's call was the last
                return
            calibration.keep(inputs)
            if calibration.complete:
                try:
                    self._add(calibration.shapes, device_id)
                except (EngineError, ConversionError) as error:
                    if Settings.from_environment().strict:
                        raise
                    calibration.give_up(error)
                del self._calibrating[device_id]  # not where it was interrupted: the next call tries again

    def _keep_table(self, calibration: Calibration, cache: Optional[PlanCache]) -> None:
        """What was measured stays; the inputs that it was measured with can go."""
        calibration.batches.clear()
        table = calibration.table
        if table is not None and cache is not None:
            cache.update(self._table_name, lambda before: table)

    @property
    def _table_name(self) -> str:
        return f"calibration_{self.graph.symbol}_{self.graph.digest(self._constants)[:32]}"


@dataclasses.dataclass(eq=False)
class _Kept:
    """An engine and when it was used last but by launches: nanoseconds of the monotonic clock."""

    engine: Engine
    request: BuildRequest
    last_use: int


def _expected_shape(node: Node, batch: Optional[int]) -> Tuple[int, ...]:
    shape = node.outputs[0].shape
    if -1 not in shape:
        return shape
    if batch is not None and -1 not in shape[1:]:
        return (batch, *shape[1:])
    if node.profile is not None:
        return node.profile.opt
    raise ValueError(
        f"input {node.name!r} is {node.outputs[0]}: without a profile (input_shapes of partition_for_tensorrt), "
        "only a batch can be given"
    )
