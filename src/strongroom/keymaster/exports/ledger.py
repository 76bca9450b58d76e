"""The ledger of exports: what went to whom, with the exact set of persons sealed beside it.

A row's sealed part is AES-256-GCM, under a key of the export's own, of four parts, each with its length u64 before it:
JSON (condition, what budgets had left, the text that opens its code row); the set of persons by ordinal; that of the
canary persons held; and that of the canaries that it could have held, as pool << 32 | number (Roaring bitmaps, portable
64-bit format). Associated data `strongroom export` | export id. That key, the key of its tokens, and that of its coins
are HChaCha20 of a label under HChaCha20 of the export's id under a root, which lies wrapped.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from pyroaring import BitMap64

from strongroom.errors import IntegrityError, NotFoundError
from strongroom.keymaster.core import Core
from strongroom.keymaster.exports.api import ENDED, OPEN, ExportPlan, ExportRecord
from strongroom.keymaster.exports.marks import Marked
from strongroom.keymaster.log.tail import EXPORT
from strongroom.keymaster.seenmaps import read_bitmap
from strongroom.keys.rows import Rows
from strongroom.seal.cells import derive
from strongroom.seal.wrap import unwrap, wrap

_SEALING, _TOKENS = b"export sealing\0\0", b"export tokens\0\0\0"  # 16 bytes each
_PARTS = 4
LEAVES_MAX = 1 << 62
_FIND = f"SELECT {EXPORT} FROM export WHERE id = ?"  # noqa: S608 - own names


@dataclass(frozen=True)
class Kept:
    """An export that was started, as its keymaster goes on with it; `persons` counts whoever is in its files."""

    id: bytes
    leaf: int
    actor: str
    purpose: str
    plan: ExportPlan
    fields: Mapping[str, tuple[str, ...]]
    persons: int
    marked: Marked = field(repr=False)
    at: float = 0.0
    state: str = OPEN
    digest: bytes = b""
    remaining: Mapping[str, int] = field(default_factory=dict)


def none_of_this_id() -> NotFoundError:
    """The error for an export that is not there, or not the asker's."""
    return NotFoundError("there is no export of this id", hint="`strongroom exports` lists them")


def plan_digest(plan: ExportPlan) -> bytes:
    """What tells whether two plans are the same."""
    return hashlib.sha256(json.dumps(asdict(plan), sort_keys=True).encode()).digest()


