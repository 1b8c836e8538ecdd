"""The environment variables of the runtime, read in one place."""

from __future__ import annotations

import dataclasses
import functools
import logging
import os
from typing import Mapping, Optional, Sequence, Set, Tuple

logger = logging.getLogger("TensorRT")

PREFIX = "TVM_TENSORRT_"
CALIBRATION_CALLS = "TENSORRT_NUM_CALI_INT8"  # the name that TVM's own integration gave it
ENGINES = ("auto", "tensorrt", "onnxruntime")
LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")


@dataclasses.dataclass(frozen=True)
class Settings:
    """What the environment asks of the runtime. None leaves the choice to what was compiled in.

    Attributes
    ----------
    engine : str
        ``TVM_TENSORRT_ENGINE``: ``"tensorrt"``, ``"onnxruntime"``, or ``"auto"``: TensorRT where it works, else
        ONNX Runtime on the CPU.
    use_fp16 : bool, optional
        ``TVM_TENSORRT_USE_FP16``: let TensorRT compute in float16 where that is faster.
    strong_types : bool
        ``TVM_TENSORRT_STRONG_TYPES``: write float16 into the network itself, in place of the flag by which TensorRT
        may, but need not use it. From TensorRT 11 on there is no other way.
    use_int8 : bool
        ``TVM_TENSORRT_USE_INT8``: compute in int8 what TensorRT can, after calibration with the first calls.
    calibration_calls : int, optional
        ``TENSORRT_NUM_CALI_INT8``: how many calls calibrate; ``use_int8`` needs it.
    use_tf32 : bool
        ``TVM_TENSORRT_USE_TF32``: let TensorRT round the operands of float32 convolutions and matrix products to
        TF32, as it does by itself on GPUs that have it.
    max_workspace_size : int, optional
        ``TVM_TENSORRT_MAX_WORKSPACE_SIZE``: bytes of scratch memory for one engine; 0 is as if it were unset.
    builder_level : int, optional
        ``TVM_TENSORRT_BUILDER_LEVEL``: TensorRT's builder optimization level, 0 (quick to build) to 5.
    tactic_sources : tuple of str, optional
        ``TVM_TENSORRT_TACTIC_SOURCES``: the libraries that TensorRT may take kernels from, by TensorRT's names with
        commas between them. Without ``CUBLAS``, ``CUBLAS_LT`` and ``CUDNN`` it does not load those.
    cuda_graph : bool
        ``TVM_TENSORRT_CUDA_GRAPH``: capture calls that come again with the same tensors, and launch what was captured.
    multi_engine : bool
        ``TVM_TENSORRT_MULTI_ENGINE``: one engine for each shape of a dynamic input, rather than one for all up to the
        largest seen.
    max_engines : int
        ``TVM_TENSORRT_MAX_ENGINES``: how many of those a subgraph keeps on one GPU; the least recently used goes.
    cache_dir : str, optional
        ``TVM_TENSORRT_CACHE_DIR``: the directory where engines are kept from one process to the next.
    cache_size : int
        ``TVM_TENSORRT_CACHE_SIZE``: bytes of engines in it; the least recently used go. 0 is no bound.
    strict : bool
        ``TVM_TENSORRT_STRICT``: raise where the runtime would fall back to something else.
    log_level : str, optional
        ``TVM_TENSORRT_LOG_LEVEL``: print the logger `TensorRT` from this level on.
    """

    engine: str = "auto"
    use_fp16: Optional[bool] = None
    strong_types: bool = False
    use_int8: bool = False
    calibration_calls: Optional[int] = None
    use_tf32: bool = True
    max_workspace_size: Optional[int] = None
    builder_level: Optional[int] = None
    tactic_sources: Optional[Tuple[str, ...]] = None
    cuda_graph: bool = True
    multi_engine: bool = False
    max_engines: int = 16
    cache_dir: Optional[str] = None
    cache_size: int = 10 << 30
    strict: bool = False
    log_level: Optional[str] = None

    @classmethod
    def from_environment(cls, environment: Optional[Mapping[str, str]] = None) -> Settings:
        """Read the variables.

        Raises
        ------
        ValueError
            Where a variable is malformed; the message names it and what is accepted.
        """
        variables = _Variables(os.environ if environment is None else environment)
        settings = cls(
            engine=variables.choice("ENGINE", ENGINES) or cls.engine,
            use_fp16=variables.switch("USE_FP16"),
            strong_types=bool(variables.switch("STRONG_TYPES")),
            use_int8=bool(variables.switch("USE_INT8")),
            calibration_calls=variables.number(CALIBRATION_CALLS, "a number of calls above 0", 1),
            use_tf32=variables.switch("USE_TF32") is not False,
            max_workspace_size=variables.number("MAX_WORKSPACE_SIZE", "a number of bytes", 0) or None,
            builder_level=variables.number("BUILDER_LEVEL", "a level from 0 to 5", 0, 5),
            tactic_sources=variables.names("TACTIC_SOURCES"),
            cuda_graph=variables.switch("CUDA_GRAPH") is not False,
            multi_engine=bool(variables.switch("MULTI_ENGINE")),
            max_engines=variables.number("MAX_ENGINES", "a number of engines above 0", 1) or cls.max_engines,
            cache_dir=variables.text("CACHE_DIR"),
            cache_size=_or_default(variables.number("CACHE_SIZE", "a number of bytes", 0), cls.cache_size),
            strict=bool(variables.switch("STRICT")),
            log_level=variables.choice("LOG_LEVEL", LOG_LEVELS),
        )
        variables.warn_of_others()
        if settings.use_int8 and settings.calibration_calls is None:
            raise ValueError(
                f"{PREFIX}USE_INT8 is set, but {CALIBRATION_CALLS} is not: the number of calls to calibrate with"
            )
        return settings


