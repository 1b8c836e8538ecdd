"""Views of TVM's tensors: what the structure in memory says."""

from __future__ import annotations

import ctypes
from typing import Tuple

import numpy as np
import pytest
import tvm

from relay_trt.runtime import dltensor
from relay_trt.runtime.dltensor import TensorView

from .support import view

INTEGERS = [f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)]


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "bool", *INTEGERS])
def test_elements(dtype: str) -> None:
    values = np.arange(6).reshape(2, 3).astype(dtype)
    array = tvm.nd.array(values)
    tensor = view(array)
    assert (tensor.shape, tensor.dtype, tensor.nbytes) == ((2, 3), dtype, values.nbytes)
    assert tensor.is_compact and tensor.on_host
    assert (tensor.device_type, tensor.device_id) == (dltensor.CPU, 0)
    np.testing.assert_array_equal(tensor.numpy(), values)
    assert tensor.numpy().ctypes.data == tensor.address


@pytest.mark.parametrize("dtype", ["bfloat16", "float32x4", "int4"])
def test_types_that_numpy_lacks_have_a_name(dtype: str) -> None:
    array = tvm.nd.empty((2,), dtype)
    assert view(array).dtype == dtype


def test_the_memory_is_shared() -> None:
    array = tvm.nd.array(np.zeros((2, 3), "float32"))
    view(array).numpy()[1, 2] = 5
    assert array.numpy()[1, 2] == 5


def test_a_scalar() -> None:
    array = tvm.nd.array(np.float32(2.5))
    tensor = view(array)
    assert (tensor.shape, tensor.nbytes, tensor.is_compact) == ((), 4, True)
    assert tensor.numpy() == 2.5


def test_no_elements() -> None:
    array = tvm.nd.empty((3, 0, 2), "float32")
    tensor = view(array)
    assert (tensor.nbytes, tensor.is_compact) == (0, True)
    assert tensor.numpy().shape == (3, 0, 2)


class Structure:
    """A DLTensor over an array of numpy, as another library might hand it over."""

    def __init__(self, array: np.ndarray, byte_offset: int = 0, device: Tuple[int, int] = (dltensor.CPU, 0)) -> None:
        self._array = array
        self._shape = (ctypes.c_int64 * array.ndim)(*array.shape)
        self._strides = (ctypes.c_int64 * array.ndim)(*(stride // array.itemsize for stride in array.strides))
        self.tensor = dltensor._DLTensor(
            data=array.ctypes.data - byte_offset,
            device_type=device[0],
            device_id=device[1],
            ndim=array.ndim,
            code=2,
            bits=array.itemsize * 8,
            lanes=1,
            shape=self._shape,
            strides=self._strides,
            byte_offset=byte_offset,
        )

    def view(self) -> TensorView:
        return TensorView(ctypes.addressof(self.tensor))


def test_byte_offset() -> None:
    values = np.arange(6, dtype="float32")
    tensor = Structure(values[2:], byte_offset=8).view()
    assert tensor.address == values.ctypes.data + 8
    np.testing.assert_array_equal(tensor.numpy(), [2, 3, 4, 5])


@pytest.mark.parametrize(
    ("array", "compact"),
    [
        (np.zeros((2, 3, 4), "float32"), True),
        (np.zeros((2, 3, 4), "float32").transpose(0, 2, 1), False),
        (np.zeros((2, 6), "float32")[:, ::2], False),
        (np.zeros((2, 6), "float32")[:, :3], False),
        (np.zeros((4, 6), "float32")[2:], True),
        (np.broadcast_to(np.zeros((1, 3), "float32"), (2, 3)), False),
        (np.zeros((2, 3, 4), "float32")[:, :1, :].transpose(1, 0, 2), False),
        (np.zeros((2, 1, 4), "float32").transpose(1, 0, 2), True),  # the stride of one element counts for nothing
        (np.zeros((0, 6), "float32")[:, ::2], True),
    ],
)
def test_strides(array: np.ndarray, compact: bool) -> None:
    tensor = Structure(array).view()
    assert tensor.shape == array.shape
    assert tensor.is_compact is compact
    if compact:
        np.testing.assert_array_equal(tensor.numpy(), array)


@pytest.mark.parametrize(
    ("device_type", "on_host"), [(dltensor.CPU, True), (dltensor.CUDA_HOST, True), (dltensor.CUDA, False)]
)
def test_devices(device_type: int, on_host: bool) -> None:
    tensor = Structure(np.zeros((2,), "float32"), device=(device_type, 3)).view()
    assert (tensor.on_host, tensor.device_type, tensor.device_id) == (on_host, device_type, 3)


def test_the_structure_is_that_of_tvm() -> None:
    assert ctypes.sizeof(dltensor._DLTensor) == ctypes.sizeof(tvm._ffi.runtime_ctypes.TVMArray)
