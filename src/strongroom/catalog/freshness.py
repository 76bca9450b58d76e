"""Is the newest snapshot the one that the keymaster knows, and the keymaster not older than the bucket?

Both are answered without a key, before anything is asked for. After every commit a *note* is put beside the objects:
the log's signed checkpoint, in plain, under the number of the snapshot; before it the *tail*, sealed pieces of the log
that it covers. A keymaster that was set back, log and all, has fewer log entries than the newest note says, and catches
up from the tail before anything else.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
from typing import TYPE_CHECKING

from strongroom.errors import ConflictError, IntegrityError, NotFoundError, UnavailableError
from strongroom.keymaster.log.tailapi import span_of
from strongroom.store.base import object_name

if TYPE_CHECKING:
    from strongroom.keymaster.api import Head, Keymaster
    from strongroom.keymaster.log.tailapi import CaughtUp, Gap
    from strongroom.store.base import Store

NOTES = "notes/"
TAIL = "tail/"
NOTES_KEPT = 16


def leave_tail(store: Store, keymaster: Keymaster) -> str:
    """Put every piece of the log that is in no second place yet beside the objects; returns a checkpoint they cover."""
    checkpoint = keymaster.publish()
    while (piece := keymaster.tails.next()) is not None:
        with contextlib.suppress(ConflictError):  # it was put, and the answer was lost
            store.put(piece.name, piece.sealed)
        keymaster.tails.placed(piece.end)
    return checkpoint


def prune_tail(store: Store, keymaster: Keymaster) -> int:
    """Remove pieces that every known copy of the keymaster is newer than; returns how many. Without copies all stay."""
    needed, gone = keymaster.tails.needed_from(), 0
    for name, _ in list(store.list(TAIL)):
        span = span_of(name)
        if span is not None and span[1] <= needed:
            store.delete(name)
            gone += 1
    return gone


def catch_up(store: Store, keymaster: Keymaster, *, stolen: bool = False) -> CaughtUp | None:
    """Let a keymaster that was set back do again what the newest note covers; None where it was not.

    Args:
        store: The bucket, or a copy of it.
        keymaster: The room's.
        stolen: Whether somebody else may have put notes there: those that this log did not sign are passed over.

    Raises:
        IntegrityError: The newest note is not of this keymaster's log; or it was set back, and the tail does not lead
            to the note; or it came home from a copy, and there is no note.
    """
    for name in sorted((name for name, _ in store.list(NOTES)), reverse=True):
        text = store.get(name).decode("utf-8", "replace")
        if stolen and not keymaster.is_checkpoint(text):
            continue
        if keymaster.tails.is_behind(text):
            return keymaster.tails.catch_up(text, [piece for piece, _ in store.list(TAIL)], store.get)
        _check_note(keymaster, text)
        return None
    try:
        own = keymaster.publish()
    except UnavailableError:  # its witnesses do not answer: it asks them only where it lacks nothing
        return None
    if not keymaster.tails.is_behind(own):
        return None
    if keymaster.head().number:
        raise IntegrityError(
            "no checkpoint lies beside the objects, so that nobody can say what this keymaster lacks",
            hint="restore the room from a copy that has them, or see `strongroom keys accept-gap`",
        )
    return keymaster.tails.catch_up(own, [], store.get)


def _check_note(keymaster: Keymaster, text: str) -> None:
    try:
        keymaster.check_checkpoint(text)
    except IntegrityError:
        if text.partition("\n")[0] == keymaster.log_key().partition("+")[0]:
            raise
        raise IntegrityError(
            "this keymaster is of another room than the bucket", hint="are `room` and `keys` those that go together?"
        ) from None


def accept_gap(store: Store, keymaster: Keymaster, actor: str) -> Gap:
    """Ask to go on without what the newest note covers and the keymaster lacks, or agree to it as a second person.

    When it is agreed to, the notes and pieces of the lost part are removed.

    Raises:
        UsageError: Nothing is missing.
        DeniedError: The actor may not restore, or is the one who asked.
    """
    notes = {name: store.get(name).decode("utf-8", "replace") for name, _ in list(store.list(NOTES))}
    own = sorted(name for name, text in notes.items() if keymaster.is_checkpoint(text))
    gap = keymaster.tails.accept_gap(actor, notes[own[-1]] if own else None)
    if gap.accepted:
        piece = keymaster.tails.next()
        start = gap.first if piece is None else piece.start
        for name, _ in list(store.list(TAIL)):
            span = span_of(name)
            if span is not None and span[1] > start:
                store.delete(name)
        for name in own:  # the newest last: until it is gone the room does not open, and this is done again
            try:
                keymaster.check_checkpoint(notes[name])
            except IntegrityError:
                store.delete(name)
        leave_act(store, keymaster, max(gap.leaf, gap.first))
    return gap


def verify_openable(keymaster: Keymaster, url: str) -> None:
    """Raise IntegrityError when the newest snapshot was sealed after the copy that the keymaster came home from."""
    newest, last = keymaster.head().number, keymaster.tails.openable()
    if last < newest:
        raise IntegrityError(
            f"snapshot {newest} was sealed with keys that this keymaster lacks: it came home from an older copy",
            hint=f"bring a newer copy of it, or go on from snapshot {last}: `strongroom restore --from {url} "
            f"--snapshot {last}` into an empty place, and put again what came since",
        )


def leave_note(store: Store, number: int, checkpoint: str) -> None:
    """Put the checkpoint that covers a commit beside its objects; the oldest notes go."""
    # A note of this number that is there already was left by a keymaster with more history than this one has: it stays,
    # and the next opening finds it.
    _leave(store, f"{NOTES}{number:012d}", checkpoint)


def leave_act(store: Store, keymaster: Keymaster, leaf: int) -> None:
    """Put what covers an act other than a commit beside the objects, durable when this returns.

    Args:
        store: The bucket.
        keymaster: The room's.
        leaf: Entry of the act: its note sorts behind the newest snapshot's own and before the next one's.
    """
    checkpoint = leave_tail(store, keymaster)
    _leave(store, f"{NOTES}{keymaster.head().number:012d}-{leaf:012d}", checkpoint)


def _leave(store: Store, name: str, checkpoint: str) -> None:
    with contextlib.suppress(ConflictError):
        store.put(name, checkpoint.encode())
    for old in sorted(old for old, _ in store.list(NOTES))[:-NOTES_KEPT]:
        store.delete(old)


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
