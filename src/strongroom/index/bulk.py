"""Finds the entries under many tokens in stored runs: each block that can hold one is read once, a column at a time.

Rules it keeps:

1. What is read depends on the tokens: at most one block more than there are tokens and entries under them, and no block
   that can hold none. Blocks that lie together are read together.
2. Memory holds some megabytes of blocks, and the tokens.
3. A token with more entries in a run than `most` is named instead: such a value tells nobody from another.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from strongroom.index.dead import blocks_of
from strongroom.index.runreader import RunReader
from strongroom.seal.columns import Columns, join_columns, sort_entries, token_text, token_words

I64 = npt.NDArray[np.int64]
U8 = npt.NDArray[np.uint8]
U64 = npt.NDArray[np.uint64]

ENTRIES_AT_ONCE = 1 << 17
HITS_MOST = 64


@dataclass
class Reads:
    """What look-ups cost: blocks and bytes read, of how many blocks there were."""

    blocks: int = 0
    bytes: int = 0
    there: int = 0


@dataclass(frozen=True)
class Sorted:
    """Distinct tokens in order: u8[n,16], and as numbers u64[n,2]."""

    tokens: U8 = field(repr=False)
    words: U64 = field(repr=False)

    @staticmethod
    def of(tokens: U8) -> tuple[Sorted, I64]:
        """Tokens u8[n,16] that are distinct, in order; and where each stands in what was given, i64[n]."""
        order = sort_entries(tokens)
        own = np.ascontiguousarray(tokens[order])
        return Sorted(own, token_words(own)), order


@dataclass(frozen=True)
class Hits:
    """Entries under some tokens: `asked` i64[k], which token; `places` i64[k], which of the entries, of a run."""

    reader: RunReader
    entries: Columns = field(repr=False)
    asked: I64 = field(repr=False)
    places: I64 = field(repr=False)
    crowded: I64 = field(repr=False)


def entries_under(
    readers: Sequence[RunReader], wanted: Sorted, reads: Reads, *, most: int = HITS_MOST
) -> Iterator[Hits]:
    """The entries under some tokens, run by run.

    Args:
        readers: The runs.
        wanted: The tokens.
        reads: What it costs is added here.
        most: Greatest number of entries under one token in some blocks; tokens beyond are in `crowded`.

    Raises:
        IntegrityError: A run is not the one that was written.
    """
    for reader in readers:
        entry = reader.entry
        reads.there += entry.blocks
        if not entry.entries or not len(wanted.tokens):
            continue
        firsts = token_text(reader.tail().table()["first"])
        first, last = _range(wanted, entry.lo, entry.hi)
        if first == last:
            continue
        numbers = blocks_of(firsts, wanted.tokens[first:last]).tolist()
        held: list[Columns] = []
        count = 0
        for block, size in reader.stretches(numbers):
            reads.blocks += 1
            reads.bytes += size
            held.append(block.entries())
            count += block.entries_count
            if count >= ENTRIES_AT_ONCE:
                yield _matched(reader, join_columns(held), wanted, most)
                held, count = [], 0
        if held:
            yield _matched(reader, join_columns(held), wanted, most)


def _range(wanted: Sorted, low: bytes, high: bytes) -> tuple[int, int]:
    own = token_text(wanted.tokens)
    return int(np.searchsorted(own, low, "left")), int(np.searchsorted(own, high, "right"))


def _matched(reader: RunReader, entries: Columns, wanted: Sorted, most: int) -> Hits:
    """Which entries, sorted, lie under which tokens: by the first half of both, then by the second."""
    own = token_words(entries.tokens)
    start = int(np.searchsorted(wanted.words[:, 0], own[0, 0], "left"))
    stop = int(np.searchsorted(wanted.words[:, 0], own[-1, 0], "right"))
    asked = wanted.words[start:stop]
    low = np.searchsorted(own[:, 0], asked[:, 0], "left")
    counts = np.searchsorted(own[:, 0], asked[:, 0], "right") - low
    crowded = np.flatnonzero(counts > most)
    counts[crowded] = 0
    which = np.repeat(np.arange(len(asked)), counts)
    ahead = np.arange(len(which)) - np.repeat(np.cumsum(counts) - counts, counts)
    places = np.repeat(low, counts) + ahead
    same = own[places, 1] == asked[which, 1]
    return Hits(reader, entries, start + which[same], places[same], start + crowded)
