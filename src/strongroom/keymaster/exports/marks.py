"""The canary persons of an export: those among the records that it is to hold, and those that its coins chose."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from pyroaring import BitMap64

from strongroom.keymaster.behind import PersonsBehind
from strongroom.keymaster.canaries.register import Which
from strongroom.keymaster.seenmaps import bitmap

U64 = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class Marked:
    """The canary persons of one export.

    Args:
        opening: What opens its code row; empty where it has none.
        commitment: What commits to that row, 32 B; empty where there is none.
        held: Ordinals of the canary persons that it holds.
        offered: Those it could have held, as pool << 32 | number: among its records, and coins were thrown for them.
        names_from: The smallest sample, in persons, that is expected to name the recipient; 0 where none is.
        why_none: Why there are no canaries, or no such sample; empty where there is one.
    """

    opening: bytes = field(default=b"", repr=False)
    commitment: bytes = b""
    held: BitMap64 = field(default_factory=BitMap64, repr=False)
    offered: BitMap64 = field(default_factory=BitMap64, repr=False)
    names_from: int = 0
    why_none: str = ""


class Added:
    """The canaries among the records that an export is to hold, as far as they were told."""

    def __init__(self) -> None:
        self.ordinals = BitMap64()
        self._parts: list[tuple[U64, U64]] = []

    def add(self, ordinals: U64, which: Which) -> None:
        """Take in persons by ordinal, all of them canaries."""
        fresh = bitmap(ordinals) - self.ordinals
        rows = np.isin(ordinals, np.asarray(fresh.to_array(), np.uint64))
        self._parts.append((ordinals[rows], coded(which.pool, which.number)[rows]))
        self.ordinals |= fresh

    def columns(self) -> tuple[U64, U64]:
        """Ordinal, and pool << 32 | number, of each person."""
        none = (np.empty(0, np.uint64), np.empty(0, np.uint64))
        ordinals, numbers = (np.concatenate(column) for column in zip(none, *self._parts, strict=True))
        return ordinals, numbers


def without(found: PersonsBehind, which: Which, added: Added) -> PersonsBehind:
    """The persons who are no canaries; those who are go into `added`."""
    people = ~which.found
    canaries = Which(which.pool[which.found], which.number[which.found], which.found[which.found])
    added.add(found.distinct[which.found], canaries)
    own, tokens = found.distinct[people], found.tokens[people]
    return PersonsBehind(found.removals, found.found, found.secrets, own, tokens, found.row_ordinals)


def coded(pools: npt.ArrayLike, numbers: npt.ArrayLike) -> U64:
    """Pool << 32 | number."""
    joined: U64 = np.asarray(pools, np.uint64) << np.uint64(32) | np.asarray(numbers, np.uint64)
    return joined
