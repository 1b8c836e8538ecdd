"""What can be chosen when a module is partitioned for TensorRT."""

from __future__ import annotations

import dataclasses
import logging
import numbers
import re
from importlib import metadata
from typing import Any, Dict, Mapping, Optional, Tuple

Version = Tuple[int, int, int]

# The oldest TensorRT that the runtime supports: named tensors and execute_async_v3 came with it.
OLDEST_TENSORRT: Version = (8, 5, 0)

_DISTRIBUTIONS = ("tensorrt", "tensorrt-cu12", "tensorrt-cu13")

logger = logging.getLogger("TensorRT")


@dataclasses.dataclass(frozen=True)
class CompileOptions:
    """The options of one partitioned module; they travel in each of its subgraphs.

    Attributes
    ----------
    tensorrt_version : tuple of three ints
        The TensorRT to compile for. It decides which operators may be offloaded; the runtime refuses
        a subgraph that was compiled for a newer TensorRT than it finds.
    use_implicit_batch : bool
        Leave to TVM what touches the batch (dimension 0), as TensorRT's implicit batch mode demanded.
        A filter only: networks are always built with an explicit batch. TensorRT 10 has no implicit
        batch, so from that version on it is always False.
    remove_no_mac_subgraphs : bool
        Give subgraphs without a multiply-accumulate operator back to TVM.
    max_workspace_size : int
        Bytes of scratch memory that TensorRT may use for one engine.
    use_fp16 : bool
        Let TensorRT compute in float16 where that is faster.
    dynamic_shapes : bool
        Offload operators of which dimensions other than the first are dynamic, too: the subgraphs carry
        profiles. Like TensorRT 10, such networks have no implicit batch.
    """

    tensorrt_version: Version = OLDEST_TENSORRT
    use_implicit_batch: bool = True
    remove_no_mac_subgraphs: bool = False
    max_workspace_size: int = 1 << 30
    use_fp16: bool = False
    dynamic_shapes: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "tensorrt_version", _checked_version(self.tensorrt_version))
        for name in ("use_implicit_batch", "remove_no_mac_subgraphs", "use_fp16", "dynamic_shapes"):
            value = getattr(self, name)
            if value not in (True, False):
                raise TypeError(f"option {name!r} must be True or False, not {value!r}")
            object.__setattr__(self, name, bool(value))
        size = as_integer(self.max_workspace_size)
        if size is None or not 0 < size < 1 << 63:
            raise ValueError(
                f"option 'max_workspace_size' must be a number of bytes above 0, not {self.max_workspace_size!r}"
            )
        object.__setattr__(self, "max_workspace_size", size)
        if self.use_implicit_batch and self.tensorrt_version >= (10, 0, 0):
            logger.info("TensorRT %s has no implicit batch: use_implicit_batch is off", _dotted(self.tensorrt_version))
            object.__setattr__(self, "use_implicit_batch", False)
        if self.dynamic_shapes:
            object.__setattr__(self, "use_implicit_batch", False)

    def to_dict(self) -> Dict[str, Any]:
        """The options as a plain dict that JSON can hold; `from_dict` reads it back."""
        return {**dataclasses.asdict(self), "tensorrt_version": list(self.tensorrt_version)}

    @classmethod
    def from_dict(cls, options: Mapping[str, Any]) -> CompileOptions:
        """Read options from a dict, as `partition_for_tensorrt` returns one.

        Raises
        ------
        ValueError
            Where a name is unknown or a value is out of range.
        TypeError
            Where a value has the wrong type.
        """
        if not isinstance(options, Mapping):
            raise TypeError(f"options are a dict, not {options!r}")
        accepted = [field.name for field in dataclasses.fields(cls)]
        unknown = sorted(set(map(str, options)) - set(accepted))
        if unknown:
            raise ValueError(f"unknown option {', '.join(map(repr, unknown))}; accepted are {', '.join(accepted)}")
        return cls(**{str(name): value for name, value in options.items()})


def installed_tensorrt_version() -> Optional[Version]:
    """The version of the TensorRT Python package of this environment, without importing it."""
    for distribution in _DISTRIBUTIONS:
        try:
            return parse_version(metadata.version(distribution))
        except metadata.PackageNotFoundError:
            continue
    return None


def parse_version(text: str) -> Version:
    """The first three numbers of a version: ``"10.16.1.11"`` is ``(10, 16, 1)``, ``"8.6"`` is ``(8, 6, 0)``."""
    numbers = [int(number) for number in re.findall(r"\d+", text)[:3]]
    major, minor, patch = numbers + [0] * (3 - len(numbers))
    return major, minor, patch


def _checked_version(version: Any) -> Version:
    parts = [as_integer(part) for part in version] if isinstance(version, (list, tuple)) else []
    known = [part for part in parts if part is not None and part >= 0]
    if not len(known) == len(parts) == 3:
        raise ValueError(f"a TensorRT version is three integers, like (8, 6, 1), not {version!r}")
    major, minor, patch = known
    return major, minor, patch


def as_integer(value: Any) -> Optional[int]:
    """An integer of whatever kind, as numpy's, as Python's; None for anything else, which a bool is too."""
    return int(value) if isinstance(value, numbers.Integral) and not isinstance(value, bool) else None


def _dotted(version: Version) -> str:
    return ".".join(map(str, version))
