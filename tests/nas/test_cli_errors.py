"""Whatever a user gets wrong is one line on stderr, exit code 2, and nothing is left behind or damaged."""

from __future__ import annotations

import sqlite3
import sys
from pathlib import Path

import pytest

from nas import __main__ as program
from trials.store import Store

SEARCH = ("search", "--space", "tiny", "--budget", 2, "--inline")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty folder, with no store named by the environment."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.delenv("NAS_STORE", raising=False)
    return folder


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("serach",), "Did you mean 'search'"),
        (("search", "--space", "tiny"), "--budget"),
        (("search", "--budget", 3), "--space"),
        (("search", "--space", "tiny", "--budgte", 3), "--budgte"),
        (("search", "--space", "tiny", "--budget", 0), "budget: 0"),
        (("search", "--space", "tiny", "--budget", -5), "budget: -5"),
        (("search", "--space", "tiny", "--budget", "many"), "--budget"),
        (("search", "--space", "tinny", "--budget", 3), "did you mean 'tiny'"),
        (("search", "--space", "missing.yaml", "--budget", 3), "missing.yaml: no such file"),
        ((*SEARCH, "--objective", "acuracy:max"), "did you mean 'accuracy'"),
        ((*SEARCH, "--objective", "accuracy:up"), "allowed: max, min"),
        ((*SEARCH, "--objective", "accuracy", "--objective", "accuracy:max"), "2 times"),
        ((*SEARCH, "--limit", "params<5M"), "params<=5M"),
        ((*SEARCH, "--limit", "parms<=5M"), "did you mean 'params'"),
        ((*SEARCH, "--limit", "accuracy<=1"), "known only after training"),
        ((*SEARCH, "--limit", "params<=1M", "--limit", "params>=2M"), "exclude each other"),
        ((*SEARCH, "--data", "no/such/folder"), "no/such/folder"),
        ((*SEARCH, "--data", "cifar11"), "cifar10"),
        ((*SEARCH, "--study", "a:b"), "study name: 'a:b'"),
        ((*SEARCH, "--study", "a/b"), "study name: 'a/b'"),
        ((*SEARCH, "--study", "a\x1bb"), "\\x1b"),
        ((*SEARCH, "--sampler", "tpee"), "did you mean 'tpe'"),
        ((*SEARCH, "--train-as", "ful"), "did you mean 'full'"),
        ((*SEARCH, "--workers", 2), "--workers 2"),
        (("search", "--space", "tiny", "--budget", 2, "--workers", 0), "workers: 0"),
        ((*SEARCH, "--ray-address", "10.0.0.1:6379"), "one of the two"),
        ((*SEARCH, "--proxy-width", 2), "proxy.width: 2"),
        ((*SEARCH, "--train-as", "full", "--proxy-depth", 0.5), "--proxy-depth"),
        ((*SEARCH, "--start-from", "convnext_tinny"), "convnext_tiny"),
        ((*SEARCH, "--start-from", "convnext_tiny"), "not in space"),
        ((*SEARCH, "--device", "abacus"), "abacus"),
        ((*SEARCH, "--store", "mysql://me@host/nas"), "mysql"),
        (("resume", "nothing"), "no such file"),
        (("studies",), "no such file"),
        (("cost", "convnext_tinny"), "convnext_tiny"),
        (("cost", "missing.yaml"), "missing.yaml: no such file"),
        (("cost", "nothing:3"), "no such file"),
        (("cost", "convnext_atto", "--resolution", 0), "--resolution"),
        (("cost", "convnext_atto", "--device", "abacus"), "abacus"),
        (("models", "show", "convnext_tinny"), "convnext_tiny"),
        (("models", "verify", "--golden", "missing"), "missing"),
        (("space", "check", "missing.yaml"), "missing.yaml"),
        (("space", "sample", "tiny", "--n", 0), "--n"),
        (("train", "convnext_atto", "--sparsity", 1), "sparsity: 1.0: should be less than 1"),
        (("train", "convnext_atto", "--sparsity", 0.4, "--sparse-ratios", "erc"), "did you mean 'erk'"),
        (("train", "convnext_atto", "--sparsity", 0.4, "--sparse-growth", "up"), "allowed: random, gradient"),
        (("train", "convnext_atto", "--sparsity", 0.4, "--prune-rate", 0), "prune_rate: 0.0"),
        (("train", "convnext_atto", "--sparsity", 0.4, "--update-every", 0), "update_every: 0"),
        (("train", "convnext_atto", "--sparse-growth", "random"), "--sparse-growth: without --sparsity"),
        (("train", "convnext_atto", "--prune-rate", 0.2, "--update-every", 9), "--prune-rate, --update-every: without"),
        (("evaluate", "missing.safetensors"), "missing.safetensors"),
        (("export", "missing.safetensors", "--to", "out"), "missing.safetensors"),
        (("export", "convnext_atto", "--to", "out"), "untrained"),
        (("report", "nothing"), "no such file"),
    ],
)
def test_a_slip_is_one_line_and_leaves_nothing(refused, elsewhere: Path, words: tuple[object, ...], says: str) -> None:
    assert says in refused(*words)
    assert sorted(path.name for path in elsewhere.rglob("*")) in ([], [".nas", "nas.db"])


