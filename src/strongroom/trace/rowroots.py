"""The Merkle root over the rows of an export, in the order of its files, whatever form they are written in.

Source: RFC 6962, 2.1 (hashes, tree). The data of a leaf is its row's values in the order of the file's columns, each a
netstring (length in decimal | `:` | UTF-8 text | `,`), null as `-,`; before them the netstring of the table's name.
Dates are days and times microseconds since 1970, in decimal; other numbers are as Arrow writes them, bytes hex.

Memory is 32 bytes for every PART_ROWS rows.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np

from strongroom.audit.tlog import tree_root

if TYPE_CHECKING:
    import pyarrow as pa

PART_ROWS = 4096


class RowRoot:
    """Takes rows in order, gives the root over all of them."""

    def __init__(self) -> None:
        self._left: list[bytes] = []
        self._parts: list[bytes] = []
        self.rows = 0

    def add(self, table: str, columns: list[pa.Array]) -> None:
        """Take rows.

        Args:
            table: Name of the table.
            columns: Their columns, of one length.
        """
        data, ends = row_data(table, columns)
        sha256, start = hashlib.sha256, 0
        leaves = []
        for end in ends:
            leaves.append(sha256(b"\0" + data[start:end]).digest())
            start = end
        self.rows += len(leaves)
        self._left += leaves
        while len(self._left) >= PART_ROWS:
            self._parts.append(_root(self._left[:PART_ROWS]))
            del self._left[:PART_ROWS]

    def root(self) -> bytes:
        """32 B; of no rows that of the empty tree."""
        return tree_root([*self._parts, _root(self._left)] if self._left else self._parts)


def _root(hashes: list[bytes]) -> bytes:
    """Root over the hashes of leaves."""
    level, sha256 = b"".join(hashes), hashlib.sha256
    while len(level) > 32:
        whole = len(level) // 64 * 64
        level = b"".join([*[sha256(b"\1" + level[i : i + 64]).digest() for i in range(0, whole, 64)], level[whole:]])
    return level


def row_data(table: str, columns: list[pa.Array]) -> tuple[bytes, list[int]]:
    """The data of leaves one behind the other, and where each ends."""
    import pyarrow as pa
    import pyarrow.compute as pc

    name = f"{len(table.encode())}:{table},"
    if not columns or not len(columns[0]):
        return b"", []
    wide = pa.large_string()
    colon, comma, nothing = (pa.scalar(mark, wide) for mark in (":", ",", ""))
    pieces: list[Any] = [pa.scalar(name, wide)]
    for column in columns:
        text = as_text(_numbered(column)).cast(wide)
        lengths = pc.binary_length(text).cast(wide)
        pieces += [pc.fill_null(pc.binary_join_element_wise(lengths, text, colon), "-"), comma]
    joined = pc.binary_join_element_wise(*pieces, nothing)
    offsets = np.frombuffer(joined.buffers()[1], np.int64)[joined.offset : joined.offset + len(joined) + 1]
    data = joined.buffers()[2]
    whole = b"" if data is None else data.to_pybytes()[int(offsets[0]) : int(offsets[-1])]
    return whole, (offsets[1:] - offsets[0]).tolist()


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
