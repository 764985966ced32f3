"""The same scan in chunks of positions, for training: memory grows with L, not with L * N.

A chunk's states stand in one buffer and are updated in place, position after position; only the state before each chunk
is kept for the backward pass, which computes the chunk's states again. The layout is position-major with the channels
last, so that each update is one long product. As in the plain forms no product of matrices is involved.

Axes: l positions of a chunk, b batch, g groups, n states, d channels of a group; D = g * d.

benchmarks/selective_scan.py sets it against the reference: forward and backward at batch 16, 192 channels, 196
positions, 16 states, fp32, 1 thread, AVX-512: 12.8 s -> 78 ms.
"""

# ruff: noqa: N803, N806

from __future__ import annotations

from collections.abc import Iterator
from math import lcm
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ops.double_backward import apart
from ops.selective_scan.associative import associative

BUFFER = 1 << 19
"""Elements of a chunk's states beyond which a CPU takes the batch in parts, so that they stay in its cache."""


def pays(A: Tensor, B: Tensor, C: Tensor) -> bool:
    """Whether this implementation is the one to take: real states, B and C by position, outside of any tracing."""
    return (
        not A.is_complex()
        and B.ndim > 2
        and C.ndim > 2
        and not torch.compiler.is_compiling()
        and not torch._C._are_functorch_transforms_active()  # no public name asks this
    )


