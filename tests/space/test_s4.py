"""S4 as token mixer: the recorded models, both directions, step by step, how it starts, and in half precision."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ops import nplr
from space import SpaceError
from space.families import TokenMixer
from space.long_convolution import LongConvolution
from space.mixers.s4 import S4, LowRankStateSpace
from space.mixers.s4d import S4d

VECTORS = Path(__file__).parents[1] / "golden" / "ops"
CASES = {"legs_N16_L64": "legs", "legs_N64_L256": "legs", "legt_N16_L64": "legt", "fout_N16_L65": "fout"}
EXACT = 5e-8
"""Of the largest number: what the untruncated kernel is computed to."""


def error(found: Tensor, exact: Tensor) -> float:
    return float((found.detach().double() - exact.detach()).abs().max() / exact.detach().abs().max())


@pytest.mark.parametrize("case", CASES)
@torch.no_grad()
def test_the_model_is_the_recorded_one(case: str) -> None:
    """Kernel and output of the published layer, whose C before its length correction is ours."""
    with np.load(VECTORS / "ops_s4.npz") as file:
        keys = [key for key in file.files if key.startswith(f"{case}.") and file[key].ndim]
        found = {key.removeprefix(f"{case}."): torch.from_numpy(file[key]) for key in keys}
        assert json.loads(str(file[f"{case}.config"]))["L"] == found["K"].shape[1]
    mixer = S4(measure=CASES[case], states=2 * found["B"].shape[1]).build(2).double()
    own = {
        "log_dt": found["dt"].log(),
        "log_A_real": (-found["Lambda"].real).log(),
        "A_imag": -found["Lambda"].imag,
        "D": found["D"],
        **{name: torch.view_as_real(found[name]) for name in ("P", "B", "C")},
    }
    projection = {key: value for key, value in mixer.state_dict().items() if key.startswith("out_proj")}
    mixer.load_state_dict(own | projection)
    assert error(mixer.kernels(found["K"].shape[1]), found["K"]) < EXACT
    shorter = found["K"].shape[1] // 3
    assert error(mixer.kernels(shorter), found["K"][:, :shorter]) < EXACT, "one C serves every length"
    y = mixer(found["u"][:, :, None])
    weight, bias = mixer.out_proj.weight, mixer.out_proj.bias
    expected = F.glu(F.conv1d(F.gelu(found["y"]), weight[..., None], bias), dim=1)
    assert error(y[:, :, 0], expected) < EXACT


@pytest.mark.parametrize("case", CASES)
@torch.no_grad()
def test_it_starts_as_recorded(case: str) -> None:
    """Rates, P and the clipped B in each channel; the sign of an eigenvector is free."""
    with np.load(VECTORS / "ops_s4.npz") as file:
        found: dict[str, Tensor] = {key: torch.from_numpy(file[f"{case}.{key}"]) for key in ("Lambda", "P", "B")}
    mixer: LowRankStateSpace = S4(measure=CASES[case], states=2 * found["B"].shape[1]).build(3).double()
    rates, low_rank, enter, _, _ = mixer.model()
    slowest = found["Lambda"][0].imag.clamp(max=-1e-4)  # the record leaves the constant mode of Fourier at 0
    for index in range(3):
        expected = torch.complex(found["Lambda"][0].real, slowest)
        torch.testing.assert_close(rates[index], expected, rtol=1e-6, atol=1e-6)
        for mine, theirs in ((low_rank[:, index], found["P"][:, 0]), (enter[index], found["B"][0])):
            for part in ("real", "imag"):
                sizes = getattr(mine, part).abs(), getattr(theirs, part).abs()
                torch.testing.assert_close(*sizes, rtol=1e-5, atol=1e-6)


def test_what_is_drawn_is_drawn_as_published() -> None:
    torch.manual_seed(0)
    mixer: LowRankStateSpace = S4(states=16).build(400)
    with torch.no_grad():
        steps = mixer.log_dt.exp()
        assert 1e-3 * 0.999 <= float(steps.min()) < 1.2e-3
        assert 0.08 < float(steps.max()) <= 0.1 * 1.001
        assert float(torch.view_as_complex(mixer.C).abs().square().mean()) == pytest.approx(1, abs=0.06)
        assert float(mixer.D.std()) == pytest.approx(1, abs=0.1)
        assert float(mixer.B[..., 1].abs().max()) == 2, "clipped"
        assert float(nplr("legs", 16).B.imag.abs().max()) > 2


MIXERS: list[Any] = [S4(states=8), S4(states=8, measure="legt"), S4(states=8, measure="fout"), S4d(states=8)]


@pytest.mark.parametrize("spec", MIXERS, ids=["legs", "legt", "fout", "s4d"])
@torch.no_grad()
def test_steps_are_the_whole(spec: TokenMixer) -> None:
    torch.manual_seed(0)
    mixer: LongConvolution = spec.build(6).double()
    x = torch.randn(2, 6, 1, 40, dtype=torch.float64)
    state, outputs = mixer.start(2), []
    for position in range(40):
        y, state = mixer.step(x[:, :, 0, position], state)
        outputs.append(y)
    assert error(mixer(x)[:, :, 0], torch.stack(outputs, -1)) < (EXACT if isinstance(spec, S4) else 1e-11)


@pytest.mark.parametrize(
    "spec", [S4(states=8, bidirectional=True), S4d(states=8, bidirectional=True)], ids=["s4", "s4d"]
)
@torch.no_grad()
def test_both_directions_are_two_models_that_share_no_position(spec: TokenMixer) -> None:
    torch.manual_seed(0)
    mixer: LongConvolution = spec.build(3).double()
    mixer.out_proj = torch.nn.Identity()  # pyright: ignore[reportAttributeAccessIssue]
    u = torch.randn(1, 3, 4, 5, dtype=torch.float64)
    past, ahead = mixer.kernels(20)
    sequence, expected = u.flatten(2), mixer.D[:, None] * u.flatten(2)
    for t in range(20):
        for s in range(20):
            expected[..., t] += sequence[..., s] * (past[:, t - s] if s <= t else ahead[:, s - t - 1])
    value, gate = F.gelu(expected).view(1, 3, 4, 5).split([2, 1], dim=1)
    torch.testing.assert_close(mixer(u), value * gate.sigmoid(), rtol=1e-10, atol=1e-10)
    with pytest.raises(SpaceError, match=r"^token_mixer\.bidirectional: True, only a mixer of the past goes step by"):
        mixer.start(1)


@pytest.mark.parametrize("length", [1, 2, 3136])
@pytest.mark.parametrize("step", [1e-6, 1e-2, 1e3])
@pytest.mark.parametrize(
    "spec", [S4(states=16), S4(states=16, measure="legt"), S4d(states=16)], ids=["s4", "legt", "s4d"]
)
@torch.no_grad()
def test_single_precision_keeps_its_digits_at_extreme_steps(spec: TokenMixer, step: float, length: int) -> None:
    """Errors of fp32 parameters and inputs, relative to the largest output."""
    torch.manual_seed(0)
    mixer: LongConvolution = spec.build(4)
    mixer.log_dt.fill_(step).log_()
    x = torch.randn(1, 4, 1, length)
    found = mixer(x)
    assert found.isfinite().all()
    assert error(found, mixer.double()(x.double())) < 1e-5


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("spec", [S4(states=16), S4d(states=16)], ids=["s4", "s4d"])
def test_half_precision_trains(spec: TokenMixer, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    mixer: LongConvolution = spec.build(8).to(dtype)
    x = torch.randn(2, 8, 7, 9, dtype=dtype)
    y = mixer(x)
    assert y.dtype == dtype
    assert error(y, mixer.double()(x.double())) < 20 * torch.finfo(dtype).eps
    mixer.to(dtype)(x).float().square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in mixer.parameters())


def test_kernels_are_counted_once_for_all_images() -> None:
    spec, size = S4(states=8, measure="legt", bidirectional=True), (5, 7)
    sums = 16 * (2 * (2 + 2) * (1 + 2)) * 4 * (2 * 18)  # channels, rows, pairs of states, parts of 18 frequencies
    assert spec.cost(16, size).macs == 16 * 32 * 35 + sums
