"""Zero-cost proxies on networks small enough to compute each score by hand."""

import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from space.layers import LayerNorm2d, Pointwise, SquaredReLU
from trials.proxies.az_nas import AzNas, balance, in_cells, jacobian_norm, mean_ranks, spectral_entropy
from trials.proxies.fisher import Fisher, channel_saliency
from trials.proxies.grad_norm import GradNorm
from trials.proxies.jacob_cov import JacobCov, K, correlation, spectrum_score
from trials.proxies.naswot import Naswot, kernel, log_determinant
from trials.proxies.snip import Snip
from trials.proxies.synflow import log_flow, without_squares
from trials.proxies.zen_score import EPS, ZenScore, log_deviation
from trials.proxies.zico import Zico, layer_score
from trials.zero_cost import ProxyError

IMAGES, PIXELS, CLASSES = 6, 4, 3


@dataclass
class Stub:
    """What a proxy sees, with a network and images given."""

    given: nn.Module
    device: str = "cpu"

    def network(self):
        return self.given

    def batches(self, count):
        generator = torch.Generator().manual_seed(3)
        whole = torch.randn(count * IMAGES, 1, PIXELS, 1, generator=generator)
        labels = torch.arange(count * IMAGES) % CLASSES
        return list(zip(whole.tensor_split(count), labels.tensor_split(count), strict=True))

    def noise(self, count):
        return torch.randn(count, 2, 5, 5, generator=torch.Generator().manual_seed(4))


@pytest.fixture
def linear():
    """Return one linear layer over all pixels, without bias, as a network."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(PIXELS, CLASSES, bias=False))


def by_hand(network, batch=0, count=1):
    """Return inputs [N, D], weights [K, D], and softmax less one-hot [N, K]: each loss's gradient by its logits."""
    images, labels = Stub(network).batches(count)[batch]
    x, w = images.flatten(1).double().numpy(), network[1].weight.detach().double().numpy()
    logits = x @ w.T
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return x, w, p - np.eye(CLASSES)[labels.numpy()]


def test_snip_and_grad_norm_are_those_of_the_gradient_by_hand(linear):
    x, w, e = by_hand(linear)
    gradient = e.T @ x / IMAGES
    assert Snip().score(Stub(linear)) == pytest.approx((math.log(np.abs(w * gradient).sum()),), rel=1e-5)
    assert GradNorm().score(Stub(linear)) == pytest.approx((math.log(np.sqrt((gradient**2).sum())),), rel=1e-5)


def test_fisher_is_half_the_mean_square_of_activation_times_gradient(linear):
    x, w, e = by_hand(linear)
    wanted = ((x @ w.T * e) ** 2).mean(0).sum() / 2
    assert Fisher().score(Stub(linear)) == pytest.approx((math.log(wanted),), rel=1e-5)


def test_fisher_sums_positions_and_windows_before_it_squares():
    product = torch.randn(2, 3, 2, 2)  # two images, three channels
    wanted = sum(float((product[:, c].sum((1, 2)) ** 2).mean()) / 2 for c in range(3))
    assert channel_saliency(product, 1, 2) == pytest.approx(wanted)
    windows = product.permute(0, 2, 3, 1).reshape(4, 2, 3)  # two windows an image, channels last
    assert channel_saliency(windows, -1, 2) == pytest.approx(wanted)


def test_zico_compares_the_gradients_of_two_batches(linear):
    gradients = np.stack([e.T @ x / IMAGES for x, _, e in (by_hand(linear, i, 2) for i in range(2))])
    sizes = np.abs(gradients)
    wanted = math.log((sizes.mean(0) / sizes.std(0)).sum())
    assert Zico().score(Stub(linear)) == pytest.approx((wanted,), rel=1e-4)
    steady = torch.tensor([[1.0, 3.0], [1.0, 5.0]])
    assert layer_score(steady) == pytest.approx(math.log(4.0))  # mean 4, deviation 1; the steady weight is left out
    assert layer_score(steady[:, :1]) == 0.0


