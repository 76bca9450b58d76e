"""What a witness has cosigned: per log the newest checkpoint, in one SQLite file.

Rules it keeps:

1. A checkpoint is compared with the newest one and takes its place in *one* transaction, and the transaction is on the
   disk before anything is signed. So a kill at any moment, or two processes on one file, never lead to cosignatures of
   two histories.
2. The file is made by `create` only: one that is gone is an error, not an empty one.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from strongroom.errors import IntegrityError, UnavailableError, UsageError

FORMAT = 1
BUSY_SECONDS = 10.0
_TABLES = """
CREATE TABLE witness (one INTEGER PRIMARY KEY CHECK (one = 1), format INTEGER NOT NULL, key TEXT NOT NULL);
CREATE TABLE newest (origin TEXT PRIMARY KEY, size INTEGER NOT NULL, root BLOB NOT NULL,
  note TEXT NOT NULL) WITHOUT ROWID;
"""


class Newest(NamedTuple):
    """The newest checkpoint of a log that was cosigned: its size, its root (32 bytes) and the signed note."""

    size: int
    root: bytes
    note: str


class WitnessState:
    """The database of one witness; threads take turns.

    Args:
        connection: Open, with the tables in it.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._mutex = threading.Lock()

    @staticmethod
    def create(path: Path, key: str) -> None:
        """Make the file, readable by its owner alone.

        Args:
            path: A file that does not exist.
            key: The witness's public key, as one line.
        """
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        connection = _connect(path)
        try:
            connection.executescript(_TABLES)
            connection.execute("INSERT INTO witness VALUES (1, ?, ?)", (FORMAT, key))
        finally:
            connection.close()

    @classmethod
    def open(cls, path: Path, key: str) -> WitnessState:
        """Open the file of the witness with a key.

        Raises:
            UsageError: It is another witness's, of another format, or no such file.
        """
        try:
            connection = _connect(path)
            found = connection.execute("SELECT format, key FROM witness").fetchone()
        except sqlite3.Error:
            raise UsageError(f"{path} is no database of a witness") from None
        if found != (FORMAT, key):
            connection.close()
            raise UsageError(f"{path} is of another witness, or of another version")
        return cls(connection)

    def close(self) -> None:
        """Let go of the file."""
        with self._mutex:
            self._connection.close()

    def newest(self, origin: str) -> Newest | None:
        """What was cosigned last of a log; None if nothing was."""
        with self._mutex, _translating():
            return self._of(origin)

    def replace(self, origin: str, judge: Callable[[Newest | None], Newest]) -> None:
        """Let `judge` see the newest checkpoint of a log, and keep what it returns; durable when this returns.

        What `judge` raises is passed on, and changes nothing.
        """
        with self._mutex, _translating():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                new = judge(self._of(origin))
                kept = (
                    "INSERT INTO newest VALUES (?, ?, ?, ?) ON CONFLICT (origin) DO UPDATE SET size = excluded.size,"
                    " root = excluded.root, note = excluded.note"
                )
                self._connection.execute(kept, (origin, *new))
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def _of(self, origin: str) -> Newest | None:
        row = self._connection.execute("SELECT size, root, note FROM newest WHERE origin = ?", (origin,)).fetchone()
        if row is None:
            return None
        if not isinstance(row[0], int) or not isinstance(row[1], bytes):
            raise IntegrityError("the witness's database is damaged")
        return Newest(*row)


def _connect(path: Path) -> sqlite3.Connection:
    name = f"{path.resolve().as_uri()}?mode=rw"
    connection = sqlite3.connect(name, uri=True, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    return connection


@contextmanager
def _translating() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise UnavailableError(f"the witness's database does not answer ({type(error).__name__})") from None
