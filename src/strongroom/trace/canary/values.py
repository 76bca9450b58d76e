"""Makes new values of fields that are no text: categories, numbers, dates, moments, lags between two dates, bytes.

A value that many persons share is drawn as it is. A number, a day or a time of day that few share is drawn between its
neighbours in the sample.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from strongroom.schema.columns import arrow_type
from strongroom.trace.canary.draw import Drawn
from strongroom.trace.canary.nodes import LIKE_MIN, Node, compact
from strongroom.trace.canary.numbers import Spread
from strongroom.trace.canary.running import Running, in_time
from strongroom.trace.canary.tokens import common, encode

Ints = npt.NDArray[np.int64]

DAY_MICROSECONDS = 86_400_000_000
_CATEGORIES_MAX = 4_096
_CATEGORY_SHARE = 0.95
_DECIMALS_MAX = 6
_WEEKDAYS_CHI2 = 38.3


def is_category(column: pa.Array, who: Ints) -> bool:
    """Whether nearly every row has one of few values, each of them many persons'."""
    there = np.flatnonzero(column.is_valid().to_numpy(zero_copy_only=False))
    if not len(there):
        return True
    codes, words = encode(column.take(pa.array(there)))
    if len(words) > min(_CATEGORIES_MAX, max(16, len(there) // LIKE_MIN)):
        return False
    return bool(common(codes, who[there], LIKE_MIN).mean() >= _CATEGORY_SHARE)


def present(name: str, column: pa.Array) -> Node:
    """Whether a row has a value: 0 or 1."""
    return Node(name, column.is_valid().to_numpy(zero_copy_only=False).astype(np.int64))


@dataclass
class CategoryModel:
    """Values that many persons share; null is one of them."""

    node: Node
    words: pa.Array

    @classmethod
    def learn(cls, name: str, column: pa.Array, who: Ints, least: int, avoid: Sequence[object] = ()) -> CategoryModel:
        """Learn the values of a column; those that fewer persons have, or that are in `avoid`, are never drawn."""
        codes, words = encode(column)
        codes = np.where(codes < 0, len(words), codes)
        donors = common(codes, who, least)
        unwanted = [i for i, word in enumerate(words.to_pylist()) if word in avoid]
        donors &= ~np.isin(codes, unwanted)
        coarse = _ordered_bins(words) if not pa.types.is_string(words.type) else ()
        node = Node(name, codes, donors=donors if donors.any() else None, coarse=coarse)
        return cls(node, pa.concat_arrays([words, pa.nulls(1, words.type)]))

    @property
    def nodes(self) -> list[Node]:
        """What is to be drawn."""
        return [self.node]

    def make(
        self, rng: np.random.Generator, drawn: Drawn, links: Mapping[str, pa.Array], *, again: Ints | None = None
    ) -> pa.Array:
        """The values of the new rows, or of some of them."""
        del rng, links
        codes = drawn.codes[self.node.name]
        return self.words.take(pa.array(codes if again is None else codes[again]))


def _ordered_bins(words: pa.Array) -> tuple[Ints, ...]:
    """Intervals of an ordered category, null in one of its own."""
    if len(words) < 24 or not (pa.types.is_integer(words.type) or pa.types.is_floating(words.type)):
        return ()
    rank = np.argsort(np.argsort(words.to_numpy(zero_copy_only=False)))
    return (np.append(rank * 8 // len(words), 8),)


@dataclass
class NumberModel:
    """Numbers that few persons share."""

    there: Node
    node: Node
    spread: Spread
    scale: int
    type: pa.DataType
    running: Running | None = None

    @classmethod
    def learn(cls, name: str, column: pa.Array) -> NumberModel:
        """Learn the numbers of a column of whole or floating numbers; floats to at most six decimals."""
        there = present(name, column)
        rows = np.flatnonzero(there.codes)
        numbers = column.take(pa.array(rows)).to_numpy(zero_copy_only=False)
        scale = 1 if pa.types.is_integer(column.type) else _scale(numbers)
        whole = numbers.astype(np.int64) if scale == 1 and pa.types.is_integer(column.type) else _whole(numbers, scale)
        spread = Spread.of(whole, rows, len(column))
        node = Node(f"{name}.value", spread.codes, (name, 1), (name,), spread.coarse, smooth=True)
        return cls(there, node, spread, scale, column.type)

    @property
    def nodes(self) -> list[Node]:
        """What is to be drawn."""
        return [self.there, self.node]

    @property
    def dates(self) -> tuple[str, ...]:
        """The field that has to be made before, as numbers run with it."""
        return (self.running.link,) if self.running else ()

    @property
    def exact(self) -> bool:
        """See `TextModel.exact`."""
        return self.running is not None and self.running.exact

    @property
    def strict(self) -> bool:
        """See `TextModel.strict`."""
        return self.running is not None and self.running.strict

    def run(self, dates: Mapping[str, pa.Array], sampled: float) -> None:
        """Learn whether numbers go up with a date of their record; see `TextModel.run`."""
        self.running = in_time(dates, np.flatnonzero(self.spread.codes >= 0), self.spread, [], sampled)

    def make(
        self, rng: np.random.Generator, drawn: Drawn, links: Mapping[str, pa.Array], *, again: Ints | None = None
    ) -> pa.Array:
        """The values of the new rows, or of some of them."""
        rows = drawn.rows[self.node.name]
        chosen = np.arange(len(rows)) if again is None else again
        rows = rows[chosen]
        has = rows >= 0
        out = np.zeros(len(rows), np.int64)
        out[has] = self.spread.near(rng, rows[has], beyond=drawn.beyond)
        if self.running is not None and not drawn.beyond:
            date = links[self.running.link].take(pa.array(chosen[has]))
            out[has] = self.running.instead(rng, out[has], self.spread, rows[has], [], date, drawn)
        values = out if pa.types.is_integer(self.type) else out / self.scale
        return pa.array(values, self.type, mask=~has)


@np.errstate(over="ignore")  # so large a number has no decimals
def _scale(numbers: npt.NDArray[np.float64]) -> int:
    finite = numbers[np.isfinite(numbers)]
    for digits in range(_DECIMALS_MAX):
        if np.allclose(np.rint(finite * 10**digits), finite * 10**digits, atol=1e-9, rtol=0):
            return int(10**digits)
    return int(10**_DECIMALS_MAX)


@np.errstate(over="ignore")  # and is clipped
def _whole(numbers: npt.NDArray[np.float64], scale: int) -> Ints:
    clean = np.nan_to_num(numbers, nan=0.0, posinf=0.0, neginf=0.0)
    return np.clip(np.rint(clean * scale), -(2**62), 2**62).astype(np.int64)


@dataclass
class DateModel:
    """Dates and moments: year, day of the year and time of day, drawn apart; the day as a row of the year has it."""

    there: Node
    year: Node
    day: Node
    years: Ints
    near: Spread
    time: Node | None
    clock: Spread | None
    type: pa.DataType

    @classmethod
    def learn(cls, name: str, column: pa.Array) -> DateModel:
        """Learn the dates or moments of a column."""
        n = len(column)
        there = present(name, column)
        rows = np.flatnonzero(there.codes)
        moment = not pa.types.is_date(column.type)
        ticks = column.take(pa.array(rows)).cast(pa.int64() if moment else pa.int32()).to_numpy().astype(np.int64)
        day = ticks // DAY_MICROSECONDS if moment else ticks
        year, of_year = split_days(day)
        years, year_codes = np.unique(year, return_inverse=True)
        decade = compact(years // 10)
        nodes = [
            Node(f"{name}.year", _full(n, rows, year_codes), (name, 1), (name,), (decade,), smooth=True),
            Node(f"{name}.day", _full(n, rows, of_year), (name, 1), (name, f"{name}.year"), (_months(),), smooth=True),
        ]
        time = clock = None
        if moment:
            clock = Spread.of(ticks % DAY_MICROSECONDS, rows, n)
            if len(clock.values) > 1:
                time = Node(f"{name}.time", clock.codes, (name, 1), (name,), clock.coarse, smooth=True)
        near = Spread.of(day, rows, n, step=7 if _has_weekdays(day) else 1)
        return cls(there, nodes[0], nodes[1], years, near, time, clock, column.type)

    @property
    def nodes(self) -> list[Node]:
        """What is to be drawn."""
        return [self.there, self.year, self.day, *([self.time] if self.time else [])]

    def days_of(self, rng: np.random.Generator, drawn: Drawn, rows: Ints) -> Ints:
        """Days since 1970 of some new rows that have a date: near the day drawn, in the year drawn."""
        year = self.years[drawn.codes[self.year.name][rows]]
        plain = join_days(year, drawn.codes[self.day.name][rows])
        near = self.near.near(rng, drawn.rows[self.day.name][rows])
        return np.where(split_days(near)[0] == year, near, plain)

    def make(
        self, rng: np.random.Generator, drawn: Drawn, links: Mapping[str, pa.Array], *, again: Ints | None = None
    ) -> pa.Array:
        """The values of the new rows, or of some of them."""
        del links
        there = drawn.codes[self.there.name] == 1
        chosen = np.arange(len(there)) if again is None else again
        has = there[chosen]
        out = np.zeros(len(chosen), np.int64)
        out[has] = self.days_of(rng, drawn, chosen[has])
        if self.clock is None:
            return pa.array(out.astype(np.int32), pa.int32(), mask=~has).cast(self.type)
        out *= DAY_MICROSECONDS
        if self.time is not None:
            out[has] += self.clock.near(rng, drawn.rows[self.time.name][chosen[has]])
        else:
            out[has] += self.clock.values[0]
        return pa.array(out, pa.int64(), mask=~has).cast(self.type)


@dataclass
class LagModel:
    """A date or moment that never comes before another of the same row: drawn as the time between."""

    there: Node
    node: Node
    spread: Spread
    link: str
    type: pa.DataType

    @classmethod
    def learn(cls, name: str, column: pa.Array, lag: Ints, link: str) -> LagModel:
        """Learn from the lags i64[n] (in the column's ticks) where both are there."""
        there = present(name, column)
        rows = np.flatnonzero(there.codes)
        spread = Spread.of(lag[rows], rows, len(column))
        node = Node(f"{name}.lag", spread.codes, (name, 1), (name,), spread.coarse, smooth=True)
        return cls(there, node, spread, link, column.type)

    @property
    def nodes(self) -> list[Node]:
        """What is to be drawn."""
        return [self.there, self.node]

    def make(
        self, rng: np.random.Generator, drawn: Drawn, links: Mapping[str, pa.Array], *, again: Ints | None = None
    ) -> pa.Array:
        """The values of the new rows, or of some of them."""
        rows = drawn.rows[self.node.name]
        chosen = np.arange(len(rows)) if again is None else again
        rows = rows[chosen]
        base = links[self.link].take(pa.array(chosen))
        has = (rows >= 0) & base.is_valid().to_numpy(zero_copy_only=False)
        ticks = pa.int32() if pa.types.is_date32(self.type) else pa.int64()
        out = base.cast(ticks).fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
        out[has] += self.spread.near(rng, rows[has])
        return pa.array(out, pa.int64(), mask=~has).cast(ticks).cast(self.type)


@dataclass
class BytesModel:
    """Bytes that few persons share: random ones, as long as some row's."""

    node: Node
    type: pa.DataType

    @classmethod
    def learn(cls, name: str, column: pa.Array) -> BytesModel:
        """Learn the lengths of a column of bytes."""
        import pyarrow.compute as pc

        lengths = pc.binary_length(column).fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
        return cls(Node(name, lengths + 1), column.type)

    @property
    def nodes(self) -> list[Node]:
        """What is to be drawn."""
        return [self.node]

    def make(
        self, rng: np.random.Generator, drawn: Drawn, links: Mapping[str, pa.Array], *, again: Ints | None = None
    ) -> pa.Array:
        """The values of the new rows, or of some of them."""
        del links
        codes = drawn.codes[self.node.name]
        sizes = (codes if again is None else codes[again]) - 1
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(np.maximum(sizes, 0))])
        data = rng.bytes(int(offsets[-1]))
        whole = pa.LargeBinaryArray.from_buffers(
            pa.large_binary(), len(sizes), [None, pa.py_buffer(offsets), pa.py_buffer(data)]
        )
        import pyarrow.compute as pc

        return pc.if_else(pa.array(sizes >= 0), whole, pa.scalar(None, pa.large_binary())).cast(self.type)


def _has_weekdays(day: Ints) -> bool:
    """Whether some days of the week have more rows than chance gives them (chi-squared, 6 degrees of freedom, 1e-6)."""
    counts = np.bincount((day + 3) % 7, minlength=7)
    mean = len(day) / 7
    return len(day) > 0 and float(((counts - mean) ** 2).sum() / mean) > _WEEKDAYS_CHI2


def split_days(days: Ints) -> tuple[Ints, Ints]:
    """Year, and day of a year of 366 (so that 1 March is always the same), of days since 1970."""
    stamp = days.astype("datetime64[D]")
    year = stamp.astype("datetime64[Y]").astype(np.int64) + 1970
    month = stamp.astype("datetime64[M]").astype(np.int64) % 12
    of_month = (stamp - stamp.astype("datetime64[M]")).astype(np.int64)
    return year, _FIRST[month] + of_month


_FIRST = np.cumsum([0, 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31])


def _months() -> Ints:
    return np.searchsorted(_FIRST, np.arange(366), side="right") - 1


def join_days(year: Ints, of_year: Ints) -> Ints:
    """Days since 1970; 29 February of a year without one is the 28th."""
    month = np.searchsorted(_FIRST, of_year, side="right") - 1
    of_month = of_year - _FIRST[month]
    leap = (year % 4 == 0) & ((year % 100 != 0) | (year % 400 == 0))
    of_month = np.where((month == 1) & (of_month == 28) & ~leap, 27, of_month)
    months = (year - 1970) * 12 + month
    return (months.astype("datetime64[M]").astype("datetime64[D]") + of_month).astype(np.int64)


def _full(n: int, rows: Ints, codes: Ints) -> Ints:
    out = np.full(n, -1, np.int64)
    out[rows] = codes
    return out


def typed(column: pa.Array, field_type: str) -> pa.Array:
    """A column in the type of its field."""
    wanted = arrow_type(field_type)
    return column if column.type == wanted else column.cast(wanted)
