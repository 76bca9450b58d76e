"""Exports: decided and spent as a whole, noted once, released in batches, and kept in a ledger.

Rules it keeps:

1. No key goes out before one transaction has decided, spent every person in every window and scope, noted the entry
   with the root over all of them, and kept the ledger's entry with the exact set.
2. Keys go out for persons of that set, rows of committed batches, classes that the purpose shows, under the reading
   that began or took up the export, until it ends or its time is over.
3. An export is charged once, however often it is taken up; it is taken up by the same actor for the same plan.
4. The set of persons, the condition they were chosen by, and its canaries lie sealed under a key of the export's own.
5. Canary persons that the export's coins chose are released with it, and charged and counted as persons are. All others
   are missing and nobody, as who was erased is (`exports.marks`). The set of persons, and who is told, are people.
6. Where the room has canary persons, an export for which no coins are thrown shows who is one: of a purpose that has
   canaries it takes another person's agreement, or a broken glass, and whoever is asked about is charged.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace

import numpy as np
from pyroaring import BitMap64

from strongroom.errors import ConflictError, DeniedError, NotFoundError, StrongroomError, UnavailableError, UsageError
from strongroom.keymaster.api import Bytes2D, Released
from strongroom.keymaster.approvals import Approvals
from strongroom.keymaster.behind import Behind, PersonsBehind
from strongroom.keymaster.canaries.register import CanaryRegister
from strongroom.keymaster.core import Answer, Core
from strongroom.keymaster.exports.api import ENDED, ExportGrant, ExportPlan, ExportRecord
from strongroom.keymaster.exports.codeopening import CodeOpening
from strongroom.keymaster.exports.coins import Coins
from strongroom.keymaster.exports.deciding import check_plan, decide_export
from strongroom.keymaster.exports.ledger import ExportLedger, Kept, none_of_this_id, plan_digest
from strongroom.keymaster.exports.marks import Added, Marked, without
from strongroom.keymaster.exports.retokenising import Tokenising
from strongroom.keymaster.log.journal import Labeller, Labels
from strongroom.keymaster.log.publishing import Publishing
from strongroom.keymaster.readings import Reading, Readings
from strongroom.keymaster.releasing import RELEASE_ROWS_MAX, agreed, keys_of, planned, told
from strongroom.keymaster.seenmaps import bitmap
from strongroom.keys.rows import Rows, counter
from strongroom.purpose.budget import limits
from strongroom.purpose.exports import VERB

EXPORT_PERSONS_MAX = 20_000_000
EXPORTS_AT_ONCE_MAX = 16
RESUME_SECONDS = 7 * 24 * 3600.0
ATTEMPTS_MAX = 16
STARTED_BY_ANOTHER = "export.of-another"


class _DayEndedError(ConflictError):
    """Midnight came between labels and entry; never leaves this module."""


@dataclass
class _Export:
    """One export as this process knows it."""

    id: bytes
    reading: bytes
    plan: ExportPlan
    persons: BitMap64 = field(default_factory=BitMap64, repr=False)
    tokens: list[Bytes2D] = field(default_factory=list, repr=False)
    canaries: Added = field(default_factory=Added, repr=False)
    held: BitMap64 = field(default_factory=BitMap64, repr=False)
    leaf: int = -1
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @property
    def started(self) -> bool:
        return self.leaf >= 0


class EmbeddedExports:
    """See `keymaster.exports.api.Exports`."""

    def __init__(
        self,
        core: Core,
        readings: Readings,
        behind: Behind,
        canaries: CanaryRegister,
        approvals: Approvals,
        publishing: Publishing,
    ) -> None:
        self._core = core
        self._canaries = canaries
        self._readings = readings
        self._behind = behind
        self._open: dict[bytes, _Export] = {}
        self.ledger = ExportLedger(core)
        self._coins = Coins(core, canaries, self.ledger)
        tokens = Tokenising(core, readings, self.ledger, canaries)
        self.tokenize, self.detokenize = tokens.tokenize, tokens.detokenize
        opening = CodeOpening(core, approvals, self.ledger, publishing)
        self.ask_open, self.open_code = opening.ask, opening.give

    # -- which persons --------------------------------------------------------------------------
    def begin(self, reading_id: bytes, plan: ExportPlan) -> bytes:
        """See `Exports.begin`."""
        core, reading = self._core, self._readings.get(reading_id)
        check_plan(plan)
        core.standing.refresh()
        ident = core.entropy(16)
        refused: DeniedError
        try:
            decide_export(core, reading, plan)
            if plan.named and (why := self._coins.unmarked(reading.purpose.name, plan, 0)):
                agreed(core.state.read(), core, reading, frozenset(), why)
            if reading.warrant is not None:
                reading.warrant.check_begun(plan, ident)
        except DeniedError as error:
            refused = error
        else:
            self._keep(_Export(ident, reading_id, plan))
            return ident

        def work(_rows: Rows) -> Answer:
            raise refused

        core.act(VERB, reading.actor, work, **reading.said(), table=plan.tables[0])
        raise refused

    def _keep(self, export: _Export) -> None:
        for ident, other in list(self._open.items()):
            with suppress(NotFoundError, DeniedError):
                self._readings.get(other.reading)
                continue
            self._open.pop(ident, None)
        if len(self._open) >= EXPORTS_AT_ONCE_MAX:
            raise UnavailableError(f"{EXPORTS_AT_ONCE_MAX} exports are under way already", hint="try again later")
        self._open[export.id] = export

    def _of(self, reading_id: bytes, export_id: bytes) -> tuple[Reading, _Export]:
        reading = self._readings.get(reading_id)
        export = self._open.get(export_id)
        if export is None or export.reading != reading_id:
            raise NotFoundError("this reading has begun no such export, or it has ended")
        return reading, export

    def add(self, reading_id: bytes, export_id: bytes, table: str, tokens: Bytes2D, batches: Bytes2D) -> int:
        """See `Exports.add`."""
        reading, export = self._of(reading_id, export_id)
        _check_rows(tokens, batches)
        core = self._core
        if table not in export.plan.tables:
            raise UsageError("persons are added for tables of the plan")
        model = core.standing.schema.table(table)
        self._behind.check_batches(core.state.read(), batches, model)
        found = self._behind.persons(tokens, batches, model)
        which = self._canaries.which(found.tokens)
        with export.lock:
            if export.started:
                raise UsageError("persons are added before the export starts")
            fresh = bitmap(found.distinct) - export.persons - export.canaries.ordinals
            self._check_signed(reading, export, found.tokens, self._counted(export) + len(fresh))
            if which.found.any():
                found = without(found, which, export.canaries)
                fresh -= export.canaries.ordinals
            if len(export.persons) + len(fresh) > EXPORT_PERSONS_MAX:
                raise UsageError(f"an export has at most {EXPORT_PERSONS_MAX:,} persons", hint="cut it by --where")
            if fresh:
                tokens = found.tokens
                if len(fresh) < len(found.distinct):
                    tokens = tokens[np.isin(found.distinct, np.asarray(fresh.to_array(), np.uint64))]
                export.tokens.append(np.ascontiguousarray(tokens))
                export.persons |= fresh
            return self._counted(export)

    def _check_signed(self, reading: Reading, export: _Export, tokens: Bytes2D, count: int) -> None:
        """Hold persons, and how many there would be, to what the caller signed; a refusal is noted and ends the export.

        Nobody is in the export whom this has not let pass.
        """
        table = export.plan.tables[0]
        try:
            self._readings.within(reading, VERB, table, lambda warrant: warrant.check_added(tokens, count))
        except StrongroomError:
            self._open.pop(export.id, None)
            raise

    @staticmethod
    def _counted(export: _Export) -> int:
        """How many were added, canaries among them: who is counted and who is released must tell nobody apart."""
        return len(export.persons) + len(export.canaries.ordinals)

    # -- spending and noting --------------------------------------------------------------------
    @staticmethod
    def _in_files(export: _Export, marked: Marked) -> BitMap64:
        """Who is counted: whoever is in the files."""
        return export.persons | marked.held

    def start(self, reading_id: bytes, export_id: bytes) -> ExportGrant:
        """See `Exports.start`."""
        reading, export = self._of(reading_id, export_id)
        core = self._core
        core.standing.refresh()
        with export.lock:
            if export.started:
                return self._grant(reading, self.ledger.of(export_id))
            tokens = np.concatenate([np.empty((0, 16), np.uint8), *export.tokens])
            self._check_signed(reading, export, tokens, self._counted(export))
            marked = self._coins.throw(
                export_id, reading.purpose.name, export.plan, len(export.persons), export.canaries
            )
            said = {**reading.said(), "table": export.plan.tables[0]}
            for _ in range(ATTEMPTS_MAX):
                labels = self._labeller(reading)(tokens)

                def work(rows: Rows, labels: Labels = labels) -> Answer:
                    return self._start(rows, reading, export, marked, labels)

                with suppress(_DayEndedError):
                    core.act(VERB, reading.actor, work, **said)
                    break
            else:
                raise UnavailableError("the day does not end: ask again")
            kept = self.ledger.of(export_id)
            export.leaf = kept.leaf
            export.held, export.tokens, export.canaries = marked.held, [], Added()
        return self._grant(reading, kept)

    def _labeller(self, reading: Reading) -> Labeller:
        """Makes labels for the day that an entry of now stands in; its key is durable."""
        core, rule = self._core, self._core.standing.policy.purposes.get(reading.purpose.name)
        delay = 0 if rule is None else rule.delay_days
        made: Labeller = core.run(lambda rows: core.journal.labeller(rows, delay))
        return made

    def _start(self, rows: Rows, reading: Reading, export: _Export, marked: Marked, labels: Labels) -> Answer:
        core, plan, purpose = self._core, export.plan, reading.purpose.name
        allowed = decide_export(core, reading, plan)
        if labels.day != core.journal.label_day(rows, core.standing.policy.purposes[purpose].delay_days):
            raise _DayEndedError("the day has ended")
        rules = (*reading.through.limits("exports"), *limits(core.standing.policy, reading.actor, purpose, "exports"))
        why = self._coins.unmarked(purpose, plan, self._counted(export))
        rules = (*rules, *agreed(rows, core, reading, allowed.sealed, why))
        everybody = self._in_files(export, marked)
        asked = everybody | export.canaries.ordinals if why else everybody
        spend = planned(core, rows, rules, asked)
        tables = {"tables": ",".join(plan.tables), "as": ",".join(allowed.words)}
        marks = {"commitment": marked.commitment.hex()} if marked.commitment else {}
        entry = core.journal.entry(
            rows,
            VERB,
            reading.actor,
            **reading.said(),
            **told(core, reading, labels, allowed.told_classes),
            table=plan.tables[0],
            fields=allowed.told_fields,
            count=len(everybody),
            remaining=spend.remaining,
            rule=allowed.decided_by,
            recipient=plan.recipient,
            extras={"export": export.id.hex(), "snapshot": plan.snapshot, **tables, **marks},
        )
        core.ledger.apply(rows, spend)
        leaf = core.journal.note(rows, entry)
        if export.persons:
            core.journal.keep_labels(rows, leaf, labels)
        kept = Kept(export.id, leaf, reading.actor, purpose, plan, allowed.fields, len(everybody), marked)
        self.ledger.keep(rows, kept, export.persons, reading.leave.approval, spend.remaining)
        return {"leaf": leaf}

    def _grant(self, reading: Reading, kept: Kept) -> ExportGrant:
        return ExportGrant(
            kept.id,
            kept.plan.snapshot,
            kept.persons,
            kept.leaf,
            kept.remaining,
            b"" if reading.holder.direct else self.ledger.token_key(kept.id),
            bool(kept.marked.commitment),
            kept.marked.names_from,
            kept.marked.why_none,
        )

    def started(self, reading_id: bytes, export_id: bytes) -> int:
        """See `Exports.started`."""
        reading, kept = self._readings.get(reading_id), self.ledger.of(export_id)
        if kept.actor != reading.actor:
            raise none_of_this_id()
        return kept.plan.snapshot

    def resume(self, reading_id: bytes, export_id: bytes, plan: ExportPlan) -> ExportGrant:
        """See `Exports.resume`."""
        core, reading = self._core, self._readings.get(reading_id)
        check_plan(plan)
        core.standing.refresh()

        def work(rows: Rows) -> Answer:
            kept = self.ledger.of(export_id, rows)
            if (kept.actor, kept.purpose) != (reading.actor, reading.purpose.name):
                raise DeniedError("the export was started by another, or for another purpose", rule=STARTED_BY_ANOTHER)
            if kept.digest != plan_digest(plan):
                raise ConflictError("the export was started with another plan", hint="name the same tables and filter")
            if kept.state == ENDED or kept.at + RESUME_SECONDS < core.journal.now(rows):
                raise ConflictError("the export has ended", hint="begin another; its persons are charged once a window")
            decide_export(core, reading, plan)
            if reading.warrant is not None:
                reading.warrant.check_resumed(export_id, kept.persons)
            extras = {"export": export_id.hex()}
            entry = core.journal.entry(rows, "resume", reading.actor, **reading.said(), extras=extras)
            return {"leaf": core.journal.note(rows, entry)}

        core.act("resume", reading.actor, work, **reading.said(), table=plan.tables[0])
        kept = self.ledger.of(export_id)
        self._open.pop(export_id, None)
        persons, held = self.ledger.persons_of(export_id), kept.marked.held
        self._keep(_Export(export_id, reading_id, plan, persons, held=held, leaf=kept.leaf))
        return self._grant(reading, kept)

    # -- releasing ------------------------------------------------------------------------------
    def release(self, reading_id: bytes, export_id: bytes, table: str, tokens: Bytes2D, batches: Bytes2D) -> Released:
        """See `Exports.release`."""
        reading, export = self._of(reading_id, export_id)
        _check_rows(tokens, batches)
        core = self._core
        if not export.started or table not in export.plan.tables:
            raise ConflictError("keys go out for tables of an export that was started")
        for _ in range(ATTEMPTS_MAX):
            core.standing.refresh()
            allowed = decide_export(core, reading, export.plan)
            model = allowed.models[table]
            self._behind.check_batches(core.state.read(), batches, model)
            behind = self._only(export, self._behind.persons(tokens, batches, model))
            keys = keys_of(behind, allowed.classes[table], model, batches) if len(tokens) else {}
            if counter(core.state.read(), "removals") == behind.removals:
                break  # nobody was erased while keys were made
        else:
            raise UnavailableError("persons keep being erased: ask again")
        missing = tuple(np.flatnonzero(~behind.found).tolist())
        return Released(keys, export.leaf, 0, {}, missing)

    @staticmethod
    def _only(export: _Export, behind: PersonsBehind) -> PersonsBehind:
        """Those of the export's persons, and the canaries it holds; nobody else is found."""
        others = bitmap(behind.distinct) - export.persons - export.held
        if not others:
            return behind
        outside = np.isin(behind.row_ordinals, np.asarray(others.to_array(), np.uint64))
        found = behind.found & ~outside
        return replace(behind, found=found)

    # -- ending ---------------------------------------------------------------------------------
    def end(self, reading_id: bytes, export_id: bytes, records: Mapping[str, int], root: bytes) -> ExportRecord:
        """See `Exports.end`."""
        reading, export = self._of(reading_id, export_id)
        core, total = self._core, sum(records.values())
        if not export.started or not set(records) <= set(export.plan.tables) or len(root) != 32:
            raise ConflictError("an export that was started ends with the rows of its tables, and their root")

        def work(rows: Rows) -> Answer:
            extras: dict[str, int | str] = {"export": export_id.hex(), "records": total, "root": root.hex()}
            entry = core.journal.entry(rows, "exported", reading.actor, **reading.said(), extras=extras)
            leaf = core.journal.note(rows, entry)
            self.ledger.end(rows, export_id, total, root, leaf)
            return {"leaf": leaf}

        core.act("exported", reading.actor, work, **reading.said())
        self._open.pop(export_id, None)
        return self.ledger.record(export_id)

    # -- looking --------------------------------------------------------------------------------
    def all(self, actor: str, before: int | None = None, most: int | None = None) -> list[ExportRecord]:
        """See `Exports.all`; of entries before a number, and so many at most."""
        core = self._core
        core.standing.refresh()
        decision = core.standing.decider.decide_act(actor, "log")
        if not decision.allowed and actor not in core.standing.policy.actors:
            core.standing.require(decision)
        return self.ledger.all(None if decision.allowed else actor, before, most)


def _check_rows(tokens: Bytes2D, batches: Bytes2D) -> None:
    for array in (tokens, batches):
        if array.ndim != 2 or array.shape[1] != 16 or array.dtype != np.uint8:
            raise UsageError("tokens and batches are bytes, 16 to a row")
    if len(tokens) != len(batches) or len(tokens) > RELEASE_ROWS_MAX:
        raise UsageError(f"there is a batch for every token, and at most {RELEASE_ROWS_MAX} rows at once")
