"""Write key pages: sorted entries become sealed pages of one new object and the rows that name them.

Rules it keeps:

1. Every page gets a fresh id and a fresh key; what is written again never shares a key with what it replaces.
2. An object is durable before a row names it. A row in `page_object_pending` stands from before the object is
   made until its pages are live, so that a cleaner never takes what is being written.
3. Memory is that of one slice: entries stream in, pages stream out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from strongroom.keys import bloom
from strongroom.keys.hierarchy import KEY_BYTES, KeyRing
from strongroom.keys.pages import (
    PAGE_ENTRIES,
    U64,
    Bytes2D,
    Entries,
    fences_of,
    has_filter,
    joined,
    page_bound,
    page_bytes,
    seal_page,
)
from strongroom.keys.pagetable import Generation, Page
from strongroom.keys.reader import PageReader
from strongroom.keys.rows import Rows, take

if TYPE_CHECKING:
    from strongroom.store.base import Store

ENTRIES_AT_ONCE = 32 * PAGE_ENTRIES


class PageWriter:
    """Writes objects of pages.

    Args:
        store: Where they go.
        ring: Wraps page keys.
        entropy: Gives ids, names and keys.
    """

    def __init__(self, store: Store, ring: KeyRing, entropy: Callable[[int], bytes]) -> None:
        self._store = store
        self._ring = ring
        self._entropy = entropy

    def new_name(self) -> str:
        """A name for a new object."""
        return self._entropy(16).hex()

    def write(self, name: str, slices: Iterable[Entries], *, as_cut: bool = False) -> list[Page]:
        """Write one object from sorted, disjoint slices in order; returns its pages.

        Args:
            name: Of the object.
            slices: Entries; cut into full pages, or each a page if `as_cut`.
            as_cut: Whether the slices are pages already.
        """
        pages: list[Page] = []
        self._store.put(name, self._pieces(name, slices if as_cut else _full_pages(slices), pages))
        return pages

    def _pieces(self, name: str, cut: Iterable[Entries], pages: list[Page]) -> Iterator[bytes]:
        start = 0
        for entries in cut:
            page, sealed = self._seal(name, start, entries)
            pages.append(page)
            start += page_bytes(len(entries))
            yield sealed

    def _seal(self, name: str, start: int, entries: Entries) -> tuple[Page, bytes]:
        page_id, key = self._entropy(16), self._entropy(KEY_BYTES)
        first, last = entries[0].tobytes()[:16], entries[-1].tobytes()[:16]
        filter_bits = bloom.build(entries["lo"].astype(np.uint64)) if has_filter(len(entries)) else b""
        sealed = seal_page(key, self._ring.room_id, page_id, entries, filter_bits)
        wrapped = self._ring.wrap("page", page_id, key, page_bound(1, len(entries), first, last))
        fences = memoryview(fences_of(entries).tobytes()).cast("Q")
        return Page(page_id, name, start, len(entries), 1, first, last, fences, wrapped), sealed


def _full_pages(slices: Iterable[Entries]) -> Iterator[Entries]:
    """Cut slices into pages; what does not fill one is carried to the next slice."""
    rest: Entries | None = None
    for entries in slices:
        whole = entries if rest is None else joined([rest, entries])
        stop = len(whole) // PAGE_ENTRIES * PAGE_ENTRIES
        for start in range(0, stop, PAGE_ENTRIES):
            yield whole[start : start + PAGE_ENTRIES]
        rest = whole[stop:].copy() if stop < len(whole) else None
    if rest is not None:
        yield rest


def merged(reader: PageReader, generations: Iterable[Generation]) -> Iterator[Entries]:
    """The entries of several generations in order of token, a slice at a time.

    Ranges are cut at page starts so that a slice holds about ENTRIES_AT_ONCE entries whatever the generations hold.
    """
    pages = sorted((page for g in generations for page in g.pages), key=lambda page: page.first)
    waiting: list[Entries] = []
    held = 0
    for at, page in enumerate(pages):
        waiting.append(reader.whole(page))
        held += page.count
        if held < ENTRIES_AT_ONCE and at + 1 < len(pages):
            continue
        entries = _sorted(joined(waiting))
        # tokens below the next page's first can meet no later page: they leave now
        below = len(entries) if at + 1 == len(pages) else _count_below(entries, pages[at + 1].first)
        if below:
            yield entries[:below]
        waiting, held = [entries[below:]], len(entries) - below
    return


def _sorted(entries: Entries) -> Entries:
    high, low = entries["hi"].astype(np.uint64), entries["lo"].astype(np.uint64)
    return entries[_order(high, low)]


def _order(high: U64, low: U64) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    order = np.argsort(high)
    ordered = high[order]
    if (ordered[1:] == ordered[:-1]).any():
        return np.lexsort((low, high))
    return order


def _count_below(entries: Entries, token: bytes) -> int:
    high, low = int.from_bytes(token[:8], "big"), int.from_bytes(token[8:], "big")
    keys = entries["hi"].astype(np.uint64)
    start = int(np.searchsorted(keys, np.uint64(high), side="left"))
    stop = int(np.searchsorted(keys, np.uint64(high), side="right"))
    return start + int(np.count_nonzero(entries["lo"][start:stop] < low))


def distinct(tokens: Bytes2D, high: U64, low: U64) -> tuple[Bytes2D, np.ndarray[tuple[int], np.dtype[np.int64]]]:
    """The distinct tokens in order, and per row the place of its token among them."""
    order = _order(high, low)
    sorted_high, sorted_low = high[order], low[order]
    fresh = np.ones(len(order), np.bool_)
    fresh[1:] = (sorted_high[1:] != sorted_high[:-1]) | (sorted_low[1:] != sorted_low[:-1])
    place = np.empty(len(order), np.int64)
    place[order] = np.cumsum(fresh) - 1
    return np.take(tokens, order[fresh], axis=0), place


def insert_generation(rows: Rows, pages: list[Page]) -> None:
    """Make written pages live as one new generation, within a transaction."""
    ident = take(rows, "generation")
    rows.execute("INSERT INTO generation VALUES (?, 1, ?)", (ident, sum(page.count for page in pages)))
    insert_pages(rows, ident, pages)
    rows.executemany("DELETE FROM page_object_pending WHERE name = ?", [(name,) for name in {p.object for p in pages}])
    take(rows, "pages")


def insert_pages(rows: Rows, generation: int, pages: Iterable[Page]) -> None:
    """Rows of pages that belong to a generation."""
    rows.executemany(
        "INSERT INTO page VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (p.id, generation, p.object, p.start, p.count, p.version, p.first, p.last, p.fences.tobytes(), p.wrapped)
            for p in pages
        ],
    )
