"""Tokens of exports: keyed for one export, joining its tables, made and read under purposes."""

import json
import re

import pytest
from small_room import person

import strongroom
from strongroom.errors import BudgetError, DeniedError, NotFoundError, UsageError

CODED = {"recipient": "uni-north", "purpose": "coded", "reason": "study 9"}


def opened(room, keys, actor="ana"):
    return strongroom.open(str(room.bucket), keys=keys, actor=actor)


def lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def exported(room, place, **more):
    return room.export(["persons", "parcels"], to=str(place), format="jsonl", **(CODED | more))


def test_tokens_join_the_tables_of_an_export_and_no_other(sending, either_keymaster, tmp_path):
    """Equal subjects are equal in both tables; nothing of the values is left; another export has other tokens throughout."""
    with sending.keymaster() as keys, opened(sending, keys) as room:
        exported(room, tmp_path / "one")
        exported(room, tmp_path / "two", recipient="uni-south")
    sets = []
    for name in ("one", "two"):
        persons, parcels = (lines(tmp_path / name / f"{table}.jsonl") for table in ("persons", "parcels"))
        subjects = {row["person_id"] for row in persons}
        assert len(subjects) == 300
        assert {row["person_id"] for row in parcels} == subjects
        mobiles = {row["mobile"] for row in persons}
        assert len(mobiles) == 300
        assert all(re.fullmatch(r"1[3-9]\d{9}", mobile) for mobile in mobiles)  # a phone stays a phone
        sets.append(subjects | {row["tracking"] for row in parcels} | mobiles | {row["id_number"] for row in persons})
        text = (tmp_path / name / "persons.jsonl").read_text(encoding="utf-8")
        assert not any(person(n)["person_id"] in text or person(n)["mobile"] in text for n in range(300))
    assert sets[0] & sets[1] == set()


def test_a_value_has_the_token_that_the_file_has_and_each_is_a_look_up(sending, either_keymaster, tmp_path):
    """However it is written; a sixth value of the day is refused."""
    with sending.keymaster() as keys, opened(sending, keys) as room:
        report = exported(room, tmp_path / "out")
        matching = {"purpose": "matching", "reason": "case 9"}
        mobile = person(7)["mobile"]
        first, second = room.tokenize(report.export_id, "persons", "mobile", [mobile, f"+86 {mobile}"], **matching)
        (subject,) = room.tokenize(report.export_id, "persons", "person_id", [" p-000007"], **matching)
        with pytest.raises(BudgetError):
            room.tokenize(report.export_id, "persons", "mobile", [mobile] * 3, **matching)
    assert first == second
    (row,) = [row for row in lines(tmp_path / "out" / "persons.jsonl") if row["mobile"] == first]
    assert (row["person_id"], row["birth_year"]) == (subject, person(7)["birth_year"])


def test_detokenizing_is_a_release_of_the_persons_behind_it(sending, either_keymaster, tmp_path):
    """The subjects come back, charged by name once; a fourth person is refused; of mobiles each value counts."""
    answer = {"purpose": "answer", "reason": "case 9"}
    with sending.keymaster() as keys:
        with opened(sending, keys) as room:
            report = exported(room, tmp_path / "out")
        tokens = {row["birth_year"]: row for row in lines(tmp_path / "out" / "persons.jsonl")}
        rows = [tokens[year] for year in (1960, 1970, 1980)]
        with opened(sending, keys, "max") as room:
            wanted = [row["person_id"] for row in rows]
            for _ in range(2):  # the same persons again cost nothing
                found = room.detokenize(report.export_id, "persons", "person_id", [*wanted, "t1abcd"], **answer)
            assert found[3] is None
            known = {person(n)["person_id"]: person(n) for n in range(300)}
            assert [known[ident]["birth_year"] for ident in found[:3]] == [1960, 1970, 1980]
            with pytest.raises(BudgetError):
                room.detokenize(report.export_id, "persons", "person_id", [tokens[1990]["person_id"]], **answer)
            with pytest.raises(BudgetError):
                room.detokenize(report.export_id, "persons", "mobile", [rows[0]["mobile"]], **answer)
            with pytest.raises(DeniedError) as refused:
                room.detokenize(report.export_id, "persons", "id_number", [rows[0]["id_number"]], **answer)
            assert refused.value.rule == "purposes.answer.tables.persons"
        entries = [e for e in keys.log_entries("kit") if e["act"] == "detokenize" and e["decision"] == "allowed"]
        assert [(e["count"], e["extras"]["export"], len(e["labels"])) for e in entries] == [(3, report.export_id, 64)] * 2


def test_whoever_was_erased_does_not_come_back_by_a_token(sending, tmp_path):
    """Their token is that of nobody."""
    with sending.keymaster() as keys:
        with opened(sending, keys) as room:
            report = exported(room, tmp_path / "out")
            (token,) = room.tokenize(
                report.export_id, "persons", "person_id", ["P-000005"], purpose="matching", reason="r"
            )
        with opened(sending, keys, "kit") as room:
            room.erase("P-000005", reason="request 2")
        with opened(sending, keys, "max") as room:
            assert room.detokenize(report.export_id, "persons", "person_id", [token], purpose="answer", reason="r") == [None]


def test_what_may_not_be_asked_is_refused(sending, tmp_path):
    """Another purpose, a field that the export has not, an export that never was, an id that is none."""
    with sending.keymaster() as keys, opened(sending, keys) as room:
        report = exported(room, tmp_path / "out")
        with pytest.raises(DeniedError):
            room.tokenize(report.export_id, "persons", "mobile", ["1"], purpose="coded", reason="r")
        with pytest.raises(DeniedError):
            room.detokenize(report.export_id, "persons", "mobile", ["1"], purpose="matching", reason="r")
        other = room.export("persons", to=str(tmp_path / "x.csv"), recipient="uni-north", purpose="extract", reason="r")
        with pytest.raises(UsageError, match="has no field tracking of table parcels"):
            room.tokenize(other.export_id, "parcels", "tracking", ["1"], purpose="tracing", reason="r")
        with pytest.raises(NotFoundError):
            room.tokenize("00" * 16, "persons", "mobile", ["1"], purpose="matching", reason="r")
        with pytest.raises(UsageError, match="32 hex digits"):
            room.tokenize("zz", "persons", "mobile", ["1"], purpose="matching", reason="r")


def test_a_direct_caller_is_given_no_key_of_tokens(sending, tmp_path):
    """Their export of tokens is refused: a server makes them."""
    from served_room import Served

    with Served(sending.keymaster()) as served, served.connect(served.credential("ana")) as keys:
        with opened(sending, keys) as room, pytest.raises(DeniedError) as refused:
            exported(room, tmp_path / "out")
        assert refused.value.rule == "room.server-only"
