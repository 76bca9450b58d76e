"""The keymaster's database: one writer at a time, durable when a transaction is left.

Rules it keeps:

1. A transaction has the write lock from its start (BEGIN IMMEDIATE) and is on disk when it is left (synchronous=FULL).
2. What is cached of the database is valid while nobody else wrote: `State.epoch` changes when somebody did, or when
   a transaction was undone. Counters are cached too; whatever writes one says so (`keys.rows.take` and `put`).
   `recent_counter` may be RECENT_SECONDS old where another process wrote: it is for a first look at what stands. What
   is charged or released is decided again inside its transaction.
3. Deleted rows are overwritten (secure_delete).
4. Only this file knows that the database is SQLite.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from strongroom.errors import ConflictError, IntegrityError, StrongroomError, UnavailableError
from strongroom.keymaster.tables import FORMAT, TABLES
from strongroom.keys.rows import CountedRows, Rows

BUSY_SECONDS = 30.0
STATEMENTS_KEPT = 256
CHECKPOINT_PAGES = 4000
RECENT_SECONDS = 0.01
_COPY = "`strongroom keys restore --from COPY` makes a keymaster from a copy of it"

class _Cursor(sqlite3.Cursor):
    """A cursor whose errors are this library's."""

    def fetchone(self) -> Any:
        try:
            return super().fetchone()
        except sqlite3.Error as error:
            raise _translated(error) from None

    def fetchall(self) -> list[Any]:
        try:
            return super().fetchall()
        except sqlite3.Error as error:
            raise _translated(error) from None


class _Connection(sqlite3.Connection, CountedRows):
    """A connection; `state` is set once it belongs to one."""

    state: State | None = None

    def cursor(self, factory: Any = _Cursor) -> Any:
        """What a statement's rows are fetched from."""
        return super().cursor(factory)

    def execute(self, sql: str, parameters: Any = (), /) -> Any:
        """Run a statement; its errors are this library's."""
        try:
            return super().execute(sql, parameters)
        except sqlite3.Error as error:
            raise _translated(error) from None

    def executemany(self, sql: str, parameters: Any, /) -> Any:
        """Run a statement for each parameter row; its errors are this library's."""
        try:
            return super().executemany(sql, parameters)
        except sqlite3.Error as error:
            raise _translated(error) from None

    def known_counters(self) -> dict[str, int] | None:
        """See `CountedRows.known_counters`."""
        return None if self.state is None else self.state.counters_for(self)

    def counters_changed(self) -> None:
        """See `CountedRows.counters_changed`."""
        if self.state is not None:
            self.state.forget_counters()


Cut = _Connection
"""A database in a file by itself: a copy, not shared with anybody."""


