"""Deformable sampling in Triton: a program takes a tile of queries and some groups of channels.

The tile is a rectangle of the output's rows, of all images one after the other, so that the places of its queries lie
near each other and most of what they read comes from the nearest cache. What a tap takes of its four corners is
computed once for all channels of a group. Places are counted from the whole pixel of the kernel's middle: the fraction
keeps its digits. The softmax over a group's taps, where there is one, is computed on the way.

Backward, everything is computed anew; gradients of places and weights are sums over channels, and those of the map are
added in float32 where they fall (atomics: their order, and with it the last digit, may differ from run to run).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from ops.deformable_sampling.numbers import launched_with
from ops.deformable_sampling.window import Window
from ops.kernel import POINTERS, STREAMING, Configuration, Movement, aligned

TILES = {
    (16, True, False): {4: (64, 4), 2: (128, 4)},
    (32, True, False): {4: (128, 16), 2: (128, 16)},
    (16, False, False): {4: (128, 16), 2: (128, 16)},
    (16, True, True): {4: (64, 8), 2: (128, 16)},
    (16, False, True): {4: (64, 16), 2: (64, 16)},
}
"""Queries of a program and its warps, by the channels that it takes at a time, whether they are moved in vectors, the
pass, and the bytes of a number. A group of more channels takes several rounds. A thread has one vector of channels and
one query's places, or two where registers allow it; without vectors it has one channel of several queries."""
WAVEFRONTS = {(32, True, False, 2): 8}
"""Warps on AMD where a thread would else have half a vector."""
TOGETHER = 2
"""Groups of a program: offsets and weights of one group end amid a sector of memory."""
SIZES = [
    "lines", "out_height", "out_width", "height", "width", "groups", "depth", "taps", "soft_taps", "kernel_rows",
    "center", "stride_y", "stride_x", "start_y", "start_x", "dilation_y", "dilation_x", "half_y", "half_x",
    "places_row", "places_group", "weight_row", "weight_group", "weight_start", "tile_width", "together",
]  # fmt: skip
"""The numbers of `launched_with`."""
LOG2E = tl.constexpr(1.4426950408889634)
FAR = tl.constexpr(1e6)


@triton.jit
def _queries(lines, out_height, out_width, tile_width, POINTS: tl.constexpr):
    """Return a tile's queries: number, image, row, column, and which of them exist."""
    number = tl.arange(0, POINTS)
    across = tl.cdiv(out_width, tile_width)
    line = tl.program_id(0) // across * (POINTS // tile_width) + number // tile_width
    column = tl.program_id(0) % across * tile_width + number % tile_width
    return line * out_width + column, line // out_height, line % out_height, column, \
        (line < lines) & (column < out_width)  # fmt: skip


@triton.jit
def _tap(p, center, kernel_rows):
    """Return the row and column of a tap; they go column by column."""
    tap = p + (p >= center).to(tl.int32)
    return tap % kernel_rows, tap // kernel_rows


@triton.jit
def _along(middle, regular, shift, scale, size):
    """Return the whole pixel before a place, how far the place is from there, and whether it is in reach of the map."""
    place = scale * (regular + shift.to(tl.float32))
    place = tl.minimum(tl.maximum(place, -FAR), FAR)
    whole = tl.floor(place)
    first, part = middle + whole.to(tl.int32), place - whole
    return first, part, (first < size) & ((first >= 0) | ((first == -1) & (part > 0)))


@triton.jit
def _softmax(weight, exists, soft_taps, POINTS: tl.constexpr):
    """Return the largest of the logits, and the sum of what is told from them."""
    top = tl.full([POINTS], float("-inf"), tl.float32)
    total = tl.zeros([POINTS], tl.float32)
    for p in range(soft_taps):
        logit = tl.load(weight + p, mask=exists, other=0.0).to(tl.float32)
        higher = tl.maximum(top, logit)
        total = total * tl.exp2((top - higher) * LOG2E) + tl.exp2((logit - higher) * LOG2E)
        top = higher
    return top, total


@triton.jit
def _weighed(weight, exists, top, total, soft_taps):
    """Return the weights of a tap."""
    found = tl.load(weight, mask=exists, other=0.0).to(tl.float32)
    return tl.where(soft_taps > 0, tl.exp2((found - top) * LOG2E) / total, found)


@triton.jit
def _pixels(exists, row, column, has_y, has_x, height, width):
    """Return which of the four corners are on the map: above left, above right, below left, below right."""
    reached = exists & has_y & has_x
    above, below = reached & (row >= 0), reached & (row + 1 < height)
    left, right = column >= 0, column + 1 < width
    return above & left, above & right, below & left, below & right


