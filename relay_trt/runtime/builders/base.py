"""What a converter may ask of a network builder.

A converter knows Relay's semantics and speaks to a `NetworkBuilder`; a builder knows one engine. The
methods are in the field's terms, and mean exactly what is written here on every engine.
"""

from __future__ import annotations

import abc
import contextlib
import dataclasses
from typing import Any, Iterator, Mapping, Optional, Sequence, Tuple

import numpy as np

from ...operators.windows import Window

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

    Axes count from the front and are never negative. Sizes of windows and images have one number for each dimension
    behind batch and channel. Any dimension may be dynamic, but for channels and
    where something else is said.
    """

    #: The engine's name in messages.
    engine: str

    #: The operator that is being converted, for the names of layers and for messages.
    scope: str = ""

    #: Whether layers that are added now compute in float32 even where the engine may use float16.
    computes_in_float32: bool = False

    @contextlib.contextmanager
    def full_precision(self) -> Iterator[None]:
        """What is added within computes in float32, even where the engine may use float16 for float32 tensors."""
        before, self.computes_in_float32 = self.computes_in_float32, True
        try:
            yield
        finally:
            self.computes_in_float32 = before

    def constant(self, value: np.ndarray) -> Tensor:
        """A constant. The array is not copied and must not change until the engine is built."""
        value = np.asarray(value)
        return Tensor(value.shape, value.dtype.name, value)

    def scalar(self, value: Any, like: Tensor) -> Tensor:
        """A constant of rank 0, of the dtype of ``like``; it broadcasts to any shape."""
        return self.constant(np.array(value, like.dtype))

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

    # -- arithmetic, element by element ----------------------------------------------------------------------------

    @abc.abstractmethod
    def activation(self, x: Tensor, kind: str, alpha: float = 0.0, beta: float = 0.0) -> Tensor:
        """An activation of floats, element by element.

        ``"relu"``, ``"sigmoid"``, ``"tanh"``; ``"leaky_relu"``: x where x >= 0, else alpha * x; ``"clip"``: x held
        between alpha and beta.
        """

    @abc.abstractmethod
    def prelu(self, x: Tensor, slope: Tensor) -> Tensor:
        """x where x >= 0, else slope * x; the slope broadcasts to x as in numpy. Of floats."""

    @abc.abstractmethod
    def unary(self, x: Tensor, kind: str) -> Tensor:
        """One operand, element by element. Of floats: not every TensorRT takes integers.

        ``"exp"``, ``"log"``, ``"sqrt"``, ``"recip"``, ``"abs"``, ``"neg"``, ``"sign"``, ``"ceil"``, ``"floor"``,
        ``"round"`` (half to even), ``"erf"``, ``"sin"``, ``"cos"``, ``"tan"``, ``"asin"``, ``"acos"``, ``"atan"``,
        ``"sinh"``, ``"cosh"``, ``"asinh"``, ``"acosh"``, ``"atanh"``; of a bool, ``"not"``.
        """

    @abc.abstractmethod
    def elementwise(self, a: Tensor, b: Tensor, kind: str) -> Tensor:
        """Two operands of one dtype, which broadcast as in numpy.

        ``"sum"``, ``"sub"``, ``"prod"``, ``"div"`` (of integers: rounded towards 0), ``"pow"``, ``"max"``, ``"min"``;
        of two bool, ``"and"``, ``"or"``, ``"xor"``. ``"equal"``, ``"greater"`` and ``"less"`` give a bool, of numbers
        alone: cast a bool to int32.
        """

    @abc.abstractmethod
    def select(self, condition: Tensor, a: Tensor, b: Tensor) -> Tensor:
        """a where the bool ``condition`` holds, else b, which are numbers; all three broadcast as in numpy."""

    def cast(self, x: Tensor, dtype: str) -> Tensor:
        """x as float32, float16, int32, int64 or bool; floats are cut off towards 0, and what is not 0 is true."""
        if x.dtype == dtype:
            return x
        if x.value is not None:
            return self.constant(x.value.astype(dtype))
        return self._cast(x, dtype)

    @abc.abstractmethod
    def _cast(self, x: Tensor, dtype: str) -> Tensor:
        """What `cast` does where there is something to do."""

    def scale(self, x: Tensor, scale: Optional[np.ndarray], shift: Optional[np.ndarray], axis: int) -> Tensor:
        """x * scale + shift, one scale and one shift for each index of ``axis``; None leaves that part out."""
        for value, kind in ((scale, "prod"), (shift, "sum")):
            if value is not None:
                along_axis = value.astype(x.dtype, copy=False).reshape((-1,) + (1,) * (x.rank - axis - 1))
                x = self.elementwise(x, self.constant(along_axis), kind)
        return x

    # -- quantized tensors -----------------------------------------------------------------------------------------

    @abc.abstractmethod
    def quantize(self, x: Tensor, scale: np.ndarray, axis: int = 0) -> Tensor:
        """x / scale, rounded half to even and held between -128 and 127, as int8; x is float32.

        ``scale`` is one positive number or, for a constant x, one for each index of ``axis``.
        """

    @abc.abstractmethod
    def dequantize(self, x: Tensor, scale: np.ndarray, axis: int = 0) -> Tensor:
        """x * scale as float32; x is int8, and ``scale`` as for `quantize`."""

    # -- windows ----------------------------------------------------------------------------------------------------

    @abc.abstractmethod
    def convolution(self, x: Tensor, kernel: Tensor, window: Window, groups: int) -> Tensor:
        """Cross-correlation of x (N, C, spatial...) with a kernel (O, C / groups, spatial...).

        One to three spatial dimensions.
        """

    @abc.abstractmethod
    def deconvolution(self, x: Tensor, kernel: Tensor, window: Window, groups: int) -> Tensor:
        """The transpose of a convolution: x (N, C, spatial...) with a constant kernel (C, O / groups, spatial...).

        One to three spatial dimensions. Padding is what is cut off the result, of which each dimension has
        ``(size - 1) * stride + (kernel - 1) * dilation + 1 - before - after`` elements.
        """

    @abc.abstractmethod
    def pooling(
        self,
        x: Tensor,
        kind: str,
        size: Sequence[int],
        window: Window,
        ceil_mode: bool = False,
        count_include_pad: bool = False,
    ) -> Tensor:
        """``"max"`` or ``"average"`` over windows of ``size`` in x (N, C, spatial...); one to three spatial dimensions.

        The elements of a window lie next to each other (a dilation of 1).
        ``ceil_mode`` rounds the number of windows up. ``count_include_pad`` lets an average count padding as zeros.
        """

    @abc.abstractmethod
    def resize(
        self,
        x: Tensor,
        size: Sequence[int],
        mode: str,
        coordinates: str,
        rounding: str = "",
        cubic: float = -0.75,
        scales: Optional[Sequence[float]] = None,
    ) -> Tensor:
        """x (N, C, spatial...) with its spatial dimensions made ``size``.

        Where some of those are dynamic, ``size`` has -1 for them, and ``scales`` says how many times as large each
        spatial dimension becomes.

        ``mode`` is ``"nearest"``, ``"linear"`` or, with two spatial dimensions, ``"cubic"`` with the coefficient
        ``cubic``. ``coordinates``, by ONNX's names, says which place of x each element of the result comes from:
        ``"asymmetric"``, ``"half_pixel"`` or ``"align_corners"``. For ``"nearest"``, ``rounding`` makes that place a
        whole number: ``"floor"``, ``"ceil"``, ``"round_prefer_floor"`` or ``"round_prefer_ceil"``.
        """

    @abc.abstractmethod
    def lrn(self, x: Tensor, size: int, alpha: float, beta: float, bias: float) -> Tensor:
        """x / (bias + alpha / size * sum of squares of ``size`` neighbouring channels) ** beta; x is (N, C, H, W)."""

    # -- sums of products ---------------------------------------------------------------------------------------------

    @abc.abstractmethod
    def matrix_multiply(self, a: Tensor, b: Tensor, transpose_a: bool = False, transpose_b: bool = False) -> Tensor:
        """The product of the last two dimensions of a (..., M, K) and b (..., K, N).

        Leading dimensions broadcast. With ``transpose_a``, a is (..., K, M); with ``transpose_b``, b is (..., N, K).
        """

    # -- along axes ---------------------------------------------------------------------------------------------------

    @abc.abstractmethod
    def softmax(self, x: Tensor, axis: int) -> Tensor:
        """exp(x - max) / sum(exp(x - max)) along ``axis``."""

    @abc.abstractmethod
    def reduce(self, x: Tensor, kind: str, axes: Sequence[int], keep_dims: bool = False) -> Tensor:
        """``"sum"``, ``"prod"``, ``"max"``, ``"min"`` or ``"mean"`` over at least one axis; of numbers."""

    @abc.abstractmethod
    def top_k(self, x: Tensor, k: int, axis: int, largest: bool = True) -> Tuple[Tensor, Tensor]:
        """The k largest or smallest elements along ``axis``, in order, and their indices as int32.

        Which of equal elements come first is not said. TensorRT looks along one of the last four dimensions, which has
        at least two elements, and gives at most 3840.
        """

    # -- moving data --------------------------------------------------------------------------------------------------

    @abc.abstractmethod
    def concatenation(self, tensors: Sequence[Tensor], axis: int) -> Tensor:
        """The tensors one behind the other along ``axis``."""

    def reshape(self, x: Tensor, shape: Sequence[int], sources: Optional[Mapping[int, int]] = None) -> Tensor:
        """x in another shape: 0 copies the dimension at that place, one -1 stands for what remains.

        Further places may have -1 if ``sources`` maps them to the dimensions of x that they copy. A constant stays one.
        """
        if x.value is not None:  # all of its dimensions are known
            sizes = [
                x.shape[(sources or {}).get(place, place)] if size == 0 else size for place, size in enumerate(shape)
            ]
            return self.constant(x.value.reshape(sizes))
        copied = {place: source for place, source in (sources or {}).items() if shape[place] == -1}
        sizes = [0 if copied.get(place) == place else size for place, size in enumerate(shape)]
        if sizes.count(-1) <= 1:
            return self._reshape(x, sizes)
        copied.update({place: place for place, size in enumerate(sizes) if size == 0})
        sizes = [x.shape[copied[place]] if place in copied else size for place, size in enumerate(sizes)]
        copied = {place: source for place, source in copied.items() if x.shape[source] == -1}
        return self._reshape_to(x, self._dimensions(x, sizes, copied), sizes)

    @abc.abstractmethod
    def _reshape(self, x: Tensor, shape: Sequence[int]) -> Tensor:
        """What `reshape` does where x is computed, and no dimension is copied to another place."""

    @abc.abstractmethod
    def _reshape_to(self, x: Tensor, sizes: Tensor, shape: Sequence[int]) -> Tensor:
        """x in the shape that the tensor ``sizes`` has, of which ``shape`` is what is known now."""

    @abc.abstractmethod
    def _shape(self, x: Tensor) -> Tensor:
        """The shape of x as a tensor of int32 or int64."""

    def _dimensions(
        self, x: Tensor, shape: Sequence[int], copied: Mapping[int, int], added: Optional[Mapping[int, int]] = None
    ) -> Tensor:
        """``shape`` as a tensor, at each place of ``copied`` that dimension of x, to which ``added`` may add."""
        sizes = self._shape(x)

        def part(place: int) -> Tensor:
            if place not in copied:
                return self.constant(np.array([shape[place]], sizes.dtype))
            size, more = self.slice(sizes, [copied[place]], [1], [1]), (added or {}).get(place, 0)
            return self.elementwise(size, self.constant(np.array([more], sizes.dtype)), "sum") if more else size

        parts = [part(place) for place in range(len(shape))]
        return self.concatenation(parts, 0) if len(parts) > 1 else parts[0]

    def transpose(self, x: Tensor, permutation: Sequence[int]) -> Tensor:
        """Dimension i of the result is dimension ``permutation[i]`` of x. A constant stays one."""
        if x.value is not None:
            return self.constant(x.value.transpose(permutation))
        return self._transpose(x, permutation)

    @abc.abstractmethod
    def _transpose(self, x: Tensor, permutation: Sequence[int]) -> Tensor:
        """What `transpose` does where x is computed."""

    @abc.abstractmethod
    def slice(self, x: Tensor, start: Sequence[int], size: Sequence[int], stride: Sequence[int]) -> Tensor:
        """``size`` elements of each dimension, from ``start`` on, each ``stride`` behind the last.

        A stride may be negative. Every element must exist. A size of -1 takes the whole of a dynamic dimension.
        """

    @abc.abstractmethod
    def pad(self, x: Tensor, before: Sequence[int], after: Sequence[int], value: float) -> Tensor:
        """x, of numbers, with ``value`` before and after each dimension."""

    @abc.abstractmethod
    def broadcast(self, x: Tensor, shape: Sequence[int]) -> Tensor:
        """x repeated along its dimensions of 1; ``shape`` has x's rank, and -1 leaves a dynamic dimension alone."""

    @abc.abstractmethod
    def gather(self, x: Tensor, indices: Tensor, axis: int) -> Tensor:
        """The slices of x along ``axis`` at ``indices``, of any rank, which take the place of that dimension.

        As ONNX's Gather. Here and below, indices are int32 or int64 and must be at least 0 and inside.
        """

    @abc.abstractmethod
    def gather_elements(self, x: Tensor, indices: Tensor, axis: int) -> Tensor:
        """Element by element, x at the same place but for ``axis``, where ``indices`` says which.

        As ONNX's GatherElements.
        """

    @abc.abstractmethod
    def gather_nd(self, x: Tensor, indices: Tensor, batch_dims: int = 0) -> Tensor:
        """The slices of x at the tuples in the last dimension of ``indices``, as ONNX's GatherND."""

    @abc.abstractmethod
    def scatter_elements(self, x: Tensor, indices: Tensor, updates: Tensor, axis: int) -> Tensor:
        """x with ``updates`` written where ``indices`` says along ``axis``, as ONNX's ScatterElements.

        No place may be written twice.
        """

    @abc.abstractmethod
    def scatter_nd(self, x: Tensor, indices: Tensor, updates: Tensor) -> Tensor:
        """x with ``updates`` written at the tuples in the last dimension of ``indices``, as ONNX's ScatterND.

        No place may be written twice.
        """

    # -- what no other method does ------------------------------------------------------------------------------------

    def tensorrt(self) -> Any:
        """The `TensorRTBuilder` itself, for plugins and for layers that have no method here.

        Raises
        ------
        ConversionError
            Where the engine is another one.
        """
        raise ConversionError(f"{self.scope}: its converter needs TensorRT's own network; {self.engine} has none")
