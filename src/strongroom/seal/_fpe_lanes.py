"""The steps of FF1 between two calls of AES, for a column of numbers.

Rules:

1. Everything runs without the interpreter's lock, on arrays that `fpe` made and checked.
2. Nothing here branches on a number; memory is only read and written at the row's own place.

For a half M of at most 2^32 the remainder is taken by a multiplication: with magic = floor((2^64 - 1) / M) the
quotient is at most 1 too small, so that M is subtracted once where it is left over. For a wider half it is divided.
"""

from __future__ import annotations

import numpy as np
from numba import njit, types
from numba.extending import intrinsic

_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)
_ONE = np.uint64(1)


@intrinsic
def swapped(typing, word):  # noqa: ARG001 - numba asks for these names
    """The bytes of a u64 in the other order."""

    def emit(context, builder, signature, arguments):  # noqa: ARG001
        return builder.bswap(arguments[0])

    return types.uint64(types.uint64), emit


@njit(cache=True, nogil=True, error_model="numpy")
def load(right, high, low, state):
    """Write the last block of Q of every row: constants `high` and `low` (big-endian numbers), with NUM(B) added."""
    first = swapped(high)
    for i in range(right.shape[0]):
        state[2 * i] = first
        state[2 * i + 1] = swapped(low ^ right[i])


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _high_product(x, y):
    """The upper 64 bits of a product of u64, from products of their halves."""
    x1, x0, y1, y0 = x >> _HALF, x & _LOW, y >> _HALF, y & _LOW
    middle = x1 * y0 + ((x0 * y0) >> _HALF)
    other = x0 * y1 + (middle & _LOW)
    return x1 * y1 + (middle >> _HALF) + (other >> _HALF)


@njit(cache=True, nogil=True, error_model="numpy")
def add(state, modulus, magic, left):
    """A = (A + y) mod M, where y is the first 8 bytes of the row's block and M has at most 32 bits."""
    for i in range(left.shape[0]):
        y = swapped(state[2 * i])
        y -= _high_product(y, magic) * modulus
        y = min(y, y - modulus) + left[i]  # below zero a u64 is very large
        left[i] = min(y, y - modulus)


@njit(cache=True, nogil=True, error_model="numpy")
def subtract(state, modulus, magic, left):
    """A = (A - y) mod M, as `add`."""
    for i in range(left.shape[0]):
        y = swapped(state[2 * i])
        y -= _high_product(y, magic) * modulus
        y = left[i] - min(y, y - modulus)
        left[i] = min(y, y + modulus)


@njit(cache=True, nogil=True, error_model="numpy")
def add_wide(state, modulus, step, backwards, left):
    """A = (A + y) mod M or (A - y) mod M, where y is the first 12 bytes and M is below 2^63.

    Args:
        state: u64[2 n + 1 or more].
        modulus: M.
        step: How many bits of y are taken at once, so that M times 2^step stays below 2^64; 1 to 32.
        backwards: Whether to subtract.
        left: u64[n], changed in place.
    """
    for i in range(left.shape[0]):
        y = swapped(state[2 * i]) % modulus
        more = swapped(state[2 * i + 1]) >> _HALF
        bits = _HALF
        while bits:
            now = min(step, bits)
            bits -= now
            y = ((y << now) | ((more >> bits) & ((_ONE << now) - _ONE))) % modulus
        if backwards:
            y = modulus - y
        y += left[i]
        left[i] = min(y, y - modulus)


@njit(cache=True, nogil=True, error_model="numpy")
def numbers(numerals, radix, out):
    """NUM: the number that each row of numerals [n, w] is in the radix."""
    for i in range(numerals.shape[0]):
        x = np.uint64(0)
        for j in range(numerals.shape[1]):
            x = x * radix + np.uint64(numerals[i, j])
        out[i] = x


@njit(cache=True, nogil=True, error_model="numpy")
def numerals(values, radix, out):
    """STR: each number as a row of numerals [n, w] in the radix."""
    width = out.shape[1]
    if radix == 10:
        for i in range(values.shape[0]):
            x = values[i]
            for j in range(width - 1, -1, -1):
                rest = x // np.uint64(10)  # by a constant: compiled to a multiplication
                out[i, j] = x - rest * np.uint64(10)
                x = rest
        return
    for i in range(values.shape[0]):
        x = values[i]
        for j in range(width - 1, -1, -1):
            rest = x // radix
            out[i, j] = x - rest * radix
            x = rest
