"""Fixtures for the top floor: a store with a study in every state, and the command line in this process."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from nas.settings import SearchSettings
from space import Architecture, DesignSpace, cost
from trials.measurement import Measured
from trials.store import Store

STUDY = "digits-a"
ACCURACIES = (0.61, 0.93, 0.88, 0.71, 0.95, 0.40)
LOSS_IS_NAN = "training: loss is nan in epoch 2"


class Ran(NamedTuple):
    """What a command left behind."""

    code: int
    out: str
    err: str


@pytest.fixture
def nas(capsys: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    """Run the command line in this process, as the console script does."""
    from nas.__main__ import main

    def run(*words: object) -> Ran:
        capsys.readouterr()
        code = main([str(word) for word in words])
        captured = capsys.readouterr()
        return Ran(code, captured.out, captured.err)

    return run


@pytest.fixture
def toy_rules(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the rung rules of tests/nas/rules be known by name."""
    import nas.rungs

    monkeypatch.setattr(nas.rungs, "__path__", [*nas.rungs.__path__, str(Path(__file__).parent / "rules")])


def one_line(ran: Ran) -> str:
    """Check that a command ended as a user error must, and return its line."""
    assert ran.code == 2
    assert ran.out == ""
    assert ran.err.endswith("\n")
    assert len(ran.err.splitlines()) == 1, ran.err
    assert ran.err.startswith("nas: ")
    return ran.err.rstrip("\n")


@pytest.fixture
def refused(nas: Callable[..., Ran]) -> Callable[..., str]:
    """Run a command that must be refused, and return the one line it says."""
    return lambda *words: one_line(nas(*words))


def drawn(count: int) -> list[Architecture]:
    """Return that many different points of the tiny space, the same every time."""
    space, rng = DesignSpace.load("tiny"), random.Random(1)
    points: dict[str, Architecture] = {}
    while len(points) < count:
        point = space.sample(rng)
        points[point.id] = point
    return list(points.values())


def _add(store: Store, study_id: int, arch: Architecture, **more: object) -> int:
    counts = cost(arch, 32)
    values = {"state": "queued", "choices": {}, "seed": 7, "sampler": "tpe"} | more
    row = store.add_trial(
        study_id,
        arch_id=arch.id,
        arch_json=arch.model_dump_json(exclude_defaults=True),
        params=counts.params,
        macs=counts.macs,
        **values,  # type: ignore[arg-type]
    )
    return row.id


@pytest.fixture
def filled(tmp_path: Path, filled_once: Path) -> Path:
    """Path of a store whose study has 6 complete trials, 1 failed, 2 infeasible, 1 duplicate, 1 running, 1 queued."""
    return Path(shutil.copy(filled_once, tmp_path / "store.db"))


@pytest.fixture(scope="session")
def filled_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same store for the whole session; whoever writes to it takes a copy."""
    path = tmp_path_factory.mktemp("filled") / "store.db"
    space = DesignSpace.load("tiny")
    settings = SearchSettings.make(study=STUDY, space="tiny", budget=10, limits=("params<=5M",), train_as="full")
    points = drawn(11)
    with Store.open(path) as store:
        config = settings.model_dump(mode="json")
        study = store.create_study(
            STUDY, space=space.text, config=config, code_version="0.1.0", data_fingerprint="f" * 16
        )
        for index, accuracy in enumerate(ACCURACIES):
            trial = _add(store, study.id, points[index])
            store.start_trial(trial, worker="inline", attempt=1)
            for epoch in (1, 2, 3):
                metrics = {"accuracy": accuracy * epoch / 3, "loss": 3.0 / epoch}
                store.add_epoch(trial, attempt=1, epoch=epoch, metrics=metrics)
            measured = {"accuracy": Measured(accuracy, "ratio"), "loss": Measured(1.0, "nats")}
            store.finish_trial(trial, state="complete", measurements=measured, evaluator="train")
        failed = _add(store, study.id, points[6])
        store.start_trial(failed, worker="inline", attempt=1)
        store.finish_trial(failed, state="failed", reason=LOSS_IS_NAN)
        for index, params in ((7, "7,340,032"), (8, "9,000,000")):
            _add(store, study.id, points[index], state="infeasible", reason=f"params {params} > 5,000,000")
        _add(store, study.id, points[0], state="duplicate", reason="same network as trial 0", duplicate_of=0)
        running = _add(store, study.id, points[9])
        store.start_trial(running, worker="inline", attempt=1)
        _add(store, study.id, points[10])
    return path
