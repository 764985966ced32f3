"""nas cost: what a network costs, counted, and timed on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from nas.cli.open import network as find
from nas.cli.options import DeviceOption, JsonOption, NetworkArgument, StoreOption, examples
from nas.cli.output import as_json, line, waiting
from nas.quantities import short

if TYPE_CHECKING:
    from space import Architecture
    from trials.measurement import Measured

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

    MACs are multiply-accumulates of one image. Training memory is what the backward pass of one image keeps, and what
    weights, gradients and AdamW's two moments take, all in 32 bits. Where branches and norms of a trained network merge
    (structural re-parameterisation), the merged form's cost is shown too; it is what nas export writes.
    """
    from space import cost as counted_by_formula
    from space import describe
    from space.counting import merged_cost

    found = find(network, store)
    pixels = resolution or found.resolution or 224
    counts, merged = counted_by_formula(found.arch, pixels), merged_cost(found.arch, pixels)
    saved = _saved_bytes(found.arch, pixels)
    timed = _timed(found.arch, pixels, device, threads) if latency else None
    if json:
        as_json(
            {
                "network": found.name,
                "architecture": found.arch.id,
                "description": describe(found.arch),
                "resolution": pixels,
                **counts._asdict(),
                "merged": None if merged is None else merged._asdict(),
                "training_memory_bytes": {"per_image": saved, "weights_and_optimiser": 16 * counts.params},
                "latency_ms": None if timed is None else _latency_json(timed),
            }
        )
        return
    line(f"{found.name}: {describe(found.arch)}")
    after = ("", "", "") if merged is None else tuple(f"; merged {short(value)}  {value:,}" for value in merged)
    line(f"parameters       {short(counts.params):>8}  {counts.params:,}{after[0]}")
    line(f"MACs             {short(counts.macs):>8}  {counts.macs:,}{after[1]} at {pixels} px")
    line(f"activations      {short(counts.activations):>8}  {counts.activations:,}{after[2]}")
    line(
        f"training memory  {_mib(saved):>8}  an image, and {_mib(16 * counts.params)} for weights, gradients and AdamW"
    )
    if timed is not None:
        line(f"latency          {timed.value:>5.4g} ms  {_circumstances(timed)}")


def _saved_bytes(arch: Architecture, pixels: int) -> int:
    import torch

    from space import build
    from space.counting import counted

    with torch.device("meta"):
        module = build(arch)
    return counted(module, (1, arch.in_channels, pixels, pixels)).saved_bytes


def _timed(arch: Architecture, pixels: int, device: str | None, threads: int) -> Measured:
    import torch

    from nas.training_plan import device_named
    from space import build
    from trials.latency import measure_latency

    where = device or ("cuda" if torch.cuda.is_available() else "cpu")
    device_named(where)
    shape = (1, arch.in_channels, pixels, pixels)
    with waiting(f"timing on {where}, {threads} thread{'s' if threads != 1 else ''} ..."):
        return measure_latency(build(arch), shape, device=where, threads=threads)


def _latency_json(timed: Measured) -> dict[str, Any]:
    return {"median": timed.value, "spread": timed.spread, **timed.circumstances}


def _circumstances(timed: Measured) -> str:
    spread = "" if timed.spread is None else f"median, spread {timed.spread:.3g} ms; "
    return spread + ", ".join(f"{name} {value}" for name, value in timed.circumstances.items())


def _mib(count: int) -> str:
    return f"{count / 2**20:.4g} MiB" if count >= 2**20 else f"{count / 2**10:.3g} KiB"
