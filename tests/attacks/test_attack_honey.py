"""A stolen credential reads a person who does not exist: somebody hears of it, and the thief does not notice."""

import json

import export_room
import numpy as np
import pyarrow as pa
import pytest
import small_room
from canary_kit import city_tables
from planted_city import PERSONS, a_canary
from planting_kit import PURPOSE, agreed, pool_of, register
from served_room import Served

import strongroom
from strongroom.audit.entry import logged, parse_entry
from strongroom.errors import DeniedError
from strongroom.evidence.code import HALF
from strongroom.keymaster import releasing
from strongroom.keymaster.api import Ask
from strongroom.keymaster.canaries import alarm as canaryalarm
from strongroom.keymaster.canaries.asking import EmbeddedCanaries
from strongroom.keymaster.log import search as logsearch
from strongroom.keymaster.log.api import Which


@pytest.fixture
def city(planted_template, tmp_path):
    return planted_template[0].copy_to(tmp_path / "city")


def opened(room, keys, actor="mei"):
    return strongroom.open(str(room.bucket), keys=keys, actor=actor)


def alarms(keys, since=0):
    """Entries with an alarm, as somebody with the act `log` sees them."""
    return [e for e in keys.log_entries("kit", since) if "alarm" in e.get("extras", {})]


def somebody(at=3):
    """Somebody real."""
    return city_tables(PERSONS)["persons"].slice(at, 1).to_pylist()[0]


# -- found -------------------------------------------------------------------------------------


def steal(room, keys, person):
    """What a thief does with somebody's number: finds them, gets them, and reads their deliveries."""
    with opened(room, keys) as reached, reached.read(purpose="delivery", reason="ticket 4411") as desk:
        found = desk.find("persons", {"mobile": person["mobile"]})
        whole = desk.get("persons", person["person_id"])
        parcels = desk.each("deliveries", [person["person_id"]])
    return found, whole, parcels


def test_attack_a_canarys_number_raises_the_alarm(city):
    """Each read that released one says so: who, by which act and purpose; the notice has it, and no person."""
    with city.keymaster() as keys:
        keys.notices.begin()
        person = a_canary(city, keys)
        before = keys.log_size
        steal(city, keys, person)
        found = alarms(keys, before)
        assert [(e["actor"], e["act"], e["purpose"], e["extras"]["alarm"]) for e in found[:2]] == [
            ("mei", "find", "delivery", 1),
            ("mei", "get", "delivery", 1),
        ]
        told = [n for n in keys.notices.next() if n.event == "canary" and n.leaf >= before]
        assert [n.leaf for n in told] == [e["leaf"] for e in found]
        assert told[0].to_dict(keys.room_id)["about"] == {"act": "find", "canaries": 1, "table": "persons", "persons": 1}
        for value in (person["mobile"], person["person_id"], person["name"]):
            assert value not in json.dumps([n.to_dict(keys.room_id) for n in told], ensure_ascii=False)


def test_control_without_canaries_there_is_no_alarm(city_template, tmp_path):
    """The same thief in a room where none were planted: people are read, and nobody hears."""
    room = city_template.copy_to(tmp_path / "bare")
    with room.keymaster() as keys:
        keys.notices.begin()
        assert len(steal(room, keys, somebody())[0]) == 1
        assert alarms(keys) == []
        assert list(keys.notices.next()) == []


def test_attack_somebody_real_raises_none(city):
    """In the room with canaries too."""
    with city.keymaster() as keys:
        before = keys.log_size
        steal(city, keys, somebody())
        assert alarms(keys, before) == []


