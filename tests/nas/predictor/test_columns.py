"""Choices as numbers, what opens them, and candidates that keep conditional choices whole."""

from __future__ import annotations

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from nas.predictor.candidates import Candidates
from nas.predictor.columns import Columns, fingerprints, position, value_at
from nas.predictor.features import Features


def nested(trial: optuna.Trial) -> float:
    """A branch opens choices, one of which opens another; a number opens a third."""
    trial.suggest_int("width", 16, 64, step=16)
    if trial.suggest_categorical("mixer", ["conv", "pool", "attention"]) == "conv":
        trial.suggest_int("kernel", 3, 7, step=2)
        if trial.suggest_categorical("gate", ["none", "linear"]) == "linear":
            trial.suggest_float("share", 0.1, 0.9)
    if trial.suggest_int("depth", 1, 3) == 3:
        trial.suggest_categorical("last", [True, False])
    return 0.0


@pytest.fixture(scope="module")
def trials() -> list[optuna.trial.FrozenTrial]:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    study.optimize(nested, n_trials=60)
    return study.get_trials(deepcopy=False)


def read(trials: list[optuna.trial.FrozenTrial]) -> tuple[Columns, np.ndarray]:
    columns = Columns()
    rows = [columns.row(trial.params, trial.distributions) for trial in trials]
    return columns, columns.matrix(rows)


@pytest.mark.parametrize(
    ("domain", "values"),
    [
        (CategoricalDistribution(("a", 1, None, True)), ["a", 1, None, True]),
        (IntDistribution(3, 31, step=2), [3, 17, 31]),
        (IntDistribution(1, 10**6, log=True), [1, 12345]),
        (FloatDistribution(0.5, 2.0, step=0.25), [0.5, 1.25, 2.0]),
        (FloatDistribution(1e-4, 1.0, log=True), [1e-4, 0.01, 1.0]),
        (FloatDistribution(-1.0, 3.0), [-1.0, 0.3, 3.0]),
    ],
    ids=str,
)
def test_a_position_gives_its_value_back(domain: optuna.distributions.BaseDistribution, values: list) -> None:
    for value in values:
        back = value_at(position(value, domain), domain)
        assert back == pytest.approx(value) if isinstance(value, float) else back is value or back == value


def test_rows_give_the_choices_back(trials: list[optuna.trial.FrozenTrial]) -> None:
    columns, rows = read(trials)
    for trial, row in zip(trials, rows, strict=True):
        assert columns.params(row) == pytest.approx(trial.params)
        np.testing.assert_array_equal(columns.array_of(trial.params), row)


def test_what_opens_a_choice_is_learnt(trials: list[optuna.trial.FrozenTrial]) -> None:
    columns, rows = read(trials)
    found = {columns.names[r.column]: (columns.names[r.parent], r.opens.tolist()) for r in columns.rules(rows)}
    assert found == {
        "kernel": ("mixer", [True, False, False]),
        "gate": ("mixer", [True, False, False]),
        "share": ("gate", [False, True]),
        "last": ("depth", [False, False, True]),
    }


def test_fingerprints_tell_rows_apart_and_survive_new_columns(trials: list[optuna.trial.FrozenTrial]) -> None:
    columns, rows = read(trials)
    prints = fingerprints(rows, columns.levels())
    assert len(set(prints.tolist())) == len(np.unique(np.nan_to_num(rows, nan=-1), axis=0))
    few, some = read(trials[:1])
    assert fingerprints(some, few.levels())[0] == prints[0]


def nested_fits(params: dict) -> bool:
    """Tell whether these are exactly the choices that `nested` asks for, each with a value allowed."""
    trial = optuna.trial.FixedTrial(params)
    nested(trial)
    return set(trial.params) == set(params)


def test_candidates_are_points_of_the_conditional_space(trials: list[optuna.trial.FrozenTrial]) -> None:
    columns, rows = read(trials)
    rng = np.random.default_rng(0)
    ordered = [not isinstance(each, CategoricalDistribution) for each in columns.distributions]
    candidates = Candidates(columns.levels(), ordered, columns.rules(rows), rng)
    changes = rng.integers(1, 4, len(rows))
    made = [
        candidates.mutated(rows, changes),
        candidates.crossed(rows, rows[::-1].copy()),
        candidates.random(rows, 60),
        candidates.neighbours(rows[:10], 20)[0],
    ]
    for row in np.concatenate(made):
        assert nested_fits(columns.params(row)), columns.params(row)
    assert (fingerprints(made[0], columns.levels()) != fingerprints(rows, columns.levels())).all()
    for other, source in zip(*candidates.neighbours(rows[:10], 20), strict=True):
        both = ~np.isnan(rows[source]) & ~np.isnan(other)
        assert (rows[source][both] != other[both]).sum() == 1


def test_squared_distances_of_bits_count_the_choices_that_differ() -> None:
    kinds = CategoricalDistribution(("a", "b", "c"))
    rows = np.array([[0, 0, 0], [1, 0, 0], [1, 2, 4], [1, 2, np.nan]], dtype=float)
    features = Features([kinds, kinds, IntDistribution(0, 4)], rows, np.zeros((4, 0)))
    bits = features(rows, np.zeros((4, 0)))[0]
    squares = ((bits[:, None] - bits[None]) ** 2).sum(axis=2)
    assert squares[0, 1] == pytest.approx(1.0)
    assert squares[0, 2] == pytest.approx(3.0)
    assert squares[2, 3] == pytest.approx(1.5)
