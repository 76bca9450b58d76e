"""What the API answers, verb by verb: the shapes of its JSON. Records are of the fields that the purpose shows."""

from __future__ import annotations

from typing import Any

import msgspec

from strongroom.errors import InputError
from strongroom.server.answers_acts import ACTS


class RecordSaid(msgspec.Struct, frozen=True):
    """One record: its shown fields by name, which of them are masked, and which are withheld."""

    fields: dict[str, Any]
    masked: list[str] = []
    withheld: list[str] = []


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """What went wrong (RFC 9457): the `rule` that refused, and of a budget what is left and when some comes back."""

    type: str
    title: str
    status: int
    detail: str
    hint: str | None = None
    rule: str | None = None
    remaining: int | None = None
    resets_at: str | None = None


class ItemSaid(msgspec.Struct, frozen=True, omit_defaults=True):
    """The records of one subject, in the order asked for; or why there are none."""

    status: int
    records: list[RecordSaid] = []
    problem: Problem | None = None


class GotSaid(msgspec.Struct, frozen=True):
    """An item for each subject, and what is left of each budget, by its rule."""

    items: list[ItemSaid]
    budget: dict[str, int]


class FoundSaid(msgspec.Struct, frozen=True):
    """Records found; `cursor`, sent with the same request, goes on behind them."""

    records: list[RecordSaid]
    cursor: str | None
    budget: dict[str, int]


class SqlSaid(msgspec.Struct, frozen=True):
    """Columns of a result: their names, their Arrow types, and the values of each."""

    names: list[str]
    types: list[str]
    columns: list[list[Any]]


class ExportStarted(msgspec.Struct, frozen=True):
    """An export whose persons are charged and noted, before its first record; in `Strongroom-Started`.

    `leaf` is its entry in the log, `remaining` what is left of each budget, by its rule; `marked`, `names_from` and
    `why_none` tell of canary persons among them.
    """

    persons: int
    snapshot: int
    leaf: int
    remaining: dict[str, int]
    marked: bool
    names_from: int
    why_none: str


class ExportEnded(msgspec.Struct, frozen=True):
    """An export that was sent whole, and noted; in the trailer `Strongroom-Exported`.

    `records` are the rows of each table, `root` is that over them, hex; `absent` counts subjects who are not there.
    """

    records: dict[str, int]
    root: str
    absent: int


class PutSaid(msgspec.Struct, frozen=True):
    """What a put did; `reasons` counts rejected records by reason and field."""

    put_id: str
    snapshot: int
    records: int
    new_subjects: int
    rejected: int
    leaf: int
    reasons: list[dict[str, Any]]
    notes: list[str]

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return msgspec.structs.asdict(self)


class EraseSaid(msgspec.Struct, frozen=True):
    """What an erasure did: persons erased now and before, its entries of the log, and the receipt."""

    persons: int
    already: int
    leaves: list[int]
    receipt: dict[str, Any]


class LogSaid(msgspec.Struct, frozen=True):
    """Entries of the log, oldest first; `cursor` goes on behind them."""

    entries: list[dict[str, Any]]
    cursor: str | None


class SubjectLogSaid(msgspec.Struct, frozen=True):
    """Who read a person: a file as `strongroom verify` checks it."""

    file: dict[str, Any]


class ExplainSaid(msgspec.Struct, frozen=True):
    """Whether the caller may see it, by which rule, and the most persons that can leave in a day."""

    allowed: bool
    rule: str
    most_per_day: int
    lines: list[str]


class FieldSaid(msgspec.Struct, frozen=True):
    """A field: its class, its type, and whether it can be found by."""

    name: str
    klass: str = msgspec.field(name="class")
    type: str
    indexed: bool
    nullable: bool


class TableSaid(msgspec.Struct, frozen=True):
    """A table of the schema in force."""

    name: str
    records: str
    subject: str
    fields: list[FieldSaid]


class SchemaSaid(msgspec.Struct, frozen=True):
    """The schema in force."""

    tables: list[TableSaid]


class WhoamiSaid(msgspec.Struct, frozen=True):
    """Who signed the request, of which room, the purposes that the policy gives them, and the log's public key."""

    actor: str
    room: str
    purposes: list[str]
    log_key: str


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    raise InputError(f"no JSON for {type(value).__name__}")


encoded = msgspec.json.Encoder(enc_hook=_plain).encode
"""An answer as JSON."""

ANSWERS: dict[str, type[msgspec.Struct]] = {
    "get": GotSaid,
    "find": FoundSaid,
    "sql": SqlSaid,
    "put": PutSaid,
    "reput-rejects": PutSaid,
    "erase": EraseSaid,
    "log": LogSaid,
    "subject-log": SubjectLogSaid,
    "explain": ExplainSaid,
    "schema": SchemaSaid,
    "whoami": WhoamiSaid,
    **ACTS,
}
