"""Signed requests: the vector of the standard, another implementation both ways, and everything that is not a signature."""

import base64
import datetime as dt
import itertools
import os

import msgspec
import pytest
import requests
from http_message_signatures import HTTPMessageSigner, HTTPMessageVerifier, HTTPSignatureKeyResolver, algorithms
from hypothesis import given
from hypothesis import strategies as st

from strongroom.errors import InputError, IntegrityError
from strongroom.identity.signing import content_digest, read_signature, sign_request, signature_base
from strongroom.seal.sign import public_key, sign, verify

SEED = bytes(range(32))
NOW = 1_800_000_000


def signed(body=b"what is asked", method="POST", path="/v1/x", **more):
    said = {"created": NOW, "expires": NOW + 60, "nonce": b"n" * 16, **more}
    found = sign_request(SEED, "key-1", method, path, body, **said)
    return {name.lower(): value for name, value in found.items()}


def test_the_vector_of_the_standard():
    """RFC 9421 appendix B.2.6: the same base gives the same Ed25519 signature."""
    covered = [
        ("date", "Tue, 20 Apr 2021 02:07:55 GMT"),
        ("@method", "POST"),
        ("@path", "/foo"),
        ("@authority", "example.com"),
        ("content-type", "application/json"),
        ("content-length", "18"),
    ]
    names = " ".join(f'"{name}"' for name, _ in covered)
    base = signature_base(covered, f'({names});created=1618884473;keyid="test-key-ed25519"')
    seed = base64.urlsafe_b64decode("n4Ni-HpISpVObnQMW0wOhCKROaIKqKtW_2ZYb2p9KcU=")
    expected = "wqcAqbmYJ2ji2glfAMaRy4gruYYnx2nEFN2HN6jrnDnQCK1u02Gb04v9EDgwUPiu4A0w6vuQv5lIp5WPpBKRCw=="
    assert base64.b64encode(sign(seed, base)).decode() == expected
    verify(base64.urlsafe_b64decode("JrQLj5P_89iXES9-vFgrIy29clF9CC_oPPsw3c5D0bs="), base64.b64decode(expected), base)


def test_the_digest_of_the_standard():
    """RFC 9530 appendix D: the digest of a known body."""
    assert content_digest(b'{"hello": "world"}') == "sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:"


class _Keys(HTTPSignatureKeyResolver):
    def resolve_public_key(self, key_id):
        assert key_id == "key-1"
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        return Ed25519PublicKey.from_public_bytes(public_key(SEED))

    def resolve_private_key(self, key_id):
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        return Ed25519PrivateKey.from_private_bytes(SEED)


def test_another_implementation_verifies_what_we_sign():
    """What `sign_request` makes is a signature for a library that knows nothing of us."""
    now = int(dt.datetime.now(dt.UTC).timestamp())
    headers = sign_request(
        SEED, "key-1", "POST", "/v1/x", b"asked", created=now, expires=now + 60, nonce=os.urandom(16)
    )
    request = requests.Request("POST", "https://keys.example/v1/x", headers=headers, data=b"asked").prepare()
    verifier = HTTPMessageVerifier(signature_algorithm=algorithms.ED25519, key_resolver=_Keys())
    (found,) = verifier.verify(request)
    assert set(found.covered_components) >= {'"@method"', '"@path"', '"content-digest"'}


def test_we_verify_what_another_implementation_signs():
    """And the other way round, with its order of parameters."""
    body = b"asked"
    request = requests.Request("POST", "https://keys.example/v1/x", data=body).prepare()
    request.headers["Content-Digest"] = content_digest(body)
    signer = HTTPMessageSigner(signature_algorithm=algorithms.ED25519, key_resolver=_Keys())
    signer.sign(
        request,
        key_id="key-1",
        covered_component_ids=("@method", "@path", "content-digest"),
        created=dt.datetime.fromtimestamp(NOW, dt.UTC),
        expires=dt.datetime.fromtimestamp(NOW + 60, dt.UTC),
        nonce="abc",
        label="sig1",
        use_existing_digest=True,
    )
    found = read_signature("POST", "/v1/x", {name.lower(): value for name, value in request.headers.items()})
    found.verify(public_key(SEED))
    found.check_body(body)
    assert (found.key_id, found.created, found.expires, found.nonce) == ("key-1", NOW, NOW + 60, "abc")


