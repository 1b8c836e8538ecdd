"""Run an exported library where there is no compiler: on a Jetson, or in a process that knows nothing of one.

Only numpy, TVM's runtime library and relay_trt.runtime are needed.

    python examples/run.py compiled.so input.npy output.npy
"""

import sys
import time

import numpy as np
import tvm
from tvm.contrib.graph_executor import GraphModule

import relay_trt.runtime  # noqa: F401  registers what the library calls


def main(library: str, input_file: str, output_file: str) -> None:
    device = tvm.cuda(0) if tvm.cuda(0).exist else tvm.cpu(0)
    module = GraphModule(tvm.runtime.load_module(library)["default"](device))
    data = np.load(input_file)
    milliseconds = []
    for _ in range(20):
        start = time.perf_counter()
        module.run(data=data)
        output = module.get_output(0).numpy()  # waits for the device
        milliseconds.append((time.perf_counter() - start) * 1e3)
    np.save(output_file, output)
    print(f"on {device}: first run {milliseconds[0]:.0f} ms, which builds the engine; then {min(milliseconds):.2f} ms")


if __name__ == "__main__":
    main(*sys.argv[1:])
