"""Answer questions about an incident: what a stolen credential touched, and whom.

Rules it keeps:

1. Who asks needs the act `log`; their own entries anybody may see. Whom entries touched is asked with a reason, and
   noted before it is answered.
2. Persons come as subject tokens, which name nobody. Who names them opens their records in a reading, under a purpose
   and its budgets.
3. One such question at a time, and of so many persons at most, so that memory is bounded.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from strongroom.audit.entry import as_one
from strongroom.errors import DeniedError, IntegrityError, UnavailableError, UsageError
from strongroom.keymaster.core import Answer, Core
from strongroom.keymaster.log import search as logsearch
from strongroom.keymaster.log.api import Touched, TouchedPersons, Which
from strongroom.keymaster.log.journal import DayKeys, labels_bound
from strongroom.keymaster.log.touching import LABEL_BYTES, Matching
from strongroom.keymaster.reason import check_reason
from strongroom.keys.rows import Rows
from strongroom.seal.columns import token_text
from strongroom.seal.wrap import unwrap

LABELS_MAX = 2_000_000
ENTRIES_MAX = 10_000
PAGES_AT_ONCE = 64
TOMBSTONES_AT_ONCE = 65_536


@dataclass
class _Labels:
    """The labels of the entries of one day: one after the other, and whose entry each is."""

    parts: list[bytes] = field(default_factory=list, repr=False)
    leaves: list[int] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)

    def add(self, leaf: int, labels: bytes) -> None:
        self.parts.append(labels)
        self.leaves.append(leaf)
        self.counts.append(len(labels) // LABEL_BYTES)

    @property
    def column(self) -> npt.NDArray[np.uint8]:
        return np.frombuffer(b"".join(self.parts), np.uint8).reshape(-1, LABEL_BYTES)


class EmbeddedLogs:
    """See `log.api.Logs`.

    Args:
        core: Keys and state.
    """

    def __init__(self, core: Core) -> None:
        self._core = core
        self._one = threading.Lock()

    def _may(self, actor: str, which: Which | None) -> bool:
        """Whether the actor may `log`; raise DeniedError, noted, unless so, or they ask about their own entries."""
        core = self._core
        core.standing.refresh()
        decision = core.standing.decider.decide_act(actor, "log")
        if decision.allowed or (which is not None and which.of == actor):
            return decision.allowed

        def refuse(_rows: Rows) -> Answer:
            raise DeniedError(decision.reason, rule=decision.rule)

        core.act("log", actor, refuse)
        return False

    def entries(self, actor: str, which: Which, start: int, stop: int | None, most: int) -> list[dict[str, object]]:
        """See `Keymaster.log_entries`; `most` of them."""
        whole = self._may(actor, which)
        return logsearch.entries(self._core.state.read(), which, start, stop, most, whole=whole)

    def newest(self, actor: str, which: Which, most: int) -> list[dict[str, Any]]:
        """See `Logs.newest`."""
        whole = self._may(actor, which)
        if not 0 < most <= ENTRIES_MAX:
            raise UsageError(f"ask for 1 to {ENTRIES_MAX:,} entries")
        return logsearch.newest(self._core.state.read(), which, most, whole=whole)

    def touched(self, actor: str, which: Which) -> list[Touched]:
        """See `Logs.touched`."""
        self._may(actor, which)
        return logsearch.touched(self._core.state.read(), which)

    # -- whom -----------------------------------------------------------------------------------
    def persons(self, actor: str, which: Which, reason: str) -> TouchedPersons:
        """See `Logs.persons`."""
        check_reason(reason)
        self._may(actor, None)
        if not self._one.acquire(blocking=False):
            raise UnavailableError("another such question is being answered", hint="ask again when it is done")
        try:
            found = _Search(self._core, which).run()
        finally:
            self._one.release()
        return self._noted(actor, which, reason, found)

    def _noted(self, actor: str, which: Which, reason: str, found: TouchedPersons) -> TouchedPersons:
        core = self._core
        about: dict[str, Any] = {"of": which.of, "through": which.credential}
        times = {"since": which.since, "until": which.until}
        about |= {name: None if at is None else int(at) for name, at in times.items()}
        extras = {name: value for name, value in about.items() if value is not None} | {"entries": len(found.leaves)}

        def work(rows: Rows) -> Answer:
            core.standing.require(core.standing.decider.decide_act(actor, "log"))
            told = {"count": len(found), "extras": extras}
            return {"leaf": core.journal.note_because(rows, "touched", actor, reason, **told)[0]}

        return TouchedPersons(**{**vars(found), "leaf": core.act("touched", actor, work)["leaf"]})


class _Search:
    """One question: the labels of the entries, whom they stand for, and both put together."""

    def __init__(self, core: Core, which: Which) -> None:
        self._core = core
        self._which = which
        self._rows = core.state.read()
        self._days: dict[int, DayKeys | None] = {}
        self._labels: dict[int, _Labels] = {}
        self._total = 0
        self._lost: list[int] = []
        self._leaves: list[int] = []
        self._group_of: list[int] = []
        self._groups = logsearch.Groups()

    def run(self) -> TouchedPersons:
        """Answer it; `leaf` is not known yet."""
        some: list[tuple[int, logsearch.Line]] = []
        for number, entry in logsearch.leaves(self._rows, self._which, *logsearch.span(self._rows, self._which)):
            line = logsearch.read_line(as_one(entry))
            if line.decision == "allowed" and line.labels and line.count:
                some.append((number, line))
                if len(some) == logsearch.AT_ONCE:
                    self._take(some)
                    some = []
        self._take(some)
        keys = {day: own.day for day in self._labels if (own := self._keys(day)) is not None}
        matching = Matching(keys, {day: self._labels[day].column for day in keys})
        if matching.left:
            for tokens in self._core.keys.tokens(PAGES_AT_ONCE):
                matching.look(tokens)
        living = len(matching.found)
        if matching.left:
            self._look_among_the_erased(matching)
        return self._put_together(matching, living)

    def _take(self, some: list[tuple[int, logsearch.Line]]) -> None:
        """Open the labels of some entries."""
        marks = ",".join("?" * len(some))
        sql = f"SELECT leaf, day, sealed FROM leaf_labels WHERE leaf IN ({marks})"  # noqa: S608 - marks only
        numbers = [number for number, _ in some]
        kept = {row[0]: row[1:] for row in self._rows.execute(sql, numbers).fetchall()} if some else {}
        for number, line in some:
            day, sealed = kept.get(number, (-1, b""))
            keys = self._keys(day) if sealed else None
            if keys is None:
                self._lost.append(number)
                continue
            labels = unwrap(keys.month, sealed, labels_bound(number, day))
            self._total += len(labels) // LABEL_BYTES
            if self._total > LABELS_MAX:
                raise UsageError(
                    f"these entries touched more than {LABELS_MAX:,} persons, which is more than is looked for at once",
                    hint="ask about a shorter time with --from and --to",
                )
            at = len(self._leaves)
            self._leaves.append(number)
            self._group_of.append(self._groups.add(number, line))
            self._labels.setdefault(day, _Labels()).add(at, labels)

    def _look_among_the_erased(self, matching: Matching) -> None:
        after = b""
        while True:
            sql = "SELECT token FROM tombstone WHERE token > ? ORDER BY token LIMIT ?"
            found = [row[0] for row in self._rows.execute(sql, (after, TOMBSTONES_AT_ONCE)).fetchall()]
            if not found:
                return
            matching.look(np.frombuffer(b"".join(found), np.uint8).reshape(-1, LABEL_BYTES))
            after = found[-1]

    def _put_together(self, matching: Matching, living: int) -> TouchedPersons:
        numbers, entries = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
        for day in self._labels:
            if self._keys(day) is not None:
                own = self._labels[day]
                owners = matching.owners(day)
                known = owners >= 0
                numbers.append(owners[known])
                entries.append(np.repeat(np.array(own.leaves, np.int64), own.counts)[known])
        number, entry = np.concatenate(numbers), np.concatenate(entries)
        tokens, person = np.unique(token_text(matching.found), return_inverse=True)
        erased = np.ones(len(tokens), np.bool_)
        erased[person[:living]] = False
        pairs = np.unique(np.stack([person[number], entry], axis=1), axis=0)
        starts = np.searchsorted(pairs[:, 0], np.arange(len(tokens) + 1))
        return TouchedPersons(
            np.frombuffer(tokens.tobytes(), np.uint8).reshape(-1, LABEL_BYTES),
            erased,
            starts.astype(np.uint32),
            pairs[:, 1].astype(np.uint32),
            np.array(self._leaves, np.uint64),
            np.array(self._group_of, np.uint32),
            self._groups.all(),
            self._total - len(number),
            self._lost,
            0,
        )

    def _keys(self, day: int) -> DayKeys | None:
        """The keys of a day's labels; None when there are none any more."""
        if day not in self._days:
            try:
                self._days[day] = self._core.journal.day_keys(self._rows, day)
            except IntegrityError:
                raise UnavailableError("the epoch is being turned: ask again") from None
        return self._days[day]
