"""Every example of the README runs, in its order, with smaller budgets; the two commands are those that CI runs."""

from __future__ import annotations

import gzip
import json
import re
import shlex
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
FASHION = "/usr/share/datasets/fashion-mnist"
SMALLER = {
    "tests/golden/records": "tests/golden/records/convnextv2_atto.json.gz",
    "--budget 200": "--budget 2 --inline --proxy-resolution 16",
    "--budget 40": "--budget 2 --inline",
    "--budget 8": "--budget 4",
    "params<=1M": "params<=40k",
    "budget=20": "budget=3, epochs=2",
}


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


SETUP, SHELL = blocks("bash")[:2], blocks("bash")[2:]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A place to work in, with a small stand-in for Fashion-MNIST: shapes that can be told apart."""
    place = tmp_path_factory.mktemp("readme")
    images = place / "fashion"
    images.mkdir()
    rng = np.random.default_rng(0)
    # a search sees thousands of images in each trial: the fewer there are, the more often, in smaller batches
    for name, count in (("train", 1200), ("t10k", 60)):
        labels = np.arange(count, dtype=np.uint8) % 10
        pixels = rng.integers(0, 80, (count, 28, 28), dtype=np.uint8)
        for pixel, label in zip(pixels, labels, strict=True):
            pixel[2 * label : 2 * label + 8, 4:24] += 150
        for kind, magic, data in (("images-idx3", 2051, pixels), ("labels-idx1", 2049, labels)):
            head = struct.pack(f">{1 + data.ndim}i", magic, *data.shape)
            (images / f"{name}-{kind}-ubyte.gz").write_bytes(gzip.compress(head + data.tobytes()))
    for name in ("tests", "benchmarks"):
        (place / name).symlink_to(ROOT / name)
    return place


COMMAND = """
import os, sys
os.environ["COLUMNS"] = "160"
os.chdir(args[0])
from nas.__main__ import main
code = main(args[1:])
sys.stdout.flush()
sys.stderr.flush()
os._exit(code)
"""
"""What the console script does, in a process that has nothing of this project imported."""


@pytest.fixture
def shell(folder: Path, fork_fresh: Callable[..., Any]) -> Callable[..., str]:
    """Run a line that begins with `nas` and may send its output into a file; return what it prints."""

    def run(line: str, code: int = 0) -> str:
        line = line.replace(FASHION, str(folder / "fashion"))
        for large, small in SMALLER.items():
            line = line.replace(large, small)
        if "small:7" in line:
            front = json.loads(run("nas front small --json"))
            line = line.replace("small:7", f"small:{front[0]['trial']}")
        command, _, file = line.partition(" > ")
        program, *words = shlex.split(command)
        assert program == "nas", line
        assert not {"|", "<", ">", "&&", ";"} & set(words), f"a shell is needed for {line}"
        child = fork_fresh(COMMAND, str(folder), *words, *(["--epochs", "1"] if "train" in words else []))
        assert child.ended() == code, f"{line}\n{child.said()}{child.errors()}"
        if file:
            (folder / file).write_text(child.said())
        return child.said() if code == 0 else child.errors()

    return run


def test_the_setup_commands_are_those_that_ci_runs() -> None:
    assert len(SETUP) == 2
    assert SETUP[1].strip() in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    search = SETUP[0].strip().split("&&")[-1].replace(".venv/bin/nas", "").strip()
    assert search == "search --space metaformer.yaml --budget 200"


def test_every_example_runs(folder: Path, shell: Callable[..., str]) -> None:
    (folder / "my_space.yaml").write_text(blocks("yaml")[0])
    assert "valid" in shell("nas space check my_space.yaml")
    for block in SHELL:
        for line in block.strip().splitlines():
            shell(line)
    for code in blocks("python"):
        for large, small in SMALLER.items():
            code = code.replace(large, small)
        done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip()
        for told in re.findall(r"^print\(.*\)  # (.*)$", code, re.MULTILINE):
            assert told in done.stdout


def test_what_a_mistake_reads_like_is_quoted_right(folder: Path, shell: Callable[..., str]) -> None:
    (folder / "my_space.yaml").write_text(blocks("yaml")[0].replace("kind: pool", "kind: atention"))
    error = shell("nas space check my_space.yaml", code=2)
    quoted = re.search(r"`(my_space.yaml: .*?)`", README, re.DOTALL)
    assert quoted
    start, end = " ".join(quoted[1].split()).split("...")
    assert start.split(": ", 1)[1].split(": ", 1)[1] in error
    assert end in error


def test_every_command_is_in_the_readme_or_its_help() -> None:
    shown = subprocess.run([sys.executable, "-m", "nas", "--help"], capture_output=True, text=True, check=True).stdout
    commands = re.findall(r"^  (\w+)  ", shown.split("Commands:")[1].split("Examples:")[0], re.MULTILINE)
    missing = [command for command in commands if f"nas {command}" not in README]
    assert len(commands) >= 12
    assert not missing
