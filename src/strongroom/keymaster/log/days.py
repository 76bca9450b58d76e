"""Close days: the map of who was touched by which entries, kept sealed, its root noted in the log.

The order, and what a crash after each step leaves:

1. *sort*: the lists of the day are read, and the map is kept part by part (`day_part`), several to a transaction.
   A crash leaves parts of a day that is not closed; closing it again replaces them.
2. *close*: one transaction notes the root and the day's row (`day_map`), if the day is as it was when it was sorted.

Rules it keeps:

1. A day is closed once, by one process at a time, after it is over: what is noted later stands in later days, since
   time never goes back. Days follow one another without a gap; empty ones in a row share an entry.
2. Lists and maps lie sealed under the key of the day's month, and are gone with it.
3. A list that is lost (the keymaster was set back) is counted in the entry that closes its day: nothing is passed over.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from strongroom.audit.daymap import (
    DAY_ACT,
    ITSELF,
    U8,
    Closed,
    Part,
    Tree,
    closed_of,
    day_of,
    map_root,
    part_root,
    sorted_parts,
)
from strongroom.audit.entry import LABEL_BYTES, parse_entry
from strongroom.audit.tlog import EMPTY_ROOT, HASH_BYTES, tree_root
from strongroom.errors import ConflictError, IntegrityError
from strongroom.keymaster.core import Core
from strongroom.keymaster.log.journal import DAY_SECONDS, DayKeys, labels_bound
from strongroom.keys.rows import Rows
from strongroom.seal.tokens import cmac_column, cmac_one
from strongroom.seal.wrap import WRAP_BYTES, unwrap, wrap

LISTS_AT_ONCE = 4096
LISTS_BYTES = 4 << 20
PARTS_AT_ONCE = 256
WHOLE, UNMADE, LOST = "whole", "unmade", "lost"
_SALT = b"strongroom lists"  # 16 bytes
_INSERT = "INSERT INTO day_part VALUES (?, ?, ?)"


@dataclass(frozen=True)
class Tops:
    """First labels and roots of a map's parts."""

    firsts: list[bytes] = field(repr=False)
    roots: list[bytes] = field(repr=False)

    def tree(self) -> Tree:
        """The tree over the roots, whose root is that of the map."""
        return Tree(self.roots)

    def pack(self) -> bytes:
        """Label and root of each."""
        return b"".join(part for pair in zip(self.firsts, self.roots, strict=True) for part in pair)

    @staticmethod
    def of(data: bytes) -> Tops:
        """Read what `pack` wrote."""
        width = LABEL_BYTES + HASH_BYTES
        pairs = [data[at : at + width] for at in range(0, len(data), width)]
        return Tops([pair[:LABEL_BYTES] for pair in pairs], [pair[LABEL_BYTES:] for pair in pairs])


class _ChangedError(ConflictError):
    """A day was written to, or closed, while it was sorted; never leaves this module."""


