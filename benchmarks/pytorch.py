"""How long PyTorch takes for one inference: eager, in a CUDA graph, by torch.compile. Imports nothing of TVM.

    python -m benchmarks.pytorch resnet18_v1 [--precisions float32 float16] [--batches 1 8 32]

The networks are torchvision's, with random weights. bench.py runs this in a Python that has PyTorch.
"""

from __future__ import annotations

import argparse
import gc
import json
from pathlib import Path
from typing import Any, Callable, Dict, List

import torch
import torchvision

from .timing import Candidate, compare, failure, timed

# torchvision's names of the networks of MXNet's zoo, and what they are made with besides.
NETWORKS: Dict[str, Any] = {
    "resnet18_v1": ("resnet18", {}),
    "resnet50_v1": ("resnet50", {}),
    "squeezenet1.1": ("squeezenet1_1", {}),
    "mobilenetv2_1.0": ("mobilenet_v2", {}),
    "inceptionv3": ("inception_v3", {"transform_input": False, "aux_logits": False, "init_weights": False}),
    "densenet121": ("densenet121", {}),
    "vgg16": ("vgg16", {}),
}

LAYOUTS = {"NCHW": torch.contiguous_format, "NHWC": torch.channels_last}


def candidate(call: Callable[[], Any], about: str, device: str) -> Candidate:
    """A call that starts a computation on PyTorch's current stream."""
    if device == "cpu":
        return Candidate(call, about=about)
    before, after = (torch.cuda.Event(enable_timing=True) for _ in range(2))

    def on_device() -> float:
        call()  # keeps the device busy until what is timed is enqueued
        before.record()
        call()
        after.record()
        after.synchronize()
        return float(before.elapsed_time(after)) / 1e3

    return Candidate(call, torch.cuda.synchronize, on_device=on_device, about=about)


def eager(model: Any, data: Any, layout: str) -> Candidate:
    return candidate(lambda: model(data), layout, data.device.type)


def in_a_graph(model: Any, data: Any, layout: str) -> Candidate:
    """Captured as PyTorch's manual has it: after calls on another stream, which let cuDNN choose its kernels."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            model(data)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        output = model(data)

    def call(_owner: Any = (model, data, output)) -> None:
        graph.replay()

    return candidate(call, layout, "cuda")


def compiled(model: Any, data: Any, layout: str) -> Candidate:
    """reduce-overhead is the mode that uses CUDA graphs."""
    torch.compiler.reset()  # it gives up on a function that it has compiled too often
    function = torch.compile(model, mode="reduce-overhead" if data.is_cuda else "default")
    seconds = timed(lambda: function(data))
    return candidate(lambda: function(data), f"{layout}, compiled in {seconds:.0f} s", data.device.type)


ROWS = {"pytorch": eager, "pytorch-graph": in_a_graph, "pytorch-compile": compiled}


def measure_row(row: str, network: Any, data: Any, seconds: float) -> Dict[str, Any]:
    """The faster of the two layouts, with the other's time; torch.compile chooses layouts by itself."""
    found: List[Dict[str, Any]] = []
    for layout in ["NCHW"] if row == "pytorch-compile" else LAYOUTS:
        memory_format = LAYOUTS[layout]
        model = network.to(memory_format=memory_format)
        made = ROWS[row](model, data.to(memory_format=memory_format), layout)
        for _ in range(3):
            made.call()
        found.append({**compare({row: made}, seconds)[row].to_dict(), "about": made.about})
        del made, model
    fastest, *others = sorted(found, key=lambda measured: measured["p50"])
    fastest["about"] = ", ".join([fastest["about"], *(f"{one['about']} {one['p50'] * 1e3:.3g} ms" for one in others)])
    return fastest


def measure_rows(arguments: argparse.Namespace, network: Any, dtype: Any, batch: int) -> Dict[str, Any]:
    """The rows of one case; what fails is written down, and the next has its turn."""
    shape = (batch, 3, arguments.image_size, arguments.image_size)
    data = torch.rand(shape, device=arguments.device).mul(2).sub(1).to(dtype)
    rows: Dict[str, Any] = {}
    for row in arguments.rows:
        try:
            rows[row] = measure_row(row, network, data, arguments.seconds)
        except Exception as error:  # out of memory, no compiler: whatever it is, it says nothing about the others
            rows[row] = failure(error)
        gc.collect()
        if arguments.device == "cuda":
            torch.cuda.empty_cache()
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pytorch", description=__doc__.splitlines()[0])
    parser.add_argument("model", choices=NETWORKS, help="by its name in MXNet's zoo")
    parser.add_argument("--image-size", type=int, default=224, help="pixels")
    parser.add_argument("--precisions", nargs="+", default=["float32", "float16"], choices=["float32", "float16"])
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 8, 32], help="images in one call")
    parser.add_argument("--rows", nargs="+", default=list(ROWS), choices=ROWS, help="which ways to run it")
    parser.add_argument("--seconds", type=float, default=1.0, help="how long each is timed at least")
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--output", type=Path, required=True, help="where the JSON goes")
    arguments = parser.parse_args()
    # As TensorRT has it by itself, and the kernels that are fastest here.
    torch.backends.cuda.matmul.allow_tf32 = True
    torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.benchmark = True
    torch.manual_seed(0)
    results: Dict[str, Any] = {"versions": {"torch": torch.__version__, "torchvision": torchvision.__version__}}
    cases: List[Dict[str, Any]] = []
    results["cases"] = cases
    name, options = NETWORKS[arguments.model]
    with torch.inference_mode():
        network = getattr(torchvision.models, name)(weights=None, **options).eval()
        for precision in arguments.precisions:
            dtype = getattr(torch, precision)
            network.to(arguments.device, dtype)
            for batch in arguments.batches:
                rows = measure_rows(arguments, network, dtype, batch)
                cases.append({"precision": precision, "batch": batch, "rows": rows})
                arguments.output.write_text(json.dumps(results), encoding="utf-8")


if __name__ == "__main__":
    main()
