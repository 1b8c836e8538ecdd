"""A network of floats with int8 between `qnn.quantize` and `qnn.dequantize`: how TensorRT is told what to quantize.

As simple as can be, for measuring: scales are those of the largest value seen.
"""

from __future__ import annotations

import os
from typing import Dict, List, Mapping, Optional, Sequence
from unittest import mock

import numpy as np
import tvm
from tvm import relay
from tvm.contrib.graph_executor import GraphModule

import relay_trt
from relay_trt import partition_for_tensorrt
from relay_trt.annotation.expressions import rebuild

# Operators whose weights have the output's channels as their first dimension.
WEIGHTED = ("nn.conv2d", "nn.dense")


def folded(mod: tvm.IRModule) -> tvm.IRModule:
    """Norms as part of the convolutions before them, which is how one quantizes them.

    TVM's passes do it too, but compile each operator of constants: half a minute for a ResNet-50.
    """
    main = mod["main"]
    new: Dict[relay.Expr, relay.Expr] = {}
    norms: Dict[relay.Expr, relay.Expr] = {}  # what became of those that are folded, the first of their results

    def visit(expr: relay.Expr) -> None:
        if _name(expr) == "nn.batch_norm":
            folded_norm = _folded_norm(expr, new)
            if folded_norm is not None:
                norms[expr] = folded_norm
        if isinstance(expr, relay.TupleGetItem) and expr.tuple_value in norms:
            new[expr] = norms[expr.tuple_value]
        else:
            new[expr] = rebuild(expr, new.__getitem__, new.__getitem__)

    relay.analysis.post_order_visit(main, visit)
    return relay.transform.InferType()(tvm.IRModule.from_expr(new[main]))


def _folded_norm(norm: relay.Call, new: Mapping[relay.Expr, relay.Expr]) -> Optional[relay.Expr]:
    """A norm, the convolution before it, and perhaps a bias between, as a convolution and a bias."""
    product, gamma, beta, mean, variance = norm.args
    bias = None
    if _name(product) == "nn.bias_add":
        product, bias = product.args
    if _name(product) != "nn.conv2d":
        return None
    data, weight = product.args
    factor = gamma.data.numpy() / np.sqrt(variance.data.numpy() + norm.attrs.epsilon)
    scaled = weight.data.numpy() * factor.reshape(-1, 1, 1, 1)
    shift = beta.data.numpy() + ((0 if bias is None else bias.data.numpy()) - mean.data.numpy()) * factor
    convolution = relay.Call(product.op, [new[data], relay.const(scaled.astype("float32"))], product.attrs)
    return relay.nn.bias_add(convolution, relay.const(shift.astype("float32")))


def quantized(mod: tvm.IRModule, batches: Sequence[np.ndarray]) -> tvm.IRModule:
    """Quantize what convolutions, dense layers and sums read, and dequantize it: int8 as TensorRT wants to be told.

    Parameters
    ----------
    mod : tvm.IRModule
        A module whose weights are constants, with one input, ``data``.
    batches : sequence of numpy.ndarray
        What to feed it to see the largest value of each tensor, which becomes 127. Weights are quantized by output
        channel.
    """
    main = mod["main"]
    reads = _quantized_operands(main)
    scales = _scales(main, [operand for operands in reads.values() for operand in operands], batches)
    new: Dict[relay.Expr, relay.Expr] = {}
    pairs: Dict[relay.Expr, relay.Expr] = {}  # one for all that read a tensor

    def pair(operand: relay.Expr) -> relay.Expr:
        if operand not in pairs:
            scale, zero = relay.const(scales[operand]), relay.const(0)
            pairs[operand] = relay.qnn.op.dequantize(relay.qnn.op.quantize(new[operand], scale, zero), scale, zero)
        return pairs[operand]

    def visit(expr: relay.Expr) -> None:
        if expr not in reads:
            new[expr] = rebuild(expr, new.__getitem__, new.__getitem__)
            return
        operands = list(map(pair, reads[expr]))
        if _name(expr) in WEIGHTED:
            operands.append(_by_channel(expr.args[1].data.numpy()))
        new[expr] = relay.Call(expr.op, operands, expr.attrs)

    relay.analysis.post_order_visit(main, visit)
    return relay.transform.InferType()(tvm.IRModule.from_expr(new[main]))


def _quantized_operands(function: relay.Function) -> Dict[relay.Call, List[relay.Expr]]:
    """What to quantize, by who reads it: the data of products with constant weights, and both terms of sums."""
    found: Dict[relay.Call, List[relay.Expr]] = {}

    def visit(expr: relay.Expr) -> None:
        if _name(expr) in WEIGHTED and isinstance(expr.args[1], relay.Constant):
            found[expr] = [expr.args[0]]
        elif _name(expr) == "add" and not any(isinstance(term, relay.Constant) for term in expr.args):
            found[expr] = list(expr.args)

    relay.analysis.post_order_visit(function, visit)
    return found


def _name(expr: relay.Expr) -> str:
    """Of the operator that is called, if one is."""
    return expr.op.name if isinstance(expr, relay.Call) and isinstance(expr.op, tvm.ir.Op) else ""


def _scales(
    function: relay.Function, tensors: Sequence[relay.Expr], batches: Sequence[np.ndarray]
) -> Dict[relay.Expr, np.ndarray]:
    """The scale of each tensor within a function; the CPU engine computes what the batches make of them."""
    tensors = list(dict.fromkeys(tensors))
    largest = relay.Tuple([relay.max(relay.abs(tensor)) for tensor in tensors])
    mod = tvm.IRModule.from_expr(relay.Function(function.params, largest))
    mod, _ = partition_for_tensorrt(mod, use_implicit_batch=False)
    with tvm.transform.PassContext(opt_level=3):
        library = relay_trt.load(relay.build(mod, target="llvm"))
    module = GraphModule(library["default"](tvm.cpu(0)))
    seen = []
    with mock.patch.dict(os.environ, {"TVM_TENSORRT_ENGINE": "onnxruntime", "TVM_TENSORRT_CACHE_DIR": ""}):
        for batch in batches:
            module.run(data=batch)
            seen.append([module.get_output(index).numpy() for index in range(len(tensors))])
    return dict(zip(tensors, _scale(np.max(seen, axis=0))))


def _by_channel(weight: np.ndarray) -> relay.Expr:
    """Weights as int8 that are dequantized, with a scale for each output channel."""
    scale = _scale(np.abs(weight).reshape(len(weight), -1).max(1))
    int8 = np.rint(weight / scale.reshape((-1,) + (1,) * (weight.ndim - 1))).astype("int8")
    return relay.qnn.op.dequantize(relay.const(int8), relay.const(scale), relay.const(0), axis=0)


def _scale(largest: np.ndarray) -> np.ndarray:
    """What makes the largest value 127; where all are 0, anything does."""
    return np.where(largest > 0, largest / 127, 1).astype("float32")