def chunks(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor) -> tuple[Tensor, Tensor]:
    """Scan with ready step sizes; returns the output [B, D, L] before skip and gate, and the last state [B, D, N]."""
    B, C = (values[:, None] if values.ndim == 3 else values for values in (B, C))
    groups = lcm(B.shape[1], C.shape[1])
    B, C = (values.repeat_interleave(groups // values.shape[1], dim=1) for values in (B, C))
    inputs = (u, delta, A, B, C)
    y, last = _Chunks.apply(*inputs, torch.is_grad_enabled() and any(tensor.requires_grad for tensor in inputs))
    return y, last


class _Inputs(NamedTuple):
    """Inputs that vary by position, or their gradients; first whole, then a part of the batch."""

    u: Tensor  # [b, D, L]
    delta: Tensor  # [b, D, L]
    B: Tensor  # [b, g, n, L]
    C: Tensor  # [b, g, n, L]

    def part(self, images: slice) -> _Inputs:
        """The same of some images of the batch."""
        return _Inputs(*(tensor[images] for tensor in self))


class _Chunks(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, trains: bool
    ) -> tuple[Tensor, Tensor]:
        (batch, channels, length), (groups, states) = u.shape, B.shape[1:3]
        kept = -(-length // _chunk(states)) if trains else 0
        starts = u.new_empty(kept, batch, groups, states, channels // groups)
        y, last = u.new_empty(u.shape), u.new_empty(batch, channels, states)
        if not u.is_meta:
            rates, inputs = _rates(A, groups), _Inputs(u, delta, B, C)
            for images in _parts(u, states):
                _scan(inputs.part(images), rates, starts[:, images], y[images], last[images])
        ctx.save_for_backward(u, delta, A, B, C, starts)
        return y, last

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        u, delta, A, B, C, starts = ctx.saved_tensors
        if torch.is_grad_enabled():
            return *_differentiable(ctx.needs_input_grad[:5], (u, delta, A, B, C), grads), None
        inputs = _Inputs(u, delta, B, C)
        found = _Inputs(*(tensor.new_empty(tensor.shape) for tensor in inputs))
        rates = _rates(A, B.shape[1])
        d_rates = torch.zeros_like(rates)
        if not u.is_meta:
            for images in _parts(u, A.shape[1]):
                d_y, d_last = (grad[images] for grad in grads)
                into = found.part(images)
                d_rates += _gradients(inputs.part(images), rates, starts[:, images], d_y, d_last, into)
        return found.u, found.delta, d_rates.transpose(1, 2).flatten(0, 1), found.B, found.C, None


def _differentiable(
    wanted: tuple[bool, ...], inputs: tuple[Tensor, ...], grads: tuple[Tensor, ...]
) -> tuple[Tensor | None, ...]:
    """Return gradients that can be differentiated again, by the plain form."""
    inputs = apart(*inputs)
    u, delta, A, B, C = inputs
    of = [tensor for tensor, want in zip(inputs, wanted, strict=True) if want]
    found = iter(
        torch.autograd.grad(associative(u, delta, A, B, C), of, grads, create_graph=True, materialize_grads=True)
    )
    return tuple(next(found) if want else None for want in wanted)


def _chunk(states: int) -> int:
    """Positions whose states stand in memory together."""
    return max(16, 64 // states)


def _parts(u: Tensor, states: int) -> Iterator[slice]:
    """Yield slices of the batch, such that a chunk's states keep to the buffer."""
    batch, channels, _ = u.shape
    size = max(1, BUFFER // (_chunk(states) * channels * states)) if u.device.type == "cpu" else batch
    return (slice(start, start + size) for start in range(0, batch, size))


def _rates(A: Tensor, groups: int) -> Tensor:
    """A as [g, n, d]."""
    return A.unflatten(0, (groups, -1)).transpose(1, 2).contiguous()


def _buffers(inputs: _Inputs, rates: Tensor, count: int) -> Iterator[Tensor]:
    """Yield tensors [l + 1, b, g, n, d] without values."""
    length = min(_chunk(rates.shape[1]), inputs.u.shape[-1])
    return (rates.new_empty(length + 1, len(inputs.u), *rates.shape) for _ in range(count))


def _load(x: Tensor, here: slice, *shape: int) -> Tensor:
    """Copy some positions of [b, ..., L] to [l, b, *shape]."""
    chunk = x[..., here].movedim(-1, 0).contiguous()
    return chunk.view(*chunk.shape[:2], *shape)


def _store(chunk: Tensor, x: Tensor, here: slice) -> None:
    """Copy [l, b, ...] to its positions in [b, ..., L]."""
    x[..., here] = chunk.view(*chunk.shape[:2], *x.shape[1:-1]).movedim(0, -1)


class _Chunk(NamedTuple):
    """A chunk of the inputs and its states, position-major."""

    u: Tensor  # [l, b, g, 1, d]
    delta: Tensor  # [l, b, g, 1, d]
    product: Tensor  # [l, b, g, 1, d]: delta * u
    B: Tensor  # [l, b, g, n, 1]
    C: Tensor  # [l, b, g, n, 1]
    decay: Tensor  # [l, b, g, n, d]
    before: Tensor  # [l, b, g, n, d]: the states that each position finds
    after: Tensor  # [l, b, g, n, d]: the states that each position leaves


def _run(inputs: _Inputs, rates: Tensor, here: slice, decay: Tensor, states: Tensor) -> _Chunk:
    """Fill the buffers with decays and states of the positions `here`; `states[0]` is the state that they find."""
    groups, count, width = rates.shape
    u, delta = (_load(tensor, here, groups, 1, width) for tensor in (inputs.u, inputs.delta))
    B, C = (_load(tensor, here, groups, count, 1) for tensor in (inputs.B, inputs.C))
    product, length = delta * u, len(u)
    decay, before, after = decay[:length], states[:length], states[1 : length + 1]
    torch.mul(delta, rates, out=decay).exp_()
    torch.mul(product, B, out=after)
    for past, kept, state in zip(before.unbind(), decay.unbind(), after.unbind(), strict=True):
        state.addcmul_(kept, past)
    return _Chunk(u, delta, product, B, C, decay, before, after)


def _positions(length: int, states: int) -> list[slice]:
    step = _chunk(states)
    return [slice(start, start + step) for start in range(0, length, step)]


def _scan(inputs: _Inputs, rates: Tensor, starts: Tensor, y: Tensor, last: Tensor) -> None:
    """Write output and last state, and to `starts`, if it has room, the state that each chunk finds."""
    decay, states = _buffers(inputs, rates, 2)
    states[0] = 0
    for index, here in enumerate(_positions(y.shape[-1], rates.shape[1])):
        if len(starts):
            starts[index] = states[0]
        chunk = _run(inputs, rates, here, decay, states)
        _store(torch.mul(chunk.after, chunk.C, out=chunk.decay).sum(3), y, here)
        states[0] = chunk.after[-1]
    last.copy_(states[0].transpose(-1, -2).flatten(1, 2))


def _gradients(inputs: _Inputs, rates: Tensor, starts: Tensor, d_y: Tensor, d_last: Tensor, into: _Inputs) -> Tensor:
    """Write the gradients of the inputs and return that of the rates."""
    groups, count, width = rates.shape
    carried = d_last.unflatten(1, (groups, width)).transpose(-1, -2)
    decay, states, gs, frees = _buffers(inputs, rates, 4)
    d_rates = torch.zeros_like(rates)
    for start, here in reversed(list(zip(starts, _positions(d_y.shape[-1], count), strict=True))):
        states[0] = start
        chunk = _run(inputs, rates, here, decay, states)
        outer = _load(d_y, here, groups, 1, width)
        # g: gradient of the states that each position leaves
        g, free = torch.mul(chunk.C, outer, out=gs[: len(outer)]), frees[: len(outer)]
        g[-1] += carried
        following = g[-1]
        for kept, mine in zip(chunk.decay.unbind()[:0:-1], g.unbind()[-2::-1], strict=True):
            following = mine.addcmul_(kept, following)
        carried = chunk.decay[0] * g[0]
        _store(torch.mul(chunk.after, outer, out=free).sum(4), into.C, here)
        _store(torch.mul(g, chunk.product, out=free).sum(4), into.B, here)
        d_product = torch.mul(g, chunk.B, out=free).sum(3, keepdim=True)
        # from here on the gradient of delta * rates
        g.mul_(chunk.before).mul_(chunk.decay)
        d_delta = torch.mul(g, rates, out=free).sum(3, keepdim=True)
        d_rates += torch.mul(g, chunk.delta, out=free).sum((0, 1))
        _store(d_delta.addcmul_(d_product, chunk.u), into.delta, here)
        _store(d_product.mul_(chunk.delta), into.u, here)
    return d_rates
