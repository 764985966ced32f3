"""Names of studies and of trials: `digits-a` and `digits-a:17`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime

from space.errors import NasError

_REFERENCE = re.compile(r"(?P<study>[^:/\\]+):(?P<number>[0-9]+)")
_STUDY = re.compile(r"\w[\w.-]{0,99}")


def check_study_name(name: str) -> str:
    """Return the name if a study may bear it: what the store takes, so that no shell, path or reference trips over it.

    Raises:  NasError naming what is allowed.
    """
    if _STUDY.fullmatch(name) is None:
        raise NasError(
            f"study name: {name!r}, allowed: up to 100 letters, digits, '_', '-' and '.', "
            "beginning with a letter, digit or '_'"
        )
    return name


def fresh_study_name(space_name: str, taken: Iterable[str], now: datetime) -> str:
    """Name a new study after its space and the time, e.g. `metaformer-20260131-142530`, unlike any taken name."""
    stem = re.sub(r"[^A-Za-z0-9._]+", "-", space_name).strip("-.")[:60] or "study"
    first = f"{stem}-{now:%Y%m%d-%H%M%S}"
    used, name, count = set(taken), first, 2
    while name in used:
        name, count = f"{first}-{count}", count + 1
    return name


def trial_reference(text: str) -> tuple[str, int] | None:
    """Split `STUDY:NUMBER` into its parts; None when the text is not of that form."""
    match = _REFERENCE.fullmatch(text)
    return (match["study"], int(match["number"])) if match else None