@triton.jit(do_not_specialize=SIZES)
def forward_kernel(
    value, places, weight, out,
    lines, out_height, out_width, height, width, groups, depth, taps, soft_taps, kernel_rows, center, stride_y,
    stride_x, start_y, start_x, dilation_y, dilation_x, half_y, half_x, places_row, places_group, weight_row,
    weight_group, weight_start, tile_width, together, scale,
    POINTS: tl.constexpr, CHANNELS: tl.constexpr, VECTOR: tl.constexpr,
):  # fmt: skip
    """Sum the samples of a tile's queries, group by group, some channels at a time."""
    if VECTOR:
        depth = depth // 16 * 16
    query, image, line, column, exists = _queries(lines, out_height, out_width, tile_width, POINTS)
    middle_y, middle_x = line * stride_y + start_y, column * stride_x + start_x
    pixel = groups * depth
    for g in range(tl.program_id(1) * together, tl.minimum(tl.program_id(1) * together + together, groups)):
        place, weigh = query * places_row + g * places_group, query * weight_row + g * weight_group + weight_start
        top, total = _softmax(weight + weigh, exists, soft_taps, POINTS)
        for begin in range(0, depth, CHANNELS):
            channel = begin + tl.arange(0, CHANNELS)
            is_channel, channel = (channel < depth)[None, :], (g * depth + channel)[None, :]
            sums = tl.zeros([POINTS, CHANNELS], tl.float32)
            for p in range(taps):
                row, col = _tap(p, center, kernel_rows)
                d_x = tl.load(places + place + 2 * p, mask=exists, other=0.0)
                d_y = tl.load(places + place + 2 * p + 1, mask=exists, other=0.0)
                x, part_x, has_x = _along(middle_x, col * dilation_x - half_x, d_x, scale, width)
                y, part_y, has_y = _along(middle_y, row * dilation_y - half_y, d_y, scale, height)
                w = _weighed(weight + weigh + p, exists, top, total, soft_taps)
                a, b, c, d = _pixels(exists, y, x, has_y, has_x, height, width)
                at = (((image * height + y) * width + x) * pixel)[:, None] + channel
                below, above = w * part_y, w * (1 - part_y)
                corner = tl.load(value + at, mask=a[:, None] & is_channel, other=0.0).to(tl.float32)
                sums += (above * (1 - part_x))[:, None] * corner
                corner = tl.load(value + at + pixel, mask=b[:, None] & is_channel, other=0.0).to(tl.float32)
                sums += (above * part_x)[:, None] * corner
                at += width * pixel
                corner = tl.load(value + at, mask=c[:, None] & is_channel, other=0.0).to(tl.float32)
                sums += (below * (1 - part_x))[:, None] * corner
                corner = tl.load(value + at + pixel, mask=d[:, None] & is_channel, other=0.0).to(tl.float32)
                sums += (below * part_x)[:, None] * corner
            to = out + (query * pixel)[:, None] + channel
            tl.store(to, sums.to(out.dtype.element_ty), mask=exists[:, None] & is_channel)


@triton.jit
def _corner(value, d_value, at, on_map, share, grad):
    """Add to the map's gradient at one corner; return the corner's values."""
    tl.atomic_add(d_value + at, share[:, None] * grad, mask=on_map, sem="relaxed")
    return tl.load(value + at, mask=on_map, other=0.0).to(tl.float32)


@triton.jit
def _products(value, d_value, at, grad, a, b, c, d, above, below, part_x, part_y, right_of, below_of):
    """Add to the map's gradient at four corners; return slopes across and down and the sample, times the output's."""
    upper = _corner(value, d_value, at, a, above * (1 - part_x), grad)
    right = _corner(value, d_value, at + right_of, b, above * part_x, grad)
    slope = (1 - part_y)[:, None] * (right - upper)
    upper += part_x[:, None] * (right - upper)
    at += below_of
    lower = _corner(value, d_value, at, c, below * (1 - part_x), grad)
    right = _corner(value, d_value, at + right_of, d, below * part_x, grad)
    slope += part_y[:, None] * (right - lower)
    lower += part_x[:, None] * (right - lower)
    middle = upper + part_y[:, None] * (lower - upper)
    return tl.sum(grad * slope, 1), tl.sum(grad * (lower - upper), 1), tl.sum(grad * middle, 1)


