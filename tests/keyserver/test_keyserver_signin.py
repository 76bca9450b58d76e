"""People sign in at a served keymaster: by an issuer's id_token, by a passkey; what limits and ends their sessions."""

import os
import signal
import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc.jwk import ECKey, OKPKey
from room_api import Api
from served_room import Served
from signin_kit import CLIENT, Authenticator, Issuer
from small_room import PASSPHRASE, person
from test_keyserver_serving import SERVE

import strongroom
from strongroom.errors import ConflictError, DeniedError, InputError, NotFoundError, UsageError
from strongroom.identity.commitment import assertion_challenge
from strongroom.keymaster import signingin
from strongroom.keymaster.wanted import Person, WantedIdentity
from strongroom.keyserver import limiter, newcomers
from strongroom.keyserver.signing_in import Newcomer


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(newcomers, "REFUSED_SECONDS", 0.02)


@pytest.fixture
def issuer():
    with Issuer() as made:
        yield made


@pytest.fixture
def served(room):
    with Served(room.keymaster()) as made:
        yield made


def newcomer(served):
    return Newcomer(served.url, served.room_id, None, time.time, os.urandom)


def let_in(served, issuer, actor="ada", **limits):
    who = Person(issuer.url, CLIENT, "sub", issuer.subject)
    return served.keymaster.identities.add("kit", WantedIdentity(actor, person=who, days=10, **limits))


def by_token(served, issuer, **changes):
    new = newcomer(served)
    return new.by_token(issuer.issue(new.nonce, **changes))


def by_passkey(served, key, **how):
    new = newcomer(served)
    found = new.challenge()
    signed = assertion_challenge(served.room_id, new.public_key, found.challenge, found.expires)
    return new.by_passkey(found, key.answer(signed, **how))


def read_one(room, keys, number=7):
    with (
        strongroom.open(str(room.bucket), keys=keys, actor=keys.actor) as opened,
        opened.read(purpose="case-work", reason="case 1") as desk,
    ):
        return dict(desk.get("persons", f"P-{number:06d}"))


def refusals(served):
    served._server._door.inner._service.newcomers.signing_in.tell()
    return [e for e in served.log_entries("kit") if e["act"] == "sign-in" and e["decision"] == "refused"]


def test_a_person_of_an_issuer_signs_in_reads_and_signs_out(room, served, issuer):
    """The session reads under the person's name, is in list and log by ids only, and ends when they say so."""
    identity = let_in(served, issuer, hours=2)
    own, told = by_token(served, issuer)
    assert (own.actor, told.actor, own.id) == ("ada", "ada", told.id)
    assert 7100 < told.expires - time.time() <= 7200
    with served.connect(own) as keys:
        assert read_one(room, keys) == person(7)
        keys.credentials.sign_out()
        with pytest.raises(DeniedError, match="revoked"):
            keys.head()
    with served.of("kit") as kit, pytest.raises(UsageError, match="only who signed in"):
        kit.credentials.sign_out()
    (listed,) = [state for state in served.credentials.all("kit") if state.id == own.id]
    assert (listed.identity, listed.actor, bool(listed.revoked)) == (identity.id, "ada", True)
    said = [e for e in served.log_entries("kit") if e["act"] in {"sign-in", "sign-out"}]
    assert [(e["act"], e["actor"]) for e in said] == [("sign-in", "ada"), ("sign-out", "ada")]
    assert said[0]["extras"]["identity"] == identity.id
    assert issuer.subject not in str(served.log_entries("kit"))


@pytest.mark.filterwarnings("ignore:EdDSA is deprecated")
@pytest.mark.parametrize(
    ("key", "alg"),
    [
        (ECKey.generate_key("P-256", {"kid": "e1"}), "ES256"),
        (OKPKey.generate_key("Ed25519", {"kid": "o1"}), "Ed25519"),
        (OKPKey.generate_key("Ed25519", {"kid": "o1"}), "EdDSA"),
    ],
)
def test_other_algorithms_of_issuers(served, key, alg):
    """ES256, and EdDSA by both of its names, besides RS256."""
    with Issuer(keys=[key]) as issuer:
        let_in(served, issuer)
        assert by_token(served, issuer, alg=alg)[0].actor == "ada"


