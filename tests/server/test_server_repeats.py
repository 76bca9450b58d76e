"""A put or erasure sent again under its `Idempotency-Key`: the same answer, whichever server is asked, and done once."""

import sqlite3

import pytest
from room_api import Api
from small_room import person

from strongroom.errors import ConflictError, DeniedError, UsageError
from strongroom.identity.credential import Credential
from strongroom.keymaster import replies
from strongroom.server.handed import HandedOn

ROWS = [{**person(8000), "nickname": "x"}]
DAY = 24 * 3600.0


class Turns:
    """The servers of a room, started again for every turn, and one credential that outlives them."""

    def __init__(self, room):
        self.room = room
        self.credential: Credential | None = None

    def __enter__(self):
        self.api = Api(self.room)
        if self.credential is None:
            self.credential = self.api.keys.credential("kit")
        return self.api.client(self.credential)

    def __exit__(self, *_exc):
        self.api.close()


@pytest.fixture
def turns(room):
    return Turns(room)


def test_an_answer_outlives_the_servers(turns):
    """A put and an erasure are answered as before by a server and a keymaster that were started again; nothing is done."""
    with turns as client:
        put = client.put("persons", ROWS, records=1, idempotency_key="put 1")
        erased = client.erase(["P-000011", "P-000012"], reason="asked", idempotency_key="erase 1")
        assert "nickname" in put.notes[0]
        assert erased.persons == 2
        head = turns.api.keys.keymaster.head()
    for _ in range(2):
        with turns as client:
            assert client.put("persons", ROWS, records=1, idempotency_key="put 1") == put
            assert client.erase(["P-000011", "P-000012"], reason="asked", idempotency_key="erase 1") == erased
            assert turns.api.keys.keymaster.head() == head


def test_another_request_under_the_key_is_refused_by_a_new_server_too(turns):
    """Other records, and another verb: nobody is told that something was done which was not."""
    with turns as client:
        client.put("persons", ROWS, records=1, idempotency_key="put 1")
    with turns as client:
        for other in ([person(8001)], [person(8000)]):
            with pytest.raises(UsageError, match="Idempotency-Key"):
                client.put("persons", other, records=1, idempotency_key="put 1")
        with pytest.raises(UsageError, match="Idempotency-Key"):
            client.erase("P-000011", reason="asked", idempotency_key="put 1")


def test_an_answer_is_of_one_credential(turns):
    """The same key of another credential names another request: it is done, and has its own answer."""
    with turns as client:
        first = client.put("persons", ROWS, records=1, idempotency_key="put 1")
    with turns:
        other = turns.api.of("kit").put("persons", ROWS, records=1, again=True, idempotency_key="put 1")
        assert other.put_id != first.put_id


def test_an_answer_lies_sealed_and_for_a_day(turns, room, monkeypatch):
    """At rest nothing of it can be read; after a day, or when newer ones need its place, it is gone."""
    monkeypatch.setattr(replies, "REPLIES_MAX", 2)
    with turns as client:
        first = client.put("persons", ROWS, records=1, idempotency_key="put 1")
    with sqlite3.connect(room.keys / "keymaster.db") as database:
        (sealed,) = database.execute("SELECT sealed FROM reply").fetchone()
    assert b"nickname" not in sealed
    assert first.put_id.encode() not in sealed
    with turns as client:
        for number in (2, 3):
            client.put("persons", [person(8000 + number)], records=1, idempotency_key=f"put {number}")
    with sqlite3.connect(room.keys / "keymaster.db") as database:
        assert database.execute("SELECT count(*) FROM reply").fetchone()[0] == 2
        database.execute("UPDATE reply SET made = made - ?", (DAY + 60,))
    with turns as client:
        for number in (1, 3):
            rows = ROWS if number == 1 else [person(8003)]
            with pytest.raises(ConflictError, match="is done"):
                client.put("persons", rows, records=1, idempotency_key=f"put {number}")


def test_a_server_that_ended_between_commit_and_answer_leaves_a_conflict_that_says_where(turns, monkeypatch):
    """Nothing is done twice, and the conflict names the snapshot as which it was committed."""
    with turns as client:
        monkeypatch.setattr(HandedOn, "keep_answer", lambda *_: None)
        done = client.put("persons", ROWS, records=1, idempotency_key="put 1")
        monkeypatch.undo()
    with turns as client, pytest.raises(ConflictError) as refused:
        client.put("persons", ROWS, records=1, idempotency_key="put 1")
    assert refused.value.hint.startswith(f"it was committed as snapshot {done.snapshot}, which `strongroom log` shows")


def test_a_put_that_was_refused_may_be_sent_again_under_its_key(turns):
    """Nothing was put, so there is nothing to repeat: corrected or not, it is done anew, by the same server or the next."""
    bad = b'{"person_id": "P-008000", "birth_year": "nineteen"}\n'
    with turns as client:
        for _ in range(2):
            with pytest.raises(UsageError, match="birth_year"):
                client.put("persons", bad, records=1, strict=True, format="jsonl", idempotency_key="put 1")
        with pytest.raises(UsageError, match="nickname"):
            client.put("persons", ROWS, records=1, strict=True, idempotency_key="put 2")
    with turns as client:
        assert client.put("persons", ROWS, records=1, idempotency_key="put 2").records == 1


def test_the_very_bytes_are_answered_once(turns, monkeypatch):
    """A captured repeat is no way to its answer: the same signature is refused the second time."""
    with turns as client:
        client.put("persons", ROWS, records=1, idempotency_key="put 1")
    seen = []
    real = HandedOn.answered

    def watched(self):
        seen.append(self)
        return real(self)

    monkeypatch.setattr(HandedOn, "answered", watched)
    with turns as client:
        client.put("persons", ROWS, records=1, idempotency_key="put 1")
        with pytest.raises(DeniedError, match="answered before"):
            real(seen[0])