def test_attack_a_bulk_release_by_a_program_that_was_changed(city):
    """A thousand rows at once, most of them people's: the entry says how many canaries were among them."""
    with city.keymaster() as keys, opened(city, keys) as room:
        grant = keys.begin_reading(actor="mei", purpose="delivery", reason="r")
        block_keys = room._session.reading_keys(grant.reading_id)
        finder = room._session.finder(room._session.catalog(block_keys), block_keys)
        model = keys.schema().table("persons")
        own = [t.tobytes() for t in keys._canaries.all()[:5]]
        people = [r["person_id"] for r in city_tables(PERSONS)["persons"].slice(0, 600).to_pylist()]
        tokens = [t.tobytes() for t in keys.subject_tokens(grant.reading_id, "persons", people)] + own
        entries = finder.records_of(model, tokens)
        ask = Ask(
            bytes(range(16)), "get", "persons", None,
            _stack(tokens), _stack([some[0].batch for some in entries]),
        )  # fmt: skip
        before = keys.log_size
        keys.release(grant.reading_id, ask)
        keys.release(grant.reading_id, ask)  # the same request is answered once
        (entry,) = alarms(keys, before)
        assert (entry["count"], entry["extras"]["alarm"]) == (605, 5)


def test_control_a_keymaster_that_does_not_look_tells_nobody(city, monkeypatch):
    """Without the comparison the same reads leave ordinary entries."""
    monkeypatch.setattr(releasing, "alarm", lambda *_args: {})
    with city.keymaster() as keys:
        before = keys.log_size
        steal(city, keys, a_canary(city, keys))
        assert alarms(keys, before) == []


def _stack(parts):
    return np.frombuffer(b"".join(parts), np.uint8).reshape(-1, 16)


def test_attack_a_canarys_own_log_raises_it_too(city):
    """Nobody who does not exist asks who read them."""
    with city.keymaster() as keys:
        person = a_canary(city, keys)
        before = keys.log_size
        for subject in (somebody()["person_id"], person["person_id"]):
            with opened(city, keys) as room, room.read(purpose="own-view", reason="letter") as desk:
                desk.log(subject)
        (entry,) = alarms(keys, before)
        assert (entry["act"], entry["purpose"]) == ("log", "own-view")
        mine = [e for e in keys.log_entries("mei", before, of="mei") if e["act"] == "log"]
        assert sorted(mine[0]) == sorted(mine[1])


GARDENER = """
[roles.planter]
[actors.gus]
roles = ["planter"]
""" + PURPOSE


def test_attack_the_token_of_a_canary_is_asked_for(sending, tmp_path):
    """Whoever turns tokens of an export back into subjects sets it off as well; for people it stays silent."""
    with sending.keymaster() as keys:
        keys.set_policy("kit", small_room.POLICY + export_room.EXPORTS + GARDENER)
        register(keys, HALF, ["P-900000"], actor="gus")
        with opened(sending, keys, "kit") as room:
            room.put("persons", pa.Table.from_pylist([{**small_room.person(9), "person_id": "P-900000"}]))
        with opened(sending, keys, "ana") as room:
            to = str(tmp_path / "coded.csv")
            ident = room.export("persons", to=to, recipient="uni-north", purpose="coded", reason="r").export_id
            subjects = ["P-000001", "P-900000"]
            made = room.tokenize(ident, "persons", "person_id", subjects, purpose="matching", reason="r")
        before = keys.log_size
        with opened(sending, keys, "max") as room:
            for subject, token in zip(subjects, made, strict=True):
                told = room.detokenize(ident, "persons", "person_id", [token], purpose="answer", reason="r")
                assert told == [subject]
        (entry,) = alarms(keys, before)
        assert (entry["act"], entry["actor"], entry["count"], entry["extras"]["alarm"]) == ("detokenize", "max", 1, 1)


# -- and not noticed ---------------------------------------------------------------------------

SEEN = ("act", "purpose", "table", "count", "decision", "rule", "remaining", "extras", "fields")


def what_the_thief_sees(room, keys, person):
    """All that comes back: shapes of answers, numbers of entries, own log by either way, the published log's size."""
    size = keys.log_size
    released = []
    real = keys.release
    keys.release = lambda *args, **more: (released.append(real(*args, **more)), released[-1])[1]
    try:
        found, whole, parcels = steal(room, keys, person)
    finally:
        del keys.release
    mine = keys.log_entries("mei", of="mei")
    newest = keys.logs.newest("mei", Which("mei", None, None, None), 50)
    answers = [
        (len(found), sorted(found[0]), sorted(found[0].withheld)),
        sorted(whole),
        [sorted(one) for some in parcels if isinstance(some, list) for one in some][:1],
        [(r.leaf - size, r.persons, sorted(r.keys), sorted(r.remaining), r.missing) for r in released],
        keys.log_size - size,
        int(keys.publish().splitlines()[1]) - size,
    ]
    own = [{k: e.get(k) for k in SEEN} for e in mine if e["leaf"] >= size]
    assert [{k: e.get(k) for k in SEEN} for e in newest if e["leaf"] >= size] == own
    for entry in own:
        entry["remaining"] = sorted(entry["remaining"] or ())
        (entry["extras"] or {}).pop("records", None)  # how many deliveries one has
    return json.dumps([answers, own], ensure_ascii=False, default=str)


