"""Sequence models: blocks of the design space one after the other on tokens, as the Mamba language models are built.

Each layer is a block with one branch, read as a map of height 1. `PUBLISHED` holds the sizes that weights exist for.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, cast

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from space.arch import Block, Depth, Width
from space.build import MetaFormerBlock
from space.channel_mixers.none import NoChannelMixer
from space.cost import Cost
from space.counting import block_cost
from space.errors import SpaceError
from space.families import Norm, TokenMixer
from space.initial import initialise
from space.keys import KeyFormat, State, load
from space.layers import INITIAL_DEVIATION, Linear, Recurrent
from space.mixers.mamba import Mamba
from space.mixers.mamba2 import Mamba2
from space.norms import RmsNorm
from space.spec import Spec


class SequenceModel(Spec):
    """Embedding, `depth` times x + mixer(norm(x)), and a closing norm (Mamba, arXiv:2312.00752, fig. 3 and app. E.2).

    What it mixes along is the mixer's route, on maps of height 1: `rows` goes from the first token to the last.
    """

    width: Width
    """Channels of each token."""
    depth: Depth
    """Number of blocks."""
    vocabulary: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    """Tokens that are told apart; 0: the sequence consists of vectors, and nothing is embedded."""
    token_mixer: TokenMixer = Mamba()
    norm: Norm = RmsNorm()

    @property
    def block(self) -> Block:
        """The block that all layers are."""
        return Block(token_mixer=self.token_mixer, norm=self.norm, channel_mixer=NoChannelMixer())

    def build(self) -> SequenceNetwork:
        """Return the network, its weights drawn as the published code draws them."""
        return SequenceNetwork(self)

    def cost(self, length: int) -> Cost:
        """Return the cost of the hidden states of one sequence; reading an embedding multiplies nothing.

        `logits` add length * width * vocabulary MACs and no parameters.
        """
        layers = block_cost(self.block, self.width, (1, length)) * self.depth
        return layers + self.norm.cost(self.width) + Cost(self.vocabulary * self.width)


class SequenceNetwork(nn.Module):
    """The network of a `SequenceModel`: tokens [N, L] or vectors [N, L, C] -> hidden states [N, L, C].

    Linear layers start as PyTorch's do with biases 0, the embedding normal with deviation 0.02, and what closes a
    branch is divided by the square root of the depth (state-spaces/mamba@107eb60 mamba_ssm/models/mixer_seq_simple.py).
    """

    def __init__(self, spec: SequenceModel) -> None:
        super().__init__()
        self.spec = spec
        self.embedding = nn.Embedding(spec.vocabulary, spec.width) if spec.vocabulary else nn.Identity()
        self.layers = nn.Sequential(*(MetaFormerBlock(spec.block, spec.width, 0.0) for _ in range(spec.depth)))
        self.norm = spec.norm.build(spec.width)
        initialise(self, "fan_in")
        for name, module in cast("Iterator[tuple[str, nn.Module]]", self.named_modules()):
            if isinstance(module, nn.Embedding):
                nn.init.normal_(module.weight, std=INITIAL_DEVIATION)
            elif isinstance(module, Linear):
                if module.bias is not None:  # pyright: ignore[reportUnnecessaryComparison] -- torch's stub forgets bias=False
                    nn.init.zeros_(module.bias)
                if name.endswith(".out_proj"):
                    with torch.no_grad():
                        module.weight.div_(math.sqrt(spec.depth))

    def forward(self, x: Tensor) -> Tensor:
        """Return the hidden states."""
        maps = self.embedding(x).mT[:, :, None]
        return self.norm(self.layers(maps))[:, :, 0].mT

    def logits(self, hidden: Tensor) -> Tensor:
        """Compare hidden states [..., C] with the embedding: [..., vocabulary]. Raises SpaceError without one."""
        if not isinstance(self.embedding, nn.Embedding):
            raise SpaceError("vocabulary: 0, logits need one of at least 1")
        return F.linear(hidden, self.embedding.weight)

    def start(self, batch: int) -> list[Any]:
        """Return the state of each layer before the first token. Raises SpaceError where the mixer has no steps."""
        return [mixer.start(batch) for mixer in self._mixers()]

    def step(self, x: Tensor, states: list[Any]) -> tuple[Tensor, list[Any]]:
        """Take the next token [N] or vector [N, C]; returns hidden states [N, C] and the layers' states after it.

        From `start`, the outputs are those of `forward`.
        """
        after: list[Any] = []
        x = self.embedding(x)
        for layer, mixer, state in zip(self.layers, self._mixers(), states, strict=True):
            y, left = mixer.step(_normalised(cast("MetaFormerBlock", layer).norm1, x), state)
            x = x + y
            after.append(left)
        return _normalised(self.norm, x), after

    def _mixers(self) -> list[Recurrent]:
        mixers = [cast("MetaFormerBlock", layer).token_mixer for layer in self.layers]
        if not all(isinstance(mixer, Recurrent) for mixer in mixers):
            raise SpaceError(f"token_mixer: {self.spec.token_mixer.kind!r}, which does not go step by step")
        route = str(getattr(self.spec.token_mixer, "route", "rows"))
        if route.endswith("reversed"):
            raise SpaceError(f"token_mixer.route: {route!r}, steps go from the first token on: 'rows'")
        return cast("list[Recurrent]", mixers)


def _normalised(norm: nn.Module, x: Tensor) -> Tensor:
    return norm(x[..., None, None])[..., 0, 0]


def _published(sizes: Mapping[str, tuple[int, int]], mixer: TokenMixer, vocabulary: int) -> dict[str, SequenceModel]:
    return {
        f"{mixer.kind}_{size}": SequenceModel(width=width, depth=depth, vocabulary=vocabulary, token_mixer=mixer)
        for size, (depth, width) in sizes.items()
    }


PUBLISHED: dict[str, SequenceModel] = {
    **_published(
        {"130m": (24, 768), "370m": (48, 1024), "790m": (48, 1536), "1.4b": (48, 2048), "2.8b": (64, 2560)},
        Mamba(),
        50280,
    ),
    **_published(
        {"130m": (24, 768), "370m": (48, 1024), "780m": (48, 1536), "1.3b": (48, 2048), "2.7b": (64, 2560)},
        Mamba2(),
        50288,
    ),
}
"""The models of state-spaces/mamba's README by layers and width; 50277 tokens, filled up to a multiple of 8 for Mamba
and of 16 for Mamba-2 (config.json of the weights)."""


def _untied(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Drop the classifier's weights where they are the embedding's, which these models tie."""
    head = state.get("lm_head.weight")
    same = head is not None and any(
        key.startswith("backbone.embedding") and tensor.shape == head.shape and torch.equal(tensor, head)
        for key, tensor in state.items()
    )
    return {key: tensor for key, tensor in state.items() if not (same and key == "lm_head.weight")}


