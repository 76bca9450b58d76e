"""Columns of made-up text, a column at a time: digits, look-ups, and shares.

Every function takes and gives whole columns; none loops over rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from strongroom.errors import UsageError

Ints = npt.NDArray[np.int64]
Digits = npt.NDArray[np.uint8]


def digits(values: npt.NDArray[Any], width: int) -> Digits:
    """Decimal digits of whole numbers as ASCII, most significant first: u8[n, width]."""
    rest = np.asarray(values, dtype=np.int64).copy()
    out = np.empty((len(rest), width), np.uint8)
    for place in range(width - 1, -1, -1):
        rest, out[:, place] = rest // 10, 48 + rest % 10
    return out


def strings(block: Digits) -> pa.Array:
    """Rows of ASCII bytes u8[n, width] as an Arrow string column."""
    n, width = block.shape
    offsets = np.arange(n + 1, dtype=np.int32) * np.int32(width)
    return pa.StringArray.from_buffers(n, pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(block)))


def ascii_table(words: Sequence[str]) -> Digits:
    """ASCII words of one length as a table to index: u8[len(words), width]."""
    return np.frombuffer("".join(words).encode("ascii"), np.uint8).reshape(len(words), -1)


def pick(rng: np.random.Generator, pool: Sequence[str] | pa.Array, n: int) -> pa.Array:
    """Words of a pool, n of them, each as likely as the other."""
    words = pool if isinstance(pool, pa.Array) else pa.array(pool, pa.string())
    return words.take(pa.array(rng.integers(0, len(words), n, dtype=np.int32)))


def pick_by_share(rng: np.random.Generator, shares: dict[str, float], n: int) -> pa.Array:
    """Words, n of them, each as likely as its share of the sum."""
    edges = np.cumsum(np.array(list(shares.values())))
    index = np.searchsorted(edges, rng.random(n) * edges[-1], side="right")
    return pa.array(list(shares), pa.string()).take(pa.array(index.astype(np.int32)))


def pick_by_group(
    rng: np.random.Generator, words: Sequence[str], shares: npt.NDArray[np.float64], group: npt.NDArray[Any]
) -> pa.Array:
    """A word per row, by the shares of the row's group: `shares` is f64[groups, words], `group` i64[n]."""
    edges = np.cumsum(shares, axis=1)
    edges = edges / edges[:, -1:] + np.arange(len(shares))[:, None]
    index = np.searchsorted(edges.ravel(), group + rng.random(len(group)), side="right") - group * len(words)
    return pa.array(words, pa.string()).take(pa.array(np.minimum(index, len(words) - 1).astype(np.int32)))


def join(*parts: pa.Array | str) -> pa.Array:
    """Columns and constants joined row by row."""
    columns = [pa.scalar(part) if isinstance(part, str) else part for part in parts]
    return pc.binary_join_element_wise(*columns, "")


def distinct(start: int, n: int, size: int, seed: int) -> Ints:
    """The start-th and following of a fixed disorder of the numbers below `size`: no two are equal.

    The murmur3 finaliser is a bijection of 32 bits; what falls outside goes through again.

    Args:
        start: How many were taken before.
        n: How many are wanted; start + n is at most `size`.
        size: At most 2**32.
        seed: Which disorder.
    """
    if start + n > size:
        raise UsageError(f"only {size} distinct numbers, {start + n} asked for")
    values = _disorder(np.arange(start, start + n, dtype=np.int64).astype(np.uint32), seed)
    outside = np.flatnonzero(values >= size)
    while len(outside):
        values[outside] = _disorder(values[outside], seed)
        outside = outside[values[outside] >= size]
    return values.astype(np.int64)


def _disorder(values: npt.NDArray[np.uint32], seed: int) -> npt.NDArray[np.uint32]:
    mixed = values ^ np.uint32((seed * 0x9E3779B1) & 0xFFFFFFFF)
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        mixed = (mixed ^ (mixed >> np.uint32(shift))) * np.uint32(factor)
    return mixed ^ (mixed >> np.uint32(16))
