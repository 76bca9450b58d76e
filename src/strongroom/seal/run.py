"""Builds and parses runs: sorted entries, 16-byte token to bytes, in sealed blocks behind a sealed tail.

Rules it keeps:

1. Entries are sorted by token as unsigned bytes; equal tokens stay in the order they were given. A block holds at
   least one entry, and about `block_bytes` of plain bytes; an entry larger than that stands alone in its block.
2. Every length in a block or tail is checked against the bytes that are there, and against the tail's place in the
   object, before it is used: whatever is not exactly as written is an IntegrityError.
3. Block n is sealed under the block key of (kind, n), the tail under that of (kind | 0x80, 0), both for this room
   and object.

Layout (little-endian). Block: u32 n | u8 width (2 or 4 bytes per length; 0 = all alike, then one u32) |
3 zero bytes | n x 16 tokens | lengths | payload. Tail: u32 blocks | u32 shapes | blocks x (first token 16,
u64 offset, u32 sealed length, u32 entries) | shapes x (u8 suite, u8 role, u32 schema version, batch id 16).

It leaves to others where the bytes go, who may have the keys, and what an entry's payload means.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from strongroom.errors import IntegrityError, UsageError
from strongroom.seal.blocks import TAG_BYTES, TAIL, block_key, block_keys, seal_block
from strongroom.seal.columns import I64, U8, Columns, join_columns, token_changes, token_words
from strongroom.seal.scatter import PackedBlocks, Scattered, packed_blocks, use_kernels

BLOCK_BYTES = 32 << 10
SHAPES_MAX = 1 << 24
TOKEN_BYTES = 16
_BLOCK_HEADER = 8
_TAIL_HEADER = 8
_TAIL_ROW = 32
_ENTRY_OVERHEAD = TOKEN_BYTES + 4
_SLICE_ENTRIES = 1 << 15
_SHAPE = struct.Struct("<BBI16s")
_ROW = struct.Struct("<QII")
_ROW_DTYPE = np.dtype([("first", "V16"), ("offset", "<u8"), ("length", "<u4"), ("entries", "<u4")])


class Shape(NamedTuple):
    """What the records of one batch have in common."""

    suite: int
    role: int
    version: int
    batch: bytes

    def packed(self) -> bytes:
        """The 22 bytes that stand for it in a tail."""
        return _SHAPE.pack(*self)


@dataclass(frozen=True)
class RunSummary:
    """What a manifest keeps of a finished run: counts, token range, where the tail is, hash."""

    blocks: int
    entries: int
    persons: int
    lo: bytes
    hi: bytes
    tail_offset: int
    tail_length: int
    length: int
    sha256: bytes


class RunWriter:
    """Builds one run from sorted entries and hands its bytes to a callable, in order.

    Args:
        file_key: 32 B; of this object alone, used once.
        room: Room id, 16 B.
        object_id: Id of the object, 16 B.
        kind: KIND_RECORDS or KIND_INDEX.
        write: Called with each piece of the object.
        block_bytes: Plain bytes of a block to aim at.
    """

    def __init__(
        self,
        file_key: bytes,
        room: bytes,
        object_id: bytes,
        kind: int,
        write: Callable[[bytes], object],
        block_bytes: int = BLOCK_BYTES,
    ) -> None:
        self._file_key = file_key
        self._room = room
        self._object_id = object_id
        self._kind = kind
        self._write = write
        self._limit = block_bytes - _BLOCK_HEADER
        self._held: list[Columns] = []
        self._held_cost = 0
        self._rows: list[bytes] = []
        self._length = 0
        self._entries = 0
        self._persons = 0
        self._lo = b""
        self._hi = b""
        self._hash = hashlib.sha256()

    def add_sorted(self, tokens: U8, payload: U8, offsets: I64) -> None:
        """Append entries; sorted, and not before those of earlier calls.

        Args:
            tokens: u8[n,16].
            payload: u8[m].
            offsets: i64[n+1] into the payload, contiguous, from any start.

        Raises:
            UsageError: The entries are not in order.
        """
        count = len(tokens)
        if not count:
            return
        self._take_note(tokens)
        cost = offsets - offsets[0] + np.arange(count + 1, dtype=np.int64) * _ENTRY_OVERHEAD
        start = self._fill_held(tokens, payload, offsets, cost)
        while start < count:
            end = int(np.searchsorted(cost, cost[start] + self._limit, side="right")) - 1
            if end >= count:
                # The rest may share its block with entries still to come.
                self._hold(tokens, payload, offsets, start, count)
                return
            end = max(end, start + 1)
            base = offsets[start]
            self._emit(Columns(tokens[start:end], payload[base : offsets[end]], offsets[start : end + 1] - base))
            start = end

    def add_ordered(self, entries: Scattered, order: I64) -> None:
        """Append the entries at `order`; sorted, and not before those of earlier calls.

        Raises:
            UsageError: The entries are not in order.
        """
        done = 0
        if not self._held and use_kernels(len(order)):
            first = entries.tokens[order[0]].tobytes()
            if first < self._hi:
                raise UsageError("entries of a run come sorted by token")
            for blocks in packed_blocks(entries, order, self._limit, _ENTRY_OVERHEAD):
                if not self._entries:
                    self._lo = first
                self._persons += blocks.changes - (done == 0 and self._entries > 0 and first == self._hi)
                self._entries += blocks.end - done
                done = blocks.end
                self._hi = entries.tokens[order[done - 1]].tobytes()
                self._emit_packed(blocks)
        for at in range(done, len(order), _SLICE_ENTRIES):
            some = order[at : at + _SLICE_ENTRIES]
            self.add_sorted(entries.tokens[some], *entries.take(some))

    def finish(self, shapes: Sequence[Shape] = ()) -> RunSummary:
        """Write the last block and the tail; nothing may be added after it."""
        self._flush()
        if len(shapes) > SHAPES_MAX:
            raise UsageError(f"a run has at most {SHAPES_MAX} shapes")
        plain = b"".join(
            [struct.pack("<II", len(self._rows), len(shapes)), *self._rows, *(shape.packed() for shape in shapes)]
        )
        tail_offset = self._length
        kind = self._kind | TAIL
        key = block_key(self._file_key, kind, 0)
        tail_length = self._put(seal_block(key, self._room, self._object_id, kind, 0, plain))
        return RunSummary(
            blocks=len(self._rows),
            entries=self._entries,
            persons=self._persons,
            lo=self._lo,
            hi=self._hi,
            tail_offset=tail_offset,
            tail_length=tail_length,
            length=self._length,
            sha256=self._hash.digest(),
        )

    # -- inside ---------------------------------------------------------------------------------
    def _take_note(self, tokens: U8) -> None:
        first = tokens[0].tobytes()
        leading = np.ascontiguousarray(tokens).view(">u8")[:, 0]
        if first < self._hi or (leading[1:] < leading[:-1]).any():
            raise UsageError("entries of a run come sorted by token")
        if not self._entries:
            self._lo = first
        self._persons += int(np.count_nonzero(token_changes(tokens))) - (self._entries > 0 and first == self._hi)
        self._entries += len(tokens)
        self._hi = tokens[-1].tobytes()

    def _fill_held(self, tokens: U8, payload: U8, offsets: I64, cost: I64) -> int:
        """Complete the block that waits from the call before; returns how many entries went into it."""
        if not self._held:
            return 0
        end = int(np.searchsorted(cost, self._limit - self._held_cost, side="right")) - 1
        if end > 0:
            self._hold(tokens, payload, offsets, 0, min(end, len(tokens)))
        if end < len(tokens):
            self._flush()
        return max(0, min(end, len(tokens)))

    def _hold(self, tokens: U8, payload: U8, offsets: I64, start: int, end: int) -> None:
        base = offsets[start]
        # Copied: the caller may reuse its arrays, and a view would keep a large one alive.
        part = Columns(tokens[start:end].copy(), payload[base : offsets[end]].copy(), offsets[start : end + 1] - base)
        self._held.append(part)
        self._held_cost += int(part.offsets[-1]) + (end - start) * _ENTRY_OVERHEAD

    def _flush(self) -> None:
        if self._held:
            self._emit(join_columns(self._held))
            self._held, self._held_cost = [], 0

    def _emit(self, entries: Columns) -> None:
        plain = pack_block(entries)
        number = len(self._rows)
        key = block_key(self._file_key, self._kind, number)
        offset = self._length
        sealed = self._put(seal_block(key, self._room, self._object_id, self._kind, number, plain))
        self._rows.append(entries.tokens[0].tobytes() + _ROW.pack(offset, sealed, len(entries.tokens)))

    def _emit_packed(self, blocks: PackedBlocks) -> None:
        number = len(self._rows)
        keys = block_keys(self._file_key, self._kind, number, len(blocks.sizes))
        sealed, at, offset = [], 0, self._length
        for key, size, count, first in zip(keys, blocks.sizes, blocks.counts, blocks.firsts, strict=True):
            plain = blocks.plain[at : at + size]
            sealed.append(seal_block(key, self._room, self._object_id, self._kind, len(self._rows), plain))
            self._rows.append(first + _ROW.pack(offset, size + TAG_BYTES, count))
            at, offset = at + size, offset + size + TAG_BYTES
        self._put(b"".join(sealed))

    def _put(self, sealed: bytes) -> int:
        self._hash.update(sealed)
        self._write(sealed)
        self._length += len(sealed)
        return len(sealed)


def pack_block(entries: Columns) -> bytes:
    """The plain bytes of a block of at least one entry."""
    tokens, payload, offsets = entries
    lengths = np.diff(offsets)
    longest = int(lengths.max())
    if longest == lengths.min():
        width, packed = 0, struct.pack("<I", longest)
    elif longest < 1 << 16:
        width, packed = 2, lengths.astype("<u2").tobytes()
    else:
        width, packed = 4, lengths.astype("<u4").tobytes()
    return b"".join(
        (
            struct.pack("<IB3x", len(tokens), width),
            np.ascontiguousarray(tokens).data,
            packed,
            np.ascontiguousarray(payload).data,
        )
    )


class Block:
    """The entries of one opened block. Made by `parse_block`, which has checked its lengths."""

    __slots__ = ("_lengths", "_payload", "_plain", "entries_count")

    def __init__(self, plain: bytes, count: int, lengths: npt.NDArray[np.unsignedinteger] | int, payload: int) -> None:
        self._plain = plain
        self.entries_count = count
        self._lengths = lengths
        self._payload = payload

    def _token(self, position: int) -> bytes:
        start = _BLOCK_HEADER + TOKEN_BYTES * position
        return self._plain[start : start + TOKEN_BYTES]

    def find(self, token: bytes) -> list[bytes]:
        """The payloads under a token, in order; none is an empty list."""
        count = self.entries_count
        position = _smaller(self._plain, _BLOCK_HEADER, TOKEN_BYTES, count, token)
        if position == count or self._token(position) != token:
            return []
        lengths = self._lengths
        if isinstance(lengths, int):
            start = self._payload + lengths * position
        else:
            start = self._payload + int(lengths[:position].sum(dtype=np.int64))
        found = []
        while position < count and self._token(position) == token:
            end = start + (lengths if isinstance(lengths, int) else int(lengths[position]))
            found.append(self._plain[start:end])
            start, position = end, position + 1
        return found

    def entries(self) -> Columns:
        """All entries, a column at a time; tokens and payload are views of the block.

        Raises:
            IntegrityError: The tokens are not sorted.
        """
        count = self.entries_count
        tokens = np.frombuffer(self._plain, np.uint8, count * TOKEN_BYTES, _BLOCK_HEADER).reshape(count, TOKEN_BYTES)
        leading = tokens.view(">u8")[:, 0]
        if (leading[1:] < leading[:-1]).any():
            raise IntegrityError("a block of a run is not sorted")
        offsets = np.zeros(count + 1, np.int64)
        if isinstance(self._lengths, int):
            offsets[:] = np.arange(count + 1, dtype=np.int64) * self._lengths
        else:
            np.cumsum(self._lengths, out=offsets[1:])
        return Columns(tokens, np.frombuffer(self._plain, np.uint8, offset=self._payload), offsets)


def entries_of(blocks: Sequence[Block], *, payload: bool = True) -> Columns:
    """The entries of blocks one behind the other; whether their tokens are sorted is for the caller to check.

    Args:
        blocks: One or more.
        payload: Whether payloads are wanted; without, all are empty.
    """
    tokens = [np.frombuffer(b._plain, np.uint8, b.entries_count * TOKEN_BYTES, _BLOCK_HEADER) for b in blocks]  # noqa: SLF001
    whole = np.concatenate(tokens).reshape(-1, TOKEN_BYTES)
    offsets = np.zeros(len(whole) + 1, np.int64)
    if not payload:
        return Columns(whole, np.empty(0, np.uint8), offsets)
    lengths = [b._lengths if not isinstance(b._lengths, int) else np.full(b.entries_count, b._lengths) for b in blocks]  # noqa: SLF001
    np.cumsum(np.concatenate(lengths), out=offsets[1:])
    data = [np.frombuffer(b._plain, np.uint8, offset=b._payload) for b in blocks]  # noqa: SLF001
    return Columns(whole, np.concatenate(data), offsets)


def parse_block(plain: bytes) -> Block:
    """Check the lengths of an opened block; IntegrityError if they are not those of its bytes."""
    size = len(plain)
    if size < _BLOCK_HEADER + TOKEN_BYTES or plain[5:8] != b"\0\0\0":
        raise IntegrityError("a block of a run has no valid header")
    count, width = struct.unpack_from("<IB", plain)
    lengths_at = _BLOCK_HEADER + TOKEN_BYTES * count
    payload_at = lengths_at + (width * count if width else 4)
    if not count or width not in {0, 2, 4} or payload_at > size:
        raise IntegrityError("a block of a run has no valid header")
    lengths: npt.NDArray[np.unsignedinteger] | int
    if width:
        lengths = np.frombuffer(plain, f"<u{width}", count, lengths_at)
        total = int(lengths.sum(dtype=np.int64))
    else:
        lengths = int.from_bytes(plain[lengths_at:payload_at], "little")
        total = lengths * count
    if payload_at + total != size:
        raise IntegrityError("the lengths in a block of a run do not add up")
    return Block(plain, count, lengths, payload_at)


class Tail:
    """The opened tail of a run: first token and place of each block, and the shapes. Made by `parse_tail`."""

    __slots__ = ("_plain", "blocks", "shapes")

    def __init__(self, plain: bytes, blocks: int, shapes: tuple[Shape, ...]) -> None:
        self._plain = plain
        self.blocks = blocks
        self.shapes = shapes

    @property
    def size(self) -> int:
        """Bytes it takes in memory, about."""
        return len(self._plain) + 200 * len(self.shapes)

    def first(self, number: int) -> bytes:
        """The first token of a block."""
        start = _TAIL_HEADER + _TAIL_ROW * number
        return self._plain[start : start + TOKEN_BYTES]

    def place(self, number: int) -> tuple[int, int, int]:
        """Offset and sealed length of a block in the object, and its number of entries."""
        return _ROW.unpack_from(self._plain, _TAIL_HEADER + _TAIL_ROW * number + TOKEN_BYTES)

    def blocks_of(self, token: bytes) -> range:
        """The blocks that can hold a token: nearly always one, two if it starts a block."""
        start = after = _smaller(self._plain, _TAIL_HEADER, _TAIL_ROW, self.blocks, token)
        while after < self.blocks and self.first(after) == token:
            after += 1
        return range(max(start - 1, 0), after)

    def table(self) -> npt.NDArray[np.void]:
        """All rows as a structured array: first (16 B), offset, length, entries."""
        return np.frombuffer(self._plain, _ROW_DTYPE, self.blocks, _TAIL_HEADER)


def _smaller(plain: bytes, start: int, step: int, count: int, token: bytes) -> int:
    """How many of some rows begin with a smaller token: sorted, so many bytes apart from `start` on."""
    low, high = 0, count
    while low < high:
        middle = (low + high) // 2
        at = start + step * middle
        if plain[at : at + TOKEN_BYTES] < token:
            low = middle + 1
        else:
            high = middle
    return low


def parse_tail(plain: bytes, *, blocks: int, entries: int, tail_offset: int) -> Tail:
    """Check an opened tail against what the manifest says of the run.

    Args:
        plain: The tail's plain bytes.
        blocks: Number of blocks, from the manifest.
        entries: Number of entries, from the manifest.
        tail_offset: Where the tail starts in the object, from the manifest.

    Raises:
        IntegrityError: It says something else, or its blocks do not fill the object up to the tail in token order.
    """
    if len(plain) < _TAIL_HEADER:
        raise IntegrityError("the tail of a run is too short")
    count, shapes_count = struct.unpack_from("<II", plain)
    shapes_at = _TAIL_HEADER + _TAIL_ROW * count
    if count != blocks or len(plain) != shapes_at + _SHAPE.size * shapes_count:
        raise IntegrityError("the tail of a run is not the one its manifest names")
    rows = np.frombuffer(plain, _ROW_DTYPE, count, _TAIL_HEADER)
    lengths = rows["length"].astype(np.int64)
    ends = np.cumsum(lengths)
    starts = rows["offset"]
    words = token_words(rows["first"].copy().view(np.uint8).reshape(-1, TOKEN_BYTES))
    ordered = (words[1:, 0] > words[:-1, 0]) | ((words[1:, 0] == words[:-1, 0]) & (words[1:, 1] >= words[:-1, 1]))
    if (
        (starts != (ends - lengths).astype(np.uint64)).any()
        or (int(ends[-1]) if count else 0) != tail_offset
        or (lengths < _BLOCK_HEADER + TOKEN_BYTES + TAG_BYTES).any()
        or (rows["entries"] < 1).any()
        or int(rows["entries"].sum(dtype=np.int64)) != entries
        or not ordered.all()
    ):
        raise IntegrityError("the tail of a run does not describe its blocks")
    shapes = tuple(Shape(*parts) for parts in _SHAPE.iter_unpack(plain[shapes_at:]))
    return Tail(plain, count, shapes)
