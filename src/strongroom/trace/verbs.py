"""What a room offers to follow its copies: export and its ledger, canary persons and their alarm, and tracing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from strongroom.keymaster.exports.api import ExportGrant, ExportRecord
    from strongroom.read.session import Session
    from strongroom.trace.canary.alarmtest import AlarmTest
    from strongroom.trace.canary.planting import PlantReport
    from strongroom.trace.canary.planting import Progress as Planted
    from strongroom.trace.canary.policy import CanaryPolicy
    from strongroom.trace.exporting.export import Progress
    from strongroom.trace.exporting.request import ExportReport
    from strongroom.trace.report.sampled import Notification
    from strongroom.trace.report.words import Words
    from strongroom.trace.tracing.traced import Traced


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
        persons: int | None = None,
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
            persons: The greatest number of persons, canary persons among them; None for as many as there are.
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
        from strongroom.trace.exporting.export import export
        from strongroom.trace.exporting.request import ExportRequest

        names = (tables,) if isinstance(tables, str) else tuple(tables)
        named = None if subjects is None else tuple(str(subject) for subject in subjects)
        request = ExportRequest(
            names, to, recipient, purpose, reason, where, named, format, approval, break_glass, resume, persons=persons
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

    # -- canary persons -------------------------------------------------------------------------
    def canary_policy(self, text: str, lines: Callable[[str], Sequence[str]]) -> CanaryPolicy:
        """What the TOML text of a `canaries.toml` says; see `trace.canary.planfile`.

        Args:
            text: The text.
            lines: Gives the lines of a file that it names.

        Raises:
            PolicyError: It says something it may not, with the place.
        """
        from strongroom.trace.canary.planfile import parse_canaries

        return parse_canaries(text, self._session.keymaster.schema(), lines)

    def plant_canaries(
        self,
        policy: CanaryPolicy,
        *,
        purpose: str,
        reason: str,
        colluders: int | None = None,
        sample: float | None = None,
        learn_from: int | None = None,
        approval: str | None = None,
        progress: Planted | None = None,
    ) -> PlantReport:
        """Plant canary persons, so that a published sample of an export names its recipient.

        Args:
            policy: Whose identifiers they may have, and what they never have.
            purpose: A purpose with the verb plant that shows every field of their tables plain.
            reason: Case or ticket; kept sealed, apart from the log.
            colluders: How many recipients may put their copies together; None for what purposes that export say.
            sample: The smallest sample that must name its source, in rows; None for what purposes say.
            learn_from: How many persons to learn from, 200,000 at most, 20,000 by default; each is charged.
            approval: Id of what another person agreed to.
            progress: Called with what is done, how much of it, and how much there is.

        Raises:
            DeniedError: The purpose, a missing agreement or a budget refuses.
            UsageError: A source of identifiers is missing or too small, or the room is too small for canaries.
            ConflictError: The room has the canaries it needs.
            UnavailableError: A disk is full, or a store does not answer; what was registered lacks records.
        """
        from strongroom.trace.canary.planting import PlantRequest, plant
        from strongroom.trace.canary.sampling import PERSONS

        most = PERSONS if learn_from is None else learn_from
        request = PlantRequest(policy, purpose, reason, colluders, sample, approval, most)
        return plant(self._session, request, progress)

    def canary_warnings(self, policy: str | None = None) -> list[str]:
        """Which exports show plain what tells canaries from people, for whoever may read the log or change the policy.

        Args:
            policy: TOML text of a policy that is proposed; None for the one in force.
        """
        from strongroom.trace.canary.sizing import canary_warnings

        return canary_warnings(self._session.keymaster, self._session.actor, policy)

    def are_canaries(
        self,
        table: str,
        subjects: Sequence[str | int],
        *,
        purpose: str,
        reason: str,
        approval: str | None = None,
    ) -> list[bool]:
        """Whether subjects are canaries, before anyone acts on their rows: False for who is not there, too.

        Args:
            table: In which they are written so.
            subjects: Their identifiers.
            purpose: A purpose with the verb ask-canary.
            reason: Case or ticket.
            approval: Id of what another person agreed to; it is needed every time.

        Raises:
            DeniedError: The purpose, a missing agreement or a budget refuses.
        """
        from strongroom.schema.normalise import normalise_one

        keymaster = self._session.keymaster
        steps = keymaster.schema().table(table).subject_field.normalise
        asked = [normalise_one(str(subject), steps) for subject in subjects]
        grant = keymaster.begin_reading(actor=self._session.actor, purpose=purpose, reason=reason, approval=approval)
        try:
            found = keymaster.canaries.is_canary(grant.reading_id, table, asked)
        finally:
            keymaster.end_reading(grant.reading_id)
        return [bool(one) for one in found]

    def test_canary_alarm(
        self, table: str, *, purpose: str, reason: str, approval: str | None = None, wait_seconds: float = 60.0
    ) -> AlarmTest:
        """Read one canary as a thief would, and say whether the log and the webhook have the alarm.

        Args:
            table: Where canaries have records.
            purpose: A purpose with the verbs ask-canary and get, and find where it is tested too.
            reason: Case or ticket.
            approval: Id of what another person agreed to.
            wait_seconds: How long to wait for the webhook.

        Raises:
            NotFoundError: The room has no canaries with records in the table.
            IntegrityError: There is no alarm in the log.
        """
        from strongroom.trace.canary.alarmtest import try_alarm

        return try_alarm(self._session, table, purpose, reason, approval, wait_seconds)

    def trace(
        self,
        what: Any,
        *,
        purpose: str,
        reason: str,
        approval: str | None = None,
        persons: int | None = None,
        spaces: Mapping[str, float] | None = None,
        progress: Progress | None = None,
    ) -> Traced:
        """Whose copy a published sample is: is it ours, which export was its source, of when is it, who is in it.

        Its values are looked up, each a look-up of the purpose's budget; no record is opened but those of some persons,
        whose versions tell of when it is: these are charged and told. No export is named but where the evidence reaches
        the bound, and none for having the persons of the sample.

        Args:
            what: A path, a list of paths, or a binary file object, in any form that `strongroom trace` reads.
            purpose: A purpose with the verb trace; there is no default.
            reason: Case or ticket; kept sealed, apart from the log.
            approval: Id of what another person agreed to.
            persons: How many persons' versions are compared at most, and no more than are left of budgets and of what
                was agreed to; 0 for none.
            spaces: By "table.field", how many different values of a field there are, in the room or not: the chance of
                a foreign match comes from it. Mobile numbers and resident numbers have numbers of their own.
            progress: Called with rows so far, 0, and None.

        Raises:
            DeniedError: The purpose or a missing agreement refuses.
            BudgetError: No look-ups are left.
            InputError: The sample is empty, or of a kind that cannot be read.
        """
        from strongroom.trace.tracing.run import TraceRequest, trace
        from strongroom.trace.tracing.versions import PERSONS

        limit = PERSONS if persons is None else persons
        request = TraceRequest(what, purpose, reason, approval, limit, spaces or {})
        return trace(self._session, request, progress)

    def trace_pages(
        self,
        traced: Traced,
        *,
        report: str | Path | None = None,
        drafts: str | Path | None = None,
        words: Words | str | Path | None = None,
        listed: Notification | None = None,
        name: str = "",
    ) -> list[Path]:
        """Write the report of a trace, and drafts of notices, into files for their owner alone: all, or none.

        Args:
            traced: What `trace` found.
            report: The report for the regulator, an HTML file.
            drafts: A folder for drafts under GDPR Articles 33 and 34 and PIPL Article 57; it is made where it is not.
            words: What only the operator knows, or the TOML file that says it.
            listed: The list of whom to notify (`tracing.facts.list_made`, `list_waits`).
            name: What the operator calls the room; its id without.

        Returns:
            The files.

        Raises:
            ConflictError: A file of that name is there.
            UsageError: The folder that it goes into is not there, or may not be written to.
            InputError: The words cannot be read.
            UnavailableError: The disk is full.
        """
        from strongroom.trace.report import files
        from strongroom.trace.report.words import Words, read
        from strongroom.trace.tracing.facts import facts_of

        said = Words() if words is None else words if isinstance(words, Words) else read(words)
        facts = facts_of(traced, name, listed)
        return files.write(facts, said, _path(report), _path(drafts))

    def notification_list(
        self,
        traced: Traced,
        table: str,
        *,
        to: str,
        recipient: str,
        purpose: str,
        reason: str,
        approval: str | None = None,
        format: str | None = None,  # noqa: A002  the word of the field
    ) -> ExportReport:
        """Export the persons of a traced sample, so that they can be told: an export of named persons like any other.

        It has the persons found by two identifiers of a row or by a token; all that were found where the sample has one
        identifier only. Canaries are in no such list. See `export` for the rest.

        Args:
            traced: What `trace` found.
            table: The table to export.
            to: As `export`.
            recipient: As `export`.
            purpose: A purpose with the verb export.
            reason: Case or ticket.
            approval: Id of what another person agreed to.
            format: As `export`.
        """
        from strongroom.trace.exporting.export import export
        from strongroom.trace.exporting.request import ExportRequest

        request = ExportRequest(
            (table,), to, recipient, purpose, reason, format=format, approval=approval, tokens=traced.certain
        )
        return export(self._session, request)


def _path(named: str | Path | None) -> Path | None:
    return None if named is None else Path(named)
