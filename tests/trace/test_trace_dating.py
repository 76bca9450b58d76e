"""Dating: the time at which a sample was taken, from real versions of public officials and from simulated changes."""

from __future__ import annotations

import csv
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from strongroom.errors import UsageError
from strongroom.trace.dating import date_rows

VERSIONS = Path(__file__).parent.parent / "data" / "officials-versions.csv"
DATES = ("2013-02-27", "2015-02-23", "2017-03-01", "2019-02-12", "2021-02-25", "2023-02-17", "2025-02-23", "2026-06-15")
EDGES = [date.fromisoformat(d).toordinal() for d in (*DATES, "2026-11-29")]
PERIOD = (EDGES[0], EDGES[-1])


@pytest.fixture(scope="module")
def snapshots() -> list[dict[str, dict[str, str]]]:
    """The officials at each date, by their number."""
    found: list[dict[str, dict[str, str]]] = [{} for _ in DATES]
    with VERSIONS.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            for at in row["held"]:
                found[int(at)][row["bioguide"]] = row
    return found


def intervals(snapshots, rows, fields) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """When each row's values were those of the room: neighbouring snapshots make one interval."""
    starts, stops, numbers = [], [], []
    for number, row in enumerate(rows):
        for at, snapshot in enumerate(snapshots):
            held = snapshot.get(row["bioguide"])
            if held is None or any(held[f] != row[f] for f in fields):
                continue
            if numbers and numbers[-1] == number and stops[-1] == EDGES[at]:
                stops[-1] = EDGES[at + 1]
            else:
                starts.append(EDGES[at])
                stops.append(EDGES[at + 1])
                numbers.append(number)
    return np.array(starts), np.array(stops), np.array(numbers)


def taken(snapshots, at: int, rows: int, foreign: float, rng) -> list[dict[str, str]]:
    """Rows of one snapshot, some of them of others."""
    pool = list(snapshots[at].values())
    picked = [pool[i] for i in rng.choice(len(pool), min(rows, len(pool)), replace=False)]
    for i in range(round(foreign * len(picked))):
        other = list(snapshots[rng.choice([s for s in range(len(DATES)) if s != at])].values())
        picked[i] = other[rng.integers(len(other))]
    return picked


@pytest.mark.parametrize("fields", [("office", "phone", "fax"), ("phone",), ("fax",)])
@pytest.mark.parametrize("foreign", [0.0, 0.1])
def test_the_true_date_of_officials_is_found_at_every_date(snapshots, fields, foreign) -> None:
    """Whatever snapshot of the eight a sample was taken from, the interval of greatest likelihood is that snapshot's."""
    rng = np.random.default_rng(11)
    for at in range(len(DATES)):
        for rows in (300, 530):
            sample = taken(snapshots, at, rows, foreign, rng)
            starts, stops, numbers = intervals(snapshots, sample, fields)
            found = date_rows(starts, stops, period=PERIOD, rows=numbers)
            assert found.claimed, (at, rows, found.why)
            assert [(i.start, i.stop) for i in found.best] == [(EDGES[at], EDGES[at + 1])]
            assert any(i.start <= EDGES[at] and EDGES[at + 1] <= i.stop for i in found.likely)
            assert sum(i.mass for i in found.likely) >= 0.999
            assert found.others == ()


@pytest.mark.parametrize("rows", [5, 20, 50, 100])
def test_small_samples_of_officials_name_the_date_or_nothing(snapshots, rows) -> None:
    """With few rows more dates are left, or none is claimed; the true one is never left out of a claim."""
    rng = np.random.default_rng(rows)
    claimed = 0
    for at in range(len(DATES)):
        for foreign in (0.0, 0.1):
            for fields in (("office", "phone", "fax"), ("phone",)):
                sample = taken(snapshots, at, rows, foreign, rng)
                starts, stops, numbers = intervals(snapshots, sample, fields)
                found = date_rows(starts, stops, period=PERIOD, rows=numbers)
                claimed += found.claimed
                if found.claimed:
                    assert any(i.start <= EDGES[at] < i.stop for i in found.likely), (at, foreign, fields)
    assert claimed == 0 if rows == 5 else claimed > 8


