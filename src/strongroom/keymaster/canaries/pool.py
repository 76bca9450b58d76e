"""One pool of canary persons as the keymaster stores it: checked, committed to, sealed, and opened again.

Stored bytes, sealed with AES-256-GCM under a key of the pool's own (HChaCha20 of `canary pool` | 0 | number as u32
under a root, which lies wrapped), associated data `strongroom canaries` | room id | number as u32:

    "strongroom pool 1" | persons u32 | count u32 | tokens 16 B each | numbers u32 each
        | salts 16 B each | digests 32 B each

Persons stand in the order they were registered in; salts and digests in that of numbers. Integers are little-endian.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from strongroom.audit.disclosure import SALT_BYTES
from strongroom.errors import IntegrityError, UsageError
from strongroom.evidence.opening import PoolTree
from strongroom.keymaster.canaries.api import PERSONS_MAX, NewPool
from strongroom.seal.cells import derive
from strongroom.seal.coins import check_coin
from strongroom.seal.wrap import unwrap, wrap

TOKEN_BYTES = 16
DIGEST_BYTES = 32
_HEAD = b"strongroom pool 1"

U8 = npt.NDArray[np.uint8]
U32 = npt.NDArray[np.uint32]


@dataclass(frozen=True)
class Pool:
    """A pool that was opened.

    Args:
        tokens: u8[persons, 16], the subject token of each person.
        numbers: u32[persons], its number in the pool.
        salts: u8[count, 16].
        digests: u8[count, 32], of each number what commits to its contents.
    """

    tokens: U8 = field(repr=False)
    numbers: U32 = field(repr=False)
    salts: U8 = field(repr=False)
    digests: U8 = field(repr=False)

    @property
    def count(self) -> int:
        """How many numbers it has."""
        return len(self.digests)

    def root(self, count: int | None = None) -> bytes:
        """The root over its commitments, or over the first so many."""
        return PoolTree(np.ascontiguousarray(self.digests[:count])).root


def check_pool(given: NewPool) -> None:
    """Check a pool that is to be registered.

    Raises:
        UsageError: It is none.
    """
    size = len(given.subjects)
    if not 0 < size <= PERSONS_MAX:
        raise UsageError(f"a pool has 1 to {PERSONS_MAX:,} canary persons")
    if given.subjects.null_count:
        raise UsageError("a canary person of the pool has no subject identifier")
    numbers, salts, digests = given.numbers, given.salts, given.digests
    if numbers.dtype != np.uint32 or numbers.shape != (size,):
        raise UsageError("a pool has one number (u32) for each canary person")
    count = int(numbers.max()) + 1
    if count > size or not np.bincount(numbers, minlength=count).all():
        raise UsageError("numbers of a pool go from 0 without gaps")
    for array, width, what in ((salts, SALT_BYTES, "salts"), (digests, DIGEST_BYTES, "digests")):
        if array.dtype != np.uint8 or array.shape != (count, width):
            raise UsageError(f"the {what} of a pool of {count:,} numbers come as an array u8[{count}, {width}]")
    check_coin(0, given.bias, count)


def seal_pool(root: bytes, room: bytes, number: int, pool: Pool) -> bytes:
    """The stored bytes of a pool, from the room's root key of canaries (32 B)."""
    parts = (pool.tokens, pool.numbers.astype("<u4"), pool.salts, pool.digests)
    head = _HEAD + struct.pack("<II", len(pool.tokens), pool.count)
    return wrap(_key(root, number), head + b"".join(part.tobytes() for part in parts), _bound(room, number))


def open_pool(root: bytes, room: bytes, number: int, sealed: bytes) -> Pool:
    """Open what `seal_pool` gave.

    Raises:
        IntegrityError: It is not that pool of this room.
    """
    plain = unwrap(_key(root, number), sealed, _bound(room, number))
    start = len(_HEAD) + 8
    if plain[: len(_HEAD)] != _HEAD or len(plain) < start:
        raise IntegrityError(f"pool {number} of canary persons is of another format")
    persons, count = struct.unpack("<II", plain[len(_HEAD) : start])
    if len(plain) != start + persons * (TOKEN_BYTES + 4) + count * (SALT_BYTES + DIGEST_BYTES):
        raise IntegrityError(f"pool {number} of canary persons is of another length")

    def taken(rows: int, width: int) -> U8:
        nonlocal start
        found = np.frombuffer(plain, np.uint8, rows * width, start).reshape(rows, width)
        start += rows * width
        return found

    tokens, numbers = taken(persons, TOKEN_BYTES), taken(persons, 4)
    return Pool(tokens, numbers.reshape(-1).view("<u4"), taken(count, SALT_BYTES), taken(count, DIGEST_BYTES))


def _key(root: bytes, number: int) -> bytes:
    ident = b"canary pool\0" + number.to_bytes(4, "little")
    return bytes(derive(np.frombuffer(root, np.uint8).reshape(1, -1), ident)[0])


def _bound(room: bytes, number: int) -> bytes:
    return b"strongroom canaries" + room + number.to_bytes(4, "little")
