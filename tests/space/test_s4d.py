"""S4D as token mixer: the recorded layer, the order of a route, how it starts, and what it costs."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from space.build import on_meta
from space.counting import cost, counted
from space.mixers.s4d import DiagonalStateSpace, S4d
from space.named import named
from space.route import Route, lay, read

VECTORS = Path(__file__).parents[1] / "golden" / "ops"
NAMES = {  # ours -> published
    "log_dt": "kernel.log_dt",
    "log_A_real": "kernel.log_A_real",
    "A_imag": "kernel.A_imag",
    "C": "kernel.C",
    "D": "D",
    "out_proj.weight": "output_linear.0.weight",
    "out_proj.bias": "output_linear.0.bias",
}


@pytest.mark.parametrize("case", ["minimal_N16_L64", "minimal_N64_L256"])
def test_the_layer_is_the_recorded_one(case: str) -> None:
    with np.load(VECTORS / "ops_s4d.npz") as file:
        keys = [key for key in file.files if key.startswith(f"{case}.") and file[key].ndim]
        found = {key.removeprefix(f"{case}."): torch.from_numpy(file[key]) for key in keys}
    mixer = S4d(states=2 * found["kernel.C"].shape[1]).build(2).double()
    own = mixer.state_dict()
    mixer.load_state_dict({key: found[NAMES[key]].view(own[key].shape) for key in own})
    u = found["u"][:, :, None].requires_grad_()  # a sequence as a map of height 1
    y = mixer(u)
    torch.testing.assert_close(y[:, :, 0], found["y"], rtol=1e-10, atol=1e-11)
    y.backward(found["cot_y"][:, :, None])
    assert u.grad is not None
    torch.testing.assert_close(u.grad[:, :, 0], found["grad_u"], rtol=1e-9, atol=1e-10)
    gradients = {name: parameter.grad for name, parameter in mixer.named_parameters()}
    for ours, theirs in NAMES.items():
        expected = found[f"grad_{theirs}"].view(own[ours].shape)
        torch.testing.assert_close(gradients[ours], expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("route", "order"),
    [
        ("rows", [0, 1, 2, 3, 4, 5]),
        ("columns", [0, 3, 1, 4, 2, 5]),
        ("rows_reversed", [5, 4, 3, 2, 1, 0]),
        ("columns_reversed", [5, 2, 4, 1, 3, 0]),
    ],
)
def test_routes_are_read_in_order_and_laid_back(route: Route, order: list[int]) -> None:
    x = torch.arange(6.0).view(1, 1, 2, 3)
    assert read(x, route)[0, 0].tolist() == order
    assert torch.equal(lay(read(x, route), route, (2, 3)), x)


@pytest.mark.parametrize(
    ("spectrum", "first"), [("lin", [0, math.pi]), ("inv", [16 / math.pi * 15, 16 / math.pi * (16 / 3 - 1)])]
)
def test_it_starts_as_published(spectrum: str, first: list[float]) -> None:
    torch.manual_seed(0)
    mixer: DiagonalStateSpace = S4d.model_validate({"states": 16, "spectrum": spectrum}).build(400)
    with torch.no_grad():
        torch.testing.assert_close(mixer.A_imag[:, :2], torch.tensor(first).expand(400, 2))
        torch.testing.assert_close(mixer.log_A_real.exp(), torch.full((400, 8), 0.5))
        steps = mixer.log_dt.exp()
        assert 1e-3 * 0.999 <= float(steps.min()) < 1.2e-3
        assert 0.08 < float(steps.max()) <= 0.1 * 1.001
        assert float(torch.view_as_complex(mixer.C).abs().square().mean()) == pytest.approx(1, abs=0.06)
        assert float(mixer.D.std()) == pytest.approx(1, abs=0.1)


def test_the_kernel_is_counted_once_for_all_images() -> None:
    spec = S4d(states=8)
    kernel = 16 * 6 * 8 * 6  # 16 channels, 6 far by 6 near positions, 8 numbers each
    assert spec.cost(16, (5, 7)).macs == 16 * 32 * 35 + kernel
    with torch.device("meta"):
        assert counted(spec.build(16), (1, 16, 5, 7)).cost == spec.cost(16, (5, 7))


def test_networks_of_it_cost_what_is_counted() -> None:
    arch = named("convnext_atto").arch
    stages = tuple(
        stage.model_copy(update={"pattern": (stage.pattern[0].model_copy(update={"token_mixer": S4d(states=4)}),)})
        for stage in arch.stages
    )
    arch = arch.model_copy(update={"stages": stages})
    assert counted(on_meta(arch), (1, 3, 64, 96)).cost == cost(arch, (64, 96))
