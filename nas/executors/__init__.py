"""Executors: where trials run. `Inline` in this process, `RayPool` in long-lived Ray actors."""

from nas.executors.executor import EpochDone, Executor, ExecutorError, JobDone, JobFailed, Report, WorkerLost
from nas.executors.inline import Inline
from nas.executors.ray_pool import RayPool

__all__ = [
    "EpochDone",
    "Executor",
    "ExecutorError",
    "Inline",
    "JobDone",
    "JobFailed",
    "RayPool",
    "Report",
    "WorkerLost",
]