def test_what_was_signed_is_what_verifies():
    """Another method, path, body, key, time or nonce is refused."""
    headers = signed()
    found = read_signature("POST", "/v1/x", headers)
    found.verify(public_key(SEED))
    found.check_body(b"what is asked")
    with pytest.raises(InputError):
        found.check_body(b"what is askec")
    with pytest.raises(IntegrityError):
        found.verify(public_key(bytes(32)))
    for method, path in (("GET", "/v1/x"), ("POST", "/v1/y")):
        with pytest.raises(IntegrityError):
            read_signature(method, path, headers).verify(public_key(SEED))
    other = headers | {"content-digest": content_digest(b"another")}
    with pytest.raises(IntegrityError):
        read_signature("POST", "/v1/x", other).verify(public_key(SEED))
    for old, new in ((f"expires={NOW + 60}", f"expires={NOW + 600}"), ('keyid="key-1"', 'keyid="key-2"')):
        changed = headers | {"signature-input": headers["signature-input"].replace(old, new)}
        with pytest.raises(IntegrityError):
            read_signature("POST", "/v1/x", changed).verify(public_key(SEED))


def test_parameters_are_read_in_any_order():
    """As they are written here, and as others write them: the same key, times, nonce and algorithm."""
    headers = signed()
    covered, _, rest = headers["signature-input"].partition(");")
    usual = read_signature("POST", "/v1/x", headers)
    for turned in itertools.permutations(rest.split(";")):
        other = read_signature("POST", "/v1/x", headers | {"signature-input": f"{covered});{';'.join(turned)}"})
        assert msgspec.structs.replace(other, base=usual.base) == usual
        twice = headers | {"signature-input": f"{covered});{';'.join((*turned, turned[0]))}"}
        with pytest.raises(IntegrityError):
            read_signature("POST", "/v1/x", twice)


@pytest.mark.parametrize(
    "change",
    [
        lambda h: h.pop("signature"),
        lambda h: h.pop("signature-input"),
        lambda h: h.pop("content-digest"),
        lambda h: h.update({"signature-input": h["signature-input"].replace('"content-digest"', '"date"')}),
        lambda h: h.update({"signature-input": h["signature-input"].replace(' "content-digest"', "")}),
        lambda h: h.update({"signature-input": h["signature-input"].replace("ed25519", "hmac-sha256")}),
        lambda h: h.update({"signature-input": h["signature-input"].replace(";alg", ';nonce="x";alg')}),
        lambda h: h.update({"signature-input": h["signature-input"].replace(f";expires={NOW + 60}", "")}),
        lambda h: h.update({"signature-input": h["signature-input"].replace("sig1", "sig2")}),
        lambda h: h.update({"signature-input": h["signature-input"] + ", sig2=()"}),
        lambda h: h.update({"signature": "sig1=:" + "A" * 2000 + ":"}),
        lambda h: h.update({"signature": "sig1=:====:"}),
        lambda h: h.update({"content-digest": h["content-digest"].replace("sha-256", "sha-512")}),
    ],
)
def test_what_is_no_signature_of_ours_is_refused(change):
    """A part that is missing, not covered, of another algorithm, twice, or too long."""
    headers = signed()
    change(headers)
    with pytest.raises(IntegrityError, match="not signed"):
        read_signature("POST", "/v1/x", headers).verify(public_key(SEED))


@given(st.text(max_size=120), st.text(max_size=60), st.text(max_size=60))
def test_any_headers_are_read_or_refused(one, two, three):
    """Whatever stands there, the answer is a signature or an error of this library."""
    for texts in ((one, two, three), (f"sig1={one}", f"sig1=:{two}:", f"sha-256=:{three}:")):
        headers = dict(zip(("signature-input", "signature", "content-digest"), texts, strict=True))
        with pytest.raises(IntegrityError):
            read_signature("POST", "/v1/x", headers).verify(public_key(SEED))
