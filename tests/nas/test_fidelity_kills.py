"""A driver that dies between any two writes: the resumed search ends as an uninterrupted one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import nas.rungs
from nas.events import EpochReported, Event
from nas.executors import Inline
from nas.search import resume_search, run_search
from nas.settings import SearchSettings
from nas.trial_checkpoints import TrialCheckpoints
from trials.evaluators.surrogate import Surrogate
from trials.store import Store

pytestmark = pytest.mark.usefixtures("toy_rules")
RULES = Path(__file__).parent / "rules"
SCRIPT = """
import os, signal, sys
import nas.rungs
from nas.events import EpochReported, RungReached
from nas.executors import Inline
from nas.search import resume_search, run_search
from nas.settings import SearchSettings
from trials.evaluators.surrogate import Surrogate
from trials.store import Store

rules, path, after = sys.argv[1:]
nas.rungs.__path__.append(rules)
seen = 0

def listen(event):
    global seen
    seen += isinstance(event, (EpochReported, RungReached))
    if seen == int(after):
        os.kill(os.getpid(), signal.SIGKILL)

with Store.open(path) as store:
    if store.studies():
        resume_search(store, "s", executor=Inline(), on_event=listen)
    else:
        settings = SearchSettings.make(study="s", space="tiny", budget=14, evaluators=(Surrogate(epochs=9),), epochs=9,
                                       train_as="full", fidelity="top_share", sampler="tpe")
        run_search(store, settings, executor=Inline(), on_event=listen)
"""


def settings(study: str) -> SearchSettings:
    return SearchSettings.make(
        study=study, space="tiny", budget=14, evaluators=(Surrogate(epochs=9),), epochs=9, train_as="full",
        fidelity="top_share", sampler="tpe", repeat=True,
    )  # fmt: skip


def gist(store: Store, study: str) -> list[tuple[Any, ...]]:
    """Return what two searches that went the same way agree in, with their learning curves."""
    curves: dict[int, list[Any]] = {}
    for each in store.epochs(store.study(study).id):
        curves.setdefault(each.number, []).append((each.epoch, each.metrics))
    return [
        (row.number, row.state, row.reason, row.arch_id, row.values, row.epochs, curves.get(row.number))
        for row in store.trials(store.study(study).id)
    ]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Any, ...]]:
    with pytest.MonkeyPatch.context() as patch, Store.open(tmp_path_factory.mktemp("whole") / "nas.db") as store:
        patch.setattr(nas.rungs, "__path__", [*nas.rungs.__path__, str(RULES)])
        run_search(store, settings("s"), executor=Inline())
        return gist(store, "s")


class Killed(BaseException):
    """What a kill is in a test: nothing of the program sees it."""


@pytest.mark.parametrize("nth", [2, 7])
@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize(
    ("owner", "name"), [(TrialCheckpoints, "put"), (Store, "pause_trial"), (TrialCheckpoints, "remove")]
)
def test_a_death_between_any_two_writes_loses_nothing(
    tmp_path: Path, whole: list[tuple[Any, ...]], owner: type, name: str, before: bool, nth: int
) -> None:
    calls, real = 0, getattr(owner, name)

    def dying(*given: Any, **words: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == nth and before:
            raise Killed
        found = real(*given, **words)
        if calls == nth:
            raise Killed
        return found

    with Store.open(tmp_path / "nas.db") as store:
        with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
            patch.setattr(owner, name, dying)
            patch.setattr(Store, "requeue", lambda *_: 0)
            run_search(store, settings("s"), executor=Inline())
        epochs: list[tuple[int, int]] = []

        def listen(event: Event) -> None:
            if isinstance(event, EpochReported):
                epochs.append((event.number, event.epoch))

        reached = {row.number: [rung["epoch"] for rung in row.rungs][-1:] for row in store.trials(1)}
        resume_search(store, "s", executor=Inline(), on_event=listen)
        assert gist(store, "s") == whole
        assert all(epoch > max(reached.get(number, [0]), default=0) for number, epoch in epochs)
        assert len(epochs) == len(set(epochs))
        assert [path for path in store.root.rglob("*") if path.is_file()] == []


def test_killed_again_and_again_it_ends_as_if_never_killed(tmp_path: Path, whole: list[tuple[Any, ...]]) -> None:
    path = tmp_path / "nas.db"
    for after in (13, 6):
        words = [sys.executable, "-c", SCRIPT, str(RULES), str(path), str(after)]
        ended = subprocess.run(words, check=False, capture_output=True, text=True, env=dict(os.environ))
        assert ended.returncode == -signal.SIGKILL, ended.stderr
    with Store.open(path) as store:
        assert any(row.waiting for row in store.trials(1))
        resume_search(store, "s", executor=Inline())
        assert gist(store, "s") == whole
        assert [path for path in store.root.rglob("*") if path.is_file()] == []
