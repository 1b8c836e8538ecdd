"""How long compiling takes: partitioning, next to TVM's own way to do it, then building and exporting.

    python -m benchmarks.compile_time [network ...]

Both partition in one process, in turns. Also shown: the passes in which relay_trt's time goes.
"""

from __future__ import annotations

import contextlib
import inspect
import tempfile
import time
from pathlib import Path
from typing import Any, Callable, Dict, List
from unittest import mock

import tvm
from tvm import relay

from . import measure, timing
from .stages import Stages

# TVM's pass list works on the compiler name "tensorrt". Where that name is taken, relay_trt calls itself
# otherwise: take it, and neither asks the other's rules while both partition in one process.
tvm.register_func("relay.ext.tensorrt", lambda function: None, override=True)

import relay_trt.annotation.partition  # noqa: E402
import relay_trt.relay_ir  # noqa: E402
from relay_trt import partition_for_tensorrt  # noqa: E402

Partition = Callable[[], tvm.IRModule]


def tvm_partition(mod: tvm.IRModule, params: Dict[str, Any], options: Dict[str, Any]) -> tvm.IRModule:
    """TVM's own partition_for_tensorrt, as it stands, on a TVM without TensorRT.

    It reads its options from a target of kind "tensorrt", which only a TVM that was built with TensorRT has. The
    functions that read it are replaced by constants, the options of the other side, and the target by nothing. That
    makes TVM a little faster than it is: each of its rules reads the target, and here none does.
    """
    from tvm.relay.op.contrib import tensorrt

    if "target" not in inspect.signature(tensorrt.partition_for_tensorrt).parameters:
        raise SystemExit("TVM 0.8 and 0.9 have no such partition_for_tensorrt; this comparison needs TVM 0.10 or newer")
    answers = {
        "is_tensorrt_compiler_enabled": True,
        "get_tensorrt_version": tuple(options["tensorrt_version"]),
        "get_tensorrt_use_implicit_batch_mode": options["use_implicit_batch"],
        "get_tensorrt_remove_no_mac_subgraphs": options["remove_no_mac_subgraphs"],
        "get_tensorrt_use_fp16": options["use_fp16"],
    }
    with contextlib.ExitStack() as stack:
        for name, answer in answers.items():
            stack.enter_context(mock.patch.object(tensorrt, name, lambda answer=answer: answer))
        # A new IRModule, because TVM binds the parameters into the one that it is given.
        copy = tvm.IRModule(dict(mod.functions), mod.type_definitions)
        return tensorrt.partition_for_tensorrt(copy, params, target=contextlib.nullcontext())


def partition(network: Any, rounds: int) -> Dict[str, Any]:
    """Partition in turns by relay_trt and by TVM; both bind the weights, both within opt_level 3."""
    _, options = partition_for_tensorrt(network.mod, network.params)
    functions: Dict[str, Partition] = {
        "relay_trt": lambda: partition_for_tensorrt(network.mod, network.params)[0],
        "TVM": lambda: tvm_partition(network.mod, network.params, options),
    }

    def at_level(partition: Partition, level: int) -> tvm.IRModule:
        with tvm.transform.PassContext(opt_level=level):
            return partition()

    counts = {
        name: {f"opt_level {level}": subgraphs(at_level(function, level)) for level in (3, 2)}
        for name, function in functions.items()
    }
    timed = {name: lambda f=function: at_level(f, 3) for name, function in functions.items()}
    times = timing.in_turns(timed, rounds)
    ratio = timing.ratio(times["relay_trt"], times["TVM"])
    rows = [
        (name, t.median, t.percentile(90), t.median / times["TVM"].median, *counts[name].values())
        for name, t in times.items()
    ]
    measure.table(
        f"partition, {rounds} calls each in turns, at opt_level 3",
        ["", "median s", "p90 s", "ratio", "subgraphs at opt_level 3", "at 2, TVM's default"],
        rows,
    )
    return {
        "seconds": {name: t.to_dict(50, 90) for name, t in times.items()},
        "ratio": timing.rounded(ratio),
        "subgraphs": counts,
        "where relay_trt's goes": where(functions["relay_trt"]),
    }


