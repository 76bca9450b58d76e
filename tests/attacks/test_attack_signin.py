"""Sign-ins that are stolen, replayed, forged or made elsewhere, and strangers who try many: each is refused the same way."""

import base64
import hmac
import json
import os
import socket
import threading
import time

import pytest
import webauthn
from joserfc.jwk import OctKey, RSAKey
from served_room import Served
from signin_kit import CLIENT, Authenticator, Issuer, b64
from tls_kit import certificate

import strongroom
from strongroom.errors import DeniedError
from strongroom.identity import oidc
from strongroom.identity.commitment import assertion_challenge
from strongroom.identity.signing import sign_request
from strongroom.keymaster import signingin
from strongroom.keymaster.wanted import Person, WantedIdentity
from strongroom.keyserver import newcomers
from strongroom.keyserver.newcomers import Challenge
from strongroom.keyserver.signing_in import Newcomer


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(newcomers, "REFUSED_SECONDS", 0.02)


@pytest.fixture
def served(room):
    with Served(room.keymaster()) as made:
        yield made


@pytest.fixture
def issuer(served):
    """An issuer whose person is ada."""
    with Issuer() as made:
        let_in(served, made)
        yield made


@pytest.fixture
def passkey(served):
    """A passkey that is ada's."""
    key = Authenticator()
    served.keymaster.identities.add("kit", WantedIdentity("ada", passkey=key.line(served.room_id, "ada"), days=10))
    return key


def let_in(served, issuer, **limits):
    who = Person(issuer.url, CLIENT, "sub", issuer.subject)
    return served.keymaster.identities.add("kit", WantedIdentity("ada", person=who, days=10, **limits))


def newcomer(served):
    return Newcomer(served.url, served.room_id, None, time.time, os.urandom)


def refused(served, check, attempt):
    """The attempt is refused as a stranger is, and the log counts it under the name of the check."""
    signing_in = served._server._door.inner._service.newcomers.signing_in
    signing_in.tell()
    with pytest.raises(DeniedError, match="^not signed in$"):
        attempt()
    signing_in.tell()
    last = [e for e in served.log_entries("kit") if e["act"] == "sign-in"][-1]
    assert (last["decision"], last["extras"]) == ("refused", {"count": 1, check: 1})


# -- id_tokens ---------------------------------------------------------------------------------


def test_a_token_lets_one_key_pair_in_once(served, issuer):
    """Replayed by the very key pair it was made for: while its session lasts, and after it signed out."""
    new = newcomer(served)
    token = issuer.issue(new.nonce)
    own, _ = new.by_token(token)
    refused(served, "once", lambda: new.by_token(token))
    with served.connect(own) as keys:
        keys.credentials.sign_out()
    refused(served, "once", lambda: new.by_token(token))


def test_control_were_the_session_forgotten_a_replay_would_be_let_in(served, issuer):
    """Control: without its row the same token makes a session again: that row is kept for longer than tokens last."""
    new = newcomer(served)
    token = issuer.issue(new.nonce)
    own, _ = new.by_token(token)
    with served.keymaster._core.state.write() as rows:
        rows.execute("DELETE FROM credential WHERE id = ?", (own.id,))
    assert new.by_token(token)[0].id == own.id
    assert signingin.ENDED_SECONDS > oidc.TOKEN_AGE_SECONDS_MAX + 2 * oidc.SKEW_SECONDS


def test_a_stolen_token_is_worth_nothing_with_another_key(served, issuer):
    """Whoever sees an id_token, its salt too, has not the key pair that it was made for."""
    owner, thief = newcomer(served), newcomer(served)
    token = issuer.issue(owner.nonce)
    refused(served, "nonce", lambda: thief.by_token(token))
    thief._salt = owner._salt
    refused(served, "nonce", lambda: thief.by_token(token))
    assert owner.by_token(token)[0].actor == "ada"


def test_control_without_the_nonce_a_stolen_token_serves_any_key(served, issuer, monkeypatch):
    """Control: a keymaster that takes whatever nonce a token has lets the thief in."""
    owner, thief = newcomer(served), newcomer(served)
    monkeypatch.setattr(signingin, "token_nonce", lambda *_: owner.nonce)
    assert thief.by_token(issuer.issue(owner.nonce))[0].actor == "ada"