def test_a_passkey_signs_in_again_and_again(room, served):
    """Registered by its line, agreed to by another person over the wire; each answer counts up."""
    key = Authenticator()
    kit = served.of("kit")
    line = key.line(served.room_id, "ada")
    served.keymaster.set_policy("kit", two_clerks(room))
    assert kit.identities.add("kit", WantedIdentity("ada", passkey=line, days=10)) is None
    with pytest.raises(DeniedError):
        by_passkey(served, key)
    (asked,) = kit.approvals.waiting("kit")
    with pytest.raises(DeniedError, match="another person"):
        kit.approvals.decide("kit", asked.id, agree=True)
    served.of("nan").approvals.decide("nan", asked.id, agree=True)
    for _ in range(3):
        own, _told = by_passkey(served, key)
        with served.connect(own) as keys:
            assert read_one(room, keys) == person(7)
    (identity,) = kit.identities.all("kit")
    assert (identity.kind, identity.actor, identity.signs) == ("passkey", "ada", key.signs)
    with pytest.raises(ConflictError, match="signs in already"):
        served.keymaster.identities.add("kit", WantedIdentity("mei", passkey=key.line(served.room_id, "mei"), days=1))


def two_clerks(room):
    from small_room import POLICY

    return POLICY.replace('[actors.nan]\nroles = ["counsel"]', '[actors.nan]\nroles = ["counsel", "clerk"]')


def test_a_passkey_without_a_counter_signs_in(served):
    """Those that are copied between devices count nothing: zero stays zero."""
    key = Authenticator()
    served.keymaster.identities.add("kit", WantedIdentity("ada", passkey=key.line(served.room_id, "ada"), days=10))
    for _ in range(2):
        assert by_passkey(served, key, count=0)[0].actor == "ada"


def test_limits_of_an_identity_are_those_of_its_sessions(room, served, issuer):
    """Purposes hold in the session; networks at the sign-in too; hours end it, and so does the identity's own end."""
    let_in(served, issuer, "mei", purposes=["delivery"], networks=["127.0.0.0/8"], hours=0.0004)
    own, told = by_token(served, issuer)
    with served.connect(own) as keys, strongroom.open(str(room.bucket), keys=keys, actor="mei") as opened:
        with pytest.raises(DeniedError, match="not for this purpose"):
            opened.read(purpose="claims", reason="r")
        time.sleep(max(0.0, told.expires - time.time()) + 0.1)
        with pytest.raises(DeniedError, match="expired") as ended:
            keys.head()
        assert "strongroom signin" in ended.value.hint
    with Issuer("u-2") as other:
        let_in(served, other, networks=["10.0.0.0/8"])
        with pytest.raises(DeniedError, match="not signed in"):
            by_token(served, other)
    assert refusals(served)[-1]["extras"] == {"count": 1, "networks": 1}


def test_ending_an_identity_ends_its_sessions(room, served, issuer):
    """At once, in readings that are open; the person can be let in anew."""
    identity = let_in(served, issuer)
    own, _ = by_token(served, issuer)
    with served.connect(own) as keys, strongroom.open(str(room.bucket), keys=keys, actor="ada") as opened:
        desk = opened.read(purpose="case-work", reason="r")
        assert dict(desk.get("persons", "P-000007")) == person(7)
        with served.of("kit") as kit:
            assert kit.identities.revoke("kit", identity.id).revoked
            with pytest.raises(ConflictError):
                kit.identities.revoke("kit", identity.id)
            with pytest.raises(NotFoundError):
                kit.identities.revoke("kit", "0" * 32)
        with pytest.raises(DeniedError, match="revoked"):
            desk.get("persons", "P-000008")
    with pytest.raises(DeniedError, match="not signed in"):
        by_token(served, issuer)
    let_in(served, issuer)
    assert by_token(served, issuer)[0].actor == "ada"


def test_claims_other_than_sub(served, issuer):
    """A stated claim; an e-mail address only where the issuer has verified it; two actors for one person is nobody."""
    who = Person(issuer.url, CLIENT, "email", "mei@acme.example")
    served.keymaster.identities.add("kit", WantedIdentity("mei", person=who, days=1))
    for more, good in (({}, False), ({"email_verified": True}, True), ({"email_verified": "true"}, False)):
        issuer.more = {"email": "mei@acme.example", **more}
        if good:
            assert by_token(served, issuer)[0].actor == "mei"
        else:
            with pytest.raises(DeniedError):
                by_token(served, issuer)
    let_in(served, issuer, "ada")
    issuer.more = {"email": "mei@acme.example", "email_verified": True}
    with pytest.raises(DeniedError):
        by_token(served, issuer)


