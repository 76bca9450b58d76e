"""Answers a checked question over a table's columns with DuckDB, in memory and shut off from everything else.

Rules kept here:

1. The engine sees only the columns the plan names, already masked, as one stream of record batches; superseded rows
   and people's plain values behind a mask never reach it.
2. It has no temporary directory, no file or network access, no extensions, and its settings are locked: a question
   that would spill fails, and nothing plain is written to a disk.
3. Groups below the minimum are dropped before anything the caller wrote (HAVING, ORDER BY, LIMIT) is run on them.
4. No error of the engine leaves here: its messages quote values.

In tables with many records a subject, a person may be in several files under another number in each. A group counted
as n persons then has at least n divided by the number of files: that bound is what is asked to reach the minimum.

Files are decoded once, a batch at a time; text with few distinct values is kept as a dictionary, which is what makes
this about as fast as DuckDB reading plain Parquet itself. Checking is left to `sqlcheck`, sealed columns to `sealed`,
noting and charging to the caller: for rows, `SqlAnswer.files` and `SqlAnswer.rows` say whom to charge before `table` is
handed on.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from strongroom.errors import IntegrityError, StrongroomError, UnavailableError, UsageError
from strongroom.index.expiry import unexpired_column
from strongroom.read.sqlcheck import SQL_GROUPS_MAX

if TYPE_CHECKING:
    import pyarrow as pa

    from strongroom.read.sqlplan import ColumnView, Plan

BATCH_ROWS = 131_072
SEALED_BATCH_ROWS = 65_536  # others wait while so many persons are charged
SQL_SECONDS_MAX = 300.0
PERSON_COLUMN = "_person"
_DICTIONARY_BYTES_MAX = 4.0
_ENGINE_SETTINGS = (
    "set temp_directory = ''",
    "set max_temp_directory_size = '0B'",
    "set autoinstall_known_extensions = false",
    "set autoload_known_extensions = false",
    "set allow_community_extensions = false",
    "set python_enable_replacements = false",
    "set enable_progress_bar = false",
    "set enable_external_access = false",
)


class Beside(Protocol):
    """Columns that do not lie in an open-columns file, of the same rows in the same order: see `SealedColumns`."""

    @property
    def entries(self) -> int:
        """How many rows there are."""

    def beside(self, rows: int, live: npt.NDArray[np.bool_] | None) -> tuple[dict[str, Any], npt.NDArray[np.bool_]]:
        """The columns of the next rows that count, and which these are."""


@dataclass(frozen=True)
class OpenFile:
    """One open-columns file of a table, to be read.

    Args:
        source: A path, a buffer or a seekable file object of Parquet bytes, or an Arrow table; None where only sealed
            columns are.
        key: Its 32-byte key (Parquet modular encryption, AES_GCM_V1, uniform), or None for a plain file.
        live: One truth value a row, in row order: whether the row is the newest of its person; None where all are.
        persons: Number of the row's person within the file, in row order; None where the file has `_person`, or
            where the table has one record a subject.
        expires: Name of a date or time column, and the day and time (UTC) before which a row has expired.
        sealed: Gives the sealed columns of the same rows.
    """

    source: Any
    key: bytes | None = field(default=None, repr=False)
    live: pa.Array | npt.NDArray[np.bool_] | None = field(default=None, repr=False)
    persons: pa.Array | npt.NDArray[np.integer[Any]] | None = field(default=None, repr=False)
    expires: tuple[str, date, datetime] | None = None
    sealed: Beside | None = None


@dataclass(frozen=True)
class SqlAnswer:
    """What a question gave.

    Args:
        table: The answer.
        suppressed: How many groups were dropped for having too few persons. An answer without any group says 1,
            whether nobody matched or too few did.
        files: For rows, the position of each row's file in the list given, u32[n].
        rows: For rows, the row's position in its file, u64[n].
    """

    table: pa.Table = field(repr=False)
    suppressed: int
    files: npt.NDArray[np.uint32] = field(repr=False)
    rows: npt.NDArray[np.uint64] = field(repr=False)


def run(
    plan: Plan,
    files: Sequence[OpenFile],
    *,
    memory_limit: str = "512MB",
    threads: int = 2,
    seconds_max: float = SQL_SECONDS_MAX,
) -> SqlAnswer:
    """Answer a checked question.

    Args:
        plan: What `check_sql` made of the question.
        files: The table's open-columns files in the snapshot that is read.
        memory_limit: Most that the engine may use, as DuckDB writes it.
        threads: Threads of the engine.
        seconds_max: Longest that the engine may take.

    Raises:
        IntegrityError: A file does not open under its key, or does not hold what the plan reads.
        UnavailableError: The question needs more memory or time than it may have.
        UsageError: The engine cannot answer the question in this form.
    """
    feed = _Feed(plan, files, until=time.monotonic() + seconds_max)
    engine = _engine(memory_limit, threads)
    timer = threading.Timer(seconds_max, engine.interrupt)
    timer.daemon = True
    timer.start()
    try:
        found = _ask(engine, plan.scan, "data", feed.reader(), feed)
        if plan.kind == "rows":
            return _rows(plan, found)
        need = plan.min_group * (max(1, len(files)) if plan.by_person and not plan.sealed else 1)
        groups, suppressed = _enough(plan, found, need)
        table = _ask(engine, plan.answer, "groups", groups, feed)
    finally:
        timer.cancel()
        timer.join()  # a thread that still holds the engine would keep it past the interpreter's end
        engine.close()
    if len(table) >= SQL_GROUPS_MAX:
        raise UsageError(f"an answer has at most {SQL_GROUPS_MAX} groups", hint="group more coarsely, or use limit")
    none = np.empty(0)
    return SqlAnswer(table.rename_columns(list(plan.names)), suppressed, none.astype(np.uint32), none.astype(np.uint64))


def _engine(memory_limit: str, threads: int) -> Any:
    import duckdb

    engine = duckdb.connect(":memory:", config={"threads": threads, "memory_limit": memory_limit})
    for setting in (*_ENGINE_SETTINGS, "set lock_configuration = true"):
        engine.execute(setting)
    return engine


def _ask(engine: Any, text: str, name: str, relation: Any, feed: _Feed) -> pa.Table:
    """Run one text of ours; the engine's own errors end here, not even as a context, for they quote values."""
    import duckdb

    error: StrongroomError
    try:
        engine.register(name, relation)
        return engine.sql(text).to_arrow_table()
    except duckdb.OutOfMemoryException:
        error = UnavailableError("the question needs more memory than sql may use", hint="group more coarsely")
    except duckdb.InterruptException:
        error = _too_slow()
    except Exception:  # noqa: BLE001 - whatever it is, its text may hold values
        error = UsageError("the engine cannot answer the question in this form")
    raise feed.failed or error


