"""The numbers that both of the kernels are launched with: sizes, the window, and how tensors lie."""

from __future__ import annotations

from torch import Tensor

from ops.deformable_sampling.window import Window


def launched_with(
    points: int, together: int, value: Tensor, places: Tensor, weight: Tensor | None, window: Window | None,
    groups: int, scale: float, softmax: bool,
) -> tuple[tuple[int, int], tuple[float, ...]]:  # fmt: skip
    """Return the grid, for programs of `points` queries and `together` groups, and the numbers in order of arguments.

    lines: rows of the output, of all images. center: the tap that is left out. start: the kernel's middle over the
    first query. half: from its first row to its middle. *_row, *_group: numbers from query to query and from group to
    group; without `weight` each group's weights follow its places in the same tensor.
    """
    batch, out_height, out_width, places_row = places.shape
    weight_row = places_row if weight is None else weight.shape[3]
    if window is None:
        taps = places_row // (groups * (3 if weight is None else 2))
        window = Window((taps, 1), (0, 0), (0, 0), (0, 0))
    taps = len(window.taps)
    places_group, weight_group, weight_start = (3 * taps, 3 * taps, 2 * taps) if weight is None else (2 * taps, taps, 0)
    half = [d * (k - 1) // 2 for d, k in zip(window.dilation, window.kernel, strict=True)]
    start = [h - p for h, p in zip(half, window.padding, strict=True)]
    rows, columns = window.kernel
    center = columns // 2 * rows + rows // 2 if window.without_center else taps
    lines, tile_width = batch * out_height, points if out_height == 1 else 16 if out_width > 8 else 8
    grid = _over(lines, points // tile_width) * _over(out_width, tile_width), _over(groups, together)
    return grid, (
        lines, out_height, out_width, *value.shape[1:3], groups, value.shape[3] // groups, taps, taps if softmax else 0,
        rows, center, *window.stride, *start, *window.dilation, *half, places_row, places_group, weight_row,
        weight_group, weight_start, tile_width, together, scale,
    )  # fmt: skip


def _over(count: int, each: int) -> int:
    return -(-count // each)
