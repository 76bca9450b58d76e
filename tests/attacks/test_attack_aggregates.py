"""Somebody with leave to add up sealed fields tries to read one person's, or the keys to it."""

import time

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from room_api import Api
from served_room import Served
from survey_room import POLICY, people

import strongroom
from strongroom.errors import BudgetError, DeniedError
from strongroom.identity import asked
from strongroom.identity.signing import SIGNED_HEADERS, sign_request
from strongroom.keymaster import aggregating, holder, releasing
from strongroom.keymaster.api import Ask
from strongroom.keymaster.embedded import EmbeddedKeymaster
from strongroom.keymaster.warrant import BEYOND, Warrant
from strongroom.keyserver.calls import Original
from strongroom.read import sealed, sql, sqlcheck, sqlsealed

ASK = "select ethnicity, count(*) n from persons group by 1"
ALL = "select count(*) n from persons where smoker is null or smoker is not null"


def opened(room, keymaster, actor="lin"):
    return strongroom.open(str(room.bucket), keys=keymaster, actor=actor)


@pytest.fixture
def rows(survey, monkeypatch):
    """Tokens and batches of all persons' records, as whoever has the server's memory and the bucket knows them."""
    seen = []
    real = EmbeddedKeymaster.release
    with monkeypatch.context() as patch:
        patch.setattr(EmbeddedKeymaster, "release", lambda self, *args, **more: (seen.append(args[1]), real(self, *args, **more))[1])
        with survey.keymaster() as keys, opened(survey, keys, "max") as room:
            with room.read(purpose="health", reason="r") as desk:
                desk.sql(ASK)
    (one,) = seen
    return one.tokens, one.batches


def wanted(rows, fields, count=1, request=b"r" * 16):
    return Ask(request, "sql", "persons", fields, rows[0][:count], rows[1][:count])


# -- a direct caller ---------------------------------------------------------------------------


def test_a_direct_caller_is_released_nothing_to_add_up(survey, rows):
    """Without a server in front the question, its plan and its keys are refused, and the log says so."""
    with Served(survey.keymaster()) as served, served.connect(served.credential("lin")) as keys:
        with opened(survey, keys) as room, room.read(purpose="health", reason="r") as desk:
            with pytest.raises(DeniedError) as refused:
                desk.sql(ASK)
            assert refused.value.rule == holder.SERVER_ONLY
        reading = keys.begin_reading(actor="lin", purpose="health", reason="r").reading_id
        for attempt in (
            lambda: keys.note_sql(reading, b"p" * 16, "persons", ["ethnicity"], 0, 10),
            lambda: keys.release(reading, wanted(rows, ("ethnicity",))),
        ):
            with pytest.raises(DeniedError) as refused:
                attempt()
            assert refused.value.rule == holder.SERVER_ONLY
        noted = [e for e in served.log_entries("kit") if e["act"] == "sql" and e["actor"] == "lin"]
        assert [e["rule"] for e in noted] == [holder.SERVER_ONLY] * 3


def test_a_direct_caller_has_no_blocks_of_records_to_read_open_columns_from(survey):
    """Blocks of records hold the open columns with tokens beside: for sql alone their keys go to a server only."""
    with Served(survey.keymaster()) as served:
        table = served.keymaster.schema().table("persons").id
        sql_text = "SELECT id FROM file_key WHERE kind = 1 AND state = 'live' AND table_id = ?"
        (key,) = served.keymaster._core.state.read().execute(sql_text, (table,)).fetchone()
        for server in (False, True):
            with served.connect(served.credential("lin", server=server)) as keys:
                reading = keys.begin_reading(actor="lin", purpose="open-only", reason="r").reading_id
                if server:  # control
                    assert len(keys.block_keys(reading, key, 1, [0], "persons")) == 1
                else:
                    assert rule_of(lambda k=keys, r=reading: k.block_keys(r, key, 1, [0], "persons")) == holder.SERVER_ONLY


def test_control_a_server_and_a_careless_keymaster_release_it(survey, rows, monkeypatch):
    """Control: a server's credential gets the answer; with the rule off anybody has the keys of every single person."""
    with Served(survey.keymaster()) as served:
        with served.connect(served.credential("lin", server=True)) as keys, opened(survey, keys) as room:
            with room.read(purpose="health", reason="r") as desk:
                assert desk.sql(ASK).num_rows
        monkeypatch.setattr(aggregating, "server_only", lambda _reading: None)
        with served.connect(served.credential("lin")) as keys:
            reading = keys.begin_reading(actor="lin", purpose="health", reason="r").reading_id
            keys.note_sql(reading, b"p" * 16, "persons", ["ethnicity"], 0, 10)
            assert keys.release(reading, wanted(rows, ("ethnicity",))).keys["sensitive"].any()


