"""What holds for every sampler in any define-by-run space: resuming, failures, limits, parallel workers."""

from __future__ import annotations

import optuna
import pytest
from optuna.trial import TrialState

from nas.samplers import sampler, sampler_names

NAMES = sampler_names()
PLANNED = ["local_search", "predictor_guided", "regularized_evolution"]
"""Those that see to it themselves that no point is proposed twice."""


def suggested(trial: optuna.Trial) -> dict:
    """Ask for the choices of a conditional space that knows nothing of networks."""
    trial.suggest_int("depth", 1, 6)
    if trial.suggest_categorical("kind", ["a", "b", "c"]) != "a":
        trial.suggest_int("width", 8, 64, step=8)
        if trial.params["kind"] == "c":
            trial.suggest_float("rate", 1e-4, 1.0, log=True)
            trial.suggest_categorical("norm", [True, False, None])
    return trial.params


def values_of(params: dict) -> list[float]:
    """Return two objectives to be made small."""
    size = params["depth"] * params.get("width", 40) / 100
    return [size, 3 - size + (params["kind"] != "c") + abs(params.get("rate", 1) - 0.01)]


def told(study: optuna.Study, trial: optuna.Trial, number: int) -> None:
    """Finish a trial: each fifth fails, each fourth violates a constraint."""
    params = suggested(trial)
    if number % 5 == 4:
        study.tell(trial, state=TrialState.FAIL)
        return
    trial.set_constraint("limits", float(number % 4 == 3))
    study.tell(trial, values_of(params))


def grown(name: str, trials: int) -> tuple[optuna.Study, object]:
    """Return a study that this sampler has brought to so many trials, and the sampler's source."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    at_seed = sampler(name).start()
    study = optuna.create_study(directions=["minimize", "minimize"], sampler=optuna.samplers.RandomSampler(seed=3))
    for number in range(trials):
        if number >= 8:
            study.sampler = at_seed(100 + number)
        told(study, study.ask(), number)
    return study, at_seed


@pytest.mark.parametrize("name", NAMES)
def test_a_resumed_study_is_given_the_point_that_an_uninterrupted_one_is(name: str) -> None:
    study, at_seed = grown(name, 24)
    study.sampler = at_seed(7)
    expected = suggested(study.ask())
    rebuilt = optuna.create_study(directions=["minimize", "minimize"], sampler=sampler(name).start()(7))
    rebuilt.add_trials(study.get_trials()[:24])
    assert suggested(rebuilt.ask()) == expected


@pytest.mark.parametrize("name", NAMES)
def test_a_study_of_failures_goes_on(name: str) -> None:
    at_seed = sampler(name).start()
    study = optuna.create_study(directions=["minimize"])
    for number in range(6):
        study.sampler = at_seed(number)
        trial = study.ask()
        suggested(trial)
        study.tell(trial, state=TrialState.FAIL)
    study.sampler = at_seed(99)
    assert suggested(study.ask())["kind"] in ("a", "b", "c")


@pytest.mark.parametrize("name", PLANNED)
def test_workers_in_parallel_are_given_different_points(name: str) -> None:
    study, at_seed = grown(name, 20)
    asked = []
    for number in range(6):
        study.sampler = at_seed(500 + number)
        asked.append(suggested(study.ask()))
    before = [trial.params for trial in study.get_trials(deepcopy=False)[:20]]
    assert all(params not in before + asked[:place] for place, params in enumerate(asked))


@pytest.mark.parametrize("name", ["nsga2", "predictor_guided", "regularized_evolution", "tpe"])
def test_what_violates_a_constraint_is_learnt(name: str) -> None:
    study, at_seed = optuna.create_study(directions=["minimize", "minimize"]), sampler(name).start()
    outside = 0
    for number in range(60):
        study.sampler = optuna.samplers.RandomSampler(seed=number) if number < 20 else at_seed(number)
        trial = study.ask()
        params = suggested(trial)
        over = params["depth"] > 3 or params.get("width", 8) > 32
        outside += over and number >= 40
        trial.set_constraint("limits", float(over))
        study.tell(trial, values_of(params))
    assert outside <= 8, "two in three random points violate it"


@pytest.mark.parametrize("name", NAMES)
def test_three_objectives_and_infeasible_beginnings_are_taken(name: str) -> None:
    study, at_seed = optuna.create_study(directions=["minimize", "maximize", "minimize"]), sampler(name).start()
    for number in range(24):
        study.sampler = at_seed(number)
        trial = study.ask()
        params = suggested(trial)
        trial.set_constraint("limits", float(number < 8))
        study.tell(trial, [*values_of(params), float(params["depth"])])
    assert len(study.trials) == 24


def test_a_planned_sampler_may_serve_one_study_after_another() -> None:
    from nas.samplers.predictor_guided import PredictorGuided

    def run(serving: optuna.samplers.BaseSampler) -> list[dict]:
        study = optuna.create_study(sampler=serving)
        study.optimize(lambda trial: sum(values_of(suggested(trial))), n_trials=15)
        return [trial.params for trial in study.trials]

    serving = PredictorGuided(seed=5)
    first = run(serving)
    assert run(serving) == first == run(PredictorGuided(seed=5))
    assert len({str(params) for params in first}) == 15
