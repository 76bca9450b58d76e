"""Open what is to be put: files, patterns, standard input, Arrow data, dictionaries; one batch after another.

Rules it keeps:

1. Every file is looked at before the first batch: one that is absent, empty, without its header or without a
   needed field stops the put before anything is done.
2. Memory does not grow with the input: the next batches are read while this one is worked on, a fixed number ahead.
3. Rows that cannot be read are given beside the others, with their numbers; a file that cannot be read is an
   error with its name.

Types and what the schema asks are left to `strongroom.schema.check`, sealing of what is refused to `put`.
"""

from __future__ import annotations

import glob
import io
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from strongroom.closing import Closing
from strongroom.errors import InputError, UsageError
from strongroom.write.sources_arrow import ArrowPart, DictPart, ParquetPart
from strongroom.write.sources_base import (
    BAD_ENCODING,
    NESTED_VALUE,
    NOT_JSON,
    ROWS_PER_BATCH,
    WRONG_FIELD_COUNT,
    BadRows,
    Part,
    Progress,
    Selection,
    SourceBatch,
    SourceDigest,
    check_names,
)
from strongroom.write.sources_bytes import PARQUET, STDIN, ByteSource, StandardInput, digest_file
from strongroom.write.sources_csv import DELIMITERS, CsvPart
from strongroom.write.sources_encoding import known_encoding
from strongroom.write.sources_flow import PARSE_THREADS, ahead
from strongroom.write.sources_json import JsonPart

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "BAD_ENCODING",
    "NESTED_VALUE",
    "NOT_JSON",
    "ROWS_PER_BATCH",
    "WRONG_FIELD_COUNT",
    "BadRows",
    "Progress",
    "SourceBatch",
    "SourceDigest",
    "Sources",
    "digest_file",
    "open_sources",
    "sample_tables",
]

FORMATS = ("csv", "jsonl", "parquet")
FILES_MAX = 100_000
_SUFFIXES = {
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".parquet": "parquet",
    ".pq": "parquet",
}


@dataclass(frozen=True)
class _How:
    selection: Selection
    columns: tuple[str, ...] | None
    encoding: str | None
    format: str | None
    delimiter: str | None
    rows: int


