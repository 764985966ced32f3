"""nas bench ops: our operators against PyTorch's and torchvision's on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from nas.cli.options import JsonOption, examples
from nas.cli.output import as_json, line, say, table, waiting
from nas.tables import Column

if TYPE_CHECKING:
    from nas.kernel_bench import KernelRow


def register(app: typer.Typer) -> None:
    """Add the command of this file to its group."""
    app.command(
        epilog=examples(
            "nas bench ops", "nas bench ops --op depthwise_conv2d --rounds 9", "nas bench ops --device cuda --json"
        )
    )(ops)


def ops(
    device: Annotated[
        str, typer.Option("--device", metavar="DEVICE", help="Where to run: cpu, or a GPU: cuda, xpu.")
    ] = "cpu",
    op: Annotated[
        str | None, typer.Option("--op", metavar="OPERATOR", help="One operator alone.", show_default="all")
    ] = None,
    threads: Annotated[
        int, typer.Option("--threads", metavar="N", min=1, max=1024, help="CPU threads; with one, times are CPU times.")
    ] = 1,
    rounds: Annotated[int, typer.Option("--rounds", metavar="N", min=1, max=1000, help="Timed runs of each way.")] = 5,
    json: JsonOption = False,
) -> None:
    """Time depthwise convolution, selective scan and deformable sampling, forward and backward, against others.

    Each row sets our operator (default: as networks take it, pytorch: without the library in C++ that is built where
    there is a compiler) against one that computes the same. A
    speed-up is the other's median time over ours. The error is ours against float64, the largest difference over the
    largest number of output and gradients. Without --op it takes some minutes.

    With --device cuda or xpu our Triton kernels run, those of norms and gates too, against PyTorch's functions and
    cuDNN, beside published figures; an error beyond what the dtype allows ends the command with 1.
    """
    if device != "cpu":
        _on_gpu(device, op, rounds, json)
        return
    from nas.operator_bench import rows, summary
    from nas.operator_cases import CASES

    chosen = _chosen([case.op for case in CASES], op)
    with waiting("timing ..."):
        found = list(rows([case for case in CASES if case.op in chosen], threads=threads, rounds=rounds))
    if json:
        as_json([row._asdict() for row in found])
        return
    titles = ("op", "shape", "kernel", "impl", "ms", "spread", "against", "ms", "speed-up", "error", "% of peak")
    table(
        [Column(title, right=title in ("ms", "spread", "speed-up", "error", "% of peak")) for title in titles],
        [
            (
                row.op, row.shape, row.kernel, row.impl, f"{row.ms:.2f}", f"{row.spread:.2f}", row.baseline,
                f"{row.baseline_ms:.2f}", f"{row.speedup:.2f}", f"{row.error:.0e}",
                "" if row.percent_of_peak is None else f"{row.percent_of_peak:.0f}",
            )
            for row in found
        ],
    )  # fmt: skip
    line()
    for name, impl, peer, mean, least in summary(found):
        line(f"{name}, {impl}: {mean:.2f} times as fast as {peer} (geometric mean), at least {least:.2f} times")


def _chosen(known: list[str], op: str | None) -> list[str]:
    """Return the operators to run."""
    from space.errors import NasError

    if op is not None and op not in known:
        raise NasError(f"bench: op {op!r}, allowed: {', '.join(dict.fromkeys(known))}")
    return known if op is None else [op]


def _on_gpu(device: str, op: str | None, rounds: int, json: bool) -> None:
    from nas.kernel_bench import CASES, KernelRow, device_timer, rows
    from nas.operator_bench import summary

    timer, chosen = device_timer(device), _chosen([each.case.op for each in CASES], op)
    with waiting("timing ..."):
        found = list(rows([each for each in CASES if each.case.op in chosen], device, timer, rounds=rounds))
    wrong = [row for row in found if not row.right]
    if json:
        as_json([row._asdict() for row in found])
    else:
        numbers = ("ms", "spread", "speed-up", "error", "% of peak", "published ms", "published speed-up")
        titles = (*KernelRow._fields[:5], "ms", "spread", "against", "ms", *numbers[2:])
        table([Column(title, right=title in numbers) for title in titles], [_cells(row) for row in found])
        line()
        for name, impl, peer, mean, least in summary(found):
            line(f"{name}, {impl}: {mean:.2f} times as fast as {peer} (geometric mean), at least {least:.2f} times")
    for row in wrong:
        say(f"wrong: {row.op} {row.shape} {row.kernel} {row.dtype}: error {row.error:.1e}")
    if wrong:
        raise typer.Exit(1)


def _cells(row: KernelRow) -> tuple[str, ...]:
    return (
        *row[:5], f"{row.ms:.3f}", f"{row.spread:.3f}", row.baseline, f"{row.baseline_ms:.3f}", f"{row.speedup:.2f}",
        f"{row.error:.0e}", f"{row.percent_of_peak:.0f}",
        *("" if value is None else f"{value:.3g}" for value in (row.published_ms, row.published_speedup)),
    )  # fmt: skip
