"""Every sampler: stays in the space, repeats itself by seed, and learns where there is something to learn."""

from __future__ import annotations

import random
import statistics
from functools import partial

import optuna
import pytest

from nas.distributions import Walker, distribution, suggest
from nas.pareto import hypervolume
from nas.samplers import sampler, sampler_names
from space import DesignSpace, SpaceError
from space.errors import NasError
from space.walk import allows

SPACE = DesignSpace.load("tiny")


LEARNING = [name for name in sampler_names() if name != "random"]


def test_names_are_found_without_being_listed() -> None:
    assert {"nsga2", "predictor_guided", "random", "tpe"} <= set(sampler_names())
    with pytest.raises(NasError, match="did you mean 'nsga2'"):
        sampler("nsga")


def toy(trial: optuna.Trial) -> tuple[float, float]:
    """Two objectives over nested choices: 0 is best in both, and only one branch holds the front."""
    branch = trial.suggest_categorical("branch", ["a", "b", "c", "d"])
    x = trial.suggest_float(f"{branch}.x", 0, 1)
    misses = sum(trial.suggest_int(f"{branch}.y{i}", 0, 20) for i in range(6)) / 120
    penalty = 0.0 if branch == "c" else 0.5
    return x + misses + penalty, 1 - x + misses + penalty


def reached(name: str, seed: int, trials: int = 120) -> float:
    """Return the hypervolume a sampler reaches on the toy."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    at_seed = sampler(name).start()
    study = optuna.create_study(directions=["minimize", "minimize"], sampler=at_seed(seed))
    for number in range(trials):
        if number < 20:
            study.sampler = optuna.samplers.RandomSampler(seed=1000 * seed + number)
        else:
            study.sampler = at_seed(1000 * seed + number)
        trial = study.ask()
        study.tell(trial, toy(trial))
    return hypervolume([t.values for t in study.get_trials(deepcopy=False)], ["min", "min"], (2.5, 2.5))


@pytest.fixture(scope="module")
def blind() -> float:
    return statistics.median(reached("random", seed) for seed in range(5))


@pytest.mark.parametrize("name", LEARNING)
def test_sampler_beats_random_search_on_a_toy_front(name: str, blind: float) -> None:
    trials = 50 if name == "predictor_guided" else 120  # it needs fewer, and takes longer to think
    assert statistics.median(reached(name, seed, trials) for seed in range(3)) > blind * 1.05


@pytest.mark.parametrize("name", sampler_names())
def test_proposals_lie_in_the_space_and_depend_on_the_seed_and_the_trials_alone(name: str) -> None:
    def run() -> list[str]:
        at_seed = sampler(name).start()
        study = optuna.create_study(directions=["minimize", "minimize"], sampler=at_seed(0))
        ids: list[str] = []
        for number in range(25):
            study.sampler = at_seed(number)
            trial = study.ask()
            arch = SPACE.realise(partial(suggest, trial))
            assert arch in SPACE
            trial.set_constraint("limits", float(number % 3 == 0))
            study.tell(trial, [arch.stages[0].width, -arch.stages[1].depth])
            ids.append(arch.id)
        return ids

    assert run() == run()


def test_distributions_mirror_the_spaces_domains() -> None:
    walker = Walker(SPACE)
    for seed in range(20):
        arch = SPACE.sample(random.Random(seed))
        choices = SPACE.encode(arch)
        found = walker.distributions(choices)
        assert found.keys() == choices.keys() == SPACE.active(arch).keys()
        for path, domain in SPACE.active(arch).items():
            assert found[path] == distribution(domain)
            assert allows(domain, choices[path])
    with pytest.raises(SpaceError, match="the space has"):
        walker.distributions(dict.fromkeys(choices, "nothing"))
