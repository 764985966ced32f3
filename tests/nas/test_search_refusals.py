"""What a search refuses before it stores anything."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nas.executors import Inline
from nas.search import run_search
from nas.settings import SearchSettings
from space.errors import NasError
from trials.evaluators.surrogate import Surrogate
from trials.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "nas.db")


def settings(**changes: Any) -> SearchSettings:
    values: dict[str, Any] = {"study": "s", "space": "tiny", "budget": 12, "evaluators": (Surrogate(epochs=2),)}
    return SearchSettings.make(**(values | {"train_as": "full"} | changes))


def test_impossible_limit_is_refused_before_anything_is_stored(store: Store) -> None:
    with pytest.raises(NasError) as caught:
        run_search(store, settings(limits=["params<=100"]), executor=Inline())
    assert "params<=100" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert store.studies() == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"budget": 0}, ["budget", "0"]),
        ({"workers": 0}, ["workers"]),
        ({"sampler": "tpee"}, ["'tpee'", "did you mean 'tpe'"]),
        ({"space": "tinny"}, ["tinny", "did you mean 'tiny'"]),
        ({"objectives": ["acuracy:max"]}, ["acuracy", "did you mean"]),
        ({"objectives": ["latency_ms:min"]}, ["latency_ms", "not measured by surrogate"]),
        ({"limits": ["params<=1k", "params>=1M"]}, ["exclude each other"]),
        ({"data": "no/such/folder"}, ["no/such/folder"]),
        ({"start_from": ["convnext_tinny"]}, ["convnext_tinny", "did you mean"]),
        ({"start_from": ["convnext_tiny"]}, ["convnext_tiny", "tiny.yaml"]),
        ({"start_from": ["nobody:3"]}, ["nobody"]),
        ({"device": "cuda:99"}, ["cuda:99", "cpu"]),
        ({"colour": "red"}, ["colour"]),
    ],
)
def test_bad_settings_are_refused_in_one_line_and_leave_nothing(
    store: Store, changes: dict[str, Any], words: list[str]
) -> None:
    with pytest.raises(NasError) as caught:
        run_search(store, settings(**changes), executor=Inline())
    message = str(caught.value)
    assert "\n" not in message
    assert all(word in message for word in words), message
    assert store.studies() == []
