"""Open the code row of one export for a court: asked for by one person, agreed to by another, noted each time.

Rules it keeps:

1. Agreeing opens it: the entry of that is the number that the ledger keeps, and verdicts after it know that whoever saw
   the row can plant what it holds. Nothing closes it again.
2. What opens the row goes to whoever has the act `disclose`, never into the log; each time is an entry.
3. It is the text that was committed to when the export started, with the entries that say so, each proved to be in the
   log: another would not be taken by anybody.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from strongroom.audit.entry import parse_entry
from strongroom.audit.note import verifier_key
from strongroom.errors import ConflictError, DeniedError, NotFoundError, UsageError
from strongroom.evidence.coderow import open_row
from strongroom.evidence.rowfile import DISCLOSE, TRACE, ProvedEntry
from strongroom.keymaster.approvals import Approvals, Asked
from strongroom.keymaster.core import Answer, Core
from strongroom.keymaster.exports.api import OpenedCode
from strongroom.keymaster.exports.ledger import ExportLedger, Kept
from strongroom.keymaster.log.publishing import Publishing
from strongroom.keymaster.reason import check_reason
from strongroom.keys.rows import Rows

KIND = "code-row"
NOT_AGREED = "disclose.not-agreed"


class CodeOpening:
    """Opens code rows of one keymaster's exports.

    Args:
        core: Keys and state.
        approvals: Where it is asked for and agreed to.
        ledger: The ledger of exports.
        publishing: The published side of the log.
    """

    def __init__(self, core: Core, approvals: Approvals, ledger: ExportLedger, publishing: Publishing) -> None:
        self._core = core
        self._approvals = approvals
        self._ledger = ledger
        self._publishing = publishing
        approvals.does(KIND, self._agreed)

    def ask(self, actor: str, export: str, reason: str) -> Asked:
        """See `Exports.ask_open`."""
        check_reason(reason)
        ident = _ident(export)
        return self._approvals.ask(actor, KIND, {"export": ident.hex()}, reason, lambda rows: self._check(rows, ident))

    def _check(self, rows: Rows, export: bytes) -> None:
        if self._ledger.opened(rows, self._marked(rows, export).id) >= 0:
            raise ConflictError("the code row of this export was opened already", hint="it can be had with `--to`")

    def _marked(self, rows: Rows | None, export: bytes) -> Kept:
        kept = self._ledger.of(export, rows)
        if not kept.marked.opening:
            raise NotFoundError("this export has no canary persons, and no code row")
        return kept

    def _agreed(self, rows: Rows, asked: Asked, actor: str) -> dict[str, Any]:
        core, export = self._core, str(asked.said["export"])
        self._check(rows, bytes.fromhex(export))
        extras = {"export": export, "asked": asked.actor}
        leaf = core.journal.note(rows, core.journal.entry(rows, DISCLOSE, actor, extras=extras))
        self._ledger.set_opened(rows, bytes.fromhex(export), leaf)
        return {"export": export}

    def give(self, actor: str, export: str, traced: int | None = None) -> OpenedCode:
        """See `Exports.open_code`."""
        core, ident = self._core, _ident(export)

        def work(rows: Rows) -> Answer:
            core.standing.require(core.standing.decider.decide_act(actor, DISCLOSE))
            if self._ledger.opened(rows, self._marked(rows, ident).id) < 0:
                raise DeniedError(
                    "another person has not agreed to open this code row",
                    rule=NOT_AGREED,
                    hint="`strongroom open-code` with `--reason` asks for it",
                )
            if traced is not None:
                _check_traced(self._entry(rows, traced) if 0 <= traced < 1 << 63 else b"", traced)
            extras = {"export": ident.hex()}
            return {"leaf": core.journal.note(rows, core.journal.entry(rows, DISCLOSE, actor, extras=extras))}

        core.act(DISCLOSE, actor, work)
        kept = self._marked(None, ident)
        marked, opened = kept.marked, self._ledger.opened(core.state.read(), kept.id)
        open_row(marked.opening, marked.commitment)  # what is given away is what the log committed to
        entry, opening, *finds = self._proved([kept.leaf, opened, *([] if traced is None else [traced])])
        key = verifier_key(self._publishing.origin, self._publishing.keys[-1].public_key)
        return OpenedCode(ident.hex(), marked.opening, key, entry, opening, *finds)

    def _proved(self, leaves: list[int]) -> list[ProvedEntry]:
        """Entries, each with the proof that it is in the log."""
        proofs, rows = self._publishing.prove(leaves), self._core.state.read()
        return [ProvedEntry(self._entry(rows, leaf), proof) for leaf, proof in zip(leaves, proofs, strict=True)]

    @staticmethod
    def _entry(rows: Rows, leaf: int) -> bytes:
        row = rows.execute("SELECT entry FROM leaf WHERE number = ?", (leaf,)).fetchone()
        return b"" if row is None else bytes(row[0])


def _check_traced(entry: bytes, leaf: int) -> None:
    """Raise NotFoundError unless an entry is one by which a trace noted its finds."""
    found = parse_entry(entry) if entry else None
    if found is None or (found.act, found.decision) != (TRACE, "allowed") or "finds" not in found.extras:
        hint = "`strongroom trace` and its report name it"
        raise NotFoundError(f"entry {leaf} of the log is not one by which a trace noted its finds", hint=hint)


def _ident(export: str) -> bytes:
    """The id of an export from its hex digits, 16 B."""
    with suppress(ValueError):
        if len(export) == 32:
            return bytes.fromhex(export)
    raise UsageError("an export's id is 32 hexadecimal digits")
