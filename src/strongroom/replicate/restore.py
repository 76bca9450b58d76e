"""Bring a room home from a copy: into an empty place, whole or as of a snapshot, and check it.

Rules it keeps:

1. What is expected comes from the keymaster's head row and the chain of hashes below it: a copy that holds another
   state, or an older one than it claims, does not pass as the newest.
2. Nothing is written into a place that holds anything.
3. The order is that of a copy: a restore cut short leaves a place that holds no newest snapshot; empty it, begin again.
4. An older snapshot than the head becomes the newest by a commit of its own, noted in the log: nothing is undone
   silently, and the snapshots left aside stay on record.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from strongroom.catalog.catalog import Catalog
from strongroom.catalog.entries import BlockKeys
from strongroom.catalog.freshness import NOTES, catch_up, leave_note, leave_tail
from strongroom.catalog.leasekeys import lease_block_keys
from strongroom.catalog.snapshot import seal_snapshot
from strongroom.errors import ConflictError, IntegrityError, NotFoundError
from strongroom.replicate.copy import SIDE_FOLDERS
from strongroom.replicate.locked import fetch, settled
from strongroom.replicate.plan import Item, Plan, plan_of
from strongroom.replicate.transfer import Moved, Progress, missing, move
from strongroom.seal.blocks import KIND_SNAPSHOT
from strongroom.seal.entropy import random_bytes
from strongroom.store.base import object_name
from strongroom.write.kept import Kept

if TYPE_CHECKING:
    from strongroom.keymaster.api import Head, Keymaster, Lease
    from strongroom.store.base import Store


@dataclass
class RestoreReport:
    """What a restore did: which snapshot came home, as which number it is the newest now, and what was copied."""

    restored: int
    snapshot: int = 0
    newest_lost: int = 0
    objects: int = 0
    bytes: int = 0

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def restore(
    source: Store,
    store: Store,
    keymaster: Keymaster,
    actor: str,
    *,
    snapshot: int | None = None,
    progress: Progress | None = None,
    now: Callable[[], float] = time.time,
) -> RestoreReport:
    """Restore; see `strongroom.restore`.

    Args:
        source: The copy.
        store: The new bucket, empty.
        keymaster: The room's.
        actor: Who restores.
        snapshot: Number of an older snapshot to bring home; None for the newest.
        progress: Called with objects done, bytes done and bytes in all.
        now: Seconds since 1970.

    Raises:
        ConflictError: The place is not empty, or the copy does not reach the newest snapshot and none was named.
        NotFoundError: The copy does not hold the snapshot asked for, or is no copy of this room.
        IntegrityError: An object of the copy is missing or not the one that was committed.
    """
    if next(iter(store.list()), None) is not None:
        raise ConflictError(f"{store.url} is not empty", hint="restore into an empty folder or bucket")
    catch_up(source, keymaster, stolen=True)
    lease = keymaster.begin_maintenance(actor=actor, verb="restore")
    kept = Kept(keymaster, lease)
    try:
        block_keys = lease_block_keys(keymaster, lease)
        head, wanted = keymaster.head(), _wanted(source, keymaster, snapshot)
        plan = plan_of(Catalog(source, keymaster.room_id, wanted, block_keys))
        report = RestoreReport(restored=wanted.number, newest_lost=head.number - wanted.number)
        _refuse_short(source, plan)
        _bring(source, store, keymaster, plan, report, Moved(plan.bytes(), progress, kept=kept))
        if wanted == head:
            report.snapshot = head.number
            leave_note(store, head.number, leave_tail(store, keymaster))
            keymaster.abandon(kept.lease)
        else:
            report.snapshot = _make_newest(store, keymaster, kept.lease, wanted, block_keys, now)
    except BaseException:
        keymaster.abandon(kept.lease)
        raise
    return report


def _wanted(source: Store, keymaster: Keymaster, number: int | None) -> Head:
    """The head row to restore."""
    head = keymaster.head()
    if not head.number:
        raise NotFoundError("the keymaster knows no snapshot: this room is empty")
    newest = _newest_held(source, keymaster, head)
    if number is None:
        if newest != head:
            raise ConflictError(
                f"the copy reaches snapshot {newest.number}, and the newest is {head.number}",
                hint=f"restore from a newer copy, or with --snapshot {newest.number}: what was put later is lost then",
            )
        return head
    if not 0 < number <= head.number:
        raise NotFoundError(f"there is no snapshot {number}; the newest is {head.number}")
    wanted = keymaster.head_at(number)
    if not source.exists(object_name(wanted.object_id)):
        raise NotFoundError(f"the copy does not hold snapshot {number}", hint=f"its newest is {newest.number}")
    return wanted


def _newest_held(source: Store, keymaster: Keymaster, head: Head) -> Head:
    for number in range(head.number, 0, -1):
        at = head if number == head.number else keymaster.head_at(number)
        if source.exists(object_name(at.object_id)):
            return at
    raise NotFoundError(
        f"{source.url} holds no snapshot that this keymaster knows", hint="is it a copy of this room, and is it whole?"
    )


def _refuse_short(source: Store, plan: Plan) -> None:
    """Say what a copy lacks before anything is written."""
    there: Mapping[str, int] = dict(source.list())
    lost = [item for item in missing(there, plan.items()) if item.name not in there or not _settled(source, item)]
    if lost:
        absent = sum(item.name not in there for item in lost)
        raise IntegrityError(
            f"the copy lacks {absent} objects that its snapshots name, and {len(lost) - absent} have another length"
            f"; the first is {lost[0].name}",
            hint="restore from another copy, or an older snapshot with --snapshot",
        )


def _settled(source: Store, item: Item) -> bool:
    try:
        return settled(source, item)
    except IntegrityError:
        return False


def _bring(
    source: Store, store: Store, keymaster: Keymaster, plan: Plan, report: RestoreReport, moved: Moved
) -> None:
    objects, manifests, snapshots = plan.stages()
    for folder in SIDE_FOLDERS:
        for name, _ in sorted(source.list(folder)):
            if folder != NOTES or keymaster.is_checkpoint(source.get(name).decode("utf-8", "replace")):
                store.put(name, source.get(name))  # what is no checkpoint of ours was put there by somebody else

    def write(item: Item, _pieces: Iterable[bytes]) -> None:
        fetch(source, store, item, moved)

    move(source, store, objects, moved, write)
    move(source, store, manifests, moved, write)
    for item in snapshots:
        move(source, store, [item], moved, write)
    report.objects, report.bytes = moved.objects, moved.bytes


def _make_newest(
    store: Store,
    keymaster: Keymaster,
    lease: Lease,
    wanted: Head,
    block_keys: BlockKeys,
    now: Callable[[], float],
) -> int:
    """Commit the content of an older snapshot as the newest one."""
    base = keymaster.head()
    content = Catalog(store, keymaster.room_id, wanted, block_keys).snapshot
    notes: dict[str, int | str] = {"act": "restore", "of": wanted.number}
    next_one = replace(
        content,
        number=base.number + 1,
        created=int(now() * 1e6),
        parent=wanted,
        checkpoint=keymaster.publish(),
        notes=notes,
    )
    object_id = random_bytes(16)
    file_key = keymaster.mint_file_key(lease, KIND_SNAPSHOT, object_id, None)
    data, head = seal_snapshot(next_one, file_key, keymaster.room_id, object_id)
    store.put(object_name(object_id), data)
    keymaster.commit(lease, base, head, {"restored": wanted.number})
    leave_note(store, head.number, leave_tail(store, keymaster))
    return head.number
