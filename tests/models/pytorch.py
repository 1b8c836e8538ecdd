"""PyTorch networks of the kinds that are deployed most, small enough for TVM's LLVM code to check."""
# mypy: disable-error-code="import-not-found"

from __future__ import annotations

import math
from typing import Callable, Dict, List, NamedTuple, Sequence, Tuple

import torch
import tvm
from torch import Tensor, nn
from torch.nn import functional
from tvm import relay

from .stored import weight


class Network(NamedTuple):
    """What makes the network, and the shape of its input."""

    make: Callable[[], nn.Module]
    shape: Tuple[int, ...]


class Attention(nn.Module):
    """Multi-head self-attention from linear layers, matrix products and a softmax."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.size = heads, width // heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        batch, length, width = x.shape
        qkv = self.qkv(x).reshape(batch, length, 3, self.heads, self.size).permute(2, 0, 3, 1, 4)
        query, key, value = qkv[0], qkv[1], qkv[2]
        scores = torch.matmul(query, key.transpose(-2, -1)) / math.sqrt(self.size)
        x = torch.matmul(torch.softmax(scores, dim=-1), value)
        return self.out(x.permute(0, 2, 1, 3).reshape(batch, length, width))


class EncoderBlock(nn.Module):
    """A transformer's encoder block that normalizes before each part, as vision transformers do."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.mlp_norm = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.attention_norm(x))
        return x + self.mlp(self.mlp_norm(x))


class VisionTransformer(nn.Module):
    """Patches, a class token, positions, encoder blocks, and a head on the class token."""

    def __init__(self, image: int = 32, patch: int = 8, width: int = 48, heads: int = 4, depth: int = 2) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, patch, stride=patch)
        self.class_token = nn.Parameter(torch.zeros(1, 1, width))
        self.positions = nn.Parameter(torch.zeros(1, (image // patch) ** 2 + 1, width))
        self.blocks = nn.Sequential(*(EncoderBlock(width, heads) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.class_token.expand(x.shape[0], -1, -1), x], dim=1) + self.positions
        return self.head(self.norm(self.blocks(x))[:, 0])


def conv_block(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
    )


class UNet(nn.Module):
    """Three levels down and up, each way up by another means."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.ModuleList([conv_block(3, 8), conv_block(8, 16), conv_block(16, 32)])
        self.pool = nn.MaxPool2d(2)
        self.bottom = conv_block(32, 32)
        self.transposed = nn.ConvTranspose2d(32, 16, 2, stride=2)
        self.up = nn.ModuleList([conv_block(16 + 32, 16), conv_block(16 + 16, 8), conv_block(8 + 8, 8)])
        self.head = nn.Conv2d(8, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        skips = []
        for block in self.down:
            skips.append(block(x))
            x = self.pool(skips[-1])
        x = self.transposed(self.bottom(x))
        x = self.up[0](torch.cat([x, skips[2]], dim=1))
        x = functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
        x = self.up[1](torch.cat([x, skips[1]], dim=1))
        x = functional.interpolate(x, scale_factor=2, mode="nearest")
        return self.head(self.up[2](torch.cat([x, skips[0]], dim=1)))


class YoloHead(nn.Module):
    """Two scales of boxes, decoded as YOLOv5 does: centre and size in pixels, then confidences."""

    anchors: Tensor

    def __init__(self, image: int = 64, strides: Sequence[int] = (8, 16), classes: int = 3) -> None:
        super().__init__()
        self.strides, self.values = strides, classes + 5
        self.backbone = nn.ModuleList([conv_block(3, 16, 4), conv_block(16, 16, 2), conv_block(16, 32, 2)])
        self.heads = nn.ModuleList([nn.Conv2d(16, 3 * self.values, 1), nn.Conv2d(32, 3 * self.values, 1)])
        self.register_buffer("anchors", torch.ones(len(strides), 1, 3, 1, 1, 2))
        # Not a buffer, as in YOLOv5: it comes into the traced graph as a constant.
        self.grids: List[Tensor] = []
        for stride in strides:
            size = torch.arange(image // stride, dtype=torch.float32)
            y, x = torch.meshgrid(size, size, indexing="ij")
            self.grids.append(torch.stack((x, y), dim=-1)[None, None])

    def decode(self, x: Tensor, scale: int) -> Tensor:
        batch, _, height, width = x.shape
        x = x.view(batch, 3, self.values, height, width).permute(0, 1, 3, 4, 2).contiguous().sigmoid()
        xy = (x[..., 0:2] * 2 - 0.5 + self.grids[scale]) * self.strides[scale]
        wh = (x[..., 2:4] * 2) ** 2 * self.anchors[scale]
        return torch.cat((xy, wh, x[..., 4:]), dim=-1).view(batch, -1, self.values)

    def forward(self, x: Tensor) -> Tensor:
        fine = self.backbone[1](self.backbone[0](x))
        coarse = self.backbone[2](fine)
        return torch.cat([self.decode(self.heads[0](fine), 0), self.decode(self.heads[1](coarse), 1)], dim=1)


class Video3d(nn.Module):
    """A 3-D convolution network over frames, height and width, which classifies."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv3d(3, 8, 3, padding=1, bias=False),
            nn.BatchNorm3d(8),
            nn.ReLU(),
            nn.MaxPool3d((1, 2, 2)),
            nn.Conv3d(8, 16, 3, stride=(1, 2, 2), padding=1),
            nn.ReLU(),
            nn.AvgPool3d(2),
            nn.ConvTranspose3d(16, 8, 2, stride=2),
            nn.BatchNorm3d(8),
            nn.ReLU(),
            nn.AdaptiveAvgPool3d(1),
        )
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x).flatten(1))


