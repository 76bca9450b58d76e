"""Parses record entries: what lies under a subject token in a records run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from strongroom.errors import IntegrityError
from strongroom.seal.run import Shape

_HEADER = 7
_LENGTH_BYTES_MAX = 5


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
