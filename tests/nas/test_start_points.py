"""Start points: named models and stored trials, refused by name or scaled into the limits."""

from __future__ import annotations

from pathlib import Path

import pytest

from nas.admission import Admission
from nas.events import Event, Notice, TrialFinished
from nas.executors import Inline
from nas.fitted_space import FittedSpace
from nas.objective import Limit
from nas.search import resume_search, run_search
from nas.settings import SearchSettings
from nas.start_points import start_points
from nas.training_size import TrainingSize
from space import DesignSpace, NasError, Proxy, named
from trials.evaluators.surrogate import Surrogate
from trials.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "nas.db")


def grand(*limits: str) -> tuple[FittedSpace, Admission]:
    space = FittedSpace(DesignSpace.load("metaformer"), classes=10, in_channels=1)
    size = TrainingSize("proxy", Proxy(), 32, 224)
    return space, Admission(space, size, [Limit.parse(limit) for limit in limits])


def test_named_model_keeps_its_form_and_takes_the_datas_classes(store: Store) -> None:
    (start,) = start_points(["convnext_tiny"], store, *grand())
    original = named("convnext_tiny").arch
    assert start.notice is None
    assert (start.arch.classes, start.arch.in_channels) == (10, 1)
    assert start.arch.stages == original.stages


@pytest.mark.parametrize("limit", ["params<=5M", "macs<=300M"])
def test_model_over_a_limit_is_scaled_into_it_and_said_so(store: Store, limit: str) -> None:
    space, admission = grand(limit)
    (start,) = start_points(["convnext_tiny"], store, space, admission)
    original = named("convnext_tiny").arch
    assert start.notice is not None
    assert "scaled into the limits" in start.notice
    assert "width x" in start.notice
    assert admission.over(start.arch) == 0
    space.encode(start.arch)
    assert [s.pattern for s in start.arch.stages] == [s.pattern for s in original.stages]
    assert all(new.width <= old.width for new, old in zip(start.arch.stages, original.stages, strict=True))


def test_model_that_fits_at_no_size_is_refused_by_name(store: Store) -> None:
    with pytest.raises(NasError) as caught:
        start_points(["convnext_tiny"], store, *grand("params<=9k"))
    assert "convnext_tiny" in str(caught.value)
    assert "9,000" in str(caught.value)


def test_model_outside_the_space_is_refused_naming_the_choice(store: Store) -> None:
    space = FittedSpace(DesignSpace.load("tiny"), classes=10, in_channels=1)
    admission = Admission(space, TrainingSize("full", None, 32, 32), [])
    with pytest.raises(NasError) as caught:
        start_points(["convnext_tiny"], store, space, admission)
    assert "convnext_tiny" in str(caught.value)
    assert "stages" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_unknown_names_are_refused(store: Store) -> None:
    with pytest.raises(NasError, match="did you mean 'convnext_tiny'"):
        start_points(["convnext_tini"], store, *grand())
    with pytest.raises(NasError, match="nothing"):
        start_points(["nothing:3"], store, *grand())


def test_search_begins_with_its_start_points_and_a_resumed_one_does_not_repeat_them(store: Store) -> None:
    def asked(study: str, start_from: list[str]) -> SearchSettings:
        return SearchSettings.make(
            study=study,
            space="tiny",
            budget=6,
            start_from=start_from,
            evaluators=(Surrogate(epochs=1),),
            sampler="random",
        )

    run_search(store, asked("first", []), executor=Inline())
    best = store.trials(store.study("first").id)[3]
    names = ["first:3", "first:5"]

    def stop(event: Event) -> None:
        if isinstance(event, TrialFinished) and event.number == 0:
            raise KeyboardInterrupt

    run_search(store, asked("second", names), executor=Inline(), on_event=stop)
    resume_search(store, "second", executor=Inline())
    rows = store.trials(store.study("second").id)
    assert [row.origin for row in rows[:3]] == [*names, None]
    assert rows[0].arch_id == best.arch_id
    assert rows[0].values["accuracy"] == best.values["accuracy"]
    assert sum(row.state == "complete" for row in rows) == 6
    assert all(row.origin is None for row in rows[2:])


def test_scaling_is_announced_before_the_first_trial(store: Store) -> None:
    events: list[Event] = []
    settings = SearchSettings.make(
        study="s",
        space="metaformer",
        budget=1,
        start_from=["convnext_tiny"],
        limits=["params<=5M"],
        evaluators=(Surrogate(epochs=1),),
        train_as="proxy",
    )
    run_search(store, settings, executor=Inline(), on_event=events.append)
    texts = [event.text for event in events if isinstance(event, Notice)]
    assert any(text.startswith("training proxies: width x") for text in texts)
    assert any("start-from convnext_tiny" in text for text in texts)
