"""Extend the space of a study: more choices, wider ranges; every stored trial keeps its place and meaning."""

from __future__ import annotations

from nas.fitted_space import FittedSpace
from nas.preparation import Preparation
from space import Architecture, DesignSpace, NasError, NotInSpace
from space.walk import Params
from trials.rows import StudyRow, TrialRow
from trials.store import Store


def extend(store: Store, study: StudyRow, prepared: Preparation) -> StudyRow:
    """Give a study the space and settings of `prepared`, with its trials in the coordinates of that space.

    Labels and paths may differ from those of the old space (a second choice of one kind numbers both), so that every
    trial is encoded anew, by its network.

    Raises:  NasError, one line that names the first difference, where the space is no extension: a trial lies outside
             it, or what the costs and twins of all trials refer to would be another.
    """
    design, old = prepared.space.space, DesignSpace.from_yaml(study.space, prepared.settings.space)
    where = f"space {design.name!r}: no extension of that of study {study.name!r}"
    for name in ("resolution", "proxy"):
        before, after = getattr(old, name), getattr(design, name)
        if before != after:
            raise NasError(f"{where}: its {name} is {_shown(after)}, that of the study {_shown(before)}")
    choices = {row.id: _encoded(row, prepared.space, where) for row in store.trials(study.id)}
    config = prepared.settings.model_dump(mode="json")
    return store.update_config(study.name, config, space=design.text, choices=choices)


def _encoded(row: TrialRow, space: FittedSpace, where: str) -> Params:
    arch = Architecture.model_validate_json(row.arch_json)
    try:
        choices = space.encode(arch)
    except NotInSpace as error:
        raise NasError(f"{where}: trial {row.number} lies outside it: {error}") from None
    if space.decode(choices).id != row.arch_id:
        raise NasError(f"{where}: the choices of trial {row.number} would yield another network")
    return choices


def _shown(value: object) -> str:
    return "none" if value is None else str(value)