def changing(rng, rate: float, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Intervals of rows that change at random, each seen at its own time."""
    back, on = rng.exponential(1 / rate, (2, len(times)))
    return (times - back).astype(np.int64), (times + on).astype(np.int64) + 1


@pytest.mark.parametrize(("rows", "rounds"), [(100, 200), (1_000, 200), (20_000, 40)])
def test_the_width_is_as_theory_says(rows, rounds) -> None:
    """Without rows of other dates the interval holds the true time and is on average 2 / (rows * rate) wide."""
    rng = np.random.default_rng(rows)
    rate, length = 1e-3 / 86_400, 3_000 * 86_400
    at = int(0.4 * length)
    widths = []
    for _ in range(rounds):
        found = date_rows(*changing(rng, rate, np.full(rows, float(at))), period=(0, length))
        assert found.best[0].start <= at < found.best[0].stop
        assert found.best[0].support == rows
        widths.append(found.best[0].width)
    assert np.mean(widths) * rows * rate == pytest.approx(2, rel=0.25)


def test_a_tenth_of_rows_of_other_dates_moves_nothing() -> None:
    """With rows of random other dates the true time stays among the likely ones, which stay a few theory widths wide."""
    rng = np.random.default_rng(3)
    rate, length, rows = 1e-3 / 86_400, 3_000 * 86_400, 2_000
    at = int(0.7 * length)
    widths = []
    for _ in range(60):
        times = np.full(rows, float(at))
        times[: rows // 10] = rng.uniform(0, length, rows // 10)
        found = date_rows(*changing(rng, rate, times), period=(0, length))
        assert found.claimed
        assert any(i.start <= at < i.stop for i in found.likely)
        assert found.others == ()
        widths.append(sum(i.width for i in found.likely))
    assert np.median(widths) < 6 * 2 / (rows * rate)


def test_two_takes_put_together_are_both_named() -> None:
    """Of rows of two dates the more frequent is likely, and the other is named beside it."""
    rng = np.random.default_rng(4)
    length = 3_000 * 86_400
    times = np.concatenate([np.full(3_000, 0.2 * length), np.full(2_000, 0.8 * length)])
    found = date_rows(*changing(rng, 1e-3 / 86_400, times), period=(0, length))
    assert any(i.start <= 0.2 * length < i.stop for i in found.likely)
    assert any(i.start - 86_400 <= 0.8 * length < i.stop + 86_400 for i in found.others)


def test_rows_of_no_common_date_claim_nothing() -> None:
    """Rows of dates of their own are not dated, and neither are rows that never changed."""
    rng = np.random.default_rng(5)
    length = 3_000 * 86_400
    for rate in (1e-4, 1e-3, 1e-2):
        for rows in (1, 10, 100, 2_000):
            for _ in range(10):
                loose = date_rows(*changing(rng, rate / 86_400, rng.uniform(0, length, rows)), period=(0, length))
                assert not loose.claimed
                assert loose.why
    still = date_rows(np.zeros(500, np.int64), np.full(500, 2**62), period=(0, length))
    assert not still.claimed
    assert still.informative == 0
    assert [(i.start, i.stop, i.support) for i in still.likely] == [(0, length, 500)]


def test_ties_are_all_named() -> None:
    """Where two stretches have the same likelihood, both are best."""
    starts, stops = np.repeat([10, 30], 40), np.repeat([20, 40], 40)
    found = date_rows(starts, stops, period=(0, 100))
    assert [(i.start, i.stop, i.support) for i in found.best] == [(10, 20, 40), (30, 40, 40)]
    assert [i.mass for i in found.best] == pytest.approx([0.5, 0.5], abs=1e-3)


def test_nothing_in_the_period_is_said_so() -> None:
    """No rows, empty intervals and intervals outside the period give no interval and no claim."""
    none = np.zeros(0, np.int64)
    assert date_rows(none, none, period=(0, 10)).why == "no row has values of this period"
    found = date_rows(np.array([5, 20, -9]), np.array([5, 30, -1]), period=(0, 10))
    assert (found.rows, found.empty, found.best) == (0, 3, ())


def test_arguments_that_make_no_sense_are_refused() -> None:
    """An empty period, arrays of different lengths and shares that are none are usage errors."""
    one = np.array([1])
    for more in ({"period": (5, 5)}, {"period": (0, 9), "foreign": 0.0}, {"period": (0, 9), "mass": 1.0}):
        with pytest.raises(UsageError):
            date_rows(one, one + 1, **more)
    with pytest.raises(UsageError):
        date_rows(one, np.array([1, 2]), period=(0, 9))
