"""Entries of the log by actor and time: the database compares bytes, and only what fits is parsed."""

from __future__ import annotations

import json

from strongroom.audit.entry import parse_entry
from strongroom.keys.rows import Rows


def search_log(
    rows: Rows,
    start: int,
    stop: int | None,
    of: str | None,
    since: float | None,
    until: float | None,
    most: int,
) -> list[dict[str, object]]:
    """See `Keymaster.log_entries`; `most` of them."""
    size = (rows.execute("SELECT max(number) FROM leaf").fetchone()[0] or 0) + 1
    first = max(start, 0 if since is None else _first_at(rows, since, size))
    last = min(size if stop is None else stop, size if until is None else _first_at(rows, until, size))
    if of is None:
        sql = "SELECT number, entry FROM leaf WHERE number >= ? AND number < ? ORDER BY number LIMIT ?"
        found = rows.execute(sql, (first, last, most)).fetchall()
    else:
        # canonical JSON writes an actor in one way only; the same bytes elsewhere are left out below
        wanted = b'"actor":' + json.dumps(of, ensure_ascii=False).encode()
        sql = (
            "SELECT number, entry FROM leaf WHERE number >= ? AND number < ? AND instr(entry, ?) > 0"
            " ORDER BY number LIMIT ?"
        )
        found = rows.execute(sql, (first, last, wanted, most)).fetchall()
    read = ((number, parse_entry(entry)) for number, entry in found)
    return [{"leaf": number, **entry.to_dict()} for number, entry in read if of is None or entry.actor == of]


def _first_at(rows: Rows, seconds: float, size: int) -> int:
    """The first entry of a time or later: times never go back, so that a few looks find it."""
    low, high = 0, size
    while low < high:
        middle = (low + high) // 2
        (at,) = rows.execute("SELECT time FROM leaf WHERE number = ?", (middle,)).fetchone()
        low, high = (middle + 1, high) if at < seconds * 1000 else (low, middle)
    return low
