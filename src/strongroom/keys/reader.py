"""Read key pages: find entries by token, decrypting the chunks hit and no others.

Rules it keeps:

1. A chunk is read whole and checked before anything of it is used.
2. What is kept decrypted is bounded: chunks, page keys and filters, each with a number beside it here.
3. An absent token costs a filter probe, seldom a decryption.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import numpy.typing as npt

from strongroom.keys import bloom
from strongroom.keys.hierarchy import KeyRing
from strongroom.keys.pages import (
    CHUNK_BYTES,
    ENTRY,
    ENTRY_BYTES,
    U64,
    Bytes2D,
    Entries,
    chunk_span,
    filter_span,
    find_in_chunk,
    has_filter,
    joined,
    open_chunks,
    open_filter,
    page_bound,
)
from strongroom.keys.pagetable import Generation, Page
from strongroom.seal.columns import token_text

if TYPE_CHECKING:
    from strongroom.store.base import Store

CHUNKS_KEPT_MAX = 2048
PAGE_KEYS_KEPT_MAX = 65_536
FILTER_PAGES = 1024
FILTER_SEGMENTS_KEPT_MAX = 16
CHUNKS_AT_ONCE = 2048

V = TypeVar("V")
K = TypeVar("K")


@dataclass(frozen=True, slots=True)
class Subject:
    """A person's secret, ordinal, and the batch sequence at which the person was first seen."""

    secret: bytes = field(repr=False)
    ordinal: int
    born: int


