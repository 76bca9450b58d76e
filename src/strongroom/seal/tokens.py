"""Makes tokens and index entries a column at a time: AES-CMAC, AES and AES-SIV over arrays.

Rules:

1. value token = AES-256(outer key, AES-256-CMAC(inner key, value bytes)) (NIST SP 800-38B). The outer layer is one
   block per token, so that it can be changed without the value.
2. index entry = V 16 | C 28 of AES-256-SIV (RFC 5297, key of 64 B) over subject token 16 | batch sequence u64 LE |
   row ordinal u32 LE, with one associated string: field id 16 | value token 16.
3. A column of values has no null: under a null Arrow may hold the bytes of a value that was taken away.
4. An entry that does not verify is marked bad and comes out as zeros.

It leaves to others which key belongs to which field, and how values are normalised.
"""

from __future__ import annotations

import hmac
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from strongroom.errors import UsageError
from strongroom.seal import _hazmat
from strongroom.seal._cmac import CHUNK_ROWS, ColumnMac, doubled
from strongroom.seal._cmac import OneMac as OneMac  # noqa: PLC0414 - for who keeps a key prepared
from strongroom.seal.columns import value_buffers

if TYPE_CHECKING:
    import pyarrow as pa

TOKEN_BYTES = 16
ENTRY_BYTES = 44
_ENTRY_PLAIN_BYTES = 28
_CTR_MASK = np.frombuffer(bytes.fromhex("ffffffffffffffff7fffffff7fffffff"), np.uint64)  # RFC 5297 section 2.6

_CTR_MASK_NUMBER = int.from_bytes(_CTR_MASK.tobytes(), "big")
_NO_ENTRY = bytes(_ENTRY_PLAIN_BYTES)
FEW_ENTRIES = 16

U8 = npt.NDArray[np.uint8]
U32 = npt.NDArray[np.uint32]
U64 = npt.NDArray[np.uint64]
Bool = npt.NDArray[np.bool_]


class Tokens:
    """Makes tokens one at a time, with the key schedules made once. Threads may share it.

    Args:
        inner: CMAC key, 32 B.
        outer: AES key, 32 B.

    Raises:
        UsageError: A key has not 32 bytes.
    """

    def __init__(self, inner: bytes, outer: bytes) -> None:
        _key32(inner, outer)
        self._inner = OneMac(inner)
        self._outer = _hazmat.AesBlocks(outer)
        self._lock = threading.Lock()

    def one(self, value: bytes) -> bytes:
        """The token (16 B) of one normalised value."""
        mac = self._inner.of(value)
        with self._lock:
            return self._outer.one(mac)


def cmac_one(key: bytes, value: bytes) -> bytes:
    """AES-256-CMAC (NIST SP 800-38B) of one value under a 32-byte key: 16 B."""
    _key32(key)
    return _hazmat.aes_cmac(key, value)


def tokens(inner: bytes, outer: bytes, column: pa.Array | pa.ChunkedArray) -> U8:
    """The tokens of a column of normalised values.

    Args:
        inner: CMAC key, 32 B.
        outer: AES key, 32 B.
        column: string or binary values in any Arrow layout, without nulls.

    Returns:
        u8[n, 16].

    Raises:
        UsageError: A key has not 32 bytes, the column has nulls or is of another type.
    """
    _key32(inner, outer)
    mac = ColumnMac(inner)
    out = np.empty((len(column), TOKEN_BYTES), np.uint8)
    at = 0
    for data, offsets in value_buffers(column):
        mac.values(data, offsets, out[at : at + len(offsets) - 1])
        at += len(offsets) - 1
    return _each_block(_hazmat.AesBlocks(outer).forward, out)


def cmac_column(key: bytes, fixed: U8) -> U8:
    """AES-256-CMAC of each row of u8[n, w], as u8[n, 16].

    Raises:
        UsageError: The key has not 32 bytes or the array is not u8[n, w].
    """
    _key32(key)
    if fixed.dtype != np.uint8 or fixed.ndim != 2:
        raise UsageError("rows of bytes come as an array u8[n, w]")
    n, width = fixed.shape
    out, rows = np.empty((n, TOKEN_BYTES), np.uint8), np.ascontiguousarray(fixed)
    if width == 16:
        ColumnMac(key).blocks(rows, out)
    else:
        ColumnMac(key).values(rows.reshape(-1), np.arange(n + 1, dtype=np.int64) * width, out)
    return out


