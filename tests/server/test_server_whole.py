"""A room behind its server: every verb through the client, as the library answers it; and what it refuses."""

import datetime as dt
import json
import urllib.request

import pytest
from person_kit import PERSON_POLICY
from room_api import Api
from small_room import SmallRoom, fill, person

import strongroom
from strongroom.catalog import commit
from strongroom.errors import (
    BudgetError,
    ConflictError,
    DeniedError,
    InputError,
    NotFoundError,
    UnavailableError,
    UsageError,
)
from strongroom.identity.credential import Credential, new_credential
from strongroom.purpose.budget import OwnBudgets
from strongroom.purpose.model import Budget
from strongroom.read.personlog import verify_person_log
from strongroom.server.client import connect_room


@pytest.fixture
def api(room):
    with Api(room) as made:
        yield made


def test_get_and_find_give_what_the_library_gives(api):
    """Plain fields, masked ones, withheld ones: one request each, spent and noted under the caller's name."""
    with api.of("ada").read(purpose="case-work", reason="case 1") as desk:
        assert dict(desk.get("persons", "P-000007")) == person(7)
        (found,) = desk.find("persons", {"mobile": person(3)["mobile"]})
        assert dict(found) == person(3)
        assert desk.find("persons", {"mobile": "13800000000"}) == []
    with api.of("mei").read(purpose="delivery", reason="parcel 1") as desk:
        (found,) = desk.find("persons", {"mobile": person(3)["mobile"]}, fields=["name", "mobile"])
        assert found["mobile"].endswith(person(3)["mobile"][-4:])
        assert found["mobile"] != person(3)["mobile"]
        assert found.masked == {"name", "mobile"}
        with pytest.raises(DeniedError, match="withheld"):
            found["ethnicity"]
    entries = [e for e in api.keys.log_entries("kit", of="ada") if e["act"] != "keys"]  # of the first one after a start
    assert [(e["act"], e.get("table"), e.get("count")) for e in entries] == [
        ("open", "persons", None), ("get", "persons", 1),
        ("open", "persons", None), ("find", "persons", 1),
        ("open", "persons", None), ("find", "persons", 0),
    ]  # fmt: skip
    assert {e["extras"]["through"] for e in entries if e["act"] == "open"} == {"front"}


def test_several_subjects_at_once_have_an_answer_each(api):
    """One request, one entry: the records of those who are there, and an error in the place of those who are not."""
    with api.of("ada").read(purpose="case-work", reason="case 1") as desk:
        first, none, again = desk.each("persons", ["P-000001", "P-999999", "p-000001"])
        assert dict(first[0]) == person(1)
        assert isinstance(none, NotFoundError)
        assert dict(again[0]) == person(1)
        with pytest.raises(NotFoundError, match="no such subject"):
            desk.get("persons", "P-999999")
    entries = [e for e in api.keys.log_entries("kit", of="ada") if e["act"] == "get"]
    assert [e["count"] for e in entries] == [1, 0]


def test_a_long_answer_goes_on_at_its_cursor(api):
    """Pages of one snapshot, in one order, each its own signed request."""
    import msgspec

    from strongroom.identity import asked

    said = {"purpose": "case-work", "reason": "case 1", "table": "persons"}
    where = {"mobile": [person(number)["mobile"] for number in range(7)]}
    found, cursor = [], None
    for _ in range(4):
        body = msgspec.json.encode(asked.Find(**said, where=where, limit=3, cursor=cursor))
        page = api.of("ada").ask("find", body)
        found += [one.fields["person_id"] for one in page.records]
        cursor = page.cursor
        if cursor is None:
            break
    assert sorted(found) == [f"P-{number:06d}" for number in range(7)]
    for wrong in ("x", "1", "1.x", "-1.2", "1.²"):
        body = msgspec.json.encode(asked.Find(**said, where=where, limit=3, cursor=wrong))
        with pytest.raises(UsageError, match="cursor"):
            api.of("ada").ask("find", body)


def test_sql_comes_back_as_a_table(api):
    """Aggregates with the minimum group, as Arrow; a statement that is refused says why."""
    with api.of("lin").read(purpose="statistics", reason="yearbook") as desk:
        table = desk.sql("select sex, count(*) as n from persons group by sex order by sex")
        assert table.column_names == ["sex", "n"]
        assert sum(table["n"].to_pylist()) == len(room_persons(api))
        with pytest.raises(UsageError):
            desk.sql("drop table persons")


def room_persons(api):
    with api.of("ada").read(purpose="case-work", reason="count") as desk:
        return [one for one in desk.each("persons", [f"P-{n:06d}" for n in range(1000)]) if isinstance(one, list)]


def test_put_and_erase_through_the_server(api, room):
    """Records go in under the caller's name; a person is gone at once, and the receipt verifies."""
    rows = [person(number) for number in range(5000, 5003)]
    done = api.of("kit").put("persons", rows, records=3)
    assert (done.records, done.new_subjects) == (3, 3)
    with api.of("ada").read(purpose="case-work", reason="case 1") as desk:
        assert dict(desk.get("persons", "P-005001")) == person(5001)
        gone = api.of("kit").erase("P-005001", reason="request 88")
        assert gone.persons == 1
        assert gone.receipt["state"] == "in force"
        with pytest.raises(NotFoundError):
            desk.get("persons", "P-005001")
    with pytest.raises(DeniedError):
        api.of("mei").put("persons", rows, records=3)
    with pytest.raises(DeniedError):
        api.of("mei").erase("P-000001", reason="no")


