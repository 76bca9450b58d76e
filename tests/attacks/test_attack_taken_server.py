"""Whoever has taken a server tries what a request that its caller signed does not say: other objects, rows and readings."""

import dataclasses
import os
import time

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from planting_kit import PLANTING, register
from room_api import Api
from small_room import POLICY, person
from test_attack_api import Thief, committed, entries_under, find, get, rows

import strongroom
from strongroom.errors import BudgetError, ConflictError, DeniedError
from strongroom.evidence.code import HALF
from strongroom.identity import asked
from strongroom.identity.signing import sign_request
from strongroom.keymaster import releasing, warrant
from strongroom.keymaster.api import Ask, AtOnce, Head
from strongroom.keymaster.tracing.api import SampleFound
from strongroom.keyserver.served import Served as Handed
from strongroom.purpose.budget import OwnBudgets
from strongroom.purpose.model import Budget
from strongroom.seal.blocks import KIND_OPEN_COLUMNS, KIND_RECORDS, KIND_REJECTS, KIND_SNAPSHOT


@pytest.fixture
def api(room):
    with strongroom.open(str(room.bucket), keys=(keys := room.keymaster()), actor="kit") as opened:
        opened.put("persons", pa.Table.from_pylist([person(500) | {"person_id": None}]))  # a reject
    keys.close()
    with Api(room) as made:
        with made.of("ada").read(purpose="case-work", reason="r") as desk:
            desk.get("persons", "P-000009")  # so that the server has the catalogue
        yield made


@pytest.fixture
def thief(api):
    made = Thief(api)
    made.keys_of = lambda subject: api.keys.keymaster._core.subject.one(subject.encode())
    return made


def signed(thief, credential, verb, said=None, **more):
    """A captured request of a caller whose credential the test keeps."""
    body = b"" if said is None else msgspec.json.encode(said)
    path, now = asked.path_of(thief.api.keys.room_id, verb), int(time.time())
    headers = sign_request(
        credential.seed, credential.id, "POST", path, body,
        created=now, expires=now + 60, nonce=os.urandom(16), **more,
    )  # fmt: skip
    return path, body, headers


def objects(thief, table, kind):
    session = thief.api.server._listener._app._service._verbs._session
    return session.newest.objects(thief.keys.schema().tables[table].id, kind)


def test_a_request_for_a_record_opens_no_rejects_and_no_open_columns(thief):
    """A purpose may read rejects; a signed `get` does not."""
    reading = thief.opened(*thief.request("ada", "get", get("P-000007"))).grant.reading_id
    (entry, *_) = objects(thief, "persons", KIND_REJECTS)
    with pytest.raises(DeniedError, match="another verb"):
        thief.keys.block_keys(reading, entry.key_id, KIND_REJECTS, [0], "persons")
    (entry, *_) = objects(thief, "persons", KIND_OPEN_COLUMNS)
    with pytest.raises(DeniedError):
        thief.keys.block_keys(reading, entry.key_id, KIND_OPEN_COLUMNS, [0], "persons")
    (entry, *_) = objects(thief, "persons", KIND_RECORDS)  # control: what a get reads
    assert len(thief.keys.block_keys(reading, entry.key_id, KIND_RECORDS, [0], "persons")) == 1


def test_an_erasure_opens_nothing_but_what_it_counts(thief):
    """One signed erasure gives no key of rejects or open columns, of whatever table."""
    said = asked.Erase(subjects=["P-000299"], reason="x")
    ask = thief.keys.asking.ask
    lease = ask("served.lease", request=thief.original(*thief.request("kit", "erase", said))).lease_id
    for table, kind in (("persons", KIND_REJECTS), ("persons", KIND_OPEN_COLUMNS), ("cases", KIND_OPEN_COLUMNS)):
        for entry in objects(thief, table, kind):
            with pytest.raises(DeniedError, match="opens nothing else"):
                ask("file_keys", lease=lease, key_ids=[entry.key_id])


