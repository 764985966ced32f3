"""What holds for every zero-cost proxy, on points of the grand space."""

import math
import random
import re
import subprocess
import sys

import pytest
import torch

from space import DesignSpace, NasError, Proxy, cost
from trials.data import load_data
from trials.evaluator import Evaluator, Job, run_job
from trials.measurement import METRICS, metric
from trials.training import PROXY_RECIPE
from trials.watching import ACTIVATIONS, Watch
from trials.zero_cost import ProxyError, probe_of, proxies, proxy, scores

TWIN = Proxy(width=0.0625, depth=0.25)
WANTED = {
    "az_nas", "fisher", "grad_norm", "jacob_cov", "macs", "naswot", "params", "snip", "synflow", "zen_score", "zico",
}  # fmt: skip


@pytest.fixture(scope="module")
def points():
    space, rng = DesignSpace.load("metaformer"), random.Random(11)
    found = []
    while len(found) < 2:
        arch = space.sample(rng)
        twin = TWIN.shrink(arch)
        if cost(twin, 32).macs < 3e6:
            found.append((arch, twin))
    return found


def job(point, *evaluators, **words):
    arch, twin = point
    given = {
        "trial_number": 0, "arch": arch, "train_arch": twin, "recipe": PROXY_RECIPE, "resolution": 32, "seed": 5,
        "evaluators": evaluators,
    }  # fmt: skip
    return Job(**(given | words))


def quiet(epoch, metrics):
    """Listen to nothing."""


@pytest.mark.parametrize("kind", sorted(WANTED))
def test_every_proxy_scores_any_point_and_repeats(points, kind):
    member = proxy(kind)
    assert member.__module__ == f"trials.proxies.{kind}"
    assert member.version >= 1
    assert all(name.startswith(kind) for name in member.metrics)
    assert re.search(r"arXiv:[0-9]{4}[.][0-9]{5}", member.paper)
    for point in points:
        before = torch.get_rng_state()
        first = run_job(job(point, member(batch_size=16)), quiet)
        assert torch.equal(torch.get_rng_state(), before)
        assert set(first) == set(member.metrics)
        assert all(math.isfinite(each.value) for each in first.values())
        torch.rand(3)
    again = run_job(job(points[-1], member(batch_size=16)), quiet)
    assert {name: each.value for name, each in again.items()} == {name: each.value for name, each in first.items()}
    other = run_job(job(points[-1], member(batch_size=16), seed=6), quiet)
    changed = [other[name].value != first[name].value for name in member.metrics]
    assert all(changed) if kind not in ("params", "macs") else not any(changed)


def test_all_are_found_and_their_metrics_known():
    assert set(proxies()) == WANTED
    assert set(proxies()) <= set(Evaluator.members)
    assert set(scores()) <= set(METRICS)
    assert METRICS["naswot"].better == "max"
    assert METRICS["macs"].better == "min"  # what is counted stays what it was
    assert metric("az_nas_expressivity").unit == ""
    assert len(METRICS) == len(list(METRICS)) == len({*METRICS})
    with pytest.raises(NasError, match=r"proxy: 'naswat' is unknown, .* did you mean 'naswot'"):
        proxy("naswat")


def test_names_that_no_proxy_begins_load_no_proxy():
    code = (
        "import sys; from trials.measurement import METRICS; "
        "assert 'train_loss' not in METRICS and METRICS['macs'].unit == 'count'; "
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_counts_are_of_the_point_and_everything_else_of_its_twin(points):
    arch, twin = points[0]
    one = job(points[0], proxy("params")(), proxy("macs")())
    found = {name: each.value for name, each in run_job(one, quiet).items()}
    assert found == {"params": cost(arch, 224).params, "macs": cost(arch, 224).macs}
    seen = probe_of(one, 8)
    assert seen.arch.stages == twin.fitted(32).stages
    assert (seen.arch.in_channels, seen.arch.classes) == (1, 10)


def test_the_weights_are_those_a_training_begins_with(points, monkeypatch):
    from trials.evaluators.train import Train
    from trials.training import loop

    begun = {}

    def fit(model, *_, **__):
        begun.update({name: each.clone() for name, each in model.state_dict().items()})
        return {"accuracy": 0.5, "loss": 1.0}

    monkeypatch.setattr(loop, "fit", fit)
    run_job(job(points[0], Train()), quiet)
    own = probe_of(job(points[0], Train()), 8).network().state_dict()
    assert own.keys() == begun.keys()
    assert all(torch.equal(own[name], begun[name]) for name in own)


def test_batches_are_disjoint_stratified_and_the_same_for_all(points):
    seen = probe_of(job(points[0], proxy("zico")()), 30)
    (first, labels), (second, _) = seen.batches(2)
    assert first.shape == (30, 1, 32, 32)
    rows = torch.cat([first, second]).flatten(1)
    assert len(torch.unique(rows, dim=0)) == 60
    assert len(torch.unique(labels)) >= 8
    assert torch.equal(seen.batches(2)[0][0], first)
    with pytest.raises(ProxyError, match=f"2000 images are needed, digits has {len(load_data('digits').train)}"):
        probe_of(job(points[0], proxy("zico")()), 1000).batches(2)


def test_activations_are_seen_in_modules_and_in_calls():
    seen = []
    x = torch.randn(2, 3)
    with Watch(on_activation=lambda given: seen.append(given)):
        torch.nn.SiLU()(torch.nn.functional.gelu(torch.relu(x)))
    assert len(seen) == 3
    assert seen[0] is x
    assert torch.nn.functional.relu in ACTIVATIONS
