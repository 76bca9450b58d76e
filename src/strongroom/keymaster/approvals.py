"""What one person asks and another agrees to: changes of policy, schema and credentials, lifting a freeze, reads.

Rules it keeps:

1. Asking and deciding are each an entry of the log. What is agreed to is done in the transaction that agrees to it.
2. Nobody decides what they asked, under another role either, and nothing is decided after its time.
3. Who decides has the right to what is asked: the act itself, or for a read a role that the purpose names.
4. A read that was agreed to is for one actor, one purpose, so many persons at most, and a time; the persons are counted
   in a scope of its own besides all others.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from strongroom.errors import ConflictError, DeniedError, NotFoundError, UsageError
from strongroom.keymaster.core import Answer, Core
from strongroom.keymaster.reason import REASON_LENGTH_MAX
from strongroom.keys.rows import Rows
from strongroom.purpose.cedar import Decision

WAITS_SECONDS = 7 * 24 * 3600.0
WAITING_MAX = 10_000
ID_BYTES = 8
READ = "read"
ACT_OF: Mapping[str, str] = {
    "policy": "policy", "schema": "schema", "actors": "actors", "identity": "actors", "unfreeze": "freeze",
    "code-row": "disclose",
}  # fmt: skip
"""The act that asking and deciding each kind takes; a read goes by its purpose."""

WAITING, APPROVED, REFUSED = "waiting", "approved", "refused"
NOT_YET = "approval.waiting"
"""The rule that refuses what waits for another person's agreement."""
_COLUMNS = "id, kind, said, month, reason, actor, asked, expires, state, decided_by, decided"

Doer = Callable[[Rows, "Asked", str], dict[str, Any]]
"""Does what was agreed to, within the transaction: what was asked, and who agreed; what it returns goes to the log."""


@dataclass(frozen=True)
class Asked:
    """Something that was asked. Times are seconds since 1970; while it waits, `decided` is 0.0, `decided_by` empty."""

    id: str
    kind: str
    said: Mapping[str, Any] = field(repr=False)
    reason: str = field(repr=False)
    actor: str
    asked: float
    expires: float
    state: str
    decided_by: str
    decided: float

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**vars(self), "said": dict(self.said)}