def test_a_token_for_another_client_or_room_is_refused(served, issuer):
    """Of the same issuer and person, for another program; for several; for the same key pair at another room."""
    new = newcomer(served)
    refused(served, "audience", lambda: new.by_token(issuer.issue(new.nonce, "another-program")))
    refused(served, "audience", lambda: new.by_token(issuer.issue(new.nonce, aud=[CLIENT, "another-program"])))
    refused(served, "audience", lambda: new.by_token(issuer.issue(new.nonce, azp="another-program")))
    elsewhere = newcomer(served)
    elsewhere.room_id = b"x" * 16
    nonce = elsewhere.nonce
    elsewhere.room_id = served.room_id
    refused(served, "nonce", lambda: elsewhere.by_token(issuer.issue(nonce)))
    assert new.by_token(issuer.issue(new.nonce, aud=[CLIENT, "another-program"], azp=CLIENT))[0].actor == "ada"


def test_control_without_the_audience_another_clients_token_serves(served, issuer, monkeypatch):
    """Control: a keymaster that does not ask for whom a token is takes the other program's."""
    monkeypatch.setattr(oidc, "is_for", lambda *_: True)
    new = newcomer(served)
    assert new.by_token(issuer.issue(new.nonce, "another-program"))[0].actor == "ada"


def forged(issuer, nonce, algorithm):
    """A token signed with what everybody has: nothing, or the issuer's public key as a shared secret."""
    signed = ".".join(b64(json.dumps(part).encode()) for part in ({"alg": algorithm, "kid": "r1"}, issuer.claims(nonce)))
    seal = b"" if algorithm == "none" else hmac.digest(issuer.keys[0].as_pem(private=False), signed.encode(), "sha256")
    return f"{signed}.{b64(seal)}"


@pytest.mark.parametrize("algorithm", ["none", "HS256"])
def test_a_token_signed_with_nothing_or_with_the_public_key_is_refused(served, issuer, algorithm):
    """The algorithm is not the token's to choose."""
    new = newcomer(served)
    refused(served, "algorithm", lambda: new.by_token(forged(issuer, new.nonce, algorithm)))


@pytest.mark.filterwarnings("ignore:This key should not be used as an oct key")
def test_control_a_keymaster_that_takes_shared_secrets_is_let_down_by_its_issuers_public_key(served, issuer, monkeypatch):
    """Control: with HS256 allowed, and the key taken as it is published, the forged token signs in."""
    monkeypatch.setattr("joserfc._rfc7518.oct_key.UNSAFE_KEY_LOADERS", ())  # the library would not take it either
    public = OctKey.import_key(issuer.keys[0].as_pem(private=False))
    monkeypatch.setattr(oidc, "ALGORITHMS", (*oidc.ALGORITHMS, "HS256"))
    new = newcomer(served)
    monkeypatch.setattr(served._server._door.inner._service.newcomers.signing_in._issuers, "key", lambda *_: public)
    assert new.by_token(forged(issuer, new.nonce, "HS256"))[0].actor == "ada"


def test_a_token_of_another_key_or_issuer_is_refused(served, issuer):
    """Signed by a key of the thief's under the issuer's key id; by an issuer of the thief's; changed after it was signed."""
    new = newcomer(served)
    own = RSAKey.generate_key(2048, {"kid": "r1"})
    refused(served, "signature", lambda: new.by_token(issuer.issue(new.nonce, key=own)))
    with Issuer() as thief:
        refused(served, "issuer", lambda: new.by_token(thief.issue(new.nonce)))
        refused(served, "signature", lambda: new.by_token(thief.issue(new.nonce, iss=issuer.url)))
    head, _, seal = issuer.issue(new.nonce).split(".")
    other = b64(json.dumps(issuer.claims(new.nonce, sub="u-9")).encode())
    refused(served, "signature", lambda: new.by_token(f"{head}.{other}.{seal}"))
    refused(served, "identity", lambda: new.by_token(issuer.issue(new.nonce, sub="u-9")))


