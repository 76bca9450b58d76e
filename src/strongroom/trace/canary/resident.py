"""Makes resident ids (GB 11643-1999) that agree with birth date and sex: free ones, or such as cannot be issued.

Area codes and the years in which they were in force come from python-stdnum's table of GB/T 2260, at run time.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from strongroom.trace.canary.draw import Drawn
from strongroom.trace.canary.kinds import check_characters, resident_ids_valid
from strongroom.trace.canary.nodes import Node
from strongroom.trace.canary.numbers import digit_matrix, of_matrix
from strongroom.trace.canary.values import DateModel, split_days

Ints = npt.NDArray[np.int64]

_PERIOD = re.compile(r"(?:\[(\d*)-(\d*)\])?([^,\[\]]+)")
# Codes that stand for "the districts together" are on no card.
_AGGREGATE = re.compile(r"^(市辖区|市区|市郊区|县|省直辖.*|自治区直辖.*)$")
_AGREES = 0.9
# An area formed so long after a birth issued no id for it: ids are given in childhood, or were from 1984 on.
FORMED_AFTER_YEARS = 30
_LAST_FIRST_IDS = 2004
_OUT_OF_FORCE = 0.02
_RARE_ROWS = 100
_YEARS_NEAR = (0, 1, -1, 2, -2, 3, -3)


@dataclass(frozen=True)
class Seen:
    """Areas and the years of birth they were seen with, sorted by both."""

    area: Ints
    year: Ints

    @classmethod
    def of(cls, area: Ints, year: Ints) -> Seen:
        """Sort what was seen."""
        order = np.lexsort((area, year))
        return cls(area[order], year[order])

    def like(self, rng: np.random.Generator, area: Ints, year: Ints) -> Ints:
        """For each area one of the same city seen with the year, or of the province with a year near; else any."""
        out, left = area.copy(), np.arange(len(area))
        for divisor, later in ((100, 0), *((10_000, k) for k in _YEARS_NEAR), (10**6, 0)):
            key = self.year * 10**6 + self.area // divisor
            wanted = (year[left] + later) * 10**6 + area[left] // divisor
            low = np.searchsorted(key, wanted, side="left")
            many = np.searchsorted(key, wanted, side="right") - low
            some = many > 0
            out[left[some]] = self.area[low[some] + (rng.random(int(some.sum())) * many[some]).astype(np.int64)]
            left = left[~some]
        return out


@dataclass
class ResidentModel:
    """Resident ids, part by part: area, date of birth, serial; the check character follows.

    Args:
        name: The field's, "table.field".
        there: Whether a person has one.
        area: Six digits.
        serial: Three digits; its coarse view is the sex.
        dates: The ids' own dates, where no field of the person has them.
        born: The field that has the date of birth, "table.field"; None if `dates`.
        areas: Area codes by code of `area`.
        seen: What areas were seen with which years of birth, where nearly all were in force; else None.
        rare: Which areas few were born in, by code: another such of the same city takes their place.
        void: Whether areas are chosen that were not there at the time of birth.
    """

    name: str
    there: Node
    area: Node
    serial: Node
    dates: DateModel | None
    born: str | None
    areas: Ints
    seen: Seen | None
    rare: npt.NDArray[np.bool_]
    void: bool

    @classmethod
    def learn(cls, name: str, column: pa.Array, births: Mapping[str, pa.Array], *, void: bool) -> ResidentModel:
        """Learn the ids of a column; `births` are fields that may hold the date of birth, date32[n] each by name."""
        good = resident_ids_valid(column.fill_null(""))
        codes = np.where(good, 1, np.where(column.is_valid().to_numpy(zero_copy_only=False), -1, 0))
        rows = np.flatnonzero(good)
        block = digit_matrix(column.take(pa.array(rows)), 18).astype(np.int64) - 48
        number = block[:, :17] @ 10 ** np.arange(16, -1, -1)
        areas, area = np.unique(number // 10**11, return_inverse=True)
        day = _days(number // 1_000 % 10**8)
        born = _agreeing(rows, day, births)
        there = Node(name, codes)
        full = np.full((2, len(column)), -1, np.int64)
        full[0, rows], full[1, rows] = area, number % 1_000
        views = tuple(np.unique(areas // d, return_inverse=True)[1].astype(np.int64) for d in (100, 10_000))
        given = (name, f"{born}.year" if born else f"{name}.born.year")
        area_node = Node(f"{name}.area", full[0], (name, 1), given, views)
        serial = Node(f"{name}.serial", full[1], (name, 1), (name,), (np.arange(1_000) % 2,), smooth=True)
        dates = None
        if born is None:
            own = np.zeros(len(column), np.int32)
            own[rows] = day
            dates = DateModel.learn(f"{name}.born", pa.array(own, pa.int32(), mask=~good).cast(pa.date32()))
        year = split_days(day)[0]
        seen = Seen.of(areas[area], year)
        known = not cannot_begin(areas[area], year).mean() > _OUT_OF_FORCE
        return cls(name, there, area_node, serial, dates, born, areas, seen if known else None,
                   np.bincount(area) < _RARE_ROWS, void)  # fmt: skip

    @property
    def nodes(self) -> list[Node]:
        """What is to be drawn."""
        return [self.there, self.area, self.serial, *(self.dates.nodes if self.dates else [])]

    def make(
        self, rng: np.random.Generator, drawn: Drawn, links: Mapping[str, pa.Array], *, again: Ints | None = None
    ) -> pa.Array:
        """The ids of the new rows, or of some of them, whose serials are then drawn anew."""
        rows = np.arange(len(drawn.codes[self.name])) if again is None else again
        has = drawn.codes[self.area.name][rows] >= 0
        born = self._born(rng, drawn, links, rows)
        has &= born.is_valid().to_numpy(zero_copy_only=False)
        rows = rows[has]
        day = born.cast(pa.int32()).to_numpy(zero_copy_only=False)[has].astype(np.int64)
        area, year = self.areas[drawn.codes[self.area.name][rows]], split_days(day)[0]
        if self.void:
            area = void_areas(rng, area, year)
        elif self.seen is not None:
            rare = np.flatnonzero(self.rare[drawn.codes[self.area.name][rows]])
            often = self.areas[~self.rare]
            area[rare] = _areas_where(rng, area[rare], year[rare], lambda a, y: _in_force(a, y) & ~np.isin(a, often))
            wrong = np.flatnonzero(cannot_begin(area, year))
            area[wrong] = self.seen.like(rng, area[wrong], year[wrong])
        serial = drawn.codes[self.serial.name][rows]
        if again is not None:
            # The sex stays: only the number of those born that day there is another.
            serial = serial % 2 + 2 * rng.integers(0, 500, len(serial))
            serial[serial == 0] = 2
        block = np.empty((len(rows), 18), np.uint8)
        for at, width, values in ((0, 6, area), (6, 8, _written(day)), (14, 3, serial)):
            for place in range(width):
                block[:, at + place] = 48 + values // 10 ** (width - 1 - place) % 10
        block[:, 17] = check_characters(block)
        out = pa.concat_arrays([of_matrix(block), pa.nulls(1, pa.string())])
        where = np.full(len(has), len(block), np.int64)
        where[has] = np.arange(len(block))
        return out.take(pa.array(where))

    def _born(
        self, rng: np.random.Generator, drawn: Drawn, links: Mapping[str, pa.Array], rows: Ints
    ) -> pa.Array:
        if self.dates is not None:
            return self.dates.make(rng, drawn, links, again=rows)
        assert self.born is not None
        return links[self.born].take(pa.array(rows))


def _days(written: Ints) -> Ints:
    """Days since 1970 of dates written yyyymmdd; a day that a month lacks becomes one of the next."""
    months = (written // 10_000 - 1970) * 12 + written // 100 % 100 - 1
    found: Ints = (months.astype("datetime64[M]").astype("datetime64[D]") + (written % 100 - 1)).astype(np.int64)
    return found


def _written(day: Ints) -> Ints:
    stamp = day.astype("datetime64[D]")
    month = stamp.astype("datetime64[M]")
    year = stamp.astype("datetime64[Y]").astype(np.int64) + 1970
    found: Ints = year * 10_000 + (month.astype(np.int64) % 12 + 1) * 100 + (stamp - month).astype(np.int64) + 1
    return found


def _agreeing(rows: Ints, day: Ints, births: Mapping[str, pa.Array]) -> str | None:
    """The field that has the ids' dates of birth in nearly all rows."""
    for name, column in births.items():
        other = column.take(pa.array(rows))
        both = other.is_valid().to_numpy(zero_copy_only=False)
        same = other.cast(pa.int32()).fill_null(0).to_numpy(zero_copy_only=False) == day
        if both.any() and same[both].mean() >= _AGREES and both.mean() >= _AGREES:
            return name
    return None


