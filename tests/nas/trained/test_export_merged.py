"""nas export of a network whose branches merge: the folder holds the merged form, the card both costs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import nas
from nas.checkpoint import load_checkpoint, save_checkpoint
from nas.effective_cost import effective_cost
from nas.evaluation import evaluate_network
from nas.export import Bundle, export
from nas.networks import read_point
from nas.reference import resolve
from nas.training import Trained, train_network
from space import NasError, cost
from space.build import Network
from trials.store import Store

POINT = """\
stem: {kind: separable}
stages:
- width: 8
  depth: 2
  pattern:
  - &unireplknet
    wiring: metanext
    norm: {kind: batch_norm}
    token_mixer: {kind: dilated_reparam, kernel_size: 7}
    channel_mixer: {kind: grn_mlp, norm: {kind: batch_norm}, bias: false}
    layer_scale: 0.1
    squeeze_excite: 0.25
  - norm: {kind: batch_norm}
    token_mixer: {kind: projected, inner: {kind: reparam_large_kernel, kernel_size: 9}}
- width: 16
  depth: 1
  pattern: [{wiring: metanext, token_mixer: {kind: band_kernels, kernel_size: 7, short: 3}}]
  downsample: {kind: separable}
"""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory, stripes: Path) -> Trained:
    home = tmp_path_factory.mktemp("merged")
    (home / "point.yaml").write_text(POINT)
    with Store.open(home / "nas.db") as store:
        return train_network(str(home / "point.yaml"), str(stripes), store=store, epochs=1, threads=1, device="cpu")


@pytest.fixture(scope="module")
def bundle(checkpoint: Trained, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    home = tmp_path_factory.mktemp("export")
    with Store.open(home / "nas.db") as store:
        return export(str(checkpoint.checkpoint), home / "network", store=store)


def test_the_folder_holds_the_merged_form_with_the_outputs_of_the_checkpoint(
    bundle: Bundle, checkpoint: Trained
) -> None:
    merged = checkpoint.arch.merged()
    assert merged != checkpoint.arch
    assert read_point(bundle.path) == merged
    network = nas.load(bundle.path)
    assert network.architecture == merged
    assert "stages.0.blocks.0.token_mixer.conv.bias" in load_file(bundle.path / "model.safetensors")
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        expected, found = load_checkpoint(checkpoint.checkpoint)[0](images), network(images)
        program = torch.export.load(bundle.path / "model.pt2").module()(images)
    for logits in (found, program):
        assert float((logits - expected).abs().max() / expected.abs().max()) < 1e-5
    assert max(program.max_rel_error for program in bundle.card.programs) < 1e-4
    assert [program.file for program in bundle.card.programs] == ["model.pt2", "model.onnx"]


def test_it_classifies_as_well_as_the_checkpoint(bundle: Bundle, checkpoint: Trained) -> None:
    found = evaluate_network(str(bundle.path), threads=1, device="cpu")
    assert found.test_accuracy == checkpoint.test_accuracy


def test_the_card_keeps_the_cost_of_both_forms(bundle: Bundle, checkpoint: Trained) -> None:
    card, before, after = bundle.card, cost(checkpoint.arch, 32), cost(checkpoint.arch.merged(), 32)
    assert (card.cost.params, card.cost.macs, card.cost.activations) == after
    assert card.architecture_id == checkpoint.arch.merged().id
    form = card.training_form
    assert form is not None
    assert form.architecture == checkpoint.arch
    assert form.architecture_id == checkpoint.arch.id
    assert (form.cost.params, form.cost.macs, form.cost.activations) == before
    assert before.params > after.params
    assert before.macs > after.macs
    text = (bundle.path / "card.md").read_text()
    for number in (before.params, before.macs, after.params, after.macs):
        assert f"{number:,}" in text
    assert checkpoint.arch.id in text


def test_exported_again_it_is_the_same_and_trained_anew_it_has_its_branches(
    bundle: Bundle, checkpoint: Trained, files_store: Store, tmp_path: Path
) -> None:
    again = export(str(bundle.path), tmp_path / "again", store=files_store, formats=())
    assert again.card.files["model.safetensors"] == bundle.card.files["model.safetensors"]
    assert again.card.training_form == bundle.card.training_form
    assert again.card.network == bundle.card.network
    assert resolve(str(bundle.path), files_store).arch == checkpoint.arch


def test_zeros_are_counted_before_and_after_merging(checkpoint: Trained, files_store: Store, tmp_path: Path) -> None:
    network, facts = load_checkpoint(checkpoint.checkpoint)
    with torch.no_grad():
        for weight in (p for p in network.parameters() if p.ndim > 1):
            weight[:, 1::2] = 0
            weight[1::2] = 0
    assert facts.training is not None
    training = facts.training.model_copy(update={"recipe": facts.training.recipe | {"sparsity": {"share": 0.5}}})
    save_checkpoint(tmp_path / "sparse.safetensors", network, facts.model_copy(update={"training": training}))
    before = effective_cost(network, checkpoint.arch, 32)
    after = effective_cost(network.reparameterize(), network.architecture, 32)
    made = export(str(tmp_path / "sparse.safetensors"), tmp_path / "out", store=files_store, formats=())
    assert made.card.training_form is not None
    assert made.card.training_form.effective == before
    assert made.card.effective == after != before
    assert after.params < before.params < cost(checkpoint.arch, 32).params
    text = (made.path / "card.md").read_text()
    for number in (before.params, before.macs, after.params, after.macs):
        assert f"{number:,}" in text


def test_what_does_not_merge_says_nothing_of_merging(trained: Trained, files_store: Store, tmp_path: Path) -> None:
    made = export(str(trained.checkpoint), tmp_path / "out", store=files_store, formats=())
    assert made.card.training_form is None
    assert "training_form" not in json.loads((made.path / "card.json").read_text())
    assert "in training" not in (made.path / "card.md").read_text()
    assert resolve(str(made.path), files_store).arch == trained.arch


def test_a_merged_form_that_computes_something_else_is_refused(
    checkpoint: Trained, files_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Network.reparameterize

    def wrong(network: Network) -> Network:
        whole(network).head.fc.bias.data += 1.0
        return network

    monkeypatch.setattr(Network, "reparameterize", wrong)
    with pytest.raises(NasError, match="merged, its logits differ by"):
        export(str(checkpoint.checkpoint), tmp_path / "out", store=files_store, formats=())
    assert not (tmp_path / "out").exists()


def test_a_merged_network_is_a_checkpoint_too(checkpoint: Trained, tmp_path: Path) -> None:
    network, facts = load_checkpoint(checkpoint.checkpoint)
    network.reparameterize()
    file = tmp_path / "merged.safetensors"
    save_checkpoint(file, network, facts.model_copy(update={"architecture": network.architecture}))
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(load_checkpoint(file)[0](images), network(images))
