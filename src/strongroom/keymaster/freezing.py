"""Freeze an actor, a purpose or the whole room at once; another person agrees before it goes on.

Rules it keeps:

1. Freezing takes one person and holds from its commit on, in every process.
2. Lifting takes two: one asks, another agrees (`approvals`). A frozen actor is neither.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from strongroom.errors import ConflictError, NotFoundError, UsageError
from strongroom.keymaster.api import Receipt
from strongroom.keymaster.approvals import Approvals, Asked
from strongroom.keymaster.core import Answer, Core
from strongroom.keymaster.reason import check_reason
from strongroom.keys.rows import Rows, take
from strongroom.purpose.freeze import KINDS, ROOM


@dataclass(frozen=True)
class Frozen:
    """One freeze: of what, by whom, and since when (seconds since 1970)."""

    kind: str
    name: str
    actor: str
    leaf: int
    at: float

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


class Freezing:
    """The freezes of one keymaster.

    Args:
        core: Keys and state.
        approvals: Where lifting is asked and agreed to.
    """

    def __init__(self, core: Core, approvals: Approvals) -> None:
        self._core = core
        self._approvals = approvals
        approvals.does("unfreeze", self._lift)

    def all(self) -> list[Frozen]:
        """Everything that is frozen, the oldest first."""
        sql = "SELECT kind, name, actor, leaf, at FROM frozen ORDER BY at, kind, name"
        return [Frozen(*row) for row in self._core.state.read().execute(sql).fetchall()]

    def freeze(self, actor: str, kind: str, name: str, reason: str) -> Receipt:
        """Stop an actor, a purpose, or the room.

        Args:
            actor: Who does it; needs the act `freeze`.
            kind: actor, purpose or room.
            name: Which; `room` for the room.
            reason: Why; kept sealed.

        Raises:
            ConflictError: It is frozen already.
            NotFoundError: The policy names no such actor or purpose.
        """
        core = self._core
        check_reason(reason)
        _check(kind, name)

        def work(rows: Rows) -> Answer:
            standing = core.standing
            standing.require(standing.decider.decide_act(actor, "freeze"))
            known = {"actor": standing.policy.actors, "purpose": standing.policy.purposes, ROOM: {ROOM: None}}[kind]
            if name not in known:
                raise NotFoundError(f"the policy names no {kind} {name}")
            if rows.execute("SELECT 1 FROM frozen WHERE kind = ? AND name = ?", (kind, name)).fetchone() is not None:
                raise ConflictError(f"{kind} {name} is frozen already")
            now = core.journal.now(rows)
            extras = {"kind": kind, "name": name}
            leaf, _ = core.journal.note_because(rows, "freeze", actor, reason, extras=extras)
            rows.execute("INSERT INTO frozen VALUES (?, ?, ?, ?, ?)", (kind, name, actor, leaf, now))
            take(rows, "standing")
            return {"leaf": leaf, "time": now}

        answer = core.act("freeze", actor, work)
        return Receipt(answer["leaf"], answer["time"], "freeze", {})

    def ask_lift(self, actor: str, kind: str, name: str, reason: str) -> Asked:
        """Ask to lift a freeze; another person agrees.

        Raises:
            NotFoundError: It is not frozen.
        """
        check_reason(reason)
        _check(kind, name)

        def check(rows: Rows) -> None:
            if rows.execute("SELECT 1 FROM frozen WHERE kind = ? AND name = ?", (kind, name)).fetchone() is None:
                raise NotFoundError(f"{kind} {name} is not frozen")

        return self._approvals.ask(actor, "unfreeze", {"kind": kind, "name": name}, reason, check)

    def _lift(self, rows: Rows, asked: Asked, _actor: str) -> dict[str, Any]:
        kind, name = str(asked.said["kind"]), str(asked.said["name"])
        rows.execute("DELETE FROM frozen WHERE kind = ? AND name = ?", (kind, name))
        take(rows, "standing")
        return {"kind": kind, "name": name}


def _check(kind: str, name: str) -> None:
    if kind not in KINDS or (kind == ROOM) != (name == ROOM):
        raise UsageError(f"freeze an actor, a purpose, or the room: {', '.join(KINDS)}")
