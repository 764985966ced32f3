"""Named models against timm's implementation of them on this machine, in one run: a training step and inference.

Both carry the same weights, none of which is so small that it would not matter, float32, channels_last; their outputs
are compared before anything is timed. A training step is forward, backward and fused AdamW. The two take turns, so that
what else the machine does meets them alike; times are medians. Models that timm has not are set against themselves with
another implementation of the operators (`ops.dispatch`): `reference` is what was published, in plain PyTorch.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from statistics import geometric_mean
from typing import Any, Literal, NamedTuple, cast, get_args

import timm
import torch
from torch import Tensor, nn

from nas.turns import by_turns, clock_of
from ops.dispatch import VARIABLE, Impl
from space.build import Network, build
from space.errors import NasError
from space.named import load_published, model_names, named
from trials.threads import torch_threads

Peer = Literal["timm", "reference", "pytorch"]
MODELS = (
    "convnext_atto", "convnextv2_atto", "inceptionnext_atto", "poolformer_s12_timm", "poolformerv2_s12",
    "convformer_s18_timm", "caformer_s18_timm", "focalnet_tiny_srf", "swin_tiny_patch4_window7_224",
    "deit_tiny_patch16_224", "replknet_31b", "slak_tiny", "unireplknet_a", "van_b0", "hornet_tiny_7x7",
    "moganet_xtiny", "internimage_tiny", "flash_internimage_tiny", "vmamba_tiny_s1l8", "vanilla_vmamba_tiny",
)  # fmt: skip
"""What `nas bench models` runs: the smallest of each family."""
SIZE = 64
"""Side of the images in pixels; a model whose weights belong to one size takes that."""
PIXELS = 8 * SIZE**2
"""Pixels of a batch, about: 8 images of 64 px, 32 of 32 px, 1 of 224 px."""
PATIENCE_S = 10.0
"""Seconds of one run beyond which it is not repeated: the published scan takes long."""
CLOSE = 1e-3
"""Largest difference of outputs over their largest number."""


class Row(NamedTuple):
    """One model against one peer in one mode; times are ms of one batch, spreads their quartiles' range."""

    model: str
    peer: str
    mode: str
    size: int
    batch: int
    device: str
    threads: int
    ms: float
    spread: float
    peer_ms: float
    peer_spread: float
    speedup: float
    error: float


class Case(NamedTuple):
    """A model, its peer, the side of its images and how many there are; None: about `PIXELS` of them."""

    model: str
    peer: Peer
    size: int = SIZE
    batch: int | None = None


def timm_name(name: str) -> str | None:
    """Return timm's name of a named model, None where timm has none or another function under that name."""
    base = name.removesuffix("_timm").partition("_img")[0].replace("inceptionnext", "inception_next")
    return base if timm.is_model(base) and f"{name}_timm" not in model_names() else None


def cases(models: Sequence[str], peers: Sequence[str], sizes: Sequence[int], batch: int | None = None) -> list[Case]:
    """Return what to time; without `peers` timm where it has the model, else the reference.

    Raises NasError for an unknown model or peer, and where timm is asked for a model that it has not.
    """
    found: list[Case] = []
    for name in (named(model).name for model in models):
        for peer in peers or (["timm"] if timm_name(name) else ["reference"]):
            if peer not in get_args(Peer):
                raise NasError(f"bench: peer {peer!r}, allowed: {', '.join(get_args(Peer))}")
            if peer == "timm" and timm_name(name) is None:
                raise NasError(f"bench: timm has no {name}, allowed: reference, pytorch")
            own = named(name).resolution
            found += [Case(name, cast("Peer", peer), own if _of_one_size(name) else size, batch) for size in sizes]
    return list(dict.fromkeys(found))


def _of_one_size(name: str) -> bool:
    # at other sizes timm smooths DeiT's vectors of positions and narrows Swin's windows, the authors do not
    return named(name).family in ("DeiT", "Swin")


def rows(cases: Sequence[Case], *, device: str = "cpu", threads: int = 1, rounds: int = 5) -> Iterator[Row]:
    """Time the cases one by one and yield two rows for each: a training step, then inference.

    On a CPU with one thread times are CPU times of the process, otherwise times on the wall. Raises NasError for a
    device that is not there and where the two networks of a case do not compute the same.
    """
    if device != "cpu" and not (device == "cuda" and torch.cuda.is_available()):
        raise NasError(f"bench: device {device!r}, allowed: {'cpu, cuda' if torch.cuda.is_available() else 'cpu'}")
    with torch_threads(threads):
        for case in cases:
            yield from _rows(case, device, threads, rounds)


