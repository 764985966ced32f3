"""Every member goes to ONNX: what onnxruntime computes is what PyTorch does, for any number of images."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import onnxruntime
import pytest
import torch
from members import ROOTS, build, fit, randomised, specs
from torch import Tensor, nn

WIDTH, SIZE, PART = 8, (6, 7), 12


class Abreast(nn.Module):
    """Modules that take the same map: one export of a dozen costs a third of one each, but less than one of all."""

    def __init__(self, modules: dict[str, nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(modules.values())

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return tuple(member(x) for member in self.members)


def outputs(modules: dict[str, nn.Module], x: Tensor) -> list[Tensor]:
    """Export by two images and run on `x`."""
    example = torch.randn(2, *x.shape[1:])
    batch = ({0: torch.export.Dim("batch", min=1, max=64)},)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter speaks of its own future
        made = torch.onnx.export(Abreast(modules).eval(), (example,), dynamo=True, dynamic_shapes=batch, verbose=False)
    assert made is not None
    session = onnxruntime.InferenceSession(made.model_proto.SerializeToString(), providers=["CPUExecutionProvider"])
    return [torch.from_numpy(y) for y in session.run(None, {session.get_inputs()[0].name: x.numpy()})]


def refused(modules: dict[str, nn.Module], x: Tensor) -> list[str]:
    """The members that cannot be exported, each with the reason's first line."""
    faults: list[str] = []
    for name, module in modules.items():
        try:
            outputs({name: module}, x)
        except Exception as error:  # whatever an exporter raises is the finding
            faults.append(f"{name}: {str(error).splitlines()[0]}")
    return faults


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """The tensors here are tiny, threads would wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def parts() -> Iterator[Any]:
    """Yield the members of each family, a dozen at a time."""
    for root in ROOTS:
        members = list(specs((root,)))
        for begin in range(0, len(members), PART):
            yield pytest.param(members[begin : begin + PART], id=f"{root.__name__}-{begin}")


@pytest.mark.parametrize("members", list(parts()))
def test_exports_to_onnx(members: list[Any]) -> None:
    torch.manual_seed(0)
    modules = {p.id: randomised(build(fit(p.values[0], SIZE), WIDTH)).eval() for p in members}
    x = torch.randn(3, WIDTH, *SIZE)
    try:
        found = outputs(modules, x)
    except Exception as error:
        pytest.fail(f"{error}\n{refused(modules, x)}")
    for (name, module), y in zip(modules.items(), found, strict=True):
        expected = module(x).detach()
        assert y.shape == expected.shape, name
        assert float((y - expected).abs().max()) < 1e-5 * max(float(expected.abs().max()), 1e-3), name
