"""Merge small runs, and remove what no kept snapshot names.

Rules it keeps:

1. Compaction needs file keys and nobody's secret; it is an actor's act of its own, leased and noted.
2. An object is removed only when no kept snapshot reaches it and the lease that made it has ended, so that neither a
   reader of a kept snapshot nor a put under way loses anything.
3. A put beside a compaction wins nothing and loses nothing: the merged runs are laid on whatever head there is then.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from strongroom.catalog.catalog import Catalog
from strongroom.catalog.leasekeys import lease_block_keys
from strongroom.errors import IntegrityError
from strongroom.index.finder import Finder
from strongroom.index.runreader import RunReader
from strongroom.seal.blocks import KIND_INDEX, KIND_OPEN_COLUMNS, KIND_RECORDS
from strongroom.seal.entropy import random_bytes
from strongroom.write.commit import Change, commit_change
from strongroom.write.merging import Merger

if TYPE_CHECKING:
    from strongroom.catalog.entries import ObjectEntry
    from strongroom.keymaster.api import FileKey, Keymaster, Lease
    from strongroom.schema.model import Table
    from strongroom.store.base import Store

KEEP_SECONDS = 35 * 24 * 3600.0
TIER_RATIO = 4  # a run is merged with the newer ones when they hold at least a quarter as many entries together


@dataclass
class CompactReport:
    """What a compaction did. Entries are counted over records and indexes."""

    runs_before: int = 0
    runs_after: int = 0
    entries: int = 0
    superseded: int = 0
    removed: int = 0
    snapshot: int = 0

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def compact(
    store: Store,
    keymaster: Keymaster,
    actor: str,
    *,
    keep_seconds: float = KEEP_SECONDS,
    now: Callable[[], float] = time.time,
) -> CompactReport:
    """Merge and remove; see `Room.compact`.

    Args:
        store: The bucket.
        keymaster: Mints file keys and moves the head.
        actor: Who compacts.
        keep_seconds: How long a superseded snapshot is kept.
        now: Seconds since 1970.
    """
    lease = keymaster.begin_maintenance(actor=actor, verb="compact")
    try:
        block_keys = lease_block_keys(keymaster, lease)
        catalog = Catalog(store, keymaster.room_id, keymaster.head(), block_keys)
        finder = Finder(catalog, block_keys, keymaster.table_version)
        report = CompactReport(snapshot=catalog.head.number)
        merger = Merger(
            store, keymaster.room_id, _mint(keymaster, lease), block_keys, random_bytes(16), int(now() * 1e6)
        )
        change = _merge_all(catalog, finder, keymaster, merger, report)
        report.removed = _remove_unreached(store, keymaster, lease, catalog, keep_seconds, now)
        if change is not None:
            report.snapshot = commit_change(store, keymaster, lease, change, now)[1].number
            return report
    except BaseException:
        keymaster.abandon(lease)
        raise
    keymaster.abandon(lease)
    return report


def _mint(keymaster: Keymaster, lease: Lease) -> Callable[[int, bytes], FileKey]:
    def mint(kind: int, object_id: bytes) -> FileKey:
        return keymaster.mint_file_key(lease, kind, object_id, None)

    return mint


def _merge_all(
    catalog: Catalog, finder: Finder, keymaster: Keymaster, merger: Merger, report: CompactReport
) -> Change | None:
    added: list[tuple[ObjectEntry, int | None]] = []
    removed: list[ObjectEntry] = []
    for table in keymaster.schema().tables.values():
        beside = {e.open_of: e for e in catalog.objects(table.id, KIND_OPEN_COLUMNS)}
        for readers in _sets_of_runs(finder, table):
            report.runs_before += len(readers)
            chosen = chosen_runs(readers)
            if len(chosen) < 2:
                report.runs_after += len(readers)
                continue
            files = [beside.get(r.entry.object_id) for r in chosen]
            merged = merger.merge(table, chosen, files)
            runs = [e for e in merged.entries if e.kind != KIND_OPEN_COLUMNS]
            place = chosen[-1].entry.commit
            added += [(entry, place) for entry in merged.entries]
            removed += [r.entry for r in chosen] + [f for f in files if f is not None]
            report.runs_after += len(readers) - len(chosen) + len(runs)
            report.entries += merged.taken
            report.superseded += merged.taken - merged.kept
    if not removed:
        return None
    counts = {"merged": len(removed), "entries": report.entries, "superseded": report.superseded}
    return Change(added=added, removed=removed, counts=counts, notes={"act": "compact", **counts})


def _sets_of_runs(finder: Finder, table: Table) -> Iterator[list[RunReader]]:
    yield finder.runs(table.id, KIND_RECORDS)
    for field in table.fields:
        if field.find:
            yield finder.runs(table.id, KIND_INDEX, field.id)


def chosen_runs(readers: list[RunReader]) -> list[RunReader]:
    """Which runs to merge: the newest ones, back to the first that is more than TIER_RATIO times all newer together.

    Runs of one commit are disjoint and go together: merging less than all of them would gain nothing.
    """
    chosen: list[RunReader] = []
    total = 0
    for reader in reversed(readers):
        same = bool(chosen) and reader.entry.commit == chosen[-1].entry.commit
        if chosen and not same and reader.entry.entries > TIER_RATIO * total:
            break
        chosen.append(reader)
        total += reader.entry.entries
    chosen.reverse()
    if len({r.entry.commit for r in chosen}) < 2:
        return []
    return chosen


def _remove_unreached(
    store: Store,
    keymaster: Keymaster,
    lease: Lease,
    newest: Catalog,
    keep_seconds: float,
    now: Callable[[], float],
) -> int:
    """Remove objects that no kept snapshot reaches and no open lease made; returns how many."""
    oldest = (now() - keep_seconds) * 1e6
    kept = newest.names()
    catalog = newest
    while catalog.head.number > 1:
        # A snapshot is kept while the one after it is younger than the limit: until then somebody read from it.
        if catalog.snapshot.created < oldest:
            break
        try:
            catalog = catalog.at(catalog.head.number - 1)
        except IntegrityError:
            break  # removed by an earlier compaction
        kept |= catalog.names()
    loose = [name for name, _ in store.list() if name not in kept]
    ids = {bytes.fromhex(name.partition("/")[2]): name for name in loose if _is_object(name)}
    ended = keymaster.ended_objects(lease, list(ids))
    for object_id in ended:
        store.delete(ids[object_id])
    return len(ended)


def _is_object(name: str) -> bool:
    folder, _, rest = name.partition("/")
    return len(rest) == 32 and rest.startswith(folder) and all(c in "0123456789abcdef" for c in rest)
