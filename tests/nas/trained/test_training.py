"""Full training of one network: what it keeps, what it records, how it goes on, what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import nas.training
from nas.checkpoint import load_checkpoint, read_facts
from nas.evaluation import evaluate_network
from nas.files import sha256_of
from nas.networks import read_point
from nas.training import Trained, run_training, train_network
from nas.training_folder import TrainingFolder
from nas.training_plan import plan_training
from space import NasError
from trials.data import load_data
from trials.store import Store
from trials.training import evaluate

CPU: dict[str, Any] = {"threads": 1, "device": "cpu"}


def test_checkpoint_carries_the_facts_and_the_measured_network(trained: Trained, stripes: Path) -> None:
    network, facts = load_checkpoint(trained.checkpoint)
    data = load_data(str(stripes)).unsealed()
    assert facts.classes == ("across", "down", "plain")
    assert facts.architecture.classes == 3
    assert (facts.input.channels, facts.input.resolution) == (3, 32)
    assert facts.input.mean == data.mean
    assert facts.training is not None
    assert facts.training.data.fingerprint == data.fingerprint
    assert facts.training.recipe["epochs"] == 2
    assert evaluate(network, data.test, data)["accuracy"] == trained.test_accuracy
    assert evaluate(network, data.validation, data)["accuracy"] == trained.validation_accuracy


def test_measurements_and_checkpoint_are_recorded(files_store: Store, point_file: Path, stripes: Path) -> None:
    done = train_network(str(point_file), str(stripes), store=files_store, epochs=1, **CPU)
    measured = {row.metric: row for row in files_store.measurements_on(done.arch.id)}
    assert measured["test_accuracy"].value == done.test_accuracy
    assert measured["test_accuracy"].unit == "ratio"
    assert measured["test_accuracy"].circumstances["data"] == "stripes"
    (artifact,) = files_store.artifacts()
    assert done.recorded
    assert files_store.root / artifact.path == done.checkpoint
    assert artifact.sha256 == sha256_of(done.checkpoint)
    assert artifact.bytes == done.checkpoint.stat().st_size


def test_a_trial_keeps_its_split_and_gets_the_measurement(
    files_store: Store, point_file: Path, stripes: Path, new_trial: Callable[..., str]
) -> None:
    reference = new_trial(files_store, read_point(point_file), str(stripes), data_seed=5)
    plan = plan_training(reference, str(stripes), store=files_store, epochs=1, **CPU)
    assert plan.data.fingerprint == load_data(str(stripes), seed=5).fingerprint
    for same in (None, f"{stripes.parent}/../{stripes.parent.name}/stripes"):
        again = plan_training(reference, same, store=files_store, epochs=1, **CPU)
        assert again.folder == plan.folder, "the study's data and split, however they are named"
    done = run_training(plan, files_store)
    row = files_store.trial(files_store.study("found").id, 0)
    assert row.values["test_accuracy"] == done.test_accuracy
    assert [artifact.kind for artifact in files_store.artifacts_of(row.id)] == ["checkpoint"]


def test_a_study_of_full_networks_hands_on_its_resolution(
    files_store: Store, point_file: Path, stripes: Path, new_trial: Callable[..., str]
) -> None:
    arch = read_point(point_file)
    reference = new_trial(files_store, arch, str(stripes), train_as="full", resolution=48)
    assert plan_training(reference, str(stripes), store=files_store).data.resolution == 48
    assert plan_training(reference, str(stripes), store=files_store, resolution=64).data.resolution == 64
    assert plan_training(reference, "digits", store=files_store).data.resolution == 32


def test_an_interrupted_training_ends_like_an_uninterrupted_one(
    files_store: Store, point_file: Path, stripes: Path, tmp_path: Path
) -> None:
    seen: list[int] = []

    def cut(epoch: int, metrics: dict[str, float]) -> None:
        seen.append(epoch)
        if len(seen) == 2:
            raise KeyboardInterrupt

    def train(out: Path) -> Trained:
        return train_network(
            str(point_file), str(stripes), store=files_store, epochs=4, out=out, on_epoch=cut, **CPU
        )  # fmt: skip

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "cut")
    assert plan_training(
        str(point_file), str(stripes), store=files_store, epochs=4, out=tmp_path / "cut", **CPU
    ).state == "started"  # fmt: skip
    resumed = train(tmp_path / "cut")
    assert seen == [1, 2, 3, 4]
    whole = train(tmp_path / "whole")
    assert not whole.recorded, "lies outside the store's folder"
    first, second = (load_checkpoint(done.checkpoint)[0].state_dict() for done in (resumed, whole))
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert resumed.test_accuracy == whole.test_accuracy


def test_test_images_are_looked_at_once_and_a_finished_training_is_only_read(
    files_store: Store, point_file: Path, stripes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[str] = []

    def counting(model: Any, split: Any, *rest: Any, **options: Any) -> dict[str, float]:
        looks.append(split.name)
        return evaluate(model, split, *rest, **options)

    monkeypatch.setattr(nas.training, "evaluate", counting)
    epochs: list[int] = []
    results = [
        train_network(
            str(point_file), str(stripes), store=files_store, epochs=2, on_epoch=lambda n, _: epochs.append(n), **CPU
        )
        for _ in range(2)
    ]
    assert looks == ["test"]
    assert epochs == [1, 2]
    assert results[0] == results[1]
    assert not (results[0].checkpoint.parent / "training.pt").exists()
    assert len(files_store.artifacts()) == 1


def test_another_seed_is_another_training(files_store: Store, point_file: Path, stripes: Path) -> None:
    plans = [plan_training(str(point_file), str(stripes), store=files_store, seed=seed) for seed in (0, 0, 1)]
    assert plans[0].folder == plans[1].folder
    assert plans[0].folder != plans[2].folder


def test_a_folder_of_another_training_or_of_other_files_is_refused(
    files_store: Store, point_file: Path, stripes: Path, tmp_path: Path
) -> None:
    def plan(out: Path, seed: int = 0) -> Any:
        return plan_training(str(point_file), str(stripes), store=files_store, epochs=1, out=out, seed=seed, **CPU)

    run_training(plan(tmp_path / "run"), files_store)
    with pytest.raises(NasError, match="holds another training"):
        plan(tmp_path / "run", seed=1)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    with pytest.raises(NasError, match="holds other files"):
        plan(tmp_path / "mine")
    with pytest.raises(NasError, match="is a file"):
        plan(tmp_path / "mine" / "letter.txt")
    (tmp_path / "run" / "training.json").write_text("{")
    with pytest.raises(NasError, match="is damaged"):
        plan(tmp_path / "run")


def test_only_one_process_trains_in_a_folder(files_store: Store, point_file: Path, stripes: Path) -> None:
    plan = plan_training(str(point_file), str(stripes), store=files_store, epochs=1, **CPU)
    with TrainingFolder(plan.folder, plan.key).held(), pytest.raises(NasError, match="another process is training"):
        run_training(plan, files_store)
    assert run_training(plan, files_store).epochs == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "epochs: 0, allowed: 1 to"),
        ({"device": "tpu9"}, "device 'tpu9'"),
        ({"device": "cuda:77"}, "device 'cuda:77'"),
        ({"data": "/no/such/folder"}, "/no/such/folder"),
        ({"reference": "nowhere:3"}, "nowhere"),
        ({"reference": "lost.safetensors"}, "lost.safetensors: no such file"),
        ({"reference": "convnext_tinny"}, "convnext_tiny"),
    ],
)
def test_bad_requests_are_refused_in_one_line(
    files_store: Store, point_file: Path, stripes: Path, options: dict[str, Any], message: str
) -> None:
    asked = {"reference": str(point_file), "data": str(stripes)} | options
    with pytest.raises(NasError) as caught:
        plan_training(store=files_store, **asked)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_that_cannot_be_written_is_refused_before_training(
    files_store: Store, point_file: Path, stripes: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    plan = plan_training(str(point_file), str(stripes), store=files_store, out=tmp_path / "file" / "below", **CPU)
    with pytest.raises(NasError, match="cannot be written"):
        run_training(plan, files_store, lambda *_: pytest.fail("trained all the same"))


def test_evaluate_repeats_the_test_accuracy(trained: Trained, stripes: Path) -> None:
    found = evaluate_network(str(trained.checkpoint), **CPU)
    assert found.test_accuracy == trained.test_accuracy
    assert found.images == 9
    assert evaluate_network(str(trained.checkpoint), str(stripes), **CPU) == found


def test_evaluate_refuses_data_of_other_classes(
    trained: Trained, tmp_path: Path, new_stripes: Callable[..., Path]
) -> None:
    other = new_stripes(tmp_path / "other", ("across", "down", "nothing"))
    with pytest.raises(NasError, match=r"tells 3 classes \(across, down, plain\) apart"):
        evaluate_network(str(trained.checkpoint), str(other), **CPU)
    with pytest.raises(NasError, match="no such file"):
        evaluate_network(str(tmp_path / "none.safetensors"), **CPU)


def test_a_checkpoint_can_be_trained_anew(trained: Trained, files_store: Store, stripes: Path) -> None:
    plan = plan_training(str(trained.checkpoint), str(stripes), store=files_store, seed=3)
    assert plan.arch == read_facts(trained.checkpoint).architecture
    assert plan.origin.kind == "checkpoint"
