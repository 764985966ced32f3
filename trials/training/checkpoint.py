"""Checkpoints of a training: written at once or not at all, read only if they belong to the same training."""

from __future__ import annotations

import io
import os
import pickle
import tempfile
from pathlib import Path
from typing import Any, cast

import torch

from space.errors import NasError

FORMAT = 1


class CheckpointError(NasError):
    """A checkpoint cannot be written, read, or belongs to another training."""


def save_checkpoint(path: Path, state: dict[str, Any], identity: dict[str, str]) -> None:
    """Write `state` to `path`, replacing what is there only once all is on disk. Raises CheckpointError."""
    buffer = io.BytesIO()
    torch.save({"format": FORMAT, "identity": identity, "state": state}, buffer)
    temporary: str | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
        with os.fdopen(descriptor, "wb") as file:
            file.write(buffer.getbuffer())
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
        temporary = None
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be written ({error.strerror or error})") from None
    finally:
        if temporary:
            Path(temporary).unlink(missing_ok=True)


def load_checkpoint(path: Path, identity: dict[str, str]) -> dict[str, Any]:
    """Return the state saved at `path`. Raises CheckpointError if unreadable or of another training than `identity`."""
    saved = read_checkpoint(path)
    theirs = cast("dict[str, str]", saved["identity"])
    for name in [*identity, *(name for name in theirs if name not in identity)]:
        value = identity.get(name)
        if theirs.get(name) != value:
            raise CheckpointError(
                f"{path}: belongs to another training, its {name} is {_short(theirs.get(name))}, this one's is "
                f"{_short(value)}; train into another folder, or without resuming"
            )
    return cast("dict[str, Any]", saved["state"])


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Return format, identity and state as saved. Raises CheckpointError if that is not what the file holds."""
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else "damaged or no checkpoint"
        raise CheckpointError(f"{path}: cannot be read ({why})") from None
    if not isinstance(saved, dict) or "format" not in saved:
        raise CheckpointError(f"{path}: is no checkpoint of a training")
    if saved["format"] != FORMAT:
        raise CheckpointError(f"{path}: has format {saved['format']!r}, this version reads {FORMAT}")
    return cast("dict[str, Any]", saved)


def _short(value: str | None) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
