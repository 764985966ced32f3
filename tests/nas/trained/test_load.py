"""nas.load and checkpoints: what comes back, and that no damaged or hostile file does harm."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import load_file, save_file

import nas
from nas.checkpoint import CheckpointError, load_checkpoint, read_facts
from nas.evaluation import evaluate_network
from nas.export import export
from nas.files import sha256_of
from nas.training import Trained
from space import NasError
from trials.data import load_data
from trials.store import Store


@pytest.fixture(scope="module")
def made(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("load")
    with Store.open(home / "nas.db") as store:
        return export(str(trained.checkpoint), home / "network", store=store, formats=()).path


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return shutil.copytree(made, tmp_path / "network")


def change_card(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    card = json.loads((folder / "card.json").read_text())
    change(card)
    (folder / "card.json").write_text(json.dumps(card))


def replace_weights(folder: Path, weights: dict[str, torch.Tensor]) -> None:
    """Write other weights, with the right checksum."""
    file = folder / "model.safetensors"
    save_file(weights, file)
    change_card(folder, lambda card: card["files"]["model.safetensors"].update(sha256=sha256_of(file)))


def test_a_loaded_network_is_the_trained_one(folder: Path, trained: Trained, stripes: Path) -> None:
    network = nas.load(folder)
    assert not network.training
    assert network.architecture == trained.arch
    assert network.classes == ("across", "down", "plain")
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(network(images), load_checkpoint(trained.checkpoint)[0](images))
    assert evaluate_network(str(folder), threads=1, device="cpu").test_accuracy == trained.test_accuracy


def test_preprocess_gives_what_training_saw(folder: Path, stripes: Path) -> None:
    network, data = nas.load(folder), load_data(str(stripes))
    split = data.validation
    expected = data.normalised(split.batch(torch.arange(len(split))))
    pictures = [Image.open(path) for name in data.classes for path in sorted((stripes / name).iterdir())]
    found = network.preprocess(pictures)
    assert found.shape == (42, 3, 32, 32)
    for image in expected:
        assert (found - image).abs().flatten(1).max(1).values.min() < 1e-5
    arrays = [numpy.asarray(picture) for picture in pictures]
    assert torch.equal(network.preprocess(arrays), found)
    tensor = torch.stack([torch.from_numpy(array.copy()).permute(2, 0, 1) for array in arrays])
    assert torch.equal(network.preprocess(tensor), found)
    assert torch.equal(network.preprocess(pictures[0]), found[:1])


@pytest.mark.parametrize("size", [(32, 32), (30, 31), (7, 90), (500, 333), (1, 1)])
@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA", "1", "I;16", "CMYK"])
def test_preprocess_takes_images_of_any_size_and_mode(made: Path, size: tuple[int, int], mode: str) -> None:
    image = nas.load(made).preprocess(Image.new(mode, size))
    assert image.shape == (1, 3, 32, 32)
    assert image.isfinite().all()


def test_preprocess_makes_gray_arrays_colour(folder: Path) -> None:
    network = nas.load(folder)
    gray = numpy.arange(32 * 32, dtype=numpy.uint8).reshape(32, 32)
    assert torch.equal(network.preprocess(gray), network.preprocess(Image.fromarray(gray)))


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ([], "none were given"),
        (torch.zeros(2, 3, 32, 32), "torch.float32 [2, 3, 32, 32]"),
        (torch.zeros(32, 32, dtype=torch.uint8), "torch.uint8 [32, 32]"),
        (torch.zeros(1, 4, 32, 32, dtype=torch.uint8), "4 channels, the network reads 3"),
        (torch.zeros(3, 0, 32, dtype=torch.uint8), "torch.uint8 [3, 0, 32]"),
        (["cat.png"], "image: str"),
        (numpy.zeros((32, 32), numpy.float64), "float64 [32, 32]"),
        (numpy.zeros((2, 32, 32, 3), numpy.uint8), "uint8 [2, 32, 32, 3]"),
    ],
)
def test_preprocess_refuses_what_is_no_image(made: Path, images: Any, message: str) -> None:
    with pytest.raises(NasError) as caught:
        nas.load(made).preprocess(images)
    assert message in str(caught.value)


def test_a_changed_byte_of_the_weights_is_noticed(folder: Path) -> None:
    file = folder / "model.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"model.safetensors: was changed or damaged"):
        nas.load(folder)


def test_another_point_is_noticed(folder: Path) -> None:
    file = folder / "architecture.yaml"
    file.write_text(file.read_text().replace("kernel_size: 3", "kernel_size: 5"))
    with pytest.raises(CheckpointError, match=r"architecture.yaml: was changed or damaged"):
        nas.load(folder)
    change_card(folder, lambda card: card["files"]["architecture.yaml"].update(sha256=sha256_of(file)))
    with pytest.raises(CheckpointError, match=r"is not the network that card.json describes"):
        nas.load(folder)


@pytest.mark.parametrize("name", ["model.safetensors", "architecture.yaml", "card.json"])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(CheckpointError, match=name):
        nas.load(folder)


def test_weights_must_be_those_of_the_point_both_ways(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    first = min(weights)
    cases = [
        ({key: value for key, value in weights.items() if key != first}, f"{first} is missing"),
        (weights | {"more": torch.zeros(1)}, r"more is none of the architecture's tensors \(1 such\)"),
        (weights | {first: torch.zeros(3, 1)}, rf"{first}: torch.float32 \[3, 1\], the architecture has"),
        (weights | {first: weights[first].half()}, rf"{first}: torch.float16"),
    ]
    for changed, message in cases:
        replace_weights(folder, changed)
        with pytest.raises(CheckpointError, match=message):
            nas.load(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 99}, "format 99, this version reads up to 1; upgrade"),
        ({"format": "one"}, "format 'one'"),
        ({"surprise": 1}, "surprise: unknown field"),
        ({"files": {}}, "files: 'model.safetensors' is missing"),
        ({"cost": None}, "cost: "),
    ],
)
def test_a_bad_card_is_refused_in_one_line(folder: Path, change: dict[str, Any], message: str) -> None:
    change_card(folder, lambda card: card.update(change))
    with pytest.raises(CheckpointError) as caught:
        nas.load(folder)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_card_that_contradicts_itself_is_refused(folder: Path) -> None:
    change_card(folder, lambda card: card["network"].update(classes=["a", "b"]))
    with pytest.raises(CheckpointError, match="2 class names, the architecture has 3"):
        nas.load(folder)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "\x00", "[" * 100_000])
def test_a_card_that_is_no_card_is_refused(folder: Path, text: str) -> None:
    (folder / "card.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"card.json"):
        nas.load(folder)


def test_what_is_no_exported_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such folder"):
        nas.load(tmp_path / "none")
    with pytest.raises(CheckpointError, match=r"has no card.json"):
        nas.load(tmp_path)


class Bomb:
    """Leaves a file behind when unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("lay", [torch.save, lambda bomb, file: file.write_bytes(pickle.dumps(bomb))])
