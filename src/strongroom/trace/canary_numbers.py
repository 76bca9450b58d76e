"""Draws numbers near those of the sample: each between its neighbours, on the grid that all of them lie on.

A new number falls half-way at most from the row drawn towards its neighbours, so that the new ones lie as densely as
the old ones everywhere. The grid is the greatest common divisor of all differences: numbers that go up in steps of 211
stay on theirs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from strongroom.trace.canary_tokens import raw

Ints = npt.NDArray[np.int64]

_GAP_MEDIANS_MAX = 32
_BINS = (64, 8)
_SERIES_SHARE = 0.5


@dataclass(frozen=True)
class Spread:
    """Numbers of the sample, to draw new ones near them.

    Args:
        values: Distinct numbers, sorted; i64[v].
        step: The grid they lie on.
        codes: Position in `values` per row of the sample, -1 where it has none; i64[n].
        coarse: Views for conditions: intervals, and the width of numbers written with digits.
        widths: How many digits each row's number is written with, i64[n]; None for plain numbers.
    """

    values: Ints
    step: int
    codes: Ints
    coarse: tuple[Ints, ...]
    widths: Ints | None = None

    @classmethod
    def of(cls, numbers: Ints, rows: Ints, n: int, widths: Ints | None = None) -> Spread:
        """Learn from the numbers of some rows of a sample of n."""
        values, which = np.unique(numbers, return_inverse=True)
        codes = np.full(n, -1, np.int64)
        codes[rows] = which
        step = max(1, int(np.gcd.reduce(np.diff(values)))) if len(values) > 1 else 1
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
        return cls(values, step, codes, tuple(coarse), full)

    @classmethod
    def of_digits(cls, column: pa.Array, rows: Ints, n: int) -> Spread:
        """Learn from numbers written with digits, at most 18 each."""
        numbers = column.cast(pa.string()).cast(pa.int64()).to_numpy(zero_copy_only=False).astype(np.int64)
        widths = pc.utf8_length(column).to_numpy(zero_copy_only=False).astype(np.int64)
        return cls.of(numbers, rows, n, widths)

    @property
    def dense(self) -> bool:
        """Whether nearly every number of the grid between the first and the last is taken."""
        if len(self.values) < 2:
            return True
        return len(self.values) > _SERIES_SHARE * ((int(self.values[-1]) - int(self.values[0])) // self.step + 1)

    def near(self, rng: np.random.Generator, rows: Ints, *, beyond: int = 0) -> Ints:
        """A new number for each row of the sample that was drawn, i64; or one above all of them."""
        spot = self.codes[rows]
        value = self.values[spot]
        if beyond:
            high: Ints = self.values[-1] + self.step * rng.integers(1, beyond + 1, len(rows))
            return high
        if len(self.values) < 2:
            return value
        gaps = np.diff(self.values) // self.step
        most = max(1, int(np.median(gaps) * _GAP_MEDIANS_MAX))
        inner = np.minimum(gaps, most).astype(float)
        below = np.concatenate([inner[:1], inner])[spot] / 2
        above = np.concatenate([inner, inner[-1:]])[spot] / 2
        moved = np.rint(rng.random(len(rows)) * (below + above) - below).astype(np.int64)
        new = value + moved * self.step
        inside: Ints = np.clip(new, self.values[0], self.values[-1])
        return inside

    def text(self, rng: np.random.Generator, rows: Ints, *, beyond: int = 0) -> pa.Array:
        """The same, written with as many digits as the row's number."""
        new = self.near(rng, rows, beyond=beyond)
        assert self.widths is not None
        width = self.widths[rows]
        if beyond:
            return padded(new, width)
        ends = np.power(10, np.minimum(width, 18))
        low = np.where(width == (self.values[self.codes[rows]] >= ends // 10) * width, ends // 10, 0)
        new = np.where((new < ends) & (new >= low), new, self.values[self.codes[rows]])
        return padded(new, width)


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