class Sources(Closing):
    """The batches of all sources of a put, in order; an iterator to be used once, and its progress.

    Use it in a `with` statement, or close it: its threads end with it.
    """

    def __init__(self, parts: Sequence[Part]) -> None:
        self._parts = parts
        self._pool = ThreadPoolExecutor(PARSE_THREADS, thread_name_prefix="strongroom-parse")
        self._batches = self._all()

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the sources, in order."""
        return tuple(part.name for part in self._parts)

    @property
    def bytes_done(self) -> int:
        """Bytes read so far, of all sources (compressed bytes of compressed ones)."""
        return sum(part.bytes_done for part in self._parts)

    @property
    def bytes_total(self) -> int | None:
        """Bytes of all sources, or None where one of them does not say."""
        sizes = [part.bytes_total for part in self._parts]
        return None if None in sizes else sum(cast("list[int]", sizes))

    @property
    def digests(self) -> tuple[SourceDigest, ...]:
        """SHA-256 and size of each source of bytes that has been read to its end so far."""
        return tuple(part.digest for part in self._parts if part.digest is not None)

    def _all(self) -> Iterator[SourceBatch]:
        for own_thread, parts in self._runs():
            batches = chain.from_iterable(part.batches(self._pool) for part in parts)
            yield from ahead(partial(iter, batches), partial(_stop, parts)) if own_thread else batches

    def _runs(self) -> Iterator[tuple[bool, list[Part]]]:
        """Neighbouring parts that are all read in a thread of their own, or all not."""
        run: list[Part] = []
        for part in self._parts:
            if run and run[-1].own_thread != part.own_thread:
                yield run[-1].own_thread, run
                run = []
            run.append(part)
        if run:
            yield run[-1].own_thread, run

    def __iter__(self) -> Iterator[SourceBatch]:
        return self

    def __next__(self) -> SourceBatch:
        return next(self._batches)

    def close(self) -> None:
        """Stop reading; files are closed and threads end."""
        cast("Any", self._batches).close()
        self._pool.shutdown(wait=True, cancel_futures=True)


def open_sources(
    what: Any,
    *,
    columns: Sequence[str] | None = None,
    encoding: str | None = None,
    format: str | None = None,  # noqa: A002 - the word that callers know
    table_fields: Collection[str] | None = None,
    needed: Collection[str] | None = None,
    delimiter: str | None = None,
    rows_per_batch: int = ROWS_PER_BATCH,
) -> Sources:
    """Open what is to be put.

    Args:
        what: A path, a pattern, "-" (standard input), a list of these, a binary file object, a pa.Table, anything
            with an Arrow stream, or an iterable of record batches or of dictionaries. CSV and JSON Lines may be
            compressed with gzip or zstd.
        columns: Names of the columns in order; a CSV file then has no header.
        encoding: Of text files; told from the bytes (UTF-8 or GB18030) if not named.
        format: "csv", "jsonl" or "parquet"; told from the name and the first bytes if not named.
        table_fields: The fields of the table; other columns are left out. All columns if None.
        needed: Those of them that must be there; all of them if None.
        delimiter: Of CSV files; told from the first line if not named.
        rows_per_batch: Most rows of a batch.

    Raises:
        InputError: A source cannot be read as what it claims to be.
        UsageError: The arguments make no sense.
    """
    if format is not None and format not in FORMATS:
        raise UsageError("unknown format", hint=f"formats are {', '.join(FORMATS)}.")
    if delimiter is not None and (len(delimiter) != 1 or delimiter not in DELIMITERS):
        raise UsageError("unknown delimiter", hint="delimiters are comma, tab, semicolon and |.")
    if rows_per_batch < 1:
        raise UsageError("a batch must have at least one row")
    if columns is not None:
        check_names(list(columns), "columns")
        if not columns:
            raise UsageError("columns names no column")
    how = _How(
        selection=Selection.of(table_fields, needed),
        columns=None if columns is None else tuple(columns),
        encoding=None if encoding is None else known_encoding(encoding),
        format=format,
        delimiter=delimiter,
        rows=rows_per_batch,
    )
    return Sources(_parts(what, how))


def sample_tables(files: Iterable[str | Path], *, rows: int = 20_000, **how: Any) -> dict[str, pa.Table]:
    """The first rows of each file as text or typed columns, by a table name made from the file's name.

    Args:
        files: Paths and patterns; files whose names give the same table name are one sample.
        rows: Most rows of each table.
        how: As for `open_sources`.

    Raises:
        InputError: A file cannot be read, or none of its first rows can.
    """
    import pyarrow as pa

    tables: dict[str, pa.Table] = {}
    for path in chain.from_iterable([Path(STDIN)] if str(f) == "-" else _matching(str(f)) for f in files):
        name = path.name.strip("<>").split(".")[0]
        have = tables[name].num_rows if name in tables else 0
        with open_sources("-" if str(path) == STDIN else path, rows_per_batch=max(rows, 1), **how) as sources:
            for batch in sources:
                piece = pa.Table.from_batches([batch.columns]).slice(0, rows - have)
                known = [tables[name]] if name in tables else []
                tables[name] = pa.concat_tables([*known, piece], promote_options="permissive") if known else piece
                have = tables[name].num_rows
                if have >= rows:
                    break
        if name not in tables:
            raise InputError(f"{path}: none of its rows can be read")
    return tables


def _stop(parts: Iterable[Part]) -> None:
    for part in parts:
        part.stop()


def _parts(what: Any, how: _How) -> list[Part]:
    import pyarrow as pa

    if isinstance(what, str | Path):
        return _files([what], how)
    if hasattr(what, "read") and not isinstance(what, pa.RecordBatchReader):
        return [_text(ByteSource(str(getattr(what, "name", "<file object>")), stream=cast("BinaryIO", what)), how)]
    if isinstance(what, pa.RecordBatch):
        what = pa.Table.from_batches([what])
    if isinstance(what, pa.Table):
        return [_arrow("<table>", what.to_batches(), how, what.nbytes)]
    if isinstance(what, pa.RecordBatchReader):
        return [_arrow("<reader>", what, how, None)]
    if hasattr(what, "__arrow_c_stream__"):
        return [_arrow("<stream>", pa.RecordBatchReader.from_stream(what), how, None)]
    if isinstance(what, io.BytesIO):
        return [_text(ByteSource("<bytes>", stream=what), how)]
    if isinstance(what, Mapping) or not isinstance(what, Iterable) or isinstance(what, bytes | bytearray):
        raise UsageError(
            "this cannot be put", hint="give a path, a list of paths, Arrow data, or an iterable of dictionaries."
        )
    return _iterable(what, how)


def _iterable(what: Iterable[Any], how: _How) -> list[Part]:
    import pyarrow as pa

    items = iter(what)
    first = next(items, None)
    if first is None:
        return []
    if isinstance(first, str | Path):
        return _files([first, *items], how)
    again = chain([first], items)
    if isinstance(first, pa.RecordBatch):
        return [_arrow("<batches>", again, how, None)]
    return [DictPart("<records>", again, how.selection, rows_per_batch=how.rows)]


def _arrow(name: str, batches: Iterable[Any], how: _How, size: int | None) -> Part:
    return ArrowPart(name, batches, how.selection, size=size, columns=how.columns, rows_per_batch=how.rows)


def _files(what: Iterable[Any], how: _How) -> list[Part]:
    parts: list[Part] = []
    for one in what:
        if not isinstance(one, str | Path):
            raise UsageError("a list of paths must hold nothing else")
        if str(one) == "-":
            parts.append(_text(ByteSource(STDIN, stream=cast("BinaryIO", StandardInput())), how))
        else:
            parts += [_file(path, how) for path in _matching(str(one))]
        if len(parts) > FILES_MAX:
            raise InputError(f"more than {FILES_MAX} files", hint="put them in several goes.")
    return parts


def _matching(name: str) -> list[Path]:
    """The file of that name, or those that match the pattern, sorted by name."""
    if "\x00" in name:
        raise InputError("a path holds a zero byte")
    try:
        there = Path(name).exists()
    except OSError:
        there = False
    if there or not glob.has_magic(name):
        return [Path(name)]
    found = [path for path in (Path(p) for p in sorted(glob.glob(name, recursive=True))) if path.is_file()]  # noqa: PTH207
    if not found:
        raise InputError(f"{name}: no file matches", hint="check the pattern; quote it so that the shell leaves it.")
    return found


def _file(path: Path, how: _How) -> Part:
    suffixes = [s.lower() for s in path.suffixes]
    by_name = next((_SUFFIXES[s] for s in reversed(suffixes) if s in _SUFFIXES), None)
    kind = how.format or by_name
    if kind == "parquet":
        return _parquet(path, how)
    source = ByteSource(str(path), path=path)
    if how.format is None and source.head.startswith(PARQUET):
        return _parquet(path, how)
    return _text(source, how, kind)


def _parquet(path: Path, how: _How) -> Part:
    return ParquetPart(path, how.selection, columns=how.columns, rows_per_batch=how.rows)


def _text(source: ByteSource, how: _How, kind: str | None = None) -> Part:
    kind = kind or how.format
    if kind == "parquet" or source.head.startswith(PARQUET):
        raise InputError(
            f"{source.name}: Parquet must be a file on its own",
            hint="save it uncompressed to a file; its end is read first.",
        )
    if kind is None:
        start = source.head[source.text_offset() :].lstrip()
        kind = "jsonl" if start.startswith(b"{") else "csv"
    if kind == "jsonl":
        return JsonPart(source, how.selection, encoding=how.encoding, rows_per_batch=how.rows)
    return CsvPart(
        source,
        how.selection,
        columns=how.columns,
        encoding=how.encoding,
        delimiter=how.delimiter,
        rows_per_batch=how.rows,
    )
