"""Mend a bucket from a copy: what is missing or not as it was committed is fetched again, and nothing else is touched.

Rules it keeps:

1. What an object must be comes from the keymaster's head row and the chain of hashes below it, as in a restore. The
   copy is verified before anything in the bucket is removed.
2. From the newest snapshot downwards: what names objects is mended first, so that what it names can be judged.
3. What the copy does not have either is told, and the rest goes on. What nothing names stays for `compact`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from strongroom.catalog.catalog import Catalog
from strongroom.catalog.leasekeys import lease_block_keys
from strongroom.errors import IntegrityError, NotFoundError
from strongroom.replicate.locked import settled
from strongroom.replicate.plan import Item, item_of
from strongroom.replicate.transfer import Moved, Progress, verified, verify
from strongroom.store.base import object_name
from strongroom.write.kept import Kept

if TYPE_CHECKING:
    from strongroom.catalog.entries import BlockKeys
    from strongroom.keymaster.api import Head, Keymaster
    from strongroom.store.base import Store


@dataclass
class RepairReport:
    """What a repair did: objects that were looked at, those that were mended, and those that the copy lacks too."""

    objects: int = 0
    mended: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return dict(vars(self))


def repair(
    source: Store, store: Store, keymaster: Keymaster, actor: str, progress: Progress | None = None
) -> RepairReport:
    """Mend a bucket from a copy; see `strongroom.repair`.

    Args:
        source: The copy.
        store: The bucket.
        keymaster: The room's.
        actor: Who mends; needs the act `restore`.
        progress: Called with objects done, bytes done and None.
    """
    lease = keymaster.begin_maintenance(actor=actor, verb="restore")
    kept = Kept(keymaster, lease)
    try:
        work = _Repair(source, store, RepairReport(), Moved(0, progress, kept=kept))
        for item in _items(work, keymaster, lease_block_keys(keymaster, lease)):
            work.look_at(item)
        return work.report
    finally:
        keymaster.abandon(kept.lease)


@dataclass
class _Repair:
    """One repair under way."""

    source: Store
    store: Store
    report: RepairReport
    moved: Moved

    def look_at(self, item: Item) -> bool:
        """See to it that an object is as it was committed; whether it is now."""
        self.report.objects += 1
        self.moved.add(0, 1)
        if _whole(self.store, item):
            self.moved.add(item.length)
            return True
        if not _whole(self.source, item) and not self._settled(item):
            self.report.lost.append(item.name)
            return False
        self.store.delete(item.name)
        self.store.put(item.name, verified(self.source, item, self.moved))
        self.report.mended.append(item.name)
        return True

    def _settled(self, item: Item) -> bool:
        try:
            return settled(self.source, item)
        except (IntegrityError, NotFoundError):
            return False


def _items(work: _Repair, keymaster: Keymaster, block_keys: BlockKeys) -> Iterator[Item]:
    """Objects of every kept snapshot, each once; snapshots and manifests are mended on the way."""
    seen: set[bytes] = set()
    head: Head | None = keymaster.head()
    newest = True
    while head is not None and head.number:
        name = object_name(head.object_id)
        if not newest and not work.store.exists(name) and not work.source.exists(name):
            return  # what a compaction has let go of
        if not work.look_at(item_of(head)):
            return  # what it names cannot be known
        newest = False
        catalog = Catalog(work.store, keymaster.room_id, head, block_keys)
        for reference in catalog.snapshot.manifests:
            if reference.object_id in seen:
                continue
            seen.add(reference.object_id)
            if not work.look_at(item_of(reference)):
                continue
            for entry in catalog.manifest(reference):
                if entry.object_id not in seen:
                    seen.add(entry.object_id)
                    yield Item(object_name(entry.object_id), entry.length, entry.sha256)
        if catalog.snapshot.tombstones is not None:
            yield item_of(catalog.snapshot.tombstones)
        parent = catalog.snapshot.parent
        head = None if parent is None else keymaster.head_at(parent.number)


def _whole(store: Store, item: Item) -> bool:
    try:
        verify(store, item)
    except (IntegrityError, NotFoundError):
        return False
    return True
