"""Rung rules: what holds for each of them, and what each of them is for."""

from __future__ import annotations

import math
import random
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.pareto import dominates
from nas.rungs import DEFAULT, Standing, rung_rule, rung_rule_names
from nas.rungs.pareto_halving import FACTOR, PROMOTIONS, ParetoHalving
from nas.rungs.successive_halving import SuccessiveHalving
from space.errors import NasError

HALVING = ["pareto_halving", "successive_halving"]
REDUCTIONS = st.integers(2, 5)
# few different values, so that equal ones are common
VALUE = st.integers(0, 6).map(float) | st.floats(-1e6, 1e6)
ANY = VALUE | st.sampled_from([math.nan, math.inf, -math.inf])


@st.composite
def standings(draw: st.DrawFn, value: st.SearchStrategy[float] = VALUE, most: int = 60) -> list[Standing]:
    objectives = draw(st.integers(1, 3))
    macs = st.integers(0, 40).map(lambda power: float(round(1.9**power)))
    rows = draw(st.lists(st.tuples(macs, *[value] * objectives), max_size=most))
    return [Standing(number, row[0], tuple(row[1:])) for number, row in enumerate(rows)]


def test_the_default_is_one_of_the_rules() -> None:
    assert DEFAULT in rung_rule_names()
    assert {"none", *HALVING} <= set(rung_rule_names())


@pytest.mark.parametrize("name", rung_rule_names())
@given(epochs=st.integers(1, 400), reduction=REDUCTIONS)
@settings(max_examples=40, deadline=None)
def test_rungs_are_whole_epochs_rising_to_the_end(name: str, epochs: int, reduction: int) -> None:
    rungs = rung_rule(name)(reduction).rungs(epochs)
    stops = [rung.epochs * epochs for rung in rungs]
    assert rungs[-1].epochs == 1.0
    assert all(abs(stop - round(stop)) < 1e-6 and stop > 0.5 for stop in stops)
    assert all(earlier < later for earlier, later in pairwise(stops))
    assert all((rung.resolution, rung.images) == (1.0, 1.0) for rung in rungs)


@pytest.mark.parametrize(
    ("epochs", "reduction", "stops"),
    [(9, 3, [1, 3, 9]), (9, 2, [1, 2, 4, 9]), (3, 3, [1, 3]), (2, 3, [2]), (100, 4, [1, 6, 25, 100]), (1, 2, [1])],
)
@pytest.mark.parametrize("name", HALVING)
def test_halving_stops_at_parts_of_the_epochs(name: str, epochs: int, reduction: int, stops: list[int]) -> None:
    found = rung_rule(name)(reduction).rungs(epochs)
    assert [round(rung.epochs * epochs) for rung in found] == stops


@pytest.mark.parametrize("name", rung_rule_names())
@given(given=standings(ANY), reduction=REDUCTIONS, seed=st.integers(0, 9))
@settings(max_examples=60, deadline=None)
def test_the_order_of_arrival_does_not_count(name: str, given: list[Standing], reduction: int, seed: int) -> None:
    rule = rung_rule(name)(reduction)
    first = list(rule.promoted(given))
    random.Random(seed).shuffle(given)
    assert list(rule.promoted(given)) == first


@pytest.mark.parametrize("name", rung_rule_names())
@given(given=standings(ANY), reduction=REDUCTIONS)
@settings(max_examples=60, deadline=None)
def test_at_most_one_of_reduction_goes_on_and_none_without_a_value(
    name: str, given: list[Standing], reduction: int
) -> None:
    promoted = list(rung_rule(name)(reduction).promoted(given))
    assert len(promoted) == len(set(promoted))
    assert len(promoted) <= len(given) / reduction
    judged = slice(None) if name == "pareto_halving" else slice(1)
    values = {each.number: each.values for each in given}
    assert all(math.isfinite(value) for number in promoted for value in values[number][judged])


@given(given=standings(), reduction=REDUCTIONS)
@settings(max_examples=60, deadline=None)
def test_successive_halving_promotes_the_best_by_the_first_objective(given: list[Standing], reduction: int) -> None:
    promoted = SuccessiveHalving(reduction).promoted(given)
    assert len(promoted) == len(given) // reduction
    firsts = [given[number].values[0] for number in promoted]
    assert firsts == sorted(each.values[0] for each in given)[: len(promoted)]


