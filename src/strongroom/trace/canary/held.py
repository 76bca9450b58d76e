"""Gives canaries numbers that the operator holds back for them, where the room cannot be asked which are free.

A number is drawn as if it were the room's, by the date of its record, near those of the sample, until one that is
held back lies close by and begins and ends alike: the same year and the same court, say. Each is used once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from strongroom.errors import UsageError
from strongroom.trace.canary.draw import Drawn
from strongroom.trace.canary.nodes import Node
from strongroom.trace.canary.serials import said
from strongroom.trace.canary.tokens import encode

Ints = npt.NDArray[np.int64]

FORMS_MAX = 48
_DIGITS_MAX = 18
_CLOSE = tuple(share for share in (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1, 2, 4) for _ in range(8))
_DIGITS = "[0-9]+"
_BETWEEN = "\x1f"


@dataclass(frozen=True)
class _Form:
    """Texts that differ in their digits alone.

    Args:
        looks: The text with 0 for each run of digits.
        at: Which run is the number that tells one from another.
        head: So many first digits of it are those of the year.
    """

    looks: str
    at: int
    head: int

    @property
    def pattern(self) -> str:
        """What stands before the number, the number, and what stands after it."""
        before = f"(?:[^0-9]*[0-9]+){{{self.at}}}[^0-9]*[0-9]{{{self.head}}}"
        return f"(?s)^(?P<before>{before})(?P<number>[0-9]+)(?P<behind>.*)$"


@dataclass
class HeldModel:
    """Numbers that are held back, each given out once.

    Args:
        inner: Draws what a number would be if it were the room's.
        values: The numbers held back, string[k].
        forms: How the sample writes its numbers.
        type: The field's.
    """

    inner: Any
    values: pa.Array
    forms: tuple[_Form, ...]
    type: pa.DataType

    @classmethod
    def learn(cls, inner: Any, column: pa.Array, values: pa.Array, dates: Mapping[str, pa.Array]) -> HeldModel:
        """Learn how numbers are written.

        Args:
            inner: A `TextModel` or `NumberModel` of the column.
            column: The sample's numbers.
            values: Those that are held back.
            dates: Dates and moments of the same records.
        """
        there = np.flatnonzero(column.is_valid().to_numpy(zero_copy_only=False))
        texts = column.take(pa.array(there)).cast(pa.string())
        years = [pc.year(d).fill_null(0).to_numpy(zero_copy_only=False)[there] for d in dates.values()]
        codes, looks = encode(_looks(texts))
        forms = []
        for code in np.argsort(-np.bincount(codes, minlength=len(looks)), kind="stable")[:FORMS_MAX]:
            rows = np.flatnonzero(codes == code)
            form = _form(looks[int(code)].as_py(), texts.take(pa.array(rows)), [year[rows] for year in years])
            forms += [form] if form else []
        return cls(inner, values.drop_null().unique().cast(pa.string()), tuple(forms), column.type)

    @property
    def name(self) -> str:
        """The field's, "table.field"."""
        return str(self.inner.nodes[0].name)

    @property
    def nodes(self) -> list[Node]:
        """What is to be drawn."""
        found: list[Node] = self.inner.nodes
        return found

    @property
    def exact(self) -> bool:
        """Whether new numbers are seen to be out of order: of those held back hardly any is of the very date."""
        return bool(self.inner.exact or self.inner.strict)

    def make(
        self, rng: np.random.Generator, drawn: Drawn, links: Mapping[str, pa.Array], *, again: Ints | None = None
    ) -> pa.Array:
        """For each new row that has a number one of those held back.

        Raises:
            UsageError: Too few are.
        """
        rows = np.arange(len(drawn.codes[self.name])) if again is None else again
        used = drawn.pools.setdefault(self.name, np.zeros(len(self.values), np.int64))
        out = np.full(len(rows), len(self.values), np.int64)
        beyond, drawn.beyond = drawn.beyond, 0  # what is held back is all there is
        left = np.arange(len(rows))
        # Drawn again until one that is held back lies close by: the next would be too late, or too early, by a bit.
        for share in (*_CLOSE, np.inf):
            drawn.about = share < np.inf
            wanted = self.inner.make(rng, drawn, links, again=rows[left]).cast(pa.string())
            has = wanted.is_valid().to_numpy(zero_copy_only=False)
            left = left[has]
            at, close = self._closest(wanted.filter(pa.array(has)), used, share)
            out[left[close]], used[at[close]] = at[close], 1
            left = left[~close]
            if not len(left):
                break
        drawn.beyond, drawn.about = beyond, False
        if len(left):
            raise UsageError(
                f"{self.name}: {len(left):,} canaries found none of the {len(self.values):,} numbers held back",
                hint="hold back more, written as the room's are, and of every beginning: each year, each office",
            )
        every = pa.concat_arrays([self.values, pa.nulls(1, pa.string())])
        return every.take(pa.array(out)).cast(self.type)

    def _closest(self, wanted: pa.Array, used: Ints, share: float) -> tuple[Ints, npt.NDArray[np.bool_]]:
        """For each number one that is held back and not used, and whether it is so close, in steps between such."""
        of, have, step = self._held
        left = np.flatnonzero((used == 0) & (of >= 0))
        group, number = self._read(wanted)
        chosen, found = nearest(group, number, of[left], have[left])
        at = left[chosen] if len(left) else chosen
        rows = np.flatnonzero(found)
        found[rows] = np.abs(have[at[rows]] - number[rows]) <= share * step[of[at[rows]]]
        return at, found

    @cached_property
    def _groups(self) -> pa.Array:
        """What the numbers held back begin and end with: those written alike have one group."""
        return self._cut(self.values)[0].drop_null().unique()

    @cached_property
    def _held(self) -> tuple[Ints, Ints, npt.NDArray[np.float64]]:
        """Group and digits of each number held back; and by group how far they are from one another."""
        of, have = self._read(self.values)
        rows = np.flatnonzero(of >= 0)
        size = np.bincount(of[rows], minlength=len(self._groups))
        least, most = np.full(len(size), have.max(initial=0)), np.zeros(len(size), np.int64)
        np.minimum.at(least, of[rows], have[rows])
        np.maximum.at(most, of[rows], have[rows])
        return of, have, (most - least + 1) / np.maximum(size, 1)

    def _read(self, texts: pa.Array) -> tuple[Ints, Ints]:
        """The group of each number, -1 where none of those held back begins and ends so, and its digits."""
        start, digits = self._cut(texts)
        group = pc.index_in(start, self._groups, skip_nulls=True).fill_null(-1)
        number = digits.fill_null("0").cast(pa.int64())
        return (group.to_numpy(zero_copy_only=False).astype(np.int64), number.to_numpy(zero_copy_only=False))

    def _cut(self, texts: pa.Array) -> tuple[pa.Array, pa.Array]:
        """What stands around each number, and the number; null where it is written as no form is."""
        start, digits = (pa.nulls(len(texts), pa.string()) for _ in range(2))
        looks = _looks(texts)
        for form in self.forms:
            cut = pc.extract_regex(texts, form.pattern)
            there = pc.and_(pc.equal(looks, form.looks), cut.is_valid())
            before, number, behind = (pc.struct_field(cut, name) for name in ("before", "number", "behind"))
            there = pc.and_(there, pc.less_equal(pc.binary_length(number), _DIGITS_MAX))
            around = pc.binary_join_element_wise(before, behind, _BETWEEN)
            start, digits = pc.if_else(there, around, start), pc.if_else(there, number, digits)
        return start, digits


