# mypy: disable-error-code="no-untyped-def, no-untyped-call, misc, assignment"
"""The walk over the heads of record entries as a compiled loop; imported only when there are many of them."""

from __future__ import annotations

import numpy as np
from numba import njit

WITHIN, NO_LENGTH, NO_SUM = 1, 2, 3
"""What is wrong with an entry: it ends within its lengths, a length is none, lengths do not add up."""


@njit(cache=True, nogil=True)
def locate(payload, offsets, places, header, most, starts, lengths):
    """Fill starts and lengths i64[cells,k] of the cells of entries; returns 0, or what is wrong with one of them."""
    cells = lengths.shape[0]
    for row in range(places.shape[0]):
        at, end = offsets[places[row]] + header, offsets[places[row] + 1]
        for cell in range(cells):
            value, shift = 0, 0
            while True:
                if at >= end:
                    return WITHIN
                byte = np.int64(payload[at])
                if shift > 0 and byte == 0:
                    return NO_LENGTH  # a longer form of a shorter number: nobody writes it
                at += 1
                value |= (byte & 0x7F) << shift
                shift += 7
                if byte < 0x80:
                    break
                if shift >= 7 * most:
                    return NO_LENGTH
            lengths[cell, row] = value
        for cell in range(cells):
            starts[cell, row] = at
            at += lengths[cell, row]
        if at != end:
            return NO_SUM
    return 0
