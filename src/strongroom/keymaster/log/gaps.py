"""Accept that a part of the log is lost for good: two people, one entry that names the gap.

Rules it keeps:

1. It takes two actors who may restore: one asks, another agrees. Both are entries of the log. Where the policy that
   came home names one only, nobody else can be let in: a room has two from the start.
2. Nothing of the lost part is done again. Erasures, holds and revocations of it are lost with it, and the hint says so.
3. Counters leave a gap, so that nothing that the lost part gave out is given out again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.errors import DeniedError, UsageError
from strongroom.keymaster.core import Answer, Core
from strongroom.keymaster.log.publishing import Publishing
from strongroom.keymaster.log.tailapi import Gap
from strongroom.keys.rows import Rows, counter, put

if TYPE_CHECKING:
    from strongroom.audit.note import Checkpoint

GAPS = {"batch": 1 << 20, "ordinal": 1 << 24, "generation": 1 << 10}
"""How far a counter goes beyond the last one known: more than can have been given out in between."""


def leap(rows: Rows) -> None:
    """Move the counters on, within a transaction."""
    for name, gap in GAPS.items():
        put(rows, name, counter(rows, name) + gap)


def accept_gap(core: Core, publishing: Publishing, actor: str, checkpoint: str | None) -> Gap:
    """See `Tails.accept_gap`."""
    known = None if checkpoint is None else publishing.checkpoint_of(checkpoint)
    forked = known is not None and publishing.is_forked(known)

    def work(rows: Rows) -> Answer:
        core.standing.require(core.standing.decider.decide_act(actor, "restore"))
        if known is None:
            sql = "SELECT size, root, first, actor, accepted FROM gap WHERE root = ? AND accepted = 0"
            row = rows.execute(sql, (b"",)).fetchone()
        else:
            sql = "SELECT size, root, first, actor, accepted FROM gap WHERE size = ? AND root = ?"
            row = rows.execute(sql, (known.size, known.root)).fetchone()
        if row is None:
            return _ask(core, rows, actor, *_missing(rows, publishing.size(), known, forked=forked))
        end, root, first, asked, accepted = row
        if accepted:
            return {"leaf": -1, "first": first, "end": end, "accepted": True}
        if asked == actor:
            raise DeniedError("another person agrees to a gap than the one who asked", rule="room.second-person")
        rows.execute("UPDATE gap SET accepted = 1 WHERE size = ? AND root = ?", (end, root))
        leap(rows)
        put(rows, "placed", min(counter(rows, "placed"), first))
        put(rows, "behind", 0)
        return {**_note(core, rows, "accept-gap", actor, first, end), "accepted": True}

    answer = core.act("accept-gap", actor, work, alone=True)
    return Gap(int(answer["first"]), int(answer["end"]), bool(answer.get("accepted")), int(answer["leaf"]))


def _missing(rows: Rows, size: int, known: Checkpoint | None, *, forked: bool) -> tuple[int, int, bytes]:
    """The first entry that is given up, the end of the gap, and the root it is known by.

    Raises:
        UsageError: Nothing is missing.
    """
    if known is None:
        if not counter(rows, "behind"):
            raise UsageError("no checkpoint is left, and this keymaster did not come home from a copy")
        return size, size, b""
    if forked:  # what lies in a second place is the same in both histories
        return min(counter(rows, "placed"), known.size), known.size, known.root
    if known.size <= size:
        raise UsageError("nothing of the log is missing up to that checkpoint", hint="open the room with it")
    return size, known.size, known.root


def _ask(core: Core, rows: Rows, actor: str, first: int, end: int, root: bytes) -> Answer:
    rows.execute("INSERT INTO gap VALUES (?, ?, ?, ?, 0)", (end, root, first, actor))
    return _note(core, rows, "ask-gap", actor, first, end)


def _note(core: Core, rows: Rows, act: str, actor: str, first: int, end: int) -> Answer:
    extras = {"from": first, "to": end}
    leaf = core.journal.note(rows, core.journal.entry(rows, act, actor, extras=extras))
    return {"leaf": leaf, "first": first, "end": end}
