"""RandAugment on uint8 batches: two random distortions an image, all draws from one generator (arXiv:1909.13719).

torchvision's operators do the work; its own RandAugment and timm's draw from process-wide generators, from which no
training on several threads could be repeated.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Generator, Tensor
from torchvision.transforms.v2 import functional

DISTORTIONS = 2
STRENGTH = 0.9
"""Share of each operator's full range, jittered by half a tenth of the range (magnitude 9, deviation 0.5)."""
GRAY = [124.0, 116.0, 104.0]
"""Colour that fills what a rotation uncovers: the mean of ImageNet."""

Operator = Callable[[Tensor, float], Tensor]


def _affine(
    image: Tensor, angle: float = 0, shift: tuple[float, float] = (0, 0), shear: tuple[float, float] = (0, 0)
) -> Tensor:
    offset = [float(round(part * side)) for part, side in zip(shift, (image.shape[-1], image.shape[-2]), strict=True)]
    bilinear = functional.InterpolationMode.BILINEAR
    return functional.affine(image, angle, offset, 1.0, list(shear), interpolation=bilinear, fill=GRAY)


OPERATORS: dict[str, Operator] = {
    "autocontrast": lambda x, _: functional.autocontrast(x),
    "equalize": lambda x, _: functional.equalize(x),
    "invert": lambda x, _: functional.invert(x),
    "rotate": lambda x, s: _affine(x, angle=30 * s),
    "posterize": lambda x, s: functional.posterize(x, 4 - round(3 * abs(s)) + 1),
    "solarize": lambda x, s: functional.solarize(x, 255 * (1 - abs(s))),
    "color": lambda x, s: functional.adjust_saturation(x, 1 + 0.9 * s),
    "contrast": lambda x, s: functional.adjust_contrast(x, 1 + 0.9 * s),
    "brightness": lambda x, s: functional.adjust_brightness(x, 1 + 0.9 * s),
    "sharpness": lambda x, s: functional.adjust_sharpness(x, 1 + 0.9 * s),
    "shear_x": lambda x, s: _affine(x, shear=(17 * s, 0)),
    "shear_y": lambda x, s: _affine(x, shear=(0, 17 * s)),
    "translate_x": lambda x, s: _affine(x, shift=(0.45 * s, 0)),
    "translate_y": lambda x, s: _affine(x, shift=(0, 0.45 * s)),
}
"""Each takes a uint8 image [3, H, W] and a signed strength in [-1, 1]."""


def rand_augment(images: Tensor, generator: Generator) -> Tensor:
    """Distort each uint8 image [B, 3, H, W] by two operators, each applied with probability one half."""
    operators = list(OPERATORS.values())
    size = (len(images), DISTORTIONS)
    chosen = torch.randint(len(operators), size, generator=generator).tolist()
    applied = (torch.rand(size, generator=generator) < 0.5).tolist()
    strength = (STRENGTH + 0.05 * torch.randn(size, generator=generator)).clamp(0, 1)
    sign = torch.randint(0, 2, size, generator=generator) * 2 - 1
    signed = (strength * sign).tolist()
    out: list[Tensor] = []
    for image, which, used, strengths in zip(images, chosen, applied, signed, strict=True):
        for operator, use, value in zip(which, used, strengths, strict=True):
            image = operators[operator](image, value) if use else image
        out.append(image)
    return torch.stack(out)
