"""What a sign-in is bound to: the room and the key pair of the session, so that nothing that was seen serves another.

Rules it keeps:

1. An id_token carries the hash of room, public key and salt as its `nonce`, as OpenPubkey does it; a passkey signs the
   hash of room, public key and the keymaster's challenge. With another key, or at another room, it is worth nothing.
2. Every part has a fixed length, and every hash a name of its own, so that no two can be mistaken for one another.
"""

from __future__ import annotations

import base64
import binascii
import hashlib

from strongroom.errors import DeniedError, UsageError

ROOM_BYTES = 16
KEY_BYTES = 32
SALT_BYTES = 32
CHALLENGE_BYTES = 32
NEWCOMER = "new:"


def token_nonce(room: bytes, public_key: bytes, salt: bytes) -> str:
    """The `nonce` of an id_token: base64url of a SHA-256, without padding.

    Args:
        room: ROOM_BYTES.
        public_key: Of the session, KEY_BYTES.
        salt: SALT_BYTES, so that who sees a token learns nothing about the key.

    Raises:
        UsageError: A part has another length.
    """
    _check((room, ROOM_BYTES), (public_key, KEY_BYTES), (salt, SALT_BYTES))
    digest = hashlib.sha256(b"strongroom signin token 1" + room + public_key + salt).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def assertion_challenge(room: bytes, public_key: bytes, challenge: bytes, expires: int) -> bytes:
    """What a passkey signs to sign in, 32 B.

    Args:
        room: ROOM_BYTES.
        public_key: Of the session, KEY_BYTES.
        challenge: The keymaster's, CHALLENGE_BYTES.
        expires: Seconds since 1970 after which the keymaster takes it no more.

    Raises:
        UsageError: A part has another length.
    """
    _check((room, ROOM_BYTES), (public_key, KEY_BYTES), (challenge, CHALLENGE_BYTES))
    if not 0 <= expires < 1 << 63:
        raise UsageError("a challenge ends at a time")
    parts = room + public_key + challenge + expires.to_bytes(8, "little")
    return hashlib.sha256(b"strongroom signin passkey 1" + parts).digest()


def registration_challenge(room: bytes, actor: str) -> bytes:
    """What the line of a new passkey was made for, 32 B: a room (ROOM_BYTES) and an actor."""
    _check((room, ROOM_BYTES))
    return hashlib.sha256(b"strongroom passkey 1" + room + actor.encode()).digest()


def newcomer_id(public_key: bytes) -> str:
    """The key id of a request that is signed by a key nobody knows yet: the key itself."""
    return NEWCOMER + base64.b64encode(public_key).decode()


def newcomer_key(key_id: str) -> bytes | None:
    """The public key (32 B) in such a key id; None for any other."""
    try:
        key = base64.b64decode(key_id.removeprefix(NEWCOMER), validate=True)
    except (ValueError, binascii.Error):
        return None
    return key if len(key) == KEY_BYTES and key_id == newcomer_id(key) else None


def refused(check: str) -> DeniedError:
    """A sign-in that is refused, by the name of the check: for the operator's log, not for who asks."""
    return DeniedError("not signed in", rule=f"signin.{check}")


def _check(*parts: tuple[bytes, int]) -> None:
    if any(len(part) != length for part, length in parts):
        raise UsageError("a part of a sign-in has another length than it should")
