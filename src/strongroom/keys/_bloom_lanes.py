# mypy: disable-error-code="no-untyped-def, no-untyped-call, misc"
"""The probes of `bloom.contains` as a compiled loop; imported only when there are many tokens."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def contains(filters, rows, low, passed):
    """Fill bool[n]: whether each token may be in the page of its row; filters u8[pages, 8192]."""
    for i in range(low.shape[0]):
        held, word = filters[rows[i]], low[i]
        passed[i] = _half(held, word >> np.uint64(32)) and _half(held, word)


@njit(cache=True, nogil=True, inline="always")
def _half(held, words):
    """Four probes from one 16-bit word, by steps of another."""
    bit, step = (words >> np.uint64(16)) & np.uint64(0xFFFF), words & np.uint64(0xFFFF)
    for _ in range(4):
        if not (held[bit >> np.uint64(3)] >> np.uint8(bit & np.uint64(7))) & np.uint8(1):
            return False
        bit = (bit + step) & np.uint64(0xFFFF)
    return True
