"""What a user names for training or export: a point and where it came from.

`digits-a:17`            trial 17 of the study `digits-a`
`convnext_tiny`          a named model
`mine.yaml`              a file that holds a point
`network.safetensors`    a checkpoint of `nas train`: the trained network's own point
`my-network/`            a folder made by `nas export`: its network as it was trained, before branches were merged
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from nas.bundle import read_card
from nas.card import JSON_FILE
from nas.checkpoint import SUFFIX, read_facts
from nas.facts import Origin
from nas.naming import trial_reference
from nas.networks import find_network
from space import Architecture
from trials.rows import StudyRow, TrialRow
from trials.store import Store


class Resolved(NamedTuple):
    """A point, where it came from, and the trial it was tried in, if any."""

    arch: Architecture
    origin: Origin
    study: StudyRow | None = None
    trial: TrialRow | None = None


def resolve(reference: str, store: Store) -> Resolved:
    """Return the point that `reference` names.

    Raises:  NasError: nothing of that name (with the nearest), an unreadable file, an unknown study or trial.
    """
    path = Path(reference)
    if is_checkpoint(path):
        return Resolved(read_facts(path).architecture, Origin(kind="checkpoint", name=reference))
    found = find_network(reference, lambda: store)
    if found.trial is not None:
        study = store.study(trial_reference(reference)[0])  # type: ignore[index] -- a trial is found by no other form
        number = found.trial.number
        origin = Origin(kind="trial", name=f"{study.name}:{number}", study=study.name, number=number)
        return Resolved(found.arch, origin, study, found.trial)
    if path.is_dir():
        return Resolved(_as_trained(path, found.arch), Origin(kind="bundle", name=reference))
    if path.exists():
        return Resolved(found.arch, Origin(kind="file", name=reference))
    return Resolved(found.arch, Origin(kind="model", name=found.name))


def _as_trained(folder: Path, arch: Architecture) -> Architecture:
    """Return the point to train anew of a folder that holds `arch`: merged kernels would learn otherwise."""
    form = read_card(folder).training_form if (folder / JSON_FILE).is_file() else None
    return arch if form is None else form.architecture


def is_checkpoint(path: Path) -> bool:
    """Whether the path is, by its name, a file of weights."""
    return path.suffix == SUFFIX
