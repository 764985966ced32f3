"""Evaluators return what they declare, repeat, and cross to a worker as JSON."""

import random

import pytest
import torch
from pydantic import TypeAdapter

from space import DesignSpace, NasError, cost
from trials.data import load_data
from trials.evaluator import EvaluationError, Evaluator, Job, run_job
from trials.evaluators.latency import Latency
from trials.evaluators.surrogate import Surrogate
from trials.evaluators.train import Train
from trials.measurement import METRICS, Measured, metric
from trials.seeds import derive_seed, trial_seed
from trials.training import PROXY_RECIPE, Sparsity, TrainingFailed

QUICK = PROXY_RECIPE.model_copy(update={"epochs": 1, "epoch_images": 64, "validation_images": 40})


def job(*evaluators, number=0, **words):
    arch = DesignSpace.load("tiny").sample(random.Random(number))
    given = {
        "trial_number": number, "arch": arch, "train_arch": arch, "recipe": QUICK, "seed": 5, "cost_resolution": 32,
        "evaluators": evaluators,
    }  # fmt: skip
    return Job(**(given | words))


def quiet(epoch, metrics):
    """Listen to nothing."""


def test_every_evaluator_declares_known_metrics():
    TypeAdapter(Evaluator)
    Job.model_json_schema()
    assert {"train", "latency", "surrogate"} <= set(Evaluator.members)
    for member in Evaluator.members.values():
        assert member.metrics
        assert set(member.metrics) <= set(METRICS)
        assert member.version >= 1


def test_a_job_survives_json(tmp_path):
    one = job(Train(), Latency(repeats=5), Surrogate(epochs=2), checkpoint_dir=tmp_path)
    again = Job.model_validate_json(one.model_dump_json())
    assert again == one
    assert again.evaluators[1] == Latency(repeats=5)
    assert again.arch.id == one.arch.id
    assert Job.model_validate_json(one.model_dump_json(exclude_defaults=True)) == one


def test_training_is_measured_on_the_validation_images_and_repeats():
    reports = []
    one = job(Train())
    found = run_job(one, lambda epoch, metrics: reports.append((epoch, metrics)))
    assert set(found) == {"accuracy", "loss"}
    assert [epoch for epoch, _ in reports] == [1]
    assert found["accuracy"].value == reports[0][1]["accuracy"]
    circumstances = found["accuracy"].circumstances
    assert circumstances["split"] == "validation"
    assert circumstances["epochs"] == 1
    assert circumstances["fingerprint"] == load_data("digits").fingerprint
    torch.manual_seed(1)
    again = run_job(one, quiet)
    assert {name: m.value for name, m in again.items()} == {name: m.value for name, m in found.items()}
    other = run_job(one.model_copy(update={"seed": 6}), quiet)
    assert other["loss"].value != found["loss"].value


def test_a_trial_is_trained_sparse_where_its_recipe_says_so():
    told = []
    sparse = QUICK.model_copy(update={"sparsity": Sparsity(sparsity=0.7, ratios="erk")})
    one = Job.model_validate_json(job(Train(), recipe=sparse).model_dump_json())
    found = run_job(one, lambda _, metrics: told.append(metrics["sparsity"]))
    assert told == [pytest.approx(0.7, abs=0.01)]
    assert str(found["accuracy"].circumstances["sparsity"]).startswith("sparsity 0.7 (erk ratios, random growth")
    assert "sparsity" not in run_job(job(Train()), quiet)["accuracy"].circumstances


def test_training_leaves_the_random_state_alone():
    before = torch.get_rng_state()
    run_job(job(Train()), quiet)
    assert torch.equal(torch.get_rng_state(), before)


