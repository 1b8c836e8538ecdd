"""Operators of your own: three that relay_trt does not have, each registered in one place.

    python examples/custom_operators.py

A module that registers operators is imported on both machines: where the model is partitioned, as the rules decide
there, and where it runs, as the converters build there.
"""

from typing import Dict, List, Optional

import numpy as np
import tvm
from tvm import relay
from tvm.contrib.graph_executor import GraphModule

import relay_trt.runtime
from relay_trt import OpCall, OpNode, operator, partition_for_tensorrt, partition_report


# 1. One layer. TVM's FastMath pass writes fast_exp for exp; TensorRT has its own fast exp. Its results leave the range
# of float16 soon, which matters where types are chosen.
@operator("fast_exp", half="extreme")
def fast_exp(net, op: OpNode):
    return net.unary(op.inputs[0], "exp")


# 2. Several layers, for some attributes or operands only: the rule says which, and why not the others.
def cross_entropy_rule(call: OpCall) -> Optional[str]:
    """a batch that is known"""
    return "the batch must be known" if call.shape[0] < 0 else None


@operator("nn.cross_entropy", rule=cross_entropy_rule, touches_batch=lambda call: True)
def cross_entropy(net, op: OpNode):
    """-sum(targets * log(predictions)) / batch."""
    predictions, targets = op.inputs
    products = net.elementwise(net.unary(predictions, "log"), targets, "prod")
    total = net.reduce(products, "sum", axes=[0, 1])
    return net.elementwise(total, net.scalar(-predictions.shape[0], total), "div")


# 3. A TensorRT plugin: `net.tensorrt()` gives TensorRT's own network; the CPU engine refuses, and says so.
def roi_align_rule(call: OpCall) -> Optional[str]:
    """NCHW; float32"""
    return f"layout {call.attrs['layout']}: it must be NCHW" if call.attrs["layout"] != "NCHW" else None


@operator(
    "vision.roi_align", since=(8, 5, 0), dtypes=("float32",), rule=roi_align_rule, touches_batch=lambda call: True
)
def roi_align(net, op: OpNode):
    trt_net = net.tensorrt()
    import tensorrt as trt

    image, rois = op.inputs
    count = rois.shape[0]
    boxes = net.slice(rois, [0, 1], [count, 4], [1, 1])  # Relay's rois begin with the index of the image
    images = net.cast(net.reshape(net.slice(rois, [0, 0], [count, 1], [1, 1]), [count]), "int32")
    fields = {
        "coordinate_transformation_mode": np.int32(0),  # as Relay: no shift by half a pixel
        "mode": np.int32(op.attrs["mode"] == "avg"),
        "output_height": np.int32(op.attrs["pooled_size"][0]),
        "output_width": np.int32(op.attrs["pooled_size"][1]),
        "sampling_ratio": np.int32(max(op.attrs["sample_ratio"], 0)),
        "spatial_scale": np.float32(op.attrs["spatial_scale"]),
    }
    trt.init_libnvinfer_plugins(None, "")
    creator = trt.get_plugin_registry().get_plugin_creator("ROIAlign_TRT", "1", "")
    types = {np.int32: trt.PluginFieldType.INT32, np.float32: trt.PluginFieldType.FLOAT32}
    collection = [trt.PluginField(name, np.array([value]), types[type(value)]) for name, value in fields.items()]
    plugin = creator.create_plugin("roi_align", trt.PluginFieldCollection(collection))
    tensors = [trt_net.itensor(tensor) for tensor in (image, boxes, images)]
    return trt_net.outputs(trt_net.network.add_plugin_v2(tensors, plugin), ["float32"])


def compare(name: str, body: relay.Expr, inputs: Dict[str, np.ndarray]) -> None:
    """Offload an expression, run it, and print how far it is from what TVM itself computes."""
    mod = relay.transform.InferType()(tvm.IRModule.from_expr(relay.Function(relay.analysis.free_vars(body), body)))
    partitioned, _ = partition_for_tensorrt(mod, use_implicit_batch=False)
    assert partition_report(partitioned).refused == 0
    outputs: List[np.ndarray] = []
    for module in (mod, partitioned):
        library = relay.build(module, "llvm")
        if module is partitioned:
            library.export_library(f"{name}.so")
            library = tvm.runtime.load_module(f"{name}.so")
        executor = GraphModule(library["default"](tvm.cpu(0)))
        executor.run(**inputs)
        outputs.append(executor.get_output(0).numpy())
    print(f"{name}: largest difference from TVM {np.abs(outputs[0] - outputs[1]).max():.1e}")


if __name__ == "__main__":
    random = np.random.RandomState(0)
    x = random.uniform(0.1, 1.0, (4, 8)).astype("float32")
    data = relay.var("x", shape=x.shape)
    compare("fast_exp", relay.op.tensor._make.fast_exp(data), {"x": x})
    compare("cross_entropy", relay.nn.cross_entropy(data, relay.var("y", shape=x.shape)), {"x": x, "y": x[::-1].copy()})
    if relay_trt.is_tensorrt_runtime_enabled():
        image = random.uniform(size=(2, 3, 16, 16)).astype("float32")
        rois = np.array([[0, 1, 2, 9, 12], [1, 0, 0, 15, 15], [1, 3.5, 4, 8, 7.25]], "float32")
        align = relay.vision.roi_align(
            relay.var("image", shape=image.shape), relay.var("rois", shape=rois.shape), (3, 2), 0.5, 2
        )
        compare("roi_align", align, {"image": image, "rois": rois})
