"""A room behind its server, with the methods of the library: each call is one request that this side signs."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import msgspec

from strongroom.closing import Closing
from strongroom.errors import (
    BudgetError,
    ConflictError,
    DeniedError,
    ErasedError,
    InputError,
    IntegrityError,
    NotFoundError,
    StrongroomError,
    UnavailableError,
    UsageError,
)
from strongroom.identity import asked
from strongroom.identity.credential import Credential, read_credential
from strongroom.identity.signing import IDEMPOTENCY, PLAN, RequestSigner
from strongroom.keyserver.asking import check_url, error_of
from strongroom.keyserver.callers import SIGNED_IN
from strongroom.keyserver.wire import Wire
from strongroom.purpose.explain import Explanation
from strongroom.read.record import Record
from strongroom.seal.entropy import random_bytes
from strongroom.server import answers, answers_acts
from strongroom.server.client_acts import ClientActs, listed, other_answer
from strongroom.server.client_export import ClientExports
from strongroom.server.problem import TYPE

if TYPE_CHECKING:
    import pyarrow as pa

    from strongroom.keyserver.streamed import Streamed

_KINDS: Mapping[str, type[StrongroomError]] = {
    "budget": BudgetError, "denied": DeniedError, "usage": UsageError, "erased": ErasedError,
    "not-found": NotFoundError, "conflict": ConflictError, "unavailable": UnavailableError, "integrity": IntegrityError,
}  # fmt: skip
PROBLEM_BYTES_MAX = 1 << 16
_DECODERS = {verb: msgspec.json.Decoder(kind) for verb, kind in answers.ANSWERS.items()}
_PROBLEM = msgspec.json.Decoder(answers.Problem)
_ENCODE = msgspec.json.Encoder().encode

T = TypeVar("T")


class RoomClient(ClientActs, ClientExports, Closing):
    """A room behind its server. Made by `connect_room`; close it with `with`.

    Args:
        url: As `https://room.example`.
        credential: Of the caller.
        authorities: File with the certificates that the server's must lead to; None for those of the machine.
        clock: Seconds since 1970.
        entropy: Gives nonces.
    """

    def __init__(
        self,
        url: str,
        credential: Credential,
        authorities: Path | None = None,
        *,
        clock: Callable[[], float] = time.time,
        entropy: Callable[[int], bytes] = random_bytes,
    ) -> None:
        self._credential = credential
        self._signer = RequestSigner(credential.seed, credential.id, clock, entropy)
        self._wire = Wire(check_url(url), "server", authorities)

    def __repr__(self) -> str:
        return f"<RoomClient of room {self._credential.room.hex()[:8]} for {self._credential.actor}>"

    def close(self) -> None:
        """Let go of the connections."""
        self._wire.close()

    @property
    def actor(self) -> str:
        """For whom the credential speaks."""
        return self._credential.actor

    # -- the library's methods ------------------------------------------------------------------
    def read(
        self,
        *,
        purpose: str,
        reason: str,
        snapshot: int | None = None,
        approval: str | None = None,
        break_glass: bool = False,
    ) -> ReadingClient:
        """See `Room.read`. Nothing is asked yet: each read is a request of its own, with this purpose and reason."""
        said = {"purpose": purpose, "reason": reason, "snapshot": snapshot, "approval": approval}
        return ReadingClient(self, {**said, "break_glass": break_glass})

    def put(
        self,
        table: str,
        what: str | Path | bytes | Iterable[Mapping[str, Any]],
        *,
        format: str | None = None,  # noqa: A002  the word of the field
        records: int | None = None,
        strict: bool = False,
        again: bool = False,
        idempotency_key: str | None = None,
    ) -> answers.PutSaid:
        """Put records: a CSV or JSON Lines file, its bytes, or dictionaries; at most 64 MiB a request.

        Args:
            table: Name of the table.
            what: Where the records come from.
            format: csv or jsonl; found out from a file's name when not given.
            records: The greatest number of records; it is signed. As many as there are lines when not given.
            strict: Refuse the whole put when one record does not fit, or a column that the table does not have.
            again: Put what was put before.
            idempotency_key: Under which the same put, sent again, is done once.
        """
        body, kind = _records(what, format)
        most = body.count(b"\n") + 1 if records is None else records
        plan = asked.Put(table=table, records=most, format=cast("Any", kind), strict=strict, again=again)
        further = {PLAN: _ENCODE(plan).decode()}
        return cast("answers.PutSaid", self.ask("put", body, further, idempotency_key))

    def erase(
        self, subjects: str | int | Sequence[str | int], *, reason: str, idempotency_key: str | None = None
    ) -> answers.EraseSaid:
        """Erase subjects for good; see `Room.erase`."""
        said = asked.Erase(subjects=listed(subjects), reason=reason)
        return cast("answers.EraseSaid", self.ask("erase", _ENCODE(said), None, idempotency_key))

    def log(
        self, *, actor: str | None = None, since: float | None = None, until: float | None = None
    ) -> list[dict[str, Any]]:
        """Entries of the log, oldest first; see `Room.log`."""
        found: list[dict[str, Any]] = []
        cursor: str | None = None
        while True:
            said = asked.Log(actor=actor, since=since, until=until, limit=asked.LOG_ENTRIES_MAX, cursor=cursor)
            some = cast("answers.LogSaid", self.ask("log", _ENCODE(said)))
            found += some.entries
            if some.cursor is None:
                return found
            if not some.entries or some.cursor == cursor:  # it would never end
                raise other_answer()
            cursor = some.cursor

    def explain(
        self, table: str, *, actor: str | None = None, purpose: str | None = None, field: str | None = None
    ) -> Explanation:
        """Why the caller may or may not see a table or a field; see `Room.explain`."""
        if actor not in {None, self.actor}:
            raise UsageError("a server explains to a caller what they may themselves", hint="ask the keymaster")
        said = asked.Explain(table=table, purpose=purpose, field=field)
        found = cast("answers.ExplainSaid", self.ask("explain", _ENCODE(said)))
        return Explanation(found.allowed, found.rule, tuple(found.lines), found.most_per_day)

    @property
    def schema(self) -> answers.SchemaSaid:
        """The schema in force."""
        return cast("answers.SchemaSaid", self.ask("schema", b"{}"))

    def whoami(self) -> answers.WhoamiSaid:
        """Who this credential speaks for, and the purposes that the policy gives them."""
        return cast("answers.WhoamiSaid", self.ask("whoami", b"{}"))

    def log_key(self) -> str:
        """The log's public key in force, as the server says; see `Room.log_key`."""
        return self.whoami().log_key

    # -- one request ----------------------------------------------------------------------------
    def ask(
        self, verb: str, body: bytes, further: Mapping[str, str] | None = None, idempotency_key: str | None = None
    ) -> Any:
        """Sign one request and send it; returns the answer's struct, or raises as the library would."""
        path = asked.path_of(self._credential.room, verb)
        more = {**(further or {}), **({} if idempotency_key is None else {IDEMPOTENCY: idempotency_key})}
        headers = self._signer.headers(path, body, more)
        status, data = self._wire.post(path, body, {**headers, "Content-Type": "application/json"})
        if status != 200:
            raise _error(status, data)
        try:
            return _DECODERS[verb].decode(data)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            raise other_answer() from None


    def stream(self, verb: str, body: bytes) -> Streamed:
        """Sign one request and send it; the answer comes while it is made."""
        path = asked.path_of(self._credential.room, verb)
        headers = self._signer.headers(path, body)
        answer = self._wire.stream(path, body, {**headers, "Content-Type": "application/json", "TE": "trailers"})
        if answer.status != 200:
            with answer:
                raise _error(answer.status, answer.rest(PROBLEM_BYTES_MAX))
        return answer


