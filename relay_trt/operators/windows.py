"""What convolution and pooling share: windows that move over a padded image."""

from __future__ import annotations

from typing import Optional, Sequence

from .registry import OpCall


def unfit(call: OpCall, window: Sequence[int]) -> Optional[str]:
    """Why engines cannot move ``window`` over the first operand, or None where they can."""
    before, after = call.padding()
    if min(before + after) < 0:
        return f"padding {call.attrs['padding']}: engines cannot crop"
    sizes = [size + b + a for size, b, a in zip(call.shape[2:], before, after)]
    if any(size < extent for size, extent in zip(sizes, window)):
        return f"the window {list(window)} is larger than the padded input {sizes}"
    return None
