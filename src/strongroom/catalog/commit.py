"""Builds the next snapshot: a base, what is added, what is removed.

Rules it keeps:

1. Manifests are written before the snapshot that names them; the caller has written the objects before, and moves the
   keymaster's head after.
2. A manifest without changes is used again by reference. Changed ones, and the last that is not full, are written
   anew in pieces of at most MANIFEST_ENTRIES_MAX entries.
3. Added objects get the number of the new snapshot as their order, unless the caller gives an older one (a merged run
   takes the place of the runs it was made from).
4. The same changes can be laid on another base, when somebody else committed first; ConflictError if a removed object
   is no longer there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from strongroom.catalog.catalog import Catalog
from strongroom.catalog.entries import ManifestRef, Mint, ObjectEntry, ObjectRef, Snapshot
from strongroom.catalog.manifest import MANIFEST_ENTRIES_MAX, seal_manifest
from strongroom.catalog.snapshot import seal_snapshot
from strongroom.errors import ConflictError
from strongroom.keymaster.api import Head
from strongroom.seal.blocks import KIND_MANIFEST, KIND_SNAPSHOT
from strongroom.seal.entropy import random_bytes as real_random_bytes
from strongroom.store.base import object_name


class CommitBuilder:
    """Collects changes to a snapshot, then writes the next one.

    Args:
        base: The catalogue to change.
        random_bytes: Makes object ids.
    """

    def __init__(self, base: Catalog, *, random_bytes: Callable[[int], bytes] = real_random_bytes) -> None:
        self.base = base
        self._random = random_bytes
        self._added: list[tuple[ObjectEntry, int | None]] = []
        self._removed: dict[bytes, ObjectEntry] = {}

    @property
    def added(self) -> list[ObjectEntry]:
        """What was added, with its place in the order as it would be now."""
        return [
            replace(entry, commit=self.base.head.number + 1 if commit is None else commit)
            for entry, commit in self._added
        ]

    @property
    def removed(self) -> list[ObjectEntry]:
        """What was removed."""
        return list(self._removed.values())

    def add(self, entry: ObjectEntry, *, commit: int | None = None) -> None:
        """Add a stored object; `commit` puts it at an older place in the order."""
        self._added.append((entry, commit))

    def remove(self, entry: ObjectEntry) -> None:
        """Remove an object from the next snapshot; its bytes stay until no snapshot names it."""
        self._removed[entry.object_id] = entry

    def write(
        self,
        *,
        mint: Mint,
        created: int,
        checkpoint: str = "",
        stats: Mapping[str, Mapping[str, int]] | None = None,
        tombstones: ObjectRef | None = None,
        notes: Mapping[str, int | str] | None = None,
    ) -> Head:
        """Write the manifests and the snapshot, durable when this returns.

        Args:
            mint: Gives a fresh file key for (kind, object id).
            created: Microseconds since 1970 (UTC).
            checkpoint: The newest checkpoint of the read log.
            stats: Counts per table; None keeps those of the base.
            tombstones: Erasures in force; None keeps those of the base.
            notes: Counts and sums of the act.

        Returns:
            The head row to commit.

        Raises:
            ConflictError: A removed object is not in the base.
        """
        base = self.base
        kept, loose = self._split()
        store, room = base.store, base.room
        for start in range(0, len(loose), MANIFEST_ENTRIES_MAX):
            object_id = self._random(16)
            piece = loose[start : start + MANIFEST_ENTRIES_MAX]
            data, reference = seal_manifest(piece, mint(KIND_MANIFEST, object_id), room, object_id)
            store.put(object_name(object_id), data)
            kept.append(reference)
        snapshot = Snapshot(
            number=base.head.number + 1,
            created=created,
            parent=base.head if base.head.number else None,
            manifests=tuple(kept),
            checkpoint=checkpoint,
            stats=base.snapshot.stats if stats is None else stats,
            tombstones=tombstones or base.snapshot.tombstones,
            notes=notes or {},
        )
        object_id = self._random(16)
        data, head = seal_snapshot(snapshot, mint(KIND_SNAPSHOT, object_id), room, object_id)
        store.put(object_name(object_id), data)
        return head

    def _split(self) -> tuple[list[ManifestRef], list[ObjectEntry]]:
        """Manifests to keep by reference, and entries to write anew, sorted."""
        kept: list[ManifestRef] = []
        loose: list[ObjectEntry] = []
        missing = set(self._removed)
        tables = {entry.table for entry in self._removed.values()}
        for reference in self.base.snapshot.manifests:
            touched = False
            if missing and tables & set(reference.tables):
                here = {entry.object_id for entry in self.base.manifest(reference)}
                touched = not missing.isdisjoint(here)
                missing -= here
            if touched or (reference.entries < MANIFEST_ENTRIES_MAX and self._added):
                entries = self.base.manifest(reference)
                loose += [entry for entry in entries if entry.object_id not in self._removed]
            else:
                kept.append(reference)
        if missing:
            raise ConflictError(f"{len(missing)} of the objects to replace are no longer in the newest snapshot")
        loose += self.added
        loose.sort(key=lambda entry: (entry.table, entry.kind, entry.field or b"", entry.commit, entry.lo))
        return kept, loose
