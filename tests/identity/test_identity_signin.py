"""What people sign in with, judged without a server: vectors, every check, and whatever else may come in its place."""

import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc.jwk import ECKey, KeySet, OKPKey, RSAKey
from signin_kit import Authenticator, Issuer, b64

from strongroom.errors import DeniedError, StrongroomError, UnavailableError, UsageError
from strongroom.identity import flows, issuers, oidc, passkey
from strongroom.identity.commitment import (
    assertion_challenge,
    newcomer_id,
    newcomer_key,
    registration_challenge,
    token_nonce,
)
from strongroom.identity.flows import Client, InBrowser, OnDevice
from strongroom.identity.issuers import Issuers, discover, fetch_document
from strongroom.identity.urls import check_issuer, is_safe

ROOM, KEY, SALT = b"r" * 16, b"k" * 32, b"s" * 32
RFC_7515_KEY = {
    "kty": "RSA",
    "n": (
        "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_"
        "YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxv"
        "b3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ"
    ),
    "e": "AQAB",
}
RFC_7515_TOKEN = (
    "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ."
    "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKB"
    "YNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6Bf"
    "I7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw"
)


# -- what a sign-in is bound to ----------------------------------------------------------------


def test_a_commitment_is_of_all_of_its_parts():
    """Another room, key, salt, challenge or time gives another; a part of another length is refused."""
    assert token_nonce(ROOM, KEY, SALT) == b64(hashlib.sha256(b"strongroom signin token 1" + ROOM + KEY + SALT).digest())
    parts = b"strongroom signin passkey 1" + ROOM + KEY + SALT + (5).to_bytes(8, "little")
    assert assertion_challenge(ROOM, KEY, SALT, 5) == hashlib.sha256(parts).digest()
    assert registration_challenge(ROOM, "ada") == hashlib.sha256(b"strongroom passkey 1" + ROOM + b"ada").digest()
    found = {token_nonce(ROOM, KEY, SALT), token_nonce(b"R" * 16, KEY, SALT), token_nonce(ROOM, SALT, KEY), token_nonce(ROOM, KEY, KEY)}
    assert len(found) == 4
    assert all(len(nonce) == 43 for nonce in found)
    signed = {assertion_challenge(ROOM, KEY, SALT, 5), assertion_challenge(ROOM, KEY, SALT, 6), assertion_challenge(ROOM, SALT, KEY, 5)}
    assert len(signed) == 3
    assert registration_challenge(ROOM, "ada") != registration_challenge(ROOM, "adb")
    for parts in ((ROOM[1:], KEY, SALT), (ROOM, KEY[1:], SALT), (ROOM, KEY, SALT + b"s")):
        with pytest.raises(UsageError):
            token_nonce(*parts)
        with pytest.raises(UsageError):
            assertion_challenge(*parts, 5)
    with pytest.raises(UsageError):
        assertion_challenge(ROOM, KEY, SALT, -1)


@given(st.text(max_size=60))
def test_only_a_newcomers_key_id_has_a_key(text):
    """What parses prints back the same; anything else is none."""
    key = newcomer_key(text)
    assert key is None or newcomer_id(key) == text
    assert newcomer_key(newcomer_id(KEY)) == KEY
    assert newcomer_key(newcomer_id(KEY) + "=") is None
    assert newcomer_key(newcomer_id(KEY)[4:]) is None


# -- id_tokens ---------------------------------------------------------------------------------


def rule_of(attempt):
    with pytest.raises(DeniedError) as refused:
        attempt()
    assert str(refused.value) == "not signed in"
    return refused.value.rule.removeprefix("signin.")


def test_the_vector_of_the_standard():
    """RFC 7515 appendix A.2: its signature verifies, so that the next check refuses it; changed anywhere it does not."""
    keys = oidc.read_keys(json.dumps({"keys": [RFC_7515_KEY]}).encode())
    issuer, algorithm, key_id = oidc.claimed(RFC_7515_TOKEN)
    assert (issuer, algorithm, key_id) == ("joe", "RS256", None)
    key = oidc.find_key(keys, algorithm, key_id)
    said = {"issuer": "joe", "nonce": "n", "now": 1_300_819_000.0}
    assert rule_of(lambda: oidc.verify_token(RFC_7515_TOKEN, key, **said)) == "time"
    assert rule_of(lambda: oidc.verify_token(RFC_7515_TOKEN[:-4] + "AAAA", key, **said)) == "signature"
    assert rule_of(lambda: oidc.verify_token(RFC_7515_TOKEN, key, **{**said, "issuer": "ann"})) == "issuer"


