"""Every column that holds keys wrapped under the epoch key, in one list, and one pass over all of them.

Rules it keeps:

1. What `KeyRing.wrap` makes is stored in a column of this list, or in the manifest of a copy of the keymaster, which a
   turn makes anew, and nowhere else; a test holds the list against the tables. Day keys lie under month keys, and their
   wrap names the epoch: they follow by `rewrap_days`.
2. A pass runs in the caller's transaction: all of it or nothing. Memory is that of ROWS_AT_ONCE rows.
3. Whatever does not open under the old key stops the pass: it would be lost for good otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from strongroom.keymaster.filekeys import bound
from strongroom.keys.hierarchy import KEY_BYTES, KeyRing, context
from strongroom.keys.pages import page_bound
from strongroom.keys.rows import Rows
from strongroom.seal.entropy import random_bytes
from strongroom.seal.wrap import NONCE_BYTES, Rewrap, unwrap, wrap

ROWS_AT_ONCE = 4096

Row = tuple[Any, ...]


@dataclass(frozen=True)
class WrappedColumn:
    """One table whose column `wrapped` holds keys under the epoch key.

    Args:
        table: Name of the table.
        key: Columns of its primary key.
        more: Further columns that the wrap vouches for.
        of: Row (key columns, then `more`) to purpose, key id and bound bytes, as they went into `KeyRing.wrap`.
    """

    table: str
    key: tuple[str, ...]
    more: tuple[str, ...]
    of: Callable[[Row], tuple[str, bytes, bytes]]

    def rows(self, rows: Rows) -> Iterator[list[Row]]:
        """All rows with a key, some thousands at a time in order of the primary key: key, more, wrapped."""
        names, key = ", ".join((*self.key, *self.more)), ", ".join(self.key)
        marks = ", ".join("?" * len(self.key))
        after, start = "", Row()
        while True:
            sql = (
                f"SELECT {names}, wrapped FROM {self.table} WHERE wrapped IS NOT NULL{after}"  # noqa: S608 - own names
                f" ORDER BY {key} LIMIT {ROWS_AT_ONCE}"
            )
            found = rows.execute(sql, start).fetchall()
            if not found:
                return
            yield found
            after, start = f" AND ({key}) > ({marks})", found[-1][: len(self.key)]

    def replace(self, rows: Rows, changed: list[tuple[bytes, Row]]) -> None:
        """Store new wraps, each with the primary key of its row."""
        where = " AND ".join(f"{name} = ?" for name in self.key)
        sql = f"UPDATE {self.table} SET wrapped = ? WHERE {where}"  # noqa: S608 - own names
        rows.executemany(sql, [(wrapped, *key) for wrapped, key in changed])


def _page(row: Row) -> tuple[str, bytes, bytes]:
    ident, version, count, first, last = row
    return "page", ident, page_bound(version, count, first, last)


def _file(row: Row) -> tuple[str, bytes, bytes]:
    ident, object_id, kind, table_id = row
    return "file", ident, bound(object_id, kind, table_id)


def _named(row: Row) -> tuple[str, bytes, bytes]:
    return row[0], row[1], b""


WRAPPED = (
    WrappedColumn("page", ("id",), ("version", "count", "first", "last"), _page),
    WrappedColumn("file_key", ("id",), ("object", "kind", "table_id"), _file),
    WrappedColumn("wrapped_key", ("purpose", "id"), (), _named),
)
"""Page keys; file keys; and by purpose: subject tokens, signing seed, index and field keys, months, replay,
exports, canaries, challenges of sign-ins."""


def rewrap_all(rows: Rows, old: KeyRing, new: KeyRing) -> int:
    """Take every wrapped key from one epoch to another, within a transaction; returns how many.

    Raises:
        IntegrityError: One does not open under the old epoch; nothing may be committed then.
    """
    count = rewrap_days(rows, old, new)
    for column in WRAPPED:
        count += _rewrap(rows, column, old, new)
    return count


def _rewrap(rows: Rows, column: WrappedColumn, old: KeyRing, new: KeyRing) -> int:
    rewrap = Rewrap(old.epoch_key(), new.epoch_key())
    width, count = len(column.key), 0
    for some in column.rows(rows):
        nonces = random_bytes(NONCE_BYTES * len(some))
        changed = []
        for at, row in enumerate(some):
            purpose, ident, vouched = column.of(row[:-1])
            nonce = nonces[NONCE_BYTES * at : NONCE_BYTES * (at + 1)]
            before = context(purpose, old.room_id, ident, old.epoch, vouched)
            after = context(purpose, new.room_id, ident, new.epoch, vouched)
            changed.append((rewrap.one(row[-1], before, after, nonce), row[:width]))
        column.replace(rows, changed)
        count += len(some)
    return count


def rewrap_days(rows: Rows, old: KeyRing, new: KeyRing) -> int:
    """Take day keys along, whose wraps under their months' keys name the epoch; before the months' own wraps change."""
    sql = "SELECT day, day_key.month, day_key.wrapped, m.wrapped FROM day_key JOIN wrapped_key m"
    found = rows.execute(f"{sql} ON m.purpose = 'month' AND m.id = day_key.month").fetchall()
    changed = []
    for day, month, wrapped, month_wrapped in found:
        key = old.unwrap("month", month, month_wrapped)[:KEY_BYTES]
        secret = unwrap(key, wrapped, day_context(old, day))
        changed.append((wrap(key, secret, day_context(new, day)), day))
    rows.executemany("UPDATE day_key SET wrapped = ? WHERE day = ?", changed)
    return len(changed)


def day_context(ring: KeyRing, day: int) -> bytes:
    """Associated data of a day key's wrap under its month's key."""
    return context("day", ring.room_id, str(day).encode(), ring.epoch)
