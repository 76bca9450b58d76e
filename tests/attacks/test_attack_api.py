"""A server in front of a room that was taken, and its callers' requests captured: it has what they signed, and no more."""

import contextlib
import json
import time

import msgspec
import numpy as np
import pytest
import urllib3
from person_kit import PERSON_POLICY
from room_api import Api
from small_room import person

from strongroom.errors import BudgetError, DeniedError, IntegrityError
from strongroom.identity import asked
from strongroom.identity.signing import SIGNED_HEADERS, sign_request
from strongroom.keymaster import warrant
from strongroom.keymaster.api import Ask
from strongroom.keymaster.holder import HERE
from strongroom.keymaster.log.api import Which
from strongroom.keyserver.calls import Original
from strongroom.purpose.budget import OwnBudgets
from strongroom.purpose.model import Budget
from strongroom.read.reading import Reading
from strongroom.server import handed
from strongroom.server.openapi import document


@pytest.fixture
def api(room):
    with Api(room) as made:
        yield made


class Thief:
    """Who has the server: its credential, its memory, and every request that passes."""

    def __init__(self, api):
        self.api = api
        self.keys = api.own
        self.seen = []
        self.pool = urllib3.PoolManager(retries=False, timeout=30)

    def request(self, actor, verb, said, **more):
        """A request as its caller signs it, captured before it is answered."""
        credential = self.api.keys.credential(actor)
        body = b"" if said is None else msgspec.json.encode(said)
        path, now = asked.path_of(self.api.keys.room_id, verb), int(time.time())
        headers = sign_request(
            credential.seed, credential.id, "POST", path, body, created=now, expires=now + 60, nonce=b"n" * 16, **more
        )
        return path, body, headers

    def send(self, path, body=b"", headers=None, method="POST"):
        return self.pool.urlopen(method, self.api.url + path, body=body, headers=headers or {})

    def original(self, path, body, headers):
        kept = {k.lower(): v for k, v in headers.items() if k.lower() in SIGNED_HEADERS}
        return Original("POST", path, kept, body, "127.0.0.1")

    def opened(self, path, body, headers):
        """A reading that the server opens with a captured request."""
        return self.keys.asking.ask("served.read", request=self.original(path, body, headers), files=[])


@pytest.fixture
def thief(api):
    return Thief(api)


def get(*subjects, purpose="case-work", fields=None):
    return asked.Get(purpose=purpose, reason="case 1", table="persons", subjects=list(subjects), fields=fields)


def find(number=3, limit=1):
    return asked.Find(
        purpose="case-work", reason="case 1", table="persons", where={"mobile": [person(number)["mobile"]]}, limit=limit
    )


# -- a credential's own budgets ----------------------------------------------------------------


def stolen(api):
    """How many persons, and how many records put, a thief gets through the server with one credential; and its id."""
    limits = OwnBudgets(Budget(day=3), Budget(day=4), Budget(day=2))
    ada, kit = api.keys.credential("ada", budgets=limits), api.keys.credential("kit", budgets=limits)
    got = 0
    with contextlib.suppress(BudgetError), contextlib.closing(api.client(ada)) as client:
        for number in range(5):
            with client.read(purpose="case-work", reason="r") as desk:
                desk.get("persons", f"P-{number:06d}")
            got += 1
    put = 2
    with contextlib.suppress(BudgetError), contextlib.closing(api.client(kit)) as client:
        client.put("persons", [person(900 + n) for n in range(2)], records=2)
        client.put("persons", [person(950)], records=1)
        put = 3
    return got, put, ada.id, kit.id


def test_a_callers_own_budgets_hold_through_a_server(api):
    """The caller's credential is counted and named, not the server's: persons, look-ups and records."""
    got, put, ada, kit = stolen(api)
    assert (got, put) == (3, 2)
    said = [e for e in api.keys.log_entries("kit") if e["actor"] == "ada"]
    assert {e["credential"] for e in said} == {ada}
    assert said[-1]["rule"] == f"persons/credential/{ada}/day"
    puts = [e for e in api.keys.log_entries("kit") if e["act"] in {"put", "commit"}]
    assert puts[-1]["credential"] == kit
    touched = api.keys.logs.touched("kit", Which(credential=ada))
    assert sum(one.persons for one in touched if one.act == "get") == 3


