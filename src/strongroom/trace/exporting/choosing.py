"""Which records an export holds: streamed run by run, a batch of entries at a time, live ones that were chosen.

Rules it keeps:

1. Superseded records, those of the erased and those whose retention has ended are left out, as everywhere.
2. Memory holds one batch, a bit for every entry of the table, and the tokens of persons who were named.
3. The order is that of stored tokens: random, and the same for the same snapshot.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from strongroom.index.dead import blocks_of
from strongroom.index.expiry import cutoff, unexpired_column
from strongroom.index.scan import scan
from strongroom.read.cellcolumns import CellColumns, batches_of
from strongroom.seal.blocks import KIND_RECORDS
from strongroom.seal.columns import Columns, shapes_of, token_words

if TYPE_CHECKING:
    from strongroom.index.finder import Finder
    from strongroom.index.runreader import RunReader
    from strongroom.keymaster.api import Bytes2D, Keymaster
    from strongroom.read.session import Session
    from strongroom.schema.model import Table
    from strongroom.trace.exporting.conditions import Condition

GROUP_BYTES = 8 << 20
BLOCKS_AT_ONCE = 128


@dataclass(frozen=True)
class Batch:
    """Some entries of a run: `places` are those chosen of `entries`, each with its shape and batch id."""

    reader: RunReader
    entries: Columns = field(repr=False)
    places: npt.NDArray[np.int64] = field(repr=False)
    shapes: npt.NDArray[np.uint32] = field(repr=False)
    tokens: Bytes2D = field(repr=False)
    batches: Bytes2D = field(repr=False)

    def only(self, here: npt.NDArray[np.bool_]) -> Batch:
        """The same without some of the chosen."""
        parts = (self.places[here], self.shapes[here], self.tokens[here], self.batches[here])
        return Batch(self.reader, self.entries, *parts)


class Chosen:
    """The records of one table that an export holds.

    Args:
        session: The room's bucket and keymaster.
        finder: Look-ups in the snapshot that is read.
        reading_id: The reading.
        table: The table in force.
        condition: On open fields of it; None for all records.
        named: Tokens of the persons that are asked for, u8[n,16]; None for all.
    """

    def __init__(
        self,
        session: Session,
        finder: Finder,
        reading_id: bytes,
        table: Table,
        condition: Condition | None = None,
        named: Bytes2D | None = None,
    ) -> None:
        self.table = table
        self._keymaster: Keymaster = session.keymaster
        self._runs = finder.runs(table.id, KIND_RECORDS)
        self._masks = finder.live_masks(table, session.graves_of(reading_id, table))
        self._condition = condition
        self._cutoff = cutoff(table, session.now())
        self._named = None if named is None else _sorted(named)
        names = dict.fromkeys(() if condition is None else condition.fields)
        names |= {} if self._cutoff is None else {self._cutoff[0]: None}
        self._looked_at = CellColumns(self._keymaster, table, list(names)) if names else None

    @property
    def records(self) -> int:
        """How many live records the table has: at most so many are chosen."""
        return sum(int(mask.sum()) for mask in self._masks.values())

    def batches(self) -> Iterator[Batch]:
        """The chosen records, as often as it is asked."""
        for reader in self._runs:
            live = self._masks[reader.entry.object_id]
            for entries, positions in self._groups(reader):
                places = np.flatnonzero(live[positions] & self._asked(entries))
                if len(places):
                    batch = self._meeting(self._batch(reader, entries, places))
                    if len(batch.places):
                        yield batch

    def _groups(self, reader: RunReader) -> Iterator[tuple[Columns, npt.NDArray[np.int64]]]:
        """Entries of a run with their places in it: all, or those of blocks that can hold a named person."""
        if self._named is None:
            for group in scan([reader], group_bytes=GROUP_BYTES):
                yield group.columns(), group.position
            return
        table = reader.tail().table()
        starts = np.concatenate([[0], np.cumsum(table["entries"], dtype=np.int64)])
        numbers = blocks_of(np.ascontiguousarray(table["first"]).view("S16").reshape(-1), self._named)
        for at in range(0, len(numbers), BLOCKS_AT_ONCE):
            for number, block in reader.some_blocks(numbers[at : at + BLOCKS_AT_ONCE].tolist()):
                entries = block.entries()
                yield entries, starts[number] + np.arange(len(entries.tokens), dtype=np.int64)

    def _asked(self, entries: Columns) -> npt.NDArray[np.bool_]:
        """Which entries are of persons that are asked for, bool[n]."""
        if self._named is None:
            return np.ones(len(entries.tokens), np.bool_)
        return is_among(entries.tokens, self._named)

    def _batch(self, reader: RunReader, entries: Columns, places: npt.NDArray[np.int64]) -> Batch:
        shapes = shapes_of(entries.payload, entries.offsets)[places]
        return Batch(reader, entries, places, shapes, entries.tokens[places], batches_of(reader, shapes))

    def _meeting(self, batch: Batch) -> Batch:
        """Those that meet the condition and have not expired."""
        if self._looked_at is None:
            return batch
        columns = self._looked_at.opened(batch.reader, batch.entries, batch.places, batch.shapes, {})
        kept = np.ones(len(batch.places), np.bool_)
        if self._cutoff is not None:
            kept &= unexpired_column(columns[self._cutoff[0]], self._cutoff)
        if self._condition is not None:
            kept &= self._condition.chosen(columns)
        return batch.only(kept)


def _sorted(tokens: Bytes2D) -> Bytes2D:
    words = token_words(tokens)
    return np.ascontiguousarray(tokens[np.lexsort((words[:, 1], words[:, 0]))])


def is_among(tokens: Bytes2D, wanted: Bytes2D) -> npt.NDArray[np.bool_]:
    """Which of some tokens u8[n,16] are among others, which are sorted."""
    if not len(wanted):
        return np.zeros(len(tokens), np.bool_)
    # 16 bytes as text compare like the bytes: ends of zeros are stripped from both sides alike
    own, given = (np.ascontiguousarray(one).view("S16")[:, 0] for one in (wanted, tokens))
    at = np.minimum(np.searchsorted(own, given), len(own) - 1)
    found: npt.NDArray[np.bool_] = own[at] == given
    return found
