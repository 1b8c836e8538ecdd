"""The tensors that TVM hands over: `DLTensor` structures, by address.

They are read here rather than through TVM's Python classes: the structure has been the same since DLPack
0.2 (TVM 0.8 to 0.19 all have it), and no object has to be made for each tensor of each call.
"""

from __future__ import annotations

import ctypes
import functools
import math
from typing import Any, Optional, Tuple

import numpy as np
import tvm

from . import cuda

CPU, CUDA, CUDA_HOST = 1, 2, 3  # DLDeviceType
_KINDS = {0: "int", 1: "uint", 2: "float", 4: "bfloat"}  # DLDataTypeCode


class _DLTensor(ctypes.Structure):
    _fields_ = [
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    ]


class TensorView:
    """A tensor somewhere in memory that belongs to somebody else.

    Attributes
    ----------
    handle : int
        The address of the ``DLTensor``.
    address : int
        Where its elements lie, on its device.
    shape : tuple of int
        Its dimensions.
    dtype : str
        Its type, as numpy names it.
    device_type, device_id : int
        Where it lies, in DLPack's numbers.
    """

    __slots__ = ("_strides", "address", "device_id", "device_type", "dtype", "handle", "shape")

    def __init__(self, handle: int) -> None:
        tensor = _DLTensor.from_address(handle)
        ndim = tensor.ndim
        self.handle = handle
        self.address = (tensor.data or 0) + tensor.byte_offset
        self.shape: Tuple[int, ...] = tuple(tensor.shape[:ndim]) if ndim else ()
        self.dtype = _dtype(tensor.code, tensor.bits, tensor.lanes)
        self.device_type: int = tensor.device_type
        self.device_id: int = tensor.device_id
        self._strides: Optional[Tuple[int, ...]] = tuple(tensor.strides[:ndim]) if ndim and tensor.strides else None

    @property
    def raw_dtype(self) -> int:
        """Its type as DLPack has it: code, bits and lanes in four bytes."""
        return ctypes.c_uint32.from_address(self.handle + _DLTensor.code.offset).value

    @property
    def on_host(self) -> bool:
        """Whether the CPU can read it."""
        return self.device_type in (CPU, CUDA_HOST)

    @property
    def nbytes(self) -> int:
        """The size of its elements, in bytes."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize

    @property
    def is_compact(self) -> bool:
        """Whether its elements follow each other in row-major order."""
        if self._strides is None or 0 in self.shape:
            return True
        expected = 1
        for dimension, stride in zip(reversed(self.shape), reversed(self._strides)):
            if dimension != 1 and stride != expected:
                return False
            expected *= dimension
        return True

    def numpy(self) -> np.ndarray:
        """The elements as an array that shares their memory. Only for a compact tensor on the host."""
        dtype = np.dtype(self.dtype)
        if self.nbytes == 0:
            return np.empty(self.shape, dtype)
        memory: Any = (ctypes.c_uint8 * self.nbytes).from_address(self.address)
        return np.frombuffer(memory, dtype).reshape(self.shape)


def tvm_array(tensor: TensorView) -> tvm.nd.NDArray:
    """A tensor as TVM's own, sharing its memory: for copies between devices. It must not outlive the tensor."""
    handle = ctypes.cast(tensor.handle, tvm._ffi.runtime_ctypes.TVMArrayHandle)
    return tvm.nd.NDArray(handle, is_view=True)


def copy_to_host(tensor: TensorView) -> np.ndarray:
    """A copy of a compact tensor's elements, wherever they lie, as the work on TVM's current stream leaves them."""
    if tensor.on_host:
        return tensor.numpy().copy()
    # TVM copies on the default stream, which does not wait for others.
    stream = ctypes.c_void_p(cuda.current_stream() or None)
    tvm.runtime.Device(tensor.device_type, tensor.device_id).sync(stream)
    return tvm_array(tensor).numpy()


@functools.lru_cache(maxsize=None)
def _dtype(code: int, bits: int, lanes: int) -> str:
    """A DLDataType as numpy names it."""
    if (code, bits) == (1, 1):
        name = "bool"
    else:
        name = f"{_KINDS.get(code, f'type{code}_')}{bits}"
    return name if lanes == 1 else f"{name}x{lanes}"
