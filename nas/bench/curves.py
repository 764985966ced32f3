"""Recorded learning curves: networks of a space, each trained to the end, with what every epoch brought and cost."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nas.files import write_file
from space import Architecture, NasError

FORMAT = 1
"""Version of the file's layout."""


class CurvesError(NasError):
    """A file holds no recorded curves."""


@dataclass(frozen=True)
class CurvePoint:
    """A network that was trained, and what it costs."""

    id: str
    arch: Mapping[str, Any]
    """The point as JSON, fitted to the data; `architecture()` rebuilds it."""
    params: int
    macs: int
    """Of the point itself at the head's `cost_resolution`, as the front of a search reports them."""
    train_params: int
    train_macs: int
    """Of what was trained, at the head's `resolution`."""

    def architecture(self) -> Architecture:
        """Return the point. Raises ValidationError where the present code knows no such point."""
        return Architecture.model_validate(dict(self.arch))


@dataclass(frozen=True)
class CurveRun:
    """One training of one point; lists have an entry for each epoch that was finished."""

    point: int
    """Position in the file's points."""
    repeat: int
    """0 for the first training of a point, then 1: the same with another seed."""
    seed: int
    accuracy: tuple[float, ...]
    """On the validation images, in [0, 1]."""
    loss: tuple[float, ...]
    """On the validation images, in nats."""
    seconds: tuple[float, ...]
    """CPU seconds of each epoch, validation included; the first also builds the network."""
    failure: str | None = None
    """Why it ended early, where it did."""


@dataclass(frozen=True)
class Curves:
    """A file of curves: what holds for all (`head`), the networks, and their trainings in the order they were made."""

    head: Mapping[str, Any]
    points: tuple[CurvePoint, ...]
    runs: tuple[CurveRun, ...]

    def first_runs(self) -> dict[int, CurveRun]:
        """Return the finished first training of each point, by its position."""
        return {run.point: run for run in self.runs if run.repeat == 0 and run.failure is None}

    @classmethod
    def load(cls, path: Path) -> Curves:
        """Read a `.json.gz` file. Raises CurvesError naming what is missing or does not fit."""
        try:
            content = json.loads(gzip.decompress(path.read_bytes()))
        except (EOFError, gzip.BadGzipFile, zlib.error, UnicodeDecodeError, json.JSONDecodeError):
            raise CurvesError(f"{path}: no gzipped JSON, a file of benchmarks/record_curves.py is needed") from None
        except OSError as error:
            raise CurvesError(f"{path}: cannot be read: {error.strerror or error}") from None
        found = content.get("format") if isinstance(content, dict) else None
        if found != FORMAT:
            raise CurvesError(f"{path}: format {found!r}, allowed: {FORMAT}")
        try:
            points = tuple(CurvePoint(**each) for each in content["points"])
            runs = tuple(CurveRun(**each | {key: tuple(each[key]) for key in _LISTS}) for each in content["runs"])
            head = dict(content["head"])
        except (KeyError, TypeError, ValueError) as error:
            raise CurvesError(f"{path}: not the fields of recorded curves ({error})") from None
        for run in runs:
            if not 0 <= run.point < len(points) or len({len(run.accuracy), len(run.loss), len(run.seconds)}) > 1:
                raise CurvesError(f"{path}: the training of point {run.point} does not fit its points and epochs")
        return cls(head, points, runs)

    def save(self, path: Path) -> None:
        """Write the file in one step; the same curves give the same bytes. Raises NasError."""
        content = {"format": FORMAT} | asdict(self)
        text = json.dumps(content, separators=(",", ":"), sort_keys=True, allow_nan=False)
        packed = gzip.compress(text.encode(), mtime=0)

        def write(beside: Path) -> None:
            beside.write_bytes(packed)

        write_file(path, write)


_LISTS = ("accuracy", "loss", "seconds")
