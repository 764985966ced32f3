"""The root of the data sources and the one place that finds the source of a word or path."""

from __future__ import annotations

import os
from pathlib import Path

from space.discover import discover
from space.errors import nearest
from space.spec import Family
from trials.data.contents import Contents
from trials.data.errors import DataError


class Source(Family):
    """Somewhere images come from. A member claims the words or paths it understands, in its own file."""

    def words(self) -> tuple[str, ...]:
        """Return the words a user may type for this source; none for sources of paths."""
        return ()

    def claims(self, spec: str) -> bool:
        """Whether `spec` is for this source."""
        return spec in self.words()

    def read(self, spec: str, root: Path) -> Contents:
        """Return the contents; `root` is where downloads are kept. Raises DataError."""
        raise NotImplementedError


def _sources() -> list[Source]:
    discover("trials.data.sources")
    return [Source.model_validate({"kind": kind}) for kind in sorted(Source.members)]


def source_words() -> tuple[str, ...]:
    """Return every word that names a data set, in order."""
    return tuple(sorted(word for source in _sources() for word in source.words()))


def find_source(spec: str) -> Source:
    """Return the source that claims `spec`. Raises DataError with the nearest word where none does."""
    for source in _sources():
        if source.claims(spec):
            return source
    path, words = Path(spec).expanduser(), source_words()
    try:
        if path.is_dir():
            next(path.iterdir(), None)
            raise DataError(f"{spec}: holds no folders of images and no IDX files, one of them is needed")
        if path.exists():
            raise DataError(f"{spec}: is a file, allowed: a folder of class folders, a folder of IDX files, or a word")
    except PermissionError:
        raise DataError(f"{spec}: this user may not read it") from None
    missing = "no such folder" if os.sep in spec or spec.startswith(("~", ".")) else "neither a folder nor a known word"
    raise DataError(f"{spec!r}: {missing}, known words: {', '.join(words)}, hf:NAME{nearest(spec, words)}")
