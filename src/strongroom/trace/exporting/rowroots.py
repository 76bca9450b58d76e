"""The Merkle root over the rows of an export, in the order of its files, whatever form they are written in.

Source: RFC 6962, 2.1 (hashes, tree). The data of a leaf is its row's values in the order of the file's columns, each a
netstring (length in decimal | `:` | UTF-8 text | `,`), null as `-,`; before them the netstring of the table's name.
Dates are days and times microseconds since 1970, in decimal; other numbers are as Arrow writes them, bytes hex.

Memory is 32 bytes for every PART_ROWS rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from strongroom.audit.tlog import tree_root
from strongroom.seal.sha import LEAF, digests, root_over
from strongroom.trace.exporting.rowtext import Piece, joined

if TYPE_CHECKING:
    import pyarrow as pa

U8 = npt.NDArray[np.uint8]
I64 = npt.NDArray[np.int64]
PART_ROWS = 65_536


class RowRoot:
    """Takes rows in order, gives the root over all of them."""

    def __init__(self) -> None:
        self._left: list[U8] = []
        self._held = 0
        self._parts: list[bytes] = []
        self.rows = 0

    def add(self, table: str, columns: list[pa.Array]) -> None:
        """Take rows.

        Args:
            table: Name of the table.
            columns: Their columns, of one length.
        """
        data, offsets = row_data(table, columns)
        leaves = digests(LEAF, data, offsets)
        self._left.append(leaves)
        self._held += len(leaves)
        self.rows += len(leaves)
        if self._held < PART_ROWS:
            return
        held = np.concatenate(self._left)
        whole = self._held // PART_ROWS * PART_ROWS
        self._parts += [root_over(held[at : at + PART_ROWS]) for at in range(0, whole, PART_ROWS)]
        self._left, self._held = [held[whole:]], self._held - whole

    def root(self) -> bytes:
        """32 B; of no rows that of the empty tree."""
        return tree_root([*self._parts, root_over(np.concatenate(self._left))] if self._held else self._parts)


def row_data(table: str, columns: list[pa.Array]) -> tuple[U8, I64]:
    """The data of leaves one behind the other, u8[m], and where each begins and the last ends, i64[n + 1]."""
    name = f"{len(table.encode())}:{table},"
    pieces = []
    for at, column in enumerate(columns):
        first = "" if at else name
        pieces.append(Piece(as_text(_numbered(column)), first, ",", f"{first}-,", counted=True))
    return joined(pieces)


def _numbered(column: pa.Array) -> pa.Array:
    """Dates and times as whole numbers: written faster, and without a choice of form."""
    import pyarrow as pa

    if pa.types.is_date32(column.type):
        return column.cast(pa.int32())
    return column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column


def as_text(column: pa.Array) -> pa.Array:
    """A column's values as text, bytes as hex; nulls stay."""
    import pyarrow as pa

    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_timestamp(column.type) and column.type.tz is not None:
        column = column.cast(pa.timestamp(column.type.unit))
    if pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type):
        return _hex(column)
    return column if pa.types.is_string(column.type) or pa.types.is_large_string(column.type) else column.cast("string")


def _hex(column: pa.Array) -> pa.Array:
    import pyarrow as pa

    wide = column.cast(pa.large_binary())
    offsets = np.frombuffer(wide.buffers()[1], np.int64)[wide.offset : wide.offset + len(wide) + 1]
    data = wide.buffers()[2]
    digits = b"" if data is None else data.to_pybytes().hex().encode()
    mask = wide.is_valid().to_numpy(zero_copy_only=False)
    bits = pa.array(mask).buffers()[1] if not mask.all() else None
    ends = pa.py_buffer((offsets * 2).astype(np.int64))
    return pa.LargeStringArray.from_buffers(len(wide), ends, pa.py_buffer(digits), bits)
