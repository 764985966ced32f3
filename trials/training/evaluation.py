"""Measure a network on one part of the data."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from trials.data import ImageData, Split
from trials.threads import torch_threads
from trials.training.batches import batches
from trials.training.precision import autocast

BATCH_SIZE = 256


def evaluate(
    model: nn.Module,
    split: Split,
    data: ImageData,
    *,
    device: str = "cpu",
    threads: int = 1,
    amp: bool = True,
    batch_size: int = BATCH_SIZE,
) -> dict[str, float]:
    """Return top-1 `accuracy` in [0, 1] and mean cross-entropy `loss` in nats over `split`.

    model: [N, channels, resolution, resolution] -> [N, classes], on `device`; its mode is restored afterwards.
    `data` supplies the normalisation. Half precision is used only where `amp` and the device allow it.
    """
    was_training = model.training
    model.eval()
    right, loss = 0, 0.0
    parts = torch.arange(len(split)).split(batch_size)
    try:
        with torch_threads(threads), torch.inference_mode(), autocast(device, amp):
            for images, labels in batches(split, parts, margin=False, threads=threads):
                labels = labels.to(device)
                logits = model(data.normalised(images.to(device))).float()
                loss += functional.cross_entropy(logits, labels, reduction="sum").item()
                right += int((logits.argmax(1) == labels).sum())
    finally:
        model.train(was_training)
    return {"accuracy": right / len(split), "loss": loss / len(split)}
