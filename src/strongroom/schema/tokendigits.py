"""Decimal digits of fixed width in a column, as numbers and back: the parts that token forms are made of."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from strongroom.schema.columns import text_bytes

if TYPE_CHECKING:
    import pyarrow as pa

U8 = npt.NDArray[np.uint8]
U64 = npt.NDArray[np.uint64]
Bool = npt.NDArray[np.bool_]

_ZEROS, _UPPER, _SIX = 0x30303030, 0xF0F0F0F0, 0x06060606  # of four characters
_FOURS = np.frombuffer(b"".join(b"%04d" % i for i in range(10_000)), np.uint32)

if sys.byteorder != "little":  # pragma: no cover - four characters are read as one little-endian number
    raise ImportError("strongroom needs a little-endian machine")


def fixed(column: pa.Array, width: int) -> tuple[U8, Bool]:
    """The texts that have `width` bytes, and which they are.

    Args:
        column: Strings without nulls.
        width: Bytes.

    Returns:
        u8[k, width] and bool[n].
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    fits = np.array(pc.equal(pc.binary_length(column), width))
    chosen = column if fits.all() else column.filter(pa.array(fits))
    return text_bytes(chosen.cast(pa.string())).reshape(-1, width), fits


def text(lines: U8) -> pa.Array:
    """An array of strings of the rows of u8[n, w]."""
    import pyarrow as pa

    offsets = np.arange(len(lines) + 1, dtype=np.int32) * lines.shape[1]
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(lines))]
    return pa.Array.from_buffers(pa.string(), len(lines), buffers)


def are_digits(lines: U8, start: int, width: int) -> Bool:
    """Whether the columns from `start` are digits: bool[n]."""
    good = np.ones(len(lines), np.bool_)
    at, end = start, start + width
    while end - at >= 4:
        four = _four(lines, at)
        # From 0x30 on, and 6 more does not reach 0x40. A carry comes only from a byte that fails by itself.
        good &= ((four & _UPPER) == _ZEROS) & (((four + np.uint32(_SIX)) & _UPPER) == _ZEROS)
        at += 4
    for column in range(at, end):
        good &= lines[:, column] - np.uint8(48) < 10
    return good


def read(lines: U8, start: int, width: int) -> U64:
    """The numbers that digits from column `start` write: u64[n]."""
    value = np.zeros(len(lines), np.uint64)
    at, end = start, start + width
    while end - at >= 4:
        pairs = _four(lines, at) - np.uint32(_ZEROS)
        pairs = (pairs * np.uint32(10) + (pairs >> np.uint32(8))) & np.uint32(0x00FF00FF)
        value *= np.uint64(10_000)
        value += (pairs * np.uint32(100) + (pairs >> np.uint32(16))) & np.uint32(0xFFFF)
        at += 4
    for column in range(at, end):
        value *= np.uint64(10)
        value += lines[:, column] - np.uint8(48)
    return value


def write(lines: U8, start: int, width: int, numbers: U64) -> None:
    """Write numbers, each of so many digits at most, from column `start`."""
    at, rest = start + width, numbers
    while at - start >= 4:
        upper = rest // np.uint64(10_000)
        at -= 4
        _four(lines, at)[:] = _FOURS[(rest - upper * np.uint64(10_000)).astype(np.intp)]
        rest = upper
    if at > start:
        digits = _FOURS[rest.astype(np.intp)].view(np.uint8).reshape(-1, 4)
        for column in range(start, at):
            lines[:, column] = digits[:, column - at]


def weighted(lines: U8, start: int, weights: Sequence[int]) -> npt.NDArray[np.uint32]:
    """The sum of four digits, each times its weight: u32[n]."""
    four = _four(lines, start) & np.uint32(0x0F0F0F0F)
    # Two digits in the halves of a word, times their weights in the halves swapped: the upper half is the sum of both.
    total = ((four & np.uint32(0x00FF00FF)) * np.uint32(weights[0] << 16 | weights[2])) >> np.uint32(16)
    odd = (four >> np.uint32(8)) & np.uint32(0x00FF00FF)
    total += (odd * np.uint32(weights[1] << 16 | weights[3])) >> np.uint32(16)
    return total


def _four(lines: U8, at: int) -> npt.NDArray[np.uint32]:
    """Four columns as one number a row: a view of contiguous lines."""
    if not len(lines):
        return np.zeros(0, np.uint32)
    return np.ndarray((len(lines),), np.uint32, lines, at, (lines.shape[1],))
