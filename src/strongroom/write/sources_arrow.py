"""Parquet files, Arrow tables, readers and batches, and dictionaries in: typed columns as they are.

Rules it keeps:

1. Columns keep their Arrow types; nested columns that the table wants are refused, others are left out.
2. Dictionaries become text or typed columns; a row with a nested value, or that is no mapping, is taken out.
3. An iterator given by the caller runs in the caller's thread.
"""

from __future__ import annotations

import datetime as dt
import decimal
import json
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from strongroom.errors import InputError
from strongroom.write.sources_base import (
    NESTED_VALUE,
    NOT_JSON,
    BadRows,
    Selection,
    SourceBatch,
    SourceDigest,
    check_names,
    listed,
    numbers_without,
    sliced,
)
from strongroom.write.sources_bytes import digest_file, file_size, unreadable

if TYPE_CHECKING:
    import pyarrow as pa

_SCALARS = (str, int, float, bool, bytes, dt.date, dt.datetime, decimal.Decimal)


class ParquetPart:
    """One Parquet file; its columns are checked when it is made. The digest is taken beside the reading.

    Args:
        path: The file.
        selection: Which columns are wanted.
        columns: Other names for the columns, in order.
        rows_per_batch: Most rows of a batch.

    Raises:
        InputError: It is damaged, cut short, or lacks a needed column.
    """

    own_thread = True

    def __init__(
        self, path: Path, selection: Selection, *, columns: tuple[str, ...] | None, rows_per_batch: int
    ) -> None:
        self.name = str(path)
        self.digest: SourceDigest | None = None
        self.bytes_done = 0
        self.bytes_total: int | None = file_size(self.name, path)
        self._path, self._rows = path, rows_per_batch
        with _damaged(self.name), self._file() as file:
            schema = file.schema_arrow
            self._groups = file.metadata.num_row_groups
        names = renamed(schema.names, columns, self.name)
        self._wanted = selection.wanted(names, self.name)
        self._left_out = selection.left_out(names)
        refuse_nested(schema, names, self._wanted, self.name)
        self._all = names
        self._stored = [schema.names[names.index(n)] for n in self._wanted]

    def _file(self) -> Any:
        import pyarrow.parquet as pq

        return pq.ParquetFile(self._path)

    def stop(self) -> None:
        """See `Part.stop`: nothing here waits."""

    def batches(self, pool: ThreadPoolExecutor) -> Iterator[SourceBatch]:
        """Its batches, in order; the file is digested in the pool meanwhile."""
        digest = pool.submit(digest_file, self._path)
        row = 1
        with _damaged(self.name), self._file() as file:
            total = max(file.metadata.num_rows, 1)
            for batch in file.iter_batches(self._rows, columns=self._stored):
                columns = batch.select(self._stored).rename_columns(self._wanted)
                yield from sliced(SourceBatch(self.name, row, columns, left_out=self._left_out), self._rows)
                row += batch.num_rows
                self.bytes_done = (self.bytes_total or 0) * (row - 1) // total
        self.bytes_done = self.bytes_total or 0
        self.digest = digest.result()


