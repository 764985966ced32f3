"""What trials teach does not depend on the order in which they end, nor on how many choices they open."""

from __future__ import annotations

import numpy as np
import optuna
from optuna.trial import TrialState

from nas.predictor.history import History
from nas.predictor.outcomes import Scale


def ask(study: optuna.Study, names: list[str]) -> optuna.Trial:
    trial = study.ask()
    for name in names:
        trial.suggest_int(name, 0, 9)
    return trial


def test_columns_and_outcomes_are_the_same_however_the_trials_end() -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=optuna.samplers.RandomSampler(seed=0))
    first, second = ask(study, ["a", "b"]), ask(study, ["c", "a"])
    early = History(None)
    study.tell(second, [1.0, 2.0])
    early.read(study.get_trials(), study.directions)
    assert [trial.number for trial in early.pending] == [0]
    assert len(early.seen) == 2
    study.tell(first, [3.0, 4.0])
    early.read(study.get_trials(), study.directions)
    late = History(None)
    late.read(study.get_trials(), study.directions)
    assert early.columns.names == late.columns.names == ["a", "b", "c"]
    np.testing.assert_array_equal(early.outcomes, [[3.0, -4.0], [1.0, -2.0]])
    np.testing.assert_array_equal(early.outcomes, late.outcomes)
    np.testing.assert_array_equal(early.rows(np.arange(2)), late.rows(np.arange(2)))


def test_a_running_trial_may_open_any_number_of_choices() -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    study.tell(ask(study, ["a"]), 1.0)
    ask(study, [f"c{index}" for index in range(200)])
    failed = ask(study, ["a", "b"])
    study.tell(failed, state=TrialState.FAIL)
    history = History(None)
    history.read(study.get_trials(), study.directions)
    assert history.pending_rows.shape == (1, 202)
    assert history.rows(np.arange(1)).shape == (1, 202)
    assert len(history.seen) == 3


def test_scale_is_linear_above_the_median_and_draws_poor_outcomes_in() -> None:
    rng = np.random.default_rng(0)
    outcomes = np.concatenate([rng.normal(90, 1, 50), [10.0, 20.0]])
    scaled = Scale.of(outcomes)(outcomes)
    assert abs(scaled.mean()) < 1e-9
    assert abs(scaled.std() - 1) < 1e-9
    np.testing.assert_array_equal(np.argsort(outcomes), np.argsort(scaled))
    top = np.argsort(outcomes)[-20:]
    assert np.corrcoef(outcomes[top], scaled[top])[0, 1] > 1 - 1e-9
    assert scaled.min() > -6 > (outcomes.min() - outcomes.mean()) / outcomes[:50].std()
    assert (Scale.of(np.full(3, 7.0))(np.full(3, 7.0)) == 0).all()
