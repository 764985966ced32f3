"""Ctrl-C at any moment: remembered, since what it raises may strike where it becomes another error, or nothing."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def interruptible() -> Iterator[Callable[[], None]]:
    """Yield a check that raises KeyboardInterrupt once an interrupt came; any error after one leaves as that, too.

    Pydantic turns what a serializer raises into an error that says "Error calling function", and Python drops what is
    raised while an object is deleted. Only signals that would raise KeyboardInterrupt anyway are watched, and only in
    the main thread, where Python delivers them.
    """
    asked = False

    def check() -> None:
        if asked:
            raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield check
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        asked = True
        raise KeyboardInterrupt

    watched = [each for each in _SIGNALS if signal.getsignal(each) is signal.default_int_handler]
    for each in watched:
        signal.signal(each, interrupt)
    try:
        yield check
    except Exception as error:
        if not asked:
            raise
        raise KeyboardInterrupt from error
    finally:
        for each in watched:
            signal.signal(each, signal.default_int_handler)
