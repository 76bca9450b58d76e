"""Order-free sums of entries: what a merge read, wrote and dropped must add up, whoever computes it.

The sum is that, modulo 2^128, of the first 16 bytes (little-endian) of SHA-256(token | shape | rest of the entry), so
that it does not depend on runs, order or shape numbers. `run_sum` computes it again from what is stored.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from strongroom.errors import IntegrityError
from strongroom.index.runreader import RunReader
from strongroom.index.scan import Group, scan
from strongroom.seal.blocks import KIND_RECORDS
from strongroom.seal.columns import Columns, shapes_of, write_shapes
from strongroom.seal.run import Shape

_SUM_LIMIT = 1 << 128


@dataclass(frozen=True)
class EntrySum:
    """How many entries, and their order-free sum."""

    entries: int = 0
    total: int = 0

    def plus(self, other: EntrySum) -> EntrySum:
        """Both together."""
        return EntrySum(self.entries + other.entries, (self.total + other.total) % _SUM_LIMIT)

    def minus(self, other: EntrySum) -> EntrySum:
        """This without the other."""
        return EntrySum(self.entries - other.entries, (self.total - other.total) % _SUM_LIMIT)

    def hex(self) -> str:
        """The sum as 32 digits."""
        return self.total.to_bytes(16, "big").hex()


def note_name(table: bytes, kind: int, field: bytes | None) -> str:
    """Under which name a snapshot notes the sums of one table, kind and field."""
    return f"{table.hex()[:8]}/{kind}" + ("" if field is None else f"/{field.hex()[:8]}")


def run_sum(reader: RunReader) -> EntrySum:
    """Read a whole run: its number of entries and their order-free sum."""
    shapes = Shapes([reader]) if reader.entry.kind == KIND_RECORDS else None
    total = EntrySum()
    for group in scan([reader]):
        some = entry_sum(group.columns(), shapes.of(group) if shapes is not None else None)
        total = total.plus(EntrySum(len(group.tokens), some))
    return total


def entry_sum(columns: Columns, shapes: Sequence[bytes] | None) -> int:
    """The order-free sum of entries, see rule 4 of this module.

    Args:
        columns: Tokens, payload and offsets.
        shapes: Packed shape of each number (or of each entry, if there are as many as entries and a list is given by
            `Shapes.of`); None for entries without shapes.
    """
    tokens, payload, offsets = columns
    if not len(tokens):
        return 0
    data, keys, ends = payload.tobytes(), tokens.tobytes(), offsets.tolist()
    sha256 = hashlib.sha256
    if shapes is None:
        parts = (
            sha256(keys[16 * i : 16 * i + 16] + data[ends[i] : ends[i + 1]]).digest()[:16] for i in range(len(tokens))
        )
    else:
        names = shapes if isinstance(shapes, PerEntry) else [shapes[s] for s in shapes_of(payload, offsets).tolist()]
        parts = (
            sha256(keys[16 * i : 16 * i + 16] + names[i] + data[ends[i] + 3 : ends[i + 1]]).digest()[:16]
            for i in range(len(tokens))
        )
    limbs = np.frombuffer(b"".join(parts), "<u4").reshape(-1, 4).sum(axis=0, dtype=np.uint64)
    return sum(int(limb) << (32 * place) for place, limb in enumerate(limbs)) % _SUM_LIMIT


class PerEntry(list[bytes]):
    """Packed shapes, one per entry."""


class Shapes:
    """The shape tables of several runs as one."""

    def __init__(self, readers: Sequence[RunReader]) -> None:
        numbers: dict[Shape, int] = {}
        old: list[int] = []
        starts: list[int] = []
        for reader in readers:
            starts.append(len(old))
            old += [numbers.setdefault(shape, len(numbers)) for shape in reader.tail().shapes]
        self.table = tuple(numbers)
        self.packed = [shape.packed() for shape in numbers]
        self._new = np.array(old, np.uint32)
        self._starts = np.array(starts, np.int64)
        self._counts = np.diff(np.array([*starts, len(old)], np.int64))

    def _moved_numbers(self, columns: Columns, source: npt.NDArray[np.int64]) -> npt.NDArray[np.uint32]:
        numbers = shapes_of(columns.payload, columns.offsets).astype(np.int64)
        if (numbers >= self._counts[source]).any():
            raise IntegrityError("an entry names a shape that its run does not have")
        moved: npt.NDArray[np.uint32] = self._new[self._starts[source] + numbers]
        return moved

    def of(self, group: Group) -> PerEntry:
        """The packed shape of each entry of a group."""
        numbers = self._moved_numbers(group.columns(), group.source)
        return PerEntry(self.packed[number] for number in numbers.tolist())

    def moved(self, columns: Columns, source: npt.NDArray[np.int64]) -> Columns:
        """The same entries with shape numbers of the joint table."""
        numbers = self._moved_numbers(columns, source)
        payload = columns.payload.copy()
        write_shapes(payload, columns.offsets, numbers)
        return columns._replace(payload=payload)
