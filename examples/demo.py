"""ResNet-18 from MXNet to numbers: partitioned, built, exported, run in another process, and compared.

An argument, if given, is the folder for what it makes.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import mxnet
import numpy as np
import tvm
from mxnet.gluon.model_zoo.vision import get_model
from tvm import relay
from tvm.contrib.graph_executor import GraphModule

from relay_trt import partition_for_tensorrt, partition_report

SHAPE = (1, 3, 224, 224)


def main(folder: Path) -> None:
    print("1. ResNet-18 from MXNet to Relay (random weights)")
    mxnet.random.seed(0)
    block = get_model("resnet18_v1")
    block.initialize(mxnet.init.Xavier())
    # MXNet makes the weights only now, in the background: wait before they are read.
    block(mxnet.nd.zeros(SHAPE)).wait_to_read()
    mod, params = relay.frontend.from_mxnet(block, shape={"data": SHAPE})

    print("2. Partition, build, export")
    start = time.perf_counter()
    partitioned, config = partition_for_tensorrt(mod, params)
    print(partition_report(partitioned))
    target = "cuda" if tvm.cuda(0).exist else "llvm"
    with tvm.transform.PassContext(opt_level=3, config={"relay.ext.tensorrt.options": config}):
        library = relay.build(partitioned, target=target, params=params)
    path = folder / "compiled.so"
    library.export_library(str(path))
    seconds, megabytes = time.perf_counter() - start, path.stat().st_size / 1e6
    print(f"   {path} for {target}: {megabytes:.1f} MB, in {seconds:.1f} s")

    print("3. Run it in a process that imports numpy, tvm and relay_trt.runtime only", flush=True)
    data = np.random.RandomState(0).uniform(0, 1, SHAPE).astype("float32")
    np.save(folder / "input.npy", data)
    runner = Path(__file__).with_name("run.py")
    subprocess.run([sys.executable, runner, path, folder / "input.npy", folder / "output.npy"], check=True)
    output = np.load(folder / "output.npy")

    print("4. Compare with what TVM computes by itself (its own compilation takes half a minute)", flush=True)
    with tvm.transform.PassContext(opt_level=3):
        library = relay.build(mod, target="llvm", params=params)
    module = GraphModule(library["default"](tvm.cpu(0)))
    module.run(data=data)
    expected = module.get_output(0).numpy()
    difference = np.abs(output - expected).max() / np.abs(expected).max()
    agree = bool(difference <= 1e-3)
    verdict = "the same" if agree else "WRONG"
    print(f"   {output.size} numbers, largest difference {difference:.1e} of the largest: {verdict}")
    sys.exit(0 if agree else 1)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    with tempfile.TemporaryDirectory() as temporary:
        main(Path(temporary))