class ReadingClient(Closing):
    """Reads under one purpose and one reason; see `Reading`. Made by `RoomClient.read`."""

    def __init__(self, room: RoomClient, said: Mapping[str, Any]) -> None:
        self._room = room
        self._said = said

    def close(self) -> None:
        """Nothing: each request was a reading of its own."""

    def get(self, table: str, subject: str | int, *, fields: Sequence[str] | None = None) -> Record:
        """The record of one subject, in a table with one record a subject; see `Reading.get`."""
        found = self.records(table, subject, fields=fields)
        if not found:
            raise other_answer()
        return found[0]

    def records(self, table: str, subject: str | int, *, fields: Sequence[str] | None = None) -> list[Record]:
        """All records of one subject, oldest first; see `Reading.records`."""
        (found,) = self.each(table, [subject], fields=fields)
        if isinstance(found, NotFoundError):
            raise found
        return found

    def each(
        self, table: str, subjects: Sequence[str | int], *, fields: Sequence[str] | None = None
    ) -> list[list[Record] | NotFoundError]:
        """The records of several subjects at once; see `Reading.each`."""
        chosen = None if fields is None else list(fields)
        said = asked.Get(**self._said, table=table, subjects=[str(one) for one in subjects], fields=chosen)
        got = cast("answers.GotSaid", self._room.ask("get", _ENCODE(said)))
        if len(got.items) != len(subjects):
            raise other_answer()
        return [self._item(table, item) for item in got.items]

    def find(
        self,
        table: str,
        where: Mapping[str, Any],
        *,
        limit: int = 10,
        fields: Sequence[str] | None = None,
    ) -> list[Record]:
        """Records whose indexed fields equal the values given; see `Reading.find`."""
        values = {
            name: [str(one) for one in ([given] if isinstance(given, str | int) else given)]
            for name, given in where.items()
        }
        chosen = None if fields is None else list(fields)
        said = asked.Find(**self._said, table=table, where=values, limit=limit, fields=chosen)
        found = cast("answers.FoundSaid", self._room.ask("find", _ENCODE(said)))
        return [self._record(table, one) for one in found.records]

    def sql(self, text: str, *, persons: int = 0) -> pa.Table:
        """Answer one SELECT; see `Reading.sql`.

        Args:
            text: The statement.
            persons: The greatest number of persons that it may be charged for; it is signed.
        """
        import pyarrow as pa

        said = asked.Sql(**self._said, query=text, persons=persons)
        got = cast("answers.SqlSaid", self._room.ask("sql", _ENCODE(said)))
        try:
            columns = [
                pa.array([_typed(value, kind) for value in column], _arrow_type(kind))
                for column, kind in zip(got.columns, got.types, strict=True)
            ]
            return pa.table(columns, names=got.names)
        except (pa.ArrowException, ArithmeticError, ValueError, TypeError):
            raise other_answer() from None

    def log(self, subject: str | int, *, table: str | None = None) -> dict[str, Any]:
        """Who read a subject, and when; see `Reading.log`. The table must be said."""
        if table is None:
            raise UsageError("in which table the subject is stands in what is signed", hint="name the table")
        said = asked.SubjectLog(**self._said, table=table, subject=str(subject))
        return cast("answers.SubjectLogSaid", self._room.ask("subject-log", _ENCODE(said))).file

    def rejects(self, *, put_id: str | None = None) -> list[dict[str, Any]]:
        """Rejected records as they came, of the tables that the purpose reads; see `Reading.rejects`."""
        said = asked.OpenRejects(**self._said, put_id=put_id)
        return cast("answers_acts.OpenedRejectsSaid", self._room.ask("open-rejects", _ENCODE(said))).rejects

    def _item(self, table: str, item: answers.ItemSaid) -> list[Record] | NotFoundError:
        if item.problem is not None:
            error = _error_of(item.problem)
            return error if isinstance(error, NotFoundError) else NotFoundError(str(error))
        return [self._record(table, one) for one in item.records]

    def _record(self, table: str, said: answers.RecordSaid) -> Record:
        masked, withheld = frozenset(said.masked), frozenset(said.withheld)
        return Record(table, said.fields, withheld, masked, str(self._said["purpose"]))


