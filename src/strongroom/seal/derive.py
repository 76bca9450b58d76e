"""Derives keys from a key, each bound to what it is for: HKDF-Expand with SHA-256 (RFC 5869)."""

from __future__ import annotations

from strongroom.errors import UsageError
from strongroom.seal import _hazmat

_SIZE_MAX = 255 * 32


def derive(key: bytes, size: int, *words: bytes) -> bytes:
    """A key of `size` bytes for what the words name; other words, or words cut elsewhere, give another.

    Args:
        key: 32 B or more, uniformly random.
        size: Bytes wanted, at most 8,160.
        words: What the key is for, at most 65,535 B each.

    Raises:
        UsageError: A size is out of range.
    """
    if len(key) < 32 or not 0 < size <= _SIZE_MAX or any(len(word) > 0xFFFF for word in words):
        raise UsageError("keys are derived from 32 bytes or more, and have at most 8,160")
    return _hazmat.hkdf_expand(key, b"".join(len(word).to_bytes(2, "little") + word for word in words), size)