class SqueezeExcitation(nn.Module):
    """Scales each channel by what all channels' means say."""

    def __init__(self, channels: int, reduced: int) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.reduce = nn.Conv2d(channels, reduced, 1)
        self.expand = nn.Conv2d(reduced, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        scale = functional.silu(self.reduce(self.pool(x)))
        return x * torch.sigmoid(self.expand(scale))


class MBConv(nn.Module):
    """EfficientNet's block: expand, a depthwise convolution, squeeze and excitation, project."""

    def __init__(self, inputs: int, outputs: int, stride: int, activation: Callable[[], nn.Module]) -> None:
        super().__init__()
        width = 4 * inputs
        self.residual = inputs == outputs and stride == 1
        self.layers = nn.Sequential(
            nn.Conv2d(inputs, width, 1, bias=False),
            nn.BatchNorm2d(width),
            activation(),
            nn.Conv2d(width, width, 3, stride, padding=1, groups=width, bias=False),
            nn.BatchNorm2d(width),
            activation(),
            SqueezeExcitation(width, inputs // 2),
            nn.Conv2d(width, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x) if self.residual else self.layers(x)


def efficientnet_se() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.SiLU(),
        MBConv(8, 8, 1, nn.SiLU),
        MBConv(8, 16, 2, nn.SiLU),
        MBConv(16, 16, 1, nn.Hardswish),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(0.2),
        nn.Linear(16, 10),
    )


def conv1d_audio() -> nn.Module:
    """Down and up over a waveform, with a different normalization and activation at each step."""
    return nn.Sequential(
        nn.Conv1d(1, 8, 7, stride=2, padding=3),
        nn.PReLU(8),
        nn.InstanceNorm1d(8, affine=True),
        nn.Conv1d(8, 16, 5, stride=2, padding=4, dilation=2),
        nn.GroupNorm(4, 16),
        nn.ELU(),
        nn.MaxPool1d(2),
        nn.ConvTranspose1d(16, 8, 4, stride=2, padding=1),
        nn.Softplus(),
        nn.AvgPool1d(3, stride=1, padding=1),
        nn.Conv1d(8, 2, 1),
    )


NETWORKS: Dict[str, Network] = {
    "transformer_encoder": Network(lambda: EncoderBlock(32, 4), (2, 16, 32)),
    "encoder_layer": Network(lambda: nn.TransformerEncoderLayer(32, 4, 64, batch_first=True), (2, 16, 32)),
    "vit": Network(VisionTransformer, (2, 3, 32, 32)),
    "unet": Network(UNet, (1, 3, 32, 32)),
    "yolo_head": Network(YoloHead, (1, 3, 64, 64)),
    "video3d": Network(Video3d, (1, 3, 4, 16, 16)),
    "efficientnet_se": Network(efficientnet_se, (2, 3, 32, 32)),
    "conv1d_audio": Network(conv1d_audio, (2, 1, 64)),
}


class Imported(NamedTuple):
    """A network as PyTorch runs it, and as TVM imports it."""

    module: nn.Module
    mod: tvm.IRModule
    params: Dict[str, tvm.nd.NDArray]


def imported(name: str) -> Imported:
    network = NETWORKS[name]
    module = network.make().eval()
    for key, value in module.state_dict().items():
        if value.is_floating_point():
            value.copy_(torch.from_numpy(weight(key, value.shape)))
    # Checking the trace would trace once more without gradients, and then PyTorch takes other operators for an encoder.
    traced = torch.jit.trace(module, torch.zeros(network.shape), check_trace=False)
    # Spans would double the length of the stored file; all but `main` are types that no network uses.
    with tvm.transform.PassContext(config={"relay.frontend.fill_span": False}):
        mod, params = relay.frontend.from_pytorch(traced, [("data", network.shape)])
    return Imported(module, tvm.IRModule.from_expr(mod["main"]), params)
