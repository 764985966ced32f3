"""Sparse recipes: what is masked, how dense each layer is, and that dense recipes read as ever."""

import pytest
import torch
from torch import nn

from space import NasError
from trials.data import load_data
from trials.threads import torch_threads
from trials.training import FULL_RECIPE, Recipe, Sparsity, TrainingFailed
from trials.training.densities import densities, erk, maskable, settled, snip, sparsity_of, zeros
from trials.training.loop import _identity
from trials.training.sparse_training import SparseTraining

SPARSE = Recipe(name="x", sparsity=Sparsity(sparsity=0.4))


@pytest.fixture(autouse=True)
def one_thread():
    with torch_threads(1):
        yield


def network(seed=0):
    """Batch norm, dropout, a depthwise kernel and layers of very different sizes."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 16, 4, 4), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 16, 5, padding=2, groups=16),
        nn.Conv2d(16, 48, 1), nn.ReLU(), nn.Dropout(0.2), nn.Conv2d(48, 32, 2, 2), nn.AdaptiveAvgPool2d(2),
        nn.Flatten(), nn.LayerNorm(128), nn.Linear(128, 10),
    )  # fmt: skip


def batch_loss(model):
    generator = torch.Generator().manual_seed(5)
    images = torch.randn(16, 1, 32, 32, generator=generator)
    return nn.functional.cross_entropy(model(images), torch.arange(16) % 10)


def drawn(spec, seed=0, model=None):
    model = model or network()
    training = SparseTraining(model, spec, seed, 100)
    training.draw(batch_loss)
    return model, training.masks


def test_a_dense_recipe_is_written_as_before_there_was_sparsity():
    assert "sparsity" not in FULL_RECIPE.model_dump_json()
    assert FULL_RECIPE.sparsity is None
    assert Recipe.model_validate_json(FULL_RECIPE.model_dump_json()) == FULL_RECIPE
    data = load_data("digits")
    dense, sparse = (_identity(network(), data, recipe, 0) for recipe in (Recipe(name="x"), SPARSE))
    assert "recipe.sparsity" not in dense
    assert dense.items() < sparse.items()
    assert sparse["recipe.sparsity"].startswith("{'sparsity': 0.4, 'ratios': 'snip'")


def test_a_sparse_recipe_survives_json_and_is_another_recipe():
    assert Recipe.model_validate_json(SPARSE.model_dump_json()) == SPARSE
    assert SPARSE.for_data(1000).sparsity == SPARSE.sparsity
    assert hash(SPARSE) != hash(SPARSE.model_copy(update={"sparsity": None}))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"sparsity": 1.0}, "sparsity: 1.0: should be less than 1"),
        ({"sparsity": 0.01}, "sparsity: 0.01: should be greater than 0.01"),
        ({"sparsity": 0.4, "prune_rate": 0.0}, "prune_rate: 0.0: should be greater than or equal to 0.005"),
        ({"sparsity": 0.4, "update_every": 0}, "update_every: 0: should be greater than or equal to 1"),
        ({"sparsity": 0.4, "ratios": "sinp"}, "ratios: 'sinp': allowed: snip, erk, uniform; did you mean 'snip'?"),
        ({"sparsity": 0.4, "only": ""}, "only: '': String should have at least 1 character"),
    ],
)
def test_what_cannot_be_is_refused_in_a_line(values, said):
    with pytest.raises(NasError) as caught:
        Sparsity.make(**values)
    assert str(caught.value) == said


def test_the_prune_rate_falls_by_half_a_cosine_and_exchanges_stop_before_the_last_step():
    spec = Sparsity(sparsity=0.5, prune_rate=0.3, update_every=25)
    assert spec.rate(0, 100) == pytest.approx(0.3)
    assert spec.rate(50, 100) == pytest.approx((0.3 + 0.005) / 2)
    assert spec.rate(25, 100) == pytest.approx(0.005 + 0.295 * (1 + 0.5**0.5) / 2)
    assert spec.rate(100, 100) == pytest.approx(0.005)
    assert [step for step in range(1, 101) if spec.due(step, 100)] == [25, 50, 75]
    for steps in (1, 24, 25, 26, 100, 101):
        assert spec.exchanges(steps) == sum(spec.due(step, steps) for step in range(1, steps + 1))


def test_weights_of_convolutions_and_linear_layers_are_masked_and_nothing_else():
    class All(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.taps, self.band = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 1, groups=8), nn.Conv2d(1, 1, (1, 5))
            self.depthwise, self.norm, self.fc = nn.Conv2d(8, 8, 3, groups=8), nn.BatchNorm2d(8), nn.Linear(8, 4)
            self.scale = nn.Parameter(torch.ones(1, 1, 8))
            self.fixed = nn.Parameter(torch.ones(8, 8), requires_grad=False)
            self.register_buffer("matrix", torch.ones(8, 8))

    assert list(maskable(All())) == ["conv.weight", "depthwise.weight", "fc.weight"]
    assert list(maskable(All(), "wise")) == ["depthwise.weight"]


def test_zeros_are_counted_in_the_weights_and_not_in_biases():
    model = nn.Sequential(nn.Linear(4, 5), nn.Conv2d(1, 10, 2))
    nn.init.zeros_(model[0].bias)
    with torch.no_grad():
        model[0].weight[0] = 0
        model[1].weight[:5] = 0
    assert zeros(model) == {"0.weight": 4, "1.weight": 20}
    assert sparsity_of(model) == 24 / 60
    assert sparsity_of(nn.ReLU()) == 0


def test_erk_by_hand():
    """Of 6020 weights 2408 stay. Scale 2408 / 269 puts c at 4.03, then 2388 / 260 puts b at 1.01: 1388 of a's 5000."""
    shapes = {"a": (100, 50), "b": (10, 100), "c": (4, 5)}
    parts = erk(shapes)
    assert parts == pytest.approx({"a": 150 / 5000, "b": 110 / 1000, "c": 9 / 20})
    assert settled(parts, {"a": 5000, "b": 1000, "c": 20}, 0.4) == pytest.approx({"a": 0.2776, "b": 1, "c": 1})
    assert erk({"conv": (64, 1, 7, 7)}) == {"conv": 79 / 3136}