def test_control_where_a_server_counts_its_own_the_callers_do_not_hold(api, monkeypatch):
    """Control: without the caller's credential behind the request its budgets limit nothing."""
    monkeypatch.setattr(warrant.Signer, "holder", property(lambda _self: HERE))
    assert stolen(api)[:2] == (5, 3)


# -- captured requests -------------------------------------------------------------------------


def test_a_captured_request_is_answered_once(thief):
    """Sent to the server again, or handed on by the server again: nothing, also after the keymaster was restarted."""
    captured = thief.request("ada", "get", get("P-000007"))
    assert thief.send(*captured).status == 200
    again = thief.send(*captured)
    assert (again.status, json.loads(again.data)["rule"]) == (403, "credential.once")
    thief.api.keys._server._app.inner._service.callers._nonces.clear()  # what a restart forgets
    with pytest.raises(DeniedError, match="answered before"):
        thief.opened(*captured)


def test_control_without_that_memory_it_is_answered_again(thief, monkeypatch):
    """Control: the same bytes give the same record when nobody remembers requests."""
    captured = thief.request("ada", "get", get("P-000007"))
    assert thief.send(*captured).status == 200
    monkeypatch.setattr(warrant, "remember", lambda *_: True)
    again = thief.send(*captured)
    assert json.loads(again.data)["items"][0]["records"][0]["fields"]["mobile"] == person(7)["mobile"]


def test_a_captured_request_that_is_altered_or_sent_elsewhere_is_refused(thief):
    """Another subject, another purpose, another verb, another time, an unsigned key: as if nobody had signed."""
    path, body, headers = thief.request("ada", "get", get("P-000007"))
    later = headers["Signature-Input"].replace("created=1", "created=2")
    for sent in (
        (path, body.replace(b"P-000007", b"P-000008"), headers),
        (path, body.replace(b"case-work", b"statistics"), headers),
        (path.replace("/get", "/find"), body, headers),
        (path, body, headers | {"Signature-Input": later}),
        (path, body, headers | {"Idempotency-Key": "another"}),
        (path, body, headers | {"Strongroom-Plan": "{}"}),
        (path + "?purpose=statistics", body, headers),
    ):
        found = thief.send(*sent)
        assert found.status in {400, 401}
        assert b"not signed in" in found.data or b"not the one that was signed" in found.data
    assert thief.send(path, body, headers).status == 200  # control: as it was signed it is answered


def test_a_request_signed_for_the_keymaster_is_none_for_the_server(thief):
    """Paths differ: a captured call opens nothing at the server, and a captured request nothing at the keymaster."""
    path, body, headers = thief.request("ada", "get", get("P-000007"))
    wrong = thief.pool.urlopen("POST", thief.api.keys.url + path, body=body, headers=headers)
    assert wrong.status == 404


# -- a server that was taken --------------------------------------------------------------------


def test_a_server_cannot_ask_for_persons_nobody_asked_for(thief):
    """With a live request in hand: another subject, another table, a person whose token the thief knows, other fields."""
    granted = thief.opened(*thief.request("ada", "get", get("P-000007", fields=["name"])))
    reading = granted.grant.reading_id
    with pytest.raises(DeniedError, match="did not name"):
        thief.keys.subject_tokens(reading, "persons", ["P-000008"])
    with pytest.raises(DeniedError):
        thief.keys.value_tokens(reading, "persons", "mobile", [person(8)["mobile"]])
    batch = committed(thief)
    other = token_of(thief, "P-000008")
    for token, fields in ((other, ("name",)), (granted.tokens[""]["P-000007"], None)):
        ask = Ask(b"r" * 15 + bytes([len(fields or ())]), "get", "persons", fields, rows(token), rows(batch))
        with pytest.raises(DeniedError) as found:
            thief.keys.release(reading, ask)
        assert found.value.rule == "warrant.beyond"
    refused = [e for e in thief.api.keys.log_entries("kit", of="ada") if e["decision"] == "refused"]
    assert len(refused) >= 3


