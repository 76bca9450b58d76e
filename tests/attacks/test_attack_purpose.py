"""An actor with one purpose tries to get more than it shows."""

import sqlite3
from dataclasses import replace

import attack_kit as kit
import numpy as np
import pytest
from keymaster_fixtures import ask
from small_room import person, persons

import strongroom
from strongroom.errors import DeniedError, IntegrityError, StrongroomError, UsageError
from strongroom.keymaster.behind import Behind
from strongroom.keymaster.embedded import EmbeddedKeymaster
from strongroom.keymaster.lookups import Lookups
from strongroom.keymaster.readings import Readings
from strongroom.purpose import cedar
from strongroom.purpose.cedar import Decision
from strongroom.read import sqlplan
from strongroom.seal.cells import cell_ad, open_cell, seal_cell

READS_BY_SQL = (
    "select count(*) from persons where name = '王伟伟'",
    "select count(*) from persons where mobile like '139%'",
    "select sex, count(*) from persons group by sex having max(name) > '王'",
    "select count(*) filter (where id_number = '1') from persons",
    "select sum(case when address = 'a' then 1 else 0 end) from persons",
    "select sex, count(*) from persons group by sex order by max(mobile)",
    "select count(*) from persons where ethnicity = '回族'",
    "select count(distinct ethnicity) from persons",
)


@pytest.fixture
def master(room):
    with room.keymaster() as keymaster:
        yield keymaster


@pytest.fixture
def opened(room, master):
    return lambda actor: strongroom.open(str(room.bucket), keys=master, actor=actor)


def rows_of(room, sql):
    database = sqlite3.connect(room.keys / "keymaster.db")
    try:
        return database.execute(sql).fetchall()
    finally:
        database.close()


def run_keys(room, master, table, kind=1):
    table_id = master.schema().table(table).id
    return [
        k
        for k, t in rows_of(room, f"SELECT id, table_id FROM file_key WHERE kind = {kind} AND state = 'live'")
        if t == table_id
    ]


def batch_of(room, master, table):
    table_id = master.schema().table(table).id
    return next(
        b for b, t in rows_of(room, "SELECT id, table_id FROM batch WHERE state = 'committed'") if t == table_id
    )


def test_attack_a_purpose_is_tried_on_another_table(opened):
    """A purpose for persons is tried on cases with get and find: the purpose names no such table, and is refused."""
    with opened("mei") as r, r.read(purpose="delivery", reason="t") as desk:
        with pytest.raises(DeniedError):
            desk.records("cases", "P-000007")
        with pytest.raises(DeniedError):
            desk.find("cases", {"charge": "盗窃 1"})


def test_control_a_purpose_for_the_table_reads_it(opened):
    """Control: the purpose that names the table reads the same record."""
    with opened("ada") as r, r.read(purpose="case-work", reason="t") as desk:
        assert desk.records("cases", "P-000007")[0]["charge"] == "盗窃 1"


def test_attack_block_keys_of_another_table(room, master):
    """A reading asks block keys of another table's run under its own table's name and under the other's: both refused."""
    reading = master.begin_reading(actor="mei", purpose="delivery", reason="t").reading_id
    (foreign,) = run_keys(room, master, "cases")
    for table in ("persons", "cases"):
        for kind in (1, 1 | 0x80):
            with pytest.raises(DeniedError):
                master.block_keys(reading, foreign, kind, [0], table)
    with pytest.raises(DeniedError):
        master.block_keys(reading, foreign, 4, [0], None)


def test_control_without_the_decision_the_blocks_keys_go_out(room, master, monkeypatch):
    """Control: with the decision about the table switched off, the same call gives the key."""
    reading = master.begin_reading(actor="mei", purpose="delivery", reason="t").reading_id
    monkeypatch.setattr(
        Readings, "decide", lambda self, r, verbs, table, *more: self._core.standing.schema.table(table)
    )
    (foreign,) = run_keys(room, master, "cases")
    assert len(master.block_keys(reading, foreign, 1, [0], "cases")[0]) == 32


def test_attack_batches_of_another_table(room, master):
    """A reading for persons asks keys for a batch of cases: a batch belongs to its table, and is refused."""
    reading = master.begin_reading(actor="mei", purpose="delivery", reason="t").reading_id
    token = master.subject_tokens(reading, "persons", ["P-000007"])
    with pytest.raises(DeniedError) as refused:
        master.release(reading, ask(token, batch_of(room, master, "cases")))
    assert refused.value.rule == "room.foreign-batch"


