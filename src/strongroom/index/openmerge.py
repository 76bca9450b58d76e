"""Merges the open-columns files of runs in step with the runs themselves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from strongroom.catalog.collector import PERSON_COLUMN, ROW_COLUMN
from strongroom.errors import IntegrityError
from strongroom.seal.columns import I64, U8, token_changes

if TYPE_CHECKING:
    import pyarrow as pa

_BATCH_ROWS = 65_536


class OpenRows:
    """Rows of one open-columns file, read forward.

    Args:
        file: A pyarrow ParquetFile, or None for a run without one (all its rows are null).
        schema: Columns wanted; those the file does not have are null.
    """

    def __init__(self, file: Any, schema: pa.Schema) -> None:
        self._schema = schema
        self._at = 0
        self._held = schema.empty_table()
        here = [] if file is None else [name for name in schema.names if name in file.schema_arrow.names]
        # A file none of whose columns is wanted, or none at all, gives rows of nulls.
        self._batches: Iterator[pa.RecordBatch] | None = (
            file.iter_batches(batch_size=_BATCH_ROWS, columns=here) if here else None
        )

    def take(self, start: int, end: int) -> pa.Table:
        """Rows from `start` to before `end`; starts where the call before ended."""
        import pyarrow as pa

        if start != self._at:
            raise IntegrityError("rows of an open-columns file were asked for out of order")
        if self._batches is None:
            self._at = end
            nulls = [pa.nulls(end - start, field.type) for field in self._schema]
            return pa.Table.from_arrays(nulls, schema=self._schema)
        parts = [self._held]
        count = self._held.num_rows
        while count < end - start:
            batch = next(self._batches, None)
            if batch is None:
                raise IntegrityError("an open-columns file has fewer rows than its run has entries")
            parts.append(self._fitted(batch))
            count += batch.num_rows
        together = pa.concat_tables(parts)
        self._held = together.slice(end - start)
        self._at = end
        return together.slice(0, end - start)

    def _fitted(self, batch: pa.RecordBatch) -> pa.Table:
        import pyarrow as pa

        names = batch.schema.names
        columns = [
            batch.column(names.index(field.name)).cast(field.type)
            if field.name in names
            else pa.nulls(batch.num_rows, field.type)
            for field in self._schema
        ]
        return pa.Table.from_arrays(columns, schema=self._schema)


def open_schema(files: Sequence[Any]) -> pa.Schema:
    """The columns of several files together, without the hidden ones; types widened where versions differ."""
    import pyarrow as pa

    schemas = []
    for file in files:
        here = file.schema_arrow.remove_metadata()
        schemas.append(pa.schema([field for field in here if field.name not in {PERSON_COLUMN, ROW_COLUMN}]))
    return pa.unify_schemas(schemas, promote_options="permissive")


def with_hidden(schema: pa.Schema) -> pa.Schema:
    """The columns with the hidden ones behind them."""
    import pyarrow as pa

    return schema.append(pa.field(PERSON_COLUMN, pa.int32())).append(pa.field(ROW_COLUMN, pa.int32()))


def merged_rows(sources: Sequence[OpenRows], source: I64, position: I64, keep: I64, schema: pa.Schema) -> pa.Table:
    """The rows of one group of merged entries.

    Args:
        sources: The files of the runs, in the order of the runs.
        source: Run of each entry of the group, i64[n].
        position: Its place in the run, i64[n].
        keep: Which entries are kept, as places in the group, i64[k].
        schema: Columns wanted.

    Returns:
        k rows in the order of `keep`.
    """
    import pyarrow as pa

    base = np.zeros(len(sources), np.int64)
    tables = [schema.empty_table()]
    total = 0
    for number, rows in enumerate(sources):
        mine = position[source == number]
        if not len(mine):
            continue
        start, end = int(mine.min()), int(mine.max()) + 1
        tables.append(rows.take(start, end))
        base[number] = total - start
        total += end - start
    places = (base[source] + position)[keep]
    return pa.concat_tables(tables).combine_chunks().take(pa.array(places))


def add_hidden(rows: pa.Table, tokens: U8, person: int, row: int) -> tuple[pa.Table, int]:
    """Append the hidden columns, counting on from the persons and rows before; returns also the new person count."""
    import pyarrow as pa

    ranks = np.cumsum(token_changes(tokens)) + (person - 1)
    places = np.arange(row, row + len(tokens), dtype=np.int32)
    added = rows.append_column(PERSON_COLUMN, pa.array(ranks.astype(np.int32)))
    return added.append_column(ROW_COLUMN, pa.array(places)), int(ranks[-1]) + 1
