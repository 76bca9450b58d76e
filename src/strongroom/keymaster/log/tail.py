"""Pieces of the log's tail: made from the tables, sealed, and read again.

A piece is canonical JSON, compressed (zlib), then wrapped (AES-256-GCM) under the replay key with room, start and end
as associated data. It holds the bytes of its entries and the rows that they wrote, as far as a keymaster without them
would do harm: tombstones and erasures, all holds in force, credentials and identities, freezes and reviews, schema and
policy texts, head rows, the ledger of exports, pools of canary persons as they lie sealed, counts of what was spent in
the slots it covers, and the counters that must never go back. It holds no key, no label and no reason.
"""

from __future__ import annotations

import base64
import json
import zlib
from dataclasses import dataclass, field
from typing import Any

from strongroom.audit.entry import parse_entry
from strongroom.errors import IntegrityError
from strongroom.keymaster.core import Core
from strongroom.keymaster.log.publishing import Publishing
from strongroom.keymaster.log.tailapi import Piece, span_of
from strongroom.keys.hierarchy import KEY_BYTES
from strongroom.keys.rows import Rows, counter, put
from strongroom.purpose.budget import SLOT_SECONDS
from strongroom.seal.wrap import unwrap, wrap

LEAVES_MAX = 20_000
TOMBSTONES_MAX = 200_000
POOL_BYTES_MAX = 64 << 20
PLAIN_BYTES_MAX = 1 << 30
CREDENTIAL = "id, actor, public_key, networks, purposes, server, budgets, made, expires, revoked"
IDENTITY = "id, kind, name, actor, said, networks, purposes, hours, signs, made, expires, revoked"
EXPORT = (
    "id, leaf, actor, purpose, recipient, at, snapshot, said, persons, approval, approver, commitment, digest, sealed,"
    " state, records, root, ended, ended_leaf, opened"
)
POOL = "number, bias, count, persons, root, leaf, at, sealed"
POOL_BLOBS = (4, 7)
EXPORT_BLOBS = (0, 11, 12, 13, 16)
COUNTERS = ("batch", "ordinal", "generation")
_VERSION = 3
_SPANS = "(leaf >= ? AND leaf < ?) OR (ended_leaf >= ? AND ended_leaf < ?) OR (opened >= ? AND opened < ?)"
_WITH_ROWS = (b'"act":"commit"', b'"act":"schema"', b'"act":"policy"')
_JSON = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"))


@dataclass(frozen=True)
class Content:
    """A piece that was opened: entries by number from `start`, and rows by the name of their table."""

    start: int
    end: int
    times: list[int] = field(repr=False)
    entries: list[bytes] = field(repr=False)
    rows: dict[str, list[list[Any]]] = field(repr=False)
    counters: dict[str, int] = field(repr=False)


def replay_key(core: Core, rows: Rows) -> bytes:
    """The key that pieces are sealed under; every copy of the keymaster has it.

    Raises:
        IntegrityError: It is not there.
    """
    row = rows.execute("SELECT wrapped FROM wrapped_key WHERE purpose = 'replay'").fetchone()
    if row is None:
        raise IntegrityError("the keymaster's database lacks its replay key")
    key = core.ring.unwrap("replay", b"1", row[0])
    if len(key) != KEY_BYTES:
        raise IntegrityError("the keymaster's replay key is none")
    return key


def next_piece(core: Core, publishing: Publishing) -> Piece | None:
    """See `Tails.next`."""
    rows = core.state.read()
    start, size = counter(rows, "placed"), publishing.size()
    if start >= size:
        return None
    end = _end(rows, start, size)
    sql = "SELECT time, entry FROM leaf WHERE number >= ? AND number < ? ORDER BY number"
    leaves = rows.execute(sql, (start, end)).fetchall()
    content = {
        "version": _VERSION,
        "start": start,
        "end": end,
        "times": [time for time, _ in leaves],
        "entries": [_text(entry) for _, entry in leaves],
        "rows": _rows_of(rows, start, end, leaves),
        "counters": {name: counter(rows, name) for name in COUNTERS},
    }
    plain = zlib.compress(_JSON.encode(content).encode(), 6)
    return Piece(start, end, wrap(replay_key(core, rows), plain, _bound(core.room_id, start, end)))


def placed(core: Core, end: int) -> None:
    """See `Tails.placed`."""

    def job(rows: Rows) -> None:
        if end > counter(rows, "placed"):
            put(rows, "placed", end)

    core.run(job)


def open_piece(core: Core, name: str, sealed: bytes) -> Content:
    """Open a piece by its name.

    Raises:
        IntegrityError: It is not the piece of that name, or of another room.
    """
    wrong = IntegrityError(f"{name} is not a piece of this room's log")
    span = span_of(name)
    if span is None:
        raise wrong
    start, end = span
    key = replay_key(core, core.state.read())
    try:
        plain = unwrap(key, sealed, _bound(core.room_id, start, end))
    except IntegrityError:
        raise wrong from None
    try:
        reader = zlib.decompressobj()
        value = json.loads(reader.decompress(plain, PLAIN_BYTES_MAX))
        entries = [_bytes(text) for text in value["entries"]]
        found = Content(start, end, value["times"], entries, value["rows"], value["counters"])
    except (ValueError, KeyError, TypeError, zlib.error, OverflowError):
        raise wrong from None
    if value["version"] != _VERSION or not len(found.times) == len(entries) == end - start:
        raise wrong
    return found


