"""Memory that comes back, and processes that end cleanly, whatever lives when they do."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Dict, List

import numpy as np
import pytest
from tvm import relay

import relay_trt

from ..support import compile_library, module, random

UNITS = 1024
WEIGHTS = UNITS * UNITS * 4  # bytes: 4 MiB
ROOT = Path(relay_trt.__file__).parents[1]

START = """
import gc, json, logging, os, sys, threading, time
logging.basicConfig(level=logging.ERROR, stream=sys.stdout)
import numpy as np
import tvm
from tvm.contrib.graph_executor import GraphModule
import relay_trt.runtime

def load():
    return GraphModule(tvm.runtime.load_module(sys.argv[1])["default"](tvm.cpu(0)))

def run(module):
    module.run(x=np.ones((1, 1024), "float32"))
    return module.get_output(0).numpy()
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One dense layer."""
    x = relay.var("x", shape=(1, UNITS))
    mod = module(relay.Function([x], relay.nn.dense(x, relay.const(random((UNITS, UNITS))))))
    return compile_library(relay_trt.partition_for_tensorrt(mod)[0], tmp_path_factory.mktemp("memory") / "library.so")


def run_script(script: str, library: Path, *arguments: str) -> str:
    """What another process prints, errors of engines included; it must end well and say nothing else."""
    command = [sys.executable, "-W", "error::ResourceWarning", "-c", START + script, str(library), *arguments]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=580)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


CYCLES = """
import ctypes
from relay_trt.runtime import cuda
from relay_trt.runtime.module import live_subgraphs

libc = ctypes.CDLL(None)
PAGE = os.sysconf("SC_PAGE_SIZE")

def taken():
    gc.collect()
    libc.malloc_trim(0)  # what is free, but kept for later, is not taken
    with open("/proc/self/statm") as file:
        host = int(file.read().split()[1]) * PAGE
    if os.environ["TVM_TENSORRT_ENGINE"] == "tensorrt":
        return host, -cuda.call("cudaMemGetInfo")  # less the free bytes
    return host, 0

def settled():
    # When it does not change any more: a thread frees what is dropped.
    before, now = None, taken()
    while now != before:
        time.sleep(0.02)
        before, now = now, taken()
    return now

gc.freeze()  # what is there by now is not looked through again
alive, dropped = [], []
for cycle in range(int(sys.argv[2])):
    module = load()
    for _ in range(3):  # on a GPU, the third is launched as the second was captured
        run(module)
    measured = cycle % 10 == 9
    if measured:
        alive.append(taken())
    del module
    end = time.monotonic() + 10
    while len(live_subgraphs):  # a thread frees them
        assert time.monotonic() < end, "the engine is still there"
        time.sleep(0.0005)
    if measured:
        dropped.append(settled())
print(json.dumps({name: list(zip(*values)) for name, values in (("alive", alive), ("dropped", dropped))}))
"""


def slope(values: List[int]) -> float:
    """By how much values grow from one to the next: the median over all pairs (Theil and Sen), which bears outliers.

    One is a measurement while the thread that frees an engine has just begun.
    """
    pairs = itertools.combinations(enumerate(values), 2)
    return float(np.median([(b - a) / (j - i) for (i, a), (j, b) in pairs]))


def test_memory_levels_off(engine: str, library: Path) -> None:
    """Load, build, run and drop, again and again: the bound is a small part of what one engine holds."""
    cycles, bound = (200, 256 << 10) if engine == "tensorrt" else (100, 16 << 10)
    taken: Dict[str, List[List[int]]] = json.loads(run_script(CYCLES, library, str(cycles)))
    for where, alive, dropped in zip(("host", "device"), taken["alive"], taken["dropped"]):
        growth = slope(dropped[len(dropped) // 2 :]) / 10  # every tenth cycle is measured
        held = float(np.median(np.subtract(alive, dropped)))
        print(f"{engine}, {where}: {growth / 1024:.1f} KiB a cycle, and an engine holds {held / (1 << 20):.0f} MiB")
        assert growth < bound
        if where == ("device" if engine == "tensorrt" else "host"):  # what was measured is the engine's
            assert held > 0.9 * WEIGHTS


# The process ends

ENDS = {
    "alive at the end": "module = load(); run(module)",
    "deleted first": "module = load(); run(module); del module",
    "an engine whose library is closed": """
import relay_trt
library = tvm.runtime.load_module(sys.argv[1])
module = GraphModule(library["default"](tvm.cpu(0)))
run(module)
(subgraph,) = relay_trt.subgraphs(library)
del module, library
""",
    "alive in a thread": """
module = load()
ready = threading.Event()
def hold(module):
    run(module)
    ready.set()
    threading.Event().wait()
threading.Thread(target=hold, args=(module,), daemon=True).start()
ready.wait()
del module
""",
    "daemon threads in the middle of calls": """
def work():
    module = load()
    while True:
        run(module)
for _ in range(4):
    threading.Thread(target=work, daemon=True).start()
time.sleep(0.5)
""",
    "a daemon thread in its first call": """
def work():
    module = load()
    ready.set()
    run(module)
ready = threading.Event()
threading.Thread(target=work, daemon=True).start()
ready.wait()
""",
    "a thread that goes on after the main one": """
def work():
    module = load()
    time.sleep(0.3)
    run(module)
threading.Thread(target=work).start()
""",
    "sys.exit in a thread": """
def work():
    module = load()
    run(module)
    sys.exit(3)
thread = threading.Thread(target=work)
thread.start()
thread.join()
""",
    "sys.exit in a function": """
def work():
    module = load()
    run(module)
    sys.exit()
work()
""",
    "a run at exit": """
import atexit
module = load()
atexit.register(lambda: run(module))
""",
}


@pytest.mark.parametrize("end", ENDS)
def test_a_process_ends_cleanly(engine: str, end: str, library: Path) -> None:
    assert run_script(ENDS[end], library) == ""
