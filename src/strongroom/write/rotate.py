"""Write objects anew under new keys: the runs of an index under a new outer key, and old runs under new file keys.

Rules it keeps:

1. No cell is opened, and nobody's secret is needed: index entries go through the keymaster, cells move byte for byte.
2. Look-ups go on: a snapshot has one outer key for a field, and one commit switches from the runs before to the new.
3. What others commit meanwhile is rotated too before the switch; while a put under way has indexed the field, the
   switch is refused.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from strongroom.catalog.catalog import Catalog
from strongroom.catalog.leasekeys import lease_block_keys
from strongroom.catalog.runs import RunPlan, store_run
from strongroom.errors import ConflictError, IntegrityError, UsageError
from strongroom.index.finder import INDEX_ENTRY_BYTES
from strongroom.index.merge import MergeInput, merge
from strongroom.index.runreader import RunReader
from strongroom.index.scan import scan
from strongroom.seal.blocks import KIND_INDEX, KIND_OPEN_COLUMNS, KIND_RECORDS
from strongroom.seal.columns import Columns, sort_entries
from strongroom.seal.entropy import random_bytes
from strongroom.write.commit import Change, commit_change

if TYPE_CHECKING:
    from strongroom.catalog.entries import BlockKeys, ObjectEntry
    from strongroom.keymaster.api import FileKey, Keymaster, Lease
    from strongroom.schema.model import Field, Table
    from strongroom.store.base import Store

TRIES_MAX = 8


@dataclass
class RotateReport:
    """What a rotation wrote: runs, their entries, the snapshot; `left` counts runs that a further call rewrites."""

    what: str
    runs: int = 0
    entries: int = 0
    left: int = 0
    snapshot: int = 0

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def rotate_index(
    store: Store,
    keymaster: Keymaster,
    actor: str,
    table: str,
    field: str,
    *,
    now: Callable[[], float] = time.time,
) -> RotateReport:
    """Give the index of a field a new outer key; see `Room.rotate_index`."""
    lease = keymaster.begin_maintenance(actor=actor, verb="rotate")
    try:
        model = keymaster.schema().table(table)
        work = _Index(store, keymaster, lease, model, model.field(field), lease_block_keys(keymaster, lease), now)
        return work.run()
    except BaseException:
        keymaster.abandon(lease)
        raise


@dataclass(frozen=True)
class _Index:
    """One rotation of an index."""

    store: Store
    keymaster: Keymaster
    lease: Lease
    table: Table
    field: Field
    block_keys: BlockKeys
    now: Callable[[], float]

    def run(self) -> RotateReport:
        if not self.field.find:
            raise UsageError(f"field {self.field.name} of table {self.table.name} has no index")
        done: dict[bytes, ObjectEntry] = {}
        for _ in range(TRIES_MAX):
            head = self.keymaster.head()
            catalog = Catalog(self.store, self.keymaster.room_id, head, self.block_keys)
            runs = catalog.objects(self.table.id, KIND_INDEX, self.field.id)
            for run in runs:
                if run.object_id not in done:
                    done[run.object_id] = self._rotated(run)
            entries = sum(run.entries for run in runs)
            if not runs:
                self.keymaster.abandon(self.lease)
                return RotateReport("index", snapshot=head.number)
            counts = {"rotated": len(runs), "entries": entries}
            added = [(done[run.object_id], run.commit) for run in runs]
            change = Change(added=added, removed=runs, counts=counts, notes={"act": "rotate", **counts})
            try:
                committed = commit_change(self.store, self.keymaster, self.lease, change, self.now, base=head)
            except ConflictError:
                if self.keymaster.head() == head:
                    raise  # a put under way, or the lease
                continue
            return RotateReport("index", len(runs), entries, 0, committed.head.number)
        raise ConflictError("others committed first, again and again", hint="try again when fewer are putting at once")

    def _rotated(self, run: ObjectEntry) -> ObjectEntry:
        """The run written anew: a run holds at most some 1.5 million entries of 60 bytes, which are sorted at once."""
        reader = RunReader(self.store, run, self.keymaster.room_id, self.block_keys)
        tokens, entries = [], []
        for group in scan([reader]):
            if len(group.payload) != INDEX_ENTRY_BYTES * len(group.tokens):
                raise IntegrityError("an index run has an entry of another length")
            sealed = group.payload.reshape(-1, INDEX_ENTRY_BYTES)
            new = self.keymaster.rotate_index(self.lease, self.table.name, self.field.name, group.tokens, sealed)
            tokens.append(new[0])
            entries.append(new[1])
            self.keymaster.renew(self.lease)
        together = np.concatenate(tokens)
        order = sort_entries(together)
        offsets = np.arange(len(order) + 1, dtype=np.int64) * INDEX_ENTRY_BYTES
        columns = Columns(together[order], np.concatenate(entries)[order].reshape(-1), offsets)
        object_id = random_bytes(16)
        key = self.keymaster.mint_file_key(self.lease, KIND_INDEX, object_id, self.table.name)
        created = int(self.now() * 1e6)
        plan = RunPlan(self.keymaster.room_id, self.table.id, KIND_INDEX, random_bytes(16), created, self.field.id)
        return store_run(self.store, plan, object_id, key, [columns], batches=run.batches)


def rotate_files(
    store: Store,
    keymaster: Keymaster,
    actor: str,
    *,
    older_seconds: float,
    most: int,
    now: Callable[[], float] = time.time,
) -> RotateReport:
    """Write runs that are older than a time anew, each under a new file key; see `Room.rotate_files`."""
    lease = keymaster.begin_maintenance(actor=actor, verb="rotate")
    try:
        block_keys = lease_block_keys(keymaster, lease)
        head = keymaster.head()
        catalog = Catalog(store, keymaster.room_id, head, block_keys)
        before, put_id, created = (now() - older_seconds) * 1e6, random_bytes(16), int(now() * 1e6)
        added: list[tuple[ObjectEntry, int | None]] = []
        removed: list[ObjectEntry] = []
        report = RotateReport("file", snapshot=head.number)
        for table in keymaster.schema().tables.values():
            beside = {e.open_of: e for e in catalog.objects(table.id, KIND_OPEN_COLUMNS) if e.open_of is not None}
            for kind, field in ((KIND_RECORDS, None), *((KIND_INDEX, f.id) for f in table.fields if f.find)):
                for run in catalog.objects(table.id, kind, field):
                    if run.created >= before:
                        continue
                    if report.runs == most:
                        report.left += 1
                        continue
                    given = MergeInput(store, keymaster.room_id, [run], beside, block_keys)
                    plan = RunPlan(keymaster.room_id, table.id, kind, put_id, created, field)
                    written = merge(given, plan, _minter(keymaster, lease, table.name), newest_only=False)
                    added += [(entry, entry.commit) for entry in written.entries]
                    removed += [run, *([beside[run.object_id]] if run.object_id in beside else [])]
                    report.runs += 1
                    report.entries += run.entries
                    keymaster.renew(lease)
        if removed:
            counts = {"rotated": report.runs, "entries": report.entries}
            change = Change(added=added, removed=removed, counts=counts, notes={"act": "rotate", **counts})
            report.snapshot = commit_change(store, keymaster, lease, change, now).head.number
            return report
    except BaseException:
        keymaster.abandon(lease)
        raise
    keymaster.abandon(lease)
    return report


def _minter(keymaster: Keymaster, lease: Lease, table: str) -> Callable[[int, bytes], FileKey]:
    return lambda kind, object_id: keymaster.mint_file_key(lease, kind, object_id, table)
