"""Writes sealed texts as tokens of letters and digits, and reads them back: `t1`, then hexadecimal digits.

Rules:

1. A token is `t1` and the lower-case hexadecimal digits of the blocks of its row: 66 characters for a text of up to 15
   bytes, 32 more for each 16 bytes. No token begins another, and none is a number.
2. What reads back is written the same: other letters, an odd length or a missing block make it no token.

What the blocks hold is left to `seal`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from strongroom.schema.columns import OFFSET_32_MAX

if TYPE_CHECKING:
    import pyarrow as pa

MARK = "t1"
BLOCK_CHARACTERS = 32
PIECE_BYTES = 1 << 15  # bytes written or read at once: what they pass through stays in the cache
TOKEN_CHARACTERS_MIN = len(MARK) + 2 * BLOCK_CHARACTERS

_MARK = np.frombuffer(MARK.encode(), np.uint16)[0]
_BLOCK = np.dtype(f"V{BLOCK_CHARACTERS}")

U8 = npt.NDArray[np.uint8]
I64 = npt.NDArray[np.int64]
Bool = npt.NDArray[np.bool_]


def write_tokens(blocks: U8, starts: I64) -> pa.Array:
    """Each row of blocks as a token.

    Args:
        blocks: u8[m, 16].
        starts: i64[n + 1], at which block each row starts and the last ends.

    Returns:
        Strings (large_string beyond 2 GiB), as many as rows.
    """
    rows = len(starts) - 1
    offsets = BLOCK_CHARACTERS * starts + len(MARK) * np.arange(rows + 1)
    out = np.empty(int(offsets[-1]), np.uint8)
    characters = np.empty(2 * blocks.size, np.uint8)
    _hexadecimal(blocks.reshape(-1), characters)
    counts = np.diff(starts)
    if rows and int(counts.min()) == int(counts.max()):
        lines = out.reshape(rows, -1)
        lines[:, : len(MARK)] = np.frombuffer(MARK.encode(), np.uint8)
        lines[:, len(MARK) :] = characters.reshape(rows, -1)
    elif rows:
        _windows(out, np.dtype(np.uint16))[offsets[:-1]] = _MARK
        _windows(out, _BLOCK)[_places(starts, offsets)] = characters.view(_BLOCK)
    return as_strings(out, offsets)


def as_strings(data: U8, offsets: I64) -> pa.Array:
    """Bytes that are UTF-8 as an array: strings, or large_string beyond 2 GiB.

    Args:
        data: u8[m].
        offsets: i64[n + 1], from 0.
    """
    import pyarrow as pa

    wide = int(offsets[-1]) > OFFSET_32_MAX
    bounds = offsets if wide else offsets.astype(np.int32)
    buffers = [None, pa.py_buffer(bounds), pa.py_buffer(data)]
    return pa.Array.from_buffers(pa.large_string() if wide else pa.string(), len(offsets) - 1, buffers)


def read_tokens(column: pa.Array) -> tuple[Bool, U8, I64]:
    """The blocks of the rows that are tokens.

    Args:
        column: Strings without nulls.

    Returns:
        bool[n], which rows are tokens; of these the blocks u8[m, 16], and i64[k + 1], where each row starts and the
        last ends.
    """
    import pyarrow as pa

    wide = pa.types.is_large_string(column.type)
    _, bounds, data = column.buffers()
    rows = len(column)
    nothing = np.zeros(rows, np.bool_), np.empty((0, 16), np.uint8), np.zeros(1, np.int64)
    if not rows or data is None or data.size < TOKEN_CHARACTERS_MIN:
        return nothing
    offsets = np.frombuffer(bounds, np.int64 if wide else np.int32, rows + 1, column.offset * (8 if wide else 4))
    text, first, lengths = np.frombuffer(data, np.uint8), offsets[:-1].astype(np.int64), np.diff(offsets)
    fits = (lengths >= TOKEN_CHARACTERS_MIN) & ((lengths - len(MARK)) % BLOCK_CHARACTERS == 0)
    fits[fits] = _windows(text, np.dtype(np.uint16))[first[fits]] == _MARK
    if not fits.any():
        return nothing
    starts = _starts(lengths[fits] // BLOCK_CHARACTERS)
    characters = _windows(text, _BLOCK)[_places(starts, first[fits])].view(np.uint8)
    blocks = np.empty((len(characters) // BLOCK_CHARACTERS, 16), np.uint8)
    right = _bytes(characters, blocks.reshape(-1))
    if right.all():
        return fits, blocks, starts
    whole = np.logical_and.reduceat(right, starts[:-1])
    kept = np.repeat(whole, np.diff(starts))
    fits[fits] = whole
    return fits, blocks[kept], _starts(np.diff(starts)[whole])


def _places(starts: I64, offsets: I64) -> I64:
    """Where the characters of each block begin, given where each row's text does."""
    counts = np.diff(starts)
    before = offsets[: len(counts)] + len(MARK) - BLOCK_CHARACTERS * starts[:-1]
    return np.repeat(before, counts) + BLOCK_CHARACTERS * np.arange(int(starts[-1]))


def _starts(counts: npt.NDArray[Any]) -> I64:
    starts = np.zeros(len(counts) + 1, np.int64)
    np.cumsum(counts, out=starts[1:])
    return starts


def _windows(data: U8, kind: np.dtype[Any]) -> npt.NDArray[Any]:
    """Every byte position as the start of an item: a view."""
    return np.ndarray((max(data.size - kind.itemsize + 1, 0),), kind, data, strides=(1,))


def _hexadecimal(data: U8, out: U8) -> None:
    """Write two characters for each byte, without a branch or a table: u8[m] into u8[2 m]."""
    for at in range(0, data.size, PIECE_BYTES):
        pairs = data[at : at + PIECE_BYTES].astype(np.uint16)  # little-endian: the first character is the lower byte
        low = pairs << 8
        pairs >>= 4
        pairs |= low
        digits = pairs.view(np.uint8)
        digits &= 0xF
        letter = digits + np.uint8(6)
        letter >>= 4  # 1 for 10 to 15
        letter *= ord("a") - 10 - ord("0")
        digits += letter
        np.add(digits, ord("0"), out=out[2 * at : 2 * (at + PIECE_BYTES)])


def _bytes(characters: U8, out: U8) -> Bool:
    """Write the blocks u8[16 m] of their characters u8[32 m]; bool[m]: whether each is what `_hexadecimal` writes."""
    right, written = np.empty(len(characters) // BLOCK_CHARACTERS, np.bool_), np.empty(2 * PIECE_BYTES, np.uint8)
    for at in range(0, out.size, PIECE_BYTES):
        part, data = characters[2 * at : 2 * (at + PIECE_BYTES)], out[at : at + PIECE_BYTES]
        digits = part >> 6
        digits *= 9
        digits += part
        digits &= 0xF
        pairs = digits.view(np.uint16)
        data[:] = (pairs << 4) | (pairs >> 8)
        again = written[: part.size]
        _hexadecimal(data, again)
        again ^= part
        wrong = again.view(np.uint64).reshape(-1, BLOCK_CHARACTERS // 8)
        block = at // 16
        right[block : block + len(wrong)] = (wrong[:, 0] | wrong[:, 1] | wrong[:, 2] | wrong[:, 3]) == 0
    return right
