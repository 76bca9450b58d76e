"""Aggregates over sealed fields: what is added up is what a plain table gives, and nothing else comes out."""

import numpy as np
import pyarrow as pa
import pytest
from room_api import Api
from survey_room import POLICY, SCHEMA, people, plainly, visits

import strongroom
from strongroom.errors import BudgetError, DeniedError, IntegrityError, UsageError
from strongroom.keymaster.warrant import BEYOND
from strongroom.read import analytics, cellcolumns, sql

EQUALS = [
    ("select ethnicity, count(*) n from persons group by 1 order by 1", None),
    ("select smoker, count(*) n from persons where region = 'north' group by 1 order by 1", None),
    (
        "select birth_date, income, count(*) n from persons group by 1, 2 order by 1, 2",
        "select born, earns, count(*) n from persons group by 1, 2 order by 1, 2",
    ),
    (
        "select height, seen_at, count(*) n from persons group by all order by 1, 2",
        "select tall, seen, count(*) n from persons group by all order by 1, 2",
    ),
    (
        ("select region, count(*) n, count(income) c, sum(income) s from persons where ethnicity in ('A', 'C')"
        " and birth_date <> '>= 1970-01-01' and not smoker group by region order by region"),
        ("select region, count(*) n, count(income) c, round(sum(paid) / 10000) * 10000 s from persons where ethnicity in"
        " ('A', 'C') and born <> '>= 1970-01-01' and not smoker group by region order by region"),
    ),
    (
        "select year, avg(income) a from persons where ethnicity is not null and income = '[0, 1000)' group by year order by 1",
        ("select year, round(sum(paid) / 10000) * 10000 / count(paid) a from persons where ethnicity is not null"
        " and earns = '[0, 1000)' group by year order by 1"),
    ),
    (
        "select ethnicity = 'A' yes, count(*) n from persons group by 1 having count(*) > 500 order by n desc limit 2",
        None,
    ),
]


def opened(room, keymaster, actor="lin"):
    return strongroom.open(str(room.bucket), keys=keymaster, actor=actor)


def asked(desk, text):
    return [tuple(row.values()) for row in desk.sql(text).to_pylist()]


def test_answers_are_those_of_a_plain_table(survey, either_keymaster):
    """Counts and sums by dimension and interval equal those of a plain query; groups below the minimum are left out."""
    with survey.keymaster() as keys, opened(survey, keys) as room, room.read(purpose="health", reason="r") as desk:
        for text, plain in EQUALS:
            wanted = [row for row in plainly(plain or text) if (at := counted_at(text)) is None or row[at] >= 20]
            found = asked(desk, text)
            assert [short(row) for row in found] == [short(row) for row in wanted], text
            assert found


def short(row):
    return tuple(round(value, 6) if isinstance(value, float) else value for value in row)


def counted_at(text):
    """Where the count stands among what a question selects."""
    items = text.split(" from ")[0].removeprefix("select ").split(", ")
    return next((i for i, item in enumerate(items) if item.endswith(" n")), None)


def test_small_groups_are_left_out_and_figures_come_in_steps(survey):
    """A group below the minimum does not show; counts are multiples of the step, sums of what so many persons add."""
    with survey.keymaster() as keys, opened(survey, keys) as room, room.read(purpose="coarse", reason="r") as desk:
        found = desk.sql("select ethnicity, count(*) n, sum(income) s, avg(income) a from persons group by 1").to_pylist()
        few = desk.sql("select count(*) n from persons where ethnicity = 'rare'")
        nobody = desk.sql("select count(*) n from persons where ethnicity = 'nobody'")
    exact = dict(plainly("select ethnicity, count(*) from persons group by 1"))
    paid = dict(plainly("select ethnicity, sum(paid) from persons group by 1"))
    assert 0 < exact["rare"] < 20
    assert {row["ethnicity"] for row in found} == exact.keys() - {"rare"}
    for row in found:
        assert row["n"] % 10 == 0
        assert abs(row["n"] - exact[row["ethnicity"]]) <= 5
        assert row["s"] % 100_000 == 0
        assert abs(row["s"] - paid[row["ethnicity"]]) <= 50_000
        assert row["a"] > 0
    assert few.equals(nobody)


def test_only_what_lives_is_added_up(survey, monkeypatch):
    """Superseded records, the erased and what was put again: the answer is that of the people as they are now."""
    monkeypatch.setattr(sql, "SEALED_BATCH_ROWS", 700)
    newer = people(900, seed=9, first=2_500)  # 500 known persons, 400 new ones
    with survey.keymaster() as keys:
        with opened(survey, keys, "kit") as room:
            room.put("persons", newer)
            room.erase([f"S-{n:06d}" for n in range(30)], reason="asked to")
        now = pa.concat_tables([people().slice(30, 2_470), newer])
        for _ in range(2):
            with opened(survey, keys) as room, room.read(purpose="health", reason="r") as desk:
                for text, plain in EQUALS[:2] + EQUALS[4:5]:
                    wanted = plainly(plain or text, now)
                    assert asked(desk, text) == [row for row in wanted if row[1] >= 20]
            with opened(survey, keys, "kit") as room:
                room.compact()


