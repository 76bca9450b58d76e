"""Computes AES-CMAC (NIST SP 800-38B, RFC 4493) of a whole column of values at once.

A CMAC is a chain of AES blocks, so one value cannot be made faster; many values can, side by side: step j puts
block j of every value that has one through the cipher in a single call. Rows are ordered by their number of
blocks, longest first, so that the rows still running are always a prefix of the state.

Reads of the last block may run up to 15 bytes past a value and are masked; the few values at the end of the data
whose reads would leave the buffer are copied first.
"""

from __future__ import annotations

import threading

import numpy as np
import numpy.typing as npt

from strongroom.seal._hazmat import AesBlocks, aes_cmac

CHUNK_ROWS = 8192  # the state of a chunk (128 KiB) stays in the second-level cache
LONG_BYTES = 512  # from here on the library's own chain is quicker than steps in Python
_BLOCK = np.dtype("V16")

U8 = npt.NDArray[np.uint8]
U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]


def doubled(block: bytes) -> bytes:
    """Multiply a block by x in GF(2^128): how CMAC and S2V make one key block from another."""
    shifted = int.from_bytes(block, "big") << 1
    return (shifted ^ ((shifted >> 128) * ((1 << 128) | 0x87))).to_bytes(16, "big")


class OneMac:
    """AES-CMAC under one key, a value at a time: key schedule and subkeys are made once. Threads may share it.

    Args:
        key: AES key, 16, 24 or 32 B.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._aes = AesBlocks(key)
        self._lock = threading.Lock()  # one AES context takes one call at a time
        whole = doubled(self._aes.one(bytes(16)))
        self._whole, self._cut = _number(whole), _number(doubled(whole))

    def of(self, value: bytes) -> bytes:
        """The tag (16 B) of one value."""
        if len(value) > LONG_BYTES:
            return aes_cmac(self._key, value)
        start = max(len(value) - 1, 0) & ~15
        last, one = value[start:], self._aes.one
        if len(last) == 16:
            end = _number(last) ^ self._whole
        else:
            end = _number((last + b"\x80").ljust(16, b"\0")) ^ self._cut
        with self._lock:
            state = 0
            for at in range(0, start, 16):
                state = _number(one((_number(value[at : at + 16]) ^ state).to_bytes(16, "big")))
            return one((end ^ state).to_bytes(16, "big"))


def _number(block: bytes) -> int:
    return int.from_bytes(block, "big")


class ColumnMac:
    """AES-CMAC under one key, for columns.

    Args:
        key: AES key, 16, 24 or 32 B.
    """

    def __init__(self, key: bytes) -> None:
        self._aes = AesBlocks(key)
        k1 = doubled(self._aes.one(bytes(16)))
        whole, cut = np.frombuffer(k1, np.uint8), np.frombuffer(doubled(k1), np.uint8)
        self._whole = whole.view(np.uint64)
        # Row r of each table is for a last block of r bytes: what is kept of it, and padding and subkey to add.
        self._keep = np.where(np.arange(16) < np.arange(17)[:, None], 0xFF, 0).astype(np.uint8).view(_BLOCK).reshape(-1)
        finish = np.tile(cut, (17, 1))
        finish[np.arange(16), np.arange(16)] ^= 0x80
        finish[16] = whole
        self._finish = finish.view(_BLOCK).reshape(-1)

    def blocks(self, rows: U8, out: U8) -> None:
        """Write the tag of each row of one whole block to `out`; both are u8[n, 16], contiguous."""
        n = len(rows)
        state = np.empty(16 * min(n, CHUNK_ROWS) + AesBlocks.SLACK, np.uint8)
        for a in range(0, n, CHUNK_ROWS):
            size = min(n, a + CHUNK_ROWS) - a
            words = state[: 16 * size].view(np.uint64).reshape(-1, 2)
            np.bitwise_xor(rows[a : a + size].view(np.uint64), self._whole, out=words)
            self._aes.forward(state, size)
            out[a : a + size] = words.view(np.uint8)

    def values(self, data: U8, offsets: I64, out: U8) -> None:
        """Write the tag of each value to `out`.

        Args:
            data: u8[m].
            offsets: i64[n + 1], in order and within `data`.
            out: u8[n, 16], contiguous.
        """
        n = len(offsets) - 1
        # Rows before `safe` end at least 15 bytes before the data do.
        safe = int(np.searchsorted(offsets[1:], data.size - 15, side="right"))
        self._chunks(data, offsets[: safe + 1], out[:safe])
        if safe < n:
            start = int(offsets[safe])
            rest = np.zeros(int(offsets[n]) - start + 16, np.uint8)
            rest[:-16] = data[start : int(offsets[n])]
            self._chunks(rest, offsets[safe:] - start, out[safe:])

    def _chunks(self, data: U8, offsets: I64, out: U8) -> None:
        n = len(out)
        if not n:
            return
        # Every byte position as the start of a 16-byte item: a view, one gather reads any block of any row.
        windows = np.ndarray((data.size - 15,), _BLOCK, data, strides=(1,))
        state = np.empty(16 * min(n, CHUNK_ROWS) + AesBlocks.SLACK, np.uint8)
        for a in range(0, n, CHUNK_ROWS):
            z = min(n, a + CHUNK_ROWS)
            self._chunk(windows, offsets[a : z + 1], out[a:z].view(_BLOCK).reshape(-1), state)

    def _chunk(self, windows: npt.NDArray[np.void], offsets: I64, out: npt.NDArray[np.void], state: U8) -> None:
        starts, lengths = offsets[:-1], np.diff(offsets)
        blocks = np.maximum((lengths + 15) >> 4, 1)
        most, rows = int(blocks.max()), len(out)
        order = None
        running = [rows] * most + [0]  # running[j]: rows that have a block j
        if int(blocks.min()) != most:
            rank = most - blocks
            order = np.argsort(rank.astype(np.uint8 if most < 256 else np.int64), kind="stable")
            starts, lengths = starts[order], lengths[order]
            running = (rows - np.cumsum(np.bincount(blocks, minlength=most + 1))).tolist()
        lasts = lengths - ((np.maximum((lengths + 15) >> 4, 1) - 1) << 4)
        words = state[: 16 * rows].view(np.uint64)  # two for each row
        for j in range(most):
            now, later = running[j], running[j + 1]
            block = windows[starts[:now] + (j << 4)].view(np.uint64)
            ending = lasts[later:now]
            if now > later:
                block[2 * later :] &= self._keep[ending].view(np.uint64)
                block[2 * later :] ^= self._finish[ending].view(np.uint64)
            if j:
                words[: 2 * now] ^= block
            else:
                words[:] = block
            self._aes.forward(state, now)
        tags = state[: 16 * rows].view(_BLOCK)
        if order is None:
            out[:] = tags
        else:
            out[order] = tags
