"""The keymaster's database: one writer at a time, durable when a transaction is left, many requests to one commit.

Rules it keeps:

1. A transaction has the write lock from its start (BEGIN IMMEDIATE) and is on disk when it is left (synchronous=FULL).
2. What is cached of the database is valid while nobody else wrote: `State.epoch` changes when somebody did, or when
   a transaction was undone.
3. Deleted rows are overwritten (secure_delete).
4. Only this file knows that the database is SQLite.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Generic, TypeVar

from strongroom.errors import ConflictError, IntegrityError, StrongroomError, UnavailableError
from strongroom.keymaster.tables import FORMAT, TABLES
from strongroom.keys.rows import Rows

BUSY_SECONDS = 30.0
JOBS_MAX = 256
STATEMENTS_KEPT = 256
CHECKPOINT_PAGES = 4000

T = TypeVar("T")


class State:
    """One database file, shared by threads and processes.

    Args:
        path: The file; made by `create`.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.RLock()
        self._local = threading.local()
        self._readers: list[sqlite3.Connection] = []
        self._writer = self._connect()
        self._seen_version = -1
        self._closed = False
        self.epoch = 0

    @classmethod
    def create(cls, path: Path) -> State:
        """Make the database with its tables; ConflictError if the file exists."""
        try:
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        except FileExistsError:
            raise ConflictError(f"{path.name} exists") from None
        state = cls(path)
        with translated():
            state._writer.execute("PRAGMA journal_mode=WAL")
            state._writer.executescript(f"BEGIN; {TABLES} COMMIT;")
        return state

    @classmethod
    def open(cls, path: Path) -> State:
        """Open an existing database; IntegrityError if it is none of this format."""
        if not path.is_file():
            raise IntegrityError("the keymaster's folder has no database")
        state = cls(path)
        with translated():
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

    def _connect(self) -> sqlite3.Connection:
        # check_same_thread is off: the writer is used under the lock, a reader by one thread, and close by any
        connection = sqlite3.connect(
            self._path,
            timeout=BUSY_SECONDS,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=STATEMENTS_KEPT,
        )
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
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            with self._lock:
                if self._closed:
                    raise UnavailableError("the keymaster is closed")
                connection = self._local.connection = self._connect()
                self._readers.append(connection)
        return connection

    @contextmanager
    def write(self) -> Iterator[Rows]:
        """One transaction; see `keys.rows.Database`."""
        with self._lock:
            if self._closed:
                raise UnavailableError("the keymaster is closed")
            with translated():
                self._writer.execute("BEGIN IMMEDIATE")
            try:
                version = self._writer.execute("PRAGMA data_version").fetchone()[0]
                if version != self._seen_version:
                    self._seen_version = version
                    self.epoch += 1
                with translated():
                    yield self._writer
                    self._writer.execute("COMMIT")
            except BaseException:
                self.epoch += 1
                if self._writer.in_transaction:
                    self._writer.execute("ROLLBACK")
                raise


@contextmanager
def translated() -> Iterator[None]:
    """Turn the database's errors into this library's; their texts may name values, so they are left out."""
    try:
        yield
    except sqlite3.IntegrityError:
        raise ConflictError("the keymaster's database refuses: this is there already") from None
    except sqlite3.OperationalError:
        raise UnavailableError("the keymaster's database does not answer, or another process holds it") from None
    except sqlite3.DatabaseError:
        raise IntegrityError("the keymaster's database is damaged") from None


class _Job(Generic[T]):
    """One caller's part of a transaction, and what became of it."""

    __slots__ = ("done", "error", "result", "work")

    def __init__(self, work: Callable[[Rows], T]) -> None:
        self.work = work
        self.done = False
        self.result: T | None = None
        self.error: BaseException | None = None


class GroupCommit:
    """Lets callers that come together share one transaction and one write to disk.

    The first to get the lead takes everybody who waits, runs their parts one after the other, commits, and only
    then lets them go. A part that raises one of this library's errors is undone alone: it must raise before it
    changes what is cached in memory.

    Args:
        state: The database.
        finish: Called before the commit: writes what was gathered over the parts.
        undone: Called when one part was undone: what it may have cached of its own rows must go.
    """

    def __init__(self, state: State, finish: Callable[[Rows], None], undone: Callable[[], None]) -> None:
        self._state = state
        self._finish = finish
        self._undone = undone
        self._lead = threading.Lock()
        self._queue: list[_Job[object]] = []
        self._queue_lock = threading.Lock()

    def run(self, work: Callable[[Rows], T]) -> T:
        """Run one part; returns when it is durable, or raises what it raised."""
        job = _Job(work)
        with self._queue_lock:
            self._queue.append(job)  # type: ignore[arg-type]
        while not job.done:
            with self._lead:
                if not job.done:
                    self._commit(self._taken())
        if job.error is not None:
            raise job.error
        return job.result  # type: ignore[return-value]

    def _taken(self) -> list[_Job[object]]:
        with self._queue_lock:
            jobs, self._queue = self._queue[:JOBS_MAX], self._queue[JOBS_MAX:]
        return jobs

    def _commit(self, jobs: list[_Job[object]]) -> None:
        try:
            with self._state.write() as rows:
                for job in jobs:
                    self._part(rows, job)
                self._finish(rows)
        except BaseException as error:
            # nothing is durable: nobody may think it is, not even who had been refused
            for job in jobs:
                job.error = error if isinstance(error, StrongroomError) else UnavailableError("a commit failed")
            if not isinstance(error, Exception):
                raise
        finally:
            for job in jobs:
                job.done = True

    def _part(self, rows: Rows, job: _Job[object]) -> None:
        rows.execute("SAVEPOINT part")
        try:
            job.result = job.work(rows)
        except StrongroomError as error:
            # refused before it changed anything that is cached; any other error undoes the whole transaction
            job.error = error
            rows.execute("ROLLBACK TO part")
            self._undone()
        rows.execute("RELEASE part")
