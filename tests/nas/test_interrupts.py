"""Ctrl-C that strikes where a library makes an error of its own of it."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, model_serializer
from pydantic_core import PydanticSerializationError

from nas.events import Event, TrialFinished
from nas.executors import Inline
from nas.interrupts import interruptible
from nas.search import resume_search, run_search
from nas.settings import SearchSettings
from trials.evaluators.surrogate import Surrogate
from trials.store import Store


class Struck(BaseModel):
    """Whoever writes this as JSON is interrupted in the middle."""

    sent: int

    @model_serializer(mode="plain")
    def write(self) -> dict[str, Any]:
        signal.raise_signal(self.sent)
        return {}


class Dying:
    """Whoever drops the last reference to this is interrupted, and Python ignores what is raised there."""

    def __del__(self) -> None:
        signal.raise_signal(signal.SIGINT)


@pytest.fixture(autouse=True)
def _sigterm() -> Iterator[None]:
    """Answer SIGTERM as the command line does."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_leaves_as_one_whatever_became_of_it(sent: signal.Signals) -> None:
    with pytest.raises(PydanticSerializationError):
        Struck(sent=sent).model_dump_json()
    with pytest.raises(KeyboardInterrupt), interruptible():
        Struck(sent=sent).model_dump_json()
    assert signal.getsignal(sent) is signal.default_int_handler


def test_other_errors_and_other_answers_to_signals_are_left_alone() -> None:
    with pytest.raises(ZeroDivisionError), interruptible():
        _ = 1 / 0
    heard: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: heard.append(number))
    with interruptible():
        signal.raise_signal(signal.SIGTERM)
    assert heard == [signal.SIGTERM]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("strike", [lambda: Struck(sent=signal.SIGINT).model_dump_json(), Dying], ids=["json", "del"])
def test_a_search_interrupted_in_an_odd_place_goes_on_later(tmp_path: Path, strike: Callable[[], object]) -> None:
    def listen(event: Event) -> None:
        if isinstance(event, TrialFinished):
            strike()

    settings = SearchSettings.make(study="s", space="tiny", budget=4, evaluators=(Surrogate(epochs=1),))
    with Store.open(tmp_path / "nas.db") as store:
        first = run_search(store, settings, executor=Inline(), on_event=listen)
        assert (first.interrupted, first.done) == (True, 1)
        second = resume_search(store, "s", executor=Inline())
        assert (second.interrupted, second.done) == (False, 4)
        assert {row.attempt for row in store.trials(store.study("s").id) if row.state == "complete"} == {1}
