"""Numbers that the operator holds back for canaries: written as the room's, of the same year, each one canary's alone."""

import os

import numpy as np
import planted_city
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from canary_kit import ENTROPY, city_policy, city_schema, city_tables
from hypothesis import given
from hypothesis import strategies as st
from planted_city import PERSONS, plant, small_sizes

import strongroom
from strongroom.errors import UsageError
from strongroom.schema.parse import parse_schema
from strongroom.trace.canary.held import nearest
from strongroom.trace.canary.making import learn
from strongroom.trace.canary.policy import CanaryPolicy, Source
from strongroom.trace.canary.sizing import refuse_blind

SIZE, CANARIES = 4000, 800
ROOM = """
[tables.people]
subject = "person_no"
records = "one"

[tables.people.fields]
person_no = { type = "string", class = "identity" }
badge     = { type = "string", class = "identity" }
locker    = { type = "int", class = "identity", find = true }
sex       = { type = "string", class = "open", reason = "two values" }

[tables.files]
class = "sensitive"
subject = "person_no"

[tables.files.fields]
file_no   = { type = "string", class = "sensitive" }
person_no = { type = "string", class = "identity" }
opened    = { type = "date", class = "sensitive" }
"""
PEOPLE = 3000
YEARS = (2021, 2022, 2023)


def case_numbers(count, size=SIZE, years=range(2022, 2027), taken=()):
    """Numbers that no case of the city has, of all years, in no order."""
    used = {n[11:17] for n in city_tables(size)["criminal_cases"]["case_no"].to_pylist()}
    serials = [f"{s:06d}" for s in np.random.default_rng(3).permutation(10**6)[: 3 * count]]
    free = [s for s in serials if s not in used][:count]
    made = [f"({years[i % len(years)]})川01刑初{s}号" for i, s in enumerate(free)]
    return pa.array([*taken, *made])


def with_cases(held, size=SIZE, **more):
    policy = city_policy(size, 4 * CANARIES, sensitive_tables=("criminal_cases",))
    source = {"criminal_cases.case_no": Source("own", held)} if held is not None else {}
    return CanaryPolicy(sources=policy.sources | source, sensitive_tables=("criminal_cases",), **more)


def learnt(policy):
    tables = city_tables(SIZE)
    return learn(city_schema(), {name: tables[name] for name in ("persons", "criminal_cases")}, policy)


def made_of(held):
    return learnt(with_cases(held)).make(CANARIES, ENTROPY)


# -- the city's cases ---------------------------------------------------------------------------


def test_cases_have_numbers_that_are_held_back_of_the_year_they_were_opened_in():
    """Each is of the list, one canary's alone, and says the year of its case; near where the room's would be."""
    held = case_numbers(600)
    rows = made_of(held).tables["criminal_cases"]
    own = rows["case_no"].to_pylist()
    assert len(own) > 60
    assert set(own) <= set(held.to_pylist())
    assert len(set(own)) == len(own)
    assert all(n[1:5] == str(d.year) for n, d in zip(own, rows["opened_on"].to_pylist(), strict=True))
    assert np.ptp([int(n[11:17]) for n in own]) > 800_000


def test_a_number_that_somebody_of_the_sample_has_is_passed_over():
    """A list with people's numbers gives the others; with people's alone nothing is made."""
    taken = city_tables(SIZE)["criminal_cases"]["case_no"].combine_chunks().slice(0, 200).to_pylist()
    own = made_of(case_numbers(600, taken=taken)).tables["criminal_cases"]["case_no"].to_pylist()
    assert not set(own) & set(taken)
    with pytest.raises(UsageError, match=r"criminal_cases\.case_no: .* canaries found none of the 200 numbers held back"):
        made_of(pa.array(taken))


