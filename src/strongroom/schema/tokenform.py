"""Forms that tokens keep: a phone number stays one, a resident id keeps its check character, digits their number.

Rules:

1. A form is a set of values and an equally large set of tokens, both as numbers or digits that a cipher permutes. Which
   values are in it depends on the value alone, never on others, and is part of the format.
2. A value outside of its field's form has a text token, which no form takes for one of its own.
3. A token of a resident id has a province code that was never given out: it is nobody's id. For phone numbers there is
   no such range: a token may be somebody's number, and nobody is to call it.
4. Fields that are normalised alike share a domain: equal values have equal tokens, so that tables stay joined.

Ciphers and keys are left to the keymaster.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from math import prod
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from strongroom.errors import UsageError
from strongroom.schema.model import Table
from strongroom.schema.phone import USUAL
from strongroom.schema.tokendigits import are_digits, fixed, read, text, weighted, write
from strongroom.schema.vocabulary import PHONE_STEP

if TYPE_CHECKING:
    import pyarrow as pa

DIGITS_MIN, DIGITS_MAX = 6, 36
"""How many digits a plain number has that keeps its form: fewer are too few to hide, more too long for a column."""

_TOKEN_TYPES = ("string", "int")
_KINDS = ("id", "digits", "email")

U8 = npt.NDArray[np.uint8]
U64 = npt.NDArray[np.uint64]
Bool = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class TokenField:
    """What tokens of a field depend on.

    Args:
        name: What messages call it.
        domain: Fields of one domain have the same token for the same value.
        steps: How values are normalised before they become tokens.
    """

    name: str
    domain: str
    steps: tuple[str, ...] = ()


def token_field(table: Table, name: str) -> TokenField:
    """What tokens of a field of a table depend on.

    The domain is that of the field's normalisation where it names a kind of identifier (`phone:…`, `id`, `email`,
    `digits`), else that of subjects for the field that says whom a record is about, else the field's own.

    Raises:
        NotFoundError: The table has no such field.
        UsageError: It is neither text nor a whole number.
    """
    field = table.field(name)
    if field.type not in _TOKEN_TYPES:
        raise UsageError(f"field {table.name}.{name}: there are tokens of text and whole numbers, not of {field.type}")
    kinds = [step for step in field.normalise if step in _KINDS or step.startswith(PHONE_STEP)]
    if kinds:
        domain = "as " + " ".join(field.normalise)
    else:
        domain = "subject" if name == table.subject else f"field {field.id.hex()}"
    return TokenField(f"{table.name}.{name}", domain, field.normalise)


@dataclass(frozen=True)
class Part:
    """Rows of a column that one permutation does.

    Args:
        rows: bool[n], which rows.
        size: How many numbers are permuted; 0 where it is all digit strings of the width of `numbers`.
        numbers: u64[k] below the size, or digits u8[k, width].
        write: Makes strings of the other side (tokens of values, values of tokens) from permuted numbers.
    """

    rows: Bool
    size: int
    numbers: npt.NDArray[Any]
    write: Callable[[npt.NDArray[Any]], pa.Array]


class Form(Protocol):
    """A set of values and one of tokens."""

    name: str

    def parts(self, column: pa.Array, *, tokens: bool) -> list[Part]:
        """The rows of normalised strings, without nulls, that are values or tokens of it; none is in two parts."""
        ...


@cache
def form_of(steps: tuple[str, ...]) -> Form | None:
    """The form of fields that are normalised so, by the last step; None for text."""
    last = steps[-1] if steps else ""
    if last.startswith(PHONE_STEP):
        country = last[len(PHONE_STEP) :]
        return PhoneForm(country) if country in USUAL else None
    forms: dict[str, Form] = {"id": ResidentForm(), "digits": DigitsForm()}
    return forms.get(last)


# -- numbers whose places have ranges -----------------------------------------------------------------


@dataclass(frozen=True)
class _Segment:
    """Columns of a line that count together: many whole digits, or one digit of a range.

    Args:
        start: First column.
        width: Columns.
        lowest: Number that counts as 0.
        size: How many numbers there are.
    """

    start: int
    width: int
    lowest: int
    size: int


def _segments(lowest: str, highest: str) -> tuple[_Segment, ...]:
    found: list[_Segment] = []
    for at, (low, high) in enumerate(zip(lowest, highest, strict=True)):
        before = found[-1] if found else None
        if (low, high) == ("0", "9") and before and before.size == 10**before.width:
            found[-1] = _Segment(before.start, before.width + 1, 0, 10 * before.size)
        else:
            found.append(_Segment(at, 1, int(low), int(high) - int(low) + 1))
    return tuple(found)


class PhoneForm:
    """Mobile numbers in the usual form of a country: a token is another number of that form, as written there.

    Args:
        country: One of `USUAL`.
    """

    def __init__(self, country: str) -> None:
        form = USUAL[country]
        self.name = f"phone {country}"
        self._code = np.frombuffer(form.code.encode(), np.uint8)
        self._trunk = np.frombuffer(form.lowest[: form.trunk].encode(), np.uint8)
        self._segments = _segments(form.lowest[form.trunk :], form.highest[form.trunk :])
        self._width = len(form.lowest) - form.trunk
        self.size = prod(segment.size for segment in self._segments)

    def parts(self, column: pa.Array, *, tokens: bool) -> list[Part]:
        """See `Form`: values and tokens alike come in E.164."""
        code = len(self._code)
        lines, rows = fixed(column, code + self._width)
        good = np.ones(len(lines), np.bool_)
        for at in range(code):
            good &= lines[:, at] == self._code[at]
        number = np.zeros(len(lines), np.uint64)
        for segment in self._segments:
            start = code + segment.start
            good &= are_digits(lines, start, segment.width)
            value = read(lines, start, segment.width) - np.uint64(segment.lowest)
            good &= value < np.uint64(segment.size)  # below the lowest a u64 is very large
            number = number * np.uint64(segment.size) + value
        rows[rows] = good
        head = self._code if tokens else self._trunk
        return [Part(rows, self.size, number[good], lambda numbers: self._written(head, numbers))]

    def _written(self, head: U8, numbers: U64) -> pa.Array:
        lines = np.empty((len(numbers), len(head) + self._width), np.uint8)
        lines[:, : len(head)] = head
        for segment in reversed(self._segments):
            upper = numbers // np.uint64(segment.size)
            value = numbers - upper * np.uint64(segment.size) + np.uint64(segment.lowest)
            write(lines, len(head) + segment.start, segment.width, value)
            numbers = upper
        return text(lines)


# -- resident ids ---------------------------------------------------------------------------------------


_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_CHECK = np.frombuffer(b"10X98765432", np.uint8)
_PROVINCES = (
    *range(11, 16), *range(21, 24), *range(31, 38), *range(41, 47), *range(50, 55), *range(61, 66), 71, *range(81, 84),
)  # fmt: skip


@dataclass(frozen=True)
class _Layout:
    """Resident ids with these provinces and birth dates: province 2, area 4, date 8, serial 3, check 1."""

    provinces: tuple[int, ...]
    first_year: int
    last_year: int

    @property
    def size(self) -> int:
        """How many there are."""
        return len(self.provinces) * 10**4 * len(self.calendar.days) * 10**3

    @property
    def calendar(self) -> _Calendar:
        """The birth dates."""
        return _calendar(self.first_year, self.last_year)

    def read(self, lines: U8) -> tuple[Bool, U64]:
        """Which lines u8[n, 18] are such ids, and the number of each."""
        good = are_digits(lines, 0, 17) & (lines[:, 17] == _check(lines))
        places = np.full(256, len(self.provinces), np.uint64)
        places[list(self.provinces)] = np.arange(len(self.provinces))
        province = places[read(lines, 0, 2).astype(np.uint8)]
        day, dated = self.calendar.day(read(lines, 6, 4), read(lines, 10, 2), read(lines, 12, 2))
        good &= dated & (province < np.uint64(len(self.provinces)))
        number = (province * np.uint64(10**4) + read(lines, 2, 4)) * np.uint64(len(self.calendar.days)) + day
        return good, number * np.uint64(10**3) + read(lines, 14, 3)

    def write(self, numbers: U64) -> pa.Array:
        """The ids of numbers below the size."""
        lines = np.empty((len(numbers), 18), np.uint8)
        for start, width, size, table in (
            (14, 3, 10**3, None),
            (6, 8, len(self.calendar.days), self.calendar.days),
            (2, 4, 10**4, None),
            (0, 2, len(self.provinces), np.array(self.provinces, np.uint64)),
        ):
            upper = numbers // np.uint64(size)
            value = numbers - upper * np.uint64(size)
            write(lines, start, width, value if table is None else table[value.astype(np.intp)])
            numbers = upper
        lines[:, 17] = _check(lines)
        return text(lines)


class _Calendar:
    """Every day of some years, by number.

    Args:
        first: First year.
        last: Last year.
    """

    def __init__(self, first: int, last: int) -> None:
        every = np.arange(np.datetime64(f"{first}-01-01", "D"), np.datetime64(f"{last + 1}-01-01", "D"))
        starts = np.arange(np.datetime64(f"{first}-01", "M"), np.datetime64(f"{last + 1}-02", "M"))
        months = starts.astype("datetime64[D]")
        month, year = every.astype("datetime64[M]"), every.astype("datetime64[Y]")
        written = (year.astype(np.int64) + 1970) * 10_000 + ((month - year).astype(np.int64) + 1) * 100
        self.days = (written + (every - month).astype(np.int64) + 1).astype(np.uint64)
        """u64: each day as a number such as 20010203."""
        self._first, self._months = np.uint64(first), np.uint64(12 * (last - first + 1))
        self._starts = (months - months[0]).astype(np.uint64)
        self._lengths = np.diff(self._starts)

    def day(self, year: U64, month: U64, day: U64) -> tuple[U64, Bool]:
        """The numbers of dates, and whether each is one."""
        which = (year - self._first) * np.uint64(12) + month - np.uint64(1)  # below the first a u64 is very large
        good = (which < self._months) & (month - np.uint64(1) < np.uint64(12)) & (year >= self._first)
        which = np.minimum(which, self._months - np.uint64(1)).astype(np.intp)
        good &= day - np.uint64(1) < self._lengths[which]
        return self._starts[which] + day - np.uint64(1), good


@cache
def _calendar(first: int, last: int) -> _Calendar:
    return _Calendar(first, last)


def _check(lines: U8) -> U8:
    """The check character (ISO 7064 MOD 11-2) of the first 17 digits of each line."""
    total = (lines[:, 16] & np.uint8(0xF)) * np.uint32(_WEIGHTS[16])
    for start in range(0, 16, 4):
        total += weighted(lines, start, _WEIGHTS[start : start + 4])
    return _CHECK[total - total // np.uint32(11) * np.uint32(11)]


class ResidentForm:
    """Resident ids of China (GB 11643-1999) with a right check character and a birth date from 1900 to 2049.

    A token has 18 characters, a birth date from 1906 to 2025, a right check character, and a province code that
    GB/T 2260 never gave out: it says nothing of the value's area, date or sex, and is nobody's id.
    """

    name = "resident id"

    def __init__(self) -> None:
        self._values = _Layout(_PROVINCES, 1900, 2049)
        # Codes from 90 on are left out: foreigners' cards begin with a 9.
        self._tokens = _Layout(tuple(code for code in range(10, 90) if code not in _PROVINCES), 1906, 2025)
        self.size = self._values.size

    def parts(self, column: pa.Array, *, tokens: bool) -> list[Part]:
        """See `Form`."""
        source, target = (self._tokens, self._values) if tokens else (self._values, self._tokens)
        lines, rows = fixed(column, 18)
        good, number = source.read(lines)
        good &= number < np.uint64(self.size)  # there are more tokens than values
        rows[rows] = good
        return [Part(rows, self.size, number[good], target.write)]


# -- digits ---------------------------------------------------------------------------------------------


class DigitsForm:
    """Plain digits, 6 to 36 of them: a token has as many."""

    name = "digits"

    def parts(self, column: pa.Array, *, tokens: bool) -> list[Part]:  # noqa: ARG002 - both look the same
        """See `Form`."""
        import pyarrow.compute as pc

        found = []
        lengths = np.asarray(pc.binary_length(column))
        for width in np.unique(lengths[(lengths >= DIGITS_MIN) & (lengths <= DIGITS_MAX)]).tolist():
            lines, rows = fixed(column, width)
            good = are_digits(lines, 0, width)
            rows[rows] = good
            found.append(Part(rows, 0, lines[good] - np.uint8(48), lambda digits: text(digits + np.uint8(48))))
        return found
