"""Tombstones: who was erased, up to which batch, and so which entries are dead in every snapshot.

Rules it keeps:

1. An entry of a person is dead when its batch sequence is not above the person's tombstone. One whose person came back
   lies in a batch minted later, and lives.
2. A table with a retention by put time has a horizon besides: every entry not above it is dead, whoever it is of.
3. Both are asked of the database each time: an erasure holds from its commit on, for every process.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from strongroom.keymaster.erasures.api import Buried
from strongroom.keys.pages import halves
from strongroom.keys.rows import Rows, counter, take
from strongroom.keys.writer import distinct
from strongroom.schema.model import Table

BURIED_AT_ONCE = 65_536
_FEW = 4096
_PLACES = 500
DAY_SECONDS = 24 * 3600.0

Bytes2D = npt.NDArray[np.uint8]
U64 = npt.NDArray[np.uint64]


def bury(rows: Rows, tokens: Iterable[bytes], sequence: int, leaf: int, at: float) -> None:
    """Write tombstones within a transaction; one that is there already only rises.

    Args:
        rows: The transaction.
        tokens: Subject tokens, 16 bytes each.
        sequence: Newest batch sequence that is dead for them.
        leaf: Log entry of the erasure.
        at: Seconds since 1970.
    """
    sql = (
        "INSERT INTO tombstone VALUES (?, ?, ?, ?) ON CONFLICT (token) DO UPDATE SET"
        " sequence ="
        " CASE WHEN excluded.sequence > tombstone.sequence THEN excluded.sequence ELSE tombstone.sequence END,"
        " leaf = CASE WHEN excluded.leaf > tombstone.leaf THEN excluded.leaf ELSE tombstone.leaf END,"
        " at = CASE WHEN excluded.at > tombstone.at THEN excluded.at ELSE tombstone.at END"
    )
    rows.executemany(sql, [(token, sequence, leaf, at) for token in tokens])
    take(rows, "removals")  # whoever looked a secret up before looks again


def any_buried(rows: Rows) -> bool:
    """Whether anybody was ever erased: one counter, no look at the table."""
    return counter(rows, "removals") != 0


def buried_at(rows: Rows, tokens: Bytes2D) -> U64:
    """The newest dead batch sequence of each token u8[n,16], u64[n]; 0 for who was not erased."""
    found = np.zeros(len(tokens), np.uint64)
    if not len(tokens) or not any_buried(rows):
        return found
    if len(tokens) > _FEW:
        own, place = distinct(tokens, *halves(tokens))
        return _matched(rows, own)[place]
    names = [token.tobytes() for token in tokens]
    known: dict[bytes, int] = {}
    asked = list(dict.fromkeys(names))
    for start in range(0, len(asked), _PLACES):
        some = asked[start : start + _PLACES]
        marks = ",".join("?" * len(some))
        sql = f"SELECT token, sequence FROM tombstone WHERE token IN ({marks})"  # noqa: S608 - question marks only
        known.update(rows.execute(sql, some).fetchall())
    if known:
        found[:] = [known.get(name, 0) for name in names]
    return found


def _matched(rows: Rows, ordered: Bytes2D) -> U64:
    """What `buried_at` gives, for sorted tokens: the tombstones in their range stream past."""
    found = np.zeros(len(ordered), np.uint64)
    low, high = ordered[0].tobytes(), ordered[-1].tobytes()
    while True:
        some = buried_between(rows, low, high)
        found = np.maximum(found, some.of(ordered))
        if len(some.tokens) < BURIED_AT_ONCE:
            return found
        low = some.tokens[-1].tobytes() + b"\0"


def buried_between(rows: Rows, low: bytes, high: bytes, horizon: int = 0, since: int = -1) -> Buried:
    """Tombstones from token `low` to token `high`, both included, in order: at most BURIED_AT_ONCE of them.

    Args:
        rows: The database.
        low: First token.
        high: Last token.
        horizon: Of the table that is asked about.
        since: Only those of log entries after this one.
    """
    newest = rows.execute("SELECT max(leaf) FROM tombstone").fetchone()[0] if any_buried(rows) else None
    some: list[tuple[bytes, int]] = []
    if newest is not None and newest > since and low <= high:
        recent = "SELECT count(*) FROM (SELECT 1 FROM tombstone WHERE leaf > ? LIMIT ?) AS recent"
        few = rows.execute(recent, (since, BURIED_AT_ONCE)).fetchone()[0] < BURIED_AT_ONCE
        # a few recent ones among many are found by their entry, else the range is walked
        how = "INDEXED BY tombstone_by_leaf" if few else "NOT INDEXED"
        sql = f"SELECT token, sequence FROM tombstone {how} WHERE leaf > ? AND token >= ? AND token <= ?"  # noqa: S608
        some = rows.execute(f"{sql} ORDER BY token LIMIT ?", (since, low, high, BURIED_AT_ONCE)).fetchall()
    tokens = np.frombuffer(b"".join(row[0] for row in some), np.uint8).reshape(-1, 16)
    return Buried(horizon, tokens, np.array([row[1] for row in some], np.uint64), newest or 0)


def horizon(rows: Rows, table: Table, now: float) -> int:
    """The newest batch sequence of a table whose retention by put time has ended; 0 where nothing has."""
    rule = table.retention
    if rule is None or rule.by is not None:
        return 0
    sql = "SELECT max(sequence) FROM batch WHERE table_id = ? AND minted < ?"
    found = rows.execute(sql, (table.id, now - rule.days * DAY_SECONDS)).fetchone()[0]
    return 0 if found is None else int(found)


def buried_of(rows: Rows, table: Table, tokens: Bytes2D, now: float) -> Buried:
    """What is dead of some persons of a table, by tokens u8[n,16] in any order."""
    own, _place = distinct(tokens, *halves(tokens))
    sequences = buried_at(rows, own)
    gone = sequences > 0
    return Buried(horizon(rows, table, now), own[gone], sequences[gone])
