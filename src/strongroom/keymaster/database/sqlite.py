"""The keymaster's database as one SQLite file: the default, for one machine.

Rules it keeps, besides those of `state`:

1. A transaction has the write lock from its start (BEGIN IMMEDIATE) and is on disk when it is left (synchronous=FULL).
2. Deleted rows are overwritten (secure_delete).
3. Only this file, and `postgres`, know which database it is.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import weakref
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from strongroom.errors import ConflictError, IntegrityError, StrongroomError, UnavailableError
from strongroom.keymaster.database.state import State
from strongroom.keymaster.database.tables import TABLES, check_format
from strongroom.keys.rows import CountedRows, Rows
from strongroom.turns import aside

BUSY_SECONDS = 30.0
STATEMENTS_KEPT = 256
CHECKPOINT_PAGES = 16_000
"""Of the write-ahead log, 64 MiB: whoever commits then waits until they are in the file, and so does everybody."""
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


class SqliteState(State):
    """One database file, shared by threads and processes of one machine.

    Args:
        path: The file; made by `create`.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        self._readers: weakref.WeakSet[_Connection] = weakref.WeakSet()  # a thread's own goes with the thread
        self._writer = self._connect()

    @classmethod
    def create(cls, path: Path) -> SqliteState:
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
    def open(cls, path: Path) -> SqliteState:
        """Open an existing database; IntegrityError if it is none of this format."""
        if not path.is_file():
            raise IntegrityError("the keymaster's folder has no database")
        state = cls(path)
        try:
            check_format(state._writer.execute("SELECT format FROM room").fetchone())
        except BaseException:
            state.close()
            raise
        return state

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

    # -- what `State` needs of a database -------------------------------------------------------
    def _reader(self) -> Rows:
        connection = self._connect()
        self._readers.add(connection)
        return connection

    def _is_writer(self, rows: Rows) -> bool:
        return rows is self._writer

    def _in_transaction(self) -> bool:
        return self._writer.in_transaction

    def _begin(self) -> tuple[Rows, int]:
        self._writer.execute("BEGIN IMMEDIATE")
        try:
            return self._writer, self._writer.execute("PRAGMA data_version").fetchone()[0]
        except BaseException:
            self._rollback()
            raise

    def _commit(self) -> None:
        with aside():
            self._writer.execute("COMMIT")

    def _rollback(self) -> None:
        if self._writer.in_transaction:
            self._writer.execute("ROLLBACK")

    def _close(self) -> None:
        for connection in (*self._readers, self._writer):
            connection.close()
        self._readers.clear()

    # -- see `State` ----------------------------------------------------------------------------
    @contextmanager
    def exclusive(self, name: str, *, wait: bool = True) -> Iterator[None]:
        """See `State.exclusive`: a lock on a file beside the database."""
        handle = os.open(self._path.parent / f"{name}.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ConflictError("another process does this now") from None
            yield
        finally:
            os.close(handle)

    def cut(self, path: Path) -> Cut:
        """See `State.cut`."""
        cut = open_cut(path)
        try:
            with _translating(), closing(self._connect()) as connection:
                connection.backup(cut)
            cut.execute("PRAGMA journal_mode=DELETE")
        except BaseException:
            cut.close()
            raise
        return cut


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
