"""Find whom day labels stand for: the labels of all persons are made again, day by day, and compared.

A label is AES-256-CMAC(day key, subject token): nobody gets from a label to a token. So tokens stream past, some pages
of persons at a time, and of each slab the labels of all days in question are made as columns. Memory is that of one
slab, and of the labels that are looked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from strongroom.keys.pages import halves
from strongroom.seal.columns import token_text
from strongroom.seal.tokens import cmac_column

LABEL_BYTES = 16
BITS_LEAST = 16
BITS_MOST = 22

U8 = npt.NDArray[np.uint8]
I64 = npt.NDArray[np.int64]


@dataclass
class _Day:
    """The distinct labels of a day that are looked for, sorted, and the person found for each (-1 for none yet)."""

    key: bytes = field(repr=False)
    high: npt.NDArray[np.uint64] = field(repr=False)
    low: npt.NDArray[np.uint64] = field(repr=False)
    bits: npt.NDArray[np.bool_] = field(repr=False)
    mask: np.uint32
    owner: I64 = field(repr=False)
    place: I64 = field(repr=False)

    @classmethod
    def of(cls, key: bytes, labels: U8) -> _Day:
        own, place = np.unique(token_text(labels), return_inverse=True)
        distinct = np.frombuffer(own.tobytes(), np.uint8).reshape(-1, LABEL_BYTES)
        width = min(BITS_MOST, max(BITS_LEAST, len(own).bit_length() + 4))
        bits, mask = np.zeros(1 << width, np.bool_), np.uint32((1 << width) - 1)
        bits[_starts(distinct) & mask] = True
        return cls(key, *halves(distinct), bits, mask, np.full(len(own), -1, np.int64), place.astype(np.int64))

    def find(self, tokens: U8, first: int) -> I64:
        """Which rows of tokens u8[n,16] are looked for; the first of them becomes person number `first`."""
        labels = cmac_column(self.key, tokens)
        rows = np.flatnonzero(self.bits[_starts(labels) & self.mask])  # most are none of these, and seen not to be
        high, low = halves(labels[rows])
        at = np.minimum(np.searchsorted(self.high, high), len(self.high) - 1)
        open_ = np.flatnonzero((self.high[at] == high) & (self.low[at] != low))
        while open_.size:  # equal high halves, another low one: step on through the few that share it
            at[open_] = np.minimum(at[open_] + 1, len(self.high) - 1)
            again = (self.high[at[open_]] == high[open_]) & (self.low[at[open_]] != low[open_])
            open_ = open_[again & (at[open_] < len(self.high) - 1)]
        hit = (self.high[at] == high) & (self.low[at] == low) & (self.owner[at] < 0)
        self.owner[at[hit]] = first + np.arange(np.count_nonzero(hit))
        found: I64 = rows[hit]
        return found


def _starts(labels: U8) -> npt.NDArray[np.uint32]:
    """The first four bytes of each label as a number, u32[n]."""
    return np.ascontiguousarray(labels).view(np.uint32)[:, 0]


class Matching:
    """Looks for labels of several days at once.

    Args:
        keys: The key of each day.
        labels: The labels of each day that are looked for, u8[n,16].
    """

    def __init__(self, keys: Mapping[int, bytes], labels: Mapping[int, U8]) -> None:
        self._days = {day: _Day.of(keys[day], labels[day]) for day in labels}
        self._found: list[U8] = []
        self._count = 0

    def look(self, tokens: U8) -> None:
        """Look among tokens u8[n,16]; who was found before is not looked for again."""
        for day in self._days.values():
            rows = day.find(tokens, self._count)
            if rows.size:
                self._found.append(tokens[rows])
                self._count += len(rows)

    @property
    def left(self) -> bool:
        """Whether somebody is still looked for."""
        return any((day.owner < 0).any() for day in self._days.values())

    @property
    def found(self) -> U8:
        """The token found for each number, u8[n,16]; a person of several days has several numbers."""
        return np.concatenate([np.empty((0, LABEL_BYTES), np.uint8), *self._found])

    def owners(self, day: int) -> I64:
        """The number of whom each label of a day stands for, in the order given; -1 for nobody known."""
        own = self._days[day]
        return own.owner[own.place]