def test_an_old_token_is_refused(served, issuer, monkeypatch):
    """Expired, kept back for an hour, or of the future; without a time. Control: with a keymaster that has patience it signs in."""
    new, now = newcomer(served), int(time.time())
    for times in ({"exp": now - 100}, {"iat": now - 3600}, {"iat": now + 3600}, {"exp": None}, {"iat": None}, {"nbf": now + 900}, {"exp": "9"}):
        refused(served, "time", lambda times=times: new.by_token(issuer.issue(new.nonce, **times)))
    monkeypatch.setattr(oidc, "TOKEN_AGE_SECONDS_MAX", 7200)
    monkeypatch.setattr(oidc, "SKEW_SECONDS", 7200)
    assert new.by_token(issuer.issue(new.nonce, exp=now - 100, iat=now - 3600))[0].actor == "ada"


def test_keys_of_an_issuer_are_not_taken_over_http(served, tmp_path, monkeypatch):
    """Whoever sits between swaps the keys where they go over http: by the address in the metadata, or by a redirect.

    Control: the same keys over https sign in.
    """
    files = certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(files[0]))
    monkeypatch.setattr("strongroom.identity.issuers.REFETCH_SECONDS", 0.0)
    with Issuer(tls=files) as real, Issuer() as thief:
        let_in(served, real)
        new = newcomer(served)
        real.jwks_uri = f"{thief.url}/jwks"
        forged_token = thief.issue(new.nonce, iss=real.url)
        refused(served, "issuer-keys", lambda: new.by_token(forged_token))
        real.jwks_uri, real.status, real.elsewhere = None, 302, f"{thief.url}/.well-known/openid-configuration"
        refused(served, "issuer-keys", lambda: new.by_token(forged_token))
        assert thief.asked == []
        real.status, real.elsewhere = 200, None
        assert new.by_token(real.issue(new.nonce))[0].actor == "ada"


def test_an_issuer_whose_certificate_does_not_hold_is_not_asked(served, tmp_path):
    """Control is the test above, where the machine knows the certificate."""
    with Issuer(tls=certificate(tmp_path)) as issuer:
        let_in(served, issuer)
        new = newcomer(served)
        refused(served, "issuer-keys", lambda: new.by_token(issuer.issue(new.nonce)))


# -- passkeys ----------------------------------------------------------------------------------


def begin(served):
    """A newcomer, its challenge, and what a passkey has to sign."""
    new = newcomer(served)
    found = new.challenge()
    return new, found, assertion_challenge(served.room_id, new.public_key, found.challenge, found.expires)


def careless(monkeypatch, **how):
    """A keymaster that expects of an assertion whatever it says."""
    real = webauthn.verify_authentication_response
    monkeypatch.setattr(webauthn, "verify_authentication_response", lambda **asked: real(**{**asked, **how}))


def test_an_answer_from_another_page_is_refused(served, passkey):
    """A page that looks like ours, under another name or port, or ours within another's frame."""
    for origin in ("http://localhost:8450", "https://localhost:8449", "https://strongroom.example"):
        new, found, signed = begin(served)
        passkey.origin = origin
        answer = passkey.answer(signed)
        refused(served, "assertion", lambda new=new, found=found, answer=answer: new.by_passkey(found, answer))
    passkey.origin = "http://localhost:8449"
    new, found, signed = begin(served)
    refused(served, "assertion", lambda: new.by_passkey(found, passkey.answer(signed, crossOrigin=True)))
    passkey.rp_id = "strongroom.example"
    refused(served, "assertion", lambda: new.by_passkey(found, passkey.answer(signed)))


def test_control_without_the_origin_a_look_alike_signs_in(served, passkey, monkeypatch):
    """Control: a keymaster that takes any page takes that one."""
    careless(monkeypatch, expected_origin="https://strongroom.example")
    new, found, signed = begin(served)
    passkey.origin = "https://strongroom.example"
    assert new.by_passkey(found, passkey.answer(signed))[0].actor == "ada"


