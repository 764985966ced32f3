"""The checkpoints of trials that wait at a rung: files beside the store, one a trial, gone once the trial is over."""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Collection
from pathlib import Path

from nas.files import write_file

_NAME = re.compile(r"trial-(\d+)-epoch-(\d+)\.pt")


class TrialCheckpoints:
    """Those of one study. Only the study's driver touches them."""

    def __init__(self, root: Path, study: str) -> None:
        """Keep them in `root`/checkpoints/STUDY, which is made with the first."""
        self.folder = root / "checkpoints" / study
        self._sizes: dict[int, int] = {}

    @property
    def bytes(self) -> int:
        """Size of all that are kept."""
        return sum(self._sizes.values())

    def put(self, number: int, epoch: int, content: bytes) -> str:
        """Write the checkpoint of a trial, at once or not at all, and return its SHA-256; an earlier one stays.

        Raises:  NasError naming the file where it cannot be written.
        """

        def write(file: Path) -> None:
            file.write_bytes(content)

        write_file(self._path(number, epoch), write)
        self._sizes[number] = len(content)
        return hashlib.sha256(content).hexdigest()

    def get(self, number: int, epoch: int, sha256: str | None) -> bytes | None:
        """Return the checkpoint of a trial; None where it is not there, or is not what was written."""
        try:
            content = self._path(number, epoch).read_bytes()
        except OSError:
            return None
        return content if hashlib.sha256(content).hexdigest() == sha256 else None

    def remove(self, number: int, *, keep: int | None = None) -> None:
        """Remove those of a trial, but for the one of epoch `keep`."""
        for path in self.folder.glob(f"trial-{number}-epoch-*.pt"):
            if path != self._path(number, keep or 0):
                path.unlink(missing_ok=True)
        if keep is None:
            self._sizes.pop(number, None)
            self._tidy()

    def sweep(self, kept: Collection[tuple[int, int]]) -> None:
        """Remove all but those of these (trial, epoch), as after the death of a driver, and the folder if empty."""
        self._sizes = {}
        for path in self.folder.glob("*") if self.folder.is_dir() else ():
            found = _NAME.fullmatch(path.name)
            if found is not None and (int(found[1]), int(found[2])) in kept:
                self._sizes[int(found[1])] = path.stat().st_size
            else:
                path.unlink(missing_ok=True)
        self._tidy()

    def _tidy(self) -> None:
        """Remove the folder where nothing is left in it."""
        if not self._sizes:
            with contextlib.suppress(OSError):
                self.folder.rmdir()

    def _path(self, number: int, epoch: int) -> Path:
        return self.folder / f"trial-{number}-epoch-{epoch}.pt"