def _too_slow() -> UnavailableError:
    return UnavailableError("the question took longer than sql may take", hint="ask about fewer rows, or later")


def _enough(plan: Plan, found: pa.Table, need: int) -> tuple[pa.Table, int]:
    """The groups with enough persons, aggregates without enough of them blanked, and how many groups were dropped."""
    import pyarrow as pa
    import pyarrow.compute as pc

    enough = pc.greater_equal(found["n"], need)
    kept = found.filter(enough)
    for cell, guard in plan.guards:
        at = kept.schema.get_field_index(cell)
        values = pc.if_else(pc.greater_equal(kept[guard], need), kept[cell], pa.scalar(None, kept[cell].type))
        kept = kept.set_column(at, cell, values)
    return kept, len(found) - len(kept) if len(kept) else 1


def _rows(plan: Plan, found: pa.Table) -> SqlAnswer:
    width = len(plan.names)
    return SqlAnswer(
        found.select(range(width)).rename_columns(list(plan.names)),
        0,
        found["_file"].to_numpy().astype(np.uint32),
        found["_row"].to_numpy().astype(np.uint64),
    )


class _Feed:
    """The plan's columns of all files as one stream of record batches, masked, live rows only."""

    def __init__(self, plan: Plan, files: Sequence[OpenFile], until: float) -> None:
        self.plan = plan
        self.files = files
        self.until = until
        self.batch_rows = SEALED_BATCH_ROWS if plan.sealed else BATCH_ROWS
        self.failed: StrongroomError | None = None
        self._as_dictionary: frozenset[str] | None = None

    def reader(self) -> pa.RecordBatchReader:
        import pyarrow as pa

        batches = self._batches()
        first = next(batches, None)
        if first is None:
            return pa.RecordBatchReader.from_batches(self._schema(), iter(()))
        return pa.RecordBatchReader.from_batches(first.schema, _chained(first, batches))

    def _schema(self) -> pa.Schema:
        import pyarrow as pa

        fields = [(f"c{i}", _arrow_type(c)) for i, c in enumerate(self.plan.columns)]
        return pa.schema([*fields, ("_file", pa.uint32()), ("_row", pa.uint64()), ("_who", pa.uint64())])

    def _batches(self) -> Iterator[pa.RecordBatch]:
        for number, file in enumerate(self.files):
            at = 0
            failed = True
            try:
                for columns, rows in self._decoded(number, file):
                    if time.monotonic() > self.until:
                        raise _too_slow()
                    yield self._batch(number, file, columns, at, rows)
                    at += rows
                failed = False
            except StrongroomError as error:
                self.failed = error
                raise
            except (OSError, ValueError, KeyError, TypeError):
                pass
            if failed:
                self.failed = IntegrityError(f"open-columns file {number} of table {self.plan.tables[0]} does not open")
                raise self.failed

    def _decoded(self, number: int, file: OpenFile) -> Iterator[tuple[dict[str, pa.Array], int]]:
        """Columns of one file by name, batch by batch, with the number of rows."""
        import pyarrow as pa

        if file.source is None:
            rows = 0 if file.sealed is None else file.sealed.entries
            for start in range(0, rows, self.batch_rows):
                yield {}, min(self.batch_rows, rows - start)
            return
        if isinstance(file.source, pa.Table):
            for batch in file.source.to_batches(max_chunksize=self.batch_rows):
                yield {name: batch.column(name) for name in batch.schema.names}, len(batch)
            return
        opened, wanted = self._open(file)
        rows = opened.metadata.num_rows
        for side in (file.live, file.persons):
            if side is not None and len(side) != rows:
                raise IntegrityError(f"file {number} has {rows} rows and {len(side)} marks for them")
        if not wanted:
            for start in range(0, rows, self.batch_rows):
                yield {}, min(self.batch_rows, rows - start)
            return
        for batch in opened.iter_batches(batch_size=self.batch_rows, columns=wanted, use_threads=True):
            yield {name: batch.column(name) for name in batch.schema.names}, len(batch)

    def _open(self, file: OpenFile) -> tuple[Any, list[str]]:
        import pyarrow.parquet as pq
        import pyarrow.parquet.encryption as pe

        key = None if file.key is None else pe.create_decryption_properties(file.key)
        opened = pq.ParquetFile(file.source, decryption_properties=key)
        present = set(opened.schema_arrow.names)
        if self._as_dictionary is None:
            self._as_dictionary = _few_values(opened.metadata, self.plan.columns)
        wanted = [c.name for c in self.plan.columns if c.name in present and not c.part]
        if file.expires is not None and file.expires[0] in present and file.expires[0] not in wanted:
            wanted.append(file.expires[0])
        if self.plan.by_person and file.persons is None and not self.plan.sealed:
            wanted.append(PERSON_COLUMN)
        encoded = [name for name in wanted if name in self._as_dictionary]
        if encoded:
            opened = pq.ParquetFile(
                file.source, metadata=opened.metadata, decryption_properties=key, read_dictionary=encoded
            )
        return opened, wanted

    def _batch(
        self, number: int, file: OpenFile, columns: dict[str, pa.Array], start: int, rows: int
    ) -> pa.RecordBatch:
        import pyarrow as pa

        arrays: dict[str, Any] = {}
        for i, column in enumerate(self.plan.columns):
            if column.part:
                continue
            given = columns.get(column.name)
            few = self._as_dictionary is not None and column.name in self._as_dictionary
            arrays[f"c{i}"] = pa.nulls(rows, _arrow_type(column)) if given is None else _shown(given, column)
            if few:
                arrays[f"c{i}"] = _encoded(arrays[f"c{i}"])
        if self.plan.kind == "rows":
            arrays["_file"] = pa.array(np.full(rows, number, np.uint32))
            arrays["_row"] = pa.array(np.arange(start, start + rows, dtype=np.uint64))
        if self.plan.by_person and not self.plan.sealed:
            given = columns[PERSON_COLUMN] if file.persons is None else file.persons[start : start + rows]
            arrays["_who"] = pa.array(np.asarray(given).astype(np.uint64) | np.uint64(number << 32))
        if not arrays:
            arrays["_one"] = pa.nulls(rows, pa.bool_())
        batch = pa.RecordBatch.from_pydict(arrays)
        live = None if file.live is None else np.asarray(file.live[start : start + rows], bool)
        if file.expires is not None and file.expires[0] in columns:
            kept = unexpired_column(columns[file.expires[0]], file.expires)
            live = kept if live is None else live & kept
        beside: dict[str, Any] = {}
        if file.sealed is not None:
            beside, live = file.sealed.beside(rows, live)
        if live is not None and not live.all():
            batch = batch.filter(pa.array(live))
        for name, array in beside.items():
            batch = batch.append_column(name, array)
        return batch


