"""Shapes that several families of operators ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING, List, Sequence

if TYPE_CHECKING:
    from ..runtime.builders import NetworkBuilder, Tensor


def sizes(shape: Sequence[int]) -> List[int]:
    """``shape`` as `NetworkBuilder.reshape` takes it: a dynamic first dimension is copied."""
    return [0 if dimension < 0 else dimension for dimension in shape]


def reordered(net: NetworkBuilder, x: Tensor, before: str, after: str) -> Tensor:
    """x, whose dimensions have the letters ``before``, in the order ``after``."""
    return x if before == after else net.transpose(x, [before.index(letter) for letter in after])


def with_one(net: NetworkBuilder, x: Tensor, axis: int) -> Tensor:
    """x with a dimension of 1 more, which becomes dimension ``axis``."""
    sources = {place if place < axis else place + 1: place for place in range(x.rank)}
    return net.reshape(x, [*x.shape[:axis], 1, *x.shape[axis:]], sources)


def along_axis(net: NetworkBuilder, values: Tensor, axis: int, rank: int) -> Tensor:
    """``values``, one for each index of ``axis``, such that they broadcast to a tensor of ``rank``."""
    return net.reshape(values, [-1] + [1] * (rank - axis - 1))
