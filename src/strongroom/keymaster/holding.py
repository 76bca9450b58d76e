"""Legal holds: a subject that is held cannot be erased until somebody else lifts the hold.

Rules it keeps:

1. A hold names who set it. The same actor does not lift it: it takes a second person.
2. Setting and lifting are each an entry of the log, with the subject as a label and the reason by its hash.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from strongroom.errors import ConflictError, DeniedError, NotFoundError, UsageError
from strongroom.keymaster.api import Receipt
from strongroom.keymaster.core import Answer, Core
from strongroom.keymaster.erasing import Erasing, check_reason
from strongroom.keymaster.erasureapi import ERASED, HELD, UNKNOWN
from strongroom.keys.pages import Bytes2D, halves
from strongroom.keys.rows import Rows
from strongroom.keys.writer import distinct

HOLD_PERSONS_MAX = 1_000


class Holding:
    """Holds of one keymaster.

    Args:
        core: Keys and state.
        erasing: Says where a subject stands.
    """

    def __init__(self, core: Core, erasing: Erasing) -> None:
        self._core = core
        self._erasing = erasing

    def hold(self, actor: str, identifiers: Sequence[str], reason: str, *, lift: bool) -> Receipt:
        """See `Erasures.hold`."""
        core, act = self._core, "unhold" if lift else "hold"
        check_reason(reason)
        if not 0 < len(identifiers) <= HOLD_PERSONS_MAX:
            raise UsageError(f"hold 1 to {HOLD_PERSONS_MAX} subjects at once")
        joined = b"".join(core.subject.one(identifier.encode()) for identifier in identifiers)
        tokens = np.frombuffer(joined, np.uint8).reshape(-1, 16)
        own, _place = distinct(tokens, *halves(tokens))

        def work(rows: Rows) -> Answer:
            core.standing.require(core.standing.decider.decide_act(actor, "hold"))
            # nobody commits while this transaction has the write lock: what stands now stands when it ends
            (self._check_lift if lift else self._check_set)(rows, actor, own)
            now = core.journal.now(rows)
            root, month, sealed = core.journal.labels(rows, own)
            digest, reason_month, sealed_reason = core.journal.reason(rows, reason)
            entry = core.journal.entry(rows, act, actor, count=len(own), labels=root, reason=digest)
            leaf = core.journal.note(rows, entry)
            core.journal.keep_labels(rows, leaf, month, sealed)
            core.journal.keep_reason(rows, leaf, reason_month, sealed_reason)
            if lift:
                rows.executemany("DELETE FROM hold WHERE token = ?", [(token.tobytes(),) for token in own])
            else:
                sql = "INSERT INTO hold VALUES (?, ?, ?, ?)"
                rows.executemany(sql, [(token.tobytes(), actor, leaf, now) for token in own])
            return {"leaf": leaf, "time": now}

        answer = core.act(act, actor, work)
        return Receipt(answer["leaf"], answer["time"], act, {"persons": len(own)})

    def _check_set(self, _rows: Rows, _actor: str, tokens: Bytes2D) -> None:
        states = self._erasing.states(tokens).tolist()
        if UNKNOWN in states:
            raise NotFoundError("no such subject in this room")
        if ERASED in states:
            raise ConflictError("the subject was erased: there is nothing to hold")
        if HELD in states:
            raise ConflictError("the subject is held already")

    def _check_lift(self, rows: Rows, actor: str, tokens: Bytes2D) -> None:
        sql = "SELECT actor FROM hold WHERE token = ?"
        setters = [rows.execute(sql, (token.tobytes(),)).fetchone() for token in tokens]
        if None in setters:
            raise NotFoundError("the subject is not held")
        if any(setter == actor for (setter,) in setters):
            raise DeniedError("a hold is lifted by another person than the one who set it", rule="room.second-person")
