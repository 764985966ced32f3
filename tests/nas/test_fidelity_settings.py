"""How fidelity is asked for, and what rungs it comes to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from nas.estimates import Estimates
from nas.fidelity import Fidelity, Stop, parse_rung
from nas.rung_rule import Rung
from nas.settings import SearchSettings
from nas.trial_checkpoints import TrialCheckpoints
from space.errors import NasError

pytestmark = pytest.mark.usefixtures("toy_rules")


@pytest.mark.parametrize("text", ["none", "top_share:3", "by_lot:7"])
def test_a_fidelity_reads_what_it_writes(text: str) -> None:
    assert str(Fidelity.parse(text)) == text
    stored = SearchSettings.make(study="s", budget=1, fidelity=text).model_dump(mode="json")
    assert SearchSettings.make(**stored).fidelity == Fidelity.parse(text)


def test_studies_from_before_have_no_rungs() -> None:
    assert SearchSettings.make(study="s", budget=1).fidelity == Fidelity()
    assert Fidelity().stops(9) == (Stop(9, 1.0, 1.0),)


@pytest.mark.parametrize(
    ("text", "rungs", "words"),
    [
        ("top_shore", (), "fidelity: 'top_shore' is unknown, known: by_lot, none, .*; did you mean 'top_share'"),
        ("top_share:1", (), "fidelity 'top_share:1': reduction '1', allowed: 2 to 100, as in 'top_share:3'"),
        ("top_share:", (), "reduction '', allowed: 2 to 100"),
        ("top_share:two", (), "reduction 'two'"),
        ("none:3", (), "fidelity 'none:3': fidelity none has no rungs, allowed: "),
        ("none", ("epochs=0.5",), "rung 'epochs=0.5': fidelity none has no rungs"),
        ("top_share", ("epoch=0.5",), "rung 'epoch=0.5': 'epoch=0.5', allowed: .*did you mean 'epochs'"),
        ("top_share", ("epochs=0",), "epochs is '0', allowed: above 0 and up to 1"),
        ("top_share", ("epochs=nan",), "epochs is 'nan'"),
        ("top_share", ("epochs=0.5,epochs=0.6",), "epochs stands twice"),
        ("top_share", ("resolution=0.5",), "without epochs, which says where it is"),
        ("top_share", ("epochs=0.5", "epochs=0.5,images=0.5"), "'epochs=0.5': stands twice"),
        ("top_share", ("epochs=1,images=0.5",), "resolution and images of the last rung are 1"),
    ],
)
def test_a_bad_fidelity_is_refused_in_one_line(text: str, rungs: tuple[str, ...], words: str) -> None:
    with pytest.raises(NasError, match=words) as caught:
        Fidelity.parse(text, rungs)
    assert "\n" not in str(caught.value)


def test_rungs_of_ones_own_take_the_place_of_the_rule_s_and_end_with_the_training() -> None:
    assert parse_rung(" epochs=0.33, images=0.5") == Rung(0.33, 1.0, 0.5)
    found = Fidelity.parse("top_share", ("epochs=0.5", "epochs=0.1,resolution=0.5"))
    assert found.stops(10) == (Stop(1, 0.5, 1.0), Stop(5, 1.0, 1.0), Stop(10, 1.0, 1.0))
    assert not found.whole()
    assert Fidelity.parse("top_share", ("epochs=0.5",)).whole()
    assert found.stops(1) == (Stop(1, 1.0, 1.0),)
    assert Fidelity.parse("top_share").stops(9) == (Stop(1, 1.0, 1.0), Stop(3, 1.0, 1.0), Stop(9, 1.0, 1.0))
    assert Fidelity.parse("top_share").stops(2) == (Stop(1, 1.0, 1.0), Stop(2, 1.0, 1.0))


def test_the_command_line_refuses_before_a_store_is_made(refused: Callable[..., str], tmp_path: Path) -> None:
    words = ["search", "--space", "tiny", "--budget", 2, "--store", tmp_path / "a.db", "--inline"]
    assert "did you mean 'top_share'" in refused(*words, "--fidelity", "top_shares")
    assert "fidelity none has no rungs" in refused(*words, "--rung", "epochs=0.5")
    assert not (tmp_path / "a.db").exists()
    costs = ["--objective", "params:min", "--objective", "latency_ms:min", "--objective", "naswot:max"]
    assert "has no epochs to stop at, allowed: none" in refused(*words, "--fidelity", "top_share", *costs)


def test_estimates_add_what_others_have_gained_from_there() -> None:
    found = Estimates(3, ["accuracy"])
    assert found.news() == {}
    found.take(0, 0, {"accuracy": 0.3, "macs": 7.0})
    found.take(1, 0, {"accuracy": 0.2, "macs": 8.0})
    assert found.news() == {0: {"accuracy": 0.3, "macs": 7.0}, 1: {"accuracy": 0.2, "macs": 8.0}}
    assert found.news() == {}
    found.take(0, 1, {"accuracy": 0.5, "macs": 7.0})
    assert found.news()[1]["accuracy"] == pytest.approx(0.4)
    found.take(0, 2, {"accuracy": 0.9, "macs": 7.0})
    news = found.news()
    assert news[0] == {"accuracy": 0.9, "macs": 7.0}
    assert news[1] == {"accuracy": pytest.approx(0.8), "macs": 8.0}


def test_estimates_do_not_depend_on_the_order_of_the_readings() -> None:
    import random

    readings = [
        (number, rung, {"loss": random.Random(number * 3 + rung).random()}) for number in range(9) for rung in range(3)
    ]
    first = Estimates(3, ["loss"])
    for each in readings:
        first.take(*each)
    random.Random(1).shuffle(readings)
    second = Estimates(3, ["loss"])
    for each in readings:
        second.take(*each)
    second.take(20, 0, {"loss": 1.0})
    first.take(20, 0, {"loss": 1.0})
    assert first.news() == second.news()


def test_checkpoints_are_there_whole_or_not_at_all_and_leave_nothing(tmp_path: Path) -> None:
    kept = TrialCheckpoints(tmp_path, "s")
    sha = kept.put(3, 1, b"one")
    assert kept.get(3, 1, sha) == b"one"
    assert kept.get(3, 1, "another") is None
    assert kept.get(3, 2, sha) is None
    kept.put(3, 2, b"second")
    kept.put(30, 1, b"x")
    assert kept.bytes == 7
    kept.remove(3, keep=2)
    assert sorted(path.name for path in kept.folder.iterdir()) == ["trial-3-epoch-2.pt", "trial-30-epoch-1.pt"]
    (kept.folder / ".trial-4-epoch-1.pt.abc").write_bytes(b"half")
    again = TrialCheckpoints(tmp_path, "s")
    again.sweep({(3, 2)})
    assert again.bytes == 6
    assert [path.name for path in kept.folder.iterdir()] == ["trial-3-epoch-2.pt"]
    again.remove(3)
    assert not kept.folder.exists()
