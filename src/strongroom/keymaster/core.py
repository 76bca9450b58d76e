"""What every act of the keymaster shares: keys, state, and one way to decide, note and answer.

Rules it keeps:

1. `Core.act` is that way: request id, decision and spend (the caller's `work`), leaf and answer are one transaction.
2. A refusal is an answer too: it is noted with its rule, remembered under its request id, and raised after the commit.
3. The same request id gets the same answer; another request under it is a conflict.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from strongroom.errors import BudgetError, ConflictError, DeniedError, UsageError
from strongroom.keymaster.api import Head
from strongroom.keymaster.database.groupcommit import GroupCommit
from strongroom.keymaster.database.state import State
from strongroom.keymaster.holder import carried
from strongroom.keymaster.ledger import Ledger
from strongroom.keymaster.log.journal import Journal
from strongroom.keymaster.standing import Standing
from strongroom.keymaster.steps import Steps, finish, finish_together
from strongroom.keys.hierarchy import KeyRing, TokenKeys
from strongroom.keys.keystore import KeyStore
from strongroom.keys.rows import Rows

Answer = dict[str, Any]
T = TypeVar("T")
REQUEST_ID_BYTES = 16
REQUESTS_KEPT_SECONDS = 24 * 3600.0
EMPTY_HEAD = Head(0, bytes(16), bytes(32), 0, bytes(16))
_LAPSED = "SELECT id FROM lease WHERE state = 'open' AND expires < ?"


@dataclass(frozen=True)
class Request:
    """A request id (16 bytes) and a digest of everything asked under it."""

    id: bytes
    digest: bytes

    @staticmethod
    def of(request_id: bytes, parts: Sequence[bytes | str]) -> Request:
        """Digest the parts, each with its length before it.

        Raises:
            UsageError: The id does not have 16 bytes.
        """
        if len(request_id) != REQUEST_ID_BYTES:
            raise UsageError("a request id has 16 bytes")
        digest = hashlib.sha256()
        for part in parts:
            data = part.encode() if isinstance(part, str) else part
            digest.update(len(data).to_bytes(8, "little"))
            digest.update(data)
        return Request(request_id, digest.digest())


@dataclass
class Core:
    """The parts of an open keymaster."""

    room_id: bytes
    state: State
    ring: KeyRing
    keys: KeyStore
    standing: Standing
    journal: Journal
    ledger: Ledger
    subject: TokenKeys = field(repr=False)
    clock: Callable[[], float]
    entropy: Callable[[int], bytes]
    noted: threading.Event = field(default_factory=threading.Event)
    catcher: int | None = None

    def __post_init__(self) -> None:
        self._group = GroupCommit(self.state, self.ledger.flush, self._undone)

    def _undone(self) -> None:
        self.ledger.undone()
        self.journal.undone()

    def close(self) -> None:
        """Forget the keys, and close the database."""
        self.journal.forget()
        self.standing.forget()
        self.keys.close()
        self.ring.forget()
        self.state.close()

    @contextmanager
    def catching_up(self) -> Iterator[None]:
        """Let this thread alone write, while the keymaster does again what it lost."""
        self.catcher = threading.get_ident()
        try:
            yield
        finally:
            self.catcher = None

    def run(self, work: Callable[[Rows], Any]) -> Any:
        """Run work in a transaction that others may share; returns when it is durable."""
        return self._group.run(carried(work))

    def finish(self, steps: Steps[T]) -> T:
        """Go through steps, in transactions that others may share."""
        return finish(steps, self._group.run)

    def finish_together(self, every: Sequence[Steps[T]]) -> list[T]:
        """Go through the steps of works that came together and do not raise; they share their transactions."""
        return finish_together(every, self._group.run_all)

    def _run_alone(self, work: Callable[[Rows], Any]) -> Any:
        with self.catching_up(), self.state.write() as rows:
            done = work(rows)
            self.ledger.flush(rows)
            return done

    def act(
        self, act: str, actor: str, work: Callable[[Rows], Answer], *, alone: bool = False, **parts: Any
    ) -> Answer:
        """Decide, spend and note in one transaction; see `acting`.

        Args:
            act: The word for the log.
            actor: Who asks.
            work: Decides, spends and notes; returns the answer, or raises DeniedError.
            alone: In a transaction of its own, which a keymaster that has not caught up does not refuse.
            parts: What `acting` takes besides.

        Raises:
            DeniedError: As `work` raised it, now or when the same request was first asked.
            ConflictError: Another request was asked under this id.
        """
        return finish(self.acting(act, actor, work, **parts), self._run_alone if alone else self._group.run)

    def acting(
        self,
        act: str,
        actor: str,
        work: Callable[[Rows], Answer],
        *,
        once: Request | None = None,
        **parts: object,
    ) -> Steps[Answer]:
        """Decide, spend and note in one transaction, in steps.

        Args:
            act: The word for the log.
            actor: Who asks.
            work: Decides, spends and notes; returns the answer, or raises DeniedError.
            once: Under which request id the answer is remembered.
            parts: What an entry of a refusal says besides.

        Raises:
            DeniedError: As `work` raised it, now or when the same request was first asked.
            ConflictError: Another request was asked under this id.
        """

        def job(rows: Rows) -> Answer:
            self.standing.refresh(rows)
            if once is not None:
                known = _answered(rows, once)
                if known is not None:
                    return known
            try:
                answer = work(rows)
            except DeniedError as error:
                rule = error.rule or "room"
                entry = self.journal.entry(rows, act, actor, decision="refused", rule=rule, **parts)
                answer = {"leaf": self.journal.note(rows, entry), **_refusal(error)}
            if once is not None:
                sql = "INSERT INTO request VALUES (?, ?, ?, ?)"
                now = self.journal.now(rows)
                rows.execute(sql, (once.id, once.digest, json.dumps(answer), now))
            return answer

        answer: Answer = yield carried(job)
        self.tell()
        if "refused" in answer:
            raise _refused(answer)
        return answer

    def tell(self) -> None:
        """Tell whoever publishes that something was noted; who was told and has not begun yet is not told again."""
        if not self.noted.is_set():
            self.noted.set()

    def head(self, rows: Rows | None = None) -> Head:
        """The newest snapshot; number 0 for an empty room."""
        source = self.state.read() if rows is None else rows
        sql = "SELECT number, object, sha256, length, key FROM head ORDER BY number DESC LIMIT 1"
        row = source.execute(sql).fetchone()
        return EMPTY_HEAD if row is None else Head(*row)

    def tidy(self) -> None:
        """Forget what time has made useless: old answers, old spends, leases nobody holds."""

        def job(rows: Rows) -> None:
            now = self.journal.now(rows)
            rows.execute("DELETE FROM request WHERE made < ?", (now - REQUESTS_KEPT_SECONDS,))
            rows.execute("DELETE FROM reading WHERE expires < ?", (now,))
            self.ledger.prune(rows, now)
            self._lapse(rows)

        self.run(job)

    def lapse(self) -> None:
        """End the leases whose time is over and give back what they reserved."""
        if self.state.read().execute(f"{_LAPSED} LIMIT 1", (self.clock(),)).fetchone() is not None:
            self.run(self._lapse)

    def _lapse(self, rows: Rows) -> None:
        now = self.journal.now(rows)
        for (lease,) in rows.execute(_LAPSED, (now,)).fetchall():
            end_lease(rows, lease)
            self.ledger.give_back(rows, lease, now)


def note_own(core: Core, act: str, extras: Mapping[str, int | str]) -> None:
    """Note an act of the keymaster's own."""

    def job(rows: Rows) -> None:
        core.standing.refresh(rows)
        core.journal.note(rows, core.journal.entry(rows, act, "keymaster", extras=dict(extras)))

    core.run(job)
    core.noted.set()


