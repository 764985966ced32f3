"""How long a network takes: timed runs, their median and spread, in the form in which it is deployed."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor, nn

from space import Architecture, build
from space.errors import NasError
from trials.measurement import Measured
from trials.threads import torch_threads

LEAST_REPEATS = 3

Clock = Literal["wall", "quiet"]
"""quiet: where one CPU thread computes, the time of that thread alone, so that other processes lengthen it little."""


def measure_deployed(
    arch: Architecture,
    shape: tuple[int, int, int, int],
    *,
    device: str = "cpu",
    threads: int = 1,
    repeats: int = 30,
    clock: Clock = "wall",
) -> Measured:
    """Return the time of one run of a point's network, of initial weights, as `measure_latency` does.

    What is timed is the merged form (`Network.reparameterize`) where there is one: trained branches cost time only
    while training. The circumstances then say `form: merged`. Raises NasError.
    """
    network = build(arch).reparameterize()
    measured = measure_latency(network, shape, device=device, threads=threads, repeats=repeats, clock=clock)
    if network.architecture == arch:
        return measured
    return replace(measured, circumstances={"form": "merged", **measured.circumstances})


def measure_latency(
    model: nn.Module,
    shape: tuple[int, int, int, int],
    *,
    device: str = "cpu",
    threads: int = 1,
    repeats: int = 30,
    seconds: float = 3.0,
    mode: Literal["inference", "train"] = "inference",
    clock: Clock = "wall",
) -> Measured:
    """Return the median time of one run in ms; `spread` is the interquartile range.

    shape: [N, C, H, W] of the input, in channels_last memory, as the network then is. One run is a forward pass in
    inference mode, or with mode="train" a forward and a backward pass without an optimiser. After a tenth of `repeats`
    runs to warm up, `repeats` are timed, fewer (at least 3) once `seconds` have passed. The model's mode and the
    process's thread count are restored. Raises NasError for a bad shape, mode or number.
    """
    if repeats < LEAST_REPEATS or threads < 1 or len(shape) != 4 or min(shape) < 1:
        raise NasError(
            f"latency: shape {shape!r}, repeats {repeats!r}, threads {threads!r}; allowed: four positive numbers, "
            f"at least {LEAST_REPEATS} repeats, at least 1 thread"
        )
    if mode not in ("inference", "train"):
        raise NasError(f"latency: mode {mode!r}, allowed: inference, train")
    was_training = model.training
    model.to(device=device, memory_format=torch.channels_last).train(mode == "train")  # pyright: ignore[reportCallIssue]
    images = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    images = images.to(device=device, memory_format=torch.channels_last)
    once = _forward(model, images) if mode == "inference" else _forward_backward(model, images)
    try:
        with torch_threads(threads):
            quiet = clock == "quiet" and threads == 1 and torch.device(device).type == "cpu"
            times = _times(once, device, repeats, seconds, time.thread_time if quiet else time.perf_counter)
    finally:
        model.zero_grad()
        model.train(was_training)
    low, median, high = statistics.quantiles(times, n=4, method="inclusive")
    circumstances: dict[str, str | int | float] = {
        "device": _device_name(device),
        "threads": threads,
        "repeats": len(times),
        "mode": mode,
        "shape": "x".join(map(str, shape)),
        "dtype": str(images.dtype).removeprefix("torch."),
        "torch": str(torch.__version__),
        **({"clock": "thread"} if quiet else {}),
    }
    return Measured(median, "ms", high - low, circumstances)


def _forward(model: nn.Module, images: Tensor) -> Callable[[], None]:
    def once() -> None:
        with torch.inference_mode():
            model(images)

    return once


def _forward_backward(model: nn.Module, images: Tensor) -> Callable[[], None]:
    def once() -> None:
        model.zero_grad()
        model(images).sum().backward()

    return once


def _times(
    once: Callable[[], None], device: str, repeats: int, seconds: float, clock: Callable[[], float]
) -> list[float]:
    """Return the milliseconds of each timed run."""
    waits = torch.device(device).type == "cuda"

    def timed() -> float:
        if waits:
            torch.cuda.synchronize(device)
        start = clock()
        once()
        if waits:
            torch.cuda.synchronize(device)
        return (clock() - start) * 1e3

    begin = time.perf_counter()
    for _ in range(max(1, repeats // 10)):
        timed()
        if time.perf_counter() - begin > seconds:
            break
    begin, times = time.perf_counter(), list[float]()
    while len(times) < repeats and (len(times) < LEAST_REPEATS or time.perf_counter() - begin < seconds):
        times.append(timed())
    return times


def _device_name(device: str) -> str:
    if torch.device(device).type == "cuda":
        return torch.cuda.get_device_name(device)
    return device
