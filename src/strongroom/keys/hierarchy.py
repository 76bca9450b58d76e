"""Wrap and unwrap every key below the epoch key, each bound to what it is for.

Rules it keeps:

1. Every wrap names in its associated data: what the key is for, the room, the key's id and the epoch, so that
   a wrapped key put in another's place does not open.
2. Unwrapped keys live in memory only; nothing here prints them.

Where wrapped keys are stored is left to the keymaster's state; the epoch key itself comes from `slots`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

from strongroom.seal.tokens import Tokens
from strongroom.seal.wrap import unwrap, wrap

FIELD_KEY_BYTES = 128
SUBJECT_KEY_BYTES = 64
KEY_BYTES = 32


class KeyRing:
    """The epoch key of a room, and what it wraps.

    Args:
        room_id: 16 bytes.
        epoch: Number of the epoch, from 1.
        epoch_key: 32 bytes; kept in memory until `forget`.
    """

    def __init__(self, room_id: bytes, epoch: int, epoch_key: bytes) -> None:
        self.room_id = room_id
        self.epoch = epoch
        self._key: bytes | None = epoch_key

    def __repr__(self) -> str:
        return f"<KeyRing epoch {self.epoch}>"

    def forget(self) -> None:
        """Drop the epoch key; nothing opens afterwards."""
        self._key = None

    def wrap(self, purpose: str, key_id: bytes, secret: bytes, bound: bytes = b"") -> bytes:
        """Wrap a key.

        Args:
            purpose: What the key is for, as "page" or "file".
            key_id: Its id, any length.
            secret: The key.
            bound: Whatever else the wrap must vouch for (a page's range and version, an object's id and kind).
        """
        return wrap(self.epoch_key(), secret, self._ad(purpose, key_id, bound))

    def unwrap(self, purpose: str, key_id: bytes, wrapped: bytes, bound: bytes = b"") -> bytes:
        """Open what `wrap` made.

        Raises:
            IntegrityError: It is not that key, of this room and epoch, or was changed.
        """
        return unwrap(self.epoch_key(), wrapped, self._ad(purpose, key_id, bound))

    def _ad(self, purpose: str, key_id: bytes, bound: bytes) -> bytes:
        return context(purpose, self.room_id, key_id, self.epoch, bound)

    def epoch_key(self) -> bytes:
        """The epoch key itself, for the slots that wrap it."""
        if self._key is None:
            raise RuntimeError("the key ring was closed")
        return self._key


def context(purpose: str, room_id: bytes, key_id: bytes, epoch: int, bound: bytes = b"") -> bytes:
    """Associated data of a wrap: each part with its length before it, so that no two contexts read alike."""
    parts = (b"strongroom wrap 1", purpose.encode(), room_id, key_id, epoch.to_bytes(4, "little"), bound)
    return b"".join(len(part).to_bytes(2, "little") + part for part in parts)


@dataclass(frozen=True)
class TokenKeys:
    """The two keys of one kind of token: CMAC under `inner`, then AES-256 under `outer`."""

    inner: bytes = field(repr=False)
    outer: bytes = field(repr=False)

    def one(self, value: bytes) -> bytes:
        """The token (16 B) of one normalised value."""
        return self._prepared.one(value)

    @cached_property
    def _prepared(self) -> Tokens:
        return Tokens(self.inner, self.outer)


@dataclass(frozen=True)
class FieldKeys:
    """The keys of one indexed field: its tokens and the sealing of its index entries (AES-SIV, 64 B)."""

    tokens: TokenKeys = field(repr=False)
    siv: bytes = field(repr=False)


def field_keys(secret: bytes) -> FieldKeys:
    """Cut 128 stored bytes into siv 64 | inner 32 | outer 32."""
    return FieldKeys(TokenKeys(secret[64:96], secret[96:128]), secret[:64])


def subject_keys(secret: bytes) -> TokenKeys:
    """Cut 64 stored bytes into inner 32 | outer 32."""
    return TokenKeys(secret[:32], secret[32:64])


__all__ = [
    "FIELD_KEY_BYTES",
    "KEY_BYTES",
    "SUBJECT_KEY_BYTES",
    "FieldKeys",
    "KeyRing",
    "TokenKeys",
    "context",
    "field_keys",
    "subject_keys",
]
