"""Find the network a user names: a named model, a file, or a trial of a study.

`convnext_tiny`     a named model
`my_network.yaml`   a file that holds a point, as YAML or JSON; or a folder made by `nas export`
`digits-a:17`       trial 17 of the study `digits-a`
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import yaml

from nas.naming import trial_reference
from space import Architecture, NasError
from space.errors import nearest
from space.named import model_names, named
from space.source import read_architecture
from trials.store import Store, TrialRow

POINT_FILE = "architecture.yaml"
"""The point inside an exported folder."""


@dataclass(frozen=True)
class FoundNetwork:
    """A point and where it came from."""

    name: str
    """What to call it in a sentence: the model's name, the file, or `STUDY:NUMBER`."""
    arch: Architecture
    resolution: int | None
    """Side of the images it was published for, in pixels; None where that is not known."""
    trial: TrialRow | None = None
    drop_path: float = 0.0


def find_network(text: str, open_store: Callable[[], Store]) -> FoundNetwork:
    """Return the network that `text` names; the store is opened only for a trial.

    A file wins over a model of the same name; a reference like `STUDY:NUMBER` wins over both unless such a file exists.
    Raises:  NasError: nothing of that name (with the nearest), an unreadable file, an unknown study or trial.
    """
    path = Path(text)
    if path.exists():
        return FoundNetwork(text, read_point(path), None)
    if (reference := trial_reference(text)) is not None:
        store = open_store()
        study = store.study(reference[0])
        row = store.trial(study.id, reference[1])
        return FoundNetwork(text, Architecture.model_validate_json(row.arch_json), None, trial=row)
    if path.suffix in (".yaml", ".yml", ".json") or "/" in text:
        raise NasError(f"{text}: no such file")
    try:
        model = named(text)
    except NasError:
        raise NasError(
            f"network {text!r}: neither a file, nor a trial (STUDY:NUMBER), nor a named model (nas models list)"
            f"{nearest(text, model_names())}"
        ) from None
    return FoundNetwork(text, model.arch, model.resolution, drop_path=model.drop_path)


def read_point(path: Path) -> Architecture:
    """Read a point from a YAML or JSON file, or from an exported folder.

    Raises:  SpaceError with the file, the place in it, what stands there and what is allowed.
    """
    return read_architecture(path / POINT_FILE if path.is_dir() else path)


def as_yaml(arch: Architecture) -> str:
    """Write a point as YAML, defaults left out; `read_point` reads it back to an equal point."""
    return yaml.safe_dump(arch.model_dump(mode="json", exclude_defaults=True), sort_keys=False, width=110)