def test_sessions_of_one_identity_stay_few(room, served, issuer, monkeypatch):
    """The oldest ends when there are too many; a day has so many sign-ins; ended ones are forgotten after a time."""
    monkeypatch.setattr(signingin, "SESSIONS_MAX", 2)
    monkeypatch.setattr(signingin, "SIGN_INS_DAY_MAX", 4)
    let_in(served, issuer)
    owns = [by_token(served, issuer)[0] for _ in range(4)]
    states = {state.id: bool(state.revoked) for state in served.credentials.all("kit") if state.identity}
    assert [states[own.id] for own in owns] == [True, True, False, False]
    with pytest.raises(DeniedError):
        by_token(served, issuer)
    assert refusals(served)[-1]["extras"]["often"] == 1
    rows = served.keymaster._core.state
    with rows.write() as inside:
        inside.execute("UPDATE credential SET made = made - 200000, expires = expires - 200000 WHERE identity != ''")
    by_token(served, issuer)
    assert len([state for state in served.credentials.all("kit") if state.identity]) == 1


def test_sessions_do_not_use_up_the_credentials_that_people_make(served, issuer, monkeypatch):
    """The greatest number of credentials counts those only that somebody let in."""
    from strongroom.keymaster import credentials

    served.of("kit")
    let_in(served, issuer)
    monkeypatch.setattr(credentials, "CREDENTIALS_MAX", 2)
    for _ in range(4):
        by_token(served, issuer)
    served.credential("mei")
    with pytest.raises(UsageError, match="at most 2"):
        served.credential("lin")


def test_who_may_let_whom_in(served, issuer):
    """The act `actors`; an actor and purposes of the policy; hours, days, URLs and lines that are some."""
    who = Person(issuer.url, CLIENT, "sub", "u-9")
    add = served.keymaster.identities.add
    with pytest.raises(DeniedError):
        add("ada", WantedIdentity("ada", person=who, days=1))
    with pytest.raises(DeniedError):
        served.keymaster.identities.all("ada")
    other = Authenticator().line(b"x" * 16, "ada")
    for wrong in (
        {"person": who, "days": 0}, {"person": who, "days": 1, "hours": 25}, {"person": who, "days": 1, "hours": 0},
        {"days": 1}, {"person": who, "passkey": other, "days": 1}, {"passkey": other, "days": 1},
        {"passkey": Authenticator().line(served.room_id, "mei"), "days": 1}, {"passkey": "srp1:ada:AAAA", "days": 1},
        {"person": Person("http://login.example", CLIENT, "sub", "x"), "days": 1},
        {"person": Person(issuer.url, "", "sub", "x"), "days": 1},
        {"person": Person(issuer.url, CLIENT, "sub", "x" * 300), "days": 1},
        {"person": who, "days": 1, "purposes": ["none"]}, {"person": who, "days": 1, "networks": ["home"]},
    ):  # fmt: skip
        with pytest.raises(UsageError):
            add("kit", WantedIdentity("ada", **wrong))
    with pytest.raises(UsageError, match="no actor"):
        add("kit", WantedIdentity("nobody", person=who, days=1))


def test_frozen_actors_do_not_sign_in(served, issuer):
    """A freeze stops a sign-in like everything else."""
    let_in(served, issuer)
    served.of("kit").freezing.freeze("kit", "actor", "ada", "her laptop was stolen")
    with pytest.raises(DeniedError, match="not signed in"):
        by_token(served, issuer)


def test_where_nobody_signs_in_nothing_is_answered(served):
    """Without identities a sign-in is as any other call of a stranger."""
    with pytest.raises(DeniedError, match="not signed in"):
        newcomer(served).challenge()


def test_killed_after_a_sign_in_the_session_is_there(room, issuer):
    """Kill -9: whoever was signed in is, in the log too; the token serves nobody again; a challenge of before still does."""
    key = Authenticator()
    with room.keymaster() as keymaster:
        who = Person(issuer.url, CLIENT, "sub", issuer.subject)
        keymaster.identities.add("kit", WantedIdentity("ada", person=who, days=10))
        keymaster.identities.add("kit", WantedIdentity("mei", passkey=key.line(keymaster.room_id, "mei"), days=10))
        room_id = keymaster.room_id

    def started(port):
        child = subprocess.Popen(
            [sys.executable, "-c", SERVE, str(room.keys), PASSPHRASE, str(port)], stdout=subprocess.PIPE
        )
        return child, int(child.stdout.readline())

    child, port = started(0)
    one, two = (Newcomer(f"http://127.0.0.1:{port}", room_id, None, time.time, os.urandom) for _ in range(2))
    token = issuer.issue(one.nonce)
    own, _ = one.by_token(token)
    found = two.challenge()
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    child.stdout.close()
    child, _ = started(port)
    with strongroom.connect(f"http://127.0.0.1:{port}", credential=own) as keys:
        assert read_one(room, keys) == person(7)
        assert [e["act"] for e in keys.log_entries("ada", of="ada")].count("sign-in") == 1
    with pytest.raises(DeniedError, match="not signed in"):
        one.by_token(token)
    signed = assertion_challenge(room_id, two.public_key, found.challenge, found.expires)
    assert two.by_passkey(found, key.answer(signed))[0].actor == "mei"
    child.terminate()
    assert child.wait(20) == 0
    child.stdout.close()


