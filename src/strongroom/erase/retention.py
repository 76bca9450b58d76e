"""How many records of each table have outlived their retention: a dry run, by counts.

Rules it keeps:

1. Nothing is removed here: reads leave expired records out by themselves, compaction drops them.
2. No record is opened: batches tell when a record was put, open columns the date that a table counts from.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from strongroom.catalog.catalog import Catalog
from strongroom.catalog.leasekeys import lease_block_keys
from strongroom.index.finder import Finder
from strongroom.keymaster.api import Buried
from strongroom.schema.parse import parse_schema
from strongroom.seal.blocks import KIND_OPEN_COLUMNS, KIND_RECORDS
from strongroom.seal.entropy import random_bytes
from strongroom.write.purging import Purge

if TYPE_CHECKING:
    from strongroom.keymaster.api import Keymaster, Lease
    from strongroom.schema.model import Table
    from strongroom.store.base import Store


@dataclass(frozen=True)
class Expiring:
    """One table with a retention: how many records it holds, and how many have expired."""

    table: str
    days: int
    by: str
    records: int
    expired: int

    @property
    def everything(self) -> bool:
        """Whether no record would be left of a table that has some."""
        return 0 < self.records == self.expired

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def expiring(
    store: Store,
    keymaster: Keymaster,
    actor: str,
    schema: str | None = None,
    now: Callable[[], float] = time.time,
) -> list[Expiring]:
    """Count; see `Room.retention`."""
    force = keymaster.schema()
    asked = force if schema is None else parse_schema(schema, force, random_bytes)
    tables = [table for table in asked.tables.values() if table.retention is not None]
    if not tables:
        return []
    lease = keymaster.begin_maintenance(actor=actor, verb="compact")
    try:
        block_keys = lease_block_keys(keymaster, lease)
        catalog = Catalog(store, keymaster.room_id, keymaster.head(), block_keys)
        finder = Finder(catalog, block_keys, keymaster.table_version)
        purge = Purge(store, keymaster, lease, block_keys, now())
        return [_counted(keymaster, lease, finder, purge, table) for table in tables]
    finally:
        keymaster.abandon(lease)


def _counted(keymaster: Keymaster, lease: Lease, finder: Finder, purge: Purge, table: Table) -> Expiring:
    rule = table.retention
    assert rule is not None
    force = next((t for t in keymaster.schema().tables.values() if t.id == table.id), None)
    if force is None:
        return Expiring(table.name, rule.days, rule.by or "put", 0, 0)

    def erased(low: bytes, high: bytes) -> Buried:
        some = keymaster.erasures.buried(lease, force.name, low, high)
        return Buried(0, some.tokens, some.sequences)

    horizon = keymaster.erasures.horizon(lease, force.name, rule.days) if rule.by is None else 0

    def gone(low: bytes, high: bytes) -> Buried:
        some = erased(low, high)
        return Buried(horizon, some.tokens, some.sequences)

    here = finder.live_masks(table, erased)
    left = finder.live_masks(table, gone) if horizon else {name: mask.copy() for name, mask in here.items()}
    if rule.by is not None:
        beside = {e.open_of: e for e in finder.catalog.objects(table.id, KIND_OPEN_COLUMNS)}
        for reader in finder.runs(table.id, KIND_RECORDS):
            name = reader.entry.object_id
            past = purge.expired(table, beside[name]) if name in beside else None
            if past is not None:
                left[name] &= ~past
    records = sum(int(np.count_nonzero(mask)) for mask in here.values())
    kept = sum(int(np.count_nonzero(left[name] & here[name])) for name in here)
    return Expiring(table.name, rule.days, rule.by or "put", records, records - kept)
