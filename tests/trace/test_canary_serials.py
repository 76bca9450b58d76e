"""Numbers of canaries' records keep the registry's habit: run in time, restart each year, or are nobody's elsewhere."""

import os

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.schema.parse import parse_schema
from strongroom.trace.canary import frames
from strongroom.trace.canary.draw import Drawn
from strongroom.trace.canary.making import learn
from strongroom.trace.canary.numbers import Spread
from strongroom.trace.canary.policy import CanaryPolicy
from strongroom.trace.canary.running import in_time

PERSONS, CANARIES, SHARE = 9000, 1200, 0.2
YEARS = (2021, 2022, 2023, 2024)
ENTROPY = b"sixteen bytes or more of it"
ROOM = """
[tables.people]
subject = "person_no"
records = "one"

[tables.people.fields]
person_no = { type = "string", class = "identity" }
born      = { type = "date", class = "identity" }
sex       = { type = "string", class = "open", reason = "two values" }

[tables.files]
subject = "person_no"

[tables.files.fields]
file_no   = { type = "string", class = "identity", find = true, normalise = ["id"] }
ticket    = { type = "int", class = "identity", find = true }
person_no = { type = "string", class = "identity" }
opened    = { type = "date", class = "identity" }
"""


def schema():
    return parse_schema(ROOM, None, os.urandom)


def luhn(number):
    """A number with a check digit over all of its digits (ISO/IEC 7812-1)."""
    digits = [int(c) for c in number if c.isdigit()][::-1]
    return f"{number}{-sum(sum(divmod(2 * d, 10)) if i % 2 == 0 else d for i, d in enumerate(digits)) % 10}"


def room(habit, form="{year}-{serial:05d}", used=0.2, check=str, late=0):
    """People with a file each, numbered by a habit; of the numbers of a series some are others'.

    Tickets run over all years, in the order of entry: some days `late` on average.
    """
    rng = np.random.default_rng(5)
    opened = np.sort(np.datetime64("2021-01-01") + rng.integers(0, 365 * len(YEARS), PERSONS))
    year = opened.astype("datetime64[Y]").astype(int) + 1970
    serial = np.empty(PERSONS, int)
    for each in YEARS if habit.startswith("yearly") else (0,):
        here = np.flatnonzero(year == each) if each else np.arange(PERSONS)
        free = rng.choice(int(len(here) / used), len(here), replace=False) + 1
        serial[here] = free if habit.endswith("any") else np.sort(free)
    ticket = 10_000_000 + 7 * np.sort(rng.choice(10 * PERSONS, PERSONS, replace=False))
    entered = opened.astype(int) + rng.exponential(late, PERSONS)
    ticket = ticket[np.argsort(np.argsort(entered, kind="stable"))]
    order = rng.permutation(PERSONS)
    people = pa.array([f"P{n:09d}" for n in rng.choice(10**9, PERSONS, replace=False)])
    born = np.datetime64("1950-01-01") + rng.integers(0, 20_000, PERSONS)
    numbers = [check(form.format(year=y, serial=s)) for y, s in zip(year[order], serial[order], strict=True)]
    return {
        "people": pa.table({"person_no": people, "born": pa.array(born), "sex": pa.array(rng.choice(["F", "M"], PERSONS))}),
        "files": pa.table(
            {
                "file_no": pa.array(numbers),
                "ticket": pa.array(ticket[order]),
                "person_no": people,
                "opened": pa.array(opened[order]),
            }
        ),
    }


def planted(tables, **more):
    """Canaries of a room of which a fifth is learnt from, the files of both, and what the room was asked about."""
    some = int(SHARE * PERSONS)
    sample = {name: rows.slice(0, some) for name, rows in tables.items()}
    everybody = {f: set(tables["files"][f].to_pylist()) for f in ("file_no", "ticket")}
    people = set(tables["people"]["person_no"].to_pylist())
    asked = set()

    def collides(_table, field, values):
        if field == "file_no":
            asked.update(values.to_pylist())
        held = everybody.get(field, people)
        return np.array([v in held for v in values.to_pylist()], np.bool_)

    made = learn(schema(), sample, CanaryPolicy(unit=1, **more), sampled=SHARE).make(CANARIES, ENTROPY, collides)
    assert len(made.tables["files"]) > 0.9 * CANARIES
    assert "files.file_no" not in made.dense
    return made.tables["files"], asked


def split(rows):
    return [(int(n[:4]), int(n[5:])) for n in rows["file_no"].to_pylist()]


def elsewhere(mine, tables):
    """Share of numbers whose serial is somebody's of another year."""
    years = {}
    for year, serial in split(tables["files"]):
        years.setdefault(serial, set()).add(year)
    return np.mean([bool(years.get(serial, set()) - {year}) for year, serial in mine])