def rotate_tokens(old_outer: bytes, new_outer: bytes, stored: U8) -> U8:
    """Take tokens u8[n, 16] from one outer key to another, without the values.

    Raises:
        UsageError: A key has not 32 bytes or the array is not u8[n, 16].
    """
    _key32(old_outer, new_outer)
    out = _tokens(stored).copy()
    _each_block(_hazmat.AesBlocks(old_outer).backward, out)
    return _each_block(_hazmat.AesBlocks(new_outer).forward, out)


def seal_index_entries(
    siv_key: bytes, field_id: bytes, value_tokens: U8, subject_tokens: U8, sequence: int | U64, ordinals: npt.ArrayLike
) -> U8:
    """Seal the index entries of a column, each under the token of its value.

    SIV needs no nonce: equal entries under equal tokens would be equal bytes, and sequence and ordinal differ.

    Args:
        siv_key: 64 B: half for S2V, half for CTR.
        field_id: 16 B.
        value_tokens: u8[n, 16].
        subject_tokens: u8[n, 16].
        sequence: Batch sequence, u64: one for the column, or u64[n].
        ordinals: u32[n], row ordinals.

    Returns:
        u8[n, 44].

    Raises:
        UsageError: A length, shape or number is out of range.
    """
    if isinstance(sequence, int) and not 0 <= sequence < 1 << 64:
        raise UsageError("a batch sequence is an unsigned 64-bit integer")
    value_tokens, subject_tokens = _tokens(value_tokens), _tokens(subject_tokens)
    given = np.asarray(ordinals)
    if given.dtype.kind not in "iu" or (given.size and not 0 <= int(given.min()) <= int(given.max()) < 1 << 32):
        raise UsageError("row ordinals are unsigned 32-bit integers")  # a cast would wrap them round
    rows = np.require(given, np.uint32, ["C", "A"])
    n = len(value_tokens)
    if len(subject_tokens) != n or rows.shape != (n,):
        raise UsageError(f"{n} value tokens need as many subject tokens and ordinals")
    siv = _EntrySiv(siv_key, field_id)
    numbers = np.broadcast_to(np.asarray(sequence, np.uint64), (n,))
    low, high = (numbers & np.uint64(0xFFFFFFFF)).astype(np.uint32), (numbers >> np.uint64(32)).astype(np.uint32)
    out = np.empty((n, ENTRY_BYTES), np.uint8)
    words = out.view(np.uint32)  # V in words 0-3, C in words 4-10
    for a in range(0, n, CHUNK_ROWS):
        part = slice(a, min(n, a + CHUNK_ROWS))
        plain = np.empty((part.stop - a, 7), np.uint32)
        plain[:, :4] = subject_tokens[part].view(np.uint32)
        plain[:, 4], plain[:, 5] = low[part], high[part]
        plain[:, 6] = rows[part]
        v = siv.s2v(value_tokens[part], plain)
        words[part, :4] = v
        _by_column(np.bitwise_xor, plain, siv.key_stream(v), words[part, 4:])
    return out


