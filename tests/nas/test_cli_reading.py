"""nas studies, nas trials, nas front on a store that holds trials in every state."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from nas.executors import Inline
from nas.pareto import front
from nas.search import run_search
from nas.settings import SearchSettings
from space import Architecture, describe
from trials.evaluators.surrogate import Surrogate
from trials.store import Store

Nas = Callable[..., "object"]
STUDY = "digits-a"
BOX = "─│┌┐└┘├┤━┃╭╮╰╯"


def test_studies_shows_counts_in_plain_text_when_piped(nas, filled: Path) -> None:
    ran = nas("studies", "--store", filled)
    assert (ran.code, ran.err) == (0, "")
    head, row = ran.out.splitlines()
    assert head.split() == ["study", "status", "trained", "failed", "rejected", "created", "took"]
    assert row.split()[:5] == [STUDY, "stopped", "7/10", "1", "3"]
    assert "\x1b" not in ran.out
    assert not set(BOX) & set(ran.out)


def test_studies_as_json(nas, filled: Path) -> None:
    (study,) = json.loads(nas("studies", "--store", filled, "--json").out)
    assert study["study"] == STUDY
    assert study["trained"] == 7
    assert study["budget"] == 10
    assert study["counts"]["infeasible"] == 2
    assert study["counts"]["running"] == 1


def test_studies_of_an_empty_store_says_how_to_begin(nas, tmp_path: Path) -> None:
    Store.open(tmp_path / "empty.db").close()
    ran = nas("studies", "--store", tmp_path / "empty.db")
    assert (ran.code, ran.out) == (0, "")
    assert "nas search" in ran.err


def test_trials_lists_all_in_order_with_reasons(nas, filled: Path) -> None:
    lines = nas("trials", STUDY, "--store", filled).out.splitlines()
    assert [int(line.split()[0]) for line in lines[1:]] == list(range(12))
    assert "95.00 %" in lines[5]
    assert "loss is nan" in lines[7]
    assert "params 7,340,032 > 5,000,000" in lines[8]


@pytest.mark.parametrize(("state", "count"), [("failed", 1), ("complete", 6), ("infeasible", 2), ("stopped", 0)])
def test_trials_of_one_state(nas, filled: Path, state: str, count: int) -> None:
    found = json.loads(nas("trials", STUDY, "--store", filled, "--state", state, "--json").out)
    assert [trial["state"] for trial in found] == [state] * count


def test_trials_as_json_hold_numbers_and_reasons(nas, filled: Path) -> None:
    found = json.loads(nas("trials", STUDY, "--store", filled, "--json").out)
    assert found[4]["values"]["accuracy"] == 0.95
    assert found[4]["values"]["macs"] == found[4]["macs"]
    assert found[4]["epochs"] == 3
    assert found[6]["reason"] == "training: loss is nan in epoch 2"
    assert found[9]["duplicate_of"] == 0


def test_front_as_json_is_the_front_of_the_complete_trials(nas, filled: Path) -> None:
    points = json.loads(nas("front", STUDY, "--store", filled, "--json").out)
    assert all(set(p) == {"trial", "architecture", "values", "params", "macs", "description"} for p in points)
    done = [t for t in json.loads(nas("trials", STUDY, "--store", filled, "--json").out) if t["state"] == "complete"]
    expected = front([(t["values"]["accuracy"], t["macs"]) for t in done], ("max", "min"))
    assert sorted(p["trial"] for p in points) == [done[i]["trial"] for i in expected]
    accuracies = [p["values"]["accuracy"] for p in points]
    assert accuracies == sorted(accuracies, reverse=True)


def test_front_as_csv_reads_back(nas, filled: Path) -> None:
    points = json.loads(nas("front", STUDY, "--store", filled, "--json").out)
    rows = list(csv.DictReader(io.StringIO(nas("front", STUDY, "--store", filled, "--csv").out)))
    assert [int(row["trial"]) for row in rows] == [p["trial"] for p in points]
    assert [float(row["accuracy"]) for row in rows] == [p["values"]["accuracy"] for p in points]
    assert [row["description"] for row in rows] == [p["description"] for p in points]


def test_front_as_text_is_a_line_a_network(nas, filled: Path) -> None:
    points = json.loads(nas("front", STUDY, "--store", filled, "--json").out)
    ran = nas("front", STUDY, "--store", filled)
    assert len(ran.out.splitlines()) == 1 + len(points)
    assert all(point["description"] in ran.out for point in points)


def test_reading_works_on_a_store_in_a_folder_that_cannot_be_written(nas, filled: Path) -> None:
    filled.chmod(0o444)
    filled.parent.chmod(0o555)
    try:
        assert nas("front", STUDY, "--store", filled).code == 0
    finally:
        filled.parent.chmod(0o755)


READING = (
    ["studies"],
    ["trials", "found"],
    ["trials", "found", "--json"],
    ["front", "found"],
    ["front", "found", "--csv"],
    ["front", "found", "--json"],
)


def test_reading_what_a_search_has_stored_needs_no_torch(tmp_path: Path) -> None:
    """PyTorch takes seconds to import, and the numbers and words are all in the store."""
    path = tmp_path / "nas.db"
    with Store.open(path) as store:
        settings = SearchSettings.make(study="found", space="tiny", budget=3, evaluators=(Surrogate(epochs=1),))
        run_search(store, settings, executor=Inline())
        rows = store.trials(store.study("found").id)
    code = (
        "import sys\nfrom nas.__main__ import main\n"
        f"for words in {READING!r}: assert main([*words, '--store', {str(path)!r}]) == 0\n"
        f"print([name for name in ('torch', 'optuna', 'ray', 'plotly') if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines()[-1] == "[]"
    for row in rows:
        assert describe(Architecture.model_validate_json(row.arch_json)) in ran.stdout


def test_reading_makes_no_store(nas, tmp_path: Path) -> None:
    assert nas("studies", "--store", tmp_path / "none.db").code == 2
    assert list(tmp_path.iterdir()) == []


def test_unknown_study_names_the_nearest(refused, filled: Path) -> None:
    for command in ("trials", "front", "report", "resume"):
        line = refused(command, "digits-b", "--store", filled)
        assert "'digits-b'" in line
        assert STUDY in line


def test_unknown_state_names_the_nearest(refused, filled: Path) -> None:
    line = refused("trials", STUDY, "--store", filled, "--state", "fialed")
    assert "did you mean 'failed'?" in line


def test_stored_control_characters_are_shown_not_obeyed(nas, filled: Path) -> None:
    with Store.open(filled) as store:
        row = store.trial(store.study(STUDY).id, 11)
        store.start_trial(row.id, worker="inline", attempt=1)
        store.finish_trial(row.id, state="failed", reason="\x1b[31mred\nsecond line [bold]")
    ran = nas("trials", STUDY, "--store", filled, "--state", "failed")
    assert "\x1b" not in ran.out
    assert len(ran.out.splitlines()) == 3
    assert "\\x1b[31mred\\nsecond line [bold]" in ran.out