def test_a_file_is_put_as_it_is(api, tmp_path):
    """CSV by its name; the same file a second time is a conflict; records that do not fit are counted."""
    csv = tmp_path / "more.csv"
    names = ",".join(person(1))
    lines = [",".join("" if v is None else str(v) for v in person(n).values()) for n in (7000, 7001)]
    csv.write_text("\n".join([names, *lines, "P-007002,x,y,z,w,,,notayear"]) + "\n", encoding="utf-8")
    done = api.of("kit").put("persons", csv, records=10)
    assert (done.records, done.rejected) == (2, 1)
    with pytest.raises(ConflictError, match="before"):
        api.of("kit").put("persons", csv, records=10)
    with pytest.raises(InputError, match="cannot be read"):
        api.of("kit").put("persons", tmp_path / "none.csv")
    with pytest.raises(UsageError, match="format"):
        api.of("kit").put("persons", b"a,b\n1,2\n")


def test_the_same_request_under_one_key_is_done_once(api):
    """Idempotency-Key: the same answer again; another request under it is refused; persons are charged once."""
    rows = [person(8000)]
    first = api.of("kit").put("persons", rows, records=1, idempotency_key="put 1")
    again = api.of("kit").put("persons", rows, records=1, idempotency_key="put 1")
    assert first == again
    with pytest.raises(UsageError, match="Idempotency-Key"):
        api.of("kit").put("persons", [person(8001)], records=1, idempotency_key="put 1")
    import msgspec

    from strongroom.identity import asked

    said = asked.Get(purpose="delivery", reason="r", table="persons", subjects=["P-000001"])
    for _ in range(3):
        api.of("mei").ask("get", msgspec.json.encode(said), None, "read 1")
    looked = [e["extras"].get("reserved") for e in api.keys.log_entries("kit", of="mei") if e["act"] == "open"]
    assert looked == [1, None, None]


def test_the_log_through_the_server(api):
    """One's own entries need no right; all of them do."""
    with api.of("mei").read(purpose="delivery", reason="r") as desk:
        desk.find("persons", {"mobile": person(3)["mobile"]})
    assert [e["act"] for e in api.of("mei").log(actor="mei") if e["act"] != "keys"] == ["open", "find"]
    with pytest.raises(DeniedError):
        api.of("mei").log()
    everything = api.of("kit").log()
    assert len(everything) == api.keys.log_size
    now = dt.datetime.now(dt.UTC).timestamp()
    assert api.of("kit").log(since=now + 3600) == []


def test_a_person_log_comes_through_the_server(api):
    """Who read a person, proved: the same file as without a server, for a purpose that may, noted and charged."""
    api.keys.keymaster.changes.make("kit", "policy", PERSON_POLICY)
    with api.of("ada").read(purpose="case-work", reason="case 1") as desk:
        desk.get("persons", "P-000007")
        with pytest.raises(DeniedError):
            desk.log("P-000007", table="persons")
    with api.of("pia").read(purpose="subject-access", reason="request 9") as desk:
        told = verify_person_log(json.dumps(desk.log(" p-000007", table="persons")))
        with pytest.raises(NotFoundError):
            desk.log("P-999999", table="persons")
    assert told.subject == "P-000007"
    (entry, _) = [e for e in api.keys.log_entries("kit", of="pia") if e["act"] == "log"]
    assert entry["count"] == 1


def test_who_asks_and_what_they_may(api):
    """whoami, explain and schema hold no personal data and are signed all the same."""
    said = api.of("mei").whoami()
    assert (said.actor, said.purposes) == ("mei", ["claims", "delivery"])
    assert api.of("mei").explain("persons", purpose="delivery", field="ethnicity").allowed is False
    assert api.of("mei").explain("persons", purpose="delivery", field="name").allowed is True
    with api.client(api.keys.credential("mei", purposes=("delivery",), budgets=OwnBudgets(Budget(day=7)))) as limited:
        lines = limited.explain("parcels").lines
    assert "refused under claims: the credential is not for this purpose (rule credential.purposes)" in lines
    assert any(line.startswith("  budget of this credential: 7 in any 24 hours (persons/credential/") for line in lines)
    assert lines[-1] == "the most that can leave to mei in a day: 7 persons"
    assert not any("credential" in line for line in api.of("mei").explain("parcels").lines)
    tables = {table.name: table for table in api.of("mei").schema.tables}
    assert tables["persons"].subject == "person_id"
    assert next(f for f in tables["persons"].fields if f.name == "mobile").indexed


