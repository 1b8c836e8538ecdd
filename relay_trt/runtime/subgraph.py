"""One subgraph at run time: its engine, built when it is first needed."""

from __future__ import annotations

import logging
import threading
from typing import List, Mapping, Optional, Sequence, Tuple

import numpy as np

from ..graph import Graph, TensorSpec
from .dltensor import CUDA, TensorView
from .engines import BuildRequest, Engine, choose_engine
from .settings import Settings, configure_logging

logger = logging.getLogger("TensorRT")


class ArgumentError(ValueError):
    """A subgraph was called with tensors that it was not compiled for."""


class Subgraph:
    """Runs one subgraph.

    Parameters
    ----------
    graph : graph.Graph
        The subgraph.
    constants : dict of str to numpy.ndarray
        The values of its constants, by name. They are not copied, and must live as long as the subgraph.
    """

    def __init__(self, graph: Graph, constants: Mapping[str, np.ndarray]) -> None:
        self.graph = graph
        self._constants = constants
        # What messages call each argument, and what it must be: the inputs, then the outputs.
        self._arguments: List[Tuple[str, TensorSpec]] = [
            *((f"input {node.name!r}", node.outputs[0]) for node in graph.inputs()),
            *((f"output {index}", spec) for index, spec in enumerate(graph.outputs())),
        ]
        self._engine: Optional[Engine] = None
        # An engine belongs to one caller at a time.
        self._lock = threading.Lock()

    def run(self, inputs: Sequence[TensorView], outputs: Sequence[TensorView]) -> None:
        """Compute the outputs; the first call, and a call with shapes that no engine takes, builds an engine.

        Raises
        ------
        ArgumentError
            Where a tensor's dtype, shape or layout is not the subgraph's; the message names the tensor.
        EngineError, ConversionError
            Where no engine can be built.
        """
        self._check(inputs, outputs)
        if any(0 in tensor.shape for tensor in outputs):
            return  # an empty batch: there is nothing to compute
        shapes = tuple(tensor.shape for tensor in inputs)
        device_id = next((tensor.device_id for tensor in (*inputs, *outputs) if tensor.device_type == CUDA), 0)
        with self._lock:
            if self._engine is None or not self._engine.accepts(shapes, device_id):
                settings = Settings.from_environment()
                configure_logging(settings)
                request = BuildRequest(self.graph, self._constants, settings, shapes, device_id)
                self._engine = choose_engine(settings).build(request)
            self._engine.run(inputs, outputs)

    def _check(self, inputs: Sequence[TensorView], outputs: Sequence[TensorView]) -> None:
        for (what, spec), tensor in zip(self._arguments, (*inputs, *outputs)):
            if tensor.dtype != spec.dtype or not (tensor.shape == spec.shape or spec.admits(tensor.shape)):
                given = TensorSpec(tensor.shape, tensor.dtype)
                raise ArgumentError(f"{self.graph.symbol}: {what} is {given}, and was compiled as {spec}")
            if not tensor.is_compact:
                raise ArgumentError(f"{self.graph.symbol}: {what} is not compact: its elements are in another order")
