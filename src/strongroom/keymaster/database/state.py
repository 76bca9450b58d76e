"""The keymaster's database: one writer at a time, durable when a transaction is left.

Rules every database keeps:

1. A transaction has the write lock of the whole keymaster from its start, over all processes, and is durable when it is
   left.
2. What is cached of the database is valid while nobody else wrote: `State.epoch` changes when somebody did, or when
   a transaction was undone. Counters are cached too; whatever writes one says so (`keys.rows.take` and `put`).
   `recent_counter` may be RECENT_SECONDS old where another process wrote: it is for a first look at what stands. What
   is charged or released is decided again inside its transaction.
3. Errors are this library's, wherever they arise; they name no statement and no value.
"""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from strongroom.errors import UnavailableError
from strongroom.keys.rows import Rows

RECENT_SECONDS = 0.01


class State(ABC):
    """One database, shared by threads and processes."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._local = threading.local()
        # the counters as the writer sees them, and as last committed while nobody else can commit
        self._counters: dict[str, int] | None = None
        self._committed: dict[str, int] | None = None
        # the counters as somebody here read them lately, with the time and the number of changes seen till then
        self._recent: tuple[float, int, dict[str, int]] = (0.0, -1, {})
        self._changes = 0
        self._touched = False
        self._seen_version = -1
        self._closed = False
        self.epoch = 0
        self.guard: Callable[[Rows], None] | None = None
        """Called first in every transaction; what it raises ends it."""

    # -- what a database does -------------------------------------------------------------------
    @abstractmethod
    def _reader(self) -> Rows:
        """Rows for one thread, as last committed at each statement."""

    @abstractmethod
    def _is_writer(self, rows: Rows) -> bool:
        """Whether rows are those of the transaction."""

    @abstractmethod
    def _in_transaction(self) -> bool:
        """Whether a transaction is open."""

    @abstractmethod
    def _begin(self) -> tuple[Rows, int]:
        """Begin a transaction: its rows, and a number that is another one when somebody else has written."""

    @abstractmethod
    def _commit(self) -> None:
        """Make it durable."""

    @abstractmethod
    def _rollback(self) -> None:
        """Undo it, if it is open."""

    @abstractmethod
    def _close(self) -> None:
        """Close every connection."""

    @abstractmethod
    def exclusive(self, name: str, *, wait: bool = True) -> AbstractContextManager[None]:
        """Hold a lock of this name over all processes; a crash lets go. ConflictError if held and not waited for."""

    @abstractmethod
    def cut(self, path: Path) -> Any:
        """Copy the database, as last committed, into an SQLite file that is there and empty; returns it open."""

    # -- using it -------------------------------------------------------------------------------
    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def close(self) -> None:
        """Close every connection."""
        with self._lock:
            self._closed = True
            self._close()

    def read(self) -> Rows:
        """Rows as last committed, for the calling thread."""
        rows: Rows | None = getattr(self._local, "rows", None)
        if rows is None:
            with self._lock:
                if self._closed:
                    raise UnavailableError("the keymaster is closed")
                rows = self._local.rows = self._reader()
        return rows

    def counters_for(self, rows: Rows) -> dict[str, int] | None:
        """The counters as these rows see them, where that is certain without a statement.

        The writer's are read once and stand until somebody writes one. A reader's are those last committed, as long
        as this process holds the write lock: nobody else can commit then.
        """
        if not self._is_writer(rows):
            return self._committed
        if not self._in_transaction():
            return None
        if self._counters is None:
            self._counters = dict(rows.execute("SELECT name, value FROM counter").fetchall())
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
            rows, version = self._begin()
            try:
                if version != self._seen_version:
                    self._seen_version = version
                    self._counters = None
                    self._changes += 1
                    self.epoch += 1
                self._committed = self.counters_for(rows)
                if self._committed is not None:
                    self._recent = (time.monotonic(), self._changes, self._committed)
                if self.guard is not None:
                    self.guard(rows)
                yield rows
                self._commit()
                if self._touched:
                    self._touched = False
                    self._changes += 1
            except BaseException:
                self.epoch += 1
                self._counters = None
                self._committed = None
                self._rollback()
                raise
            self._committed = None