@pytest.mark.filterwarnings("ignore:Key size should be")
def test_which_keys_of_an_issuer_are_taken():
    """RSA from 2048 bits, P-256, Ed25519, for signatures; a secret, another curve or use, and what is none are passed over."""
    rsa, weak = RSAKey.generate_key(2048, {"kid": "a"}), RSAKey.generate_key(1024, {"kid": "b"})
    p256, p384 = ECKey.generate_key("P-256", {"kid": "c"}), ECKey.generate_key("P-384", {"kid": "d"})
    ed = OKPKey.generate_key("Ed25519", {"kid": "e"})
    sealing = RSAKey.generate_key(2048, {"kid": "f", "use": "enc"})
    listed = KeySet([rsa, weak, p256, p384, ed, sealing]).as_dict(private=False)["keys"]
    listed += [{"kty": "oct", "k": "c2VjcmV0", "kid": "g"}, {"kty": "RSA"}, {"kty": ["RSA"]}, 5, None, {}]
    keys = oidc.read_keys(json.dumps({"keys": listed}).encode())
    assert [key.kid for key in keys] == ["a", "c", "e"]
    assert oidc.find_key(keys, "RS256", "a").kid == "a"
    assert oidc.find_key(keys, "ES256", "a") is None
    assert oidc.find_key(keys, "RS256", None).kid == "a"
    two = KeySet([rsa, RSAKey.generate_key(2048, {"kid": "z"})])
    assert oidc.find_key(two, "RS256", None) is None
    other = RSAKey.generate_key(2048, {"kid": "p", "alg": "PS256"})
    assert oidc.find_key(KeySet([other]), "RS256", "p") is None
    for document in (b"", b"[]", b"{}", b'{"keys": 5}', b'{"keys": []}', b"[" * 10_000):
        with pytest.raises(UnavailableError):
            oidc.read_keys(document)


@given(st.one_of(st.text(max_size=200), st.lists(st.binary(max_size=60), min_size=3, max_size=3)))
def test_any_text_is_a_token_or_refused(drawn):
    """No text raises anything but a refusal."""
    token = drawn if isinstance(drawn, str) else ".".join(b64(part) for part in drawn)
    with pytest.raises(DeniedError):
        oidc.verify_token(token, OKPKey.generate_key("Ed25519"), issuer="i", nonce="n", now=1.0)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
OWN = OKPKey.generate_key("Ed25519", {"kid": "k"})


@given(st.dictionaries(st.sampled_from(["iss", "aud", "azp", "sub", "exp", "iat", "nbf", "nonce", "email"]), JSON))
def test_any_claims_that_are_signed_are_taken_or_refused(changes):
    """Whatever an issuer signs: claims that hold, or a refusal; and a look at audience and name that answers."""
    from joserfc import jwt

    good = {"iss": "i", "aud": "c", "sub": "u", "exp": 1100, "iat": 1000, "nonce": "n"}
    token = jwt.encode({"alg": "Ed25519", "kid": "k"}, {**good, **changes}, OWN, algorithms=["Ed25519"])
    try:
        claims = oidc.verify_token(token, OWN, issuer="i", nonce="n", now=1010.0)
    except DeniedError:
        return
    assert (claims["iss"], claims["nonce"]) == ("i", "n")
    assert oidc.is_for(claims, "c") in {True, False}
    assert oidc.names(claims, "sub", "u") in {True, False}


@given(st.binary(max_size=300))
def test_any_document_of_keys_is_read_or_refused(data):
    """No document raises anything but that it cannot be read."""
    try:
        oidc.read_keys(data)
    except UnavailableError:
        return


# -- issuers -----------------------------------------------------------------------------------


def test_urls_of_issuers():
    """https, or http on this machine; no password, no query, nothing that is not a URL."""
    for good in ("https://login.example", "https://login.example/tenant/7", "http://127.0.0.1:9", "http://localhost:1/x"):
        assert check_issuer(good) == good
    for wrong in ("http://login.example", "https://a:b@login.example", "https://login.example?x=1", "https://login.example#x",
                  "ftp://login.example", "", "https://", "https://[", "https://login.example:x", "https://logín.example",
                  "https://login.example/ x", "https://x/" + "y" * 1000):  # fmt: skip
        with pytest.raises(UsageError):
            check_issuer(wrong)
    assert not is_safe("http://127.0.0.1", loopback=False)


