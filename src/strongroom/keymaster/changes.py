"""Another policy or schema: kept at once where keys and caller are one process, else when another person agrees."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from strongroom.keymaster.api import Receipt
from strongroom.keymaster.core import Answer, Core
from strongroom.keys.rows import Rows

if TYPE_CHECKING:
    from strongroom.keymaster.approvals import Approvals, Asked

KINDS = ("policy", "schema")


class Changes:
    """Changes of policy and schema at one keymaster.

    Args:
        core: Keys and state.
        approvals: Where changes are asked and agreed to.
    """

    def __init__(self, core: Core, approvals: Approvals) -> None:
        self._core = core
        self._approvals = approvals
        for kind in KINDS:
            approvals.does(kind, self._agreed)

    def make(self, actor: str, kind: str, text: str) -> Receipt:
        """Keep a new version from TOML text.

        Args:
            actor: Who changes it.
            kind: policy or schema.
            text: All of it.
        """
        core = self._core

        def work(rows: Rows) -> Answer:
            core.standing.require(core.standing.decider.decide_act(actor, kind))
            number = self._keep(rows, kind, text)
            leaf = core.journal.note(rows, core.journal.entry(rows, kind, actor, extras={"number": number}))
            return {"leaf": leaf, "time": core.journal.now(rows), "number": number}

        answer = core.act(kind, actor, work)
        return Receipt(answer["leaf"], answer["time"], kind, {"number": answer["number"]})

    def ask(self, actor: str, kind: str, text: str) -> Receipt:
        """Ask for a new version; a text that could not be kept is refused at once."""
        asked = self._approvals.ask(
            actor, kind, {"text": text}, "", lambda rows: self._core.standing.check_text(rows, kind, text)
        )
        return Receipt(-1, asked.asked, kind, {}, asked.id)

    def _agreed(self, rows: Rows, asked: Asked, actor: str) -> dict[str, Any]:
        core, kind = self._core, asked.kind
        number = self._keep(rows, kind, str(asked.said["text"]))
        extras = {"number": number, "asked": asked.actor}
        core.journal.note(rows, core.journal.entry(rows, kind, actor, extras=extras))
        return {"number": number}

    def _keep(self, rows: Rows, kind: str, text: str) -> int:
        standing = self._core.standing
        return standing.set_policy(rows, text)[0] if kind == "policy" else standing.set_schema(rows, text).number
