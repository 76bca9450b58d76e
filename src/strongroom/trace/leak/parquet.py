"""Parquet files: typed columns, row group by row group; a damaged group costs no other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from strongroom.errors import InputError
from strongroom.trace.leak.base import BAD_GROUP, COLUMNS_MAX, MANY_NAMES, Piece, Rows
from strongroom.trace.leak.files import Opened

if TYPE_CHECKING:
    import pyarrow as pa

ROWS_PER_PIECE = 65_536
NESTING_MAX = 8


def parquet_pieces(file: Opened, rows: Rows) -> Iterator[Piece]:
    """The rows of a Parquet file.

    Args:
        file: A file on the disk.
        rows: Gives out row numbers.

    Raises:
        InputError: It is damaged or cut short before its footer, or packed in another file.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    name = file.account.source
    if file.path is None:
        raise InputError(f"{name}: Parquet must be a file on its own", hint="unpack it first: its end is read first.")
    try:
        reader = pq.ParquetFile(file.path)
        total = reader.num_row_groups
    except (pa.ArrowException, OSError, ValueError, OverflowError):
        raise InputError(
            f"{name}: the Parquet data is damaged or cut short",
            hint="transfer it again: without its end it has no rows.",
        ) from None
    with reader:
        for number in range(total):
            yield from _group(reader, number, rows)


def _group(reader: Any, number: int, rows: Rows) -> Iterator[Piece]:
    import pyarrow as pa

    due = int(reader.metadata.row_group(number).num_rows)
    given = 0
    try:
        for batch in reader.iter_batches(ROWS_PER_PIECE, row_groups=[number]):
            piece = _piece(batch, rows)
            given += batch.num_rows
            yield piece
    except (pa.ArrowException, OSError, ValueError, OverflowError, KeyError):
        rows.next += due - given
        rows.account.lost(BAD_GROUP, rows=due - given)


def _piece(batch: pa.RecordBatch, rows: Rows) -> Piece:
    import pyarrow as pa

    batch.validate(full=True)
    flat = flattened(pa.Table.from_batches([batch]), rows).combine_chunks()
    names = tuple(name.rpartition(".")[2] for name in flat.column_names)
    arrays = [pa.concat_arrays(column.chunks) if column.num_chunks else pa.nulls(0) for column in flat.columns]
    columns = pa.RecordBatch.from_arrays(arrays, names=[f"c{i}" for i in range(len(arrays))])
    rows.account.column_rows += batch.num_rows
    return Piece(headers=names, columns=columns, numbers=rows.take(batch.num_rows))


def flattened(table: pa.Table, rows: Rows) -> pa.Table:
    """Structs as columns of their own, down to NESTING_MAX; columns beyond COLUMNS_MAX are left out and counted."""
    import pyarrow as pa

    for _ in range(NESTING_MAX):
        if not any(pa.types.is_struct(column.type) for column in table.schema) or table.num_columns > COLUMNS_MAX:
            break
        table = table.flatten()
    if table.num_columns > COLUMNS_MAX:
        rows.account.lost(MANY_NAMES, size=sum(table.column(i).nbytes for i in range(COLUMNS_MAX, table.num_columns)))
        table = table.select(range(COLUMNS_MAX))
    return table
