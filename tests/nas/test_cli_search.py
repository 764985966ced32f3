"""nas search and nas resume for real: small proxies of the tiny space, trained in this or another process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

SMALL = (
    "--train-as",
    "proxy",
    "--proxy-width",
    0.25,
    "--proxy-depth",
    0.5,
    "--proxy-resolution",
    8,
    "--sampler",
    "random",
)
SEARCH = ("search", "--space", "tiny", "--inline", *SMALL)


def spawned(folder: Path, words: Sequence[object]) -> subprocess.Popen[str]:
    env = {**os.environ, "PYTHONUNBUFFERED": "1"}
    env.pop("NAS_STORE", None)
    command = [sys.executable, "-m", "nas", *map(str, words)]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "search.db"


def test_a_search_ends_with_its_front_and_what_to_type_next(nas, store: Path) -> None:
    ran = nas(*SEARCH, "--budget", 2, "--study", "small", "--store", store)
    assert (ran.code, ran.err) == (0, "")
    assert "\x1b" not in ran.out
    lines = ran.out.splitlines()
    assert [line.partition(" ")[0] for line in lines if line.startswith("[")] == ["[1/2]", "[2/2]"]
    points = json.loads(nas("front", "small", "--store", store, "--json").out)
    best = points[0]["trial"]
    assert f"  nas train small:{best} --data digits --store {store}" in lines
    assert f"  nas export small:{best} --to my-network --store {store}" in lines
    assert f"  nas report small --out report.html --store {store}" in lines
    assert all(any(point["description"] in line for line in lines) for point in points)
    assert any(str(store) in line and "stored" in line for line in lines)


def test_json_is_one_document_and_messages_go_to_stderr(nas, store: Path) -> None:
    ran = nas(
        *SEARCH, "--budget", 2, "--store", store, "--json", "--objective", "accuracy", "--objective", "params:min"
    )
    found = json.loads(ran.out)
    assert ran.code == 0
    assert "trial 0 complete" in ran.err
    assert (found["done"], found["budget"], found["interrupted"]) == (2, 2, False)
    assert found["counts"]["complete"] == 2
    assert found["front"] == json.loads(nas("front", found["study"], "--store", store, "--json").out)
    assert found["study"].startswith("tiny-")


def test_a_finished_search_can_be_given_more_budget(nas, store: Path) -> None:
    nas(*SEARCH, "--budget", 1, "--study", "more", "--store", store)
    ran = nas("resume", "more", "--budget", 2, "--store", store, "--inline", "--json")
    found = json.loads(ran.out)
    assert (ran.code, found["done"], found["budget"]) == (0, 2, 2)
    assert "resumed at 1 of 2" in ran.err


def test_limits_seed_and_start_points_reach_the_search(nas, store: Path) -> None:
    first = nas(
        *SEARCH, "--budget", 1, "--study", "a", "--store", store, "--seed", 3, "--limit", "params<=20k", "--json"
    )
    again = nas(
        *SEARCH, "--budget", 1, "--study", "b", "--store", store, "--seed", 3, "--limit", "params<=20k", "--json"
    )
    one, two = (json.loads(ran.out)["front"][0] for ran in (first, again))
    assert one["params"] <= 20_000
    assert one["architecture"] == two["architecture"]
    ran = nas(*SEARCH, "--budget", 1, "--study", "c", "--store", store, "--start-from", f"a:{one['trial']}", "--json")
    assert json.loads(ran.out)["front"][0]["architecture"] == one["architecture"]


@pytest.mark.parametrize(
    ("sent", "on_ray"), [(signal.SIGINT, False), (signal.SIGTERM, False), (signal.SIGINT, True), (signal.SIGTERM, True)]
)
def test_a_signal_stops_cleanly_says_how_to_resume_and_loses_nothing(
    nas, tmp_path: Path, sent: signal.Signals, on_ray: bool
) -> None:
    words = [word for word in SEARCH if word != "--inline" or not on_ray]
    search = spawned(tmp_path, [*words, "--budget", 60, "--study", "long"])
    assert search.stdout is not None
    for line in search.stdout:
        if line.startswith("[ 1/60]"):
            break
    search.send_signal(sent)
    out, err = search.communicate(timeout=300)
    assert search.returncode == 130, err
    assert "nas resume long" in err
    assert "Traceback" not in out + err
    store = tmp_path / ".nas" / "nas.db"
    trials = json.loads(nas("trials", "long", "--store", store, "--json").out)
    assert [trial["trial"] for trial in trials] == list(range(len(trials)))
    done, open_ = (sum(t["state"] in states for t in trials) for states in (("complete",), ("queued", "running")))
    assert done >= 1
    budget = done + open_ + 1
    ran = nas("resume", "long", "--inline", "--budget", budget, "--store", store, "--json")
    after = json.loads(nas("trials", "long", "--store", store, "--json").out)
    assert (ran.code, json.loads(ran.out)["done"]) == (0, budget)
    assert not [trial for trial in after if trial["state"] == "running"]


def test_the_reader_of_a_pipe_may_leave(tmp_path: Path, filled: Path) -> None:
    listing = spawned(tmp_path, ["trials", "digits-a", "--store", filled])
    assert listing.stdout is not None
    assert listing.stderr is not None
    listing.stdout.close()
    assert listing.stderr.read() == ""
    assert listing.wait(timeout=300) == 0
    listing.stderr.close()


def test_train_evaluate_and_export_follow_a_search(nas, store: Path, tmp_path: Path) -> None:
    nas(*SEARCH, "--budget", 1, "--study", "one", "--store", store)
    trained = nas("train", "one:0", "--epochs", 1, "--resolution", 16, "--store", store, "--json", "--threads", 1)
    found = json.loads(trained.out)
    assert trained.code == 0
    assert "epoch 1/1" in trained.err
    assert 0 <= found["test_accuracy"] <= 1
    told = nas("evaluate", found["checkpoint"])
    assert f"{100 * found['test_accuracy']:.2f} %" in told.out
    ran = nas("export", "one:0", "--to", tmp_path / "bundle", "--store", store)
    assert ran.code == 0
    import nas as package

    assert package.load(tmp_path / "bundle").architecture.id == found["architecture"]
    assert nas("cost", tmp_path / "bundle", "--no-latency", "--resolution", 16).code == 0
