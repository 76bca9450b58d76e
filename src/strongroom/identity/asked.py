"""What a caller may ask of a room's server: one signed request for each, read alike by the server and the keymaster.

A request is `POST /v1/rooms/<room id>/<verb>` with a body in JSON; of a put the body is the records, and the plan
stands in the header `Strongroom-Plan`. The signature covers all of it (`signing`): a server hands it on, and cannot ask
for more than its caller did.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

import msgspec

from strongroom.errors import InputError

API = "/v1/rooms/"
RECORDS_MAX = 1_000
VALUES_MAX = 1_000
LOG_ENTRIES_MAX = 1_000
EXPORTS_MAX = 1_000
TOKENS_MAX = 10_000
SCHEMA_LENGTH_MAX = 1 << 18
PERSONS_MAX = 1_000_000
SQL_PERSONS_MAX = 10_000_000_000
EXPORT_TABLES_MAX = 64
EXPORT_SUBJECTS_MAX = 50_000
BODY_MAX = 4 << 20
PUT_BODY_MAX = 64 << 20

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
Value = Annotated[str, msgspec.Meta(max_length=1_000)]
Names = Annotated[list[Name], msgspec.Meta(min_length=1, max_length=1_000)]
Values = Annotated[list[Value], msgspec.Meta(min_length=1, max_length=VALUES_MAX)]
Reason = Annotated[str, msgspec.Meta(min_length=1, max_length=1_000)]
Records = Annotated[int, msgspec.Meta(ge=1, le=RECORDS_MAX)]
Persons = Annotated[int, msgspec.Meta(ge=0, le=PERSONS_MAX)]
SqlPersons = Annotated[int, msgspec.Meta(ge=0, le=SQL_PERSONS_MAX)]
Tables = Annotated[list[Name], msgspec.Meta(min_length=1, max_length=EXPORT_TABLES_MAX)]
Subjects = Annotated[list[Value], msgspec.Meta(min_length=1, max_length=EXPORT_SUBJECTS_MAX)]
Condition = Annotated[str, msgspec.Meta(min_length=1, max_length=4096)]
ExportId = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{32}$")]
Token = Annotated[str, msgspec.Meta(max_length=10_000)]
Leaf = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
Seconds = Annotated[float, msgspec.Meta(ge=0, le=1e11)]


class Asked(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Anything that is asked."""


class Purposed(Asked, frozen=True, kw_only=True):
    """What is asked under a purpose: what for, why, and what lifts its need for another's agreement."""

    purpose: Name
    reason: Reason
    approval: Name | None = None
    break_glass: bool = False


class Read(Purposed, frozen=True, kw_only=True):
    """What every read says besides: of which snapshot."""

    snapshot: Annotated[int, msgspec.Meta(ge=0, le=2**53)] | None = None


class Get(Read, frozen=True, kw_only=True):
    """The records of some subjects in a table."""

    table: Name
    subjects: Values
    fields: Names | None = None


class Find(Read, frozen=True, kw_only=True):
    """Records whose indexed fields have some values; `cursor` goes on where an answer ended."""

    table: Name
    where: Annotated[dict[Name, Values], msgspec.Meta(min_length=1, max_length=100)]
    limit: Records = 10
    fields: Names | None = None
    cursor: Name | None = None


class Sql(Read, frozen=True, kw_only=True):
    """A SELECT over a table; `persons` is the greatest number that its rows or sealed fields may be charged for."""

    query: Annotated[str, msgspec.Meta(min_length=1, max_length=20_000)]
    persons: SqlPersons = 0


class SubjectLog(Read, frozen=True, kw_only=True):
    """Who read one subject, proved: the file that `strongroom verify` checks."""

    table: Name
    subject: Value


class Export(Purposed, frozen=True, kw_only=True):
    """Records of some tables, to a recipient whom the purpose names: a file, or a zip of one for each table.

    All records, or those of the persons whom a condition on open fields of the first table chooses, or of subjects.
    `persons` is the greatest number of persons, canary persons among them; `resume` takes up what was cut short.
    """

    tables: Tables
    recipient: Name
    persons: SqlPersons
    format: Literal["csv", "jsonl", "parquet"]
    where: Condition | None = None
    subjects: Subjects | None = None
    resume: ExportId | None = None


class Erase(Asked, frozen=True, kw_only=True):
    """Some subjects, for good."""

    subjects: Values
    reason: Reason


class Hold(Asked, frozen=True, kw_only=True):
    """Some subjects, under a legal hold from now on."""

    subjects: Values
    reason: Reason


