"""Some rows of a sample and what they say: distinct values by field, and once they are looked up, persons by row.

Rules it keeps:

1. A column counts as one identifier of a row, however many fields it may be; in plain text, one kind of value does.
2. A row's person is the one whom most of its identifiers point to; of several, whose own value it is in a table with
   one record a person (a parcel has its recipient's number). A row that points to several alike shows nobody alone.
3. Rows with the same identifiers are told by one number, so that they can be counted once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from strongroom.keymaster.tracing.api import FIELDS_MAX
from strongroom.seal.columns import sort_entries, token_changes

if TYPE_CHECKING:
    import pyarrow as pa

    from strongroom.trace.leak.sample import Candidate

I64 = npt.NDArray[np.int64]
U8 = npt.NDArray[np.uint8]
U64 = npt.NDArray[np.uint64]
Bool = npt.NDArray[np.bool_]

COLUMNS_MAX = 200
"""Columns beyond count as one."""
_MIX = np.uint64(0x9E3779B97F4A7C15)
_WORD = (1 << 64) - 1


class Names:
    """(table, field) → a bit, the same through a sample; what is beyond `FIELDS_MAX` has none."""

    def __init__(self) -> None:
        self.known: dict[tuple[str, str], int] = {}
        self.beyond: set[tuple[str, str]] = set()

    def bit(self, table: str, name: str) -> int | None:
        """Number of its bit, made when it is new."""
        key = (table, name)
        if key not in self.known and len(self.known) < FIELDS_MAX:
            self.known[key] = len(self.known)
        if key not in self.known:
            self.beyond.add(key)
        return self.known.get(key)


@dataclass(frozen=True)
class Wanted:
    """What is looked up as one field: rows i64[m], the column of each u8[m], and values without nulls, as parts.

    Values are tokens of the export `tokens_of`; `certain` says that a token which is not its own is told as such.
    """

    table: str
    name: str
    rows: list[I64] = field(default_factory=list, repr=False)
    columns: list[npt.NDArray[np.uint8]] = field(default_factory=list, repr=False)
    values: list[pa.Array] = field(default_factory=list, repr=False)
    tokens_of: str = ""
    certain: bool = True


@dataclass(frozen=True)
class Pairs:
    """Persons found in rows: row i64[k], token u8[k,16], column u8[k], bit of the field (64 for none) u8[k].

    `certain` are those behind tokens, `own` those of a table with one record a person.
    """

    rows: I64
    tokens: U8 = field(repr=False)
    columns: npt.NDArray[np.uint8]
    bits: npt.NDArray[np.uint8]
    certain: bool = False
    own: bool = False


@dataclass(frozen=True)
class Persons:
    """Persons of some rows, in order of their tokens, each once.

    Args:
        tokens: u8[n,16].
        sure: bool[n], two identifiers of a row or a token.
        first: i64[n], the first row that has the person: with certainty, where one has.
        fields: u64[n], which fields the rows have of the person.
        alone: bool[n], a row points to the person and to nobody else as much.
    """

    tokens: U8 = field(repr=False)
    sure: Bool
    first: I64
    fields: U64
    alone: Bool

    @staticmethod
    def none() -> Persons:
        """Nobody."""
        nobody = np.empty((0, 16), np.uint8)
        none = np.zeros(0, np.bool_)
        return Persons(nobody, none, np.empty(0, np.int64), np.empty(0, np.uint64), none)

    def joined(self, other: Persons) -> Persons:
        """Those of earlier rows and of later ones."""
        if not len(self.tokens) or not len(other.tokens):
            return other if not len(self.tokens) else self
        tokens = np.concatenate([self.tokens, other.tokens])
        sure, first = np.concatenate([self.sure, other.sure]), np.concatenate([self.first, other.first])
        fields, alone = np.concatenate([self.fields, other.fields]), np.concatenate([self.alone, other.alone])
        order, starts = grouped(tokens)
        sure, first, fields, alone = sure[order], first[order], fields[order], alone[order]
        level = sure.astype(np.int8) + alone  # who is sure is alone
        best = np.maximum.reduceat(level, starts)
        least = level < np.repeat(best, np.diff(np.append(starts, len(order))))
        return Persons(
            np.ascontiguousarray(tokens[order][starts]), best == 2,
            np.minimum.reduceat(np.where(least, np.iinfo(np.int64).max, first), starts),
            np.bitwise_or.reduceat(fields, starts), best > 0,
        )  # fmt: skip


@dataclass(frozen=True)
class RowsFound:
    """Rows in which something was looked for, ascending.

    Args:
        rows: Ids, i64[n].
        tested: Identifiers looked for, i16[n].
        matched: Those that point to the row's person, i16[n].
        weighed: Identifiers looked for whose chance of a foreign match is known, i16[n].
        agreed: Those of them that point to the row's person, i16[n].
        same: A number that is equal where rows say the same, u64[n].
        person: Place of the row's person in `persons`, -1 for none, i64[n].
        persons: The persons.
    """

    rows: I64
    tested: npt.NDArray[np.int16]
    matched: npt.NDArray[np.int16]
    weighed: npt.NDArray[np.int16]
    agreed: npt.NDArray[np.int16]
    same: U64
    person: I64
    persons: Persons = field(repr=False)

    def counts(self) -> RowsFound:
        """The same without persons, for whoever keeps it."""
        none = np.empty(0, np.int64)
        return RowsFound(
            np.empty(0, np.int64), self.tested, self.matched, self.weighed, self.agreed, self.same, none, Persons.none()
        )


def grouped(tokens: U8) -> tuple[I64, I64]:
    """The order that sorts tokens u8[n,16], and where in it each distinct one starts."""
    order = sort_entries(tokens)
    return order, np.flatnonzero(token_changes(np.ascontiguousarray(tokens[order])))


class Window:
    """Rows of a sample that are looked up together."""

    def __init__(self, names: Names) -> None:
        self._names = names
        self._wanted: dict[tuple[str, str, str, bool], Wanted] = {}
        self._present: list[tuple[int, I64]] = []
        self._kinds: dict[tuple[str, ...], int] = {}
        self._known = np.ones(256, np.bool_)
        self.values = 0

    def add(self, base: int, candidate: Candidate, *, steps: tuple[str, ...], known: bool) -> None:
        """Take values of a column in, as a field that is looked up.

        Args:
            base: What row numbers are added to.
            candidate: The values.
            steps: How they were normalised.
            known: Whether the chance of a foreign value to match is known.
        """
        column = candidate.column
        if column is None or column >= COLUMNS_MAX:
            kind = ("", *steps) if column is None else (str(column),)
            column = min(COLUMNS_MAX + self._kinds.setdefault(kind, len(self._kinds)), 255)
        self._known[column] &= known
        one = self._of(candidate.table, candidate.field)
        one.rows.append(base + candidate.numbers)
        one.columns.append(np.full(len(candidate.numbers), column, np.uint8))
        one.values.append(candidate.values)
        self.values += len(candidate.values)

    def add_tokens(
        self, rows: I64, column: int, table: str, name: str, export: str, values: pa.Array, *, certain: bool = True
    ) -> None:
        """Take tokens of an export in; see `Wanted` for `certain`."""
        one = self._of(table, name, export, certain=certain)
        one.rows.append(rows)
        one.columns.append(np.full(len(rows), min(column, COLUMNS_MAX - 1), np.uint8))
        one.values.append(values)
        self.values += len(values)

    def _of(self, table: str, name: str, export: str = "", *, certain: bool = True) -> Wanted:
        key = (table, name, export, certain)
        if key not in self._wanted:
            self._wanted[key] = Wanted(table, name, tokens_of=export, certain=certain)
        return self._wanted[key]

    def present(self, base: int, candidate: Candidate) -> None:
        """Note in which rows a field stands that is not looked up."""
        bit = self._names.bit(candidate.table, candidate.field)
        if bit is not None and len(candidate.numbers):
            self._present.append((bit, base + candidate.numbers))

    def wanted(self) -> Iterator[Wanted]:
        """What to look up, by field; what is taken in meanwhile comes last."""
        at = 0
        while at < len(self._wanted):
            yield list(self._wanted.values())[at]
            at += 1

    def found(self, pairs: list[Pairs], tags: list[U64]) -> RowsFound:
        """Put together what look-ups found.

        Args:
            pairs: Persons by row, of all fields.
            tags: For each field that `wanted` gave, a number for each of its values, equal for equal ones.
        """
        tested = [(np.concatenate(one.rows), np.concatenate(one.columns)) for one in self._wanted.values()]
        if not tested:
            empty = np.empty(0, np.int64)
            none16 = np.empty(0, np.int16)
            return RowsFound(empty, none16, none16, none16, none16, np.empty(0, np.uint64), empty, Persons.none())
        rows = np.unique(np.concatenate([r for r, _ in tested]))
        keys = np.unique(np.concatenate([(np.searchsorted(rows, r) << 8) | c.astype(np.int64) for r, c in tested]))
        count = np.bincount(keys >> 8, minlength=len(rows)).astype(np.int16)
        weighed = np.bincount(keys[self._known[keys & 0xFF]] >> 8, minlength=len(rows)).astype(np.int16)
        matched, agreed = np.zeros(len(rows), np.int16), np.zeros(len(rows), np.int16)
        person = np.full(len(rows), -1, np.int64)
        pairs = [one for one in pairs if len(one.rows)]
        if not pairs:
            return RowsFound(rows, count, matched, weighed, agreed, self._same(rows, tags), person, Persons.none())
        row, token, column, bit = (
            np.concatenate([getattr(one, part) for one in pairs]) for part in ("rows", "tokens", "columns", "bits")
        )
        certain, own = (
            np.concatenate([np.full(len(one.rows), getattr(one, word)) for one in pairs]) for word in ("certain", "own")
        )
        row = np.searchsorted(rows, row)
        order, starts = grouped(token)
        tokens = np.ascontiguousarray(token[order][starts])
        who = np.empty(len(order), np.int64)
        who[order] = np.repeat(np.arange(len(starts)), np.diff(np.append(starts, len(order))))
        best = _best(row, who, column, certain, own, self._known)
        matched[best.row], agreed[best.row], person[best.row] = best.columns, best.known, best.who
        fields = np.zeros(len(tokens), np.uint64)
        mine = person[row] == who
        known = mine & (bit < FIELDS_MAX)
        np.bitwise_or.at(fields, who[known], np.uint64(1) << bit[known].astype(np.uint64))
        self._add_present(fields, rows, person)
        persons, place = _persons(tokens, fields, rows, best)
        person[best.row] = place[best.who]
        return RowsFound(rows, count, matched, weighed, agreed, self._same(rows, tags), person, persons)

    def _add_present(self, fields: U64, rows: I64, person: I64) -> None:
        """Fields that were not looked up, of the persons of their rows."""
        for bit, own in self._present:
            at = np.minimum(np.searchsorted(rows, own), len(rows) - 1)
            at = at[(rows[at] == own) & (person[at] >= 0)]
            fields[np.unique(person[at])] |= np.uint64(1) << np.uint64(bit)

    def _same(self, rows: I64, tags: list[U64]) -> U64:
        """A number for each row, equal where its identifiers are, in whichever window and order of columns."""
        total = np.zeros(len(rows), np.uint64)
        with np.errstate(over="ignore"):
            for one, tag in zip(self._wanted.values(), tags, strict=True):
                at = np.searchsorted(rows, np.concatenate(one.rows))
                np.add.at(total, at, (tag ^ np.uint64(hash((one.table, one.name)) & _WORD)) * _MIX)
        return total


@dataclass(frozen=True)
class _Best:
    """Of rows with a match: row, the person most identifiers point to, how many, of known chance, if sure, if alone."""

    row: I64
    who: I64
    columns: npt.NDArray[np.int16]
    known: npt.NDArray[np.int16]
    sure: Bool
    alone: Bool


def _best(row: I64, who: I64, column: npt.NDArray[np.uint8], certain: Bool, own: Bool, known: Bool) -> _Best:
    """For each row the person with most columns; of several the one who has the value, then whose token is least."""
    span = np.int64(who.max()) + 1
    pair = row * span + who
    order = np.lexsort((column, pair))
    pair, column, certain, own = pair[order], column[order], certain[order], own[order]
    fresh = np.ones(len(pair), np.bool_)
    fresh[1:] = pair[1:] != pair[:-1]
    other = fresh.copy()
    other[1:] |= column[1:] != column[:-1]
    starts = np.flatnonzero(fresh)
    columns = np.add.reduceat(other.astype(np.int16), starts)
    weighed = np.add.reduceat((other & known[column]).astype(np.int16), starts)
    told = np.logical_or.reduceat(certain, starts)
    rank = 2 * (columns.astype(np.int64) + told * 1_000) + np.logical_or.reduceat(own, starts)
    of_row, whose = pair[starts] // span, pair[starts] % span
    order = np.lexsort((whose, -rank, of_row))
    first = np.ones(len(order), np.bool_)
    first[1:] = of_row[order][1:] != of_row[order][:-1]
    tied = np.zeros(len(order), np.bool_)
    tied[:-1] = ~first[1:] & (rank[order][1:] == rank[order][:-1])
    kept, alone = order[first], ~tied[first]
    sure = alone & ((columns[kept] >= 2) | told[kept])
    return _Best(of_row[kept], whose[kept], columns[kept], weighed[kept], sure, alone)


def _persons(tokens: U8, fields: U64, rows: I64, best: _Best) -> tuple[Persons, I64]:
    """The persons whom rows point to, without those whom no row points to most; and the new place of each, i64[n]."""
    size = len(tokens)
    level = best.sure.astype(np.int8) + best.alone
    most = np.zeros(size, np.int8)
    np.maximum.at(most, best.who, level)
    last = np.iinfo(np.int64).max
    first = np.full(size, last, np.int64)
    counted = level == most[best.who]
    np.minimum.at(first, best.who[counted], rows[best.row[counted]])
    kept = first < last
    most = most[kept]
    found = Persons(np.ascontiguousarray(tokens[kept]), most == 2, first[kept], fields[kept], most > 0)
    return found, np.cumsum(kept) - 1


__all__ = ["Names", "Pairs", "Persons", "RowsFound", "Wanted", "Window", "grouped"]
