"""What convolution, pooling and resizing share: layouts, and windows that move over a padded image."""

from __future__ import annotations

import dataclasses
from typing import List, Optional, Sequence

from .registry import OpCall

SPATIAL = "DHW"


@dataclasses.dataclass(frozen=True)
class Window:
    """How a window moves over the spatial dimensions of an image; each attribute has one number for each of them.

    Attributes
    ----------
    strides : sequence of int
        How far it moves.
    before, after : sequence of int
        Padding: how far it begins before the image and ends after it.
    dilation : sequence of int
        The distance between its elements.
    """

    strides: Sequence[int]
    before: Sequence[int]
    after: Sequence[int]
    dilation: Sequence[int]

    def unsqueezed(self) -> Window:
        """The window over an image that has one more dimension, of one element."""
        return Window([*self.strides, 1], [*self.before, 0], [*self.after, 0], [*self.dilation, 1])


def channels_first(layout: str) -> str:
    """The engines' order of a layout's letters: NCHW for NHWC."""
    return "NC" + "".join(letter for letter in SPATIAL if letter in layout)


def spatial_sizes(shape: Sequence[int], layout: str) -> List[int]:
    """The sizes of depth, height and width, as far as ``layout`` has them."""
    return [shape[layout.index(letter)] for letter in SPATIAL if letter in layout]


def misplaced(call: OpCall, layout: str, out_layout: str = "") -> Optional[str]:
    """Why engines cannot take the first operand in ``layout``, or None where they can.

    Any permutation of N, C and one to three spatial letters will do, where the result has the same.
    """
    if out_layout not in ("", layout):
        return f"layout {layout}, output layout {out_layout}: both must be the same"
    if sorted(layout) not in (sorted("NCW"), sorted("NCHW"), sorted("NCDHW")):
        return f"layout {layout}: it must be a permutation of NCW, NCHW or NCDHW"
    if len(call.shape) != len(layout):
        return f"the input {call.inputs[0]} must have the {len(layout)} dimensions of {layout}"
    if layout[0] != "N" and -1 in (*call.shape, *call.outputs[0].shape):
        return f"layout {layout}: the dynamic first dimension must be the batch"
    return None


def moves_batch(call: OpCall) -> bool:
    """Whether dimension 0 is not the batch."""
    return not str(call.attrs["layout"]).startswith("N")


def unfit(call: OpCall, window: Sequence[int], layout: str = "") -> Optional[str]:
    """Why engines cannot move ``window`` over the first operand, or None where they can."""
    before, after = call.padding()
    if min(before + after) < 0:
        return f"padding {call.attrs['padding']}: engines cannot crop"
    image = spatial_sizes(call.shape, layout) if layout else call.shape[2:]
    sizes = [size + b + a for size, b, a in zip(image, before, after)]
    if any(size < extent for size, extent, whole in zip(sizes, window, image) if whole >= 0):
        return f"the window {list(window)} is larger than the padded input {sizes}"
    return None
