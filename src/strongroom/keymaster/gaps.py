"""Accept that a part of the log is lost for good: two people, one entry that names the gap.

Rules it keeps:

1. It takes two actors who may restore: one asks, another agrees. Both are entries of the log.
2. Nothing of the lost part is done again. Erasures, holds and revocations of it are lost with it, and the hint says so.
3. Counters leave a gap, so that nothing that the lost part gave out is given out again.
"""

from __future__ import annotations

from strongroom.audit.note import open_checkpoint
from strongroom.errors import DeniedError, UsageError
from strongroom.keymaster.core import Answer, Core
from strongroom.keymaster.publishing import Publishing
from strongroom.keymaster.tailapi import Gap
from strongroom.keys.rows import Rows, counter, put

GAPS = {"batch": 1 << 20, "ordinal": 1 << 24, "generation": 1 << 10}
"""How far a counter goes beyond the last one known: more than can have been given out in between."""


def leap(rows: Rows) -> None:
    """Move the counters on, within a transaction."""
    for name, gap in GAPS.items():
        put(rows, name, counter(rows, name) + gap)


def accept_gap(core: Core, publishing: Publishing, actor: str, checkpoint: str) -> Gap:
    """See `Tails.accept_gap`."""
    known = open_checkpoint(checkpoint, publishing.origin, publishing.keys)

    def work(rows: Rows) -> Answer:
        core.standing.require(core.standing.decider.decide_act(actor, "restore"))
        sql = "SELECT first, actor, accepted FROM gap WHERE size = ? AND root = ?"
        row = rows.execute(sql, (known.size, known.root)).fetchone()
        if row is None:
            if known.size <= publishing.size():
                raise UsageError("nothing of the log is missing up to that checkpoint")
            first = publishing.size()
            rows.execute("INSERT INTO gap VALUES (?, ?, ?, ?, 0)", (known.size, known.root, first, actor))
            return _note(core, rows, "ask-gap", actor, first, known.size)
        first, asked, accepted = row
        if accepted:
            return {"leaf": -1, "first": first, "accepted": True}
        if asked == actor:
            raise DeniedError("another person agrees to a gap than the one who asked", rule="room.second-person")
        rows.execute("UPDATE gap SET accepted = 1 WHERE size = ? AND root = ?", (known.size, known.root))
        leap(rows)
        put(rows, "placed", min(counter(rows, "placed"), first))
        return {**_note(core, rows, "accept-gap", actor, first, known.size), "accepted": True}

    answer = core.act("accept-gap", actor, work)
    return Gap(int(answer["first"]), known.size, bool(answer.get("accepted")), int(answer["leaf"]))


def _note(core: Core, rows: Rows, act: str, actor: str, first: int, end: int) -> Answer:
    extras = {"from": first, "to": end}
    return {"leaf": core.journal.note(rows, core.journal.entry(rows, act, actor, extras=extras)), "first": first}