def test_control_what_was_signed_is_released(thief, monkeypatch):
    """Control: the person who was asked for; and anybody, when the keymaster does not look at what was signed."""
    captured = thief.request("ada", "get", get("P-000007"))
    granted = thief.opened(*captured)
    own = Ask(b"r" * 16, "get", "persons", None, rows(granted.tokens[""]["P-000007"]), rows(committed(thief)))
    assert thief.keys.release(granted.grant.reading_id, own).persons == 1
    monkeypatch.setattr(warrant.Warrant, "check_release", lambda *_: None)
    other = Ask(b"s" * 16, "get", "persons", None, rows(token_of(thief, "P-000008")), rows(committed(thief)))
    assert thief.keys.release(granted.grant.reading_id, other).persons == 1


def test_a_server_cannot_ask_who_read_somebody_else(thief):
    """A request for one person's log is for that person's; one for a record is for no log."""
    thief.api.keys.keymaster.changes.make("kit", "policy", PERSON_POLICY)
    said = asked.SubjectLog(purpose="subject-access", reason="r", table="persons", subject="P-000007")
    reading = thief.opened(*thief.request("pia", "subject-log", said)).grant.reading_id
    with pytest.raises(DeniedError, match="did not name"):
        thief.keys.persons.begin(reading, "persons", "P-000008")
    other = thief.opened(*thief.request("ada", "get", get("P-000007"))).grant.reading_id
    with pytest.raises(DeniedError, match="another verb"):
        thief.keys.persons.begin(other, "persons", "P-000007")
    assert thief.keys.persons.begin(reading, "persons", "P-000007").spans >= 0  # control: whom the caller named


def test_a_server_releases_no_more_persons_than_were_signed_for(thief):
    """A limit of one is a limit of one, whoever else lies under the values."""
    said = asked.Find(
        purpose="case-work", reason="r", table="persons",
        where={"mobile": [person(n)["mobile"] for n in (1, 2, 3)]}, limit=1,
    )  # fmt: skip
    granted = thief.opened(*thief.request("ada", "find", said))
    reading, hits = granted.grant.reading_id, entries_under(thief, granted)
    opened = thief.keys.open_hits(reading, "persons", "mobile", *hits)
    assert len(opened.subject_tokens) == 3
    batch = np.frombuffer(committed(thief), np.uint8)
    for at, wanted in ((0, None), (1, "more persons")):
        ask = Ask(bytes([at]) * 16, "find", "persons", None, opened.subject_tokens[at : at + 1], batch.reshape(1, 16))
        if wanted is None:
            assert thief.keys.release(reading, ask).persons == 1
        else:
            with pytest.raises(DeniedError, match=wanted):
                thief.keys.release(reading, ask)


def test_a_server_cannot_swap_values_or_hits(thief):
    """Under a captured signature another value is refused, and an entry of another value does not open."""
    three = thief.opened(*thief.request("ada", "find", find(3)))
    for value in (canonical(4), person(4)["mobile"]):
        with pytest.raises(DeniedError, match="did not name"):
            thief.keys.value_tokens(three.grant.reading_id, "persons", "mobile", [value])
    own = thief.keys.value_tokens(three.grant.reading_id, "persons", "mobile", [canonical(3)])  # control: the signed one
    assert own[0].tobytes() in three.tokens["mobile"].values()
    four = thief.opened(*thief.request("ada", "find", find(4)))
    mine, theirs = entries_under(thief, three), entries_under(thief, four)
    with pytest.raises(IntegrityError, match="does not open"):
        thief.keys.open_hits(three.grant.reading_id, "persons", "mobile", mine[0], theirs[1])
    with pytest.raises(DeniedError, match="did not look up"):
        thief.keys.open_hits(three.grant.reading_id, "persons", "mobile", *theirs)
    # control: each opens under the value that was signed for it
    assert len(thief.keys.open_hits(three.grant.reading_id, "persons", "mobile", *mine).subject_tokens) == 1


