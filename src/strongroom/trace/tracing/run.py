"""Trace a published sample: read it, find its persons, have exports weighed, see of when it is.

The order:

1. A reading is opened under a purpose with the verb `trace`.
2. The sample is read block by block; windows of its values are looked up, so that memory does not grow with it but for
   16 bytes a row and 34 a person; at the end, when no window is there, for some 60 a row, then 170 a person.
3. The keymaster weighs the persons found; see `keymaster.tracing.api`.
4. Versions of some persons' records are compared with their rows, where the purpose has a budget of persons for it.

Nothing plain is written anywhere; no value is in an error.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from strongroom.errors import DeniedError, UsageError
from strongroom.index.bulk import Reads
from strongroom.keymaster.tracing.api import SampleFound
from strongroom.seal.entropy import random_bytes
from strongroom.trace.leak.fields import COMPARE, SUBJECT, targets_of
from strongroom.trace.leak.sample import LeakSample
from strongroom.trace.ours import SPACES, density
from strongroom.trace.ours import judge as judge_ours
from strongroom.trace.tracing.formcolumns import FormColumns
from strongroom.trace.tracing.intokens import TokenColumns
from strongroom.trace.tracing.matching import Matcher
from strongroom.trace.tracing.traced import NamedByTokens, Place, Traced
from strongroom.trace.tracing.versions import PERSONS, Dated, Kept, VersionReader
from strongroom.trace.tracing.window import Names, Persons, RowsFound, Window

if TYPE_CHECKING:
    from strongroom.keymaster.api import Keymaster, ReadingGrant
    from strongroom.read.session import Session
    from strongroom.schema.model import Field, Schema, Table
    from strongroom.trace.leak.sample import Candidate, LeakBatch

WINDOW_VALUES = 3_000_000
FILE_BITS = 40
"""Rows are numbered by file and row: at most 2^40 rows a file."""

Progress = Callable[[int, int, int | None], None]


@dataclass(frozen=True)
class TraceRequest:
    """What is traced; see `Room.trace`."""

    what: Any = field(repr=False)
    purpose: str
    reason: str
    approval: str | None = None
    persons: int = PERSONS
    spaces: Mapping[str, float] = field(default_factory=dict)


def trace(session: Session, request: TraceRequest, progress: Progress | None = None) -> Traced:
    """Trace a sample; see `Room.trace`."""
    keymaster = session.keymaster
    _check_spaces(request.spaces, keymaster.schema())
    grant = keymaster.begin_reading(
        actor=session.actor, purpose=request.purpose, reason=request.reason, approval=request.approval
    )
    try:
        return _Tracing(session, grant, request, progress).run()
    finally:
        keymaster.end_reading(grant.reading_id)


def _check_spaces(spaces: Mapping[str, float], schema: Schema) -> None:
    known = {f"{table.name}.{own.name}" for table in schema.tables.values() for own in table.fields}
    for name, count in spaces.items():
        if name not in known:
            raise UsageError("a number of values is of a field that the schema does not have", hint="say TABLE.FIELD")
        if not 1.0 <= count < float("inf"):
            raise UsageError(f"there are 1 or more values of field {name}")


class _Tracing:
    """One trace under way."""

    def __init__(
        self,
        session: Session,
        grant: ReadingGrant,
        request: TraceRequest,
        progress: Progress | None,
    ) -> None:
        self._session = session
        self._traces = traces = session.keymaster.traces
        self._request = request
        self._progress = progress
        self._keymaster: Keymaster = session.keymaster
        self._reading = grant.reading_id
        self._schema: Schema = session.keymaster.schema()
        keys = session.reading_keys(self._reading)
        self._finder = session.finder(session.catalog(keys), keys)
        self._views = {
            (table, view.name): view.show
            for table, views in grant.views.items()
            for view in views.values()
            if view.show != "withheld"
        }
        self._kinds = {(t.table, t.field.name): t.kind for t in targets_of(self._schema)}
        self._names = Names()
        self._matcher = Matcher(traces, self._reading, self._finder, self._schema)
        shown = {key for key, show in self._views.items() if show == "plain"}
        self._kept = Kept(self._schema, shown, int.from_bytes(random_bytes(8), "little"))
        self._tokens = TokenColumns(traces, self._reading, self._schema, set(self._views))
        self._forms = FormColumns(traces, self._reading, self._schema, self._matcher)
        self._hidden: set[tuple[str, str]] = set()
        self._chances: dict[tuple[str, str], float | None] = {}
        self._persons = Persons.none()
        self._rows: list[RowsFound] = []
        self._window = Window(self._names)

    def run(self) -> Traced:
        """Do it."""
        sample = LeakSample(self._request.what, self._schema)
        for batch in sample:
            file = len(sample.description.accounts) - 1
            self._take(batch, file << FILE_BITS)
            if self._progress is not None:
                self._progress(sample.description.rows, 0, None)
            if self._window.values >= WINDOW_VALUES:
                self._flush()
        self._flush()
        description = sample.description
        digest = hashlib.sha256(b"".join(one.sha256 for one in description.accounts)).digest()
        ours, chance, repeated = self._ours()
        order = np.argsort(self._persons.first)
        persons = np.ascontiguousarray(self._persons.tokens[order])
        names = list(self._names.known)
        found = SampleFound(
            persons, self._persons.sure[order], self._persons.fields[order], names, digest, repeated[1], chance,
            self._persons.alone[order],
        )  # fmt: skip
        weighed = self._traces.weigh(self._reading, found)
        dated, why = self._dated()
        first = self._persons.first[order]
        files = [one.source for one in description.accounts]
        excluded = tuple(
            (one, Place(files[int(first[one.at]) >> FILE_BITS], int(first[one.at]) & ((1 << FILE_BITS) - 1)))
            for one in weighed.excluded
        )
        return Traced(
            room_id=self._keymaster.room_id.hex(),
            actor=self._session.actor,
            purpose=self._request.purpose,
            at=self._session.now(),
            snapshot=self._finder.catalog.head.number,
            description=description,
            digest=digest,
            ours=ours,
            repeated=repeated[0],
            weighed=weighed,
            names=tuple(names),
            tokens=tuple(NamedByTokens(*one) for one in (*self._forms.named(), *self._tokens.named())),
            untried=self._forms.untried,
            excluded=excluded,
            dated=dated,
            undated=why,
            costs=self._matcher.costs,
            tallies=dict(self._matcher.tallies),
            uncounted=len(self._names.beyond),
            hidden=tuple(sorted(self._hidden)),
            schema=self._schema,
            persons=persons,
            sure=self._persons.sure[order],
        )

    # -- reading --------------------------------------------------------------------------------
    def _take(self, batch: LeakBatch, base: int) -> None:
        """Put a batch's values into the window."""
        self._kept.saw(len(batch.numbers) + len(batch.line_numbers))
        coded = self._tokens.take(batch, base, self._window)
        for candidate in batch.candidates:
            if candidate.column in coded:
                continue
            target = self._target(candidate)
            if target is None:
                continue
            table, own = target
            if candidate.lookup == COMPARE:
                self._window.present(base, candidate)
            else:
                known = self._chance(table, own) is not None
                asked = replace(candidate, table=table.name, field=own.name)
                self._forms.take(batch, base, asked)
                self._window.add(base, asked, steps=own.normalise, known=known)
            self._kept.add(base, candidate)

    def _target(self, candidate: Candidate) -> tuple[Table, Field] | None:
        """The table and field as which values are looked for: of subjects one that the purpose shows."""
        table = self._schema.tables[candidate.table]
        own = table.field(candidate.field)
        if (table.name, own.name) in self._views:
            return table, own
        if candidate.lookup == SUBJECT:
            for other in self._schema.tables.values():
                same = other.subject_field
                if (same.type, same.normalise) == (own.type, own.normalise) and (other.name, same.name) in self._views:
                    return other, same
        self._hidden.add((table.name, own.name))
        return None

    def _flush(self) -> None:
        """Look the window up, and begin another."""
        pairs, tags = [], []
        for wanted in self._window.wanted():
            bit = self._names.bit(wanted.table, wanted.name)
            pair, tag, looked = self._matcher.of(wanted, bit)
            pairs.append(pair)
            tags.append(tag)
            if not wanted.tokens_of:
                self._forms.follow(looked, self._window)
        found = self._window.found(pairs, tags)
        self._kept.assign(found)
        self._persons = self._persons.joined(found.persons)
        self._rows.append(found.counts())
        self._window = Window(self._names)

    # -- is it ours -----------------------------------------------------------------------------
    def _chance(self, table: Table, own: Field) -> float | None:
        """The rate at which a foreign value of a field matches; None where nobody has said how many there are."""
        key = (table.name, own.name)
        if key not in self._chances:
            space = self._request.spaces.get(f"{table.name}.{own.name}", SPACES.get(self._kinds.get(key, "")))
            chance = None
            if space is not None:
                chance = min(1.0, density(min(self._matcher.held(table.name, own.name), int(space)), space))
            self._chances[key] = chance
        return self._chances[key]

    def _ours(self) -> tuple[Any, float, tuple[int, int]]:
        """Whether it is ours; the chance of a row to match by one identifier; rows that repeat, and rows tested."""
        none = np.empty(0, np.int16)
        tested, matched, weighed, agreed = (
            np.concatenate([none, *(getattr(one, name) for one in self._rows)])
            for name in ("tested", "matched", "weighed", "agreed")
        )
        same = np.concatenate([np.empty(0, np.uint64), *(one.same for one in self._rows)])
        self._rows.clear()
        known = [chance for chance in self._chances.values() if chance is not None]
        columns = {
            f"{table}.{name}": (tally.tested, tally.matched, chance)
            for (table, name), tally in self._matcher.tallies.items()
            if (chance := self._chances.get((table, name))) is not None
        }
        if known and weighed.any():
            chance = min(1.0, max(known) * max(1, len(known)))
            found = judge_ours(agreed, weighed, chance, same=same, columns=columns)
        else:
            chance = 1.0
            found = judge_ours(matched, tested, chance, same=same, columns=columns)
        distinct = len(tested) - found.repeated
        most = int(tested.max()) if len(tested) else 1
        return found, min(1.0, chance * most), (found.repeated, distinct)

    # -- when -----------------------------------------------------------------------------------
    def _dated(self) -> tuple[Dated | None, str]:
        """Of when it is by the table that says most, and why nothing is said."""
        if self._request.persons < 1:
            return None, "it was not asked for"
        if not len(self._persons.tokens):
            return None, "nobody of the room was found in it"
        reads = Reads()
        reader = VersionReader(self._keymaster, self._traces, self._reading, self._finder, reads)
        best: Dated | None = None
        why = "no rows with fields of a table that has one record a person"
        for name in self._kept.tables():
            try:
                found = reader.date(self._kept, self._schema.tables[name], self._request.persons, self._session.now())
            except DeniedError as error:  # a budget that is used up is one too
                why = f"versions of table {name} were refused: {error}"
                continue
            if found is not None and (best is None or found.dating.log_e > best.dating.log_e):
                best = found
        self._matcher.costs.records = reads
        return best, "" if best is not None else why
