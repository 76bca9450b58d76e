"""Write an export's rows as CSV, JSON Lines or Parquet, a batch at a time.

CSV is RFC 4180 in UTF-8 with a header: texts in quotes, so that an empty text is told from nothing. JSON Lines is one
object a line, in the order of the columns, null where there is nothing. Bytes are hex in both, times UTC without a
zone. Parquet has row groups of about 16 MB and at most 131,072 rows, zstd.
"""

from __future__ import annotations

import json
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from strongroom.errors import UsageError
from strongroom.trace.exporting.rowroots import as_text
from strongroom.trace.exporting.rowtext import Piece, joined

if TYPE_CHECKING:
    import pyarrow as pa

    from strongroom.trace.exporting.targets import File

FORMATS = ("csv", "jsonl", "parquet")
GROUP_ROWS = 131_072
GROUP_BYTES = 16 << 20
SAMPLE_ROWS = 8192
LINES_AT_ONCE = 8192
"""Lines of JSON whose text is made at once: it stays in the cache, and in memory that is used again."""


class RowWriter(Protocol):
    """Writes rows of one file."""

    def write(self, batch: pa.RecordBatch) -> None:
        """Append rows."""

    def close(self) -> None:
        """Write what a file ends with; the file itself stays open."""


def format_of(to: str, given: str | None) -> str:
    """The format that was asked for, or that a file's name ends with."""
    word = (given or PurePosixPath(to).suffix.lstrip(".")).lower()
    if word not in FORMATS:
        what = "unknown" if given else "not told by the name"
        raise UsageError(f"the format of the export is {what}", hint=f"--format {', '.join(FORMATS)}")
    return word


def open_writer(word: str, file: File, schema: pa.Schema) -> RowWriter:
    """A writer of a format for rows of an Arrow schema."""
    kinds: dict[str, type[_Csv | _JsonLines | _Parquet]] = {"csv": _Csv, "jsonl": _JsonLines, "parquet": _Parquet}
    return kinds[word](file, schema)


class _Csv:
    def __init__(self, file: File, schema: pa.Schema) -> None:
        import pyarrow as pa
        import pyarrow.csv as pv

        texts = pa.schema([(f.name, _csv_type(f.type)) for f in schema])
        self._schema = texts
        self._file = pa.PythonFile(file, mode="w")
        self._writer = pv.CSVWriter(self._file, texts, write_options=pv.WriteOptions(batch_size=16_384))

    def write(self, batch: pa.RecordBatch) -> None:
        import pyarrow as pa

        columns = [as_text(column) if _bytes(column.type) else column for column in batch.columns]
        wanted = [c.cast(f.type) if c.type != f.type else c for c, f in zip(columns, self._schema, strict=True)]
        self._writer.write_batch(pa.RecordBatch.from_arrays(wanted, schema=self._schema))

    def close(self) -> None:
        self._writer.close()


def _csv_type(kind: pa.DataType) -> pa.DataType:
    """Bytes are hex. Times are written as they are, in UTC: with a zone Arrow takes many times as long for the same."""
    import pyarrow as pa

    if _bytes(kind):
        return pa.string()
    return pa.timestamp(kind.unit) if pa.types.is_timestamp(kind) else kind


def _bytes(kind: pa.DataType) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


class _JsonLines:
    def __init__(self, file: File, schema: pa.Schema) -> None:
        self._file = file
        self._names = [json.dumps(name, ensure_ascii=False) for name in schema.names]

    def write(self, batch: pa.RecordBatch) -> None:
        pieces = []
        for at, (name, column) in enumerate(zip(self._names, batch.columns, strict=True)):
            text, quote = _json_text(column)
            before, after = f"{',' if at else '{'}{name}:", "" if at + 1 < len(self._names) else "}\n"
            pieces.append(Piece(text, before + quote, quote + after, f"{before}null{after}"))
        for at in range(0, len(batch), LINES_AT_ONCE):
            data, _ends = joined([piece.slice(at, LINES_AT_ONCE) for piece in pieces])
            self._file.write(data.data)

    def close(self) -> None:
        """A file of lines has no end of its own."""


def _json_text(column: pa.Array) -> tuple[pa.Array, str]:
    """A column's values as JSON has them, and the quotes around them; nulls stay, numbers that JSON lacks are null."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = column.type
    if pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        return column.cast(pa.string()), ""
    if pa.types.is_floating(kind):
        return pc.if_else(pc.is_finite(column), column, pa.scalar(None, kind)).cast(pa.string()), ""
    text = as_text(column)
    if not (pa.types.is_temporal(kind) or _bytes(kind)) and _has_marks(text):
        text = _escaped(text)
    return text, '"'


def _has_marks(text: pa.Array) -> bool:
    """Whether there may be something in texts that JSON must escape."""
    import pyarrow as pa

    wide = text.cast(pa.large_string())
    data = wide.buffers()[2]
    if data is None:
        return False
    ends = np.frombuffer(wide.buffers()[1], np.int64)[wide.offset : wide.offset + len(wide) + 1]
    held = np.frombuffer(data, np.uint8)[ends[0] : ends[-1]]
    return bool(((held < 0x20) | (held == ord('"')) | (held == ord("\\"))).any())


def _escaped(text: pa.Array) -> pa.Array:
    """Texts with what JSON must escape (RFC 8259, 7) escaped."""
    import pyarrow.compute as pc

    text = pc.replace_substring(text, "\\", "\\\\")
    text = pc.replace_substring(text, '"', '\\"')
    for code in range(0x20):
        if pc.any(pc.match_substring(text, chr(code))).as_py():
            text = pc.replace_substring(text, chr(code), json.dumps(chr(code))[1:-1])
    return text


class _Parquet:
    def __init__(self, file: File, schema: pa.Schema) -> None:
        self._schema = schema
        self._file = file
        self._held: list[pa.RecordBatch] = []
        self._rows = self._bytes = 0
        self._writer: Any = None

    def write(self, batch: pa.RecordBatch) -> None:
        self._held.append(batch)
        self._rows += len(batch)
        self._bytes += batch.nbytes
        if self._rows >= GROUP_ROWS or self._bytes >= GROUP_BYTES:
            self._flush()

    def _flush(self) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        table = pa.Table.from_batches(self._held, self._schema)
        if self._writer is None:
            self._writer = pq.ParquetWriter(
                pa.PythonFile(self._file, mode="w"), self._schema, compression="zstd", use_dictionary=_repeating(table)
            )
        if len(table):
            self._writer.write_table(table, row_group_size=GROUP_ROWS)
        self._held, self._rows, self._bytes = [], 0, 0

    def close(self) -> None:
        self._flush()
        self._writer.close()


def _repeating(table: pa.Table) -> list[str]:
    """Columns whose values come again and again: of others a dictionary is made only to be thrown away."""
    import pyarrow.compute as pc

    some = table.slice(0, SAMPLE_ROWS)
    return [name for name in table.schema.names if pc.count_distinct(some[name]).as_py() * 8 <= len(some)]
