"""Global response normalisation in Triton: the map is read twice and written once.

What a channel of an image is multiplied by depends on the whole map, so there are three launches in each direction:
sums over the positions of each channel, one program an image for the few numbers that follow from them, and a pass
that scales. All sums are added in the same order in every run.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import triton
import triton.language as tl
from torch import Tensor

from ops.kernel import POINTERS, STREAMING, Configuration, Movement, aligned
from ops.layout import is_last, laid, like

TILE = {False: (32, 128), True: (128, 32)}
"""Channels and positions of a tile, of contiguous maps and of maps in channels_last: 128 numbers side by side."""
CHUNK = 1024
"""Channels that the program of an image takes at a time."""
PROGRAMS = 2048
"""Programs from which a device is full: so many share the sums over positions."""
SIZES = ["width", "area"]


@triton.jit
def _places(tile, width, area, CHANNELS: tl.constexpr, POSITIONS: tl.constexpr, LAST: tl.constexpr,
            VECTOR: tl.constexpr):  # fmt: skip
    """Return which elements of a tile exist, and where they lie in memory."""
    c = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    p = tile * POSITIONS + tl.arange(0, POSITIONS)
    if VECTOR:
        if LAST:
            width = width // 16 * 16
        else:
            area = area // 16 * 16
    start = tl.program_id(2) * width * area
    if LAST:
        where = start + p[None, :] * width + c[:, None]
    else:
        where = start + p[None, :] + c[:, None] * area
    return (c < width)[:, None] & (p < area)[None, :], where


@triton.jit(do_not_specialize=SIZES)
def sums_kernel(
    x, grad, squares, sums, width, area, CHANNELS: tl.constexpr, POSITIONS: tl.constexpr, LAST: tl.constexpr,
    VECTOR: tl.constexpr, BACKWARD: tl.constexpr,
):  # fmt: skip
    """Sum x * x over a share of the positions; backward: x * grad, and grad."""
    of_product, of_grad = tl.zeros([CHANNELS], tl.float32), tl.zeros([CHANNELS], tl.float32)
    for tile in range(tl.program_id(0), tl.cdiv(area, POSITIONS), tl.num_programs(0)):
        inside, where = _places(tile, width, area, CHANNELS, POSITIONS, LAST, VECTOR)
        values = tl.load(x + where, mask=inside, other=0.0).to(tl.float32)
        if BACKWARD:
            g = tl.load(grad + where, mask=inside, other=0.0).to(tl.float32)
            of_grad += tl.sum(g, 1)
            of_product += tl.sum(g * values, 1)
        else:
            of_product += tl.sum(values * values, 1)
    c = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    place = (tl.program_id(2) * tl.num_programs(0) + tl.program_id(0)) * width + c
    tl.store(squares + place, of_product, mask=c < width)
    if BACKWARD:
        tl.store(sums + place, of_grad, mask=c < width)


@triton.jit
def _total(parts, shares, width, c):
    """Add up what the programs of an image have summed."""
    first = parts + tl.program_id(0) * shares * width + c
    total = tl.zeros_like(c).to(tl.float32)
    for share in range(shares):
        total += tl.load(first + share * width, mask=c < width, other=0.0)
    return total


@triton.jit(do_not_specialize=["width", "shares"])
def factors_kernel(squares, weight, norms, factors, width, shares, eps, CHUNK: tl.constexpr):
    """Turn an image's sums of squares into norms and what its channels are multiplied by."""
    mean = 0.0
    for start in range(0, width, CHUNK):
        c = start + tl.arange(0, CHUNK)
        norm = tl.sqrt_rn(_total(squares, shares, width, c))
        tl.store(norms + tl.program_id(0) * width + c, norm, mask=c < width)
        mean += tl.sum(norm, 0) / width
    for start in range(0, width, CHUNK):
        c = start + tl.arange(0, CHUNK)
        norm = tl.sqrt_rn(_total(squares, shares, width, c))
        w = tl.load(weight + c, mask=c < width, other=0.0)
        tl.store(factors + tl.program_id(0) * width + c, 1 + w * norm / (mean + eps), mask=c < width)


