"""What runs a subgraph."""

from __future__ import annotations

import abc
import dataclasses
from typing import ClassVar, Mapping, Optional, Sequence, Tuple

import numpy as np

from ...graph import Graph
from ..dltensor import TensorView
from ..settings import Settings

Shapes = Tuple[Tuple[int, ...], ...]


class EngineError(RuntimeError):
    """An engine cannot be had, built or run; the message says why."""


@dataclasses.dataclass(frozen=True)
class BuildRequest:
    """What an engine is built from.

    Attributes
    ----------
    graph : graph.Graph
        The subgraph.
    constants : dict of str to numpy.ndarray
        The values of its constants, by name; they share the memory that TVM loaded them to.
    settings : Settings
        What the environment asks for; it wins over the options that the graph was compiled with.
    shapes : tuple of tuples of int
        The shapes of the inputs of the call that the engine is built for.
    device_id : int
        The GPU that the tensors of the call lie on; 0 where all lie on the host.
    """

    graph: Graph
    constants: Mapping[str, np.ndarray]
    settings: Settings
    shapes: Shapes
    device_id: int

    @property
    def use_fp16(self) -> bool:
        """Whether float16 may be used."""
        asked = self.settings.use_fp16
        return self.graph.options.use_fp16 if asked is None else asked

    @property
    def max_workspace_size(self) -> int:
        """Bytes of scratch memory."""
        return self.settings.max_workspace_size or self.graph.options.max_workspace_size


class Engine(abc.ABC):
    """A network that is built and can run. Used by one thread at a time."""

    #: The name by which ``TVM_TENSORRT_ENGINE`` asks for it.
    name: ClassVar[str]

    @classmethod
    @abc.abstractmethod
    def unavailable(cls) -> Optional[str]:
        """Why this engine cannot be used in this process, or None where it can."""

    @classmethod
    @abc.abstractmethod
    def build(cls, request: BuildRequest) -> Engine:
        """Build an engine.

        Raises
        ------
        ConversionError
            Where the graph cannot be expressed as a network.
        EngineError
            Where the engine refuses the network or the machine.
        """

    @abc.abstractmethod
    def accepts(self, shapes: Shapes, device_id: int) -> bool:
        """Whether inputs of these shapes can be run on this GPU without building anew."""

    @abc.abstractmethod
    def run(self, inputs: Sequence[TensorView], outputs: Sequence[TensorView]) -> None:
        """Compute the outputs, whatever devices the tensors lie on.

        Outputs in GPU memory are complete once the work on TVM's current stream is.
        """