def test_an_issuer_that_speaks_for_another_or_not_at_all(monkeypatch):
    """Metadata of another issuer, none, too long, too slow, a redirect: nothing is taken of it."""
    with Issuer() as issuer:
        assert discover(issuer.url)["issuer"] == issuer.url
        for wrong in ({"issuer": "https://other.example"}, {}, [], 5):
            monkeypatch.setattr(issuer, "metadata", lambda wrong=wrong: wrong)
            with pytest.raises(UnavailableError, match="another issuer"):
                discover(issuer.url)
        with pytest.raises(UnavailableError, match="status 404"):
            fetch_document(f"{issuer.url}/nothing")
        monkeypatch.setattr(issuer, "metadata", lambda: {"issuer": issuer.url, "more": "x" * 200_000})
        with pytest.raises(UnavailableError, match="too long"):
            discover(issuer.url)
        with monkeypatch.context() as patch:
            patch.setattr(issuers, "FETCH_SECONDS", 1e-6)
            with pytest.raises(UnavailableError):
                discover(issuer.url)
        url = issuer.url
    with pytest.raises(UnavailableError, match="does not answer"):
        discover(url)
    with pytest.raises(UnavailableError, match="cannot be read"):
        discover("https://login.example", lambda _url: b"{")


def test_keys_are_kept_for_a_while(monkeypatch):
    """Asked for once while they are fresh; old ones serve while the issuer is away, not for ever; of few issuers."""
    with Issuer() as issuer:
        now = [100.0]
        known = Issuers(clock=lambda: now[0])
        for _ in range(3):
            assert known.key(issuer.url, "RS256", "r1").kid == "r1"
        assert issuer.asked.count("/jwks") == 1
        now[0] += issuers.FRESH_SECONDS + 1
        assert known.key(issuer.url, "RS256", "r1").kid == "r1"
        assert issuer.asked.count("/jwks") == 2
        issuer.status = 500
        now[0] += issuers.FRESH_SECONDS + 1
        assert known.key(issuer.url, "RS256", "r1").kid == "r1"
        assert known.key(issuer.url, "RS256", "none") is None
        now[0] += issuers.KEPT_SECONDS
        with pytest.raises(UnavailableError):
            known.key(issuer.url, "RS256", "r1")
        issuer.status = 200
        now[0] += issuers.REFETCH_SECONDS
        assert known.key(issuer.url, "RS256", "r1").kid == "r1"
    monkeypatch.setattr(issuers, "ISSUERS_MAX", 2)
    for number in range(4):
        with pytest.raises(UnavailableError):
            known.key(f"http://127.0.0.1:9/{number}", "RS256", None)
    assert len(known._known) == 2


# -- passkeys ----------------------------------------------------------------------------------


def test_a_line_of_a_passkey_is_for_one_room_and_actor():
    """It gives the passkey back; of another room or actor, changed or cut, or made without its owner verified, it is none."""
    key = Authenticator()
    line = key.line(ROOM, "ada")
    actor, found = passkey.parse_passkey_line(line, ROOM)
    assert (actor, found.id, found.rp_id, found.origin) == ("ada", key.id, "localhost", "http://localhost:8449")
    unverified = passkey.passkey_line("ada", key.origin, json.dumps(key.register(registration_challenge(ROOM, "ada"), verified=False)))
    away = Authenticator("strongroom.example", "https://strongroom.example").line(ROOM, "ada")
    for wrong in (line.replace("ada", "mei"), line[:-9], line + "A", f"srk1{line[4:]}", unverified, away, "", "srp1:", "srp1:ada:"):
        with pytest.raises(UsageError, match="not the line"):
            passkey.parse_passkey_line(wrong, ROOM)
    with pytest.raises(UsageError):
        passkey.parse_passkey_line(line, b"R" * 16)


