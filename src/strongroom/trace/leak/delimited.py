"""Columns with a delimiter: text columns block by block; a line that is not of the form is read as plain text.

Rules it keeps:

1. A record ends where the CSV parser ends it. A quote that is not closed within OPEN_QUOTE_BYTES_MAX is no quote: the
   block is read again without quotes.
2. Delimiters of several bytes become one byte that stands nowhere in the block.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from strongroom.trace.leak.base import ODD_FIELDS, OPEN_QUOTE, Int64s, Piece, Rows, text_piece
from strongroom.trace.leak.form import Columns
from strongroom.write.sources_base import numbers_without
from strongroom.write.sources_cut import RecordCutter
from strongroom.write.sources_mixed import one_array

if TYPE_CHECKING:
    import pyarrow as pa

OPEN_QUOTE_BYTES_MAX = 1 << 20
PARSE_BLOCK_BYTES = 1 << 20


class Delimited:
    """Reads blocks of lines as columns.

    Args:
        form: How lines become columns.
        rows: Gives out row numbers.
        group: Name of the table in a dump.
        named: Whether the header is known beforehand, and does not stand in the data.
    """

    def __init__(self, form: Columns, rows: Rows, group: str = "", *, named: bool = False) -> None:
        self._form, self._rows, self._group = form, rows, group
        self._header_due = form.header is not None and not named
        self._places = [f"c{i}" for i in range(form.count)]
        self._headers = _fitted(form.header, form.count)

    def pieces(self, blocks: Iterator[bytes]) -> Iterator[Piece]:
        """The rows of all blocks, in order."""
        carry = b""
        for block in blocks:
            delimiter, data = self._one_byte(carry + block)
            quoted: bool | None
            stop, quoted = self._cut(delimiter, data)
            carry = data[stop:]
            if len(carry) > OPEN_QUOTE_BYTES_MAX:
                stop, quoted, carry = len(data), None, b""
            if stop:
                yield from self.block(delimiter, data[:stop], quoted)
            if delimiter != self._form.delimiter and carry:
                carry = carry.replace(delimiter.encode(), self._form.delimiter.encode())
        if carry.strip():
            delimiter, data = self._one_byte(carry)
            whole = self._form.quote is None or data.count(self._form.quote.encode()) % 2 == 0
            yield from self.block(delimiter, data, True if whole else None)

    def _one_byte(self, data: bytes) -> tuple[str, bytes]:
        """The delimiter as one byte, and the data with it."""
        given = self._form.delimiter
        if len(given.encode()) == 1:
            return given, data
        for stand_in in "\x1f\x1e\x1d\x1c\x02\x03":
            if stand_in.encode() not in data:
                return stand_in, data.replace(given.encode(), stand_in.encode())
        return "\x1f", data.translate(None, b"\x1f").replace(given.encode(), b"\x1f")

    def _cut(self, delimiter: str, data: bytes) -> tuple[int, bool]:
        """The end of the last whole record, and whether it has quotes."""
        if self._form.quote != '"':
            return data.rfind(b"\n") + 1, False
        return RecordCutter(delimiter)(bytearray(data), 0, len(data))

    def block(self, delimiter: str, data: bytes, quoted: bool | None) -> Iterator[Piece]:
        """Rows of a block of whole records.

        Args:
            delimiter: One byte.
            data: Valid UTF-8.
            quoted: Whether values may hold line ends; None where quotes are not to be trusted.
        """
        if self._header_due:
            data, self._header_due = self._without_header(data), False
            self._rows.account.headers += 1
        if not data.strip():
            return
        if quoted is None:
            self._rows.account.fell_back(OPEN_QUOTE, rows=0, size=len(data))
        parsed = self._parse(delimiter, data, None if quoted is None else self._form.quote, quoted=bool(quoted))
        if parsed is None:
            yield text_piece(self._rows, data.split(b"\n"), ODD_FIELDS, self._group)
            return
        columns, bad = parsed
        total = columns.num_rows + len(bad)
        first = self._rows.next
        numbers = self._rows.take(total)
        kept: Int64s | None = numbers_without(first, total, [first + number - 1 for number, _ in bad])
        self._rows.account.column_rows += columns.num_rows
        lines, line_numbers = self._as_lines(bad, first)
        yield Piece(self._group, self._headers, columns, numbers if kept is None else kept, lines, line_numbers)

    def _as_lines(self, bad: list[tuple[int, str]], first: int) -> tuple[pa.Array | None, Int64s]:
        """Rows with another number of fields as plain text; one with line ends in it keeps one number."""
        import pyarrow as pa

        if not bad:
            return None, np.zeros(0, np.int64)
        account = self._rows.account
        account.text_rows += len(bad)
        account.fell_back(ODD_FIELDS, rows=len(bad), size=sum(len(text.encode()) for _, text in bad))
        lines = pa.array([text.replace("\n", " ") for _, text in bad], pa.string())
        return lines, np.array([first + number - 1 for number, _ in bad], np.int64)

    def _parse(
        self, delimiter: str, data: bytes, quote: str | None, *, quoted: bool
    ) -> tuple[pa.RecordBatch, list[tuple[int, str]]] | None:
        import pyarrow as pa
        import pyarrow.csv as pv

        bad: list[tuple[int, str]] = []

        def on_bad(row: Any) -> str:
            bad.append((row.number, row.text))
            return "skip"

        try:
            table = pv.read_csv(
                pa.BufferReader(data),
                read_options=pv.ReadOptions(
                    use_threads=False,
                    block_size=len(data) + 1 if quoted else min(PARSE_BLOCK_BYTES, len(data) + 1),
                    column_names=self._places,
                ),
                parse_options=pv.ParseOptions(
                    delimiter=delimiter,
                    quote_char=quote or False,
                    newlines_in_values=quoted and quote is not None,
                    invalid_row_handler=on_bad,
                ),
                convert_options=pv.ConvertOptions(
                    column_types=dict.fromkeys(self._places, pa.string()),
                    check_utf8=False,
                    strings_can_be_null=True,
                    null_values=[""],
                ),
            )
        except pa.ArrowException:
            return None
        arrays = [one_array(table.column(place)) for place in self._places]
        return pa.RecordBatch.from_arrays(arrays, names=self._places), bad

    def _without_header(self, data: bytes) -> bytes:
        """What follows the first record that is not blank."""
        start = len(data) - len(data.lstrip(b"\r\n"))
        if self._form.quote == '"' and len(self._form.delimiter.encode()) == 1:
            match = RecordCutter(self._form.delimiter).record.match(data, start)
            if match is not None:
                return data[match.end() :]
        stop = data.find(b"\n", start)
        return b"" if stop < 0 else data[stop + 1 :]


def _fitted(header: tuple[str, ...] | None, count: int) -> tuple[str, ...] | None:
    """A header of exactly so many words: cut, or filled with empty ones."""
    if header is None:
        return None
    return (*header[:count], *([""] * (count - len(header))))