@cache
def area_years() -> tuple[Ints, Ints, Ints]:
    """Every area of GB/T 2260, its first year and its last; one that came back counts as there all the time."""
    text = resources.files("stdnum.cn").joinpath("loc.dat").read_text(encoding="utf-8")
    province, found = "", {}
    for line in text.splitlines():
        match = re.match(r'^( *)(\d+) (?:province|county)="([^"]*)"', line)
        if match and not match[1]:
            province = match[2]
        elif match and not match[2].endswith("00"):
            periods = [p for p in _PERIOD.findall(match[3]) if not _AGGREGATE.match(p[2])]
            if not periods:
                continue
            firsts = [int(start or 0) for start, _, _ in periods]
            lasts = [int(end or 9999) for _, end, _ in periods]
            found[int(province + match[2])] = (min(firsts), max(lasts))
    codes = np.array(sorted(found))
    years = np.array([found[int(code)] for code in codes])
    return codes, years[:, 0], years[:, 1]


def cannot_begin(area: Ints, year: Ints) -> npt.NDArray[np.bool_]:
    """Whether an area of the table was not in force in a year; bool[n]."""
    codes, first, last = area_years()
    spot = np.minimum(np.searchsorted(codes, area), len(codes) - 1)
    # A year of change belongs to neither side.
    outside = (year <= first[spot]) | (year >= last[spot])
    found: npt.NDArray[np.bool_] = (codes[spot] == area) & outside
    return found


