"""The row of a proposed point: written before anyone acts on it."""

from __future__ import annotations

from nas.admission import Verdict
from nas.latency_limit import PREDICTED
from nas.proposing import Candidate
from space import describe
from trials.rows import TrialRow
from trials.seeds import trial_seed
from trials.store import Store


def record(store: Store, study_id: int, seed: int, candidate: Candidate, verdict: Verdict) -> TrialRow:
    """Add a trial for a proposed point, in the state that admission gives it; `seed` is that of the search."""
    proposal = candidate.proposal
    arch_id = proposal.arch.id
    extra: dict[str, object] = {"description": describe(proposal.arch)}
    if verdict.activations is not None:
        extra["activations"] = verdict.activations
    if verdict.predicted_ms is not None:
        extra[PREDICTED] = verdict.predicted_ms
    if proposal.state:
        extra["sampler"] = dict(proposal.state)
    if candidate.parents:
        extra["parents"] = list(candidate.parents)
    return store.add_trial(
        study_id,
        state=verdict.state,
        arch_id=arch_id,
        arch_json=proposal.arch.model_dump_json(exclude_defaults=True),
        params=verdict.params,
        macs=verdict.macs,
        choices=proposal.choices,
        seed=trial_seed(seed, arch_id),
        sampler=candidate.sampler,
        reason=verdict.reason,
        duplicate_of=verdict.duplicate_of,
        origin=candidate.origin,
        extra=extra,
    )
