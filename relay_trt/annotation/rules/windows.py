"""What convolution and pooling share: windows that move over a padded image."""

from __future__ import annotations

from typing import List, Optional, Sequence, Tuple

from .registry import OpCall


def padding(call: OpCall) -> Tuple[List[int], List[int]]:
    """Relay's one, two or four numbers as those before and after."""
    numbers: List[int] = call.attrs["padding"]
    if len(numbers) == 4:
        return numbers[:2], numbers[2:]
    both = numbers * 2 if len(numbers) == 1 else numbers
    return both, both


def unfit(call: OpCall, window: Sequence[int]) -> Optional[str]:
    """Why engines cannot move ``window`` over the first operand, or None where they can."""
    before, after = padding(call)
    if min(before + after) < 0:
        return f"padding {call.attrs['padding']}: engines cannot crop"
    sizes = [size + b + a for size, b, a in zip(call.inputs[0].shape[2:], before, after)]
    if any(size < extent for size, extent in zip(sizes, window)):
        return f"the window {list(window)} is larger than the padded input {sizes}"
    return None
