"""The Ray actor that runs jobs: JSON in, a stream of JSON messages out."""

from __future__ import annotations

import json
import os
import queue
import socket
import threading
from collections.abc import Iterator

import torch

from nas.executors.work import perform_stretch, reason_of


class RayWorker:
    """Lives in a process of its own and runs one job at a time."""

    def __init__(self, threads: int) -> None:
        """Keep torch to `threads` CPU threads."""
        torch.set_num_threads(threads)

    def name(self) -> str:
        """Return `host:pid`, once the worker is up."""
        return f"{socket.gethostname()}:{os.getpid()}"

    def run(self, job: str, checkpoint: bytes | None = None) -> Iterator[str | bytes]:
        """Run a job; yield `["epoch", number, metrics]` as they come, last `["done", outcome]` or `["failed", why]`.

        The checkpoint of a stretch comes before "done", as it is.
        """
        messages: queue.SimpleQueue[str | bytes] = queue.SimpleQueue()

        def on_epoch(epoch: int, metrics: dict[str, float]) -> None:
            messages.put(json.dumps(["epoch", epoch, metrics]))

        def work() -> None:
            try:
                outcome, reached = perform_stretch(job, on_epoch, checkpoint)
                if reached is not None:
                    messages.put(reached)
                messages.put(json.dumps(["done", outcome]))
            except BaseException as error:  # the driver decides, this process goes on
                messages.put(json.dumps(["failed", reason_of(error)]))

        # a training reports by calls, a Ray stream by yields: the thread turns the one into the other
        threading.Thread(target=work, daemon=True, name="trial").start()
        kind = "epoch"
        while kind == "epoch":
            message = messages.get()
            kind = "epoch" if isinstance(message, bytes) else json.loads(message)[0]
            yield message
