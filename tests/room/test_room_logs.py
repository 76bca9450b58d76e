"""An incident from the first question to a list of whom to tell, whatever kind of keymaster the room has."""

import pytest
from small_room import POLICY, person

import strongroom
from strongroom.keymaster.log.api import Which
from strongroom.read.logs import named

RESPONDER = POLICY.replace('[actors.kit]\nroles = ["clerk"]', '[actors.kit]\nroles = ["clerk", "officer"]')


def stolen(room, keymaster, numbers, again=()):
    """What a thief reads under ada's name."""
    with strongroom.open(str(room.bucket), keys=keymaster, actor="ada") as opened:
        with opened.read(purpose="case-work", reason="r") as desk:
            for number in numbers:
                desk.get("persons", f"P-{number:06d}", fields=("name",))
            for number in again:
                desk.find("persons", {"mobile": person(number)["mobile"]})


def test_from_a_stolen_credential_to_whom_to_tell(room, either_keymaster):
    """What was touched, whom, and their records under a purpose: each is charged once, and noted."""
    with room.keymaster() as keymaster, strongroom.open(str(room.bucket), keys=keymaster, actor="kit") as opened:
        stolen(room, keymaster, [3, 5, 8], [8, 13])
        opened.set_policy(RESPONDER)
        which = Which(of="ada")
        got, found_by = sorted(
            (t for t in opened.logs.touched(which) if t.act in {"get", "find"}), key=lambda t: t.act, reverse=True
        )
        assert (got.fields, got.persons, found_by.fields, found_by.persons) == (("name",), 3, (), 2)
        assert bool(got.credential) is (either_keymaster == "served")
        if got.credential:
            assert opened.logs.touched(Which(credential=got.credential)) == opened.logs.touched(which)
        assert [e["actor"] for e in opened.logs.newest(which, 2)] == ["ada", "ada"]
        found = opened.logs.persons(which, "incident 9")
        assert (len(found), found.unknown, found.lost) == (4, 0, [])
        with opened.read(purpose="case-work", reason="incident 9") as desk:
            records = [record for _, mine in named(desk, found, "persons") for record in mine]
            assert {record["person_id"] for record in records} == {f"P-{n:06d}" for n in (3, 5, 8, 13)}
            assert [records[0]["name"]] == [person(int(records[0]["person_id"][2:]))["name"]]
        said = opened.logs.touched(Which(of="kit"))
        assert [(t.act, t.persons) for t in said if t.act == "get"] == [("get", 4)]
        twice = {p.token for p in found.each() if len(p.leaves) == 2}
        with opened.read(purpose="case-work", reason="incident 9") as desk:
            (records,) = desk.of_tokens("persons", list(twice))
            assert records[0]["person_id"] == "P-000008"
            assert desk.of_tokens("cases", [bytes(16)]) == [[]]


def test_what_a_stolen_credential_exported_and_whose(sending, either_keymaster, tmp_path):
    """Which export to whom, its fields, and each of its persons, whom a purpose then names; under another name nobody."""
    out = {"recipient": "uni-north", "purpose": "extract", "reason": "r"}
    with sending.keymaster() as keymaster:
        with strongroom.open(str(sending.bucket), keys=keymaster, actor="ana") as thief:
            made = thief.export("persons", to=str(tmp_path / "x.csv"), where="birth_year >= 2000", **out)
        wanted = {f"P-{n:06d}" for n in range(300) if person(n)["birth_year"] >= 2000}
        with strongroom.open(str(sending.bucket), keys=keymaster, actor="kit") as opened:
            which = Which(of="ana")
            (one,) = [t for t in opened.logs.touched(which) if t.act == "export"]
            assert (one.table, one.persons, one.purpose) == ("persons", len(wanted), "extract")
            assert "mobile" in one.fields
            (entry,) = [e for e in keymaster.log_entries("kit", of="ana") if e["act"] == "export"]
            assert (entry["extras"]["export"], entry["recipient"]) == (made.export_id, "uni-north")
            found = opened.logs.persons(which, "incident 9")
            assert (len(found), found.unknown, found.lost) == (len(wanted), 0, [])
            assert {"export"} == {act for one in found.each() for act in one.to_dict()["acts"]}
            assert len(opened.logs.persons(Which(of="mei"), "incident 9")) == 0
        with strongroom.open(str(sending.bucket), keys=keymaster, actor="ada") as opened:
            with opened.read(purpose="case-work", reason="incident 9") as desk:
                records = [record for _, mine in named(desk, found, "persons") for record in mine]
        assert {record["person_id"] for record in records} == wanted


def test_names_cost_a_purpose_s_budget(room):
    """Beyond it nobody of the rest is opened; who has no purpose opens nobody."""
    narrow = RESPONDER.replace("budget = { hour = 1000, day = 2000 }", "budget = { hour = 3, day = 3 }")
    with room.keymaster() as keymaster, strongroom.open(str(room.bucket), keys=keymaster, actor="kit") as opened:
        stolen(room, keymaster, range(4))
        with pytest.raises(strongroom.DeniedError):
            opened.read(purpose="case-work", reason="incident 9")
        opened.set_policy(narrow)
        found = opened.logs.persons(Which(of="ada"), "incident 9")
        with opened.read(purpose="case-work", reason="incident 9") as desk, pytest.raises(strongroom.BudgetError):
            list(named(desk, found, "persons"))
        assert not [t for t in opened.logs.touched(Which(of="kit")) if t.act == "get"]


def test_of_the_erased_and_of_those_who_came_back(room):
    """Who was erased is passed over; who came back is named by what lives."""
    with room.keymaster() as keymaster, strongroom.open(str(room.bucket), keys=keymaster, actor="kit") as opened:
        stolen(room, keymaster, [3, 5])
        opened.set_policy(RESPONDER)
        opened.erase(["P-000003", "P-000005"], reason="asked")
        import pyarrow as pa

        opened.put("persons", pa.Table.from_pylist([person(5)]))
        found = opened.logs.persons(Which(of="ada"), "incident 9")
        assert sorted(found.erased.tolist()) == [False, True]
        with opened.read(purpose="case-work", reason="incident 9") as desk:
            ((at, (record,)),) = list(named(desk, found, "persons"))
        assert record["person_id"] == "P-000005"
        assert not found.erased[at]
