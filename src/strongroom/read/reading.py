"""One open, purposeful session of reads: the one door out.

Rules it keeps:

1. Nothing plain is returned before the keymaster has spent the budget and the log entry is durable: keys come
   only from `release`, which commits first.
2. A hit that is not the live row of its person is dropped before anything is charged.
3. Values and identifiers looked for are never kept, logged or put into an error.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from strongroom.closing import Closing
from strongroom.errors import ErasedError, NotFoundError, UsageError
from strongroom.index.expiry import unexpired
from strongroom.keymaster.api import Ask, AtOnce
from strongroom.loop import elsewhere
from strongroom.read.conditions import canonical
from strongroom.read.opening import open_placed
from strongroom.schema.normalise import normalise_one
from strongroom.seal.entropy import random_bytes

if TYPE_CHECKING:
    import pyarrow as pa

    from strongroom.index.records import RecordEntry
    from strongroom.keymaster.api import Hits, ReadingGrant, Released
    from strongroom.read.record import Record
    from strongroom.read.session import Session
    from strongroom.schema.model import Table

FEW_HITS = 64
FIND_RECORDS_MAX = SUBJECTS_MAX = 1_000
Row = tuple[bytes, "RecordEntry"]
T = TypeVar("T")


class Reading(Closing):
    """Reads under one purpose and one reason; made by `Room.read`, closed by `with`.

    Args:
        session: The room's bucket and keymaster.
        grant: What the keymaster granted.
        snapshot: Number of an older snapshot to read from; None for the newest.
    """

    def __init__(self, session: Session, grant: ReadingGrant, snapshot: int | None) -> None:
        self._session = session
        self._keymaster = session.keymaster
        self._grant = grant
        self._block_keys = session.reading_keys(grant.reading_id)
        self._finder = session.finder(session.catalog(self._block_keys, snapshot), self._block_keys)
        self._schema = session.keymaster.schema()

    @classmethod
    def begin(
        cls,
        session: Session,
        purpose: str,
        reason: str,
        snapshot: int | None = None,
        *,
        approval: str | None = None,
        break_glass: bool = False,
    ) -> Reading:
        """Ask the keymaster for a reading and open the snapshot; see `Room.read`."""
        grant = session.keymaster.begin_reading(
            actor=session.actor, purpose=purpose, reason=reason, approval=approval, break_glass=break_glass
        )
        try:
            return cls(session, grant, snapshot)
        except BaseException:
            session.keymaster.end_reading(grant.reading_id)
            raise

    @property
    def snapshot(self) -> int:
        """Number of the snapshot that is read."""
        return self._finder.catalog.head.number

    @property
    def purpose(self) -> str:
        """The purpose this reading was opened for."""
        return self._grant.purpose

    def close(self) -> None:
        """End the reading; look-ups reserved and not used come back."""
        self._keymaster.end_reading(self._grant.reading_id)

    def __repr__(self) -> str:
        return f"<Reading for {self._grant.purpose} by {self._grant.actor}>"

    def run_keys(self, table: str) -> list[bytes]:
        """Key ids of the runs that look-ups in a table look into."""
        return self._finder.catalog.run_keys(self._table(table).id)

    # -- one subject ----------------------------------------------------------------------------
    def get(self, table: str, subject: str | int, *, fields: Sequence[str] | None = None) -> Record:
        """The record of one subject, in a table with one record a subject.

        Raises:
            NotFoundError: There is none, or it was erased.
            DeniedError: The purpose or a budget refuses.
            UsageError: The table holds many records a subject: use `records`.
        """
        if self._table(table).records != "one":
            raise UsageError(
                f"table {table} holds many records a subject", hint="use records(), which returns a list"
            )
        return self.records(table, subject, fields=fields)[0]

    def records(
        self, table: str, subject: str | int, *, fields: Sequence[str] | None = None
    ) -> list[Record]:
        """All records of one subject in a table, oldest first; NotFoundError when there are none."""
        model = self._table(table)
        identifier = normalise_one(str(subject), model.subject_field.normalise)
        token = self._keymaster.subject_tokens(self._grant.reading_id, table, [identifier])[0].tobytes()
        rows = [(token, entry) for entry in self._unexpired(model, self._finder.records(model, token))]
        found = self._open("get", model, rows, fields, looked_up=1, misses=0 if rows else 1)
        if not found and rows:
            found = self._behind_the_dead(model, token, fields)
        if not found:
            raise self._absence(table, token)
        return found

    def each(
        self, table: str, subjects: Sequence[str | int], *, fields: Sequence[str] | None = None
    ) -> list[list[Record] | NotFoundError]:
        """The records of several subjects, asked for at once; in the place of one who is not there stands the error.

        Args:
            table: Name of the table.
            subjects: At most SUBJECTS_MAX identifiers.
            fields: Names wanted; None for all that the purpose shows.

        Raises:
            DeniedError: The purpose or a budget refuses; nobody is released.
        """
        model = self._table(table)
        if not 1 <= len(subjects) <= SUBJECTS_MAX:
            raise UsageError(f"ask for 1 to {SUBJECTS_MAX} subjects at once")
        identifiers = [normalise_one(str(subject), model.subject_field.normalise) for subject in subjects]
        distinct = list(dict.fromkeys(identifiers))
        tokens = [row.tobytes() for row in self._keymaster.subject_tokens(self._grant.reading_id, table, distinct)]
        answers: dict[str, list[Record] | NotFoundError] = {}
        found = self._by_token(model, tokens, fields, looked_up=len(tokens))
        for identifier, token, here in zip(distinct, tokens, found, strict=True):
            answers[identifier] = here or self._absence(table, token)
        return [answers[identifier] for identifier in identifiers]

    def _absence(self, table: str, token: bytes) -> NotFoundError:
        """Why there is nothing of a subject, as far as the purpose may know."""
        if self._keymaster.erasures.erased(self._grant.reading_id, token):
            return ErasedError(f"the subject was erased from table {table}")
        return NotFoundError(f"no such subject in table {table}")

    def of_tokens(
        self, table: str, tokens: Sequence[bytes], *, fields: Sequence[str] | None = None
    ) -> list[list[Record]]:
        """The records of each subject by token, as an incident gives them (`Room.logs`); none is an empty list.

        Raises:
            DeniedError: The purpose or a budget refuses: nobody of these is opened.
        """
        return self._by_token(self._table(table), tokens, fields, looked_up=0)

    def _by_token(
        self, model: Table, tokens: Sequence[bytes], fields: Sequence[str] | None, *, looked_up: int
    ) -> list[list[Record]]:
        entries = [self._unexpired(model, some) for some in self._finder.records_of(model, tokens)]
        rows = [(token, entry) for token, some in zip(tokens, entries, strict=True) for entry in some]
        misses = sum(not some for some in entries) if looked_up else 0
        if not (rows or looked_up):
            return [[] for _ in entries]
        opened = iter(self._opened("get", model, rows, fields, looked_up=looked_up, misses=misses))
        found: list[list[Record]] = []
        for token, some in zip(tokens, entries, strict=True):
            here = [record for record in [next(opened) for _ in some] if record is not None]
            found.append(here or (self._behind_the_dead(model, token, fields) if some else []))
        return found

    def _behind_the_dead(self, model: Table, token: bytes, fields: Sequence[str] | None) -> list[Record]:
        """What lives of a person whose newest records are dead: of a person who came back, beside a put that raced."""
        buried = self._keymaster.erasures.buried(self._grant.reading_id, model.name, token, token)
        rows = [(token, entry) for entry in self._unexpired(model, self._finder.records(model, token, buried))]
        return self._open("get", model, rows, fields, looked_up=0, misses=0) if rows else []

    def _unexpired(self, model: Table, entries: list[RecordEntry]) -> list[RecordEntry]:
        """Records without those whose retention by a date field has ended."""
        if model.retention is None or model.retention.by is None:
            return entries
        now = self._session.now()
        return unexpired(model, entries, now, lambda version: self._keymaster.table_version(model.id, version))

    def _unexpired_rows(self, model: Table, rows: list[Row]) -> list[Row]:
        kept = {id(entry) for entry in self._unexpired(model, [entry for _, entry in rows])}
        return [row for row in rows if id(row[1]) in kept]

    def log(self, subject: str | int, *, table: str | None = None) -> dict[str, Any]:
        """Who read a subject, and when: the person's log, which `strongroom verify` checks; see `read.personlog`.

        The purpose needs the verb `log`. The request is itself one that touched the person.

        Args:
            subject: Its identifier.
            table: In which it is written so; not needed where the purpose names one table only.

        Raises:
            NotFoundError: There is no such subject, or it was erased.
            DeniedError: The purpose or a budget refuses.
        """
        from strongroom.read.personlog import person_log

        if table is None:
            table, *others = self._grant.views
            if others:
                raise UsageError(f"the purpose {self.purpose} names several tables", hint="say in which the subject is")
        identifier = normalise_one(str(subject), self._table(table).subject_field.normalise)
        return person_log(self._keymaster.persons, self._grant.reading_id, table, identifier)

    # -- by value -------------------------------------------------------------------------------
    def find(
        self,
        table: str,
        where: Mapping[str, Any],
        *,
        limit: int = 10,
        skip: int = 0,
        fields: Sequence[str] | None = None,
    ) -> list[Record]:
        """Records whose indexed fields equal the values given.

        Several values of a field are joined by or, several fields by and.

        Args:
            table: Name of the table.
            where: Field name to a value or an iterable of values.
            limit: Greatest number of records to open; at most FIND_RECORDS_MAX.
            skip: How many to leave out before: in one snapshot the order stays the same.
            fields: Names wanted; None for all that the purpose shows.

        Returns:
            The records, at most `limit`; an empty list when nothing matches.
        """
        model = self._table(table)
        wanted = canonical(model, where)
        if not 1 <= limit <= FIND_RECORDS_MAX or skip < 0:
            raise UsageError(f"limit must be between 1 and {FIND_RECORDS_MAX}, and skip 0 or more")
        looked_up = sum(map(len, wanted.values()))
        if len(wanted) == 1 and not skip:
            at_once = AtOnce(random_bytes(16), None if fields is None else tuple(fields), limit, looked_up)
        else:
            at_once = None
        rows: list[Row] | None = None
        for name, values in wanted.items():
            found, hits = self._hits(model, name, values, at_once)
            if hits is not None and hits.released is not None:
                return self._of_hits(model, found, hits, hits.released, fields)
            if rows is not None:
                before = {(token, entry.batch, entry.ordinal) for token, entry in rows}
                found = [(token, e) for token, e in found if (token, e.batch, e.ordinal) in before]
            rows = found
        rows = self._unexpired_rows(model, rows or [])[skip : skip + limit]
        return self._open("find", model, rows, fields, looked_up=looked_up, misses=0 if rows else 1)

    def _hits(
        self, model: Table, name: str, values: list[str], at_once: AtOnce | None
    ) -> tuple[list[Row], Hits | None]:
        """Live rows whose field has one of the values; stale hits are dropped here, before anything is charged.

        With the hits that were opened: where the keymaster is certain that none is stale, it has released them at once.
        """
        reading = self._grant.reading_id
        snapshot = self._finder.catalog.head.number
        tokens = self._keymaster.value_tokens(reading, model.name, name, values, snapshot)
        field = next(f for f in model.fields if f.name == name)
        found_tokens, entries = self._finder.index_entries(model, field, tokens)
        if not len(entries):
            return [], None

        def live() -> tuple[list[Row], Hits]:
            hits = self._keymaster.open_hits(reading, model.name, name, found_tokens, entries, at_once)
            said = (hits.subject_tokens, hits.sequences, hits.ordinals, hits.buried)
            return self._finder.live_hits(model, *said), hits

        return live() if len(entries) <= FEW_HITS else elsewhere(live)

    # -- release and open -----------------------------------------------------------------------
    def _open(
        self,
        verb: str,
        model: Table,
        rows: list[Row],
        fields: Sequence[str] | None,
        *,
        looked_up: int,
        misses: int,
    ) -> list[Record]:
        """The records of rows, without those whose person has no key any more."""
        opened = self._opened(verb, model, rows, fields, looked_up=looked_up, misses=misses)
        return [record for record in opened if record is not None]

    def _opened(
        self,
        verb: str,
        model: Table,
        rows: list[Row],
        fields: Sequence[str] | None,
        *,
        looked_up: int,
        misses: int,
    ) -> list[Record | None]:
        """The record of each row; None where the person has no key any more."""
        ask = Ask(
            request_id=random_bytes(16),
            verb=verb,
            table=model.name,
            fields=None if fields is None else tuple(fields),
            tokens=_stack([token for token, _ in rows]),
            batches=_stack([entry.batch for _, entry in rows]),
            looked_up=looked_up,
            misses=misses,
        )
        return _few(rows, lambda: self._released(model, rows, ask))

    def _released(self, model: Table, rows: list[Row], ask: Ask) -> list[Record | None]:
        released = self._keymaster.release(self._grant.reading_id, ask)
        placed = [(entry, at) for at, (_, entry) in enumerate(rows)]
        return open_placed(self._keymaster, self._grant, model, placed, released, ask.fields)

    def _of_hits(
        self, model: Table, rows: list[Row], hits: Hits, released: Released, fields: Sequence[str] | None
    ) -> list[Record]:
        """The records of live rows whose hits were released at once; a hit that is none is left out here too."""
        places = hits.places()
        placed = [(entry, places[token, entry.sequence, entry.ordinal]) for token, entry in rows]
        shown = _few(rows, lambda: open_placed(self._keymaster, self._grant, model, placed, released, fields))
        return [record for record in shown if record is not None]

    # -- rejects --------------------------------------------------------------------------------
    def rejects(self, *, put_id: str | None = None, most: int | None = None) -> list[dict[str, Any]]:
        """Rejected records as they came, of the tables that the purpose reads; noted before they are given.

        Args:
            put_id: Of one put only.
            most: The greatest number of records; with more it is an InputError, and nothing is released.

        Returns:
            For each its table, source, row, reason, field and record.
        """
        from strongroom.read.rejected import opened_rejects

        return opened_rejects(self._session, self._grant, self._finder.catalog, self._block_keys, put_id, most)

    def _table(self, name: str) -> Table:
        table = self._schema.tables.get(name)
        if table is None:
            raise NotFoundError(f"no table {name} in this room", hint=f"tables: {', '.join(self._schema.tables)}")
        return table

    # -- analytics ------------------------------------------------------------------------------
    def sql(self, text: str, *, persons: int | None = None) -> pa.Table:
        """Answer one SELECT over one table; Arrow out.

        Aggregates keep the purpose's minimum group. Rows are persons and charged as such, or refused; over sealed
        fields every person of the table is charged, and figures come in steps.

        Args:
            text: The statement.
            persons: The most persons that may be charged; None for as many as it takes.
        """
        from strongroom.read.analytics import run_sql

        return run_sql(self._session, self._grant, self._finder, self._block_keys, text, persons)


def _few(rows: list[Row], call: Callable[[], T]) -> T:
    """What a call gives; of many rows it is made where nobody waits for it."""
    return call() if len(rows) <= FEW_HITS else elsewhere(call)


def _stack(parts: list[bytes]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.frombuffer(b"".join(parts), np.uint8).reshape(-1, 16)
