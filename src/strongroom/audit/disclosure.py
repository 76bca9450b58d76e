"""Commit to a value without showing it, and show it later to whom it concerns: a salted hash.

Source: RFC 9901 (SD-JWT), 4.2.1 and 4.2.3: a disclosure is the JSON array of a salt (128 random bits, base64url), a
name and a value; its digest is SHA-256 over the base64url form of its UTF-8 text. Here the text is canonical, and
digests are kept as bytes.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any, NoReturn

import msgspec

from strongroom.errors import IntegrityError, UsageError

SALT_BYTES = 16
_ENCODER = msgspec.json.Encoder(order="sorted")


def _no_constant(_name: str) -> NoReturn:
    raise ValueError


_DECODER = json.JSONDecoder(parse_constant=_no_constant)


def disclose(salt: bytes, name: str, value: object) -> bytes:
    """The disclosure of a value: UTF-8 JSON without spaces.

    Raises:
        UsageError: The salt does not have 16 bytes, or the value is not text.
    """
    if len(salt) != SALT_BYTES:
        raise UsageError(f"a salt has {SALT_BYTES} bytes")
    try:
        return _ENCODER.encode([_base64url(salt), name, value])
    except (TypeError, ValueError, OverflowError, RecursionError):
        raise UsageError("a disclosure holds JSON") from None


def disclosed_digest(disclosure: bytes) -> bytes:
    """What commits to a disclosure, 32 bytes."""
    return hashlib.sha256(_base64url(disclosure).encode("ascii")).digest()


def open_disclosure(disclosure: bytes, name: str, digest: bytes) -> tuple[bytes, Any]:
    """The salt and the value of a disclosure.

    Raises:
        IntegrityError: It is not the one that the digest commits to, or not of that name.
    """
    wrong = IntegrityError(f"what is disclosed as {name} is not what was committed to")
    if not hmac.compare_digest(disclosed_digest(disclosure), digest):
        raise wrong
    try:
        salt, named, value = _DECODER.decode(disclosure.decode("utf-8"))
        raw = base64.urlsafe_b64decode(salt + "==")
    except (ValueError, TypeError, RecursionError):
        raise wrong from None
    if named != name or len(raw) != SALT_BYTES or disclose(raw, name, value) != disclosure:
        raise wrong
    return raw, value


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")