def forged(thief):
    """Index entries that name a chosen person under a value that another caller signed, sealed in a put held open."""
    ask = thief.keys.asking.ask
    plan = {"strongroom-plan": '{"table":"persons","records":3,"format":"csv"}'}
    path, _, headers = thief.request("kit", "put", None, further=plan)
    lease = ask("served.lease", request=thief.original(path, b"", headers)).lease_id
    batch = ask("mint_batch", lease=lease)
    ask("seal_subjects", lease=lease, batch=batch, identifiers=pa.array(["X-1"]))
    victim = thief.opened(*thief.request("ada", "get", get("P-000123"))).tokens[""]["P-000123"]
    said = asked.Find(purpose="case-work", reason="r", table="persons", where={"mobile": ["13800000000"]}, limit=10)
    granted = thief.opened(*signed(thief, thief.api.keys.credential("ada"), "find", said))
    values = pa.array([next(iter(granted.tokens["mobile"]))])
    tokens, entries = ask(
        "seal_index", lease=lease, batch=batch, field_name="mobile", values=values,
        subject_tokens=rows(victim), ordinals=np.zeros(1, np.uint32),
    )  # fmt: skip
    reading = granted.grant.reading_id
    hits = thief.keys.open_hits(reading, "persons", "mobile", tokens, entries)
    return reading, Ask(b"r" * 16, "find", "persons", None, hits.subject_tokens, rows(committed(thief)))


def test_a_forged_index_entry_releases_nobody(thief):
    """An entry names a person and a batch: keys go out for that batch, which holds nothing of the person."""
    reading, ask = forged(thief)
    with pytest.raises(DeniedError, match="no signed value names"):
        thief.keys.release(reading, ask)


def test_control_without_the_batch_a_forged_entry_releases_whom_it_names(thief, monkeypatch):
    """Control: the same entry releases the chosen person when the batch is not compared."""
    monkeypatch.setattr(warrant.Warrant, "check_release", lambda *_: None)
    reading, ask = forged(thief)
    assert thief.keys.release(reading, ask).persons == 1


def test_several_fields_stay_an_and(thief):
    """A find that matches nobody releases nobody under one of its values."""
    where = {"mobile": [person(3)["mobile"]], "id_number": [person(4)["id_number"]]}
    said = asked.Find(purpose="case-work", reason="r", table="persons", limit=10, where=where)
    granted = thief.opened(*thief.request("ada", "find", said))
    reading, own = granted.grant.reading_id, entries_under(thief, granted)
    hits = thief.keys.open_hits(reading, "persons", "mobile", *own)
    ask = Ask(b"r" * 16, "find", "persons", None, hits.subject_tokens, rows(committed(thief)))
    with pytest.raises(DeniedError, match="no signed value names"):
        thief.keys.release(reading, ask)


def at_once(thief, said, wanted):
    """What a server is released with the hits of a signed find, asked for under what it says itself."""
    granted = thief.opened(*thief.request("ada", "find", said))
    own = entries_under(thief, granted)
    return thief.keys.open_hits(granted.grant.reading_id, "persons", "mobile", *own, wanted).released


def test_what_is_released_with_hits_is_what_was_signed(thief):
    """Other fields, more persons, and hits under one of two values: hits alone, and the release is refused as ever."""
    three = {"mobile": [person(n)["mobile"] for n in (1, 2, 3)]}
    both = {"mobile": [person(3)["mobile"]], "id_number": [person(4)["id_number"]]}
    said = {"purpose": "case-work", "reason": "r", "table": "persons"}
    for where, limit, fields in ((three, 2, None), (three, 10, ("address",)), (both, 10, None)):
        signed_for = asked.Find(**said, where=where, limit=limit)
        assert at_once(thief, signed_for, AtOnce(os.urandom(16), fields, 10, 1)) is None
    signed_for = asked.Find(**said, where=three, limit=10)  # control: as it was signed
    assert at_once(thief, signed_for, AtOnce(os.urandom(16), None, 10, 1)).persons == 3


def test_control_without_the_warrant_one_of_two_values_is_enough(thief, monkeypatch):
    """Control: were a release not compared with what was signed, one value would release whom the other excludes."""
    monkeypatch.setattr(warrant.Warrant, "check_release", lambda *_: None)
    where = {"mobile": [person(3)["mobile"]], "id_number": [person(4)["id_number"]]}
    said = asked.Find(purpose="case-work", reason="r", table="persons", where=where, limit=10)
    assert at_once(thief, said, AtOnce(os.urandom(16), None, 10, 1)).persons == 1


