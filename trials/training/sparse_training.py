"""Dynamic sparse training: keep masked weights at zero through every step, and exchange some now and then."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Generator, Tensor, nn
from torch.optim import Optimizer

from trials.seeds import derive_seed
from trials.training.densities import DENSE, Loss, densities, maskable
from trials.training.sparsity import Sparsity


class SparseTraining:
    """The masks of a network in training (SLaK, arXiv:2207.03620, sec. 3.3; VITA-Group/SLaK@44b4aab, sparse_core.py).

    Two things are exact here that hold only on average in the published code, which draws each position on its own:
    a mask has its layer's density to the nearest weight, and an exchange keeps the number of active weights. Masks
    are enforced after every step, under a gradient scaler as well. All draws follow from the seed and the step.
    """

    def __init__(self, model: nn.Module, spec: Sparsity, seed: int, steps: int) -> None:
        self._model, self._spec, self._seed, self._steps = model, spec, seed, steps
        self._weights = maskable(model, spec.only)
        self._changed: dict[str, Tensor] = {}
        self.masks: dict[str, Tensor] = {}
        """By parameter name, True where the weight is active; a dense layer has none."""

    def draw(self, loss: Loss) -> None:
        """Draw the masks of an untrained network, and set what they leave out to 0. Raises TrainingFailed.

        Active positions are drawn uniformly: the ratios decide how many a layer has, not which.
        loss:  the loss of a network on one training batch, for the ratios of SNIP.
        """
        generator = Generator().manual_seed(derive_seed("masks", self._seed))
        for name, density in densities(self._spec, self._model, loss).items():
            weight = self._weights[name]
            size = weight.numel()
            active = max(1, round(density * size))
            if active < DENSE * size:
                mask = torch.zeros(size, dtype=torch.bool)
                mask[torch.randperm(size, generator=generator)[:active]] = True
                self.masks[name] = _like(weight, mask.view(weight.shape))
        self._enforce(self._model)

    def load(self, masks: Mapping[str, Tensor]) -> None:
        """Go on with masks from a checkpoint; the weights already fit them."""
        self.masks = {name: _like(self._weights[name], mask) for name, mask in masks.items()}

    @torch.no_grad()
    def before_step(self, step: int, optimizer: Optimizer) -> None:
        """Exchange weights where that is due, and take masked ones out of the gradients, which are not clipped yet.

        So neither the gradients' norm nor the optimiser's moments know of weights that are not there, and weights that
        have just grown are trained by this very step. `step` counts from 1.
        """
        if self._spec.due(step, self._steps):
            self._exchange(step, optimizer)
        for name, mask in self.masks.items():
            gradient = self._weights[name].grad
            if gradient is not None:
                gradient.mul_(mask)

    @torch.no_grad()
    def after_step(self, average: nn.Module | None) -> None:
        """Enforce the masks on the network and on its moving average, in which what has grown starts at its weight."""
        self._enforce(self._model)
        if average is not None:
            for name, changed in self._changed.items():
                follower = average.get_parameter(name)
                follower.copy_(torch.where(changed, self._weights[name], follower))
            self._enforce(average)
        self._changed.clear()

    @torch.no_grad()
    def _enforce(self, network: nn.Module) -> None:
        for name, mask in self.masks.items():
            network.get_parameter(name).mul_(mask)

    def _exchange(self, step: int, optimizer: Optimizer) -> None:
        """Prune and grow in each layer; what changed starts at 0 and without moments."""
        rate = self._spec.rate(step, self._steps)
        device = next(iter(self._weights.values())).device
        generator = Generator(device).manual_seed(derive_seed("exchange", self._seed, step))
        for name, mask in self.masks.items():
            weight, steepness = self._weights[name], None
            if self._spec.growth == "gradient" and weight.grad is not None:
                steepness = weight.grad.abs().nan_to_num_(
                    0.0, 0.0, 0.0
                )  # a step the scaler will leave out says nothing
            new, changed = exchanged(mask, weight, rate, steepness, generator)
            mask.copy_(new)
            weight.masked_fill_(changed, 0.0)
            for moment in optimizer.state.get(weight, {}).values():
                if isinstance(moment, Tensor) and moment.shape == weight.shape:
                    moment.masked_fill_(changed, 0.0)
            self._changed[name] = _like(weight, changed)


def exchanged(
    mask: Tensor, weight: Tensor, rate: float, steepness: Tensor | None, generator: Generator
) -> tuple[Tensor, Tensor]:
    """Return a mask with as many active weights, and which positions were pruned or grown.

    Pruned are the `rate` (rounded up) of the active weights with the smallest magnitude. As many grow among all that
    are then inactive, the pruned ones included: those of the largest `steepness` (size of the gradient), any
    if that is None or 0 everywhere. mask, weight, steepness and both results have one shape.
    """
    flat, magnitude = mask.flatten().clone(), weight.detach().abs().flatten()
    active = flat.nonzero().squeeze(1)
    count = math.ceil(rate * len(active))
    pruned = active[magnitude[active].topk(count, largest=False, sorted=False).indices]
    flat[pruned] = False
    idle = (~flat).nonzero().squeeze(1)
    if steepness is not None and steepness.any():
        chosen = steepness.flatten()[idle].topk(count, sorted=False).indices
    else:
        chosen = torch.randperm(len(idle), generator=generator, device=idle.device)[:count]
    grown = idle[chosen]
    flat[grown] = True
    changed = torch.zeros_like(flat)
    changed[pruned] = True
    changed[grown] = True
    return flat.view(mask.shape), changed.view(mask.shape)


def _like(weight: Tensor, mask: Tensor) -> Tensor:
    """Return the mask where the weight is, in its order in memory."""
    return torch.empty_like(weight, dtype=torch.bool).copy_(mask)
