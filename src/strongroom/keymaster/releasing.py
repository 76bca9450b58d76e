"""Release batch keys of persons: decided, spent and noted in one transaction, then derived.

Rules it keeps:

1. Keys go out for committed batches of the table that was asked for, and for classes that the purpose shows, or adds up
   (`aggregating`).
2. Persons are counted by ordinal, each once, in every scope and window, before any key is derived.
3. The same request id is charged once and gets the same answer; its keys are derived again. Nothing is remembered of a
   request that is to end its reading: there is none for a repeat, and a refusal is decided anew.
4. A person whose secret is gone is not found: the row is named in `Released.missing`, its keys are zeros. So is a
   row of somebody who was erased after it was put, or whose retention has ended: it costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from strongroom.errors import BudgetError, ConflictError, DeniedError, UsageError
from strongroom.keymaster.aggregating import (
    AGGREGATE,
    check_aggregate,
    classes_of,
    keep_plan,
    sealed_of,
    spend_plan,
    verb_of,
)
from strongroom.keymaster.api import Ask, Released
from strongroom.keymaster.behind import SMALL, Behind, PersonsBehind, check_nobody_erased, settling
from strongroom.keymaster.canaries.alarm import ALARM, Register, alarm, people_alone
from strongroom.keymaster.core import Answer, Core, Request
from strongroom.keymaster.holder import SERVER_ONLY
from strongroom.keymaster.ledger import Ordinals, Plan
from strongroom.keymaster.log.journal import Labels
from strongroom.keymaster.readings import Reading, Readings
from strongroom.keymaster.steps import Steps
from strongroom.keys.rows import Rows
from strongroom.purpose.budget import UNAPPROVED, Limit, approved_limit, unapproved_limits
from strongroom.purpose.cedar import Decision
from strongroom.purpose.policy import TableRule
from strongroom.schema.model import OPEN, Table
from strongroom.seal.cells import batch_keys, batch_keys_of

RELEASE_ROWS_MAX = 1_000_000
SHOWN_KEPT_MAX = 64
PLANT = "plant"
NEEDED = "approval.needed"
_ALONE = "what is wanted is to be asked for by itself"
_ASK = "`strongroom ask` asks for it, and a reading opened with its id has it"
_NONE_TAKEN = "give it an approval, or export under a purpose that decides and has no canary persons"

Certain = Callable[[Rows | None, PersonsBehind], bool]
_Rules = tuple[int, int, int, frozenset[str] | None]


class _NotAtOnceError(ConflictError):
    """What was to be released at once is not; never leaves the keymaster."""


class Releasing:
    """Answers the read requests of one keymaster."""

    def __init__(self, core: Core, readings: Readings, behind: Behind, canaries: Register) -> None:
        self._core = core
        self._readings = readings
        self._behind = behind
        self._canaries = canaries
        self._shows: dict[_Rules, tuple[TableRule, TableRule, Table, frozenset[str]]] = {}

    def releasing(
        self, reading_id: bytes, ask: Ask, *, last: bool = False, certain: Certain | None = None
    ) -> Steps[Released]:
        """See `Keymaster.release`, in steps.

        Args:
            reading_id: The reading.
            ask: What is to be released.
            last: End the reading with it, if nobody is missing.
            certain: Whether rows of these persons are what the caller means: asked without rows of the database before
                the transaction, and with them within it.

        Raises:
            _NotAtOnceError: It is not certain, or refused. Nothing is noted then, or remembered under the request id:
                what was not asked for by itself is refused when it is.
        """
        core, reading = self._core, self._readings.get(reading_id)
        _check(ask)
        core.standing.refresh()
        model = core.standing.schema.table(ask.table)
        said = {**reading.said(), "table": ask.table, "fields": ask.fields or (), "request": ask.request_id}

        def acting(persons: PersonsBehind) -> Steps[Answer]:
            ends = last and persons.everybody
            if certain is not None and not certain(None, persons):
                raise _NotAtOnceError(_ALONE)

            def work(rows: Rows) -> Answer:
                self._readings.check_open(reading)
                if certain is not None and not certain(rows, persons):
                    raise _NotAtOnceError(_ALONE)
                try:
                    answer = self._decide_spend_note(rows, reading, ask, model, persons, said)
                except (DeniedError, UsageError):
                    if certain is None:
                        raise
                    raise _NotAtOnceError(_ALONE) from None
                if ends:
                    self._readings.end_with(rows, reading)
                return answer

            # whoever was stopped meanwhile has no remembered answer either, nor has a reading that this ends
            alone = ends or core.standing.decider.stopped(reading.actor, reading.purpose.name)
            return core.acting(ask.verb, reading.actor, work, once=None if alone else _request(reading, ask), **said)

        persons, answer = yield from settling(partial(self._persons, ask, model), acting)
        if ALARM in answer:
            reading.alarms.append(answer["leaf"])
        keys = self._keys(reading, ask, model, persons)
        missing = () if persons.everybody else tuple(np.flatnonzero(~persons.found).tolist())
        if last and not missing:
            self._readings.drop(reading)
        return Released(keys, answer["leaf"], answer["persons"], answer["remaining"], missing)

    def _persons(self, ask: Ask, model: Table) -> PersonsBehind:
        found = self._behind.persons(ask.tokens, ask.batches, model, lately=True)
        if ask.verb != PLANT:
            return found
        return people_alone(self._canaries, self._core.state.read(), found, ask.tokens)

    def _decide_spend_note(
        self, rows: Rows, reading: Reading, ask: Ask, model: Table, persons: PersonsBehind, said: Mapping[str, object]
    ) -> Answer:
        core = self._core
        verb = verb_of(ask, model)
        decider, purpose = core.standing.decider, reading.purpose.name
        decision = core.standing.require(decider.decide_read(reading.actor, purpose, verb, ask.table, ask.fields))
        self._behind.check_batches(rows, ask.batches, model)
        if reading.warrant is not None:
            reading.warrant.check_release(ask, persons.tokens)
        if verb == AGGREGATE:
            check_aggregate(reading, ask, len(persons.ordinals))
        elif reading.holder.direct:
            whole_only(core, reading, self._shown(reading, ask, model), model)
        check_nobody_erased(rows, persons.removals)
        limits = (*self._limits(reading), *agreed(rows, core, reading, self._shown(reading, ask, model)))
        plan = planned(core, rows, limits, persons.ordinals)
        rule = core.standing.policy.purposes[purpose]
        labels = core.journal.labels(rows, persons.tokens, rule.delay_days)
        alarmed = alarm(self._canaries, rows, reading, persons.tokens)
        entry = core.journal.entry(
            rows,
            ask.verb,
            reading.actor,
            **said,
            count=len(persons.ordinals),
            remaining=plan.remaining,
            **told(core, reading, labels, _classes(decision, ask.verb, ask.fields)),
            rule=decision.rule,
            extras={"records": len(ask.tokens), "looked_up": ask.looked_up, "misses": ask.misses, **alarmed},
        )
        core.ledger.apply(rows, plan)
        leaf = core.journal.note(rows, entry)
        if len(persons.tokens):
            core.journal.keep_labels(rows, leaf, labels)
        return {"leaf": leaf, "persons": len(persons.ordinals), "remaining": plan.remaining, **alarmed}

    def _limits(self, reading: Reading) -> tuple[Limit, ...]:
        own = self._core.standing.limits(reading.actor, reading.purpose.name, "persons")
        return (*reading.through.limits("persons"), *own)

    def _shown(self, reading: Reading, ask: Ask, model: Table) -> frozenset[str]:
        """The sealed classes that the purpose shows of the fields asked for; kept while rules and table stand."""
        if ask.verb == "sql":
            return classes_of(ask, model)
        began, now = reading.rules(self._core, ask.table)
        wanted = None if ask.fields is None else frozenset(ask.fields)  # a name is kept once, however often it is said
        key = (id(began), id(now), id(model), wanted)
        kept = self._shows.get(key)
        if kept is None:
            shown = _sealed_shown(began, model, wanted) & _sealed_shown(now, model, wanted)
            if len(self._shows) >= SHOWN_KEPT_MAX:
                self._shows.clear()
            kept = self._shows[key] = (began, now, model, shown)  # while they are kept nothing else has their ids
        return kept[3]

    # -- keys -----------------------------------------------------------------------------------
    def _keys(
        self, reading: Reading, ask: Ask, model: Table, persons: PersonsBehind
    ) -> dict[str, npt.NDArray[np.uint8]]:
        return keys_of(persons, self._shown(reading, ask, model), model, ask.batches) if len(ask.tokens) else {}

    # -- aggregates -----------------------------------------------------------------------------
    def note_sql(
        self, reading_id: bytes, request_id: bytes, table: str, fields: Sequence[str], groups: int, persons: int = 0
    ) -> int:
        """See `Keymaster.note_sql`."""
        core, reading = self._core, self._readings.get(reading_id)
        core.standing.refresh()
        model = core.standing.schema.table(table)
        sealed = bool(sealed_of(fields, model))
        said = {**reading.said(), "table": table, "fields": tuple(fields), "request": request_id}
        parts = (reading.actor, reading.purpose.name, "sql", table, "\0".join(fields), str(persons))
        request = Request.of(request_id, parts)

        def work(rows: Rows) -> Answer:
            decider = core.standing.decider
            verb = AGGREGATE if sealed else "sql"
            decision = decider.decide_read(reading.actor, reading.purpose.name, verb, table, list(fields))
            core.standing.require(decision)
            if reading.warrant is not None:
                reading.warrant.check_verb("sql")
            parts: dict[str, object] = {"extras": {"groups": groups}}
            if sealed:
                left = spend_plan(core, rows, reading, model, fields, persons)
                parts = {"remaining": left, "extras": {"groups": groups, "persons": persons}}
            entry = core.journal.entry(rows, "sql", reading.actor, **said, rule=decision.rule, **parts)
            return {"leaf": core.journal.note(rows, entry)}

        leaf: int = core.act("sql", reading.actor, work, once=request, **said)["leaf"]
        if sealed:
            keep_plan(reading, request_id, table, fields, persons)
        return leaf


def _sealed_shown(rule: TableRule, model: Table, wanted: frozenset[str] | None) -> frozenset[str]:
    return frozenset(
        view.klass
        for view in rule.views(model).values()
        if view.show != "withheld" and view.klass != OPEN and (wanted is None or view.name in wanted)
    )


def told(core: Core, reading: Reading, labels: Labels, classes: tuple[str, ...]) -> dict[str, Any]:
    """What an entry tells each of its persons, besides its time, act, purpose and legal basis."""
    role = core.standing.policy.role_under(reading.actor, reading.purpose.name)
    return {"role": role, "classes": classes, "labels": labels}


def _classes(decision: Decision, verb: str, fields: tuple[str, ...] | None) -> tuple[str, ...]:
    """The classes of what an answer can show: of sql the open fields, of rejects whatever a line holds."""
    if verb == "sql":
        return (OPEN,)
    wanted = None if fields is None or verb == "rejects" else set(fields)
    shown = (v for v in decision.views.values() if v.show != "withheld" and (wanted is None or v.name in wanted))
    return tuple(sorted({view.klass for view in shown}))


def _check(ask: Ask) -> None:
    if ask.verb not in {"get", "find", "sql", "rejects", PLANT}:
        raise UsageError("a release is for get, find, sql, rejects or plant")
    for array in (ask.tokens, ask.batches):
        if array.ndim != 2 or array.shape[1] != 16 or array.dtype != np.uint8:
            raise UsageError("tokens and batches are bytes, 16 to a row")
    if len(ask.tokens) != len(ask.batches) or len(ask.tokens) > RELEASE_ROWS_MAX:
        raise UsageError(f"a release has a batch for every token, and at most {RELEASE_ROWS_MAX} rows")


def keys_of(
    persons: PersonsBehind, shown: frozenset[str], model: Table, batches: npt.NDArray[np.uint8]
) -> dict[str, npt.NDArray[np.uint8]]:
    """Batch keys of rows in the classes shown, by class: u8[n,32], zeros for those who were not found."""
    gone = None if persons.everybody else ~persons.found
    classes = [klass for klass in model.classes if klass in shown]
    compartments = [model.compartments[klass] for klass in classes]
    keys = {}
    for klass, found in zip(classes, _batch_keys(persons.secrets, compartments, batches), strict=True):
        if gone is not None:
            found[gone] = 0
        keys[klass] = found
    return keys


def _batch_keys(
    secrets: npt.NDArray[np.uint8], compartments: Sequence[bytes], batches: npt.NDArray[np.uint8]
) -> list[npt.NDArray[np.uint8]]:
    """The batch keys of rows in several compartments; for a few rows all compartments go through together."""
    size, sets = len(secrets), len(compartments)
    if size > SMALL or sets < 2:
        return [batch_keys(secrets, compartment, batches) for compartment in compartments]
    return batch_keys_of(secrets, compartments, batches)


def agreed(rows: Rows, core: Core, reading: Reading, shown: frozenset[str], always: str = "") -> tuple[Limit, ...]:
    """Further limits of a purpose that needs another person's agreement, where these classes are shown.

    Args:
        rows: The transaction.
        core: The keymaster.
        reading: Who reads.
        shown: The classes.
        always: What needs it whatever the purpose says; empty where the purpose alone decides.

    Raises:
        DeniedError: It is needed and not there, or has ended.
    """
    # as the policy is now, not as it was when the reading was opened
    policy, leave = core.standing.policy, reading.leave
    purpose = policy.purposes[reading.purpose.name]
    rule = purpose.approval
    if leave.broken and set(purpose.break_glass) & set(policy.actors[reading.actor].roles):
        return ()
    if rule is None:
        if always:
            raise DeniedError(f"{always}, and purpose {purpose.name} takes no approvals", rule=NEEDED, hint=_NONE_TAKEN)
        return ()
    if leave.approval:
        sql = "SELECT 1 FROM approval WHERE id = ? AND state = 'approved' AND expires > ?"
        if rows.execute(sql, (leave.approval, core.journal.now(rows))).fetchone() is None:
            raise DeniedError("the approval has ended", rule="approval.ended", hint="ask for another")
        return (approved_limit(leave.approval, leave.persons),)
    if always:
        raise DeniedError(always, rule=NEEDED, hint=_ASK)
    if rule.always or set(rule.classes) & shown:
        raise _unapproved(reading)
    return unapproved_limits(purpose, reading.actor)


def planned(core: Core, rows: Rows, limits: Sequence[Limit], ordinals: Ordinals) -> Plan:
    """What counting some persons would spend; DeniedError beyond what one reads without another's agreement."""
    try:
        return core.ledger.plan_persons(rows, limits, ordinals, core.journal.now(rows))
    except BudgetError as error:
        if (error.rule or "").startswith(f"{UNAPPROVED}/"):
            raise DeniedError(
                "more persons in an hour than this purpose lets one person read alone",
                rule=NEEDED,
                hint=_ASK,
            ) from None
        raise


def _unapproved(reading: Reading) -> DeniedError:
    told = f"purpose {reading.purpose.name} needs another person's agreement"
    return DeniedError(told, rule=NEEDED, hint=_ASK)


def whole_only(core: Core, reading: Reading, shown: frozenset[str], model: Table) -> None:
    """A class goes whole: what else its key opens must be the caller's to read too, where no server masks.

    Raises:
        DeniedError: The purpose masks, replaces or withholds a field of a class that is asked for.
    """
    views = [view for rule in reading.rules(core, model.name) for view in rule.views(model).values()]
    hidden = sorted({view.klass for view in views if view.klass in shown and view.show != "plain"})
    if hidden:
        raise DeniedError(
            f"the purpose hides or masks fields of {', '.join(hidden)}: only a server is released these classes",
            rule=SERVER_ONLY,
            hint="ask through `strongroom serve`",
        )


def _request(reading: Reading, ask: Ask) -> Request:
    fields = "\1" if ask.fields is None else "\0".join(ask.fields)
    parts = (
        reading.id,
        reading.actor,
        reading.purpose.name,
        ask.verb,
        ask.table,
        fields,
        ask.tokens.tobytes(),
        ask.batches.tobytes(),
    )
    return Request.of(ask.request_id, parts)