# -- one person in a group -----------------------------------------------------------------------


SMALL = (
    "select ethnicity, count(*) n from persons where ethnicity = 'rare' group by 1",
    "select ethnicity, sum(income) s, count(*) n from persons where ethnicity = 'rare' and smoker group by all",
    "select count(*) n from persons where ethnicity = 'rare' having count(*) > 0",
    "select ethnicity, region, year, smoker, birth_date, income, count(*) n from persons where ethnicity = 'rare' group by all",
)


@pytest.mark.parametrize("text", SMALL)
def test_a_group_of_few_is_not_shown(survey, text):
    """A dimension's rare value, and what combines until few are left: no group below the minimum comes out."""
    with survey.keymaster() as keys, opened(survey, keys) as room, room.read(purpose="health", reason="r") as desk:
        assert desk.sql(text).num_rows == 0


def test_control_without_the_minimum_they_are_shown(survey, monkeypatch):
    """Control: with the minimum off the same questions show groups of one person."""
    monkeypatch.setattr(sql, "_enough", lambda _plan, found, _need: (found, 0))
    with survey.keymaster() as keys, opened(survey, keys) as room, room.read(purpose="health", reason="r") as desk:
        assert all(desk.sql(text).num_rows for text in SMALL)
        assert 1 in desk.sql(SMALL[-1])["n"].to_pylist()


BY_VALUE = "select count(*) n from persons where birth_date <> '{}'"


def test_a_value_of_a_cut_field_selects_nobody(survey):
    """Whoever knows a birth date counts everybody but its bearer: such a field is compared with its intervals only."""
    born = people()["birth_date"][17].as_py().isoformat()
    with survey.keymaster() as keys, opened(survey, keys) as room, room.read(purpose="health", reason="r") as desk:
        with pytest.raises(DeniedError) as refused:
            desk.sql(BY_VALUE.format(born))
        assert refused.value.rule == "sealed fields are seen by interval"
        assert born not in str(refused.value) + str(refused.value.hint)


def test_control_without_cutting_it_does(survey, monkeypatch):
    """Control: with the comparison unchecked the engine still has intervals; without those the bearer is missing."""
    given = people()["birth_date"]
    born = given[17].as_py().isoformat()
    monkeypatch.setattr(sqlsealed, "_check_others", lambda *_: None)
    with survey.keymaster() as keys, opened(survey, keys) as room, room.read(purpose="health", reason="r") as desk:
        assert desk.sql(BY_VALUE.format(born))["n"].to_pylist() == [3_000]
        monkeypatch.setattr(sealed, "part_of", lambda _column, plain: plain.cast(pa.string()))
        bearers = given.to_pylist().count(given[17].as_py())
        assert desk.sql(BY_VALUE.format(born))["n"].to_pylist() == [3_000 - bearers]


# -- two questions that differ in one person -----------------------------------------------------


@pytest.fixture
def known(survey):
    """A person whom the open columns single out, with a fortune; the analyst knows that, and wants the income."""
    one = people(1, seed=1, first=50_000).to_pylist()[0]
    one |= {"region": "lighthouse", "ethnicity": "A", "income": 4_321, "smoker": True}
    with survey.keymaster() as keys, opened(survey, keys, "kit") as room:
        room.put("persons", pa.Table.from_pylist([one], schema=people(1).schema))
    return one


WITH = "select count(*) n, sum(income) s, avg(income) a from persons where ethnicity = 'A'"
WITHOUT = WITH + " and region <> 'lighthouse'"


def difference(room_at, purpose):
    with room_at.keymaster() as keys, opened(room_at, keys) as room, room.read(purpose=purpose, reason="r") as desk:
        more, less = (desk.sql(text).to_pylist()[0] for text in (WITH, WITHOUT))
    return more["n"] - less["n"], more["s"] - less["s"]


def test_two_sums_do_not_tell_one_persons_income(survey, known):
    """With and without one person: figures differ by nothing or by a whole step, whatever the person's value is."""
    persons, total = difference(survey, "coarse")
    assert persons in {0, 10}
    assert total in {0, 100_000}
    persons, total = difference(survey, "health")  # the policy wants exact counts: of sums a step is one person's most
    assert persons == 1
    assert total in {0, 10_000}


