"""What a converter may ask of a network builder.

A converter knows Relay's semantics and speaks to a `NetworkBuilder`; a builder knows one engine. The
methods are in the field's terms, and mean exactly what is written here on every engine.
"""

from __future__ import annotations

import abc
import dataclasses
from typing import Any, Optional, Sequence, Tuple

import numpy as np

Shape = Tuple[int, ...]


class ConversionError(RuntimeError):
    """A subgraph cannot be expressed as a network of the engine; the message names the operator."""


@dataclasses.dataclass(frozen=True, eq=False)
class Tensor:
    """A tensor of a network.

    Attributes
    ----------
    shape : tuple of int
        Its dimensions; -1 where they are not known before run time.
    dtype : str
        Its type, as numpy names it.
    value : numpy.ndarray, optional
        The values of a constant; None for what is computed.
    handle : object
        The engine's own tensor; None for a constant that no layer has needed as a tensor yet.
    """

    shape: Shape
    dtype: str
    value: Optional[np.ndarray] = None
    handle: Any = None

    @property
    def rank(self) -> int:
        """The number of dimensions."""
        return len(self.shape)


class NetworkBuilder(abc.ABC):
    """Collects the layers of one network.

    Axes count from the front and are never negative. Spatial arguments (``strides``, ``dilation``, ...) have
    one number for each dimension behind batch and channel.
    """

    #: The engine's name in messages.
    engine: str

    #: The operator that is being converted, for the names of layers and for messages.
    scope: str = ""

    def constant(self, value: np.ndarray) -> Tensor:
        """A constant. The array is not copied and must not change until the engine is built."""
        value = np.asarray(value)
        return Tensor(value.shape, value.dtype.name, value)

    def values(self, constant: Tensor) -> np.ndarray:
        """The values of a constant.

        Raises
        ------
        ConversionError
            Where the tensor is computed by the network.
        """
        if constant.value is None:
            raise ConversionError(f"{self.scope}: this operand must be a constant")
        return constant.value

    @abc.abstractmethod
    def input(self, name: str, shape: Shape, dtype: str) -> Tensor:
        """A network input; -1 marks a dynamic dimension."""

    @abc.abstractmethod
    def output(self, tensor: Tensor, name: str) -> None:
        """Make ``tensor`` the network's next output. The same tensor, an input or a constant may be one."""

    @abc.abstractmethod
    def activation(self, x: Tensor, kind: str, alpha: float = 0.0, beta: float = 0.0) -> Tensor:
        """An activation, element by element.

        ``"relu"``, ``"sigmoid"``, ``"tanh"``; ``"leaky_relu"``: x where x >= 0, else alpha * x; ``"clip"``: x held
        between alpha and beta.
        """

    @abc.abstractmethod
    def unary(self, x: Tensor, kind: str) -> Tensor:
        """``"exp"``, ``"log"``, ``"sqrt"``, ``"abs"``, ``"neg"``, ``"sin"``, ``"cos"``, ``"atan"``, ``"ceil"``,
        ``"floor"`` or ``"erf"``, element by element.
        """

    @abc.abstractmethod
    def elementwise(self, a: Tensor, b: Tensor, kind: str) -> Tensor:
        """``"sum"``, ``"sub"``, ``"prod"``, ``"div"``, ``"pow"``, ``"max"`` or ``"min"``.

        Operands broadcast as in numpy.
        """

    @abc.abstractmethod
    def scale(self, x: Tensor, scale: Optional[np.ndarray], shift: Optional[np.ndarray], axis: int) -> Tensor:
        """x * scale + shift, one scale and one shift for each index of ``axis``; None leaves that part out."""

    @abc.abstractmethod
    def convolution(
        self,
        x: Tensor,
        kernel: Tensor,
        strides: Sequence[int],
        pre_padding: Sequence[int],
        post_padding: Sequence[int],
        dilation: Sequence[int],
        groups: int,
    ) -> Tensor:
        """Cross-correlation of x (N, C, spatial...) with a constant kernel (O, C / groups, spatial...)."""

    @abc.abstractmethod
    def pooling(
        self,
        x: Tensor,
        kind: str,
        window: Sequence[int],
        strides: Sequence[int],
        pre_padding: Sequence[int],
        post_padding: Sequence[int],
        ceil_mode: bool = False,
        count_include_pad: bool = False,
    ) -> Tensor:
        """``"max"`` or ``"average"`` over windows of x (N, C, spatial...).

        ``ceil_mode`` rounds the number of windows up. ``count_include_pad`` lets an average count padding as zeros.
        """

    @abc.abstractmethod
    def matrix_multiply(self, a: Tensor, b: Tensor, transpose_b: bool = False) -> Tensor:
        """The product of the last two dimensions of a (..., M, K) and b (..., K, N).

        Leading dimensions broadcast. With ``transpose_b``, b is (..., N, K).
        """

    @abc.abstractmethod
    def softmax(self, x: Tensor, axis: int) -> Tensor:
        """exp(x - max) / sum(exp(x - max)) along ``axis``."""

    @abc.abstractmethod
    def concatenation(self, tensors: Sequence[Tensor], axis: int) -> Tensor:
        """The tensors one behind the other along ``axis``."""

    @abc.abstractmethod
    def reshape(self, x: Tensor, shape: Sequence[int]) -> Tensor:
        """x in another shape: 0 copies the dimension at that place, one -1 stands for what remains."""

    @abc.abstractmethod
    def transpose(self, x: Tensor, permutation: Sequence[int]) -> Tensor:
        """Dimension i of the result is dimension ``permutation[i]`` of x."""