def out_of_order(rows, field, tables):
    """Share of canaries whose number is below one of an earlier day, or above one of a later day."""
    opened = tables["files"]["opened"].to_numpy()
    order = np.argsort(opened, kind="stable")
    days, numbers = opened[order], tables["files"][field].combine_chunks().to_numpy(zero_copy_only=False)[order]
    wrong = []
    for number, day in zip(rows[field].to_pylist(), rows["opened"].to_numpy(), strict=True):
        at, to = np.searchsorted(days, day), np.searchsorted(days, day, side="right")
        wrong.append(any(n > number for n in numbers[:at][-40:]) or any(n < number for n in numbers[to:][:40]))
    return np.mean(wrong)


def early_by(rows, tables):
    """How many people's numbers lie between each number and where its date would have it."""
    numbers, opened = np.sort(tables["files"]["ticket"].to_numpy()), np.sort(tables["files"]["opened"].to_numpy())
    return np.searchsorted(numbers, rows["ticket"].to_numpy()) - np.searchsorted(opened, rows["opened"].to_numpy())


@pytest.fixture
def blind(monkeypatch):
    """The control: neither the order of numbers nor their serials are looked at."""
    monkeypatch.setattr(frames.Serials, "learn", lambda *_: None)
    monkeypatch.setattr("strongroom.trace.canary.text.in_time", lambda *_: None)


def test_a_serial_that_no_two_years_share_is_nobodys_of_another_year():
    """Serials in no order that never repeat: neither people's nor another canary's stands again under another year."""
    tables = room("any")
    rows, asked = planted(tables)
    assert elsewhere(split(tables["files"]), tables) == 0
    assert elsewhere(split(rows), tables) == 0
    assert elsewhere(split(rows), {"files": rows}) == 0
    assert len(rows) * 3 < len(asked) < len(rows) * len(YEARS) * 2 + 2000 * (len(YEARS) - 1)


def test_a_serial_is_asked_about_with_the_check_digit_of_the_other_year():
    """A digit over year and serial is another one for another year."""
    tables = room("any", check=luhn)
    rows, asked = planted(tables)
    assert all(luhn(n[:-1]) == n for n in [*rows["file_no"].to_pylist(), *asked])
    plain = [pa.table({"file_no": pa.array([n[:-1] for n in t["file_no"].to_pylist()])}) for t in (rows, tables["files"])]
    assert elsewhere(split(plain[0]), {"files": plain[1]}) == 0


@pytest.mark.usefixtures("blind")
def test_without_it_one_in_seven_is():
    """The control: a number that is free only as a whole gives itself away."""
    tables = room("any")
    assert elsewhere(split(planted(tables)[0]), tables) > 0.1


def test_serials_that_start_anew_each_year_are_shared_as_often_as_peoples():
    """In no order within the year, the same serials each year: canaries' are somebody's of another year as often."""
    tables = room("yearly any")
    rows, asked = planted(tables)
    real = elsewhere(split(tables["files"]), tables)
    assert real > 0.3
    assert elsewhere(split(rows), tables) == pytest.approx(real, abs=0.06)
    assert len(asked) < 1.5 * len(rows) + 2000 * (len(YEARS) - 1)


@pytest.mark.parametrize("form", ["{year}-{serial:05d}", "{year}-{serial}", "{year}/{serial:07d}/B"])
def test_a_series_over_all_years_is_kept_without_asking_for_others(form):
    """A canary's number lies among those of its day, so it is no other year's; nothing else is asked about."""
    tables = room("running", form)
    rows, asked = planted(tables)
    short = [pa.table({"file_no": pa.array([n.removesuffix("/B") for n in t["file_no"].to_pylist()])}) for t in (rows, tables["files"])]
    assert elsewhere(split(short[0]), {"files": short[1]}) == 0
    assert all(int(n[:4]) == d.year for n, d in zip(rows["file_no"].to_pylist(), rows["opened"].to_pylist(), strict=True))
    assert len(asked) < 2 * len(rows)


def test_numbers_of_canaries_are_in_the_order_of_their_dates():
    """Seven in eight lie between those of the day before and of the day after: a fifth of six a day are learnt from."""
    for habit in ("running", "yearly"):
        tables = room(habit)
        rows, _ = planted(tables)
        assert out_of_order(rows, "file_no", tables) < 0.125, habit
    assert out_of_order(rows, "ticket", tables) < 0.125


def test_numbers_entered_days_later_are_as_far_from_their_dates_as_peoples():
    """Where records are numbered in the order in which they were entered, canaries' are late as often and as much."""
    tables = room("running", late=20)
    rows, _ = planted(tables)
    far = [np.abs(early_by(t, tables)) for t in (rows, tables["files"])]
    for share in (25, 50, 75, 90):
        assert np.percentile(far[0], share) == pytest.approx(np.percentile(far[1], share), rel=0.3)


@pytest.mark.usefixtures("blind")
def test_without_it_hardly_any_is():
    """The control: a number near one of the same month is mostly another day's."""
    tables = room("running")
    assert out_of_order(planted(tables)[0], "file_no", tables) > 0.5