def cannot_be_issued(area: Ints, year: Ints) -> npt.NDArray[np.bool_]:
    """Whether no id begins with this area for a birth in this year; bool[n].

    The area ended before the birth; or it was formed so long after that whoever was born then had an id already.
    """
    codes, first, last = area_years()
    spot = np.minimum(np.searchsorted(codes, area), len(codes) - 1)
    known = codes[spot] == area
    late = np.maximum(year + FORMED_AFTER_YEARS, _LAST_FIRST_IDS)
    found: npt.NDArray[np.bool_] = known & ((last[spot] < year) | (first[spot] > late))
    return found


def void_areas(rng: np.random.Generator, area: Ints, year: Ints) -> Ints:
    """For each row an area that cannot be issued for the year: of the same city, else the province, else anywhere."""
    return _areas_where(rng, area, year, cannot_be_issued)


def _in_force(area: Ints, year: Ints) -> npt.NDArray[np.bool_]:
    return ~cannot_begin(area, year)


def _areas_where(
    rng: np.random.Generator, area: Ints, year: Ints, able_in: Callable[[Ints, Ints], npt.NDArray[np.bool_]]
) -> Ints:
    """For each row an area of the table that is able for the year: of the same city, else the province, else any."""
    out = area.copy()
    codes, _, _ = area_years()
    for born in np.unique(year):
        rows = np.flatnonzero(year == born)
        able = codes[able_in(codes, np.full(len(codes), born))]
        if not len(able):
            continue
        left = rows
        for divisor in (100, 10_000, 10**7):
            low = np.searchsorted(able // divisor, area[left] // divisor, side="left")
            many = np.searchsorted(able // divisor, area[left] // divisor, side="right") - low
            some = many > 0
            out[left[some]] = able[low[some] + (rng.random(int(some.sum())) * many[some]).astype(np.int64)]
            left = left[~some]
    return out
