"""Check the maps of the days against the log: no day left out, and every map is what its entries make it.

This is the auditor's work: it takes entries, the lists of labels that they commit to, and the salts of the maps. It
learns no name.
"""

from __future__ import annotations

import hmac
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from strongroom.audit.daymap import DAY_ACT, DAY_MS, Closed, check_spans, closed_of, day_of
from strongroom.audit.entry import LABEL_BYTES, Entry, labels_root, logged, parse_entry
from strongroom.audit.tlog import EMPTY_ROOT
from strongroom.errors import IntegrityError
from strongroom.keymaster.core import Core
from strongroom.keymaster.log.days import Days
from strongroom.keys.rows import Rows

ENTRIES_AT_ONCE = 10_000
_LABELLED, _CLOSING = b'"labels":"', b'"act":"day"'


def check_chain(core: Core) -> dict[int, Closed]:
    """Check that every day that is over was closed once, in order; returns what was closed, by its last day.

    Raises:
        IntegrityError: A day is missing, was closed twice, or before it was over.
    """
    rows = core.state.read()
    ends = "SELECT time FROM leaf ORDER BY number {} LIMIT 1"
    first = rows.execute(ends.format("ASC")).fetchone()
    if first is None:
        return {}
    spans = [closed_of(entry) for _leaf, entry in _entries(rows, _CLOSING) if entry.act == DAY_ACT]
    due = check_spans(spans, first[0] // DAY_MS)
    last = rows.execute(ends.format("DESC")).fetchone()[0] // DAY_MS
    if due < last:
        raise IntegrityError(f"day {due} was never closed", hint="what stands in the way is told by `strongroom check`")
    return {span.day: span for span in spans}


def check_maps(core: Core, days: Days) -> dict[str, int]:
    """Make the map of every closed day again from the lists of its entries, and compare roots.

    Returns:
        How many days were closed, how many labels their maps have, how many lists are lost, and of how many days the
        map is.

    Raises:
        IntegrityError: A list is not the one that its entry commits to, an entry has none, or a map is another than
            its entries make.
    """
    closed, rows = check_chain(core), core.state.read()
    _check_lists(rows)
    lost = _lost(rows)
    unknown = [day for day, span in closed.items() if lost[day] > span.lost]
    for day, span in closed.items():
        if day not in unknown and span.labels:
            _check_day(days, day, span, _reader(rows))
    labels = sum(span.labels for span in closed.values())
    return {"days": len(closed), "labels": labels, "lost": sum(lost.values()), "lost_days": len(unknown)}


def _check_lists(rows: Rows) -> None:
    """Check that the entries that touched persons, and no others, have a list in the day that they say."""
    sql, after = "SELECT day FROM leaf_labels WHERE leaf = ?", -1
    count = 0
    for leaf, entry in _entries(rows, _LABELLED):
        if entry.labels is None or entry.labels == EMPTY_ROOT:
            continue
        row = rows.execute(sql, (leaf,)).fetchone()
        if row is None or row[0] != day_of(entry):
            raise IntegrityError(f"entry {leaf} touched persons, and their labels are in no list of its day")
        count, after = count + 1, leaf
    kept = rows.execute("SELECT count(*) FROM leaf_labels WHERE leaf <= ?", (after,)).fetchone()[0]
    if kept != count:
        raise IntegrityError(f"{kept - count} lists of labels belong to no entry that touched persons")


def _check_day(days: Days, day: int, span: Closed, entry_of: Callable[[int], Entry]) -> None:
    def check(numbers: Sequence[int], datas: Sequence[bytes]) -> None:
        for number, data in zip(numbers, datas, strict=True):
            root = labels_root(np.frombuffer(data, np.uint8).reshape(-1, LABEL_BYTES))
            if not hmac.compare_digest(root, entry_of(number).labels or b""):
                raise IntegrityError(f"the labels kept of entry {number} are not those that it commits to")

    root = days.rebuilt(day, check)
    if root is None or not hmac.compare_digest(root, span.root):
        raise IntegrityError(f"the map of day {day} is not the one that its entries make")


def _reader(rows: Rows) -> Callable[[int], Entry]:
    """Reads first lines: second ones were compared with them before."""

    def read(number: int) -> Entry:
        return parse_entry(logged(rows.execute("SELECT entry FROM leaf WHERE number = ?", (number,)).fetchone()[0]))

    return read


def _entries(rows: Rows, mark: bytes) -> Iterator[tuple[int, Entry]]:
    """Entries with some bytes in them, in order."""
    after = -1
    sql = "SELECT number, entry FROM leaf WHERE number > ? AND instr(entry, ?) > 0 ORDER BY number LIMIT ?"
    while found := rows.execute(sql, (after, mark, ENTRIES_AT_ONCE)).fetchall():
        after = found[-1][0]
        for number, data in found:
            yield number, parse_entry(data)


def _lost(rows: Rows) -> Counter[int]:
    sql = "SELECT day, count(*) FROM leaf_labels WHERE length(sealed) = 0 GROUP BY day"
    return Counter(dict(rows.execute(sql).fetchall()))