def test_an_older_record_goes_to_no_server_at_once(thief, room):
    """Whoever has another number by now is not released with the old one, however it is asked."""
    moved = person(3) | {"mobile": "13700000003"}
    keys = thief.api.keys.keymaster
    with strongroom.open(str(room.bucket), keys=keys, actor="kit") as opened:
        opened.put("persons", pa.Table.from_pylist([moved]))
    said = find(3)
    assert at_once(thief, said, AtOnce(os.urandom(16), None, 1 << 40, 1)) is None
    assert at_once(thief, find(4), AtOnce(os.urandom(16), None, 1 << 40, 1)).persons == 1  # control: put once


def replayed(thief):
    """A release of this morning, asked again by its id in the reading of another request."""
    ada = thief.api.keys.credential("ada")
    morning = thief.opened(*signed(thief, ada, "get", get("P-000123")))
    token = morning.tokens[""]["P-000123"]
    ask = Ask(b"m" * 16, "get", "persons", None, rows(token), rows(committed(thief)))
    assert thief.keys.release(morning.grant.reading_id, ask).persons == 1
    later = thief.opened(*signed(thief, ada, "get", get("P-000007")))
    return later.grant.reading_id, ask


def test_a_release_is_not_repeated_in_another_reading(thief):
    """The id of a release is in the log; in another reading it is another request."""
    reading, ask = replayed(thief)
    with pytest.raises((ConflictError, DeniedError)):
        thief.keys.release(reading, ask)


def test_control_without_the_reading_in_its_digest_it_is_repeated(thief, monkeypatch):
    """Control: where a request is known by its id and parts alone, the keys go out again."""
    real = releasing.Request.of
    monkeypatch.setattr(releasing.Request, "of", staticmethod(lambda ident, parts: real(ident, parts[1:])))
    reading, ask = replayed(thief)
    assert thief.keys.release(reading, ask).persons == 1


def test_who_was_frozen_has_no_answer_again(thief):
    """Not of a release that was answered before either."""
    with thief.api.keys.connect(thief.api.keys.credential("ada")) as direct:
        reading = direct.begin_reading(actor="ada", purpose="case-work", reason="r").reading_id
        token = direct.subject_tokens(reading, "persons", ["P-000005"])
        ask = Ask(b"a" * 16, "get", "persons", None, token, rows(committed(thief)))
        assert direct.release(reading, ask).persons == 1
        assert direct.release(reading, ask).persons == 1  # control: until then it is the same answer
        thief.api.keys.keymaster.freezing.freeze("kit", "actor", "ada", "stolen")
        with pytest.raises(DeniedError):
            direct.release(reading, ask)


def test_stand_ins_are_made_of_what_was_released(thief):
    """Values that nobody read have none; nor has anything while the caller is frozen."""
    said = asked.Get(purpose="claims", reason="r", table="parcels", subjects=["P-000007"], fields=["goods"])
    reading = thief.opened(*thief.request("mei", "get", said)).grant.reading_id
    with pytest.raises(DeniedError, match="did not open"):
        thief.keys.stand_ins(reading, "parcels", "tracking", ["SF100000"])
    with thief.api.of("mei").read(purpose="claims", reason="r") as desk:  # control
        assert desk.records("parcels", "P-000007")
    thief.api.keys.keymaster.freezing.freeze("kit", "actor", "mei", "stolen")
    with pytest.raises(DeniedError):
        thief.keys.stand_ins(reading, "parcels", "tracking", ["SF100000"])


def test_a_question_opens_no_table_that_it_does_not_name(thief):
    """Signed for parcels, it has no key of persons."""
    said = asked.Sql(purpose="statistics", reason="r", query="select district, count(*) from parcels group by district")
    reading = thief.opened(*thief.request("lin", "sql", said)).grant.reading_id
    (entry, *_) = objects(thief, "persons", KIND_OPEN_COLUMNS)
    with pytest.raises(DeniedError, match="did not name"):
        thief.keys.block_keys(reading, entry.key_id, KIND_OPEN_COLUMNS, [0], "persons")
    (entry, *_) = objects(thief, "parcels", KIND_OPEN_COLUMNS)  # control
    assert len(thief.keys.block_keys(reading, entry.key_id, KIND_OPEN_COLUMNS, [0], "parcels")) == 1