def test_control_without_that_check_keys_go_out_and_open_no_other_table(room, master, monkeypatch):
    """Control: with the check off keys of the foreign batch are released; the table is in the key, so no case opens."""
    monkeypatch.setattr(Behind, "check_batches", lambda *args: None)
    reading = master.begin_reading(actor="ada", purpose="case-work", reason="t").reading_id
    token = master.subject_tokens(reading, "persons", ["P-000007"])
    batch = batch_of(room, master, "cases")
    wrong = master.release(reading, ask(token, batch)).keys["sensitive"][0].tobytes()
    right = master.release(reading, ask(token, batch, table="cases")).keys["sensitive"][0].tobytes()
    table = master.schema().table("cases")
    ad = cell_ad(master.room_id, table.id, table.compartments["sensitive"], table.version)
    cell = seal_cell(right, 0, b"charge", ad)
    assert open_cell(right, 0, cell, ad) == b"charge"
    with pytest.raises(IntegrityError):
        open_cell(wrong, 0, cell, ad)


def test_attack_a_listing_starts_from_a_sensitive_table(opened):
    """Find, rows and a listing by a sensitive field start from a sensitive table: nothing starts there."""
    with opened("ada") as r, r.read(purpose="case-work", reason="t") as desk, pytest.raises(StrongroomError):
        desk.find("cases", {"charge": "盗窃 1"})
    with opened("lin") as r, r.read(purpose="statistics", reason="t") as desk:
        for text in ("select year from cases", "select * from cases limit 5", "select year, _person from cases"):
            with pytest.raises(StrongroomError):
                desk.sql(text)


def test_control_the_same_purpose_counts_it_and_lists_another_table(opened):
    """Control: the same purpose may count the sensitive table, and list rows of a table that is not sensitive."""
    with opened("lin") as r, r.read(purpose="statistics", reason="t") as desk:
        assert (
            sum(row["n"] for row in desk.sql("select year, count(*) as n from cases group by year").to_pylist()) == 42
        )
        assert desk.sql("select birth_year from persons limit 5").num_rows == 5


def without_the_rule(monkeypatch):
    """Take the rule about sensitive tables out of the rules, and out of the check of statements."""
    without = cedar._ROOM_RULES.replace('resource.class == "sensitive"', "false", 1)
    assert without != cedar._ROOM_RULES
    monkeypatch.setattr(cedar, "_ROOM_RULES", without)
    of = sqlplan.TableView.of.__func__
    monkeypatch.setattr(sqlplan.TableView, "of", classmethod(lambda *args: replace(of(*args), sensitive=False)))


def finds_a_case(room):
    with room.keymaster() as keymaster, strongroom.open(str(room.bucket), keys=keymaster, actor="ada") as r:
        with r.read(purpose="case-work", reason="t") as desk, pytest.raises(DeniedError) as refused:
            desk.find("cases", {"person_id": "P-000007"})
    return refused.value.rule


def lists_cases(room):
    with room.keymaster() as keymaster, strongroom.open(str(room.bucket), keys=keymaster, actor="lin") as r:
        with r.read(purpose="statistics", reason="t") as desk:
            return desk.sql("select year from cases limit 5").num_rows


def test_attack_the_rule_about_sensitive_tables_refuses(room):
    """A find and a list of rows of a sensitive table are refused by the rule about it, before anything else."""
    assert finds_a_case(room) == "room.sensitive-table"
    with pytest.raises(DeniedError, match="sensitive"):
        lists_cases(room)


def test_control_without_that_rule_rows_are_listed_and_a_find_meets_the_next(room, monkeypatch):
    """Control: without the rule the rows are listed; a find meets the rule behind it, for no such field has an index."""
    without_the_rule(monkeypatch)
    assert lists_cases(room) == 5
    assert finds_a_case(room) == "room.find-needs-index"


def test_attack_a_sensitive_field_is_searched(opened):
    """A reader who may see a sensitive field looks for persons by it: it has no index and is refused in find."""
    with opened("ada") as r, r.read(purpose="case-work", reason="t") as desk:
        with pytest.raises(StrongroomError):
            desk.find("persons", {"ethnicity": "回族"})
        assert desk.get("persons", "P-000001")["ethnicity"] == "回族"  # control: shown where the person is known