def open_index_entries(siv_key: bytes, field_id: bytes, value_tokens: U8, entries: U8) -> tuple[U8, U64, U32, Bool]:
    """Open index entries against the tokens of the values they are said to stand under.

    Args:
        siv_key: 64 B.
        field_id: 16 B.
        value_tokens: u8[n, 16].
        entries: u8[n, 44].

    Returns:
        Subject tokens u8[n, 16], batch sequences u64[n], row ordinals u32[n], and bool[n], true where an entry
        did not verify: the rest of that row is zero.

    Raises:
        UsageError: A length or shape is wrong.
    """
    value_tokens = _tokens(value_tokens)
    n = len(value_tokens)
    if entries.dtype != np.uint8 or entries.shape != (n, ENTRY_BYTES):
        raise UsageError(f"{n} value tokens need entries u8[{n}, {ENTRY_BYTES}]")
    siv = _EntrySiv(siv_key, field_id)
    words = np.ascontiguousarray(entries).view(np.uint32)
    plain = np.empty((n, 7), np.uint32)
    bad = np.empty(n, np.bool_)
    for a in range(0, n, CHUNK_ROWS):
        part = slice(a, min(n, a + CHUNK_ROWS))
        v = np.ascontiguousarray(words[part, :4])
        _by_column(np.bitwise_xor, words[part, 4:], siv.key_stream(v), plain[part])
        # All bits of all tags are compared before anything is decided: time says nothing about where they differ.
        wrong = (siv.s2v(value_tokens[part], plain[part]) ^ v).view(np.uint64)
        bad[part] = (wrong[:, 0] | wrong[:, 1]) != 0
    plain[bad] = 0
    subjects = np.ascontiguousarray(plain[:, :4]).view(np.uint8)
    sequences = np.ascontiguousarray(plain[:, 4:6]).view(np.uint64).reshape(n)
    return subjects, sequences, np.ascontiguousarray(plain[:, 6]), bad


class EntryOpener:
    """Opens a few index entries: what `open_index_entries` gives, with the key schedules made once.

    Threads may share it.

    Args:
        siv_key: 64 B.
        field_id: 16 B.

    Raises:
        UsageError: A length is wrong.
    """

    def __init__(self, siv_key: bytes, field_id: bytes) -> None:
        if len(siv_key) != 64 or len(field_id) != 16:
            raise UsageError("a key of index entries has 64 bytes and a field id 16")
        self._key, self._field_id = siv_key, field_id
        self._mac = OneMac(siv_key[:32])
        self._ctr = _hazmat.AesBlocks(siv_key[32:])
        self._lock = threading.Lock()
        self._d_start = int.from_bytes(doubled(self._mac.of(bytes(16))), "big")

    def open(self, value_tokens: U8, entries: U8) -> tuple[U8, U64, U32, Bool]:
        """See `open_index_entries`."""
        n = len(value_tokens)
        if n > FEW_ENTRIES or entries.dtype != np.uint8 or entries.shape != (n, ENTRY_BYTES):
            return open_index_entries(self._key, self._field_id, value_tokens, entries)
        opened = [self._one(t.tobytes(), e.tobytes()) for t, e in zip(_tokens(value_tokens), entries, strict=True)]
        bad = np.array([plain is None for plain in opened], np.bool_)
        words = np.frombuffer(b"".join([plain or _NO_ENTRY for plain in opened]), np.uint32).reshape(n, 7)
        subjects = np.ascontiguousarray(words[:, :4]).view(np.uint8).reshape(n, TOKEN_BYTES)
        sequences = np.ascontiguousarray(words[:, 4:6]).view(np.uint64).reshape(n)
        return subjects, sequences, np.ascontiguousarray(words[:, 6]), bad

    def _one(self, token: bytes, entry: bytes) -> bytes | None:
        """The 28 plain bytes of an entry; None if it does not verify."""
        v = entry[:16]
        counter = int.from_bytes(v, "big") & _CTR_MASK_NUMBER
        with self._lock:
            # the last word's first bit is cleared, so adding one never carries out of that word
            stream = self._ctr.one(counter.to_bytes(16, "big") + (counter + 1).to_bytes(16, "big"))
        plain = int.from_bytes(entry[16:], "big") ^ int.from_bytes(stream[:_ENTRY_PLAIN_BYTES], "big")
        d = self._d_start ^ int.from_bytes(self._mac.of(self._field_id + token), "big")
        if not hmac.compare_digest(self._mac.of((plain ^ d).to_bytes(_ENTRY_PLAIN_BYTES, "big")), v):
            return None
        return plain.to_bytes(_ENTRY_PLAIN_BYTES, "big")