def _looks(texts: pa.Array) -> pa.Array:
    return pc.replace_substring_regex(texts, _DIGITS, "0")


def _form(looks: str, texts: pa.Array, years: list[Ints]) -> _Form | None:
    """Which run of digits of some texts is the number: that of the most distinct values; None where none can be."""
    many, best = 0, None
    for at in range(looks.count("0")):
        form = _Form(looks, at, 0)
        digits = pc.struct_field(pc.extract_regex(texts, form.pattern), "number")
        kinds = len(digits.unique())
        if kinds > many and pc.max(pc.binary_length(digits)).as_py() <= _DIGITS_MAX:
            many, best = kinds, _Form(looks, at, _head(digits, years))
    return best


def _head(digits: pa.Array, years: list[Ints]) -> int:
    """How many first digits of a number are those of the year of a date."""
    widths = pc.binary_length(digits)
    width = pc.max(widths).as_py()
    if pc.min(widths).as_py() != width:
        return 0
    numbers, found = digits.cast(pa.int64()).to_numpy(), 0
    for length in range(1, width):
        if not any(said(numbers // 10 ** (width - length), year) for year in years):
            break
        found = length
    return found


def nearest(group: Ints, number: Ints, of: Ints, have: Ints) -> tuple[Ints, npt.NDArray[np.bool_]]:
    """For each number another one of the same group, about the nearest of those there are, none twice.

    Args:
        group: Of each number that is wanted, i64[n]; -1 for none.
        number: What is wanted, i64[n].
        of: The group of each that there is, from 0, i64[m].
        have: What there is, i64[m].

    Returns:
        Positions in `have`, i64[n], and which could be had: of each group the first as many as it has.
    """
    order, want = np.lexsort((have, of)), np.lexsort((number, group))
    of, have, asked, number = of[order], have[order], group[want], number[want]
    low, high = np.searchsorted(of, asked), np.searchsorted(of, asked, side="right")
    rank = np.arange(len(asked)) - np.searchsorted(asked, asked)
    found = np.zeros(len(asked), np.bool_)
    there = rank < high - low
    found[want[there]] = True
    asked, number, low, high, rank = (column[there] for column in (asked, number, low, high, rank))
    ranks = np.unique(np.concatenate([have, number]), return_inverse=True)[1]
    wide = len(ranks) + 1
    spot = np.searchsorted(of * wide + ranks[: len(have)], asked * wide + ranks[len(have) :])
    before, behind = np.maximum(spot - 1, low), np.minimum(spot, high - 1)
    spot = np.where(number - have[before] < have[behind] - number, before, behind)
    # Each at least one after the one before, and so many from the end as others follow.
    follow = np.searchsorted(asked, asked, side="right") - np.arange(len(asked)) - 1
    spot = np.minimum(spot, high - 1 - follow)
    step = np.arange(len(asked))
    spot = np.maximum.accumulate(spot - step) + step if len(asked) else spot
    chosen = np.full(len(group), -1, np.int64)
    chosen[want[there]] = order[spot]
    return chosen, found
