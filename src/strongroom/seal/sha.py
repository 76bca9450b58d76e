"""SHA-256 (FIPS 180-4) of many messages, and the Merkle tree over them (RFC 6962, 2.1).

Few messages go through hashlib, one by one; many through vectors, sixteen at a time, which is several times as fast.
"""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt

from strongroom.errors import UsageError

LEAF, NODE = 0, 1
DIGEST_BYTES = 32
LANES_FROM = 4096
"""Messages from which loading the kernels pays."""
LOADED_FROM = 32
"""Messages from which they pay once they are loaded."""
LONG_BYTES = 16_384
"""Messages longer than this go one by one: of these the vectors gain nothing."""

U8 = npt.NDArray[np.uint8]
I64 = npt.NDArray[np.int64]


def digests(prefix: int, data: U8, offsets: I64, least: int | None = None) -> U8:
    """SHA-256 of a byte and each message behind it, u8[n,32].

    Args:
        prefix: The byte before every message.
        data: u8[m], the messages one behind the other.
        offsets: i64[n + 1], where each starts and the last ends.
        least: Messages from which the vectors are used, if not LANES_FROM.
    """
    count = len(offsets) - 1
    lengths = np.diff(offsets)
    if count < 0 or (lengths < 0).any() or (count and not 0 <= offsets[0] <= offsets[-1] <= len(data)):
        raise UsageError("messages lie one behind the other within the data")
    out = np.empty((count, DIGEST_BYTES), np.uint8)
    if count < (LANES_FROM if least is None else least):
        _one_by_one(prefix, data, offsets, np.arange(count), out)
        return out
    from strongroom.seal._lane_code import LANES
    from strongroom.seal._sha_lanes import WORK, digest

    long = lengths > LONG_BYTES
    _one_by_one(prefix, data, offsets, np.flatnonzero(long), out)
    blocks = (lengths + 73) // 64  # a byte before, 0x80 and eight bytes of length behind
    order = np.argsort(blocks[~long].astype(np.uint16), kind="stable")
    order = np.flatnonzero(~long)[order]
    if len(order):
        room = np.zeros(int(blocks[order[-1]]) * 64 * LANES, np.uint8)
        raw = np.zeros(WORK + 8, np.uint64)
        work = raw[(-raw.ctypes.data % 64) // 8 :][: WORK]
        held = np.ascontiguousarray(data)
        digest(prefix, held, np.ascontiguousarray(offsets, np.int64), order, blocks, room, work, out)
    return out


def _one_by_one(prefix: int, data: U8, offsets: I64, rows: I64, out: U8) -> None:
    head, sha256 = bytes([prefix]), hashlib.sha256
    bounds, held = offsets.tolist(), np.ascontiguousarray(data).data
    for row in rows.tolist():
        found = sha256(head + held[bounds[row] : bounds[row + 1]])
        out[row] = np.frombuffer(found.digest(), np.uint8)


def root_over(leaves: U8) -> bytes:
    """Root of the tree over the hashes of some leaves, u8[n,32], n > 0."""
    level, least = leaves, LOADED_FROM if len(leaves) >= LANES_FROM else None
    while len(level) > 1:
        pairs = len(level) // 2
        joined = np.ascontiguousarray(level[: 2 * pairs]).reshape(-1)
        above = digests(NODE, joined, np.arange(pairs + 1, dtype=np.int64) * (2 * DIGEST_BYTES), least)
        level = np.concatenate([above, level[2 * pairs :]])
    return bytes(level[0])
