"""Numbers, tables and names as people read and write them; the progress of one training."""

from __future__ import annotations

import io
import math
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from nas.epoch_view import watch_epochs
from nas.naming import check_study_name, fresh_study_name, trial_reference
from nas.quantities import duration, measured, short
from nas.tables import Column, clean, plain, rich_table, show
from space import NasError
from trials.store import Store, StoreError

SUFFIXES = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (7, "7"),
        (999, "999"),
        (999.6, "1.00k"),
        (1000, "1.00k"),
        (28589128, "28.6M"),
        (4.47e9, "4.47G"),
        (999.96e6, "1.00G"),
    ],
)
def test_short(value: float, text: str) -> None:
    assert short(value) == text


@given(st.floats(min_value=1, max_value=1e14))
def test_short_keeps_three_digits(value: float) -> None:
    text = short(value)
    number = float(text.rstrip("kMGT")) * SUFFIXES[text.lstrip("0123456789.e+")]
    assert math.isclose(number, value, rel_tol=0.006)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (3599, "59 min 59 s"),
        (3600, "1 h 00 min"),
        (90000, "1 d 01 h"),
        (math.inf, "?"),
        (-1, "?"),
    ],
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.9312, "ratio", "93.12 %"),
        (4.5e9, "count", "4.50G"),
        (12.345, "ms", "12.35 ms"),
        (0.5, "", "0.5"),
        (None, "ms", "-"),
    ],
)
def test_measured(value: float | None, unit: str, text: str) -> None:
    assert measured(value, unit) == text


COLUMNS = [Column("name"), Column("n", right=True), Column("words", long=True)]


def test_plain_tables_align_and_never_cut() -> None:
    long = "word " * 60
    lines = plain(COLUMNS, [["a", 1, "x"], ["longer", 1000, long]]).splitlines()
    assert lines[0] == "name       n  words"
    assert lines[1] == "a          1  x"
    assert lines[2] == f"longer  1000  {long}".rstrip()


@given(st.lists(st.tuples(st.text(), st.integers(), st.text()), max_size=5))
def test_a_plain_table_is_a_line_a_row_whatever_the_cells_hold(rows: list[tuple[str, int, str]]) -> None:
    text = plain(COLUMNS, rows)
    assert len(text.split("\n")) == 1 + len(rows)
    assert all(c.isprintable() or c == "\n" for c in text)


def test_a_terminal_gets_no_markup_from_cells_and_no_wrapped_rows() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=40, record=True)
    console.print(rich_table(COLUMNS, [["[red]a[/red]", 1, "word " * 60]]))
    lines = console.export_text().splitlines()
    assert len(lines) == 3
    assert "[red]a[/red]" in lines[2]
    assert lines[2].rstrip().endswith("…")


def test_a_pipe_gets_the_plain_table() -> None:
    out = io.StringIO()
    show(Console(file=out, width=20), COLUMNS, [["a", 1, "word " * 20]])
    assert out.getvalue() == plain(COLUMNS, [["a", 1, "word " * 20]]) + "\n"


def test_clean_shows_control_characters() -> None:
    assert clean("a\x1b[31m\nb\té") == "a\\x1b[31m\\nb\\té"


@pytest.mark.parametrize("name", ["a", "digits-a", "metaformer-20260131-142530", "v1.2_x", "é", "x" * 100])
def test_a_good_study_name_is_one_to_the_store_too(name: str, tmp_path) -> None:
    assert check_study_name(name) == name
    with Store.open(tmp_path / "s.db") as store:
        made = store.create_study(name, space="", config={}, code_version="0", data_fingerprint="0")
    assert made.name == name


@pytest.mark.parametrize("name", ["", " ", "a b", "a:1", "a/b", "-a", ".a", "a\n", "a\x1b", "x" * 101])
def test_a_bad_study_name_is_one_to_the_store_too(name: str, tmp_path) -> None:
    with pytest.raises(NasError, match="study name"):
        check_study_name(name)
    with Store.open(tmp_path / "s.db") as store, pytest.raises(StoreError):
        store.create_study(name, space="", config={}, code_version="0", data_fingerprint="0")


NOW = datetime(2026, 1, 31, 14, 25, 30)


@given(st.text(max_size=200), st.lists(st.text(), max_size=3))
def test_a_fresh_name_is_always_allowed_and_new(space: str, taken: list[str]) -> None:
    name = fresh_study_name(space, taken, NOW)
    assert check_study_name(name) == name
    assert fresh_study_name(space, [*taken, name], NOW) not in {*taken, name}


def test_a_fresh_name_speaks_of_space_and_time() -> None:
    assert fresh_study_name("metaformer", [], NOW) == "metaformer-20260131-142530"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a:1", ("a", 1)),
        ("digits-a:017", ("digits-a", 17)),
        ("a", None),
        ("a:", None),
        ("a:b", None),
        ("a:1:2", None),
        ("x/a:1", None),
        ("C:\\1", None),
    ],
)
def test_trial_reference(text: str, found: tuple[str, int] | None) -> None:
    assert trial_reference(text) == found


def test_a_training_tells_its_pace_in_lines() -> None:
    times = iter([0.0, 4.0, 4.0, 8.0, 8.0, 20.0, 20.0, 24.0, 24.0])
    out = io.StringIO()
    with watch_epochs(Console(file=out), 4, clock=lambda: next(times)) as on_epoch:
        for epoch in (1, 2, 3, 4):
            on_epoch(epoch, {"accuracy": epoch / 10, "loss": 1.0})
    assert out.getvalue().splitlines() == [
        "epoch 1/4: accuracy 10.00 %, loss 1 nats, ETA 12 s",
        "epoch 3/4: accuracy 30.00 %, loss 1 nats, ETA 6.7 s",
        "epoch 4/4: accuracy 40.00 %, loss 1 nats",
    ]


def test_a_resumed_training_counts_only_its_own_epochs() -> None:
    times = iter([0.0, 10.0, 10.0])
    out = io.StringIO()
    with watch_epochs(Console(file=out), 10, clock=lambda: next(times)) as on_epoch:
        on_epoch(8, {"accuracy": 0.5})
    assert "ETA 20 s" in out.getvalue()


def test_a_terminal_gets_a_bar() -> None:
    out = io.StringIO()
    with watch_epochs(Console(file=out, force_terminal=True, width=80), 3) as on_epoch:
        on_epoch(1, {"accuracy": 0.5})
    assert "epoch 1/3" in out.getvalue()
    assert "\x1b[" in out.getvalue()
