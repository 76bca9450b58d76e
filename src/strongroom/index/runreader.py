"""Finds the entries under a token in one stored run.

Rules it keeps:

1. A look-up is one range read, one decryption and one binary search; for a token that starts a block the one before it
   is read along and looked into, too. The tail, read first, is kept in a bounded cache.
2. Places, lengths and counts come from the manifest's entry and the sealed tail; a block that differs from what its
   tail says is an IntegrityError.
3. Block keys are asked for in one go, for the blocks of a call, and not kept.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence

from strongroom.catalog.entries import BlockKeys, ObjectEntry
from strongroom.errors import IntegrityError, NotFoundError
from strongroom.loop import elsewhere
from strongroom.seal.blocks import TAIL, open_block
from strongroom.seal.run import Block, Tail, parse_block, parse_tail
from strongroom.store.base import Store, object_name

TAILS_BYTES_MAX = 64 << 20
READ_BYTES_MAX = 4 << 20
GAP_BYTES_MAX = 64 << 10
"""Bytes between two blocks that are read along rather than asked around."""
FEW_BLOCKS = 16
KEYS_AT_ONCE = 16_384


class TailCache:
    """Tails of the runs used last, up to a number of bytes; safe for several threads."""

    def __init__(self, bytes_max: int = TAILS_BYTES_MAX) -> None:
        self._max = bytes_max
        self._size = 0
        self._tails: OrderedDict[bytes, Tail] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, object_id: bytes) -> Tail | None:
        """The tail of a run, if it is kept."""
        tail = self._tails.get(object_id)
        if tail is not None:
            with self._lock:
                if object_id in self._tails:
                    self._tails.move_to_end(object_id)
        return tail

    def put(self, object_id: bytes, tail: Tail) -> None:
        """Keep a tail, dropping those not used for longest; one larger than all the room is not kept."""
        if tail.size > self._max:
            return
        with self._lock:
            if object_id in self._tails:
                return
            self._tails[object_id] = tail
            self._size += tail.size
            while self._size > self._max:
                self._size -= self._tails.popitem(last=False)[1].size


class RunReader:
    """One stored run, open for look-ups.

    Args:
        store: The bucket.
        entry: What the manifest says of the run.
        room: Room id, 16 B.
        block_keys: Gives block keys of (key id, kind, numbers, table id).
        tails: Where tails are kept between readers.
    """

    def __init__(
        self, store: Store, entry: ObjectEntry, room: bytes, block_keys: BlockKeys, tails: TailCache | None = None
    ) -> None:
        self.entry = entry
        self._store = store
        self._room = room
        self._block_keys = block_keys
        self._name = object_name(entry.object_id)
        self._tails = tails or TailCache()

    def tail(self) -> Tail:
        """The run's tail; IntegrityError if it is not the one the manifest names."""
        entry = self.entry
        tail = self._tails.get(entry.object_id)
        if tail is None:
            kind = entry.kind | TAIL
            (key,) = self._block_keys(entry.key_id, kind, [0], entry.table)
            sealed = self._range(entry.tail_offset, entry.tail_length)
            try:
                plain = open_block(key, self._room, entry.object_id, kind, 0, sealed)
                tail = parse_tail(plain, blocks=entry.blocks, entries=entry.entries, tail_offset=entry.tail_offset)
            except IntegrityError as error:
                raise self._broken("the tail", error) from error
            self._tails.put(entry.object_id, tail)
        return tail

    def lookup(self, tokens: Sequence[bytes]) -> list[list[bytes]]:
        """The payloads under each token, in the run's order; an empty list for a token that is not there.

        Raises:
            IntegrityError: The run is not the one that was written.
            UnavailableError: The store does not answer.
        """
        entry = self.entry
        if len(tokens) == 1 and not entry.may_hold(tokens[0]):
            return [[]]
        tail = self.tail()
        if len(tokens) == 1:
            own = tail.blocks_of(tokens[0])
            if len(own) == 1:  # as nearly always
                return [self._block(tail, own[0]).find(tokens[0])]
        wanted: dict[int, list[int]] = {}
        for position, token in enumerate(tokens):
            if entry.may_hold(token):
                for number in tail.blocks_of(token):
                    wanted.setdefault(number, []).append(position)
        found: list[list[bytes]] = [[] for _ in tokens]
        numbers = sorted(wanted)

        def look() -> None:
            for number, (block, _) in zip(numbers, self.stretches(numbers), strict=True):  # one after the other
                for position in wanted[number]:
                    found[position] += block.find(tokens[position])

        if len(numbers) > FEW_BLOCKS:
            elsewhere(look)
        else:
            look()
        return found

    def open_blocks(self, first: int, last: int, keys: Sequence[bytes] | None = None) -> list[Block]:
        """Blocks from `first` to before `last`, read in one go.

        Args:
            first: Number of the first block.
            last: Number after that of the last.
            keys: Their block keys if they are at hand.
        """
        tail = self.tail()
        if keys is None:
            keys = self.keys(first, last)
        begin = tail.place(first)[0]
        end_offset, end_length, _ = tail.place(last - 1)
        data = memoryview(self._range(begin, end_offset + end_length - begin))
        found = []
        for number, key in zip(range(first, last), keys, strict=True):
            offset, length, entries = tail.place(number)
            found.append(self._open(number, key, data[offset - begin : offset - begin + length], entries))
        return found

    def some_blocks(self, numbers: Sequence[int]) -> list[tuple[int, Block]]:
        """Blocks of some numbers, ascending, each with its number."""
        return list(zip(numbers, (block for block, _ in self.stretches(numbers)), strict=True))

    def stretches(self, numbers: Sequence[int]) -> Iterator[tuple[Block, int]]:
        """Blocks of some numbers, ascending, each with its sealed length; what lies together is read in one go."""
        tail = self.tail()
        for at in range(0, len(numbers), KEYS_AT_ONCE):
            some = numbers[at : at + KEYS_AT_ONCE]
            keys = self._block_keys(self.entry.key_id, self.entry.kind, some, self.entry.table)
            placed = [(number, key, *tail.place(number)) for number, key in zip(some, keys, strict=True)]
            start = 0
            while start < len(placed):
                begin, stop = placed[start][2], start + 1
                while stop < len(placed) and _near(placed[stop - 1], placed[stop], begin):
                    stop += 1
                end = placed[stop - 1][2] + placed[stop - 1][3]
                data = memoryview(self._range(begin, end - begin))
                for number, key, offset, length, entries in placed[start:stop]:
                    yield self._open(number, key, data[offset - begin : offset - begin + length], entries), length
                start = stop

    def keys(self, first: int, last: int) -> list[bytes]:
        """Block keys of the blocks from `first` to before `last`."""
        return self._block_keys(self.entry.key_id, self.entry.kind, range(first, last), self.entry.table)

    # -- inside ---------------------------------------------------------------------------------
    def _block(self, tail: Tail, number: int) -> Block:
        """One block, read by itself."""
        (key,) = self._block_keys(self.entry.key_id, self.entry.kind, [number], self.entry.table)
        offset, length, entries = tail.place(number)
        return self._open(number, key, self._range(offset, length), entries)

    def _open(self, number: int, key: bytes, sealed: bytes | memoryview, entries: int) -> Block:
        entry = self.entry
        try:
            block = parse_block(open_block(key, self._room, entry.object_id, entry.kind, number, sealed))
        except IntegrityError as error:
            raise self._broken(f"block {number}", error) from error
        if block.entries_count != entries:
            raise IntegrityError(f"block {number} of run {entry.object_id.hex()} is not the one its tail names")
        return block

    def _broken(self, part: str, error: IntegrityError) -> IntegrityError:
        return IntegrityError(
            f"{part} of run {self.entry.object_id.hex()}: {error}",
            hint="the object was changed or swapped: run `strongroom check`",
        )

    def _range(self, start: int, length: int) -> bytes:
        try:
            return self._store.get_range(self._name, start, length)
        except NotFoundError:
            raise IntegrityError(f"run {self.entry.object_id.hex()} is in the manifest and not in the store") from None


def _near(before: tuple[int, bytes, int, int, int], one: tuple[int, bytes, int, int, int], begin: int) -> bool:
    """Whether a block is read together with the one before it, in a stretch that begins at a place."""
    return one[2] - before[2] - before[3] <= GAP_BYTES_MAX and one[2] + one[3] - begin <= READ_BYTES_MAX
