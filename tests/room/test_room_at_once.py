"""A look-up by value in two steps: what cannot be an older record is released with its hit, everything else as before."""

import datetime as dt

import pyarrow as pa
import pytest
from small_room import POLICY, SCHEMA, SmallRoom, parcels, person

import strongroom
from strongroom.keymaster import finding
from strongroom.keymaster.embedded import EmbeddedKeymaster

pytestmark = pytest.mark.usefixtures("either_keymaster")


@pytest.fixture
def given(monkeypatch):
    """What `open_hits` gives, as it is opened."""
    seen, real = [], finding.Finding.opening

    def opening(self, *args, **more):
        hits = yield from real(self, *args, **more)
        seen.append(hits)
        return hits

    monkeypatch.setattr(finding.Finding, "opening", opening)
    return seen


@pytest.fixture
def opened(room, given):
    del given  # it looks on from the start
    with room.keymaster() as keymaster:

        def as_actor(actor):
            return strongroom.open(str(room.bucket), keys=keymaster, actor=actor)

        yield as_actor


def moved(number):
    """A person with another mobile number."""
    return person(number) | {"mobile": f"137000{number:05}"}


def told_of(opened):
    """Entries of the log that charged somebody for a find."""
    with opened("kit") as r:
        return [(entry["act"], entry["count"]) for entry in r.log(actor="ada") if entry["act"] == "find"]


def test_the_record_of_whoever_was_put_once_comes_with_the_hit(opened, given):
    """The record, charged and noted as ever."""
    with opened("ada") as r, r.read(purpose="case-work", reason="case 1") as desk:
        assert [dict(one) for one in desk.find("persons", {"mobile": person(7)["mobile"]})] == [person(7)]
        both = [person(3)["mobile"], person(4)["mobile"]]
        assert len(desk.find("persons", {"mobile": both}, fields=["name"])) == 2
    assert [hits.released.persons for hits in given] == [1, 2]
    assert told_of(opened) == [("find", 1), ("find", 2)]


def test_an_older_value_finds_nobody_and_charges_nobody(opened, given):
    """Who has another number by now is neither charged nor told; with the new one they are found."""
    with opened("kit") as r:
        r.put("persons", pa.Table.from_pylist([moved(11)]))
    with opened("ada") as r, r.read(purpose="case-work", reason="case 1") as desk:
        assert desk.find("persons", {"mobile": person(11)["mobile"]}) == []
        assert [dict(one) for one in desk.find("persons", {"mobile": moved(11)["mobile"]})] == [moved(11)]
        assert [dict(one) for one in desk.find("persons", {"mobile": person(12)["mobile"]})] == [person(12)]
    assert [hits.released is None for hits in given] == [True, True, False]
    assert told_of(opened) == [("find", 0), ("find", 1), ("find", 1)]


def test_control_without_the_marks_they_are_charged_and_told(opened, monkeypatch):
    """Control: were everybody taken as put once, they would be charged for a record that is not shown."""
    with opened("kit") as r:
        r.put("persons", pa.Table.from_pylist([moved(11)]))
    monkeypatch.setattr(finding, "put_once", lambda *_: True)
    with opened("ada") as r, r.read(purpose="case-work", reason="case 1") as desk:
        assert desk.find("persons", {"mobile": person(11)["mobile"]}) == []
    assert told_of(opened) == [("find", 1)]


def test_an_older_snapshot_shows_what_was_then(opened, given):
    """There the older record is the live one: found, but not at once."""
    with opened("kit") as r:
        receipt = r.put("persons", pa.Table.from_pylist([moved(11)]))
    with opened("ada") as r, r.read(purpose="case-work", reason="c", snapshot=receipt.snapshot - 1) as desk:
        assert [dict(one) for one in desk.find("persons", {"mobile": person(11)["mobile"]})] == [person(11)]
    assert [hits.released for hits in given] == [None]


def test_of_many_records_a_person_all_are_live(opened, given):
    """Where somebody has many, no record is older than another, put again or not."""
    with opened("kit") as r:
        r.put("parcels", parcels(6, 300), again=True)
    with opened("mei") as r, r.read(purpose="delivery", reason="parcel 1") as desk:
        assert [one["tracking"] for one in desk.find("parcels", {"tracking": "SF100005"})] == ["SF100005"] * 2
    assert [len(hits.released.keys["identity"]) for hits in given] == [2]