class Approvals:
    """What waits at one keymaster.

    Args:
        core: Keys and state.
    """

    def __init__(self, core: Core) -> None:
        self._core = core
        self._doers: dict[str, Doer] = {}

    def does(self, kind: str, doer: Doer) -> None:
        """Say what is done when a kind is agreed to."""
        self._doers[kind] = doer

    # -- asking ---------------------------------------------------------------------------------
    def ask(self, actor: str, kind: str, said: Mapping[str, Any], reason: str, check: Callable[[Rows], None]) -> Asked:
        """Ask for something.

        Args:
            actor: Who asks.
            kind: One of `ACT_OF`, or `READ`.
            said: What is asked, as JSON.
            reason: Why; kept sealed.
            check: Called within the transaction: raises when it could not be done.
        """
        core = self._core
        if len(reason) > REASON_LENGTH_MAX:
            raise UsageError(f"a reason has at most {REASON_LENGTH_MAX} characters")
        ident = core.entropy(ID_BYTES).hex()

        def work(rows: Rows) -> Answer:
            core.standing.require(self._may_ask(actor, kind, said))
            check(rows)
            waiting = rows.execute("SELECT count(*) FROM approval WHERE state = 'waiting'").fetchone()[0]
            if waiting >= WAITING_MAX:
                raise UsageError(f"{WAITING_MAX} requests wait already")
            now = core.journal.now(rows)
            sealed = core.journal.seal_text(rows, reason, b"approval" + ident.encode())
            row = (ident, kind, json.dumps(said), *sealed, actor, now, now + WAITS_SECONDS)
            rows.execute("INSERT INTO approval VALUES (?, ?, ?, ?, ?, ?, ?, ?, 'waiting', NULL, NULL)", row)
            return {"leaf": self._note(rows, "ask", actor, ident, kind, said, {})}

        core.act("ask", actor, work)
        return self.of(ident)

    def ask_read(self, actor: str, purpose: str, persons: int, reason: str) -> Asked:
        """Ask to read more, or other, than a purpose lets one person read.

        Args:
            actor: Who is going to read.
            purpose: Under which purpose; it says who may agree, and for how long.
            persons: How many distinct persons at most.
            reason: Why.

        Raises:
            DeniedError: The purpose is not the actor's, or takes no approvals.
            UsageError: No persons, or no reason.
        """
        if not reason.strip() or not 0 < persons < 1 << 53:
            raise UsageError("say how many persons, and why")

        def check(_rows: Rows) -> None:
            if self._core.standing.policy.purposes[purpose].approval is None:
                raise DeniedError(f"purpose {purpose} takes no approvals", rule=f"purposes.{purpose}.approval")

        return self.ask(actor, READ, {"purpose": purpose, "persons": persons}, reason, check)

    def _may_ask(self, actor: str, kind: str, said: Mapping[str, Any]) -> Decision:
        if kind == READ:
            return self._may_read(actor, str(said["purpose"]))
        return self._core.standing.decider.decide_act(actor, ACT_OF[kind])

    def _may_read(self, actor: str, purpose: str) -> Decision:
        standing = self._core.standing
        rule, known = standing.policy.purposes.get(purpose), standing.policy.actors.get(actor)
        stopped = standing.decider.stopped(actor, purpose)
        if stopped is not None:
            return stopped
        if rule is None or known is None or not set(rule.roles) & set(known.roles) or actor in rule.deny:
            return Decision(False, f"purposes.{purpose}.roles", f"{actor} may not read for {purpose}")
        return Decision(True, f"purposes.{purpose}.roles", f"{actor} reads for {purpose}")

    # -- deciding -------------------------------------------------------------------------------
    def decide(self, actor: str, ident: str, *, agree: bool) -> Asked:
        """Agree to what was asked, which does it, or refuse it.

        Raises:
            NotFoundError: Nothing of this id was asked.
            ConflictError: It was decided already, or its time is over.
            DeniedError: The actor asked it, or has no right to it.
        """
        core, word = self._core, "approve" if agree else "refuse"

        def work(rows: Rows) -> Answer:
            asked = self._find(rows, ident)
            if asked is None:
                raise NotFoundError("nothing was asked under this id", hint="`strongroom approve` lists what waits")
            core.standing.require(self._may_decide(actor, asked))
            now = core.journal.now(rows)
            if asked.state != WAITING:
                raise ConflictError(f"it was {asked.state} by {asked.decided_by}")
            if asked.expires <= now:
                raise ConflictError("its time is over", hint="ask again")
            done = self._doers[asked.kind](rows, asked, actor) if agree and asked.kind in self._doers else {}
            expires = self._ends(asked, now) if agree else asked.expires
            change = "UPDATE approval SET state = ?, decided_by = ?, decided = ?, expires = ? WHERE id = ?"
            rows.execute(change, (APPROVED if agree else REFUSED, actor, now, expires, ident))
            more = {"asked": asked.actor, **done}
            return {"leaf": self._note(rows, word, actor, ident, asked.kind, asked.said, more)}

        core.act(word, actor, work)
        return self.of(ident)

    def _may_decide(self, actor: str, asked: Asked) -> Decision:
        if actor == asked.actor:
            return Decision(False, "room.second-person", "another person decides than the one who asked")
        if asked.kind != READ:
            return self._core.standing.decider.decide_act(actor, ACT_OF[asked.kind])
        standing, purpose = self._core.standing, str(asked.said["purpose"])
        rule = f"purposes.{purpose}.approval.roles"
        stopped = standing.decider.stopped(actor, purpose)
        if stopped is not None:
            return stopped
        found = standing.policy.purposes.get(purpose)
        roles = () if found is None or found.approval is None else found.approval.roles
        known = standing.policy.actors.get(actor)
        if known is None or not set(roles) & set(known.roles):
            return Decision(False, rule, f"{actor} does not approve reads for {purpose}")
        return Decision(True, rule, f"{actor} approves reads for {purpose}")

    def _ends(self, asked: Asked, now: float) -> float:
        """When what is agreed to now ends: a read lasts as long as its purpose says."""
        if asked.kind != READ:
            return asked.expires
        approval = self._core.standing.policy.purposes[str(asked.said["purpose"])].approval
        return now + (0.0 if approval is None else approval.hours * 3600.0)

    # -- looking --------------------------------------------------------------------------------
    def waiting(self, actor: str) -> list[Asked]:
        """What waits that the actor may decide, and what they asked themselves that waits or is in force."""
        core = self._core
        core.standing.refresh()
        now = core.clock()
        sql = f"SELECT {_COLUMNS} FROM approval WHERE expires > ? AND state != 'refused' ORDER BY asked, id"  # noqa: S608
        rows = core.state.read()
        found = [self._asked(rows, row) for row in rows.execute(sql, (now,)).fetchall()]
        return [
            asked
            for asked in found
            if asked.actor == actor or (asked.state == WAITING and self._may_decide(actor, asked).allowed)
        ]

    def of(self, ident: str) -> Asked:
        """What was asked under an id; NotFoundError if nothing was."""
        found = self._find(self._core.state.read(), ident)
        if found is None:
            raise NotFoundError("nothing was asked under this id")
        return found

    def granted(self, rows: Rows, ident: str, actor: str, purpose: str) -> int:
        """How many persons a read that was agreed to is for.

        Raises:
            DeniedError: There is none of this id for the actor and the purpose, or not any more.
        """
        asked = self._find(rows, ident)
        if (
            asked is None
            or (asked.kind, asked.actor, asked.said.get("purpose")) != (READ, actor, purpose)
            or asked.state not in (APPROVED, WAITING)
        ):
            raise DeniedError("no approval of this id for this actor and purpose", rule="approval.of-another")
        if asked.expires <= self._core.journal.now(rows):
            raise DeniedError("the approval has ended", rule="approval.ended", hint="ask for another")
        if asked.state == WAITING:
            hint = "somebody who may agrees with `strongroom approve`"
            raise DeniedError("nobody has agreed to this yet", rule=NOT_YET, hint=hint)
        return int(asked.said["persons"])

    def _find(self, rows: Rows, ident: str) -> Asked | None:
        sql = f"SELECT {_COLUMNS} FROM approval WHERE id = ?"  # noqa: S608
        row = rows.execute(sql, (ident,)).fetchone()
        return None if row is None else self._asked(rows, row)

    def _asked(self, rows: Rows, row: tuple[Any, ...]) -> Asked:
        ident, kind, said, month, sealed, actor, asked, expires, state, decided_by, decided = row
        reason = self._core.journal.open_text(rows, month, sealed, b"approval" + ident.encode())
        times = (asked, expires, state, decided_by or "", decided or 0.0)
        return Asked(ident, kind, json.loads(said), reason, actor, *times)

    def _note(
        self, rows: Rows, act: str, actor: str, ident: str, kind: str, said: Mapping[str, Any], more: Mapping[str, Any]
    ) -> int:
        core = self._core
        purpose = said.get("purpose") if kind == READ else None
        extras = {"approval": ident, "for": kind, **more}
        if kind == READ:
            extras["persons"] = said["persons"]
        return core.journal.note(rows, core.journal.entry(rows, act, actor, purpose=purpose, extras=extras))
