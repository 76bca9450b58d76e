"""Merge small runs, and remove what no kept snapshot names.

Rules it keeps:

1. Compaction needs file keys and nobody's secret; it is an actor's act of its own, leased and noted.
2. An object is removed only when no kept snapshot reaches it and the lease that made it has ended, so that neither a
   reader of a kept snapshot nor a put under way loses anything.
3. A put beside a compaction wins nothing and loses nothing: the merged runs are laid on whatever head there is then.
4. A run that holds something dead is written anew without it, whether it would be merged or not (`purging`).
5. The file key of an object is destroyed before the object is removed: what was copied elsewhere opens no longer.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from strongroom.catalog.catalog import Catalog
from strongroom.catalog.freshness import prune_tail
from strongroom.catalog.leasekeys import lease_block_keys
from strongroom.catalog.runs import RunPlan
from strongroom.errors import IntegrityError
from strongroom.index.merge import Merged, MergeInput, merge
from strongroom.index.sums import EntrySum, note_name
from strongroom.seal.blocks import KIND_INDEX, KIND_OPEN_COLUMNS, KIND_RECORDS
from strongroom.seal.entropy import random_bytes
from strongroom.store.base import object_name
from strongroom.write.commit import Change, commit_change
from strongroom.write.kept import Kept
from strongroom.write.purging import Marks, Purge
from strongroom.write.tiers import chosen_runs

if TYPE_CHECKING:
    from strongroom.catalog.entries import BlockKeys, ObjectEntry
    from strongroom.keymaster.api import FileKey, Keymaster, Lease
    from strongroom.schema.model import Table
    from strongroom.store.base import Store

KEEP_SECONDS = 35 * 24 * 3600.0


@dataclass
class CompactReport:
    """What a compaction did. Entries are counted over records and indexes."""

    runs_before: int = 0
    runs_after: int = 0
    entries: int = 0
    superseded: int = 0
    dead: int = 0
    removed: int = 0
    snapshot: int = 0

    def followed_by(self, later: CompactReport) -> CompactReport:
        """This and a later one together."""
        names = ("entries", "superseded", "dead", "removed")
        summed = {name: getattr(self, name) + getattr(later, name) for name in names}
        return replace(later, runs_before=self.runs_before, **summed)

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
    report, more = _round(store, keymaster, actor, keep_seconds, now)
    while more:  # more commits than are merged at once: what was merged is merged again
        again, more = _round(store, keymaster, actor, keep_seconds, now)
        report = report.followed_by(again)
    return report


def _round(
    store: Store, keymaster: Keymaster, actor: str, keep_seconds: float, now: Callable[[], float]
) -> tuple[CompactReport, bool]:
    lease = keymaster.begin_maintenance(actor=actor, verb="compact")
    try:
        block_keys = lease_block_keys(keymaster, lease)
        catalog = Catalog(store, keymaster.room_id, keymaster.head(), block_keys)
        report = CompactReport(snapshot=catalog.head.number)
        purge = Purge(store, keymaster, lease, block_keys, now())
        kept = Kept(keymaster, lease)
        work = _Merges(store, keymaster, lease, catalog, random_bytes(16), int(now() * 1e6), purge, kept)
        change, more = work.all(report)
        kept.tick()
        prune_tail(store, keymaster)
        report.removed = _remove_unreached(store, keymaster, lease, block_keys, catalog, keep_seconds, now)
        if change is not None:
            report.snapshot = commit_change(store, keymaster, lease, change, now).head.number
            return report, more
    except BaseException:
        keymaster.abandon(lease)
        raise
    keymaster.abandon(lease)
    return report, False


@dataclass(frozen=True)
class _Merges:
    """The merges of one compaction."""

    store: Store
    keymaster: Keymaster
    lease: Lease
    catalog: Catalog
    put_id: bytes
    created: int
    purge: Purge
    kept: Kept

    def all(self, report: CompactReport) -> tuple[Change | None, bool]:
        """Merge what is worth it, of every table, kind and field; None when nothing is. Also whether more will be."""
        more = False
        added: list[tuple[ObjectEntry, int | None]] = []
        removed: list[ObjectEntry] = []
        notes: dict[str, int | str] = {"act": "compact"}
        for table in self.keymaster.schema().tables.values():
            beside = {e.open_of: e for e in self.catalog.objects(table.id, KIND_OPEN_COLUMNS) if e.open_of is not None}
            for indexed in (None, *(f for f in table.fields if f.find)):
                kind, field_id = (KIND_RECORDS, None) if indexed is None else (KIND_INDEX, indexed.id)
                runs = self.catalog.objects(table.id, kind, field_id)
                self.kept.tick()
                marks = self.purge.marks(table, indexed, runs, beside)
                report.runs_before += len(runs)
                report.runs_after += len(runs)
                total = Merged([], EntrySum(), EntrySum(), EntrySum())
                sets, rest = _sets(runs, marks)
                more |= rest
                for chosen in sets:
                    merged = self._merge(table, kind, field_id, chosen, beside, marks)
                    total = total.plus(merged)
                    removed += chosen + [beside[r.object_id] for r in chosen if r.object_id in beside]
                    report.runs_after += sum(e.kind != KIND_OPEN_COLUMNS for e in merged.entries) - len(chosen)
                if not total.read.entries:
                    continue
                added += [(entry, entry.commit) for entry in total.entries]
                group = note_name(table.id, kind, field_id)
                notes |= {f"{group}/{name}": value for name, value in total.notes().items()}
                report.entries += total.read.entries
                report.superseded += total.dropped.entries - total.dead
                report.dead += total.dead
        if not removed:
            return None, False
        counts = {"merged": len(removed), "entries": report.entries, "superseded": report.superseded}
        if report.dead:
            counts["dead"] = report.dead
        return Change(added=added, removed=removed, counts=counts, notes={**notes, **counts}), more

    def _merge(
        self,
        table: Table,
        kind: int,
        field: bytes | None,
        chosen: list[ObjectEntry],
        beside: dict[bytes, ObjectEntry],
        marks: Marks,
    ) -> Merged:
        def mint(of_kind: int, object_id: bytes) -> FileKey:
            self.kept.tick()
            return self.keymaster.mint_file_key(self.lease, of_kind, object_id, table.name)

        block_keys = lease_block_keys(self.keymaster, self.lease)
        room = self.keymaster.room_id
        files = beside if kind == KIND_RECORDS else {}
        return merge(
            MergeInput(self.store, room, chosen, files, block_keys, marks.dead, marks.expired),
            RunPlan(room, table.id, kind, self.put_id, self.created, field),
            mint,
            newest_only=kind == KIND_RECORDS and table.records == "one",
        )


def _sets(runs: list[ObjectEntry], marks: Marks) -> tuple[list[list[ObjectEntry]], bool]:
    """What is written anew together: runs worth merging, and every other run that something goes from, by itself.

    Also whether more is worth merging when that is done.
    """
    chosen, more = chosen_runs(runs)
    names = {run.object_id for some in chosen for run in some}
    alone = [[run] for run in runs if run.object_id not in names and marks.touches(run)]
    return [*alone, *chosen], more


def _remove_unreached(
    store: Store,
    keymaster: Keymaster,
    lease: Lease,
    block_keys: BlockKeys,
    known: Catalog,
    keep_seconds: float,
    now: Callable[[], float],
) -> int:
    """Remove objects that no kept snapshot reaches and no open lease made; returns how many.

    The order matters: objects that are there, then those whose lease has ended, then what the head of *after that*
    reaches. A put that commits meanwhile has moved the head when its lease ends.
    """
    there = [name for name, _ in store.list() if _is_object(name)]
    ids = {bytes.fromhex(name.partition("/")[2]): name for name in there}
    ended = keymaster.ended_objects(lease, list(ids))
    kept = _kept(Catalog(store, keymaster.room_id, keymaster.head(), block_keys, previous=known), keep_seconds, now)
    loose = [object_id for object_id in ended if ids[object_id] not in kept]
    if loose:
        keymaster.erasures.destroy_keys(lease, loose)
    for object_id in loose:
        store.delete(ids[object_id])
    return len(loose)


def _kept(newest: Catalog, keep_seconds: float, now: Callable[[], float]) -> set[str]:
    """Names of all objects that the kept snapshots reach."""
    oldest = (now() - keep_seconds) * 1e6
    kept = newest.names()
    catalog = newest
    while catalog.head.number > 1:
        # A snapshot is kept while the one after it is younger than the limit: until then somebody read from it.
        if catalog.snapshot.created < oldest:
            break
        try:
            catalog = catalog.parent()
        except IntegrityError as error:
            parent = catalog.snapshot.parent
            if parent is not None and catalog.store.exists(object_name(parent.object_id)):
                # damaged: what it alone names must not be taken for left over
                hint = "`strongroom check --repair --from COPY` mends it; until then nothing is removed"
                raise IntegrityError(str(error), hint=hint) from error
            break  # removed by an earlier compaction
        kept |= catalog.names()
    return kept


def _is_object(name: str) -> bool:
    folder, _, rest = name.partition("/")
    return len(rest) == 32 and rest.startswith(folder) and all(c in "0123456789abcdef" for c in rest)
