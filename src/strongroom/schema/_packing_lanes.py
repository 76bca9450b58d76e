# ruff: noqa: SIM109, SIM110, PLR1714
# mypy: disable-error-code="no-untyped-def, no-untyped-call, misc"
"""Compiled loops that pack the cells of many rows; imported only when there are enough of them.

Input columns are read where Arrow holds them, by address, so that one call walks all fields of a row and writes
its cell once. Whoever calls keeps the arrays alive and vouches for addresses and lengths. What a cell looks like
is said in `packing`; both must give the same bytes.

`spec` has a row per field: what (see the constants), data address, offsets address, bytes per offset or per
value, address of the validity bits or 0, first bit of validity, first bit of the data (booleans), lowest and
highest value. Types are left to numba.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from strongroom.schema._memory_lanes import (
    BITS,
    BYTES,
    FLOAT,
    STRING,
    TIME,
    copy,
    load8,
    load16,
    load32,
    load64,
    store8,
    store16,
    store64,
)

SPEC_COLUMNS = 9
HEADER_BYTES_MAX = 6

_HIGH = np.uint64(0x8080808080808080)
_UPPER = np.uint64(0xF0F0F0F0F0F0F0F0)
_ZEROS = np.uint64(0x3030303030303030)
_SIXES = np.uint64(0x0606060606060606)
_NIBBLES = np.uint64(0x0F0F0F0F0F0F0F0F)
_ONES = np.uint64(0x0101010101010101)
_EVERY_2 = np.uint64(0x00FF00FF00FF00FF)
_EVERY_4 = np.uint64(0x0000FFFF0000FFFF)
_U1, _U2, _U3, _U4, _U7 = (np.uint64(n) for n in (1, 2, 3, 4, 7))
_U8, _U16, _U32, _U56 = (np.uint64(n) for n in (8, 16, 32, 56))


@njit(cache=True, nogil=True, inline="always")
def _bit(address, index):
    return (load8(address + (index >> 3)) >> np.uint8(index & 7)) & np.uint8(1)


@njit(cache=True, nogil=True, inline="always")
def _setting(spec, column):
    return np.int64(load64(spec + 8 * column))


@njit(cache=True, nogil=True)
def _header(to, length, kind):
    value = (length << 2) | kind
    while value >= 128:
        store8(to, np.uint8((value & 127) | 128))
        to += 1
        value >>= 7
    store8(to, np.uint8(value))
    return to + 1


@njit(cache=True, nogil=True)
def _only_digits(source, length):
    if length < 8:
        for i in range(length):
            byte = load8(source + i)
            if byte < 48 or byte > 57:
                return False
        return True
    i = 0
    while True:
        word = load64(source + i)
        if (word & _UPPER) != _ZEROS or ((word + _SIXES) & _UPPER) != _ZEROS:
            return False
        if i + 8 == length:
            return True
        i = min(i + 8, length - 8)


@njit(cache=True, nogil=True)
def _only_ascii(source, length):
    if length < 8:
        for i in range(length):
            if load8(source + i) >= 128:
                return False
        return True
    i = 0
    while True:
        if (load64(source + i) & _HIGH) != 0:
            return False
        if i + 8 == length:
            return True
        i = min(i + 8, length - 8)


@njit(cache=True, nogil=True)
def _put_digits(to, source, length):
    to = _header(to, length, 1)
    i = 0
    while i + 8 <= length:
        word = load64(source + i) & _NIBBLES
        word = ((word << _U4) | (word >> _U8)) & _EVERY_2
        word = (word | (word >> _U8)) & _EVERY_4
        store64(to, word | (word >> _U16))
        to += 4
        i += 8
    while i < length:
        low = np.int64(load8(source + i + 1)) & 15 if i + 1 < length else 15
        store8(to, np.uint8(((np.int64(load8(source + i)) & 15) << 4) | low))
        to += 1
        i += 2
    return to


@njit(cache=True, nogil=True)
def _gbk_length(source, length):
    """Bytes in GBK if every character is in it; 0 if one is surely not."""
    threes = np.uint64(0)
    i = 0
    while i + 8 <= length:
        word = load64(source + i)
        lead = word & (word << _U1) & (word << _U2) & _HIGH
        if (lead & (word << _U3)) != 0:
            return 0
        threes += ((lead >> _U7) * _ONES) >> _U56
        i += 8
    while i < length:
        byte = load8(source + i)
        if byte >= 0xF0:
            return 0
        if byte >= 0xE0:
            threes += _U1
        i += 1
    return length - np.int64(threes)


@njit(cache=True, nogil=True)
def _put_gbk(to, source, length, table):
    """Address after the text, or -1 where a character is not in the table or the text is not UTF-8."""
    i = 0
    while i < length:
        first = np.int64(load8(source + i))
        if first < 0x80:
            store8(to, np.uint8(first))
            to += 1
            i += 1
            continue
        if first >= 0xE0:
            if i + 3 > length:
                return -1
            second = np.int64(load8(source + i + 1)) ^ 0x80
            third = np.int64(load8(source + i + 2)) ^ 0x80
            point = ((first & 15) << 12) | (second << 6) | third
            if (second | third) >= 64 or point < 0x800:
                return -1
            i += 3
        else:
            if i + 2 > length:
                return -1
            second = np.int64(load8(source + i + 1)) ^ 0x80
            point = ((first & 31) << 6) | second
            if second >= 64 or first < 0xC2:
                return -1
            i += 2
        code = load16(table + 2 * point)
        if code == 0:
            return -1
        store16(to, code)
        to += 2
    return to


@njit(cache=True, nogil=True)
def _is_utf8(source, length):
    i = 0
    while i < length:
        first = np.int64(load8(source + i))
        if first < 0x80:
            i += 1
            continue
        more = 1 if first < 0xE0 else (2 if first < 0xF0 else 3)
        if first < 0xC2 or first > 0xF4 or i + more >= length:
            return False
        point = first & (0x3F >> more)
        for j in range(1, more + 1):
            byte = np.int64(load8(source + i + j)) ^ 0x80
            if byte >= 64:
                return False
            point = (point << 6) | byte
        if more == 2 and (point < 0x800 or 0xD800 <= point < 0xE000):
            return False
        if more == 3 and (point < 0x10000 or point > 0x10FFFF):
            return False
        i += more + 1
    return True


@njit(cache=True, nogil=True)
def _put_string(to, source, length, table):
    if length > 1 and _only_digits(source, length):
        return _put_digits(to, source, length)
    if not _only_ascii(source, length):
        short = _gbk_length(source, length)
        if 0 < short < length:
            end = _put_gbk(_header(to, short, 2), source, length, table)
            if end >= 0:
                return end
        if not _is_utf8(source, length):
            return -1
    to = _header(to, length, 0)
    copy(to, source, length)
    return to + length


@njit(cache=True, nogil=True)
def _put_whole(to, value, kind):
    length = 0
    if value != 0:
        length = 1
        while length < 8 and (value >> (8 * length - 1)) != (value >> 63):
            length += 1
    store8(to, np.uint8((length << 2) | kind))
    store64(to + 1, np.uint64(value))
    return to + 1 + length


@njit(cache=True, nogil=True)
def _put_field(to, spec, row, table):
    """Address after the field, or -1 where the value is not what the field may hold."""
    what, data, width = _setting(spec, 0), _setting(spec, 1), _setting(spec, 3)
    if what == STRING or what == BYTES:
        at = _setting(spec, 2) + row * width
        if width == 4:
            begin, end = np.int64(load32(at)), np.int64(load32(at + 4))
        else:
            begin, end = np.int64(load64(at)), np.int64(load64(at + 8))
        if what == STRING:
            return _put_string(to, data + begin, end - begin, table)
        to = _header(to, end - begin, 0)
        copy(to, data + begin, end - begin)
        return to + end - begin
    if what == FLOAT:
        store8(to, np.uint8(8 << 2))
        store64(to + 1, load64(data + row * 8))
        return to + 9
    if what == BITS:
        value = np.int64(_bit(data, _setting(spec, 6) + row))
    elif width == 4:
        value = np.int64(load32(data + row * 4))
    else:
        value = np.int64(load64(data + row * 8))
    if value < _setting(spec, 7) or value > _setting(spec, 8):
        return -1
    if what == TIME and value % 1000000 == 0:
        return _put_whole(to, value // 1000000, 1)
    return _put_whole(to, value, 0)


@njit(cache=True, nogil=True)
def pack_rows(spec, rows, pad, table, out, offsets):
    """Pack every row; `out` has room for the worst case. Returns bytes used, or -(field + 1) where bad."""
    first = np.int64(out.ctypes.data)
    specs, to_gbk = np.int64(spec.ctypes.data), np.int64(table.ctypes.data)
    to = first
    offsets[0] = 0
    for row in range(rows):
        start = to
        filled = pad > 0
        for f in range(spec.shape[0]):
            setting = specs + f * (8 * SPEC_COLUMNS)
            validity = _setting(setting, 4)
            if validity != 0 and not _bit(validity, _setting(setting, 5) + row):
                store8(to, np.uint8(3))
                to += 1
                continue
            filled = True
            to = _put_field(to, setting, row, to_gbk)
            if to < 0:
                return -(f + 1)
        if not filled:
            to = start
        if pad > 0:
            while to == start or (to - start) % pad != 0:
                store8(to, np.uint8(0))
                to += 1
        offsets[row + 1] = to - first
    return to - first
