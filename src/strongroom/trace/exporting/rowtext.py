"""Joins columns of text into rows of text: with what stands before and after each value, and instead of nothing.

Few rows are joined by Arrow, many by a compiled loop over rows; both give the same bytes.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import pyarrow as pa

U8 = npt.NDArray[np.uint8]
I64 = npt.NDArray[np.int64]
LANES_FROM = 4096
"""Rows from which loading the compiled loop pays."""


@dataclass(frozen=True)
class Piece:
    """One column of a row's text.

    Args:
        texts: Its values as string or large_string.
        before: What stands before a value.
        after: What stands after it.
        null: What stands instead of all three where there is no value.
        counted: Whether a value's length in bytes, decimal, and a colon stand right before it.
    """

    texts: pa.Array = field(repr=False)
    before: str = ""
    after: str = ""
    null: str = ""
    counted: bool = False

    def slice(self, start: int, rows: int) -> Piece:
        """Some of its rows."""
        return replace(self, texts=self.texts.slice(start, rows))


def joined(pieces: list[Piece], least: int = LANES_FROM) -> tuple[U8, I64]:
    """The text of every row.

    Args:
        pieces: Its columns, of one length.
        least: Rows from which the compiled loop is used.

    Returns:
        UTF-8, u8[m], one row behind the other, and where each starts and the last ends, i64[n + 1].
    """
    rows = len(pieces[0].texts) if pieces else 0
    if not rows:
        return np.empty(0, np.uint8), np.zeros(1, np.int64)
    return _by_arrow(pieces) if rows < least else _in_lanes(pieces, rows)


def _by_arrow(pieces: list[Piece]) -> tuple[U8, I64]:
    import pyarrow as pa
    import pyarrow.compute as pc

    wide = pa.large_string()
    parts: list[Any] = []
    for piece in pieces:
        text = piece.texts.cast(wide)
        count = [pc.binary_length(text).cast(wide), pa.scalar(":", wide)] if piece.counted else []
        before, after, nothing = (pa.scalar(mark, wide) for mark in (piece.before, piece.after, ""))
        parts.append(pc.fill_null(pc.binary_join_element_wise(before, *count, text, after, nothing), piece.null))
    whole = pc.binary_join_element_wise(*parts, pa.scalar("", wide))
    data = whole.buffers()[2]
    return np.empty(0, np.uint8) if data is None else np.frombuffer(data, np.uint8), _ends(whole)


def _in_lanes(pieces: list[Piece], rows: int) -> tuple[U8, I64]:
    import pyarrow as pa

    from strongroom.schema._memory_lanes import SLACK_BYTES
    from strongroom.trace.exporting import _rowtext_lanes as lanes

    columns = np.zeros((len(pieces), lanes.PARTS), np.int64)
    alive: list[Any] = []  # what the addresses are of
    for column, piece in zip(columns, pieces, strict=True):
        text = piece.texts.cast(pa.large_string())
        valid, ends, data = text.buffers()
        column[lanes.DATA] = 0 if data is None else data.address
        column[lanes.OFFSETS] = ends.address + 8 * text.offset
        column[lanes.VALID] = valid.address if text.null_count else 0
        column[lanes.BIT] = text.offset
        column[lanes.COUNTED] = piece.counted
        for at, mark in ((lanes.BEFORE, piece.before), (lanes.AFTER, piece.after), (lanes.NULL, piece.null)):
            short = mark.encode()
            padded = np.frombuffer(short + bytes(8), np.uint8)
            column[at : at + 2] = padded.ctypes.data, len(short)
            alive.append(padded)
        alive.append(text)
    ends = np.empty(rows + 1, np.int64)
    lanes.measure(columns, ends)
    out = np.empty(int(ends[-1]) + SLACK_BYTES, np.uint8)
    lanes.write(columns, rows, out.ctypes.data)
    del alive
    return out[: int(ends[-1])], ends


def _ends(texts: pa.Array) -> I64:
    """Offsets of a large_string column, i64[n + 1]."""
    return np.frombuffer(texts.buffers()[1], np.int64)[texts.offset : texts.offset + len(texts) + 1]
