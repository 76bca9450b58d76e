"""Keys that a server and a keymaster's process share for a while, so that not each call between them costs a signature.

What a server asks, it asks for callers, whose own signatures it hands on; of itself it proves only that it is that
server. It does so with its key pair when it greets, and with the key that it is given then until that ends.

Rules it keeps:

1. Such a key is of one server's credential, one process and so many seconds. A credential is looked up at every call:
   one that was revoked has no key.
2. Nobody but a server has one: whoever asks for persons has signed for it.
"""

from __future__ import annotations

import hashlib
import hmac

HOP_SECONDS = 600


def hop_key(secret: bytes, credential: str, until: int) -> bytes:
    """The key (32 B) of a server's credential until a time: HMAC-SHA-256 under the process's secret (32 B)."""
    return hmac.new(secret, f"strongroom hop\0{credential}\0{until}".encode(), hashlib.sha256).digest()


def hop_id(credential: str, until: int) -> str:
    """Under which name a request is signed with it."""
    return f"{credential}.{until}"


def read_hop_id(key_id: str) -> tuple[str, int] | None:
    """Credential and time that such a name says; None for another name."""
    credential, dot, until = key_id.partition(".")
    return (credential, int(until)) if dot and until.isascii() and until.isdecimal() and len(until) < 13 else None
