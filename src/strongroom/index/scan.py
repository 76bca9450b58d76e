"""Streams the entries of several runs in token order, a group at a time, in bounded memory.

Rules it keeps:

1. All entries of one token come in one group; within it they stand in the order of the runs given, then as in the run.
2. Memory holds about `group_bytes` of blocks, and one block more per run; only one token with more entries than
   that takes more.
3. There is no loop over entries: blocks are opened one by one, what is in them is moved a column at a time.
4. Each block's first token and count must be those of the tail, and a run must be sorted throughout: IntegrityError.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from strongroom.errors import IntegrityError
from strongroom.index.runreader import RunReader
from strongroom.seal.columns import I64, U8, Columns, gather, join_columns, sort_entries, token_words
from strongroom.seal.run import entries_of

GROUP_BYTES = 32 << 20


class Group(NamedTuple):
    """Entries of some consecutive tokens, sorted.

    Attributes:
        tokens: u8[n,16].
        payload: u8[m]; empty if it was not asked for.
        offsets: i64[n+1] into it.
        source: i64[n]: which of the runs given each entry is from.
        position: i64[n]: its place in that run.
    """

    tokens: U8
    payload: U8
    offsets: I64
    source: I64
    position: I64

    def columns(self) -> Columns:
        """Tokens, payload and offsets."""
        return Columns(self.tokens, self.payload, self.offsets)


class _Cursor:
    """One run: what is read of it and not yet given out."""

    def __init__(self, reader: RunReader, *, payload: bool) -> None:
        self.reader = reader
        self.position = 0
        self.tail = reader.tail()
        self._payload = payload
        self._held: list[Columns] = []
        self._keys: list[bytes] | None = None

    def read(self, first: int, last: int) -> None:
        """Open blocks and keep their entries."""
        if self._keys is None:
            self._keys = self.reader.keys(0, self.tail.blocks)
        blocks = self.reader.open_blocks(first, last, self._keys[first:last])
        entries = entries_of(blocks, payload=self._payload)
        starts = np.cumsum([0, *(block.entries_count for block in blocks[:-1])])
        named = np.ascontiguousarray(self.tail.table()["first"][first:last])
        if entries.tokens[starts].tobytes() != named.tobytes():
            raise IntegrityError("a block of a run does not start with the token its tail names")
        self._held.append(entries)

    def take(self, fence: npt.NDArray[np.uint64] | None) -> Columns | None:
        """The entries before the fence (all if None); the others stay."""
        if not self._held:
            return None
        held = join_columns(self._held)
        words = token_words(held.tokens)
        high, low = words[:, 0], words[:, 1]
        if ((high[1:] < high[:-1]) | ((high[1:] == high[:-1]) & (low[1:] < low[:-1]))).any():
            raise IntegrityError("a run is not sorted")
        count = len(words)
        if fence is not None:
            count = int(np.count_nonzero((high < fence[0]) | ((high == fence[0]) & (low < fence[1]))))
        end = held.offsets[count]
        rest = Columns(held.tokens[count:].copy(), held.payload[end:].copy(), held.offsets[count:] - end)
        self._held = [rest] if len(rest.tokens) else []
        self.position += count
        return Columns(held.tokens[:count], held.payload[:end], held.offsets[: count + 1])


def scan(readers: Sequence[RunReader], *, group_bytes: int = GROUP_BYTES, payload: bool = True) -> Iterator[Group]:
    """Stream all entries of some runs in token order.

    Args:
        readers: The runs, oldest first.
        group_bytes: Sealed bytes of blocks to open at a time.
        payload: Whether payloads are wanted; without, only tokens and places are given.

    Raises:
        IntegrityError: A run is not the one that was written.
    """
    cursors = [_Cursor(reader, payload=payload) for reader in readers]
    firsts, source, number, lengths = _all_blocks(cursors)
    start = 0
    while start < len(source):
        used = np.cumsum(lengths[start : start + (1 << 16)])
        end = start + max(1, int(np.searchsorted(used, group_bytes, side="right")))
        for cursor_number in np.unique(source[start:end]):
            mine = number[start:end][source[start:end] == cursor_number]
            cursors[cursor_number].read(int(mine[0]), int(mine[-1]) + 1)
        fence = firsts[end] if end < len(source) else None
        group = _group(cursors, fence)
        if group is not None:
            yield group
        start = end
    for cursor in cursors:
        if cursor.position != cursor.reader.entry.entries:
            raise IntegrityError("a run does not have as many entries as its manifest says")


def _all_blocks(
    cursors: Sequence[_Cursor],
) -> tuple[npt.NDArray[np.uint64], I64, I64, I64]:
    """Every block of every run in order of first token: that token u64[b,2], run, number, sealed length."""
    words, source, number, lengths = [], [], [], []
    for position, cursor in enumerate(cursors):
        table = cursor.tail.table()
        words.append(token_words(table["first"].copy().view(np.uint8).reshape(-1, 16)))
        source.append(np.full(len(table), position, np.int64))
        number.append(np.arange(len(table), dtype=np.int64))
        lengths.append(table["length"].astype(np.int64))
    if not words:
        empty = np.empty(0, np.int64)
        return np.empty((0, 2), np.uint64), empty, empty, empty
    every, sources, numbers = np.concatenate(words), np.concatenate(source), np.concatenate(number)
    order = np.lexsort((numbers, sources, every[:, 1], every[:, 0]))
    return every[order], sources[order], numbers[order], np.concatenate(lengths)[order]


def _group(cursors: Sequence[_Cursor], fence: npt.NDArray[np.uint64] | None) -> Group | None:
    parts: list[Columns] = []
    sources: list[I64] = []
    positions: list[I64] = []
    for number, cursor in enumerate(cursors):
        at = cursor.position
        part = cursor.take(fence)
        if part is None or not len(part.tokens):
            continue
        parts.append(part)
        sources.append(np.full(len(part.tokens), number, np.int64))
        positions.append(np.arange(at, at + len(part.tokens), dtype=np.int64))
    if not parts:
        return None
    joined, source, position = join_columns(parts), np.concatenate(sources), np.concatenate(positions)
    if len(parts) == 1:
        return Group(*joined, source, position)
    order = sort_entries(joined.tokens)
    if len(joined.payload):
        payload, offsets = gather(joined.payload, joined.offsets, order)
    else:
        payload, offsets = joined.payload, joined.offsets
    return Group(joined.tokens[order], payload, offsets, source[order], position[order])