def test_one_signed_value_is_spent_once(thief):
    """However often a server asks for its token, the caller's look-ups are not burned."""
    mei = thief.api.keys.credential("mei")
    granted = thief.opened(*signed(thief, mei, "find", asked.Find(
        purpose="delivery", reason="r", table="persons", where={"mobile": [person(3)["mobile"]]}, limit=1)))  # fmt: skip
    for _ in range(150):
        thief.keys.value_tokens(granted.grant.reading_id, "persons", "mobile", list(granted.tokens["mobile"]))
    with thief.api.client(mei) as client:
        assert client.read(purpose="delivery", reason="r").find("persons", {"mobile": person(4)["mobile"]})


def test_an_idempotency_key_is_of_one_request(thief):
    """With an honest server: other values under the same key are refused, and a refused request is not free next time."""
    few = OwnBudgets(Budget(day=1000), Budget(day=2), Budget())
    with thief.api.client(thief.api.keys.credential("ada", budgets=few)) as client:

        def look(values, key):
            said = find() if values is None else asked.Find(
                purpose="case-work", reason="r", table="persons", where={"mobile": values}, limit=1)  # fmt: skip
            return client.ask("find", msgspec.json.encode(said), None, key)

        look(["13900000001"], "k")
        look(["13900000001"], "k")  # control: the same again costs nothing
        with pytest.raises(ConflictError, match="Idempotency-Key"):
            look([str(13_900_000_000 + at) for at in range(1000)], "k")
        for _ in range(2):
            with pytest.raises(BudgetError):
                look(["13900000002", "13900000003"], "other")


def test_revoking_reaches_readings_and_leases_through_a_server(thief):
    """The next call in the name of a revoked credential is refused; what was begun ends."""
    ask = thief.keys.asking.ask
    kit, ada = thief.api.keys.credential("kit"), thief.api.keys.credential("ada")
    plan = {"strongroom-plan": '{"table":"parcels","records":1,"format":"csv"}'}
    path, _, headers = signed(thief, kit, "put", further=plan)
    lease = ask("served.lease", request=thief.original(path, b"", headers)).lease_id
    granted = thief.opened(*signed(thief, ada, "get", get("P-000007")))
    assert ask("renew", lease=lease).lease_id == lease  # control
    for one in (kit, ada):
        thief.api.keys.keymaster.credentials.revoke("kit", one.id)
    with pytest.raises(DeniedError, match="revoked"):
        ask("renew", lease=lease)
    token = granted.tokens[""]["P-000007"]
    with pytest.raises(DeniedError, match="revoked"):
        thief.keys.release(granted.grant.reading_id, Ask(b"r" * 16, "get", "persons", None, rows(token), rows(token)))


def test_a_signed_put_drops_no_objects(thief):
    """A head that lets go of other tables' objects is not what a put says."""
    ask = thief.keys.asking.ask
    plan = {"strongroom-plan": '{"table":"parcels","records":1,"format":"csv"}'}
    path, _, headers = thief.request("kit", "put", None, further=plan)
    lease = ask("served.lease", request=thief.original(path, b"", headers)).lease_id
    head, new_object = thief.keys.head(), os.urandom(16)
    key = ask("mint_file_key", lease=lease, kind=KIND_SNAPSHOT, object_id=new_object, table=None)
    new = Head(head.number + 1, new_object, os.urandom(32), 100, key.key_id)
    dropped = [entry.key_id for entry in objects(thief, "persons", KIND_RECORDS)]
    with pytest.raises(DeniedError, match="its caller did not"):
        ask("commit", lease=lease, base=head, new=new, counts={}, digests=[], dropped_keys=dropped)


def test_a_client_signs_for_as_many_records_as_it_sends(thief, monkeypatch):
    """Not for a million."""
    seen, client = [], thief.api.of("kit")
    real = client._wire.post
    monkeypatch.setattr(client._wire, "post", lambda p, b, h: (seen.append(h["strongroom-plan"]), real(p, b, h))[1])
    client.put("persons", [person(900)])
    assert '"records":1,' in seen[0]


