"""Tokens of exports in a sample: which columns hold them, and the exports that they name.

Rules it keeps:

1. A text token tells that it is one by its form; columns are looked at block by block, whatever they are called.
2. A column's tokens are tried as the fields that its header may mean, else as one field of each domain; the first
   `TOKENS_TRIED` distinct ones are enough.
3. Tokens that keep the form of a value (a phone number, a resident id) look like values and are not told here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from strongroom.keymaster.exports.tokenorigin import TOKENS_MAX as TOKENS_TRIED
from strongroom.schema.model import Schema
from strongroom.schema.tokenform import token_field
from strongroom.seal.columns import I64

if TYPE_CHECKING:
    import pyarrow as pa

    from strongroom.keymaster.tracing.api import Origin, Traces
    from strongroom.trace.leak.sample import LeakBatch
    from strongroom.trace.tracing.window import Window

LOOKED_AT = 1_000
_MADE_TEXT = r"^\s*[tT]1(?:[0-9a-fA-F]{32}){2,}\s*$"


@dataclass
class _Column:
    """One column of one source, and the exports that its tokens named, each as the field that fits."""

    tried: int = 0
    named: dict[str, tuple[Origin, str, str]] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)


class TokenColumns:
    """Looks for tokens in the batches of a sample.

    Args:
        traces: The keymaster's tracing.
        reading_id: The reading.
        schema: The schema in force.
        shown: (table, field) that the purpose shows.
    """

    def __init__(self, traces: Traces, reading_id: bytes, schema: Schema, shown: set[tuple[str, str]]) -> None:
        self._traces = traces
        self._reading = reading_id
        self._columns: dict[tuple[str, str, int], _Column] = {}
        self._fields: dict[tuple[str, str], str] = {}
        for table in schema.tables.values():
            for one in table.fields:
                looked_for = one.find or one.name == table.subject
                if one.token and looked_for and (table.name, one.name) in shown:
                    self._fields[table.name, one.name] = token_field(table, one.name).domain

    def take(self, batch: LeakBatch, base: int, window: Window) -> set[int]:
        """Put tokens of named exports into the window; returns the columns that hold tokens, whoever made them."""
        import pyarrow.compute as pc

        if batch.columns is None or not self._fields:
            return set()
        coded = set()
        for place in range(batch.columns.num_columns):
            text = batch.columns.column(place)
            if not pc.any(pc.match_substring_regex(_some(text), _MADE_TEXT)).as_py():
                continue
            is_token = pc.fill_null(pc.match_substring_regex(text, _MADE_TEXT), False)
            coded.add(place)
            rows = base + batch.numbers[np.asarray(is_token)]
            tokens = pc.utf8_trim_whitespace(text.filter(is_token))
            self._named(batch, place, rows, tokens, window)
        return coded

    def _named(self, batch: LeakBatch, place: int, rows: I64, tokens: Any, window: Window) -> None:
        column = self._columns.setdefault((batch.source, batch.group, place), _Column())
        if column.tried < TOKENS_TRIED:
            some = tokens.unique().slice(0, TOKENS_TRIED)
            column.tried += len(some)
            for table, name in self._asked(batch, place):
                for origin in self._traces.name_tokens(self._reading, table, name, some):
                    column.named.setdefault(origin.export.id, (origin, table, name))
        for ident, (_, table, name) in column.named.items():
            column.rows[ident] = column.rows.get(ident, 0) + len(tokens)
            window.add_tokens(rows, place, table, name, ident, tokens)

    def _asked(self, batch: LeakBatch, place: int) -> Iterator[tuple[str, str]]:
        """Fields whose tokens a column may hold, one of each domain: those its header means first."""
        said = [key for c in batch.candidates if c.column == place and (key := (c.table, c.field)) in self._fields]
        seen: set[str] = set()
        for key in (*said, *self._fields):
            if self._fields[key] not in seen:
                seen.add(self._fields[key])
                yield key

    def named(self) -> list[tuple[Origin, str, str, int]]:
        """Each export that tokens named, once: with the field, and the rows of columns whose tokens named it."""
        found: dict[str, tuple[Origin, str, str, int]] = {}
        for column in self._columns.values():
            for ident, (origin, table, name) in column.named.items():
                before = found.get(ident)
                if before is None or origin.log_e > before[0].log_e:
                    found[ident] = (origin, table, name, column.rows[ident])
        return list(found.values())


def _some(text: pa.Array) -> pa.Array:
    """A sample of a column's values."""
    import pyarrow as pa

    given = text.drop_null()
    if len(given) <= LOOKED_AT:
        return given
    return given.take(pa.array(np.linspace(0, len(given) - 1, LOOKED_AT).astype(np.int64)))
