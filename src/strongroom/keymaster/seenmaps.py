"""Many persons charged at once, as one roaring bitmap a scope and time: 125 KB for a million, not 20 MB.

Rules it keeps:

1. A map says that its persons were last charged in its time slot of SLOT_SECONDS, the finest that any window counts by,
   or later: a row of `seen`, or a later map, goes before.
2. What is cached belongs to a stamp that the database holds; whatever writes a map draws another, which is never drawn
   again, so that what was undone is never taken for what is.

Source of the bytes: the portable 64-bit format of the Roaring bitmap specification.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
from pyroaring import BitMap64

from strongroom.errors import IntegrityError
from strongroom.keys.rows import Rows, counter, put
from strongroom.seal.entropy import random_bytes

SLOT_SECONDS = 300
STAMP_BYTES = 7

Maps = dict[int, BitMap64]
"""Slot to its persons."""


def bitmap(ordinals: Sequence[int] | npt.NDArray[np.uint64] | BitMap64) -> BitMap64:
    """Ordinals as a bitmap; one that is given is the answer itself."""
    if isinstance(ordinals, BitMap64):
        return ordinals
    return BitMap64(array("Q", np.asarray(ordinals, np.uint64).tobytes()))


def read_bitmap(data: bytes) -> BitMap64:
    """A bitmap from its bytes; IntegrityError if they are none."""
    try:
        return BitMap64.deserialize(data)
    except (ValueError, MemoryError):
        raise IntegrityError("a set of persons is damaged") from None


class SeenMaps:
    """The maps of every scope, by its number."""

    def __init__(self) -> None:
        self._stamp = -1
        self._kept: dict[int, Maps] = {}

    def of(self, rows: Rows, scope: int) -> Maps:
        """The maps of a scope; not to be changed."""
        stamp = counter(rows, "maps")
        if stamp != self._stamp:
            self._stamp = stamp
            self._kept.clear()
        if not stamp:  # nobody ever had one
            return {}
        known = self._kept.get(scope)
        if known is None:
            found = rows.execute("SELECT slot, persons FROM seen_map WHERE scope = ?", (scope,)).fetchall()
            known = self._kept[scope] = {int(slot): read_bitmap(data) for slot, data in found}
        return known

    def add(self, rows: Rows, scope: int, slot: int, persons: BitMap64) -> None:
        """Write that persons were last charged in a slot: they leave the maps of other slots."""
        for other, before in self.of(rows, scope).items():
            if other == slot:
                persons = persons | before
                continue
            rest = before - persons
            if not rest:
                rows.execute("DELETE FROM seen_map WHERE scope = ? AND slot = ?", (scope, other))
            elif len(rest) != len(before):
                self._write(rows, scope, other, rest)
        self._write(rows, scope, slot, persons)
        put(rows, "maps", int.from_bytes(random_bytes(STAMP_BYTES), "little") | 1)

    @staticmethod
    def _write(rows: Rows, scope: int, slot: int, persons: BitMap64) -> None:
        sql = (
            "INSERT INTO seen_map VALUES (?, ?, ?)"
            " ON CONFLICT (scope, slot) DO UPDATE SET persons = excluded.persons"
        )
        rows.execute(sql, (scope, slot, persons.serialize()))

    @staticmethod
    def prune(rows: Rows, before: int) -> None:
        """Forget maps of slots that ended before a time in seconds; what is cached of them counts nowhere."""
        rows.execute("DELETE FROM seen_map WHERE slot < ?", (before // SLOT_SECONDS,))


def last_seen(maps: Maps, own: Iterable[Sequence[int]], persons: BitMap64) -> list[tuple[int, int]]:
    """When persons were last charged: times in seconds with how many each; persons never charged are left out.

    Args:
        maps: Of the scope.
        own: Rows (ordinal, time) of persons who were charged one by one, of whomever.
        persons: Whose last time is wanted.
    """
    every = dict(maps)
    pairs = np.fromiter((number for row in own for number in row), np.int64).reshape(-1, 2)
    slots = pairs[:, 1] // SLOT_SECONDS
    for slot in np.unique(slots).tolist():
        charged = bitmap(pairs[slots == slot, 0].astype(np.uint64))
        every[slot] = every[slot] | charged if slot in every else charged
    found, left = [], persons
    for slot in sorted(every, reverse=True):
        inside = left.intersection_cardinality(every[slot])
        if inside:
            found.append((slot * SLOT_SECONDS, inside))
            left = left - every[slot]
    return found
