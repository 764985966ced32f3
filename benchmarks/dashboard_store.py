"""A store of 100,000 trials that looks like a search's, built in seconds: the database copies the rows itself.

Run:  python benchmarks/dashboard_store.py FILE [--trials 100000] [--epochs 20] [--space metaformer]
"""

from __future__ import annotations

import argparse
import json
import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

STUDY = "large"
STATES = ("complete", "stopped", "infeasible", "failed", "duplicate")
SHARES = (0.70, 0.10, 0.12, 0.05, 0.03)
_BORN = 1_700_000_000
_DRAWN = "number, point, state, reason, factor, accuracy, begun, ended, worker, epochs"
_TRIALS = """
INSERT INTO trial (id, study_id, number, state, attempt, reason, seed, sampler, arch_id, params, macs, choices,
                   started, finished, worker, epochs, extra, created, duplicate_of)
SELECT number + 1, :study, number, state, worker IS NOT NULL, reason, number, 'tpe', p.arch_id,
       CAST(p.params * factor AS INTEGER), CAST(p.macs * factor AS INTEGER), p.choices,
       CASE WHEN worker IS NOT NULL THEN begun END, ended, worker, epochs, p.extra, begun, NULL
FROM drawn JOIN point p ON p.id = drawn.point ORDER BY number
"""
_MEASURED = """
INSERT INTO measurement (key, trial_id, arch_id, metric, value, unit, device, circumstances, evaluator, version, seed,
                         created)
SELECT printf('%x-%s', number + 1, m.metric), number + 1, p.arch_id, m.metric,
       CASE m.metric WHEN 'accuracy' THEN accuracy ELSE 2 - accuracy END, m.unit, 'cpu',
       '{"device": "cpu", "split": "validation", "epochs": 20}', 'train', 1, 0, ended
FROM drawn JOIN point p ON p.id = drawn.point CROSS JOIN metric m
WHERE state IN ('complete', 'stopped') ORDER BY number, m.metric
"""
_EPOCHS = """
INSERT INTO epoch_metric (trial_id, epoch, metric, value, attempt, created)
SELECT number + 1, e.epoch, m.metric,
       CASE m.metric WHEN 'accuracy' THEN accuracy * e.epoch / :epochs ELSE 3.0 / e.epoch END, 1, ended
FROM drawn CROSS JOIN epoch e CROSS JOIN metric m WHERE epochs > 0
"""


def build(path: Path, trials: int, epochs: int, *, space: str = "metaformer", architectures: int = 400) -> None:
    """Write the store: numbers that look like a search's, networks of a bundled space."""
    from nas.settings import SearchSettings
    from space import DesignSpace
    from trials.store import Store

    design = DesignSpace.load(space)
    resolution = 224 if space == "metaformer" else 32
    points = list(_points(design, resolution, architectures))
    settings = SearchSettings.make(study=STUDY, space=space, budget=trials, cost_resolution=resolution, train_as="full")
    with Store.open(path) as store:
        config = settings.model_dump(mode="json")
        study = store.create_study(STUDY, space=design.text, config=config, code_version="0", data_fingerprint="0" * 16)
    with closing(sqlite3.connect(path)) as database:
        database.executescript(
            "PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; PRAGMA cache_size=-200000; PRAGMA temp_store=MEMORY;"
            "CREATE TEMP TABLE point (id INTEGER PRIMARY KEY, arch_id, json, params, macs, choices, extra);"
            f"CREATE TEMP TABLE drawn ({_DRAWN.replace('number', 'number INTEGER PRIMARY KEY')});"
            "CREATE TEMP TABLE metric (metric, unit);"
            "INSERT INTO metric VALUES ('accuracy', 'ratio'), ('loss', 'nats');"
            "CREATE TEMP TABLE epoch (epoch INTEGER PRIMARY KEY);"
        )
        database.executemany("INSERT INTO epoch VALUES (?)", [(epoch,) for epoch in range(1, epochs + 1)])
        database.executemany("INSERT INTO point VALUES (?,?,?,?,?,?,?)", points)
        macs = np.array([point[4] for point in points], dtype=np.float64)
        database.executemany(f"INSERT INTO drawn VALUES ({','.join('?' * 10)})", _drawn(trials, epochs, macs))
        born = _moment(0)
        database.execute(
            "INSERT INTO architecture (id, json, params, macs, created) "
            "SELECT arch_id, json, params, macs, ? FROM point",
            (born,),
        )
        database.execute(_TRIALS, {"study": study.id})
        database.execute(_MEASURED)
        database.execute(_EPOCHS, {"epochs": epochs})
        database.execute("UPDATE study SET trial_count=?", (trials,))
        database.commit()
        database.execute("ANALYZE")
        database.commit()
        database.execute("PRAGMA journal_mode=WAL")


def _points(design: Any, resolution: int, count: int) -> Iterator[tuple[Any, ...]]:
    from space import cost, describe

    rng, known = random.Random(0), set[str]()
    while len(known) < count:
        arch = design.sample(rng)
        if arch.id in known or len(arch.stages) < 2:
            continue
        known.add(arch.id)
        counts = cost(arch, resolution)
        extra = json.dumps({"description": describe(arch), "activations": counts.activations})
        text, choices = arch.model_dump_json(exclude_defaults=True), json.dumps(dict(design.encode(arch)))
        yield len(known) - 1, arch.id, text, counts.params, counts.macs, choices, extra


def _drawn(trials: int, epochs: int, macs: Any) -> Iterator[tuple[Any, ...]]:
    rng = np.random.default_rng(0)
    point = rng.integers(len(macs), size=trials)
    factor = rng.lognormal(0, 0.5, size=trials)
    states = rng.choice(STATES, size=trials, p=SHARES)
    states[0] = "complete"
    cost = macs[point] * factor
    accuracy = 0.9 - 0.5 / (1 + cost / np.median(macs) * 4) - rng.exponential(0.05, size=trials)
    numbers = rng.integers(1, 20, size=trials)
    columns = (point.tolist(), states.tolist(), factor.tolist(), accuracy.tolist(), numbers.tolist())
    for number, (place, state, scale, value, drawn) in enumerate(zip(*columns, strict=True)):
        reason = {
            "infeasible": f"params {drawn * 10_000_019:,} > 5,000,000",
            "failed": f"training: loss is nan in epoch {drawn}",
            "duplicate": f"same network as trial {drawn}",
        }.get(state)
        trained = state in ("complete", "stopped", "failed")
        worker = f"vm:{number % 8}" if trained else None
        begun, ended = _moment(number), _moment(number + 30)
        yield number, place, state, reason, scale, value, begun, ended, worker, epochs if trained else 0


def _moment(seconds: int) -> str:
    return (datetime.fromtimestamp(_BORN, UTC) + timedelta(seconds=seconds)).strftime("%Y-%m-%d %H:%M:%S.000000")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--trials", type=int, default=100_000)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--space", default="metaformer", choices=("metaformer", "tiny"))
    options = parser.parse_args()
    build(options.file, options.trials, options.epochs, space=options.space)


if __name__ == "__main__":
    main()
