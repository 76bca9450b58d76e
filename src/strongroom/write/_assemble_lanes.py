"""Kernels for `assemble`: where each entry ends, then whole entries, so that what is written stays in the cache.

Cells are named by their addresses; `assemble` has checked that they lie inside arrays it holds.
numba's cache on disk knows only this file: who changes `copy_bytes` clears `__pycache__`.
"""

from __future__ import annotations

from numba import njit

from strongroom.seal._run_lanes import copy_bytes


@njit(cache=True, nogil=True)
def measure(offsets, head, out_offsets):
    """Fill in where entries start and end: head, LEB128 lengths and cells; offsets i64[columns, n+1]."""
    at = 0
    out_offsets[0] = 0
    for row in range(offsets.shape[1] - 1):
        at += head
        for c in range(offsets.shape[0]):
            v = offsets[c, row + 1] - offsets[c, row]
            at += v + 1
            while v >= 0x80:
                v >>= 7
                at += 1
        out_offsets[row + 1] = at


@njit(cache=True, nogil=True)
def write(shape, ordinals, addresses, offsets, out, out_offsets):
    """Write shape, ordinal, cell lengths and cells of every entry."""
    to = out.ctypes.data
    for row in range(ordinals.shape[0]):
        p = out_offsets[row]
        for k in range(3):
            out[p + k] = (shape >> (8 * k)) & 0xFF
        o = int(ordinals[row])
        for k in range(4):
            out[p + 3 + k] = (o >> (8 * k)) & 0xFF
        p += 7
        for c in range(offsets.shape[0]):
            v = offsets[c, row + 1] - offsets[c, row]
            while v >= 0x80:
                out[p] = (v & 0x7F) | 0x80
                v >>= 7
                p += 1
            out[p] = v
            p += 1
        for c in range(offsets.shape[0]):
            start = offsets[c, row]
            size = offsets[c, row + 1] - start
            copy_bytes(to + p, addresses[c] + start, size)
            p += size