def _format(name: str, embedding: str, mixer: dict[str, str]) -> KeyFormat:
    blocks = {
        f"backbone.layers.{{i}}.mixer.{theirs}": f"layers.{{i}}.token_mixer.{ours}" for theirs, ours in mixer.items()
    }
    renames = {
        embedding: "embedding.weight",
        "backbone.layers.{i}.norm.weight": "layers.{i}.norm1.weight",
        **blocks,
        "backbone.norm_f.weight": "norm.weight",
    }
    return KeyFormat(name, renames, _untied)


_BOTH = {"in_proj.weight": "in_proj.weight", "conv1d.{leaf}": "conv.{leaf}", "out_proj.weight": "out_proj.weight"}
_MAMBA = {
    **_BOTH,
    "x_proj.weight": "ssm.x_proj",
    "dt_proj.weight": "ssm.dt_proj",
    "dt_proj.bias": "ssm.dt_bias",
    "A_log": "ssm.A_log",
    "D": "ssm.D",
}
_MAMBA2 = {**_BOTH, "dt_bias": "dt_bias", "A_log": "A_log", "D": "D", "norm.weight": "norm.weight"}
FORMATS = tuple(
    _format(f"{of} {kind}", f"backbone.{embedding}.weight", mixer)
    for of, embedding in (("state-spaces/mamba", "embedding"), ("transformers", "embeddings"))
    for kind, mixer in (("mamba", _MAMBA), ("mamba2", _MAMBA2))
)
"""Layouts of published weights: the authors', and that of the library transformers."""


def load_sequence(network: SequenceNetwork, state: State) -> str:
    """Load published weights of a Mamba or Mamba-2 model, strictly, and return the layout's name. Raises NasError."""
    return load(network, network.spec.token_mixer.kind, FORMATS, state)