def test_pickles_are_never_opened(folder: Path, tmp_path: Path, lay: Callable[[Bomb, Path], Any]) -> None:
    crater = tmp_path / "crater"
    weights, checkpoint = folder / "model.safetensors", tmp_path / "network.safetensors"
    for file in (weights, checkpoint):
        lay(Bomb(crater), file)
    change_card(folder, lambda card: card["files"]["model.safetensors"].update(sha256=sha256_of(weights)))
    for read in (lambda: nas.load(folder), lambda: load_checkpoint(checkpoint), lambda: read_facts(checkpoint)):
        with pytest.raises(CheckpointError, match="is no readable safetensors file"):
            read()
    assert not crater.exists()
    pickle.loads(pickle.dumps(Bomb(crater)))
    assert crater.exists(), "the bomb does work"


def test_weights_of_others_are_refused(tmp_path: Path) -> None:
    save_file({"w": torch.zeros(1)}, tmp_path / "w.safetensors")
    with pytest.raises(CheckpointError, match="holds weights but not the network's facts"):
        read_facts(tmp_path / "w.safetensors")
    with pytest.raises(CheckpointError):
        read_facts(tmp_path)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_a_damaged_checkpoint_loads_or_is_refused_in_one_line(
    trained: Trained, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Cut short, or with bytes of its header changed: nothing but a CheckpointError comes of it."""
    content = bytearray(trained.checkpoint.read_bytes())
    header = 8 + int.from_bytes(content[:8], "little")
    if data.draw(st.booleans(), label="cut"):
        content = content[: data.draw(st.integers(0, len(content) - 1))]
    else:
        for _ in range(data.draw(st.integers(1, 3))):
            content[data.draw(st.integers(0, header - 1))] = data.draw(st.integers(0, 255))
    file = tmp_path_factory.mktemp("damaged") / "network.safetensors"
    file.write_bytes(content)
    try:
        network, facts = load_checkpoint(file)
    except CheckpointError as error:
        assert "\n" not in str(error)
        assert str(file) in str(error)
    else:
        assert facts.architecture.classes == 3
        assert not network.training
