"""The registry of converters: how each Relay operator becomes layers of a network.

A converter is a function of the network builder and an `OpNode`. It returns the operator's output, or a
list where there are several. A rule of the same name in `relay_trt.annotation.rules` says under which
attributes the operator gets here; a converter need not check them again.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Callable, Dict, List, Mapping, Sequence, Tuple, Union

from ...graph import TensorSpec
from ..builders import NetworkBuilder, Tensor


@dataclasses.dataclass(frozen=True)
class OpNode:
    """One operator to convert.

    Attributes
    ----------
    name : str
        The Relay operator.
    attrs : dict
        Its Relay attributes as plain values.
    inputs : tuple of Tensor
        Its operands, tuples flattened; ``value`` of a constant one holds its values.
    outputs : tuple of TensorSpec
        The shapes and dtypes that Relay inferred for its outputs.
    """

    name: str
    attrs: Mapping[str, Any]
    inputs: Tuple[Tensor, ...]
    outputs: Tuple[TensorSpec, ...]

    def axis(self, name: str = "axis") -> int:
        """The attribute ``name``, an axis of the first operand, counted from the front."""
        axis = int(self.attrs[name])
        return axis + self.inputs[0].rank if axis < 0 else axis

    def padding(self) -> Tuple[List[int], List[int]]:
        """The attribute ``padding`` before and after each of two dimensions; Relay has one, two or four numbers."""
        padding = self.attrs["padding"]
        if len(padding) == 4:
            return padding[:2], padding[2:]
        both = padding * 2 if len(padding) == 1 else padding
        return both, both


Converter = Callable[[NetworkBuilder, OpNode], Union[Tensor, Sequence[Tensor]]]

CONVERTERS: Dict[str, Converter] = {}


def converter(*ops: str) -> Callable[[Converter], Converter]:
    """Register the decorated function for ``ops``.

    Raises
    ------
    ValueError
        Where one of them has a converter already.
    """

    def register(function: Converter) -> Converter:
        for op in ops:
            if op in CONVERTERS:
                raise ValueError(f"operator {op!r} has a converter already")
            CONVERTERS[op] = function
        return function

    return register
