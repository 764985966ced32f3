"""How a trial waits with a training that is not over: queued again, with what it has measured so far."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, select

from trials import writing
from trials.rows import RUNGS, StoreError
from trials.schema import trial
from trials.sharing import Sharing


class Pausing(Sharing):
    """The part of the store for trials that are trained in stretches."""

    def pause_trial(self, trial_id: int, *, reason: str, rungs: Sequence[dict[str, Any]]) -> None:
        """Put a running trial back into the queue until it may go on; `start_trial` with the same attempt does that.

        reason:  where it waits, in words.
        rungs:   what it has measured at each rung so far, in the form of `TrialRow.rungs`.

        Raises:  StoreError if the trial does not run, or the lease of its study is lost.
        """
        with self._database.write() as connection:
            row = writing.claim(connection, trial_id, self._leases)
            if row.state != "running":
                raise StoreError(f"{row.label}: {row.state}, only a running trial can wait at a rung")
            extra = {**_extra(connection, trial_id), RUNGS: list(rungs)}
            writing.change_trial(connection, trial_id, state="queued", reason=writing.storable(reason), extra=extra)


def keep_values(connection: Connection, trial_id: int) -> None:
    """Keep of the rungs of a trial that is over what tells of its way; what it would have gone on with goes."""
    extra = _extra(connection, trial_id)
    if RUNGS in extra:
        passed = [{key: rung[key] for key in ("epoch", "values", "seconds")} for rung in extra[RUNGS]]
        writing.change_trial(connection, trial_id, extra={**extra, RUNGS: passed})


def _extra(connection: Connection, trial_id: int) -> dict[str, Any]:
    found: dict[str, Any] = connection.execute(select(trial.c.extra).where(trial.c.id == trial_id)).scalar_one()
    return found
