"""Kernels for `assemble`: heads of entries, then each column of cells copied into place."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def heads(shape, ordinals, lengths, out, out_offsets):  # type: ignore[no-untyped-def]  # noqa: ANN001
    """Write shape, ordinal and cell lengths of every entry; return where each first cell goes."""
    n = ordinals.shape[0]
    at = np.empty(n, np.int64)
    for row in range(n):
        p = out_offsets[row]
        out[p] = shape & 0xFF
        out[p + 1] = (shape >> 8) & 0xFF
        out[p + 2] = (shape >> 16) & 0xFF
        o = ordinals[row]
        for k in range(4):
            out[p + 3 + k] = (o >> np.uint32(8 * k)) & np.uint32(0xFF)
        p += 7
        for c in range(lengths.shape[0]):
            v = lengths[c, row]
            while v >= 0x80:
                out[p] = (v & 0x7F) | 0x80
                v >>= 7
                p += 1
            out[p] = v
            p += 1
        at[row] = p
    return at


@njit(cache=True, nogil=True)
def place(data, offsets, out, at):  # type: ignore[no-untyped-def]  # noqa: ANN001
    """Copy one column of cells to `at`, and move `at` behind it."""
    for row in range(at.shape[0]):
        a = offsets[row]
        b = offsets[row + 1]
        p = at[row]
        for k in range(b - a):
            out[p + k] = data[a + k]
        at[row] = p + (b - a)
