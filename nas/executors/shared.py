"""An executor whose workers another part of the search has started, and will stop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

from nas.executors.executor import Executor, Report


class Shared:
    """Passes everything on but the start and the end, so that two parts of a search share the same workers."""

    def __init__(self, executor: Executor) -> None:
        """Take an executor that has been entered."""
        self._executor = executor
        self.workers, self.ahead = executor.workers, executor.ahead

    def __enter__(self) -> Self:
        """Return itself; the workers are there."""
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the workers to whoever started them."""

    def idle(self) -> int:
        """Return how many jobs may be submitted now."""
        return self._executor.idle()

    def submit(self, key: int, job: str) -> str:
        """Hand a job (JSON) to an idle worker and return the worker's name."""
        return self._executor.submit(key, job)

    def wait(self, listener: Callable[[Report], None], timeout: float | None = None) -> bool:
        """Pass on what workers report; see `Executor.wait`."""
        return self._executor.wait(listener, timeout)
