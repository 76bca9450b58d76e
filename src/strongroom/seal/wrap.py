"""Wraps a key under another: a random nonce of 12 B, then AES-256-GCM of the key.

The nonce is random because a wrapping key wraps many keys and nothing counts them; NIST SP 800-38D allows 2^32
wraps under one key this way. What the wrap is for (kind, room, epoch, ...) is the caller's associated data.
"""

from __future__ import annotations

from collections.abc import Callable

from strongroom.errors import IntegrityError, UsageError
from strongroom.seal import _hazmat
from strongroom.seal.entropy import random_bytes

NONCE_BYTES = 12
WRAP_BYTES = 28  # what a wrap adds: nonce and tag


def wrap(key: bytes, secret: bytes, ad: bytes, *, entropy: Callable[[int], bytes] = random_bytes) -> bytes:
    """Wrap `secret` under `key` (32 B), bound to `ad`: nonce 12 B | ciphertext | tag 16 B.

    Args:
        key: Wrapping key, 32 B.
        secret: The bytes to wrap.
        ad: What the wrap is for; the same bytes are needed to unwrap.
        entropy: Source of the nonce.

    Raises:
        UsageError: The wrapping key has not 32 bytes.
    """
    _check(key)
    nonce = entropy(NONCE_BYTES)
    return nonce + _hazmat.aes_gcm_seal(key, nonce, secret, ad)


def unwrap(key: bytes, wrapped: bytes, ad: bytes) -> bytes:
    """Give back the bytes that `wrap` wrapped under the same key and `ad`.

    Raises:
        IntegrityError: Another key or `ad`, or the wrap was changed or cut.
        UsageError: The wrapping key has not 32 bytes.
    """
    _check(key)
    if len(wrapped) < WRAP_BYTES:
        raise IntegrityError("a wrapped key is too short")
    return _hazmat.aes_gcm_open(key, wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], ad)


class Rewrap:
    """Takes many wrapped keys from one wrapping key to another, with both key schedules made once.

    Args:
        old: Wrapping key that opens them, 32 B.
        new: Wrapping key that they go under, 32 B.
    """

    def __init__(self, old: bytes, new: bytes) -> None:
        _check(old)
        _check(new)
        self._old, self._new = _hazmat.AesGcm(old), _hazmat.AesGcm(new)

    def one(self, wrapped: bytes, old_ad: bytes, new_ad: bytes, nonce: bytes) -> bytes:
        """What `wrap` would give under the new key; `nonce` is 12 random bytes.

        Raises:
            IntegrityError: It does not open under the old key and associated data.
        """
        if len(wrapped) < WRAP_BYTES:
            raise IntegrityError("a wrapped key is too short")
        secret = self._old.open(wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], old_ad)
        return nonce + self._new.seal(nonce, secret, new_ad)


def _check(key: bytes) -> None:
    if len(key) != 32:
        raise UsageError("a wrapping key has 32 bytes")