def test_what_is_trained_is_the_twin_and_what_is_timed_is_the_point(monkeypatch):
    built = []
    for where, module in (("train", "trials.evaluators.train.build"), ("latency", "trials.latency.build")):
        from space import build

        monkeypatch.setattr(module, lambda arch, w=where, **k: built.append((w, arch)) or build(arch, **k))
    arch, twin = (DesignSpace.load("tiny").sample(random.Random(n)) for n in (1, 2))
    run_job(job(Train(), Latency(repeats=3), arch=arch, train_arch=twin), quiet)
    trained, timed = dict(built)["train"], dict(built)["latency"]
    assert trained.stages == twin.stages
    assert (trained.in_channels, trained.classes) == (1, 10)
    assert timed.id == arch.id


def test_a_checkpoint_is_kept_where_asked_for(tmp_path):
    one = job(Train(), number=3, checkpoint_dir=tmp_path)
    first = run_job(one, quiet)
    assert [path.name for path in tmp_path.iterdir()] == ["trial-3.pt"]
    reports = []
    again = run_job(one, lambda *report: reports.append(report))
    assert reports == []
    assert again["accuracy"].value == first["accuracy"].value


def test_latency_has_unit_and_spread():
    found = run_job(job(Latency(repeats=3, batch_size=2)), quiet)["latency_ms"]
    assert found.unit == "ms"
    assert found.value > 0
    assert found.circumstances["shape"] == "2x3x32x32"


def test_the_surrogate_repeats_reports_and_grows_with_macs():
    reports = []
    one = job(Surrogate(epochs=4))
    found = run_job(one, lambda epoch, metrics: reports.append((epoch, metrics["accuracy"])))
    assert [epoch for epoch, _ in reports] == [1, 2, 3, 4]
    assert [a for _, a in reports] == sorted(a for _, a in reports)
    assert reports[-1][1] == found["accuracy"].value
    assert found["accuracy"].circumstances["synthetic"] == "yes"
    assert run_job(one, quiet)["accuracy"].value == found["accuracy"].value
    jobs = [job(Surrogate(), number=n, cost_resolution=224) for n in range(30)]
    pairs = sorted((cost(j.arch, 224).macs, run_job(j, quiet)["accuracy"].value) for j in jobs)
    low, high = (sum(a for _, a in part) / 10 for part in (pairs[:10], pairs[-10:]))
    assert high > low
    assert len({a for _, a in pairs}) > 20


def test_failures_pass_through_with_their_reason():
    wild = QUICK.model_copy(update={"lr": 1e8, "clip": 1e12, "epochs": 3})
    with pytest.raises(TrainingFailed, match=r"training: epoch \d of 3: "):
        run_job(job(Train(), recipe=wild), quiet)
    with pytest.raises(NasError, match="neither a folder nor a known word"):
        run_job(job(Train(), data="nowhere"), quiet)


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ({"accuracy": Measured(0.5, "ratio")}, r"measured \['accuracy'\], declared: \['accuracy', 'loss'\]"),
        ({"accuracy": Measured(0.5, "ratio"), "loss": Measured(float("nan"), "nats")}, "loss is nan"),
        ({"accuracy": Measured(50, "%"), "loss": Measured(1.0, "nats")}, "accuracy in '%'"),
    ],
)
def test_broken_declarations_are_refused(monkeypatch, found, said):
    monkeypatch.setattr(Surrogate, "evaluate", lambda *_: found)
    with pytest.raises(EvaluationError, match=f"surrogate: {said}"):
        run_job(job(Surrogate()), quiet)


def test_metrics_are_found_by_name():
    assert metric("accuracy").better == "max"
    assert metric("latency_ms").unit == "ms"
    with pytest.raises(NasError, match=r"metric: 'latency' is unknown, .* did you mean 'latency_ms'"):
        metric("latency")


def test_seeds_follow_from_all_their_parts():
    seeds = {derive_seed(*parts) for parts in ((1, 2), (2, 1), (12,), ("1", 2), (1, "2"))}
    assert len(seeds) == 5
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert trial_seed(0, "abc") == trial_seed(0, "abc") != trial_seed(1, "abc")
    assert 0 <= trial_seed(0, "abc") < 2**31
