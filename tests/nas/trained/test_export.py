"""nas export: the folder, what it says, that it works without this project, and what is refused."""

from __future__ import annotations

import errno
import importlib.util
import json
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import nas
import nas.export as exporting
from nas.checkpoint import load_checkpoint
from nas.export import Bundle, export
from nas.files import sha256_of
from nas.networks import read_point
from nas.training import Trained, train_network
from space import NasError, cost
from trials.store import Store

ALL = {
    "architecture.yaml", "card.json", "card.md", "model.onnx", "model.pt2", "model.safetensors", "run_onnx.py",
    "run_torch.py",
}  # fmt: skip
ALONE = """
import importlib.abc, runpy, sys

class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("nas", "space", "trials", "ops"):
            raise ImportError(name + " is not here")

sys.meta_path.insert(0, Absent())
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture(scope="module")
def bundle(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    home = tmp_path_factory.mktemp("export")
    with Store.open(home / "nas.db") as store:
        return export(str(trained.checkpoint), home / "network", store=store)


def test_the_folder_holds_every_form_and_its_checksum(bundle: Bundle) -> None:
    assert {path.name for path in bundle.path.iterdir()} == ALL
    assert bundle.notes == ()
    card = json.loads((bundle.path / "card.json").read_text())
    assert card["files"].keys() == ALL - {"card.json"}
    for name, facts in card["files"].items():
        assert facts == {"sha256": sha256_of(bundle.path / name), "bytes": (bundle.path / name).stat().st_size}
    assert not [path for path in bundle.path.parent.iterdir() if path.name.startswith(".")], "no traces of the making"


def test_the_card_says_cost_accuracy_and_provenance(bundle: Bundle, trained: Trained, stripes: Path) -> None:
    card = bundle.card
    counts = cost(trained.arch, 32)
    assert (card.cost.params, card.cost.macs, card.cost.activations) == tuple(counts)
    assert card.cost.params == sum(value.numel() for value in load_file(bundle.path / "model.safetensors").values())
    assert {s.split: s.accuracy for s in card.network.scores} == {
        "test": trained.test_accuracy, "validation": trained.validation_accuracy,
    }  # fmt: skip
    assert card.latency is not None
    assert card.latency.median_ms > 0
    assert card.latency.circumstances["threads"] == 1
    assert [program.file for program in card.programs] == ["model.pt2", "model.onnx"]
    assert max(program.max_rel_error for program in card.programs) < 1e-4
    text = (bundle.path / "card.md").read_text()
    for said in (
        f"{100 * trained.test_accuracy:.2f} %",
        f"{counts.params:,}",
        f"{counts.macs:,}",
        "across, down, plain",
    ):
        assert said in text
    assert "Untrained" not in text


def test_the_point_in_the_folder_is_the_network(bundle: Bundle, trained: Trained) -> None:
    assert read_point(bundle.path) == trained.arch
    weights = load_file(bundle.path / "model.safetensors")
    trained_weights = load_checkpoint(trained.checkpoint)[0].state_dict()
    assert weights.keys() == trained_weights.keys()
    assert all(torch.equal(weights[key], trained_weights[key]) for key in weights)


@pytest.mark.parametrize("script", ["run_torch.py", "run_onnx.py"])
def test_the_scripts_work_where_this_project_is_not_installed(
    bundle: Bundle, stripes: Path, tmp_path: Path, script: str
) -> None:
    """The same classes with the same shares as `nas.load` finds, on images of other sizes and modes as well."""
    names = ("gray.png", "large.png", "clear.png", "deep.png")
    images = [stripes / "down" / "3.png", *(tmp_path / name for name in names)]
    picture = Image.open(images[0])
    picture.convert("L").save(images[1])
    picture.resize((90, 70)).save(images[2])
    picture.resize((30, 29)).convert("RGBA").save(images[3])
    Image.fromarray(numpy.asarray(picture.convert("L")).astype(numpy.uint16) * 257).save(images[4])
    copy = shutil.copytree(bundle.path, tmp_path / "elsewhere")
    command = [sys.executable, "-c", ALONE, str(copy / script), *map(str, images)]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    network = nas.load(bundle.path)
    with torch.no_grad():
        shares = network(network.preprocess([Image.open(image) for image in images])).softmax(1)
    lines = ran.stdout.splitlines()
    assert len(lines) == len(images)
    for line, image, row in zip(lines, images, shares.tolist(), strict=True):
        path, _, best = line.rpartition(": ")
        found = {name: float(share) for name, share, _ in (item.split() for item in best.split(", "))}
        assert path == str(image)
        assert found == pytest.approx({name: 100 * s for name, s in zip(network.classes, row, strict=True)}, abs=0.11)


def test_without_this_project_means_without(tmp_path: Path) -> None:
    (tmp_path / "try.py").write_text("import nas")
    command = [sys.executable, "-c", ALONE, str(tmp_path / "try.py")]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "nas is not here" in ran.stderr


def test_a_trial_is_exported_from_its_latest_training(
    files_store: Store, point_file: Path, stripes: Path, tmp_path: Path, new_trial: Callable[..., str]
) -> None:
    trial = new_trial(files_store, read_point(point_file), str(stripes))
    with pytest.raises(NasError, match=f"{trial}: has no trained weights; run `nas train {trial}` first"):
        export(trial, tmp_path / "early", store=files_store, formats=())
    assert not (tmp_path / "early").exists()
    for seed in (0, 1):
        done = train_network(trial, str(stripes), store=files_store, epochs=1, seed=seed, threads=1, device="cpu")
    card = export(trial, tmp_path / "out", store=files_store, formats=()).card
    assert card.network.training is not None
    assert card.network.training.seed == 1
    assert card.name == trial
    done.checkpoint.write_bytes(done.checkpoint.read_bytes()[:-1] + b"\x7f")
    with pytest.raises(NasError, match="was changed since it was written"):
        export(trial, tmp_path / "changed", store=files_store, formats=())
    done.checkpoint.unlink()
    with pytest.raises(NasError, match="is gone"):
        export(trial, tmp_path / "gone", store=files_store, formats=())


def test_untrained_weights_are_written_only_on_request_and_labelled(
    files_store: Store, point_file: Path, tmp_path: Path
) -> None:
    with pytest.raises(NasError, match="--untrained"):
        export(str(point_file), tmp_path / "out", store=files_store)
    made = export(str(point_file), tmp_path / "out", store=files_store, untrained=True, resolution=32, formats=())
    assert not made.card.trained
    assert made.card.network.input.resolution == 32
    assert "**Untrained" in (tmp_path / "out" / "card.md").read_text()
    assert nas.load(tmp_path / "out").card.network.training is None


def test_an_exported_folder_can_be_exported_again(bundle: Bundle, files_store: Store, tmp_path: Path) -> None:
    again = export(str(bundle.path), tmp_path / "again", store=files_store, formats=())
    assert again.card.network == bundle.card.network
    assert again.card.files["model.safetensors"] == bundle.card.files["model.safetensors"]


def test_without_the_onnx_packages_the_other_forms_are_written(
    trained: Trained, files_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr("nas.programs.find_spec", lambda name: None if name == "onnxruntime" else real(name))
    made = export(str(trained.checkpoint), tmp_path / "out", store=files_store)
    assert {path.name for path in made.path.iterdir()} == ALL - {"model.onnx", "run_onnx.py"}
    assert made.notes == ("onnx: not written, needs onnxruntime: pip install 'nas-vision[onnx]'",)
    assert made.notes[0] in (made.path / "card.md").read_text()


def test_folders_in_the_way_are_refused_and_kept(trained: Trained, files_store: Store, tmp_path: Path) -> None:
    def write(target: Path, *, force: bool = False) -> Bundle:
        return export(str(trained.checkpoint), target, store=files_store, formats=(), force=force)

    home = tmp_path / "home"
    home.mkdir()
    (home / "letter.txt").write_text("dear")
    with pytest.raises(NasError, match="is not empty"):
        write(home)
    with pytest.raises(NasError, match="--force replaces nothing else"):
        write(home, force=True)
    with pytest.raises(NasError, match="is no folder"):
        write(home / "letter.txt", force=True)
    (tmp_path / "link").symlink_to(home)
    with pytest.raises(NasError, match="is no folder"):
        write(tmp_path / "link", force=True)
    assert [path.name for path in home.iterdir()] == ["letter.txt"]
    (tmp_path / "empty").mkdir()
    write(tmp_path / "empty")
    with pytest.raises(NasError, match="--force"):
        write(tmp_path / "empty")
    (tmp_path / "empty" / "card.md").write_text("old")
    write(tmp_path / "empty", force=True)
    assert (tmp_path / "empty" / "card.md").read_text() != "old"


def test_a_failure_on_the_way_leaves_nothing_and_keeps_the_old(
    trained: Trained, files_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "out"
    export(str(trained.checkpoint), target, store=files_store, formats=())
    before = {path.name: sha256_of(path) for path in target.iterdir()}
    present = set(tmp_path.iterdir())

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(exporting, "_write_point", full)
    for name, force in (("out", True), ("new", False)):
        with pytest.raises(NasError, match="cannot be written: No space left on device"):
            export(str(trained.checkpoint), tmp_path / name, store=files_store, formats=(), force=force)
    assert set(tmp_path.iterdir()) == present
    assert {path.name: sha256_of(path) for path in target.iterdir()} == before


@pytest.mark.parametrize(("kilobytes", "formats"), [(8, ()), (60, ("torch",)), (60, ("onnx",))])
def test_a_full_disk_is_one_line_and_leaves_nothing(
    trained: Trained, files_store: Store, tmp_path: Path, kilobytes: int, formats: tuple[str, ...]
) -> None:
    """A limit on the size of files stands for the disk: weights, program and ONNX file in turn do not fit."""
    present = set(tmp_path.iterdir())
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (kilobytes * 1024, hard))
    try:
        with pytest.raises(NasError, match=r"out: cannot be written: .*File too large") as caught:
            export(str(trained.checkpoint), tmp_path / "out", store=files_store, formats=formats)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "\n" not in str(caught.value)
    assert set(tmp_path.iterdir()) == present


def test_unknown_formats_and_references_are_refused(files_store: Store, tmp_path: Path) -> None:
    with pytest.raises(NasError, match=r"format: 'onx' is unknown, known: torch, onnx; did you mean 'onnx'"):
        export("convnext_tiny", tmp_path / "out", store=files_store, formats=("onx",))
    with pytest.raises(NasError, match="no such file"):
        export("lost.safetensors", tmp_path / "out", store=files_store)
    with pytest.raises(NasError, match="nowhere"):
        export("nowhere:3", tmp_path / "out", store=files_store)
    assert not (tmp_path / "out").exists()
