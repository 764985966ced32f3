"""The view of a running search, fed with made-up events and a made-up clock."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest
from rich.console import Console

from nas.events import (
    EpochReported,
    Event,
    Finished,
    FrontChanged,
    Notice,
    Rejected,
    RungReached,
    Started,
    Suggested,
    TrialFinished,
    TrialStarted,
)
from nas.front import FrontPoint
from nas.live import LiveView, PlainView, picture, watch
from nas.progress import SearchProgress

BUDGET = 4


class Clock:
    """A clock that is set by hand."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def started(done: int = 0, *, resumed: bool = False) -> Started:
    return Started(
        study="s",
        store="/tmp/nas.db",
        budget=BUDGET,
        done=done,
        workers=2,
        sampler="tpe",
        objectives=("accuracy:max", "macs:min"),
        limits=("params<=1M",),
        resumed=resumed,
    )


def finished(number: int, done: int, state: str = "complete", **more: object) -> TrialFinished:
    values = {"accuracy": 0.9, "macs": 2e6, "params": 3e4} if state == "complete" else {}
    fields: dict[str, object] = {"reason": None, "seconds": 10.0, "budget": BUDGET} | more
    return TrialFinished(number=number, arch_id="a" * 16, state=state, values=values, done=done, **fields)  # type: ignore[arg-type]


def point(trial: int, accuracy: float = 0.9) -> FrontPoint:
    values = {"accuracy": accuracy, "macs": 2e6, "params": 3e4}
    return FrontPoint(trial, f"{trial:016x}", values, 30_000, 2_000_000, f"network [{trial}]")


def fed(*events: Event, **more: object) -> SearchProgress:
    progress = SearchProgress(clock=Clock(), **more)  # type: ignore[arg-type]
    for event in events:
        progress.take(event)
    return progress


def drawn(progress: SearchProgress, *, height: int = 40, width: int = 100) -> str:
    console = Console(width=width, file=io.StringIO(), record=True)
    console.print(picture(progress, height=height))
    return console.export_text()


def test_counts_follow_the_events() -> None:
    progress = fed(
        started(),
        Suggested(0, "a" * 16, "net", 1, 1, "tpe"),
        TrialStarted(0, "w0", 1),
        Rejected(1, "b" * 16, "infeasible", "params 9 > 5"),
        Rejected(2, "a" * 16, "duplicate", "same network as trial 0"),
        TrialStarted(3, "w1", 1),
        finished(0, 1),
        finished(3, 2, "failed", reason="loss is nan"),
        TrialStarted(4, "w0", 1),
    )
    assert (progress.done, progress.budget, progress.rejected, progress.counts["failed"]) == (2, BUDGET, 2, 1)
    assert list(progress.running) == [4]


def test_a_resumed_search_counts_what_was_before() -> None:
    progress = fed(started(2, resumed=True), counts={"complete": 1, "failed": 1, "infeasible": 5}, front=(point(0),))
    assert (progress.done, progress.rejected, progress.counts["failed"], len(progress.front)) == (2, 5, 1, 1)


def test_the_eta_is_the_pace_of_this_run() -> None:
    clock = Clock()
    progress = SearchProgress(clock=clock)
    progress.take(started(done=1, resumed=True))
    assert progress.eta() is None
    clock.now = 100.0  # workers took their time to start, which says nothing of the pace
    progress.take(TrialStarted(1, "w", 1))
    clock.now = 120.0
    progress.take(finished(1, 2))
    assert progress.eta() == pytest.approx(40.0)


def test_epochs_count_towards_the_progress() -> None:
    clock = Clock()
    progress = SearchProgress(clock=clock)
    progress.take(started())
    progress.take(TrialStarted(0, "w", 1))
    clock.now = 5.0
    progress.take(EpochReported(0, 1, 1, 4, {"accuracy": 0.5}))
    assert progress.fraction == pytest.approx(1 / 16)
    assert progress.eta() == pytest.approx(75.0)


def test_an_epoch_without_a_known_end_is_no_progress() -> None:
    progress = fed(started(), TrialStarted(0, "w", 1), EpochReported(0, 1, 3, None, {}))
    assert progress.fraction == 0.0


def plain(*steps: Event | float) -> list[str]:
    clock, out = Clock(), io.StringIO()
    view = PlainView(out, SearchProgress(clock=clock))
    for step in steps:
        if isinstance(step, float):
            clock.now += step
        else:
            view(step)
    return out.getvalue().splitlines()


def test_plain_lines_tell_one_trial_each() -> None:
    lines = plain(
        started(),
        Notice("training proxies"),
        TrialStarted(0, "w", 1),
        10.0,
        Rejected(1, "b" * 16, "duplicate", "same"),
        finished(0, 1),
        finished(2, 2, "failed", reason="loss is nan\nin epoch 2"),
    )
    assert lines[0] == "study s: budget 4, tpe, 2 workers; accuracy:max, macs:min; params<=1M"
    assert lines[1:3] == ["store /tmp/nas.db", "training proxies"]
    assert lines[3] == "[1/4] trial 0 complete: accuracy 90.00 %, macs 2.00M, params 30.0k; 10 s; ETA 30 s"
    assert lines[4].startswith("[2/4] trial 2 failed: loss is nan\\nin epoch 2; 10 s")
    assert len(lines) == 5


def test_the_last_trial_has_no_eta() -> None:
    assert "ETA" not in plain(started(3, resumed=True), TrialStarted(3, "w", 1), 5.0, finished(3, 4))[-1]


