"""Writes sealed texts as tokens of letters and digits, and reads them back: `t1`, then hexadecimal digits.

Rules:

1. A token is `t1` and the lower-case hexadecimal digits of the blocks of its row: 66 characters for a text of up to 15
   bytes, 32 more for each 16 bytes. No token begins another, and none is a number.
2. What reads back is written the same, but for the case of letters: another letter or length makes it no token.
3. Many rows are done by compiled kernels, few by Python. Both give the same.

What the blocks hold is left to `seal`.
"""

from __future__ import annotations

import re
import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from strongroom.schema.columns import OFFSET_32_MAX

if TYPE_CHECKING:
    import pyarrow as pa

MARK = "t1"
BLOCK_CHARACTERS = 32
FEW_ROWS = 64
KERNEL_ROWS_MIN = 500_000  # from here on the import of numba is paid back, where nothing else pays for it

_LANES = f"{__package__}._token_lanes"
_TOKEN = re.compile(rf"{MARK}(?:[0-9a-f]{{{BLOCK_CHARACTERS}}}){{2,}}")
_MARK = np.frombuffer(MARK.encode(), np.uint16)[0]

U8 = npt.NDArray[np.uint8]
I64 = npt.NDArray[np.int64]
Bool = npt.NDArray[np.bool_]


def lanes() -> ModuleType:
    """The compiled kernels; the first call imports numba."""
    return import_module(_LANES)


def write_tokens(blocks: U8, starts: I64) -> pa.Array:
    """Each row of blocks as a token.

    Args:
        blocks: u8[m, 16].
        starts: i64[n + 1], at which block each row starts and the last ends.

    Returns:
        Strings (large_string beyond 2 GiB), as many as rows.
    """
    import pyarrow as pa

    rows = len(starts) - 1
    if not _in_columns(rows):
        data, ends = np.ascontiguousarray(blocks).tobytes(), (16 * starts).tolist()
        return pa.array([MARK + data[ends[i] : ends[i + 1]].hex() for i in range(rows)], pa.string())
    offsets = BLOCK_CHARACTERS * starts + len(MARK) * np.arange(rows + 1)
    out = np.empty(int(offsets[-1]), np.uint8)
    lanes().write(np.ascontiguousarray(blocks), starts, _MARK, offsets, out)
    return as_strings(out, offsets)


def read_tokens(column: pa.Array) -> tuple[Bool, U8, I64]:
    """The blocks of the rows that are tokens.

    Args:
        column: Strings without nulls.

    Returns:
        bool[n], which rows are tokens; of these the blocks u8[m, 16], and i64[k + 1], where each row starts and the
        last ends.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    lengths = np.asarray(pc.binary_length(column))
    fits = (lengths >= len(MARK) + 2 * BLOCK_CHARACTERS) & ((lengths - len(MARK)) % BLOCK_CHARACTERS == 0)
    if not fits.all():
        column, lengths = column.filter(pa.array(fits)), lengths[fits]
    column = pc.ascii_lower(column)
    if not _in_columns(len(column)):
        texts = column.to_pylist()
        right = np.array([_TOKEN.fullmatch(text) is not None for text in texts], np.bool_)
        found = [bytes.fromhex(text[len(MARK) :]) for text, fit in zip(texts, right, strict=True) if fit]
        blocks, starts = np.frombuffer(b"".join(found), np.uint8).reshape(-1, 16), _starts(lengths[right])
    else:
        text, offsets = _buffers(column)
        starts, right = _starts(lengths), np.empty(len(column), np.bool_)
        blocks = np.empty((int(starts[-1]), 16), np.uint8)
        lanes().read(text, offsets[:-1], _MARK, starts, blocks, right)
        if not right.all():
            counts = np.diff(starts)
            blocks, starts = blocks[np.repeat(right, counts)], _starts(lengths[right])
    fits[fits] = right
    return fits, blocks, starts


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


def _in_columns(rows: int) -> bool:
    return rows >= KERNEL_ROWS_MIN or (rows > FEW_ROWS and _LANES in sys.modules)


def _buffers(column: pa.Array) -> tuple[U8, I64]:
    import pyarrow as pa

    wide = pa.types.is_large_string(column.type)
    _, bounds, data = column.buffers()
    kind, size = (np.int64, 8) if wide else (np.int32, 4)
    offsets = np.frombuffer(bounds, kind, len(column) + 1, column.offset * size).astype(np.int64)
    return np.empty(0, np.uint8) if data is None or not data.size else np.frombuffer(data, np.uint8), offsets


def _starts(lengths: npt.NDArray[Any]) -> I64:
    """At which block each token of so many characters starts, and the last ends."""
    starts = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths // BLOCK_CHARACTERS, out=starts[1:])
    return starts
