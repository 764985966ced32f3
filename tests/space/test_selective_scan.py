"""The scanning mixers against loops over positions, the Mamba block against its record, and how both start."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from space.mixers.mamba import Mamba, MambaBlock
from space.mixers.selective_scan import SelectiveScan, SelectiveScan2d
from space.route import Route
from space.selective_ssm import SelectiveSsm, step_rank

VECTORS = Path(__file__).parents[1] / "golden" / "ops"
HEIGHT, WIDTH = 3, 4
PLACES = [(i, j) for i in range(HEIGHT) for j in range(WIDTH)]
ROWS, COLUMNS = PLACES, [(i, j) for j in range(WIDTH) for i in range(HEIGHT)]


def scanned(ssm: SelectiveSsm, route: int, sequence: list[Tensor]) -> list[Tensor]:
    """Scan the vectors [C] of a sequence one after the other, by the formulas of Mamba's algorithm 2."""
    rank, states, width = ssm.rank, ssm.states, sequence[0].shape[0]
    rates = -ssm.A_log.view(-1, width, states)[route].exp()
    state, out = torch.zeros(width, states, dtype=torch.float64), []
    for u in sequence:
        steps, b, c = (ssm.x_proj[route] @ u).split([rank, states, states])
        delta = F.softplus(ssm.dt_proj[route] @ steps + ssm.dt_bias[route])[:, None]
        state = (delta * rates).exp() * state + delta * b * u[:, None]
        out.append(state @ c + ssm.D.view(-1, width)[route] * u)
    return out


def along(ssm: SelectiveSsm, route: int, image: Tensor, places: list[tuple[int, int]]) -> Tensor:
    """Scan one image [C, H, W] in the order of `places`; what each place is told stands there."""
    out = torch.zeros_like(image)
    for (i, j), told in zip(places, scanned(ssm, route, [image[:, i, j] for i, j in places]), strict=True):
        out[:, i, j] = told
    return out


def turned(turns: int) -> list[tuple[int, int]]:
    """Places row by row after quarter turns."""
    numbers = torch.arange(HEIGHT * WIDTH).view(HEIGHT, WIDTH)
    return [divmod(int(n), WIDTH) for n in torch.rot90(numbers, turns).flatten()]


ORDERS = {
    "cross": [ROWS, COLUMNS, ROWS[::-1], COLUMNS[::-1]],
    "unidirectional": [ROWS] * 4,
    "bidirectional": [ROWS, ROWS, ROWS[::-1], ROWS[::-1]],
    "rotation": [turned(turns) for turns in range(4)],
}


def cascaded(ssm: SelectiveSsm, image: Tensor) -> Tensor:
    """Rows there and back, then columns; the sequence that comes back stays as it is."""
    for first, order, length in ((0, ROWS, WIDTH), (2, COLUMNS, HEIGHT)):
        image = F.layer_norm(image.movedim(0, -1), image.shape[:1]).movedim(-1, 0)
        out = torch.zeros_like(image)
        for line in (order[start : start + length] for start in range(0, len(order), length)):
            sequence = [image[:, i, j] for i, j in line]
            there, back = scanned(ssm, first, sequence), scanned(ssm, first + 1, sequence[::-1])
            for (i, j), a, b in zip(line, there, back, strict=True):
                out[:, i, j] = a + b
        image = out
    return image


def plainly(spec: SelectiveScan, mixer: SelectiveScan2d, x: Tensor) -> Tensor:
    """The mixer of one image [1, C, H, W] with loops."""
    x = F.conv2d(x, mixer.in_proj.weight[:, :, None, None])
    x, gate = x.chunk(2, 1) if spec.gate != "none" else (x, torch.ones(1, 1, 1, 1))
    image = F.silu(mixer.conv(x))[0]
    if spec.routes == "cascade":
        y = cascaded(mixer.ssm, image)
    else:
        y = sum(along(mixer.ssm, route, image, order) for route, order in enumerate(ORDERS[spec.routes]))
    y = F.layer_norm(y.movedim(0, -1), y.shape[:1], mixer.output.weight, mixer.output.bias, 1e-5).movedim(-1, 0)
    y = F.gelu(y) if spec.out_act == "gelu" else y
    gate = F.silu(gate) if spec.gate == "silu" else gate
    return F.conv2d(y * gate, mixer.out_proj.weight[:, :, None, None])