def test_control_without_the_comparison_another_value_is_looked_up(thief, monkeypatch):
    """Control: a keymaster that does not compare values with the signed ones gives the token of any, which finds a person."""
    monkeypatch.setattr(warrant.Warrant, "check_values", lambda *_: None)
    reading = thief.opened(*thief.request("ada", "find", find(3))).grant.reading_id
    swapped = thief.keys.value_tokens(reading, "persons", "mobile", [canonical(4)])
    four = thief.opened(*thief.request("ada", "find", find(4)))
    assert swapped[0].tobytes() in four.tokens["mobile"].values()
    hits = thief.keys.open_hits(reading, "persons", "mobile", *entries_under(thief, four))
    assert hits.subject_tokens[0].tobytes() == token_of(thief, "P-000004")


def test_a_server_alone_has_nothing(thief):
    """Nobody is signed in: its credential opens no reading, writes nothing, and hands on what nobody signed in vain."""
    for purpose in ("case-work", "delivery", "statistics"):
        with pytest.raises(DeniedError):
            thief.keys.begin_reading(actor="front", purpose=purpose, reason="r")
    with pytest.raises(DeniedError):
        thief.keys.begin_put(actor="front", table="persons", request_id=b"r" * 16)
    with pytest.raises(DeniedError):
        thief.keys.log_entries("front")
    path, body, headers = thief.request("ada", "get", get("P-000007"))
    forged = headers | {"Signature": "sig1=:" + "A" * 86 + "==:"}
    with pytest.raises(DeniedError, match="not signed in"):
        thief.opened(path, body, forged)
    own = thief.api.own.asking
    stolen = sign_request(
        own._signer._sign, own._signer.key_id, "POST", path, body,
        created=int(time.time()), expires=int(time.time()) + 60, nonce=b"z" * 16,
    )  # fmt: skip
    with pytest.raises(DeniedError, match="nobody's name"):
        thief.opened(path, body, stolen)


def test_control_with_a_live_caller_it_has_that_callers_request(thief):
    """Control: what a caller signs while the thief is there is the thief's, one request, in the log and the budget."""
    granted = thief.opened(*thief.request("mei", "get", get("P-000007", purpose="delivery")))
    token = granted.tokens[""]["P-000007"]
    ask = Ask(b"r" * 16, "get", "persons", None, rows(token), rows(committed(thief)))
    assert thief.keys.release(granted.grant.reading_id, ask).persons == 1
    (entry,) = [e for e in thief.api.keys.log_entries("kit", of="mei") if e["act"] == "get"]
    assert entry["count"] == 1


def test_a_lease_in_a_callers_name_does_what_was_signed(thief):
    """An erasure of somebody else, for another reason, a put of more records than were signed: refused."""
    import pyarrow as pa

    ask = thief.keys.asking.ask
    captured = thief.request("kit", "erase", asked.Erase(subjects=["P-000007"], reason="request 88"))
    lease = ask("served.lease", request=thief.original(*captured)).lease_id
    with pytest.raises(DeniedError, match="did not name"):
        ask("erasures.plan", lease=lease, identifiers=pa.array(["P-000008"]))
    plan = ask("erasures.plan", lease=lease, identifiers=pa.array(["P-000007"]))
    with pytest.raises(DeniedError, match="reason"):
        ask("erasures.erase", lease=lease, tokens=plan.tokens, reason="another")
    with pytest.raises(DeniedError, match="its caller did not"):
        ask("mint_batch", lease=lease)
    more = {"strongroom-plan": '{"table":"persons","records":2,"format":"csv"}'}
    path, _, headers = thief.request("kit", "put", None, further=more)
    lease = ask("served.lease", request=thief.original(path, b"", headers)).lease_id
    batch = ask("mint_batch", lease=lease)
    with pytest.raises(DeniedError, match="more records"):
        ask("seal_subjects", lease=lease, batch=batch, identifiers=pa.array(["Q-1", "Q-2", "Q-3"]))
    with pytest.raises(DeniedError, match="its caller did not"):
        ask("erasures.plan", lease=lease, identifiers=pa.array(["P-000007"]))
    # control: as many records as were signed
    path, _, headers = thief.request("kit", "put", None, further=more)
    lease = ask("served.lease", request=thief.original(path, b"", headers)).lease_id
    batch = ask("mint_batch", lease=lease)
    assert ask("seal_subjects", lease=lease, batch=batch, identifiers=pa.array(["Q-1", "Q-2"])).new == 2


