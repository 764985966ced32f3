"""From a point to a network."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, cast, overload

import torch
from torch import Tensor, nn

from space.arch import Architecture, Block, Stage
from space.channel_mixers.none import NoChannelMixer
from space.features import FeatureNetwork
from space.initial import initialise
from space.layers import DropPath, Scale, SqueezeExcite, TwoMaps, share
from space.merging import Absorbing, affine, merge_children
from space.norms import NoNorm


class MetaFormerBlock(nn.Module):
    """Two residual branches: token mixer, then channel mixer, each with its norm. [N, C, H, W] -> the same.

    Without a channel mixer there is no second branch.
    """

    def __init__(self, spec: Block, width: int, drop_path: float) -> None:
        super().__init__()
        self.two_branches = not isinstance(spec.channel_mixer, NoChannelMixer)
        second = spec if self.two_branches else spec.model_copy(update={"norm": NoNorm()})
        self.norm1, self.norm2 = (each.norm.build(width) for each in (spec, second))
        self.norm_first = spec.norm_at != "after"
        self.post_norm1, self.post_norm2 = (_post_norm(each, width) for each in (spec, second))
        self.token_mixer = spec.token_mixer.build(width)
        self.squeeze_excite = _squeeze_excite(width, spec.squeeze_excite)
        self.channel_mixer = spec.channel_mixer.build(width)
        self.drop_path1, self.drop_path2 = DropPath(drop_path), DropPath(drop_path)
        there = (1, self.two_branches)
        self.layer_scale1, self.layer_scale2 = (_scale(width, spec.layer_scale * branch) for branch in there)
        self.res_scale1, self.res_scale2 = (_scale(width, float(spec.residual_scale * branch)) for branch in there)
        self.closing_norm = spec.closing_norm.build(width)

    def forward(self, x: Tensor) -> Tensor:
        """Mix tokens, then channels."""
        y = self.squeeze_excite(self.token_mixer(self.norm1(x) if self.norm_first else x))
        y = self.post_norm1(y) if self.norm_first else self.norm1(y)
        x = self.res_scale1(x) + self.drop_path1(self.layer_scale1(y))
        if not self.two_branches:
            return self.closing_norm(x)
        y = self.channel_mixer(self.norm2(x) if self.norm_first else x)
        y = self.post_norm2(y) if self.norm_first else self.norm2(y)
        return self.closing_norm(self.res_scale2(x) + self.drop_path2(self.layer_scale2(y)))


class MetaNeXtBlock(nn.Module):
    """One residual branch: token mixer, norm, channel mixer. [N, C, H, W] -> the same."""

    def __init__(self, spec: Block, width: int, drop_path: float) -> None:
        super().__init__()
        self.token_mixer = spec.token_mixer.build(width)
        self.norm = spec.norm.build(width)
        self.norm_first = spec.norm_at != "after"
        self.post_norm = _post_norm(spec, width)
        self.squeeze_excite = _squeeze_excite(width, spec.squeeze_excite)
        self.channel_mixer = spec.channel_mixer.build(width)
        self.drop_path = DropPath(drop_path)
        self.layer_scale = _scale(width, spec.layer_scale)
        self.res_scale = _scale(width, float(spec.residual_scale))
        self.closing_norm = spec.closing_norm.build(width)

    def forward(self, x: Tensor) -> Tensor:
        """Mix tokens and channels in one branch."""
        y = self.token_mixer(x)
        y = self.channel_mixer(self.squeeze_excite(self.norm(y) if self.norm_first else y))
        y = self.post_norm(y) if self.norm_first else self.norm(y)
        return self.closing_norm(self.res_scale(x) + self.drop_path(self.layer_scale(y)))


def _scale(width: int, initial: float) -> nn.Module:
    return Scale(width, initial) if initial else nn.Identity()


def _post_norm(spec: Block, width: int) -> nn.Module:
    """Return the second norm of a branch, behind what it writes, where there are two."""
    return spec.norm.build(width) if spec.norm_at == "both" else nn.Identity()


def _squeeze_excite(width: int, ratio: float) -> nn.Module:
    return SqueezeExcite(width, share(width, ratio)) if ratio else nn.Identity()


class NetworkStage(nn.Module):
    """What leads into a stage, its blocks, and the norm that closes it."""

    def __init__(self, spec: Stage, in_width: int, drop_paths: Iterator[float]) -> None:
        super().__init__()
        self.downsample = spec.downsample.build(in_width, spec.width)
        wired = {"metaformer": MetaFormerBlock, "metanext": MetaNeXtBlock}
        self.blocks = nn.Sequential(*(wired[b.wiring](b, spec.width, next(drop_paths)) for b in spec.blocks()))
        self.norm = spec.norm.build(spec.width)

    def forward(self, x: Tensor) -> Tensor:
        """Return the stage's features."""
        return self.norm(self.blocks(self.downsample(x)))


