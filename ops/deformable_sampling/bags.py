"""The same sums on a CPU: what a query takes from the map is one bag of weighted rows.

A point takes four cells of the map, so a query with P points is a bag of 4 P rows with a weight each: embedding_bag
sums it, and the gradients of the weights are products of a query's gradient and those rows, which is what a sampled
product of matrices computes. On the way back to the map, small maps take one product of matrices and large ones a
scatter. Maps get a border of zeros, so that each point has its four cells and no case is special; what follows a row
is also what comes before the next. Images are taken some at a time, so that all this stays in the cache, and nothing
but the inputs is kept for the backward pass.

Axes: n images, q queries, g groups, p points of a query, c cells of a map with its border, d channels of a group.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ops.deformable_sampling.native import LARGEST_MAP
from ops.deformable_sampling.reference import reference
from ops.double_backward import apart

BUFFER = 1 << 18
"""Rows of all bags, or elements of matrices, that are taken together; 1 << 17 to 1 << 19 measured alike."""


def pays(value: Tensor) -> bool:
    """Whether this implementation is the one to take: on a CPU with MKL (or to ask for shapes), outside of tracing."""
    return (
        value.device.type in ("cpu", "meta")
        and value.shape[1] * value.shape[2] <= LARGEST_MAP
        and not torch.compiler.is_compiling()
        and torch.backends.mkl.is_available()
        and not torch._C._are_functorch_transforms_active()  # no public name asks this
    )


def bags(value: Tensor, x: Tensor, y: Tensor, weight: Tensor) -> Tensor:
    """Sum weighted samples as the reference does."""
    return _Bags.apply(value, x, y, weight)


class _Bags(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor, x: Tensor, y: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(value, x, y, weight)
        table, size = _bordered(value), value.shape[1:3]
        out = value.new_empty(*x.shape[:3], value.shape[-1])
        for images in () if value.is_meta else _parts(x, table):
            placed = _place(x[images], y[images], weight[images], *size)
            entries = table[images].flatten(0, 2)
            summed = F.embedding_bag(placed.rows, entries, mode="sum", per_sample_weights=placed.shares())
            out[images] = summed.view_as(out[images])
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        value, x, y, weight = inputs = ctx.saved_tensors
        if torch.is_grad_enabled():
            return _differentiable(ctx.needs_input_grad, inputs, grads[0])
        table, size, d_out = _bordered(value), value.shape[1:3], grads[0].contiguous()
        d_table, d_points = torch.zeros_like(table), tuple(p.new_empty(p.shape) for p in (x, y, weight))
        for images in () if value.is_meta else _parts(x, table):
            placed = _place(x[images], y[images], weight[images], *size)
            d_shares = _sampled(placed.rows, d_out[images], table[images])
            for into, found in zip(d_points, placed.gradients(d_shares), strict=True):
                into[images] = found
            placed.back(d_out[images], d_table[images])
        return _middle(d_table, *size), *d_points


def _differentiable(wanted: tuple[bool, ...], inputs: tuple[Tensor, ...], grad: Tensor) -> tuple[Tensor | None, ...]:
    """Return gradients that can be differentiated again, by the reference."""
    inputs = apart(*inputs)
    of = [tensor for tensor, want in zip(inputs, wanted, strict=True) if want]
    value, x, y, weight = inputs
    found = iter(torch.autograd.grad(reference(value, x, y, weight), of, grad, create_graph=True))
    return tuple(next(found) if want else None for want in wanted)


def _parts(x: Tensor, table: Tensor) -> Iterator[slice]:
    """Yield slices of the batch whose bags keep to the buffer and whose rows have 32-bit numbers."""
    size = max(1, min(BUFFER // (4 * x[0].numel()), 2**30 // table[0, ..., 0].numel()))
    return (slice(start, start + size) for start in range(0, len(x), size))


def _bordered(value: Tensor) -> Tensor:
    """[N, H, W, G, D] -> [N, c, G, D], c = (H + 2) * (W + 1) + 1."""
    batch, height, width, groups, depth = value.shape
    table = value.new_zeros(batch, (height + 2) * (width + 1) + 1, groups, depth)
    _middle(table, height, width).copy_(value)
    return table


def _middle(table: Tensor, height: int, width: int) -> Tensor:
    """The view [N, H, W, G, D] of a bordered map."""
    return table[:, :-1].unflatten(1, (height + 2, width + 1))[:, 1:-1, 1:]


def _sampled(index: Tensor, left: Tensor, table: Tensor) -> Tensor:
    """Return for each bag of `index` [rows, k] the products of its row of `left` with those of the table, [rows, k]."""
    rows, count = index.shape
    starts = torch.arange(0, rows * count + 1, count, dtype=torch.int32)
    # rows beyond the table: a row of the pattern must not have more entries than places
    flat = F.pad(table.flatten(0, 2), (0, 0, 0, max(0, count - table[..., 0].numel())))
    _warned_once()
    pattern = torch.sparse_csr_tensor(
        starts, index.view(-1), left.new_zeros(rows * count), (rows, len(flat)), check_invariants=False
    )
    return torch.sparse.sampled_addmm(pattern, left.view(rows, -1), flat.t(), beta=0.0).values().view(rows, count)


@lru_cache(maxsize=1)
def _warned_once() -> None:
    """Let PyTorch say here, once and unheard, that its compressed sparse tensors are in beta."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.sparse_csr_tensor([0], [], [], (0, 1))


