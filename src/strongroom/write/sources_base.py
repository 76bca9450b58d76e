"""What every kind of source gives: batches of rows with exact row numbers, and the rows that could not be read.

Rules it keeps:

1. A row number is 1 for the first record of a file after its header; blank lines are no rows, rows that
   cannot be read are. So a number names the same record whoever reads the file.
2. Messages carry the source, row and position, never a value; a header may be a row of data by mistake, so
   its words are not repeated either.
3. Text formats give text: no types are guessed. An empty CSV field is null.
4. Columns that the table does not have are left out, and the batch that they were in names them.

Reading is left to `sources_csv`, `sources_json` and `sources_arrow`, types to `strongroom.schema.check`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from strongroom.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa

Int64s = npt.NDArray[np.int64]

ROWS_PER_BATCH = 131_072
FIELDS_MAX = 10_000
LEFT_OUT_NAMED_MAX = 100
LEFT_OUT_CHARS_MAX = 64

WRONG_FIELD_COUNT = "wrong number of fields"
BAD_ENCODING = "not valid in its encoding"
NOT_JSON = "not a JSON object"
NESTED_VALUE = "nested value"


@dataclass(frozen=True)
class BadRows:
    """Rows that could not be read, in row order: their numbers, why, and their bytes as they came."""

    rows: tuple[int, ...] = ()
    reasons: tuple[str, ...] = ()
    raw: tuple[bytes, ...] = field(default=(), repr=False)

    def __len__(self) -> int:
        return len(self.rows)

    def moved(self, by: int) -> BadRows:
        """The same rows with `by` added to each number."""
        return BadRows(tuple(r + by for r in self.rows), self.reasons, self.raw) if self.rows else self

    def between(self, low: int, high: int | None) -> BadRows:
        """The rows with low <= number < high (no upper bound where `high` is None)."""
        if not self.rows:
            return self
        keep = [i for i, r in enumerate(self.rows) if r >= low and (high is None or r < high)]
        return BadRows(
            tuple(self.rows[i] for i in keep),
            tuple(self.reasons[i] for i in keep),
            tuple(self.raw[i] for i in keep),
        )


@dataclass(frozen=True)
class SourceBatch:
    """Some consecutive rows of one source.

    `first_row` is the number of the first row looked at, `columns` holds the rows that could be read, in
    order, `bad` the others. `numbers` i64[columns.num_rows] is only kept where rows are missing in between. `left_out`
    names what stood there and is no field of the table, LEFT_OUT_NAMED_MAX of it at most.
    """

    source: str
    first_row: int
    columns: pa.RecordBatch = field(repr=False)
    bad: BadRows = field(default_factory=BadRows)
    numbers: Int64s | None = field(default=None, repr=False)
    left_out: tuple[str, ...] = field(default=(), repr=False)

    @property
    def rows(self) -> int:
        """How many rows were looked at, read or not."""
        return int(self.columns.num_rows) + len(self.bad)

    def row_numbers(self) -> Int64s:
        """The number of each row of `columns`, i64[n]."""
        if self.numbers is not None:
            return self.numbers
        return np.arange(self.first_row, self.first_row + self.columns.num_rows, dtype=np.int64)


@dataclass(frozen=True)
class SourceDigest:
    """What was read: the name of the source, its SHA-256 as stored (compressed bytes if compressed), its size."""

    source: str
    sha256: bytes
    size: int


class Progress(Protocol):
    """How far reading has come, for a progress bar."""

    @property
    def bytes_done(self) -> int:
        """Bytes read so far."""

    @property
    def bytes_total(self) -> int | None:
        """Bytes there are, or None where nobody knows (standard input, iterators)."""


class Part(Protocol):
    """One file, table or iterator among the sources of a put."""

    name: str
    digest: SourceDigest | None
    own_thread: bool

    @property
    def bytes_done(self) -> int:
        """Bytes read so far."""

    @property
    def bytes_total(self) -> int | None:
        """Bytes there are, where that is known."""

    def stop(self) -> None:
        """End a wait for bytes in another thread; nothing is read from it any more."""

    def batches(self, pool: ThreadPoolExecutor) -> Iterator[SourceBatch]:
        """Its batches, in order; `digest` is set when they are used up, where there are bytes to digest."""


@dataclass(frozen=True)
class Selection:
    """Which columns are wanted: `known` to the table (others are left out), `needed` must be there."""

    known: tuple[str, ...] | None = None
    needed: tuple[str, ...] = ()

    @classmethod
    def of(cls, known: Collection[str] | None, needed: Collection[str] | None) -> Selection:
        """Every known field is needed unless `needed` says which are."""
        if known is None:
            return cls(None, tuple(needed or ()))
        return cls(tuple(known), tuple(known if needed is None else needed))

    def wanted(self, names: Sequence[str], source: str) -> list[str]:
        """Those of `names` that the table knows, after checking that the names can be used.

        Raises:
            InputError: A name stands twice, is empty, or is a field's in other letters; or a needed field is not there.
        """
        check_names(names, source, may_be_empty=self.known is not None)
        lacking = [n for n in self.needed if n not in set(names)]
        if lacking:
            raise InputError(
                f"{source}: no column for {listed(lacking)}",
                hint="the first line must name the columns as the schema does; "
                "for a file without such a line name them in order with columns (--columns a,b,c).",
            )
        known = None if self.known is None else set(self.known)
        self._refuse_other_letters(names, source)
        return [n for n in names if known is None or n in known]

    def left_out(self, names: Iterable[str]) -> tuple[str, ...]:
        """Those of `names` that the table does not know, fit to be shown; the first LEFT_OUT_NAMED_MAX of them."""
        if self.known is None:
            return ()
        unknown = (name for name in names if name not in self._known_set)
        return tuple(map(_shown, islice(unknown, LEFT_OUT_NAMED_MAX)))

    def left_out_of_objects(self, names: Collection[str], source: str) -> tuple[str, ...]:
        """The same for the names in some objects, in the order they were met.

        Raises:
            InputError: One is a field's in other letters, and none of the objects has the field.
        """
        if self.known is None:
            return ()
        self._refuse_other_letters(names, source)
        return self.left_out(names)

    @cached_property
    def _known_set(self) -> frozenset[str]:
        return frozenset(self.known or ())

    def _refuse_other_letters(self, names: Collection[str], source: str) -> None:
        """Refuse a column that would be left out, and leave its field empty, for its capitals or spaces alone."""
        absent = {field.casefold(): field for field in self.known or () if field not in names}
        for position, name in enumerate(names, 1):
            field = absent.get(name.strip().casefold())
            if field is not None:
                raise InputError(
                    f"{source}: column {position} is field {field} in other letters or with spaces",
                    hint="name it as the schema does",
                )


def _shown(name: str) -> str:
    """A name as a message shows it: printable, and not without end."""
    if not name:
        return "(a column without a name)"
    plain = "".join(c if c.isprintable() else "?" for c in name[: LEFT_OUT_CHARS_MAX + 1])
    return plain if len(plain) <= LEFT_OUT_CHARS_MAX else f"{plain[:LEFT_OUT_CHARS_MAX]}…"


def check_names(names: Sequence[str], source: str, *, may_be_empty: bool = False) -> None:
    """Check the names of columns: not too many, none twice, none empty.

    Raises:
        InputError: With the positions, not the names: what looks like a header may be data.
    """
    if len(names) > FIELDS_MAX:
        raise InputError(f"{source}: {len(names)} columns, more than {FIELDS_MAX}")
    first: dict[str, int] = {}
    for position, name in enumerate(names, 1):
        if not name:
            if may_be_empty:
                continue
            raise InputError(f"{source}: column {position} has no name", hint="give every column a name.")
        if name in first:
            raise InputError(
                f"{source}: columns {first[name]} and {position} have the same name",
                hint="rename one of them, or name the columns yourself with columns.",
            )
        first[name] = position


def listed(names: Sequence[str], most: int = 8) -> str:
    """Names in one line, cut after `most` of them."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def sliced(batch: SourceBatch, most: int) -> Iterator[SourceBatch]:
    """The same rows in batches of up to `most`, without copying; an empty batch is left out."""
    total = batch.columns.num_rows
    if total <= most:
        if batch.rows:
            yield batch
        return
    numbers = batch.row_numbers()
    low = batch.first_row
    for start in range(0, total, most):
        piece = numbers[start : start + most]
        last = start + most >= total
        high = None if last else int(numbers[start + most])
        yield SourceBatch(
            batch.source,
            low,
            batch.columns.slice(start, most),
            batch.bad.between(low, high),
            piece if batch.numbers is not None else None,
            batch.left_out,
        )
        low = int(numbers[start + most]) if not last else low


def numbers_without(first_row: int, total: int, bad_rows: Sequence[int]) -> Int64s | None:
    """Numbers of the rows left when `bad_rows` are taken out of `total` rows from `first_row`, or None if none are."""
    if not len(bad_rows):
        return None
    keep = np.ones(total, dtype=np.bool_)
    keep[np.asarray(bad_rows, dtype=np.int64) - first_row] = False
    return np.flatnonzero(keep).astype(np.int64) + first_row