def end_lease(rows: Rows, lease: bytes) -> None:
    """End a lease without a commit: its file keys are destroyed, its batches stay unused."""
    rows.execute("UPDATE lease SET state = 'abandoned' WHERE id = ?", (lease,))
    rows.execute("UPDATE batch SET state = 'dead' WHERE lease = ? AND state != 'committed'", (lease,))
    destroy = "UPDATE file_key SET state = 'destroyed', wrapped = NULL WHERE lease = ? AND state = 'pending'"
    rows.execute(destroy, (lease,))


def _answered(rows: Rows, request: Request) -> Answer | None:
    row = rows.execute("SELECT digest, answer FROM request WHERE id = ?", (request.id,)).fetchone()
    if row is None:
        return None
    if row[0] != request.digest:
        raise ConflictError("another request was made under this request id")
    answer: Answer = json.loads(row[1])
    return answer


def _refusal(error: DeniedError) -> Answer:
    found: Answer = {"refused": "denied", "message": str(error), "rule": error.rule, "hint": error.hint}
    if isinstance(error, BudgetError):
        found |= {"refused": "budget", "remaining": error.remaining, "resets_at": error.resets_at}
    return found


def _refused(answer: Answer) -> DeniedError:
    if answer["refused"] == "budget":
        return BudgetError(
            answer["message"],
            remaining=answer["remaining"],
            resets_at=answer["resets_at"],
            rule=answer["rule"],
            hint=answer["hint"],
        )
    return DeniedError(answer["message"], rule=answer["rule"], hint=answer["hint"])
