"""What somebody should hear of at once: told from the log, so that nothing is told that is not durable, or forgotten.

Rules it keeps:

1. A notice is made of a committed entry, whichever process noted it, and holds nothing that the log does not hold:
   actor, purpose, time, number of the entry, no reason and no person.
2. How far was told is a counter: after a restart it goes on from there. What is older than a day is passed over.
3. Each is told at least once. The number of its entry tells two of the same apart.

| event | when |
| --- | --- |
| break-glass | somebody read without the agreement that the purpose needs |
| freeze | an actor, a purpose or the room was stopped |
| waiting | something waits for another person's agreement |
| budget | an actor was refused by a budget REFUSALS_TOLD times within an hour; once an hour |
| canary | somebody read a person who does not exist |

A further event of the log is a further row of `_EVENTS`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

from strongroom.audit.entry import Entry, parse_entry
from strongroom.keymaster.canaries.alarm import ALARM, TEST
from strongroom.keymaster.core import Core
from strongroom.keys.rows import Rows, counter, put

REFUSALS_TOLD = 10
HOUR_MS = 3_600_000
OLDEST_MS = 24 * HOUR_MS
LEAVES_AT_ONCE = 50_000
KEPT_EVERY = 1_000
ACTORS_COUNTED_MAX = 10_000
VERSION = 1
_EVENTS = {"break-glass": "break-glass", "freeze": "freeze", "ask": "waiting"}
_ABOUT = ("kind", "name", "approval", "for", "persons")
_BUDGETS = ("persons/", "lookups/", "puts/")
_MARKS = (*(f'"act":"{act}"'.encode() for act in _EVENTS), b'"decision":"refused"', f'"{ALARM}":'.encode())


@dataclass(frozen=True)
class Notice:
    """One thing to tell: `about` says more of it, in names and numbers."""

    event: str
    leaf: int
    time: int
    actor: str
    purpose: str | None = None
    credential: str | None = None
    about: Mapping[str, int | str] = field(default_factory=dict)

    def to_dict(self, room_id: bytes) -> dict[str, Any]:
        """For JSON; `time` is milliseconds since 1970."""
        said = {name: value for name, value in vars(self).items() if value is not None}
        head = {"strongroom": "notice", "version": VERSION, "room": room_id.hex()}
        return {**head, **said, "about": dict(self.about)}


class Notices:
    """The notices of one keymaster; used by one thread.

    Args:
        core: Keys and state.
    """

    def __init__(self, core: Core) -> None:
        self._core = core
        self._refused: dict[str, tuple[int, int]] = {}
        self._at = -1

    def alone(self) -> AbstractContextManager[None]:
        """Be the only process that tells; ConflictError while another does."""
        return self._core.state.exclusive("notices", wait=False)

    def begin(self) -> None:
        """Where nothing was ever told: begin with what is noted from now on."""

        def job(rows: Rows) -> None:
            if counter(rows, "told") < 0:
                put(rows, "told", _size(rows))

        self._core.run(job)

    def next(self) -> Iterator[Notice]:
        """What is to be told by now, oldest first; `told` follows each of them."""
        rows = self._core.state.read()
        kept, size = counter(rows, "told"), _size(rows)
        start = max(kept, self._at)
        oldest = int(self._core.clock() * 1000) - OLDEST_MS
        marks = " OR ".join("instr(entry, ?) > 0" for _ in _MARKS)
        told = f"number >= ? AND number < ? AND time >= ? AND ({marks})"
        sql = f"SELECT number, entry FROM leaf WHERE {told} ORDER BY number"  # noqa: S608 - marks only
        while start < size:
            stop = min(size, start + LEAVES_AT_ONCE)
            for number, data in rows.execute(sql, (start, stop, oldest, *_MARKS)).fetchall():
                notice = self._of(number, parse_entry(data))
                if notice is not None:
                    yield notice
            self._at = start = stop
            if stop - kept >= KEPT_EVERY:
                self.told(stop)

    def told(self, through: int, *, lost: bool = False) -> None:
        """Keep that everything before an entry was told, or that the one before it could not be."""

        def job(rows: Rows) -> None:
            if through > counter(rows, "told"):
                put(rows, "told", through)
                if lost:
                    put(rows, "untold", through)

        self._core.run(job)

    def _of(self, leaf: int, entry: Entry) -> Notice | None:
        if entry.decision == "refused":
            return self._budget(leaf, entry)
        if ALARM in entry.extras:
            return self._canary(leaf, entry)
        event = _EVENTS.get(entry.act)
        if event is None:
            return None
        about = {name: entry.extras[name] for name in _ABOUT if name in entry.extras}
        return Notice(event, leaf, entry.time, entry.actor, entry.purpose, entry.credential, about)

    def _canary(self, leaf: int, entry: Entry) -> Notice:
        about: dict[str, int | str] = {"act": entry.act, "canaries": entry.extras[ALARM]}
        about |= {"table": entry.table or "", "persons": entry.count or 0}
        if TEST in entry.extras:
            about[TEST] = 1
        return Notice("canary", leaf, entry.time, entry.actor, entry.purpose, entry.credential, about)

    def _budget(self, leaf: int, entry: Entry) -> Notice | None:
        """Count a refusal by a budget; tell the one that makes them many."""
        if not (entry.rule or "").startswith(_BUDGETS):
            return None
        since, count = self._refused.get(entry.actor, (entry.time, 0))
        if entry.time - since >= HOUR_MS:
            since, count = entry.time, 0
        if len(self._refused) >= ACTORS_COUNTED_MAX:
            self._refused.clear()
        self._refused[entry.actor] = (since, count + 1)
        if count + 1 != REFUSALS_TOLD:
            return None
        about: dict[str, int | str] = {"refusals": REFUSALS_TOLD, "rule": entry.rule or ""}
        return Notice("budget", leaf, entry.time, entry.actor, entry.purpose, entry.credential, about)


def _size(rows: Rows) -> int:
    newest = rows.execute("SELECT max(number) FROM leaf").fetchone()[0]
    return 0 if newest is None else int(newest) + 1
