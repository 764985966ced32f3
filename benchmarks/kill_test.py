"""Kill a search again and again, resume it, and audit what is stored.

    python benchmarks/kill_test.py [--budget 60] [--driver-kills 10] [--worker-kills 5] [--store URL] [--inline]

A child process drives the search (surrogate evaluator, three epochs a trial, so that nothing but the engine is at
stake); this process kills it with SIGKILL at random moments after it has begun, kills workers between, lets the last
child finish, and reads the store. Exit code 1 where the audit finds a fault.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

from nas.events import Event, Started, TrialFinished, TrialStarted
from nas.executors import Inline
from nas.search import resume_search, run_search
from nas.settings import SearchSettings
from trials.evaluators.surrogate import Surrogate
from trials.store import Store

STUDY = "kill-test"
EPOCHS = 3
PATIENCE = 600.0


def drive(args: Any) -> None:
    """Run or resume the study, logging what happens one JSON line an event, each written before the next step."""
    log = os.open(args.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def listen(event: Event) -> None:
        if isinstance(event, (Started, TrialStarted, TrialFinished)):
            line = json.dumps({"event": type(event).__name__, **asdict(event)}, default=str)
            os.write(log, (line + "\n").encode())

    executor = Inline() if args.inline else None
    with Store.open(args.store) as store:
        if STUDY in {study.name for study in store.studies()}:
            resume_search(store, STUDY, executor=executor, on_event=listen)
            return
        settings = SearchSettings.make(
            study=STUDY,
            space="metaformer",
            budget=args.budget,
            sampler=args.sampler,
            limits=["params<=20M"],
            workers=2,
            evaluators=(Surrogate(epochs=EPOCHS, sleep_ms=args.sleep_ms),),
            train_as="proxy",
        )
        run_search(store, settings, executor=executor, on_event=listen)


class Log:
    """The children's common log, read as it grows."""

    def __init__(self, path: Path) -> None:
        """Start at the beginning of a file that need not be there yet."""
        self.path = path

    def events(self) -> list[dict[str, Any]]:
        """Return all complete lines so far."""
        if not self.path.exists():
            return []
        return [json.loads(line) for line in self.path.read_text().splitlines(keepends=True) if line.endswith("\n")]

    def count(self, name: str) -> int:
        """Return how often an event has happened."""
        return sum(event["event"] == name for event in self.events())


def _child(args: Any, log: Log) -> subprocess.Popen[bytes]:
    words = [sys.executable, __file__, "--drive", "--log", str(log.path), "--store", args.store]
    words += ["--budget", str(args.budget), "--sleep-ms", str(args.sleep_ms), "--sampler", args.sampler]
    return subprocess.Popen(words + (["--inline"] if args.inline else []))


def _wait(child: subprocess.Popen[bytes], log: Log, name: str, more_than: int) -> None:
    """Wait until an event has happened more often than that, or the child has ended."""
    end = time.monotonic() + PATIENCE
    while child.poll() is None and log.count(name) <= more_than:
        if time.monotonic() > end:
            child.kill()
            raise TimeoutError(f"no {name} within {PATIENCE:.0f} s")
        time.sleep(0.02)


def _kill_worker(log: Log, rng: random.Random) -> bool:
    """Kill a worker that began a trial lately; tell whether one was alive."""
    names = [event["worker"] for event in log.events() if event["event"] == "TrialStarted"][-2:]
    for name in rng.sample(names, len(names)):
        try:
            os.kill(int(name.rpartition(":")[2]), signal.SIGKILL)
        except (ProcessLookupError, ValueError):
            continue
        return True
    return False


