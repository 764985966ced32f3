"""What pages ask of the store: every answer is kept until the store changes."""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from nas.causes import Cause
from nas.dashboard.frames import Frame, read_frame
from nas.figures.front import Mark
from trials.rows import Annotation, StudySummary, TrialRow, WorkerSummary
from trials.store import Store

T = TypeVar("T")
_FRESH = 0.5
"""Seconds for which the store is not asked again whether it has changed."""
_FEW = 5000
"""Trials up to which anything is worked out while the visitor waits."""
_PATIENCE = 0.5
"""Seconds that background work waits, so that the page that asked for it is drawn first."""
_LONG_PATIENCE = 3.0
"""The same for what keeps the processor busy for seconds."""
_KEPT = 200
"""Answers kept."""


class Queries:
    """Answers from a store, for any number of threads."""

    def __init__(self, store: Store, write: Callable[[], Store] | None, notice: str = "") -> None:
        """Read from `store`; `write` opens it for writing notes, None where that is not possible, as `notice` says."""
        self.store, self.notice = store, notice
        self._write = write
        self._frames: dict[str, Frame] = {}
        self._kept: dict[tuple[Any, ...], tuple[str, Any]] = {}
        self._lock, self._turn = threading.RLock(), threading.Lock()
        self._pulse = ("", 0.0)
        self._later: dict[tuple[Any, ...], tuple[object, Any]] = {}
        self._busy: set[tuple[Any, ...]] = set()
        self._done = 0

    # -- change

    def pulse(self) -> str:
        """Return a word that changes with the store, and with what is worked out in the background."""
        with self._lock:
            word, at = self._pulse
            if time.monotonic() - at > _FRESH:
                word = hashlib.sha256(repr(self.store.pulse()).encode()).hexdigest()[:16]
                self._pulse = (word, time.monotonic())
            return f"{word}-{self._done}"

    def refreshed(self) -> str:
        """Ask the store now, as after a write, and return the pulse."""
        with self._lock:
            self._pulse = ("", 0.0)
            return self.pulse()

    @property
    def working(self) -> bool:
        """Whether something is being worked out in the background."""
        with self._lock:
            return bool(self._busy)

    def kept(self, key: tuple[Any, ...], make: Callable[[], T]) -> T:
        """Return what `make` returned under this key, if the store has not changed since."""
        word = self.pulse().partition("-")[0]
        with self._lock:
            known = self._kept.get(key)
        if known is not None and known[0] == word:
            return known[1]
        value = make()
        with self._lock:
            if len(self._kept) >= _KEPT:
                self._kept.clear()
            self._kept[key] = (word, value)
        return value

    # -- answers

    def studies(self) -> list[StudySummary]:
        """Return all studies, the newest first."""
        return self.kept(("studies",), lambda: self.store.studies()[::-1])

    def frame(self, study: str) -> Frame:
        """Return a study as arrays. Raises StoreError where there is none of that name."""

        def make() -> Frame:
            with self._lock:
                grown = read_frame(self.store, self.store.study(study), self._frames.get(study))
                self._frames[study] = grown
                return grown

        return self.kept(("frame", study), make)

    def annotations(self, study: str) -> dict[int, Annotation]:
        """Return what people wrote in a study, by trial number."""
        return self.kept(("notes", study), lambda: self.store.annotations(self.frame(study).row.id))

    def shown(self, study: str) -> NDArray[np.bool_]:
        """Mark the trials of a study that nobody has hidden."""
        mask = np.ones(len(self.frame(study)), dtype=bool)
        mask[[number for number, note in self.annotations(study).items() if note.hidden and number < len(mask)]] = False
        return mask

    def workers(self, study: str) -> list[WorkerSummary]:
        """Return what each worker of a study has done."""
        return self.kept(("workers", study), lambda: self.store.workers(self.frame(study).row.id))

    def running(self, study: str) -> list[TrialRow]:
        """Return the trials of a study that are being trained."""
        numbers = np.flatnonzero(self.frame(study).state("running"))[:500].tolist()
        return self.kept(("running", study), lambda: self.store.numbered(self.frame(study).row.id, numbers))

    def causes(self, study: str) -> Sequence[Cause]:
        """Return why trials of a study came to nothing."""
        return self.frame(study).causes

    def trials(self, study: str, numbers: Sequence[int]) -> dict[int, TrialRow]:
        """Return trials of a study with all that is stored of them, by number."""
        key = ("trials", study, tuple(numbers))
        return self.kept(
            key, lambda: {row.number: row for row in self.store.numbered(self.frame(study).row.id, list(numbers))}
        )

    # -- what takes longer than a page may

    def later(
        self, key: tuple[Any, ...], version: object, make: Callable[[], T], patience: float = _PATIENCE
    ) -> T | None:
        """Return what `make` returns, worked out in the background: None at first, then the last that is known.

        It is worked out anew where `version` differs from that of the known one. The pulse changes when it is there.

        patience:  seconds it waits before it begins.
        """
        with self._lock:
            found = self._later.get(key)
            if (found is None or found[0] != version) and key not in self._busy:
                self._busy.add(key)
                work = (key, version, make, patience)
                threading.Thread(target=self._work, args=work, name=str(key[0]), daemon=True).start()
            return None if found is None else found[1]

    def _work(self, key: tuple[Any, ...], version: object, make: Callable[[], Any], patience: float) -> None:
        value: Any = None
        time.sleep(patience)
        try:
            # one after the other: each takes time from the pages that are asked for meanwhile
            with self._turn:
                value = make()
        except Exception:
            logging.getLogger(__name__).exception("%s", key[0])
        finally:
            with self._lock:
                self._busy.discard(key)
                self._later[key] = (version, value)
                self._done += 1

    def soon(self, key: tuple[Any, ...], count: int, make: Callable[[], T]) -> T | None:
        """Return what `make` returns of `count` trials: at once where they are few, else as `later` does."""
        return self.kept(key, make) if count <= _FEW else self.later(key, count, make)

    def marks(self, frame: Frame) -> tuple[Mark, ...]:
        """Return the named models beside a study; counting them takes PyTorch."""
        same = "imagenet" in str(frame.row.config.get("data", "")).lower()

        def count() -> tuple[Mark, ...]:
            from nas.model_marks import model_marks

            return model_marks(frame.resolution, same_data=same)

        return self.later(("named models", frame.resolution, same), 0, count, _LONG_PATIENCE) or ()

    # -- writing

    @property
    def writable(self) -> bool:
        """Whether notes can be written."""
        return self._write is not None

    def annotate(self, study: str, number: int, **fields: Any) -> None:
        """Change the note, tags or hiding of a trial. Raises StoreError where the store cannot be written."""
        row = self.store.trial(self.store.study(study).id, number)
        known = self.store.annotations(row.study_id).get(number, Annotation())
        if self._write is None:
            from trials.rows import StoreError

            raise StoreError(f"store {self.store.url}: shown read-only; {self.notice}")
        with self._write() as store:
            store.annotate(row.id, replace(known, **fields))
        self.refreshed()
