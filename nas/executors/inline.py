"""Run trials in this process, one at a time: no start-up, no parallelism, exactly repeatable."""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

from nas.executors.executor import EpochDone, JobDone, JobFailed, Report
from nas.executors.work import perform_stretch, reason_of


class _ListenerFailed(BaseException):
    """Carries an error of the listener through the trial, which must not take it for its own."""


class Inline:
    """An executor whose one worker is this process."""

    workers = 1
    ahead = 0

    def __init__(self) -> None:
        """Start with nothing to do."""
        self._job: tuple[int, str, bytes | None] | None = None

    def __enter__(self) -> Self:
        """Return itself; there is nothing to start."""
        return self

    def __exit__(self, *_: object) -> None:
        """Forget a job that was not run."""
        self._job = None

    def idle(self) -> int:
        """Return 1 unless a job waits."""
        return 0 if self._job else 1

    def next_worker(self) -> str:
        """Return the name of this process as a worker."""
        return "inline"

    def submit(self, key: int, job: str, checkpoint: bytes | None = None) -> str:
        """Keep the job for `wait`."""
        self._job = (key, job, checkpoint)
        return self.next_worker()

    def wait(self, listener: Callable[[Report], None], timeout: float | None = None) -> bool:
        """Run the job, if there is one; its reports are passed on as they come."""
        if self._job is None or timeout == 0:
            return False
        (key, job, checkpoint), self._job = self._job, None

        def on_epoch(epoch: int, metrics: dict[str, float]) -> None:
            try:
                listener(EpochDone(key, epoch, metrics))
            except Exception as error:
                raise _ListenerFailed from error

        try:
            report: Report = JobDone(key, *perform_stretch(job, on_epoch, checkpoint))
        except _ListenerFailed as failed:
            raise failed.__cause__ or failed from None
        except Exception as error:  # whatever goes wrong in a trial is that trial's failure
            report = JobFailed(key, reason_of(error))
        listener(report)
        return True
