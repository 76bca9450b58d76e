# mypy: disable-error-code="no-untyped-def, no-untyped-call, misc, assignment"
"""Compiled loops that unpack the cells of many rows; imported only when there are enough of them.

What a cell looks like is said in `packing`; both must accept the same cells and give the same values.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from strongroom.schema._memory_lanes import BYTES, FLOAT, STRING, TIME, copy, load8, load16, store8, store16


@njit(cache=True, nogil=True)
def split_rows(data, offsets, whats, pad, kinds, starts, lengths):
    """Find the fields of every cell. Returns -1, or the first row that is not a cell of this class.

    kinds u8[f,n], starts i64[f,n], lengths i64[f,n] (as in the header: digits for kind 1) are filled.
    """
    for row in range(len(offsets) - 1):
        pos, end = offsets[row], offsets[row + 1]
        start = pos
        if pos == end:
            if pad > 0:
                return row
            kinds[:, row] = 3
            continue
        for f in range(len(whats)):
            value, shift = 0, 0
            while True:
                if pos >= end or shift > 35:
                    return row
                byte = np.int64(data[pos])
                pos += 1
                value |= (byte & 127) << shift
                shift += 7
                if byte < 128:
                    break
            kind, length = value & 3, value >> 2
            size = (length + 1) >> 1 if kind == 1 and whats[f] == STRING else length
            if not _may_be(whats[f], kind, length) or size > end - pos:
                return row
            kinds[f, row], starts[f, row], lengths[f, row] = kind, pos, length
            pos += size
        if pad == 0:
            if pos != end:
                return row
        else:
            want = max(pad, (pos - start + pad - 1) // pad * pad)
            if end - start != want:
                return row
            for i in range(pos, end):
                if data[i] != 0:
                    return row
    return -1


@njit(cache=True, nogil=True)
def _may_be(what, kind, length):
    if kind == 3:
        return length == 0
    if what == STRING:
        return True
    if what == BYTES:
        return kind == 0
    if what == FLOAT:
        return kind == 0 and length == 8
    return length <= 8 and (kind == 0 or (what == TIME and kind == 1))


@njit(cache=True, nogil=True)
def take_strings(data, kinds, starts, lengths, back, out, offsets):
    """Write texts one after the other as UTF-8. Returns bytes used, or -(row + 1) of a malformed one.

    Kind 0 is copied as it is: whether it is UTF-8 is for the caller to check.
    """
    source, first, to_utf8 = np.int64(data.ctypes.data), np.int64(out.ctypes.data), np.int64(back.ctypes.data)
    to = first
    offsets[0] = 0
    for row in range(len(kinds)):
        kind, begin, length = kinds[row], source + starts[row], lengths[row]
        if kind == 0:
            copy(to, begin, length)
            to += length
        elif kind == 1:
            to = _take_digits(to, begin, length)
        elif kind == 2:
            to = _take_gbk(to, begin, begin + length, to_utf8)
        if to < 0:
            return -(row + 1)
        offsets[row + 1] = to - first
    return to - first


@njit(cache=True, nogil=True)
def _take_digits(to, source, length):
    for i in range(0, length - 1, 2):
        pair = np.int64(load8(source + (i >> 1)))
        if pair > 0x99 or (pair & 15) > 9:
            return -1
        store16(to + i, np.uint16(0x3030 | (pair >> 4) | ((pair & 15) << 8)))
    if length & 1:
        pair = np.int64(load8(source + (length >> 1)))
        if pair > 0x9F or (pair & 15) != 15:
            return -1
        store8(to + length - 1, np.uint8(0x30 | (pair >> 4)))
    return to + length


@njit(cache=True, nogil=True)
def _take_gbk(to, source, end, back):
    while source < end:
        first = np.int64(load8(source))
        if first < 0x80:
            store8(to, np.uint8(first))
            to += 1
            source += 1
            continue
        if source + 2 > end:
            return -1
        # Both tables are read and written low byte first, so a code's lead byte is the low one.
        point = np.int64(load16(back + 2 * (np.int64(load16(source)) & 0xFF7F)))
        if point == 0:
            return -1
        if point < 0x800:
            store16(to, np.uint16(0x80C0 | (point >> 6) | ((point & 63) << 8)))
            to += 2
        else:
            store16(to, np.uint16(0x80E0 | (point >> 12) | ((point << 2) & 0x3F00)))
            store8(to + 2, np.uint8(0x80 | (point & 63)))
            to += 3
        source += 2
    return to


@njit(cache=True, nogil=True)
def take_wholes(data, kinds, starts, lengths, lowest, highest, out):
    """Write whole numbers (nulls as 0). Returns -1, or the first row whose number is out of range."""
    for row in range(len(kinds)):
        value = np.int64(0)
        length = lengths[row] if kinds[row] != 3 else 0
        for i in range(length):
            value |= np.int64(data[starts[row] + i]) << (8 * i)
        if 0 < length < 8:
            shift = 64 - 8 * length
            value = (value << shift) >> shift
        if kinds[row] == 1:
            if value > highest // 1000000 or value < lowest // 1000000:
                return row
            value *= 1000000
        if kinds[row] != 3 and (value < lowest or value > highest):
            return row
        out[row] = value
    return -1


@njit(cache=True, nogil=True)
def take_bytes(data, kinds, starts, lengths, out, offsets):
    """Write byte strings one after the other. Returns bytes used."""
    address, out_address = np.int64(data.ctypes.data), np.int64(out.ctypes.data)
    pos = 0
    offsets[0] = 0
    for row in range(len(kinds)):
        if kinds[row] != 3:
            copy(out_address + pos, address + starts[row], lengths[row])
            pos += lengths[row]
        offsets[row + 1] = pos
    return pos
