"""What runs trials: it takes jobs as JSON, streams reports back, and outlives its workers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, Self

from space.errors import NasError


class ExecutorError(NasError):
    """Workers cannot be started or reached."""


@dataclass(frozen=True)
class EpochDone:
    """A worker finished an epoch of the job under `key`."""

    key: int
    epoch: int
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class JobDone:
    """The job ended well; per evaluator kind its measured metrics as JSON-able values."""

    key: int
    outcome: Mapping[str, Any]
    checkpoint: bytes | None = None
    """Where the training stands after a stretch that does not end it."""


@dataclass(frozen=True)
class JobFailed:
    """The job raised an error; the worker lives."""

    key: int
    reason: str


@dataclass(frozen=True)
class WorkerLost:
    """The worker died under the job; a new one takes its place."""

    key: int
    reason: str


Report = EpochDone | JobDone | JobFailed | WorkerLost


class Executor(Protocol):
    """Runs jobs side by side. Use it as a context manager; workers live that long."""

    workers: int
    ahead: int
    """Jobs worth preparing while all workers are busy."""

    def __enter__(self) -> Self:
        """Start the workers. Raises ExecutorError."""
        ...

    def __exit__(self, *_: object) -> None:
        """Stop the workers, whatever they do."""
        ...

    def idle(self) -> int:
        """Return how many jobs may be submitted now."""
        ...

    def next_worker(self) -> str:
        """Return the name of the idle worker that the next job goes to."""
        ...

    def submit(self, key: int, job: str, checkpoint: bytes | None = None) -> str:
        """Hand a job (JSON) to an idle worker and return the worker's name.

        checkpoint:  where the training stands that the job goes on with; None: at its beginning.
        """
        ...

    def wait(self, listener: Callable[[Report], None], timeout: float | None = None) -> bool:
        """Pass on what workers report, waiting for at least one report until `timeout` seconds; tell whether one came.

        Raises:  ExecutorError where workers die again and again without finishing anything.
        """
        ...
