"""Rejected records: counted, and put again when the schema or the records have been corrected.

Rules it keeps:

1. Counting opens the sealed rejects for this process only: what leaves are counts, reasons and row numbers.
2. Putting again replaces the rejects it read: those that fit now are records, the others are rejects of the new put.
"""

from __future__ import annotations

import itertools
import json
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from strongroom.catalog.catalog import Catalog
from strongroom.catalog.leasekeys import lease_block_keys
from strongroom.errors import IntegrityError, NotFoundError
from strongroom.schema.rejects import Reject, Rejects, decode
from strongroom.seal.blocks import KIND_REJECTS, open_block
from strongroom.seal.entropy import random_bytes
from strongroom.store.base import object_name
from strongroom.write.put import PutOptions, PutReceipt, leased

if TYPE_CHECKING:
    import pyarrow as pa

    from strongroom.catalog.entries import BlockKeys, ObjectEntry
    from strongroom.keymaster.api import Keymaster, Lease
    from strongroom.schema.model import Table
    from strongroom.store.base import Store


RECORDS_AT_ONCE = 50_000


@dataclass(frozen=True)
class RejectGroup:
    """Rejected records of one put, source, reason and field."""

    put: str
    table: str
    source: str
    reason: str
    field: str
    records: int
    first_row: int

    def row(self) -> tuple[Any, ...]:
        """For a table."""
        return tuple(asdict(self).values())

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def open_rejects(store: Store, room: bytes, entry: ObjectEntry, block_keys: BlockKeys) -> Rejects:
    """The rejects in one stored object; IntegrityError if it is missing or does not open."""
    key = block_keys(entry.key_id, KIND_REJECTS, [0], entry.table)[0]
    try:
        sealed = store.get(object_name(entry.object_id))
    except NotFoundError:
        raise IntegrityError(f"rejects {entry.object_id.hex()} are in the manifest and not in the store") from None
    return decode(open_block(key, room, entry.object_id, KIND_REJECTS, 0, sealed))


def list_rejects(store: Store, keymaster: Keymaster, actor: str, put_id: str | None) -> list[RejectGroup]:
    """Counts of rejected records; see `Room.rejects`."""
    found: list[RejectGroup] = []
    for table, lease, entries, block_keys in _leases(store, keymaster, actor, put_id):
        try:
            for entry in entries:
                rejects = open_rejects(store, keymaster.room_id, entry, block_keys)
                found += _groups(entry.put_id.hex(), table.name, rejects)
        finally:
            keymaster.abandon(lease)
    return found


def _groups(put: str, table: str, rejects: Rejects) -> Iterable[RejectGroup]:
    keys = ["source", "reason", "field"]
    grouped = rejects.table.group_by(keys).aggregate([([], "count_all"), ("row", "min")]).to_pylist()
    for one in sorted(grouped, key=lambda group: [str(group[key]) for key in keys]):
        said = (one["source"], one["reason"], one["field"])
        yield RejectGroup(put, table, *said, one["count_all"], one["row_min"])


def _leases(
    store: Store, keymaster: Keymaster, actor: str, put_id: str | None
) -> Iterator[tuple[Table, Lease, list[ObjectEntry], BlockKeys]]:
    """A lease on the rejects of each table that the actor may put into, with what there is."""
    for table in keymaster.schema().tables.values():
        lease = keymaster.begin_put(actor=actor, table=table.name, request_id=random_bytes(16), verb="rejects")
        block_keys = lease_block_keys(keymaster, lease)
        catalog = Catalog(store, keymaster.room_id, keymaster.head(), block_keys)
        entries = [e for e in catalog.objects(table.id, KIND_REJECTS) if put_id in (None, e.put_id.hex())]
        if entries:
            yield table, lease, entries, block_keys
        else:
            keymaster.abandon(lease)


def reput(store: Store, keymaster: Keymaster, actor: str, put_id: str | None) -> PutReceipt:
    """Put rejected records again, table by table; see `Room.reput_rejects`. The receipt sums them all."""
    receipts = [
        _reput(store, keymaster, lease, table, entries, block_keys)
        for table, lease, entries, block_keys in _leases(store, keymaster, actor, put_id)
    ]
    if not receipts:
        raise NotFoundError("there are no rejected records")
    reasons: Counter[tuple[str, str]] = Counter()
    for receipt in receipts:
        reasons.update(receipt.reasons)
    return PutReceipt(
        put_id=receipts[-1].put_id,
        snapshot=receipts[-1].snapshot,
        records=sum(r.records for r in receipts),
        new_subjects=sum(r.new_subjects for r in receipts),
        rejected=sum(r.rejected for r in receipts),
        reasons=dict(reasons),
        leaf=receipts[-1].leaf,
    )


def _reput(
    store: Store,
    keymaster: Keymaster,
    lease: Lease,
    table: Table,
    entries: list[ObjectEntry],
    block_keys: BlockKeys,
) -> PutReceipt:
    import pyarrow as pa

    from strongroom.write.sources import open_sources

    names = [f.name for f in table.fields]
    with leased(store, keymaster, lease, table, PutOptions(again=True), random_bytes(16), time.time) as job:
        for entry in entries:
            rejects = open_rejects(store, keymaster.room_id, entry, block_keys)
            lines = rejects.lines()
            if len(lines):
                job.keep_rejects(lines)
            batches = (_columns(some, names) for some in _slices(rejects))
            schema = pa.schema([(name, pa.string()) for name in names])
            reader = pa.RecordBatchReader.from_batches(schema, batches)
            with open_sources(reader, table_fields=names, needed=[]) as sources:
                job.run(sources, None)
        return job.commit([], removed=entries)


def _slices(rejects: Rejects) -> Iterator[list[Reject]]:
    """Rejects that are records, some thousands at a time."""
    records = (one for one in rejects if one.is_record)
    while some := list(itertools.islice(records, RECORDS_AT_ONCE)):
        yield some


def _columns(rejects: list[Reject], names: list[str]) -> pa.RecordBatch:
    """The records as columns of text, as they came."""
    import pyarrow as pa

    try:
        records = [json.loads(one.raw) for one in rejects]
        columns = [pa.array([record.get(name) for record in records], pa.string()) for name in names]
    except (ValueError, AttributeError, pa.ArrowException):
        raise IntegrityError("a rejected record cannot be read again") from None
    return pa.RecordBatch.from_arrays(columns, names=names)