class State:
    """One database file, shared by threads and processes.

    Args:
        path: The file; made by `create`.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.RLock()
        self._local = threading.local()
        self._readers: weakref.WeakSet[_Connection] = weakref.WeakSet()  # a thread's own goes with the thread
        # the counters as the writer sees them, and as last committed while nobody else can commit
        self._counters: dict[str, int] | None = None
        self._committed: dict[str, int] | None = None
        # the counters as somebody here read them lately, with the time and the number of changes seen till then
        self._recent: tuple[float, int, dict[str, int]] = (0.0, -1, {})
        self._changes = 0
        self._touched = False
        self._writer = self._connect()
        self._seen_version = -1
        self._closed = False
        self.epoch = 0
        self.guard: Callable[[Rows], None] | None = None
        """Called first in every transaction; what it raises ends it."""

    @classmethod
    def create(cls, path: Path) -> State:
        """Make the database with its tables; ConflictError if the file exists."""
        try:
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        except FileExistsError:
            raise ConflictError(f"{path.name} exists") from None
        state = cls(path)
        with _translating():
            state._writer.execute("PRAGMA journal_mode=WAL")
            state._writer.executescript(f"BEGIN; {TABLES} COMMIT;")
        return state

    @classmethod
    def open(cls, path: Path) -> State:
        """Open an existing database; IntegrityError if it is none of this format."""
        if not path.is_file():
            raise IntegrityError("the keymaster's folder has no database")
        state = cls(path)
        row = state._writer.execute("SELECT format FROM room").fetchone()
        if row is None or row[0] != FORMAT:
            raise IntegrityError("the keymaster's database is of another format")
        return state

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def close(self) -> None:
        """Close every connection."""
        with self._lock:
            self._closed = True
            for connection in (*self._readers, self._writer):
                connection.close()
            self._readers.clear()

    def _connect(self) -> _Connection:
        # check_same_thread is off: the writer is used under the lock, a reader by one thread, and close by any
        connection = sqlite3.connect(
            self._path,
            timeout=BUSY_SECONDS,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=STATEMENTS_KEPT,
            factory=_Connection,
        )
        connection.state = self
        for setting in (
            "synchronous=FULL",
            "foreign_keys=ON",
            "secure_delete=ON",
            "temp_store=MEMORY",
            f"wal_autocheckpoint={CHECKPOINT_PAGES}",
        ):
            connection.execute(f"PRAGMA {setting}")
        return connection

    def read(self) -> Rows:
        """Rows as last committed, for the calling thread."""
        connection: _Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            with self._lock:
                if self._closed:
                    raise UnavailableError("the keymaster is closed")
                connection = self._local.connection = self._connect()
                self._readers.add(connection)
        return connection

    def cut(self, path: Path) -> Cut:
        """Copy the database, as last committed, into a file that is there and empty; returns it open."""
        cut = open_cut(path)
        try:
            with _translating(), closing(self._connect()) as connection:
                connection.backup(cut)
            cut.execute("PRAGMA journal_mode=DELETE")
        except BaseException:
            cut.close()
            raise
        return cut

    def counters_for(self, rows: Rows) -> dict[str, int] | None:
        """The counters as these rows see them, where that is certain without a statement.

        The writer's are read once and stand until somebody writes one. A reader's are those last committed, as long
        as this process holds the write lock: nobody else can commit then.
        """
        if rows is not self._writer:
            return self._committed
        if not self._writer.in_transaction:
            return None
        if self._counters is None:
            self._counters = dict(self._writer.execute("SELECT name, value FROM counter").fetchall())
        return self._counters

    def forget_counters(self) -> None:
        """Read the writer's counters again when they are next asked for."""
        self._counters = None
        self._touched = True

    def recent_counter(self, name: str) -> int:
        """A counter as last committed, or as it was up to RECENT_SECONDS ago if another process wrote it since."""
        taken, changes, known = self._recent
        now = time.monotonic()
        if changes != self._changes or now - taken > RECENT_SECONDS:
            changes = self._changes  # before the rows are read: a commit meanwhile makes this reading stale
            known = dict(self.read().execute("SELECT name, value FROM counter").fetchall())
            self._recent = (now, changes, known)
        return known[name]

    @contextmanager
    def write(self) -> Iterator[Rows]:
        """One transaction; see `keys.rows.Database`."""
        with self._lock:
            if self._closed:
                raise UnavailableError("the keymaster is closed")
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                version = self._writer.execute("PRAGMA data_version").fetchone()[0]
                if version != self._seen_version:
                    self._seen_version = version
                    self._counters = None
                    self._changes += 1
                    self.epoch += 1
                self._committed = self.counters_for(self._writer)
                if self.guard is not None:
                    self.guard(self._writer)
                yield self._writer
                self._writer.execute("COMMIT")
                if self._touched:
                    self._touched = False
                    self._changes += 1
            except BaseException:
                self.epoch += 1
                self._counters = None
                self._committed = None
                if self._writer.in_transaction:
                    self._writer.execute("ROLLBACK")
                raise
            self._committed = None


def open_cut(path: Path) -> Cut:
    """Open a database that lies in a file by itself."""
    return sqlite3.connect(path, isolation_level=None, factory=_Connection)


@contextmanager
def _translating() -> Iterator[None]:
    """For what no cursor runs."""
    try:
        yield
    except sqlite3.Error as error:
        raise _translated(error) from None


def _translated(error: sqlite3.Error) -> StrongroomError:
    """This library's error for one of the database; its text may name values, so it is left out."""
    if isinstance(error, sqlite3.ProgrammingError):
        return UnavailableError("the keymaster is closed")
    if isinstance(error, sqlite3.IntegrityError):
        return ConflictError("the keymaster's database refuses: this is there already")
    if not isinstance(error, sqlite3.OperationalError):
        return IntegrityError("the keymaster's database is damaged", hint=_COPY)
    if error.sqlite_errorcode == sqlite3.SQLITE_ERROR:  # a table or column that this version writes is not there
        return IntegrityError("the keymaster's database is damaged, or of another format", hint=_COPY)
    if error.sqlite_errorcode == sqlite3.SQLITE_FULL:
        return UnavailableError("the disk is full", hint="free some space, then try again")
    return UnavailableError("the keymaster's database does not answer, or another process holds it")
