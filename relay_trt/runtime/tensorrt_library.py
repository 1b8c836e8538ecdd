"""TensorRT's Python package, imported when it is first asked for and not before."""

from __future__ import annotations

import ctypes
import functools
from pathlib import Path
from types import ModuleType

from ..build_config import USE_TENSORRT_RUNTIME
from ..options import OLDEST_TENSORRT, parse_version

# What the Python package is linked to, each after those that it needs itself.
# The parser of Caffe and UFF, libnvparsers, left with TensorRT 10.
_LIBRARIES = ("libnvinfer", "libnvinfer_plugin", "libnvparsers", "libnvonnxparser")


class TensorRTUnavailable(ImportError):
    """There is no TensorRT that the runtime could use; the message says why."""


@functools.lru_cache(maxsize=None)
def load_tensorrt() -> ModuleType:
    """Import TensorRT.

    Returns
    -------
    module
        The Python package ``tensorrt``, 8.5 or newer.

    Raises
    ------
    TensorRTUnavailable
        Where it is not installed, is too old, or its libraries cannot be loaded.
    """
    if isinstance(USE_TENSORRT_RUNTIME, str):
        _preload(Path(USE_TENSORRT_RUNTIME) / "lib")
    try:
        import tensorrt
        from tensorrt import __version__ as version
    except ModuleNotFoundError as error:
        if error.name != "tensorrt":
            raise TensorRTUnavailable(f"TensorRT's Python package cannot be imported: {error}") from error
        raise TensorRTUnavailable(
            "TensorRT's Python package is not installed: pip install 'relay_trt[tensorrt]'"
        ) from error
    except (ImportError, OSError) as error:
        raise TensorRTUnavailable(f"TensorRT's Python package cannot be imported: {error}") from error
    if parse_version(version) < OLDEST_TENSORRT:
        oldest = ".".join(map(str, OLDEST_TENSORRT))
        raise TensorRTUnavailable(f"TensorRT {version} is too old: the runtime needs {oldest} or newer")
    return tensorrt


def _preload(folder: Path) -> None:
    """Load the libraries of an unpacked TensorRT, which its Python package then finds in the process."""
    if not any(folder.glob("libnvinfer.so*")):
        raise TensorRTUnavailable(
            f"there is no libnvinfer.so* in {folder}, the TensorRT that relay_trt was built for "
            "(USE_TENSORRT_RUNTIME in config.cmake)"
        )
    for name in _LIBRARIES:
        # libnvinfer.so, .so.8 and .so.8.6.1 are one library; an installation may lack any of the names.
        for library in sorted(folder.glob(f"{name}.so*"))[:1]:
            try:
                ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)
            except OSError as error:
                raise TensorRTUnavailable(f"TensorRT's library cannot be loaded: {error}") from error
