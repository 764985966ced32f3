"""What a network with zeros among its weights still computes: counted from the tensors as they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from nas.facts import EffectiveFacts
from space import Architecture, cost
from space.build import on_meta
from trials.training.densities import maskable, sparsity_of, zeros


def effective_cost(network: nn.Module, arch: Architecture, resolution: int) -> EffectiveFacts:
    """Return sparsity, parameters and MACs of `network`, built from `arch`, for one image of `resolution` px.

    The MACs of each convolution and linear layer are multiplied by the share of its weights that is not zero; products
    without a learned weight (attention scores, fixed matrices) count in full, as do weights that the network
    transforms before it multiplies by them.
    """
    dense, missing, weights = cost(arch, resolution), zeros(network), maskable(network)
    macs = macs_by_weight(on_meta(arch), (1, arch.in_channels, resolution, resolution))
    saved = sum(macs[name] * count // weights[name].numel() for name, count in missing.items())
    return EffectiveFacts(
        sparsity=sparsity_of(network), params=dense.params - sum(missing.values()), macs=dense.macs - saved
    )


def macs_by_weight(meta: nn.Module, shape: tuple[int, ...]) -> dict[str, int]:
    """Return the MACs that each maskable weight takes part in, by name, for one image of `shape` [1, C, H, W].

    meta:  a network on the meta device; it is put in eval mode.
    """
    attributed = _Attributed(maskable(meta))
    with attributed, torch.no_grad():
        meta.eval()(torch.empty(shape, device="meta"))
    return attributed.macs


class _Attributed(TorchDispatchMode):
    """Credits convolutions and matrix products to the weight they read, or a view of it: the same storage."""

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.macs: dict[str, int] = dict.fromkeys(weights, 0)
        self._names = {_storage(weight): name for name, weight in weights.items()}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        packet = func.overloadpacket
        if packet in flop_registry:
            read = {_storage(arg) for arg in args if isinstance(arg, Tensor)}
            for name in (self._names[storage] for storage in read & self._names.keys()):
                self.macs[name] += flop_registry[packet](*args, **kwargs, out_val=out) // 2
        return out


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata  # pyright: ignore[reportPrivateUsage]
