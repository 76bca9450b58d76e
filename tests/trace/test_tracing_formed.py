"""A leaked column whose tokens keep their form names its export, and nothing else does."""

import csv

import pytest
from small_room import person
from tracing_room import opened, trace, write

from strongroom.keymaster.exports.tokenorigin import tokens_needed
from strongroom.keymaster.tracing.api import FORM_TRIES_MAX
from strongroom.trace.tracing.facts import facts_of
from strongroom.trace.tracing.told import lines

CODED = {"purpose": "coded", "reason": "study 9"}
NEEDED = tokens_needed(300 / 7e9, 2 * FORM_TRIES_MAX)


@pytest.fixture(scope="module")
def leaked(tracing_template, tmp_path_factory):
    """The room with two coded exports; the id of the first, and its rows."""
    folder = tmp_path_factory.mktemp("leaked")
    room = tracing_template.copy_to(folder / "room")
    with room.keymaster() as keys, opened(room, keys, "ana") as own:
        ids = [
            own.export("persons", to=str(folder / f"{n}.csv"), recipient=name, where=f"birth_year < {2005 - n}", **CODED).export_id
            for n, name in enumerate(("uni-north", "uni-south"))
        ]
    with (folder / "0.csv").open(encoding="utf-8", newline="") as file:
        return room, ids, list(csv.DictReader(file))


@pytest.fixture
def room(leaked, tmp_path):
    return leaked[0].copy_to(tmp_path / "room")


def look_ups(keys):
    return sum(e.get("extras", {}).get("values", 0) for e in keys.log_entries("kit") if e["act"] == "trace" and e["decision"] != "refused")


@pytest.mark.parametrize(("column", "header"), [("mobile", "mobile"), ("mobile", "手机号"), ("id_number", "id_number")])
def test_a_column_of_tokens_names_its_export_and_persons_are_counted(room, leaked, tmp_path, column, header):
    """One column alone, as it is called here or elsewhere: the export, its bound, and who is behind the tokens."""
    _, ids, rows = leaked
    with room.keymaster() as keys:
        facts = facts_of(trace(room, keys, write(tmp_path / "s.csv", [{header: row[column]} for row in rows])))
    (accused,) = facts.accused
    assert accused.export.id == ids[0]
    assert (accused.tokens.rows, accused.tokens.field) == (len(rows), f"persons.{column}")
    assert accused.tokens.chance < 1e-9
    assert (facts.affected.persons, facts.affected.sure) == (len(rows), 0)
    assert f"by tokens of persons.{column} in {len(rows):,} rows" in "\n".join(lines(facts))


def test_the_stated_handful_names_and_one_fewer_does_not(room, leaked, tmp_path):
    """Below it nothing is spent but the look-ups of the values themselves."""
    _, ids, rows = leaked
    sample = [{"mobile": row["mobile"]} for row in rows[:NEEDED]]
    with room.keymaster() as keys:
        fewer = facts_of(trace(room, keys, write(tmp_path / "t.csv", sample[1:])))
        assert look_ups(keys) == NEEDED - 1
        found = facts_of(trace(room, keys, write(tmp_path / "s.csv", sample)))
        # the values, what two keys make of them, and what stands behind them
        assert look_ups(keys) == NEEDED - 1 + NEEDED + 2 * NEEDED + NEEDED
    assert [one.export.id for one in found.accused] == [ids[0]]
    assert (fewer.accused, fewer.affected.persons) == ((), 0)


def test_persons_by_two_columns_of_tokens_are_sure(room, leaked, tmp_path):
    """A phone and a resident id of one row point to one person."""
    _, ids, rows = leaked
    sample = [{"mobile": row["mobile"], "id_number": row["id_number"]} for row in rows]
    with room.keymaster() as keys:
        facts = facts_of(trace(room, keys, write(tmp_path / "s.csv", sample)))
    assert [one.export.id for one in facts.accused] == [ids[0]]
    assert (facts.affected.persons, facts.affected.sure) == (len(rows), len(rows))


def test_foreign_rows_among_them_take_no_name_away_and_tell_of_nobody(room, leaked, tmp_path):
    """Half the column is of nobody: the export is named; persons are those behind its own tokens."""
    _, ids, rows = leaked
    sample = [{"mobile": row["mobile"]} for row in rows]
    sample += [{"mobile": f"15{n * 7_919:09d}"} for n in range(len(rows))]
    with room.keymaster() as keys:
        facts = facts_of(trace(room, keys, write(tmp_path / "s.csv", sample)))
    assert [one.export.id for one in facts.accused] == [ids[0]]
    assert (facts.affected.persons, facts.affected.sure) == (len(rows), 0)


def test_a_column_that_the_room_knows_is_not_tried(room, tmp_path):
    """Plain numbers, a few of them changed since: no look-up but their own."""
    sample = [{"mobile": person(n)["mobile"]} for n in range(200)] + [{"mobile": f"15{n:09d}"} for n in range(60)]
    with room.keymaster() as keys:
        facts = facts_of(trace(room, keys, write(tmp_path / "s.csv", sample)))
        assert look_ups(keys) == 260
    assert (facts.accused, facts.affected.persons) == ((), 200)


def test_without_look_ups_left_the_rest_is_told_and_what_was_left(room, leaked, tmp_path):
    """The values fit the budget, what is behind them does not: said, and nothing is lost."""
    _, _, rows = leaked
    with room.keymaster() as keys:
        trace(room, keys, write(tmp_path / "m.csv", [{"mobile": str(13_000_000_000 + n)} for n in range(98_900)]))
        before = look_ups(keys)
        found = trace(room, keys, write(tmp_path / "s.csv", [{"mobile": row["mobile"]} for row in rows]))
        assert look_ups(keys) == before + len(rows)
    assert facts_of(found).accused == ()
    assert "not possible: whose tokens some columns hold: look-ups were refused" in "\n".join(lines(facts_of(found)))


def test_a_trace_tries_so_many_columns_and_no_more(room, leaked, tmp_path):
    """The bound is over all tries of a trace: columns beyond are looked up like any, and not tried."""
    _, _, rows = leaked
    one = write(tmp_path / "s.csv", [{"mobile": f"15{n * 7_919:09d}"} for n in range(10)])
    leak = write(tmp_path / "t.csv", [{"mobile": row["mobile"]} for row in rows])
    with room.keymaster() as keys:
        facts = facts_of(trace(room, keys, [one] * FORM_TRIES_MAX + [leak]))
    assert facts.accused == ()
    assert f"whose tokens some columns hold: {FORM_TRIES_MAX} columns are tried at most" in "\n".join(lines(facts))


def test_in_windows_it_says_the_same(room, leaked, tmp_path, monkeypatch):
    """A column that comes in many parts is tried once, and followed to its end."""
    from strongroom.trace.leak import base
    from strongroom.trace.tracing import run

    _, ids, rows = leaked
    monkeypatch.setattr(run, "WINDOW_VALUES", 50)
    monkeypatch.setattr(base, "BLOCK_BYTES", 500)
    with room.keymaster() as keys:
        facts = facts_of(trace(room, keys, write(tmp_path / "s.csv", [{"mobile": row["mobile"]} for row in rows])))
    assert [one.export.id for one in facts.accused] == [ids[0]]
    assert (facts.affected.persons, facts.accused[0].tokens.rows) == (len(rows), len(rows))
