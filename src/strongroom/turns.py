"""One request at a time does Python: the others wait for their turn, and not for the interpreter's lock.

Threads that all want to run take that lock from one another at every call that lets it go for a moment, such as each
statement of a database: of a request among sixteen that cost more than a third. A turn is given up while something is
waited for: the disk, the network, another thread.

Rules it keeps:

1. A turn is no lock: nothing relies on it. Who has waited PATIENCE_SECONDS goes on, and whoever comes after waits for
   them, and no longer for who had it.
2. It is given up around what waits, and for good by whoever turns out to have much to do: large columns are worked on
   without the interpreter's lock.
"""

from __future__ import annotations

import threading

PATIENCE_SECONDS = 0.05


class _Turns:
    """Whose turn it is, in this process: the interpreter has one lock."""

    def __init__(self) -> None:
        self._now = threading.Lock()
        self._change = threading.Lock()
        self._own = threading.local()

    def take(self) -> None:
        lock = self._now
        if not lock.acquire(timeout=PATIENCE_SECONDS):
            fresh = threading.Lock()
            fresh.acquire()
            with self._change:
                if self._now is lock:  # whoever has it is slow: from here on nobody waits for them
                    self._now = fresh
            lock = fresh
        self._own.lock = lock

    def give_up(self) -> bool:
        """Whether there was one to give up."""
        lock: threading.Lock | None = getattr(self._own, "lock", None)
        if lock is None:
            return False
        self._own.lock = None
        lock.release()
        return True


_TURNS = _Turns()


class turn:  # noqa: N801  a context manager, named for what is read in the line that uses it
    """Have a turn while this lasts; it may have been lent out meanwhile."""

    def __enter__(self) -> None:
        _TURNS.take()

    def __exit__(self, *_exc: object) -> None:
        _TURNS.give_up()


class aside:  # noqa: N801
    """Give the turn up while something is waited for; nothing where this thread has none."""

    def __enter__(self) -> None:
        self._had = _TURNS.give_up()

    def __exit__(self, *_exc: object) -> None:
        if self._had:
            _TURNS.take()


def leave() -> None:
    """Give the turn up for good: what follows is long."""
    _TURNS.give_up()
