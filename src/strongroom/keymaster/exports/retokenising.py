"""Tokens of an export made and read on request: `tokenize` costs look-ups, `detokenize` is a release of persons.

Rules it keeps:

1. Either needs its verb in a purpose that shows the field; what comes back, comes back after it is spent and noted.
2. Who stands behind a token of a subject is charged by ordinal and told, as by any release. Behind another field's
   token the keymaster, which has no records, knows nobody: each distinct value is charged as one person.
3. A subject who is not there, or any more, comes back as nothing, like what is no token of the export.
4. In the name of a server's caller it is for the very values that the caller signed, and spent once however often that
   is repeated under one `Idempotency-Key`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from strongroom.errors import DeniedError, UsageError
from strongroom.keymaster.behind import check_nobody_erased, settling
from strongroom.keymaster.canaries.alarm import Register, alarm
from strongroom.keymaster.core import Answer, Core
from strongroom.keymaster.exports.ledger import ExportLedger
from strongroom.keymaster.exports.tokenising import ExportTokens
from strongroom.keymaster.readings import Reading, Readings
from strongroom.keymaster.releasing import agreed, planned, told
from strongroom.keymaster.steps import Steps
from strongroom.keymaster.warrant import keep_spent, spent_before
from strongroom.keys.rows import Rows
from strongroom.purpose.budget import limits
from strongroom.schema.tokenform import token_field
from strongroom.seal.tokens import tokens as subject_tokens

if TYPE_CHECKING:
    import pyarrow as pa

    from strongroom.schema.model import Table

VALUES_AT_ONCE_MAX = 100_000
TOKENIZE, DETOKENIZE = "tokenize", "detokenize"


@dataclass(frozen=True)
class _Behind:
    """Who stands behind values: which rows may be told, how many persons that is, and, of subjects, who."""

    told: npt.NDArray[np.bool_]
    count: int
    removals: int
    ordinals: list[int] | None = None
    tokens: npt.NDArray[np.uint8] | None = field(default=None, repr=False)


class Tokenising:
    """Tokens for the readings of one keymaster."""

    def __init__(self, core: Core, readings: Readings, ledger: ExportLedger, canaries: Register) -> None:
        self._core = core
        self._canaries = canaries
        self._readings = readings
        self._ledger = ledger

    def _begun(
        self, verb: str, reading_id: bytes, export_id: bytes, table: str, name: str, values: pa.Array
    ) -> tuple[Reading, Table, ExportTokens]:
        """The reading, the table, and the export's tokens, once all of it is allowed; a refusal is noted."""
        reading = self._readings.get(reading_id)
        if not 0 < len(values) <= VALUES_AT_ONCE_MAX:
            raise UsageError(f"ask for 1 to {VALUES_AT_ONCE_MAX:,} values at once")
        if reading.warrant is not None:
            wanted = (verb, export_id, table, name, values.to_pylist())
            self._readings.within(reading, verb, table, lambda warrant: warrant.check_tokens(*wanted))
        model = self._readings.decide(reading, (verb,), table, (name,))
        kept = self._ledger.of(export_id)
        if name not in kept.fields.get(table, ()):
            raise UsageError(f"the export has no field {name} of table {table}")
        return reading, model, ExportTokens(self._ledger.token_key(export_id))

    def tokenize(self, reading_id: bytes, export_id: bytes, table: str, field_name: str, values: pa.Array) -> pa.Array:
        """See `Exports.tokenize`."""
        core = self._core
        reading, model, tokens = self._begun(TOKENIZE, reading_id, export_id, table, field_name, values)
        made = tokens.tokenize(token_field(model, field_name), values)
        said = {**reading.said(), "table": table, "fields": (field_name,)}

        def work(rows: Rows) -> Answer:
            decider, purpose = core.standing.decider, reading.purpose.name
            decision = core.standing.require(
                decider.decide_read(reading.actor, purpose, TOKENIZE, table, (field_name,))
            )
            count = 0 if spent_before(rows, reading.warrant) else len(values)
            plan = core.ledger.plan_count(rows, reading.lookup_limits(core), count, core.journal.now(rows))
            extras = {"export": export_id.hex(), "values": len(values)}
            entry = core.journal.entry(
                rows, TOKENIZE, reading.actor, **said, remaining=plan.remaining, rule=decision.rule, extras=extras
            )
            core.ledger.apply(rows, plan)
            keep_spent(core, rows, reading.warrant)
            return {"leaf": core.journal.note(rows, entry)}

        core.act(TOKENIZE, reading.actor, work, **said)
        return made

    def detokenize(
        self, reading_id: bytes, export_id: bytes, table: str, field_name: str, values: pa.Array
    ) -> tuple[pa.Array, npt.NDArray[np.bool_]]:
        """See `Exports.detokenize`."""
        import pyarrow as pa
        import pyarrow.compute as pc

        core = self._core
        reading, model, tokens = self._begun(DETOKENIZE, reading_id, export_id, table, field_name, values)
        found, bad = tokens.detokenize(token_field(model, field_name), values)
        said = {**reading.said(), "table": table, "fields": (field_name,)}

        def acting(behind: _Behind) -> Steps[Answer]:
            def work(rows: Rows) -> Answer:
                return self._spend(rows, reading, export_id, model, field_name, behind, len(values), said)

            return core.acting(DETOKENIZE, reading.actor, work, **said)

        behind, _ = core.finish(settling(lambda: self._behind(model, field_name, found), acting))
        gone = ~behind.told & np.asarray(found.is_valid())
        nothing = pa.scalar(None, found.type)
        return pc.if_else(pa.array(behind.told), found, nothing), bad | gone

    def _behind(self, model: Table, field_name: str, found: pa.Array) -> _Behind:
        import pyarrow.compute as pc

        valid = np.asarray(found.is_valid())
        removals = self._core.keys.refresh().removals
        if field_name != model.subject:
            return _Behind(valid, int(pc.count_distinct(found).as_py()), removals)
        own = subject_tokens(self._core.subject.inner, self._core.subject.outer, found.drop_null())
        looked = self._core.keys.lookup(own)
        there = valid.copy()
        there[valid] = looked.found
        rows = np.flatnonzero(looked.found)
        ordinals, first = np.unique(looked.ordinals[rows], return_index=True)
        return _Behind(there, len(ordinals), removals, ordinals.tolist(), own[rows[first]])

    def _spend(
        self, rows: Rows, reading: Reading, export_id: bytes, model: Table, field_name: str, behind: _Behind,
        size: int, said: dict[str, Any],
    ) -> Answer:  # fmt: skip
        core, purpose = self._core, reading.purpose.name
        decider = core.standing.decider
        decision = core.standing.require(
            decider.decide_read(reading.actor, purpose, DETOKENIZE, model.name, (field_name,))
        )
        if decision.views[field_name].show != "plain":
            raise DeniedError(
                f"purpose {purpose} does not show field {field_name} of table {model.name} plain",
                rule=f"purposes.{purpose}.tables.{model.name}",
            )
        check_nobody_erased(rows, behind.removals)
        klass = model.field(field_name).klass
        rules = (*reading.through.limits("persons"), *limits(core.standing.policy, reading.actor, purpose, "persons"))
        rules = (*rules, *agreed(rows, core, reading, frozenset({klass})))
        more: dict[str, Any] = {}
        labels, alarmed = None, dict[str, int]()
        if behind.ordinals is not None and behind.tokens is not None:
            plan = planned(core, rows, rules, behind.ordinals)
            labels = core.journal.labels(rows, behind.tokens, core.standing.policy.purposes[purpose].delay_days)
            more = told(core, reading, labels, (klass,))
            alarmed = alarm(self._canaries, rows, reading, behind.tokens)
        else:
            count = 0 if spent_before(rows, reading.warrant) else behind.count
            plan = core.ledger.plan_count(rows, rules, count, core.journal.now(rows))
        extras = {"export": export_id.hex(), "values": size, **alarmed}
        entry = core.journal.entry(
            rows, DETOKENIZE, reading.actor, **said, **more, count=behind.count, remaining=plan.remaining,
            rule=decision.rule, extras=extras,
        )  # fmt: skip
        core.ledger.apply(rows, plan)
        keep_spent(core, rows, reading.warrant)
        leaf = core.journal.note(rows, entry)
        if labels is not None and behind.count:
            core.journal.keep_labels(rows, leaf, labels)
        return {"leaf": leaf}
