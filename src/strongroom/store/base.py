"""Says what every object store must do, and which names it takes.

Rules every store keeps; one test suite runs against all of them:

1. **Durability.** When `put`, `replace` or a writer's close returns, the object survives a crash of the machine
   (the memory store survives nothing, and says so).
2. **All or nothing.** An object is visible under its name whole, or not at all: a crash in the middle leaves at
   most something that `list` does not show and the next opening of the store removes.
3. **Create only.** `put` and `writer` refuse a taken name with ConflictError. Only `replace` overwrites, in one step,
   for the few names that are meant to change; a reader sees the old bytes or the new ones.
4. **Idempotence.** `delete` of an absent name is no error. A `put` that raised UnavailableError may be repeated under
   the same name; ConflictError then means that the first attempt had worked after all.
5. **Concurrency.** Every method may be called from several threads and processes at once. A reader of a deleted object
   gets its bytes or NotFoundError, never others. Of two that create the same name at the same moment exactly one wins,
   except on servers that ignore `If-None-Match` (some do in versioned buckets, some for objects that come in parts;
   `store/probe.py` finds out). **Nothing may rely on that**: names are random and never used again, and what must have
   one winner, the head of the room, is a row in the keymaster's database.
6. Errors: NotFoundError (no such object or bucket), ConflictError, UnavailableError (full, slow, out of reach, out of
   order), DeniedError (a server refuses the credentials, or what they ask for), UsageError (a name that is not one; a
   store that cannot do this), IntegrityError (an object shorter than the range asked for: what calls this store takes
   ranges from sealed lists, so a short object is a damaged one).

It leaves to others what the bytes mean: a store sees sealed bytes only.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Iterable, Iterator
from typing import Protocol

from strongroom.errors import UsageError

NAME_LENGTH_MAX = 200
PIECE_BYTES = 4 << 20
_SEGMENT = r"[a-z0-9][a-z0-9._-]*"
_NAME = re.compile(rf"{_SEGMENT}(?:/{_SEGMENT})*")
_PREFIX = re.compile(rf"(?:{_SEGMENT}/)*(?:{_SEGMENT})?")


def check_name(name: str) -> str:
    """Return the name if a store takes it.

    A name has parts of [a-z0-9._-] divided by "/", each starting with a letter or digit, so that neither ".." nor a
    hidden file can be named.

    Raises:
        UsageError: It is no such name, or is longer than 200 characters.
    """
    if len(name) > NAME_LENGTH_MAX or _NAME.fullmatch(name) is None:
        raise UsageError("not an object name: parts of [a-z0-9._-] divided by / are")
    return name


def check_prefix(prefix: str) -> str:
    """Return the prefix if a name can start with it; UsageError otherwise."""
    if len(prefix) > NAME_LENGTH_MAX or _PREFIX.fullmatch(prefix) is None:
        raise UsageError("not the start of an object name")
    return prefix


def object_name(object_id: bytes) -> str:
    """The name under which an object of this id is stored: its hex with the first two digits as a folder."""
    digits = object_id.hex()
    return f"{digits[:2]}/{digits}"


class Writer(Protocol):
    """Takes the bytes of one new object in order."""

    @property
    def length(self) -> int:
        """Number of bytes written so far."""

    def write(self, data: bytes | bytearray | memoryview, /) -> int:
        """Append bytes; returns their number."""

    def sha256(self) -> bytes:
        """SHA-256 of what was written so far; UsageError unless the writer was opened with `hashed`."""


class CountedWriter:
    """What every writer counts of the bytes it takes: their number, and their SHA-256 where it is asked for."""

    def __init__(self, *, hashed: bool) -> None:
        self._length = 0
        self._hash = hashlib.sha256() if hashed else None

    @property
    def length(self) -> int:
        """Number of bytes written so far."""
        return self._length

    def sha256(self) -> bytes:
        """SHA-256 of what was written so far; UsageError unless opened with `hashed`."""
        if self._hash is None:
            raise UsageError("this writer was not asked for a hash")
        return self._hash.digest()

    def _count(self, data: memoryview) -> int:
        """Count bytes; returns their number."""
        self._length += data.nbytes
        if self._hash is not None:
            self._hash.update(data)
        return data.nbytes


def in_pieces(store: Store, name: str, length: int, piece: int = PIECE_BYTES) -> Iterator[bytes]:
    """The bytes of an object, some at a time, so that memory does not grow with it.

    Args:
        store: Where it lies.
        name: Its name.
        length: How many of its bytes, from the first.
        piece: Bytes at a time.
    """
    for start in range(0, length, piece):
        yield store.get_range(name, start, min(piece, length - start))


class Store(Protocol):
    """A place for objects. See the module's rules."""

    url: str

    def put(self, name: str, pieces: bytes | Iterable[bytes]) -> None:
        """Create an object, durable when this returns; ConflictError if the name is taken."""

    def replace(self, name: str, data: bytes) -> None:
        """Create or overwrite a small object in one step, durable when this returns."""

    def writer(self, name: str, *, hashed: bool = False) -> contextlib.AbstractContextManager[Writer]:
        """Stream a new object: durable and visible when the block ends, gone when it raises.

        Args:
            name: Its name.
            hashed: Whether SHA-256 is computed on the way.
        """

    def get(self, name: str) -> bytes:
        """The whole object; NotFoundError if there is none."""

    def get_range(self, name: str, start: int, length: int) -> bytes:
        """Exactly `length` bytes from `start` of a write-once object; IntegrityError if it has fewer."""

    def size(self, name: str) -> int:
        """Length in bytes; NotFoundError if there is none."""

    def exists(self, name: str) -> bool:
        """Whether there is such an object now."""

    def list(self, prefix: str = "") -> Iterator[tuple[str, int]]:
        """Names that start with the prefix, each with its length, in no particular order."""

    def delete(self, name: str) -> None:
        """Remove an object; absent is fine."""

    def close(self) -> None:
        """Let go of open files; the store may be used again after it."""
