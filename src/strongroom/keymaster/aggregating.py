"""Keys for aggregates over sealed fields: to a server, of declared fields, for no more persons than were planned.

Rules it keeps:

1. A question is planned before its first key: how many persons at most, of which fields. It is one look-up, and refused
   at once where the persons could never fit the budgets.
2. Keys go out for fields that a plan of the same reading names, as far as its persons reach; the persons are spent and
   noted like those of any release.
3. Who asks without a server in front is refused: the values would be theirs before anybody had added them up.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

from strongroom.errors import DeniedError
from strongroom.keymaster.api import Ask
from strongroom.keymaster.core import Core
from strongroom.keymaster.holder import SERVER_ONLY
from strongroom.keymaster.readings import Reading
from strongroom.keys.rows import Rows
from strongroom.purpose.budget import check_fits, limits
from strongroom.schema.model import OPEN, Table

AGGREGATE = "aggregate"
UNPLANNED = "room.aggregate-unplanned"
PLANS_MAX = 1_000


@dataclass
class Planned:
    """One question that was planned: its table and fields, the most persons, and how many each release had."""

    table: str
    fields: tuple[str, ...]
    persons: int
    released: dict[bytes, int] = field(default_factory=dict, repr=False)
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def take(self, ask: Ask, persons: int) -> bool:
        """Whether a release of so many persons is of this question and within it; the same request counts once."""
        if (ask.table, ask.fields) != (self.table, self.fields):
            return False
        with self.lock:
            others = sum(self.released.values()) - self.released.get(ask.request_id, 0)
            if others + persons > self.persons:
                return False
            self.released[ask.request_id] = persons
        return True


def sealed_of(fields: Sequence[str] | None, model: Table) -> tuple[str, ...]:
    """The sealed fields among some names."""
    named = set(fields or ())
    return tuple(f.name for f in model.fields if f.klass != OPEN and f.name in named)


def classes_of(ask: Ask, model: Table) -> frozenset[str]:
    """The classes whose keys an ask of `sql` is for: none where it is for rows."""
    return frozenset(model.field(name).klass for name in sealed_of(ask.fields, model))


def verb_of(ask: Ask, model: Table) -> str:
    """The word that an ask is decided by."""
    if ask.verb != "sql":
        return ask.verb
    return AGGREGATE if classes_of(ask, model) else "rows"


def spend_plan(
    core: Core, rows: Rows, reading: Reading, model: Table, fields: Sequence[str], persons: int
) -> dict[str, int]:
    """Check a question over sealed fields before it is answered, and spend its look-up; what is left of those.

    Raises:
        DeniedError: It is asked without a server, or beyond what the caller signed.
        BudgetError: So many persons fit no budget, or no look-up is left.
    """
    server_only(reading)
    if reading.warrant is not None:
        reading.warrant.check_aggregate(model.name, sealed_of(fields, model), persons)
    policy, now = core.standing.policy, core.journal.now(rows)
    own = reading.through
    for limit in (*own.limits("persons"), *limits(policy, reading.actor, reading.purpose.name, "persons")):
        # what was spent before may have been on the same persons: that is known with their ordinals only
        check_fits(limit, now, {}, persons)
    rules = (*own.limits("lookups"), *limits(policy, reading.actor, reading.purpose.name, "lookups"))
    plan = core.ledger.plan_count(rows, rules, 1, now)
    core.ledger.apply(rows, plan)
    return plan.remaining


def keep_plan(reading: Reading, request_id: bytes, table: str, fields: Sequence[str], persons: int) -> None:
    """Let keys of a planned question go out, once its plan is durable."""
    if len(reading.planned) < PLANS_MAX:
        reading.planned.setdefault(request_id, Planned(table, tuple(fields), persons))


def check_aggregate(reading: Reading, ask: Ask, persons: int) -> None:
    """Raise DeniedError unless a server asks for persons of a question that was planned."""
    server_only(reading)
    if not any(planned.take(ask, persons) for planned in reading.planned.values()):
        raise DeniedError("keys for an aggregate go out for what was planned, and no more", rule=UNPLANNED)


def server_only(reading: Reading) -> None:
    """Raise DeniedError where no server stands in front."""
    if reading.holder.direct:
        raise DeniedError(
            "sealed fields are added up by a server only", rule=SERVER_ONLY, hint="ask through `strongroom serve`"
        )
