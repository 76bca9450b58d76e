"""What every reader of a sample gives: pieces of rows, and an account of what was not read as it stood.

Rules it keeps:

1. Rows in are rows out: each record of a file is a row of columns, a row of plain text, or counted as unread with why.
2. Row numbers start at 1 for the first record after a header; blank lines are no rows.
3. Nothing here prints a value; a header may be a row of data by mistake, so only known words of headers are shown.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import pyarrow as pa

Int64s = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]

BLOCK_BYTES = 8 << 20
LINE_BYTES_MAX = 64 << 20
COLUMNS_MAX = 1_000

CUT_SHORT = "the compressed data is damaged or cut short"
LOCKED = "encrypted, or packed in a way that cannot be read"
LONG_LINE = "lines that were cut because they are too long"
ODD_FIELDS = "another number of fields"
OPEN_QUOTE = "a quote that is opened and not closed"
NOT_JSON = "no JSON object"
MANY_NAMES = "too many different names"
LOST_SQL = "statements that cannot be followed"
BAD_GROUP = "damaged row groups"
NO_ROWS = "statements that hold no rows"


@dataclass
class Tally:
    """How often something happened: rows and bytes."""

    rows: int = 0
    bytes: int = 0


@dataclass
class Account:
    """What was read of one source, and what was not.

    Args:
        source: Its name.
        form: `csv`, `json`, `parquet`, `sql` or `text`.
        encodings: Lines that were not ASCII or UTF-8, by the encoding they were read as.
        rows: Records looked at.
        column_rows: Rows read as columns.
        text_rows: Rows read as plain text.
        headers: Header rows; they are no records.
        as_text: Rows read as plain text in a file of columns, by reason.
        unread: What was not read at all, by reason.
        replaced_bytes: Bytes that are no text, each read as one U+FFFD.
        size: Bytes of the file as stored, as far as it was read.
        sha256: Digest of the file as stored; empty until it is read to its end.
    """

    source: str
    form: str = ""
    encodings: dict[str, int] = field(default_factory=dict)
    rows: int = 0
    column_rows: int = 0
    text_rows: int = 0
    headers: int = 0
    as_text: dict[str, Tally] = field(default_factory=dict)
    unread: dict[str, Tally] = field(default_factory=dict)
    replaced_bytes: int = 0
    size: int = 0
    sha256: bytes = b""

    def lost(self, reason: str, *, rows: int = 0, size: int = 0) -> None:
        """Note rows or bytes that were not read; rows are counted as looked at."""
        tally = self.unread.setdefault(reason, Tally())
        tally.rows += rows
        tally.bytes += size
        self.rows += rows

    def fell_back(self, reason: str, *, rows: int, size: int) -> None:
        """Note rows of a file of columns that are read as plain text."""
        tally = self.as_text.setdefault(reason, Tally())
        tally.rows += rows
        tally.bytes += size


@dataclass(frozen=True)
class Piece:
    """Some rows of one source as they were read.

    Args:
        group: Name of the table in a dump; "" elsewhere.
        headers: What the columns are called; None where nobody says.
        columns: Rows of columns: text, or typed where the file has types.
        numbers: Row number of each row of `columns`, i64[n].
        lines: Rows that are read as plain text; none may hold a line end.
        line_numbers: Row number of each of `lines`.
    """

    group: str = ""
    headers: tuple[str, ...] | None = field(default=None, repr=False)
    columns: pa.RecordBatch | None = field(default=None, repr=False)
    numbers: Int64s = field(default_factory=lambda: np.zeros(0, np.int64), repr=False)
    lines: pa.Array | None = field(default=None, repr=False)
    line_numbers: Int64s = field(default_factory=lambda: np.zeros(0, np.int64), repr=False)


@dataclass
class Rows:
    """Gives out row numbers of one source, in order."""

    account: Account
    next: int = 1

    def take(self, count: int) -> Int64s:
        """The next so many numbers; they are counted as looked at."""
        numbers = np.arange(self.next, self.next + count, dtype=np.int64)
        self.next += count
        self.account.rows += count
        return numbers


def text_piece(rows: Rows, lines: list[bytes], reason: str | None, group: str = "") -> Piece:
    """Lines of valid UTF-8 as rows of plain text; blank ones are no rows.

    Args:
        rows: Where numbers come from.
        lines: The lines, without their ends.
        reason: Why they are not columns; None where the whole file is plain text.
        group: Name of the table in a dump.
    """
    import pyarrow as pa

    kept = [line for line in lines if line.strip()]
    rows.account.text_rows += len(kept)
    if reason is not None and kept:
        rows.account.fell_back(reason, rows=len(kept), size=sum(map(len, kept)))
    column = pa.array(kept, pa.binary()).view(pa.string())
    return Piece(group, lines=column, line_numbers=rows.take(len(kept)))


def paired(opening: Int64s, closing: Int64s) -> tuple[Int64s, Int64s, bool]:
    """Each closing mark with the opening one before it, and whether one is left open; places in order, i64[n]."""
    at = np.searchsorted(opening, closing) - 1
    closing, at = closing[at >= 0], at[at >= 0]
    first = np.ones(len(at), np.bool_)
    first[1:] = at[1:] != at[:-1]
    closing, at = closing[first], at[first]
    rest = bool(len(opening)) and (not len(at) or int(at[-1]) < len(opening) - 1)
    return opening[at], closing, rest
