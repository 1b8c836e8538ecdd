"""What runs a subgraph."""

from __future__ import annotations

import abc
import dataclasses
from typing import Any, ClassVar, Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np

from ...graph import Graph, Profile
from ...version import __version__
from ..cache import PlanCache
from ..calibration import Calibration
from ..dltensor import TensorView
from ..launches import Captured
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
        The values of its constants, by name; they are the library's own, by a mapping of its file.
    settings : Settings
        What the environment asks for; it wins over the options that the graph was compiled with.
    profiles : tuple of Profile
        The shapes of each input that the engine must serve, and the one to be best at.
    device_id : int
        The GPU that the tensors of the call lie on; 0 where all lie on the host.
    calibration : Calibration, optional
        What to calibrate int8 with; without it, the engine computes in the graph's own types or in float16.
    cache : PlanCache, optional
        Where the engine's builder may keep what it learned about kernels.
    """

    graph: Graph
    constants: Mapping[str, np.ndarray]
    settings: Settings
    profiles: Tuple[Profile, ...]
    device_id: int = 0
    calibration: Optional[Calibration] = None
    cache: Optional[PlanCache] = None

    @property
    def use_fp16(self) -> bool:
        """Whether float16 may be used."""
        asked = self.settings.use_fp16
        return self.graph.options.use_fp16 if asked is None else asked

    @property
    def max_workspace_size(self) -> int:
        """Bytes of scratch memory."""
        return self.settings.max_workspace_size or self.graph.options.max_workspace_size

    def facts(self) -> Dict[str, Any]:
        """What every engine's plan depends on, as JSON values."""
        return {
            "relay_trt": __version__,
            "graph": self.graph.digest(self.constants),
            "profiles": [profile.to_dict() for profile in self.profiles],
            "use_fp16": self.use_fp16,
            "calibration": self.calibration.digest if self.calibration else None,
        }


@dataclasses.dataclass(frozen=True)
class Layer:
    """One layer of a built engine.

    Attributes
    ----------
    name : str
        The engine's name for it; of TensorRT's layers it holds those of the operators that it computes.
    milliseconds : float
        The median time of one run.
    """

    name: str
    milliseconds: float


class Engine(abc.ABC):
    """A network that is built and can run. Used by any number of threads at a time."""

    #: The name by which ``TVM_TENSORRT_ENGINE`` asks for it.
    name: ClassVar[str]

    @classmethod
    @abc.abstractmethod
    def unavailable(cls) -> Optional[str]:
        """Why this engine cannot be used in this process, or None where it can."""

    @classmethod
    @abc.abstractmethod
    def facts(cls, request: BuildRequest) -> Dict[str, Any]:
        """What its plan depends on besides `BuildRequest.facts`, as JSON values: versions, the device, settings."""

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

    @classmethod
    @abc.abstractmethod
    def load(cls, request: BuildRequest, plan: Any) -> Engine:
        """Make an engine of the bytes that `serialize` returned for an equal request.

        Raises
        ------
        EngineError
            Where the engine cannot read the plan.
        """

    @classmethod
    def calibrates(cls, request: BuildRequest) -> bool:
        """Whether int8 is asked for and this engine gets it by calibration; a warning says where it does not."""
        return False

    @abc.abstractmethod
    def serialize(self) -> Any:
        """The engine as bytes, or an object with a buffer."""

    @abc.abstractmethod
    def accepts(self, shapes: Shapes, device_id: int) -> bool:
        """Whether inputs of these shapes can be run on this GPU without building anew."""

    @abc.abstractmethod
    def run(self, inputs: Sequence[TensorView], outputs: Sequence[TensorView]) -> None:
        """Compute the outputs, whatever devices the tensors lie on.

        Outputs in GPU memory are complete once the work on TVM's current stream is.

        Raises
        ------
        EngineError
            Where the engine reports an error.
        """

    @abc.abstractmethod
    def timed(self, inputs: Sequence[TensorView], outputs: Sequence[TensorView]) -> Dict[str, float]:
        """Compute the outputs as `run` does, and wait for them.

        Returns
        -------
        dict of str to float
            Milliseconds: what the engine computed (``"engine"``), and copies between host and GPU (``"copies"``).
        """

    @property
    def captures(self) -> bool:
        """Whether `capture` may be asked."""
        return False

    def capture(self, inputs: Sequence[TensorView], outputs: Sequence[TensorView]) -> Optional[Captured]:
        """Compute the outputs as `run` does, and capture the call. None where that cannot be: a warning says why."""
        return None

    @abc.abstractmethod
    def information(self) -> List[Dict[str, Any]]:
        """What the engine itself tells of its layers, one dict for each, in its own words."""

    @abc.abstractmethod
    def profile(self, runs: int) -> List[Layer]:
        """How long each layer takes, on inputs of random values in the shapes that the engine is best at."""


def random_values(shape: Tuple[int, ...], dtype: Any) -> np.ndarray:
    """An input to time layers with: random numbers of a float type; of the others, which may be indices, zeros."""
    if np.dtype(dtype).kind == "f":
        return np.random.default_rng(0).standard_normal(shape).astype(dtype)
    return np.zeros(shape, dtype)
