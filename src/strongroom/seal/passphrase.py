"""Stretches a passphrase into a key with Argon2id (RFC 9106)."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass

from strongroom.errors import UsageError

KEY_BYTES = 32
SALT_BYTES_MIN = 16


@dataclass(frozen=True)
class Argon2Params:
    """Cost of Argon2id. The default is the second recommended option of RFC 9106 section 4.

    Args:
        memory_kib: Memory in KiB.
        passes: Passes over that memory.
        lanes: Lanes computed side by side.
    """

    memory_kib: int = 64 * 1024
    passes: int = 3
    lanes: int = 4


def argon2id(passphrase: str | bytes, salt: bytes, params: Argon2Params | None = None) -> bytes:
    """Stretch a passphrase into 32 bytes.

    Text is brought to form C (as RFC 8265 does for passwords), so that a composed and a decomposed
    keyboard give the same key.

    Args:
        passphrase: What the person typed.
        salt: Random, at least 16 B, kept beside what the key seals.
        params: The cost; the default costs about a tenth of a second.

    Raises:
        UsageError: The salt is too short, the passphrase not text, or Argon2id does not allow the parameters.
    """
    from argon2.exceptions import HashingError
    from argon2.low_level import Type, hash_secret_raw

    params = params or Argon2Params()
    if len(salt) < SALT_BYTES_MIN:
        raise UsageError("a salt has at least 16 bytes")
    try:
        secret = unicodedata.normalize("NFC", passphrase).encode() if isinstance(passphrase, str) else passphrase
        return hash_secret_raw(
            secret, salt, params.passes, params.memory_kib, params.lanes, hash_len=KEY_BYTES, type=Type.ID
        )
    except UnicodeEncodeError:
        raise UsageError("the passphrase is not text") from None
    except (HashingError, OverflowError):
        raise UsageError("these parameters of Argon2id are not allowed") from None
