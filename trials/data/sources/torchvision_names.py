"""Data sets that torchvision knows by name and downloads."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy
import torch

from trials.data.arrays import ArrayImages
from trials.data.contents import Contents
from trials.data.errors import DataError
from trials.data.images import Images
from trials.data.pictures import picture_files
from trials.data.source import Source


@dataclass(frozen=True, slots=True)
class Entry:
    """How one data set is asked for: torchvision's class, and its words for the parts."""

    name: str
    parts: Mapping[str, Mapping[str, Any]]
    mirror: bool = True
    classes: tuple[str, ...] = ()
    """Class names where the data set carries none."""
    elsewhere: str = ""
    """Where else it can be had."""


DIGITS = tuple(str(digit) for digit in range(10))
_FLAG = {"train": {"train": True}, "test": {"train": False}}
_SPLIT = {"train": {"split": "train"}, "test": {"split": "test"}}
_THREE = {"train": {"split": "train"}, "validation": {"split": "val"}, "test": {"split": "test"}}
ENTRIES: Mapping[str, Entry] = {
    "cifar10": Entry("CIFAR10", _FLAG),
    "cifar100": Entry("CIFAR100", _FLAG),
    "dtd": Entry("DTD", _THREE),
    "fashion-mnist": Entry(
        "FashionMNIST", _FLAG,
        elsewhere="; Debian's package dataset-fashion-mnist puts it into /usr/share/datasets/fashion-mnist",
    ),
    "flowers102": Entry("Flowers102", _THREE),
    "food101": Entry("Food101", _SPLIT),
    "imagenette": Entry("Imagenette", {"train": {"split": "train"}, "test": {"split": "val"}}),
    "kmnist": Entry("KMNIST", _FLAG, mirror=False),
    "mnist": Entry("MNIST", _FLAG, mirror=False),
    "oxford-iiit-pet": Entry("OxfordIIITPet", {"train": {"split": "trainval"}, "test": {"split": "test"}}),
    "stl10": Entry(
        "STL10", _SPLIT,
        classes=("airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck"),
    ),
    "svhn": Entry("SVHN", _SPLIT, mirror=False, classes=DIGITS),
    "usps": Entry("USPS", _FLAG, mirror=False, classes=DIGITS),
}  # fmt: skip
"""Each by the word a user types. A published validation part is used as such, else it is carved from the training."""


class TorchvisionNames(Source):
    """A torchvision data set by its word; downloaded once, on first use."""

    kind: Literal["torchvision_names"] = "torchvision_names"

    def words(self) -> tuple[str, ...]:
        """Return the words of all data sets known here."""
        return tuple(ENTRIES)

    def read(self, spec: str, root: Path) -> Contents:
        """Return the data set, downloading it to `root` if it is not there yet."""
        from torchvision import datasets

        entry = ENTRIES[spec]
        make: Callable[..., Any] = getattr(datasets, entry.name)
        folder = root / spec
        found = _on_disk(make, entry, folder) or _downloaded(make, entry, spec, folder)
        parts = {part: _images(spec, data) for part, data in found.items()}
        digest = hashlib.sha256(spec.encode())
        for images in parts.values():
            digest.update(images.labels.numpy().data)
            if isinstance(images, ArrayImages):
                digest.update(images.pixels.numpy().data)
        classes = entry.classes or tuple(_class_name(each) for each in found["train"].classes)
        return Contents(
            spec, classes, parts["train"], entry.mirror, digest.hexdigest(),
            validation=parts.get("validation"), test=parts["test"],
        )  # fmt: skip


def _on_disk(make: Callable[..., Any], entry: Entry, folder: Path) -> dict[str, Any] | None:
    """Return the parts if all lie in `folder`; torchvision checks their sums where it knows them."""
    if not folder.is_dir():
        return None
    try:
        return {part: make(str(folder), **words) for part, words in entry.parts.items()}
    except RuntimeError:
        return None


def _downloaded(make: Callable[..., Any], entry: Entry, spec: str, folder: Path) -> dict[str, Any]:
    """Download into a folder of its own, and put that in place only once all parts are there."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{spec}.", dir=folder.parent) as temporary:
            for words in entry.parts.values():
                make(temporary, download=True, **words)
            shutil.copytree(temporary, folder, dirs_exist_ok=True)
        return {part: make(str(folder), **words) for part, words in entry.parts.items()}
    except (OSError, RuntimeError, ValueError) as error:
        why = " ".join(str(error).split())[:120]
        raise DataError(
            f"{spec}: could not be downloaded ({why}); put torchvision's files of {entry.name} into {folder}, "
            f"or pass a folder of class folders or of IDX files{entry.elsewhere}"
        ) from None


def _images(spec: str, data: Any) -> Images:
    """Return the images of a torchvision data set, from its array or from its list of files."""
    labels = next(
        (value for name in ("targets", "labels", "_labels") if (value := getattr(data, name, None)) is not None), None
    )
    if (samples := getattr(data, "_samples", None)) is not None:
        return picture_files(spec, [Path(path) for path, _ in samples], [label for _, label in samples])
    files = getattr(data, "_image_files", None) or getattr(data, "_images", None)
    if files is not None and labels is not None:
        return picture_files(spec, [Path(path) for path in files], list(labels))
    pixels = torch.as_tensor(numpy.asarray(data.data))
    if pixels.dim() == 3:
        pixels = pixels.unsqueeze(1)
    elif pixels.shape[-1] == 3 and pixels.shape[1] != 3:
        pixels = pixels.permute(0, 3, 1, 2).contiguous()
    return ArrayImages(pixels.to(torch.uint8), torch.as_tensor(labels))


def _class_name(name: str | tuple[str, ...]) -> str:
    return name if isinstance(name, str) else name[0]
