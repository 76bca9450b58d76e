"""Finds entries that are dead: of persons erased after the entry was put, or past their table's retention by put time.

Rules it keeps:

1. Only blocks that can hold an erased person's token are opened; without erasures and retention, none.
2. Tombstones are asked for by token range, a bounded number at a time.
3. Dead is decided by the batch sequence that the entry's shape names; nothing of a person is opened.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

from strongroom.index.runreader import RunReader
from strongroom.index.scan import scan
from strongroom.keymaster.api import Buried
from strongroom.seal.run import I64, U8, Shape, shapes_of

AskBuried = Callable[[bytes, bytes], Buried]
"""(first token, last token) -> what is dead in that range: the first tombstones of it, and the horizon."""

BLOCKS_AT_ONCE = 64
LOWEST, HIGHEST = bytes(16), b"\xff" * 16

Bool = npt.NDArray[np.bool_]
U64 = npt.NDArray[np.uint64]


def nobody(_low: bytes, _high: bytes) -> Buried:
    """Nothing is dead."""
    return Buried(0, np.empty((0, 16), np.uint8), np.empty(0, np.uint64))


def pieces(ask: AskBuried, low: bytes, high: bytes) -> Iterator[Buried]:
    """Everything that is dead from one token to another, in pieces; at least one, which may be empty."""
    while True:
        some = ask(low, high)
        yield some
        if not len(some.tokens) or some.tokens[-1].tobytes() == high:
            return
        low = _next(some.tokens[-1].tobytes())


def _next(token: bytes) -> bytes:
    return min(int.from_bytes(token, "big") + 1, (1 << 128) - 1).to_bytes(16, "big")


def sequences_of(shapes: tuple[Shape, ...] | list[Shape]) -> U64:
    """The batch sequence that each shape names, u64[n]."""
    return np.array([int.from_bytes(shape.batch[:8], "little") for shape in shapes], np.uint64)


def dead_among(tokens: U8, sequences: U64, ask: AskBuried) -> Bool:
    """Which of some entries are dead, bool[n].

    Args:
        tokens: Subject tokens u8[n,16], sorted.
        sequences: Batch sequences u64[n].
        ask: Says what is dead.
    """
    dead = np.zeros(len(tokens), np.bool_)
    if len(tokens):
        for some in pieces(ask, tokens[0].tobytes(), tokens[-1].tobytes()):
            if some:
                dead |= sequences <= some.of(tokens)
    return dead


def dead_positions(reader: RunReader, ask: AskBuried) -> I64:
    """Places of the dead entries of a records run, ascending.

    Raises:
        IntegrityError: The run is not the one that was written.
    """
    entry = reader.entry
    none = np.empty(0, np.int64)
    if not entry.entries:
        return none
    found = []
    for some in pieces(ask, entry.lo, entry.hi):
        if some.horizon:
            return _past(reader, some.horizon, ask)
        if len(some.tokens):
            found.append(_of_persons(reader, some))
    return np.unique(np.concatenate(found)) if found else none


def _past(reader: RunReader, horizon: int, ask: AskBuried) -> I64:
    """The same with a horizon: runs put wholly before or after it need no look inside for it."""
    named = sequences_of(list(reader.tail().shapes))
    if len(named) and int(named.max()) <= horizon:
        return np.arange(reader.entry.entries, dtype=np.int64)

    def persons(low: bytes, high: bytes) -> Buried:
        some = ask(low, high)
        return Buried(0, some.tokens, some.sequences)

    found = [dead_positions(reader, persons)]
    if len(named) and int(named.min()) <= horizon:
        for group in scan([reader]):
            numbers = shapes_of(group.payload, group.offsets)
            found.append(group.position[named[numbers] <= horizon])
    return np.unique(np.concatenate(found))


def _of_persons(reader: RunReader, some: Buried) -> I64:
    tail = reader.tail()
    named = sequences_of(list(tail.shapes))
    table = tail.table()
    starts = np.concatenate([[0], np.cumsum(table["entries"], dtype=np.int64)])
    numbers = _blocks_of(np.ascontiguousarray(table["first"]).view("S16").reshape(-1), some.tokens)
    found = [np.empty(0, np.int64)]
    for at in range(0, len(numbers), BLOCKS_AT_ONCE):
        chunk = numbers[at : at + BLOCKS_AT_ONCE].tolist()
        for number, block in reader.some_blocks(chunk):
            entries = block.entries()
            limit = some.of(entries.tokens)
            near = np.flatnonzero(limit)
            if near.size:
                sequences = named[shapes_of(entries.payload, entries.offsets)[near]]
                found.append(starts[number] + near[sequences <= limit[near]])
    return np.concatenate(found)


def _blocks_of(firsts: npt.NDArray[np.bytes_], tokens: U8) -> I64:
    """Numbers of the blocks that can hold one of some tokens, ascending; a token may begin in the block before."""
    asked = np.ascontiguousarray(tokens).view("S16")[:, 0]
    low = np.maximum(np.searchsorted(firsts, asked, side="left") - 1, 0)
    high = np.searchsorted(firsts, asked, side="right")
    marked = np.zeros(len(firsts) + 1, np.int64)
    np.add.at(marked, low, 1)
    np.add.at(marked, np.maximum(high, low + 1), -1)
    return np.flatnonzero(np.cumsum(marked)[:-1] > 0)
