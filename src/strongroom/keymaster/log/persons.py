"""Tell a person who read them: which entries of the log carry their label, and that no other entry does.

Rules it keeps:

1. Asking is a request like any other: decided, charged and noted with the person's label before anything is told. The
   entry commits to the subject, the days and the labels of the answer, so that nobody on the way swaps one.
2. What is told of an entry is what its first line says: when, under which role and purpose, which classes. Not who, not
   how many others.
3. Only maps of closed days are told. What stands in a later day's map, because its purpose delays it, is in none of
   them.
4. A person who was erased is not found; one who came back is told of the days after.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from strongroom.audit.daymap import PART_LABELS, Part, Tree
from strongroom.audit.disclosure import SALT_BYTES, disclose, disclosed_digest
from strongroom.audit.entry import LABEL_BYTES, logged
from strongroom.audit.note import verifier_key
from strongroom.audit.tlog import leaf_hash
from strongroom.errors import (
    ConflictError,
    ErasedError,
    IntegrityError,
    NotFoundError,
    UnavailableError,
    UsageError,
)
from strongroom.keymaster.canaries.alarm import Register, alarm
from strongroom.keymaster.core import Answer, Core
from strongroom.keymaster.log.days import LOST, Days, salt_of, salts
from strongroom.keymaster.log.journal import DAY_SECONDS, DayKeys
from strongroom.keymaster.log.personapi import (
    DAYS_AT_ONCE,
    ENTRIES_AT_ONCE,
    DayTold,
    EntryTold,
    LeafTold,
    PersonAsked,
)
from strongroom.keymaster.log.publishing import Publishing
from strongroom.keymaster.lookups import Lookups
from strongroom.keymaster.readings import Reading, Readings
from strongroom.keymaster.releasing import agreed, planned, told
from strongroom.keys.rows import Rows, counter
from strongroom.purpose.budget import limits
from strongroom.seal.tokens import cmac_one

VERB = "log"
DISCLOSED = "person"
TICKETS_MAX = 64
LEAVES_AT_ONCE = 100_000
ATTEMPTS_MAX = 16
_TOLD = "SELECT day, leaf, labels, state FROM day_map WHERE day >= ? AND day < ?"


class _ChangedError(ConflictError):
    """A day ended or somebody was erased while the answer was made; never leaves this module."""


@dataclass
class _Ticket:
    """One request that was answered: what its further pages are about."""

    reading: bytes
    table: str
    token: bytes = field(repr=False)
    first: int
    end: int
    size: int
    told: set[int] = field(default_factory=set)


class EmbeddedPersons:
    """See `keymaster.log.personapi.Persons`."""

    def __init__(
        self,
        core: Core,
        readings: Readings,
        lookups: Lookups,
        publishing: Publishing,
        days: Days,
        canaries: Register,
    ) -> None:
        self._core = core
        self._canaries = canaries
        self._readings = readings
        self._lookups = lookups
        self._publishing = publishing
        self._days = days
        self._tickets: dict[int, _Ticket] = {}

    # -- asking ---------------------------------------------------------------------------------
    def begin(self, reading_id: bytes, table: str, identifier: str) -> PersonAsked:
        """See `Persons.begin`."""
        core, reading = self._core, self._readings.get(reading_id)
        self._readings.within(reading, VERB, table, lambda warrant: warrant.check_verb(VERB))
        token = self._lookups.subject_tokens(reading_id, table, [identifier], (VERB,)).tobytes()
        said = {**reading.said(), "table": table}
        for _ in range(ATTEMPTS_MAX):
            self._days.close_due(wait=True)
            removals, (subject,) = core.keys.few([token])
            if subject is None:
                raise self._nobody(reading, token, said)
            first, end, labels = self._labels(token)
            about = {"subject": identifier, "table": table, "first": first, "labels": labels}
            disclosure = disclose(core.entropy(SALT_BYTES), DISCLOSED, about)
            standing = (removals, end, disclosure)

            def work(rows: Rows, ordinal: int = subject.ordinal, standing: Any = standing) -> Answer:
                return self._note(rows, reading, table, token, ordinal, standing)

            with suppress(_ChangedError):
                leaf = core.act(VERB, reading.actor, work, **said)["leaf"]
                break
        else:
            raise UnavailableError("persons keep being erased, or the day does not end: ask again")
        text = self._publishing.publish()
        ticket = _Ticket(reading_id, table, token, first, end, self._publishing.checkpoint_of(text).size)
        while len(self._tickets) >= TICKETS_MAX:
            del self._tickets[next(iter(self._tickets))]
        self._tickets[leaf] = ticket
        (request,) = self._entries(ticket, [leaf])
        key = verifier_key(self._publishing.origin, self._publishing.keys[-1].public_key)
        sql = "SELECT count(*) FROM day_map WHERE day >= ? AND day < ?"
        spans = core.state.read().execute(sql, (first, end)).fetchone()[0]
        return PersonAsked(request, text, key, disclosure, first, int(spans))

    def _labels(self, token: bytes) -> tuple[int, int, dict[str, str]]:
        """The first day that is told of, the first that is not closed, and the label of each day between with a map."""
        core = self._core
        rows = core.state.read()
        row = rows.execute("SELECT first FROM day_map ORDER BY day LIMIT 1").fetchone()
        end = self._days.due(rows)
        first = end if row is None else int(row[0])
        buried = rows.execute("SELECT at FROM tombstone WHERE token = ?", (token,)).fetchone()
        if buried is not None:
            first = max(first, int(buried[0]) // DAY_SECONDS + 1)
        found = {}
        for day, _leaf, count, state in rows.execute(_TOLD, (first, end)).fetchall():
            if count and state != LOST:
                found[str(day)] = cmac_one(self._keys(rows, day).day, token).hex()
        return first, end, found

    def _note(self, rows: Rows, reading: Reading, table: str, token: bytes, ordinal: int, standing: Any) -> Answer:
        """Decide, spend and note, if all is as it was when the answer was made."""
        core, purpose = self._core, reading.purpose.name
        removals, end, disclosure = standing
        decision = core.standing.require(core.standing.decider.decide_read(reading.actor, purpose, VERB, table))
        today = int(core.journal.now(rows)) // DAY_SECONDS
        if counter(rows, "removals") != removals or self._days.due(rows) != end or end < today:
            raise _ChangedError("somebody was erased, or a day ended")
        rules = (*reading.through.limits("persons"), *limits(core.standing.policy, reading.actor, purpose, "persons"))
        plan = planned(core, rows, (*rules, *agreed(rows, core, reading, frozenset())), [ordinal])
        own = np.frombuffer(token, np.uint8).reshape(1, -1)
        labels = core.journal.labels(rows, own, core.standing.policy.purposes[purpose].delay_days)
        entry = core.journal.entry(
            rows, VERB, reading.actor, **reading.said(), **told(core, reading, labels, ()), table=table, count=1,
            remaining=plan.remaining, rule=decision.rule, shown=disclosed_digest(disclosure),
            extras=alarm(self._canaries, rows, reading, own),
        )  # fmt: skip
        core.ledger.apply(rows, plan)
        leaf = core.journal.note(rows, entry)
        core.journal.keep_labels(rows, leaf, labels)
        return {"leaf": leaf}

    def _nobody(self, reading: Reading, token: bytes, said: dict[str, Any]) -> Exception:
        """Note that a subject was asked for who is not there; returns what says so."""
        core = self._core

        def work(rows: Rows) -> Answer:
            entry = core.journal.entry(rows, VERB, reading.actor, **said, count=0, extras={"misses": 1})
            return {"leaf": core.journal.note(rows, entry)}

        core.act(VERB, reading.actor, work, **said)
        buried = core.state.read().execute("SELECT 1 FROM tombstone WHERE token = ?", (token,)).fetchone()
        if buried is not None and reading.purpose.may_know_erased:
            return ErasedError("the subject was erased")
        return NotFoundError(f"no such subject in table {said['table']}")

    # -- pages ----------------------------------------------------------------------------------
    def days(self, reading_id: bytes, request: int, after: int) -> list[DayTold]:
        """See `Persons.days`."""
        ticket = self._ticket(reading_id, request)
        rows = self._core.state.read()
        sql = f"{_TOLD} ORDER BY day LIMIT ? OFFSET ?"
        found: list[DayTold] = []
        spans = rows.execute(sql, (ticket.first, ticket.end, DAYS_AT_ONCE, max(0, after))).fetchall()
        closings = self._entries(ticket, [leaf for _day, leaf, _count, _state in spans])
        held = 0
        for (day, _leaf, count, state), closing in zip(spans, closings, strict=True):
            one = DayTold(closing, state == LOST, b"", [], [])
            if count and not one.lost:
                one = self._day(rows, ticket, int(day), closing)
            found.append(one)
            held += len(one.leaves)
            ticket.told.update(one.leaves)
            if held > LEAVES_AT_ONCE:
                break
        return found

    def entries(self, reading_id: bytes, request: int, numbers: Sequence[int]) -> list[EntryTold]:
        """See `Persons.entries`."""
        ticket = self._ticket(reading_id, request)
        if len(numbers) > ENTRIES_AT_ONCE or not ticket.told.issuperset(numbers):
            raise UsageError(f"ask for at most {ENTRIES_AT_ONCE} entries that were named")
        return self._entries(ticket, numbers)

    def _ticket(self, reading_id: bytes, request: int) -> _Ticket:
        reading = self._readings.get(reading_id)
        ticket = self._tickets.get(request)
        if ticket is None or ticket.reading != reading_id:
            raise NotFoundError("this reading has not asked for that, or long ago", hint="ask again")
        core = self._core
        core.standing.refresh()
        decider = core.standing.decider
        core.standing.require(decider.decide_read(reading.actor, reading.purpose.name, VERB, ticket.table))
        return ticket

    def _entries(self, ticket: _Ticket, numbers: Sequence[int]) -> list[EntryTold]:
        rows = self._core.state.read()
        sql = "SELECT entry FROM leaf WHERE number = ?"
        lines = [logged(rows.execute(sql, (number,)).fetchone()[0]) for number in numbers]
        paths = self._publishing.paths(numbers, ticket.size)
        return [EntryTold(*one) for one in zip(lines, numbers, paths, strict=True)]

    # -- one day --------------------------------------------------------------------------------
    def _keys(self, rows: Rows, day: int) -> DayKeys:
        keys = self._core.journal.day_keys(rows, day)
        if keys is None:
            raise IntegrityError(f"the key of day {day} is gone")
        return keys

    def _day(self, rows: Rows, ticket: _Ticket, day: int, closing: EntryTold) -> DayTold:
        """The leaf of the person's label, or the leaves beside its place."""
        keys = self._keys(rows, day)
        label, (tops, above) = cmac_one(keys.day, ticket.token), self._days.tops(rows, day, keys)
        number = max(0, bisect_right(tops.firsts, label) - 1)
        part = _Opened(self._days.part(rows, day, number, keys), keys, number, above)
        if part.root != tops.roots[number]:
            raise IntegrityError(f"a part of the map of day {day} is not the one that was closed")
        at = bisect_left(part.data, label, key=lambda data: data[:LABEL_BYTES])
        if at < len(part.data) and part.data[at][:LABEL_BYTES] == label:
            return DayTold(closing, False, salt_of(keys.day, label), part.part.entries(at), [part.leaf(at)])
        near = [part.leaf(at - 1)] if at else []
        if at < len(part.data):
            near.append(part.leaf(at))
        elif number + 1 < len(tops.roots):
            near.append(_Opened(self._days.part(rows, day, number + 1, keys), keys, number + 1, above).leaf(0))
        return DayTold(closing, False, b"", [], near)


class _Opened:
    """One part of a day's map, with the hashes of its leaves."""

    def __init__(self, part: Part, keys: DayKeys, number: int, above: Tree) -> None:
        self.part = part
        self.data = part.leaf_data(salts(keys.day, part.labels))
        self._number = number
        self._above = above
        self._tree = Tree([leaf_hash(data) for data in self.data])

    @property
    def root(self) -> bytes:
        """Of its leaves."""
        return self._tree.root

    def leaf(self, at: int) -> LeafTold:
        """One leaf with its path to the root of the day."""
        path = self._tree.path(at) + self._above.path(self._number)
        return LeafTold(self._number * PART_LABELS + at, self.data[at], path)
