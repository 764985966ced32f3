"""Load data by one word or path: find the source, split, fit to a resolution; once per process."""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from trials.data.contents import Contents
from trials.data.errors import DataError
from trials.data.fitting import native_resolution
from trials.data.image_data import ImageData, Split, statistics
from trials.data.images import Images, stored_side
from trials.data.source import find_source
from trials.data.split import stratified

TEST_SHARE = 0.2
VALIDATION_SHARE = 0.2
LARGEST_VALIDATION = 10_000
LARGE_TRAIN = 5_000
"""From this many images on, a tenth is enough for validation."""
RESOLUTIONS = (8, 1024)


def load_data(spec: str, *, resolution: int | None = None, seed: int = 0, root: Path | None = None) -> ImageData:
    """Return the data that `spec` names, split by `seed`, at `resolution` pixels (the images' own where None).

    spec: `digits`, a torchvision name, a folder of class folders, a folder of IDX files, or `hf:NAME`.
    root: where downloads are kept; $NAS_DATA or ~/.cache/nas/data where None.
    Raises DataError in one line for anything that cannot be found, read or split.
    """
    if resolution is not None and not RESOLUTIONS[0] <= resolution <= RESOLUTIONS[1]:
        raise DataError(f"resolution: {resolution!r}, allowed: {RESOLUTIONS[0]} to {RESOLUTIONS[1]} pixels")
    spec = spec.strip()
    if not spec:
        raise DataError("data: no word and no path, allowed: a known word, a folder, or hf:NAME")
    try:
        path = Path(spec).expanduser()
        key = str(path.resolve()) if path.is_dir() else spec
    except PermissionError:
        raise DataError(f"{spec}: this user may not read it") from None
    folder = root or Path(os.environ.get("NAS_DATA", "~/.cache/nas/data"))
    data = _load(key, resolution, seed, folder.expanduser())
    return data if data.spec == spec else replace(data, spec=spec)


@lru_cache(maxsize=2)
def _load(spec: str, resolution: int | None, seed: int, root: Path) -> ImageData:
    contents = _contents(spec, root)
    parts = [part for part in (contents.train, contents.validation, contents.test) if part is not None]
    channels = max(part.channels for part in parts)
    side = resolution or native_resolution(contents.train.side)
    train, validation, test = _splits(contents, side, channels, seed)
    mean, std = statistics(train)
    digest = hashlib.sha256(repr((contents.digest, contents.classes, seed)).encode())
    return ImageData(
        contents.name, spec, contents.classes, channels, side, digest.hexdigest()[:16], mean, std, contents.mirror,
        train, validation, test,
    )  # fmt: skip


@lru_cache(maxsize=1)
def _contents(spec: str, root: Path) -> Contents:
    contents = find_source(spec).read(spec, root)
    needed = 1 + (contents.validation is None) + (contents.test is None)
    if len(contents.classes) < 2:
        raise DataError(f"{spec}: {len(contents.classes)} class, at least 2 are needed")
    counts = contents.train.labels.bincount(minlength=len(contents.classes)).tolist()
    for name, count in zip(contents.classes, counts, strict=True):
        if count < needed:
            raise DataError(f"{spec}: class {name!r} has {count} training images, at least {needed} are needed")
    return contents


def _splits(contents: Contents, resolution: int, channels: int, seed: int) -> tuple[Split, Split, Split]:
    """Carve what the source does not set apart: first test, then validation, each stratified."""

    def whole(name: str, images: Images) -> Split:
        positions = torch.arange(len(images))
        return Split(name, images.labels, images.fitted(stored_side(resolution), channels), positions, resolution)

    def carve(part: Split, name: str, share: float, salt: int) -> tuple[Split, Split]:
        kept, carved = stratified(part.labels, share, seed * 2 + salt)
        return _part(part, part.name, kept), _part(part, name, carved)

    train = whole("train", contents.train)
    if contents.test is not None:
        test = whole("test", contents.test)
    else:
        train, test = carve(train, "test", TEST_SHARE, 0)
    if contents.validation is not None:
        return train, whole("validation", contents.validation), test
    share = VALIDATION_SHARE if len(train) < LARGE_TRAIN else 0.1
    train, validation = carve(train, "validation", min(share, LARGEST_VALIDATION / len(train)), 1)
    return train, validation, test


def _part(split: Split, name: str, indices: Tensor) -> Split:
    return Split(name, split.labels[indices], split.pixels, split.positions[indices], split.resolution)
