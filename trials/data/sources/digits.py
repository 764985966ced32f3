"""The bundled data: handwritten digits that come with scikit-learn."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Literal, cast

import torch

from trials.data.arrays import ArrayImages
from trials.data.contents import Contents
from trials.data.source import Source


class Digits(Source):
    """1,797 gray digits of 8 x 8 pixels (UCI optical recognition of handwritten digits, its test set)."""

    kind: Literal["digits"] = "digits"

    def words(self) -> tuple[str, ...]:
        """Return the one word `digits`."""
        return ("digits",)

    def read(self, spec: str, root: Path) -> Contents:
        """Return the digits; nothing is downloaded."""
        from sklearn.datasets import load_digits

        bunch = cast("Any", load_digits())
        pixels = (torch.tensor(bunch.images) * (255 / 16)).round().to(torch.uint8)
        labels = torch.tensor(bunch.target)
        digest = hashlib.sha256(pixels.numpy().tobytes() + labels.numpy().tobytes()).hexdigest()
        classes = tuple(str(digit) for digit in range(10))
        return Contents("digits", classes, ArrayImages(pixels[:, None], labels), False, digest)