@given(st.data())
def test_a_changed_line_or_answer_is_refused(data):
    """Some letters changed: nothing of it is taken that was not signed, and only refusals come out."""
    key = Authenticator()
    line = key.line(ROOM, "ada")
    _, known = passkey.parse_passkey_line(line, ROOM)
    answer = key.answer(b"c" * 32)
    assert passkey.answered_by(answer) == key.id
    assert passkey.verify_assertion(known, answer, b"c" * 32) == 1
    place = data.draw(st.integers(0, 10_000)) % len(line)
    letter = data.draw(st.sampled_from('Aa0_-:{"'))
    changed = line[:place] + letter + line[place + 1 :]
    try:
        actor, found = passkey.parse_passkey_line(changed, ROOM)
    except UsageError:
        found = None
    assert found is None or (actor == "ada" and found.rp_id == "localhost")
    place = data.draw(st.integers(0, 10_000)) % len(answer)
    changed = answer[:place] + letter + answer[place + 1 :]
    try:
        signs = passkey.verify_assertion(known, changed, b"c" * 32)
    except DeniedError:
        return
    assert signs == 1


@given(st.one_of(st.text(max_size=200), JSON.map(json.dumps)))
def test_any_text_in_place_of_an_answer_is_refused(text):
    """No text raises anything but a refusal."""
    _, known = passkey.parse_passkey_line(LINE, ROOM)
    with pytest.raises(DeniedError):
        passkey.verify_assertion(known, text, b"c" * 32)
    try:
        passkey.answered_by(text)
    except DeniedError:
        return


LINE = Authenticator().line(ROOM, "ada")


# -- how a person gets a token -----------------------------------------------------------------


def client(**metadata):
    return Client("https://login.example", "desk", metadata={"authorization_endpoint": "https://login.example/a", **metadata})


def test_the_proof_of_the_standard():
    """RFC 7636 appendix B: a verifier and its challenge; the address has the challenge, and never the verifier."""
    flow = InBrowser(client(), "http://127.0.0.1:1/", "s", "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk", "n")
    assert "code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM&code_challenge_method=S256" in flow.url
    assert flow.verifier not in flow.url
    assert flow.verifier not in repr(flow)


def test_what_comes_back_is_the_answer_or_not():
    """The state that was sent, from the issuer that was asked."""
    flow = InBrowser.begin(client(), "http://127.0.0.1:1/", "n", lambda count: b"x" * count)
    assert flow.is_answer({"state": flow.state, "code": "c"})
    assert flow.is_answer({"state": flow.state, "iss": "https://login.example"})
    for wrong in ({}, {"state": ""}, {"state": flow.state + "x"}, {"state": flow.state, "iss": "https://other.example"}):
        assert not flow.is_answer(wrong)
    with pytest.raises(DeniedError, match="did not sign you in"):
        flow.token({"state": flow.state, "error": "access_denied"})


def test_endpoints_that_are_not_safe_are_not_used():
    """An issuer over https has all its endpoints there; one that it does not name cannot be used."""
    for wrong in ("http://login.example/a", "http://127.0.0.1/a", 5, None, "javascript:x"):
        with pytest.raises(UsageError, match="no authorization endpoint"):
            client(authorization_endpoint=wrong).endpoint("authorization_endpoint")


def test_on_another_device_patience_ends(monkeypatch):
    """Asked again as slowly as the issuer says, until its time is over; an answer that is none is told."""
    said = [{"error": "slow_down"}] + [{"error": "authorization_pending"}] * 50
    monkeypatch.setattr(Client, "post", lambda self, name, form: said.pop(0))
    slept = []
    with pytest.raises(DeniedError, match="nobody signed in"):
        OnDevice(client(), "d", "u", "https://w", 60, 5).token(slept.append)
    assert slept[:2] == [10.0, 10.0]
    assert sum(slept) <= 80
    for wrong in ({}, {"device_code": 5}, {"device_code": "d", "user_code": "u\n", "verification_uri": "w"},
                  {"device_code": "d", "user_code": "u", "verification_uri": "w", "interval": "x"}):  # fmt: skip
        monkeypatch.setattr(Client, "post", lambda self, name, form, wrong=wrong: wrong)
        with pytest.raises(UnavailableError):
            OnDevice.begin(client(device_authorization_endpoint="https://login.example/d"), "n")


@given(st.binary(max_size=100))
def test_any_answer_of_an_issuer_is_read_or_refused(data):
    """No body raises anything but an error of this library."""
    own = client(token_endpoint="https://login.example/t")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flows, "fetch_document", lambda *_args, **_more: data)
        try:
            own.post("token_endpoint", {})
        except StrongroomError:
            return
