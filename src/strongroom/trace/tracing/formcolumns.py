"""Columns whose values may be tokens that keep a form: recognised by what the room does not have, tried, and followed.

Rules it keeps:

1. Such tokens look like values (a phone number, a resident id, digits), so a column is looked up like any first. It is
   tried once, where at most `FOUND_MAX` of its distinct values are the room's: `TOKENS_TRIED` of the others.
2. Of a column that names an export, values that the room does not have are taken for its tokens. A number that is
   none comes back as some number too, so that who is behind them counts as found by one identifier, never as sure.
3. Which values are the room's is looked at block by block; what is held of a column goes once it names nobody.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from strongroom.errors import BudgetError
from strongroom.keymaster.exports.tokenorigin import TOKENS_MAX as TOKENS_TRIED
from strongroom.keymaster.tracing.api import FORM_TRIES_MAX
from strongroom.schema.model import Schema
from strongroom.schema.tokenform import form_of
from strongroom.seal.columns import I64
from strongroom.trace.tracing.window import COLUMNS_MAX

if TYPE_CHECKING:
    import pyarrow as pa

    from strongroom.keymaster.tracing.api import Origin, Traces
    from strongroom.trace.leak.sample import Candidate, LeakBatch
    from strongroom.trace.tracing.matching import Looked, Matcher
    from strongroom.trace.tracing.window import Window

FOUND_MAX = 0.25
"""Share of a column's distinct values that the room may have, where it is taken for tokens."""


@dataclass
class _Column:
    """One column of one source as one field: its values in this window, and the exports that they named."""

    place: int
    tried: bool = False
    named: dict[str, Origin] = field(default_factory=dict)
    taken: int = 0
    rows: list[I64] = field(default_factory=list, repr=False)
    values: list[pa.Array] = field(default_factory=list, repr=False)


class FormColumns:
    """Looks for tokens of a form in the windows of a sample.

    Args:
        traces: The keymaster's tracing.
        reading_id: The reading.
        schema: The schema in force.
        matcher: Reads indexes.
    """

    def __init__(self, traces: Traces, reading_id: bytes, schema: Schema, matcher: Matcher) -> None:
        self._traces = traces
        self._reading = reading_id
        self._matcher = matcher
        self._columns: dict[tuple[str, str], dict[tuple[int, str, int], _Column]] = {
            (table.name, one.name): {}
            for table in schema.tables.values()
            for one in table.fields
            if one.type == "string" and form_of(one.normalise) is not None
        }
        self._tries = 0
        self.untried = ""
        """Why some columns were not tried; empty where all were that could be."""

    def take(self, batch: LeakBatch, base: int, candidate: Candidate) -> None:
        """See the values of a column that are about to be looked up; `base` tells the file."""
        columns = self._columns.get((candidate.table, candidate.field))
        if columns is None or candidate.column is None or candidate.column >= COLUMNS_MAX:
            return
        key = (base, batch.group, candidate.column)
        column = columns.setdefault(key, _Column(candidate.column))
        if not column.tried or column.named:
            column.rows.append(base + candidate.numbers)
            column.values.append(candidate.values)

    def follow(self, looked: Looked, window: Window) -> None:
        """Try columns once their values were looked up, and put tokens of named exports into the window."""
        import pyarrow as pa
        import pyarrow.compute as pc

        for column in self._columns.get((looked.table, looked.name), {}).values():
            if not column.rows:
                continue
            rows, values = np.concatenate(column.rows), pa.chunked_array(column.values).combine_chunks()
            column.rows, column.values = [], []
            ours = looked.values.filter(pa.array(looked.found))
            foreign = np.asarray(pc.invert(pc.is_in(values, value_set=ours)))
            left = values.filter(pa.array(foreign))
            if not column.tried:
                self._try(column, looked, left, len(values.unique()))
            column.taken += len(left)
            for ident in column.named:
                window.add_tokens(rows[foreign], column.place, looked.table, looked.name, ident, left, certain=False)

    def _try(self, column: _Column, looked: Looked, left: pa.Array, distinct: int) -> None:
        """Have a column's values tried; it counts as tried once look-ups were spent, or it is another's column."""
        some = left.unique()
        if len(some) < (1.0 - FOUND_MAX) * distinct:
            column.tried = True
            return
        if self._tries >= FORM_TRIES_MAX:
            column.tried = True
            self.untried = f"{FORM_TRIES_MAX} columns are tried at most"
            return
        held, snapshot = self._matcher.held(looked.table, looked.name), self._matcher.snapshot
        try:
            tried = self._traces.try_formed(
                self._reading, looked.table, looked.name, some.slice(0, 4 * TOKENS_TRIED),
                held=held, snapshot=snapshot,
            )  # fmt: skip
        except BudgetError as error:
            column.tried = True
            self.untried = f"look-ups were refused: {error}"
            return
        self._tries += bool(tried.lookups)
        self._matcher.costs.lookups += tried.lookups
        column.tried = bool(tried.lookups) or len(some) >= TOKENS_TRIED
        if tried.lookups:
            named = self._traces.name_formed(self._reading, *self._matcher.entries(looked, tried.asked))
            column.named = {one.export.id: one for one in named}

    def named(self) -> list[tuple[Origin, str, str, int]]:
        """Each export that tokens named, once: with the field, and the rows of the columns that named it."""
        found: dict[str, tuple[Origin, str, str, int]] = {}
        for (table, name), columns in self._columns.items():
            for column in columns.values():
                for ident, origin in column.named.items():
                    before = found.get(ident)
                    if before is None or origin.log_e > before[0].log_e:
                        found[ident] = (origin, table, name, column.taken)
        return list(found.values())
