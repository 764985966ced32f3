"""Splits are fixed, stratified and disjoint; the test part stays sealed."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trials.data import DataError, load_data
from trials.data.split import stratified, stratified_sample


@given(st.lists(st.integers(0, 4), min_size=2, max_size=60), st.floats(0.05, 0.95), st.integers(0, 3))
def test_stratified_takes_of_every_class_and_leaves_some(drawn, share, seed):
    labels = torch.tensor(sorted(drawn + list(set(drawn))))
    kept, carved = stratified(labels, share, seed)
    assert sorted(kept.tolist() + carved.tolist()) == list(range(len(labels)))
    assert set(labels[kept].tolist()) == set(labels[carved].tolist()) == set(drawn)


def test_stratified_keeps_the_share_in_each_class():
    labels = torch.tensor([0] * 100 + [1] * 10)
    _, carved = stratified(labels, 0.2, seed=3)
    assert labels[carved].bincount().tolist() == [20, 2]


@given(st.integers(1, 80))
def test_samples_hold_every_class(count):
    labels = torch.arange(100) % 7
    chosen = stratified_sample(labels, count, seed=1)
    assert set(labels[chosen].tolist()) == set(range(7))
    assert len(chosen.unique()) == len(chosen)
    assert abs(len(chosen) - count) <= 7


def test_parts_of_the_digits_are_disjoint_and_complete():
    data = load_data("digits").unsealed()
    positions = [set(part.positions.tolist()) for part in (data.train, data.validation, data.test)]
    assert [len(p) for p in positions] == [1151, 287, 359]
    assert set.union(*positions) == set(range(1797))


def test_the_seed_fixes_the_split_and_enters_the_fingerprint():
    first, again, other = load_data("digits"), load_data("digits", resolution=16), load_data("digits", seed=1)
    assert first.fingerprint == again.fingerprint != other.fingerprint
    assert torch.equal(first.train.positions, again.train.positions)
    assert not torch.equal(first.train.positions, other.train.positions)


def test_the_test_part_is_sealed_until_asked_for():
    data = load_data("digits")
    with pytest.raises(DataError, match="digits: the test images are sealed"):
        _ = data.test
    assert len(data.unsealed().test) == 359
    with pytest.raises(DataError):
        _ = load_data("digits").test


def test_loading_is_done_once_a_process():
    assert load_data("digits").train is load_data("digits").train
