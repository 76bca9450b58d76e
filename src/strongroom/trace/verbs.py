"""What a room offers to follow its copies: export, and the ledger of exports."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from strongroom.keymaster.exportapi import ExportGrant, ExportRecord
    from strongroom.read.session import Session
    from strongroom.trace.exporting.export import ExportReport, Progress


class TraceVerbs:
    """Part of `Room`."""

    _session: Session

    def export(
        self,
        tables: str | Sequence[str],
        *,
        to: str,
        recipient: str,
        purpose: str,
        reason: str,
        where: str | None = None,
        subjects: Sequence[str | int] | None = None,
        format: str | None = None,  # noqa: A002  the word of the field
        approval: str | None = None,
        break_glass: bool = False,
        resume: str | None = None,
        progress: Progress | None = None,
        started: Callable[[ExportGrant], None] | None = None,
    ) -> ExportReport:
        """Export records to a recipient, in files that stand under their names whole or not at all.

        Every person in them is charged and noted before the first record is opened.

        Args:
            tables: A table, or several, which keep their joins.
            to: A file or an object's URL; of several tables a folder or prefix, where each gets `TABLE.FORMAT`.
            recipient: Who receives it: the purpose names them.
            purpose: A purpose of the policy with the verb export; there is no default.
            reason: Case or ticket; kept sealed, apart from the log.
            where: A condition on open fields of the first table; of others the records of the same persons go out.
            subjects: Only of these persons.
            format: csv, jsonl or parquet; without it what the name of the file ends with.
            approval: Id of what another person agreed to, where the purpose needs that.
            break_glass: Export without that, where the purpose lets the actor; it is told, and open for review.
            resume: Id of an export that was started and cut short: nobody is charged again.
            progress: Called with records so far, 0, and the most there can be.
            started: Called once the persons are charged, with the export's id among the rest.

        Raises:
            DeniedError: The purpose, the recipient, or a missing agreement refuses; nobody is released.
            BudgetError: One person too many; nobody is released.
            ConflictError: There is a file of that name already.
            UsageError: The condition cannot be read, or the call is wrong.
            UnavailableError: A disk is full, or a store does not answer; `resume` goes on.
        """
        from strongroom.trace.exporting.export import ExportRequest, export

        names = (tables,) if isinstance(tables, str) else tuple(tables)
        named = None if subjects is None else tuple(str(subject) for subject in subjects)
        request = ExportRequest(
            names, to, recipient, purpose, reason, where, named, format, approval, break_glass, resume
        )
        return export(self._session, request, progress, started)

    def tokenize(
        self, export: str, table: str, field: str, values: Sequence[str | int], *, purpose: str, reason: str
    ) -> list[str | None]:
        """The tokens that stand for values of a field in an export; each value is a look-up.

        Args:
            export: Id of the export.
            table: One of its tables.
            field: A field that it shows.
            values: The values, in any form that the field normalises.
            purpose: A purpose with the verb tokenize that shows the field.
            reason: Case or ticket.

        Raises:
            DeniedError: The purpose refuses, or no look-up is left.
        """
        from strongroom.trace.exporting.retokenising import tokenized

        return tokenized(self._session, export, table, field, values, purpose, reason)

    def detokenize(
        self,
        export: str,
        table: str,
        field: str,
        tokens: Sequence[str],
        *,
        purpose: str,
        reason: str,
        approval: str | None = None,
    ) -> list[str | None]:
        """The values behind tokens of an export; None for what is no token of it, or of a subject who is not there.

        The persons behind them are charged and noted as by any read: see `tokenize` for the rest.
        """
        from strongroom.trace.exporting.retokenising import detokenized

        return detokenized(self._session, export, table, field, tokens, purpose, reason, approval)

    def exports(self) -> list[ExportRecord]:
        """The ledger of exports, newest first: all of it with the act `log`, else one's own."""
        return self._session.keymaster.exports.all(self._session.actor)