def test_densities_keep_the_total_a_floor_and_make_nearly_dense_layers_dense():
    sizes = {"a": 1000, "b": 1000, "c": 1000}
    assert settled(dict.fromkeys(sizes, 7.0), sizes, 0.3) == pytest.approx(dict.fromkeys(sizes, 0.3))
    found = settled({"a": 0.0, "b": 0.2, "c": 0.4}, sizes, 0.2)
    assert found == pytest.approx({"a": 0.02, "b": 0.58 / 3, "c": 1.16 / 3})
    found = settled({"a": 0.995, "b": 0.1, "c": 0.1}, sizes, 1.195 / 3)
    assert found == pytest.approx({"a": 1.0, "b": 0.1, "c": 0.1})


class Salient(nn.Module):
    """Two layers of 10 weights: 1 to 10 in `large`, a tenth of that in `small`."""

    def __init__(self):
        super().__init__()
        self.large, self.small = nn.Linear(5, 2, bias=False), nn.Linear(5, 2, bias=False)
        with torch.no_grad():
            self.large.weight.copy_(torch.arange(1.0, 11).view(2, 5))
            self.small.weight.copy_(-torch.arange(1.0, 11).view(2, 5) / 10)


def test_snip_counts_the_most_salient_weights_of_each_layer():
    """With loss sum(large) + 2 * sum(small): 1 .. 10 against 0.2 .. 2.0; the top 12 are 2 .. 10 and 1.6, 1.8, 2.0."""
    model = Salient()

    def loss(m):
        return m.large.weight.sum() + 2 * m.small.weight.sum()

    found = snip(model, maskable(model), 0.6, loss)
    assert sum(found.values()) == pytest.approx(1.2)
    assert found == pytest.approx({"large.weight": 0.9, "small.weight": 0.3})
    assert densities(Sparsity(sparsity=0.4), model, loss) == pytest.approx(found)


def test_snip_shares_the_ties_of_weights_without_a_gradient():
    model = Salient()
    found = snip(model, maskable(model), 0.6, lambda m: m.large.weight[0].sum())
    assert found == pytest.approx({"large.weight": (5 + 5 * 7 / 15) / 10, "small.weight": 7 / 15})


def test_snip_prefers_the_layer_that_matters_to_the_outputs():
    class Branches(nn.Module):
        def __init__(self):
            super().__init__()
            self.heard, self.faint = nn.Linear(1024, 10), nn.Linear(1024, 10)

        def forward(self, x):
            return self.heard(x.flatten(1)) + 0.1 * self.faint(x.flatten(1))

    found = densities(Sparsity(sparsity=0.6), Branches(), batch_loss)
    assert found["heard.weight"] > 0.6
    assert 0.04 <= found["faint.weight"] < 0.2


def test_snip_draws_nothing_and_leaves_the_network_alone():
    model = network()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    first = snip(model, maskable(model), 0.5, batch_loss)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert model.training
    assert all(parameter.grad is None for parameter in model.parameters())
    assert snip(model, maskable(model), 0.5, batch_loss) == first


@pytest.mark.parametrize("ratios", ["snip", "erk", "uniform"])
@pytest.mark.parametrize("sparsity", [0.05, 0.4, 0.9])
def test_the_drawn_sparsity_is_the_one_asked_for(ratios, sparsity):
    spec = Sparsity(sparsity=sparsity, ratios=ratios)
    model, masks = drawn(spec)
    assert sparsity_of(model) == pytest.approx(sparsity, abs=0.01)
    wanted = densities(spec, network(), batch_loss)
    for name, weight in maskable(model).items():
        active = int(weight.count_nonzero())
        assert active == max(1, round(wanted[name] * weight.numel()))
        assert (name in masks) == (active < weight.numel())
        assert wanted[name] >= 0.1 * (1 - sparsity)
        if name in masks:
            assert torch.equal(masks[name], weight != 0)


def test_masks_follow_from_the_seed_alone():
    spec = Sparsity(sparsity=0.5)
    torch.manual_seed(1)
    _, first = drawn(spec, seed=3)
    torch.manual_seed(2)
    _, again = drawn(spec, seed=3)
    _, other = drawn(spec, seed=4)
    assert first.keys() == again.keys() == other.keys()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not any(torch.equal(first[name], other[name]) for name in first)


def test_only_named_weights_are_masked():
    model, masks = drawn(Sparsity(sparsity=0.5, only="3."))
    assert list(masks) == ["3.weight"]
    assert zeros(model) == {name: 200 if name == "3.weight" else 0 for name in maskable(model)}


def test_a_network_without_anything_to_mask_is_refused():
    with pytest.raises(TrainingFailed, match="there is no weight of a convolution or linear layer in the network"):
        drawn(Sparsity(sparsity=0.5), model=nn.Sequential(nn.BatchNorm2d(3)))
    with pytest.raises(TrainingFailed, match="layer with 'LoRA' in its name"):
        drawn(Sparsity(sparsity=0.5, only="LoRA"))


def test_a_loss_that_is_not_finite_is_refused():
    with pytest.raises(TrainingFailed, match="the saliencies of SNIP are not finite"):
        densities(Sparsity(sparsity=0.5), network(), lambda m: batch_loss(m) * float("nan"))
