"""Which entries a compaction drops: of the erased, and those whose retention has ended.

Rules it keeps:

1. Only runs older than the newest erasure, or with something past a retention, are looked into; a run found clean is
   remembered as such.
2. Records are judged by the token and batch that they name. Of an index the keymaster says which entries are dead, and
   nothing else of them.
3. A record that expires by a date field is judged by its open column.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from strongroom.catalog.openfile import open_parquet
from strongroom.index.dead import dead_positions
from strongroom.index.expiry import cutoff
from strongroom.index.runreader import RunReader
from strongroom.index.scan import scan
from strongroom.seal.blocks import KIND_OPEN_COLUMNS, KIND_RECORDS

if TYPE_CHECKING:
    from strongroom.catalog.entries import BlockKeys, ObjectEntry
    from strongroom.keymaster.api import Buried, Keymaster, Lease
    from strongroom.schema.model import Field, Table
    from strongroom.store.base import Store

INDEX_ENTRY_BYTES = 44

Bool = npt.NDArray[np.bool_]


@dataclass
class Marks:
    """Run id to which of its entries are dead, and which have expired by a field; clean runs are in neither."""

    dead: dict[bytes, Bool] = field(default_factory=dict)
    expired: dict[bytes, Bool] = field(default_factory=dict)

    def touches(self, run: ObjectEntry) -> bool:
        """Whether something of a run goes."""
        return run.object_id in self.dead or run.object_id in self.expired


@dataclass(frozen=True)
class Purge:
    """Looks into the runs of one compaction.

    Args:
        store: The bucket.
        keymaster: Says what is dead.
        lease: The compaction's.
        block_keys: Opens runs and open columns.
        now: Seconds since 1970.
    """

    store: Store
    keymaster: Keymaster
    lease: Lease
    block_keys: BlockKeys
    now: float

    def marks(
        self,
        table: Table,
        indexed: Field | None,
        runs: list[ObjectEntry],
        beside: dict[bytes, ObjectEntry],
    ) -> Marks:
        """What goes from the runs of a table, or of one of its indexes.

        Args:
            table: The table in force.
            indexed: The indexed field; None for the records.
            runs: Its runs.
            beside: Run id to the entry of its open-columns file.
        """
        found = Marks()
        erasures = self.keymaster.erasures
        old = set(erasures.unclean(self.lease, [run.object_id for run in runs]))
        horizon = self._ask(table, b"\xff" * 16, b"\xff" * 16).horizon
        clean = []
        for run in runs:
            marked = None
            if run.object_id in old or _oldest(run) <= horizon:
                marked = self._of_index(table, indexed, run) if indexed else self._of_records(table, run)
            if marked is not None and marked.any():
                found.dead[run.object_id] = marked
            elif run.object_id in old:
                clean.append(run.object_id)
            if indexed is None and run.object_id in beside:
                past = self.expired(table, beside[run.object_id])
                if past is not None and past.any():
                    found.expired[run.object_id] = past
        if clean:
            erasures.cleaned(self.lease, clean)
        return found

    def _ask(self, table: Table, low: bytes, high: bytes) -> Buried:
        return self.keymaster.erasures.buried(self.lease, table.name, low, high)

    def _reader(self, run: ObjectEntry) -> RunReader:
        return RunReader(self.store, run, self.keymaster.room_id, self.block_keys)

    def _of_records(self, table: Table, run: ObjectEntry) -> Bool:
        assert run.kind == KIND_RECORDS
        marked = np.zeros(run.entries, np.bool_)
        marked[dead_positions(self._reader(run), lambda low, high: self._ask(table, low, high))] = True
        return marked

    def _of_index(self, table: Table, indexed: Field, run: ObjectEntry) -> Bool:
        marked = np.zeros(run.entries, np.bool_)
        for group in scan([self._reader(run)]):
            entries = group.payload.reshape(-1, INDEX_ENTRY_BYTES)
            dead = self.keymaster.erasures.dead_entries(self.lease, table.name, indexed.name, group.tokens, entries)
            marked[group.position] = dead
        return marked

    def expired(self, table: Table, entry: ObjectEntry) -> Bool | None:
        """Which rows of an open-columns file have expired by their table's date field, bool[n]; None without such."""
        limit = cutoff(table, self.now)
        if limit is None:
            return None
        import pyarrow as pa
        import pyarrow.compute as pc

        (key,) = self.block_keys(entry.key_id, KIND_OPEN_COLUMNS, [0], entry.table)
        opened = open_parquet(self.store, entry, key)
        name, day, moment = limit
        if name not in opened.schema_arrow.names:
            return None
        parts = []
        for batch in opened.iter_batches(columns=[name]):
            column = batch.column(0)
            until = pa.scalar(day if pa.types.is_date(column.type) else moment, column.type)
            parts.append(pc.fill_null(pc.less(column, until), False).to_numpy(zero_copy_only=False))
        return np.concatenate(parts) if parts else np.zeros(0, np.bool_)


def _oldest(run: ObjectEntry) -> int:
    """The oldest batch sequence of a run."""
    return min((int.from_bytes(batch[:8], "little") for batch in run.batches), default=0)
