"""What holds for every member of every family, found by discovery: a new member is tested by being there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from members import MIXERS, OTHERS, ROOTS, build, cost, fit, randomised, shape, specs
from pydantic import TypeAdapter
from torch import Tensor

from space.cost import Size
from space.counting import counted
from space.spec import Family

PLACES: tuple[tuple[int, Size], ...] = ((8, (1, 1)), (40, (1, 2)), (12, (2, 3)), (40, (7, 7)), (8, (16, 5)))
"""Widths and map sizes: tiny, odd, smaller than kernels, no multiple of head widths."""


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """The tensors here are tiny, threads would wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


every = pytest.mark.parametrize("spec", list(specs(ROOTS)))
every_mixer = pytest.mark.parametrize("spec", list(specs(MIXERS)))


def test_every_setting_tested_belongs_to_a_member() -> None:
    known = {kind for root in ROOTS for kind in root.members}
    assert known >= OTHERS.keys()


@every
@pytest.mark.parametrize(("width", "size"), PLACES, ids=str)
def test_shapes_and_gradients(spec: Family, width: int, size: Size) -> None:
    torch.manual_seed(0)
    module = randomised(build(fit(spec, size), width))
    x = torch.randn(3, width, *size, requires_grad=True)
    y = module(x)
    assert y.shape == (3, *shape(spec, width, size))
    (y * torch.randn_like(y)).sum().backward()
    for name, tensor in [("input", x), *((n, p) for n, p in module.named_parameters() if p.requires_grad)]:
        assert tensor.grad is not None, name
        assert tensor.grad.isfinite().all(), name


@every
def test_images_do_not_see_each_other(spec: Family) -> None:
    torch.manual_seed(0)
    module = randomised(build(fit(spec, (6, 7)), 12)).eval().double()
    x = torch.randn(3, 12, 6, 7, dtype=torch.float64)
    alone = torch.cat([module(x[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(module(x), alone)


@every
def test_memory_layout_does_not_matter(spec: Family) -> None:
    torch.manual_seed(0)
    module = randomised(build(fit(spec, (6, 7)), 12)).eval()
    x = torch.randn(2, 12, 6, 7)
    torch.testing.assert_close(module(x.to(memory_format=torch.channels_last)), module(x), rtol=1e-4, atol=1e-5)


@every_mixer
def test_channels_last_is_kept(spec: Family) -> None:
    module = build(fit(spec, (6, 7)), 12).eval().to(memory_format=torch.channels_last)
    with torch.no_grad():
        y = module(torch.randn(2, 12, 6, 7).to(memory_format=torch.channels_last))
    assert y.is_contiguous(memory_format=torch.channels_last)


@every
@pytest.mark.parametrize(("width", "size"), PLACES, ids=str)
def test_cost_is_what_counting_finds(spec: Family, width: int, size: Size) -> None:
    spec = fit(spec, size)
    with torch.device("meta"):
        module = build(spec, width)
    assert cost(spec, width, size) == counted(module, (1, width, *size)).cost


@every
def test_meta_modules_have_the_same_state(spec: Family) -> None:
    with torch.device("meta"):
        meta = build(spec, 12).state_dict()
    real = build(spec, 12).state_dict()
    assert {k: (v.shape, v.dtype) for k, v in meta.items()} == {k: (v.shape, v.dtype) for k, v in real.items()}
    assert all(v.is_meta for v in meta.values())


@every
def test_specs_survive_json(spec: Family) -> None:
    root = next(root for root in ROOTS if isinstance(spec, root))
    text = spec.model_dump_json(exclude_defaults=True)
    assert TypeAdapter[Any](root).validate_json(text) == spec
    assert hash(TypeAdapter[Any](root).validate_json(text)) == hash(spec)


@every
def test_gradients_are_right(spec: Family) -> None:
    torch.manual_seed(0)
    module = randomised(build(fit(spec, (3, 4)), 4)).double().train()
    x = torch.randn(2, 4, 3, 4, dtype=torch.float64, requires_grad=True)
    names = [name for name, _ in module.named_parameters()]
    values = [p.detach().clone().requires_grad_() for p in module.parameters()]

    def call(x: Tensor, *parameters: Tensor) -> Tensor:
        return torch.func.functional_call(module, dict(zip(names, parameters, strict=True)), (x,))

    assert torch.autograd.gradcheck(call, (x, *values), fast_mode=True, atol=1e-4)


@every
def test_compiles_in_one_graph(spec: Family) -> None:
    torch.manual_seed(0)
    torch.compiler.reset()
    module = randomised(build(fit(spec, (6, 7)), 8)).eval()
    x = torch.randn(2, 8, 6, 7)
    torch.testing.assert_close(torch.compile(module, fullgraph=True, backend="eager")(x), module(x))


@every
def test_exports(spec: Family) -> None:
    torch.manual_seed(0)
    module = randomised(build(fit(spec, (6, 7)), 8)).eval()
    x = torch.randn(2, 8, 6, 7)
    program = torch.export.export(module, (x,), dynamic_shapes=({0: torch.export.Dim("batch", min=1, max=64)},))
    other = torch.randn(3, 8, 6, 7)
    torch.testing.assert_close(program.module()(other), module(other))