class _Placed(NamedTuple):
    """Where points lie: their four cells, first, right, below and below right, and the distance from the first."""

    cell: Tensor  # [n, q, g, p], int32: the first cell in its map
    rows: Tensor  # [n * q * g, 4 * p], int32: all four among the rows [n * c * g] of the table
    across: Tensor  # [n, q, g, p], 0 to 1
    down: Tensor  # [n, q, g, p], 0 to 1
    weight: Tensor  # [n, q, g, p]
    x: Tensor  # [n, q, g, p], as given
    y: Tensor  # [n, q, g, p], as given
    size: tuple[int, int]  # of the map, without its border

    def shares(self) -> Tensor:
        """What a bag takes of its rows, [n * q * g, 4 * p]."""
        shares = self.weight.new_empty(*self.weight.shape[:3], 4, self.weight.shape[3])
        below = self.weight * self.down
        for row, part in enumerate((self.weight - below, below)):
            right = torch.mul(part, self.across, out=shares[..., 2 * row + 1, :])
            torch.sub(part, right, out=shares[..., 2 * row, :])
        return shares.flatten(0, 2).flatten(1)

    def gradients(self, d_shares: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the gradients of x, y and weight from those of the shares."""
        first, right, below, last = d_shares.view(*self.weight.shape[:3], 4, -1).unbind(3)
        upper, lower = torch.lerp(first, right, self.across), torch.lerp(below, last, self.across)
        (height, width), x, y = self.size, self.x, self.y
        # beyond reach of the map the place does not matter
        scale = self.weight * ((x > -1) & (x < width) & (y > -1) & (y < height))
        slope = torch.lerp(right - first, last - below, self.down)
        return slope.mul_(scale), (lower - upper).mul_(scale), torch.lerp(upper, lower, self.down)

    def back(self, d_out: Tensor, d_table: Tensor) -> None:
        """Write the gradient of the table [n, c, g, d] from that of the output [n, q, g, d]."""
        cells, _, depth = d_table.shape[1:]
        shares = self.shares()
        if cells > 2.5 * self.cell.shape[3] * depth:
            _scatter(shares, self.rows, d_out.view(-1, depth), d_table)
        else:
            steps = (0, 1, self.size[1] + 1, self.size[1] + 2)
            _multiply(shares.view(*self.cell.shape[:3], 4, -1), self.cell, steps, d_out, d_table)


def _multiply(shares: Tensor, cell: Tensor, steps: tuple[int, ...], d_out: Tensor, d_table: Tensor) -> None:
    """Write to the table what the shares bring to it, by one [queries, cells] matrix for each map."""
    (batch, cells, groups, depth), queries = d_table.shape, d_out.shape[1]
    size = max(1, BUFFER // (groups * queries * cells))
    rows = torch.arange(0, size * groups * queries * cells, cells).view(size, groups, queries, 1).transpose(1, 2)
    room = shares.new_empty(size * groups * queries * cells)
    for start in range(0, batch, size):
        here = slice(start, min(start + size, batch))
        images = here.stop - start
        matrices = room[: images * groups * queries * cells].zero_()
        where = (cell[here] + rows[:images]).view(-1)
        for corner, step in enumerate(steps):
            matrices[step:].scatter_add_(0, where, shares[here, :, :, corner].reshape(-1))
        by_map = d_out[here].transpose(1, 2).flatten(0, 1)
        found = torch.bmm(matrices.view(-1, queries, cells).mT, by_map)
        d_table[here] = found.view(images, groups, cells, depth).transpose(1, 2)


def _scatter(shares: Tensor, index: Tensor, d_out: Tensor, d_table: Tensor) -> None:
    """Add the shares of all bags to their rows of the table, channel by channel, some bags at a time."""
    depth, size = d_out.shape[1], max(1, 2 * BUFFER // (shares.shape[1] * d_out.shape[1]))
    found = shares.new_zeros(depth, d_table.numel() // depth)
    by_channel = d_out.t().contiguous()
    for start in range(0, len(shares), size):
        here = slice(start, start + size)
        added = (shares[here] * by_channel[:, here, None]).view(depth, -1)
        found.scatter_add_(1, index[here].reshape(1, -1).long().expand(depth, -1), added)
    d_table.copy_(found.t().view_as(d_table))


def _place(x: Tensor, y: Tensor, weight: Tensor, height: int, width: int) -> _Placed:
    batch, _, groups, count = x.shape
    x, y, weight = x.contiguous(), y.contiguous(), weight.contiguous()
    row = width + 1
    cells = (height + 2) * row + 1
    across, down = x.clamp(-1, width), y.clamp(-1, height)
    left, top = across.floor().clamp_(max=width - 1), down.floor().clamp_(max=height - 1)
    # the last clamp is for coordinates that are no numbers: they must not lead out of memory
    cell = torch.add(left, top, alpha=row).add_(row + 1).int().clamp_(0, cells - row - 2)
    maps = torch.arange(batch, dtype=torch.int32).view(-1, 1, 1, 1) * (cells * groups)
    first = (cell * groups).add_(maps + torch.arange(groups, dtype=torch.int32).view(-1, 1))
    steps = torch.tensor([0, groups, row * groups, (row + 1) * groups], dtype=torch.int32).view(4, 1)
    rows = (first.view(-1, 1, count) + steps).flatten(1)
    return _Placed(cell, rows, across.sub_(left), down.sub_(top), weight, x, y, (height, width))