def torment(args: Any, log: Log) -> tuple[int, int]:
    """Kill drivers and workers as asked and let the last driver finish; return how many of each were killed."""
    rng, drivers, workers = random.Random(args.seed), 0, 0
    while True:
        begun, started = log.count("Started"), log.count("TrialStarted")
        child = _child(args, log)
        # most kills strike at work, some while workers are still starting
        _wait(child, log, *(("Started", begun) if rng.random() < 0.3 else ("TrialStarted", started)))
        if workers < args.worker_kills:
            _wait(child, log, "TrialStarted", started)
            time.sleep(rng.uniform(0, args.moment))
            workers += _kill_worker(log, rng)
        if drivers < args.driver_kills:
            time.sleep(rng.uniform(0, args.moment))
            if child.poll() is None:
                child.kill()
                drivers += 1
            child.wait()
            continue
        while workers < args.worker_kills and child.poll() is None:
            before = log.count("TrialStarted")
            _wait(child, log, "TrialStarted", before)
            time.sleep(rng.uniform(0, args.moment))
            workers += _kill_worker(log, rng)
        if child.wait(PATIENCE) != 0:
            raise RuntimeError(f"the last driver ended with code {child.returncode}")
        return drivers, workers


def audit(store: Store, budget: int, log: Log) -> dict[str, Any]:
    """Return the figures of the study and, under `faults`, everything that is wrong with them."""
    study = store.study(STUDY)
    rows = store.trials(study.id)
    states = Counter(row.state for row in rows)
    complete = [row for row in rows if row.state == "complete"]
    epochs: dict[int, list[int]] = {}
    for epoch in store.epochs(study.id):
        epochs.setdefault(epoch.number, []).append(epoch.epoch)
    finished = Counter(event["number"] for event in log.events() if event["event"] == "TrialFinished")
    begun = {event["number"] for event in log.events() if event["event"] == "TrialStarted"}
    trained = Counter(row.arch_id for row in rows if row.state in ("complete", "failed"))
    final = {row.number for row in rows if row.state not in ("queued", "running")}
    checks = {
        "complete is not the budget": len(complete) != budget,
        "queued or running rows remain": bool(states["queued"] + states["running"]),
        "numbers have gaps": [row.number for row in rows] != list(range(len(rows))),
        "an architecture was trained in two trials": max(trained.values(), default=0) > 1,
        "a trial was finished twice": max(finished.values(), default=0) > 1,
        "a begun trial is lost": not begun <= final,
        "a complete trial lacks epochs": any(sorted(epochs.get(r.number, [])) != [1, 2, 3] for r in complete),
        "a complete trial lacks its accuracy": any("accuracy" not in row.values for row in complete),
    }
    return {
        "rows": len(rows),
        "states": dict(states),
        "attempts": dict(Counter(row.attempt for row in complete)),
        "faults": [fault for fault, found in checks.items() if found],
    }


def main() -> int:
    """Run the test and print its audit as one JSON object; return 1 where it finds a fault."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--budget", type=int, default=60)
    parser.add_argument("--driver-kills", type=int, default=10)
    parser.add_argument("--worker-kills", type=int, default=5)
    parser.add_argument("--store", default=None, help="an empty store; default: a new SQLite file")
    parser.add_argument("--sampler", default="tpe")
    parser.add_argument("--inline", action="store_true", help="without Ray, hence without workers to kill")
    parser.add_argument("--sleep-ms", type=float, default=200.0, help="length of an epoch")
    parser.add_argument("--moment", type=float, default=2.0, help="longest wait before a kill, in seconds")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--drive", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--log", default=None, help=argparse.SUPPRESS)
    args: Any = parser.parse_args()
    if args.drive:
        drive(args)
        return 0
    if args.inline:
        args.worker_kills = 0
    with tempfile.TemporaryDirectory() as folder:
        args.store = args.store or str(Path(folder) / "nas.db")
        log = Log(Path(folder) / "log.jsonl")
        drivers, workers = torment(args, log)
        with Store.open(args.store) as store:
            found = {"driver_kills": drivers, "worker_kills": workers, **audit(store, args.budget, log)}
    print(json.dumps(found, indent=1))
    return 1 if found["faults"] else 0


if __name__ == "__main__":
    sys.exit(main())
