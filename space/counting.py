"""What a network costs: by formula from the point, and counted on the built module.

The formula answers in well under a millisecond, so that limits can be checked on thousands of points before any
training; that it equals the count is a law of the test suite, for every mixer and for random points.
"""

from __future__ import annotations

from collections import Counter
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from space.arch import Architecture, Block
from space.channel_mixers.none import NoChannelMixer
from space.cost import Cost, Size, linear
from space.errors import SpaceError
from space.flop_rule import FlopRule, PublishedFlops
from space.layers import OncePerBatch, share


@lru_cache(maxsize=65536)
def block_cost(block: Block, width: int, size: Size) -> Cost:
    """Cost of one block on a map of `size`: norms, mixers and scales."""
    mixers = block.token_mixer.cost(width, size) + block.channel_mixer.cost(width, size)
    branches = 2 if block.wiring == "metaformer" and not isinstance(block.channel_mixer, NoChannelMixer) else 1
    norms = block.norm.cost(width) * (branches * (1 + (block.norm_at == "both"))) + block.closing_norm.cost(width)
    scales = Cost(width * branches * ((block.layer_scale > 0) + block.residual_scale))
    squeeze = Cost()
    if block.squeeze_excite:
        hidden = share(width, block.squeeze_excite)
        squeeze = linear(width, hidden) + linear(hidden, width)
    return mixers + norms + scales + squeeze


def cost(arch: Architecture, resolution: int | Size = 224) -> Cost:
    """Return parameters, MACs and activations of `arch` for one image of `resolution` px, by formula.

    Raises SpaceError, naming the place, where the network cannot run at that resolution.
    """
    size = resolution if isinstance(resolution, tuple) else (resolution, resolution)
    sizes = arch.sizes(size)
    first = arch.stages[0].width
    total = arch.stem.cost(arch.in_channels, first, size)
    for index, (stage, here) in enumerate(zip(arch.stages, sizes, strict=True)):
        if index:
            total += stage.downsample.cost(arch.stages[index - 1].width, stage.width, sizes[index - 1])
        total += stage.norm.cost(stage.width)
        whole, rest = divmod(stage.depth, len(stage.pattern))
        for position, block in enumerate(stage.pattern):
            times = whole + (position < rest)
            if times:
                try:
                    total += block_cost(block, stage.width, here) * times
                except SpaceError as error:
                    raise SpaceError(f"stages[{index}].pattern[{position}].{error}") from None
    return total + arch.head.cost_above(*arch.last_widths, arch.classes, sizes[max(len(sizes) - 2, 0)], sizes[-1])


def merged_cost(arch: Architecture, resolution: int | Size = 224) -> Cost | None:
    """Return the cost of the form that `Network.reparameterize` leaves, or None where nothing of `arch` is merged."""
    merged = arch.merged()
    return None if merged == arch else cost(merged, resolution)


def published_flops(arch: Architecture, resolution: int | Size = 224) -> PublishedFlops | None:
    """Return what `arch` counts for one image by the rules its operators were published with.

    None where the papers of all its operators count MACs, as `cost` does.
    """
    added: Counter[FlopRule] = Counter()
    for stage, size in zip(arch.stages, arch.sizes(resolution), strict=True):
        for block, times in Counter(stage.blocks()).items():
            for rule, flops in block.token_mixer.added_flops(stage.width, size).items():
                added[rule] += flops * times
    if not added:
        return None
    without = "".join(f", without {rule.left_out}" for rule in added if rule.left_out)
    words = " + ".join(["MACs", *(rule.adds for rule in added)])
    return PublishedFlops(
        cost(arch, resolution).macs + added.total(), words + without, ", ".join(rule.source for rule in added)
    )


class _Written(TorchDispatchMode):
    """Counts the elements that convolutions and matrix products write."""

    names = frozenset({"convolution", "mm", "addmm", "bmm", "baddbmm"})

    def __init__(self) -> None:
        super().__init__()  # pyright: ignore[reportUnknownMemberType]
        self.elements: int = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out: Any = func(*args, **(kwargs or {}))
        if func.overloadpacket.__name__ in self.names:
            self.elements += int(out.numel())
        return out


PAIR = 2
"""Images that are counted together: batch normalisation cannot train on a single 1 x 1 map."""


class Counted(NamedTuple):
    """What counting on a built module found; `saved_bytes` is what autograd keeps for one image's backward pass."""

    cost: Cost
    saved_bytes: int


def _passed(meta: nn.Module, x: torch.Tensor) -> tuple[int, int]:
    """Return the MACs of one pass over all images of `x`, and the elements written."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    flops, written = FlopCounterMode(display=False), _Written()
    with sdpa_kernel(SDPBackend.MATH), flops, written:
        meta(x)
    return flops.get_total_flops() // 2, written.elements


def counted(module: nn.Module, shape: tuple[int, ...]) -> Counted:
    """Count a module on the meta device for one image of `shape` [1, channels, height, width], without running it.

    The module itself is moved to the meta device. What is done once for all images counts whole.
    """
    meta = module.to("meta").train()
    kept: dict[int, int] = {}
    owned = {id(p) for p in meta.parameters()} | {id(b) for b in meta.buffers()}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if id(tensor) not in owned and not (tensor._base is not None and id(tensor._base) in owned):
            storage = tensor.untyped_storage()
            kept[storage._cdata] = storage.nbytes()  # pyright: ignore[reportPrivateUsage]
        return tensor

    x = torch.empty((PAIR, *shape[1:]), device="meta", requires_grad=True)
    with saved_tensors_hooks(keep, lambda t: t):
        of_pair = _passed(meta, x)
    of_two_pairs = tuple(2 * count for count in of_pair)
    if any(isinstance(m, OncePerBatch) for m in meta.modules()):
        of_two_pairs = _passed(meta, x.new_empty(2 * PAIR, *shape[1:]))
    macs, written = ((3 * pair - two) // PAIR for pair, two in zip(of_pair, of_two_pairs, strict=True))
    params = sum(p.numel() for p in meta.parameters() if p.requires_grad)
    return Counted(Cost(params, macs, written), sum(kept.values()) // PAIR)