def connect_room(
    url: str, *, credential: str | Path | Credential, authorities: str | Path | None = None
) -> RoomClient:
    """Connect to a room behind its server.

    Args:
        url: As `https://room.example`; plain http is for this machine only.
        credential: A credential, or its file.
        authorities: File with the certificates that the server's must lead to; None for those of the machine.

    Raises:
        DeniedError: The credential is not let in.
        NotFoundError: There is no credential file, or the server is of another room.
        UnavailableError: Nobody answers, or with a certificate that does not hold.
    """
    own = credential if isinstance(credential, Credential) else read_credential(Path(credential))
    made = RoomClient(url, own, None if authorities is None else Path(authorities))
    try:
        made.whoami()
    except BaseException:
        made.close()
        raise
    return made


def _records(what: Any, kind: str | None) -> tuple[bytes, str]:
    if isinstance(what, bytes):
        if kind is None:
            raise UsageError("bytes need a format", hint="csv or jsonl")
        return what, kind
    if isinstance(what, str | Path):
        path = Path(what)
        named = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}.get(path.suffix.lower())
        try:
            if path.stat().st_size > asked.PUT_BODY_MAX:
                raise InputError(f"{path}: is larger than {asked.PUT_BODY_MAX:,} bytes", hint="put it in parts")
            return path.read_bytes(), kind or named or "csv"
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({type(error).__name__})") from None
    return b"\n".join(_ENCODE(dict(record)) for record in what), "jsonl"


def _error(status: int, data: bytes) -> StrongroomError:
    try:
        return _error_of(_PROBLEM.decode(data))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):  # a proxy, or something else that is no server
        return UnavailableError(f"the server's address answers with status {status}, and not as this API does")


def _error_of(said: answers.Problem) -> StrongroomError:
    name = said.type.removeprefix(TYPE)
    if name == "unsigned":
        return DeniedError(said.detail, rule=SIGNED_IN)
    at = None
    if said.resets_at is not None:
        with suppress(ValueError, ArithmeticError, OSError):  # of no use then; what was refused is
            at = int(dt.datetime.fromisoformat(said.resets_at).timestamp())
    kind = _KINDS.get(name, StrongroomError)
    return error_of(kind, said.detail, said.hint, said.rule, said.remaining or 0, at)


def _arrow_type(name: str) -> pa.DataType:
    import pyarrow as pa

    named = {"date32[day]": pa.date32(), "timestamp[us]": pa.timestamp("us")}
    try:
        return named.get(name) or pa.type_for_alias(name)
    except ValueError:
        return pa.string()


def _typed(value: Any, kind: str) -> Any:
    if value is None or not isinstance(value, str):
        return value
    if kind.startswith("date"):
        return dt.date.fromisoformat(value)
    return dt.datetime.fromisoformat(value) if kind.startswith("timestamp") else value
