"""A driver killed at random moments and resumed: nothing is lost, nothing is trained twice."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

KILL_TEST = Path(__file__).parents[2] / "benchmarks" / "kill_test.py"


def test_kills_of_the_driver_leave_every_trial_trained_once(tmp_path: Path) -> None:
    words = ["--inline", "--budget", "8", "--driver-kills", "2", "--moment", "0.4", "--sleep-ms", "60"]
    done = subprocess.run(
        [sys.executable, str(KILL_TEST), *words, "--store", str(tmp_path / "nas.db")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert found["driver_kills"] == 2
    assert found["faults"] == []
    assert found["states"]["complete"] == 8
