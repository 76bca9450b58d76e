"""Sealed fields of a run as columns for the engine: released, opened, cut and bounded, a batch of rows at a time.

Rules kept here:

1. Keys are asked for rows that count, a bounded number at a time; a person who was erased meanwhile is left out.
2. Of an opened cell only the declared fields are unpacked; what leaves is a dimension's value, the name of an interval,
   or a number brought into its range. Cells and keys are dropped before the next batch.
3. A cell that does not open stops the question: IntegrityError, which names table and class.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from strongroom.errors import IntegrityError
from strongroom.index.scan import scan
from strongroom.keymaster.api import Ask
from strongroom.purpose.sealed import intervals
from strongroom.read.cellcolumns import CellColumns, batches_of
from strongroom.read.sqlplan import AMOUNT, INTERVAL, ColumnView, Plan
from strongroom.seal.columns import Columns, join_columns, shapes_of, token_words
from strongroom.seal.entropy import random_bytes

if TYPE_CHECKING:

    from strongroom.index.runreader import RunReader
    from strongroom.keymaster.api import Bytes2D, Keymaster
    from strongroom.schema.model import Table

GROUP_BYTES = 8 << 20
_DAY_0 = date(1970, 1, 1).toordinal()
_DAY_MICROSECONDS = 86_400 * 10**6

Bool = npt.NDArray[np.bool_]
I64 = npt.NDArray[np.int64]


@dataclass
class _Rows:
    """Entries of one run, read forward."""

    groups: Iterator[Columns]
    held: Columns | None = None

    def take(self, count: int) -> Columns:
        """The next entries."""
        parts = [] if self.held is None else [self.held]
        have = sum(len(part.tokens) for part in parts)
        while have < count:
            more = next(self.groups, None)
            if more is None:
                raise IntegrityError("an open-columns file has more rows than its run has entries")
            parts.append(more)
            have += len(more.tokens)
        all_of = join_columns(parts)
        end = int(all_of.offsets[count])
        self.held = Columns(all_of.tokens[count:].copy(), all_of.payload[end:].copy(), all_of.offsets[count:] - end)
        return Columns(all_of.tokens[:count], all_of.payload[:end], all_of.offsets[: count + 1])


class SealedColumns:
    """The sealed columns that a plan reads of one records run, in the run's order.

    Args:
        keymaster: Releases keys.
        reading_id: Under which reading.
        table: The table version in force.
        plan: The question.
        reader: The run.
    """

    def __init__(self, keymaster: Keymaster, reading_id: bytes, table: Table, plan: Plan, reader: RunReader) -> None:
        self._keymaster = keymaster
        self._reading_id = reading_id
        self._table = table
        self._plan = plan
        self._reader = reader
        self._rows = _Rows(group.columns() for group in scan([reader], group_bytes=GROUP_BYTES))
        self._cells = CellColumns(keymaster, table, [c.name for c in plan.sealed])

    @property
    def entries(self) -> int:
        """How many rows the run has."""
        return self._reader.entry.entries

    def beside(self, rows: int, live: Bool | None) -> tuple[dict[str, Any], Bool]:
        """The columns of the next rows, by the engine's names.

        Args:
            rows: How many.
            live: Which of them count; None for all.

        Returns:
            The columns of those that count, and which of the rows these are, bool[rows].
        """
        entries = self._rows.take(rows)
        kept = np.ones(rows, np.bool_) if live is None else live.copy()
        places = np.flatnonzero(kept)
        shapes = shapes_of(entries.payload, entries.offsets)[places]
        keys, here = self._released(entries.tokens[places], shapes)
        kept[places[~here]] = False
        places, shapes = places[here], shapes[here]
        opened = {klass: found[here] for klass, found in keys.items()}
        plain = self._cells.opened(self._reader, entries, places, shapes, opened)
        columns: dict[str, Any] = {
            f"c{i}": part_of(column, plain[column.name]) for i, column in enumerate(self._plan.columns) if column.part
        }
        if self._plan.by_person:
            import pyarrow as pa

            columns["_who"] = pa.array(token_words(entries.tokens[places])[:, 0])
        return columns, kept

    def _released(self, tokens: Bytes2D, shapes: npt.NDArray[np.uint32]) -> tuple[dict[str, Bytes2D], Bool]:
        """Keys by class, and whose are there."""
        here = np.ones(len(tokens), np.bool_)
        if not len(tokens):
            return {}, here
        batches = batches_of(self._reader, shapes)
        ask = Ask(random_bytes(16), "sql", self._table.name, self._plan.fields, tokens, batches)
        released = self._keymaster.release(self._reading_id, ask)
        here[list(released.missing)] = False
        return dict(released.keys), here


def part_of(column: ColumnView, plain: Any) -> Any:
    """What the engine sees of a column of opened values: whole, as the interval, or brought into its range."""
    import pyarrow as pa

    use = column.sealed
    assert use is not None
    if column.part not in {INTERVAL, AMOUNT}:
        return plain.cast(pa.string()).dictionary_encode() if column.type == "string" else plain
    numbers = plain
    if column.type == "date":
        numbers = plain.cast(pa.int32()).cast(pa.int64())
    elif column.type == "timestamp":
        numbers = plain.cast(pa.timestamp("us", plain.type.tz)).cast(pa.int64())
    missing = np.asarray(numbers.is_null())
    values = numbers.fill_null(0).to_numpy(zero_copy_only=False)
    if values.dtype == np.float64:
        missing = missing | np.isnan(values)
    if column.part == AMOUNT:
        assert use.bounds is not None
        return pa.array(np.clip(values, *use.bounds).astype(values.dtype), mask=missing)
    codes = np.searchsorted(_points(column), values, side="right").astype(np.int32)
    return pa.DictionaryArray.from_arrays(pa.array(codes, mask=missing), pa.array(intervals(use.cuts)))


def _points(column: ColumnView) -> npt.NDArray[Any]:
    """A column's cut points as numbers of its values' kind."""
    assert column.sealed is not None
    given = column.sealed.cuts
    if column.type in {"int", "float"}:
        return np.array(given, np.float64 if column.type == "float" else np.int64)
    days = np.array([date.fromisoformat(str(point)).toordinal() - _DAY_0 for point in given], np.int64)
    return days if column.type == "date" else days * _DAY_MICROSECONDS
