"""Answers which objects make up the room, from the head row down.

Rules it keeps (DESIGN section 5):

1. The newest snapshot is opened only if its hash, length and number are those of the head row; an older one only by
   number, through the chain of parents that each snapshot names by hash.
2. Key references, lengths and block counts come from manifests, those of manifests from the snapshot, those of the
   snapshot from the head: nothing from an object itself.
3. A snapshot or manifest that the head leads to and the store lacks is an IntegrityError, not an absence.

It leaves releasing keys to the callable it is given, and never keeps one; what outlives a reading (`kept`) has no such
callable either, for behind it stand whoever read, what they asked for, and keys that were released to them.
"""

from __future__ import annotations

from collections.abc import Sequence

from strongroom.catalog.entries import BlockKeys, ManifestRef, ObjectEntry, Snapshot
from strongroom.catalog.manifest import open_manifest
from strongroom.catalog.snapshot import open_snapshot
from strongroom.errors import IntegrityError, NotFoundError, UsageError
from strongroom.keymaster.api import Head
from strongroom.seal.blocks import KIND_INDEX, KIND_RECORDS
from strongroom.store.base import Store, object_name

FOUND_KEPT_MAX = 1_000


class Catalog:
    """The objects of one snapshot. Immutable; manifests are opened when first asked for.

    Args:
        store: The bucket.
        room: Room id, 16 B.
        head: The head row of the snapshot; number 0 is the empty room.
        block_keys: Gives block keys of manifests and snapshots.
        previous: A catalogue of this room whose opened manifests are shared where both name them.

    Raises:
        IntegrityError: What is stored is not what the head row names.
    """

    def __init__(
        self, store: Store, room: bytes, head: Head, block_keys: BlockKeys, *, previous: Catalog | None = None
    ) -> None:
        self.store = store
        self.room = room
        self.head = head
        self._block_keys = block_keys
        known = previous if previous is not None and previous.room == room else None
        self.snapshot: Snapshot
        self._opened: dict[bytes, list[ObjectEntry]]
        self._found: dict[tuple[bytes | None, int | None, bytes | None], list[ObjectEntry]]
        if known is not None and known.head == head:
            # one and the same: what either opens or finds, both tell of
            self.snapshot, self._opened, self._found = known.snapshot, known._opened, known._found  # noqa: SLF001
            return
        self.snapshot = self._load(head)
        before = {} if known is None else known._opened.copy()  # noqa: SLF001  others may be opening more
        named = {reference.object_id for reference in self.snapshot.manifests}
        self._opened = {key: value for key, value in before.items() if key in named}
        self._found = {}

    def objects(
        self, table: bytes | None = None, kind: int | None = None, field: bytes | None = None
    ) -> list[ObjectEntry]:
        """The objects of a table, kind and field (None: of any), in commit order, then by first token."""
        known = self._found.get((table, kind, field))
        if known is not None:
            return known.copy()
        wanted = [one for one in self.snapshot.manifests if table is None or table in one.tables]
        opened = [one for one in wanted if self._block_keys is not _none or one.object_id in self._opened]
        found = [
            entry
            for reference in opened
            for entry in self.manifest(reference)
            if (table is None or entry.table == table)
            and (kind is None or entry.kind == kind)
            and (field is None or entry.field == field)
        ]
        found.sort(key=lambda entry: (entry.commit, entry.lo, entry.object_id))
        if len(opened) == len(wanted) and len(self._found) < FOUND_KEPT_MAX:
            self._found[table, kind, field] = found.copy()
        return found

    def run_keys(self, table: bytes) -> list[bytes]:
        """Key ids of the runs that look-ups in a table look into, of records and of indexes."""
        return [entry.key_id for entry in self.objects(table) if entry.kind in {KIND_RECORDS, KIND_INDEX}]

    def manifest(self, reference: ManifestRef) -> list[ObjectEntry]:
        """The entries of one manifest of this snapshot."""
        entries = self._opened.get(reference.object_id)
        if entries is None:
            data = self._stored(reference.object_id, "manifest")
            entries = open_manifest(data, reference, self.room, self._block_keys)
            self._opened[reference.object_id] = entries
        return entries

    def kept(self) -> Catalog:
        """What may be kept of it once a reading is over: it has no way to keys, and tells of opened manifests alone."""
        return Catalog(self.store, self.room, self.head, _none, previous=self)

    def at(self, number: int) -> Catalog:
        """The catalogue of an older snapshot, reached through the chain of parents.

        Raises:
            NotFoundError: There is no snapshot of that number up to this one.
            IntegrityError: The chain is broken: a snapshot on the way is absent or another one.
        """
        if not 0 <= number <= self.head.number:
            raise NotFoundError(f"there is no snapshot {number}; the newest is {self.head.number}")
        catalog = self
        while catalog.head.number > number:
            catalog = catalog.parent()
        if catalog.head.number != number:
            raise NotFoundError(f"snapshot {number} was left aside when an older one was restored")
        return catalog

    def parent(self) -> Catalog:
        """The catalogue of the snapshot that this one was made from; that of the empty room for the first.

        Its number is one less, or lower where an older snapshot was restored.

        Raises:
            IntegrityError: It is absent, or another one.
        """
        parent = self.snapshot.parent
        if parent is None and self.head.number == 1:
            parent = EMPTY_HEAD
        if parent is None or parent.number >= self.head.number:
            raise IntegrityError(f"snapshot {self.head.number} does not name the one before it")
        return Catalog(self.store, self.room, parent, self._block_keys, previous=self)

    def names(self) -> set[str]:
        """Names of all objects that this snapshot reaches: itself, its manifests and what they list."""
        found = {object_name(entry.object_id) for entry in self.objects()}
        found |= {object_name(reference.object_id) for reference in self.snapshot.manifests}
        if self.head.number:
            found.add(object_name(self.head.object_id))
        if self.snapshot.tombstones is not None:
            found.add(object_name(self.snapshot.tombstones.object_id))
        return found

    def _load(self, head: Head) -> Snapshot:
        if head.number == 0:
            return Snapshot(number=0, created=0, parent=None)
        return open_snapshot(self._stored(head.object_id, "snapshot"), head, self.room, self._block_keys)

    def _stored(self, object_id: bytes, what: str) -> bytes:
        try:
            return self.store.get(object_name(object_id))
        except NotFoundError:
            raise IntegrityError(f"{what} {object_id.hex()} is named by the head and not in the store") from None


EMPTY_HEAD = Head(number=0, object_id=b"", sha256=b"", length=0, key_id=b"")
"""The head row of a room in which nothing was committed."""


def _none(_key_id: bytes, _kind: int, _numbers: Sequence[int], _table: bytes | None) -> list[bytes]:
    raise UsageError("a catalogue that was kept opens nothing further")
