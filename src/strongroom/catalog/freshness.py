"""Is the newest snapshot the one that the keymaster knows, and the keymaster not older than the bucket?

Both are answered without a key, before anything is asked for. After every commit a *note* is put beside the objects:
the log's signed checkpoint, in plain, under the number of the snapshot. A keymaster that was set back, log and all, has
fewer log entries than the newest note says.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
from typing import TYPE_CHECKING

from strongroom.errors import ConflictError, IntegrityError, NotFoundError
from strongroom.store.base import object_name

if TYPE_CHECKING:
    from strongroom.keymaster.api import Head, Keymaster
    from strongroom.store.base import Store

NOTES = "notes/"
NOTES_KEPT = 16


def leave_note(store: Store, number: int, checkpoint: str) -> None:
    """Put the checkpoint that covers a commit beside its objects; the oldest notes go."""
    # A note of this number that is there already was left by a keymaster with more history than this one has: it stays,
    # and the next opening finds it.
    with contextlib.suppress(ConflictError):
        store.put(f"{NOTES}{number:012d}", checkpoint.encode())
    for name in sorted(name for name, _ in store.list(NOTES))[:-NOTES_KEPT]:
        store.delete(name)


def leave_act_note(store: Store, number: int, leaf: int, checkpoint: str) -> None:
    """Put the checkpoint that covers an act other than a commit beside the objects.

    Args:
        store: The bucket.
        number: Number of the newest snapshot.
        leaf: Entry of the act: its note sorts behind the snapshot's own and before the next one's.
        checkpoint: Text of the signed checkpoint.
    """
    with contextlib.suppress(ConflictError):
        store.put(f"{NOTES}{number:012d}-{leaf:012d}", checkpoint.encode())
    for name in sorted(name for name, _ in store.list(NOTES))[:-NOTES_KEPT]:
        store.delete(name)


def verify_notes(store: Store, keymaster: Keymaster) -> None:
    """Raise IntegrityError if the newest note covers more of the log than the keymaster has, or is not its own."""
    newest = max((name for name, _ in store.list(NOTES)), default=None)
    if newest is None:
        return
    try:
        text = store.get(newest).decode()
    except UnicodeDecodeError:
        raise IntegrityError(f"{newest} is not a checkpoint of this room's log") from None
    keymaster.check_checkpoint(text)


def verify_head(store: Store, head: Head) -> None:
    """Raise IntegrityError unless the store holds the very snapshot that the head row names."""
    if not head.number:
        return
    try:
        data = store.get(object_name(head.object_id))
    except NotFoundError:
        raise IntegrityError(
            f"snapshot {head.number} is missing from the bucket: it was removed, or this is another copy or room",
            hint="restore the bucket from a copy that has it",
        ) from None
    if len(data) != head.length or not hmac.compare_digest(hashlib.sha256(data).digest(), head.sha256):
        raise IntegrityError(
            f"snapshot {head.number} in the bucket is not the one that was committed",
            hint="restore the bucket from a copy that has it",
        )
