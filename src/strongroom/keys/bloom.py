"""A Bloom filter per key page: most persons seen for the first time cost no decryption.

A filter has 65,536 bits for at most 4,096 tokens and 8 probes: 1 in 1,700 absent tokens passes. Tokens are uniform
already, so slices of a token's low half serve as hashes: with a, b, c, d its 16-bit words, the probes are
a, a+b, a+2b, a+3b, c, c+d, c+2d, c+3d modulo 65,536.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from strongroom.seal.scatter import use_kernels

FILTER_BYTES = 8192
_BITS = FILTER_BYTES * 8
_MASK = _BITS - 1
LANES_FROM = 1024
"""Tokens from which the compiled loop is faster, once compiled loops are loaded at all."""

Bytes2D = npt.NDArray[np.uint8]
U64 = npt.NDArray[np.uint64]


def probes(low: U64) -> npt.NDArray[np.uint16]:
    """The bits of tokens given by their low halves u64[n]: u16[8,n]."""
    words = [(low >> np.uint64(shift)).astype(np.uint16) for shift in (48, 32, 16, 0)]
    found = np.empty((8, len(low)), np.uint16)
    for part in range(2):
        start, step = words[2 * part], words[2 * part + 1]
        found[4 * part] = start
        for i in range(1, 4):
            np.add(found[4 * part + i - 1], step, out=found[4 * part + i])
    return found


def build(low: U64) -> bytes:
    """The filter of one page's tokens, given by their low halves u64[n]."""
    bits = np.zeros(_BITS, np.bool_)
    bits[probes(low).ravel()] = True
    return np.packbits(bits, bitorder="little").tobytes()


def contains(filters: Bytes2D, rows: npt.NDArray[np.int64], low: U64) -> npt.NDArray[np.bool_]:
    """Which tokens may be in their page.

    Args:
        filters: Filters u8[pages, 8192].
        rows: Row of the filter that each token is looked for in, i64[n].
        low: Low halves of the tokens, u64[n].
    """
    passed = np.zeros(len(rows), np.bool_)
    if len(low) >= LANES_FROM and use_kernels(len(low)):
        from strongroom.keys import _bloom_lanes

        _bloom_lanes.contains(filters, np.ascontiguousarray(rows), np.ascontiguousarray(low), passed)
        return passed
    left, base = np.arange(len(low)), rows * FILTER_BYTES
    flat = filters.reshape(-1)
    # two tokens in three fall out at each probe: the next ones are made for those that are left
    for part in range(2):
        bits, step = ((low >> np.uint64(shift)).astype(np.uint16) for shift in ((48, 32), (16, 0))[part])
        for _ in range(4):
            hit = np.flatnonzero((flat[base + (bits >> 3)] >> (bits & 7).astype(np.uint8)) & 1)
            left, base, low, bits, step = left[hit], base[hit], low[hit], bits[hit], step[hit]
            if not left.size:
                break
            bits = bits + step
    passed[left] = True
    return passed


def may_contain(filters: memoryview, start: int, low: int) -> bool:
    """Whether one token may be in the page whose filter starts at byte `start`."""
    a, b, c, d = low >> 48, (low >> 32) & _MASK, (low >> 16) & _MASK, low & _MASK
    for _ in range(4):
        if not filters[start + (a >> 3)] >> (a & 7) & 1 or not filters[start + (c >> 3)] >> (c & 7) & 1:
            return False
        a, c = (a + b) & _MASK, (c + d) & _MASK
    return True
