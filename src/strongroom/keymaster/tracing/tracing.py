"""Tracing at the keymaster: values to persons by metered look-ups, persons to a verdict about exports.

Rules it keeps:

1. A look-up is spent and noted before its token goes out; index entries open under tokens that this trace was given;
   only persons whom it found are weighed, once, or released.
2. The digest of the finds is in the log before a coin is thrown for them; N counts every export ever issued.
3. Nothing goes out about an export but that the evidence accuses it, or that it cannot be the only source.
4. Canaries are no persons: they are in no count of persons, exclude no export, and their records are not released.
5. What traces hold is bounded: of each, and by how many an actor has open.
6. Nobody traces in a caller's name. To whoever asks through a server and is not trusted to mask, versions are released
   only where all of their classes show plain.

What excludes an export is in `outside`, whose tokens are in a sample in `tokenorigin`, what finds prove in `evidence`.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from pyroaring import BitMap64

from strongroom.errors import DeniedError, UsageError
from strongroom.evidence.code import Found, count_held, found
from strongroom.evidence.verdict import Verdict, log_e, unopened, weigh
from strongroom.keymaster.behind import Behind, PersonsBehind, check_nobody_erased, settling
from strongroom.keymaster.core import Answer, Core
from strongroom.keymaster.exports.ledger import ExportLedger
from strongroom.keymaster.readings import Reading, Readings
from strongroom.keymaster.releasing import agreed, keys_of, told, whole_only
from strongroom.keymaster.steps import Steps
from strongroom.keymaster.tracing.api import (
    PERSONS_MAX,
    PERSONS_SERVED_MAX,
    TRACE,
    TRACES_OPEN_MAX,
    VALUES_AT_ONCE_MAX,
    VERSIONS_MAX,
    FormTried,
    Looked,
    Origin,
    SampleFound,
    TraceHits,
    Versions,
    Weighed,
)
from strongroom.keymaster.tracing.checking import check_entries, check_rows, check_sample
from strongroom.keymaster.tracing.entries import living
from strongroom.keymaster.tracing.fitting import first_of, fitting
from strongroom.keymaster.tracing.forms import Forms
from strongroom.keymaster.tracing.outside import Outside
from strongroom.keymaster.tracing.state import FOREIGN_HITS, Codes, Tracing
from strongroom.keymaster.tracing.tokens import TraceTokens
from strongroom.keymaster.warrant import BEYOND
from strongroom.keys.rows import Rows
from strongroom.purpose.budget import limits
from strongroom.schema.model import OPEN, Table
from strongroom.seal.tokens import tokens

if TYPE_CHECKING:
    import pyarrow as pa

    from strongroom.keymaster.api import Bytes2D
    from strongroom.keymaster.canaries.register import CanaryRegister



class EmbeddedTraces:
    """See `keymaster.tracing.api.Traces`.

    Args:
        core: Keys and state.
        readings: The open readings.
        behind: Who stands behind rows.
        register: Who is a canary.
    """

    def __init__(self, core: Core, readings: Readings, behind: Behind, register: CanaryRegister) -> None:
        ledger = ExportLedger(core)
        self._core = core
        self._readings = readings
        self._behind = behind
        self._register = register
        self._codes = Codes(core, ledger)
        self._ledger = ledger
        self._outside = Outside(core, ledger)
        self._tokens = TraceTokens(core, ledger)
        self._forms = Forms(core, self._tokens)
        self._beginning = threading.Lock()

    def _of(self, reading_id: bytes) -> tuple[Reading, Tracing]:
        reading = self._readings.get(reading_id)
        if reading.warrant is not None:
            raise DeniedError("nobody traces a sample through a server in a caller's name", rule=BEYOND)
        with self._beginning:
            if reading.tracing is None:
                self._check_room_for_another(reading)
                reading.tracing = Tracing(PERSONS_SERVED_MAX if reading.holder.credential else PERSONS_MAX)
            return reading, reading.tracing

    def _check_room_for_another(self, reading: Reading) -> None:
        """Raise DeniedError where the actor has as many traces open as anybody may."""
        self._readings.drop_expired()  # and what they hold of traces that nobody ended
        ends = [one.expires for one in self._readings.of(reading.actor) if one.tracing is not None]
        if len(ends) >= TRACES_OPEN_MAX:
            minutes = math.ceil((min(ends) - self._core.clock()) / 60)
            raise DeniedError(
                f"{reading.actor} has {len(ends)} traces open, and nobody has more at once",
                rule="room.traces-open",
                hint=f"let one of them end; one that was broken off ends by itself, the first in {minutes} minutes",
            )

    # -- values to persons ----------------------------------------------------------------------
    def look_up(self, reading_id: bytes, table: str, field_name: str, values: pa.Array, snapshot: int) -> Looked:
        """See `Traces.look_up`."""
        reading, trace = self._of(reading_id)
        model = self._allowed(reading, table, field_name, len(values))
        self._spend(reading, model, field_name, len(values))
        return self._looked(trace, model, field_name, values, snapshot)

    def _allowed(self, reading: Reading, table: str, field_name: str, size: int) -> Table:
        if not 0 < size <= VALUES_AT_ONCE_MAX:
            raise UsageError(f"look up 1 to {VALUES_AT_ONCE_MAX:,} values at once")
        return self._decided(reading, table, field_name)

    def _decided(self, reading: Reading, table: str, field_name: str) -> Table:
        """The table, if the purpose traces by a field that there is: no other word is kept with a decision."""
        self._core.standing.refresh()
        self._core.standing.schema.table(table).field(field_name)
        return self._readings.decide(reading, (TRACE,), table, (), (field_name,))

    def _looked(self, trace: Tracing, model: Table, name: str, values: pa.Array, snapshot: int) -> Looked:
        core = self._core
        if name == model.subject:
            made = tokens(core.subject.inner, core.subject.outer, values)
            there = core.keys.lookup(made).found
            trace.found(made[there])
            return Looked(made, there)
        if not model.field(name).find:
            raise UsageError(f"field {name} of table {model.name} has no index")
        keys = core.standing.value_keys(model.field(name).id, snapshot)
        made = tokens(keys.inner, keys.outer, values)
        trace.looked_up(model.name, name, made)
        return Looked(made, np.ones(len(made), np.bool_))

    def _spend(self, reading: Reading, model: Table, name: str, count: int, **extras: int | str) -> None:
        """Spend and note look-ups."""
        core = self._core
        said = {**reading.said(), "table": model.name, "fields": (name,)}

        def work(rows: Rows) -> Answer:
            decider, purpose = core.standing.decider, reading.purpose.name
            decision = core.standing.require(
                decider.decide_read(reading.actor, purpose, TRACE, model.name, (), (name,))
            )
            agreed(rows, core, reading, frozenset({model.field(name).klass}))
            plan = core.ledger.plan_count(rows, reading.lookup_limits(core), count, core.journal.now(rows))
            more = {"values": count, **extras}
            entry = core.journal.entry(
                rows, TRACE, reading.actor, **said, remaining=plan.remaining, rule=decision.rule, extras=more
            )
            core.ledger.apply(rows, plan)
            return {"leaf": core.journal.note(rows, entry)}

        core.act(TRACE, reading.actor, work, **said)

    def open_hits(
        self, reading_id: bytes, table: str, field_name: str, value_tokens: Bytes2D, entries: Bytes2D
    ) -> TraceHits:
        """See `Traces.open_hits`."""
        reading, trace = self._of(reading_id)
        check_entries(value_tokens, entries)
        model = self._decided(reading, table, field_name)
        if not trace.was_given(table, field_name, value_tokens):
            raise DeniedError("this trace did not look up that value", rule=FOREIGN_HITS)
        hits = living(self._core, model, field_name, value_tokens, entries)
        trace.found(hits.subjects)
        return hits

    # -- tokens ---------------------------------------------------------------------------------
    def name_tokens(self, reading_id: bytes, table: str, field_name: str, tokens: pa.Array) -> tuple[Origin, ...]:
        """See `Traces.name_tokens`."""
        reading, trace = self._of(reading_id)
        model = self._allowed(reading, table, field_name, len(tokens))
        self._spend(reading, model, field_name, len(tokens), about="tokens")
        named = self._tokens.named(model, field_name, tokens)
        trace.named |= {one.export.id for one in named}
        return named

    def try_formed(
        self, reading_id: bytes, table: str, field_name: str, tokens: pa.Array, *, held: int, snapshot: int
    ) -> FormTried:
        """See `Traces.try_formed`."""
        reading, trace = self._of(reading_id)
        model = self._allowed(reading, table, field_name, len(tokens))
        handful = self._forms.handful(model, field_name, tokens, held, believed=not reading.holder.direct)
        if handful is None or not trace.tries():
            return FormTried(0, np.empty((0, 16), np.uint8))
        self._spend(reading, model, field_name, handful.lookups, about="tokens")
        one = self._forms.tried(handful, model, field_name, snapshot)
        trace.tried(one)
        return FormTried(handful.lookups, np.ascontiguousarray(one.asked).view(np.uint8).reshape(-1, 16))

    def name_formed(self, reading_id: bytes, value_tokens: Bytes2D, entries: Bytes2D) -> tuple[Origin, ...]:
        """See `Traces.name_formed`."""
        reading, trace = self._of(reading_id)
        one = trace.answer()
        model = self._decided(reading, one.table, one.name)
        named = self._forms.named(one, model, value_tokens, entries)
        trace.named |= {own.export.id for own in named}
        return named

    def behind_tokens(
        self, reading_id: bytes, export_id: str, table: str, field_name: str, tokens: pa.Array, snapshot: int
    ) -> Looked:
        """See `Traces.behind_tokens`."""
        reading, trace = self._of(reading_id)
        model = self._allowed(reading, table, field_name, len(tokens))
        if export_id not in trace.named:
            raise DeniedError("tokens of this sample did not name that export", rule="room.export-not-named")
        self._spend(reading, model, field_name, len(tokens), about="tokens", export=export_id)
        values, there = self._tokens.behind(model, field_name, export_id, tokens)
        made = np.zeros((len(tokens), 16), np.uint8)
        if there.any():
            looked = self._looked(trace, model, field_name, values, snapshot)
            rows = np.flatnonzero(there)
            made[rows], there[rows] = looked.tokens, looked.there
        return Looked(made, there)

    # -- persons to a verdict -------------------------------------------------------------------
    def weigh(self, reading_id: bytes, sample: SampleFound) -> Weighed:
        """See `Traces.weigh`."""
        reading, trace = self._of(reading_id)
        check_sample(sample)
        core = self._core
        core.standing.refresh()
        for table, name in sample.names:
            core.standing.schema.table(table).field(name)
        trace.check_found(sample.persons)
        which = self._register.which(sample.persons)
        finds = found(which.pool[which.found], which.number[which.found])
        with trace.weighing():
            leaf = self._note(reading, sample, finds)
        # From here on coins are thrown: what was found stands in the log.
        verdict, others = self._verdict(finds)
        records = tuple(
            replace(self._ledger.record(one.export), where="") for one in (verdict.accused if verdict else ())
        )
        real = ~which.found
        issued = self._ledger.ids()
        blamed = {bytes.fromhex(one.id) for one in records} | {bytes.fromhex(name) for name in trace.named}
        excluded, why = self._outside.of(sample, real, [one for one in issued if one not in blamed])
        own = sample.fields[real]
        counts = tuple(int((own >> np.uint64(bit) & np.uint64(1)).sum()) for bit in range(len(sample.names)))
        everybody = None if not blamed else len(BitMap64.union(*(self._ledger.persons_of(one) for one in blamed)))
        return Weighed(
            leaf, finds.digest, verdict, others, records, excluded, why, int(real.sum()),
            int((real & sample.sure).sum()), counts, everybody,
        )  # fmt: skip

    def _note(self, reading: Reading, sample: SampleFound, finds: Found) -> int:
        """Note the finds, so that nobody leaves some out once coins were seen."""
        core = self._core
        table = sample.names[0][0] if sample.names else next(iter(reading.purpose.tables))
        said = {**reading.said(), "table": table}

        def work(rows: Rows) -> Answer:
            decider, purpose = core.standing.decider, reading.purpose.name
            decision = core.standing.require(decider.decide_read(reading.actor, purpose, TRACE, table, ()))
            agreed(rows, core, reading, frozenset())
            extras: dict[str, int | str] = {
                "sample": sample.digest.hex(), "persons": len(sample.persons), "finds": finds.digest.hex(),
            }  # fmt: skip
            entry = core.journal.entry(rows, TRACE, reading.actor, **said, rule=decision.rule, extras=extras)
            return {"leaf": core.journal.note(rows, entry)}

        leaf: int = core.act(TRACE, reading.actor, work, **said)["leaf"]
        return leaf

    def _verdict(self, finds: Found) -> tuple[Verdict | None, npt.NDArray[np.float64]]:
        """What the finds prove, and ln E of exports that they do not accuse, without names."""
        ever_issued = len(self._ledger.ids())
        if not ever_issued:
            return None, np.empty(0)
        opened, spent = frozenset(self._codes.opened()), list[bytes]()
        rows = unopened(self._codes.rows(), opened, spent)
        counts = count_held(rows, finds, lambda row: self._codes.through(row, finds))
        verdict = weigh(counts, len(finds), ever_issued=ever_issued, spent=spent)
        nats = log_e(counts)
        return verdict, np.sort(nats[nats < verdict.threshold])

    # -- versions -------------------------------------------------------------------------------
    def versions(
        self, reading_id: bytes, table: str, fields: Sequence[str], tokens: Bytes2D, batches: Bytes2D
    ) -> Versions:
        """See `Traces.versions`."""
        reading, trace = self._of(reading_id)
        core = self._core
        core.standing.refresh()
        check_rows(tokens, 16, VERSIONS_MAX)
        check_rows(batches, 16, VERSIONS_MAX)
        if len(tokens) != len(batches) or not len(tokens) or not fields:
            raise UsageError("there is a batch for every token, a row and a field at least")
        trace.check_found(tokens)
        for name in set(fields):
            core.standing.schema.table(table).field(name)
        model = self._readings.decide(reading, (TRACE,), table, tuple(fields))
        klasses = frozenset(model.field(name).klass for name in fields)
        shown = klasses - {OPEN}
        said = {**reading.said(), "table": table, "fields": tuple(fields)}
        canary = self._register.which(tokens).found

        def acting(persons: PersonsBehind) -> Steps[Answer]:
            def work(rows: Rows) -> Answer:
                return self._charge(rows, reading, model, fields, batches, persons, said)

            return core.acting(TRACE, reading.actor, work, **said)

        def look_up() -> PersonsBehind:
            return self._behind.persons(tokens, batches, model).without(canary, tokens)

        persons, answer = core.finish(settling(look_up, acting))
        asked, persons = len(persons.distinct), first_of(persons, answer["persons"])
        keys = keys_of(persons, shown, model, batches)
        missing = np.flatnonzero(~persons.found)
        born = core.keys.lookup(tokens).born
        since = core.state.read().execute("SELECT min(minted) FROM batch WHERE state = 'committed'").fetchone()[0]
        left_out = asked - len(persons.distinct)
        minted = self._minted(batches)
        return Versions(keys, missing, born, minted, since, answer["leaf"], len(persons.distinct), left_out)

    def _charge(
        self, rows: Rows, reading: Reading, model: Table, fields: Sequence[str], batches: Bytes2D,
        persons: PersonsBehind, said: dict[str, Any],
    ) -> Answer:  # fmt: skip
        core, purpose = self._core, reading.purpose.name
        decision = core.standing.require(
            core.standing.decider.decide_read(reading.actor, purpose, TRACE, model.name, tuple(fields))
        )
        hidden = [name for name in fields if decision.views[name].show != "plain"]
        if hidden:
            raise DeniedError(
                f"purpose {purpose} does not show fields {', '.join(hidden)} of table {model.name} plain",
                rule=f"purposes.{purpose}.tables.{model.name}",
            )
        if reading.holder.direct:
            sealed = frozenset(model.field(name).klass for name in fields)
            whole_only(core, reading, sealed | ({OPEN} if model.open_fields else set()), model)
        self._behind.check_batches(rows, batches, model)
        check_nobody_erased(rows, persons.removals)
        klasses = tuple(sorted({model.field(name).klass for name in fields}))
        own = (*reading.through.limits("persons"), *limits(core.standing.policy, reading.actor, purpose, "persons"))
        rules = (*own, *agreed(rows, core, reading, frozenset(klasses) - {OPEN}))
        plan, persons = fitting(core, rows, rules, persons)
        labels = core.journal.labels(rows, persons.tokens, core.standing.policy.purposes[purpose].delay_days)
        entry = core.journal.entry(
            rows, TRACE, reading.actor, **said, count=len(persons.ordinals), remaining=plan.remaining,
            **told(core, reading, labels, klasses), rule=decision.rule, extras={"records": int(persons.found.sum())},
        )  # fmt: skip
        core.ledger.apply(rows, plan)
        leaf = core.journal.note(rows, entry)
        if len(persons.tokens):
            core.journal.keep_labels(rows, leaf, labels)
        return {"leaf": leaf, "persons": len(persons.ordinals)}

    def _minted(self, batches: Bytes2D) -> npt.NDArray[np.float64]:
        """When each row's batch was begun."""
        names, place = np.unique(np.ascontiguousarray(batches).view("V16")[:, 0], return_inverse=True)
        rows, when = self._core.state.read(), []
        for name in names:
            row = rows.execute("SELECT minted FROM batch WHERE id = ?", (name.tobytes(),)).fetchone()
            when.append(float(row[0]))
        return np.array(when, np.float64)[place.reshape(-1)]
