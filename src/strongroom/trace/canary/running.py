"""Learns whether numbers go up in time, and gives a new record the number that its date would have got.

A registry that counts on gives later records higher numbers, over all years or in each year anew. The numbers are
compared with a date of their record among those that begin and end alike (the same year before the number, say): a new
number lies between the neighbours in time that the sample has there, and never outside what it has there. So a number
that runs over all years is no other year's, and one that restarts has every year's numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from strongroom.trace.canary.draw import Drawn
from strongroom.trace.canary.nodes import joint
from strongroom.trace.canary.numbers import Spread

Ints = npt.NDArray[np.int64]

_GROUP_MIN = 12
_COVERED = 0.8
_IN_TIME = 0.9
_FOLLOW = 0.3
_ALIKE_MIN = 4
_STRICT = 0.02
_SLOPE_ROWS = 16
_ABOUT_ROWS = 8
_ABOUT_SLOPE_ROWS = 64
_NEAR_GAPS = 8.0
_MARGIN = 8
_WHOLE = 0.9
_PER_DATE = 4


@dataclass(frozen=True)
class Running:
    """Numbers of the sample in the order of their dates.

    Args:
        link: The field of the date, "table.field".
        groups: Distinct groups, sorted, i64[g].
        start: Where each begins in the columns below, i64[g + 1].
        times: Distinct dates, sorted, i64[t].
        place: Group and date of each number in one, ascending, i64[n].
        numbers: i64[n].
        step: The grid they lie on.
        near: By group how far from where it belongs a new number may lie, i64[g].
        strict: Whether hardly any number is lower than one of an earlier date.
        tightness: Rank correlation with the date, up to 1.
        exact: Whether whoever has everybody's sees that new numbers are out of order: dates are as fine as the numbers,
            and only some were learnt from.
    """

    link: str
    groups: Ints
    start: Ints
    times: Ints
    place: Ints
    numbers: Ints
    step: int
    near: Ints
    strict: bool
    tightness: float
    exact: bool

    @classmethod
    def learn(
        cls, link: str, group: Ints, ticks: Ints, numbers: Ints, step: int, sampled: float
    ) -> Running | None:
        """Learn from numbers i64[n], what they stand among i64[n], and their dates i64[n]; None where they do not run.

        Args:
            link: The field of the date.
            group: Equal for numbers that stand in one stretch.
            ticks: Days or microseconds.
            numbers: In any order.
            step: The grid they lie on.
            sampled: Share of the room's persons in the sample.
        """
        tightness, kept = _follow(group, ticks, numbers, _GROUP_MIN)
        if tightness < _IN_TIME or len(kept) < _COVERED * len(numbers):
            return None
        groups, which = np.unique(group[kept], return_inverse=True)
        times, rank = np.unique(ticks[kept], return_inverse=True)
        place = which * (len(times) + 1) + rank
        order = np.lexsort((numbers[kept], place))
        which, place, numbers = which[order], place[order], numbers[kept][order]
        start = np.append(np.searchsorted(which, np.arange(len(groups))), len(which)).astype(np.int64)
        follows = (which[1:] == which[:-1]) & (place[1:] != place[:-1])
        strict = bool((numbers[1:] < numbers[:-1])[follows].mean() < _STRICT) if follows.any() else False
        span = np.maximum.reduceat(numbers, start[:-1]) - np.minimum.reduceat(numbers, start[:-1])
        dates = (times[-1] - times[0]) // max(1, int(np.gcd.reduce(np.diff(times)))) + 1 if len(times) > 1 else 1
        # As wide as hides whose number it was taken beside, and no wider than an eighth of those of one date.
        gaps = np.clip(len(numbers) / sampled / dates / 8, 1.0, _NEAR_GAPS) if strict else _NEAR_GAPS
        near = np.maximum(1, np.rint(gaps * span * sampled / step / np.diff(start))).astype(np.int64)
        exact = strict and sampled < _WHOLE and len(numbers) / sampled < _PER_DATE * dates
        return cls(link, groups, start, times, place, numbers, step, near, strict, tightness, exact)

    def instead(
        self,
        rng: np.random.Generator,
        numbers: Ints,
        spread: Spread,
        donors: Ints,
        among: Sequence[Ints],
        date: pa.Array,
        drawn: Drawn,
    ) -> Ints:
        """Numbers for new rows by their dates, or those given where there is no date or nobody of about that date.

        Args:
            rng: Where chance comes from.
            numbers: Numbers near those of the rows drawn, i64[n].
            spread: As `in_time` had it.
            donors: Rows of the sample that were drawn, i64[n].
            among: Codes of what the new numbers stand among, i64[n] each.
            date: Dates of the new rows.
            drawn: How often numbers were taken before, then they lie farther off; and after whom they are drawn.
        """
        group = joint([*among, spread.stretches(spread.codes[donors])])
        at = np.minimum(np.searchsorted(self.groups, group), len(self.groups) - 1)
        rows = np.flatnonzero((self.groups[at] == group) & date.is_valid().to_numpy(zero_copy_only=False))
        ticks = ticks_of(date.take(pa.array(rows)))
        early, late = (self._time[edge[at[rows]]] for edge in (self.start[:-1], self.start[1:] - 1))
        margin = _MARGIN * (late - early) // np.diff(self.start)[at[rows]]
        within = (ticks >= early - margin) & (ticks <= late + margin)
        rows, ticks = rows[within], ticks[within]
        out = numbers.copy()
        near = self.near[at[rows]] << drawn.tries // 2
        out[rows] = self._numbers(rng, at[rows], ticks, near, about=drawn.about and not self.strict)
        return out

    def _numbers(self, rng: np.random.Generator, at: Ints, ticks: Ints, near: Ints, *, about: bool) -> Ints:
        first, after = self.start[at], self.start[at + 1]
        base = at * (len(self.times) + 1)
        low = np.searchsorted(self.place, base + np.searchsorted(self.times, ticks, side="left"))
        high = np.searchsorted(self.place, base + np.searchsorted(self.times, ticks, side="right"))
        many = high - low
        shift = np.rint((2 * rng.random(len(at)) - 1) * near).astype(np.int64)
        donor = np.where(many > 0, low + (rng.random(len(at)) * many).astype(np.int64), 0)
        same = self.numbers[donor] // self.step + shift
        if self.strict:
            # Beside the first or last of its date only towards the others: beyond may be those of another date.
            inwards = np.where(donor == low, np.abs(shift), np.where(donor == high - 1, -np.abs(shift), shift))
            same += np.where(many > 1, inwards - shift, 0)
        if about:
            left, right = np.maximum(low - _ABOUT_ROWS, first), np.minimum(high + _ABOUT_ROWS, after)
            donor = left + (rng.random(len(at)) * (right - left)).astype(np.int64)
            found = self._moved(donor, ticks, low, first, after, _ABOUT_SLOPE_ROWS)
        else:
            found = np.where(many > 0, same, self._between(ticks, low, first, after) + shift)
        # What lies outside of its kind is turned back: at the very ends there is no free number.
        least, most = (ends[at] // self.step for ends in self._ends)
        found = np.where(found > most, 2 * most - found, np.where(found < least, 2 * least - found, found))
        inside = np.clip(found, least, most)
        rest: Ints = self.numbers[0] % self.step + inside * self.step
        return rest

    def _between(self, ticks: Ints, low: Ints, first: Ints, after: Ints) -> Ints:
        """Where between the neighbours in time a date belongs, in steps."""
        time = self._time
        before, behind = np.maximum(low - 1, first), np.minimum(low, after - 1)
        nearer = np.where(np.abs(ticks - time[before]) <= np.abs(time[behind] - ticks), before, behind)
        return self._moved(nearer, ticks, low, first, after, 1 if self.strict else _SLOPE_ROWS)

    def _moved(self, donor: Ints, ticks: Ints, low: Ints, first: Ints, after: Ints, wide: int) -> Ints:
        """The number of a donor, in steps, moved by as many as are given from its date to another.

        So many rows before and after that date say how many are given in a time.
        """
        left, right = np.maximum(low - wide, first), np.minimum(low + wide, after) - 1
        right = np.maximum(right, left)
        passed = np.maximum(self._time[right] - self._time[left], 1).astype(np.float64)
        slope = np.maximum(self.numbers[right] - self.numbers[left], 0) / passed
        moved = np.rint(slope * (ticks - self._time[donor]) / self.step).astype(np.int64)
        found: Ints = self.numbers[donor] // self.step + moved
        return found

    @cached_property
    def _time(self) -> Ints:
        """The date of each number, i64[n]."""
        return self.times[self.place % (len(self.times) + 1)]

    @cached_property
    def _ends(self) -> tuple[Ints, Ints]:
        """The lowest and highest number of each group."""
        return (np.minimum.reduceat(self.numbers, self.start[:-1]),
                np.maximum.reduceat(self.numbers, self.start[:-1]))  # fmt: skip


def in_time(
    dates: Mapping[str, pa.Array], rows: Ints, spread: Spread, among: Sequence[Ints], sampled: float
) -> Running | None:
    """How numbers of some rows of the sample run with the date that they follow most closely; None for none.

    That the year before a serial follows the date is not enough: those that begin alike must follow it too.

    Args:
        dates: Columns of dates or moments of the same records, by "table.field".
        rows: Which rows have the numbers, i64[n].
        spread: The numbers.
        among: Codes of what they stand among, i64[n] each.
        sampled: Share of the room's persons in the sample.
    """
    codes = spread.codes[rows]
    numbers, group = spread.values[codes], joint([*among, spread.stretches(codes)])
    begins = joint([group, numbers // spread.head]) if spread.head else group
    found = []
    for link, column in dates.items():
        date = column.take(pa.array(rows))
        there = np.flatnonzero(date.is_valid().to_numpy(zero_copy_only=False))
        if len(there) < _COVERED * len(rows):
            continue
        ticks = ticks_of(date.take(pa.array(there)))
        run = Running.learn(link, group[there], ticks, numbers[there], spread.step, sampled)
        if run is not None and _follow(begins[there], ticks, numbers[there], _ALIKE_MIN)[0] >= _FOLLOW:
            found.append(run)
    return max(found, key=lambda run: run.tightness, default=None)


def ticks_of(column: pa.Array) -> Ints:
    """Days of dates, microseconds of moments; i64[n], without nulls."""
    kind = pa.int32() if pa.types.is_date32(column.type) else pa.int64()
    found: Ints = column.cast(kind).to_numpy(zero_copy_only=False).astype(np.int64)
    return found


def _follow(group: Ints, ticks: Ints, numbers: Ints, least: int) -> tuple[float, Ints]:
    """Rank correlation of dates and numbers within groups of so many rows at least, and the rows of these groups."""
    which, sizes = np.unique(group, return_inverse=True, return_counts=True)[1:]
    kept = np.flatnonzero(sizes[which] >= least)
    if not len(kept):
        return 0.0, kept
    left, right = (_ranks(which[kept], values[kept]) for values in (ticks, numbers))
    scale = float(np.sqrt((left**2).sum() * (right**2).sum()))
    return float((left * right).sum()) / scale if scale > 0 else 0.0, kept


def _ranks(group: Ints, values: Ints) -> npt.NDArray[np.float64]:
    """The rank of each value in its group, over its size, from -1/2 to 1/2; equal values have the mean of theirs."""
    order = np.lexsort((values, group))
    ranked = group[order]
    first = np.searchsorted(ranked, group)
    many = np.searchsorted(ranked, group, side="right") - first
    changes = np.append(True, (ranked[1:] != ranked[:-1]) | (values[order][1:] != values[order][:-1]))
    which = np.cumsum(changes) - 1
    begins = np.append(np.flatnonzero(changes), len(order))
    mean = np.empty(len(order))
    mean[order] = ((begins[:-1] + begins[1:] - 1) / 2)[which]
    found: npt.NDArray[np.float64] = (mean - first - (many - 1) / 2) / many
    return found
