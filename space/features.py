"""Backbones for dense prediction: the maps of all stages instead of logits."""

from __future__ import annotations

from typing import NamedTuple, cast

from torch import Tensor, nn

from space.arch import Architecture
from space.cost import Size

_SIDE = 4096
"""Side of the images by which strides are told, in pixels."""


class FeatureInfo(NamedTuple):
    """What the maps of a feature network are, one entry a stage, as timm's `feature_info` tells it."""

    widths: tuple[int, ...]
    strides: tuple[int, ...]
    """Pixels of the image from one position of the map to the next."""

    def channels(self) -> list[int]:
        """Return the channels of each map."""
        return list(self.widths)

    def reduction(self) -> list[int]:
        """Return the stride of each map."""
        return list(self.strides)

    def module_name(self) -> list[str]:
        """Return the name of the child of the feature network that writes each map."""
        return [f"stage{index}" for index in range(len(self.widths))]


class FeatureNetwork(nn.Module):
    """A network without its head: images [N, in_channels, H, W] -> the list of its stages' maps, highest first.

    Its children `stem`, `stage0`, `stage1`, ... are called one after the other, so that it fits torchvision's
    `IntermediateLayerGetter` and `BackboneWithFPN` as it is. Takes over the stem and the stages of `network`.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        arch = cast("Architecture", network.architecture)
        self.architecture = arch
        self.feature_info = FeatureInfo(
            tuple(stage.width for stage in arch.stages),
            tuple(round(_SIDE / size[0]) for size in _rows(arch, (_SIDE, _SIDE))),
        )
        self.stem = cast("nn.Module", network.stem)
        for name, stage in zip(self.feature_info.module_name(), cast("nn.Sequential", network.stages), strict=True):
            self.add_module(name, stage)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return the map of each stage, [N, width, H // stride, W // stride] but for rounding at the stem.

        A stem that lays its patches in a row has them back as a map, without class tokens.
        """
        stem = self.architecture.stem
        rows = stem.patches((x.shape[2], x.shape[3])) if stem.in_a_row() else None
        x = self.stem(x)
        maps: list[Tensor] = []
        for name in self.feature_info.module_name():
            x = self.get_submodule(name)(x)
            maps.append(x if rows is None else x[:, :, stem.tokens() :].reshape(x.shape[0], x.shape[1], *rows))
        return maps


def _rows(arch: Architecture, size: Size) -> tuple[Size, ...]:
    """Return the size of each stage's map for images of `size`, patches in a row as the map they were."""
    return (arch.stem.patches(size),) * len(arch.stages) if arch.stem.in_a_row() else arch.sizes(size)
