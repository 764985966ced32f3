"""The folder of one training: which training it belongs to, how long that took so far, and that only one runs in it."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from nas.files import one_line, write_file
from space import NasError

NOTE = "training.json"
_LOCK = ".lock"


@dataclass(frozen=True)
class TrainingFolder:
    """A folder that holds, or will hold, the files of one training."""

    path: Path
    key: str
    """Hash of all that decides the training."""

    def check(self) -> None:
        """Make sure that this training may use the folder. Raises NasError where it holds something else."""
        with one_line(self.path):
            if not self.path.exists():
                return
            if not self.path.is_dir():
                raise NasError(f"{self.path}: is a file; a training needs a folder of its own")
            if (self.path / NOTE).exists():
                self._noted()
            elif any(entry.name != _LOCK for entry in self.path.iterdir()):
                raise NasError(f"{self.path}: holds other files; a training needs a folder of its own, new or empty")

    @contextmanager
    def held(self) -> Iterator[None]:
        """Make the folder and be the only process that trains in it. Raises NasError where another one does."""
        with one_line(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            lock = (self.path / _LOCK).open("w")
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise NasError(f"{self.path}: another process is training in it") from None
            self.check()
            yield

    def seconds(self) -> float:
        """Return the wall time that earlier runs of this training took."""
        return self._noted() if (self.path / NOTE).exists() else 0.0

    def note(self, seconds: float) -> None:
        """Write down whose folder it is and how long the training took so far."""
        text = json.dumps({"key": self.key, "seconds": round(seconds, 3)})

        def write(file: Path) -> None:
            file.write_text(text, encoding="utf-8")

        write_file(self.path / NOTE, write)

    def _noted(self) -> float:
        file = self.path / NOTE
        try:
            note = json.loads(file.read_text(encoding="utf-8"))
            key, seconds = str(note["key"]), float(note["seconds"])
        except (OSError, ValueError, TypeError, KeyError):
            raise NasError(f"{file}: is damaged; move {self.path} away to train anew") from None
        if key != self.key:
            raise NasError(
                f"{self.path}: holds another training (other network, data, recipe or seed); choose another folder"
            )
        return seconds