# -- who was erased ----------------------------------------------------------------------------


LOW, HIGH = bytes(16), b"\xff" * 16


@pytest.fixture
def bereft(thief):
    """Two persons were erased; a thief asks about them in the name of whoever asked for one of them, or for another."""
    thief.api.of("kit").erase(["P-000123", "P-000124"], reason="request 8")
    thief.gone = {n: thief.keys_of(f"P-{n:06d}") for n in (123, 124)}
    return thief


def tombstones(thief, verb, said, table="persons", low=LOW, high=HIGH, actor="ada"):
    """What a reading that a caller's request opened is told of the dead."""
    reading = thief.opened(*thief.request(actor, verb, said)).grant.reading_id
    return thief.keys.erasures.buried(reading, table, low, high).tokens


def test_a_request_for_one_person_tells_nothing_of_who_was_erased(bereft):
    """Not of all, not of another, not of another table; of the person asked for it does."""
    one, two = bereft.gone[123], bereft.gone[124]
    for refused in (
        {"low": LOW, "high": HIGH},
        {"low": one, "high": HIGH},
        {"low": two, "high": two},
        {"low": one, "high": one, "table": "cases"},
    ):
        with pytest.raises(DeniedError) as error:
            tombstones(bereft, "get", get("P-000123"), **refused)
        assert error.value.rule == warrant.BEYOND
    with pytest.raises(DeniedError):
        tombstones(bereft, "find", find())
    assert len(tombstones(bereft, "get", get("P-000123"), low=one, high=one)) == 1  # control: whom it asked for


def test_control_without_the_comparison_one_request_lists_the_erased(bereft, monkeypatch):
    """Control: the same reading lists everybody who was erased when nobody compares."""
    monkeypatch.setattr(warrant.Warrant, "check_buried", lambda *_: None)
    assert len(tombstones(bereft, "get", get("P-000007"))) == 2


def test_a_question_over_a_table_is_told_of_its_dead_and_of_no_other_table(bereft):
    """It could not be answered otherwise."""
    said = asked.Sql(purpose="statistics", reason="r", query="select sex, count(*) from persons group by sex")
    assert len(tombstones(bereft, "sql", said, actor="lin")) == 2
    with pytest.raises(DeniedError, match="did not name"):
        tombstones(bereft, "sql", said, "parcels", actor="lin")


def test_whether_one_was_erased_is_told_of_who_was_asked_for(bereft, monkeypatch):
    """Of another it is not, under a purpose that may know either; nor what compaction knows of an object."""
    reading = bereft.opened(*bereft.request("ada", "get", get("P-000123"))).grant.reading_id
    known = bereft.api.keys.keymaster._readings.get(reading)
    known.purpose = dataclasses.replace(known.purpose, may_know_erased=True)
    assert bereft.keys.erasures.erased(reading, bereft.gone[123])
    with pytest.raises(DeniedError, match="did not ask for"):
        bereft.keys.erasures.erased(reading, bereft.gone[124])
    with pytest.raises(DeniedError, match="another verb"):
        bereft.keys.erasures.clean_through(reading, [bytes(16)])
    with pytest.raises(strongroom.UsageError, match="16 bytes"):
        bereft.keys.erasures.erased(reading, b"short")
    monkeypatch.setattr(warrant.Warrant, "check_person", lambda *_: None)  # control
    assert bereft.keys.erasures.erased(reading, bereft.gone[124])


@pytest.fixture
def planted(thief):
    """Five canaries are registered; a purpose of the caller's lets get and sql both."""
    keys = thief.api.keys.keymaster
    text = POLICY.replace('verbs = ["get", "find", "rejects"]', 'verbs = ["get", "find", "rejects", "sql"]\nsql = {}')
    keys.set_policy("kit", text + PLANTING)
    register(keys, HALF, [f"P-{n:06d}" for n in range(900, 905)])
    return thief


