"""How dense each layer of a sparse network is: which weights may be masked, and how the layers share what stays."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor, nn

from trials.training.failure import TrainingFailed
from trials.training.sparsity import Sparsity

DENSE = 0.99
"""A layer that would keep this share of its weights or more keeps all (VITA-Group/SLaK@44b4aab, sparse_core.py)."""
FLOOR = 0.1
"""No layer is left with less than this share of the overall density: one without weights would cut the network."""
Loss = Callable[[nn.Module], Tensor]
_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


def maskable(model: nn.Module, only: str | None = None) -> dict[str, nn.Parameter]:
    """Return the weights of convolutions and linear layers by name: learnable, two dimensions or more beyond 1.

    Vectors in disguise, such as a scale [1, 1, C] or a kernel of one tap [C, 1, 1, 1], are none of them.
    only:  keep those whose name contains this text.
    """
    return {
        name: weight
        for name, weight in model.named_parameters()
        if weight.requires_grad and sum(side > 1 for side in weight.shape) >= 2 and (only is None or only in name)
    }


def zeros(model: nn.Module) -> dict[str, int]:
    """Count the zeros in each maskable weight of the model, by name."""
    return {name: weight.numel() - int(weight.count_nonzero()) for name, weight in maskable(model).items()}


def sparsity_of(model: nn.Module) -> float:
    """Return the share of zeros among all maskable weights of the model, as they stand."""
    size = sum(weight.numel() for weight in maskable(model).values())
    return sum(zeros(model).values()) / size if size else 0.0


def densities(spec: Sparsity, model: nn.Module, loss: Loss) -> dict[str, float]:
    """Return the share of weights that each masked layer keeps, by name; 1 for a layer that stays dense.

    loss:  the loss of a network on one training batch, for the ratios of SNIP.
    Raises:  TrainingFailed where nothing can be masked, or SNIP finds no finite saliency.
    """
    weights = maskable(model, spec.only)
    if not weights:
        where = "in the network" if spec.only is None else f"with {spec.only!r} in its name"
        raise TrainingFailed(f"sparsity: there is no weight of a convolution or linear layer {where}")
    overall = 1 - spec.sparsity
    if spec.ratios == "snip":
        parts = snip(model, weights, overall, loss)
    elif spec.ratios == "erk":
        parts = erk({name: tuple(weight.shape) for name, weight in weights.items()})
    else:
        parts = dict.fromkeys(weights, 1.0)
    return settled(parts, {name: weight.numel() for name, weight in weights.items()}, overall)


def erk(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, float]:
    """Return what densities are proportional to: sum of the sides over their product (arXiv:1911.11134, sec. 3)."""
    return {name: sum(shape) / torch.Size(shape).numel() for name, shape in shapes.items()}


def saliencies(model: nn.Module, names: Iterable[str], loss: Loss) -> list[Tensor]:
    """Return |weight * gradient| of each named weight (SNIP, arXiv:1810.02340, sec. 4.1), in the order of the names.

    Of the loss on one batch, taken on a copy in 32 bits: batch norms see the batch, dropout and stochastic depth are
    off, so that nothing is drawn.
    """
    probe = copy.deepcopy(model).eval()
    for module in probe.modules():
        if isinstance(module, _BATCH_NORMS):
            module.train()
    weights = [probe.get_parameter(name) for name in names]
    with torch.enable_grad():
        gradients = torch.autograd.grad(loss(probe), weights, allow_unused=True, materialize_grads=True)
    return [(weight.detach() * gradient).abs() for weight, gradient in zip(weights, gradients, strict=True)]


def snip(model: nn.Module, names: Iterable[str], overall: float, loss: Loss) -> dict[str, float]:
    """Return each layer's share of weights among the most salient `overall` of all (SNIP, arXiv:1810.02340, sec. 4.1).

    As in SLaK only the layers' shares are used, not which weights those are. Weights as salient as the threshold, many
    where gradients are 0, count in part.
    """
    names = list(names)
    scores = saliencies(model, names, loss)
    every = torch.cat([score.flatten() for score in scores])
    if not bool(every.isfinite().all()):
        raise TrainingFailed("sparsity: the saliencies of SNIP are not finite on the first batch")
    kept = max(1, int(len(every) * overall))
    threshold = every.kthvalue(len(every) - kept + 1).values
    above = [int((score > threshold).sum()) for score in scores]
    at = [int((score == threshold).sum()) for score in scores]
    part = (kept - sum(above)) / sum(at)
    return {name: (above[index] + part * at[index]) / scores[index].numel() for index, name in enumerate(names)}


def settled(parts: Mapping[str, float], sizes: Mapping[str, int], overall: float) -> dict[str, float]:
    """Return densities proportional to `parts` that keep `overall` of all weights.

    A layer beyond 1 is made dense and the scale solved again for the rest, and so at the floor: a tenth of `overall`.
    In the end a density from 0.99 counts as 1.
    """
    floor, wanted = FLOOR * overall, overall * sum(sizes.values())
    least = 1e-6 * max(parts.values())
    raised = {name: max(part, least) for name, part in parts.items()}

    def at(scale: float) -> dict[str, float]:
        return {name: min(1.0, max(floor, scale * part)) for name, part in raised.items()}

    low, high = 0.0, 1 / min(raised.values())
    for _ in range(100):
        middle = (low + high) / 2
        enough = sum(density * sizes[name] for name, density in at(middle).items()) >= wanted
        low, high = (low, middle) if enough else (middle, high)
    return {name: 1.0 if density >= DENSE else density for name, density in at(high).items()}
