"""Leaves out records whose retention by a date field has ended: the field is open, so that it shows without a key.

Rules it keeps:

1. A record whose field is null does not expire by it.
2. Retention by put time is the keymaster's to apply: it knows when a batch was minted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from strongroom.schema.model import OPEN
from strongroom.schema.packing import unpack_cell, upgrade

if TYPE_CHECKING:
    from strongroom.index.records import RecordEntry
    from strongroom.schema.model import Table

DAY_SECONDS = 24 * 3600.0


def cutoff(table: Table, now: float) -> tuple[str, date, datetime] | None:
    """The field that a table's records expire by, and the day and time before which they have; None without such.

    Args:
        table: The table in force.
        now: Seconds since 1970.
    """
    rule = table.retention
    if rule is None or rule.by is None:
        return None
    moment = datetime.fromtimestamp(now - rule.days * DAY_SECONDS, UTC)
    return rule.by, moment.date(), moment.replace(tzinfo=None)


def unexpired(
    table: Table, entries: Sequence[RecordEntry], now: float, sealed_under: Callable[[int], Table]
) -> list[RecordEntry]:
    """Those records that have not expired by their field.

    Args:
        table: The table in force.
        entries: Records of it.
        now: Seconds since 1970.
        sealed_under: Gives the table at a version.
    """
    limit = cutoff(table, now)
    if limit is None:
        return list(entries)
    return [entry for entry in entries if not _past(table, entry, limit, sealed_under)]


def _past(
    table: Table,
    entry: RecordEntry,
    limit: tuple[str, date, datetime],
    sealed_under: Callable[[int], Table],
) -> bool:
    name, day, moment = limit
    if not entry.cells[0]:
        return False
    older = sealed_under(entry.version)
    value: Any = upgrade(unpack_cell(older, OPEN, entry.cells[0]), older, table).get(name)
    if value is None:
        return False
    if isinstance(value, datetime):
        return value.replace(tzinfo=None) < moment
    return bool(value < day)


def unexpired_column(given: Any, expires: tuple[str, date, datetime]) -> npt.NDArray[np.bool_]:
    """Which rows have not expired, by a column of their field and what `cutoff` gives; one without a date has not."""
    import pyarrow as pa
    import pyarrow.compute as pc

    limit = pa.scalar(expires[1] if pa.types.is_date(given.type) else expires[2], given.type)
    kept: npt.NDArray[np.bool_] = pc.fill_null(pc.greater_equal(given, limit), True).to_numpy(zero_copy_only=False)
    return kept