class Network(nn.Module):
    """The network of a point: images [N, in_channels, H, W] -> logits [N, classes]."""

    def __init__(self, arch: Architecture, drop_path: float = 0.0, head_dropout: float = 0.0) -> None:
        super().__init__()
        self.architecture = arch
        self.stem = arch.stem.build(arch.in_channels, arch.stages[0].width)
        self.stages = nn.Sequential(*_stages(arch, drop_path))
        lower, width = arch.last_widths
        self.head = arch.head.build_above(lower, width, arch.classes, dropout=head_dropout)
        initialise(self, arch.init)

    def forward_features(self, x: Tensor) -> Tensor:
        """Return the last feature map [N, C, h, w]."""
        return self.stages(self.stem(x))

    def forward(self, x: Tensor) -> Tensor:
        """Return logits [N, classes]."""
        if not isinstance(self.head, TwoMaps):
            return self.head(self.forward_features(x))
        lower = x = self.stem(x)
        for stage in self.stages:
            lower, x = x, stage(x)
        return self.head(x, lower)

    @torch.no_grad()
    def reparameterize(self) -> Network:
        """Merge branches and norms of the blocks in place, for use after training, and return this network.

        The outputs are those of eval mode before, `architecture` becomes that of the merged form. What is merged:
        parallel kernels (RepLKNet, arXiv:2203.06717, sec. 3; UniRepLKNet, arXiv:2311.15599, sec. 3.1; SLaK's bands),
        the batch normalisation after them, and what closes UniRepLKNet's channel mixer. Other networks stay.
        """
        specs = [block for stage in self.architecture.stages for block in stage.blocks()]
        blocks = [block for stage in self.stages for block in cast("NetworkStage", stage).blocks]
        merge_children(self)
        for spec, block in zip(specs, blocks, strict=True):
            if isinstance(block, MetaNeXtBlock):
                _fold(block, spec, spec.merged())
        self.architecture = self.architecture.merged()
        return self


def _fold(block: MetaNeXtBlock, spec: Block, merged: Block) -> None:
    """Fold the norm of a block into its token mixer and the layer scale into its channel mixer, where merging does."""
    if merged.norm != spec.norm:
        cast("Absorbing", block.token_mixer).absorb(*affine(cast("nn.BatchNorm2d", block.norm)))
        block.norm = nn.Identity().train(block.training)
    if merged.layer_scale != spec.layer_scale:
        scale = cast("Scale", block.layer_scale).scale
        cast("Absorbing", block.channel_mixer).absorb(scale, torch.zeros_like(scale))
        block.layer_scale = nn.Identity().train(block.training)


def _stages(arch: Architecture, drop_path: float) -> Iterator[NetworkStage]:
    depth = sum(stage.depth for stage in arch.stages)
    rates = iter([drop_path * i / max(1, depth - 1) for i in range(depth)])
    widths = [arch.stages[0].width, *(stage.width for stage in arch.stages)]
    for stage, in_width in zip(arch.stages, widths, strict=False):
        yield NetworkStage(stage, in_width, rates)


@overload
def build(
    arch: Architecture, *, drop_path: float = 0.0, head_dropout: float = 0.0, features: Literal[False] = False
) -> Network: ...
@overload
def build(arch: Architecture, *, drop_path: float = 0.0, features: Literal[True]) -> FeatureNetwork: ...
def build(
    arch: Architecture, *, drop_path: float = 0.0, head_dropout: float = 0.0, features: bool = False
) -> Network | FeatureNetwork:
    """Build the network of a point with freshly drawn weights, in train mode, on torch's default device and dtype.

    `drop_path` is the stochastic-depth rate of the last block, rising linearly from 0 at the first
    (arXiv:1603.09382, sec. 3); `head_dropout` acts before the last linear layer. Both only matter in training.
    With `features` the network has no head and returns the map of each stage.
    """
    network = Network(arch, drop_path, head_dropout)
    return FeatureNetwork(network) if features else network


def parameters(module: nn.Module) -> int:
    """Count the learnable scalars of a module."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def on_meta(arch: Architecture) -> Network:
    """Build the network of a point without memory for its weights, for counting and for key lists."""
    with torch.device("meta"):
        return build(arch)
