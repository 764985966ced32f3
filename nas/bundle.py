"""Read back what `nas export` wrote: `nas.load(DIR)`. No code from the folder is run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy
import torch
from PIL import Image
from pydantic import ValidationError
from torch import Tensor, nn

from nas import card as cards
from nas.card import Card
from nas.checkpoint import CheckpointError, check_format, json_mapping, restored
from nas.files import sha256_of
from nas.networks import POINT_FILE, read_point
from space import Architecture, Network
from space.errors import NasError, explain
from trials.data.fitting import fit_array, fit_picture

WEIGHTS = "model.safetensors"

Images = Image.Image | Tensor | numpy.ndarray | Sequence["Image.Image | Tensor | numpy.ndarray"]


class LoadedNetwork(nn.Module):
    """An exported network, in eval mode: `network(network.preprocess(images))` are logits [N, classes]."""

    network: Network

    def __init__(self, network: Network, card: Card) -> None:
        super().__init__()
        self.network = network
        self.card = card
        self.eval()

    @property
    def architecture(self) -> Architecture:
        """The point of the network."""
        return self.card.network.architecture

    @property
    def classes(self) -> tuple[str, ...]:
        """Name of each class, in the order of the logits."""
        return self.card.network.classes

    def forward(self, images: Tensor) -> Tensor:
        """Return logits [N, classes] of preprocessed images, float [N, C, H, W]."""
        return self.network(images)

    def preprocess(self, images: Images) -> Tensor:
        """Return images as the network was trained on: float [N, C, resolution, resolution], normalised.

        images:  a PIL image, a uint8 tensor [C, H, W] or [N, C, H, W], a uint8 array [H, W] or [H, W, C], or a
                 sequence of any of them; of any size. Colour is made gray, and gray repeated, as the network needs.
        Raises:  NasError naming what else was given.
        """
        several = images if isinstance(images, Sequence) else [images]
        if not len(several):
            raise NasError("images: none were given, expected at least one")
        pixels = torch.cat([self._fitted(image) for image in several]).float()
        reads, device = self.card.network.input, next(self.network.parameters()).device
        mean = torch.tensor(reads.mean, dtype=torch.float32).view(1, -1, 1, 1) * 255
        std = torch.tensor(reads.std, dtype=torch.float32).view(1, -1, 1, 1) * 255
        return ((pixels - mean) / std).to(device)

    def _fitted(self, image: Image.Image | Tensor | numpy.ndarray) -> Tensor:
        """Return uint8 [N, C, resolution, resolution], fitted as `trials.data` fits the images of a training."""
        reads = self.card.network.input
        if isinstance(image, Image.Image):
            return _centre(fit_picture(image, reads.resize, reads.channels).unsqueeze(0), reads.resolution)
        if isinstance(image, numpy.ndarray) and image.dtype == numpy.uint8 and image.ndim in (2, 3):
            image = torch.from_numpy(image.copy().reshape(*image.shape[:2], -1)).permute(2, 0, 1)
        if not isinstance(image, Tensor) or image.dtype != torch.uint8 or image.ndim not in (3, 4) or not image.numel():
            known = isinstance(image, (Tensor, numpy.ndarray))
            found = f"{image.dtype} {list(image.shape)}" if known else type(image).__name__
            raise NasError(f"image: {found}, allowed: PIL images, uint8 tensors [N, C, H, W], uint8 arrays [H, W, C]")
        batch = image if image.ndim == 4 else image.unsqueeze(0)
        return _centre(_recoloured(fit_array(batch.cpu(), reads.resize), reads.channels), reads.resolution)


def load(folder: str | Path) -> LoadedNetwork:
    """Return the network that `nas export` wrote to `folder`, on the CPU, in eval mode.

    Raises:  CheckpointError: not such a folder, made by a newer version, a file missing, changed or damaged.
    """
    folder = Path(folder)
    card = read_card(folder)
    for name in (WEIGHTS, POINT_FILE):
        _verify(folder, name, card)
    if read_point(folder) != card.network.architecture:
        raise CheckpointError(f"{folder / POINT_FILE}: is not the network that {cards.JSON_FILE} describes")
    return LoadedNetwork(restored(folder / WEIGHTS, card.network.architecture), card)


def read_card(folder: Path) -> Card:
    """Return the card of an exported folder. Raises CheckpointError."""
    file = folder / cards.JSON_FILE
    if not folder.is_dir():
        raise CheckpointError(f"{folder}: no such folder; expected one made by `nas export`")
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise CheckpointError(f"{folder}: has no {cards.JSON_FILE}; expected a folder made by `nas export`") from None
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{file}: cannot be read: {error}") from None
    data = json_mapping(str(file), text)
    check_format(str(file), data.get("format"))
    try:
        return Card.model_validate_json(text)
    except ValidationError as error:
        raise CheckpointError(f"{file}: {'; '.join(explain(error, data))}") from None


def _verify(folder: Path, name: str, card: Card) -> None:
    path, noted = folder / name, card.files.get(name)
    if noted is None:
        raise CheckpointError(f"{folder / cards.JSON_FILE}: files: {name!r} is missing")
    try:
        found = sha256_of(path)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror}") from None
    if found != noted.sha256:
        raise CheckpointError(
            f"{path}: was changed or damaged: sha256 is {found[:12]}..., {cards.JSON_FILE} says {noted.sha256[:12]}..."
        )


def _centre(images: Tensor, side: int) -> Tensor:
    edge = (images.shape[-1] - side) // 2
    return images[..., edge : edge + side, edge : edge + side]


def _recoloured(images: Tensor, channels: int) -> Tensor:
    """Bring uint8 [N, C, H, W] to `channels`; gray by the weights of ITU-R BT.601, as PIL does."""
    found = images.shape[1]
    if found == channels:
        return images
    if found == 1:
        return images.expand(-1, channels, -1, -1)
    if found == 3 and channels == 1:
        weights = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
        return (images.float() * weights).sum(1, keepdim=True).round().to(torch.uint8)
    raise NasError(f"image: {found} channels, the network reads {channels}; allowed: {channels} or 1")