def with_deliveries(room, keys, canaries):
    """Somebody with deliveries: a canary, or a person."""
    if canaries:
        return next(p for p in (a_canary(room, keys, at) for at in range(40)) if _has(room, keys, p))
    rows = (somebody(at) for at in range(40))
    return next(p for p in rows if _has(room, keys, p))


def _has(room, keys, person):
    with opened(room, keys) as reached, reached.read(purpose="delivery", reason="r") as desk:
        return isinstance(desk.each("deliveries", [person["person_id"]])[0], list)


def test_attack_a_thief_sees_no_difference_between_a_canary_and_a_person(city):
    """The same answers, the same number of entries, the same own log, by whatever way it is read."""
    with city.keymaster() as keys:
        one, other = with_deliveries(city, keys, canaries=False), with_deliveries(city, keys, canaries=True)
        before = keys.log_size
        assert what_the_thief_sees(city, keys, one) == what_the_thief_sees(city, keys, other)
        assert len(alarms(keys, before)) == 3


def test_control_an_own_log_that_shows_alarms_tells_the_thief(city, monkeypatch):
    """If one's own entries were shown whole, they would."""
    monkeypatch.setattr(logsearch, "without_alarms", lambda entries: entries)
    with city.keymaster() as keys:
        one, other = with_deliveries(city, keys, canaries=False), with_deliveries(city, keys, canaries=True)
        assert what_the_thief_sees(city, keys, one) != what_the_thief_sees(city, keys, other)


def test_control_an_alarm_with_an_entry_of_its_own_tells_by_numbers(city, monkeypatch):
    """If it were an entry beside the release's, whoever is alone at night would count one more."""
    real = canaryalarm.alarm

    def apart(register, rows, reading, tokens):
        if real(register, rows, reading, tokens):
            core = register._core
            core.journal.note(rows, core.journal.entry(rows, "alarm", reading.actor))
        return {}

    monkeypatch.setattr(releasing, "alarm", apart)
    with city.keymaster() as keys:
        one, other = with_deliveries(city, keys, canaries=False), with_deliveries(city, keys, canaries=True)
        assert what_the_thief_sees(city, keys, one) != what_the_thief_sees(city, keys, other)


def test_attack_the_published_log_does_not_tell(city):
    """An entry's line in the log has no word of an alarm: that is in the line which stays at the keymaster."""
    with city.keymaster() as keys:
        before = keys.log_size
        steal(city, keys, a_canary(city, keys))
        rows = keys._core.state.read()
        entries = [row[0] for row in rows.execute("SELECT entry FROM leaf WHERE number >= ?", (before,)).fetchall()]
        assert sum("alarm" in parse_entry(entry).extras for entry in entries) >= 2
        assert not [entry for entry in entries if b"alarm" in logged(entry)]


def test_attack_through_a_server_the_alarm_names_the_credential(city):
    """A credential that was stolen from a host: the alarm says which, so that it can be revoked; nothing tells the thief."""
    with Served(city.keymaster()) as served:
        person = a_canary(city, served.keymaster)
        before = served.keymaster.log_size
        credential = served.credential("mei")
        with served.connect(credential) as keys:
            steal(city, keys, person)
            mine = keys.log_entries("mei", of="mei")
            assert not [e for e in mine if {"alarm", "test"} & set(e.get("extras", {}))]
        found = alarms(served.keymaster, before)
        assert len(found) >= 2
        assert {e["credential"] for e in found} == {credential.id}


# -- asking ------------------------------------------------------------------------------------


