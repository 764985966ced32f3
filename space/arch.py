"""The point: all that fixes the form of a network's function, and nothing about its training."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from space.channel_mixers.mlp import Mlp
from space.cost import Size
from space.discover import discover
from space.downsamples import NoDownsample
from space.errors import SpaceError
from space.families import ChannelMixer, Downsample, Head, Norm, Stem, TokenMixer
from space.heads import LinearHead
from space.initial import Init
from space.norms import BatchNorm, LayerNorm, NoNorm
from space.spec import Spec

for _where in ("stems", "downsamples", "heads", "norms", "gates", "mixers", "channel_mixers"):
    discover(f"space.{_where}")  # before any of the types below is built: families are sealed at first use

Width = Annotated[int, Field(ge=4, le=8192)]
Depth = Annotated[int, Field(ge=1, le=128)]


class Block(Spec):
    """One block: a token mixer, a channel mixer, and how they are wired."""

    wiring: Literal["metaformer", "metanext"] = "metaformer"
    """metaformer: two residual branches, each with its norm before (MetaFormer, arXiv:2111.11418, eq. 1-2).
    metanext: one residual branch, token mixer then norm then channel mixer (InceptionNeXt, arXiv:2303.16900, eq. 1)."""
    norm: Norm = LayerNorm()
    """The norm of the block; a metaformer block has two of it."""
    norm_at: Literal["before", "after", "both"] = "before"
    """before: on what the mixer reads (metanext: the channel mixer). after: on what it writes, before the layer scale
    (residual post-norm, Swin V2, arXiv:2111.09883, sec. 3.2; the large FocalNets). both: a norm at either place
    (InternImage-H, arXiv:2211.05778)."""
    token_mixer: TokenMixer
    channel_mixer: ChannelMixer = Mlp()
    layer_scale: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Initial value of a learnable scale per channel on each branch (CaiT, arXiv:2103.17239); 0: no such parameter."""
    residual_scale: bool = False
    """Learnable scale per channel, at first 1, on each shortcut (NormFormer, arXiv:2110.09456; MetaFormers)."""
    squeeze_excite: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Hidden width over width of a squeeze-and-excitation (arXiv:1709.01507) on what the token mixer writes, after
    the norm in a metanext block (UniRepLKNet, arXiv:2311.15599); 0: none."""
    closing_norm: Norm = NoNorm()
    """On the sum of shortcut and branches (some blocks of InternImage-H and -G, arXiv:2211.05778)."""

    def merged(self) -> Block:
        """Return the block that computes the same with fewer layers once trained; see `space.merging`."""
        update: dict[str, Any] = {
            "token_mixer": self.token_mixer.merged(),
            "channel_mixer": self.channel_mixer.merged(),
        }
        if self.wiring == "metanext" and self.norm_at == "before":
            absorbing = update["token_mixer"].absorbing()
            if absorbing is not None and isinstance(self.norm, BatchNorm):
                update |= {"token_mixer": absorbing, "norm": NoNorm()}
            if update["channel_mixer"] != self.channel_mixer:
                update["layer_scale"] = 0.0
        return self.model_copy(update=update)


class Stage(Spec):
    """Blocks of one width and one resolution."""

    width: Width
    """Channels."""
    depth: Depth
    """Number of blocks."""
    pattern: tuple[Block, ...] = Field(min_length=1, max_length=128)
    """Blocks taken in turn up to `depth`."""
    downsample: Downsample = NoDownsample()
    """What leads into the stage; the first stage has none, the stem leads into it."""
    norm: Norm = NoNorm()
    """What closes the stage, after its last block (VAN, MogaNet)."""

    def blocks(self) -> list[Block]:
        """Return the `depth` blocks in order."""
        return [self.pattern[i % len(self.pattern)] for i in range(self.depth)]


class Architecture(Spec):
    """A point of the design space: what builds a network from images [N, in_channels, H, W] to logits [N, classes]."""

    stem: Stem
    stages: tuple[Stage, ...] = Field(min_length=1, max_length=16)
    head: Head = LinearHead()
    in_channels: Annotated[int, Field(ge=1, le=1024)] = 3
    classes: Annotated[int, Field(ge=1, le=1_000_000)] = 1000
    init: Init = "normal"
    """How the weights start; a stem's or downsampler's own `init` says more where this is normal."""

    @model_validator(mode="after")
    def _tokens(self) -> Architecture:
        if self.head.tokens_read() > self.stem.tokens():
            raise ValueError(
                f"head: {self.head.kind!r} reads {self.head.tokens_read()} class tokens, the stem {self.stem.kind!r} "
                f"writes {self.stem.tokens()}; use a stem with class tokens or another head"
            )
        if self.stem.in_a_row() and any(not isinstance(s.downsample, NoDownsample) for s in self.stages):
            raise ValueError(
                f"stem: {self.stem.kind!r} lays the patches in a row, which no downsampler halves; "
                "use 'none' between stages or another stem"
            )
        return self

    @model_validator(mode="after")
    def _joints(self) -> Architecture:
        for index, stage in enumerate(self.stages):
            none = isinstance(stage.downsample, NoDownsample)
            if index == 0 and not none:
                raise ValueError(
                    f"stages[0].downsample: {stage.downsample.kind!r}, only 'none' is allowed: the stem leads there"
                )
            if index and none and stage.width != self.stages[index - 1].width:
                raise ValueError(
                    f"stages[{index}].downsample: 'none', which cannot lead from {self.stages[index - 1].width} to "
                    f"{stage.width} channels; use 'strided_conv' or equal widths"
                )
        return self

    @property
    def last_widths(self) -> tuple[int, int]:
        """Channels of the map that leads into the last stage (of one stage: the stem's map), and of that stage's."""
        return self.stages[max(len(self.stages) - 2, 0)].width, self.stages[-1].width

    def sizes(self, resolution: int | Size) -> tuple[Size, ...]:
        """Return (height, width) of each stage's maps for images of `resolution` px. Raises SpaceError below 1 px."""
        size = resolution if isinstance(resolution, tuple) else (resolution, resolution)
        sizes: list[Size] = [self.stem.out_size(size)]
        for stage in self.stages[1:]:
            sizes.append(stage.downsample.out_size(sizes[-1]))
        if min(min(s) for s in sizes) < 1:
            raise SpaceError(
                f"stem: {self.stem.kind!r}, which leaves nothing of {size[0]} x {size[1]} px images; use larger ones"
            )
        return tuple(sizes)

    def fitted(self, resolution: int | Size) -> Architecture:
        """Return the same network with mixers that depend on the map size fitted to images of `resolution` px."""

        def fit(stage: Stage, size: Size) -> Stage:
            pattern = tuple(b.model_copy(update={"token_mixer": b.token_mixer.at_size(size)}) for b in stage.pattern)
            return stage.model_copy(update={"pattern": pattern})

        stages = (fit(stage, size) for stage, size in zip(self.stages, self.sizes(resolution), strict=True))
        return self.model_copy(update={"stages": tuple(stages)})

    def merged(self) -> Architecture:
        """Return the same function with fewer layers, as `Network.reparameterize` leaves a trained network."""

        def merge(stage: Stage) -> Stage:
            return stage.model_copy(update={"pattern": tuple(block.merged() for block in stage.pattern)})

        return self.model_copy(update={"stages": tuple(merge(stage) for stage in self.stages)})

    def canonical(self) -> Architecture:
        """Return the same function with the least patterns: (a, a) becomes (a), no block stands beyond depth."""

        def least(stage: Stage) -> Stage:
            blocks = stage.blocks()
            length = next(n for n in range(1, len(blocks) + 1) if all(b == blocks[i % n] for i, b in enumerate(blocks)))
            return stage.model_copy(update={"pattern": tuple(blocks[:length])})

        return self.model_copy(update={"stages": tuple(least(stage) for stage in self.stages)})

    @property
    def id(self) -> str:
        """16 hex digits of the function. A new field with a default leaves old ids alone, a new default does not."""
        data = self.canonical().model_dump(mode="json", exclude_defaults=True)
        return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:16]
