"""Wrap and unwrap every key below the epoch key, each bound to what it is for.

Rules it keeps:

1. Every wrap names in its associated data: what the key is for, the room, the key's id and the epoch, so that
   a wrapped key put in another's place does not open.
2. Unwrapped keys live in memory only; nothing here prints them.
3. A ring holds one epoch key, and while the epoch is turned two: it wraps under the one in force and opens under both.

Where wrapped keys are stored is left to the keymaster's state; the epoch key itself comes from `slots`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

from strongroom.errors import IntegrityError, UnavailableError
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
        self._keys = {epoch: epoch_key}
        self.in_force: Callable[[], int] | None = None
        """Says which epoch the database is in, where there is one: another process may have turned it."""

    def __repr__(self) -> str:
        return f"<KeyRing epoch {self.epoch}>"

    def forget(self) -> None:
        """Drop the epoch key; nothing opens afterwards."""
        self._keys = {}

    def wrap(self, purpose: str, key_id: bytes, secret: bytes, bound: bytes = b"") -> bytes:
        """Wrap a key.

        Args:
            purpose: What the key is for, as "page" or "file".
            key_id: Its id, any length.
            secret: The key.
            bound: Whatever else the wrap must vouch for (a page's range and version, an object's id and kind).
        """
        epoch = self.epoch
        return wrap(self.epoch_key(epoch), secret, context(purpose, self.room_id, key_id, epoch, bound))

    def unwrap(self, purpose: str, key_id: bytes, wrapped: bytes, bound: bytes = b"") -> bytes:
        """Open what `wrap` made.

        Raises:
            IntegrityError: It is not that key, of this room and epoch, or was changed.
            UnavailableError: Another process has turned the epoch since this ring was opened.
        """
        epoch = self.epoch
        for tried in (epoch, *[other for other in self._keys if other != epoch]):
            with contextlib.suppress(IntegrityError):
                return unwrap(self.epoch_key(tried), wrapped, context(purpose, self.room_id, key_id, tried, bound))
        self.check(None if self.in_force is None else self.in_force())
        raise IntegrityError(f"a {purpose} key does not open")

    def check(self, in_force: int | None) -> None:
        """Compare with the epoch that the database says is in force.

        Raises:
            UnavailableError: It is one that this ring has no key of.
        """
        if in_force is not None and in_force not in self._keys:
            raise UnavailableError(
                "the epoch was turned by another process", hint="open the keymaster again: the same slots open it"
            )

    def require(self, in_force: int) -> None:
        """The same for a transaction that may wrap: only the very epoch in force will do."""
        if in_force != self.epoch:
            self.check(in_force)
            raise UnavailableError("the epoch is being turned", hint="try again in a moment")

    def epoch_key(self, epoch: int | None = None) -> bytes:
        """The key of an epoch, by default of the one in force, for the slots that wrap it."""
        key = self._keys.get(self.epoch if epoch is None else epoch)
        if key is None:
            raise RuntimeError("the key ring was closed")
        return key

    # -- turning --------------------------------------------------------------------------------
    def admit(self, newer: KeyRing) -> None:
        """Take in the key of another epoch of the same room, beside the one in force."""
        self._keys = {**self._keys, newer.epoch: newer.epoch_key()}

    def put_in_force(self, epoch: int) -> None:
        """Wrap under another epoch from now on; its key is here."""
        self.epoch_key(epoch)
        self.epoch = epoch

    def drop_others(self) -> None:
        """Forget every key but that of the epoch in force."""
        self._keys = {self.epoch: self.epoch_key()}


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
