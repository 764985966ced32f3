"""Bytes that interpreted kernels move: asked for, needed by each program, and needed at all."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np

SECTOR = 32
"""Bytes that a GPU's caches fetch and write together."""
Kind = Literal["load", "store", "atomic"]
KINDS: tuple[Kind, ...] = ("load", "store", "atomic")


class Bytes(NamedTuple):
    """Bytes of one kind of access, or of all.

    `requested` is what lanes ask for. `per_program` counts each sector once a program: traffic behind a perfect cache
    in each multiprocessor. `compulsory` counts each sector once a launch: traffic to the memory behind a perfect cache.
    Such a cache also holds what the program has written: the last two count no load of it.
    """

    requested: int
    per_program: int
    compulsory: int

    def over(self, least: int) -> tuple[float, float, float]:
        """Return the three as multiples of the least number of bytes that would do."""
        return self.requested / least, self.per_program / least, self.compulsory / least


class Traffic:
    """Counts what memory accesses tell it; `launch` and `program` say where launches and programs begin."""

    def __init__(self) -> None:
        self._requested = dict.fromkeys(KINDS, 0)
        self._of_programs = dict.fromkeys(KINDS, 0)
        self._of_launches = dict.fromkeys(KINDS, 0)
        self._program: dict[Kind, list[np.ndarray]] = {kind: [] for kind in KINDS}
        self._launch: dict[Kind, list[np.ndarray]] = {kind: [] for kind in KINDS}

    def see(self, kind: Kind, addresses: np.ndarray, size: int, held: np.ndarray | None = None) -> None:
        """Count an access of `size` bytes at each address; `held` tells which the program itself has written before."""
        self._requested[kind] += addresses.size * size
        if held is not None:
            addresses = addresses[~held]
        self._program[kind].append(np.unique(addresses // SECTOR))

    def program(self) -> None:
        """Begin another program."""
        for kind, sectors in self._program.items():
            if sectors:
                met = np.unique(np.concatenate(sectors))
                self._of_programs[kind] += met.size * SECTOR
                self._launch[kind].append(met)
                sectors.clear()

    def launch(self) -> None:
        """Begin another launch."""
        self.program()
        for kind, sectors in self._launch.items():
            if sectors:
                self._of_launches[kind] += np.unique(np.concatenate(sectors)).size * SECTOR
                sectors.clear()

    def of(self, *kinds: Kind) -> Bytes:
        """Return the bytes so far, of all kinds unless some are named."""
        self.launch()
        kinds = kinds or KINDS
        return Bytes(*(sum(counts[k] for k in kinds) for counts in self._counts()))

    def _counts(self) -> tuple[dict[Kind, int], dict[Kind, int], dict[Kind, int]]:
        return self._requested, self._of_programs, self._of_launches