def test_images_that_all_answer_alike_have_the_lowest_jacobian_score(linear):
    spectrum = np.array([IMAGES] + [0.0] * (IMAGES - 1)) + K  # a linear network has one Jacobian for all images
    wanted = -(np.log(spectrum) + 1 / spectrum).sum()
    assert JacobCov().score(Stub(linear)) == pytest.approx((wanted,), rel=1e-2)
    assert spectrum_score(torch.eye(5, dtype=torch.float64)) == pytest.approx(-5 * (math.log(1 + K) + 1 / (1 + K)))


def test_correlations_are_numpys_and_a_dead_image_has_its_own():
    rows = torch.randn(4, 9)
    np.testing.assert_allclose(correlation(rows), np.corrcoef(rows.numpy()), atol=1e-6)
    rows[2] = 0.0
    np.testing.assert_array_equal(correlation(rows)[2], [0, 0, 1, 0])


def test_naswot_counts_the_bits_in_which_images_agree():
    codes = [torch.tensor([[1, 0, 1], [1, 1, 1], [0, 0, 0]], dtype=torch.bool), torch.tensor([[1], [0], [1]]) > 0]
    joined = torch.cat(codes, 1)
    agree = [[int((a == b).sum()) for b in joined] for a in joined]
    found = kernel(codes, 3)
    assert found.tolist() == agree
    assert log_determinant(found) == pytest.approx(math.log(np.linalg.det(np.array(agree) + np.eye(3))))
    assert log_determinant(torch.full((2, 2), 7.0, dtype=torch.float64)) == pytest.approx(math.log(15))  # equal codes


@pytest.mark.parametrize("act", [nn.ReLU(), nn.GELU(), nn.SiLU(), SquaredReLU()], ids=lambda act: type(act).__name__)
def test_every_activation_gives_its_signs_to_naswot(linear, act):
    before = linear(Stub(linear).batches(1)[0][0])
    wanted = log_determinant(kernel([before > 0], IMAGES))
    assert Naswot().score(Stub(nn.Sequential(linear, act))) == pytest.approx((wanted,))
    assert Naswot().score(Stub(linear)) == (0.0,)  # no activation, no bits


def test_outputs_that_are_not_finite_have_no_score(linear):
    with torch.no_grad():
        linear[1].weight.fill_(math.inf)
    for member in (Naswot(), JacobCov(), Zico()):
        with pytest.raises(ProxyError, match=rf"{member.kind}: .*not finite"):
            member.score(Stub(linear))


def test_synflow_is_the_flow_through_all_weights():
    torch.manual_seed(1)
    first, second = Pointwise(2, 3, bias=False), Pointwise(3, 2, bias=False)
    network = nn.Sequential(first, LayerNorm2d(3, 1e-6), nn.GELU(), SquaredReLU(), second).double()
    without_squares(network)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.abs_()
    flow = (second.weight @ first.weight).sum().item()
    ones = torch.ones(1, 2, 1, 1, dtype=torch.float64)
    # each layer passes the whole flow, so that the sum over weights is the flow times the number of layers
    assert log_flow(network, ones, []) == pytest.approx(math.log(2 * flow))
    assert log_flow(network, ones, [first, second]) == pytest.approx(math.log(2 * flow))


class Features(nn.Sequential):
    """A network whose features are its outputs."""

    def forward_features(self, x):
        return self(x)


def test_zen_score_is_the_mean_change_of_gaussian_features():
    torch.manual_seed(2)
    network = Features(nn.Conv2d(2, 3, 3))
    torch.manual_seed(5)
    found = ZenScore(batch_size=8).score(Stub(network))
    torch.manual_seed(5)
    weight = torch.randn(3, 2, 3, 3, dtype=torch.float64)
    change = F.conv2d(0.01 * Stub(network).noise(16)[8:].double(), weight).flatten(1).norm(dim=1).mean()
    assert found == pytest.approx((math.log(float(change)),), rel=1e-4)