def subgraphs(mod: tvm.IRModule) -> int:
    return sum(
        function.attrs is not None and "Compiler" in function.attrs.keys() for function in mod.functions.values()
    )


def where(partition: Partition) -> Dict[str, float]:
    """The parts of one more call, and each one's share. Timing them slows them: the sum is not the median above."""
    stages = Stages()
    with contextlib.ExitStack() as stack:
        stack.enter_context(stages.of_passes())
        stack.enter_context(stages.of_functions("relay_trt.annotation", steps()))
        bind = stages.wrap("bind_params_by_name()", relay.build_module.bind_params_by_name)
        stack.enter_context(mock.patch.object(relay.build_module, "bind_params_by_name", bind))
        stages.wrap("everything else", partition)()
    total = sum(stages.seconds.values())
    parts = sorted(stages.seconds.items(), key=lambda part: -part[1])
    rows = [(name, stages.entered[name], seconds, f"{seconds / total:.0%}") for name, seconds in parts]
    shown = [row for row in rows if row[2] >= 0.005 * total]
    measure.table("where relay_trt's time goes, each line without the others", ["", "calls", "s", "share"], shown)
    return {name: timing.rounded(seconds) for name, seconds in parts if seconds >= 0.005 * total}


def steps() -> List[str]:
    """What partition_for_tensorrt calls of relay_trt, and the rules, which are asked about each operator."""
    called = vars(relay_trt.annotation.partition).items()
    functions = [name for name, value in called if getattr(value, "__module__", "").startswith("relay_trt.annotation")]
    return [*functions, "decide"]


def build(network: Any, rounds: int) -> Dict[str, Any]:
    """relay.build of the partitioned network for the CPU, our part of it, and export_library."""
    partitioned, _ = partition_for_tensorrt(network.mod, network.params)
    seconds: Dict[str, List[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(rounds):
            for part, value in build_once(partitioned, network.params, str(Path(folder) / "library.so")).items():
                seconds.setdefault(part, []).append(value)
    times = {part: timing.Times(values) for part, values in seconds.items()}
    measure.table(
        f"relay.build for llvm of what was partitioned, {rounds} calls",
        ["", "median s", "p90 s"],
        [(part, t.median, t.percentile(90)) for part, t in times.items()],
    )
    return {part: t.to_dict(50, 90) for part, t in times.items()}


def build_once(mod: tvm.IRModule, params: Dict[str, Any], path: str) -> Dict[str, float]:
    # TVM looks the code generator up by name: for a while, that name is a timed one's.
    name = f"relay.ext.{relay_trt.relay_ir.COMPILER}"
    code_generator = tvm.get_global_func(name)
    codegen = Stages()
    tvm.register_func(name, codegen.wrap("codegen", code_generator), override=True)
    try:
        start = time.perf_counter()
        with tvm.transform.PassContext(opt_level=3):
            library = relay.build(mod, target="llvm", params=params)
        end = time.perf_counter()
    finally:
        tvm.register_func(name, code_generator, override=True)
    return {
        "relay.build": end - start,
        "of which relay_trt's codegen": codegen.seconds["codegen"],
        "export_library": timing.timed(lambda: library.export_library(path)),
    }


def main() -> None:
    parser = measure.parser(__doc__.splitlines()[0], "compile_time")
    parser.add_argument("networks", nargs="*", default=["resnet50_v1", "densenet121"], help="of MXNet's model zoo")
    parser.add_argument("--rounds", type=int, default=7, help="how often each is timed")
    arguments = parser.parse_args()
    results = {}
    for name in arguments.networks:
        measure.console.rule(name)
        network = measure.network(name)
        results[name] = {
            "partition": partition(network, arguments.rounds),
            "build": build(network, max(arguments.rounds // 2, 1)),
        }
    measure.write(arguments, "compile_time", results)


if __name__ == "__main__":
    main()
