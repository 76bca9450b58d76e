"""The person's view: every request that touched a person, proved, and nobody else's business."""

import json
import re

import pytest
from person_kit import DAY, PERSON_POLICY, START, PersonRoom

from strongroom.errors import BudgetError, DeniedError, ErasedError, IntegrityError, NotFoundError, UsageError
from strongroom.read.personlog import verify_person_log

TODAY = int(START // DAY)


@pytest.fixture
def person_room(tmp_path, monkeypatch, either_keymaster):
    """The room, with each kind of keymaster."""
    made = PersonRoom(tmp_path, monkeypatch)
    yield made
    made.close()


@pytest.fixture
def own_room(tmp_path, monkeypatch):
    """The room with a keymaster in this process."""
    made = PersonRoom(tmp_path, monkeypatch)
    yield made
    made.close()


def test_a_person_learns_who_read_them(person_room):
    """From the day after on, each read is told with time, role, purpose, basis and classes, and no other is."""
    room = person_room
    room.read(1)
    room.read(2)
    room.read(1, purpose="delivery", actor="mei")
    before = room.told(1)
    assert (before.touched, before.first, before.open_day) == ((), TODAY, TODAY)
    room.next_day()
    text, key = room.ask(1)
    found = verify_person_log(text, key)
    assert (found.subject, found.table, found.first, found.open_day) == ("P-000001", "persons", TODAY, TODAY + 1)
    told = [(one.act, one.role, one.purpose, one.legal_basis, one.classes) for one in found.touched]
    assert told == [
        ("get", "officer", "case-work", "criminal procedure", ("contact", "identity", "open", "sensitive")),
        ("get", "dispatcher", "delivery", "contract", ("contact", "identity")),
        ("log", "privacy", "subject-access", "GDPR, art. 15", ()),
    ]
    assert all(one.time // 86_400_000 == TODAY for one in found.touched)
    said = re.sub(r"[0-9a-f]{64}|[0-9A-Za-z+/]{43}=", "", text)  # digests begin with "ada" by chance
    for word in ("ada", "mei", "pia", "letter", "P-000002", "count", "remaining"):
        assert f'"{word}' not in said
    assert '"officer' in said  # control: what is told stands so
    assert verify_person_log(text) == found
    assert [one.act for one in room.told(2).touched] == ["get"]
    assert room.told(3).touched == ()


def test_days_without_reads_are_told_of_too(own_room):
    """Weeks in which nobody was read, and days on which others were: the file leaves none out."""
    room = own_room
    room.read(1)
    room.next_day(20)
    room.read(2, 3, 4)
    room.next_day(2)
    text, key = room.ask(1)
    found = verify_person_log(text, key)
    assert (len(found.touched), found.first, found.open_day) == (1, TODAY, TODAY + 22)
    assert [len(day["near"]) for day in json.loads(text)["days"]] in ([1, 0, 1, 0], [1, 0, 2, 0])


def test_a_delayed_read_is_told_when_its_delay_ends(person_room):
    """A read under a purpose with a delay of three days is told on the fourth day, with its true time."""
    room = person_room
    room.read(1, purpose="covert")
    for _ in range(3):
        room.next_day()
        assert [one.act for one in room.told(1).touched if one.purpose == "covert"] == []
    room.next_day()
    (covert,) = [one for one in room.told(1).touched if one.purpose == "covert"]
    assert (covert.day, covert.time // 86_400_000) == (TODAY + 3, TODAY)


def test_asking_is_charged_refused_and_noted_like_any_request(person_room):
    """Who has no such purpose is refused, an unknown person is not found, the budget ends; all of it is in the log."""
    room = person_room
    with room.open("ada") as opened, pytest.raises(DeniedError):
        opened.read(purpose="subject-access", reason="r")
    with room.open("ada") as opened, opened.read(purpose="covert", reason="r") as desk, pytest.raises(DeniedError):
        desk.log("P-000001", table="persons")
    with room.open("pia") as opened, opened.read(purpose="subject-access", reason="r") as desk:
        with pytest.raises(DeniedError):
            desk.get("persons", "P-000001")
        with pytest.raises(NotFoundError):
            desk.log("P-999999")
        for number in range(20):
            desk.log(f" p-{number:06d}")
        with room.open("kit") as other:
            other.put("persons", [{"person_id": "P-000100"}])
        with pytest.raises(BudgetError):
            desk.log("P-000100")
    with room.open("kit") as opened:
        said = [(e["decision"], e.get("count"), e.get("rule", "")[:8]) for e in opened.log(actor="pia") if e["act"] == "log"]
    assert said[0][:2] == ("allowed", 0)
    assert [one[:2] for one in said[1:21]] == [("allowed", 1)] * 20
    assert said[21][0] == "refused"


def test_erasures_and_holds_are_told_and_the_erased_are_not_found(person_room):
    """A hold is told like a read. Who was erased is not found; who came back is told of the days after."""
    room = person_room
    room.read(1)
    with room.open("kit") as opened:
        opened.hold("P-000001", reason="case")
    room.next_day()
    assert [(one.act, one.role) for one in room.told(1).touched] == [("get", "officer"), ("hold", "clerk")]
    kept = room.ask(1)
    with room.open("nan") as opened:
        opened.unhold("P-000001", reason="over")
    with room.open("kit") as opened:
        opened.erase("P-000001", reason="request")
    with pytest.raises(NotFoundError):
        room.ask(1)
    assert len(verify_person_log(*kept).touched) == 2
    with room.open("kit") as opened:
        opened.put("persons", [{"person_id": "P-000001"}])
    room.next_day(2)
    room.read(1)
    room.next_day()
    found = room.told(1)
    assert (found.first, [one.act for one in found.touched]) == (TODAY + 2, ["get"])


def test_who_may_know_of_erasures_is_told_of_one(tmp_path, monkeypatch):
    """Under a purpose that may know, an erased person is said to be erased; one who never was is not found."""
    more = PERSON_POLICY.replace('verbs = ["log"]\n', 'verbs = ["log"]\nmay_know_erased = true\n')
    room = PersonRoom(tmp_path, monkeypatch, policy=more)
    with room.open("kit") as opened:
        opened.erase("P-000001", reason="request")
    with pytest.raises(ErasedError):
        room.ask(1)
    with pytest.raises(NotFoundError) as caught:
        room.ask(99)
    assert type(caught.value) is NotFoundError
    room.close()


def test_a_purpose_of_several_tables_is_told_which(own_room):
    """Where a purpose names several tables, the subject's has to be said."""
    with own_room.open("kit") as opened:
        opened.set_policy(PERSON_POLICY.replace(
            'tables.persons = { person_id = "plain" }', 'tables.persons = { person_id = "plain" }\ntables.parcels = { contact = "plain" }'
        ))  # fmt: skip
    with own_room.open("pia") as opened, opened.read(purpose="subject-access", reason="r") as desk:
        with pytest.raises(UsageError):
            desk.log("P-000001")
        assert desk.log("P-000001", table="parcels")["person"] != desk.log("P-000001", table="persons")["person"]


def test_pages_of_a_long_log(person_room, monkeypatch):
    """More days and more entries than fit an answer come page by page, and prove the same."""
    from strongroom.keymaster.log import personapi, persons
    from strongroom.read import personlog

    for module in (personapi, persons):
        monkeypatch.setattr(module, "DAYS_AT_ONCE", 3)
        monkeypatch.setattr(module, "ENTRIES_AT_ONCE", 2)
    monkeypatch.setattr(personlog, "ENTRIES_AT_ONCE", 2)
    room = person_room
    with room.open("ada") as opened:
        for _ in range(7):
            with opened.read(purpose="case-work", reason="r") as desk:
                for _ in range(5):
                    desk.get("persons", "P-000001")
            room.next_day()
    assert len(room.told(1).touched) == 35


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", '{"kind": 1}', "\ud800"])
def test_what_is_no_file_is_refused(text):
    """Anything else is an IntegrityError."""
    with pytest.raises(IntegrityError):
        verify_person_log(text)
