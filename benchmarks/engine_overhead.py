"""Driver CPU per trial of the search engine, over Optuna alone in memory with the same sampler, space and objective.

    python benchmarks/engine_overhead.py [--budgets 200 2000] [--samplers random nsga2 tpe] [--executors inline ray]

The engine's side is a whole search by `run_search` with the surrogate evaluator (three epochs a trial, no training):
points are decoded, costed, stored and streamed, rows and epochs written to SQLite. Optuna's side is the plain loop
ask - suggest - cost - tell. Process CPU time, user and system; with Ray the workers' CPU is not the driver's. The
preparation (imports, data, opening the store) and the start of Ray are left out on both sides.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import optuna

from nas.distributions import suggest
from nas.events import Event, Finished, Started, Suggested, TrialStarted
from nas.executors import Executor, Inline, RayPool
from nas.samplers import sampler
from nas.search import run_search
from nas.settings import SearchSettings
from space import Architecture, DesignSpace, SpaceError, cost
from trials.evaluator import Job
from trials.evaluators.surrogate import Surrogate
from trials.store import Store
from trials.training.recipe import PROXY_RECIPE


class Clock:
    """Listens to a search; CPU and wall seconds between the first trial's start and the end, and the rows written."""

    def __init__(self) -> None:
        """Start with nothing heard."""
        self.cpu = self.wall = 0.0
        self.rows = 0

    def __call__(self, event: Event) -> None:
        """Take the time where the work begins and ends."""
        if isinstance(event, Suggested):
            self.rows += 1
        if isinstance(event, (Started, TrialStarted)) and self.rows <= 1:
            self.cpu, self.wall = time.process_time(), time.perf_counter()
        if isinstance(event, Finished):
            self.cpu, self.wall = time.process_time() - self.cpu, time.perf_counter() - self.wall


def plain_optuna(space: DesignSpace, name: str, budget: int, evaluator: Surrogate) -> float:
    """Return CPU ms per trial of Optuna alone, in memory, evaluated by the same surrogate."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler(name).start()(0))
    done, begin = 0, time.process_time()
    while done < budget:
        trial = study.ask()
        try:
            arch = space.realise(partial(suggest, trial))
            macs = cost(arch, space.resolution).macs
        except (SpaceError, ValueError):
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
            continue
        study.tell(trial, [_accuracy(arch, space, evaluator), macs])
        done += 1
    return 1e3 * (time.process_time() - begin) / budget


def _accuracy(arch: Architecture, space: DesignSpace, evaluator: Surrogate) -> float:
    job = Job(
        trial_number=0, arch=arch, train_arch=arch, recipe=PROXY_RECIPE, cost_resolution=space.resolution,
        evaluators=(evaluator,),
    )  # fmt: skip
    return evaluator.evaluate(job, lambda epoch, metrics: None)["accuracy"].value


def engine(space: str, name: str, budget: int, evaluator: Surrogate, executor: Executor) -> Clock:
    """Run a whole search and return its clock."""
    clock = Clock()
    settings = SearchSettings.make(
        study="overhead", space=space, budget=budget, sampler=name, evaluators=(evaluator,), workers=executor.workers,
        train_as="full", resolution=224, threads=1,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder, Store.open(Path(folder) / "nas.db") as store:
        run_search(store, settings, executor=executor, on_event=clock)
    return clock


def main() -> None:
    """Print one line a measurement."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--space", default="metaformer")
    parser.add_argument("--budgets", type=int, nargs="+", default=[200, 2000])
    parser.add_argument("--samplers", nargs="+", default=["random", "nsga2"])
    parser.add_argument("--executors", nargs="+", choices=["inline", "ray"], default=["inline", "ray"])
    args: Any = parser.parse_args()
    space, evaluator = DesignSpace.load(args.space), Surrogate()
    heads = ("optuna", "engine", "over", "ratio", "wall")
    print(f"{'sampler':8} {'trials':>6} {'executor':8}", *(f"{head:>9}" for head in heads), "  (CPU ms a trial)")
    for name in args.samplers:
        for budget in args.budgets:
            base = plain_optuna(space, name, budget, evaluator)
            for kind in args.executors:
                clock = engine(args.space, name, budget, evaluator, Inline() if kind == "inline" else RayPool(2))
                cpu, wall = 1e3 * clock.cpu / budget, 1e3 * clock.wall / budget
                figures = (base, cpu, cpu - base, cpu / base, wall)
                print(f"{name:8} {budget:6} {kind:8}", *(f"{figure:9.1f}" for figure in figures), flush=True)


if __name__ == "__main__":
    main()
