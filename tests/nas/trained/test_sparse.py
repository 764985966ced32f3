"""Sparse networks from training to card: what is told is counted from the weights, dense networks are as before."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from typer.main import get_command

import nas as package
from nas.card import Card, as_text
from nas.checkpoint import load_checkpoint, read_facts
from nas.cli import app
from nas.effective_cost import effective_cost, macs_by_weight
from nas.export import export
from nas.training import Trained, train_network
from nas.training_plan import plan_training
from space import Architecture, DesignSpace, build, cost
from space.build import on_meta
from space.layers import Pointwise
from space.mixers.attention import Attention
from space.named import named
from trials.store import Store
from trials.training import FULL_RECIPE, Sparsity
from trials.training.densities import maskable, sparsity_of

SPARSE = FULL_RECIPE.model_copy(update={"sparsity": Sparsity(sparsity=0.6, ratios="uniform", update_every=1)})
CPU: dict[str, Any] = {"threads": 1, "device": "cpu"}


@pytest.fixture(scope="module")
def sparse(tmp_path_factory: pytest.TempPathFactory, stripes: Path, point_file: Path) -> Trained:
    with Store.open(tmp_path_factory.mktemp("sparse") / "nas.db") as store:
        return train_network(str(point_file), str(stripes), store=store, epochs=2, recipe=SPARSE, **CPU)


class Small(nn.Module):
    """Convolutions with stride and groups, a layer at each position, one for the whole image, one weight used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.grouped = nn.Conv2d(8, 8, (1, 5), padding=(0, 2), groups=4, bias=False)
        self.point = Pointwise(8, 6)
        self.twice = nn.Linear(6, 6, bias=False)
        self.norm = nn.BatchNorm2d(6)
        self.fc = nn.Linear(6, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norm(self.point(self.grouped(self.conv(x)))).mean((2, 3))
        x = self.twice(self.twice(x))
        return self.fc(x) @ torch.eye(10, device=x.device)


def test_the_macs_of_each_weight_by_hand() -> None:
    """Images of 12 x 8 px: the map is 6 x 4, 24 positions."""
    found = macs_by_weight(Small().to("meta"), (1, 3, 12, 8))
    assert found == {
        "conv.weight": 8 * 3 * 9 * 24,
        "grouped.weight": 8 * 2 * 5 * 24,
        "point.weight": 8 * 6 * 24,
        "twice.weight": 2 * 6 * 6,
        "fc.weight": 6 * 10,
    }


def test_all_macs_but_those_of_attention_belong_to_a_weight() -> None:
    space, rng = DesignSpace.load("tiny"), random.Random(5)
    names = ("convnext_atto", "inceptionnext_atto", "caformer_s18")
    points = [space.sample(rng) for _ in range(12)] + [named(name).arch for name in names]
    # a band convolution of a single channel is a vector, which is never masked
    points = [arch for arch in points if len(maskable(on_meta(arch))) == sum(map(_multiplies, on_meta(arch).modules()))]
    assert len(points) >= 10
    for arch in points:
        found = macs_by_weight(on_meta(arch), (1, arch.in_channels, 32, 32))
        assert min(found.values()) > 0
        assert sum(found.values()) == cost(arch, 32).macs - _attention_macs(arch)


def _multiplies(module: nn.Module) -> bool:
    return isinstance(module, (nn.Conv2d, nn.Linear))


def _attention_macs(arch: Architecture) -> int:
    """Return those of scores and of their product with the values."""
    total = 0
    for stage, (height, width) in zip(arch.stages, arch.sizes((32, 32)), strict=True):
        mixers = [block.token_mixer for block in stage.blocks()]
        inner = sum(m.heads(stage.width) * m.head_width for m in mixers if isinstance(m, Attention))
        total += 2 * (height * width) ** 2 * inner
    return total


def test_zero_weights_leave_parameters_and_their_layers_macs(sparse: Trained) -> None:
    arch = sparse.arch
    network = build(arch)
    dense = cost(arch, 32)
    assert effective_cost(network, arch, 32) == effective_cost(network, arch, 32).model_copy(
        update={"sparsity": 0.0, "params": dense.params, "macs": dense.macs}
    )
    weights = maskable(network)
    with torch.no_grad():
        head, stem = weights["head.fc.weight"], next(iter(weights.values()))
        head[0] = 0  # a third of 16 x 3
        stem[: len(stem) // 2] = 0
    lost = 16 + stem.numel() // 2
    found = effective_cost(network, arch, 32)
    assert found.params == dense.params - lost
    positions = arch.sizes((32, 32))[0]
    assert found.macs == dense.macs - 16 - stem.numel() // 2 * positions[0] * positions[1]
    assert found.sparsity == pytest.approx(lost / sum(weight.numel() for weight in weights.values()))


def test_a_sparse_training_tells_what_its_weights_are(sparse: Trained) -> None:
    network, facts = load_checkpoint(sparse.checkpoint)
    assert facts.sparse
    assert facts.training is not None
    assert facts.training.recipe["sparsity"]["sparsity"] == 0.6
    assert sparse.effective == effective_cost(network, sparse.arch, 32)
    assert sparse.effective is not None
    assert sparse.effective.sparsity == sparsity_of(network) == pytest.approx(0.6, abs=0.01)
    missing = sum(int((weight == 0).sum()) for weight in maskable(network).values())
    assert sparse.effective.params == sparse.params - missing
    assert 0.3 * sparse.macs < sparse.effective.macs < 0.5 * sparse.macs


def test_the_card_tells_it_and_the_folder_loads(sparse: Trained, files_store: Store, tmp_path: Path) -> None:
    card = export(str(sparse.checkpoint), tmp_path / "out", store=files_store, formats=()).card
    assert card.effective == sparse.effective
    assert card.effective is not None
    assert card.cost.params == sparse.params
    text = (tmp_path / "out" / "card.md").read_text()
    assert f"| effective parameters | {card.effective.params / 1e3:.2f}k ({card.effective.params:,})" in text
    assert f"({card.effective.macs:,}) at 32 px" in text
    assert f"| sparsity | {100 * card.effective.sparsity:.2f} %" in text
    assert "sparsity (sparsity 0.6, ratios uniform, growth random, prune_rate 0.3, update_every 1)" in text
    loaded = package.load(tmp_path / "out")
    assert loaded.card.effective == card.effective
    assert sparsity_of(loaded.network) == card.effective.sparsity


def test_cards_and_facts_without_the_field_are_read_and_dense_ones_are_written_so(
    trained: Trained, sparse: Trained, files_store: Store, tmp_path: Path
) -> None:
    facts = read_facts(trained.checkpoint)
    assert not facts.sparse
    assert trained.effective is None
    assert "sparsity" not in facts.model_dump_json()
    for name, done in (("dense", trained), ("sparse", sparse)):
        export(str(done.checkpoint), tmp_path / name, store=files_store, formats=())
    written = {name: json.loads((tmp_path / name / "card.json").read_text()) for name in ("dense", "sparse")}
    assert "effective" not in written["dense"]
    assert "effective" not in (tmp_path / "dense" / "card.md").read_text()
    assert written["sparse"].pop("effective")["sparsity"] == pytest.approx(0.6, abs=0.01)
    old = Card.model_validate_json(json.dumps(written["sparse"]))
    assert old.effective is None
    assert "effective" not in as_text(old)


def test_a_sparse_training_has_a_folder_of_its_own(files_store: Store, point_file: Path, stripes: Path) -> None:
    def plan(**words: Any) -> Any:
        recipe = FULL_RECIPE.model_copy(update={"sparsity": Sparsity(**words) if words else None})
        return plan_training(str(point_file), str(stripes), store=files_store, recipe=recipe, epochs=30)

    plans = [plan(), plan(sparsity=0.4), plan(sparsity=0.5), plan(sparsity=0.4, growth="gradient")]
    assert len({each.folder for each in plans}) == len({each.key for each in plans}) == 4
    assert plans[0].folder == plan_training(str(point_file), str(stripes), store=files_store, epochs=30).folder
    assert [each.exchanges for each in plans] == [0, 1, 1, 1]
    assert plans[0].recipe.epoch_steps(len(plans[0].data.train)) * 30 in range(101, 200)


def test_the_command_trains_sparse_and_says_so(nas: Callable[..., Any], point_file: Path, tmp_path: Path) -> None:
    words = ("train", point_file, "--epochs", 1, "--threads", 1, "--store", tmp_path / "nas.db", "--device", "cpu")
    words += ("--sparsity", 0.5, "--sparse-ratios", "erk", "--sparse-growth", "gradient", "--update-every", 5)
    ran = nas(*words, "--prune-rate", 0.2)
    assert ran.code == 0, ran.err
    begin, epoch, *_ = ran.out.splitlines()
    assert "sparsity 0.5 (erk ratios, gradient growth, prune rate 0.2, an exchange every 5 steps)" in begin
    assert ", sparsity 50." in epoch or ", sparsity 49." in epoch
    (said,) = (line for line in ran.out.splitlines() if line.startswith("without zeros"))
    again = json.loads(nas(*words, "--prune-rate", 0.2, "--json").out)
    assert set(again["effective"]) == {"sparsity", "params", "macs"}
    assert said.endswith(f"sparsity {100 * again['effective']['sparsity']:.2f} %")
    with Store.open(tmp_path / "nas.db") as store:
        rows = {row.metric: row.circumstances for row in store.measurements_on(again["architecture"])}
    assert rows["test_accuracy"]["sparsity"].startswith("sparsity 0.5 (erk ratios")


def test_the_defaults_that_help_shows_are_those_of_the_recipe() -> None:
    spec = Sparsity(sparsity=0.4)
    shown = {option.name: option.show_default for option in get_command(app).commands["train"].params}
    assert shown["sparse_ratios"] == spec.ratios
    assert shown["sparse_growth"] == spec.growth
    assert shown["prune_rate"] == str(spec.prune_rate)
    assert shown["update_every"] == str(spec.update_every)
