"""The Mamba-2 block against loops over positions, step by step, and how it starts."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from space.mixers.mamba2 import Mamba2, Mamba2Block

SPECS = [Mamba2(head_width=8, states=5), Mamba2(ratio=1.5, head_width=64, states=3, kernel_size=2)]


def moved(spec: Mamba2, width: int) -> Mamba2Block:
    """The block with all parameters moved from where they start, so that each matters."""
    torch.manual_seed(1)
    block: Mamba2Block = spec.build(width).double()
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return block


def plainly(block: Mamba2Block, x: Tensor) -> Tensor:
    """One sequence [L, C], position by position, head by head (arXiv:2405.21060, eq. 1-2 and fig. 6, right)."""
    inner, states, heads = block.inner, block.states, block.heads
    told = x @ block.in_proj.weight.T
    gate, convolved, dt = told.split([inner, inner + 2 * states, heads], dim=1)
    taps = block.conv.weight[:, 0]
    memory, out = torch.zeros(heads, inner // heads, states, dtype=x.dtype), []
    for t in range(len(x)):
        window = [convolved[t - k] * taps[:, -1 - k] for k in range(min(t + 1, taps.shape[1]))]
        u, b, c = F.silu(sum(window, block.conv.bias)).split([inner, states, states])
        step = F.softplus(dt[t] + block.dt_bias)
        for head, value in enumerate(u.view(heads, -1)):
            memory[head] = torch.exp(-step[head] * block.A_log[head].exp()) * memory[head]
            memory[head] += step[head] * value[:, None] * b
        y = (memory @ c + block.D[:, None] * u.view(heads, -1)).flatten() * F.silu(gate[t])
        y = y * (y.square().mean() + 1e-5).rsqrt() * block.norm.weight
        out.append(block.out_proj.weight @ y)
    return torch.stack(out)


@pytest.mark.parametrize("spec", SPECS, ids=["heads", "one_head"])
@torch.no_grad()
def test_the_block_is_its_loops_and_its_steps(spec: Mamba2) -> None:
    block = moved(spec, 16)
    x = torch.randn(2, 16, 1, 70, dtype=torch.float64)  # more than one chunk of the scan
    whole = block(x)[:, :, 0].mT
    torch.testing.assert_close(whole, torch.stack([plainly(block, image[:, 0].T) for image in x]), rtol=1e-9, atol=1e-9)
    state, outputs = block.start(2), []
    for position in range(70):
        y, state = block.step(x[:, :, 0, position], state)
        outputs.append(y)
    torch.testing.assert_close(torch.stack(outputs, 1), whole, rtol=1e-9, atol=1e-9)


def test_routes_are_read_as_sequences() -> None:
    x = torch.randn(1, 16, 3, 4, dtype=torch.float64)
    rows, back = (moved(SPECS[0].model_copy(update={"route": route}), 16) for route in ("rows", "columns_reversed"))
    turned = x.transpose(2, 3).flip(2, 3)
    torch.testing.assert_close(back(x), rows(turned).flip(2, 3).transpose(2, 3))


@pytest.mark.parametrize(("width", "heads"), [(32, 1), (64, 2), (768, 24), (17, 1), (80, 2), (100, 2)])
def test_heads_divide_every_width(width: int, heads: int) -> None:
    assert Mamba2().heads(width) == heads
    assert 2 * width % heads == 0


def test_it_starts_as_published() -> None:
    torch.manual_seed(0)
    block: Mamba2Block = Mamba2(head_width=1).build(400)
    with torch.no_grad():
        steps, rates = F.softplus(block.dt_bias), block.A_log.exp()
        assert 1e-3 * 0.99 < float(steps.min()) < 1.1e-3
        assert 0.09 < float(steps.max()) < 0.1 * 1.01
        assert float(steps.log().std()) == pytest.approx(math.log(100) / 12**0.5, rel=0.1)
        assert 1 <= float(rates.min()) < 1.1
        assert 15.9 < float(rates.max()) <= 16
        assert float(rates.mean()) == pytest.approx(8.5, abs=0.5)
        assert torch.equal(block.D, torch.ones(800))
        assert torch.equal(block.norm.weight, torch.ones(800))
        bound = 0.5  # of convolutions over 4 positions
        assert 0.49 < float(block.conv.weight.abs().max()) <= bound


def test_the_published_module_has_the_same_sizes() -> None:
    """state-spaces/mamba@03a38fb mamba_ssm/modules/mamba2.py at d_model 768 and its defaults."""
    with torch.device("meta"):
        shapes = {key: tuple(value.shape) for key, value in Mamba2().build(768).state_dict().items()}
    assert shapes == {
        "in_proj.weight": (2 * 1536 + 2 * 128 + 24, 768),
        "conv.weight": (1536 + 2 * 128, 1, 4),
        "conv.bias": (1536 + 2 * 128,),
        "dt_bias": (24,),
        "A_log": (24,),
        "D": (24,),
        "norm.weight": (1536,),
        "out_proj.weight": (768, 1536),
    }
