"""What is known of a network beside its weights: where it came from, what it was trained on and how, what it reads.

These values travel in checkpoints and in exported bundles as JSON, and are checked when they are read back.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import Annotated, Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator

from space import Architecture

FORMAT = 1
"""Number of this form of the facts. A reader refuses a higher one and knows all lower ones."""

Count = Annotated[int, Field(ge=0)]


class Facts(BaseModel):
    """A frozen, closed value that is read from untrusted files."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)


class Origin(Facts):
    """Where a point came from."""

    kind: Literal["trial", "model", "file", "checkpoint", "bundle"]
    name: str
    """What the user calls it: `digits-a:17`, `convnext_tiny`, `mine.yaml`."""
    study: str | None = None
    number: int | None = None


class InputFacts(Facts):
    """What the network reads: float images [N, channels, resolution, resolution], (value / 255 - mean) / std."""

    channels: Annotated[int, Field(ge=1)]
    resolution: Annotated[int, Field(ge=1, le=16384)]
    """Side of the square images in pixels."""
    resize: Annotated[int, Field(ge=1, le=16384)]
    """Side in pixels that images are brought to first; their centre of `resolution` pixels is then cut out."""
    mean: tuple[float, ...]
    """Per channel, of values in [0, 1]."""
    std: tuple[Annotated[float, Field(gt=0)], ...]

    @model_validator(mode="after")
    def _one_each(self) -> InputFacts:
        if not len(self.mean) == len(self.std) == self.channels:
            raise ValueError(f"{len(self.mean)} means and {len(self.std)} deviations, expected {self.channels} of each")
        if self.resize < self.resolution:
            raise ValueError(f"resize {self.resize}, expected {self.resolution} or more")
        return self


class DataFacts(Facts):
    """The images a network was trained on."""

    name: str
    spec: str
    """The word or path it was loaded by."""
    fingerprint: str
    seed: int
    """Seed of the split."""
    images: dict[str, Count]
    """Number of images in each split."""


class TrainingFacts(Facts):
    """How a network was trained."""

    data: DataFacts
    recipe: dict[str, Any]
    seed: int
    device: str
    threads: int
    seconds: float
    """Wall time of the training, over all its resumptions."""
    nas_version: str
    torch_version: str


class Score(Facts):
    """How well a network does on one split."""

    split: Literal["train", "validation", "test"]
    accuracy: Annotated[float, Field(ge=0, le=1)]
    """Top-1."""
    loss: float
    """Cross-entropy in nats."""
    images: Count
    data: str
    """Name of the data."""


class EffectiveFacts(Facts):
    """What is left of a network where weights are zero, counted from the weights themselves."""

    sparsity: Annotated[float, Field(ge=0, le=1)]
    """Share of zeros among the weights of convolutions and linear layers."""
    params: Count
    """Learnable scalars, without those zeros."""
    macs: Count
    """Multiply-accumulates of one image, without those by a zero weight."""


class NetworkFacts(Facts):
    """All that must accompany weights for them to be used."""

    format: int = FORMAT
    origin: Origin
    architecture: Architecture
    """The network itself: the point with the input channels and classes of the data."""
    input: InputFacts
    classes: tuple[str, ...]
    training: TrainingFacts | None
    """None: the weights are initial ones."""
    scores: tuple[Score, ...] = ()

    @model_validator(mode="after")
    def _agree(self) -> NetworkFacts:
        if len(self.classes) != self.architecture.classes:
            raise ValueError(f"{len(self.classes)} class names, the architecture has {self.architecture.classes}")
        if self.input.channels != self.architecture.in_channels:
            raise ValueError(
                f"{self.input.channels} input channels, the architecture has {self.architecture.in_channels}"
            )
        return self

    @property
    def sparse(self) -> bool:
        """Whether the network was trained with masked weights."""
        return self.training is not None and self.training.recipe.get("sparsity") is not None

    def score(self, split: str) -> Score | None:
        """Return the score on one split, if it was taken."""
        return next((score for score in self.scores if score.split == split), None)


def versions() -> tuple[str, str]:
    """Return the versions of this package and of torch."""
    return version("nas-vision"), str(torch.__version__)
