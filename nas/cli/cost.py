"""nas cost: what a network costs, counted, and timed on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from nas.cli.open import network as find
from nas.cli.options import DeviceOption, JsonOption, NetworkArgument, StoreOption, examples
from nas.cli.output import as_json, line, waiting
from nas.quantities import short

if TYPE_CHECKING:
    from space import Architecture, Cost
    from space.flop_rule import PublishedFlops
    from trials.measurement import Measured

COUNTED = "counted multiply-accumulates"

ResolutionOption = Annotated[
    int | None,
    typer.Option(
        "--resolution",
        metavar="PX",
        min=1,
        max=4096,
        help="Side of the images in pixels.",
        show_default="published, else 224",
    ),
]
ThreadsOption = Annotated[
    int, typer.Option("--threads", metavar="N", min=1, max=1024, help="CPU threads to time with.")
]
LatencyOption = Annotated[
    bool, typer.Option("--latency/--no-latency", help="Time the network here, or only count (much faster).")
]


def register(app: typer.Typer) -> None:
    """Add the command of this file to the command line."""
    app.command(
        short_help="Count what a network costs, and time it on this machine.",
        epilog=examples(
            "nas cost convnext_tiny",
            "nas cost network.yaml --resolution 32 --threads 4",
            "nas cost STUDY:17 --json",
        ),
    )(cost)


def cost(
    network: NetworkArgument,
    resolution: ResolutionOption = None,
    latency: LatencyOption = True,
    device: DeviceOption = None,
    threads: ThreadsOption = 1,
    store: StoreOption = None,
    json: JsonOption = False,
) -> None:
    """Count parameters, MACs, activations and training memory of a network, and time it on this machine.

    MACs are multiply-accumulates of one image, counted exactly. Papers of deformable and state-space networks publish
    FLOPs by rules of their own; where a network has such operators, its figure by the published rule stands beside.
    Training memory is what the backward pass of one image keeps, and what weights, gradients and AdamW's two moments
    take, all in 32 bits. Where branches and norms of a trained network merge (structural re-parameterisation), the
    merged form's cost is shown too, and that form is timed; it is what nas export writes.
    """
    from space import describe

    found = find(network, store)
    pixels = resolution or found.resolution or 224
    counts = _Counts.of(found.arch, pixels)
    timed = _timed(found.arch, pixels, device, threads) if latency else None
    if json:
        facts = {"network": found.name, "architecture": found.arch.id, "description": describe(found.arch)}
        timing = None if timed is None else {"median": timed.value, "spread": timed.spread, **timed.circumstances}
        as_json({**facts, "resolution": pixels, **counts.as_json(), "latency_ms": timing})
        return
    line(f"{found.name}: {describe(found.arch)}")
    for text in counts.lines(pixels):
        line(text)
    if timed is not None:
        line(f"latency          {timed.value:>5.4g} ms  {_circumstances(timed)}")


class _Counts(NamedTuple):
    """What is counted of a network, as trained and merged."""

    cost: Cost
    merged: Cost | None
    published: PublishedFlops | None
    saved_bytes: int

    @classmethod
    def of(cls, arch: Architecture, pixels: int) -> _Counts:
        """Count a network for images of that side."""
        from space import cost
        from space.build import on_meta
        from space.counting import counted, merged_cost, published_flops

        saved = counted(on_meta(arch), (1, arch.in_channels, pixels, pixels)).saved_bytes
        return cls(cost(arch, pixels), merged_cost(arch, pixels), published_flops(arch, pixels), saved)

    def as_json(self) -> dict[str, Any]:
        """Return the counts under the names that `--json` gives them."""
        return {
            **self.cost._asdict(),
            "macs_rule": COUNTED,
            "published_rule": None if self.published is None else self.published._asdict(),
            "merged": None if self.merged is None else self.merged._asdict(),
            "training_memory_bytes": {"per_image": self.saved_bytes, "weights_and_optimiser": 16 * self.cost.params},
        }

    def lines(self, pixels: int) -> list[str]:
        """Return the counts as lines for people."""
        params, macs, activations = (f"{short(value):>8}  {value:,}" for value in self.cost)
        after = [""] * 3 if self.merged is None else [f"; merged {short(value)}  {value:,}" for value in self.merged]
        memory = f"{_mib(self.saved_bytes):>8}  an image, and {_mib(16 * self.cost.params)}"
        published: list[str] = []
        if (ruled := self.published) is not None:
            text = f"{short(ruled.flops):>8}  {ruled.flops:,} FLOPs = {ruled.rule} ({ruled.source})"
            published = [f"published rule   {text}"]
        return [
            f"parameters       {params}{after[0]}",
            f"MACs             {macs}{after[1]}  {COUNTED} at {pixels} px",
            *published,
            f"activations      {activations}{after[2]}",
            f"training memory  {memory} for weights, gradients and AdamW",
        ]


def _timed(arch: Architecture, pixels: int, device: str | None, threads: int) -> Measured:
    import torch

    from nas.training_plan import device_named
    from trials.latency import measure_deployed

    where = device or ("cuda" if torch.cuda.is_available() else "cpu")
    device_named(where)
    shape = (1, arch.in_channels, pixels, pixels)
    with waiting(f"timing on {where}, {threads} thread{'s' if threads != 1 else ''} ..."):
        return measure_deployed(arch, shape, device=where, threads=threads)


def _circumstances(timed: Measured) -> str:
    spread = "" if timed.spread is None else f"median, spread {timed.spread:.3g} ms; "
    return spread + ", ".join(f"{name} {value}" for name, value in timed.circumstances.items())


def _mib(count: int) -> str:
    return f"{count / 2**20:.4g} MiB" if count >= 2**20 else f"{count / 2**10:.3g} KiB"
