"""What a trial was bred from is stored with it, whichever sampler bred it, and is the truth."""

from __future__ import annotations

from pathlib import Path

import pytest

from nas.executors import Inline
from nas.search import run_search
from nas.settings import SearchSettings
from trials.evaluators.surrogate import Surrogate
from trials.rows import TrialRow
from trials.store import Store

BREEDING = ("local_search", "nsga2", "predictor_guided", "regularized_evolution")


def searched(folder: Path, sampler: str, budget: int, limits: tuple[str, ...] = ()) -> list[TrialRow]:
    evaluators = (Surrogate(epochs=1),)
    settings = SearchSettings.make(
        study="s", space="tiny", budget=budget, evaluators=evaluators, train_as="full", sampler=sampler, limits=limits
    )
    with Store.open(folder / "nas.db") as store:
        run_search(store, settings, executor=Inline())
        return store.trials(store.study("s").id)


def changed(row: TrialRow, parents: list[TrialRow]) -> list[str]:
    """Return the choices of a trial that no parent made so, of those that a parent made at all."""
    return [
        path
        for path, value in row.choices.items()
        if any(path in parent.choices for parent in parents)
        and all(parent.choices.get(path) != value for parent in parents)
    ]


@pytest.mark.parametrize("sampler", BREEDING)
def test_a_sampler_that_breeds_says_from_what(tmp_path: Path, sampler: str) -> None:
    rows = searched(tmp_path, sampler, 24)
    bred = [row for row in rows if row.extra.get("parents")]
    assert len(bred) >= 5
    assert all(row.sampler == sampler for row in bred)
    for row in bred:
        parents = [rows[number] for number in row.extra["parents"]]
        assert all(parent.number < row.number and parent.state == "complete" for parent in parents)
        # two rounds of local search follow up to three mutations
        most = {"predictor_guided": 5, "nsga2": len(row.choices) // 2}.get(sampler, 1)
        assert len(changed(row, parents)) <= most
    if sampler == "nsga2":
        assert any(len(row.extra["parents"]) == 2 for row in bred)


def test_draws_have_no_parents_and_what_is_mended_names_the_refused_proposal(tmp_path: Path) -> None:
    rows = searched(tmp_path, "nsga2", 16, ("params<=20k",))
    assert all("parents" not in row.extra for row in rows if row.sampler == "draw")
    mended = [row for row in rows if row.sampler == "mended"]
    assert mended
    for row in mended:
        (source,) = row.extra["parents"]
        assert rows[source].state in ("duplicate", "infeasible")
        assert rows[source].sampler == "nsga2"