@pytest.mark.parametrize("norm", [nn.BatchNorm2d(1), nn.GroupNorm(1, 1, affine=False)], ids=["batch", "map"])
def test_zen_score_makes_up_for_what_norms_divide_by(norm):
    torch.manual_seed(5)
    plain = ZenScore(batch_size=64).score(Stub(Features(nn.Conv2d(2, 1, 3))))
    torch.manual_seed(5)
    normed = ZenScore(batch_size=64).score(Stub(Features(nn.Conv2d(2, 1, 3), norm)))
    assert normed == pytest.approx(plain, abs=0.1)


def test_each_norm_divides_by_its_own_deviation():
    x = torch.randn(4, 3, 2, 2, dtype=torch.float64) * 7
    wanted = {
        F.batch_norm: x.numpy().var((0, 2, 3)).mean(),
        F.group_norm: x.flatten(1).numpy().var(1).mean(),
        F.layer_norm: x.numpy().var(-1).mean(),
        F.rms_norm: (x**2).numpy().mean(),
    }
    for function, variance in wanted.items():
        assert log_deviation(function, x) == pytest.approx(math.log(variance + EPS) / 2)


def test_az_nas_measures_isotropy_by_the_spectrum():
    x = torch.zeros(8, 4, 1, 1)
    for channel in range(4):
        x[2 * channel : 2 * channel + 2, channel, 0, 0] = torch.tensor([1.0, -1.0])
    assert spectral_entropy(x) == pytest.approx(math.log(4))
    assert spectral_entropy(x[:, :1].expand(8, 4, 1, 1)) == pytest.approx(0, abs=1e-6)
    assert spectral_entropy(torch.ones(2, 3, 2, 2)) == 0.0
    wide = torch.randn(3, 20, 1, 1)  # more channels than positions
    values = np.linalg.eigvalsh(np.cov(wide.flatten(1).numpy().T)).clip(0)
    shares = values[values > 1e-9] / values.sum()
    assert spectral_entropy(wide) == pytest.approx(-(shares * np.log(shares)).sum(), rel=1e-3)


def test_az_nas_estimates_the_jacobian_of_a_block():
    torch.manual_seed(0)
    x = torch.randn(64, 3, 8, 8, requires_grad=True)
    matrix = torch.tensor([[2.0, 0.0, 0.0], [0.0, 0.5, 0.3], [0.0, 0.0, 0.1]])
    y = torch.einsum("dc,nchw->ndhw", matrix, x)
    assert jacobian_norm(x, y) == pytest.approx(2.0, rel=0.05)
    halved = F.avg_pool2d(x, 2) * 4  # each of the four pixels of a cell passes on the whole signal: root of 4
    assert jacobian_norm(x, halved) == pytest.approx(2.0, rel=0.05)
    assert (balance(1.0), balance(2.0), balance(0.5)) == (0.0, -0.5, -0.5)
    assert math.isfinite(balance(0.0))


def test_cells_hold_all_pixels_and_are_filled_up_with_zeros():
    x = torch.arange(1.0, 8.0).expand(1, 1, 7, 7)
    cells = in_cells(x, 4, 4)
    assert cells.shape == (1, 4, 4, 4)
    assert float(cells.sum()) == float(x.sum())
    assert torch.equal(in_cells(x, 7, 7), x)
    assert in_cells(x, 14, 14).shape == (1, 1, 14, 14)


def test_az_nas_sums_the_logarithms_of_ranks():
    assert mean_ranks([3.0, 1.0, 3.0, 9.0]).tolist() == [2.5, 1.0, 2.5, 4.0]
    columns = {
        "az_nas_expressivity": np.array([1.0, 2.0]), "az_nas_progressivity": np.array([5.0, 4.0]),
        "az_nas_trainability": np.array([-1.0, -0.5]), "macs": np.array([1e9, 2e9]),
    }  # fmt: skip
    assert AzNas.rank(columns) == pytest.approx([3 * math.log(0.5), math.log(0.5)])
