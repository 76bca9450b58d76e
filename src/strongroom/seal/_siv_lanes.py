"""The steps of AES-SIV between two calls of AES, for a column of padded texts.

Rules:

1. Everything runs without the interpreter's lock, on arrays that `siv` made and checked: row i of `words` u64[m, 2] has
   V at block starts[i], and behind it the blocks of its text up to starts[i + 1].
2. Nothing here branches on a byte of a text, or on a tag, but for where the padding of a verified text begins.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from strongroom.seal._run_lanes import copy_bytes

_HALF = np.uint64(32)


@njit(cache=True, nogil=True)
def pad(data, offsets, starts, words):
    """Copy each text behind the place of its V, then 0x80 and zeros to the end of its last block."""
    source, target = data.ctypes.data, words.ctypes.data
    for i in range(starts.shape[0] - 1):
        first, end = starts[i] + 1, starts[i + 1]
        words[end - 1, 0] = 0
        words[end - 1, 1] = 0
        size = offsets[i + 1] - offsets[i]
        copy_bytes(target + 16 * first, source + offsets[i], size)
        rest = size & 15
        words[end - 1, rest >> 3] |= np.uint64(0x80) << np.uint64(8 * (rest & 7))


@njit(cache=True, nogil=True)
def absorb(words, starts, order, step, now, later, last, state):
    """Add block `step` of the rows order[:now] to their states; for order[later:now] it is the last."""
    for i in range(now):
        at = starts[order[i]] + 1 + step
        low, high = words[at, 0], words[at, 1]
        if step:
            low ^= state[i, 0]
            high ^= state[i, 1]
        if i >= later:
            low ^= last[0]
            high ^= last[1]
        state[i, 0] = low
        state[i, 1] = high


@njit(cache=True, nogil=True)
def put_tags(state, order, starts, words):
    """Write the tag of each row to the place of its V."""
    for i in range(order.shape[0]):
        at = starts[order[i]]
        words[at, 0] = state[i, 0]
        words[at, 1] = state[i, 1]


@njit(cache=True, nogil=True)
def differing(state, order, starts, words, bad):
    """Mark the rows whose tag is not the V that stands there."""
    for i in range(order.shape[0]):
        row = order[i]
        at = starts[row]
        bad[row] = ((words[at, 0] ^ state[i, 0]) | (words[at, 1] ^ state[i, 1])) != 0


@njit(cache=True, nogil=True)
def counters(words, starts, mask, stream):
    """Write the counters of each row (RFC 5297 section 2.6), one for each block of text."""
    at = 0
    for i in range(starts.shape[0] - 1):
        low = words[starts[i], 0] & mask[0]
        high = words[starts[i], 1] & mask[1]
        for j in range(starts[i + 1] - starts[i] - 1):
            # The last four bytes are a big-endian number whose first bit is cleared: adding never carries out of it.
            word = high >> _HALF
            number = ((word & 0xFF) << 24) | ((word & 0xFF00) << 8) | ((word >> 8) & 0xFF00) | (word >> 24)
            number += np.uint64(j)
            word = ((number & 0xFF) << 24) | ((number & 0xFF00) << 8) | ((number >> 8) & 0xFF00) | (number >> 24)
            stream[at, 0] = low
            stream[at, 1] = (high & np.uint64(0xFFFFFFFF)) | (word << _HALF)
            at += 1


@njit(cache=True, nogil=True)
def mix(stream, starts, words):
    """Add the key stream to the blocks of text."""
    at = 0
    for i in range(starts.shape[0] - 1):
        for block in range(starts[i] + 1, starts[i + 1]):
            words[block, 0] ^= stream[at, 0]
            words[block, 1] ^= stream[at, 1]
            at += 1


@njit(cache=True, nogil=True)
def unpadded(words, starts, bad, lengths):
    """Fill in how long the text of each row is; what does not end in 0x80 and zeros becomes bad. A bad one has none."""
    for i in range(starts.shape[0] - 1):
        lengths[i] = 0
        if bad[i]:
            continue
        last = starts[i + 1] - 1
        word, base = words[last, 1], 8
        if not word:
            word, base = words[last, 0], 0
        place = 7
        while place and not word >> np.uint64(56):
            word <<= np.uint64(8)
            place -= 1
        bad[i] = word >> np.uint64(56) != 0x80
        if not bad[i]:
            lengths[i] = 16 * (last - starts[i] - 1) + base + place


@njit(cache=True, nogil=True)
def join(words, starts, lengths, out):
    """Copy the texts one behind the other."""
    source, target = words.ctypes.data, out.ctypes.data
    for i in range(lengths.shape[0]):
        copy_bytes(target, source + 16 * (starts[i] + 1), lengths[i])
        target += lengths[i]
