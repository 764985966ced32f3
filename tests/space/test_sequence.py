"""Sequence models: the published sizes and layouts, what a layer computes, step by step, and how weights start."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from space import NasError, SpaceError
from space.counting import counted
from space.mixers.attention import Attention
from space.mixers.mamba import Mamba
from space.mixers.mamba2 import Mamba2
from space.mixers.s4 import S4
from space.mixers.s4d import S4d
from space.sequence import PUBLISHED, SequenceModel, SequenceNetwork, load_sequence

RECORDED = Path(__file__).parents[1] / "golden" / "ops" / "ops_mamba_block.npz"
PARAMS = {
    "mamba_130m": 129_135_360, "mamba_370m": 371_516_416, "mamba_790m": 793_204_224, "mamba_1.4b": 1_372_178_432,
    "mamba_2.8b": 2_768_345_600, "mamba2_130m": 128_989_632, "mamba2_370m": 368_346_624, "mamba2_780m": 780_161_280,
    "mamba2_1.3b": 1_343_757_312, "mamba2_2.7b": 2_702_599_680,
}  # fmt: skip
"""By hand from the shapes of the published modules; see `by_hand`."""


def by_hand(name: str) -> int:
    """Parameters of state-spaces/mamba's MambaLMHeadModel, layer by layer, its head tied to the embedding."""
    spec = PUBLISHED[name]
    width, inner = spec.width, 2 * spec.width
    if name.startswith("mamba2"):
        heads, convolved = inner // 64, inner + 2 * 128
        mixer = width * (inner + convolved + heads) + convolved * (4 + 1) + 3 * heads + inner + inner * width
    else:
        rank = -(-width // 16)
        scan = inner * (rank + 2 * 16) + rank * inner + inner + inner * 16 + inner
        mixer = width * 2 * inner + inner * (4 + 1) + scan + inner * width
    return spec.vocabulary * width + spec.depth * (mixer + width) + width


@pytest.mark.parametrize("name", PARAMS)
def test_published_sizes(name: str) -> None:
    assert PUBLISHED.keys() == PARAMS.keys()
    assert PUBLISHED[name].cost(1).params == PARAMS[name] == by_hand(name)


SMALL = {
    "mamba": SequenceModel(width=16, depth=3, vocabulary=30),
    "mamba2": SequenceModel(width=16, depth=3, vocabulary=30, token_mixer=Mamba2(head_width=8, states=4)),
}


def published(name: str, embedding: str = "embedding", *, tied: bool = True) -> dict[str, Tensor]:
    """Random weights in the published layout, with the published shapes."""
    torch.manual_seed(3)
    width, inner, vocabulary = 16, 32, 30
    mixers = {
        "mamba": {
            "in_proj.weight": (2 * inner, width), "conv1d.weight": (inner, 1, 4), "conv1d.bias": (inner,),
            "x_proj.weight": (1 + 2 * 16, inner), "dt_proj.weight": (inner, 1), "dt_proj.bias": (inner,),
            "A_log": (inner, 16), "D": (inner,), "out_proj.weight": (width, inner),
        },
        "mamba2": {
            "in_proj.weight": (2 * inner + 8 + 4, width), "conv1d.weight": (inner + 8, 1, 4),
            "conv1d.bias": (inner + 8,), "dt_bias": (4,), "A_log": (4,), "D": (4,), "norm.weight": (inner,),
            "out_proj.weight": (width, inner),
        },
    }  # fmt: skip
    state = {f"backbone.{embedding}.weight": torch.randn(vocabulary, width)}
    for i in range(3):
        state[f"backbone.layers.{i}.norm.weight"] = torch.rand(width) + 0.5
        for key, shape in mixers[name].items():
            state[f"backbone.layers.{i}.mixer.{key}"] = 0.3 * torch.randn(shape)
    state["backbone.norm_f.weight"] = torch.rand(width) + 0.5
    return state | ({"lm_head.weight": state[f"backbone.{embedding}.weight"].clone()} if tied else {})


def rms(x: Tensor, weight: Tensor) -> Tensor:
    return x * (x.square().mean(-1, keepdim=True) + 1e-5).rsqrt() * weight


def mamba_plainly(w: dict[str, Tensor], x: Tensor) -> Tensor:
    """The published Mamba block on one sequence [L, C], position by position."""
    u, z = (x @ w["in_proj.weight"].T).chunk(2, -1)
    state, out, taps = torch.zeros_like(w["A_log"]), [], w["conv1d.weight"][:, 0]
    for t in range(len(x)):
        window = [u[t - k] * taps[:, 3 - k] for k in range(min(t + 1, 4))]
        here = F.silu(sum(window, w["conv1d.bias"]))
        dt, b, c = (w["x_proj.weight"] @ here).split([1, 16, 16])
        step = F.softplus(w["dt_proj.weight"] @ dt + w["dt_proj.bias"])[:, None]
        state = torch.exp(-step * w["A_log"].exp()) * state + step * b * here[:, None]
        out.append(w["out_proj.weight"] @ ((state @ c + w["D"] * here) * F.silu(z[t])))
    return torch.stack(out)


@torch.no_grad()
def test_published_weights_compute_what_the_published_model_does() -> None:
    state = {key: tensor.double() for key, tensor in published("mamba").items()}
    network = SMALL["mamba"].build().double()
    assert load_sequence(network, state) == "state-spaces/mamba mamba"
    tokens = torch.randint(30, (2, 11))
    x = state["backbone.embedding.weight"][tokens]
    for i in range(3):
        block = f"backbone.layers.{i}."
        weights = {k.removeprefix(f"{block}mixer."): v for k, v in state.items() if k.startswith(f"{block}mixer.")}
        x = x + torch.stack([mamba_plainly(weights, row) for row in rms(x, state[f"{block}norm.weight"])])
    hidden = rms(x, state["backbone.norm_f.weight"])
    torch.testing.assert_close(network(tokens), hidden, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(network.logits(hidden), hidden @ state["lm_head.weight"].T)


@pytest.mark.parametrize("name", SMALL)
def test_layouts_are_read_strictly(name: str) -> None:
    network, other = SMALL[name].build(), SMALL[name].build()
    assert load_sequence(network, published(name)) == f"state-spaces/mamba {name}"
    assert load_sequence(other, published(name, "embeddings", tied=False)) == f"transformers {name}"
    tokens = torch.randint(30, (1, 5))
    assert torch.equal(network(tokens), other(tokens))
    short = published(name)
    del short["backbone.layers.2.mixer.D"]
    with pytest.raises(NasError, match=r"1 keys missing \(backbone\.layers\.2\.mixer\.D\)"):
        load_sequence(network, short)
    with pytest.raises(NasError, match=r"1 keys unexpected \(lm_head\.weight\)"):
        load_sequence(network, published(name) | {"lm_head.weight": torch.zeros(30, 16)})
    with pytest.raises(NasError, match=r"\(backbone\.embedding\.weight: \[31, 16\], the model has \[30, 16\]\)"):
        state = published(name, tied=False)
        load_sequence(network, state | {"backbone.embedding.weight": torch.zeros(31, 16)})


@torch.no_grad()
def test_a_layers_mixer_is_the_recorded_block_and_ends_in_its_states() -> None:
    with np.load(RECORDED) as file:
        found = {key: torch.from_numpy(file[key]).double() for key in file.files if file[key].ndim}
    network = SequenceModel(width=64, depth=1).build().double()
    weights = {f"backbone.layers.0.mixer.{k[7:]}": v for k, v in found.items() if k.startswith("weight.")}
    own = {"backbone.layers.0.norm.weight": torch.ones(64), "backbone.norm_f.weight": torch.ones(64)}
    load_sequence(network, weights | own)
    x = found["block.x"]
    mixer = network._mixers()[0]
    state = mixer.start(2)
    for position in range(x.shape[1]):
        y, state = mixer.step(x[:, position], state)
        torch.testing.assert_close(y, found["block.y"][:, position], rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(state.window[0], found["block.final_conv_state_first"], rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(state.scan[0], found["block.final_ssm_state_first"], rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize(
    ("mixer", "tolerance"), [(Mamba(), 1e-9), (Mamba2(head_width=8), 1e-9), (S4d(states=8), 1e-9), (S4(states=8), 1e-6)]
)
@torch.no_grad()
def test_steps_are_the_whole(mixer: Mamba | Mamba2 | S4d | S4, tolerance: float) -> None:
    network = SequenceModel(width=16, depth=2, token_mixer=mixer).build().double()
    x = torch.randn(2, 20, 16, dtype=torch.float64)
    states, outputs = network.start(2), []
    for position in range(20):
        y, states = network.step(x[:, position], states)
        outputs.append(y)
    torch.testing.assert_close(torch.stack(outputs, 1), network(x), rtol=tolerance, atol=tolerance)


def test_weights_start_as_published() -> None:
    torch.manual_seed(0)
    network: SequenceNetwork = SequenceModel(width=96, depth=4, vocabulary=500).build()
    parameters = {key: value.detach() for key, value in network.named_parameters()}
    assert float(parameters["embedding.weight"].std()) == pytest.approx(0.02, rel=0.02)
    for key, fan_in, share in (("in_proj", 96, 1.0), ("out_proj", 192, 0.5)):
        weight, bound = parameters[f"layers.3.token_mixer.{key}.weight"], share * fan_in**-0.5
        assert 0.99 * bound < float(weight.abs().max()) <= bound
        assert float(weight.std()) == pytest.approx(bound / 3**0.5, rel=0.02)
    s4 = SequenceModel(width=8, depth=2, token_mixer=S4d(states=4)).build()
    assert all(torch.count_nonzero(m.bias) == 0 for m in s4.modules() if isinstance(m, nn.Linear))


@pytest.mark.parametrize("mixer", [Mamba(), Mamba2(head_width=8), S4(states=4)])
def test_cost_is_what_is_counted(mixer: Mamba | Mamba2 | S4) -> None:
    spec = SequenceModel(width=16, depth=2, token_mixer=mixer)
    with torch.device("meta"):
        assert counted(spec.build(), (1, 70, 16)).cost == spec.cost(70)
    assert SequenceModel.model_validate_json(spec.model_dump_json(exclude_defaults=True)) == spec


def test_what_a_model_cannot_do_is_refused_in_one_line() -> None:
    attention = SequenceModel(width=32, depth=1, token_mixer=Attention()).build()
    assert attention(torch.randn(1, 3, 32)).shape == (1, 3, 32)
    with pytest.raises(SpaceError, match=r"^token_mixer: 'attention', which does not go step by step$"):
        attention.start(1)
    with pytest.raises(SpaceError, match=r"^vocabulary: 0, logits need one of at least 1$"):
        attention.logits(torch.zeros(1, 32))
    back = SequenceModel(width=8, depth=1, token_mixer=Mamba(route="rows_reversed")).build()
    with pytest.raises(SpaceError, match=r"^token_mixer\.route: 'rows_reversed', steps go from the first token on"):
        back.start(1)


@pytest.mark.parametrize("mixer", [Mamba(), Mamba2(head_width=16)], ids=["mamba", "mamba2"])
@pytest.mark.parametrize("shift", [-30.0, 0.0, 30.0])
def test_extreme_steps_and_long_sequences_stay_finite(mixer: Mamba | Mamba2, shift: float) -> None:
    """2048 positions, step sizes from 1e-13 to 30; root-mean-square errors against fp64 with the same weights.

    Single positions may be off by more where the norm after Mamba-2's scan lifts a sum that nearly cancelled.
    """
    torch.manual_seed(0)
    network = SequenceModel(width=16, depth=2, token_mixer=mixer).build()
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith("dt_bias"):
                parameter.add_(shift)
    x = torch.randn(1, 2048, 16)
    y = network(x)
    y.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())
    with torch.no_grad():
        for dtype, tolerance in ((torch.float32, 2e-6), (torch.bfloat16, 0.03)):
            narrow = deepcopy(network).to(dtype)
            found, exact = narrow(x.to(dtype)), deepcopy(narrow).double()(x.to(dtype).double())
            assert found.isfinite().all()
            assert float((found.double() - exact).norm() / exact.norm()) < tolerance