def _chained(first: pa.RecordBatch, rest: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    yield first
    yield from rest


def _few_values(metadata: Any, columns: Sequence[ColumnView]) -> frozenset[str]:
    """Text columns whose pages take so little a value that they must be dictionary pages of few values."""
    names = {c.name for c in columns if c.type == "string"}
    size = dict.fromkeys(names, 0)
    for group in range(min(metadata.num_row_groups, 4)):
        row_group = metadata.row_group(group)
        for i in range(row_group.num_columns):
            chunk = row_group.column(i)
            if chunk.path_in_schema in names:
                size[chunk.path_in_schema] += chunk.total_uncompressed_size / max(1, chunk.num_values)
    groups = max(1, min(metadata.num_row_groups, 4))
    return frozenset(name for name, total in size.items() if total / groups < _DICTIONARY_BYTES_MAX)


def _arrow_type(column: ColumnView) -> pa.DataType:
    import pyarrow as pa

    return {
        "string": pa.string(),
        "int": pa.int64(),
        "float": pa.float64(),
        "bool": pa.bool_(),
        "date": pa.date32(),
        "timestamp": pa.timestamp("us"),
    }[column.kind]


def _shown(given: Any, column: ColumnView) -> Any:
    """A column as the purpose shows it: masked where it is masked, of the plan's type, text maybe as a dictionary."""
    import pyarrow as pa

    if column.show == "masked":
        from strongroom.schema.mask import mask_column

        plain = given.dictionary_decode() if pa.types.is_dictionary(given.type) else given
        masked = mask_column(plain, column.mask)
        return (masked.combine_chunks() if isinstance(masked, pa.ChunkedArray) else masked).cast(pa.string())
    if pa.types.is_dictionary(given.type) or given.type == _arrow_type(column):
        return given
    return given.cast(_arrow_type(column))


def _encoded(given: Any) -> Any:
    import pyarrow as pa

    wanted = pa.dictionary(pa.int32(), pa.string())
    if given.type == wanted:
        return given
    return given.cast(wanted) if pa.types.is_dictionary(given.type) else given.dictionary_encode()
