"""Which records an export holds: streamed from all runs in one order, a batch at a time, live ones that were chosen.

Rules it keeps:

1. Superseded records, those of the erased and those whose retention has ended are left out, as everywhere.
2. Memory holds one batch, a bit for every entry of the table, and the tokens of persons who were named.
3. The order is that of stored tokens, over all runs: random, and the same for the same snapshot. Run by run, canaries
   that were put after the people would stand at the end of a file, for whoever publishes its beginning to leave out.
   Persons who were named stand run by run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from strongroom.index.dead import blocks_of
from strongroom.index.expiry import cutoff, unexpired_column
from strongroom.index.scan import scan
from strongroom.read.cellcolumns import CellColumns, batches_of
from strongroom.seal.blocks import KIND_RECORDS
from strongroom.seal.columns import Columns, places_among, shapes_of, sort_entries, token_text

if TYPE_CHECKING:
    import pyarrow as pa

    from strongroom.index.finder import Finder
    from strongroom.index.runreader import RunReader
    from strongroom.keymaster.api import Bytes2D, Keymaster
    from strongroom.read.session import Session
    from strongroom.schema.model import Table
    from strongroom.trace.exporting.conditions import Condition

I64 = npt.NDArray[np.int64]

GROUP_BYTES = 8 << 20
BLOCKS_AT_ONCE = 128


@dataclass(frozen=True)
class Batch:
    """Some entries in the order of tokens: those chosen.

    Args:
        readers: Runs.
        entries: Of them, sorted.
        places: Which are chosen, i64[n].
        source: The number of the run that each is from, i64[n].
        shapes: The number of its shape there, u32[n].
        tokens: u8[n,16].
        batches: Batch ids, u8[n,16].
    """

    readers: Sequence[RunReader]
    entries: Columns = field(repr=False)
    places: I64 = field(repr=False)
    source: I64 = field(repr=False)
    shapes: npt.NDArray[np.uint32] = field(repr=False)
    tokens: Bytes2D = field(repr=False)
    batches: Bytes2D = field(repr=False)

    def only(self, here: npt.NDArray[np.bool_]) -> Batch:
        """The same without some of the chosen."""
        parts = (self.places[here], self.source[here], self.shapes[here], self.tokens[here], self.batches[here])
        return Batch(self.readers, self.entries, *parts)

    def opened(self, cells: CellColumns, keys: Mapping[str, Bytes2D]) -> dict[str, pa.Array]:
        """Fields of the chosen, in their order.

        Args:
            cells: Which fields.
            keys: Batch keys by sealed class, u8[n,32].
        """
        import pyarrow as pa

        runs = np.unique(self.source).tolist()
        if len(runs) == 1:
            return cells.opened(self.readers[runs[0]], self.entries, self.places, self.shapes, keys)
        orders = [np.flatnonzero(self.source == run) for run in runs]
        parts = [
            cells.opened(
                self.readers[run], self.entries, self.places[mine], self.shapes[mine],
                {klass: of_class[mine] for klass, of_class in keys.items()},
            )
            for run, mine in zip(runs, orders, strict=True)
        ]  # fmt: skip
        back = pa.array(np.argsort(np.concatenate(orders), kind="stable"))
        return {name: pa.concat_arrays([part[name] for part in parts]).take(back) for name in parts[0]}


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
        masks = [self._masks[reader.entry.object_id] for reader in self._runs]
        for entries, source, positions in self._groups():
            live = self._asked(entries)
            for run in np.unique(source).tolist():
                mine = source == run
                live[mine] &= masks[run][positions[mine]]
            places = np.flatnonzero(live)
            if len(places):
                batch = self._meeting(self._batch(entries, places, source[places]))
                if len(batch.places):
                    yield batch

    def _groups(self) -> Iterator[tuple[Columns, I64, I64]]:
        """Entries with their run and their places in it: all in one order, or run by run those of named persons."""
        if self._named is None:
            for group in scan(self._runs, group_bytes=GROUP_BYTES):
                yield group.columns(), group.source, group.position
            return
        for run, reader in enumerate(self._runs):
            table = reader.tail().table()
            starts = np.concatenate([[0], np.cumsum(table["entries"], dtype=np.int64)])
            numbers = blocks_of(token_text(table["first"]), self._named)
            for at in range(0, len(numbers), BLOCKS_AT_ONCE):
                for number, block in reader.some_blocks(numbers[at : at + BLOCKS_AT_ONCE].tolist()):
                    entries = block.entries()
                    count = len(entries.tokens)
                    yield entries, np.full(count, run, np.int64), starts[number] + np.arange(count, dtype=np.int64)

    def _asked(self, entries: Columns) -> npt.NDArray[np.bool_]:
        """Which entries are of persons that are asked for, bool[n]."""
        if self._named is None:
            return np.ones(len(entries.tokens), np.bool_)
        return is_among(entries.tokens, self._named)

    def _batch(self, entries: Columns, places: I64, source: I64) -> Batch:
        shapes = shapes_of(entries.payload, entries.offsets)[places]
        batches = np.empty((len(places), 16), np.uint8)
        for run in np.unique(source).tolist():
            mine = source == run
            batches[mine] = batches_of(self._runs[run], shapes[mine])
        return Batch(self._runs, entries, places, source, shapes, entries.tokens[places], batches)

    def _meeting(self, batch: Batch) -> Batch:
        """Those that meet the condition and have not expired."""
        if self._looked_at is None:
            return batch
        columns = batch.opened(self._looked_at, {})
        kept = np.ones(len(batch.places), np.bool_)
        if self._cutoff is not None:
            kept &= unexpired_column(columns[self._cutoff[0]], self._cutoff)
        if self._condition is not None:
            kept &= self._condition.chosen(columns)
        return batch.only(kept)


def _sorted(tokens: Bytes2D) -> Bytes2D:
    return np.ascontiguousarray(tokens[sort_entries(tokens)])


def is_among(tokens: Bytes2D, wanted: Bytes2D) -> npt.NDArray[np.bool_]:
    """Which of some tokens u8[n,16] are among others, which are sorted."""
    return places_among(token_text(wanted), token_text(tokens))[1]
