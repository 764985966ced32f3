"""`nas dashboard` as a process: it says where it is, answers there, and ends at Ctrl-C."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_it_answers_where_it_says(filled: Path, host: str) -> None:
    command = [sys.executable, "-m", "nas", "dashboard", "--store", str(filled), "--port", "0", "--host", host]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        line = process.stderr.readline()
        found = re.search(r"http://[\d.]+:(\d+)/(\?token=(\S+))?", line)
        assert found, line
        home = f"http://127.0.0.1:{found[1]}"
        if host == "0.0.0.0":
            assert len(found[3]) >= 32
            with pytest.raises(urllib.error.HTTPError, match="401"):
                urllib.request.urlopen(f"{home}/pulse")
            assert urllib.request.urlopen(home + "/" + found[2]).status == 200
        else:
            assert urllib.request.urlopen(f"{home}/pulse").status == 200
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) in (0, 130)
        assert "Traceback" not in process.stderr.read()


def test_a_missing_store_is_one_line(refused, tmp_path: Path) -> None:
    assert "none.db" in refused("dashboard", "--store", tmp_path / "none.db")


def test_collections_of_garbage_leave_out_what_was_read_at_the_start(filled: Path) -> None:
    code = (
        "import gc, sys; from nas.dashboard.serving import opened, warm_up\n"
        "with opened(sys.argv[1]) as queries:\n"
        "    warm_up(queries)\n"
        "    print(gc.get_freeze_count() > 50 * len(gc.get_objects()))\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(filled)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True"
