"""Compile every Triton kernel for every target, without a GPU, and write what it uses.

    python benchmarks/kernel_report.py [--check] [--fresh] [--processes 2]

Writes benchmarks/kernel_report.md: registers, spilled bytes, shared memory and instructions of each configuration that
can be chosen on each target, and the bytes that kernels move, counted under the interpreter. Rows whose source, options
and compiler are those of the table are kept; --fresh compiles them, too. With --check nothing is written: it compiles
everything and exits with 1 if a kernel breaks its limits, a row is missing, or one is worse than the table says.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from ops.proof.report import Row, bytes_moved, faults, made_all, read, wanted, worse, written

TABLE = Path(__file__).with_suffix(".md")


def main() -> None:
    """Write the table, or compare with it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--fresh", action="store_true")
    parser.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)))
    args = parser.parse_args()
    before, needed = read(TABLE), wanted()
    keys = [
        key
        for key, digest in needed.items()
        if args.fresh or args.check or key not in before or before[key].digest != digest
    ]
    rows: dict[tuple[str, str, str], Row] = {key: before[key] for key in needed if key in before}
    complaints = [f"{', '.join(key)}: not in {TABLE.name}" for key in needed if key not in before]
    for count, row in enumerate(made_all(keys, args.processes), 1):
        key = row[:3]
        complaints += faults(row) + (worse(row, rows[key]) if key in rows else [])
        rows[key] = row
        print(f"{count} of {len(keys)}: {', '.join(key)}", file=sys.stderr, flush=True)
        if count % 50 == 0 and not args.check:  # what is compiled is kept if the run is interrupted
            TABLE.write_text(written(rows.values(), {}), encoding="utf-8")
    traffic = bytes_moved()
    for (operator, name), (found, least, most, counted) in traffic.items():
        ratio = getattr(found, counted) / least
        if ratio > most:
            complaints.append(f"{operator}, {name}: {ratio:.3f} times the least bytes {counted}, allowed: {most:g}")
    if not args.check:
        TABLE.write_text(written(rows.values(), traffic), encoding="utf-8")
        complaints = [each for each in complaints if not each.endswith(f"not in {TABLE.name}")]
    for each in complaints:
        print(each)
    if complaints:
        sys.exit(1)


if __name__ == "__main__":
    main()
