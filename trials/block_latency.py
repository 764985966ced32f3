"""The latency of a network as the sum of its parts, each distinct part measured once on a machine and kept in a file.

Parts are the stem, what leads into each stage, each block, what closes a stage, and the head, in the form in which a
network is deployed (merged). What parts cost together but not apart (caches, calls) is left to a correction on top.
Source:  latency lookup tables, ProxylessNAS, arXiv:1812.00332, app. B.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from space import Architecture
from space.arch import Block
from space.build import Network, NetworkStage
from space.downsamples import NoDownsample
from space.layers import TwoMaps
from space.norms import NoNorm
from trials.latency import measure_latency

FORMAT = 1
REPEATS = 15
SECONDS = 0.5
"""At most so long one part is timed."""


@dataclass(frozen=True)
class Part:
    """One module of a network and the map it reads."""

    name: str
    """All that decides its time but batch, device and threads."""
    build: Callable[[], nn.Module]
    shape: tuple[int, int, int]
    """[C, H, W] of its input."""


@dataclass(frozen=True)
class Timed:
    """The time of a part in ms, and its interquartile range."""

    ms: float
    spread: float


class BlockTable:
    """Times of parts by name, for one machine, torch, device, number of threads and batch size."""

    def __init__(self, path: Path | None = None, *, device: str = "cpu", threads: int = 1, batch: int = 1) -> None:
        """Read what the file holds of this machine; None: the file of this machine in the user's cache."""
        self.device, self.threads, self.batch = device, threads, batch
        self.circumstances: dict[str, str | int] = {
            "machine": machine() if device == "cpu" else torch.cuda.get_device_name(device),
            "torch": str(torch.__version__),
            "device": device,
            "threads": threads,
            "batch": batch,
        }
        text = json.dumps([FORMAT, self.circumstances], sort_keys=True)
        self.key = hashlib.sha256(text.encode()).hexdigest()[:16]
        self.path = path or _folder() / f"{self.key}.json"
        self._known = self._read()
        self.measured = 0
        """Parts measured by this table since it was opened."""

    def __len__(self) -> int:
        """Return how many parts are known."""
        return len(self._known)

    def latency(self, arch: Architecture, resolution: int) -> float:
        """Return the sum over a network's parts in ms; parts that are not known are measured first.

        Raises SpaceError where the network cannot run at that resolution.
        """
        found = list(parts(arch, resolution))
        new = {part.name: part for part in found if part.name not in self._known}
        for name, part in new.items():
            self._known[name] = self._measure(part)
        if new:
            self._write()
        return sum(self._known[part.name].ms for part in found)

    def _measure(self, part: Part) -> Timed:
        with torch.random.fork_rng(devices=[]):
            module = part.build()
        shape = (self.batch, *part.shape)
        measured = measure_latency(
            module, shape, device=self.device, threads=self.threads, repeats=REPEATS, seconds=SECONDS, clock="quiet"
        )
        self.measured += 1
        return Timed(measured.value, measured.spread or 0.0)

    def _read(self) -> dict[str, Timed]:
        try:
            found = json.loads(self.path.read_text(encoding="utf-8"))
            if found["circumstances"] != self.circumstances or found["format"] != FORMAT:
                return {}
            return {name: Timed(float(ms), float(spread)) for name, (ms, spread) in found["parts"].items()}
        except (OSError, ValueError, KeyError, TypeError):
            return {}  # a table can always be measured again

    def _write(self) -> None:
        """Add what is known to the file, which another process may have added to meanwhile."""
        self._known = self._read() | self._known
        table = {name: [timed.ms, timed.spread] for name, timed in self._known.items()}
        text = json.dumps({"format": FORMAT, "circumstances": self.circumstances, "parts": table})
        beside = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            beside.write_text(text, encoding="utf-8")
            beside.replace(self.path)
        except OSError:
            return  # without the file the parts are measured anew next time


def parts(arch: Architecture, resolution: int) -> Iterator[Part]:
    """Yield the parts of a network at that resolution, in the order of the data's way. Raises SpaceError."""
    arch = arch.fitted(resolution)
    sizes = arch.sizes(resolution)
    first = arch.stages[0].width
    side = (arch.in_channels, resolution, resolution)
    yield Part(_name("stem", arch.stem, first, side), lambda: arch.stem.build(arch.in_channels, first), side)
    for index, (stage, size) in enumerate(zip(arch.stages, sizes, strict=True)):
        shape = (stage.width, *size)
        if index and not isinstance(stage.downsample, NoDownsample):
            width, before = arch.stages[index - 1].width, (arch.stages[index - 1].width, *sizes[index - 1])
            name = _name("downsample", stage.downsample, stage.width, before)
            yield Part(name, _builder(stage.downsample.build, width, stage.width), before)
        for block, count in Counter(stage.blocks()).items():
            part = Part(_name("block", block, 0, shape), _builder(_block, arch, block, stage.width), shape)
            yield from [part] * count
        if not isinstance(stage.norm, NoNorm):
            yield Part(_name("norm", stage.norm, 0, shape), _builder(stage.norm.build, stage.width), shape)
    last = (arch.stages[-1].width, *sizes[-1])
    lower = (arch.last_widths[0], *sizes[max(len(sizes) - 2, 0)])
    yield Part(_name("head", arch.head, arch.classes, (*last, *lower)), _builder(_Head, arch, lower), last)


class _Head(nn.Module):
    """A head with a fixed second map, where it reads one."""

    def __init__(self, arch: Architecture, lower: tuple[int, int, int]) -> None:
        super().__init__()
        low, width = arch.last_widths
        self.head = arch.head.build_above(low, width, arch.classes)
        self.register_buffer("lower", torch.zeros(1, *lower))

    def forward(self, x: Tensor) -> Tensor:
        if isinstance(self.head, TwoMaps):
            return self.head(x, cast("Tensor", self.lower).expand(len(x), -1, -1, -1))
        return self.head(x)


def _block(arch: Architecture, block: Block, width: int) -> nn.Module:
    """Return the block alone, merged as in the deployed network."""
    stage = arch.stages[0].model_copy(update={"width": width, "depth": 1, "pattern": (block,)})
    network = Network(arch.model_copy(update={"stages": (stage,)})).reparameterize()
    return cast("NetworkStage", network.stages[0]).blocks[0]


def _builder(build: Callable[..., nn.Module], *arguments: Any) -> Callable[[], nn.Module]:
    return lambda: build(*arguments)


def _name(place: str, spec: Any, width: int, shape: tuple[int, ...]) -> str:
    text = json.dumps(spec.model_dump(mode="json", exclude_defaults=True), sort_keys=True)
    return f"{place} {text} {width} {'x'.join(map(str, shape))}"


@cache
def machine() -> str:
    """Return the processor and its number of cores, in words."""
    name = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), name)
    except OSError:
        pass  # other systems tell by platform
    return f"{name}, {os.cpu_count()} cores"


def _folder() -> Path:
    return Path(os.environ.get("NAS_LATENCY") or Path("~/.cache/nas/latency").expanduser())
