"""From a point to a network."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from space.arch import Architecture, Block, Stage
from space.layers import DropPath, Scale


class MetaFormerBlock(nn.Module):
    """Two residual branches, each with its norm before: token mixer, then channel mixer. [N, C, H, W] -> the same."""

    def __init__(self, spec: Block, width: int, drop_path: float) -> None:
        super().__init__()
        self.norm1, self.norm2 = spec.norm.build(width), spec.norm.build(width)
        self.token_mixer = spec.token_mixer.build(width)
        self.channel_mixer = spec.channel_mixer.build(width)
        self.drop_path1, self.drop_path2 = DropPath(drop_path), DropPath(drop_path)
        self.layer_scale1, self.layer_scale2 = (_scale(width, spec.layer_scale) for _ in range(2))
        self.res_scale1, self.res_scale2 = (_scale(width, float(spec.residual_scale)) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        """Mix tokens, then channels."""
        y = self.drop_path1(self.layer_scale1(self.token_mixer(self.norm1(x))))
        x = self.res_scale1(x) + y
        y = self.drop_path2(self.layer_scale2(self.channel_mixer(self.norm2(x))))
        return self.res_scale2(x) + y


class MetaNeXtBlock(nn.Module):
    """One residual branch: token mixer, norm, channel mixer. [N, C, H, W] -> the same."""

    def __init__(self, spec: Block, width: int, drop_path: float) -> None:
        super().__init__()
        self.token_mixer = spec.token_mixer.build(width)
        self.norm = spec.norm.build(width)
        self.channel_mixer = spec.channel_mixer.build(width)
        self.drop_path = DropPath(drop_path)
        self.layer_scale = _scale(width, spec.layer_scale)
        self.res_scale = _scale(width, float(spec.residual_scale))

    def forward(self, x: Tensor) -> Tensor:
        """Mix tokens and channels in one branch."""
        y = self.channel_mixer(self.norm(self.token_mixer(x)))
        return self.res_scale(x) + self.drop_path(self.layer_scale(y))


def _scale(width: int, initial: float) -> nn.Module:
    return Scale(width, initial) if initial else nn.Identity()


class NetworkStage(nn.Module):
    """What leads into a stage, then its blocks."""

    def __init__(self, spec: Stage, in_width: int, drop_paths: Iterator[float]) -> None:
        super().__init__()
        self.downsample = spec.downsample.build(in_width, spec.width)
        wired = {"metaformer": MetaFormerBlock, "metanext": MetaNeXtBlock}
        self.blocks = nn.Sequential(*(wired[b.wiring](b, spec.width, next(drop_paths)) for b in spec.blocks()))

    def forward(self, x: Tensor) -> Tensor:
        """Return the stage's features."""
        return self.blocks(self.downsample(x))


class Network(nn.Module):
    """The network of a point: images [N, in_channels, H, W] -> logits [N, classes]."""

    def __init__(self, arch: Architecture, drop_path: float = 0.0, head_dropout: float = 0.0) -> None:
        super().__init__()
        self.architecture = arch
        depth = sum(stage.depth for stage in arch.stages)
        rates = iter([drop_path * i / max(1, depth - 1) for i in range(depth)])
        first, last = arch.stages[0].width, arch.stages[-1].width
        self.stem = arch.stem.build(arch.in_channels, first)
        widths = [first, *(stage.width for stage in arch.stages)]
        self.stages = nn.Sequential(*(NetworkStage(s, w, rates) for s, w in zip(arch.stages, widths, strict=False)))
        self.head = arch.head.build(last, arch.classes, dropout=head_dropout)

    def forward_features(self, x: Tensor) -> Tensor:
        """Return the last feature map [N, C, h, w]."""
        return self.stages(self.stem(x))

    def forward(self, x: Tensor) -> Tensor:
        """Return logits [N, classes]."""
        return self.head(self.forward_features(x))


def build(arch: Architecture, *, drop_path: float = 0.0, head_dropout: float = 0.0) -> Network:
    """Build the network of a point with freshly drawn weights, in train mode, on torch's default device and dtype.

    `drop_path` is the stochastic-depth rate of the last block, rising linearly from 0 at the first
    (arXiv:1603.09382, sec. 3); `head_dropout` acts before the last linear layer. Both only matter in training.
    """
    return Network(arch, drop_path, head_dropout)


def parameters(module: nn.Module) -> int:
    """Count the learnable scalars of a module."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def on_meta(arch: Architecture) -> Network:
    """Build the network of a point without memory for its weights, for counting and for key lists."""
    with torch.device("meta"):
        return build(arch)
