"""Read runs in place: one range read, one opening and one binary search give the entries of a token.

Rules it keeps:

1. Where a block lies, how long it is and under which key reference it opens comes from the manifest and the sealed
   tail, never from the block.
2. A block shorter than its tail says, or one that does not open, is an IntegrityError that names the object.
3. Opened tails are kept, bounded in bytes; opened blocks are not kept.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from strongroom.errors import IntegrityError, NotFoundError
from strongroom.seal.blocks import TAIL, open_block
from strongroom.seal.run import Block, Columns, Tail, parse_block, parse_tail
from strongroom.store.base import object_name

if TYPE_CHECKING:
    from strongroom.catalog.entries import BlockKeys, ObjectEntry
    from strongroom.store.base import Store

TAILS_BYTES_MAX = 128 << 20


class TailCache:
    """Opened tails of runs by object id, the least used dropped first; shared by readings of a room."""

    def __init__(self, bytes_max: int = TAILS_BYTES_MAX) -> None:
        self._bytes_max = bytes_max
        self._bytes = 0
        self._tails: OrderedDict[bytes, Tail] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, object_id: bytes, load: Callable[[], Tail]) -> Tail:
        """The tail of a run, loaded on first use."""
        tail = self._tails.get(object_id)
        if tail is not None:
            return tail
        tail = load()
        with self._lock:
            if object_id not in self._tails:
                self._tails[object_id] = tail
                self._bytes += tail.size
            while self._bytes > self._bytes_max and len(self._tails) > 1:
                _, dropped = self._tails.popitem(last=False)
                self._bytes -= dropped.size
        return tail


class RunReader:
    """One run of the bucket.

    Args:
        store: The bucket.
        room: Room id, 16 B.
        entry: What the manifest says of it.
        block_keys: Gives block keys of this run.
        tails: Where opened tails are kept.
    """

    def __init__(self, store: Store, room: bytes, entry: ObjectEntry, block_keys: BlockKeys, tails: TailCache) -> None:
        self.entry = entry
        self._store = store
        self._room = room
        self._block_keys = block_keys
        self._tails = tails
        self._name = object_name(entry.object_id)

    @property
    def tail(self) -> Tail:
        """Its opened tail."""
        return self._tails.get(self.entry.object_id, self._load_tail)

    def lookup(self, token: bytes) -> list[bytes]:
        """Payloads under a token, in order; none is an empty list."""
        if not self.entry.may_hold(token):
            return []
        found: list[bytes] = []
        numbers = self.tail.blocks_of(token)
        keys = self._keys(self.entry.kind, list(numbers))
        for number, key in zip(numbers, keys, strict=True):
            found += self._block(number, key).find(token)
        return found

    def block(self, number: int) -> Block:
        """One opened block."""
        return self._block(number, self._keys(self.entry.kind, [number])[0])

    def blocks(self, batch: int = 64) -> Iterator[Columns]:
        """All entries, block after block."""
        for start in range(0, self.entry.blocks, batch):
            numbers = range(start, min(start + batch, self.entry.blocks))
            for number, key in zip(numbers, self._keys(self.entry.kind, list(numbers)), strict=True):
                yield self._block(number, key).entries()

    def _block(self, number: int, key: bytes) -> Block:
        offset, length, entries = self.tail.place(number)
        block = parse_block(self._open(key, self.entry.kind, number, offset, length))
        if block.entries_count != entries:
            raise IntegrityError(f"object {self._name}: block {number} is not the one its tail names")
        return block

    def _load_tail(self) -> Tail:
        entry = self.entry
        kind = entry.kind | TAIL
        plain = self._open(self._keys(kind, [0])[0], kind, 0, entry.tail_offset, entry.tail_length)
        return parse_tail(plain, blocks=entry.blocks, entries=entry.entries, tail_offset=entry.tail_offset)

    def _open(self, key: bytes, kind: int, number: int, offset: int, length: int) -> bytes:
        try:
            sealed = self._store.get_range(self._name, offset, length)
            return open_block(key, self._room, self.entry.object_id, kind, number, sealed)
        except NotFoundError:
            raise IntegrityError(
                f"object {self._name} is named by the manifest and not in the store",
                hint="restore it from a copy: `strongroom check` lists all that are missing",
            ) from None
        except IntegrityError as error:
            raise IntegrityError(f"object {self._name}: block {number} does not open") from error

    def _keys(self, kind: int, numbers: Sequence[int]) -> list[bytes]:
        return self._block_keys(self.entry.key_id, kind, numbers, self.entry.table)
