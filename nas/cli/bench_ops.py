"""nas bench ops: our operators against PyTorch's and torchvision's on this machine."""

from __future__ import annotations

from typing import Annotated

import typer

from nas.cli.options import JsonOption, examples
from nas.cli.output import as_json, line, table, waiting
from nas.tables import Column


def register(app: typer.Typer) -> None:
    """Add the command of this file to its group."""
    app.command(
        epilog=examples("nas bench ops", "nas bench ops --op depthwise_conv2d --rounds 9", "nas bench ops --json")
    )(ops)


def ops(
    device: Annotated[str, typer.Option("--device", metavar="DEVICE", help="Where to run: cpu.")] = "cpu",
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
    """
    from nas.operator_bench import CASES, rows, summary
    from space.errors import NasError

    if device != "cpu":
        raise NasError(f"bench: device {device!r}, allowed: 'cpu'")
    known = list(dict.fromkeys(case.op for case in CASES))
    if op is not None and op not in known:
        raise NasError(f"bench: op {op!r}, allowed: {', '.join(known)}")
    with waiting("timing ..."):
        found = list(rows([case for case in CASES if op in (None, case.op)], threads=threads, rounds=rounds))
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
