"""Sign an HTTP request and verify it: HTTP Message Signatures (RFC 9421), and a digest of the body (RFC 9530).

Rules it keeps:

1. A signature covers the method, the path and the body: whatever a request asks, its caller has signed. Nothing is read
   from a query or from a header that is not covered.
2. It names when it was made, when it ends, a nonce and the key; one that lacks any of these is no signature here.
   The headers in FURTHER are covered too wherever they are sent.
3. The algorithm is that of the verifier's key, Ed25519 or HMAC-SHA-256 under a shared one, and the label is `sig1`:
   what a signature may be is not for its sender to choose.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial

import msgspec

from strongroom.errors import InputError, IntegrityError, UsageError
from strongroom.seal.sign import sign, signer, verify

COVERED = ("@method", "@path", "content-digest")
PLAN, IDEMPOTENCY = "strongroom-plan", "idempotency-key"
FURTHER = (PLAN, IDEMPOTENCY)
SIGNED_HEADERS = ("signature-input", "signature", "content-digest", *FURTHER)
"""All that a verifier must be given of a request's headers, in lower case."""
NONCE_BYTES = 16
SIGNED_SECONDS = 120
"""For how long a request is signed, as a rule."""
HEADER_LENGTH_MAX = 1000
ED25519, HMAC_SHA256 = "ed25519", "hmac-sha256"
Body = bytes | Sequence[bytes | memoryview]
_LABEL = "sig1"
_INPUT = re.compile(
    _LABEL + r"=(?P<params>\((?P<names>\"[a-z@-]+\"(?: \"[a-z@-]+\")*)\)"
    r"(?P<rest>(?:;[a-z]+=(?:[0-9]{1,12}|\"[!#-\[\]-~]*\"))*))"
)
_PARAM = re.compile(r";([a-z]+)=(?:([0-9]+)|\"([^\"]*)\")")
_USUAL = re.compile(
    _LABEL + r"=(\((\"[a-z@-]+\"(?: \"[a-z@-]+\")*)\);created=([0-9]{1,12});expires=([0-9]{1,12})"
    r";nonce=\"([!#-\[\]-~]+)\";keyid=\"([!#-\[\]-~]*)\";alg=\"(" + f"{ED25519}|{HMAC_SHA256}" + r")\")"
)
"""The same with its parameters as `sign_request` writes them, read at once."""
_SIGNATURE = re.compile(_LABEL + r"=:([A-Za-z0-9+/]+={0,2}):")
_DIGEST = re.compile(r"sha-256=:([A-Za-z0-9+/]+={0,2}):")


class Signed(msgspec.Struct, frozen=True):
    """What a signature says of itself, before anybody has verified it. Times are seconds since 1970."""

    key_id: str
    created: int
    expires: int
    nonce: str
    digest: bytes
    base: bytes
    signature: bytes
    plan: str = ""
    idempotency: str = ""
    algorithm: str = ED25519

    def __repr__(self) -> str:
        return f"<Signed by {self.key_id} at {self.created}>"

    def verify(self, public_key: bytes) -> None:
        """Raise IntegrityError unless the key (32 B) has signed."""
        if self.algorithm != ED25519:
            raise _unsigned()
        verify(public_key, self.signature, self.base)

    def verify_shared(self, key: bytes) -> None:
        """Raise IntegrityError unless whoever signed holds the shared key (32 B)."""
        if self.algorithm != HMAC_SHA256 or not hmac.compare_digest(self.signature, _mac(key, self.base)):
            raise _unsigned()

    def check_body(self, body: bytes) -> None:
        """Raise InputError unless the body is the one whose digest was signed."""
        if not hmac.compare_digest(self.digest, hashlib.sha256(body).digest()):
            raise InputError("the body of the request is not the one that was signed")


def signature_base(covered: Sequence[tuple[str, str]], params: str) -> bytes:
    """The bytes that are signed (RFC 9421 section 2.5).

    Args:
        covered: Component names and their values, in order.
        params: The inner list with its parameters, as it stands in `Signature-Input` after the label.
    """
    lines = [f'"{name}": {value}' for name, value in covered]
    return "\n".join([*lines, f'"@signature-params": {params}']).encode()


def content_digest(body: Body) -> str:
    """The value of `Content-Digest` (RFC 9530)."""
    digest = hashlib.sha256()
    for part in (body,) if isinstance(body, bytes) else body:
        digest.update(part)
    return f"sha-256=:{_text(digest.digest())}:"


def sign_request(
    seed: bytes | Callable[[bytes], bytes],
    key_id: str,
    method: str,
    path: str,
    body: Body,
    *,
    created: int,
    expires: int,
    nonce: bytes,
    further: Mapping[str, str] | None = None,
    algorithm: str = ED25519,
) -> dict[str, str]:
    """Sign a request; returns the headers that go along.

    Args:
        seed: Signing key, 32 B, or what signs with a key.
        key_id: Under which name the verifier finds the public key.
        method: As `POST`.
        path: Absolute path without a query.
        body: All of it, or its parts in their order.
        created: Seconds since 1970.
        expires: Seconds since 1970 after which nobody answers it.
        nonce: NONCE_BYTES random bytes.
        further: Headers of FURTHER that go along.
        algorithm: That of the key.
    """
    if not all(value.isascii() and value.isprintable() and value.strip() for value in (further or {}).values()):
        raise UsageError("a header that is signed has printable ASCII")
    digest = content_digest(body)
    more = dict(further or {})
    covered = {**dict(zip(COVERED, (method, path, digest), strict=True)), **more}
    names = " ".join(f'"{name}"' for name in covered)
    params = f'({names});created={created};expires={expires};nonce="{_text(nonce)}";keyid="{key_id}";alg="{algorithm}"'
    base = signature_base(tuple(covered.items()), params)
    return {
        **more,
        "Content-Digest": digest,
        "Signature-Input": f"{_LABEL}={params}",
        "Signature": f"{_LABEL}=:{_text(sign(seed, base) if isinstance(seed, bytes) else seed(base))}:",
    }


