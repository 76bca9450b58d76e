"""Entries of the log by actor, credential and time: only those that fit are read, some at a time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import reduce
from itertools import islice
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from strongroom.audit.entry import as_one, parse_entry
from strongroom.keymaster.canaries.alarm import without_alarms
from strongroom.keymaster.log.api import Touched, Which
from strongroom.keymaster.log.index import ACTOR, CHUNK_LEAVES, CREDENTIAL, indexed, read_names
from strongroom.keys.rows import Rows, counter

AT_ONCE = 500
DENSE = 8_192
"""From so many entries of a chunk on the chunk is read through."""

Leaf = tuple[int, bytes]


class Line(msgspec.Struct):
    """What an answer needs of an entry."""

    actor: str
    act: str
    decision: str
    time: int
    credential: str = ""
    purpose: str = ""
    table: str = ""
    fields: tuple[str, ...] = ()
    count: int = 0
    labels: str = ""


read_line = msgspec.json.Decoder(Line).decode


def entries(
    rows: Rows, which: Which, start: int, stop: int | None, most: int, *, whole: bool
) -> list[dict[str, object]]:
    """See `Keymaster.log_entries`; `most` of them, whole or as their own actor sees them."""
    first, last = span(rows, which)
    found = leaves(rows, which, max(first, start), last if stop is None else min(last, stop), most=most)
    shown = [_shown(leaf) for leaf in islice(found, most)]
    return shown if whole else without_alarms(shown)


def newest(rows: Rows, which: Which, most: int, *, whole: bool) -> list[dict[str, Any]]:
    """See `Logs.newest`; whole or as their own actor sees them."""
    found = leaves(rows, which, *span(rows, which), most=most, backwards=True)
    shown = [_shown(leaf) for leaf in islice(found, most)][::-1]
    return shown if whole else without_alarms(shown)


def touched(rows: Rows, which: Which) -> list[Touched]:
    """See `Logs.touched`: in the order of their first entries."""
    found = Groups()
    for number, entry in leaves(rows, which, *span(rows, which)):
        line = read_line(as_one(entry))
        if line.decision == "allowed" and (line.table or line.labels):
            found.add(number, line)
    return found.all()


class Groups:
    """Adds entries up by what they ask."""

    def __init__(self) -> None:
        self._found: dict[tuple[Any, ...], tuple[int, list[int]]] = {}

    def add(self, number: int, line: Line) -> int:
        """Count one; returns the position of its group."""
        key = (line.actor, line.credential, line.purpose, line.act, line.table, line.fields)
        fresh = (len(self._found), [0, 0, number, number, line.time, line.time])
        at, sums = self._found.setdefault(key, fresh)
        sums[0] += 1
        sums[1] += line.count
        sums[3], sums[5] = number, line.time
        return at

    def all(self) -> list[Touched]:
        """The groups, in the order of their first entries."""
        return [Touched(*key, *sums) for key, (_, sums) in self._found.items()]


def span(rows: Rows, which: Which) -> tuple[int, int]:
    """The first entry of a time, and the one after the last."""
    size = (rows.execute("SELECT max(number) FROM leaf").fetchone()[0] or 0) + 1
    first = 0 if which.since is None else _first_at(rows, which.since, size)
    return first, size if which.until is None else _first_at(rows, which.until, size)


def leaves(
    rows: Rows, which: Which, first: int, last: int, *, most: int | None = None, backwards: bool = False
) -> Iterator[Leaf]:
    """Entries from `first` up to before `last` with their numbers; those of an actor or a credential alone if named.

    Memory is that of one chunk of entries.

    Args:
        rows: The database.
        which: Whose; its times are `span`'s.
        first: The first number.
        last: The number after the last.
        most: How many are going to be taken, where that is known.
        backwards: The newest first.
    """
    if last <= first:
        return
    names = [(ACTOR, which.of), (CREDENTIAL, which.credential)]
    wanted = [(kind, name) for kind, name in names if name is not None]
    covered = counter(rows, "indexed") // CHUNK_LEAVES
    chunks = range(first // CHUNK_LEAVES, (last - 1) // CHUNK_LEAVES + 1)
    for chunk in reversed(chunks) if backwards else chunks:
        start, stop = max(first, chunk * CHUNK_LEAVES), min(last, (chunk + 1) * CHUNK_LEAVES)
        numbers = None
        if wanted and chunk < covered:
            numbers = reduce(np.intersect1d, [indexed(rows, *name, chunk) for name in wanted])
            numbers = numbers[(numbers >= start) & (numbers < stop)]
        if numbers is not None and len(numbers) < DENSE:
            yield from _named(rows, numbers, backwards=backwards)
        else:
            limit = CHUNK_LEAVES if wanted or most is None else min(most, CHUNK_LEAVES)
            yield from _read_through(rows, wanted, start, stop, limit, backwards=backwards)


def _named(rows: Rows, numbers: npt.NDArray[np.int64], *, backwards: bool) -> Iterator[Leaf]:
    order = numbers[::-1] if backwards else numbers
    for at in range(0, len(order), AT_ONCE):
        some = order[at : at + AT_ONCE].tolist()
        marks = ",".join("?" * len(some))
        sql = f"SELECT number, entry FROM leaf WHERE number IN ({marks}) ORDER BY number"  # noqa: S608 - marks only
        found = rows.execute(sql, some).fetchall()
        yield from found[::-1] if backwards else found


def _read_through(
    rows: Rows, wanted: list[tuple[str, str]], start: int, stop: int, limit: int, *, backwards: bool
) -> Iterator[Leaf]:
    # canonical JSON writes a name in one way only; the same bytes elsewhere are left out below
    marks = [f'"{kind}":{json.dumps(name, ensure_ascii=False)}'.encode() for kind, name in wanted]
    order = "DESC" if backwards else "ASC"
    also = " AND instr(entry, ?) > 0" * len(marks)
    sql = f"SELECT number, entry FROM leaf WHERE number >= ? AND number < ?{also} ORDER BY number {order} LIMIT ?"  # noqa: S608
    for number, entry in rows.execute(sql, (start, stop, *marks, limit)).fetchall():
        if wanted:
            names = read_names(as_one(entry))
            if any(getattr(names, kind) != name for kind, name in wanted):
                continue
        yield number, entry


def _shown(leaf: Leaf) -> dict[str, Any]:
    number, entry = leaf
    return {"leaf": number, **parse_entry(entry).to_dict()}


def _first_at(rows: Rows, seconds: float, size: int) -> int:
    """The first entry of a time or later: times never go back, so that a few looks find it."""
    low, high = 0, size
    while low < high:
        middle = (low + high) // 2
        (at,) = rows.execute("SELECT time FROM leaf WHERE number = ?", (middle,)).fetchone()
        low, high = (middle + 1, high) if at < seconds * 1000 else (low, middle)
    return low
