"""Record entries as they stand in a run, taken apart and not opened (docs/FORMAT.md, "Record entry")."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from strongroom.errors import IntegrityError

if TYPE_CHECKING:
    from strongroom.seal.run import Shape

_HEAD_BYTES = 7


class RecordEntry(NamedTuple):
    """One record: which batch and row sealed it, under which table version, and its cells, the open one first."""

    suite: int
    role: int
    version: int
    batch: bytes
    ordinal: int
    cells: tuple[bytes, ...]

    @property
    def sequence(self) -> int:
        """Batch sequence number: the first 8 bytes of the batch id."""
        return int.from_bytes(self.batch[:8], "little")


def parse_record(entry: bytes, shapes: Sequence[Shape], cells_of: Callable[[int], int]) -> RecordEntry:
    """Take an entry apart.

    Args:
        entry: The payload of a records run under one token.
        shapes: Shape table of the run.
        cells_of: Table version to its number of cells.

    Raises:
        IntegrityError: The lengths in the entry do not add up, or it names a shape that the run lacks.
    """
    number = int.from_bytes(entry[:3], "little")
    if len(entry) < _HEAD_BYTES or number >= len(shapes):
        raise IntegrityError("a record entry has no valid header")
    shape = shapes[number]
    at, lengths = _HEAD_BYTES, []
    try:
        for _ in range(cells_of(shape.version)):
            length = shift = 0
            while True:
                byte = entry[at]
                at += 1
                length |= (byte & 0x7F) << shift
                if byte < 0x80:
                    break
                shift += 7
            lengths.append(length)
    except IndexError:
        raise IntegrityError("a record entry is cut short") from None
    cells = []
    for length in lengths:
        cells.append(entry[at : at + length])
        at += length
    if at != len(entry):
        raise IntegrityError("the lengths in a record entry do not add up")
    return RecordEntry(*shape, int.from_bytes(entry[3:7], "little"), tuple(cells))