def _rows(case: Case, device: str, threads: int, rounds: int) -> Iterator[Row]:
    batch = case.batch or max(1, round(PIXELS / case.size**2))
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(batch, 3, case.size, case.size, generator=generator)
    images = images.to(device=device, memory_format=torch.channels_last)
    ours, theirs = networks(case)
    for each in (ours, theirs):
        each.to(device=device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    asked = None if case.peer == "timm" else case.peer
    error = _difference(ours.eval(), theirs.eval(), images, asked)
    if not error < CLOSE:
        raise NasError(f"bench: outputs of {case.model} and {case.peer} differ by {error:.0e}, allowed: {CLOSE:.0e}")
    clock = clock_of(threads, device)
    for mode, runner in (("train", _trains), ("inference", _infers)):
        ways = {"ours": runner(ours, images), "peer": _by(asked, runner(theirs, images))}
        if device == "cuda":
            ways = {name: _awaited(way) for name, way in ways.items()}
        times = by_turns(ways, clock, rounds, patience=PATIENCE_S)
        (low, mine, high), (peer_low, peers, peer_high) = times["ours"], times["peer"]
        yield Row(
            case.model, case.peer, mode, case.size, batch, device, threads, 1e3 * mine, 1e3 * (high - low),
            1e3 * peers, 1e3 * (peer_high - peer_low), peers / mine, error,
        )  # fmt: skip


def networks(case: Case) -> tuple[Network, nn.Module]:
    """Return ours and the peer's network with the same weights; the same network where the peer is ours."""
    torch.manual_seed(0)
    ours = build(named(case.model).arch)
    if case.peer != "timm":
        _stir(ours)
        return ours, ours
    sized: dict[str, Any] = {"img_size": case.size} if _of_one_size(case.model) else {}
    classes = named(case.model).arch.classes
    theirs = timm.create_model(cast("str", timm_name(case.model)), pretrained=False, num_classes=classes, **sized)
    _stir(theirs)
    load_published(ours, case.model, theirs.state_dict())
    return ours, theirs


@torch.no_grad()
def _stir(network: nn.Module) -> None:
    """Move every vector of weights away from the 0, 1 or 1e-6 that it starts with, so that each matters."""
    for weight in network.parameters():
        if sum(side > 1 for side in weight.shape) <= 1:
            weight += 0.1 * torch.randn_like(weight)


def _difference(ours: nn.Module, theirs: nn.Module, images: Tensor, asked: Impl | None) -> float:
    mine, expected = _infers(ours, images)(), _by(asked, _infers(theirs, images))()
    return float((mine - expected).abs().max() / expected.abs().max())


def _infers(network: nn.Module, images: Tensor) -> Callable[[], Tensor]:
    network.eval()

    def run() -> Tensor:
        with torch.inference_mode():
            return network(images)

    return run


def _trains(network: nn.Module, images: Tensor) -> Callable[[], None]:
    network.train()
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-6, fused=True)
    labels = torch.arange(len(images), device=images.device)

    def run() -> None:
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(network(images), labels).backward()
        optimiser.step()

    return run


def _by(asked: Impl | None, run: Callable[[], Any]) -> Callable[[], Any]:
    """Return a run whose operators are of one implementation."""

    def run_so() -> Any:
        with _operators(asked):
            return run()

    return run if asked is None else run_so


@contextmanager
def _operators(asked: Impl | None) -> Iterator[None]:
    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = asked or ""
    try:
        yield
    finally:
        if before is None:
            del os.environ[VARIABLE]
        else:
            os.environ[VARIABLE] = before


def _awaited(run: Callable[[], object]) -> Callable[[], object]:
    """Return a run that ends when the GPU has done it."""

    def run_to_end() -> None:
        run()
        torch.cuda.synchronize()

    return run_to_end


def summary(found: Iterable[Row]) -> list[tuple[str, str, float, float]]:
    """Return peer, mode, geometric mean and least of the speed-ups."""
    speedups: dict[tuple[str, str], list[float]] = {}
    for row in found:
        speedups.setdefault((row.peer, row.mode), []).append(row.speedup)
    return [(*key, geometric_mean(each), min(each)) for key, each in speedups.items()]