class RequestSigner:
    """Signs requests with one key pair, each made now, with a nonce of its own.

    Args:
        key: Signing key, or the shared one; 32 B.
        key_id: Under which name the verifier finds its own.
        clock: Seconds since 1970.
        entropy: Gives nonces.
        shared: Whether the key is a shared one.
    """

    def __init__(
        self,
        key: bytes,
        key_id: str,
        clock: Callable[[], float],
        entropy: Callable[[int], bytes],
        *,
        shared: bool = False,
    ) -> None:
        self.key_id = key_id
        self._sign = partial(_mac, key) if shared else signer(key)
        self._algorithm = HMAC_SHA256 if shared else ED25519
        self._clock = clock
        self._entropy = entropy

    def headers(self, path: str, body: Body, further: Mapping[str, str] | None = None) -> dict[str, str]:
        """The headers of a `POST`; see `sign_request`."""
        now = int(self._clock())
        return sign_request(
            self._sign,
            self.key_id,
            "POST",
            path,
            body,
            created=now,
            expires=now + SIGNED_SECONDS,
            nonce=self._entropy(NONCE_BYTES),
            further=further,
            algorithm=self._algorithm,
        )


def read_signature(method: str, path: str, headers: Mapping[str, str]) -> Signed:
    """What the headers of a request say that was signed. The body need not be there yet: its digest is signed.

    Args:
        method: As it came.
        path: As it came, without a query.
        headers: By their names in lower case.

    Raises:
        IntegrityError: There is no signature, or not one of this form.
    """
    texts = [headers.get(name, "") for name in SIGNED_HEADERS]
    if max(map(len, texts)) > HEADER_LENGTH_MAX:
        raise _unsigned()
    sealed, digest = _SIGNATURE.fullmatch(texts[1]), _DIGEST.fullmatch(texts[2])
    more = {name: headers[name].strip() for name in FURTHER if name in headers}
    # what has these forms is printable
    if sealed is None or digest is None or not all(map(str.isprintable, texts[len(COVERED) :])):
        raise _unsigned()
    params, covered, own_words, algorithm = _input(texts[0])
    names = _names(covered)
    if len(names) != len(COVERED) + len(more) or {*names} != {*COVERED, *more}:
        raise _unsigned()
    try:
        signature = binascii.a2b_base64(sealed[1], strict_mode=True)
        own = binascii.a2b_base64(digest[1], strict_mode=True)
    except binascii.Error:
        raise _unsigned() from None
    values = {"@method": method, "@path": path, "content-digest": texts[2], **more}
    base = signature_base([(name, values[name]) for name in names], params)
    return Signed(*own_words, own, base, signature, more.get(PLAN, ""), more.get(IDEMPOTENCY, ""), algorithm)


def _input(text: str) -> tuple[str, str, tuple[str, int, int, str], str]:
    """What `Signature-Input` says: all behind its label, what is covered, and `_words`; IntegrityError for no such."""
    usual = _USUAL.fullmatch(text)
    if usual is not None:
        params, covered, created, expires, nonce, key_id, algorithm = usual.groups()
        return params, covered, (key_id, int(created), int(expires), nonce), algorithm
    said = _INPUT.fullmatch(text)
    if said is None:
        raise _unsigned()
    return said["params"], said["names"], *_words(said["rest"])


@lru_cache(64)
def _names(text: str) -> tuple[str, ...]:
    """What a signature covers, in its order: as good as every signature covers the same."""
    return tuple(name.strip('"') for name in text.split(" "))


def _words(rest: str) -> tuple[tuple[str, int, int, str], str]:
    """Of the parameters of a signature: key, when it was made and ends, nonce; and the algorithm.

    Raises:
        IntegrityError: One is missing, there twice, or of another kind.
    """
    params = _PARAM.findall(rest)
    numbers = {name: int(number) for name, number, _text in params if number}
    words = {name: text for name, number, text in params if not number}
    if (
        len(params) != len({name for name, _number, _text in params})
        or not {"created", "expires"} <= numbers.keys()
        or not {"nonce", "keyid", "alg"} <= words.keys()
        or words["alg"] not in {ED25519, HMAC_SHA256}
        or not words["nonce"]
    ):
        raise _unsigned()
    return (words["keyid"], numbers["created"], numbers["expires"], words["nonce"]), words["alg"]


def _unsigned() -> IntegrityError:
    return IntegrityError("the request is not signed")


def _mac(key: bytes, base: bytes) -> bytes:
    return hmac.new(key, base, hashlib.sha256).digest()  # hmac.digest looks its digest up each time: twice as long


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
