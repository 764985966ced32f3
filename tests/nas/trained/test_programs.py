"""torch.export and ONNX forms of every member of every family compute what the network computes, for any batch size."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import nas.programs
from nas.programs import COMPARED, ProgramError, Unavailable, check_onnx, exported, write_onnx, write_torch
from space import Architecture, build
from space.families import ChannelMixer, Downsample, Head, Norm, Stem, TokenMixer

SIDE = 16


def network_of(
    blocks: Sequence[dict[str, Any]] = ({}, {}), downsample: str = "strided_conv", **fields: Any
) -> nn.Module:
    """Build a small network for gray images, one stage a block, with all weights drawn."""
    plain = {"token_mixer": {"kind": "depthwise_conv", "kernel_size": 3}}
    stages = [
        {"width": 16 * (index + 1), "depth": 1, "pattern": [plain | block]}
        | ({"downsample": {"kind": downsample}} if index else {})
        for index, block in enumerate(blocks)
    ]
    point = {"stem": {"kind": "patchify", "patch": 2}, "stages": stages, "in_channels": 1, "classes": 5} | fields
    arch = Architecture.model_validate(point).fitted(SIDE)
    torch.manual_seed(0)
    network = build(arch).eval()
    with torch.no_grad():
        for value in [*network.parameters(), *network.buffers()]:
            if value.is_floating_point() and value.ndim < 2:
                value.uniform_(0.5, 1.5)  # norms, scales and running statistics that matter
    return network


def check(network: nn.Module, folder: Path) -> None:
    shape = (1, SIDE, SIDE)
    program = exported(network, shape)
    for write, name in ((write_torch, "model.pt2"), (write_onnx, "model.onnx")):
        facts = write(program, folder / name, network, shape)
        assert facts.file == name
        assert facts.batches == COMPARED == (1, 3)
        assert facts.max_rel_error <= 1e-4
        assert (folder / name).stat().st_size > 0
    left = {path.name for path in folder.iterdir()}
    assert left == {"model.pt2", "model.onnx"}, "each form is one file"


STAGES = 3
NEEDED: dict[str, dict[str, Any]] = {
    "gated": {"context": {"kind": "depthwise_conv"}, "gate": {"kind": "recursive"}},
    "projected": {"inner": {"kind": "depthwise_conv"}},
}
"""Fields of the members that have no defaults for all."""
WIRINGS = [
    {"wiring": wiring, "layer_scale": scale, "residual_scale": scale > 0}
    for wiring in ("metaformer", "metanext")
    for scale in (0.1, 0.0)
]
IN_A_ROW = {"stem": {"kind": "patch_sequence", "patch": 4, "grid": 4}, "head": {"kind": "class_token_head"}}
"""Members that go with each other alone."""
FAMILIES: dict[str, list[str]] = {
    root.__name__: sorted(set(root.members) - {"none", *(each["kind"] for each in IN_A_ROW.values())})
    for root in (TokenMixer, ChannelMixer, Norm, Stem, Head, Downsample)
}
IN_BLOCKS = ("TokenMixer", "ChannelMixer", "Norm")
ROUNDS = max(-(-len(kinds) // (STAGES if root in IN_BLOCKS else 1)) for root, kinds in FAMILIES.items())
"""Networks that reach all members: a family of blocks has a place in each stage, the others one in each network."""


def nth(root: str, position: int) -> dict[str, Any]:
    """Return a member of the family; as many positions in a row as it has members reach all of them."""
    kinds = FAMILIES[root]
    kind = kinds[position % len(kinds)]
    return {"kind": kind, **NEEDED.get(kind, {})}


def kinds_of(number: int) -> str:
    return "-".join(nth("TokenMixer", STAGES * number + index)["kind"] for index in range(STAGES))


@pytest.mark.parametrize("number", range(ROUNDS), ids=kinds_of)
def test_every_member_of_every_family(number: int, tmp_path: Path) -> None:
    """One network for several members at once, as an export takes seconds."""
    places = range(STAGES * number, STAGES * (number + 1))
    blocks = [
        {
            "token_mixer": nth("TokenMixer", place),
            "channel_mixer": nth("ChannelMixer", place),
            "norm": nth("Norm", place),
            **WIRINGS[place % len(WIRINGS)],
        }
        for place in places
    ]
    downsample = nth("Downsample", number)["kind"]
    network = network_of(blocks, downsample, stem=nth("Stem", number), head=nth("Head", number))
    check(network, tmp_path)
    here = str(Path(nas.programs.__file__).parents[1]).encode()
    for name in ("model.pt2", "model.onnx"):
        assert here not in (tmp_path / name).read_bytes(), "paths of this machine have no place in the file"


def test_patches_in_a_row_and_their_class_token(tmp_path: Path) -> None:
    check(network_of([{"token_mixer": {"kind": "attention", "head_width": 8}}], **IN_A_ROW), tmp_path)


def test_a_form_that_computes_otherwise_is_refused(tmp_path: Path) -> None:
    program = exported(network_of(), (1, SIDE, SIDE))
    other = network_of()
    with torch.no_grad():
        list(other.parameters())[-1].add_(1)
    for write in (write_torch, write_onnx):
        with pytest.raises(ProgramError, match="differ from PyTorch's by"):
            write(program, tmp_path / "model", other, (1, SIDE, SIDE))


class Branching(nn.Module):
    """What torch.export cannot follow."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(1) if x.sum() > 0 else -x.flatten(1)


def test_a_network_that_cannot_be_exported_is_refused_in_one_line() -> None:
    with pytest.raises(ProgramError) as caught:
        exported(Branching(), (1, 4, 4))
    assert str(caught.value).startswith("torch.export: refuses this network: ")
    assert "\n" not in str(caught.value)


def test_networks_too_large_for_one_file_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    network = network_of()
    check_onnx(network)
    monkeypatch.setattr(nas.programs, "ONNX_LIMIT", 1000)
    with pytest.raises(Unavailable, match="less than 2 GiB"):
        check_onnx(network)


class Inverting(nn.Module):
    """What ONNX has no operator for."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.linalg.inv(x[:, 0] + 50 * torch.eye(x.shape[-1])).flatten(1)


def test_what_onnx_cannot_express_is_named_in_one_line(tmp_path: Path) -> None:
    network, shape = Inverting(), (1, SIDE, SIDE)
    program = exported(network, shape)
    assert write_torch(program, tmp_path / "model.pt2", network, shape).max_rel_error < 1e-4
    with pytest.raises(Unavailable, match=r"^onnx: not written, torch's exporter cannot translate aten[\w.:]+$"):
        write_onnx(program, tmp_path / "model.onnx", network, shape)
    assert not (tmp_path / "model.onnx").exists()
