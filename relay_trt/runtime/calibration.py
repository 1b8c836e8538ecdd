"""Calibration for int8: what the first calls of a subgraph are kept for."""

from __future__ import annotations

import hashlib
import logging
from typing import List, Optional, Sequence, Tuple

import numpy as np

from .dltensor import TensorView, copy_to_host

logger = logging.getLogger("TensorRT")


class Calibration:
    """Copies of the inputs of the first calls; or the table that TensorRT made of them, once there is one.

    Parameters
    ----------
    symbol : str
        The subgraph, for messages.
    calls : int
        How many calls to keep.
    table : bytes, optional
        The table of an earlier calibration: nothing needs to be kept then.

    Attributes
    ----------
    batches : list of lists of numpy.ndarray
        The inputs of each call, on the host. All calls have the shapes of the first: TensorRT calibrates with one.
    table : bytes, optional
        What TensorRT made of them.
    failed : bool
        Whether TensorRT could make nothing of them.
    """

    def __init__(self, symbol: str, calls: int, table: Optional[bytes] = None) -> None:
        self.batches: List[List[np.ndarray]] = []
        self.table = table
        self.failed = False
        self._symbol = symbol
        self._calls = calls
        self._warned = False

    @property
    def complete(self) -> bool:
        """Whether nothing more needs to be kept."""
        return self.table is not None or len(self.batches) >= self._calls

    @property
    def digest(self) -> Optional[str]:
        """What tells one table from another; None as long as there is no table."""
        return None if self.table is None else hashlib.sha256(self.table).hexdigest()

    @property
    def shapes(self) -> Tuple[Tuple[int, ...], ...]:
        """The shapes of the calls that were kept."""
        return tuple(value.shape for value in self.batches[0])

    def give_up(self, error: Exception) -> None:
        """Go on without int8."""
        self.failed = True
        self.batches.clear()
        logger.warning("%s: computed without int8, as the engine that was calibrated failed: %s", self._symbol, error)

    def keep(self, inputs: Sequence[TensorView]) -> None:
        """Copy the inputs of a call."""
        if self.complete:
            return
        if self.batches and self.shapes != tuple(tensor.shape for tensor in inputs):
            if not self._warned:
                self._warned = True
                logger.warning(
                    "%s: calibration is by calls of the first one's shapes, %s; others are computed in full precision "
                    "and not counted",
                    self._symbol,
                    ", ".join(map(str, self.shapes)),
                )
            return
        self.batches.append([copy_to_host(tensor) for tensor in inputs])