class _EntrySiv:
    """AES-256-SIV for entries of fixed size: 28 B of plain text and one associated string of 32 B.

    Args:
        key: 64 B.
        field_id: 16 B, the first half of the associated string; the value token is the second.
    """

    def __init__(self, key: bytes, field_id: bytes) -> None:
        if len(key) != 64 or len(field_id) != 16:
            raise UsageError("a key of index entries has 64 bytes and a field id 16")
        self._mac = _hazmat.AesBlocks(key[:32])
        self._ctr = _hazmat.AesBlocks(key[32:])
        k1 = doubled(self._mac.one(bytes(16)))
        k2 = doubled(k1)
        zero = self._mac.one(k1)  # CMAC of 16 zero bytes
        # CMAC(field id | token) = E(E(field id) ^ token ^ K1): the first block is the same for the whole column.
        self._ad_start = _words(_xor(self._mac.one(field_id), k1))
        self._d_start = _words(doubled(zero))
        self._last = _words(_xor(k2, bytes(12) + b"\x80\0\0\0"))
        self._state = np.empty(16 * CHUNK_ROWS + _hazmat.AesBlocks.SLACK, np.uint8)
        self._stream = np.empty(32 * CHUNK_ROWS + _hazmat.AesBlocks.SLACK, np.uint8)

    def s2v(self, value_tokens: U8, plain: U32) -> U32:
        """The synthetic IV (RFC 5297 section 2.4) of each row: value tokens u8[m, 16], plain u32[m, 7] -> u32[m, 4]."""
        m = len(plain)
        state = self._state[: 16 * m].view(np.uint32).reshape(m, 4)
        _by_column(np.bitwise_xor, value_tokens.view(np.uint32), self._ad_start, state)
        self._mac.forward(self._state, m)
        d = np.empty((m, 4), np.uint32)
        _by_column(np.bitwise_xor, state, self._d_start, d)
        # 28 bytes "xorend" D: its first 4 bytes meet the end of the first block, the other 12 the second block.
        state[:] = plain[:, :4]
        state[:, 3] ^= d[:, 0]
        self._mac.forward(self._state, m)
        for c in range(3):
            state[:, c] ^= plain[:, 4 + c]
            state[:, c] ^= d[:, 1 + c]
        _by_column(np.bitwise_xor, state, self._last, state)
        self._mac.forward(self._state, m)
        return state.copy()

    def key_stream(self, v: U32) -> U32:
        """The CTR key stream (28 B) of each row, RFC 5297 section 2.5: u32[m, 4] -> u32[m, 7], to use at once."""
        m = len(v)
        counters = self._stream[: 32 * m].view(np.uint32).reshape(m, 2, 4)
        for block in (0, 1):
            _by_column(np.bitwise_and, v, _CTR_MASK.view(np.uint32), counters[:, block])
        # Bit 31 of the last word is cleared by the mask, so adding one never carries out of that word.
        last = counters[:, 1, 3]
        last[:] = (last.byteswap() + np.uint32(1)).byteswap()
        self._ctr.forward(self._stream, 2 * m)
        return counters.reshape(m, 8)[:, :7]


def _by_column(operation: np.ufunc, left: U32, right: U32, out: U32) -> None:
    """Work on u32[m, w] (right: or one row for all) a column at a time: numpy is slow at many short rows."""
    for c in range(out.shape[1]):
        operation(left[:, c], right[..., c], out=out[:, c])


def _each_block(cipher: Any, blocks: U8) -> U8:
    """Run a block cipher over every row of u8[n, 16], in place, through a buffer that stays in the cache."""
    buffer = np.empty(16 * CHUNK_ROWS + _hazmat.AesBlocks.SLACK, np.uint8)
    flat = blocks.reshape(-1)
    for a in range(0, flat.size, 16 * CHUNK_ROWS):
        part = flat[a : a + 16 * CHUNK_ROWS]
        buffer[: part.size] = part
        cipher(buffer, part.size // 16)
        part[:] = buffer[: part.size]
    return blocks


def _tokens(array: U8) -> U8:
    if array.dtype != np.uint8 or array.ndim != 2 or array.shape[1] != TOKEN_BYTES:
        raise UsageError("tokens come as an array u8[n, 16]")
    return np.ascontiguousarray(array)


def _words(block: bytes) -> U32:
    return np.frombuffer(block, np.uint32)


def _xor(a: bytes, b: bytes) -> bytes:
    return bytes(x ^ y for x, y in zip(a, b, strict=True))


def _key32(*keys: bytes) -> None:
    if any(len(key) != 32 for key in keys):
        raise UsageError("a key of tokens has 32 bytes")