@pytest.mark.parametrize(
    "held",
    [
        case_numbers(20),
        case_numbers(600, years=range(2022, 2024)),
        pa.array([f"2022/{n:06d}" for n in range(900)]),
        pa.array(["no number at all", "９９"]),
    ],
    ids=["too few", "not of every year", "written otherwise", "no numbers"],
)
def test_a_list_that_does_not_do_is_refused(held):
    """With the field, how many are wanted and what to do; no number is said."""
    with pytest.raises(UsageError, match=r"criminal_cases\.case_no: [0-9]+ canaries found none") as caught:
        made_of(held)
    assert "each year" in caught.value.hint
    assert not any(n in str(caught.value) + caught.value.hint for n in held.to_pylist())


def test_the_same_chance_gives_the_same_numbers():
    """As everything else of a canary."""
    held = case_numbers(600)
    assert made_of(held).tables["criminal_cases"].equals(made_of(held).tables["criminal_cases"])


def test_canaries_without_numbers():
    """Where the source is null they have none; no identifier is drawn that nobody could be asked about."""
    policy = with_cases(None)
    policy.sources["criminal_cases.case_no"] = Source("null")
    model = learnt(policy)
    rows = model.make(CANARIES, ENTROPY).tables["criminal_cases"]
    assert model.blind == ()
    assert rows["case_no"].null_count == len(rows) > 60


# -- another room -------------------------------------------------------------------------------


def room(sensitive=ROOM):
    """People with badges and lockers, and a file each; files are numbered anew each year, without leading zeros."""
    rng = np.random.default_rng(2)
    people = pa.array([f"P{n:09d}" for n in rng.choice(10**9, PEOPLE, replace=False)])
    opened = np.sort(np.datetime64("2021-01-01") + rng.integers(0, 365 * len(YEARS), PEOPLE))
    year = opened.astype("datetime64[Y]").astype(int) + 1970
    serial = np.concatenate([3 * np.arange(1, n + 1) for n in np.unique(year, return_counts=True)[1]])
    tables = {
        "people": {
            "person_no": people,
            "badge": pa.array([f"{n:08d}-{'AB'[n % 2]}" for n in rng.choice(10**8, PEOPLE, replace=False)]),
            "locker": pa.array(rng.choice(10**6, PEOPLE, replace=False)),
            "sex": pa.array(rng.choice(["F", "M"], PEOPLE)),
        },
        "files": {
            "file_no": pa.array([f"{s}/{y}" for s, y in zip(serial, year, strict=True)]),
            "person_no": people,
            "opened": pa.array(opened),
        },
    }
    schema = parse_schema(sensitive, None, os.urandom)
    return schema, {name: pa.table(columns) for name, columns in tables.items()}