@triton.jit
def _mean(grad, out, query, group, depth, exists, POINTS: tl.constexpr, CHANNELS: tl.constexpr):
    """Return the mean of all taps' gradients, by their weights: what the softmax takes from each."""
    mean = tl.zeros([POINTS], tl.float32)
    for begin in range(0, depth, CHANNELS):
        channel = begin + tl.arange(0, CHANNELS)
        at = query[:, None] + (group + channel)[None, :]
        inside = exists[:, None] & (channel < depth)[None, :]
        of_out = tl.load(grad + at, mask=inside, other=0.0).to(tl.float32)
        mean += tl.sum(of_out * tl.load(out + at, mask=inside, other=0.0).to(tl.float32), 1)
    return mean


@triton.jit(do_not_specialize=SIZES)
def backward_kernel(
    grad, value, places, weight, out, d_value, d_places, d_weight,
    lines, out_height, out_width, height, width, groups, depth, taps, soft_taps, kernel_rows, center, stride_y,
    stride_x, start_y, start_x, dilation_y, dilation_x, half_y, half_x, places_row, places_group, weight_row,
    weight_group, weight_start, tile_width, together, scale,
    POINTS: tl.constexpr, CHANNELS: tl.constexpr, VECTOR: tl.constexpr,
):  # fmt: skip
    """Write the gradients of a tile's places and weights, and add to the map's, tap by tap."""
    if VECTOR:
        depth = depth // 16 * 16
    query, image, line, column, exists = _queries(lines, out_height, out_width, tile_width, POINTS)
    middle_y, middle_x = line * stride_y + start_y, column * stride_x + start_x
    pixel = groups * depth
    for g in range(tl.program_id(1) * together, tl.minimum(tl.program_id(1) * together + together, groups)):
        place, weigh = query * places_row + g * places_group, query * weight_row + g * weight_group + weight_start
        top, total = _softmax(weight + weigh, exists, soft_taps, POINTS)
        mean = _mean(grad, out, query * pixel, g * depth, tl.where(soft_taps > 0, depth, 0), exists, POINTS, CHANNELS)
        for p in range(taps):
            row, col = _tap(p, center, kernel_rows)
            d_x = tl.load(places + place + 2 * p, mask=exists, other=0.0)
            d_y = tl.load(places + place + 2 * p + 1, mask=exists, other=0.0)
            x, part_x, has_x = _along(middle_x, col * dilation_x - half_x, d_x, scale, width)
            y, part_y, has_y = _along(middle_y, row * dilation_y - half_y, d_y, scale, height)
            w = _weighed(weight + weigh + p, exists, top, total, soft_taps)
            a, b, c, d = _pixels(exists, y, x, has_y, has_x, height, width)
            first = ((image * height + y) * width + x) * pixel
            below, above = w * part_y, w * (1 - part_y)
            of_weight = tl.zeros([POINTS], tl.float32)
            of_x, of_y = of_weight, of_weight
            for begin in range(0, depth, CHANNELS):
                channel = begin + tl.arange(0, CHANNELS)
                is_channel, channel = (channel < depth)[None, :], (g * depth + channel)[None, :]
                # as many as vectors of the map's gradient hold: else all would change threads on the way
                channel = tl.max_contiguous(channel, [1, 4])
                inside = exists[:, None] & is_channel
                of_out = tl.load(grad + (query * pixel)[:, None] + channel, mask=inside, other=0.0).to(tl.float32)
                at = first[:, None] + channel
                slope, rise, middle = _products(
                    value, d_value, at, of_out, a[:, None] & is_channel, b[:, None] & is_channel,
                    c[:, None] & is_channel, d[:, None] & is_channel, above, below, part_x, part_y, pixel,
                    width * pixel,
                )  # fmt: skip
                of_x, of_y, of_weight = of_x + slope, of_y + rise, of_weight + middle
            reached = tl.where(has_x & has_y, w * scale, 0.0)
            of_weight = tl.where(soft_taps > 0, w * (of_weight - mean), of_weight)
            kind = d_places.dtype.element_ty
            tl.store(d_places + place + 2 * p, (of_x * reached).to(kind), mask=exists)
            tl.store(d_places + place + 2 * p + 1, (of_y * reached).to(kind), mask=exists)
            tl.store(d_weight + weigh + p, of_weight.to(kind), mask=exists)


def _configured(dtype: torch.dtype, channels: int, vector: bool, backward: bool) -> Configuration:
    points, warps = TILES[channels, vector, backward][dtype.itemsize]
    names = ("grad", "value", "places", "weight", "out", "d_value", "d_places", "d_weight")
    tensors = names if backward else names[1:5]
    words = ("backward" if backward else "forward", str(dtype).removeprefix("torch."), f"{channels} channels")
    return Configuration(
        name=" ".join([*words, *["divisible"] * vector]),
        kernel=backward_kernel if backward else forward_kernel,
        types={
            **{name: "*fp32" if name == "d_value" else POINTERS[dtype] for name in tensors},
            **dict.fromkeys(SIZES, "i32"),
            "scale": "fp32",
        },
        constants={"POINTS": points, "CHANNELS": channels, "VECTOR": vector},
        limits=STREAMING,
        num_warps=warps,
        wavefronts=WAVEFRONTS.get((channels, vector, backward, dtype.itemsize), warps),
        # backward, wavefronts of 64 threads share out vectors of four numbers in two
        vector_bits=(16 * dtype.itemsize if backward else 128) if vector else 0,
    )