@pytest.mark.parametrize("text", READS_BY_SQL)
def test_attack_a_sealed_field_is_read_by_filtering(opened, text):
    """An analyst filters, groups or orders by a sealed field in sql: such a field has no place in a statement."""
    with opened("lin") as r, r.read(purpose="statistics", reason="t") as desk:
        with pytest.raises((DeniedError, UsageError)):  # UsageError: the construct is not offered at all
            desk.sql(text)


def test_control_the_same_statements_read_a_plain_table():
    """Control: over a plain table of the same records every one of these statements is answered, and gives values away."""
    import duckdb

    with duckdb.connect() as plain:
        plain.register("persons", persons(300))
        for text in READS_BY_SQL:
            assert plain.execute(text).fetchall()
        name = person(12)["name"]
        assert plain.execute("select count(*) from persons where name = ?", [name]).fetchone()[0] > 0


def test_attack_a_purpose_is_used_by_an_actor_without_it(opened):
    """An actor opens a reading for a purpose of another role: refused, and in the log under the actor's name."""
    for actor, purpose in (("mei", "case-work"), ("kit", "case-work"), ("lin", "delivery"), ("nobody", "delivery")):
        with opened(actor) as r, pytest.raises(DeniedError):
            r.read(purpose=purpose, reason="nosy")
    with opened("kit") as r:
        refused = [e["actor"] for e in r.log() if e.get("decision") == "refused"]
    assert refused == ["mei", "kit", "lin", "nobody"]


def test_control_without_that_decision_the_reading_opens_and_still_reads_nothing(opened, monkeypatch):
    """Control: with the first decision off the reading opens; the decision at each request is a second one."""
    monkeypatch.setattr(Readings, "_may_use", lambda *args: Decision(True, "off", "off"))
    with opened("mei") as r, r.read(purpose="case-work", reason="nosy") as desk:
        assert desk.purpose == "case-work"
        with pytest.raises(DeniedError):
            desk.get("persons", "P-000001")


def test_attack_hits_under_values_not_asked_for(master):
    """A reader opens index entries under a value token from another reading: hits open for own look-ups only."""
    mine = master.begin_reading(actor="mei", purpose="delivery", reason="t").reading_id
    other = master.begin_reading(actor="crawler", purpose="delivery", reason="t").reading_id
    token = master.value_tokens(mine, "persons", "mobile", [person(3)["mobile"]])
    entry = np.zeros((1, 44), np.uint8)
    for tokens in (token, np.frombuffer(bytes(16), np.uint8).reshape(1, 16)):
        with pytest.raises(DeniedError) as refused:
            master.open_hits(other, "persons", "mobile", tokens, entry)
        assert refused.value.rule == "room.hits-of-own-lookups"
    with pytest.raises(IntegrityError, match="index entry of table persons, field mobile"):
        master.open_hits(mine, "persons", "mobile", token, entry)


def test_control_without_that_check_another_reading_opens_them(opened, master, monkeypatch):
    """Control: a reading that passes for having looked everything up opens what another one was given."""
    given = []
    real = EmbeddedKeymaster.open_hits
    monkeypatch.setattr(
        EmbeddedKeymaster, "open_hits", lambda self, *args: (given.append(args), real(self, *args))[1]
    )
    with opened("mei") as r, r.read(purpose="delivery", reason="t") as desk:
        assert len(desk.find("persons", {"mobile": person(3)["mobile"]})) == 1
    (_, table, field, tokens, entries, _at_once), *_ = given
    other = master.begin_reading(actor="crawler", purpose="delivery", reason="t").reading_id
    with pytest.raises(DeniedError):
        real(master, other, table, field, tokens, entries)
    monkeypatch.setattr(Lookups, "_looked_up", lambda *args: True)
    assert len(real(master, other, table, field, tokens, entries).ordinals) == 1


def test_control_a_looked_up_value_opens_its_hits(opened):
    """Control: the reading that looked the value up gets the hit."""
    with opened("mei") as r, r.read(purpose="delivery", reason="t") as desk:
        assert len(desk.find("persons", {"mobile": person(3)["mobile"]})) == 1


assert kit
