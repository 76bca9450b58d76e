"""Which key pages are live, as last read from the database: generations of sorted, disjoint pages.

Rules it keeps:

1. A `Generation` never changes; a new state of the database is a new `PageTable` that shares what stayed.
2. Only fences are in memory (the first token's half of every chunk, 8 bytes for 128 persons), no secret.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from strongroom.errors import IntegrityError
from strongroom.keys.pages import chunks_of
from strongroom.keys.rows import Rows, counter


@dataclass(frozen=True, slots=True)
class Page:
    """One live page: where it lies, what it spans, and its wrapped key."""

    id: bytes
    object: str
    start: int
    count: int
    version: int
    first: bytes
    last: bytes
    fences: memoryview = field(repr=False)
    wrapped: bytes = field(repr=False)


class Generation:
    """Pages that are sorted and disjoint.

    Args:
        ident: Id in the database.
        stamp: Changes when one of its pages is rewritten.
        pages: In order of token.
    """

    __slots__ = ("chunk_page", "fences", "first_chunk", "id", "lows", "pages", "stamp", "subjects")

    def __init__(self, ident: int, stamp: int, pages: list[Page]) -> None:
        self.id = ident
        self.stamp = stamp
        self.pages = pages
        self.subjects = sum(page.count for page in pages)
        self.lows = [int.from_bytes(page.first[:8], "big") for page in pages]
        counts = np.array([chunks_of(page.count) for page in pages], np.int64)
        self.first_chunk: npt.NDArray[np.int64] = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
        self.chunk_page: npt.NDArray[np.int64] = np.repeat(np.arange(len(pages)), counts)
        parts = [np.frombuffer(page.fences, np.uint64) for page in pages]
        self.fences: npt.NDArray[np.uint64] = np.concatenate(parts) if parts else np.empty(0, np.uint64)


class PageTable:
    """All live generations at one version of the database, largest first."""

    __slots__ = ("generations", "removals", "version")

    def __init__(self, version: int, removals: int, generations: tuple[Generation, ...]) -> None:
        self.version = version
        self.removals = removals
        self.generations = generations

    @property
    def subjects(self) -> int:
        """Persons in all pages."""
        return sum(generation.subjects for generation in self.generations)

    def beyond(self, older: PageTable) -> tuple[Generation, ...]:
        """Generations that an older table did not have in this state."""
        known = {(generation.id, generation.stamp) for generation in older.generations}
        return tuple(g for g in self.generations if (g.id, g.stamp) not in known)


EMPTY = PageTable(-1, 0, ())


def load(rows: Rows, old: PageTable = EMPTY) -> PageTable:
    """The page table now; generations unchanged since `old` are shared, not read again.

    `rows` should be one transaction; if it is not, call again until the version stands still.
    """
    version = counter(rows, "pages")
    if version == old.version:
        return old
    removals = counter(rows, "removals")
    known = {generation.id: generation for generation in old.generations}
    found = []
    for ident, stamp in rows.execute("SELECT id, stamp FROM generation").fetchall():
        before = known.get(ident)
        if before is None:
            before = Generation(ident, stamp, list(_pages(rows, ident)))
        elif before.stamp != stamp:
            before = Generation(ident, stamp, _changed(rows, before))
        found.append(before)
    found.sort(key=lambda generation: -generation.subjects)
    return PageTable(version, removals, tuple(found))


_COLUMNS = "SELECT id, object, start, count, version, first, last, fences, wrapped FROM page WHERE "


def _pages(rows: Rows, generation: int) -> Iterator[Page]:
    before = b""
    for row in rows.execute(_COLUMNS + "generation = ? ORDER BY first", (generation,)).fetchall():
        page = _page(row)
        if page.first <= before:
            raise _out_of_order(generation)
        before = page.last
        yield page


def _changed(rows: Rows, old: Generation) -> list[Page]:
    """The pages of a generation some of which were written anew: only those are read."""
    known = {(page.id, page.wrapped): page for page in old.pages}
    names = rows.execute("SELECT id, wrapped FROM page WHERE generation = ? ORDER BY first", (old.id,)).fetchall()
    pages, before = [], b""
    for name in names:
        page = known.get(name)
        if page is None:
            row = rows.execute(_COLUMNS + "id = ?", (name[0],)).fetchone()
            if row is None:
                return list(_pages(rows, old.id))  # it moved between two statements
            page = _page(row)
        if page.first <= before:
            raise _out_of_order(old.id)
        before = page.last
        pages.append(page)
    return pages


def _page(row: Sequence[Any]) -> Page:
    ident, name, start, count, version, first, last, fences, wrapped = row
    if last < first or len(fences) != 8 * chunks_of(count):
        raise IntegrityError("the row of a key page is malformed")
    return Page(ident, name, start, count, version, first, last, memoryview(fences).cast("Q"), wrapped)


def _out_of_order(generation: int) -> IntegrityError:
    return IntegrityError(f"generation {generation} of the key pages is out of order")