def test_somebody_erased_while_it_is_answered_is_left_out(survey, monkeypatch):
    """Between the plan and the keys two persons are erased: their rows have no keys and count for nothing."""
    with survey.keymaster() as keys, opened(survey, keys) as room, room.read(purpose="health", reason="r") as desk:
        real = analytics.run

        def run(*args, **more):
            with opened(survey, keys, "kit") as other:
                other.erase(["S-000001", "S-000002"], reason="asked to")
            return real(*args, **more)

        monkeypatch.setattr(analytics, "run", run)
        found = asked(desk, "select count(*) n from persons where smoker is null or smoker is not null")
    assert found == [(2_998,)]


def test_older_versions_of_a_table_are_added_up_under_the_names_of_now(survey):
    """A field that was renamed and one that was added since: older records have the first, and of the second nothing."""
    later = SCHEMA.replace(
        'ethnicity  = { type = "string", class = "sensitive", low_cardinality = true }',
        'group_name = { type = "string", class = "sensitive", low_cardinality = true, was = "ethnicity" }\n'
        'blood = { type = "string", class = "sensitive", low_cardinality = true }',
    )
    policy = POLICY.replace('"ethnicity"', '"group_name"').replace('["group_name", "smoker"]', '["group_name", "blood"]')
    with survey.keymaster() as keys:
        keys.set_policy("kit", POLICY[: POLICY.index("[purposes.health]")] + POLICY[POLICY.index("[purposes.open-only]") :])
        keys.set_schema("kit", later)
        keys.set_policy("kit", policy)
        newer = people(300, seed=5, first=10_000).rename_columns(
            ["group_name" if name == "ethnicity" else name for name in people(1).column_names]
        )
        with opened(survey, keys, "kit") as room:
            room.put("persons", newer.append_column("blood", pa.array(np.array(["0", "A"])[np.arange(300) % 2])))
            room.compact()
        with opened(survey, keys) as room, room.read(purpose="health", reason="r") as desk:
            found = asked(desk, "select group_name, count(*) n from persons group by 1 order by 1")
            blood = asked(desk, "select blood, count(*) n from persons group by 1 order by 1")
    both = pa.concat_tables([people(), people(300, seed=5, first=10_000)])
    wanted = plainly("select ethnicity, count(*) n from persons group by 1 order by 1", both)
    assert found == [row for row in wanted if row[1] >= 20]
    assert blood == [("0", 150), ("A", 150), (None, 3_000)]


def test_many_records_a_subject_keep_the_minimum_of_persons(survey):
    """A group of many records of few persons is left out; a table without open fields is answered all the same."""
    with survey.keymaster() as keys, opened(survey, keys) as room, room.read(purpose="health", reason="r") as desk:
        found = asked(desk, "select kind, count(*) n from visits group by kind order by kind")
        costs = asked(desk, "select cost, count(*) n from visits where kind = 'x' group by cost order by cost")
    given = visits()
    kinds = given["kind"].to_pylist()
    assert kinds.count("few persons") > 20
    assert found == [("x", kinds.count("x")), ("y", kinds.count("y"))]
    low = sum(k == "x" and c < 100 for k, c in zip(kinds, given["cost"].to_pylist(), strict=True))
    assert costs == [("< 100", low), (">= 100", kinds.count("x") - low)]


def spent(keys):
    """Persons charged by entries of sql, and the refusals among those."""
    entries = [e for e in keys.log_entries("kit") if e["act"] == "sql"]
    return [e.get("count", 0) for e in entries if e["decision"] == "allowed"], [
        e["rule"] for e in entries if e["decision"] == "refused"
    ]


def test_every_person_is_charged_once_and_noted_before_a_key(survey, monkeypatch):
    """The plan is one entry and one look-up, each batch of keys another with its persons; who asks again pays nothing."""
    monkeypatch.setattr(sql, "SEALED_BATCH_ROWS", 1_000)
    text = "select ethnicity, count(*) n from persons where region = 'north' group by 1"
    with survey.keymaster() as keys, opened(survey, keys) as room, room.read(purpose="health", reason="r") as desk:
        desk.sql(text)
        desk.sql(text)
        entries = [e for e in keys.log_entries("kit") if e["act"] == "sql"]
    assert [e.get("count", 0) for e in entries] == [0, 1_000, 1_000, 1_000] * 2
    assert entries[0]["extras"] == {"groups": 0, "persons": 3_000}
    assert entries[4]["remaining"] == {"lookups/actor/lin/purpose/health/day": 198}
    assert entries[-1]["remaining"]["persons/actor/lin/purpose/health/day"] == 7_000
    assert {frozenset(e["fields"]) for e in entries} == {frozenset({"region", "ethnicity"})}