class ExportLedger:
    """Rows of the table `export` of one keymaster."""

    def __init__(self, core: Core) -> None:
        self._core = core

    # -- keys -----------------------------------------------------------------------------------
    def root(self, rows: Rows) -> bytes:
        """The root key of exports, 32 B."""
        row = rows.execute("SELECT wrapped FROM wrapped_key WHERE purpose = 'exports' AND id = ?", (b"1",)).fetchone()
        if row is None:
            raise IntegrityError("the keymaster's database lacks its root of exports")
        return self._core.ring.unwrap("exports", b"1", row[0])

    def _key(self, rows: Rows, export_id: bytes, label: bytes) -> bytes:
        root = np.frombuffer(self.root(rows), np.uint8).reshape(1, -1)
        return bytes(derive(derive(root, export_id), label)[0])

    def token_key(self, export_id: bytes) -> bytes:
        """The key (32 B) that the keys of an export's tokens come from."""
        return self._key(self._core.state.read(), export_id, _TOKENS)

    # -- writing --------------------------------------------------------------------------------
    def keep(
        self, rows: Rows, kept: Kept, persons: BitMap64, approval: str, remaining: Mapping[str, int]
    ) -> None:
        """Write a started export, within the transaction that charges it."""
        core, plan, marked = self._core, kept.plan, kept.marked
        said = {"tables": plan.tables, "named": plan.named, "where_fields": plan.where_fields, "fields": kept.fields}
        said |= {"names_from": marked.names_from, "why_none": marked.why_none}
        inner = {"where": plan.where, "remaining": dict(remaining), "opening": marked.opening.decode("utf-8")}
        sets = [one.serialize() for one in (persons, marked.held, marked.offered)]
        parts = (json.dumps(inner).encode(), *sets)
        plain = b"".join(len(part).to_bytes(8, "little") + part for part in parts)
        sealed = wrap(self._key(rows, kept.id, _SEALING), plain, _bound(kept.id))
        approver = ""
        if approval:
            sql = "SELECT decided_by FROM approval WHERE id = ?"
            approver = str(rows.execute(sql, (approval,)).fetchone()[0])
        row = (
            kept.id, kept.leaf, kept.actor, kept.purpose, plan.recipient, core.journal.now(rows), plan.snapshot,
            json.dumps(said), kept.persons, approval, approver, marked.commitment, plan_digest(plan), sealed, OPEN, 0,
            None, None, None, None,
        )  # fmt: skip
        rows.execute(f"INSERT INTO export VALUES ({', '.join('?' * len(row))})", row)  # noqa: S608 - only marks

    def end(self, rows: Rows, export_id: bytes, records: int, root: bytes, leaf: int) -> None:
        """Write that an export has ended."""
        sql = "UPDATE export SET state = ?, records = ?, root = ?, ended = ?, ended_leaf = ? WHERE id = ?"
        rows.execute(sql, (ENDED, records, root, self._core.journal.now(rows), leaf, export_id))

    def set_opened(self, rows: Rows, export_id: bytes, leaf: int) -> None:
        """Write by which entry the code row of an export was opened; the first stays."""
        rows.execute("UPDATE export SET opened = ? WHERE id = ? AND opened IS NULL", (leaf, export_id))

    # -- reading --------------------------------------------------------------------------------
    def _row(self, rows: Rows, export_id: bytes) -> Any:
        row = rows.execute(_FIND, (export_id,)).fetchone()
        if row is None:
            raise none_of_this_id()
        return row

    def count(self) -> int:
        """How many exports there are."""
        return int(self._core.state.read().execute("SELECT count(*) FROM export").fetchone()[0])

    def opened(self, rows: Rows, export_id: bytes) -> int:
        """The entry by which the code row of an export was opened; -1 if none was."""
        row = rows.execute("SELECT opened FROM export WHERE id = ?", (export_id,)).fetchone()
        return -1 if row is None or row[0] is None else int(row[0])

    def of(self, export_id: bytes, rows: Rows | None = None) -> Kept:
        """A started export; NotFoundError if there is none."""
        source = rows or self._core.state.read()
        row = self._row(source, export_id)
        ident, leaf, actor, purpose, recipient, at, snapshot, text, persons, _app, _by, commitment, digest = row[:13]
        said, (inner, _persons, held, offered) = json.loads(text), self._opened(source, ident, row[13])
        plan = ExportPlan(
            tuple(said["tables"]), recipient, snapshot, said["named"], inner["where"], tuple(said["where_fields"])
        )
        fields = {name: tuple(names) for name, names in said["fields"].items()}
        marked = Marked(
            inner["opening"].encode("utf-8"), commitment, read_bitmap(held), read_bitmap(offered),
            said["names_from"], said["why_none"],
        )  # fmt: skip
        return Kept(
            ident, leaf, actor, purpose, plan, fields, persons, marked, at, row[14], digest, inner["remaining"]
        )

    def _opened(self, rows: Rows, export_id: bytes, sealed: bytes) -> tuple[dict[str, Any], bytes, bytes, bytes]:
        plain = memoryview(unwrap(self._key(rows, export_id, _SEALING), sealed, _bound(export_id)))
        parts, at = [], 0
        for _ in range(_PARTS):
            end = at + 8 + int.from_bytes(plain[at : at + 8], "little")
            parts.append(bytes(plain[at + 8 : end]))
            at = end
        return json.loads(parts[0]), parts[1], parts[2], parts[3]

    def persons_of(self, export_id: bytes) -> BitMap64:
        """The exact set of persons of an export, by ordinal."""
        rows = self._core.state.read()
        return read_bitmap(self._opened(rows, export_id, self._row(rows, export_id)[13])[1])

    def ids(self) -> list[bytes]:
        """Ids of all exports ever issued, newest first."""
        rows = self._core.state.read().execute("SELECT id FROM export ORDER BY leaf DESC").fetchall()
        return [row[0] for row in rows]

    def with_fields(self, fields: Collection[tuple[str, str]]) -> list[bytes]:
        """Ids of the exports that hold one of some (table, field), newest first."""
        rows = self._core.state.read().execute("SELECT id, said FROM export ORDER BY leaf DESC").fetchall()
        held = ((row[0], json.loads(row[1])["fields"]) for row in rows)
        return [ident for ident, own in held if any(name in own.get(table, ()) for table, name in fields)]

    def record(self, export_id: bytes) -> ExportRecord:
        """One entry of the ledger."""
        rows = self._core.state.read()
        return self._record(rows, self._row(rows, export_id), whole=True)

    def all(self, actor: str | None, before: int | None = None, most: int | None = None) -> list[ExportRecord]:
        """All entries, newest first, or those of one actor, without what chose their persons.

        Args:
            actor: Whose; None for everybody's.
            before: Only entries that the log has before this number.
            most: So many at most.
        """
        rows, whole = self._core.state.read(), actor is None
        last, limit = LEAVES_MAX if before is None else before, LEAVES_MAX if most is None else most
        sql = f"SELECT {EXPORT} FROM export WHERE leaf < ?"  # noqa: S608 - own names
        if whole:
            found = rows.execute(f"{sql} ORDER BY leaf DESC LIMIT ?", (last, limit)).fetchall()
        else:
            found = rows.execute(f"{sql} AND actor = ? ORDER BY leaf DESC LIMIT ?", (last, actor, limit)).fetchall()
        return [self._record(rows, row, whole=whole) for row in found]

    def _record(self, rows: Rows, row: Any, *, whole: bool) -> ExportRecord:
        ident, leaf, actor, purpose, recipient, at, snapshot, text, persons, approval, approver, commitment = row[:12]
        said, (state, records, root, ended, ended_leaf, opened) = json.loads(text), row[14:]
        fields = {name: tuple(names) for name, names in said["fields"].items()}
        where = self._opened(rows, ident, row[13])[0]["where"] if whole and said["where_fields"] else ""
        return ExportRecord(
            ident.hex(), leaf, actor, purpose, recipient, at, snapshot, tuple(said["tables"]), fields, said["named"],
            where, persons, approval, approver, commitment.hex(), bool(commitment), said["names_from"],
            said["why_none"], -1 if opened is None else opened, state, records, "" if root is None else root.hex(),
            ended or 0.0, -1 if ended_leaf is None else ended_leaf,
        )  # fmt: skip


def _bound(export_id: bytes) -> bytes:
    return b"strongroom export" + export_id
