"""Wraps the ciphers of the `cryptography` library: the only file of the project that imports one.

Rules:

1. A published construction each, named with its source; none is changed or combined here.
2. No exception of the library leaves: what does not authenticate raises IntegrityError without a reason.
3. Lengths of keys and nonces are checked by the library and by the public functions that call this file.

It leaves to its callers which nonce and associated data go with which key. `lanes` gives the compiled kernels,
which are loaded only when a batch is large enough to pay for the import of numba.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable, Sequence
from functools import lru_cache
from importlib import import_module
from types import ModuleType
from typing import Any

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, AESSIV, ChaCha20Poly1305
from cryptography.hazmat.primitives.cmac import CMAC
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from strongroom.errors import IntegrityError

_LANES = f"{__package__}._chacha_lanes"
_CONSTANTS = (0x61707865, 0x3320646E, 0x79622D32, 0x6B206574)  # "expand 32-byte k", RFC 8439 section 2.3
_WORDS, _LABEL, _KEY = struct.Struct("<16I"), struct.Struct("<4I"), struct.Struct("<8I")
_ZEROS = bytes(64)


def lanes() -> ModuleType:
    """The compiled kernels that work on sixteen rows at once; the first call imports numba."""
    return import_module(_LANES)


def lanes_loaded() -> bool:
    """Whether the compiled kernels are there already, so that using them costs no import."""
    return _LANES in sys.modules


def hchacha20(key: bytes, label: bytes) -> bytes:
    """HChaCha20 (draft-irtf-cfrg-xchacha-03 section 2.2): key 32 B and input 16 B give a key of 32 B.

    The library has ChaCha20 only. A ChaCha20 key stream block is rounds(state) + state; HChaCha20 is words 0-3
    and 12-15 of rounds(state), so the known initial words are subtracted again.
    """
    return _without_start(Cipher(algorithms.ChaCha20(key, label), mode=None).encryptor().update(_ZEROS), label)


def hchacha20_each(key: bytes, labels: Sequence[bytes]) -> list[bytes]:
    """`hchacha20` of one key with each of some labels: the key is set up once."""
    stream = Cipher(algorithms.ChaCha20(key, labels[0]), mode=None).encryptor()
    keys = [_without_start(stream.update(_ZEROS), labels[0])]
    for label in labels[1:]:
        stream.reset_nonce(label)
        keys.append(_without_start(stream.update(_ZEROS), label))
    return keys


def _without_start(block: bytes, label: bytes) -> bytes:
    k0, k1, k2, k3, _, _, _, _, _, _, _, _, k4, k5, k6, k7 = _WORDS.unpack(block)
    c0, c1, c2, c3 = _CONSTANTS
    l0, l1, l2, l3 = _LABEL.unpack(label)
    low = 0xFFFFFFFF
    return _KEY.pack(
        k0 - c0 & low, k1 - c1 & low, k2 - c2 & low, k3 - c3 & low,
        k4 - l0 & low, k5 - l1 & low, k6 - l2 & low, k7 - l3 & low,
    )  # fmt: skip


def chacha20_poly1305_seal(key: bytes, nonce: bytes, plain: bytes, ad: bytes) -> bytes:
    """ChaCha20-Poly1305 (RFC 8439): ciphertext and its tag of 16 B."""
    return ChaCha20Poly1305(key).encrypt(nonce, plain, ad)


def chacha20_poly1305_open(key: bytes, nonce: bytes, sealed: bytes, ad: bytes) -> bytes:
    """The plain bytes of what `chacha20_poly1305_seal` gave, or IntegrityError."""
    try:
        return ChaCha20Poly1305(key).decrypt(nonce, sealed, ad)
    except InvalidTag:
        raise IntegrityError("a sealed value does not open") from None


def aes_gcm_seal(key: bytes, nonce: bytes, plain: bytes | memoryview, ad: bytes) -> bytes:
    """AES-GCM (NIST SP 800-38D): ciphertext and its tag of 16 B."""
    return AESGCM(key).encrypt(nonce, plain, ad)


def aes_gcm_open(key: bytes, nonce: bytes, sealed: bytes | memoryview, ad: bytes) -> bytes:
    """The plain bytes of what `aes_gcm_seal` gave, or IntegrityError."""
    try:
        return AESGCM(key).decrypt(nonce, sealed, ad)
    except InvalidTag:
        raise IntegrityError("a sealed value does not open") from None


class AesGcm:
    """AES-GCM under one key (32 B) whose schedule is made once: `aes_gcm_seal` and `aes_gcm_open`."""

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)

    def seal(self, nonce: bytes, plain: bytes, ad: bytes) -> bytes:
        """See `aes_gcm_seal`."""
        return self._cipher.encrypt(nonce, plain, ad)

    def open(self, nonce: bytes, sealed: bytes | memoryview, ad: bytes) -> bytes:
        """See `aes_gcm_open`."""
        try:
            return self._cipher.decrypt(nonce, sealed, ad)
        except InvalidTag:
            raise IntegrityError("a sealed value does not open") from None


class AesSiv:
    """AES-SIV (RFC 5297) under one key (64 B) with one associated string."""

    def __init__(self, key: bytes, ad: bytes) -> None:
        self._cipher, self._ad = AESSIV(key), [ad]

    def seal(self, plain: bytes) -> bytes:
        """The synthetic IV (16 B), then the ciphertext; the plain bytes are not empty."""
        return self._cipher.encrypt(plain, self._ad)

    def open(self, sealed: bytes) -> bytes:
        """The plain bytes of what `seal` gave, or IntegrityError."""
        try:
            return self._cipher.decrypt(sealed, self._ad)
        except (InvalidTag, ValueError):
            raise IntegrityError("a sealed value does not open") from None


def hkdf_expand(key: bytes, info: bytes, size: int) -> bytes:
    """HKDF-Expand with SHA-256 (RFC 5869 section 2.3): bytes that only who has the key can make, at most 8,160.

    The key is uniformly random already, so there is nothing to extract (section 3.3).
    """
    return HKDFExpand(SHA256(), size, info).derive(key)


def aes_cmac(key: bytes, message: bytes) -> bytes:
    """AES-CMAC (NIST SP 800-38B, RFC 4493): a tag of 16 B."""
    mac = CMAC(algorithms.AES(key))
    mac.update(message)
    return mac.finalize()


class AesBlocks:
    """AES over whole blocks, each alone: the raw permutation (FIPS 197) from which CMAC, CTR and SIV are built.

    ECB here is a way to run many independent blocks through OpenSSL in one call. It never encrypts a message:
    what goes in are states of a MAC, counters, or single 16-byte values that are random to everyone else already.

    Args:
        key: AES key, 16, 24 or 32 B.
    """

    SLACK = 15  # bytes that `update_into` wants behind the last block

    def __init__(self, key: bytes) -> None:
        cipher = Cipher(algorithms.AES(key), modes.ECB())  # noqa: S305 - see the class
        self._encryptor = cipher.encryptor()
        self._cipher = cipher

    def one(self, block: bytes) -> bytes:
        """Encrypt one block of 16 B."""
        return self._encryptor.update(block)

    def forward(self, buffer: Any, blocks: int) -> None:
        """Encrypt the first `blocks` blocks of a flat u8 array in place; it has SLACK bytes behind them."""
        if blocks:
            self._encryptor.update_into(buffer[: 16 * blocks], buffer)

    def backward(self, buffer: Any, blocks: int) -> None:
        """Decrypt the first `blocks` blocks of a flat u8 array in place; it has SLACK bytes behind them."""
        if blocks:
            self._cipher.decryptor().update_into(buffer[: 16 * blocks], buffer)


def ed25519_public(seed: bytes) -> bytes:
    """The public key (32 B) of an Ed25519 seed (32 B), RFC 8032."""
    return Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def ed25519_sign(seed: bytes, message: bytes) -> bytes:
    """The Ed25519 signature (64 B) of a message."""
    return Ed25519PrivateKey.from_private_bytes(seed).sign(message)


def ed25519_signer(seed: bytes) -> Callable[[bytes], bytes]:
    """Signs messages with one seed: whoever signs often saves the key's schedule."""
    return Ed25519PrivateKey.from_private_bytes(seed).sign


@lru_cache(maxsize=1024)
def _ed25519_key(public: bytes) -> Ed25519PublicKey:
    """A public key, read once: whoever signs, signs often."""
    return Ed25519PublicKey.from_public_bytes(public)


def ed25519_verify(public: bytes, signature: bytes, message: bytes) -> None:
    """Raise IntegrityError unless the signature is the key's over the message."""
    try:
        _ed25519_key(public).verify(signature, message)
    except (InvalidSignature, ValueError):
        raise IntegrityError("a signature does not verify") from None
