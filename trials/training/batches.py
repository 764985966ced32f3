"""Batches of a split, in a given order; files are decoded ahead of the training by threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from torch import Tensor

from trials.data import Split

AHEAD = 3
"""Batches under way while one is being trained on."""


def batches(split: Split, parts: Sequence[Tensor], *, margin: bool, threads: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield (uint8 images, int64 labels) for each of `parts`, which are positions in the split.

    `margin` is that of `Split.batch`. Raises DataError if a file cannot be decoded.
    """
    if not split.lazy:
        for part in parts:
            yield split.batch(part, margin=margin), split.labels[part]
        return
    with ThreadPoolExecutor(threads) as pool, ThreadPoolExecutor(1) as reader:
        waiting = iter(parts)
        under_way: deque[tuple[Tensor, Future[Tensor]]] = deque()

        def start() -> None:
            part = next(waiting, None)
            if part is not None:
                under_way.append((part, reader.submit(split.batch, part, margin=margin, pool=pool)))

        try:
            for _ in range(AHEAD):
                start()
            while under_way:
                part, images = under_way.popleft()
                start()
                yield images.result(), split.labels[part]
        finally:
            for _, images in under_way:
                images.cancel()
