"""The benchmark of samplers: tables, the protocol, and the command that prints the figures."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from optuna.distributions import CategoricalDistribution, IntDistribution

from nas.bench.judge import judge, summaries, work
from nas.bench.replay import Task, replay
from nas.bench.table import Table, TableError

MACRO = Path(__file__).with_name("macro_part.npz")
"""NAS-Bench-Macro (github xiusu/NAS-Bench-Macro, Apache-2.0), the 729 networks whose last two blocks are mb3_k3."""


@pytest.fixture(scope="module")
def macro() -> Table:
    return Table.load(MACRO)


@pytest.fixture
def save(tmp_path: Path):
    """Write a table of two decisions, of two and three options, with some arrays replaced."""

    def write(**arrays: object) -> Path:
        plain = {"cards": np.array([2, 3]), "score": np.arange(12.0).reshape(6, 2), "cost_macs": np.arange(6) + 1.0}
        path = tmp_path / "table.npz"
        np.savez(path, **{name: array for name, array in (plain | arrays).items() if array is not None})
        return path

    return write


def test_a_table_is_read(macro: Table) -> None:
    assert macro.cards == (3,) * 6
    assert macro.scores.shape == (729, 3)
    assert macro.counted == ("macs_M", "params_M")
    assert list(macro.distributions.values()) == [CategoricalDistribution(("identity", "mb3_k3", "mb6_k5"))] * 6
    point = dict(
        zip(macro.distributions, ("mb3_k3", "identity", "identity", "mb6_k5", "identity", "mb6_k5"), strict=True)
    )
    assert macro.index(point) == np.ravel_multi_index((1, 0, 0, 2, 0, 2), macro.cards)


def test_rising_numbers_are_an_ordered_choice_and_nameless_options_an_index(save) -> None:
    widths = Table.load(save(choices=np.array(["8", "16", "24"])))
    assert list(widths.distributions.values()) == [IntDistribution(0, 1), IntDistribution(0, 2)]
    assert widths.index({"x0": 1, "x1": 2}) == 5
    nameless = Table.load(save(choices=np.array(["op", "op", "op"])))
    assert nameless.distributions["x1"] == CategoricalDistribution(("0", "1", "2"))
    assert Table.load(save()).distributions["x0"] == CategoricalDistribution(("0", "1"))


def test_a_latency_is_not_known_before_training(save) -> None:
    table = Table.load(save(cost_latency_ms=np.ones(6)))
    assert table.counted == ("macs",)
    assert Task(Table.load(save(cost_macs=None, cost_latency_ms=np.ones(6))), "latency_ms").known_costs() is None


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"score": None}, "no array 'score', found: cards, cost_macs"),
        ({"cards": np.array([2.5])}, r"cards is float64 \[1\], a vector of whole numbers >= 1"),
        ({"score": np.zeros((5, 2))}, r"score is float64 \[5, 2\], numbers \[6, runs\] are needed"),
        ({"score": np.full((6, 1), np.nan)}, "score has values that are not finite"),
        ({"cost_macs": np.zeros(6)}, "cost_macs has values of 0 or less"),
    ],
    ids=["missing", "cards", "shape", "nan", "free"],
)
def test_a_file_that_is_no_table_is_refused(save, arrays: dict, said: str) -> None:
    with pytest.raises(TableError, match=said):
        Table.load(save(**arrays))


def test_regret_is_of_the_true_score_of_the_best_observed(save) -> None:
    table = Table.load(save(score=np.array([[9.0, 1.0], [6.0, 6.0], [4.0, 4.0], [1, 1], [2, 2], [3, 3]])))
    task = Task(table)
    assert task.regret(np.array([1, 3, 0]), np.array([6.0, 1.0, 9.0])) == 1.0
    assert task.regret(np.array([1, 3, 0]), np.array([6.0, 1.0, 1.0])) == 0.0
    assert task.volume(np.array([1]), np.array([6.0])) is None


def test_hypervolume_is_a_share_of_the_true_fronts(save) -> None:
    score = np.array([1.0, 2, 3, 4, 5, 6])[:, None]
    task = Task(Table.load(save(score=score)), "macs")
    everything = np.arange(6)
    assert task.volume(everything, score[:, 0]) == pytest.approx(1.0)
    assert task.volume(np.array([0, 1]), score[:2, 0]) == 0.0
    # the corner is the median, 3.5, and 6.6: of the front 4 at 4, 5 at 5 and 6 at 6, the second holds 1.5 x 1.6
    assert task.volume(np.array([4]), np.array([5.0])) == pytest.approx(2.4 / (0.5 * 1 + 1.5 * 1 + 2.5 * 0.6))
    assert task.regret(everything, score[:, 0]) is None


def test_a_replay_is_a_function_of_its_seed_and_reports_every_budget(macro: Table) -> None:
    task = Task(macro, "macs_M")
    done: list[int] = []
    first = replay(task, "predictor_guided", [15, 30], 1, done.append)
    again = replay(task, "predictor_guided", [30, 15], 1)
    assert [found.budget for found in first] == [15, 30]
    assert [found.hypervolume for found in first] == [found.hypervolume for found in again]
    assert first[0].hypervolume < first[1].hypervolume
    assert sum(done) == work([macro], ["predictor_guided"], [15, 30], 1) // 2


def test_the_guided_sampler_is_better_than_tpe_and_quick(macro: Table) -> None:
    rows = list(judge([macro], ["tpe", "predictor_guided", "random"], [60], 4, default="predictor_guided"))
    assert [row.sampler for row in rows[:3]] == ["random", "tpe", "predictor_guided"]
    assert [row.default for row in rows[:3]] == [False, False, True]
    figures = {each.sampler: each for each in summaries(rows)}
    assert figures["random"].relative == 1.0
    assert figures["predictor_guided"].relative < 0.6 * figures["tpe"].relative
    assert figures["predictor_guided"].hypervolume > figures["tpe"].hypervolume + 0.02
    assert figures["predictor_guided"].cpu_ms_per_trial < 50


def test_the_command_prints_rows_as_json(nas) -> None:
    ran = nas(
        "bench", "search", "--table", MACRO, "--sampler", "random", "nsga2", "--budget", 5, 9, "--seeds", 2, "--json"
    )
    assert (ran.code, ran.err) == (0, "")
    rows = json.loads(ran.out)
    assert len(rows) == 2 * 2 * 2
    wanted = {"table", "sampler", "default", "objectives", "budget", "seeds", "regret_mean", "regret_median"}
    assert wanted | {"hypervolume_median", "cpu_ms_per_trial"} <= rows[0].keys()
    assert rows[0]["objectives"] == ["score"]
    assert rows[0]["hypervolume_median"] is None
    assert rows[0]["regret_mean"] > 0
    assert rows[-1]["objectives"] == ["score", "macs_M"]
    assert rows[-1]["regret_mean"] is None
    assert 0 < rows[-1]["hypervolume_median"] < 1


def test_the_command_runs_the_default_sampler_and_prints_a_table(nas) -> None:
    ran = nas("bench", "search", "--table", MACRO, "--budget", "5", "--seeds", "1")
    assert ran.code == 0
    head, *body = ran.out.splitlines()
    assert head.split()[:4] == ["table", "objectives", "sampler", "budget"]
    assert any("random" in line and " 1.00 " in line for line in body)


def test_slips_are_one_line(refused, tmp_path: Path) -> None:
    assert "sampler: 'tpes' is unknown" in refused("bench", "search", "--table", MACRO, "--sampler", "tpes")
    assert "No such file" in refused("bench", "search", "--table", tmp_path / "none.npz")
    (tmp_path / "text.npz").write_text("no zip")
    assert "no table" in refused("bench", "search", "--table", tmp_path / "text.npz")
    assert "--table" in refused("bench", "search")