def test_control_without_steps_they_do(survey, known, monkeypatch):
    """Control: with rounding off the difference of two sums is the income of the one."""
    monkeypatch.setattr(
        sqlcheck, "stepped", lambda kind, name, column, step, *, distinct: f"cast({kind.lower()}({name}) as bigint)"
    )
    assert difference(survey, "coarse") == (1, known["income"])


def test_one_person_does_not_outweigh_the_others(survey, monkeypatch):
    """A fortune beyond the range counts as the range's end: the sum of a group does not tell that it is there."""
    rich = [p | {"income": 10**12} for p in people(1, seed=1, first=60_000).to_pylist()]
    with survey.keymaster() as keys, opened(survey, keys, "kit") as room:
        room.put("persons", pa.Table.from_pylist(rich, schema=people(1).schema))
    text = "select sum(income) s from persons where smoker is null or smoker is not null"
    most = 3_001 * 10_000
    with survey.keymaster() as keys, opened(survey, keys) as room, room.read(purpose="health", reason="r") as desk:
        assert desk.sql(text)["s"][0].as_py() <= most
        monkeypatch.setattr(np, "clip", lambda values, *_bounds: values)
        assert desk.sql(text)["s"][0].as_py() > most  # control: without the range it does


def test_questions_are_look_ups_and_end(survey):
    """Who moves a group's edge person by person needs many questions: each is a look-up, and they end."""
    policy = POLICY.replace("lookups = { day = 200 }", "lookups = { day = 3 }")
    with survey.keymaster() as keys:
        keys.set_policy("kit", policy)
        with opened(survey, keys) as room, room.read(purpose="health", reason="r") as desk:
            for _ in range(3):
                assert desk.sql(ASK).num_rows
            with pytest.raises(BudgetError) as refused:
                desk.sql(ASK)
            assert refused.value.rule == "lookups/actor/lin/purpose/health/day"
            assert desk.sql("select region, count(*) from persons group by 1").num_rows  # open fields are no look-up
        keys.set_policy("kit", POLICY)
        with opened(survey, keys) as room, room.read(purpose="health", reason="r") as desk:
            assert desk.sql(ASK).num_rows  # control: with more of them it goes on


# -- a server that wants more keys than it may -----------------------------------------------------


@pytest.fixture
def front(survey):
    """A server's connection that asks in an analyst's name, in a reading of its own."""
    with Served(survey.keymaster()) as served, served.connect(served.credential("lin", server=True)) as keys:
        yield keys


def rule_of(attempt):
    with pytest.raises(DeniedError) as refused:
        attempt()
    return refused.value.rule


def test_a_server_has_no_keys_of_what_is_not_declared(front, rows):
    """Other fields, other classes, no fields, nothing planned, more persons than planned: refused, each by its rule."""
    reading = front.begin_reading(actor="lin", purpose="health", reason="r").reading_id

    def plan(*fields, persons=2, request=b"p" * 16):
        return front.note_sql(reading, request, "persons", list(fields), 0, persons)

    assert rule_of(lambda: plan("note")) == "purposes.health.sealed.persons"
    assert rule_of(lambda: plan("mobile", request=b"q" * 16)) == "room.aggregate-names"
    assert rule_of(lambda: plan("person_id", request=b"s" * 16)) == "room.aggregate-names"
    assert rule_of(lambda: front.release(reading, wanted(rows, ("ethnicity",)))) == aggregating.UNPLANNED
    plan("ethnicity", request=b"t" * 16)
    for number, fields in enumerate((("note",), ("ethnicity", "note"), ("ethnicity", "income"), ("mobile",), None)):
        asked_for = wanted(rows, fields, request=bytes([number]) * 16)
        assert rule_of(lambda asked_for=asked_for: front.release(reading, asked_for)) in {
            "purposes.health.sealed.persons", "room.aggregate-names", aggregating.UNPLANNED, "purposes.health.sql.rows",
        }  # fmt: skip
    assert rule_of(lambda: front.release(reading, wanted(rows, ("ethnicity",), 3, b"a" * 16))) == aggregating.UNPLANNED
    released = front.release(reading, wanted(rows, ("ethnicity",), 2, b"b" * 16))
    assert set(released.keys) == {"sensitive"}
    assert released.persons == 2
    assert rule_of(lambda: front.release(reading, wanted((rows[0][2:], rows[1][2:]), ("ethnicity",), 1, b"c" * 16))) == (
        aggregating.UNPLANNED
    )
    again = front.release(reading, wanted(rows, ("ethnicity",), 2, b"b" * 16))  # the same request is charged once
    assert again.leaf == released.leaf