def moved(module: torch.nn.Module) -> Any:
    """Move all parameters from where they start, so that each matters."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in module.double().parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return module


@pytest.mark.parametrize(
    "spec",
    [
        SelectiveScan(states=3, gate="silu", conv_bias=True),
        SelectiveScan(ratio=1, states=2, routes="cascade"),
        SelectiveScan(routes="rotation", gate="identity", kernel_size=1),
        SelectiveScan(routes="unidirectional", out_act="gelu"),
        SelectiveScan(routes="bidirectional"),
    ],
    ids=lambda s: s.routes,
)
def test_the_scan_of_a_map_is_its_loops(spec: SelectiveScan) -> None:
    mixer = moved(spec.build(20))
    x = torch.randn(2, 20, HEIGHT, WIDTH, dtype=torch.float64)
    with torch.no_grad():
        expected = torch.cat([plainly(spec, mixer, image[None]) for image in x])
        torch.testing.assert_close(mixer(x), expected, rtol=1e-10, atol=1e-12)


def test_what_follows_the_scan_is_as_asked_for() -> None:
    x, outputs = torch.randn(1, 8, HEIGHT, WIDTH, dtype=torch.float64), {}
    state = moved(SelectiveScan(ratio=1, output="none").build(8)).state_dict()
    for kind in ("none", "norm", "conv", "norm_conv", "softmax", "sigmoid"):
        mixer = SelectiveScan(ratio=1, output=kind).build(8).double()
        mixer.load_state_dict(state, strict=False)
        mixer.out_proj = torch.nn.Identity()
        outputs[kind] = mixer(x).detach(), mixer.output
    plain = outputs["none"][0]
    norm = F.layer_norm(plain.movedim(1, -1), (8,)).movedim(-1, 1)
    torch.testing.assert_close(outputs["norm"][0], norm)
    conv, both = outputs["conv"][1], outputs["norm_conv"][1][1]
    torch.testing.assert_close(outputs["conv"][0], F.conv2d(plain, conv.weight, padding=1, groups=8))
    torch.testing.assert_close(outputs["norm_conv"][0], F.conv2d(norm, both.weight, padding=1, groups=8))
    torch.testing.assert_close(outputs["softmax"][0], plain.exp() / plain.exp().sum((2, 3), keepdim=True))
    torch.testing.assert_close(outputs["sigmoid"][0], 1 / (1 + (-plain).exp()))


def test_the_mamba_block_is_the_recorded_one() -> None:
    with np.load(VECTORS / "ops_mamba_block.npz") as file:
        arrays = {key: torch.from_numpy(file[key]).double() for key in file.files if file[key].ndim}
    block = Mamba().build(64).double()
    names = {  # ours -> published
        "in_proj.weight": "in_proj.weight",
        "conv.weight": "conv1d.weight",
        "conv.bias": "conv1d.bias",
        "ssm.x_proj": "x_proj.weight",
        "ssm.dt_proj": "dt_proj.weight",
        "ssm.dt_bias": "dt_proj.bias",
        "ssm.A_log": "A_log",
        "ssm.D": "D",
        "out_proj.weight": "out_proj.weight",
    }
    own = block.state_dict()
    block.load_state_dict({key: arrays[f"weight.{names[key]}"].view(own[key].shape) for key in own})
    x = arrays["block.x"].mT[:, :, None].requires_grad_()  # sequences [2, 50, 64] as maps of height 1
    y = block(x)
    torch.testing.assert_close(y[:, :, 0].mT, arrays["block.y"], rtol=1e-10, atol=1e-12)
    y.backward(arrays["block.cot_y"].mT[:, :, None])
    assert x.grad is not None
    torch.testing.assert_close(x.grad[:, :, 0].mT, arrays["block.grad_x"], rtol=1e-9, atol=1e-11)
    recorded = {ours: f"block.grad_{theirs}" for ours, theirs in names.items() if f"block.grad_{theirs}" in arrays}
    assert len(recorded) == 6
    gradients = {name: parameter.grad for name, parameter in block.named_parameters()}
    for ours, theirs in recorded.items():
        torch.testing.assert_close(gradients[ours], arrays[theirs].view(own[ours].shape), rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize(
    ("route", "places"),
    [("rows", ROWS), ("columns", COLUMNS), ("rows_reversed", ROWS[::-1]), ("columns_reversed", COLUMNS[::-1])],
)
def test_a_position_sees_those_before_it_on_the_route(route: Route, places: list[tuple[int, int]]) -> None:
    block: MambaBlock = moved(Mamba(ratio=1, states=2, route=route).build(6))
    sequence = Mamba(ratio=1, states=2).build(6).double()
    sequence.load_state_dict(block.state_dict())
    x = torch.randn(1, 6, HEIGHT, WIDTH, dtype=torch.float64, requires_grad=True)
    y = block(x)
    there = torch.stack([x[..., i, j] for i, j in places], -1)
    told = torch.stack([y[..., i, j] for i, j in places], -1)
    torch.testing.assert_close(told, sequence(there[:, :, None])[:, :, 0])
    (seen,) = torch.autograd.grad(told[..., 5].sum(), x)
    assert [bool(seen[..., i, j].any()) for i, j in places] == [True] * 6 + [False] * 6


@pytest.mark.parametrize(("width", "rank"), [(8, 1), (16, 1), (17, 2), (96, 6), (100, 7), (768, 48)])
def test_steps_have_a_sixteenth_of_the_width_as_rank(width: int, rank: int) -> None:
    assert step_rank(width) == rank
    with torch.device("meta"):
        assert SelectiveScan().build(width).ssm.dt_proj.shape == (4, 2 * width, rank)
        assert Mamba(ratio=1).build(width).ssm.dt_proj.shape == (1, width, rank)


@pytest.mark.parametrize("spec", [SelectiveScan(states=16), Mamba()], ids=lambda s: s.kind)
def test_scans_start_as_published(spec: SelectiveScan | Mamba) -> None:
    torch.manual_seed(0)
    ssm = spec.build(320).ssm.requires_grad_(False)
    for weight, fan_in in ((ssm.x_proj, 640), (ssm.dt_proj, 20)):
        bound = fan_in**-0.5
        assert bound * 0.98 < float(weight.abs().max()) <= bound
        assert float(weight.std()) == pytest.approx(bound / 3**0.5, rel=0.03)
    steps = F.softplus(ssm.dt_bias).sort().values.flatten()
    assert 1e-3 * 0.999 <= float(steps.min()) < 1.2e-3
    assert 0.08 < float(steps.max()) <= 0.1 * 1.001
    assert float(steps.log().mean()) == pytest.approx(math.log(1e-2), abs=0.2)  # log-uniform
    torch.testing.assert_close(-ssm.A_log.exp(), -torch.arange(1.0, 17.0).expand_as(ssm.A_log))
    assert (ssm.D == 1).all()
    assert all(a < b for a, b in pairwise(ssm.A_log[0].tolist()))
