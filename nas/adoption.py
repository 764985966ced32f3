"""Begin a study with what others know: all trials of the store that this one would have made in the same way."""

from __future__ import annotations

from nas.evaluation_cache import Conditions
from nas.objective import violation
from nas.preparation import Preparation
from space import Architecture
from space.errors import NasError
from trials.rows import REUSED, StudyRow, TrialRow
from trials.sharing import Adopted
from trials.store import Store


def adopt(store: Store, study: StudyRow, prepared: Preparation) -> str:
    """Add the compatible trials of all other studies to a study without trials; return how many, in words.

    Compatible is a complete trial of the same data, recipe, training size and evaluators, whatever its seed, whose
    point lies in this study's space and limits. Of several trials of one point the first is taken.
    """
    unfit = [each.kind for each in prepared.settings.evaluators if not each.reusable]
    if unfit:
        return f"start-from-store: no trial is taken over, {', '.join(unfit)} is measured anew in each study"
    found: dict[str, Adopted] = {}
    studies: set[str] = set()
    mine = Conditions(prepared.settings, prepared.size, study.data_fingerprint)
    for summary in store.studies():
        if summary.id == study.id or not summary.counts["complete"]:
            continue
        row = store.study(summary.name)
        for trial in _alike(store, row, mine):
            if trial.arch_id not in found and (adopted := _adopted(trial, row.name, prepared)) is not None:
                found[trial.arch_id] = adopted
                studies.add(row.name)
    store.adopt_trials(study.id, list(found.values()))
    trials, of = len(found), len(studies)
    if not found:
        return "start-from-store: no other study has a trial of this space, data and recipe"
    return (
        f"start-from-store: {trials} trial{'s' if trials != 1 else ''} of {of} "
        f"{'studies are' if of != 1 else 'study are' if trials != 1 else 'study is'} known from the beginning"
    )


def _alike(store: Store, study: StudyRow, mine: Conditions) -> list[TrialRow]:
    """Return the complete trials of a study that were evaluated as those of mine will be, by the same versions."""
    theirs = Conditions.stored(study.config, study.data_fingerprint)
    if theirs is None:
        return []
    rows = store.trials(study.id, state="complete")
    wanted = {(each.kind, each.version) for each in mine.settings.evaluators}
    versions = store.measured_by(study.id)
    rows = [row for row in rows if wanted <= versions.get(row.id, set())]
    if not rows:
        return []
    # what decides the result besides point and seed is the same for all trials of a study
    arch = Architecture.model_validate_json(rows[0].arch_json)
    kinds = [each.kind for each in mine.settings.evaluators]
    same = all(mine.deciding(arch, 0, kind) == theirs.deciding(arch, 0, kind) for kind in kinds)
    return rows if same else []


def _adopted(row: TrialRow, study: str, prepared: Preparation) -> Adopted | None:
    """Return a trial in the coordinates of this study; None where it lies outside its space or limits."""
    space, settings = prepared.space, prepared.settings
    try:
        choices = space.encode(Architecture.model_validate_json(row.arch_json))
        arch = space.decode(choices)
        cost = prepared.size.cost(arch)
    except NasError:
        return None
    counts = {"params": float(cost.params), "macs": float(cost.macs), "activations": float(cost.activations)}
    if arch.id != row.arch_id or violation(settings.limits, counts | row.values) > 0:
        return None
    mark = row.extra.get(REUSED) or {"study": study, "trial": row.number}
    known = {key: row.extra[key] for key in ("description",) if key in row.extra}
    extra = known | {"activations": cost.activations, REUSED: mark}
    return Adopted(row, cost.params, cost.macs, choices, extra)
