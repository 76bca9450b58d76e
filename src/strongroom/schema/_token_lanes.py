"""Text tokens of a whole column: eight hexadecimal digits at a time, as one word.

Arrays are those that `tokentext` made and checked; nothing is read or written beyond them.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from strongroom.schema._memory_lanes import load16, load64, store16, store64

_LOW = np.uint64(0xFFFFFFFF)
_PAIRS = np.uint64(0x0000FFFF0000FFFF)
_SINGLE = np.uint64(0x00FF00FF00FF00FF)
_NIBBLES = np.uint64(0x0F0F0F0F0F0F0F0F)
_FIRST = np.uint64(0x000F000F000F000F)
_ONES = np.uint64(0x0101010101010101)
_SIXES = np.uint64(0x0606060606060606)
_ZEROS = np.uint64(0x3030303030303030)
_LETTER = np.uint64(39)  # from the character behind 9 to a
_4, _6, _8, _9, _16, _32 = (np.uint64(n) for n in (4, 6, 8, 9, 16, 32))


@njit(cache=True, nogil=True, inline="always")
def _spread(word):
    """The eight digits of the lower four bytes of a word, the first byte's first."""
    x = word & _LOW
    x = (x | (x << _16)) & _PAIRS
    x = (x | (x << _8)) & _SINGLE
    x = ((x >> _4) & _FIRST) | ((x & _FIRST) << _8)
    return x + _ZEROS + (((x + _SIXES) >> _4) & _ONES) * _LETTER


@njit(cache=True, nogil=True)
def write(blocks, starts, mark, offsets, out):
    """Write the mark and the digits of each row of blocks."""
    source, target = blocks.ctypes.data, out.ctypes.data
    for i in range(starts.shape[0] - 1):
        at = target + offsets[i]
        store16(at, mark)
        at += 2
        for word in range(2 * starts[i], 2 * starts[i + 1]):
            eight = load64(source + 8 * word)
            store64(at, _spread(eight))
            store64(at + 8, _spread(eight >> _32))
            at += 16


@njit(cache=True, nogil=True, inline="always")
def _gathered(digits):
    """The four bytes that eight digits, one in each byte, write."""
    x = ((digits & _FIRST) << _4) | ((digits >> _8) & _FIRST)
    x = (x | (x >> _8)) & _PAIRS
    return (x | (x >> _16)) & _LOW


@njit(cache=True, nogil=True)
def read(text, places, mark, starts, blocks, right):
    """Read the digits of each row, which begins at its place, and say whether it is what `write` writes."""
    source, target = text.ctypes.data, blocks.ctypes.data
    for i in range(places.shape[0]):
        at = source + places[i]
        wrong = np.uint64(load16(at) ^ mark)
        at += 2
        for word in range(2 * starts[i], 2 * starts[i + 1]):
            first, second = load64(at), load64(at + 8)
            low = _gathered((first + ((first >> _6) & _ONES) * _9) & _NIBBLES)
            high = _gathered((second + ((second >> _6) & _ONES) * _9) & _NIBBLES)
            wrong |= (_spread(low) ^ first) | (_spread(high) ^ second)
            store64(target + 8 * word, low | (high << _32))
            at += 16
        right[i] = wrong == 0
