"""Open the code row of one export for a court: asked for by one person, agreed to by another, noted each time.

Rules it keeps:

1. Agreeing opens it: the entry of that is the number that the ledger keeps, and verdicts after it know that whoever saw
   the row can plant what it holds. Nothing closes it again.
2. What opens the row goes to whoever has the act `disclose`, never into the log; each time is an entry.
3. It is the text that was committed to when the export started; another would not be taken by anybody.
"""

from __future__ import annotations

from typing import Any

from strongroom.errors import ConflictError, DeniedError, NotFoundError, UsageError
from strongroom.evidence.coderow import open_row
from strongroom.keymaster.approvals import Approvals, Asked
from strongroom.keymaster.core import Answer, Core
from strongroom.keymaster.exports.api import OpenedCode
from strongroom.keymaster.exports.ledger import ExportLedger, Kept
from strongroom.keymaster.reason import check_reason
from strongroom.keys.rows import Rows

ACT = "disclose"
KIND = "code-row"
NOT_AGREED = "disclose.not-agreed"


class CodeOpening:
    """Opens code rows of one keymaster's exports.

    Args:
        core: Keys and state.
        approvals: Where it is asked for and agreed to.
        ledger: The ledger of exports.
    """

    def __init__(self, core: Core, approvals: Approvals, ledger: ExportLedger) -> None:
        self._core = core
        self._approvals = approvals
        self._ledger = ledger
        approvals.does(KIND, self._agreed)

    def ask(self, actor: str, export: str, reason: str) -> Asked:
        """See `Exports.ask_open`."""
        check_reason(reason)
        return self._approvals.ask(actor, KIND, {"export": export}, reason, lambda rows: self._check(rows, export))

    def _check(self, rows: Rows, export: str) -> None:
        if self._ledger.opened(rows, self._marked(rows, export).id) >= 0:
            raise ConflictError("the code row of this export was opened already", hint="it can be had with `--to`")

    def _marked(self, rows: Rows | None, export: str) -> Kept:
        try:
            ident = bytes.fromhex(export)
        except ValueError:
            raise UsageError("an export's id is 32 hexadecimal digits") from None
        kept = self._ledger.of(ident, rows)
        if not kept.marked.opening:
            raise NotFoundError("this export has no canary persons, and no code row")
        return kept

    def _agreed(self, rows: Rows, asked: Asked, actor: str) -> dict[str, Any]:
        core, export = self._core, str(asked.said["export"])
        self._check(rows, export)
        extras = {"export": export, "asked": asked.actor}
        leaf = core.journal.note(rows, core.journal.entry(rows, ACT, actor, extras=extras))
        self._ledger.set_opened(rows, bytes.fromhex(export), leaf)
        return {"export": export}

    def give(self, actor: str, export: str) -> OpenedCode:
        """See `Exports.open_code`."""
        core = self._core

        def work(rows: Rows) -> Answer:
            core.standing.require(core.standing.decider.decide_act(actor, ACT))
            if self._ledger.opened(rows, self._marked(rows, export).id) < 0:
                raise DeniedError(
                    "another person has not agreed to open this code row",
                    rule=NOT_AGREED,
                    hint="`strongroom open-code` with `--reason` asks for it",
                )
            return {"leaf": core.journal.note(rows, core.journal.entry(rows, ACT, actor, extras={"export": export}))}

        core.act(ACT, actor, work)
        kept = self._marked(None, export)
        marked, opened = kept.marked, self._ledger.opened(core.state.read(), kept.id)
        open_row(marked.opening, marked.commitment)  # what is given away is what the log committed to
        return OpenedCode(export, marked.opening, marked.commitment, kept.leaf, opened)
