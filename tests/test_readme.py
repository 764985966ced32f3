"""Every example of the README runs, in its order, with smaller budgets; the two commands are those that CI runs."""

from __future__ import annotations

import gzip
import json
import os
import re
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
FASHION = "/usr/share/datasets/fashion-mnist"
SMALLER = {
    "tests/golden/records": "tests/golden/records/convnextv2_atto.json.gz",
    "--budget 200": "--budget 2 --inline",
    "--budget 40": "--budget 2 --inline",
    "params<=1M": "params<=150k",
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
    for name, count in (("train", 300), ("t10k", 60)):
        labels = np.arange(count, dtype=np.uint8) % 10
        pixels = rng.integers(0, 80, (count, 28, 28), dtype=np.uint8)
        for pixel, label in zip(pixels, labels, strict=True):
            pixel[2 * label : 2 * label + 8, 4:24] += 150
        for kind, magic, data in (("images-idx3", 2051, pixels), ("labels-idx1", 2049, labels)):
            head = struct.pack(f">{1 + data.ndim}i", magic, *data.shape)
            (images / f"{name}-{kind}-ubyte.gz").write_bytes(gzip.compress(head + data.tobytes()))
    (place / "tests").symlink_to(ROOT / "tests")
    return place


def shell(line: str, folder: Path) -> str:
    nas = f"{sys.executable} -m nas"
    line = re.sub(r"\bnas (?=[a-z])", f"{nas} ", line).replace(FASHION, str(folder / "fashion"))
    for large, small in SMALLER.items():
        line = line.replace(large, small)
    if "small:7" in line:
        front = json.loads(shell("nas front small --json", folder))
        line = line.replace("small:7", f"small:{front[0]['trial']}")
    if " train " in line:
        line += " --epochs 1"
    done = subprocess.run(
        line, shell=True, cwd=folder, capture_output=True, text=True, env=os.environ | {"COLUMNS": "160"}, check=False
    )
    assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
    return done.stdout


def test_the_setup_commands_are_those_that_ci_runs() -> None:
    assert len(SETUP) == 2
    assert SETUP[1].strip() in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    search = SETUP[0].strip().split("&&")[-1].replace(".venv/bin/nas", "").strip()
    assert search == "search --space metaformer.yaml --budget 200"


def test_every_example_runs(folder: Path) -> None:
    (folder / "my_space.yaml").write_text(blocks("yaml")[0])
    assert "valid" in shell("nas space check my_space.yaml", folder)
    for block in SHELL:
        for line in block.strip().splitlines():
            shell(line, folder)
    for code in blocks("python"):
        done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip()
        for told in re.findall(r"^print\(.*\)  # (.*)$", code, re.MULTILINE):
            assert told in done.stdout


def test_what_a_mistake_reads_like_is_quoted_right(folder: Path) -> None:
    (folder / "my_space.yaml").write_text(blocks("yaml")[0].replace("kind: pool", "kind: atention"))
    done = subprocess.run(
        [sys.executable, "-m", "nas", "space", "check", "my_space.yaml"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    quoted = re.search(r"`(my_space.yaml: .*?)`", README, re.DOTALL)
    assert quoted
    start, end = " ".join(quoted[1].split()).split("...")
    assert done.returncode == 2
    assert start.split(": ", 1)[1].split(": ", 1)[1] in done.stderr
    assert end in done.stderr


def test_every_command_is_in_the_readme_or_its_help() -> None:
    shown = subprocess.run([sys.executable, "-m", "nas", "--help"], capture_output=True, text=True, check=True).stdout
    commands = re.findall(r"^  (\w+)  ", shown.split("Commands:")[1].split("Examples:")[0], re.MULTILINE)
    missing = [command for command in commands if f"nas {command}" not in README]
    assert len(commands) >= 12
    assert not missing
