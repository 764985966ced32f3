"""Objectives and limits: what is read, what is refused, and in which words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.objective import Limit, Objective, ObjectiveError, check, vector, violated, violation


def test_objective_takes_the_metrics_natural_direction() -> None:
    assert str(Objective.parse("accuracy")) == "accuracy:max"
    assert str(Objective.parse(" macs ")) == "macs:min"
    assert str(Objective.parse("params:max")) == "params:max"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("acuracy:max", ["'acuracy'", "accuracy", "macs", "did you mean 'accuracy'"]),
        ("accuracy:up", ["'up'", "max, min"]),
        ("accuracy:", ["max, min"]),
        ("", ["unknown metric"]),
    ],
)
def test_bad_objective_names_what_is_allowed(text: str, words: list[str]) -> None:
    with pytest.raises(ObjectiveError) as caught:
        Objective.parse(text)
    message = str(caught.value)
    assert "\n" not in message
    assert all(word in message for word in words)


@pytest.mark.parametrize(
    ("text", "bound"),
    [("params<=5M", 5e6), ("macs <= 600M", 6e8), ("latency_ms<=20", 20), ("params>=1.5k", 1500), ("macs<=1e9", 1e9)],
)
def test_limit_reads_suffixes(text: str, bound: float) -> None:
    assert Limit.parse(text).bound == bound


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("params<5M", "METRIC<=NUMBER"),
        ("params=5M", "METRIC<=NUMBER"),
        ("params<=", "METRIC<=NUMBER"),
        ("params<=-3", "METRIC<=NUMBER"),
        ("params<=nan", "METRIC<=NUMBER"),
        ("params<=0", "above 0"),
        ("params<=1e999", "finite"),
        ("params<=5Q", "suffix 'Q'"),
        ("accuracy>=0.9", "only after training"),
        ("parms<=5M", "did you mean 'params'"),
    ],
)
def test_nonsense_limit_is_refused_in_one_line(text: str, word: str) -> None:
    with pytest.raises(ObjectiveError) as caught:
        Limit.parse(text)
    assert word in str(caught.value)
    assert "\n" not in str(caught.value)


@given(st.floats(1e-3, 1e12), st.sampled_from(["<=", ">="]))
def test_limit_text_reads_back(bound: float, side: str) -> None:
    limit = Limit.parse(f"macs{side}{bound!r}")
    again = Limit.parse(str(limit))
    assert again.bound == pytest.approx(limit.bound, rel=1e-11)
    assert again.side == limit.side


@given(st.floats(1, 1e10), st.floats(1, 1e10))
def test_excess_is_zero_exactly_inside(value: float, bound: float) -> None:
    upper, lower = Limit(metric="macs", side="<=", bound=bound), Limit(metric="macs", side=">=", bound=bound)
    assert (upper.excess(value) == 0) == (value <= bound)
    assert (lower.excess(value) == 0) == (value >= bound)


def test_violation_adds_up_and_ignores_unknown_values() -> None:
    limits = [Limit.parse("params<=100"), Limit.parse("macs<=100"), Limit.parse("latency_ms<=1")]
    assert violation(limits, {"params": 150.0, "macs": 300.0}) == pytest.approx(2.5)
    assert violation(limits, {"params": 100.0}) == 0
    assert violated(limits, {"params": 150.0, "macs": 50.0}) == "params 150 > 100"
    assert violated(limits, {"latency_ms": 2.5}) == "latency_ms 2.5 > 1"


def test_contradictions_are_refused() -> None:
    accuracy = Objective.parse("accuracy")
    with pytest.raises(ObjectiveError, match="exclude each other"):
        check([accuracy], [Limit.parse("params<=1M"), Limit.parse("params>=2M")])
    with pytest.raises(ObjectiveError, match="stands 2 times"):
        check([accuracy, accuracy], [])
    with pytest.raises(ObjectiveError, match="at least one"):
        check([], [])
    check([accuracy], [Limit.parse("params<=2M"), Limit.parse("params>=1M")])


def test_vector_needs_every_objective_finite() -> None:
    objectives = [Objective.parse("accuracy"), Objective.parse("macs")]
    assert vector(objectives, {"macs": 2.0, "accuracy": 0.5}) == (0.5, 2.0)
    assert vector(objectives, {"accuracy": 0.5}) is None
    assert vector(objectives, {"accuracy": float("nan"), "macs": 1.0}) is None