class _Kept(dict[K, V]):
    """A dictionary that forgets its oldest entry beyond a size; used by one lock's holder."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most

    def keep(self, key: K, value: V) -> V:
        if len(self) >= self._most:
            del self[next(iter(self))]
        self[key] = value
        return value


class _Segment:
    """Filters of up to FILTER_PAGES neighbouring pages of a generation; `loaded` says which are there."""

    def __init__(self, pages: int) -> None:
        self.bits = np.zeros((pages, bloom.FILTER_BYTES), np.uint8)
        self.loaded = np.zeros(pages, np.bool_)
        self.view = self.bits.reshape(-1).data


class PageReader:
    """Finds entries in generations of pages.

    Args:
        store: Where page objects lie.
        ring: Unwraps page keys.
    """

    def __init__(self, store: Store, ring: KeyRing) -> None:
        self._store = store
        self._ring = ring
        self._lock = threading.Lock()
        self.forget()

    def forget(self) -> None:
        """Drop everything kept: after a removal, and at the end."""
        with self._lock:
            self._chunks: _Kept[tuple[bytes, int], bytes] = _Kept(CHUNKS_KEPT_MAX)
            self._keys: _Kept[bytes, bytes] = _Kept(PAGE_KEYS_KEPT_MAX)
            self._segments: _Kept[tuple[int, int, int], _Segment] = _Kept(FILTER_SEGMENTS_KEPT_MAX)

    # -- one ------------------------------------------------------------------------------------
    def one(self, generation: Generation, token: bytes) -> Subject | None:
        """One token's entry in a generation, or None."""
        high = int.from_bytes(token[:8], "big")
        at = bisect_right(generation.lows, high) - 1
        while at >= 0:
            page = generation.pages[at]
            if page.first <= token <= page.last:
                return self._in_page(generation, at, page, token, high)
            if token > page.last:
                return None
            # two pages whose first tokens share their high half: the token may be in the one before
            at -= 1
        return None

    def _in_page(self, generation: Generation, at: int, page: Page, token: bytes, high: int) -> Subject | None:
        if has_filter(page.count) and not self._may_hold(generation, at, int.from_bytes(token[8:], "big")):
            return None
        number = bisect_right(page.fences, high) - 1
        while number >= 0:
            plain = self._chunk(page, number)
            start = find_in_chunk(plain, token)
            if start >= 0:
                entry = plain[start + 16 : start + ENTRY_BYTES]
                return Subject(
                    entry[:32], int.from_bytes(entry[32:40], "little"), int.from_bytes(entry[40:48], "little")
                )
            if page.fences[number] != high:
                return None
            number -= 1
        return None

    def _may_hold(self, generation: Generation, at: int, low: int) -> bool:
        number, inside = divmod(at, FILTER_PAGES)
        segment = self._segments.get((generation.id, generation.stamp, number))
        if segment is None or not segment.loaded[inside]:
            segment = self._filters(generation, number, np.array([inside]))
        return bloom.may_contain(segment.view, inside * bloom.FILTER_BYTES, low)

    def _chunk(self, page: Page, number: int) -> bytes:
        kept = self._chunks.get((page.id, number))
        if kept is not None:
            return kept
        plain = self._read(page, number, number)[0]
        with self._lock:
            return self._chunks.keep((page.id, number), plain)

    # -- many -----------------------------------------------------------------------------------
    def many(self, generation: Generation, high: U64, low: U64) -> tuple[npt.NDArray[np.int64], Entries]:
        """Entries of many tokens in a generation.

        Args:
            generation: Where to look.
            high: High halves of the tokens, u64[n], sorted.
            low: Low halves, u64[n].

        Returns:
            Positions i64[m] of the tokens found, ascending, and their entries [m].
        """
        fences = generation.fences
        places, found = [np.empty(0, np.int64)], [np.empty(0, ENTRY)]
        if not (fences.size and high.size):
            return places[0], found[0]
        # both are sorted: the few fences are looked for among the many tokens, not the other way round
        starts = np.searchsorted(high, fences)
        first = int(starts[0])
        counts = np.diff(np.append(starts, len(high))[generation.first_chunk])
        passed = self._passed(generation, np.arange(len(counts)), counts, low[first:])
        # a token whose high half is its chunk's fence may stand in an earlier page, whose filter is another
        ends = np.searchsorted(high, fences, side="right")
        for start, end in zip(*(side[ends > starts].tolist() for side in (starts, ends)), strict=True):
            passed[start - first : end - first] = True
        rows = first + np.flatnonzero(passed)
        wanted = np.searchsorted(starts, rows, side="right") - 1
        cuts = np.flatnonzero(np.diff(wanted, prepend=-1))
        for start in range(0, len(cuts), CHUNKS_AT_ONCE):
            stop = cuts[start + CHUNKS_AT_ONCE] if start + CHUNKS_AT_ONCE < len(cuts) else len(rows)
            part, chunk = rows[cuts[start] : stop], wanted[cuts[start] : stop]
            entries = self._entries(generation, wanted[cuts[start : start + CHUNKS_AT_ONCE]])
            at, hit = _match(entries, high[part], low[part])
            places.append(part[hit])
            found.append(entries[at[hit]])
            if not hit.all():
                self._neighbours(generation, chunk[~hit], part[~hit], high, low, places, found)
        place = np.concatenate(places)
        if len(places) > 2:
            order = np.argsort(place, kind="stable")
            return place[order], joined(found)[order]
        return place, joined(found)

    def pages_of(
        self, generation: Generation, high: U64, low: U64
    ) -> Iterator[tuple[int, npt.NDArray[np.int64]]]:
        """Pages that may hold some tokens, by number, each with the positions i64[k] of those tokens.

        Args:
            generation: Where to look.
            high: High halves of the tokens, u64[n], sorted with the low ones.
            low: Low halves, u64[n].
        """
        if not generation.pages:
            return
        tokens = token_text(np.stack([high, low], axis=1).astype(">u8"))
        firsts = np.array([page.first for page in generation.pages], "S16")
        lasts = np.array([page.last for page in generation.pages], "S16")
        at = np.searchsorted(firsts, tokens, side="right") - 1
        rows = np.flatnonzero((at >= 0) & (tokens <= lasts[np.maximum(at, 0)]))
        pages, counts = np.unique(at[rows], return_counts=True)
        rows = rows[self._passed(generation, pages, counts, low[rows])]
        cuts = [*np.flatnonzero(np.diff(at[rows], prepend=-1)).tolist(), len(rows)]
        for start, stop in pairwise(cuts):
            yield int(at[rows[start]]), rows[start:stop]

    def _neighbours(
        self,
        generation: Generation,
        chunk: npt.NDArray[np.int64],
        missed: npt.NDArray[np.int64],
        high: U64,
        low: U64,
        places: list[npt.NDArray[np.int64]],
        found: list[Entries],
    ) -> None:
        """A token whose high half equals its chunk's fence may stand at the end of the chunk before."""
        tied = missed[generation.fences[chunk] == high[missed]]
        for place in tied:
            token = int(high[place]).to_bytes(8, "big") + int(low[place]).to_bytes(8, "big")
            subject = self.one(generation, token)
            if subject is not None:
                entry = np.zeros(1, ENTRY)
                entry["hi"], entry["lo"] = high[place], low[place]
                entry["secret"] = np.frombuffer(subject.secret, np.uint8)
                entry["ordinal"], entry["born"] = subject.ordinal, subject.born
                places.append(np.array([place]))
                found.append(entry)

    def _passed(
        self, generation: Generation, pages: npt.NDArray[np.int64], counts: npt.NDArray[np.int64], low: U64
    ) -> npt.NDArray[np.bool_]:
        """Which tokens pass the filter of their page: so many of each of the ascending pages, one behind the other."""
        passed = np.zeros(len(low), np.bool_)
        pages, counts = pages[counts > 0], counts[counts > 0]
        ends = np.concatenate([[0], np.cumsum(counts)])
        segments = pages // FILTER_PAGES
        cuts = [*np.flatnonzero(np.diff(segments, prepend=-1)).tolist(), len(pages)]
        for start, stop in pairwise(cuts):
            inside = pages[start:stop] % FILTER_PAGES
            segment, span = self._filters(generation, int(segments[start]), inside), slice(ends[start], ends[stop])
            passed[span] = bloom.contains(segment.bits, np.repeat(inside, counts[start:stop]), low[span])
        return passed

    def _filters(self, generation: Generation, number: int, pages: npt.NDArray[np.int64]) -> _Segment:
        name = (generation.id, generation.stamp, number)
        segment = self._segments.get(name)
        if segment is None:
            size = min(FILTER_PAGES, len(generation.pages) - number * FILTER_PAGES)
            with self._lock:
                segment = self._segments.get(name) or self._segments.keep(name, _Segment(size))
        for at in pages[~segment.loaded[pages]].tolist():
            page = generation.pages[number * FILTER_PAGES + at]
            if has_filter(page.count):
                offset, length = filter_span(page.count)
                sealed = self._store.get_range(page.object, page.start + offset, length)
                plain = open_filter(self._key(page), self._ring.room_id, page.id, sealed)
                segment.bits[at] = np.frombuffer(plain, np.uint8)
            else:
                segment.bits[at] = 0xFF
            # set last: another thread that sees it may use the bits
            segment.loaded[at] = True
        return segment

    def _entries(self, generation: Generation, chunks: npt.NDArray[np.int64]) -> Entries:
        """The entries of chunks (ascending numbers within the generation), in order."""
        parts: list[bytes] = []
        pages = generation.chunk_page[chunks]
        cuts = [*np.flatnonzero(np.diff(pages, prepend=-1)).tolist(), len(chunks)]
        for start, stop in pairwise(cuts):
            at = int(pages[start])
            page, base = generation.pages[at], int(generation.first_chunk[at])
            numbers = (chunks[start:stop] - base).tolist()
            if len(numbers) * 4 < numbers[-1] - numbers[0] + 1 or len(numbers) == 1:
                parts.extend(self._chunk(page, number) for number in numbers)
            else:
                parts.extend(self._read_some(page, numbers))
        return np.frombuffer(b"".join(parts), ENTRY)

    def _read_some(self, page: Page, numbers: list[int]) -> list[bytes]:
        """Chunks of a page with one read over all of them; those not asked for stay sealed."""
        first, last = numbers[0], numbers[-1]
        offset, length = chunk_span(page.count, first, last)
        view = memoryview(self._store.get_range(page.object, page.start + offset, length))
        key = self._key(page)
        opened = []
        for low, high in _runs(numbers):
            piece = view[(low - first) * CHUNK_BYTES : (high - first + 1) * CHUNK_BYTES]
            opened.extend(open_chunks(key, self._ring.room_id, page.id, page.count, low, piece))
        return opened

    def whole(self, page: Page) -> Entries:
        """All entries of a page, in order."""
        return np.frombuffer(b"".join(self._read(page, 0, len(page.fences) - 1)), ENTRY)

    def _read(self, page: Page, first: int, last: int) -> list[bytes]:
        offset, length = chunk_span(page.count, first, last)
        sealed = self._store.get_range(page.object, page.start + offset, length)
        return open_chunks(self._key(page), self._ring.room_id, page.id, page.count, first, memoryview(sealed))

    def _key(self, page: Page) -> bytes:
        kept = self._keys.get(page.id)
        if kept is not None:
            return kept
        bound = page_bound(page.version, page.count, page.first, page.last)
        key = self._ring.unwrap("page", page.id, page.wrapped, bound)
        with self._lock:
            return self._keys.keep(page.id, key)


def _runs(numbers: list[int]) -> list[tuple[int, int]]:
    """Ascending numbers as runs (first, last) without gaps."""
    found: list[tuple[int, int]] = []
    for number in numbers:
        if found and found[-1][1] == number - 1:
            found[-1] = (found[-1][0], number)
        else:
            found.append((number, number))
    return found


def _match(entries: Entries, high: U64, low: U64) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Where sorted tokens stand among sorted entries: positions i64[n], and which were found."""
    keys, lows = entries["hi"].astype(np.uint64), entries["lo"].astype(np.uint64)
    at = np.minimum(np.searchsorted(keys, high), len(keys) - 1).astype(np.int64)
    hit = (keys[at] == high) & (lows[at] == low)
    open_ = np.flatnonzero(~hit & (keys[at] == high))
    while open_.size:
        # equal high halves, another low one: step on through the few that share it
        at[open_] = np.minimum(at[open_] + 1, len(keys) - 1)
        hit[open_] = (keys[at[open_]] == high[open_]) & (lows[at[open_]] == low[open_])
        open_ = open_[~hit[open_] & (keys[at[open_]] == high[open_]) & (at[open_] < len(keys) - 1)]
    return at, hit


__all__ = ["Bytes2D", "PageReader", "Subject"]
