"""Bring images of any size, mode and shape to squares of one side, uint8, gray or colour."""

from __future__ import annotations

import numpy
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torch.nn import functional

from trials.data.errors import DataError

NATIVE = 32
"""Networks shrink an image 32-fold, so no image is trained at less than this side (pixels). Smaller ones are enlarged:
on Fashion-MNIST (28 px) a small ConvNeXt did 1.2 points better so than with a black border (60,000 images seen)."""
LARGEST = 224
"""The side (pixels) above which images are shrunk unless a resolution is asked for."""
CHUNK = 8192

_GRAY_MODES = frozenset({"1", "L", "LA", "La", "I"})


def native_resolution(side: int) -> int:
    """Return the training resolution for images of this side: the multiple of 32 next to it, from 32 to 224."""
    return min(max(NATIVE, (side + NATIVE // 2) // NATIVE * NATIVE), LARGEST)


def is_gray(mode: str) -> bool:
    """Whether a PIL mode holds no colour."""
    return mode in _GRAY_MODES or mode.startswith("I;16")


def fit_array(images: Tensor, side: int) -> Tensor:
    """Bring uint8 [N, C, H, W] to [N, C, side, side]: the shorter side is resized, the longer one cropped."""
    height, width = images.shape[-2:]
    if (height, width) == (side, side):
        return images
    scale = side / min(height, width)
    size = (max(side, round(height * scale)), max(side, round(width * scale)))
    top, left = (size[0] - side) // 2, (size[1] - side) // 2
    parts = [
        functional.interpolate(part, size, mode="bilinear", antialias=True)[..., top : top + side, left : left + side]
        for part in images.split(CHUNK)
    ]
    return torch.cat(parts).contiguous()


def fit_picture(picture: Image.Image, side: int, channels: int) -> Tensor:
    """Bring a PIL image to uint8 [channels, side, side]: upright, opaque on white, the centre of its longer side."""
    shorter = min(picture.size)
    if picture.format == "JPEG" and shorter > 2 * side:
        picture.draft(None, (picture.width * side // shorter, picture.height * side // shorter))
    picture = _eight_bit(ImageOps.exif_transpose(picture), "L" if channels == 1 else "RGB")
    if picture.size != (side, side):
        picture = ImageOps.fit(picture, (side, side), Image.Resampling.BICUBIC)
    return torch.from_numpy(numpy.array(picture)).view(side, side, channels).permute(2, 0, 1)


def _eight_bit(picture: Image.Image, mode: str) -> Image.Image:
    """Return the picture in mode L or RGB. 16-bit gray keeps its upper byte; transparency is laid on white."""
    if picture.mode == "F":
        raise DataError("floating-point pixels have no fixed range, allowed: 8- or 16-bit images")
    if picture.mode == "I" or picture.mode.startswith("I;16"):
        picture = Image.fromarray((numpy.asarray(picture).astype(numpy.int64) >> 8).clip(0, 255).astype(numpy.uint8))
    if picture.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        ground = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(ground, picture)
    return picture if picture.mode == mode else picture.convert(mode)
