"""Parses record entries: what lies under a subject token in a records run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from strongroom.errors import IntegrityError
from strongroom.seal.columns import I64, U8
from strongroom.seal.run import Shape
from strongroom.seal.scatter import use_kernels

_HEADER = 7
_LENGTH_BYTES_MAX = 5
LANES_FROM = 1024
"""Entries from which the compiled loop is faster, once compiled loops are loaded at all."""


class RecordEntry(NamedTuple):
    """One record of one subject, sealed.

    Attributes:
        suite: How its cells are sealed.
        role: Reserved, 0.
        version: Schema version of the table it was sealed under.
        batch: Batch id, 16 B.
        ordinal: Its row in the batch.
        cells: The open cell, then one cell per sealed class in schema order of that version; b"" where all is null.
    """

    suite: int
    role: int
    version: int
    batch: bytes
    ordinal: int
    cells: tuple[bytes, ...]

    @property
    def sequence(self) -> int:
        """The sequence number in the batch id."""
        return int.from_bytes(self.batch[:8], "little")


def parse_record(payload: bytes, shapes: Sequence[Shape], cells_of: Callable[[int], int]) -> RecordEntry:
    """Parse the payload of one entry.

    Args:
        payload: shape u24 | row ordinal u32 | LEB128 length of each cell | cells.
        shapes: The run's shape table.
        cells_of: Gives the number of cells (1 + sealed classes) of a schema version.

    Raises:
        IntegrityError: It is not exactly such an entry.
    """
    size = len(payload)
    if size < _HEADER:
        raise IntegrityError("a record entry is shorter than its header")
    number = payload[0] | payload[1] << 8 | payload[2] << 16
    if number >= len(shapes):
        raise IntegrityError("a record entry names a shape that its run does not have")
    suite, role, version, batch = shapes[number]
    at = _HEADER
    lengths = []
    try:
        for _ in range(cells_of(version)):
            length = payload[at]
            at += 1
            if length >= 0x80:
                length, at = _long(payload, at, length)
            lengths.append(length)
    except IndexError:
        raise IntegrityError("a record entry ends within its lengths") from None
    cells = []
    for length in lengths:
        cells.append(payload[at : at + length])
        at += length
    if at != size:
        raise IntegrityError("the lengths of a record entry do not add up")
    return RecordEntry(suite, role, version, batch, int.from_bytes(payload[3:7], "little"), tuple(cells))


def locate_cells(payload: U8, offsets: I64, places: I64, cells: int) -> tuple[I64, I64]:
    """Where the cells of many entries lie.

    Args:
        payload: u8[m], entries behind each other.
        offsets: i64[n+1], where each starts and the last ends.
        places: Which entries, i64[k]; all have as many cells.
        cells: How many cells an entry has.

    Returns:
        Starts in the payload and lengths, i64[cells,k] each.

    Raises:
        IntegrityError: One is not exactly such an entry.
    """
    if len(places) >= LANES_FROM and use_kernels(len(places)):
        return _in_lanes(payload, offsets, places, cells)
    at, ends = offsets[places] + _HEADER, offsets[places + 1]
    lengths = np.zeros((cells, len(places)), np.int64)
    for row in lengths:
        more = np.arange(len(places))
        for shift in range(0, 7 * _LENGTH_BYTES_MAX, 7):
            if (at[more] >= ends[more]).any():
                raise IntegrityError("a record entry ends within its lengths")
            byte = payload[at[more]].astype(np.int64)
            if shift and not byte.all():
                break  # a longer form of a shorter number: nobody writes it
            row[more] |= (byte & 0x7F) << shift
            at[more] += 1
            more = more[byte >= 0x80]
            if not more.size:
                break
        if more.size:
            raise IntegrityError("a record entry has a length that is none")
    if (at + lengths.sum(axis=0) != ends).any():
        raise IntegrityError("the lengths of a record entry do not add up")
    return at + np.cumsum(lengths, axis=0) - lengths, lengths


def _in_lanes(payload: U8, offsets: I64, places: I64, cells: int) -> tuple[I64, I64]:
    from strongroom.index import _record_lanes as lanes

    starts, lengths = np.empty((cells, len(places)), np.int64), np.empty((cells, len(places)), np.int64)
    held, ends, rows = (np.ascontiguousarray(array) for array in (payload, offsets, places))
    wrong = lanes.locate(held, ends, rows, _HEADER, _LENGTH_BYTES_MAX, starts, lengths)
    if wrong:
        raise IntegrityError({
            lanes.WITHIN: "a record entry ends within its lengths",
            lanes.NO_LENGTH: "a record entry has a length that is none",
            lanes.NO_SUM: "the lengths of a record entry do not add up",
        }[wrong])  # fmt: skip
    return starts, lengths


def _long(payload: bytes, at: int, first: int) -> tuple[int, int]:
    """A LEB128 number of two or more bytes, of which the first is read: number and next position."""
    value = first & 0x7F
    for shift in range(7, 7 * _LENGTH_BYTES_MAX, 7):
        byte = payload[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if not byte:
                break  # a longer form of a shorter number: nobody writes it
            return value, at
    raise IntegrityError("a record entry has a length that is none")