def test_the_line_says_where_help_is(refused) -> None:
    assert refused("front").endswith("see nas front --help")
    assert refused("space", "chek").endswith("see nas space --help")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("stem: {kind: patchfy}\nstages: []\n", "did you mean 'patchify'"),
        ("stem: {kind: patchify}\nstages:\n  - {width: {int_range: [64, 8]}, depth: 1, pattern: []}\n", "stages[0]"),
        ("- 1\n- 2\n", "mapping"),
        ("stem: {kind: [\n", "line"),
        ("", "nothing at the top level"),
    ],
)
def test_a_faulty_space_file_is_named_with_the_place(refused, elsewhere: Path, text: str, says: str) -> None:
    Path("mine.yaml").write_text(text, encoding="utf-8")
    for command in (("space", "check", "mine.yaml"), ("search", "--space", "mine.yaml", "--budget", 2)):
        line = refused(*command)
        assert "mine.yaml" in line
        assert says in line


def test_a_faulty_network_file_is_named_with_the_place(refused) -> None:
    Path("net.yaml").write_text("stem: {kind: patchify}\nstages: [{width: 8, depth: 0, pattern: []}]\n")
    line = refused("cost", "net.yaml")
    assert "net.yaml" in line
    assert "stages[0].depth" in line


def test_a_study_of_that_name_is_not_overwritten(nas, refused, filled: Path) -> None:
    before = nas("trials", "digits-a", "--store", filled, "--json").out
    assert "digits-a" in refused(*SEARCH, "--study", "digits-a", "--store", filled)
    assert nas("trials", "digits-a", "--store", filled, "--json").out == before


def test_a_budget_below_what_is_trained_is_refused(refused, filled: Path) -> None:
    assert "has trained 7" in refused("resume", "digits-a", "--budget", 3, "--store", filled, "--inline")


def test_an_unknown_trial_names_the_numbers_there_are(refused, filled: Path) -> None:
    assert "0 to 11" in refused("cost", "digits-a:99", "--store", filled)


def test_a_file_that_is_no_store_is_refused_untouched(refused, elsewhere: Path) -> None:
    Path("notes.db").write_text("these are my notes, please keep them" * 100)
    assert "notes.db" in refused(*SEARCH, "--store", "notes.db")
    assert Path("notes.db").read_text().startswith("these are my notes")


def test_a_newer_store_is_refused(refused, filled: Path) -> None:
    with sqlite3.connect(filled) as connection:
        connection.execute("UPDATE nas_alembic_version SET version_num = '9999'")
    assert "newer" in refused("studies", "--store", filled)
    assert "newer" in refused("resume", "digits-a", "--store", filled)


def test_a_store_that_cannot_be_written_is_refused_to_searches(refused) -> None:
    # /proc takes no new files from anybody, root included
    assert "/proc/nas.db" in refused(*SEARCH, "--store", "/proc/nas.db")


def test_a_folder_as_store_is_refused(refused, elsewhere: Path) -> None:
    assert "folder" in refused("studies", "--store", elsewhere)


def test_a_report_that_cannot_be_written_is_refused(refused, filled: Path) -> None:
    assert "/proc/report.html" in refused("report", "digits-a", "--store", filled, "--out", "/proc/report.html")


@pytest.mark.parametrize("words", [("--debug", "studies"), ("studies", "--debug")])
def test_debug_shows_the_traceback_anywhere_on_the_line(nas, words: tuple[str, ...]) -> None:
    ran = nas(*words)
    assert ran.code == 2
    assert "Traceback" in ran.err
    assert ran.err.splitlines()[-1].startswith("nas: store")


def test_a_defect_of_the_program_keeps_its_traceback(nas, filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Store) -> None:
        raise ZeroDivisionError("a defect")

    monkeypatch.setattr(Store, "studies", broken)
    with pytest.raises(ZeroDivisionError):
        nas("studies", "--store", filled)


def test_ctrl_c_is_130(nas, filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(self: Store) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Store, "studies", interrupted)
    assert nas("studies", "--store", filled).code == 130


def test_a_full_disk_is_one_line(refused, filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno
    import os

    def full(self: Store) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Store, "studies", full)
    assert "No space left on device" in refused("studies", "--store", filled)


def test_main_reads_the_process_arguments(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["nas", "--version"])
    assert program.main() == 0
    assert capsys.readouterr().out.startswith("nas ")
