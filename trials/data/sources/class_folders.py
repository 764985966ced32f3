"""A folder with one folder of image files for each class, or with such folders for train, validation and test."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Literal

from trials.data.contents import Contents
from trials.data.errors import DataError
from trials.data.pictures import PictureImages, picture_files
from trials.data.source import Source

SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})
PARTS = {
    "train": ("train", "training"),
    "validation": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}
"""Names that set a part apart."""
HASHED_BYTES = 2**30
"""Up to so many bytes are hashed; of larger folders the names and sizes are."""


class ClassFolders(Source):
    """`FOLDER/CLASS/image.png`, or `FOLDER/train/CLASS/image.png` with `val` and `test` where these are set apart.

    Classes are the names of the folders in sorted order. Hidden files and files of other types are passed over. A
    mirrored image is taken to keep its class unless all class names are single characters, as of letters and digits.
    """

    kind: Literal["class_folders"] = "class_folders"

    def claims(self, spec: str) -> bool:
        """Whether `spec` is a folder that holds folders."""
        path = Path(spec).expanduser()
        try:
            return path.is_dir() and bool(_folders(path))
        except PermissionError:
            return False

    def read(self, spec: str, root: Path) -> Contents:
        """Return the images of the folder."""
        folder = Path(spec).expanduser()
        try:
            found = _parts(folder)
            classes = tuple(path.name for path in _folders(found["train"]))
            parts = {name: _files(spec, path, classes) for name, path in found.items()}
        except PermissionError as error:
            raise DataError(f"{error.filename}: this user may not read it") from None
        digest = _digest(folder, [path for files in parts.values() for path, _ in files])
        images = {name: _images(spec, files) for name, files in parts.items()}
        mirror = any(len(name) > 1 for name in classes)
        return Contents(
            folder.resolve().name, classes, images["train"], mirror, digest,
            validation=images.get("validation"), test=images.get("test"),
        )  # fmt: skip


def _folders(path: Path) -> list[Path]:
    return sorted(each for each in path.iterdir() if each.is_dir() and not each.name.startswith("."))


def _parts(folder: Path) -> dict[str, Path]:
    """Return the folder of each part; the folder itself is `train` where no part is set apart."""
    inside = {path.name.lower(): path for path in _folders(folder)}
    found = {part: inside[name] for part, names in PARTS.items() for name in names if name in inside}
    if "train" not in found or not _folders(found["train"]):
        return {"train": folder}
    if strangers := sorted(inside.keys() - {name for names in PARTS.values() for name in names}):
        raise DataError(f"{folder}: {strangers[0]!r} stands beside 'train', allowed there: train, val, test")
    return found


def _files(spec: str, part: Path, classes: tuple[str, ...]) -> list[tuple[Path, int]]:
    """Return every image file of a part with its label; refuse classes without images and unknown classes."""
    for path in _folders(part):
        if path.name not in classes:
            raise DataError(f"{path}: is a class that the training images lack, theirs are {', '.join(classes[:20])}")
    found: list[tuple[Path, int]] = []
    for label, name in enumerate(classes):
        inside = sorted((part / name).rglob("*")) if (part / name).is_dir() else []
        images = [path for path in inside if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")]
        if not images:
            kinds = ", ".join(sorted(suffix[1:] for suffix in SUFFIXES))
            raise DataError(f"{part / name}: class {name!r} holds no images, at least one {kinds} is needed")
        found += [(path, label) for path in images]
    return found


def _images(spec: str, files: list[tuple[Path, int]]) -> PictureImages:
    return picture_files(spec, [path for path, _ in files], [label for _, label in files])


def _digest(folder: Path, paths: list[Path]) -> str:
    """Hash names with contents, or with sizes where the contents are too many."""
    digest = hashlib.sha256()
    sizes = [path.stat().st_size for path in paths]
    whole = sum(sizes) <= HASHED_BYTES
    for path, size in zip(paths, sizes, strict=True):
        digest.update(f"{path.relative_to(folder).as_posix()}\0{size}\0".encode())
        if whole:
            try:
                digest.update(path.read_bytes())
            except PermissionError:
                raise DataError(f"{path}: this user may not read it") from None
    return digest.hexdigest()