def test_a_table_larger_than_a_budget_is_refused_before_the_first_key(survey):
    """Persons that could never fit are refused as a whole: nobody is charged."""
    with survey.keymaster() as keys:
        keys.set_policy("kit", POLICY.replace("budget = { day = 10000 }", "budget = { day = 2999 }"))
        with opened(survey, keys) as room, room.read(purpose="health", reason="r") as desk:
            with pytest.raises(BudgetError) as refused:
                desk.sql("select ethnicity, count(*) from persons group by 1")
        assert refused.value.rule == "persons/actor/lin/purpose/health/day"
        assert spent(keys) == ([], [refused.value.rule])


def test_a_question_charges_no_more_persons_than_its_asker_said(survey):
    """Asked for fewer persons than the table has it is refused, and nobody is charged."""
    with survey.keymaster() as keys, opened(survey, keys) as room, room.read(purpose="health", reason="r") as desk:
        with pytest.raises(UsageError, match="more than 2999 persons"):
            desk.sql("select ethnicity, count(*) from persons group by 1", persons=2_999)
        assert spent(keys) == ([], [])
        assert desk.sql("select ethnicity, count(*) from persons group by 1", persons=3_000).num_rows


def test_another_person_agrees_where_the_purpose_asks_for_it(survey):
    """A purpose whose sensitive class needs another's agreement needs it for adding that class up, and not for others."""
    needs = 'approval = { roles = ["clerk"], classes = ["sensitive"] }\nsql = { min_group = 20, step = 1 }'
    with survey.keymaster() as keys:
        keys.set_policy("kit", POLICY.replace("sql = { min_group = 20, step = 1 }", needs))
        with opened(survey, keys) as room, room.read(purpose="health", reason="r") as desk:
            with pytest.raises(DeniedError) as refused:
                desk.sql("select ethnicity, count(*) from persons group by 1")
            assert refused.value.rule == "approval.needed"
            assert desk.sql("select birth_date, count(*) from persons group by 1").num_rows == 3


def test_a_budget_that_ends_on_the_way_ends_the_question(survey, monkeypatch):
    """What is left was not for these persons: after some batches keys are refused, and nothing is answered of a part."""
    monkeypatch.setattr(sql, "SEALED_BATCH_ROWS", 1_000)
    text = "select ethnicity, count(*) from persons group by 1"
    with survey.keymaster() as keys:
        keys.set_policy("kit", POLICY.replace("budget = { day = 20000 }", "budget = { day = 3200 }"))
        with opened(survey, keys) as room, room.read(purpose="health", reason="r") as desk:
            assert desk.sql(text).num_rows
        with opened(survey, keys, "kit") as clerk:
            clerk.erase([f"S-{n:06d}" for n in range(400)], reason="asked to")
            clerk.put("persons", people(400, seed=4, first=30_000))
        before = len(spent(keys)[0])
        with opened(survey, keys) as room, room.read(purpose="health", reason="r") as desk:
            with pytest.raises(BudgetError) as refused:
                desk.sql(text)
        assert refused.value.rule == "persons/room/day"
        charged, rules = spent(keys)
        assert charged[before] == 0  # the plan
        assert 0 < sum(charged[before:]) < 3_000  # batches that still fitted
        assert rules == ["persons/room/day"]


def test_through_a_server_for_as_many_persons_as_were_signed(survey):
    """A caller of the server gets the answer for the persons they signed; signed for fewer it is refused."""
    text = "select ethnicity, count(*) n from persons group by 1 order by 1"
    with Api(survey) as api, api.of("lin").read(purpose="health", reason="r") as desk:
        found = [tuple(row.values()) for row in desk.sql(text, persons=3_000).to_pylist()]
        assert found == [row for row in plainly(text) if row[1] >= 20]
        for persons in (0, 2_999):
            with pytest.raises(DeniedError) as refused:
                desk.sql(text, persons=persons)
            assert refused.value.rule == BEYOND
        with pytest.raises(DeniedError) as refused:
            desk.sql("select count(*) from persons where income = 5", persons=3_000)
        assert refused.value.rule == "sealed fields are seen by interval"
        assert desk.sql("select region, count(*) n from persons group by 1").num_rows == 3


def test_a_changed_cell_stops_the_question(survey, monkeypatch):
    """A cell that does not open ends the question with an integrity error that names table and class, and no value."""
    real = cellcolumns.open_cells
    monkeypatch.setattr(cellcolumns, "open_cells", lambda keys, *rest: real(keys ^ 1, *rest))
    with survey.keymaster() as keys, opened(survey, keys) as room, room.read(purpose="health", reason="r") as desk:
        with pytest.raises(IntegrityError, match="table persons does not open: class sensitive"):
            desk.sql("select ethnicity, count(*) from persons group by 1")


def test_nothing_is_written_to_a_disk(survey, tmp_path, monkeypatch):
    """No file is made beside the room's own while a question is answered."""
    monkeypatch.chdir(tmp_path)
    with survey.keymaster() as keys, opened(survey, keys) as room, room.read(purpose="health", reason="r") as desk:
        before = {p for p in tmp_path.rglob("*") if "keys" not in p.parts}
        desk.sql("select ethnicity, birth_date, count(*) from persons group by all")
        assert {p for p in tmp_path.rglob("*") if "keys" not in p.parts} == before
