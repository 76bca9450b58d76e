"""What the key pages need of a database: a few tables, read and written through a protocol.

The tables hold nothing that opens without the epoch key: page keys lie wrapped, tokens only as the range of a page.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

PAGE_TABLES = """
CREATE TABLE counter (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO counter VALUES ('pages', 0), ('removals', 0), ('ordinal', 0), ('generation', 0);
CREATE TABLE generation (id INTEGER PRIMARY KEY, stamp INTEGER NOT NULL, subjects INTEGER NOT NULL);
CREATE TABLE page (
  id BLOB PRIMARY KEY, generation INTEGER NOT NULL REFERENCES generation(id), object TEXT NOT NULL,
  start INTEGER NOT NULL, count INTEGER NOT NULL, version INTEGER NOT NULL, first BLOB NOT NULL, last BLOB NOT NULL,
  fences BLOB NOT NULL, wrapped BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX page_by_generation ON page (generation, first);
CREATE INDEX page_by_object ON page (object);
CREATE TABLE page_due (id BLOB PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE page_object_pending (name TEXT PRIMARY KEY, made REAL NOT NULL) WITHOUT ROWID;
"""


class Rows(Protocol):
    """A connection, or a transaction of one (DB-API 2.0 with `?` parameters)."""

    def execute(self, sql: str, parameters: Sequence[Any] = ..., /) -> Any:
        """Run one statement; returns a cursor."""

    def executemany(self, sql: str, parameters: Iterable[Sequence[Any]], /) -> Any:
        """Run one statement for each parameter row."""


class Database(Protocol):
    """A database that many processes share; one writes at a time."""

    def read(self) -> Rows:
        """Rows as last committed, for the calling thread."""

    def recent_counter(self, name: str) -> int:
        """A counter as last committed here; what another process wrote a moment ago may not be in it."""

    def write(self) -> AbstractContextManager[Rows]:
        """One transaction that has the write lock from its start; durable when it is left, undone by an exception."""


class CountedRows:
    """Rows that may know the counters without a statement; what writes a counter goes through `take` or `put`."""

    def known_counters(self) -> dict[str, int] | None:
        """Every counter as these rows see it now; None where only a statement can tell."""
        return None

    def counters_changed(self) -> None:
        """Forget what is known: a counter is about to be written."""


def counter(rows: Rows, name: str) -> int:
    """A counter's value."""
    known = rows.known_counters() if isinstance(rows, CountedRows) else None
    if known is not None:
        return known[name]
    return int(rows.execute("SELECT value FROM counter WHERE name = ?", (name,)).fetchone()[0])


def take(rows: Rows, name: str, count: int = 1) -> int:
    """Take `count` numbers from a counter; returns the first of them (numbers start at 1)."""
    if isinstance(rows, CountedRows):
        rows.counters_changed()
    row = rows.execute("UPDATE counter SET value = value + ? WHERE name = ? RETURNING value", (count, name)).fetchone()
    return int(row[0]) - count + 1


def put(rows: Rows, name: str, value: int) -> None:
    """Set a counter."""
    if isinstance(rows, CountedRows):
        rows.counters_changed()
    rows.execute("UPDATE counter SET value = ? WHERE name = ?", (value, name))


def named(rows: Rows, name: str) -> bool:
    """Whether a live page lies in the object of this name."""
    return rows.execute("SELECT 1 FROM page WHERE object = ? LIMIT 1", (name,)).fetchone() is not None
