"""Many requests to one commit: callers that come together share one transaction and one write to disk."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

from strongroom.errors import StrongroomError, UnavailableError
from strongroom.keymaster.database.state import State
from strongroom.keymaster.steps import Done, Part
from strongroom.keys.rows import Rows
from strongroom.turns import aside

CALLERS_MAX = 256

T = TypeVar("T")


class _Caller:
    """One caller's parts of a transaction, and what became of them; `wake` is held until the caller may go on."""

    __slots__ = ("done", "found", "leads", "parts", "wake")

    def __init__(self, parts: Sequence[Part]) -> None:
        self.parts = parts
        self.done = False
        self.leads = False
        self.wake = threading.Lock()
        self.wake.acquire()
        self.found: list[Done] = []


class GroupCommit:
    """Lets callers that come together share one transaction and one write to disk.

    Who comes while nobody leads takes the lead: everybody who waits is taken along, their parts run one after the
    other, and only when they are durable is each let go. Whoever came meanwhile waits for the next lead, which the
    first of them gets. A part that raises one of this library's errors is undone alone: it must raise before it
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
        self._led = False
        self._queue: list[_Caller] = []
        self._queue_lock = threading.Lock()

    def run(self, work: Callable[[Rows], T]) -> T:
        """Run one part; returns when it is durable, or raises what it raised."""
        (done,) = self.run_all([work])
        if done.error is not None:
            raise done.error
        return done.value  # type: ignore[no-any-return]

    def run_all(self, works: Sequence[Part]) -> list[Done]:
        """Run parts in one transaction; what came of each, when it is durable."""
        own = _Caller(works)
        try:
            with self._queue_lock:
                self._queue.append(own)
                if not self._led:
                    self._led = own.leads = True
            if not own.leads:
                with aside():
                    own.wake.acquire()
            if not own.done:
                self._lead()
        except BaseException:
            self._leave(own)
            raise
        return own.found

    def _lead(self) -> None:
        callers: list[_Caller] = []
        try:
            with self._queue_lock:
                callers, self._queue = self._queue[:CALLERS_MAX], self._queue[CALLERS_MAX:]
            self._commit(callers)
        finally:
            for one in callers:
                one.done = True
            self._pass_on()
            for one in callers:
                one.wake.release()

    def _pass_on(self) -> None:
        """Give the lead to the first who waits."""
        with self._queue_lock:
            self._led = bool(self._queue)
            if self._queue:
                self._queue[0].leads = True
                self._queue[0].wake.release()

    def _leave(self, own: _Caller) -> None:
        """Take an interrupted caller out of the queue; a lead that it was given goes to the next."""
        with self._queue_lock:
            if own not in self._queue:
                return
            self._queue.remove(own)
        if own.leads:
            self._pass_on()

    def _commit(self, callers: Sequence[_Caller]) -> None:
        alone = sum(len(one.parts) for one in callers) == 1
        try:
            with self._state.write() as rows:
                for one in callers:
                    one.found = [Done(part(rows)) if alone else self._part(rows, part) for part in one.parts]
                self._finish(rows)
        except BaseException as error:
            # nothing is durable: nobody may think it is, not even who had been refused
            told = error if isinstance(error, StrongroomError) else UnavailableError("a commit failed")
            for one in callers:
                one.found = [Done(error=told) for _ in one.parts]
            if not isinstance(error, Exception):
                raise

    def _part(self, rows: Rows, part: Part) -> Done:
        rows.execute("SAVEPOINT part")
        try:
            done = Done(part(rows))
        except StrongroomError as error:
            # refused before it changed anything that is cached; any other error undoes the whole transaction
            done = Done(error=error)
            rows.execute("ROLLBACK TO part")
            self._state.forget_counters()
            self._undone()
        rows.execute("RELEASE part")
        return done
