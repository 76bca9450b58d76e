"""Many requests to one commit: callers that come together share one transaction and one write to disk."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from strongroom.errors import StrongroomError, UnavailableError
from strongroom.keymaster.state import State
from strongroom.keys.rows import Rows
from strongroom.turns import aside

JOBS_MAX = 256

T = TypeVar("T")


class _Job(Generic[T]):
    """One caller's part of a transaction, and what became of it; `wake` is held until the caller may go on."""

    __slots__ = ("done", "error", "leads", "result", "wake", "work")

    def __init__(self, work: Callable[[Rows], T]) -> None:
        self.work = work
        self.done = False
        self.leads = False
        self.wake = threading.Lock()
        self.wake.acquire()
        self.result: T | None = None
        self.error: BaseException | None = None


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
        self._queue: list[_Job[object]] = []
        self._queue_lock = threading.Lock()

    def run(self, work: Callable[[Rows], T]) -> T:
        """Run one part; returns when it is durable, or raises what it raised."""
        job = _Job(work)
        try:
            with self._queue_lock:
                self._queue.append(job)  # type: ignore[arg-type]
                if not self._led:
                    self._led = job.leads = True
            if not job.leads:
                with aside():
                    job.wake.acquire()
            if not job.done:
                self._lead()
        except BaseException:
            self._leave(job)  # type: ignore[arg-type]
            raise
        if job.error is not None:
            raise job.error
        return job.result  # type: ignore[return-value]

    def _lead(self) -> None:
        jobs: list[_Job[object]] = []
        try:
            with self._queue_lock:
                jobs, self._queue = self._queue[:JOBS_MAX], self._queue[JOBS_MAX:]
            self._commit(jobs)
        finally:
            for job in jobs:
                job.done = True
            self._pass_on()
            for job in jobs:
                job.wake.release()

    def _pass_on(self) -> None:
        """Give the lead to the first who waits."""
        with self._queue_lock:
            self._led = bool(self._queue)
            if self._queue:
                self._queue[0].leads = True
                self._queue[0].wake.release()

    def _leave(self, job: _Job[object]) -> None:
        """Take an interrupted caller out of the queue; a lead that it was given goes to the next."""
        with self._queue_lock:
            if job not in self._queue:
                return
            self._queue.remove(job)
        if job.leads:
            self._pass_on()

    def _commit(self, jobs: list[_Job[object]]) -> None:
        try:
            with self._state.write() as rows:
                for job in jobs:
                    if len(jobs) == 1:
                        job.result = job.work(rows)
                    else:
                        self._part(rows, job)
                self._finish(rows)
        except BaseException as error:
            # nothing is durable: nobody may think it is, not even who had been refused
            for job in jobs:
                job.error = error if isinstance(error, StrongroomError) else UnavailableError("a commit failed")
            if not isinstance(error, Exception):
                raise

    def _part(self, rows: Rows, job: _Job[object]) -> None:
        rows.execute("SAVEPOINT part")
        try:
            job.result = job.work(rows)
        except StrongroomError as error:
            # refused before it changed anything that is cached; any other error undoes the whole transaction
            job.error = error
            rows.execute("ROLLBACK TO part")
            self._state.forget_counters()
            self._undone()
        rows.execute("RELEASE part")
