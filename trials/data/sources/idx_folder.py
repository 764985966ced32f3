"""A folder of IDX files: the format of MNIST and its kin, as Debian installs Fashion-MNIST."""

from __future__ import annotations

import gzip
import hashlib
import math
import struct
import zlib
from pathlib import Path
from typing import Literal

import numpy
import torch
from torch import Tensor

from trials.data.arrays import ArrayImages
from trials.data.contents import Contents
from trials.data.errors import DataError
from trials.data.source import Source

FASHION_LABELS = "657fbd221bfc9f4198cc14b5619cc33ec57c58dd0e47af4d99d6650759e869a7"
"""SHA-256 of the 60,000 training labels of Fashion-MNIST, by which its files are known wherever they lie."""
FASHION_CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
"""Class names of Fashion-MNIST (arXiv:1708.07747, table 2)."""
TRAIN, TEST = ("train",), ("t10k", "test")
UNSIGNED_BYTES = 0x08


class IdxFolder(Source):
    """`train-images-idx3-ubyte` and `train-labels-idx1-ubyte`, and `t10k-*` or `test-*` where there is a test part.

    Files may be gzipped. Images are gray [N, H, W] or colour [N, H, W, 3], unsigned bytes.
    """

    kind: Literal["idx_folder"] = "idx_folder"

    def claims(self, spec: str) -> bool:
        """Whether `spec` is a folder that holds training images in IDX format."""
        try:
            return _find(Path(spec).expanduser(), TRAIN, "images") is not None
        except PermissionError:
            return False

    def read(self, spec: str, root: Path) -> Contents:
        """Return the images of the folder."""
        folder = Path(spec).expanduser()
        train = _part(folder, TRAIN)
        if train is None:
            raise DataError(f"{spec}: has training images but no training labels (train-labels-idx1-ubyte)")
        test = _part(folder, TEST)
        digest = hashlib.sha256()
        for part in (train, test):
            if part is not None:
                digest.update(part.pixels.numpy().data)
                digest.update(part.labels.numpy().data)
        labels = train.labels.to(torch.uint8).numpy()
        fashion = hashlib.sha256(labels.tobytes()).hexdigest() == FASHION_LABELS
        count = 1 + max(int(part.labels.max()) for part in (train, test) if part is not None)
        classes = FASHION_CLASSES if fashion else tuple(str(label) for label in range(count))
        name = "fashion-mnist" if fashion else folder.resolve().name
        return Contents(name, classes, train, fashion, digest.hexdigest(), test=test)


def _find(folder: Path, prefixes: tuple[str, ...], what: str) -> Path | None:
    if not folder.is_dir():
        return None
    for path in sorted(folder.iterdir()):
        name = path.name.lower()
        if name.startswith(prefixes) and what in name and "idx" in name and name.endswith(("ubyte", ".gz", ".idx")):
            return path
    return None


def _part(folder: Path, prefixes: tuple[str, ...]) -> ArrayImages | None:
    """Return images and labels of one part; None where it has no labels."""
    images, labels = _find(folder, prefixes, "images"), _find(folder, prefixes, "labels")
    if images is None or labels is None:
        return None
    pixels, numbers = _read(images), _read(labels)
    if pixels.dim() == 4 and pixels.shape[-1] in (1, 3):
        pixels = pixels.permute(0, 3, 1, 2).contiguous()
    elif pixels.dim() == 3:
        pixels = pixels.unsqueeze(1)
    else:
        raise DataError(f"{images}: has shape {tuple(pixels.shape)}, allowed: [N, H, W] or [N, H, W, 3]")
    if numbers.shape != (len(pixels),) or not len(pixels):
        raise DataError(f"{labels}: has shape {tuple(numbers.shape)}, but {images.name} holds {len(pixels)} images")
    return ArrayImages(pixels, numbers)


def _read(path: Path) -> Tensor:
    """Return the unsigned bytes of an IDX file in its own shape."""
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except PermissionError:
        raise DataError(f"{path}: this user may not read it") from None
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read ({error})") from None
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] != UNSIGNED_BYTES:
        raise DataError(f"{path}: is no IDX file of unsigned bytes (it must begin with 00 00 08)")
    start = 4 + 4 * content[3]
    shape = struct.unpack_from(f">{content[3]}I", content, 4) if len(content) >= start else ()
    if not shape or len(content) - start != math.prod(shape):
        raise DataError(f"{path}: is cut short or too long, {len(content)} bytes cannot hold shape {list(shape)}")
    return torch.from_numpy(numpy.frombuffer(content, numpy.uint8, offset=start).copy()).view(shape)