# -- callers ------------------------------------------------------------------------------------


def test_a_credential_copied_elsewhere_is_of_no_use_at_the_server(thief):
    """Its networks are compared with the address that connects to the server."""
    far = thief.api.keys.credential("ada", networks=["10.1.0.0/16"])
    with pytest.raises(DeniedError, match="networks"):
        thief.api.client(far).read(purpose="case-work", reason="r").get("persons", "P-000007")
    near = thief.api.keys.credential("ada", networks=["127.0.0.0/8"])
    with thief.api.client(near) as client:  # control
        assert dict(client.read(purpose="case-work", reason="r").get("persons", "P-000007")) == person(7)


def test_every_route_without_a_credential_answers_the_same(thief):
    """A walk over the document and beyond it, with every method: 401, and the same bytes."""
    room = thief.api.keys.room_id.hex()
    paths = [path.replace("{room}", room) for path in document()["paths"]]
    paths += ["/", "/v1", "/v1/rooms/", f"/v1/rooms/{room}", "/docs", "/openapi.json", "/metrics", "/healthz", "/%2e%2e/x"]
    paths += [path.replace("{room}", "f" * 32) for path in document()["paths"]]
    said = set()
    for path in paths:
        for method in ("GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD", "PATCH", "TRACE"):
            for body, headers in ((b"", {}), (b"{}", {"Signature": "x", "Signature-Input": "x", "Content-Digest": "x"})):
                found = thief.send(path, body, headers, method)
                assert found.status == 401, (method, path)
                if method != "HEAD":
                    said.add((found.data, found.headers["content-type"]))
    assert len(said) == 1
    ((body, _),) = said
    assert json.loads(body)["detail"] == "not signed in"


# -- what a thief knows -------------------------------------------------------------------------


def canonical(number):
    """A person's mobile number as the index has it."""
    return f"+86{person(number)['mobile']}"


def rows(token):
    return np.frombuffer(token, np.uint8).reshape(1, 16)


def committed(thief):
    """The id of a batch that was committed, as the bucket's manifests tell whoever has the server."""
    state = thief.api.keys.keymaster._core.state.read()
    table = thief.api.keys.keymaster.schema().table("persons")
    sql = "SELECT id FROM batch WHERE state = 'committed' AND table_id = ? ORDER BY sequence"
    return state.execute(sql, (table.id,)).fetchone()[0]


def token_of(thief, subject):
    """The token of a person, from another caller's request that passed before."""
    granted = thief.opened(*thief.request("ada", "get", get(subject)))
    return granted.tokens[""][subject]


def entries_under(thief, granted):
    """Index entries under the tokens of a request, read from the bucket as the server does."""
    api = thief.api
    session = api.server._listener._app._service._verbs._session
    with api.of("ada").read(purpose="case-work", reason="r") as desk:
        desk.find("persons", {"mobile": person(9)["mobile"]})  # so that the server has the catalogue and the tails
    keys = handed.HandedOn(api.own, None, "ada")
    keys._granted = granted
    reading = Reading(session.speaking(keys, "ada"), granted.grant, None)
    model = keys.schema().table("persons")
    tokens = np.frombuffer(b"".join(granted.tokens["mobile"].values()), np.uint8).reshape(-1, 16)
    return reading._finder.index_entries(model, model.field("mobile"), tokens)
