"""Signs and verifies with Ed25519 (RFC 8032): seeds and public keys of 32 B, signatures of 64 B."""

from __future__ import annotations

from collections.abc import Callable

from strongroom.errors import IntegrityError, UsageError
from strongroom.seal import _hazmat
from strongroom.seal.entropy import random_bytes


def new_signing_key(*, entropy: Callable[[int], bytes] = random_bytes) -> bytes:
    """Draw a signing key: a seed of 32 B."""
    return entropy(32)


def public_key(seed: bytes) -> bytes:
    """The public key (32 B) of a seed (32 B).

    Raises:
        UsageError: The seed has not 32 bytes.
    """
    return _hazmat.ed25519_public(_seed(seed))


def sign(seed: bytes, message: bytes) -> bytes:
    """Sign a message: 64 B. The same seed and message always give the same signature.

    Raises:
        UsageError: The seed has not 32 bytes.
    """
    return _hazmat.ed25519_sign(_seed(seed), message)


def signer(seed: bytes) -> Callable[[bytes], bytes]:
    """Signs one message after another as `sign` does.

    Raises:
        UsageError: The seed has not 32 bytes.
    """
    return _hazmat.ed25519_signer(_seed(seed))


def verify(public: bytes, signature: bytes, message: bytes) -> None:
    """Return only if the signature is that key's over that message.

    Raises:
        IntegrityError: It is not, or key or signature are malformed.
    """
    if len(public) != 32 or len(signature) != 64:
        raise IntegrityError("a signature does not verify")
    _hazmat.ed25519_verify(public, signature, message)


def _seed(seed: bytes) -> bytes:
    if len(seed) != 32:
        raise UsageError("a signing key has 32 bytes")
    return seed