def test_tries_are_counted_by_address_and_in_all(monkeypatch):
    """So many a minute of each address, where an IPv6 subscriber is one; memory of addresses is bounded."""
    now = [0.0]
    made = limiter.Limiter(60.0, 3, 50, lambda: now[0])
    assert [made.admits("10.0.0.1") for _ in range(4)] == [True, True, True, False]
    assert [made.admits(f"::ffff:10.0.0.{n}") for n in (1, 2)] == [False, True]
    assert [made.admits(f"2001:db8::{n}") for n in range(4)] == [True, True, True, False]
    assert made.admits("2001:db8:0:1::1")
    made.forgive("10.0.0.1")
    assert made.admits("10.0.0.1")
    monkeypatch.setattr(limiter, "ADDRESSES_MAX", 8)
    admitted = sum(made.admits(f"10.1.0.{n}") for n in range(100))
    assert admitted == 50 - 8  # one was forgiven
    assert len(made._of) <= 8
    now[0] += 60.0
    assert made.admits("10.0.0.1")
    assert made.admits("none")


@given(st.binary(max_size=200))
def test_any_bytes_of_a_newcomer_are_read_or_refused(data):
    """No message of theirs, and no answer to them, raises anything but an error of this library."""
    for reader in (*newcomers._TAKES.values(), newcomers.read_challenge, newcomers.read_signed_in):
        try:
            reader(data)
        except InputError:
            continue


def test_a_defect_is_no_oracle(served, issuer, monkeypatch, caplog):
    """Whatever breaks while a stranger is judged: the same answer, and the operator is told the place, not what was sent."""
    let_in(served, issuer)
    signing_in = served._server._door.inner._service.newcomers.signing_in
    monkeypatch.setattr(signing_in, "by_token", lambda *_: {}["a-secret"])
    with pytest.raises(DeniedError, match="not signed in"):
        by_token(served, issuer)
    assert "KeyError at" in caplog.text
    assert "a-secret" not in caplog.text
    assert refusals(served)[-1]["extras"] == {"count": 1, "defect": 1}


def test_keys_of_an_issuer_that_changes_them(served, issuer, monkeypatch):
    """New keys are fetched when a token names one that is not known, not again and again; an issuer away keeps its old ones."""
    from joserfc.jwk import RSAKey

    from strongroom.identity import issuers

    monkeypatch.setattr(issuers, "REFETCH_SECONDS", 600.0)
    let_in(served, issuer)
    by_token(served, issuer)
    by_token(served, issuer)
    assert issuer.asked.count("/jwks") == 1
    issuer.keys = [RSAKey.generate_key(2048, {"kid": "r2"})]
    with pytest.raises(DeniedError):
        by_token(served, issuer)
    assert issuer.asked.count("/jwks") == 1
    monkeypatch.setattr(issuers, "REFETCH_SECONDS", 0.0)
    by_token(served, issuer)
    assert issuer.asked.count("/jwks") == 2
    issuer.status = 500
    by_token(served, issuer)


def test_a_session_asks_a_server_in_front_of_the_room(room, issuer):
    """What a person signs with their session travels on to the keymaster, under their name; not after they signed out."""
    with Api(room) as api:
        let_in(api.keys, issuer, "mei", purposes=["delivery"])
        own, _ = by_token(api.keys, issuer)
        client = api.client(own)
        with client.read(purpose="delivery", reason="parcel 1") as desk:
            assert desk.get("persons", "P-000007")["mobile"] != person(7)["mobile"]
            with api.keys.connect(own) as keys:
                keys.credentials.sign_out()
            with pytest.raises(DeniedError):
                desk.get("persons", "P-000008")
        client.close()
        said = [e for e in api.keys.log_entries("kit") if e["act"] == "get" and e["actor"] == "mei"]
        assert [e["decision"] for e in said] == ["allowed"]
