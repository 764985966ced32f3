"""Extending a study's space: old trials stay valid, new choices are searched, anything else is refused by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nas.events import Event, TrialFinished
from nas.executors import Inline
from nas.search import resume_search, run_search
from nas.settings import SearchSettings
from space import Architecture, DesignSpace, NasError
from trials.evaluators.surrogate import Surrogate
from trials.rows import TrialRow
from trials.store import Store

FIRST = """
resolution: 32
stem: {kind: patchify}
stages:
  - width: {int_range: [8, 24], step: 8}
    depth: {int_range: [1, 2]}
    pattern: [{norm: {kind: batch_norm}, token_mixer: {one_of: [{kind: pool}, {kind: identity}]}}]
"""
WIDER = FIRST.replace("[8, 24], step: 8", "[8, 40], step: 8").replace(
    "[{kind: pool}, {kind: identity}]",
    "[{kind: depthwise_conv, kernel_size: {one_of: [3, 5]}}, {kind: pool, size: 5}, {kind: pool}, {kind: identity}]",
)
"""A wider range and two more choices, one of them of a kind that was there: `pool` becomes `pool#1`."""


@pytest.fixture
def spaces(tmp_path: Path) -> Callable[[str], str]:
    def write(text: str) -> str:
        path = tmp_path / f"space{len(list(tmp_path.glob('*.yaml')))}.yaml"
        path.write_text(text)
        return str(path)

    return write


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "nas.db")


def begin(store: Store, space: str, **changes: Any) -> None:
    values: dict[str, Any] = {"budget": 10, "evaluators": (Surrogate(epochs=1),), "train_as": "full"} | changes
    run_search(store, SearchSettings.make(study="s", space=space, **values), executor=Inline())


def rows_of(store: Store) -> list[TrialRow]:
    return store.trials(store.study("s").id)


def test_study_goes_on_in_a_wider_space_with_all_its_trials(store: Store, spaces: Callable[[str], str]) -> None:
    begin(store, spaces(FIRST), sampler="tpe")
    before = rows_of(store)
    wider = spaces(WIDER)
    result = resume_search(store, "s", executor=Inline(), budget=30, space=wider)
    rows = rows_of(store)
    assert result.done == 30
    assert [(r.arch_id, r.state, r.values) for r in rows[: len(before)]] == [
        (r.arch_id, r.state, r.values) for r in before
    ]
    design = DesignSpace.from_yaml(store.study("s").space)
    assert design.text == WIDER
    for row in rows:
        assert design.encode(design.decode(row.choices)) == row.choices
    new = [Architecture.model_validate_json(row.arch_json) for row in rows[len(before) :]]
    kinds = {block.token_mixer.kind for arch in new for stage in arch.stages for block in stage.pattern}
    assert "depthwise_conv" in kinds
    assert max(stage.width for arch in new for stage in arch.stages) > 24
    labels = {row.choices["stages[0].pattern[0].token_mixer"] for row in rows[: len(before)]}
    assert labels <= {"pool#1", "identity"}
    again = resume_search(store, "s", executor=Inline(), budget=31)
    assert again.done == 31


def test_open_trials_are_trained_in_the_new_space(store: Store, spaces: Callable[[str], str]) -> None:
    def stop(event: Event) -> None:
        if isinstance(event, TrialFinished) and event.done == 3:
            raise KeyboardInterrupt

    first = SearchSettings.make(
        study="s", space=spaces(FIRST), budget=6, evaluators=(Surrogate(epochs=1),), train_as="full"
    )
    run_search(store, first, executor=Inline(), on_event=stop)
    row = rows_of(store)[0]
    store.add_trial(
        row.study_id, state="queued", arch_id=row.arch_id, arch_json=row.arch_json, params=1, macs=1,
        choices=row.choices, seed=row.seed, sampler="random",
    )  # fmt: skip
    resume_search(store, "s", executor=Inline(), space=spaces(WIDER))
    assert {row.state for row in rows_of(store)} <= {"complete", "duplicate"}


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        (
            ("{kind: pool}, {kind: identity}", "{kind: identity}, {kind: depthwise_conv, kernel_size: 3}"),
            "token_mixer: pool, the space has identity",
        ),
        (("[8, 24]", "[16, 24]"), "stages[0].width: 8"),
        (("kind: batch_norm", "kind: layer_norm"), "norm"),
        (("resolution: 32", "resolution: 64"), "its resolution is 64, that of the study 32"),
        (("resolution: 32", "resolution: 32\nproxy: {width: 0.5}"), "its proxy is width x0.5"),
    ],
    ids=["choice", "range", "fixed", "resolution", "proxy"],
)
def test_what_is_no_extension_is_refused_by_its_difference(
    store: Store, spaces: Callable[[str], str], change: tuple[str, str], difference: str
) -> None:
    begin(store, spaces(FIRST), budget=12)
    before, text = rows_of(store), store.study("s").space
    with pytest.raises(NasError) as caught:
        resume_search(store, "s", executor=Inline(), space=spaces(FIRST.replace(*change)))
    assert "no extension of that of study 's'" in str(caught.value)
    assert difference in str(caught.value)
    assert "\n" not in str(caught.value)
    assert (rows_of(store), store.study("s").space) == (before, text)


def test_a_choice_that_no_trial_has_may_go(store: Store, spaces: Callable[[str], str]) -> None:
    begin(store, spaces(WIDER), budget=3, seed=2, sampler="tpe")
    widths = {row.choices["stages[0].width"] for row in rows_of(store)}
    unused = next(width for width in (40, 8) if width not in widths)
    low, high = (8, 32) if unused == 40 else (16, 40)
    resume_search(store, "s", executor=Inline(), space=spaces(WIDER.replace("[8, 40]", f"[{low}, {high}]")), budget=4)
    assert len([row for row in rows_of(store) if row.state == "complete"]) == 4


def test_command_line_goes_on_in_the_space(
    nas: Callable[..., Any], refused: Callable[..., str], store: Store, spaces: Callable[[str], str]
) -> None:
    begin(store, spaces(FIRST), budget=2)
    words = ("resume", "s", "--inline", "--budget", 3, "--store", store.url, "--space")
    assert "absent.yaml" in refused(*words, "absent.yaml")
    assert nas(*words, spaces(WIDER)).code == 0
    assert store.study("s").space == WIDER
