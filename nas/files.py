"""Files and folders that are there whole or not at all, and their checksums."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from space.errors import NasError


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file as 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_file(path: Path, write: Callable[[Path], None]) -> None:
    """Let `write` make a file beside `path`, then put it in place in one step.

    Raises:  NasError naming the path and the reason (no space left, no permission, ...); `path` is then as it was.
    """
    with one_line(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name[:100]}.", dir=path.parent)
        os.close(handle)
        beside = Path(name)
        try:
            write(beside)
            beside.chmod(0o666 & ~_umask())
            _to_disk(beside)
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)


@contextmanager
def new_folder(target: Path, *, replace: bool = False) -> Iterator[Path]:
    """Hand out an empty folder beside `target` that takes its place when the block ends well, and is removed otherwise.

    An existing `target` must be an empty folder, unless `replace`: then its content is replaced in one step.
    Raises:  NasError naming the target and the reason.
    """
    with one_line(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(prefix=f".{target.name[:100]}.", dir=target.parent))
        try:
            yield beside
            beside.chmod(0o777 & ~_umask())
            for file in beside.iterdir():
                file.chmod(0o666 & ~_umask())
                _to_disk(file)
            if replace and target.exists():
                _swap(beside, target)
            else:
                beside.rename(target)
        finally:
            shutil.rmtree(beside, ignore_errors=True)


@contextmanager
def one_line(path: Path) -> Iterator[None]:
    """Turn what the operating system objects to into a NasError about `path`."""
    try:
        yield
    except OSError as error:
        at = f" ({error.filename})" if error.filename and str(error.filename) != str(path) else ""
        raise NasError(f"{path}: cannot be written: {error.strerror or error}{at}") from None


def _swap(new: Path, target: Path) -> None:
    """Put `new` where `target` stands; should that fail, `target` comes back."""
    old = Path(tempfile.mkdtemp(prefix=f".{target.name[:100]}.old.", dir=target.parent))
    target.rename(old / "was")
    try:
        new.rename(target)
    except OSError:
        (old / "was").rename(target)
        raise
    finally:
        if target.exists():
            shutil.rmtree(old, ignore_errors=True)


def _to_disk(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