@triton.jit(do_not_specialize=["width", "shares"])
def slopes_kernel(
    products, sums, norms, weight, slopes, d_weight, d_bias, factors, width, shares, eps, CHUNK: tl.constexpr
):
    """Turn an image's sums into what x is multiplied by in its gradient, and into its share of the weights'."""
    image = tl.program_id(0) * width
    mean, drawn = 0.0, 0.0
    for start in range(0, width, CHUNK):
        c = start + tl.arange(0, CHUNK)
        norm = tl.load(norms + image + c, mask=c < width, other=0.0)
        w = tl.load(weight + c, mask=c < width, other=0.0)
        mean += tl.sum(norm, 0) / width
        drawn += tl.sum(w * _total(products, shares, width, c) * norm, 0) / width
    for start in range(0, width, CHUNK):
        c = start + tl.arange(0, CHUNK)
        norm = tl.load(norms + image + c, mask=c < width, other=0.0)
        w = tl.load(weight + c, mask=c < width, other=0.0)
        product = _total(products, shares, width, c)
        d_norm = w * product / (mean + eps) - drawn / ((mean + eps) * (mean + eps))
        slope = tl.where(norm > 0, d_norm / tl.where(norm > 0, norm, 1.0), 0.0)
        tl.store(slopes + image + c, slope, mask=c < width)
        tl.store(factors + image + c, 1 + w * norm / (mean + eps), mask=c < width)
        tl.store(d_weight + image + c, product * norm / (mean + eps), mask=c < width)
        tl.store(d_bias + image + c, _total(sums, shares, width, c), mask=c < width)


@triton.jit(do_not_specialize=SIZES)
def scale_kernel(
    x, factors, shifts, y, other, slopes, width, area, CHANNELS: tl.constexpr, POSITIONS: tl.constexpr,
    LAST: tl.constexpr, VECTOR: tl.constexpr, BACKWARD: tl.constexpr,
):  # fmt: skip
    """Return x * factor + shift for a tile; backward: x * factor + other * slope."""
    inside, where = _places(tl.program_id(0), width, area, CHANNELS, POSITIONS, LAST, VECTOR)
    c = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    of_image = tl.program_id(2) * width + c
    factor = tl.load(factors + of_image, mask=c < width, other=0.0)
    out = tl.load(x + where, mask=inside, other=0.0).to(tl.float32) * factor[:, None]
    if BACKWARD:
        slope = tl.load(slopes + of_image, mask=c < width, other=0.0)
        out += tl.load(other + where, mask=inside, other=0.0).to(tl.float32) * slope[:, None]
    else:
        out += tl.load(shifts + c, mask=c < width, other=0.0)[:, None]
    tl.store(y + where, out.to(y.dtype.element_ty), mask=inside)


def _tiled(kernel: object, name: str, dtype: torch.dtype, last: bool, vector: bool, backward: bool) -> Configuration:
    maps, numbers = (("x", "grad"), ("squares", "sums")) if name == "sums" else (("x", "y", "other"), MULTIPLIED)
    channels, positions = TILE[last]
    if last and vector and not backward:
        positions *= 2  # so that the numbers of channels weigh little beside the map
    elif last and backward and not vector:
        positions //= 2  # two maps whose numbers are loaded one by one
    words = (name, "backward" if backward else "forward", str(dtype).removeprefix("torch."))
    return Configuration(
        name=" ".join([*words, "channels_last" if last else "contiguous", *["divisible"] * vector]),
        kernel=kernel,
        types=dict.fromkeys(maps, POINTERS[dtype]) | dict.fromkeys(numbers, "*fp32") | dict.fromkeys(SIZES, "i32"),
        constants={
            "CHANNELS": channels, "POSITIONS": positions, "LAST": last, "VECTOR": vector, "BACKWARD": backward,
        },
        limits=STREAMING,
        num_warps=4 if vector and not backward and not last else 8,
        vector_bits=128 if vector else 0,
    )  # fmt: skip


MULTIPLIED = ("factors", "shifts", "slopes")
TABLE = {
    (kernel, dtype, last, vector, backward): _tiled(kernel, name, dtype, last, vector, backward)
    for kernel, name in ((sums_kernel, "sums"), (scale_kernel, "scale"))
    for dtype in POINTERS
    for last in (False, True)
    for vector in (False, True)
    for backward in (False, True)
}
FACTORS, SLOPES = (
    Configuration(
        name, kernel, {**dict.fromkeys(pointers, "*fp32"), "width": "i32", "shares": "i32", "eps": "fp32"},
        {"CHUNK": CHUNK}, STREAMING, vector_bits=0,
    )
    for name, kernel, pointers in (
        ("factors", factors_kernel, ("squares", "weight", "norms", "factors")),
        ("slopes", slopes_kernel,
         ("products", "sums", "norms", "weight", "slopes", "d_weight", "d_bias", "factors")),
    )
)  # fmt: skip
CONFIGURATIONS = (*TABLE.values(), FACTORS, SLOPES)


