"""Judge an id_token (OpenID Connect Core 1.0, section 3.1.3.7): by its issuer's keys, for one client, room and key.

Rules it keeps:

1. The algorithm is one of ALGORITHMS and fits the key: never `none`, never one with a shared secret.
2. Issuer, audience and nonce are what is expected, bit for bit; it has not expired, and was made a few minutes ago.
3. Whatever is wrong raises `DeniedError` with a rule that names the check: for the operator's log, not for the caller.

No I/O: keys come from `issuers`.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
import warnings
from collections.abc import Mapping
from typing import Any

from joserfc import jwt
from joserfc.errors import JoseError, SecurityWarning
from joserfc.jwk import ECKey, KeySet, OKPKey, RSAKey

from strongroom.errors import UnavailableError
from strongroom.identity.commitment import refused

warnings.filterwarnings("ignore", "EdDSA is deprecated", SecurityWarning)  # issuers still say so

ALGORITHMS = ("RS256", "ES256", "EdDSA", "Ed25519")
TOKEN_LENGTH_MAX = 16_384
TOKEN_AGE_SECONDS_MAX = 600
SKEW_SECONDS = 60
RSA_BITS_MIN = 2048
KEYS_MAX = 64
_KINDS: Mapping[str, type[RSAKey | ECKey | OKPKey]] = {
    "RS256": RSAKey, "ES256": ECKey, "EdDSA": OKPKey, "Ed25519": OKPKey,
}  # fmt: skip


def read_keys(document: bytes) -> KeySet:
    """The keys of an issuer's JWK set (RFC 7517) that may sign id_tokens; others are passed over.

    Raises:
        UnavailableError: It is no JWK set, or has no such key.
    """
    try:
        listed = [data for data in json.loads(document)["keys"][:KEYS_MAX] if isinstance(data, dict)]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise UnavailableError("the issuer's keys cannot be read") from None
    found = [key for key in map(_key, listed) if key is not None]
    if not found:
        raise UnavailableError("the issuer has no key that signs id_tokens")
    return KeySet(list(found))


def _key(data: dict[str, Any]) -> RSAKey | ECKey | OKPKey | None:
    """A public key for signatures; None for any other."""
    kinds: Mapping[Any, Any] = {"RSA": RSAKey, "EC": ECKey, "OKP": OKPKey}
    kind = kinds.get(data.get("kty")) if isinstance(data.get("kty"), str) else None
    if kind is None or data.get("use", "sig") != "sig":
        return None
    public = {name: data[name] for name in ("kty", "kid", "alg", "use", "n", "e", "crv", "x", "y") if name in data}
    try:
        if kind is RSAKey and len(_decoded(public["n"])) * 8 < RSA_BITS_MIN:
            return None
        key: RSAKey | ECKey | OKPKey = kind.import_key(public)
        other = isinstance(key, ECKey | OKPKey) and public.get("crv") not in {"P-256", "Ed25519"}
    except (JoseError, ValueError, TypeError, KeyError, AttributeError, binascii.Error):
        return None
    return None if other else key


def claimed(token: str) -> tuple[str, str, str | None]:
    """What a token says of itself before anybody has verified it: issuer, algorithm, and the id of its key.

    Raises:
        DeniedError: It is no token, too long, or signed in a way that is not taken.
    """
    parts = token.split(".")
    if len(token) > TOKEN_LENGTH_MAX or len(parts) != 3 or not token.isascii():
        raise refused("token")
    try:
        header, claims = (json.loads(_decoded(part)) for part in parts[:2])
        issuer, algorithm, key_id = claims["iss"], header["alg"], header.get("kid")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, binascii.Error):
        raise refused("token") from None
    if not isinstance(issuer, str) or not isinstance(key_id, str | None):
        raise refused("token")
    if algorithm not in ALGORITHMS:
        raise refused("algorithm")
    return issuer, algorithm, key_id


def find_key(keys: KeySet, algorithm: str, key_id: str | None) -> RSAKey | ECKey | OKPKey | None:
    """The key that a token names; where it names none, the only one of its kind. None if there is none."""
    fit = [key for key in keys if isinstance(key, _KINDS[algorithm]) and key.get("alg") in {None, algorithm}]
    named = [key for key in fit if key_id is None or key.kid == key_id]
    return named[0] if len(named) == 1 else None


def verify_token(token: str, key: RSAKey | ECKey | OKPKey, *, issuer: str, nonce: str, now: float) -> dict[str, Any]:
    """The claims of a token that its issuer has signed for one key pair, lately; `is_for` is left to ask.

    Args:
        token: As it came.
        key: The key of its issuer that it names.
        issuer: Who must have made it.
        nonce: What it must carry.
        now: Seconds since 1970.

    Raises:
        DeniedError: Anything of it does not hold.
    """
    _issuer, algorithm, _key_id = claimed(token)
    try:
        claims = jwt.decode(token, key, algorithms=[algorithm]).claims
    except (JoseError, ValueError, TypeError, KeyError, AttributeError, RecursionError, binascii.Error):
        raise refused("signature") from None
    if claims.get("iss") != issuer:
        raise refused("issuer")
    times = [claims.get(name) for name in ("exp", "iat")]
    if not all(isinstance(time, int | float) and not isinstance(time, bool) for time in times):
        raise refused("time")
    expires, made = (float(time) for time in times if time is not None)
    begins = claims.get("nbf", made)
    if not isinstance(begins, int | float) or not (
        now - TOKEN_AGE_SECONDS_MAX <= made <= now + SKEW_SECONDS
        and now < expires + SKEW_SECONDS
        and begins <= now + SKEW_SECONDS
    ):
        raise refused("time")
    said = claims.get("nonce")
    if not isinstance(said, str) or not hmac.compare_digest(said.encode(), nonce.encode()):
        raise refused("nonce")
    return dict(claims)


def is_for(claims: Mapping[str, Any], audience: str) -> bool:
    """Whether verified claims are for a client, and for no other that could have asked for them."""
    said, party = claims.get("aud"), claims.get("azp")
    listed = said if isinstance(said, list) else [said]
    return audience in listed and (party == audience or (party is None and len(listed) == 1))


def names(claims: Mapping[str, Any], claim: str, value: str) -> bool:
    """Whether verified claims say a value of a claim; an e-mail address counts only where the issuer verified it."""
    if claim == "email" and claims.get("email_verified") is not True:
        return False
    said = claims.get(claim)
    return isinstance(said, str) and hmac.compare_digest(said.encode(), value.encode())


def _decoded(part: str) -> bytes:
    return base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)
