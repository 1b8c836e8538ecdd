"""TensorRT's Python package, imported when it is first asked for and not before."""

from __future__ import annotations

import ctypes
import functools
import sysconfig
from pathlib import Path
from types import ModuleType

from ..build_config import USE_TENSORRT_RUNTIME
from ..options import OLDEST_TENSORRT, parse_version


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
        _load_libraries(USE_TENSORRT_RUNTIME)
    try:
        import tensorrt
        from tensorrt import __version__ as version
    except (ImportError, OSError) as error:
        if isinstance(error, ModuleNotFoundError) and error.name == "tensorrt":
            reason = "is not installed: pip install 'relay_trt[tensorrt]'"
        else:
            reason = f"cannot be imported: {error}"
        raise TensorRTUnavailable(f"TensorRT's Python package {reason}") from error
    if parse_version(version) < OLDEST_TENSORRT:
        oldest = ".".join(map(str, OLDEST_TENSORRT))
        raise TensorRTUnavailable(f"TensorRT {version} is too old: the runtime needs {oldest} or newer")
    return tensorrt


def _load_libraries(tensorrt: str) -> None:
    """Load the libraries of the unpacked TensorRT; its Python package then finds them in the process."""
    # setup.py linked it to them.
    library = Path(__file__).with_name("_libraries" + sysconfig.get_config_var("EXT_SUFFIX"))
    try:
        ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)
    except OSError as error:
        raise TensorRTUnavailable(
            f"the libraries of {tensorrt} (USE_TENSORRT_RUNTIME in config.cmake) cannot be loaded: {error}"
        ) from error