def test_a_long_silence_is_broken() -> None:
    epoch = EpochReported(0, 1, 1, 10, {"accuracy": 0.5})
    lines = plain(started(), TrialStarted(0, "w", 1), 20.0, epoch, 20.0, epoch, 20.0, epoch)
    assert [line for line in lines if "running" in line] == [
        "0/4 trained, 1 running, 0 failed, 0 rejected; 40 s so far, ETA 26 min 00 s"
    ]


def test_the_picture_shows_progress_counts_front_and_last_trials() -> None:
    progress = fed(
        started(), TrialStarted(0, "w", 1), finished(0, 1), FrontChanged(0, (point(0),)), TrialStarted(5, "w", 1)
    )
    text = drawn(progress)
    assert "1/4 trained, 1 running, 0 failed, 0 rejected" in text
    assert " 25 %" in text
    assert "trial 5 epoch 0" in text
    assert "front: 1 network" in text
    assert "network [0]" in text
    assert "* [1/4] trial 0 complete" in text


def test_a_long_front_is_cut_and_says_so() -> None:
    many = tuple(point(number, 0.9 - number / 100) for number in range(20))
    text = drawn(fed(started(), FrontChanged(0, many)))
    assert "network [7]" in text
    assert "network [8]" not in text
    assert "and 12 more" in text


@pytest.mark.parametrize(("height", "width"), [(10, 40), (24, 80), (50, 200)])
def test_the_picture_fits_the_terminal(height: int, width: int) -> None:
    many = tuple(point(number) for number in range(20))
    events = [event for n in range(5) for event in (TrialStarted(n, "w", 1), finished(n, n + 1, budget=9))]
    lines = drawn(fed(started(), *events, FrontChanged(0, many)), height=height, width=width).splitlines()
    assert max(map(len, lines)) <= width
    assert len(lines) <= max(height, 14)


def stream() -> list[Event]:
    return [
        started(),
        Notice("a [notice]"),
        TrialStarted(0, "w", 1),
        finished(0, 1),
        FrontChanged(0, (point(0),)),
        Finished("s", "/tmp/nas.db", 1, BUDGET, {"complete": 1}, (point(0),), 1.0, interrupted=True),
    ]


def show(console: Console) -> None:
    with watch(console, SearchProgress()) as listen:
        for event in stream():
            listen(event)


def test_a_pipe_gets_no_escape_codes() -> None:
    out = io.StringIO()
    show(Console(file=out))
    assert "\x1b" not in out.getvalue()
    assert "trial 0 complete" in out.getvalue()


def test_a_terminal_gets_the_live_view_and_keeps_the_notices() -> None:
    out = io.StringIO()
    show(Console(file=out, force_terminal=True, width=90, height=30))
    assert "\x1b[" in out.getvalue()
    assert "a [notice]" in out.getvalue()


def test_the_live_view_draws_while_events_come() -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=90, height=30)
    view = LiveView(console, SearchProgress())
    with view.live:
        for event in stream()[:-1]:
            view(event)
        view.live.refresh()
    assert "front: 1 network" in out.getvalue()


def test_the_view_is_left_in_order_when_the_search_raises() -> None:
    def broken(listen: Callable[[Event], None]) -> None:
        listen(started())
        raise KeyboardInterrupt

    out = io.StringIO()
    with (
        pytest.raises(KeyboardInterrupt),
        watch(Console(file=out, force_terminal=True, width=90, height=30), SearchProgress()) as listen,
    ):
        broken(listen)
    assert out.getvalue().count("\x1b[?25l") == out.getvalue().count("\x1b[?25h")  # the cursor is shown again


def reached(number: int, kept: int = 2_000_000) -> RungReached:
    values = {"accuracy": 0.5, "macs": 2e6, "params": 3e4}
    return RungReached(number, "a" * 16, 1, 3, 1, 9, values, 4.0, BUDGET, kept)


def test_trials_at_a_rung_count_as_begun_and_their_checkpoints_are_told() -> None:
    clock = Clock()
    progress = SearchProgress(clock=clock)
    for event in (started(), TrialStarted(0, "w", 1)):
        progress.take(event)
    clock.now = 10.0
    progress.take(reached(0))
    assert (progress.fraction, progress.eta()) == (0.25, 30.0)
    assert "0/4 trained, 0 running, 1 waiting at a rung (2.0 MB), 0 promoted" in drawn(progress)
    progress.take(TrialStarted(0, "w", 1, epochs=1))
    progress.take(EpochReported(0, 1, 2, 9, {}, stop=3))
    assert progress.fraction == 0.25
    text = drawn(progress)
    assert "0 waiting at a rung, 1 promoted" in text
    assert "trial 0 epoch 2/9 (stops at 3)" in text
    progress.take(TrialStarted(1, "w", 1))
    progress.take(EpochReported(1, 1, 1, 9, {}, stop=2))
    assert progress.fraction == 0.375


def test_each_rung_and_each_stop_is_a_line_of_the_plain_view() -> None:
    out = io.StringIO()
    view = PlainView(out, SearchProgress(clock=Clock()))
    why = "stopped at epoch 1 of 9: not among the best third of its rung"
    for event in (started(), reached(0), finished(0, 1, "stopped", reason=why)):
        view(event)
    lines = out.getvalue().splitlines()
    assert lines[-2] == "[0/4] trial 0 at rung 1 of 3: epoch 1 of 9, accuracy 50.00 %, macs 2.00M, params 30.0k; 4.0 s"
    assert lines[-1].startswith("[1/4] trial 0 stopped: at epoch 1 of 9: not among the best third of its rung; 10")
