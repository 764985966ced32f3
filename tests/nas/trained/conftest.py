"""A small data set of real files, a store, and a network trained on it, made once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy
import pytest
from PIL import Image

from nas.training import Trained, train_network
from space import Architecture
from trials.store import Store

POINT = """\
stem: {kind: patchify}
stages:
- {width: 8, depth: 1, pattern: [{token_mixer: {kind: depthwise_conv, kernel_size: 3}}]}
- width: 16
  depth: 1
  pattern: [{token_mixer: {kind: pool}, channel_mixer: {kind: grn_mlp}}]
  downsample: {kind: strided_conv}
"""


def draw_stripes(folder: Path, classes: tuple[str, ...] = ("across", "down", "plain"), size: int = 32) -> Path:
    """Write 14 colour images a class: stripes across, stripes down, or none, on noise."""
    rng = numpy.random.default_rng(0)
    for kind, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for index in range(14):
            image = rng.integers(0, 90, (size, size, 3))
            if kind == 0:
                image[index % 4 :: 4] += 150
            elif kind == 1:
                image[:, index % 4 :: 4] += 150
            Image.fromarray(image.astype(numpy.uint8)).save(folder / name / f"{index}.png")
    return folder


@pytest.fixture
def new_stripes() -> Callable[..., Path]:
    return draw_stripes


@pytest.fixture
def new_trial() -> Callable[..., str]:
    return add_finished_trial


@pytest.fixture(scope="session")
def stripes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_stripes(tmp_path_factory.mktemp("data") / "stripes")


@pytest.fixture(scope="session")
def point_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("point") / "small.yaml"
    file.write_text(POINT)
    return file


@pytest.fixture
def files_store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "nas.db") as store:
        yield store


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, stripes: Path, point_file: Path) -> Trained:
    with Store.open(tmp_path_factory.mktemp("trained") / "nas.db") as store:
        return train_network(str(point_file), str(stripes), store=store, epochs=2, threads=1, device="cpu")


def add_finished_trial(store: Store, arch: Architecture, data: str, **config: object) -> str:
    """Make a study with one finished trial of `arch` and return the reference to it."""
    study = store.create_study(
        "found", space="", config={"data": data, **config}, code_version="test", data_fingerprint=""
    )
    trial = store.add_trial(
        study.id, state="queued", arch_id=arch.id, arch_json=arch.model_dump_json(exclude_defaults=True), params=None,
        macs=None, choices={}, seed=0, sampler="random",
    )  # fmt: skip
    store.start_trial(trial.id, worker="w", attempt=1)
    store.finish_trial(trial.id, state="complete")
    return f"found:{trial.number}"
