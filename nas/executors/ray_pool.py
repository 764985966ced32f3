"""Run trials in long-lived Ray actors, on this machine or on a cluster named by its address."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

from nas.executors.executor import EpochDone, ExecutorError, JobDone, JobFailed, Report, WorkerLost
from nas.executors.ray_address import check_answer

START_SECONDS = 180.0
"""Within this time the first worker must be up."""
DEATHS_AT_START = 3
"""So many workers in a row may die before they are up."""
OBJECT_STORE_BYTES = 80 * 2**20
"""Near the least Ray takes: short JSON travels, and checkpoints, which Ray lays on disk where they are larger."""
_MARK = "nas-ray-"


class RayPool:
    """An executor of `workers` actors. A dead one is replaced by a new one; nothing is restarted behind our back."""

    ahead = 1

    def __init__(self, workers: int, *, threads: int = 1, gpus: float = 0.0, address: str | None = None) -> None:
        """Describe the pool; entering it starts it.

        threads:  CPU threads of each worker.    gpus:  share of a GPU that Ray sets aside for each worker.
        address:  of a running Ray cluster, which goes on after the pool; None: a private one on this machine, gone
                  with the pool.

        Raises:   ExecutorError where the address is no HOST:PORT, or no cluster answers there.
        """
        if address is not None:
            check_answer(address)
        self.workers, self._threads, self._gpus, self._address = workers, threads, gpus, address
        self._ray: Any = None
        self._folder: str | None = None
        self._owns = False
        self._starting: dict[Any, Any] = {}
        self._idle: list[tuple[Any, str]] = []
        self._running: dict[Any, tuple[int, Any, str]] = {}
        self._checkpoints: dict[Any, bytes] = {}
        self._deaths = 0
        self._begin = 0.0

    def __enter__(self) -> Self:
        """Start Ray and the actors. Raises ExecutorError."""
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        # Ray writes a paragraph on stdout for each dead worker, into the JSON and the live view; ours is one line
        os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", ".")
        import ray

        self._ray, self._begin = ray, time.monotonic()
        try:
            if not ray.is_initialized():
                self._init()
                self._owns = True
            for _ in range(self.workers):
                self._start_actor()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Kill the actors and, where the pool started it, shut Ray down."""
        actors = [*self._starting.values(), *(a for a, _ in self._idle), *(a for _, a, _ in self._running.values())]
        for actor in actors:
            self._kill(actor)
        self._starting, self._idle, self._running = {}, [], {}
        if self._owns:
            self._ray.shutdown()
            self._owns = False
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def idle(self) -> int:
        """Return how many actors wait for a job."""
        return len(self._idle)

    def next_worker(self) -> str:
        """Return the `host:pid` of the actor that the next job goes to."""
        return self._idle[-1][1]

    def submit(self, key: int, job: str, checkpoint: bytes | None = None) -> str:
        """Hand a job to an idle actor and return its `host:pid`; checkpoints travel through Ray's object store."""
        actor, name = self._idle.pop()
        stream = actor.run.options(num_returns="streaming").remote(job, checkpoint)
        self._running[stream] = (key, actor, name)
        return name

    def wait(self, listener: Callable[[Report], None], timeout: float | None = None) -> bool:
        """Pass on the reports that are there, waiting for the first until `timeout`; a worker's start counts as one.

        Raises:  ExecutorError where no worker comes up.
        """
        watched = [*self._starting, *self._running]
        if not watched:
            return False
        ready = self._ready(watched, timeout)
        for item in ready:
            if item in self._starting:
                self._started(item)
            elif (report := self._report(item)) is not None:
                listener(report)
        return bool(ready)

    def _ready(self, watched: list[Any], timeout: float | None) -> list[Any]:
        first = timeout if timeout is not None or self._running or self._idle else START_SECONDS
        ready, rest = self._ray.wait(watched, num_returns=1, timeout=first)
        if not ready:
            up = self._running or self._idle
            if not up and time.monotonic() - self._begin > START_SECONDS:
                wanted = f"{self._threads} CPU and {self._gpus:g} GPU"
                raise ExecutorError(
                    f"workers: none came up within {START_SECONDS:.0f} s; each wants {wanted} to be free"
                )
            return []
        if rest:
            more, _ = self._ray.wait(rest, num_returns=len(rest), timeout=0)
            ready = [*ready, *more]
        return ready

    def _started(self, ping: Any) -> None:
        actor = self._starting.pop(ping)
        try:
            name = str(self._ray.get(ping))
        except self._ray.exceptions.RayError as error:
            self._deaths += 1
            if self._deaths >= DEATHS_AT_START:
                raise ExecutorError(f"workers: {self._deaths} in a row died at their start: {_line(error)}") from None
            self._kill(actor)
            self._start_actor()
        else:
            self._deaths = 0
            self._idle.append((actor, name))

    def _report(self, stream: Any) -> Report | None:
        key, actor, name = self._running[stream]
        try:
            content: str | bytes = self._ray.get(next(stream))
            if isinstance(content, bytes):
                self._checkpoints[stream] = content
                return None
            message: list[Any] = json.loads(content)
        except StopIteration:
            message = ["failed", "the worker ended the trial without a result"]
        except self._ray.exceptions.RayError as error:
            del self._running[stream]
            self._checkpoints.pop(stream, None)
            self._kill(actor)
            self._start_actor()
            return WorkerLost(key, f"worker {name} died: {_line(error)}")
        if message[0] == "epoch":
            return EpochDone(key, message[1], message[2])
        del self._running[stream]
        checkpoint = self._checkpoints.pop(stream, None)
        self._idle.append((actor, name))
        return JobDone(key, message[1], checkpoint) if message[0] == "done" else JobFailed(key, message[1])

    def _start_actor(self) -> None:
        from nas.executors.ray_worker import RayWorker

        variables = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(self._threads))
        remote = self._ray.remote(RayWorker).options(
            num_cpus=self._threads,
            num_gpus=self._gpus,
            max_restarts=0,
            max_task_retries=0,
            runtime_env={"env_vars": variables},
        )
        actor = remote.remote(self._threads)
        self._starting[actor.name.remote()] = actor

    def _init(self) -> None:
        options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR", "configure_logging": True}
        if self._address is None:
            _sweep()
            self._folder = tempfile.mkdtemp(prefix=f"{_MARK}{os.getpid()}-")
            options |= {
                "address": "local",
                "num_cpus": self.workers * self._threads,
                "include_dashboard": False,
                "object_store_memory": OBJECT_STORE_BYTES,
                "_temp_dir": self._folder,
            }
        else:
            options["address"] = self._address
        try:
            with _own_sigterm():
                self._ray.init(**options)
        except (self._ray.exceptions.RayError, OSError, RuntimeError, ValueError) as error:
            where = "on this machine" if self._address is None else f"at {self._address!r}"
            raise ExecutorError(f"ray {where}: {_line(error)}; --inline runs trials without Ray") from None

    def _kill(self, actor: Any) -> None:
        with contextlib.suppress(self._ray.exceptions.RayError, ValueError):
            self._ray.kill(actor, no_restart=True)


@contextlib.contextmanager
def _own_sigterm() -> Iterator[None]:
    """Keep this process's answer to SIGTERM: Ray puts one in its place that prints a C++ trace and dies."""
    own = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if own is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, own)


def _line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:300]


def _sweep() -> None:
    """Remove the folders of pools whose process was killed."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_MARK}*"):
        pid = folder.name.removeprefix(_MARK).partition("-")[0]
        if pid.isdigit() and not Path(f"/proc/{pid}").exists() and Path("/proc/self").exists():
            shutil.rmtree(folder, ignore_errors=True)
