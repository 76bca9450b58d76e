"""Move the head of the room: manifest, snapshot, then one compare-and-swap; a loser rebases and tries again.

Rules it keeps:

1. Everything a snapshot names is durable before the head moves.
2. A head that moved meanwhile is not an error: the same additions are laid on the newer snapshot. What a removal named
   being gone is one: somebody else compacted the same runs.
3. The manifest and snapshot of a lost race are removed; should that fail, they are objects nothing names.
4. From the moment the keymaster is asked to move the head, nothing that the change added is taken back: an error may
   come although the head moved. What nothing names is removed by `compact`, once the lease has ended.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from strongroom.catalog.catalog import Catalog
from strongroom.catalog.commit import CommitBuilder
from strongroom.catalog.entries import ObjectEntry
from strongroom.catalog.freshness import leave_note, leave_tail
from strongroom.catalog.leasekeys import lease_block_keys
from strongroom.errors import ConflictError, UnavailableError
from strongroom.seal.blocks import KIND_RECORDS
from strongroom.store.base import object_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from strongroom.keymaster.api import FileKey, Head, Keymaster, Lease, Receipt
    from strongroom.store.base import Store

COMMIT_TRIES_MAX = 16


@dataclass(frozen=True)
class Change:
    """What a commit adds to and removes from the room.

    Args:
        added: Stored objects, each with the place in the commit order it takes; None is the newest.
        removed: Entries of the base that the next snapshot leaves out.
        counts: Counts for the log entry.
        digests: SHA-256 of the sources put, 32 B each.
        notes: Counts and sums for `check`.
        table: Id of the table put into, where there is one.
    """

    added: Sequence[tuple[ObjectEntry, int | None]]
    removed: Sequence[ObjectEntry] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    digests: Sequence[bytes] = ()
    notes: Mapping[str, int | str] = field(default_factory=dict)
    table: bytes | None = None


class Committed(NamedTuple):
    """What a commit gave.

    `runs_passed` is how many runs a look-up in the table passes from now on; `noted` whether the checkpoint that covers
    the commit lies beside the objects: if the store failed there, the next commit's covers this one too.
    """

    receipt: Receipt
    head: Head
    runs_passed: int
    noted: bool


def _runs_passed(base: Catalog, change: Change) -> int:
    """Runs of one commit are disjoint, so a look-up passes one of each commit."""
    if change.table is None:
        return 0
    gone = {entry.object_id for entry in change.removed}
    runs = [entry for entry in base.objects(change.table, KIND_RECORDS) if entry.object_id not in gone]
    added = any(entry.kind == KIND_RECORDS for entry, _ in change.added)
    return len({entry.commit for entry in runs}) + added


def commit_change(
    store: Store,
    keymaster: Keymaster,
    lease: Lease,
    change: Change,
    now: Callable[[], float],
    base: Head | None = None,
) -> Committed:
    """Commit a change, rebasing as often as others are faster; onto `base` alone where one is given.

    Raises:
        ConflictError: An object to be removed is gone from the newest snapshot, the lease has ended, or others
            were faster COMMIT_TRIES_MAX times.
    """
    block_keys = lease_block_keys(keymaster, lease)
    catalog: Catalog | None = None
    for _ in range(COMMIT_TRIES_MAX):
        catalog = Catalog(store, keymaster.room_id, keymaster.head(), block_keys, previous=catalog)
        if base is not None and catalog.head != base:
            raise ConflictError("another commit was faster")
        minted: list[bytes] = []
        runs = _runs_passed(catalog, change)
        head = _write(catalog, keymaster, lease, change, minted, now)
        try:
            receipt = keymaster.commit(lease, catalog.head, head, change.counts, change.digests)
        except ConflictError:
            for object_id in minted:
                store.delete(object_name(object_id))
            if keymaster.head() == catalog.head:
                raise  # the lease, not the head
            continue
        return Committed(receipt, head, runs, _noted(store, keymaster, head))
    raise ConflictError("others committed first, again and again", hint="try again when fewer are putting at once")


def _noted(store: Store, keymaster: Keymaster, head: Head) -> bool:
    """Leave the note; the head has moved, so that a store which fails here undoes nothing."""
    try:
        leave_note(store, head.number, leave_tail(store, keymaster))
    except UnavailableError:
        return False
    return True


def _write(
    catalog: Catalog,
    keymaster: Keymaster,
    lease: Lease,
    change: Change,
    minted: list[bytes],
    now: Callable[[], float],
) -> Head:
    def mint(kind: int, object_id: bytes) -> FileKey:
        minted.append(object_id)
        return keymaster.mint_file_key(lease, kind, object_id, None)

    builder = CommitBuilder(catalog)
    for entry, place in change.added:
        builder.add(entry, commit=place)
    for entry in change.removed:
        builder.remove(entry)
    return builder.write(
        mint=mint, created=int(now() * 1e6), checkpoint=keymaster.publish(), notes=change.notes
    )
