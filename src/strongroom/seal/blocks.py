"""Seals the blocks of an object: AES-256-GCM, each block under its own key.

Rules:

1. block key = HChaCha20(file key, kind u8 | 7 zero bytes | block number u64 LE). A file key seals one object, once.
2. nonce = 4 zero bytes + block number u64 LE; associated data = room id 16 | object id 16 | kind u8.

So a block opens only as that block of that object in that room. How many blocks an object has, and its hash, come
from its manifest: that is left to `catalog`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from strongroom.errors import UsageError
from strongroom.seal import _hazmat
from strongroom.seal.cells import derive

KIND_RECORDS = 1
KIND_INDEX = 2
KIND_OPEN_COLUMNS = 3
KIND_MANIFEST = 4
KIND_SNAPSHOT = 5
KIND_REJECTS = 6
KIND_TOMBSTONES = 7
KIND_NAMES = {
    KIND_RECORDS: "records",
    KIND_INDEX: "index",
    KIND_OPEN_COLUMNS: "open columns",
    KIND_MANIFEST: "manifest",
    KIND_SNAPSHOT: "snapshot",
    KIND_REJECTS: "rejects",
    KIND_TOMBSTONES: "tombstones",
}
TAIL = 0x80  # added to the kind of a run's tail block, whose number is 0
TAG_BYTES = 16
MANY_BLOCKS = 64
_NUMBER_LIMIT = 1 << 64


def block_key(file_key: bytes, kind: int, number: int) -> bytes:
    """Derive the key (32 B) of one block of the object that `file_key` (32 B) belongs to.

    Args:
        file_key: 32 B, one per object.
        kind: u8, what the object is (KIND_...), plus TAIL for a tail block.
        number: u64, position of the block in the object.

    Raises:
        UsageError: A length or number is out of range.
    """
    _check(file_key, kind, number)
    return _hazmat.hchacha20(file_key, bytes([kind]) + bytes(7) + number.to_bytes(8, "little"))


def keys_of_blocks(file_key: bytes, kind: int, numbers: Sequence[int]) -> list[bytes]:
    """Derive the keys of many blocks of one object; see `block_key`."""
    if len(numbers) < MANY_BLOCKS:
        return [block_key(file_key, kind, number) for number in numbers]
    for number in (min(numbers), max(numbers)):
        _check(file_key, kind, number)
    labels = np.zeros((len(numbers), 16), np.uint8)
    labels[:, 0] = kind
    labels[:, 8:] = np.array(numbers, "<u8").reshape(-1, 1).view(np.uint8)
    data = derive(np.tile(np.frombuffer(file_key, np.uint8), (len(numbers), 1)), labels).tobytes()
    return [data[at : at + 32] for at in range(0, len(data), 32)]


def seal_block(key: bytes, room: bytes, object_id: bytes, kind: int, number: int, plain: bytes | memoryview) -> bytes:
    """Seal one block under its block key: ciphertext and a tag of 16 B.

    The nonce is the block's number: the key is that of this block alone, so it never meets a second nonce or text.

    Raises:
        UsageError: A length or number is out of range.
    """
    _check(key, kind, number)
    return _hazmat.aes_gcm_seal(key, _nonce(number), plain, _ad(room, object_id, kind))


def block_keys(file_key: bytes, kind: int, first: int, count: int) -> list[bytes]:
    """The keys of `count` blocks from number `first` on; those that `block_key` gives."""
    _check(file_key, kind, first + count)
    if not _hazmat.lanes_loaded():
        return [block_key(file_key, kind, first + i) for i in range(count)]
    labels = np.zeros((count, 2), "<u8")
    labels[:, 0] = kind
    labels[:, 1] = np.arange(first, first + count, dtype=np.uint64)
    parents = np.tile(np.frombuffer(file_key, np.uint8), (count, 1))
    keys = _hazmat.lanes().derive(parents, labels.view(np.uint8), None)
    return [key.tobytes() for key in keys]


def open_block(
    key: bytes, room: bytes, object_id: bytes, kind: int, number: int, sealed: bytes | memoryview
) -> bytes:
    """Open one block that `seal_block` sealed with the same arguments.

    Raises:
        IntegrityError: It was changed, cut, or is another block, kind, object or room's.
        UsageError: A length or number is out of range.
    """
    _check(key, kind, number)
    return _hazmat.aes_gcm_open(key, _nonce(number), sealed, _ad(room, object_id, kind))


def open_numbered(
    key: bytes, room: bytes, object_id: bytes, kind: int, sealed: Iterable[tuple[int, bytes | memoryview]]
) -> Iterator[bytes]:
    """Open blocks by number that were all sealed under one key; see `open_block`."""
    cipher, ad = _hazmat.AesGcm(key), _ad(room, object_id, kind)
    for number, piece in sealed:
        _check(key, kind, number)
        yield cipher.open(_nonce(number), piece, ad)


def _nonce(number: int) -> bytes:
    return bytes(4) + number.to_bytes(8, "little")


def _ad(room: bytes, object_id: bytes, kind: int) -> bytes:
    if len(room) != 16 or len(object_id) != 16:
        raise UsageError("room and object ids have 16 bytes")
    return room + object_id + bytes([kind])


def _check(key: bytes, kind: int, number: int) -> None:
    if len(key) != 32:
        raise UsageError("a key has 32 bytes")
    if not 0 < kind < 256 or not 0 <= number < _NUMBER_LIMIT:
        raise UsageError("a block's kind is a byte above zero, its number an unsigned 64-bit integer")
