"""Draws numbers near those of the sample: each between its neighbours, on the grid that all of them lie on.

A new number lies anywhere among the next neighbours of the row drawn, so that the new ones lie as densely as the old
ones everywhere, and no closer to any of them than those to each other. The grid is the greatest common divisor of all
differences: numbers that go up in steps of 211 stay on theirs.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from strongroom.trace.canary.tokens import raw

Ints = npt.NDArray[np.int64]

_GAP_MEDIANS_MAX = 32
_NEIGHBOURS = 12
_BINS = (64, 8)
_HEADED_MIN = 6
_ROWS_PER_HEAD = 10
_ANY_DIGIT = 0.93 * float(np.log(10))


@dataclass(frozen=True)
class Spread:
    """Numbers of the sample, to draw new ones near them.

    Args:
        values: Distinct numbers, sorted; i64[v].
        step: The grid they lie on.
        rows_of: How many rows each has, i64[v].
        codes: Position in `values` per row of the sample, -1 where it has none; i64[n].
        coarse: Views for conditions: intervals, and the width of numbers written with digits.
        widths: How many digits each row's number is written with, i64[n]; None for plain numbers.
        head: A new number agrees with the row's above this power of ten: it begins with a date, say. 0 for none.
    """

    values: Ints
    step: int
    rows_of: Ints
    codes: Ints
    coarse: tuple[Ints, ...]
    widths: Ints | None = None
    head: int = 0

    @classmethod
    def of(
        cls, numbers: Ints, rows: Ints, n: int, widths: Ints | None = None, head: int = 0, step: int = 0
    ) -> Spread:
        """Learn from the numbers of some rows of a sample of n; of a grid that is not given the widest that fits."""
        values, which, rows_of = np.unique(numbers, return_inverse=True, return_counts=True)
        codes = np.full(n, -1, np.int64)
        codes[rows] = which
        step = step or (max(1, int(np.gcd.reduce(np.diff(values)))) if len(values) > 1 else 1)
        order = np.argsort(numbers, kind="stable")
        rank = np.empty(len(values), np.int64)
        rank[which[order]] = np.arange(len(numbers))
        coarse = [rank * bins // max(1, len(numbers)) for bins in _BINS if len(values) > bins]
        full = None
        if widths is not None:
            full = np.zeros(n, np.int64)
            full[rows] = widths
            by_value = np.zeros(len(values), np.int64)
            by_value[which] = widths
            coarse.append(by_value)
        if head:
            coarse.append(np.unique(values // head, return_inverse=True)[1].astype(np.int64))
        return cls(values, step, rows_of, codes, tuple(coarse), full, head)

    @classmethod
    def of_digits(cls, column: pa.Array, rows: Ints, n: int) -> Spread:
        """Learn from numbers written with digits, at most 18 each."""
        numbers = column.cast(pa.string()).cast(pa.int64()).to_numpy(zero_copy_only=False).astype(np.int64)
        widths = pc.utf8_length(column).to_numpy(zero_copy_only=False).astype(np.int64)
        return cls.of(numbers, rows, n, widths, _head(numbers, widths))

    def near(self, rng: np.random.Generator, rows: Ints, *, beyond: int = 0) -> Ints:
        """A new number for each row of the sample that was drawn, i64; or one above all of them."""
        if beyond:
            high: Ints = self.values[-1] + self.step * rng.integers(1, beyond + 1, len(rows))
            return high
        low, many = self._windows
        spot = self.codes[rows]
        new: Ints = low[spot] + self.step * (rng.random(len(rows)) * (many[spot] + 1)).astype(np.int64)
        return new

    @cached_property
    def _unpadded(self) -> bool:
        """Whether numbers of several lengths are written, none with leading zeros."""
        there = np.flatnonzero(self.codes >= 0)
        if self.widths is None or not len(there):
            return False
        width = self.widths[there]
        return bool((width != width[0]).any() and (width == _digits(self.values[self.codes[there]])).all())

    @cached_property
    def _windows(self) -> tuple[Ints, Ints]:
        """For each value the first number near it, and how many steps the last one is away.

        Near are the numbers up to some neighbours away on each side, without those beyond a gap that is no chance, and
        without those that begin differently.
        """
        apart = self._gaps
        if self.head:
            apart = apart | (np.diff(self.values // self.head) != 0)
        run = np.concatenate([np.zeros(1, np.int64), np.cumsum(apart)])
        at = np.arange(len(self.values))
        first, last = np.searchsorted(run, run), np.searchsorted(run, run, side="right") - 1
        # A value that has far more rows than those around it stays as it is: the first of January, nine o'clock.
        total = np.concatenate([np.zeros(1, np.int64), np.cumsum(self.rows_of)])
        start, stop = np.maximum(at - _NEIGHBOURS, 0), np.minimum(at + _NEIGHBOURS + 1, len(at))
        around = (total[stop] - total[start]) / (stop - start)
        wide = np.where(self.rows_of > around + 5 * np.sqrt(around), 0, _NEIGHBOURS)
        # At an end of a run the window is as narrow as its shorter side, so that it stays in the middle.
        reach = np.minimum(wide, np.maximum(np.minimum(at - first, last - at), 1))
        # Both ends are taken, which no other number of the window need be: they are left out.
        below = (self.values - self.values[np.maximum(at - reach, first)] - 1) // self.step
        above = (self.values[np.minimum(at + reach, last)] - self.values - 1) // self.step
        below, above = np.maximum(below, 0), np.maximum(above, 0)
        return self.values - below * self.step, below + above

    def stretches(self, codes: Ints) -> Ints:
        """Which stretch of numbers without a large gap some values lie in: those of one year, say; i64[len(codes)]."""
        return np.concatenate([np.zeros(1, np.int64), np.cumsum(self._gaps)])[codes]

    @cached_property
    def _gaps(self) -> npt.NDArray[np.bool_]:
        """Between which values there is a gap that is no chance, bool[v - 1]."""
        gaps = np.diff(self.values) // self.step
        return gaps > max(1, int(np.median(gaps))) * _GAP_MEDIANS_MAX if len(gaps) else np.zeros(0, np.bool_)

    def written(self, new: Ints, rows: Ints, *, beyond: int = 0, running: bool = False) -> pa.Array:
        """New numbers with as many digits as the number of the row drawn, or with those they need."""
        assert self.widths is not None
        width = self.widths[rows]
        if beyond:
            return padded(new, width)
        if running and self._unpadded:
            return padded(new, np.zeros(len(new), np.int64))
        ends = np.power(10, np.minimum(width, 18))
        low = np.where(width == (self.values[self.codes[rows]] >= ends // 10) * width, ends // 10, 0) * (not running)
        new = np.where((new < ends) & (new >= low), new, self.values[self.codes[rows]])
        return padded(new, width)


def _digits(numbers: Ints) -> Ints:
    """How many digits a number has that is written without leading zeros."""
    found: Ints = np.searchsorted(10 ** np.arange(1, 19), numbers, side="right") + 1
    return found


def _head(numbers: Ints, widths: Ints) -> int:
    """The power of ten below which the digits of numbers of one width begin to be any; 0 where they all are."""
    width = int(widths[0])
    if (widths != width).any() or width < _HEADED_MIN:
        return 0
    before, found = 0.0, 0
    for length in range(1, width - 2):
        counts = np.unique(numbers // 10 ** (width - length), return_counts=True)[1]
        if len(counts) > len(numbers) // _ROWS_PER_HEAD:
            break
        share = counts / len(numbers)
        told = float(-(share * np.log(share)).sum())
        if told - before < _ANY_DIGIT:
            found = 10 ** (width - length) if len(counts) > 1 else 0
        before = told
    return found


def padded(numbers: Ints, width: Ints) -> pa.Array:
    """Numbers with leading zeros to a width of each row's own."""
    plain = pa.array(numbers).cast(pa.string())
    out = plain
    lengths = pc.utf8_length(plain).to_numpy(zero_copy_only=False)
    for wide in np.unique(width[width > lengths]):
        out = pc.if_else(pa.array(width == wide), pc.utf8_lpad(plain, int(wide), "0"), out)
    return out.cast(pa.large_string())


def digit_matrix(column: pa.Array, width: int) -> npt.NDArray[np.uint8]:
    """The bytes of texts of one length, u8[n, width]; writable."""
    _, data = raw(column)
    return data.reshape(-1, width).copy()


def of_matrix(block: npt.NDArray[np.uint8]) -> pa.Array:
    """Texts of one length from their bytes."""
    n, width = block.shape
    offsets = np.arange(n + 1, dtype=np.int64) * width
    data = pa.py_buffer(np.ascontiguousarray(block))
    return pa.LargeStringArray.from_buffers(n, pa.py_buffer(offsets), data).cast(pa.string())
