"""Derives keys from keys: HKDF with SHA-256 (RFC 5869), each for one use that its info names."""

from __future__ import annotations

from strongroom.errors import UsageError
from strongroom.seal import _hazmat

SECRET_BYTES_MIN = 32


def derive_key(secret: bytes, salt: bytes, *info: bytes, length: int = 32) -> bytes:
    """A key of `length` bytes; who has it learns neither the secret nor another key derived from it.

    Args:
        secret: The key to derive from, 32 B or more.
        salt: Public; may be the same for all keys of a room.
        info: What the key is for, in parts; each is written with its length before it, so that no two read alike.
        length: 1 to 8,160 bytes.

    Raises:
        UsageError: The secret is shorter than 32 bytes, or the length is out of range.
    """
    if len(secret) < SECRET_BYTES_MIN or not 0 < length <= 255 * 32:
        raise UsageError(f"keys of 1 to 8,160 bytes are derived from at least {SECRET_BYTES_MIN} bytes")
    parts = b"".join(len(part).to_bytes(2, "little") + part for part in info)
    return _hazmat.hkdf_sha256(secret, salt, parts, length)
