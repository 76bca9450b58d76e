"""CSV in: header, encoding and delimiter told from the beginning of the file, then text columns chunk by chunk.

Rules it keeps:

1. Whether a chunk is valid in its encoding is known before it is parsed: a valid one takes the fast way, in
   another the rows that hold the bad bytes are found and taken out, and the others go on.
2. A row with too many or too few fields is taken out with its number; blank lines are no rows.
3. If most rows with letters beyond ASCII are not valid, the encoding is wrong, and that is an error of the file.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from strongroom.errors import InputError
from strongroom.write.sources_base import (
    BAD_ENCODING,
    WRONG_FIELD_COUNT,
    BadRows,
    Selection,
    SourceBatch,
    SourceDigest,
    numbers_without,
    sliced,
)
from strongroom.write.sources_bytes import (
    ByteSource,
)
from strongroom.write.sources_cut import Buffers, Chunk, RecordCutter, chunks
from strongroom.write.sources_encoding import detect_encoding
from strongroom.write.sources_flow import in_order
from strongroom.write.sources_mixed import bytes_of_latin, invalid_utf8, is_ascii, is_utf8, one_array, quoted_lines

if TYPE_CHECKING:
    import pyarrow as pa

PARSE_BLOCK_BYTES = 1 << 20
CHUNK_BYTES_MIN = 1 << 20
CHUNK_BYTES_MAX = 32 << 20
WRONG_ENCODING_ROWS_MIN = 10
DELIMITERS = ",\t;|"


@dataclass(frozen=True)
class Parsed:
    """What a chunk held: readable rows, how many rows in all, the bad ones numbered from 1, names no table knows."""

    columns: pa.RecordBatch = field(repr=False)
    total: int
    bad: BadRows
    left_out: tuple[str, ...] = field(default=(), repr=False)


def encoding_of(source: ByteSource, encoding: str | None) -> str | None:
    """The encoding named, marked, or told from the beginning; None while all of it is ASCII."""
    if encoding is not None:
        return encoding
    if (marked := source.marked_encoding()) is not None:
        return marked
    head = source.head
    return None if head.isascii() else detect_encoding(head[: head.rfind(b"\n") + 1] or head)


def chunk_bytes(head: bytes, rows: int) -> int:
    """About as many bytes as `rows` lines have, going by the head: a little less, so that one batch holds them."""
    lines = max(head.count(b"\n"), 1)
    return min(max(int(0.97 * rows * len(head) / lines), CHUNK_BYTES_MIN), CHUNK_BYTES_MAX)


class CsvPart:
    """One CSV file. Its header is checked when it is made.

    Args:
        source: Its bytes.
        selection: Which columns are wanted.
        columns: The names in order, for a file without a header.
        encoding: A canonical encoding, or None to tell it.
        delimiter: One of DELIMITERS, or None to tell it from the first record.
        rows_per_batch: Most rows of a batch.

    Raises:
        InputError: No header, a name twice, a needed field not there.
    """

    own_thread = True

    def __init__(
        self,
        source: ByteSource,
        selection: Selection,
        *,
        columns: tuple[str, ...] | None,
        encoding: str | None,
        delimiter: str | None,
        rows_per_batch: int,
    ) -> None:
        self.name = source.name
        self.digest: SourceDigest | None = None
        self._source = source
        self._encoding = encoding_of(source, encoding)
        self._skip = source.text_offset()
        first, length = self._first_record(columns)
        self._delimiter = delimiter or _delimiter(first)
        if columns is None:
            self._skip += length
            names = next(csv.reader(io.StringIO(first), delimiter=self._delimiter), [])
            columns = tuple(name.strip() for name in names)
        self._names = columns
        self._wanted = selection.wanted(columns, self.name)
        self._left_out = selection.left_out(columns)
        if not self._wanted:
            raise InputError(f"{self.name}: none of its columns is a field of the table")
        self._rows = rows_per_batch

    @property
    def bytes_done(self) -> int:
        """Bytes read so far."""
        return self._source.bytes_done

    @property
    def bytes_total(self) -> int | None:
        """Bytes of the file, or None for standard input."""
        return self._source.bytes_total

    def _first_record(self, columns: tuple[str, ...] | None) -> tuple[str, int]:
        """The first record that is not blank, as text, and how many bytes it takes with blank lines before it."""
        head = self._source.head[self._skip :]
        blank = len(head) - len(head.lstrip(b"\r\n"))
        match = RecordCutter(",").record.match(head, blank)
        end = match.end() if match is not None else len(head)
        if columns is None and (blank == len(head) or not head[blank:end].strip()):
            raise InputError(f"{self.name}: has no header", hint="the first line must name the columns.")
        if columns is None and end == len(self._source.head) and len(self._source.head) >= 1 << 20:
            raise InputError(f"{self.name}: the first line is too long for a header")
        try:
            return head[blank:end].decode(self._encoding or "utf-8"), end
        except UnicodeDecodeError:
            if columns is not None:
                return head[blank:end].decode("latin-1"), end
            raise InputError(
                f"{self.name}: the header is not valid {self._encoding or 'utf-8'}",
                hint="name the encoding, for example --encoding gb18030.",
            ) from None

    def stop(self) -> None:
        """See `Part.stop`."""
        self._source.stop()

    def batches(self, pool: ThreadPoolExecutor) -> Iterator[SourceBatch]:
        """Its batches, in order, parsed in the pool."""
        stream = self._source.stream()
        size = chunk_bytes(self._source.head, self._rows)
        buffers = Buffers(size)
        old_mac = b"\n" not in self._source.head and b"\r" in self._source.head
        cutter = RecordCutter(self._delimiter, old_mac=old_mac)
        cut = chunks(stream, self.name, size, buffers, cutter, self._skip)
        row = 1
        try:
            for parsed in in_order(self._told(cut), partial(self._parse, buffers), pool):
                bad = parsed.bad.moved(row - 1)
                numbers = numbers_without(row, parsed.total, bad.rows)
                batch = SourceBatch(self.name, row, parsed.columns, bad, numbers, self._left_out)
                yield from sliced(batch, self._rows)
                row += parsed.total
            self.digest = stream.digest()
        except _WrongEncodingError as wrong:
            raise InputError(
                f"{self.name}: from row {row + wrong.row - 1} on most text is not valid {wrong.encoding}",
                hint="name the encoding that the file has, for example --encoding gb18030.",
            ) from None
        finally:
            stream.close()

    def _told(self, cut: Iterator[Chunk]) -> Iterator[Chunk]:
        """Give chunks their encoding: told by the first that is not ASCII, unless it is known."""
        for chunk in cut:
            if self._encoding is None and not bytes(chunk.data).isascii():
                self._encoding = detect_encoding(bytes(chunk.data))
            chunk.encoding = self._encoding or "utf-8"
            yield chunk

    def _parse(self, buffers: Buffers, chunk: Chunk) -> Parsed:
        encoding = chunk.encoding or "utf-8"
        try:
            if encoding == "utf-8":
                if is_utf8(chunk.data):
                    return self._parse_valid(chunk.data, quoted=chunk.quoted)
                return self._parse_mixed(bytes(chunk.data), "utf-8")
            try:
                text = str(chunk.data, encoding).encode()
            except UnicodeDecodeError:
                text = str(chunk.data, encoding, "surrogateescape").encode("utf-8", "surrogatepass")
                return self._parse_mixed(text, encoding)
            return self._parse_valid(memoryview(text), quoted=chunk.quoted)
        finally:
            chunk.data.release()
            buffers.give(chunk.buffer)

    def _read(self, data: memoryview, names: list[str], *, quoted: bool) -> tuple[pa.Table, list[tuple[int, str]]]:
        """Parse bytes that are valid UTF-8 to binary columns, and the rows with another number of fields."""
        import pyarrow as pa
        import pyarrow.csv as pv

        bad: list[tuple[int, str]] = []

        def on_bad(row: Any) -> str:
            bad.append((row.number, row.text))
            return "skip"

        places = [f"c{i}" for i in range(len(self._names))]
        at = {name: place for name, place in zip(self._names, places, strict=True) if name}
        chosen = [at[name] for name in names]
        try:
            table = pv.read_csv(
                pa.BufferReader(pa.py_buffer(data)),
                read_options=pv.ReadOptions(
                    use_threads=False,
                    block_size=len(data) + 1 if quoted else min(PARSE_BLOCK_BYTES, len(data) + 1),
                    column_names=places,
                ),
                parse_options=pv.ParseOptions(
                    delimiter=self._delimiter, invalid_row_handler=on_bad, newlines_in_values=quoted
                ),
                convert_options=pv.ConvertOptions(
                    column_types=dict.fromkeys(places, pa.binary()),
                    include_columns=chosen,
                    strings_can_be_null=True,
                    null_values=[""],
                ),
            )
        except pa.ArrowException:
            raise InputError(f"{self.name}: cannot be parsed as CSV") from None
        return table.rename_columns(names), bad

    def _parse_valid(self, data: memoryview, *, quoted: bool) -> Parsed:
        table, bad = self._read(data, self._wanted, quoted=quoted)
        rows = BadRows(
            tuple(number for number, _ in bad),
            (WRONG_FIELD_COUNT,) * len(bad),
            tuple(text.encode() for _, text in bad),
        )
        return Parsed(as_text(table), table.num_rows + len(bad), rows)

    def _parse_mixed(self, data: bytes, encoding: str) -> Parsed:
        """Parse bytes of which some are not valid UTF-8, by way of Latin-1, in which everything is."""
        named = [name for name in self._names if name]
        table, bad = self._read(memoryview(data.decode("latin-1").encode()), named, quoted=True)
        columns = {name: bytes_of_latin(table.column(name)) for name in named}
        invalid = np.zeros(table.num_rows, dtype=np.bool_)
        beyond = np.zeros(table.num_rows, dtype=np.bool_)
        for name in self._wanted:
            invalid |= invalid_utf8(columns[name])
            beyond |= ~is_ascii(table.column(name))
        total = table.num_rows + len(bad)
        numbers = numbers_without(1, total, [n for n, _ in bad])
        numbers = np.arange(1, total + 1, dtype=np.int64) if numbers is None else numbers
        hit = np.flatnonzero(invalid)
        if len(hit) >= WRONG_ENCODING_ROWS_MIN and 2 * len(hit) > int(beyond.sum()):
            raise _WrongEncodingError(int(numbers[hit[0]]), encoding)
        lines = quoted_lines([columns[name] for name in named], hit, self._delimiter)
        found = [(number, WRONG_FIELD_COUNT, text.encode("latin-1")) for number, text in bad]
        found += [(int(numbers[i]), BAD_ENCODING, line) for i, line in zip(hit, lines, strict=True)]
        found.sort(key=lambda one: one[0])
        rows = BadRows(
            tuple(number for number, _, _ in found),
            tuple(reason for _, reason, _ in found),
            tuple(_as_it_came(text, encoding) for _, _, text in found),
        )
        return Parsed(_kept(columns, self._wanted, ~invalid), total, rows)


class _WrongEncodingError(Exception):
    """Most text of a chunk is not valid: the row where that begins, and the encoding tried."""

    def __init__(self, row: int, encoding: str) -> None:
        super().__init__("wrong encoding")
        self.row, self.encoding = row, encoding


def _delimiter(record: str) -> str:
    """The delimiter that the first record has most of; a comma where it has none."""
    best = max(DELIMITERS, key=record.count)
    return best if record.count(best) else ","


def as_text(table: pa.Table) -> pa.RecordBatch:
    """Binary columns known to be valid UTF-8, as one batch of string columns."""
    import pyarrow as pa

    names = table.column_names
    arrays = [one_array(table.column(name)).view(pa.string()) for name in names]
    return pa.RecordBatch.from_arrays(arrays, names=names)


def _kept(columns: dict[str, pa.Array], wanted: list[str], keep: npt.NDArray[np.bool_]) -> pa.RecordBatch:
    import pyarrow as pa

    mask = pa.array(keep)
    return pa.RecordBatch.from_arrays([columns[n].filter(mask).view(pa.string()) for n in wanted], names=wanted)


def _as_it_came(text: bytes, encoding: str) -> bytes:
    if encoding == "utf-8":
        return text
    return text.decode("utf-8", "surrogatepass").encode(encoding, "surrogateescape")