@given(st.data())
def test_whatever_runs_stays_on_its_grid_and_among_its_kind(data):
    """Of any numbers and dates: a new number is one of the grid between the lowest and highest that stand alike."""
    n = data.draw(st.integers(24, 80))
    seed = data.draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    step = data.draw(st.sampled_from((1, 2, 7, 1000)))
    most = data.draw(st.sampled_from((30, 1000, 10**14)))
    groups, ticks = rng.integers(0, data.draw(st.integers(1, 3)), n), np.sort(rng.integers(-5000, 40_000, n))
    noise = data.draw(st.sampled_from((0, 1, 10)))
    rank = np.argsort(np.argsort(np.arange(n) + noise * rng.random(n)))
    numbers = 3 + step * np.sort(rng.integers(0, most, n))[rank]
    spread = Spread.of(numbers, np.arange(n), n, step=step)
    dates = {"t.day": pa.array(ticks.astype(np.int32), pa.date32())}
    run = in_time(dates, np.arange(n), spread, [groups], data.draw(st.sampled_from((0.01, 1.0))))
    if run is None:
        return
    donors = rng.integers(0, n, 200)
    given_numbers = numbers[donors]
    when = pa.array(rng.integers(-6000, 41_000, 200).astype(np.int32), pa.date32(), mask=rng.random(200) < 0.1)
    drawn = Drawn({}, {}, tries=data.draw(st.integers(0, 12)), about=data.draw(st.booleans()))
    new = run.instead(rng, given_numbers, spread, donors, [groups[donors]], when, drawn)
    key = groups * 1000 + spread.stretches(spread.codes)
    for number, donor, day in zip(new.tolist(), donors.tolist(), when.to_pylist(), strict=True):
        alike = numbers[key == key[donor]]
        assert number % step == 3 % step
        assert alike.min() <= number <= alike.max()
        assert day is not None or number == numbers[donor]


def test_a_year_before_a_serial_is_no_order():
    """Serials in no order with the year in front do not run, though the whole number follows the date."""
    rng = np.random.default_rng(2)
    days = np.sort(rng.integers(18_700, 20_000, 2000))
    year = days.astype("datetime64[D]").astype("datetime64[Y]").astype(int) + 1970
    texts = pa.array([f"{y}{s:06d}" for y, s in zip(year, rng.choice(10**6, 2000, replace=False), strict=True)])
    dates = {"t.day": pa.array(days.astype(np.int32), pa.date32())}
    assert in_time(dates, np.arange(2000), Spread.of_digits(texts, np.arange(2000), 2000), [], 1.0) is None
    texts = pa.array([f"{y}{s:06d}" for y, s in zip(year, np.sort(rng.choice(10**6, 2000, replace=False)), strict=True)])
    run = in_time(dates, np.arange(2000), Spread.of_digits(texts, np.arange(2000), 2000), [], 1.0)
    assert run is not None
    assert run.strict


def test_an_exact_order_of_moments_is_named():
    """Of a tenth of the room nobody knows between which two of it a new one falls; of days or of the whole one does."""
    rng = np.random.default_rng(4)
    moments = np.sort(rng.choice(10**9, 3000, replace=False)) * 1_000_000
    numbers = Spread.of(np.sort(rng.choice(10**7, 3000, replace=False)), np.arange(3000), 3000)

    def exact(ticks, kind, sampled):
        run = in_time({"t.at": pa.array(ticks, kind)}, np.arange(3000), numbers, [], sampled)
        assert run.strict
        return run.exact

    assert exact(moments, pa.timestamp("us"), 0.1)
    assert not exact(moments, pa.timestamp("us"), 1.0)
    assert not exact((moments // 86_400_000_000 // 10).astype(np.int32), pa.date32(), 0.1)


def test_such_fields_are_named_by_the_canaries():
    """In the room of the tests days have some six files, which is no exact order; minutes have one at most."""
    tables = room("running")
    some = {name: rows.slice(0, int(SHARE * PERSONS)) for name, rows in tables.items()}
    assert learn(schema(), some, CanaryPolicy(unit=1), sampled=SHARE).make(100, ENTROPY).ordered == ()
    at = tables["files"]["opened"].cast(pa.timestamp("us", tz="UTC")).cast(pa.int64()).to_numpy()
    number = tables["files"]["ticket"].to_numpy()
    moments = np.sort(at + np.random.default_rng(3).integers(0, 86_399_999_999, PERSONS))[np.argsort(np.argsort(number))]
    files = some["files"].set_column(3, "opened", pa.array(moments[: int(SHARE * PERSONS)], pa.timestamp("us", tz="UTC")))
    text = ROOM.replace('opened    = { type = "date"', 'opened    = { type = "timestamp"')
    model = learn(parse_schema(text, None, os.urandom), some | {"files": files}, CanaryPolicy(unit=1), sampled=SHARE)
    assert set(model.make(100, ENTROPY).ordered) == {"files.file_no", "files.ticket"}
