"""Identities and sessions at a keymaster in a file, in PostgreSQL and behind its server: the same everywhere."""

import threading

import pytest
from joserfc.jwk import OKPKey
from signin_kit import CLIENT, Authenticator, Issuer

from strongroom.errors import ConflictError, DeniedError
from strongroom.identity.commitment import assertion_challenge, token_nonce
from strongroom.identity.credential import credential_id, new_credential
from strongroom.keymaster import signingin
from strongroom.keymaster.wanted import Person, WantedIdentity

HERE = "127.0.0.1"


@pytest.fixture
def keymaster(room, either_keymaster):
    with room.keymaster() as made:
        yield made


@pytest.fixture(scope="module")
def issuer():
    with Issuer(keys=[OKPKey.generate_key("Ed25519", {"kid": "e"})]) as made:
        yield made


def by_token(keymaster, signing_in, issuer, own, **changes):
    token = issuer.issue(token_nonce(keymaster.room_id, own, b"s" * 32), **changes)
    return signing_in.by_token(own, b"s" * 32, token, HERE)


def keys():
    return new_credential(b"r" * 16, "x").public_key


def test_let_in_signed_in_listed_and_ended(keymaster, issuer):
    """By a token and by a passkey; what is ended is ended in every process that looks."""
    passkey = Authenticator()
    one = keymaster.identities.add("kit", WantedIdentity("ada", person=Person(issuer.url, CLIENT, "sub", "u-1"), days=9, hours=3))
    two = keymaster.identities.add("kit", WantedIdentity("mei", passkey=passkey.line(keymaster.room_id, "mei"), days=9))
    with pytest.raises(ConflictError):
        keymaster.identities.add("kit", WantedIdentity("mei", person=Person(issuer.url, CLIENT, "sub", "u-1"), days=1))
    signing_in = keymaster.identities.signing_in()
    first, second = keys(), keys()
    session = by_token(keymaster, signing_in, issuer, first)
    assert (session.id, session.actor) == (credential_id(first), "ada")
    challenge, expires = signing_in.challenge(second)
    signed = assertion_challenge(keymaster.room_id, second, challenge, expires)
    other = keymaster.identities.signing_in()  # as another process on the same database would
    assert other.by_passkey(second, challenge, expires, passkey.answer(signed), HERE).actor == "mei"
    assert {state.id: state.signs for state in keymaster.identities.all("kit")} == {one.id: 0, two.id: 1}
    assert keymaster.credentials.find(session.id).identity == one.id
    keymaster.credentials.sign_out("ada", session.id)
    assert keymaster.credentials.find(session.id).revoked
    keymaster.identities.revoke("kit", two.id)
    assert keymaster.credentials.find(credential_id(second)).revoked
    for attempt in (
        lambda: by_token(keymaster, signing_in, issuer, first),
        lambda: signing_in.by_passkey(keys(), challenge, expires, passkey.answer(signed), HERE),
    ):
        with pytest.raises(DeniedError, match="^not signed in$"):
            attempt()


def test_refusals_are_counted_and_told(keymaster, issuer):
    """One entry with the counts of each check; nothing where nothing was refused."""
    keymaster.identities.add("kit", WantedIdentity("ada", person=Person(issuer.url, CLIENT, "sub", "u-1"), days=9))
    signing_in = keymaster.identities.signing_in()
    signing_in.refuse("token")
    for check in ("token", "token", "nonce"):
        signing_in.refuse(check)
    signing_in.tell()
    signing_in.tell()
    said = [e["extras"] for e in keymaster.log_entries("kit") if e["act"] == "sign-in"]
    assert said == [{"count": 1, "token": 1}, {"count": 3, "nonce": 1, "token": 2}]


def test_one_key_pair_signs_in_once_whoever_races(keymaster, issuer):
    """Eight threads with the same token and key: one session."""
    keymaster.identities.add("kit", WantedIdentity("ada", person=Person(issuer.url, CLIENT, "sub", "u-1"), days=9))
    signing_in, own, found = keymaster.identities.signing_in(), keys(), []
    token = issuer.issue(token_nonce(keymaster.room_id, own, b"s" * 32))

    def work():
        try:
            found.append(signing_in.by_token(own, b"s" * 32, token, HERE).actor)
        except DeniedError as error:
            found.append(error.rule)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == ["ada"] + ["signin.once"] * 7


def test_sessions_of_before_are_tidied_away(keymaster, issuer, monkeypatch):
    """The next sign-in drops what ended long ago; sessions never count as credentials."""
    monkeypatch.setattr(signingin, "ENDED_SECONDS", -1e9)
    keymaster.identities.add("kit", WantedIdentity("ada", person=Person(issuer.url, CLIENT, "sub", "u-1"), days=9))
    signing_in = keymaster.identities.signing_in()
    for _ in range(3):
        by_token(keymaster, signing_in, issuer, keys())
    assert len([state for state in keymaster.credentials.all("kit") if state.identity]) == 1
