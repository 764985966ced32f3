"""Open what a command line names: the store, and the settings stored with a study."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nas.networks import FoundNetwork
    from nas.objective import Objective
    from nas.settings import SearchSettings
    from trials.rows import StudyRow
    from trials.store import Store


@contextmanager
def open_store(url: str | None, *, write: bool = False, create: bool = True) -> Iterator[Store]:
    """Open the store that `--store` names and close it afterwards; a missing one is made to write into, if `create`.

    Raises:  StoreError where it is missing, newer than this program, cannot be read, or not be written on `write`.
    """
    from trials.store import Store

    store = Store.open(url, create=write and create, read_only=not write)
    try:
        yield store
    finally:
        store.close()


def settings_of(study: StudyRow) -> SearchSettings:
    """Return the settings that a study was made with."""
    from nas.settings import SearchSettings

    return SearchSettings.make(**study.config)


def objectives_of(study: StudyRow) -> Sequence[Objective]:
    """Return the objectives of a study, without loading what its other settings need."""
    from nas.objective import objectives_in

    return objectives_in(study.config)


def network(text: str, store: str | None) -> FoundNetwork:
    """Return the network that an argument names; the store is opened only for `STUDY:NUMBER`."""
    from contextlib import ExitStack

    from nas.networks import find_network

    with ExitStack() as stack:
        return find_network(text, lambda: stack.enter_context(open_store(store)))


@contextmanager
def store_for(reference: str, url: str | None) -> Iterator[Store]:
    """Open the store to read a trial from; for anything else, which needs none, an empty one."""
    from tempfile import TemporaryDirectory

    from nas.naming import trial_reference
    from trials.store import Store

    if trial_reference(reference) is not None:
        with open_store(url) as store:
            yield store
        return
    with TemporaryDirectory(prefix="nas-") as folder, Store.open(f"{folder}/empty.db") as store:
        yield store