TABLE = {
    (dtype, channels, vector, backward): _configured(dtype, channels, vector, backward)
    for dtype in POINTERS
    for channels, vector, backward in TILES
}
CONFIGURATIONS = tuple(TABLE.values())


def configuration(dtype: torch.dtype, depth: int, *, backward: bool) -> Configuration:
    """Return how groups of `depth` channels are sampled."""
    vector = depth % 16 == 0
    return TABLE[dtype, 32 if vector and depth > 16 and not backward else 16, vector, backward]


def _ready(*tensors: Tensor) -> list[Tensor]:
    return [aligned(each.contiguous()) for each in tensors]


def forward(value: Tensor, places: Tensor, weight: Tensor | None, *options: Any) -> Tensor:
    """Return the sums [N, Ho, Wo, C]; see `ops.deformable_sampling.registered`."""
    chosen = configuration(value.dtype, value.shape[3] // options[1], backward=False)
    grid, numbers = launched_with(chosen.constants["POINTS"], TOGETHER, value, places, weight, *options)
    out = value.new_empty(*places.shape[:3], value.shape[3])
    value, places = _ready(value, places)
    weight = places if weight is None else _ready(weight)[0]
    chosen.launch(grid, value, places, weight, out, *numbers)
    return out


def backward(
    grad: Tensor, value: Tensor, places: Tensor, weight: Tensor | None, out: Tensor, *options: Any
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of value, places and weight."""
    chosen = configuration(value.dtype, value.shape[3] // options[1], backward=True)
    grid, numbers = launched_with(chosen.constants["POINTS"], TOGETHER, value, places, weight, *options)
    d_value = torch.zeros(value.shape, dtype=torch.float32, device=value.device)
    d_places = places.new_empty(places.shape)
    used = int(numbers[5] * numbers[7]) * (3 if weight is None else 2)
    d_places[..., used:] = 0
    d_weight = places.new_empty(0 if weight is None else weight.shape)
    grad, value, places, out = _ready(grad, value, places, out)
    given = (places, d_places) if weight is None else (*_ready(weight), d_weight)
    chosen.launch(grid, grad, value, places, given[0], out, d_value, d_places, given[1], *numbers)
    return d_value.to(value.dtype), d_places, d_weight


def _moved(dtype: torch.dtype, packed: bool, guarded: Callable[[Tensor], Tensor], *, back: bool) -> int:
    """Move two groups of 16 channels on a map of 16 x 32, taps at most a pixel from their places."""
    taps, groups, positions = 9, 2, 512
    window, told = Window.of(3, 1, 1, 1, False), groups * taps
    value = guarded(torch.randn(1, 16, 32, 16 * groups).to(dtype))
    places, weight = torch.rand(1, 16, 32, 2 * told) * 2 - 1, torch.rand(1, 16, 32, told)
    if packed:
        both = torch.cat((places.unflatten(3, (groups, -1)), weight.unflatten(3, (groups, -1))), 4).flatten(3)
        inputs = [guarded(torch.nn.functional.pad(both, (0, -3 * told % 8)).to(dtype)), None]
    else:
        inputs = [guarded(places.to(dtype)), guarded(weight.to(dtype))]
    options = (window, groups, 1.0, not packed)
    read = (value.numel() + positions * 3 * told) * dtype.itemsize
    if not back:
        forward(value, *inputs, *options)
        return read + value.numel() * dtype.itemsize
    out, grad = guarded(torch.randn_like(value)), guarded(torch.randn_like(value))
    backward(grad, value, *inputs, out, *options)
    gradients = 4 * value.numel() + positions * 3 * told * dtype.itemsize
    return read + gradients + value.numel() * dtype.itemsize * (1 if packed else 2)


MOVEMENTS = tuple(
    Movement(
        f"{name} {str(dtype).removeprefix('torch.')} {'v4' if packed else 'v3'}",
        partial(_moved, dtype, packed, back=back), most, "per_program",
    )
    for name, back, most in (("forward", False, 1.5), ("backward", True, 1.6))
    for dtype in (torch.float32, torch.bfloat16)
    for packed in (False, True)
)  # fmt: skip