class Days:
    """The days of one keymaster."""

    def __init__(self, core: Core) -> None:
        self._core = core

    # -- closing --------------------------------------------------------------------------------
    def close_due(self, *, wait: bool = False) -> None:
        """Close every day that is over.

        Args:
            wait: For another process that does this now; without it that is left to it.
        """
        core = self._core
        rows = core.state.read()
        if self._next(rows) is None and not self._unmade(rows):
            return
        with suppress(ConflictError), core.state.exclusive("day", wait=wait):
            while (span := self._next(rows)) is not None:
                with suppress(_ChangedError):
                    self._close(rows, *span)
            for day in self._unmade(rows):
                self._make_again(rows, day)

    def due(self, rows: Rows) -> int:
        """The first day that is not closed."""
        closed = rows.execute("SELECT max(day) FROM day_map").fetchone()[0]
        if closed is not None:
            return int(closed) + 1
        row = rows.execute("SELECT time FROM leaf ORDER BY number LIMIT 1").fetchone()
        return int(row[0]) // (1000 * DAY_SECONDS) if row is not None else self.today(rows)

    def today(self, rows: Rows) -> int:
        """The day under way; time never goes below that of the last entry."""
        row = rows.execute("SELECT time FROM leaf ORDER BY number DESC LIMIT 1").fetchone()
        return int(max(self._core.clock(), 0 if row is None else row[0] / 1000)) // DAY_SECONDS

    def _next(self, rows: Rows) -> tuple[int, int] | None:
        """The next span to close, first and last day: one that somebody was read in, or all up to such a one."""
        first, today = self.due(rows), self.today(rows)
        if first >= today:
            return None
        sql = "SELECT min(day) FROM leaf_labels WHERE day >= ? AND day < ?"
        day = rows.execute(sql, (first, today)).fetchone()[0]
        if day is None:
            return first, today - 1
        return (first, first) if day == first else (first, int(day) - 1)

    def _close(self, rows: Rows, first: int, day: int) -> None:
        core, before = self._core, _standing_of(rows, day)
        keys = core.journal.day_keys(rows, day)
        made = _Making(core, day, keys)
        if before[0] > before[2]:
            if keys is None:
                raise IntegrityError(f"the key of day {day} is gone, and the day was not closed")
            made.sort(lambda: self._lists(day, keys), self._pairs(rows, day))

        def work(inside: Rows) -> None:
            if _standing_of(inside, day) != before or self.due(inside) != first:
                raise _ChangedError("the day has changed")
            if int(core.journal.now(inside)) // DAY_SECONDS <= day:
                raise _ChangedError("the day is not over")
            sealed = made.finish(inside)
            closed = Closed(first, day, made.labels, before[0] - before[2], before[2], tree_root(made.tops.roots))
            leaf = core.journal.note(inside, core.journal.entry(inside, DAY_ACT, ITSELF, extras=closed.extras()))
            keep_day(inside, closed, leaf, WHOLE, sealed)

        core.run(work)
        core.noted.set()

    # -- making a map again ---------------------------------------------------------------------
    def _unmade(self, rows: Rows) -> list[int]:
        return [row[0] for row in rows.execute("SELECT day FROM day_map WHERE state = ?", (UNMADE,)).fetchall()]

    def _make_again(self, rows: Rows, day: int) -> None:
        """The map of a day whose entry came back from the tail of the log, if its lists are all here."""
        root = rows.execute("SELECT root FROM day_map WHERE day = ?", (day,)).fetchone()[0]
        keys = self._core.journal.day_keys(rows, day)
        made = _Making(self._core, day, keys)
        if keys is not None:
            made.sort(lambda: self._lists(day, keys), self._pairs(rows, day))
        whole = tree_root(made.tops.roots) == root

        def work(inside: Rows) -> None:
            sealed = made.finish(inside) if whole else b""
            if not whole:
                inside.execute("DELETE FROM day_part WHERE day = ?", (day,))
            sql = "UPDATE day_map SET state = ?, sealed = ? WHERE day = ?"
            inside.execute(sql, (WHOLE if whole else LOST, sealed, day))

        self._core.run(work)

    # -- what a day holds -----------------------------------------------------------------------
    def _pairs(self, rows: Rows, day: int) -> int:
        sql = "SELECT sum(length(sealed)), count(*) FROM leaf_labels WHERE day = ? AND length(sealed) > 0"
        held, count = rows.execute(sql, (day,)).fetchone()
        return 0 if not count else (int(held) - WRAP_BYTES * int(count)) // LABEL_BYTES

    def _lists(self, day: int, keys: DayKeys) -> Iterator[tuple[Sequence[int], Sequence[bytes]]]:
        """Lists of a day that are not lost, in order of their entries: some at a time, about LISTS_BYTES of them."""
        rows, after = self._core.state.read(), -1
        count = rows.execute("SELECT count(*) FROM leaf_labels WHERE day = ?", (day,)).fetchone()[0]
        mean = LABEL_BYTES * self._pairs(rows, day) // max(1, count) + 1
        most = max(1, min(LISTS_AT_ONCE, LISTS_BYTES // mean))
        sql = "SELECT leaf, sealed FROM leaf_labels WHERE day = ? AND leaf > ? ORDER BY leaf LIMIT ?"
        while found := rows.execute(sql, (day, after, most)).fetchall():
            after = found[-1][0]
            some = [row for row in found if row[1]]
            if some:
                yield [row[0] for row in some], [unwrap(keys.month, row[1], labels_bound(row[0], day)) for row in some]

    def rebuilt(self, day: int, check: Any) -> bytes | None:
        """The root that the lists of a day make, from nothing but them; None where its keys are gone.

        Args:
            day: Days since 1970.
            check: Called with numbers of entries and their lists, some thousands at a time.
        """
        rows = self._core.state.read()
        keys = self._core.journal.day_keys(rows, day)
        if keys is None:
            return None

        def lists() -> Iterable[tuple[Sequence[int], Sequence[bytes]]]:
            for numbers, datas in self._lists(day, keys):
                check(numbers, datas)
                yield numbers, datas

        return map_root(lists, self._pairs(rows, day), lambda labels: salts(keys.day, labels))[0]

    # -- reading maps ---------------------------------------------------------------------------
    def tops(self, rows: Rows, day: int, keys: DayKeys) -> tuple[Tops, Tree]:
        """Where the parts of a day's map begin, their roots, and the tree over these.

        Raises:
            IntegrityError: They are not those that the log was given.
        """
        root, sealed = rows.execute("SELECT root, sealed FROM day_map WHERE day = ?", (day,)).fetchone()
        found = Tops.of(unwrap(keys.month, sealed, _top_bound(day)))
        tree = found.tree()
        if tree.root != root:
            raise IntegrityError(f"the map of day {day} is not the one whose root is in the log")
        return found, tree

    def part(self, rows: Rows, day: int, number: int, keys: DayKeys) -> Part:
        """One part of a day's map."""
        row = rows.execute("SELECT sealed FROM day_part WHERE day = ? AND part = ?", (day, number)).fetchone()
        if row is None:
            raise IntegrityError(f"a part of the map of day {day} is missing")
        return _unpack(unwrap(keys.month, row[0], _part_bound(day, number)))


class _Making:
    """A map being made: parts that are not kept yet, and the tops of all."""

    def __init__(self, core: Core, day: int, keys: DayKeys | None) -> None:
        self._core = core
        self._day = day
        self._keys = keys
        self._kept = 0
        self._waiting: list[bytes] = []
        self.tops = Tops([], [])
        self.labels = 0

    def sort(self, lists: Any, pairs: int) -> None:
        """Sort the lists, and keep all parts but the last few."""
        if self._keys is None:
            raise IntegrityError(f"the key of day {self._day} is gone")
        for part in sorted_parts(lists, pairs):
            self.tops.firsts.append(part.labels[0].tobytes())
            self.tops.roots.append(part_root(part.leaf_data(salts(self._keys.day, part.labels))))
            self.labels += len(part.labels)
            bound = _part_bound(self._day, self._kept + len(self._waiting))
            self._waiting.append(wrap(self._keys.month, _pack(part), bound))
            if len(self._waiting) >= PARTS_AT_ONCE:
                self._core.run(self._keep)

    def _keep(self, rows: Rows) -> None:
        if not self._kept:  # what a crash left
            rows.execute("DELETE FROM day_part WHERE day = ?", (self._day,))
        numbered = [(self._day, self._kept + at, sealed) for at, sealed in enumerate(self._waiting)]
        rows.executemany(_INSERT, numbered)
        self._kept += len(numbered)
        self._waiting = []

    def finish(self, rows: Rows) -> bytes:
        """Keep what is left, in the transaction that closes the day; returns the sealed tops."""
        if self._keys is None or not self.labels:
            return b""
        self._keep(rows)
        return wrap(self._keys.month, self.tops.pack(), _top_bound(self._day))


def keep_day(rows: Rows, closed: Closed, leaf: int, state: str, sealed: bytes) -> None:
    """Keep the row of a closed span."""
    sql = "INSERT INTO day_map VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (day) DO NOTHING"
    rows.execute(sql, (closed.day, closed.first, leaf, closed.labels, closed.root, state, sealed))


def take_over(rows: Rows, entries: Iterable[tuple[int, bytes]]) -> None:
    """Keep what entries that came back from the tail of the log say of days, within a transaction.

    The lists of those that touched persons are lost; a day that they closed is made again, if its own lists are here.
    """
    for leaf, data in entries:
        if b'"labels":"' in data:
            entry = parse_entry(data)
            if entry.labels is not None and entry.labels != EMPTY_ROOT:
                sql = "INSERT INTO leaf_labels VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING"
                rows.execute(sql, (leaf, day_of(entry), b"", b""))
        elif b'"act":"day"' in data:
            entry = parse_entry(data)
            if entry.act == DAY_ACT:
                closed = closed_of(entry)
                keep_day(rows, closed, leaf, UNMADE if closed.labels else WHOLE, b"")


def salts(day_key: bytes, labels: U8) -> U8:
    """The salt of each label's list of entries, u8[n,16]: AES-256-CMAC, under the day's key, of label | a mark.

    A label is the CMAC of a token alone, 16 bytes: no message of the one kind is one of the other.
    """
    mark = np.frombuffer(_SALT, np.uint8)
    return cmac_column(day_key, np.hstack((labels, np.broadcast_to(mark, labels.shape))))


def salt_of(day_key: bytes, label: bytes) -> bytes:
    """The salt of one label's list."""
    return cmac_one(day_key, label + _SALT)


def _standing_of(rows: Rows, day: int) -> tuple[int, int, int]:
    """Number of lists of a day, the last entry with one, and how many are lost: another triple after any change."""
    sql = (
        "SELECT count(*), coalesce(max(leaf), -1), coalesce(sum(CASE WHEN length(sealed) = 0 THEN 1 ELSE 0 END), 0)"
        " FROM leaf_labels WHERE day = ?"
    )
    count, last, lost = rows.execute(sql, (day,)).fetchone()
    return int(count), int(last), int(lost)


def _pack(part: Part) -> bytes:
    """Labels u32 | entries u32 | labels | starts u32 | entries u64."""
    head = np.array([len(part.labels), len(part.leaves)], "<u4").tobytes()
    return head + part.labels.tobytes() + part.starts.astype("<u4").tobytes() + part.leaves.astype("<u8").tobytes()


def _unpack(data: bytes) -> Part:
    count, entries = (int(n) for n in np.frombuffer(data, "<u4", 2))
    labels = np.frombuffer(data, np.uint8, 16 * count, 8).reshape(-1, LABEL_BYTES)
    starts = np.frombuffer(data, "<u4", count + 1, 8 + 16 * count)
    leaves = np.frombuffer(data, "<u8", entries, 8 + 16 * count + 4 * (count + 1))
    return Part(labels, starts.astype(np.int64), leaves.astype(np.int64))


def _top_bound(day: int) -> bytes:
    return b"strongroom day map" + day.to_bytes(8, "little")


def _part_bound(day: int, part: int) -> bytes:
    return b"strongroom day part" + day.to_bytes(8, "little") + part.to_bytes(4, "little")
