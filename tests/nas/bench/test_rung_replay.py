"""The benchmark of rung rules: searches replayed on curves that are made up, and the command."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from nas.bench.curves import CurvePoint, CurveRun, Curves, CurvesError
from nas.bench.rung_judge import Field, judge
from nas.bench.rung_readings import noise, readings
from nas.bench.rung_replay import WORKERS, Stretch, Trainings, budget_seconds, replay, stops, within
from nas.rungs import DEFAULT, rung_rule, rung_rule_names

RECORDED = Path(__file__).parents[3] / "benchmarks" / "curves" / "digits.json.gz"


def curves(count: int = 60, *, told: float = 1.0, failed: tuple[int, ...] = (), again: int = 0) -> Curves:
    """Return curves of nine epochs, one CPU second each: the first readings rank the ends as `told` says.

    told:  1: as they are, -1: the other way round.
    """
    rng = np.random.default_rng(3)
    points, runs = list[CurvePoint](), list[CurveRun]()
    for index in range(count):
        power = rng.uniform(7, 10)
        points.append(CurvePoint(f"{index}", {}, 1000, int(10**power), 10, 10))
        end = float(0.5 + 0.08 * (power - 7) + rng.uniform(0, 0.2))
        way = [0.5 + told * (end - 0.7) * (epoch / 9) for epoch in range(1, 9)]
        length = 4 if index in failed else 9
        lists = ((*way, end)[:length], (1.0,) * length, (1.0,) * length)
        runs.append(CurveRun(index, 0, 1, *lists, "diverged" if index in failed else None))
        if index < again:
            runs.append(CurveRun(index, 1, 2, (*way, end + (-1) ** index * 0.02), (1.0,) * 9, (1.0,) * 9))
    return Curves({}, tuple(points), tuple(runs))


def trainings(count: int = 60, *, told: float = 1.0, failed: tuple[int, ...] = ()) -> Trainings:
    return Trainings.of("made", curves(count, told=told, failed=failed))


def test_readings_are_taken_at_equal_steps() -> None:
    whole, three = Trainings.of("a", curves(5, failed=(2,))), Trainings.of("a", curves(5, failed=(2,)), epochs=3)
    assert (whole.epochs, three.epochs) == (9, 3)
    np.testing.assert_array_equal(three.accuracy, whole.accuracy[:, [2, 5, 8]])
    assert three.seconds[0].tolist() == [3.0, 3.0, 3.0]
    assert three.seconds[2].tolist() == [3.0, 1.0, 0.0]
    assert three.finished.tolist() == [0, 1, 3, 4]
    with pytest.raises(CurvesError, match="a: 9 epochs were recorded, 4 readings are no divisor"):
        Trainings.of("a", curves(5), epochs=4)
    with pytest.raises(CurvesError, match="no training came to its end"):
        Trainings.of("a", curves(1, failed=(0,)))


@pytest.mark.parametrize("name", rung_rule_names())
def test_nothing_is_trained_twice_nor_beyond_the_budget(name: str) -> None:
    data = trainings(failed=(1, 4, 9))
    for seed in range(3):
        limit = budget_seconds(data, 20, seed)
        found = within(replay(data, name, 3, seed, seconds=limit), limit)
        assert 0 < sum(each.seconds for each in found) <= limit + 1e-6
        by_training: dict[int, list[Stretch]] = {}
        for each in found:
            by_training.setdefault(each.training, []).append(each)
        lengths = np.diff([0, *stops(rung_rule(name)(3), 9)]).tolist()
        for training, pieces in by_training.items():
            assert [each.begin for each in pieces] == [True] + [False] * (len(pieces) - 1)
            whole = data.seconds[training].sum()
            assert sum(each.seconds for each in pieces) == pytest.approx(min(whole, sum(lengths[: len(pieces)])))
            assert [each.end for each in pieces] == [
                place == len(lengths) - 1 and whole == 9 for place in range(len(pieces))
            ]


def test_without_rungs_the_budget_trains_exactly_so_many() -> None:
    data = trainings(failed=(1,))
    limit = budget_seconds(data, 25, 4)
    found = within(replay(data, "none", 3, 4, seconds=limit), limit)
    assert len(found) == 25
    assert sum(each.seconds for each in found) == limit
    # all of them, once each, where there is more to spend than points
    assert sorted(each.training for each in replay(data, "none", 3, 4)) == list(range(60))


def test_the_first_points_do_not_wait_for_a_rung() -> None:
    begun = replay(trainings(), "successive_halving", 3, 0)
    # when the third has come to the first rung, one of them goes on, though a worker is still at the fourth
    assert [each.begin for each in begun[:WORKERS]] == [True] * WORKERS
    assert sum(each.begin for each in begun) == 60
    at = next(place for place, each in enumerate(begun) if not each.begin)
    assert WORKERS < at <= WORKERS + 3
    first = {each.training for each in begun[:at]}
    best = max(first, key=lambda training: trainings().accuracy[training, 0])
    assert begun[at].training in first
    assert sum(each.end for each in begun if each.training == best) == 1


def test_rungs_pay_where_they_tell_the_end_and_cost_where_they_do_not() -> None:
    rules = [("none", 3), ("successive_halving", 3), ("pareto_halving", 3)]
    for told, better in ((1.0, True), (-1.0, False)):
        rows = list(judge([trainings(told=told)], rules, [15], 12, default=DEFAULT))
        assert [row.rule for row in rows] == [name for name, _ in rules]
        none, single, pareto = rows
        assert none.hypervolume_gain == 0
        assert none.trials_begun == none.trials_finished == 15
        for row in (single, pareto):
            assert row.trials_begun > 2 * row.trials_finished
            assert row.seconds <= row.budget_seconds == none.seconds
            gain = row.hypervolume_gain_low if better else row.hypervolume_gain_high
            assert gain is not None
            assert (gain > 0) is better, row
        assert (single.regret_mean < none.regret_mean) is better
        if better:
            assert pareto.finished_by_band[0] > single.finished_by_band[0] + 1


def test_the_same_trials_cost_less_with_rungs_and_find_no_more() -> None:
    rules = [("none", 3), ("pareto_halving", 3)]
    none, pareto = judge([trainings()], rules, [30], 6, default=DEFAULT, equal="trials")
    assert none.trials_begun == pareto.trials_begun == none.trials_finished == 30
    assert pareto.seconds < 0.6 * none.seconds == 0.6 * none.budget_seconds
    assert pareto.hypervolume_mean <= none.hypervolume_mean
    data = trainings()
    assert {each.training for each in replay(data, "pareto_halving", 3, 1, trials=30)} == {
        each.training for each in replay(data, "none", 3, 1, trials=30)
    }


def test_hypervolume_is_a_share_of_the_whole_files_front() -> None:
    points = tuple(CurvePoint(str(macs), {}, 1, macs, 1, 1) for macs in (10, 100, 1000, 5000, 20, 30))
    ends = (0.6, 0.8, 0.9, 0.7, 0.1, 0.2)
    runs = tuple(CurveRun(index, 0, 1, (end,), (1.0,), (1.0,)) for index, end in enumerate(ends))
    field = Field(Trainings.of("six", Curves({}, points, runs)))
    # the corner is the median accuracy, 0.65, and 1.1 * 1000 MACs: the front above it is 0.8 at 100 and 0.9 at 1000
    edge = 3 + np.log10(1.1)
    whole = 0.15 * (edge - 2) + 0.1 * (edge - 3)
    assert field.volume(np.arange(6)) == pytest.approx(1)
    assert field.volume(np.array([2, 0])) == pytest.approx(0.25 * (edge - 3) / whole)
    assert field.volume(np.array([3, 4])) == field.volume(np.array([], dtype=int)) == 0
    assert field.regret(np.array([1, 3])) == pytest.approx(10)
    assert field.regret(np.array([], dtype=int)) == pytest.approx(90)
    assert field.by_band(np.array([0, 4, 3])) == [2, 0, 1]


def test_readings_tell_how_well_they_rank_the_end_in_each_band() -> None:
    for told in (1.0, -1.0):
        found = readings(trainings(told=told, failed=(0,)), 3)
        assert (found.epoch, found.epochs) == (3, 9)
        assert found.cost == pytest.approx((59 * 3 + 3) / (59 * 9 + 4))
        assert [each.networks for each in found.agreements] == [59, 20, 20, 19]
        assert [each.spearman.value for each in found.agreements] == pytest.approx([told] * 4)


def test_noise_is_that_of_networks_that_were_trained_again() -> None:
    assert noise(trainings()) is None
    found = noise(Trainings.of("again", curves(again=10)))
    assert found is not None
    assert found.networks == 10
    assert found.deviation == pytest.approx(2 / 2**0.5)
    assert 0.8 < found.spearman.value <= 1


def test_the_command_prints_rows_as_json(nas) -> None:
    words = ("bench", "fidelity", "--curves", RECORDED, "--seeds", 2, "--budget", 10, 20, "--reduction", 2, 3)
    ran = nas(*words, "--rule", "none", "pareto_halving", "--json")
    assert (ran.code, ran.err) == (0, "")
    rows = json.loads(ran.out)
    assert [(row["rule"], row["reduction"], row["budget"]) for row in rows] == [
        ("none", 2, 10), ("none", 2, 20), ("pareto_halving", 2, 10), ("pareto_halving", 2, 20),
        ("pareto_halving", 3, 10), ("pareto_halving", 3, 20),
    ]  # fmt: skip
    wanted = {"curves", "rule", "default", "reduction", "budget", "seeds", "hypervolume_mean", "hypervolume_median"}
    assert wanted | {"regret_mean", "seconds", "trials_begun", "trials_finished"} <= rows[0].keys()
    assert rows[0]["curves"] == "digits"
    assert [row["default"] for row in rows] == [row["rule"] == DEFAULT for row in rows]
    assert [rung["epoch"] for rung in rows[-1]["rungs"]] == [1, 3]
    assert rows[-1]["trials_begun"] > rows[1]["trials_begun"] == 20
    assert json.loads(nas(*words, "--rule", "none", "pareto_halving", "--json").out) == rows


def test_the_command_runs_all_rules_and_tells_why(nas, tmp_path: Path) -> None:
    path = tmp_path / "made.json.gz"
    curves(30, again=5).save(path)
    ran = nas("bench", "fidelity", "--curves", path, "--seeds", 2, "--epochs", 3)
    assert ran.code == 0
    assert ran.out.split()[:4] == ["curves", "rule", "reduction", "budget"]
    assert {line.split()[1] for line in ran.out.splitlines() if line.startswith("made  ")} >= set(rung_rule_names())
    assert "1 of 3" in ran.out
    assert "made: 5 networks trained again with another seed" in ran.out
    assert "no points were left to begin" in ran.out


def test_slips_are_one_line(refused, tmp_path: Path) -> None:
    path = tmp_path / "made.json.gz"
    curves(12).save(path)
    assert "fidelity: 'halving' is unknown" in refused("bench", "fidelity", "--curves", path, "--rule", "halving")
    assert "--budget: 13, allowed: up to 12, the points of made" in refused(
        "bench", "fidelity", "--curves", path, "--budget", 5, 13
    )
    assert "made: 9 epochs were recorded" in refused("bench", "fidelity", "--curves", path, "--epochs", 2)
    assert "--equal: 'time', allowed: seconds, trials" in refused(
        "bench", "fidelity", "--curves", path, "--equal", "time"
    )
    assert "No such file" in refused("bench", "fidelity", "--curves", tmp_path / "none.json.gz")