class Unhold(Hold, frozen=True, kw_only=True):
    """Some subjects, under a legal hold no more."""


class ErasureReceipt(Asked, frozen=True, kw_only=True):
    """The receipt of erasures, by the numbers of their entries in the log."""

    leaves: Annotated[list[Leaf], msgspec.Meta(min_length=1, max_length=1_000)]


class Tokenize(Purposed, frozen=True, kw_only=True):
    """The tokens that stand for values of a field in an export; each value is a look-up."""

    export: ExportId
    table: Name
    field: Name
    values: Annotated[list[Value], msgspec.Meta(min_length=1, max_length=TOKENS_MAX)]


class Detokenize(Purposed, frozen=True, kw_only=True):
    """The values behind tokens of an export; the persons behind them are charged."""

    export: ExportId
    table: Name
    field: Name
    tokens: Annotated[list[Token], msgspec.Meta(min_length=1, max_length=TOKENS_MAX)]


class Exports(Asked, frozen=True, kw_only=True):
    """The ledger of exports: all of it for who may read the log, else one's own."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=EXPORTS_MAX)] = 100
    cursor: Name | None = None


class Rejects(Asked, frozen=True, kw_only=True):
    """Records that did not fit, of one put or of all, counted by put, reason and field."""

    put_id: Name | None = None


class ReputRejects(Rejects, frozen=True, kw_only=True):
    """Rejected records that fit by now, put again: of one put or of all, so many at most."""

    records: Persons


class OpenRejects(Read, frozen=True, kw_only=True):
    """Rejected records as they came, of the tables that the purpose reads."""

    put_id: Name | None = None


class Retention(Asked, frozen=True, kw_only=True):
    """How many records have expired, under the schema in force or another, in TOML."""

    schema: Annotated[str, msgspec.Meta(max_length=SCHEMA_LENGTH_MAX)] | None = None


class Log(Asked, frozen=True, kw_only=True):
    """Entries of the log: one's own need no right; times are seconds since 1970."""

    actor: Name | None = None
    since: Seconds | None = None
    until: Seconds | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=LOG_ENTRIES_MAX)] = 100
    cursor: Name | None = None


class Explain(Asked, frozen=True, kw_only=True):
    """Why the caller may or may not see a table, or a field of it."""

    table: Name
    purpose: Name | None = None
    field: Name | None = None


class Nothing(Asked, frozen=True, kw_only=True):
    """A request whose body is `{}`."""


class Put(Asked, frozen=True, kw_only=True):
    """The plan of a put: into which table, of how many records at most, in which form."""

    table: Name
    records: Persons
    format: Literal["csv", "jsonl"]
    strict: bool = False
    again: bool = False


VERBS: Mapping[str, type[Asked]] = {
    "get": Get,
    "find": Find,
    "sql": Sql,
    "export": Export,
    "put": Put,
    "erase": Erase,
    "erasure-receipt": ErasureReceipt,
    "hold": Hold,
    "unhold": Unhold,
    "tokenize": Tokenize,
    "detokenize": Detokenize,
    "exports": Exports,
    "rejects": Rejects,
    "reput-rejects": ReputRejects,
    "open-rejects": OpenRejects,
    "retention": Retention,
    "log": Log,
    "subject-log": SubjectLog,
    "explain": Explain,
    "schema": Nothing,
    "policy": Nothing,
    "whoami": Nothing,
}
LEASES = ("put", "erase", "reput-rejects")

_DECODERS = {verb: msgspec.json.Decoder(kind) for verb, kind in VERBS.items()}


def path_of(room_id: bytes, verb: str) -> str:
    """The path under which a verb of a room is asked."""
    return f"{API}{room_id.hex()}/{verb}"


def verb_of(path: str, room_id: bytes) -> str | None:
    """The verb that a path asks of a room; None where it is no such path."""
    verb = path.removeprefix(f"{API}{room_id.hex()}/")
    return verb if verb in VERBS and path == path_of(room_id, verb) else None


def read_asked(verb: str, text: bytes | str) -> Asked:
    """What a body, or the plan of a put, says; InputError names the place that is wrong, never a value."""
    try:
        return _DECODERS[verb].decode(text)
    except msgspec.ValidationError as error:
        place = str(error).rpartition(" - at ")[2] if " - at " in str(error) else "the message"
        raise InputError(f"{place} is not what {verb} takes", hint="the OpenAPI document says what it takes") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise InputError("the message is not JSON") from None