class _damaged:  # noqa: N801 - reads as a word in a with statement
    """Turns what Arrow raises on a damaged file into an InputError."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        import pyarrow as pa

        if isinstance(error, OSError) and error.errno is not None and not isinstance(error, pa.ArrowException):
            raise unreadable(self._name, error) from None
        if isinstance(error, pa.ArrowException | OSError | ValueError | UnicodeDecodeError | OverflowError | KeyError):
            raise InputError(
                f"{self._name}: the Parquet data is damaged or cut short",
                hint="transfer or write the file again; nothing of it was put.",
            ) from None


class ArrowPart:
    """Arrow data that the caller holds or makes: a table, a reader, an iterator of batches.

    Args:
        name: What messages call it.
        batches: Its batches.
        selection: Which columns are wanted.
        size: Bytes, where they are known.
        columns: Other names for the columns, in order.
        rows_per_batch: Most rows of a batch.
    """

    own_thread = False

    def __init__(
        self,
        name: str,
        batches: Iterable[pa.RecordBatch],
        selection: Selection,
        *,
        size: int | None,
        columns: tuple[str, ...] | None,
        rows_per_batch: int,
    ) -> None:
        self.name = name
        self.digest: SourceDigest | None = None
        self.bytes_done, self.bytes_total = 0, size
        self._batches, self._selection, self._columns, self._rows = batches, selection, columns, rows_per_batch

    def stop(self) -> None:
        """See `Part.stop`: nothing here waits."""

    def batches(self, pool: ThreadPoolExecutor) -> Iterator[SourceBatch]:  # noqa: ARG002 - nothing to parse
        """Its batches, in order."""
        import pyarrow as pa

        row = 1
        for batch in self._batches:
            if not isinstance(batch, pa.RecordBatch):
                raise InputError(f"{self.name}: from row {row} on there is something else than a record batch")
            names = renamed(batch.schema.names, self._columns, self.name)
            wanted = self._selection.wanted(names, self.name)
            refuse_nested(batch.schema, names, wanted, self.name)
            columns = batch.rename_columns(names).select(wanted)
            left_out = self._selection.left_out(names)
            yield from sliced(SourceBatch(self.name, row, columns, left_out=left_out), self._rows)
            row += batch.num_rows
            self.bytes_done += batch.nbytes


class DictPart:
    """Dictionaries, one a record.

    Args:
        name: What messages call it.
        records: The dictionaries; a field that one lacks is null.
        selection: Which names are wanted.
        rows_per_batch: Most rows of a batch.
    """

    own_thread = False

    def __init__(self, name: str, records: Iterable[Any], selection: Selection, *, rows_per_batch: int) -> None:
        self.name = name
        self.digest: SourceDigest | None = None
        self.bytes_done, self.bytes_total = 0, None
        self._records, self._selection, self._rows = records, selection, rows_per_batch

    def stop(self) -> None:
        """See `Part.stop`: nothing here waits."""

    def batches(self, pool: ThreadPoolExecutor) -> Iterator[SourceBatch]:  # noqa: ARG002 - nothing to parse
        """Its batches, in order."""
        import pyarrow as pa

        row, records = 1, iter(self._records)
        while some := list(islice(records, self._rows)):
            good, bad = self._sorted_out(some, row)
            names = self._names(good)
            if row == 1 and good:
                self._selection.wanted(names, self.name)
            arrays = [_column([one.get(n) for one in good]) for n in names]
            columns = pa.RecordBatch.from_arrays(arrays, names=names)
            met = dict.fromkeys(key for one in good for key in one)
            left_out = self._selection.left_out_of_objects(met, self.name)
            yield SourceBatch(self.name, row, columns, bad, numbers_without(row, len(some), bad.rows), left_out)
            row += len(some)

    def _names(self, good: list[Mapping[str, Any]]) -> list[str]:
        if self._selection.known is not None:
            there = {key for one in good for key in one}
            return [n for n in self._selection.known if n in there or n not in self._selection.needed]
        names = list(dict.fromkeys(key for one in good for key in one))
        check_names(names, self.name)
        return names

    def _sorted_out(self, some: list[Any], row: int) -> tuple[list[Mapping[str, Any]], BadRows]:
        known = None if self._selection.known is None else frozenset(self._selection.known)
        good: list[Mapping[str, Any]] = []
        rows, reasons, raw = [], [], []
        for number, one in enumerate(some, row):
            reason = _unfit(one, known)
            if reason is None:
                good.append(one)
                continue
            rows.append(number)
            reasons.append(reason)
            raw.append(json.dumps(one, ensure_ascii=False, default=str, skipkeys=True).encode(errors="replace"))
        return good, BadRows(tuple(rows), tuple(reasons), tuple(raw))


def _unfit(one: Any, known: frozenset[str] | None) -> str | None:
    """Why a value given as a record is none, or None."""
    if not isinstance(one, Mapping) or not one or not all(isinstance(key, str) for key in one):
        return NOT_JSON
    for key, value in one.items():
        if value is not None and (known is None or key in known) and not isinstance(value, _SCALARS):
            return NESTED_VALUE
    return None


def _column(values: list[Any]) -> pa.Array:
    """Values as one Arrow array: typed where they are of one kind, as text otherwise."""
    import pyarrow as pa

    kinds = {type(v) for v in values if v is not None}
    if not kinds:
        return pa.nulls(len(values), pa.string())
    try:
        if len(kinds) == 1:
            return pa.array(values)
    except (pa.ArrowException, OverflowError, ValueError, TypeError):
        pass
    return pa.array([None if v is None else _text(v) for v in values], pa.string())


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, dt.date):
        return value.isoformat()
    return str(value).encode("utf-8", "replace").decode()


def renamed(stored: list[str], columns: tuple[str, ...] | None, name: str) -> list[str]:
    """The names given for the columns, or those stored."""
    if columns is None:
        return stored
    if len(columns) != len(stored):
        raise InputError(f"{name}: has {len(stored)} columns, but columns names {len(columns)}")
    return list(columns)


def refuse_nested(schema: pa.Schema, names: list[str], wanted: list[str], source: str) -> None:
    """Refuse wanted columns of lists, structs or maps.

    Raises:
        InputError: With their names.
    """
    import pyarrow as pa

    nested = [n for n, f in zip(names, schema, strict=True) if n in set(wanted) and pa.types.is_nested(f.type)]
    if nested:
        raise InputError(
            f"{source}: nested columns: {listed(nested)}", hint="write them as columns or as text of their own."
        )