def asks(room, keys, person, approval=None, actor="ada"):
    with opened(room, keys, actor) as reached:
        subjects = [person["person_id"], somebody()["person_id"], "P-nobody"]
        return reached.are_canaries("persons", subjects, purpose="asking", reason="r", approval=approval)


def test_attack_nobody_asks_alone(city):
    """Neither without agreement, nor with one's own, nor with one for another purpose; each is noted."""
    with city.keymaster() as keys:
        person = a_canary(city, keys)
        before = keys.log_size
        with pytest.raises(DeniedError):
            asks(city, keys, person)
        with pytest.raises(DeniedError):
            agreed(keys, "ada", "asking", 10, by="ada")
        with pytest.raises(DeniedError):
            asks(city, keys, person, agreed(keys, "ana", "planting", 10))
        with pytest.raises(DeniedError):
            asks(city, keys, person, agreed(keys, "ada", "asking", 2))  # three are asked about
        with pytest.raises(DeniedError):
            asks(city, keys, person, actor="mei")
        refused = [e for e in keys.log_entries("kit", before) if e["decision"] == "refused"]
        assert len(refused) >= 4


def test_control_two_people_learn_it(city):
    """Agreed to by somebody else: the answer, one entry, no alarm; whoever is not there is none."""
    with city.keymaster() as keys:
        person = a_canary(city, keys)
        before = keys.log_size
        assert asks(city, keys, person, agreed(keys, "ada", "asking", 10)) == [True, False, False]
        (entry,) = [e for e in keys.log_entries("kit", before) if e["act"] == "ask-canary"]
        assert (entry["actor"], entry["extras"]["values"], entry["table"]) == ("ada", 3, "persons")
        assert alarms(keys, before) == []


def test_control_without_the_agreement_anybody_with_the_purpose_would(city, monkeypatch):
    """A keymaster that does not ask for it gives the answer to one alone."""
    monkeypatch.setattr(EmbeddedCanaries, "_two", lambda *_args: None)
    with city.keymaster() as keys:
        assert asks(city, keys, a_canary(city, keys)) == [True, False, False]


def test_attack_an_alarm_is_not_called_a_test_by_the_thief(city):
    """Only what is read of the canary that the keymaster drew for a test is: another one in the same reading is not."""
    with city.keymaster() as keys, opened(city, keys, "ada") as room:
        approval = agreed(keys, "ada", "asking", 10)
        with room.read(purpose="asking", reason="r", approval=approval) as desk:
            reading = desk._grant.reading_id
            drawn = keys.canaries.trial(reading, "persons")
            other = next(t.tobytes() for t in keys._canaries.all() if t.tobytes() != drawn)
            before = keys.log_size
            desk.of_tokens("persons", [drawn])
            desk.of_tokens("persons", [drawn, other])
            assert [(e["extras"]["alarm"], e["extras"].get("test")) for e in alarms(keys, before)] == [(1, 1), (2, None)]


def test_attack_nobody_draws_a_canary_alone(city):
    """A test of the alarm tells who one is: it takes two, and the purpose for it."""
    with city.keymaster() as keys:
        for actor, purpose in (("mei", "delivery"), ("ada", "asking")):
            reading = keys.begin_reading(actor=actor, purpose=purpose, reason="r").reading_id
            with pytest.raises(DeniedError):
                keys.canaries.trial(reading, "persons")
            with pytest.raises(DeniedError):
                keys.canaries.heard(reading)


def test_attack_a_planter_cannot_read_who_was_planted(city):
    """Whoever plants is told of an identifier that it is taken, as anybody's; a sample has no canary in it."""
    with city.keymaster() as keys:
        person, real = a_canary(city, keys), somebody()
        approval = agreed(keys, "ana", "planting", 3_000)
        reading = keys.begin_reading(actor="ana", purpose="planting", reason="r", approval=approval).reading_id
        found = keys.canaries.known(reading, "persons", [person["person_id"], real["person_id"], "P-nobody"])
        assert found.tolist() == [True, True, False]
        with pytest.raises(DeniedError):
            keys.canaries.pools("ana")
        with pytest.raises(strongroom.ConflictError):
            keys.canaries.register(reading, [pool_of(HALF, [person["person_id"]])])
