"""Says which objects a copy of the room holds, and in which order they go there.

Rules it keeps:

1. What is expected of an object (length, SHA-256) comes from what names it: the manifest, the snapshot, the head; never
   from the object or the place it lies in.
2. Objects come before manifests, manifests before snapshots, older snapshots before newer ones: whatever is cut short,
   a snapshot that is there has everything that it names.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from strongroom.catalog.catalog import Catalog
from strongroom.catalog.entries import ObjectRef
from strongroom.keymaster.api import Head
from strongroom.store.base import object_name


@dataclass(frozen=True)
class Item:
    """One object to be copied: its name, length in bytes and SHA-256."""

    name: str
    length: int
    sha256: bytes


@dataclass
class Plan:
    """What a copy holds, by the order of writing.

    Attributes:
        objects: Runs, open-columns files and rejects.
        manifests: What lists them.
        snapshots: Oldest first.
        newest: Number of the newest snapshot; 0 if there is none.
        oldest: Number of the oldest that is still there.
    """

    objects: list[Item] = field(default_factory=list)
    manifests: list[Item] = field(default_factory=list)
    snapshots: list[Item] = field(default_factory=list)
    newest: int = 0
    oldest: int = 0

    def stages(self) -> tuple[list[Item], ...]:
        """Lists whose order matters; within one of the first two it does not."""
        return self.objects, self.manifests, self.snapshots

    def items(self) -> Iterator[Item]:
        """Everything, in order."""
        for stage in self.stages():
            yield from stage

    def bytes(self) -> int:
        """Bytes of it all."""
        return sum(item.length for item in self.items())


def plan_of(newest: Catalog) -> Plan:
    """What is reachable from a snapshot and from those before it, as far back as they are still there.

    Args:
        newest: The catalogue of the snapshot to begin from.

    Raises:
        IntegrityError: A snapshot or manifest that is there is not the one that was committed, or a manifest is absent.
    """
    plan = Plan(newest=newest.head.number)
    seen: set[bytes] = set()
    catalog = newest
    while catalog.head.number:
        plan.oldest = catalog.head.number
        plan.snapshots.append(item_of(catalog.head))
        for reference in catalog.snapshot.manifests:
            if reference.object_id in seen:
                continue  # the entries of a manifest never change
            seen.add(reference.object_id)
            plan.manifests.append(item_of(reference))
            for entry in catalog.manifest(reference):
                if entry.object_id not in seen:
                    seen.add(entry.object_id)
                    plan.objects.append(Item(object_name(entry.object_id), entry.length, entry.sha256))
        if catalog.snapshot.tombstones is not None:
            plan.objects.append(item_of(catalog.snapshot.tombstones))
        parent = catalog.snapshot.parent
        if parent is None or not catalog.store.exists(object_name(parent.object_id)):
            break  # the first of the room, or what a compaction has let go of
        catalog = catalog.parent()
    plan.snapshots.reverse()
    return plan


def item_of(reference: ObjectRef | Head) -> Item:
    """The object that a reference names."""
    return Item(object_name(reference.object_id), reference.length, reference.sha256)
