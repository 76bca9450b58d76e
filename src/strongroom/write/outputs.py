"""What a put writes: records, indexes, open columns and rejects, collected, sorted and stored.

Rules it keeps:

1. Nothing is named by the room before `commit`; `finish` only stores.
2. Rejected records are sealed under a key of their own, like any other object, and never lie in a plain file.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from strongroom.catalog.collector import CollectorLimits, SortedRuns
from strongroom.catalog.entries import ObjectEntry
from strongroom.catalog.openfile import write_open_file
from strongroom.catalog.runs import RunPlan
from strongroom.schema.rejects import encode
from strongroom.seal.blocks import KIND_INDEX, KIND_RECORDS, KIND_REJECTS, block_key, seal_block
from strongroom.seal.entropy import random_bytes
from strongroom.seal.run import Shape
from strongroom.store.base import object_name

if TYPE_CHECKING:
    import pyarrow as pa

    from strongroom.keymaster.api import FileKey, Keymaster
    from strongroom.schema.model import Table
    from strongroom.schema.rejects import Rejects
    from strongroom.store.base import Store
    from strongroom.write.batch import SealedBatch
    from strongroom.write.kept import Kept

SUITE = 1
ROLE = 0
RECORDS_MEMORY_BYTES = 768 << 20
INDEX_MEMORY_BYTES = 256 << 20
REJECTS_PER_OBJECT = 500_000
COLLECTORS_AT_ONCE = 2


class Outputs:
    """The collectors of one put.

    Args:
        store: The bucket.
        keymaster: Mints file keys.
        kept: The put's lease.
        table: The table put into.
        put_id: Id of the put, 16 B.
        created: Microseconds since 1970 (UTC).
    """

    def __init__(
        self, store: Store, keymaster: Keymaster, kept: Kept, table: Table, put_id: bytes, created: int
    ) -> None:
        self._store = store
        self._keymaster = keymaster
        self._kept = kept
        self._table = table
        self._put_id = put_id
        self._created = created
        self._shapes: list[Shape] = []
        self._rejects: list[Rejects] = []
        self._rejected = 0
        self._stored: list[ObjectEntry] = []
        self._open = contextlib.ExitStack()
        self._records = self._collector(KIND_RECORDS, None, RECORDS_MEMORY_BYTES)
        indexed = [f for f in table.fields if f.find]
        self._indexes = {
            f.name: self._collector(KIND_INDEX, f.id, INDEX_MEMORY_BYTES // max(1, len(indexed))) for f in indexed
        }

    def _collector(self, kind: int, field: bytes | None, memory: int) -> SortedRuns:
        plan = RunPlan(self._keymaster.room_id, self._table.id, kind, self._put_id, self._created, field)
        beside = self._write_beside if kind == KIND_RECORDS and self._table.open_fields else None
        limits = CollectorLimits(memory_bytes=memory)
        return self._open.enter_context(SortedRuns(self._store, plan, self._mint, on_run=beside, limits=limits))

    def _mint(self, kind: int, object_id: bytes) -> FileKey:
        self._kept.tick()  # what was collected may take long to sort and store
        return self._keymaster.mint_file_key(self._kept.lease, kind, object_id, self._table.name)

    def _write_beside(self, run: ObjectEntry, rows: pa.Table) -> ObjectEntry:
        return write_open_file(self._store, self._mint, run, rows)

    def add_shape(self, batch: bytes) -> int:
        """Number of the shape of a batch, in the order batches are handed out."""
        self._shapes.append(Shape(SUITE, ROLE, self._table.version, batch))
        return len(self._shapes) - 1

    def add(self, order: int, sealed: SealedBatch) -> None:
        """Collect a sealed batch; any thread. `order` is its place among the batches of the put."""
        self._records.add(order, sealed.tokens, sealed.payload, sealed.offsets, sealed.open_columns)
        for name, index in sealed.indexes.items():
            count = len(index.tokens)
            offsets = np.arange(count + 1, dtype=np.int64) * index.entries.shape[1]
            self._indexes[name].add(order, index.tokens, index.entries.reshape(-1), offsets)

    def add_rejects(self, rejects: Rejects) -> None:
        """Collect rejected records; a full object of them is sealed and stored at once."""
        self._rejects.append(rejects)
        self._rejected += len(rejects)
        if self._rejected >= REJECTS_PER_OBJECT:
            self._store_rejects()

    def finish(self) -> None:
        """Sort and store everything, durable when this returns."""
        if self._rejects:
            self._store_rejects()
        with self._open:
            batches = [shape.batch for shape in self._shapes]
            jobs = [partial(self._records.finish, self._shapes)]
            jobs += [partial(collector.finish, batches=batches) for collector in self._indexes.values()]
            spilled = self._records.spilled or any(collector.spilled for collector in self._indexes.values())
            # One waits for the disk while the other works. What was spilled comes back into memory: one by one then.
            with ThreadPoolExecutor(1 if spilled else COLLECTORS_AT_ONCE) as pool:
                self._take([pool.submit(job) for job in jobs])

    def _take(self, running: Sequence[Future[list[ObjectEntry]]]) -> None:
        """Keep what each collector stored, also where another failed, so that `discard` finds it."""
        failed: BaseException | None = None
        for future in running:
            try:
                self._stored += future.result()
            except CancelledError:
                continue
            except BaseException as error:  # noqa: BLE001 - it is raised when the others are done
                failed = failed or error
                for other in running:
                    other.cancel()
        if failed is not None:
            raise failed

    def hand_over(self) -> list[ObjectEntry]:
        """What was stored; from here on it is the commit's, and `discard` takes nothing back."""
        stored, self._stored = self._stored, []
        return stored

    def discard(self) -> None:
        """Let go of everything; stored objects are removed, or stay as objects that nothing names."""
        self._open.close()
        for entry in self._stored:
            with contextlib.suppress(Exception):  # the error that led here is the one to tell
                self._store.delete(object_name(entry.object_id))

    def _store_rejects(self) -> None:
        object_id = random_bytes(16)
        file_key = self._mint(KIND_REJECTS, object_id)
        plain = encode(self._rejects)
        key = block_key(file_key.key, KIND_REJECTS, 0)
        sealed = seal_block(key, self._keymaster.room_id, object_id, KIND_REJECTS, 0, plain)
        self._store.put(object_name(object_id), sealed)
        self._stored.append(
            ObjectEntry(
                object_id=object_id,
                kind=KIND_REJECTS,
                table=self._table.id,
                key_id=file_key.key_id,
                length=len(sealed),
                sha256=hashlib.sha256(sealed).digest(),
                entries=self._rejected,
                put_id=self._put_id,
                created=self._created,
            )
        )
        self._rejects, self._rejected = [], 0


