"""Finds entries that are dead: of persons erased after the entry was put, or past their table's retention by put time.

Rules it keeps:

1. Only blocks that can hold an erased person's token are opened; without erasures and retention, none.
2. Tombstones are asked for by token range, a bounded number at a time.
3. Dead is decided by the batch sequence that the entry's shape names; nothing of a person is opened.
4. What was found dead in a run is remembered; only erasures since are looked for again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from strongroom.index.runreader import RunReader
from strongroom.index.scan import scan
from strongroom.keymaster.api import Buried
from strongroom.seal.columns import I64, U8, shapes_of, token_text
from strongroom.seal.run import Shape

AskBuried = Callable[[bytes, bytes], Buried]
"""(first token, last token) -> what is dead in that range: the first tombstones of it, and the horizon."""

BLOCKS_AT_ONCE = 64
LOWEST, HIGHEST = bytes(16), b"\xff" * 16

U64 = npt.NDArray[np.uint64]


RUNS_KEPT_MAX = 4096

Kept = dict[bytes, tuple[int, I64]]
"""Run id to the log entry up to which its dead entries were looked for, and their places."""


class Graves:
    """What is dead in the runs of one table, remembered between questions: what is dead stays so.

    Args:
        ask: (first token, last token, since which log entry) -> what is dead in that range.
        clean: Object ids -> up to which log entry each is known to hold nothing dead.
        kept: Where places found are remembered; share one between readings.
    """

    def __init__(
        self,
        ask: Callable[[bytes, bytes, int], Buried],
        clean: Callable[[list[bytes]], list[int]],
        kept: Kept | None = None,
    ) -> None:
        self._ask = ask
        self._clean = clean
        self._kept: Kept = {} if kept is None else kept

    def positions(self, readers: Sequence[RunReader]) -> Iterator[tuple[RunReader, I64]]:
        """Each records run that holds something dead, with the places of it, ascending."""
        now = self._ask(HIGHEST, LOWEST, -1)
        if not now.newest and not now.horizon:
            return
        through = self._clean([reader.entry.object_id for reader in readers])
        for reader, clean in zip(readers, through, strict=True):
            found = self._of_persons(reader, clean, now.newest)
            if now.horizon:
                found = np.union1d(found, _past(reader, now.horizon))
            if len(found):
                yield reader, found

    def _of_persons(self, reader: RunReader, clean: int, newest: int) -> I64:
        name = reader.entry.object_id
        since, known = self._kept.get(name, (clean, np.empty(0, np.int64)))
        if newest <= since:
            return known

        def ask(low: bytes, high: bytes) -> Buried:
            some = self._ask(low, high, since)
            return Buried(0, some.tokens, some.sequences)

        found = np.union1d(known, dead_positions(reader, ask))
        if len(self._kept) >= RUNS_KEPT_MAX:
            self._kept.clear()
        self._kept[name] = (newest, found)
        return found


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


def dead_positions(reader: RunReader, ask: AskBuried) -> I64:
    """Places of the dead entries of a records run, ascending.

    Raises:
        IntegrityError: The run is not the one that was written.
    """
    entry = reader.entry
    none = np.empty(0, np.int64)
    if not entry.entries:
        return none
    found, past = [], 0
    for some in pieces(ask, entry.lo, entry.hi):
        past = some.horizon
        if len(some.tokens):
            found.append(_of_persons(reader, some))
    if past:
        found.append(_past(reader, past))
    return np.unique(np.concatenate(found)) if found else none


def _past(reader: RunReader, horizon: int) -> I64:
    """Places of the entries up to a horizon; runs put wholly before or after it need no look inside."""
    named = sequences_of(list(reader.tail().shapes))
    if not len(named) or int(named.min()) > horizon:
        return np.empty(0, np.int64)
    if int(named.max()) <= horizon:
        return np.arange(reader.entry.entries, dtype=np.int64)
    found = [np.empty(0, np.int64)]
    for group in scan([reader]):
        numbers = shapes_of(group.payload, group.offsets)
        found.append(group.position[named[numbers] <= horizon])
    return np.concatenate(found)


def _of_persons(reader: RunReader, some: Buried) -> I64:
    tail = reader.tail()
    named = sequences_of(list(tail.shapes))
    table = tail.table()
    starts = np.concatenate([[0], np.cumsum(table["entries"], dtype=np.int64)])
    numbers = blocks_of(token_text(table["first"]), some.tokens)
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


def blocks_of(firsts: npt.NDArray[np.bytes_], tokens: U8) -> I64:
    """Numbers of the blocks that can hold one of some tokens, ascending; a token may begin in the block before."""
    asked = token_text(tokens)
    low = np.maximum(np.searchsorted(firsts, asked, side="left") - 1, 0)
    high = np.searchsorted(firsts, asked, side="right")
    marked = np.zeros(len(firsts) + 1, np.int64)
    np.add.at(marked, low, 1)
    np.add.at(marked, np.maximum(high, low + 1), -1)
    return np.flatnonzero(np.cumsum(marked)[:-1] > 0)