@given(given=standings(), reduction=REDUCTIONS)
@settings(max_examples=60, deadline=None)
def test_pareto_halving_passes_over_nobody_better_in_the_band(given: list[Standing], reduction: int) -> None:
    rule = ParetoHalving(reduction)
    place = {number: index for index, number in enumerate(rule.promoted(given))}
    ways = ["min"] * (len(given[0].values) if given else 0)
    for band in rule.bands(given):
        for one in band:
            if one.number in place:
                better = [each.number for each in band if dominates(each.values, one.values, ways)]
                assert all(number in place and place[number] < place[one.number] for number in better)


@given(given=standings(), reduction=REDUCTIONS)
@settings(max_examples=60, deadline=None)
def test_every_band_has_room_and_sends_its_share_on(given: list[Standing], reduction: int) -> None:
    rule = ParetoHalving(reduction)
    bands = rule.bands(given)
    promoted = set(rule.promoted(given))
    assert sorted(each.number for band in bands for each in band) == [each.number for each in given]
    assert all(left[-1].macs <= right[0].macs for left, right in pairwise(bands))
    assert len(bands) <= 1 or all(len(band) >= PROMOTIONS * reduction for band in bands)
    for band in bands:
        assert sum(each.number in promoted for each in band) == len(band) // reduction


def test_bands_of_many_trials_do_not_move_with_new_ones() -> None:
    rng = random.Random(2)
    many = [Standing(number, 1e6 * FACTOR ** rng.uniform(0, 4), (rng.random(),)) for number in range(400)]
    inner = {each.number for each in many[:300] if 4 * 1e6 < each.macs < 16 * 1e6}
    for trials in (many[:300], many):
        holding = [band for band in ParetoHalving(3).bands(trials) if any(each.number in inner for each in band)]
        assert all(band[-1].macs / band[0].macs <= FACTOR for band in holding)


def gone_on(name: str, reduction: int, trials: list[Standing]) -> set[int]:
    """Return who is ever let go on where trials arrive one by one and the rule is asked after each."""
    rule = rung_rule(name)(reduction)
    return {number for count in range(1, len(trials) + 1) for number in rule.promoted(trials[:count])}


@pytest.mark.parametrize("name", HALVING)
@pytest.mark.parametrize("reduction", [2, 4])
def test_over_time_about_one_of_reduction_goes_on(name: str, reduction: int) -> None:
    rng = random.Random(5)
    trials: list[Standing] = []
    for number in range(200):
        macs = math.exp(rng.gauss(17, 1.5))
        trials.append(Standing(number, macs, (rng.gauss(0, 1) - 0.3 * math.log(macs), macs)))
    share = len(gone_on(name, reduction, trials)) / len(trials)
    assert 0.9 / reduction <= share <= 1.45 / reduction


def test_small_networks_are_not_starved_where_large_ones_are_more_accurate() -> None:
    rng = random.Random(7)
    trials: list[Standing] = []
    for number in range(120):
        power = rng.uniform(0, 4)
        trials.append(Standing(number, 1e6 * FACTOR**power, (-power - 0.1 * rng.random(), 1e6 * FACTOR**power)))
    small = {each.number for each in trials if each.macs < 4e6}
    large = {each.number for each in trials if each.macs > 64e6}
    assert not small & set(SuccessiveHalving(3).promoted(trials))
    promoted = set(ParetoHalving(3).promoted(trials))
    assert len(small & promoted) >= len(small) // 3
    assert len(large & promoted) >= len(large) // 3


def test_of_equal_rank_the_most_accurate_and_the_lone_go_first() -> None:
    line = [(0.0, 9.0), (1.0, 8.0), (1.1, 7.9), (1.2, 7.8), (5.0, 4.0), (9.0, 0.0)]
    trials = [Standing(number, 1e9, values) for number, values in enumerate(line)]
    assert list(ParetoHalving(2).promoted(trials)) == [0, 5, 4]


@pytest.mark.parametrize("name", HALVING)
def test_a_factor_that_reduces_nothing_is_refused(name: str) -> None:
    with pytest.raises(NasError, match="fidelity: reduction 1, allowed: 2 or more"):
        rung_rule(name)(1)


def test_an_unknown_rule_is_refused_with_the_nearest() -> None:
    with pytest.raises(NasError, match=r"'pareto_halfing' is unknown, known: none, .*pareto_halving"):
        rung_rule("pareto_halfing")
