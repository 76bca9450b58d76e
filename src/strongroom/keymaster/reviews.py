"""Break-glass: a reading that nobody agreed to beforehand, told at once, and open for review until another closes it.

Rules it keeps:

1. Only where the purpose names a role for it. Its entry in the log is an act of its own, `break-glass`, of which
   `notices` tells.
2. It lifts the need for another person's agreement, and nothing else: fields, budgets and freezes hold.
3. A review is closed by somebody else, with a text.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from strongroom.errors import ConflictError, DeniedError, NotFoundError
from strongroom.keymaster.api import Receipt
from strongroom.keymaster.core import Answer, Core
from strongroom.keymaster.reason import check_reason
from strongroom.keys.rows import Rows
from strongroom.purpose.cedar import Decision


@dataclass(frozen=True)
class Review:
    """One reading that was opened by breaking the glass. Times are seconds since 1970; `closed` is 0.0 while open."""

    id: str
    actor: str
    purpose: str
    leaf: int
    at: float
    closed_by: str
    closed: float
    reason: str = field(repr=False)
    text: str = field(repr=False)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


class Reviews:
    """The reviews of one keymaster.

    Args:
        core: Keys and state.
    """

    def __init__(self, core: Core) -> None:
        self._core = core

    def may_break(self, actor: str, purpose: str) -> Decision:
        """Whether a purpose lets an actor break the glass."""
        policy = self._core.standing.policy
        rule, known = policy.purposes.get(purpose), policy.actors.get(actor)
        place = f"purposes.{purpose}.break_glass"
        if rule is None or known is None or not set(rule.break_glass) & set(known.roles):
            return Decision(False, place, f"{actor} may not break the glass for {purpose}")
        return Decision(True, place, f"{actor} may break the glass for {purpose}")

    def open(self, rows: Rows, ident: str, actor: str, purpose: str, reason: str, leaf: int) -> None:
        """Open a review within the transaction that opens the reading."""
        core = self._core
        sealed = core.journal.seal_text(rows, reason, b"review" + ident.encode())
        row = (ident, actor, purpose, leaf, core.journal.now(rows), *sealed)
        rows.execute("INSERT INTO review VALUES (?, ?, ?, ?, ?, ?, ?, NULL, NULL, NULL, NULL)", row)

    def all(self, actor: str) -> list[Review]:
        """Every review that the actor may close, and their own; open ones first, then the newest."""
        core = self._core
        core.standing.refresh()
        sql = (
            "SELECT id, actor, purpose, leaf, at, closed_by, closed, month, sealed, closed_month, closing"
            " FROM review ORDER BY at DESC, id"
        )
        rows = core.state.read()
        found = [self._review(rows, row) for row in rows.execute(sql).fetchall()]
        own = [r for r in found if r.actor == actor or self._may_close(actor, r.purpose).allowed]
        return sorted(own, key=lambda review: review.closed > 0)

    def close(self, actor: str, ident: str, text: str) -> Receipt:
        """Close a review.

        Args:
            actor: Who looked into it: not who broke the glass.
            ident: Id of the review.
            text: What came of it; kept sealed.

        Raises:
            NotFoundError: There is none.
            ConflictError: It is closed.
            DeniedError: The actor broke the glass, or has none of the roles that approve reads for the purpose.
        """
        core = self._core
        check_reason(text)

        def work(rows: Rows) -> Answer:
            row = rows.execute("SELECT actor, purpose, closed FROM review WHERE id = ?", (ident,)).fetchone()
            if row is None:
                raise NotFoundError("there is no such review", hint="`strongroom review` lists them")
            if row[0] == actor:
                raise DeniedError("another person closes a review", rule="room.second-person")
            core.standing.require(self._may_close(actor, row[1]))
            if row[2] is not None:
                raise ConflictError("the review is closed already")
            now = core.journal.now(rows)
            extras = {"review": ident, "of": row[0]}
            leaf, _ = core.journal.note_because(rows, "close-review", actor, text, purpose=row[1], extras=extras)
            closing = core.journal.seal_text(rows, text, b"closed" + ident.encode())
            change = "UPDATE review SET closed_by = ?, closed = ?, closed_month = ?, closing = ? WHERE id = ?"
            rows.execute(change, (actor, now, *closing, ident))
            return {"leaf": leaf, "time": now}

        answer = core.act("close-review", actor, work)
        return Receipt(answer["leaf"], answer["time"], "close-review", {})

    def _may_close(self, actor: str, purpose: str) -> Decision:
        policy = self._core.standing.policy
        rule, known = policy.purposes.get(purpose), policy.actors.get(actor)
        roles = () if rule is None or rule.approval is None else rule.approval.roles
        place = f"purposes.{purpose}.approval.roles"
        if known is None or not set(roles) & set(known.roles):
            return Decision(False, place, f"{actor} does not review reads for {purpose}")
        return Decision(True, place, f"{actor} reviews reads for {purpose}")

    def _review(self, rows: Rows, row: tuple[Any, ...]) -> Review:
        ident, actor, purpose, leaf, at, closed_by, closed, month, sealed, closed_month, closing = row
        open_text = self._core.journal.open_text
        reason = open_text(rows, month, sealed, b"review" + ident.encode())
        text = "" if closing is None else open_text(rows, closed_month, closing, b"closed" + ident.encode())
        return Review(ident, actor, purpose, leaf, at, closed_by or "", closed or 0.0, reason, text)
