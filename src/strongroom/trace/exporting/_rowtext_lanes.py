# mypy: disable-error-code="no-untyped-def, no-untyped-call, misc"
"""Compiled loops that write the texts of many columns as rows; imported only when there are enough of them.

Everything goes by address, on arrays that `rowtext` made and keeps alive: a row of `columns`, i64[k, PARTS], is one
column. Its texts have offsets i64; validity is a bitmap from a bit on, address 0 where nothing is null. Before, after
and null are short texts that may be read up to a multiple of eight bytes.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from strongroom.schema._memory_lanes import copy, load8, load64, store8, store64

DATA, OFFSETS, VALID, BIT, BEFORE, BEFORE_BYTES, AFTER, AFTER_BYTES, NULL, NULL_BYTES, COUNTED = range(11)
PARTS = 11


@njit(cache=True, nogil=True)
def measure(columns, ends):
    """Fill i64[n + 1] with where each row starts and the last ends."""
    at = 0
    ends[0] = 0
    for row in range(ends.shape[0] - 1):
        for c in range(columns.shape[0]):
            if _is_null(columns[c, VALID], columns[c, BIT] + row):
                at += columns[c, NULL_BYTES]
                continue
            place = columns[c, OFFSETS] + 8 * row
            size = np.int64(load64(place + 8)) - np.int64(load64(place))
            at += size + columns[c, BEFORE_BYTES] + columns[c, AFTER_BYTES]
            if columns[c, COUNTED]:
                at += _digits(size) + 1
        ends[row + 1] = at


@njit(cache=True, nogil=True)
def write(columns, rows, at):
    """Write rows from an address on; SLACK_BYTES behind them are overwritten."""
    for row in range(rows):
        for c in range(columns.shape[0]):
            if _is_null(columns[c, VALID], columns[c, BIT] + row):
                at = _short(at, columns[c, NULL], columns[c, NULL_BYTES])
                continue
            place = columns[c, OFFSETS] + 8 * row
            start = np.int64(load64(place))
            size = np.int64(load64(place + 8)) - start
            at = _short(at, columns[c, BEFORE], columns[c, BEFORE_BYTES])
            if columns[c, COUNTED]:
                at = _number(at, size)
            copy(at, columns[c, DATA] + start, size)
            at = _short(at + size, columns[c, AFTER], columns[c, AFTER_BYTES])


@njit(cache=True, nogil=True, inline="always")
def _is_null(valid, bit):
    return valid != 0 and (load8(valid + (bit >> 3)) >> np.uint8(bit & 7)) & np.uint8(1) == 0


@njit(cache=True, nogil=True)
def _digits(number):
    digits = 1
    while number >= 10:
        number //= 10
        digits += 1
    return digits


@njit(cache=True, nogil=True)
def _number(at, number):
    """Write a length in decimal and a colon; returns the address behind."""
    end = at + _digits(number)
    store8(end, np.uint8(58))
    place = end - 1
    while place >= at:
        store8(place, np.uint8(48 + number % 10))
        number //= 10
        place -= 1
    return end + 1


@njit(cache=True, nogil=True, inline="always")
def _short(at, source, length):
    """Copy a short text by whole words; returns the address behind."""
    for i in range(0, length, 8):
        store64(at + i, load64(source + i))
    return at + length