def _end(rows: Rows, start: int, size: int) -> int:
    """Where a piece from `start` ends, so that it stays small: by entries, persons erased, and canaries."""
    end = min(size, start + LEAVES_MAX)
    tombs = "SELECT leaf, count(*) FROM tombstone WHERE leaf >= ? AND leaf < ? GROUP BY leaf ORDER BY leaf"
    pools = "SELECT leaf, length(sealed) FROM canary_pool WHERE leaf >= ? AND leaf < ? ORDER BY leaf"
    for sql, most in ((tombs, TOMBSTONES_MAX), (pools, POOL_BYTES_MAX)):
        held = 0
        for leaf, count in rows.execute(sql, (start, end)).fetchall():
            held += count
            if held > most and leaf > start:
                end = int(leaf)
                break
    return end


def _rows_of(rows: Rows, start: int, end: int, leaves: list[Any]) -> dict[str, list[list[Any]]]:
    """Rows that entries start to end wrote, by table."""
    said = [parse_entry(entry) for _, entry in leaves if any(mark in entry for mark in _WITH_ROWS)]
    allowed = [entry for entry in said if entry.decision == "allowed"]

    def numbers(act: str, name: str) -> list[int]:
        return [int(entry.extras[name]) for entry in allowed if entry.act == act and name in entry.extras]

    schemas, policies, heads = numbers("schema", "number"), numbers("policy", "number"), numbers("commit", "snapshot")
    span = "leaf >= ? AND leaf < ?"
    return {
        "tombstone": _fetch(rows, f"SELECT token, sequence, leaf, at FROM tombstone WHERE {span}", (start, end)),  # noqa: S608
        "erasure": _fetch(rows, f"SELECT leaf, persons, epoch, since FROM erasure WHERE {span}", (start, end)),  # noqa: S608
        "hold": _fetch(rows, "SELECT token, actor, leaf, at FROM hold", ()),
        "review": _fetch(rows, "SELECT id, actor, purpose, leaf, at, closed_by, closed FROM review", ()),
        "freeze": _fetch(rows, "SELECT kind, name, actor, leaf, at FROM frozen", ()),
        # no sessions: who signed in before a keymaster was set back signs in again
        "credential": _fetch(rows, f"SELECT {CREDENTIAL} FROM credential WHERE identity = ''", ()),  # noqa: S608
        "identity": _fetch(rows, f"SELECT {IDENTITY} FROM identity", ()),  # noqa: S608
        "schema_version": _each(rows, "SELECT number, text, stored FROM schema_version WHERE number = ?", schemas),
        "policy_version": _each(rows, "SELECT number, text, stored FROM policy_version WHERE number = ?", policies),
        "export": _fetch(rows, f"SELECT {EXPORT} FROM export WHERE {_SPANS}", (start, end) * 3),  # noqa: S608
        "canary_pool": _fetch(rows, f"SELECT {POOL} FROM canary_pool WHERE {span}", (start, end)),  # noqa: S608
        "canary_planted": _fetch(rows, f"SELECT number, leaf, dense FROM canary_planted WHERE {span}", (start, end)),  # noqa: S608
        "head": _each(rows, "SELECT number, object, sha256, length, key FROM head WHERE number = ?", heads),
        "spent": _spent(rows, leaves[0][0] / 1000),
    }


def _spent(rows: Rows, since: float) -> list[list[Any]]:
    """Counts of every slot that was not over yet at `since`: scope, period, slot, count."""
    found = []
    sql = "SELECT name, period, slot, count FROM spent JOIN scope ON scope.id = scope WHERE period = ? AND slot >= ?"
    for period, seconds in SLOT_SECONDS.items():
        found += _fetch(rows, sql, (period, int(since) // seconds))
    return found


def _fetch(rows: Rows, sql: str, parameters: tuple[Any, ...]) -> list[list[Any]]:
    return [[_text(v) if isinstance(v, bytes) else v for v in row] for row in rows.execute(sql, parameters).fetchall()]


def _each(rows: Rows, sql: str, numbers: list[int]) -> list[list[Any]]:
    return [row for number in dict.fromkeys(numbers) for row in _fetch(rows, sql, (number,))]


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _bytes(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


def blobs(row: list[Any], *places: int) -> tuple[Any, ...]:
    """A row of a piece with its bytes as bytes.

    Args:
        row: As it stands in the piece.
        places: Which columns are bytes.
    """
    return tuple(_bytes(v) if at in places and v is not None else v for at, v in enumerate(row))


def _bound(room_id: bytes, start: int, end: int) -> bytes:
    return b"strongroom tail 1" + room_id + start.to_bytes(8, "little") + end.to_bytes(8, "little")
