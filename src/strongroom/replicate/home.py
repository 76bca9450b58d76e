"""A bucket from a copy, whole or in part: opens both places and hands the work to `restore` or `repair`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.errors import UsageError
from strongroom.store.open import open_store

if TYPE_CHECKING:
    from strongroom.keymaster.api import Keymaster
    from strongroom.keymaster.log.tailapi import Gap
    from strongroom.replicate.repair import RepairReport
    from strongroom.replicate.restore import RestoreReport
    from strongroom.replicate.transfer import Progress


def restore_room(
    url: str,
    *,
    source: str,
    keys: Keymaster,
    actor: str,
    snapshot: int | None = None,
    progress: Progress | None = None,
) -> RestoreReport:
    """Bring a room home from a copy, into an empty place.

    Args:
        url: The new bucket: an empty folder or URL.
        source: Folder or URL of the copy.
        keys: The keymaster that goes with the room.
        actor: Who restores.
        snapshot: Number of an older snapshot; None for the newest, which the copy must hold.
        progress: Called with objects done, bytes done and bytes in all.

    Raises:
        ConflictError: The place is not empty, or the copy does not reach the newest snapshot and none was named.
        NotFoundError: It is no copy of this room, or does not hold that snapshot.
        IntegrityError: An object of the copy is missing or not the one that was committed.
    """
    from strongroom.replicate.locked import open_copy
    from strongroom.replicate.restore import restore

    if not actor:
        raise UsageError("actor is empty", hint="say who asks: it goes to the log")
    copy, store = open_copy(source), open_store(url)
    try:
        return restore(copy, store, keys, actor, snapshot=snapshot, progress=progress)
    finally:
        copy.close()
        store.close()


def repair_room(
    url: str, *, source: str, keys: Keymaster, actor: str, progress: Progress | None = None
) -> RepairReport:
    """Mend a bucket from a copy: what is missing or changed is fetched again, verified by its hash.

    Args:
        url: The bucket, as it is now.
        source: Folder or URL of the copy.
        keys: The keymaster that goes with the room.
        actor: Who mends.
        progress: Called with objects done, bytes done and None.

    Raises:
        NotFoundError: There is no store at one of the URLs.
    """
    from strongroom.replicate.locked import open_copy
    from strongroom.replicate.repair import repair

    copy, store = open_copy(source), open_store(url)
    try:
        return repair(copy, store, keys, actor, progress)
    finally:
        copy.close()
        store.close()


def accept_gap(url: str, *, keys: Keymaster, actor: str) -> Gap:
    """Go on without a part of the log that is lost for good: one actor asks, another agrees.

    What was erased, held or revoked in that part is not any more: it must be done again by hand.

    Args:
        url: The bucket.
        keys: The keymaster that was set back.
        actor: Who asks or agrees; needs the act `restore`.

    Raises:
        UsageError: Nothing is missing.
        DeniedError: The actor may not, or is the one who asked.
    """
    from strongroom.catalog.freshness import accept_gap as accept

    store = open_store(url, create=False)
    try:
        return accept(store, keys, actor)
    finally:
        store.close()