def test_control_without_the_plan_keys_go_out_and_cedar_still_names_the_fields(front, rows, monkeypatch):
    """Control: with the plan's check off keys go out unplanned; of undeclared fields the decision refuses them still."""
    monkeypatch.setattr(releasing, "check_aggregate", lambda *_: None)
    reading = front.begin_reading(actor="lin", purpose="health", reason="r").reading_id
    assert set(front.release(reading, wanted(rows, ("ethnicity",))).keys) == {"sensitive"}
    assert rule_of(lambda: front.release(reading, wanted(rows, ("note",), request=b"n" * 16))) == (
        "purposes.health.sealed.persons"
    )


def test_control_a_policy_that_declares_a_field_releases_its_class(front, rows, survey):
    """Control: the class of a field goes out where the policy declares that field."""
    reading = front.begin_reading(actor="lin", purpose="health", reason="r").reading_id
    front.note_sql(reading, b"p" * 16, "persons", ["birth_date"], 0, 1)
    assert set(front.release(reading, wanted(rows, ("birth_date",))).keys) == {"identity"}


def test_a_purpose_that_declares_nothing_adds_nothing_up(survey, front, rows):
    """A purpose without `sealed`: the question is refused, and so is a server that asks past it."""
    with opened(survey, front) as room, room.read(purpose="open-only", reason="r") as desk:
        assert rule_of(lambda: desk.sql(ASK)) == "sensitive fields are never a filter"
        assert desk.sql("select region, count(*) from persons group by 1").num_rows
    reading = front.begin_reading(actor="lin", purpose="open-only", reason="r").reading_id
    assert rule_of(lambda: front.note_sql(reading, b"p" * 16, "persons", ["ethnicity"], 0, 1)) == (
        "purposes.open-only.sealed"
    )
    assert rule_of(lambda: front.release(reading, wanted(rows, ("ethnicity",)))) == "purposes.open-only.sealed"


# -- a server with a question that somebody signed ---------------------------------------------------


@pytest.fixture
def signed(survey):
    """A signed question for 2 persons, captured by the server, and the reading that it opens."""
    with Api(survey) as api:
        credential = api.keys.credential("lin")
        said = asked.Sql(purpose="health", reason="r", query=ASK, persons=2)
        body, path, now = msgspec.json.encode(said), asked.path_of(api.keys.room_id, "sql"), int(time.time())
        headers = sign_request(
            credential.seed, credential.id, "POST", path, body, created=now, expires=now + 60, nonce=b"n" * 16
        )
        kept = {k.lower(): v for k, v in headers.items() if k.lower() in SIGNED_HEADERS}
        granted = api.own.asking.ask("served.read", request=Original("POST", path, kept, body, "127.0.0.1"), files=[])
        yield api.own, granted.grant.reading_id


def test_a_server_adds_up_what_its_caller_signed(signed, rows):
    """Another field, another table, more persons than the signed question: beyond it, though the purpose allows them."""
    keys, reading = signed
    for number, (table, fields, persons) in enumerate(
        [("persons", ["income"], 2), ("persons", ["ethnicity", "smoker"], 2), ("visits", ["kind"], 2), ("persons", ["ethnicity"], 3)]
    ):
        request = bytes([number]) * 16
        assert rule_of(lambda r=request, t=table, f=fields, p=persons: keys.note_sql(reading, r, t, f, 0, p)) == BEYOND
    keys.note_sql(reading, b"p" * 16, "persons", ["ethnicity"], 0, 2)
    assert keys.release(reading, wanted(rows, ("ethnicity",), 2)).persons == 2
    assert rule_of(lambda: keys.release(reading, wanted(rows, ("ethnicity",), 1, b"x" * 16))) in {
        BEYOND, aggregating.UNPLANNED,
    }  # fmt: skip


def test_control_without_the_warrant_it_adds_up_what_it_likes(signed, rows, monkeypatch):
    """Control: with the comparison off the server asks for another field of the purpose."""
    keys, reading = signed
    monkeypatch.setattr(Warrant, "check_aggregate", lambda *_: None)
    keys.note_sql(reading, b"p" * 16, "persons", ["income"], 0, 2)
    assert set(keys.release(reading, wanted(rows, ("income",), 2)).keys) == {"sensitive"}