def configuration(kernel: object, x: Tensor, *, backward: bool) -> Configuration:
    """Return how a kernel goes over a map that is contiguous or in channels_last."""
    last = is_last(x)
    side_by_side = x.shape[1] if last else x.shape[2] * x.shape[3]
    return TABLE[kernel, x.dtype, last, side_by_side % 16 == 0, backward]


def _tiles(x: Tensor, chosen: Configuration) -> tuple[int, int, int]:
    channels, positions = chosen.constants["CHANNELS"], chosen.constants["POSITIONS"]
    return triton.cdiv(x.shape[2] * x.shape[3], positions), triton.cdiv(x.shape[1], channels), len(x)


def _summed(x: Tensor, grad: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return the sums of x * x, or of x * grad and of grad, [N, shares of positions, C]."""
    chosen = configuration(sums_kernel, x, backward=grad is not None)
    over_area, over_width, images = _tiles(x, chosen)
    shares = min(over_area, triton.cdiv(PROGRAMS, over_width * images))
    squares = torch.empty(images, shares, x.shape[1], dtype=torch.float32, device=x.device)
    sums = squares if grad is None else torch.empty_like(squares)
    sizes = (x.shape[1], x.shape[2] * x.shape[3])
    chosen.launch((shares, over_width, images), x, x if grad is None else grad, squares, sums, *sizes)
    return squares, sums


def forward(x: Tensor, weight: Tensor, bias: Tensor | None, eps: float) -> tuple[Tensor, Tensor]:
    """Return the normalised map, and each channel's norm [N, C] in float32."""
    x, weight = aligned(laid(x)), aligned(weight.float().contiguous())
    bias = torch.zeros_like(weight) if bias is None else aligned(bias.float().contiguous())
    squares, _ = _summed(x, None)
    norms, factors = (torch.empty(x.shape[:2], dtype=torch.float32, device=x.device) for _ in range(2))
    FACTORS.launch((len(x),), squares, weight, norms, factors, x.shape[1], squares.shape[1], eps)
    y, sizes = like(x), (x.shape[1], x.shape[2] * x.shape[3])
    chosen = configuration(scale_kernel, x, backward=False)
    chosen.launch(_tiles(x, chosen), x, factors, bias, y, x, factors, *sizes)
    return y, norms


def backward(grad: Tensor, x: Tensor, weight: Tensor, norms: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of map, weight and bias, the last two in float32."""
    x, weight = aligned(laid(x)), aligned(weight.float().contiguous())
    grad = aligned(laid(grad, x))
    products, sums = _summed(x, grad)
    slopes, d_weight, d_bias, factors = (torch.empty_like(norms) for _ in range(4))
    numbers = (slopes, d_weight, d_bias, factors, x.shape[1], products.shape[1], eps)
    SLOPES.launch((len(x),), products, sums, norms, weight, *numbers)
    d_x, sizes = like(x), (x.shape[1], x.shape[2] * x.shape[3])
    chosen = configuration(scale_kernel, x, backward=True)
    chosen.launch(_tiles(x, chosen), grad, factors, factors, d_x, x, slopes, *sizes)
    return d_x, d_weight.sum(0), d_bias.sum(0)


def _moved(dtype: torch.dtype, layout: torch.memory_format, guarded: Callable[[Tensor], Tensor], *, back: bool) -> int:
    x = guarded(torch.randn(1, 128, 32, 32).to(dtype, memory_format=layout))
    weight, norms = guarded(torch.rand(128)), guarded(torch.rand(1, 128))
    if back:
        backward(guarded(torch.randn_like(x)), x, weight, norms, 1e-6)
    else:
        forward(x, weight, None, 1e-6)
    return (5 if back else 3) * x.numel() * x.element_size()


MOVEMENTS = tuple(
    Movement(f"{name} {str(dtype).removeprefix('torch.')} {layout}", partial(_moved, dtype, kind, back=back), most)
    for name, back, most in (("forward", False, 1.1), ("backward", True, 1.6))
    for dtype in (torch.float32, torch.bfloat16)
    for layout, kind in (("contiguous", torch.contiguous_format), ("channels_last", torch.channels_last))
)
