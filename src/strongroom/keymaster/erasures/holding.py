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
from strongroom.keymaster.core import Answer, Core, Request
from strongroom.keymaster.erasures.api import ERASED, HELD, UNKNOWN
from strongroom.keymaster.erasures.erasing import Erasing
from strongroom.keymaster.reason import check_reason
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

    def hold(
        self,
        actor: str,
        subjects: Sequence[Sequence[str]],
        reason: str,
        *,
        lift: bool,
        once: Request | None = None,
    ) -> Receipt:
        """See `Erasures.hold`; `once` names the request where it may come again, and is done once."""
        core, act = self._core, "unhold" if lift else "hold"
        check_reason(reason)
        if not 0 < len(subjects) <= HOLD_PERSONS_MAX:
            raise UsageError(f"hold 1 to {HOLD_PERSONS_MAX} subjects at once")
        core.standing.refresh()
        if core.standing.decider.decide_act(actor, "hold").allowed:
            own = self._known(subjects)
        else:
            own = np.empty((0, 16), np.uint8)  # refused below, and noted; whether they are there is not looked up

        def work(rows: Rows) -> Answer:
            core.standing.require(core.standing.decider.decide_act(actor, "hold"))
            # nobody commits while this transaction has the write lock: what stands now stands when it ends
            (self._check_lift if lift else self._check_set)(rows, actor, own)
            now = core.journal.now(rows)
            labels = core.journal.labels(rows, own)
            told = {"role": core.standing.policy.role_for(actor, "hold"), "count": len(own), "labels": labels}
            leaf, _ = core.journal.note_because(rows, act, actor, reason, **told)
            if lift:
                rows.executemany("DELETE FROM hold WHERE token = ?", [(token.tobytes(),) for token in own])
            else:
                sql = "INSERT INTO hold VALUES (?, ?, ?, ?)"
                rows.executemany(sql, [(token.tobytes(), actor, leaf, now) for token in own])
            return {"leaf": leaf, "time": now, "persons": len(own)}

        answer = core.act(act, actor, work, once=once)
        return Receipt(answer["leaf"], answer["time"], act, {"persons": answer["persons"]})

    def _known(self, subjects: Sequence[Sequence[str]]) -> Bytes2D:
        """Tokens of the subjects, sorted and distinct: of each the forms that are somebody.

        Raises:
            NotFoundError: A subject was never seen under any of its forms.
        """
        found = []
        for forms in subjects:
            joined = b"".join(self._core.subject.one(form.encode()) for form in forms)
            tokens = np.frombuffer(joined, np.uint8).reshape(-1, 16)
            known = tokens[self._erasing.states(tokens) != UNKNOWN] if len(tokens) else tokens
            if not len(known):
                raise NotFoundError("no such subject in this room")
            found.append(known)
        every = np.concatenate(found)
        own, _place = distinct(every, *halves(every))
        return own

    def _check_set(self, _rows: Rows, _actor: str, tokens: Bytes2D) -> None:
        states = self._erasing.states(tokens).tolist()
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