def test_an_answer_to_another_challenge_is_refused(served, passkey):
    """Of another key pair, another time, a challenge that the thief made up, and one that has ended."""
    owner, theirs, signed = begin(served)
    answer = passkey.answer(signed)
    thief, found, _ = begin(served)
    refused(served, "assertion", lambda: thief.by_passkey(found, answer))
    refused(served, "challenge", lambda: thief.by_passkey(theirs, answer))
    later = Challenge(theirs.challenge, theirs.expires - 1)
    refused(served, "challenge", lambda: owner.by_passkey(later, answer))
    mine = Challenge(b"m" * 32, int(time.time()) + 60)
    own = passkey.answer(assertion_challenge(served.room_id, thief.public_key, mine.challenge, mine.expires))
    refused(served, "challenge", lambda: thief.by_passkey(mine, own))
    old = served._server._door.inner._service.newcomers.signing_in._challenge(thief.public_key, int(time.time()) - 5)
    ended = Challenge(old, int(time.time()) - 5)
    refused(served, "challenge", lambda: thief.by_passkey(ended, own))
    assert owner.by_passkey(theirs, passkey.answer(signed))[0].actor == "ada"


def test_control_without_the_challenge_a_seen_answer_serves_any_key(served, passkey, monkeypatch):
    """Control: a keymaster that does not compare what was signed takes another's answer."""
    _owner, _theirs, signed = begin(served)
    answer = passkey.answer(signed)
    careless(monkeypatch, expected_challenge=signed)
    thief, found, _ = begin(served)
    assert thief.by_passkey(found, answer)[0].actor == "ada"


def test_an_answer_is_taken_once(served, passkey):
    """Replayed by the key pair it was made for, after its session ended too; where an authenticator does not count as well."""
    new, found, signed = begin(served)
    passkey.signs = -1
    answer = passkey.answer(signed)
    own, _ = new.by_passkey(found, answer)
    refused(served, "once", lambda: new.by_passkey(found, answer))
    with served.connect(own) as keys:
        keys.credentials.sign_out()
    refused(served, "once", lambda: new.by_passkey(found, answer))


def test_a_counter_that_goes_back_is_refused(served, passkey, monkeypatch):
    """A copy of the authenticator counts on its own: the second of two that count the same is not let in.

    Control: a keymaster that keeps no counter lets the copy in.
    """
    new, found, signed = begin(served)
    new.by_passkey(found, passkey.answer(signed, count=5))
    for count in (0, -3):
        new, found, signed = begin(served)
        answer = passkey.answer(signed, count=count)
        refused(served, "assertion", lambda new=new, found=found, answer=answer: new.by_passkey(found, answer))
    careless(monkeypatch, credential_current_sign_count=0)
    assert new.by_passkey(found, answer)[0].actor == "ada"


