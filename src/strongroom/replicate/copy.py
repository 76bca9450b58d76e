"""Copy the bucket to another place: the same sealed objects, and only those that are not there yet.

Rules it keeps:

1. An object goes before what names it, a snapshot last (`plan`); each is verified against its hash on the way
   (`transfer`). A copy cut short holds a usable older state, and the next one goes on where it stopped.
2. Its provider holds sealed bytes: no key goes there, and only what names objects is opened here to know what to copy.
3. A place that holds something else, or another room's copy, is left as it is.
4. Checkpoints of the log go along; they are signed, so that a copy cannot be made to look newer than it is.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from strongroom.catalog.catalog import Catalog
from strongroom.catalog.freshness import NOTES, TAIL
from strongroom.catalog.leasekeys import lease_block_keys
from strongroom.errors import ConflictError, IntegrityError, NotFoundError, UsageError
from strongroom.keymaster.api import BucketCopy
from strongroom.replicate.locked import LockedTarget
from strongroom.replicate.plan import Item, Plan, plan_of
from strongroom.replicate.transfer import Moved, Progress, missing, move, verify
from strongroom.write.kept import Kept

if TYPE_CHECKING:
    from strongroom.keymaster.api import Keymaster
    from strongroom.store.base import Store

SIDE_FOLDERS = (NOTES, TAIL)
"""What lies beside the objects and no snapshot names: signed checkpoints, and the sealed tail of the log."""


@dataclass
class CopyReport:
    """What a copy did: its snapshot, what it holds, and what had to be copied."""

    to: str
    snapshot: int = 0
    objects: int = 0
    bytes: int = 0
    copied_objects: int = 0
    copied_bytes: int = 0
    leaf: int = 0

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def copy(
    store: Store,
    keymaster: Keymaster,
    actor: str,
    target: Store,
    *,
    again: bool = False,
    progress: Progress | None = None,
    now: Callable[[], float] = time.time,
) -> CopyReport:
    """Copy what the newest snapshot and the kept ones before it reach; see `Room.copy`.

    Args:
        store: The bucket.
        keymaster: Opens manifests, remembers the copy and notes it.
        actor: Who copies.
        target: Where to; a `LockedTarget` for an archive, where what is there already is locked anew.
        again: Read what is there already and copy again what is not as it was committed.
        progress: Called with objects done, bytes done and bytes in all.
        now: Seconds since 1970.
    """
    if target.url == store.url:
        raise UsageError("a copy goes to another place than the room itself")
    lease = keymaster.begin_maintenance(actor=actor, verb="copy")
    kept = Kept(keymaster, lease)
    try:
        newest = Catalog(store, keymaster.room_id, keymaster.head(), lease_block_keys(keymaster, lease))
        if not newest.head.number:
            raise NotFoundError("the room has no snapshot yet: there is nothing to copy")
        plan = plan_of(newest)
        there = dict(target.list())
        _refuse_other(store, target, keymaster, plan, there)
        _copy_side(store, target, there)
        if again:
            _let_go_of_damaged(target, plan, there)
        if isinstance(target, LockedTarget):
            target.keep([item for item in plan.items() if there.get(item.name) == item.length])
        report = CopyReport(target.url, plan.newest, sum(1 for _ in plan.items()), plan.bytes())
        _move_all(store, target, plan, there, report, progress, kept)
        _copy_side(store, target, there)  # those of commits made meanwhile
        held = BucketCopy(target.url, plan.newest, report.objects, report.bytes, now())
        report.leaf = keymaster.note_copy(kept.lease, held).leaf
    except BaseException:
        keymaster.abandon(kept.lease)
        raise
    return report


def _move_all(
    store: Store,
    target: Store,
    plan: Plan,
    there: dict[str, int],
    report: CopyReport,
    progress: Progress | None,
    kept: Kept,
) -> None:
    stages = [missing(there, stage) for stage in plan.stages()]
    moved = Moved(sum(item.length for stage in stages for item in stage), progress, kept=kept)
    objects, manifests, snapshots = stages
    move(store, target, objects, moved)
    move(store, target, manifests, moved)
    for item in snapshots:  # one by one: the oldest first
        move(store, target, [item], moved)
    report.copied_objects, report.copied_bytes = moved.objects, moved.bytes


def _refuse_other(store: Store, target: Store, keymaster: Keymaster, plan: Plan, there: dict[str, int]) -> None:
    """Refuse a place that holds another room's copy, or anything else."""
    if there.items() <= dict(store.list(TAIL)).items():
        return  # nothing, or the beginning of a copy that was cut short
    notes = sorted(name for name in there if name.startswith(NOTES))
    for name in notes[-1:]:
        try:
            keymaster.check_checkpoint(target.get(name).decode("utf-8", "replace"))
        except IntegrityError as error:
            raise ConflictError(
                f"{target.url} holds a copy of another room, or one newer than this keymaster",
                hint=error.hint or "copy into an empty folder or bucket",
            ) from None
    if not notes and not any(item.name in there for item in plan.items()):
        raise ConflictError(f"{target.url} is not empty and holds no copy of this room", hint="copy to an empty place")


def _copy_side(store: Store, target: Store, there: dict[str, int]) -> None:
    """Checkpoints and the log's tail: small objects, each under a name of its own, the checkpoints last."""
    for folder in reversed(SIDE_FOLDERS):
        for name, size in sorted(store.list(folder)):
            if there.get(name) == size:
                continue
            with contextlib.suppress(NotFoundError):  # an old note goes while we look
                data = store.get(name)
                if name in there:
                    target.delete(name)
                with contextlib.suppress(ConflictError):
                    target.put(name, data)
                there[name] = len(data)


def _let_go_of_damaged(target: Store, plan: Plan, there: dict[str, int]) -> None:
    """Read what the target has, and remove what is not as it was committed, so that it is copied again."""
    for item in plan.items():
        if item.name in there and not _whole(target, item):
            target.delete(item.name)
            del there[item.name]


def _whole(target: Store, item: Item) -> bool:
    try:
        verify(target, item)
    except (IntegrityError, NotFoundError):
        return False
    return True
