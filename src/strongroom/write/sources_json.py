"""JSON Lines in: one object a line, its values as text columns chunk by chunk.

Rules it keeps:

1. Numbers and booleans become text as JSON writes them (true, 12); null and an absent name are null. A nested
   value, or a line that is not one object with distinct names, takes its row out.
2. A chunk of regular lines is parsed a column at a time; one that holds anything irregular is read line by
   line with the standard library, so that one bad line costs no other.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from strongroom.errors import InputError
from strongroom.write.sources_base import (
    BAD_ENCODING,
    FIELDS_MAX,
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
from strongroom.write.sources_bytes import ByteSource
from strongroom.write.sources_csv import Parsed, chunk_bytes, encoding_of
from strongroom.write.sources_cut import Buffers, Chunk, chunks, cut_at_line
from strongroom.write.sources_encoding import detect_encoding
from strongroom.write.sources_flow import in_order
from strongroom.write.sources_mixed import is_utf8

if TYPE_CHECKING:
    import pyarrow as pa

_EXACT_INTEGERS = float(2**53)
_OPENERS_MAX = 500
_AFTER_OBJECT = re.compile(rb"\}[ \t\r]*n")


class JsonPart:
    """One JSON Lines file.

    Args:
        source: Its bytes.
        selection: Which names are wanted; a needed one must be in the first object.
        encoding: A canonical encoding, or None to tell it.
        rows_per_batch: Most rows of a batch.

    Raises:
        InputError: The file does not begin with an object.
    """

    own_thread = True

    def __init__(self, source: ByteSource, selection: Selection, *, encoding: str | None, rows_per_batch: int) -> None:
        self.name = source.name
        self.digest: SourceDigest | None = None
        self._source, self._selection, self._rows = source, selection, rows_per_batch
        self._encoding = encoding_of(source, encoding)
        start = source.head[source.text_offset() :].lstrip()
        if start.startswith(b"["):
            raise InputError(
                f"{self.name}: is one JSON array", hint="write one object a line, for example with jq -c '.[]'."
            )
        self._names: list[str] | None = list(selection.known) if selection.known is not None else None
        self._stamped: tuple[str, ...] = ()

    @property
    def bytes_done(self) -> int:
        """Bytes read so far."""
        return self._source.bytes_done

    @property
    def bytes_total(self) -> int | None:
        """Bytes of the file, or None for standard input."""
        return self._source.bytes_total

    def stop(self) -> None:
        """See `Part.stop`."""
        self._source.stop()

    def batches(self, pool: ThreadPoolExecutor) -> Iterator[SourceBatch]:
        """Its batches, in order, parsed in the pool."""
        stream = self._source.stream()
        size = chunk_bytes(self._source.head, self._rows)
        buffers = Buffers(size)
        cut = chunks(stream, self.name, size, buffers, cut_at_line, self._source.text_offset())
        row, seen = 1, False
        try:
            for parsed in in_order(self._told(cut), partial(self._parse, buffers), pool):
                if not seen and parsed.columns.num_rows:
                    self._check_needed(parsed.columns)
                    seen = True
                bad = parsed.bad.moved(row - 1)
                numbers = numbers_without(row, parsed.total, bad.rows)
                batch = SourceBatch(self.name, row, parsed.columns, bad, numbers, parsed.left_out)
                yield from sliced(batch, self._rows)
                row += parsed.total
            self.digest = stream.digest()
        finally:
            stream.close()

    def _check_needed(self, columns: pa.RecordBatch) -> None:
        lacking = [
            n
            for n in self._selection.needed
            if n not in columns.schema.names or columns.column(n).null_count == columns.num_rows
        ]
        if lacking:
            raise InputError(
                f"{self.name}: no value for {listed(lacking)} in its first {columns.num_rows} rows",
                hint="the objects must use the names of the schema.",
            )

    def _told(self, cut: Iterator[Chunk]) -> Iterator[Chunk]:
        for chunk in cut:
            if self._encoding is None and not bytes(chunk.data).isascii():
                self._encoding = detect_encoding(bytes(chunk.data))
            chunk.encoding = self._encoding or "utf-8"
            yield chunk

    def _parse(self, buffers: Buffers, chunk: Chunk) -> Parsed:
        encoding = chunk.encoding or "utf-8"
        try:
            data = bytes(chunk.data)
        finally:
            chunk.data.release()
            buffers.give(chunk.buffer)
        if encoding != "utf-8":
            try:
                text = data.decode(encoding).encode()
            except UnicodeDecodeError:
                return self._by_line(data, encoding)
            return self._fast(text) or self._by_line(text, "utf-8")
        fast = self._fast(data) if is_utf8(memoryview(data)) else None
        return fast or self._by_line(data, "utf-8")

    def _fast(self, data: bytes) -> Parsed | None:
        """Parse a chunk a column at a time; None where anything about it is not regular."""
        import pyarrow as pa
        import pyarrow.json as pj

        count = data.count(b"\n") + (not data.endswith(b"\n"))
        if not _is_regular(data, count):
            return None
        read = pj.ReadOptions(use_threads=False, block_size=len(data) + 1)
        try:
            table = pj.read_json(pa.BufferReader(data), read, self._explicit(self._stamped))
            stamped = [f.name for f in table.schema if pa.types.is_timestamp(f.type)]
            if stamped:
                table = pj.read_json(pa.BufferReader(data), read, self._explicit([*self._stamped, *stamped]))
                if self._names is not None:
                    self._stamped = tuple({*self._stamped, *stamped})
            table.validate(full=True)
        except (pa.ArrowException, UnicodeDecodeError, OverflowError):
            return None
        if table.num_rows != count or not 0 < len(table.column_names) <= FIELDS_MAX:
            return None
        names = table.column_names if self._names is None else self._names
        arrays = [_as_text(table.column(n)) if n in table.column_names else pa.nulls(count, pa.string()) for n in names]
        if any(a is None for a in arrays):
            return None
        left_out = self._selection.left_out_of_objects(table.column_names, self.name)
        return Parsed(pa.RecordBatch.from_arrays(arrays, names=names), count, BadRows(), left_out)

    def _explicit(self, strings: Sequence[str]) -> Any:
        """Parse options that keep text which looks like a time as text."""
        import pyarrow as pa
        import pyarrow.json as pj

        schema = pa.schema([(name, pa.string()) for name in strings]) if strings else None
        return pj.ParseOptions(explicit_schema=schema, newlines_in_values=False)

    def _by_line(self, data: bytes, encoding: str) -> Parsed:
        """Parse a chunk line by line, exactly; bad lines are taken out."""
        import pyarrow as pa

        objects: list[dict[str, str | None]] = []
        met: dict[str, None] = {}
        rows, reasons, raw = [], [], []
        total = 0
        for line in data.split(b"\n"):
            if not line.strip():
                continue
            total += 1
            found = _object(line, encoding, None if self._names is None else frozenset(self._names), met)
            if isinstance(found, str):
                rows.append(total)
                reasons.append(found)
                raw.append(line.rstrip(b"\r"))
            else:
                objects.append(found)
        names = self._names
        if names is None:
            names = list(dict.fromkeys(key for one in objects for key in one))
            check_names(names, self.name)
        arrays = [pa.array([one.get(n) for one in objects], pa.string()) for n in names]
        batch = pa.RecordBatch.from_arrays(arrays, names=names)
        left_out = self._selection.left_out_of_objects(met, self.name)
        return Parsed(batch, total, BadRows(tuple(rows), tuple(reasons), tuple(raw)), left_out)


def _as_text(column: pa.ChunkedArray) -> pa.Array | None:
    """A parsed column as text, or None where that might lose something."""
    import pyarrow as pa
    import pyarrow.compute as pc

    array = pa.concat_arrays(column.chunks or [pa.array([], column.type)])
    kind = array.type
    if pa.types.is_string(kind):
        return array
    if pa.types.is_null(kind):
        return pa.nulls(len(array), pa.string())
    if pa.types.is_floating(kind):
        values = array.drop_null().to_numpy(zero_copy_only=False)
        if not np.all(np.isfinite(values)) or np.any(np.abs(values) >= _EXACT_INTEGERS):
            return None
        return pc.cast(array, pa.string())
    if pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        return pc.cast(array, pa.string())
    return None


def _is_regular(data: bytes, lines: int) -> bool:
    """Whether Arrow's parser may see it: a line an object, hardly any nesting.

    That parser ends the process on a null outside an object and on very deep nesting, so neither reaches it: every
    line begins with a brace, no closing brace is followed by an n, and openers are too few to nest deep.
    """
    begins = data.startswith(b"{") and data.count(b"\n{") == lines - 1
    openers = data.count(b"{") + data.count(b"[") - lines
    return begins and openers <= _OPENERS_MAX and _AFTER_OBJECT.search(data) is None


class _NestedError(Exception):
    pass


def _object(
    line: bytes, encoding: str, known: frozenset[str] | None, met: dict[str, None]
) -> dict[str, str | None] | str:
    """The wanted values of one line as text, or the reason why it is no record; the names of a record go to `met`."""
    try:
        text = line.decode(encoding)
    except UnicodeDecodeError:
        return BAD_ENCODING
    try:
        found = json.loads(
            text, parse_int=_Number, parse_float=_Number, parse_constant=_refuse, object_pairs_hook=_distinct
        )
        if not isinstance(found, dict) or (known is None and not found):
            return NOT_JSON
        kept = {k: _value(v) for k, v in found.items() if known is None or k in known}
        "".join([*kept, *(v for v in kept.values() if v is not None)]).encode()
    except _NestedError:
        return NESTED_VALUE
    except (ValueError, RecursionError):
        return NOT_JSON
    if len(met) <= FIELDS_MAX:
        met.update(dict.fromkeys(found))
    return kept


class _Number(str):
    """The digits of a JSON number, as they stand."""

    __slots__ = ()


def _refuse(constant: str) -> Any:
    raise ValueError(len(constant))


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError(len(pairs))
    return found


def _value(value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return str(value)
    raise _NestedError