@pytest.mark.parametrize("more", [{"skip": 1}, {"limit": 1}])
def test_a_part_of_what_is_found_is_released_alone(opened, given, more):
    """Whoever leaves some out, or wants fewer than there are, is released what they are shown."""
    both = [person(3)["mobile"], person(4)["mobile"]]
    with opened("ada") as r, r.read(purpose="case-work", reason="case 1") as desk:
        assert len(desk.find("persons", {"mobile": both}, **more)) == 1
    assert [hits.released for hits in given] == [None]
    assert told_of(opened) == [("find", 1)]


def test_under_several_fields_nobody_is_released_before_all_were_looked_up(opened, given):
    """Who matches one of two values is not charged."""
    where = {"mobile": person(3)["mobile"], "id_number": person(4)["id_number"]}
    with opened("ada") as r, r.read(purpose="case-work", reason="case 1") as desk:
        assert desk.find("persons", where) == []
    assert [hits.released for hits in given] == [None, None]
    assert told_of(opened) == [("find", 0)]


def test_a_find_asks_for_no_release_of_its_own(opened, monkeypatch, request):
    """What came with the hits is all that is asked."""
    served = "served" in request.node.name
    asked, real = [], EmbeddedKeymaster.release
    monkeypatch.setattr(EmbeddedKeymaster, "release", lambda self, *args: (asked.append(args), real(self, *args))[1])
    with opened("ada") as r, r.read(purpose="case-work", reason="case 1") as desk:
        assert len(desk.find("persons", {"mobile": person(7)["mobile"]})) == 1
        assert not asked
        assert desk.find("persons", {"mobile": "13700000099"}) == []
    assert len(asked) == (0 if served else 1)  # a miss is noted; a keymaster that is served does it in steps


def test_compaction_changes_nothing(opened, given):
    """Merged runs have lost the older record, and the index its older entry not: found and charged as before."""
    with opened("kit") as r:
        r.put("persons", pa.Table.from_pylist([moved(11)]))
        r.compact()
    with opened("ada") as r, r.read(purpose="case-work", reason="case 1") as desk:
        assert desk.find("persons", {"mobile": person(11)["mobile"]}) == []
        assert len(desk.find("persons", {"mobile": moved(11)["mobile"]})) == 1
        assert len(desk.find("persons", {"mobile": person(12)["mobile"]})) == 1
    assert [hits.released is None for hits in given] == [True, True, False]


def dated(line):
    """The schema with a date in each record of persons, and a line about how long they are kept."""
    kept = SCHEMA.replace('[tables.persons]\nsubject = "person_id"', f'[tables.persons]\nsubject = "person_id"\n{line}')
    return kept.replace("birth_year = { type", 'sent = { type = "date", class = "open" }\nbirth_year = { type')


@pytest.mark.parametrize("then", ["", 'retention = { days = 3650, by = "put" }'])
def test_what_a_compaction_dropped_by_its_date_charges_nobody_ever(tmp_path, then):
    """Its index entry stays; and no record goes at once of a table that ever went by dates, whatever it goes by now."""
    room = SmallRoom(tmp_path)
    room.create(schema=dated('retention = { days = 30, by = "sent" }'), policy=POLICY)
    today = dt.datetime.now(dt.UTC).date()
    rows = [person(n) | {"sent": today - dt.timedelta(days=days)} for n, days in ((1, 1), (2, 400))]
    with room.keymaster() as keymaster:
        kit = strongroom.open(str(room.bucket), keys=keymaster, actor="kit")
        kit.put("persons", pa.Table.from_pylist(rows))
        assert kit.compact().dead == 1
        kit.set_schema(dated(then))
        ada = strongroom.open(str(room.bucket), keys=keymaster, actor="ada")
        with ada.read(purpose="case-work", reason="c") as desk:
            assert desk.find("persons", {"mobile": person(2)["mobile"]}) == []
            assert len(desk.find("persons", {"mobile": person(1)["mobile"]})) == 1
        assert [entry["count"] for entry in kit.log(actor="ada") if entry["act"] == "find"] == [0, 1]