def own_of_room(**more):
    files = [f"{s}/{y}" for y in YEARS for s in range(1, 3 * PEOPLE // len(YEARS)) if s % 3]
    sources = {
        "files.file_no": Source("own", pa.array(files)),
        "people.badge": Source("own", pa.array([f"{n:08d}-{c}" for c in "AB" for n in range(5, 10**8, 99_991)])),
        "people.locker": Source("own", pa.array([str(n) for n in range(10**6, 10**6 + 900)])),
    }
    return CanaryPolicy(sources=sources | more, sensitive_tables=("files",), unit=1)


def test_numbers_in_order_of_time_stay_in_it():
    """Of numbers that begin anew each year a canary gets one that lies about where its day would have it; ints are ints."""
    schema, tables = room()
    made = learn(schema, tables, own_of_room(), sampled=0.9).make(600, ENTROPY)
    every = tables["files"]
    days, serials = every["opened"].to_numpy(), [int(n.partition("/")[0]) for n in every["file_no"].to_pylist()]
    off = []
    for number, day in zip(made.tables["files"]["file_no"].to_pylist(), made.tables["files"]["opened"].to_numpy(), strict=True):
        serial, _, year = number.partition("/")
        assert int(year) == day.astype("datetime64[Y]").astype(int) + 1970
        off.append(abs(int(serial) - serials[min(np.searchsorted(days, day), PEOPLE - 1)]))
    assert np.quantile(off, 0.95) < 60  # of 3,000 numbers a year: a week
    assert made.tables["people"]["locker"].type == pa.int64()
    assert pc.min(made.tables["people"]["locker"]).as_py() >= 10**6


def test_what_the_room_cannot_be_asked_about_is_named_and_refused():
    """A number of a sensitive table, and one without an index; not what has an index, the subject, or a source."""
    schema, tables = room()
    model = learn(schema, tables, CanaryPolicy(sensitive_tables=("files",)))
    assert model.blind == ("people.badge", "files.file_no")
    with pytest.raises(UsageError, match=r"^people\.badge, files\.file_no: .* without an index nobody can be asked") as caught:
        refuse_blind(model.blind)
    assert "held back" in caught.value.hint
    assert learn(schema, tables, CanaryPolicy()).blind == ("people.badge",)
    assert learn(schema, tables, own_of_room()).blind == ()
    assert learn(schema, tables, CanaryPolicy(kinds={"people.badge": "text"})).blind == ()
    indexed = ROOM.replace('badge     = { type = "string"', 'badge     = { find = true, type = "string"')
    assert learn(*room(indexed), CanaryPolicy()).blind == ()
    refuse_blind(())


def test_no_number_of_the_rooms_own_is_void():
    """That source is of resident ids alone."""
    schema, tables = room()
    with pytest.raises(UsageError, match=r"people\.badge: a code has no numbers that cannot be issued"):
        learn(schema, tables, own_of_room(**{"people.badge": Source("void")}))


# -- which is nearest ---------------------------------------------------------------------------


@given(
    st.lists(st.tuples(st.integers(-1, 3), st.integers(0, 40)), max_size=30),
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 40)), max_size=30),
)
def test_nearest_gives_each_another_of_its_group(wanted, have):
    """None twice, of the same group, as many as there are; and where they do not crowd the nearest."""
    group, number, of, there = (np.array([p[i] for p in pairs], np.int64) for pairs in (wanted, have) for i in (0, 1))
    chosen, found = nearest(group, number, of, there)
    assert len(set(chosen[found].tolist())) == found.sum()
    assert (of[chosen[found]] == group[found]).all()
    for each in np.unique(group):
        here = np.flatnonzero(group == each)
        assert found[here].sum() == min(len(here), (of == each).sum())
        if len(here) == 1 and found[here[0]]:
            away = np.abs(there[of == each] - number[here[0]]).min()
            assert abs(there[chosen[here[0]]] - number[here[0]]) == away


# -- a room that is planted ---------------------------------------------------------------------

REPORTS = 'tables.police_reports = { identity = "plain", sensitive = "plain", open = "plain" }\n'
CASES = 'tables.criminal_cases = { identity = "plain", sensitive = "plain" }\n'


@pytest.fixture
def city(city_template, tmp_path, monkeypatch):
    """A city whose planter may read and put criminal cases."""
    small_sizes(monkeypatch)
    room = city_template.copy_to(tmp_path / "city")
    text = planted_city.POLICY.replace(REPORTS, REPORTS + CASES, 1)
    text = text.replace('"police_reports"], budget', '"police_reports", "criminal_cases"], budget', 1)
    with room.keymaster() as keys:
        keys.set_policy("kit", text)
    return room


def test_a_planting_into_a_sensitive_table_is_refused_without_numbers_for_it(city):
    """Nobody is registered and nothing is put; with numbers that are held back, canaries have cases of theirs."""
    with city.keymaster() as keys:
        with pytest.raises(UsageError, match=r"^criminal_cases\.case_no: "):
            plant(city, keys, policy=with_cases(None, PERSONS))
        assert keys.canaries.pools("kit") == []
        report = plant(city, keys, policy=with_cases(case_numbers(600, PERSONS), PERSONS))
        assert report.records["criminal_cases"] > 5
        assert report.unasked == ("criminal_cases.case_no",)
        with strongroom.open(str(city.bucket), keys=keys, actor="kit") as room:
            assert room.check().faults == []
