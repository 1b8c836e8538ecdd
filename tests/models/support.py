"""What the tests of whole networks share."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

import numpy as np
import tvm

import relay_trt

from ..support import assert_close, compile_library, random, run_library, run_tvm


class Network(NamedTuple):
    """A Relay module, its weights, and the shape of its input ``data``."""

    mod: tvm.IRModule
    params: Dict[str, tvm.nd.NDArray]
    shape: Tuple[int, ...]


def compare(
    network: Network,
    folder: Path,
    target: str = "llvm",
    want: Optional[List[np.ndarray]] = None,
    rtol: float = 1e-3,
    atol: float = 1e-4,
    **options: Any,
) -> None:
    """Assert that the network becomes one subgraph, partitioned with ``options``, and computes ``want``.

    Its input is random; ``want`` is by default what TVM's LLVM code computes from that.
    """
    partitioned, _ = relay_trt.partition_for_tensorrt(network.mod, network.params, **options)
    report = relay_trt.partition_report(partitioned)
    assert (len(report.subgraphs), report.refused) == (1, 0), str(report)
    inputs = {"data": random(network.shape, network.mod["main"].params[0].type_annotation.dtype)}
    if want is None:
        want = run_tvm(network.mod, inputs, network.params)
    path = compile_library(partitioned, folder / "library.so", target)
    assert_close(run_library(path, inputs, tvm.device(target, 0)), want, rtol, atol)