def hidden(thief, verb, said, actor="ada", table="persons"):
    """Whom a reading that a caller's request opened is told to leave out of counts."""
    reading = thief.opened(*thief.request(actor, verb, said)).grant.reading_id
    return len(thief.keys.canaries.hidden(reading, table, LOW, HIGH).tokens)


def test_a_request_for_one_person_tells_nothing_of_who_is_a_canary(planted):
    """Who signed a count of a table has canaries left out of it; a get tells of nobody, nor does a count of another table."""
    with pytest.raises(DeniedError, match="another verb"):
        hidden(planted, "get", get("P-000007"))
    said = asked.Sql(purpose="statistics", reason="r", query="select sex, count(*) from persons group by sex")
    assert hidden(planted, "sql", said, "lin") == 5
    with pytest.raises(DeniedError, match="did not name"):
        hidden(planted, "sql", said, "lin", "parcels")


def test_control_without_the_comparison_a_get_lists_the_canaries(planted, monkeypatch):
    """Control: the same reading lists all of them when nobody compares."""
    monkeypatch.setattr(warrant.Warrant, "check_counted", lambda *_: None)
    assert hidden(planted, "get", get("P-000007")) == 5


def told_under_an_erasure(thief):
    """Who was erased, as a lease for one signed erasure lists them before and after it was planned."""
    ask = thief.keys.asking.ask
    said = asked.Erase(subjects=["P-000123"], reason="x")
    lease = ask("served.lease", request=thief.original(*thief.request("kit", "erase", said))).lease_id
    asked_of = {"lease": lease, "table": "persons", "low": LOW, "high": HIGH, "since": -1}
    before = len(ask("erasures.buried", **asked_of).tokens)
    ask("erasures.plan", lease=lease, identifiers=pa.array(["P-000123"]))
    return before, [row.tobytes() for row in ask("erasures.buried", **asked_of).tokens]


def test_an_erasure_is_told_of_whom_it_names(bereft):
    """A lease to erase one person lists no other who was erased, and a put lists nobody."""
    assert told_under_an_erasure(bereft) == (0, [bereft.gone[123]])
    plan = {"strongroom-plan": '{"table":"persons","records":3,"format":"csv"}'}
    path, _, headers = bereft.request("kit", "put", None, further=plan)
    ask = bereft.keys.asking.ask
    lease = ask("served.lease", request=bereft.original(path, b"", headers)).lease_id
    with pytest.raises(DeniedError, match="its caller did not"):
        ask("erasures.buried", lease=lease, table="persons", low=LOW, high=HIGH, since=-1)


def test_control_a_lease_that_names_nobody_lists_all(bereft, monkeypatch):
    """Control: a keymaster that does not remember whom the request names tells the same lease of everybody."""
    monkeypatch.setattr(Handed, "named", lambda *_: None)
    before, after = told_under_an_erasure(bereft)
    assert (before, len(after)) == (2, 2)


def test_nobody_traces_a_sample_in_a_caller_s_name(thief):
    """Whatever a caller signed, no step of a trace is answered under it."""
    traces, reading = thief.keys.traces, thief.opened(*thief.request("ada", "get", get("P-000007"))).grant.reading_id
    tokens, entries, text = np.zeros((1, 16), np.uint8), np.zeros((1, 44), np.uint8), pa.array(["P-000007"])
    one = np.zeros(1, np.bool_)
    sample = SampleFound(tokens, one, np.zeros(1, np.uint64), [("persons", "mobile")], bytes(32), 1, 1.0)
    for ask in (
        lambda: traces.look_up(reading, "persons", "person_id", text, 1),
        lambda: traces.open_hits(reading, "persons", "mobile", tokens, entries),
        lambda: traces.name_tokens(reading, "persons", "person_id", text),
        lambda: traces.try_formed(reading, "persons", "mobile", text, held=1, snapshot=1),
        lambda: traces.name_formed(reading, tokens, entries),
        lambda: traces.behind_tokens(reading, "00" * 16, "persons", "person_id", text, 1),
        lambda: traces.weigh(reading, sample),
        lambda: traces.versions(reading, "persons", ["mobile"], tokens, tokens),
    ):
        with pytest.raises(DeniedError) as error:
            ask()
        assert error.value.rule == warrant.BEYOND
