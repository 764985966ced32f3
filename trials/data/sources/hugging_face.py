"""Data sets of the Hugging Face hub, through their `datasets` package, which is an extra."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Literal

import torch
from PIL import Image

from trials.data.contents import Contents
from trials.data.errors import DataError
from trials.data.pictures import PictureImages
from trials.data.source import Source

PREFIX = "hf:"
PARTS = {"train": ("train",), "validation": ("validation", "valid", "val", "dev"), "test": ("test",)}


class HuggingFace(Source):
    """`hf:NAME`, or `hf:NAME:CONFIG` where the data set has several; it needs one image and one label column."""

    kind: Literal["hugging_face"] = "hugging_face"

    def claims(self, spec: str) -> bool:
        """Whether `spec` begins with `hf:`."""
        return spec.startswith(PREFIX)

    def read(self, spec: str, root: Path) -> Contents:
        """Return the data set, downloaded by `datasets` into its cache under `root`."""
        try:
            import datasets  # pyright: ignore[reportMissingImports]
        except ImportError:
            raise DataError(f"{spec}: needs the extra 'hf', install it with: pip install 'nas-vision[hf]'") from None
        name, _, config = spec.removeprefix(PREFIX).partition(":")
        if not name:
            raise DataError(f"{spec}: names no data set, write hf:NAME or hf:NAME:CONFIG")
        try:
            loaded: Any = datasets.load_dataset(name, config or None, cache_dir=str(root / "huggingface"))
        except Exception as error:  # the hub, its scripts and its transports raise without a common root
            raise DataError(f"{spec}: could not be loaded ({' '.join(str(error).split())[:160]})") from None
        found = {part: loaded[each] for part, names in PARTS.items() for each in names if each in loaded}
        if "train" not in found:
            raise DataError(f"{spec}: has no part 'train', its parts are {', '.join(map(str, loaded))}")
        image, label, classes = _columns(spec, found["train"].features)
        parts = {part: _images(spec, rows, image, label) for part, rows in found.items()}
        digest = hashlib.sha256(spec.encode())
        for part, rows in found.items():
            digest.update(f"{part} {getattr(rows, '_fingerprint', '')} {len(rows)}".encode())
            digest.update(parts[part].labels.numpy().data)
        mirror = any(len(each) > 1 for each in classes)  # names of one character are digits or letters
        return Contents(
            name.rsplit("/", 1)[-1], classes, parts["train"], mirror, digest.hexdigest(),
            validation=parts.get("validation"), test=parts.get("test"),
        )  # fmt: skip


def _columns(spec: str, features: Any) -> tuple[str, str, tuple[str, ...]]:
    """Return the image column, the label column and the class names."""
    kinds = {name: type(feature).__name__ for name, feature in features.items()}
    images = [name for name, kind in kinds.items() if kind == "Image"]
    labels = [name for name, kind in kinds.items() if kind == "ClassLabel"]
    labels = [name for name in labels if name in ("label", "labels", "fine_label")] or labels
    if not images or not labels:
        columns = ", ".join(f"{name} ({kind})" for name, kind in kinds.items())
        raise DataError(f"{spec}: needs an image and a class label column, has {columns}")
    return images[0], labels[0], tuple(features[labels[0]].names)


def _images(spec: str, rows: Any, image: str, label: str) -> PictureImages:
    labels = torch.tensor(rows[label])
    if int(labels.min()) < 0:
        raise DataError(f"{spec}: {int((labels < 0).sum())} images have no label (-1), every one needs one")

    def open_at(index: int) -> Image.Image:
        return rows[index][image]

    return PictureImages(spec, open_at, lambda index: f"row {index}", labels)