def test_a_spent_budget_says_what_is_left_and_when_it_comes_back(api):
    """429 with the rule, what remains and when; nobody is released."""
    with api.of("mei").read(purpose="delivery", reason="r") as desk:
        desk.each("persons", [f"P-{number:06d}" for number in range(20)])
        with pytest.raises(BudgetError) as found:
            desk.get("persons", "P-000030")
        assert found.value.remaining == 0
        assert found.value.resets_at > dt.datetime.now(dt.UTC).timestamp()
        assert found.value.rule == "persons/actor/mei/purpose/delivery/hour"
        assert dict(desk.get("persons", "P-000003"))["address"] == person(3)["address"]


def test_who_is_not_let_in(api):
    """Unknown, revoked, of another room, for another purpose, a server's own."""
    with pytest.raises(DeniedError, match="not signed in"):
        connect_room(api.url, credential=new_credential(api.keys.room_id, "ada"))
    own = api.keys.credential("ada")
    with pytest.raises(NotFoundError, match="another room"):
        connect_room(api.url, credential=Credential(b"x" * 16, "ada", own.seed))
    with connect_room(api.url, credential=own) as client:
        api.keys.credentials.revoke("kit", own.id)
        with pytest.raises(DeniedError, match="revoked"):
            client.whoami()
    narrow = api.client(api.keys.credential("mei", purposes=["claims"]))
    with pytest.raises(DeniedError, match="not for this purpose"):
        narrow.read(purpose="delivery", reason="r").get("persons", "P-000001")
    with pytest.raises(DeniedError, match="nobody's name"):
        api.client(api.keys.credential("mei", server=True)).whoami()
    with pytest.raises(UnavailableError):
        connect_room("http://127.0.0.1:9", credential=own)


def test_a_direct_credential_serves_nobody(room):
    """Only a server's credential may stand in front of a room."""
    from served_room import Served

    from strongroom.listener.address import Listen
    from strongroom.server.serving import RoomServer

    with Served(room.keymaster()) as keys, keys.connect(keys.credential("front")) as own:
        with pytest.raises(DeniedError, match="server only"):
            RoomServer(str(room.bucket), own, Listen("127.0.0.1", 0), None)


def test_metrics_name_verbs_and_nobody(api):
    """Counts by verb and status on a port of their own; no actor, no value; health beside it."""
    with api.of("ada").read(purpose="case-work", reason="case 1") as desk:
        desk.get("persons", "P-000007")
        with pytest.raises(NotFoundError):
            desk.get("persons", "P-999999")
    base = f"http://127.0.0.1:{api.server.metrics_port}"
    told = urllib.request.urlopen(f"{base}/metrics", timeout=10).read().decode()
    assert 'strongroom_requests_total{status="200",verb="get"} 2.0' in told
    for secret in ("ada", "P-000007", "case", person(7)["mobile"]):
        assert secret not in told
    assert urllib.request.urlopen(f"{base}/healthz", timeout=10).read() == b"ok\n"
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(f"{base}/", timeout=10)


def test_the_newest_snapshot_is_read_after_a_put(api, room):
    """What somebody else puts is found by the next request."""
    with strongroom.open(str(room.bucket), keys=api.keys.of("kit"), actor="kit") as opened:
        opened.put("persons", [person(9000)])
    with api.of("ada").read(purpose="case-work", reason="case 1") as desk:
        (found,) = desk.find("persons", {"mobile": person(9000)["mobile"]})
        assert dict(found) == person(9000)


def test_what_one_caller_opened_of_the_room_is_no_limit_to_the_next(tmp_path, monkeypatch):
    """Many manifests, and a second caller asks for a table of which the first one's reading, long over, opened none."""
    monkeypatch.setattr(commit, "MANIFEST_ENTRIES_MAX", 1)
    room = SmallRoom(tmp_path / "room")
    room.create()
    fill(room)
    with Api(room) as made:
        with made.of("ada").read(purpose="case-work", reason="case 1") as desk:
            assert dict(desk.get("persons", "P-000007")) == person(7)
        with made.of("mei").read(purpose="delivery", reason="r") as desk:
            assert len(desk.records("parcels", "P-000007")) == 2


def test_stand_ins_come_through_the_server(api):
    """A purpose that shows a field as a token gives stand-ins, the same for the same value."""
    with api.of("mei").read(purpose="claims", reason="r") as desk:
        first = desk.records("parcels", "P-000001")
        again = desk.records("parcels", "P-000001")
        assert [r["tracking"] for r in first] == [r["tracking"] for r in again]
        assert not any(str(r["tracking"]).startswith("SF") for r in first)


def test_the_document_names_every_verb():
    """OpenAPI 3.1: a path for each verb, made from the types that are read."""
    from strongroom.identity import asked
    from strongroom.server.openapi import document

    made = json.loads(json.dumps(document()))
    assert {path.rpartition("/")[2] for path in made["paths"]} == set(asked.VERBS)
    assert made["components"]["schemas"]["Find"]["required"] == ["purpose", "reason", "table", "where"]
    export = made["paths"]["/v1/rooms/{room}/export"]["post"]
    assert set(export["responses"]["200"]["content"]) == {
        "text/csv", "application/x-ndjson", "application/vnd.apache.parquet", "application/zip",
    }  # fmt: skip
    assert "Idempotency-Key" not in {one["name"] for one in export["parameters"]}
