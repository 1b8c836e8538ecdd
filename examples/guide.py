"""The script of TVM's guide to its own TensorRT integration, on relay_trt.

What differs from the guide: the import of partition_for_tensorrt, the import of relay_trt.runtime before
the library is loaded, `llvm` as target where there is no GPU, and random weights, as `pretrained=True`
downloads.

    python examples/guide.py
"""

import mxnet
import numpy as np
import tvm
from mxnet.gluon.model_zoo.vision import get_model
from tvm import relay
from tvm.contrib import graph_executor

# Create a Relay graph from an MXNet ResNet-18 model.
dtype = "float32"
input_shape = (1, 3, 224, 224)
block = get_model("resnet18_v1")
block.initialize(mxnet.init.Xavier())
# MXNet runs this in the background, and reorders the weights in place meanwhile: wait before they are read.
block(mxnet.nd.zeros(input_shape)).wait_to_read()
mod, params = relay.frontend.from_mxnet(block, shape={"data": input_shape}, dtype=dtype)

# Annotate and partition the graph for TensorRT.
from relay_trt import partition_for_tensorrt  # noqa: E402  where the guide has it

mod, config = partition_for_tensorrt(mod, params)

# Build the Relay graph, with the options that partition_for_tensorrt returned.
target = "cuda" if tvm.cuda(0).exist else "llvm"
with tvm.transform.PassContext(opt_level=3, config={"relay.ext.tensorrt.options": config}):
    lib = relay.build(mod, target=target, params=params)

# Export the module.
lib.export_library("compiled.so")

# Load the module and run inference. The first run takes longer: it builds the engine.
import relay_trt.runtime  # noqa: E402, F401  registers what the library calls

dev = tvm.device(target, 0)
loaded_lib = tvm.runtime.load_module("compiled.so")
gen_module = graph_executor.GraphModule(loaded_lib["default"](dev))
input_data = np.random.uniform(0, 1, input_shape).astype(dtype)
gen_module.run(data=input_data)

output = gen_module.get_output(0).numpy()
expected = block(mxnet.nd.array(input_data)).asnumpy()
print(f"output {output.shape}, largest difference from MXNet {np.abs(output - expected).max():.2e}")