def _or_default(value: Optional[int], default: int) -> int:
    return default if value is None else value


def configure_logging(settings: Settings) -> None:
    """Print what the library logs as ``TVM_TENSORRT_LOG_LEVEL`` asks; without it, Python's own settings hold."""
    if settings.log_level is None:
        return
    logger.setLevel(settings.log_level)
    if not logger.hasHandlers():
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(name)s %(levelname)s: %(message)s"))
        logger.addHandler(handler)


class _Variables:
    """The variables with our prefix; an empty one is as if it were unset."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._values = {
            name: value
            for name, value in environment.items()
            if value and (name.startswith(PREFIX) or name == CALIBRATION_CALLS)
        }
        self._known: Set[str] = set()

    def text(self, name: str) -> Optional[str]:
        name = _full(name)
        self._known.add(name)
        return self._values.get(name)

    def choice(self, name: str, accepted: Sequence[str]) -> Optional[str]:
        value = self.text(name)
        if value is not None and value not in accepted:
            raise ValueError(f"{_full(name)} is {value!r}; accepted are {', '.join(accepted)}")
        return value

    def switch(self, name: str) -> Optional[bool]:
        value = self.choice(name, ("0", "1", "false", "true"))
        return None if value is None else value in ("1", "true")

    def number(self, name: str, what: str, low: int, high: Optional[int] = None) -> Optional[int]:
        value = self.text(name)
        if value is None:
            return None
        if not value.isdecimal() or int(value) < low or (high is not None and int(value) > high):
            raise ValueError(f"{_full(name)} is {value!r}; accepted is {what}")
        return int(value)

    def names(self, name: str) -> Optional[Tuple[str, ...]]:
        value = self.text(name)
        return None if value is None else tuple(part.strip() for part in value.split(","))

    def warn_of_others(self) -> None:
        """A misspelt variable would otherwise be silent."""
        for name in sorted(set(self._values) - self._known):
            known = ", ".join(sorted(self._known))
            _warn_of_unknown(name, known)


def _full(name: str) -> str:
    return name if name == CALIBRATION_CALLS else PREFIX + name


@functools.lru_cache(maxsize=None)  # once in a process: the variables are read for every engine
def _warn_of_unknown(name: str, known: str) -> None:
    logger.warning("%s is set, but this relay_trt has no such variable; it has %s", name, known)
