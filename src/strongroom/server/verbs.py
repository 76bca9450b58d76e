"""Each verb of the API: what was signed, handed to the room in its caller's name, and the answer as JSON."""

from __future__ import annotations

import io
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

from strongroom.errors import InputError, NotFoundError
from strongroom.identity import asked
from strongroom.read.reading import Reading
from strongroom.server.answers import (
    EraseSaid,
    ExplainSaid,
    FieldSaid,
    FoundSaid,
    GotSaid,
    ItemSaid,
    LogSaid,
    PutSaid,
    RecordSaid,
    SchemaSaid,
    SqlSaid,
    SubjectLogSaid,
    TableSaid,
    WhoamiSaid,
    encoded,
)
from strongroom.server.handed import HandedOn
from strongroom.server.problem import problem_of
from strongroom.server.verbs_acts import Acts, one_of
from strongroom.turns import aside

if TYPE_CHECKING:
    from collections.abc import Iterator

    from strongroom.keyserver.calls import Original
    from strongroom.keyserver.client import RemoteKeymaster
    from strongroom.read.record import Record
    from strongroom.read.session import Session

PUTS_AT_ONCE = 2
QUERIES_AT_ONCE = 4
ROWS_MAX = 100_000
FILES_MOST = 64


class Verbs(Acts):
    """What the callers of one room ask.

    Args:
        session: The room's bucket and what is kept of it, opened with the server's own connection.
        keys: That connection.
    """

    def __init__(self, session: Session, keys: RemoteKeymaster) -> None:
        self._session = session
        self._keys = keys
        self._puts = threading.BoundedSemaphore(PUTS_AT_ONCE)
        self._queries = threading.BoundedSemaphore(QUERIES_AT_ONCE)

    def get(self, request: Original, actor: str, said: asked.Get, _body: bytes) -> GotSaid:
        """The records of some subjects."""
        with self._reading(request, actor, said, said.table) as (desk, keys):
            found = desk.each(said.table, said.subjects, fields=said.fields)
        return GotSaid([_item(one) for one in found], dict(keys.remaining))

    def find(self, request: Original, actor: str, said: asked.Find, _body: bytes) -> FoundSaid:
        """Records by value."""
        snapshot, skip = _cursor(said.cursor)
        with self._reading(request, actor, said, said.table, snapshot) as (desk, keys):
            keys.looks_into(desk.run_keys(said.table))
            found = desk.find(said.table, said.where, limit=said.limit, skip=skip, fields=said.fields)
            cursor = f"{desk.snapshot}.{skip + len(found)}" if len(found) == said.limit else None
        return FoundSaid([_record(record) for record in found], cursor, dict(keys.remaining))

    def sql(self, request: Original, actor: str, said: asked.Sql, _body: bytes) -> SqlSaid:
        """One SELECT over a table."""
        # a query may take long, and needs the interpreter little: others take their turns meanwhile
        with one_of(self._queries, "queries"), self._reading(request, actor, said, None) as (desk, _), aside():
            table = desk.sql(said.query)
        if table.num_rows > ROWS_MAX:
            raise InputError(f"the answer has more than {ROWS_MAX:,} rows", hint="group, or select less")
        types = [str(field.type) for field in table.schema]
        return SqlSaid(table.column_names, types, [column.to_pylist() for column in table.columns])

    def subject_log(self, request: Original, actor: str, said: asked.SubjectLog, _body: bytes) -> SubjectLogSaid:
        """Who read one subject."""
        with self._reading(request, actor, said, said.table) as (desk, _):
            return SubjectLogSaid(desk.log(said.subject, table=said.table))

    @contextmanager
    def _reading(
        self, request: Original, actor: str, said: asked.Read, table: str | None, snapshot: int | None = None
    ) -> Iterator[tuple[Reading, HandedOn]]:
        keys = HandedOn(self._keys, request, actor, self._files(table))
        session = self._session.speaking(keys, actor)
        at = said.snapshot if snapshot is None else snapshot
        with Reading.begin(session, said.purpose, said.reason, at) as desk:
            yield desk, keys

    def _files(self, table: str | None) -> list[bytes]:
        """Key ids of the runs that a look-up in a table is going to look into, as far as they are known."""
        newest = self._session.newest
        model = None if table is None else self._keys.schema().tables.get(table)
        if newest is None or model is None:
            return []
        return newest.run_keys(model.id)[:FILES_MOST]

    # -- writing --------------------------------------------------------------------------------
    def put(self, request: Original, actor: str, said: asked.Put, body: bytes) -> PutSaid:
        """Records, as CSV or JSON Lines."""
        from strongroom.write.put import PutOptions, put

        with one_of(self._puts, "puts"):
            keys = HandedOn(self._keys, request, actor)
            options = PutOptions(None, None, said.format, strict=said.strict, again=said.again)
            done = put(self._session.store, keys, actor, said.table, io.BytesIO(body), options)
        answer = PutSaid(**done.to_dict())
        keys.keep_answer(encoded(answer).decode())
        return answer

    def erase(self, request: Original, actor: str, said: asked.Erase, _body: bytes) -> EraseSaid:
        """Subjects, for good."""
        from strongroom.erase.erasing import erase

        keys = HandedOn(self._keys, request, actor)
        done = EraseSaid(**erase(self._session.speaking(keys, actor), said.subjects, said.reason).to_dict())
        keys.keep_answer(encoded(done).decode())
        return done

    def answered(self, request: Original) -> bytes | None:
        """What the same put or erasure under the same `Idempotency-Key` was answered, by whichever server."""
        found = HandedOn(self._keys, request, "").answered()
        return None if found is None else found.encode()

    def verify(self, request: Original, actor: str) -> None:
        """Raise what the keymaster raises of a request that is to have the answer of one before."""
        HandedOn(self._keys, request, actor).whoever()

    # -- knowing --------------------------------------------------------------------------------
    def log(self, request: Original, actor: str, said: asked.Log, _body: bytes) -> LogSaid:
        """Entries of the log."""
        entries = HandedOn(self._keys, request, actor).handed_log()
        cursor = str(cast("int", entries[-1]["leaf"]) + 1) if len(entries) == said.limit else None
        return LogSaid(entries, cursor)

    def explain(self, request: Original, actor: str, said: asked.Explain, _body: bytes) -> ExplainSaid:
        """Why the caller may or may not see something."""
        from strongroom.purpose.explain import explain

        own = HandedOn(self._keys, request, actor).own()
        policy, schema = self._keys.policy(), self._keys.schema()
        actor = actor if own is None else own.actor
        found = explain(policy, schema, actor, said.purpose, said.table, said.field, own=own)
        return ExplainSaid(found.allowed, found.rule, found.most_per_day, list(found.lines))

    def schema(self, request: Original, actor: str, _said: asked.Nothing, _body: bytes) -> SchemaSaid:
        """The schema in force."""
        HandedOn(self._keys, request, actor).whoever()
        tables = [
            TableSaid(
                table.name,
                table.records,
                table.subject_field.name,
                [FieldSaid(f.name, f.klass, f.type, f.find, f.nullable) for f in table.fields],
            )
            for table in self._keys.schema().tables.values()
        ]
        return SchemaSaid(tables)

    def whoami(self, request: Original, actor: str, _said: asked.Nothing, _body: bytes) -> WhoamiSaid:
        """Who signed the request."""
        actor = HandedOn(self._keys, request, actor).whoever()
        policy = self._keys.policy()
        roles = set(policy.actors[actor].roles) if actor in policy.actors else set()
        purposes = [
            name
            for name, purpose in sorted(policy.purposes.items())
            if roles & set(purpose.roles) and actor not in purpose.deny
        ]
        return WhoamiSaid(actor, self._keys.room_id.hex(), purposes, self._keys.log_key())


def _cursor(text: str | None) -> tuple[int | None, int]:
    """The snapshot and the records to skip in a cursor; it says nothing that its sender may not ask for anyway."""
    if text is None:
        return None, 0
    snapshot, _, skip = text.partition(".")
    if not all(part.isascii() and part.isdecimal() and len(part) < 16 for part in (snapshot, skip)):
        raise InputError("the cursor is none that an answer gave")
    return int(snapshot), int(skip)


def _item(found: list[Record] | NotFoundError) -> ItemSaid:
    if isinstance(found, NotFoundError):
        said = problem_of(found)
        return ItemSaid(said.status, [], said)
    return ItemSaid(200, [_record(record) for record in found])


def _record(record: Record) -> RecordSaid:
    return RecordSaid(dict(record), sorted(record.masked), sorted(record.withheld))