def test_of_two_answers_with_one_count_one_is_let_in(served, passkey):
    """Owner and copy at the same moment: the counter is compared where the session is made."""
    asked = [begin(served) for _ in range(4)]
    answers = [passkey.answer(asked[0][2], count=1)] + [passkey.answer(one[2], count=0) for one in asked[1:]]
    found = []

    def work(new, challenge, answer):
        try:
            found.append(new.by_passkey(challenge, answer)[0].actor)
        except DeniedError:
            found.append(None)

    threads = [threading.Thread(target=work, args=(*one[:2], answer)) for one, answer in zip(asked, answers, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found, key=str) == [None, None, None, "ada"]


def test_an_answer_without_its_owner_being_verified_is_refused(served, passkey, monkeypatch):
    """Whoever found the token has not its PIN. Control: a keymaster content with a touch lets them in."""
    new, found, signed = begin(served)
    answer = passkey.answer(signed, verified=False)
    refused(served, "assertion", lambda: new.by_passkey(found, answer))
    careless(monkeypatch, require_user_verification=False)
    assert new.by_passkey(found, answer)[0].actor == "ada"


def test_a_passkey_that_nobody_let_in_is_refused(served, passkey):
    """One of the thief's, under its own id and under the owner's."""
    thief = Authenticator()
    new, found, signed = begin(served)
    refused(served, "identity", lambda: new.by_passkey(found, thief.answer(signed)))
    thief.id = passkey.id
    refused(served, "assertion", lambda: new.by_passkey(found, thief.answer(signed)))


# -- identities and sessions -------------------------------------------------------------------


def test_a_session_of_an_identity_that_was_ended_is_refused(room, served, issuer):
    """The laptop was stolen while she was signed in: ending how she signs in ends what was signed in."""
    new = newcomer(served)
    own, _ = new.by_token(issuer.issue(new.nonce))
    (identity,) = served.keymaster.identities.all("kit")
    with served.connect(own) as keys:
        served.keymaster.identities.revoke("kit", identity.id)
        with pytest.raises(DeniedError, match="revoked"):
            strongroom.open(str(room.bucket), keys=keys, actor="ada").read(purpose="case-work", reason="r")


def test_control_were_the_identity_alone_ended_its_session_would_go_on(room, served, issuer):
    """Control: with the identity's row changed, and the sessions' not, the stolen session reads on."""
    new = newcomer(served)
    own, _ = new.by_token(issuer.issue(new.nonce))
    with served.keymaster._core.state.write() as rows:
        rows.execute("UPDATE identity SET revoked = 1.0")
    with served.connect(own) as keys, strongroom.open(str(room.bucket), keys=keys, actor="ada") as opened:
        with opened.read(purpose="case-work", reason="r") as desk:
            assert desk.get("persons", "P-000007") is not None


def test_a_sign_in_from_other_networks_is_refused(served, monkeypatch):
    """The identity may be used from the office; the thief of token and key is elsewhere. Control: at the office it signs in."""
    with Issuer("u-7") as issuer:
        let_in(served, issuer, networks=["10.0.0.0/8"])
        new = newcomer(served)
        token = issuer.issue(new.nonce)
        refused(served, "networks", lambda: new.by_token(token))
        real = newcomers.Newcomers._answer
        monkeypatch.setattr(newcomers.Newcomers, "_answer", lambda *args: real(*args[:-1], "10.1.2.3"))
        own, _ = new.by_token(token)
        with pytest.raises(DeniedError, match="networks"):
            served.connect(own)


# -- strangers ---------------------------------------------------------------------------------


def test_strangers_learn_nothing_whatever_they_try(served, issuer, monkeypatch):
    """Unsigned, signed by another key, garbage, a stranger's token, a known passkey's id: the same bytes, not before their time."""
    monkeypatch.setattr(newcomers, "REFUSED_SECONDS", 0.3)
    served._server._door.inner._service.newcomers._limiter.of_address = 1000
    import urllib3

    from strongroom.keyserver.frames import pack

    pool = urllib3.PoolManager(retries=False)
    new = newcomer(served)
    base = f"/v1/{served.room_id.hex()}/"
    now = int(time.time())
    salt = new._salt

    def send(name, body, key_id=new._signer.key_id, seed=new._seed, created=now):
        path = base + name
        headers = sign_request(seed, key_id, "POST", path, body, created=created, expires=created + 60, nonce=os.urandom(16))
        began = time.monotonic()
        found = pool.urlopen("POST", served.url + path, body=body, headers=headers)
        return found.status, found.data, time.monotonic() - began

    plain = pool.urlopen("POST", f"{served.url}{base}hello", body=b"")
    tried = [
        send("signin.token", b"garbage"),
        send("signin.token", pack({"salt": b"x", "token": "a.b.c"})),
        send("signin.token", pack({"salt": salt, "token": issuer.issue(new.nonce, sub="nobody")})),
        send("signin.token", pack({"salt": salt, "token": issuer.issue("other")})),
        send("signin.passkey", pack({"challenge": b"c" * 32, "expires": now + 60, "answer": "{}"})),
        send("signin.token", b"", seed=os.urandom(32)),
        send("signin.begin", b"", created=now - 4000),
        send("signin.begin", pack({}), key_id="new:x"),
        send("signin.token", bytes(1 << 17)),
    ]
    unsigned = pool.urlopen("POST", f"{served.url}{base}signin.begin", body=b"")
    assert {(status, data) for status, data, _ in tried} == {(401, plain.data)}
    assert (unsigned.status, unsigned.data) == (401, plain.data)
    assert min(seconds for _, _, seconds in tried) >= 0.3


def test_strangers_do_not_fill_the_log(served, issuer, monkeypatch):
    """However many are refused, an entry comes once in ten minutes, with their number. Control: without that, one for each."""
    served._server._door.inner._service.newcomers._limiter.of_address = 1000
    new = newcomer(served)

    def tried(times):
        before = served.keymaster.log_size
        for _ in range(times):
            with pytest.raises(DeniedError):
                new.by_token("a.b.c")
        return served.keymaster.log_size - before

    assert tried(1) == 1
    assert tried(12) == 0
    served._server._door.inner._service.newcomers.signing_in.tell()
    last = served.log_entries("kit")[-1]
    assert (last["actor"], last["extras"]) == ("keymaster", {"count": 12, "token": 12})
    monkeypatch.setattr(signingin, "REFUSED_SECONDS", 0.0)
    assert tried(5) == 5


def test_strangers_who_try_much_are_not_looked_at(served, issuer, monkeypatch):
    """After so many of an address its tries are refused unseen, a good one too. Control: with no limit that signs in."""
    served._server._door.inner._service.newcomers._limiter.of_address = 5
    new = newcomer(served)
    for _ in range(5):
        with pytest.raises(DeniedError):
            new.by_token("a.b.c")
    with pytest.raises(DeniedError):
        new.by_token(issuer.issue(new.nonce))
    served._server._door.inner._service.newcomers._limiter.of_address = 1000
    assert new.by_token(issuer.issue(new.nonce))[0].actor == "ada"


def test_strangers_who_send_slowly_hold_nobody_up(served, issuer, monkeypatch):
    """As many as are looked at sign, and then send no body: their places are free again within seconds.

    Control: with the time that others have, whoever comes then is not looked at.
    """
    monkeypatch.setattr(newcomers, "AT_ONCE_MAX", 3)
    looked_at = served._server._door.inner._service.newcomers

    def until(condition, seconds=20):
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end
            time.sleep(0.005)

    def crowd():
        found, before = [], []
        for _ in range(3):
            new = newcomer(served)
            path, now = f"/v1/{served.room_id.hex()}/signin.token", int(time.time())
            signed = sign_request(
                new._seed, new._signer.key_id, "POST", path, b"x" * 9, created=now, expires=now + 60, nonce=os.urandom(16)
            )
            lines = [f"POST {path} HTTP/1.1", "Host: x", "Content-Length: 9", *(f"{k}: {v}" for k, v in signed.items())]
            found.append(socket.create_connection(("127.0.0.1", served._server.port), timeout=20))
            before.append("\r\n".join([*lines, "", ""]).encode())
        for one, data in zip(found, before, strict=True):  # all at once: their time is short
            one.sendall(data)
        until(lambda: looked_at._at_once == 3)
        return found

    monkeypatch.setattr(newcomers, "BODY_SECONDS", 1.0)
    held = crowd()
    until(lambda: looked_at._at_once == 0, 5)
    new = newcomer(served)
    token = issuer.issue(new.nonce)
    assert new.by_token(token)[0].actor == "ada"
    monkeypatch.setattr(newcomers, "BODY_SECONDS", 120.0)
    held += crowd()
    time.sleep(0.5)
    with pytest.raises(DeniedError):
        newcomer(served).challenge()
    for one in held:
        one.close()


def test_the_public_key_in_the_log_or_list_is_no_way_in(served, issuer):
    """What an administrator sees of a session signs nothing."""
    new = newcomer(served)
    own, _ = new.by_token(issuer.issue(new.nonce))
    listed = json.dumps([state.to_dict() for state in served.credentials.all("kit")])
    assert own.seed.hex() not in listed
    assert base64.b64encode(own.seed).decode() not in listed
    assert new.public_key.hex() in listed
