"""Seals a column of short texts so that equal texts are equal afterwards: AES-256-SIV (RFC 5297), a column at a time.

Rules:

1. A text is padded to whole blocks of 16 bytes (ISO/IEC 7816-4: 0x80, then zeros; always at least one byte), so that
   what comes out tells its length in such steps only. What is sealed is AES-SIV of the padded text with one associated
   string for the column, as any library would give.
2. A row is V 16 | C, C as long as the padded text. All bits of V are compared before anything is decided.
3. A row that does not verify is marked and comes out empty.
4. Many rows are done by compiled kernels, a chunk at a time, few by calls of the library. Both give the same.

In a chunk, step j of the CBC-MAC puts block j of every row that has one through AES in one call; the key stream of all
rows is one call. It leaves to others which key belongs to what, and how bytes are written as text.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from strongroom.errors import IntegrityError, UsageError
from strongroom.seal import _hazmat
from strongroom.seal._cmac import doubled
from strongroom.seal.columns import value_buffers

if TYPE_CHECKING:
    import pyarrow as pa

BLOCK_BYTES = 16
CHUNK_ROWS = 4096  # with their states and key stream they stay in the second-level cache
CHUNK_BLOCKS = 65_536  # 1 MiB: a chunk of long texts has fewer rows
KERNEL_ROWS_MIN = 200_000  # from here on the import of numba (0.5 s, once in a process) is paid back
FEW_ROWS = 16  # so many are quicker one by one when the kernels are there

_LANES = f"{__package__}._siv_lanes"
_PAD = b"\x80"
_CTR_MASK = np.frombuffer(bytes.fromhex("ffffffffffffffff7fffffff7fffffff"), np.uint64)  # RFC 5297 section 2.6

U8 = npt.NDArray[np.uint8]
U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]
Bool = npt.NDArray[np.bool_]


def lanes() -> ModuleType:
    """The compiled kernels; the first call imports numba."""
    return import_module(_LANES)


class TextSiv:
    """AES-256-SIV under one key, with one associated string. Threads may share it.

    Args:
        key: 64 B: half for S2V, half for CTR.
        ad: The associated string: what the column is for.

    Raises:
        UsageError: The key has not 64 bytes.
    """

    def __init__(self, key: bytes, ad: bytes) -> None:
        if len(key) != 64:
            raise UsageError("a key of AES-256-SIV has 64 bytes")
        self._key, self._ad = key, ad

    def __repr__(self) -> str:
        return "<TextSiv>"

    def seal(self, column: pa.Array) -> tuple[U8, I64]:
        """Seal every text.

        Args:
            column: Strings or bytes in any Arrow layout but chunks, without nulls.

        Returns:
            Blocks u8[m, 16] and i64[n + 1], at which block each row starts and the last ends.

        Raises:
            UsageError: The column has nulls or is of another type.
        """
        ((data, offsets),) = value_buffers(column)
        starts = np.zeros(len(column) + 1, np.int64)
        np.cumsum((np.diff(offsets) >> 4) + 2, out=starts[1:])
        if not _in_columns(len(column)):
            siv = _hazmat.AesSiv(self._key, self._ad)
            texts = [data[a:z].tobytes() for a, z in zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True)]
            rows = [siv.seal((text + _PAD).ljust(16 * (len(text) // 16 + 1), b"\0")) for text in texts]
            return np.frombuffer(b"".join(rows), np.uint8).reshape(-1, BLOCK_BYTES), starts
        out = np.empty((int(starts[-1]), BLOCK_BYTES), np.uint8)
        run = _Run(self._key, self._ad)
        for a, z in _chunks(starts):
            words, own = out[starts[a] : starts[z]].view(np.uint64), starts[a : z + 1] - starts[a]
            run.lanes.pad(data, offsets[a : z + 1], own, words)
            state, order = run.s2v(words, own)
            run.lanes.put_tags(state, order, own, words)
            run.encrypt(words, own)
        return out, starts

    def open(self, blocks: U8, starts: I64) -> tuple[U8, I64, Bool]:
        """Verify and decrypt rows.

        Args:
            blocks: u8[m, 16].
            starts: i64[n + 1], from 0 to m, at least two blocks apart.

        Returns:
            Bytes of the texts, i64[n + 1] where each starts and the last ends, and bool[n], true where a row did not
            verify: it has no bytes.

        Raises:
            UsageError: A shape is another.
        """
        rows = len(starts) - 1
        if blocks.dtype != np.uint8 or blocks.shape != (int(starts[-1]), BLOCK_BYTES) or int(starts[0]):
            raise UsageError("sealed texts come as an array u8[m, 16]")
        if (np.diff(starts) < 2).any():
            raise UsageError("a sealed text has at least two blocks")
        bad, lengths, texts = np.empty(rows, np.bool_), np.empty(rows, np.int64), [np.empty(0, np.uint8)]
        if not _in_columns(rows):
            return self._open_few(blocks, starts)
        run = _Run(self._key, self._ad)
        for a, z in _chunks(starts):
            words = np.array(blocks[starts[a] : starts[z]], order="C").view(np.uint64)  # a copy, to decrypt in place
            own, wrong, sizes = starts[a : z + 1] - starts[a], bad[a:z], lengths[a:z]
            run.encrypt(words, own)
            state, order = run.s2v(words, own)
            run.lanes.differing(state, order, own, words, wrong)
            run.lanes.unpadded(words, own, wrong, sizes)
            texts.append(np.empty(int(sizes.sum()), np.uint8))
            run.lanes.join(words, own, sizes, texts[-1])
        return np.concatenate(texts), _offsets(lengths), bad

    def _open_few(self, blocks: U8, starts: I64) -> tuple[U8, I64, Bool]:
        siv, texts = _hazmat.AesSiv(self._key, self._ad), []
        bad = np.zeros(len(starts) - 1, np.bool_)
        for i, (a, z) in enumerate(zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True)):
            try:
                text, pad, zeros = siv.open(blocks[a:z].tobytes()).rpartition(_PAD)
                bad[i] = not pad or len(zeros) >= BLOCK_BYTES or zeros.strip(b"\0") != b""
            except IntegrityError:
                bad[i] = True
            texts.append(b"" if bad[i] else text)
        return np.frombuffer(b"".join(texts), np.uint8), _offsets([len(text) for text in texts]), bad


class _Run:
    """AES with both halves of a key, for one call.

    Args:
        key: 64 B.
        ad: The associated string.
    """

    def __init__(self, key: bytes, ad: bytes) -> None:
        self.lanes = lanes()
        self._mac, self._ctr = _hazmat.AesBlocks(key[:32]), _hazmat.AesBlocks(key[32:])
        k1 = doubled(self._mac.one(bytes(16)))
        zero = self._mac.one(k1)  # CMAC of 16 zero bytes
        # The last block is whole: "xorend" D = dbl(CMAC(0)) + CMAC(ad), and the subkey K1, both fall on it.
        constants = doubled(zero) + _hazmat.aes_cmac(key[:32], ad) + k1
        self._last = np.bitwise_xor.reduce(np.frombuffer(constants, np.uint64).reshape(3, 2), axis=0)

    def s2v(self, words: U64, starts: I64) -> tuple[U64, I64]:
        """The synthetic IVs (RFC 5297 section 2.4) u64[n, 2] of rows of words, and which row each is of."""
        counts = np.diff(starts) - 1
        rows, most = len(counts), int(counts.max())
        if int(counts.min()) == most:
            order, running = np.arange(rows), [rows] * most + [0]
        else:
            rank = most - counts  # longest first: the rows still running are always a prefix
            order = np.argsort(rank.astype(np.uint8) if most < 256 else rank, kind="stable")
            running = (rows - np.cumsum(np.bincount(counts, minlength=most + 1))).tolist()
        state, tags = _room(rows)
        for j in range(most):
            self.lanes.absorb(words, starts, order, j, running[j], running[j + 1], self._last, tags)
            self._mac.forward(state, running[j])
        return tags, order

    def encrypt(self, words: U64, starts: I64) -> None:
        """Add the CTR key stream (RFC 5297 section 2.5) of each row's V to the row, in place."""
        blocks = len(words) - len(starts) + 1
        stream, added = _room(blocks)
        self.lanes.counters(words, starts, _CTR_MASK, added)
        self._ctr.forward(stream, blocks)
        self.lanes.mix(added, starts, words)


def _in_columns(rows: int) -> bool:
    return rows >= KERNEL_ROWS_MIN or (rows > FEW_ROWS and _LANES in sys.modules)


def _room(blocks: int) -> tuple[U8, U64]:
    """A buffer for so many blocks with the slack that AES wants, and its words u64[n, 2]."""
    buffer = np.empty(16 * blocks + _hazmat.AesBlocks.SLACK, np.uint8)
    return buffer, buffer[: 16 * blocks].view(np.uint64).reshape(-1, 2)


def _chunks(starts: I64) -> Iterator[tuple[int, int]]:
    """Ranges of rows with at most `CHUNK_ROWS` rows and, but for a longer row, `CHUNK_BLOCKS` blocks."""
    a, rows = 0, len(starts) - 1
    while a < rows:
        fitting = int(np.searchsorted(starts, starts[a] + CHUNK_BLOCKS, side="right")) - 1
        z = max(a + 1, min(a + CHUNK_ROWS, fitting))
        yield a, z
        a = z


def _offsets(lengths: npt.ArrayLike) -> I64:
    sizes = np.asarray(lengths, np.int64)
    offsets = np.zeros(len(sizes) + 1, np.int64)
    np.cumsum(sizes, out=offsets[1:])
    return offsets
