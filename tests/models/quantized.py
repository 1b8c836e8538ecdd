"""Quantized networks: PyTorch's, by the recipe that makes them symmetric, and ONNX's in both of its forms."""
# mypy: disable-error-code="import-not-found"

from __future__ import annotations

import warnings
from typing import Callable, Dict, List, NamedTuple

import torch
import tvm
from torch import Tensor, nn
from torch.ao.quantization import MinMaxObserver, QConfig, QConfigMapping, default_per_channel_weight_observer
from torch.ao.quantization.quantize_fx import convert_fx, prepare_fx
from tvm import relay

from .stored import weight

#: Activations around the zero point 128 of uint8, weights of int8 with one scale for each channel.
SYMMETRIC = QConfig(
    activation=MinMaxObserver.with_args(dtype=torch.quint8, qscheme=torch.per_tensor_symmetric),
    weight=default_per_channel_weight_observer,
)
SHAPE = (1, 3, 32, 32)


def convolved(inputs: int, outputs: int, window: int = 3, stride: int = 1, groups: int = 1) -> List[nn.Module]:
    convolution = nn.Conv2d(inputs, outputs, window, stride, window // 2, groups=groups, bias=False)
    return [convolution, nn.BatchNorm2d(outputs)]


class BasicBlock(nn.Module):
    """ResNet's block of two convolutions."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(*convolved(inputs, outputs, stride=stride), nn.ReLU(), *convolved(outputs, outputs))
        self.shortcut = nn.Sequential(*convolved(inputs, outputs, 1, stride)) if stride > 1 else nn.Identity()
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.layers(x) + self.shortcut(x))


class InvertedResidual(nn.Module):
    """MobileNet's block: expand, a depthwise convolution, project."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        width = 3 * inputs
        self.residual = inputs == outputs
        self.layers = nn.Sequential(
            *convolved(inputs, width, 1), nn.ReLU(),
            *convolved(width, width, 3, stride, groups=width), nn.ReLU(),
            *convolved(width, outputs, 1),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x) if self.residual else self.layers(x)


def classifier(*blocks: nn.Module, width: int) -> nn.Module:
    stem = [*convolved(3, 8, stride=2), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 10))


NETWORKS: Dict[str, Callable[[], nn.Module]] = {
    "quantized/resnet": lambda: classifier(BasicBlock(8, 8, 1), BasicBlock(8, 16, 2), width=16),
    "quantized/mobilenet": lambda: classifier(InvertedResidual(8, 8, 1), InvertedResidual(8, 16, 2), width=16),
}


class Imported(NamedTuple):
    """A quantized network as PyTorch runs it, and as TVM imports it, with its weights."""

    module: nn.Module
    mod: tvm.IRModule


def imported(name: str) -> Imported:
    module = NETWORKS[name]().eval()
    for key, value in module.state_dict().items():
        if value.is_floating_point():
            value.copy_(torch.from_numpy(weight(key, value.shape)))
    generator = torch.Generator().manual_seed(0)
    samples = [2 * torch.rand(SHAPE, generator=generator) - 1 for _ in range(4)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch announces that this way to quantize will move
        observed = prepare_fx(module, QConfigMapping().set_global(SYMMETRIC), (samples[0],))
        for sample in samples:
            observed(sample)
        quantized = convert_fx(observed)
        traced = torch.jit.trace(quantized, samples[0]).eval()
    with tvm.transform.PassContext(config={"relay.frontend.fill_span": False}):
        # Both that there are: weights to be quantized by the network, and quantized ones.
        keep = {"keep_quantized_weight": name == "quantized/mobilenet"}
        mod, params = relay.frontend.from_pytorch(traced, [("data", SHAPE)], **keep)
    main = relay.build_module.bind_params_by_name(mod["main"], params)
    return Imported(quantized, tvm.IRModule.from_expr(main))
