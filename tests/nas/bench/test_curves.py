"""Recorded curves: the file, and the script that makes it, with trainings that take no time."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

from nas.bench.curves import CurveRun, Curves, CurvesError

SCRIPT = Path(__file__).parents[3] / "benchmarks" / "record_curves.py"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Return the script as a module whose trainings are made up, and a way to run it."""
    spec = importlib.util.spec_from_file_location("record_curves", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    trainings: list[tuple[int, int]] = []

    def trained(point, index, repeat, spec, recipe) -> CurveRun:
        trainings.append((index, repeat))
        return CurveRun(index, repeat, 7, (0.25, 0.5), (2.0, 1.0), (0.1, 0.1))

    monkeypatch.setattr(module, "trained", trained)

    def run(*words: str) -> Curves:
        path = tmp_path / "curves.json.gz"
        shared = ["record_curves.py", "--space", "tiny", "--points", "4", "--again", "2", "--out", str(path)]
        monkeypatch.setattr(sys, "argv", [*shared, *words])
        module.main()
        return Curves.load(path)

    module.run, module.trainings, module.path = run, trainings, tmp_path / "curves.json.gz"
    return module


def test_a_recording_goes_on_from_what_is_there(script) -> None:
    first = script.run("--only", "3")
    assert script.trainings == [(0, 0), (1, 0), (0, 1)]  # repeats follow the points they repeat
    assert len(first.points) == 4
    whole = script.run()
    assert script.trainings[3:] == [(1, 1), (2, 0), (3, 0)]
    assert whole.runs[:3] == first.runs
    assert sorted(whole.first_runs()) == [0, 1, 2, 3]
    before = script.path.read_bytes()
    assert script.run() == whole
    assert len(script.trainings) == 6
    whole.save(script.path)
    assert script.path.read_bytes() == before


def test_more_points_go_on_with_the_same_ones(script) -> None:
    few = script.run("--only", "1")
    more = script.run("--points", "6", "--only", "1")
    assert more.points[:4] == few.points
    assert len({point.id for point in more.points}) == 6
    assert more.points[5].architecture().id == more.points[5].id


def test_another_recording_is_not_gone_on_with(script) -> None:
    script.run("--only", "1")
    with pytest.raises(Exception, match="recorded with seed 0, now 1"):
        script.run("--seed", "1")


def test_a_training_that_fails_is_kept_with_its_reason(script) -> None:
    curves = script.run("--only", "1")
    failed = CurveRun(1, 0, 7, (0.1,), (2.3,), (0.1,), "diverged")
    Curves(curves.head, curves.points, (*curves.runs, failed)).save(script.path)
    read = Curves.load(script.path)
    assert read.runs[-1] == failed
    assert sorted(read.first_runs()) == [0]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"plain", "no gzipped JSON"),
        ({"format": 7}, "format 7, allowed: 1"),
        ([1], "format None, allowed: 1"),
        ({"format": 1, "head": {}, "points": [{}], "runs": []}, "not the fields of recorded curves"),
        (
            {
                "format": 1,
                "head": {},
                "points": [],
                "runs": [{"point": 3, "repeat": 0, "seed": 1, "accuracy": [], "loss": [], "seconds": []}],
            },
            "the training of point 3 does not fit",
        ),
    ],
)
def test_other_files_are_refused(tmp_path: Path, content: object, said: str) -> None:
    import gzip
    import json

    path = tmp_path / "other.json.gz"
    path.write_bytes(content if isinstance(content, bytes) else gzip.compress(json.dumps(content).encode()))
    with pytest.raises(CurvesError, match=said):
        Curves.load(path)
    with pytest.raises(CurvesError, match="cannot be read: No such file"):
        Curves.load(tmp_path / "missing.json.gz")


@pytest.mark.parametrize("path", sorted((SCRIPT.parent / "curves").glob("*.json.gz")), ids=lambda path: path.name)
def test_the_recorded_files_hold_points_that_can_be_rebuilt(path: Path) -> None:
    curves = Curves.load(path)
    epochs = curves.head["recipe"]["epochs"]
    for index, run in list(curves.first_runs().items())[:20]:
        point = curves.points[index]
        assert point.architecture().id == point.id
        assert len(run.accuracy) == epochs
        assert all(0 <= each <= 1 for each in run.accuracy)
    assert len({(run.point, run.repeat) for run in curves.runs}) == len(curves.runs)
    assert all(run.failure is None or len(run.accuracy) < epochs for run in curves.runs)
