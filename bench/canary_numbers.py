"""Numbers of reports and cases as registries give them: in no order, running in time, or anew each year.

As many of all numbers are used in each habit, with gaps between: others' records have those. "running" and "yearly" are
in the exact order of the dates; "entered" runs in the order in which records were entered, some hours or days later.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from strongroom.demo.columns import digits, join, strings

HABITS = ("any", "running", "yearly", "entered")
_OF = {"police_reports": ("report_no", "reported_at", 9), "criminal_cases": ("case_no", "opened_on", 6)}
_HOURS_LATER = {"police_reports": 6, "criminal_cases": 72}
_HOUR = 3_600_000_000


def numbered(
    tables: dict[str, pa.Table], habit: str, seed: int, back: int
) -> tuple[dict[str, pa.Table], pa.Array]:
    """The tables with numbers of a habit, and so many numbers of cases that the registry held back.

    "any" is the city's own numbers, each serial once and in no order. What is held back was numbered with the cases, as
    if there were so many more: in their order, and no case has it.
    """
    rng = np.random.default_rng(seed)
    if habit == "any":
        return tables, _free(rng, tables["criminal_cases"], back)
    out, held = dict(tables), pa.nulls(0, pa.string())
    for name, (field, date, width) in _OF.items():
        rows = tables[name]
        more = back if name == "criminal_cases" else 0
        dates = rows[date].combine_chunks()
        dates = pa.concat_arrays([dates, dates.take(pa.array(rng.integers(0, len(rows), more)))])
        found = _numbers(rng, name, dates, habit, width)
        out[name] = rows.set_column(rows.column_names.index(field), field, found.slice(0, len(rows)))
        held = found.slice(len(rows)) if more else held
    return out, held


def _numbers(rng: np.random.Generator, name: str, dates: pa.Array, habit: str, width: int) -> pa.Array:
    """A number for each date."""
    year = pc.year(dates).to_numpy().astype(np.int64)
    group = year if habit == "yearly" else np.zeros(len(dates), np.int64)
    serial = np.empty(len(dates), np.int64)
    for each in np.unique(group):
        here = np.flatnonzero(group == each)
        most = 10**width * len(here) // len(dates)
        free = np.sort(rng.choice(most - 1, len(here), replace=False)) + 1
        kept = dates.take(pa.array(here)).cast(pa.timestamp("us")).cast(pa.int64()).to_numpy()
        if habit == "entered":
            kept = kept + (rng.exponential(_HOURS_LATER[name], len(here)) * _HOUR).astype(np.int64)
        serial[here[np.lexsort((rng.random(len(here)), kept))]] = free
    text, years = strings(digits(serial, width)), strings(digits(year, 4))
    return join("A", years, text) if name == "police_reports" else _case_numbers(years, text)


def _free(rng: np.random.Generator, cases: pa.Table, back: int) -> pa.Array:
    """Serials that no case has, each with the year of some case."""
    field, date, width = _OF["criminal_cases"]
    used = _cut(cases[field].combine_chunks(), width)[1]
    serial = rng.permutation(np.setdiff1d(np.arange(10**width), used))[:back]
    year = pc.year(cases[date].combine_chunks().take(pa.array(rng.integers(0, len(cases), back))))
    return _case_numbers(year.cast(pa.string()), strings(digits(serial, width)))


def _case_numbers(years: pa.Array, serials: pa.Array) -> pa.Array:
    return join("(", years, ")川01刑初", serials, "号")


def elsewhere(tables: dict[str, pa.Table], canaries: dict[str, pa.Table]) -> str:
    """Which share of canaries' records has a serial that is somebody's of another year, and which share of people's."""
    told = []
    for name, (field, _, width) in _OF.items():
        if name not in canaries:
            continue
        numbers = [t[name][field].combine_chunks() for t in (tables, canaries)]
        year, serial = zip(*(_cut(column, width) for column in numbers), strict=True)
        whole = [y * 10**width + s for y, s in zip(year, serial, strict=True)]
        many = np.bincount(serial[0], minlength=10**width).astype(np.int32)
        same = np.isin(whole[1], whole[0])
        told.append(
            f"{field} elsewhere: people {(many[serial[0]] > 1).mean():.4f}, "
            f"canaries {(many[serial[1]] - same > 0).mean():.4f}, whole {same.mean():.4f}"
        )
    return "; ".join(told)


def _cut(column: pa.Array, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Year and serial."""
    start = 5 if width == 9 else 11
    cut = [pc.utf8_slice_codeunits(column, *at) for at in ((1, 5), (start, start + width))]
    return tuple(part.cast(pa.int64()).to_numpy(zero_copy_only=False) for part in cut)  # type: ignore[return-value]
