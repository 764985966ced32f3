"""What a worker does with a job: run its evaluators one after the other, and tell errors in one line."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from space.errors import NasError
from trials.evaluator import Evaluator, Job, run_job
from trials.measurement import Measured

OnEpoch = Callable[[int, dict[str, float]], None]
LONGEST_REASON = 400


def perform(job_json: str, on_epoch: OnEpoch) -> dict[str, Any]:
    """Run a job and return, per evaluator kind, `{"version": int, "measured": {metric: Measured as a dict}}`."""
    return perform_stretch(job_json, on_epoch)[0]


def perform_stretch(
    job_json: str, on_epoch: OnEpoch, checkpoint: bytes | None = None
) -> tuple[dict[str, Any], bytes | None]:
    """Run a job, its training from `checkpoint` where one is given; return the outcome and the new checkpoint.

    The new checkpoint is that of a stretch that does not end the training, else None.
    """
    job = Job.model_validate_json(job_json)
    if job.stretch is None:
        return _outcome(job, on_epoch), None
    with tempfile.TemporaryDirectory(prefix="nas-stretch-") as folder:
        staged = job.model_copy(update={"checkpoint_dir": Path(folder)})
        file = staged.checkpoint or Path(folder)
        if checkpoint is not None:
            file.write_bytes(checkpoint)
        outcome = _outcome(staged, on_epoch)
        reached = file.read_bytes() if file.exists() else None
        # the last stretch leaves what it began with
        return outcome, None if reached == checkpoint else reached


def _outcome(job: Job, on_epoch: OnEpoch) -> dict[str, Any]:
    return {
        evaluator.kind: {
            "version": evaluator.version,
            "measured": {name: asdict(value) for name, value in run_job(_only(job, evaluator), on_epoch).items()},
        }
        for evaluator in job.evaluators
    }


def _only(job: Job, evaluator: Evaluator) -> Job:
    return job.model_copy(update={"evaluators": (evaluator,)})


def measured_from(outcome: Any) -> dict[str, Measured]:
    """Return the measured metrics of one evaluator's outcome."""
    return {name: Measured(**value) for name, value in outcome["measured"].items()}


def reason_of(error: BaseException) -> str:
    """Describe an error in one line: ours by its message, others with their type."""
    text = " ".join(str(error).split())
    if not isinstance(error, NasError):
        text = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return text if len(text) <= LONGEST_REASON else text[: LONGEST_REASON - 3] + "..."
