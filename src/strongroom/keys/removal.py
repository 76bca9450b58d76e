"""Take persons' secrets away: each touched key page is written anew once, without them, under a new key and id.

Rules it keeps:

1. One transaction swaps a group of pages, and holds whatever the caller does within it: all of the group, or nothing.
2. A page that somebody else wrote meanwhile is looked for again; nobody else's secret is touched.
3. Memory is that of one group: PAGES_AT_ONCE pages.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from strongroom.errors import ConflictError
from strongroom.keys.hierarchy import KeyRing
from strongroom.keys.pages import U64, Bytes2D, Entries, halves
from strongroom.keys.pagetable import Generation, Page, PageTable
from strongroom.keys.reader import PageReader
from strongroom.keys.rows import Database, Rows, named, take
from strongroom.keys.writer import PageWriter, insert_pages
from strongroom.seal.columns import places_among, token_text

if TYPE_CHECKING:
    from strongroom.store.base import Store

PAGES_AT_ONCE = 64

Within = Callable[[Rows, Bytes2D, U64], Any]
"""Called within the transaction with the tokens u8[k,16] whose secrets it takes away and the batch sequences u64[k] at
which they were first seen; what it returns is kept in `Removed.said`."""


@dataclass(frozen=True)
class Removed:
    """Which tokens had a secret that was taken away, bool[n], and what the caller's part of each transaction said."""

    gone: npt.NDArray[np.bool_]
    said: list[Any] = field(default_factory=list)


class _RacedError(ConflictError):
    """Somebody else changed what was prepared for; never leaves `keys`."""


@dataclass(frozen=True)
class Removal:
    """Takes secrets away.

    Args:
        database: Holds the rows of `rows.PAGE_TABLES`.
        store: Holds the page objects.
        ring: The epoch key.
        reader: Opens pages.
        writer: Writes pages.
        clock: Seconds since 1970.
    """

    database: Database
    store: Store
    ring: KeyRing
    reader: PageReader
    writer: PageWriter
    clock: Callable[[], float]

    def once(
        self, table: PageTable, tokens: Bytes2D, within: Within
    ) -> Iterator[tuple[npt.NDArray[np.int64], Any]]:
        """Remove what stands in the pages of a table.

        Args:
            table: The pages as last read.
            tokens: u8[n,16], sorted and distinct.
            within: See `Within`.

        Yields:
            After each transaction the places of the tokens it took away, and what `within` returned.

        Raises:
            _RacedError: A page changed meanwhile; groups before it are done.
        """
        gone = np.zeros(len(tokens), np.bool_)
        high, low = halves(tokens)
        for generation in table.generations:
            left = np.flatnonzero(~gone)
            if not left.size:
                break
            for pages, rows in self._groups(generation, left, high, low):
                for places, said in self._group(generation, pages, tokens, rows, within):
                    gone[places] = True
                    yield places, said

    def _groups(
        self, generation: Generation, left: npt.NDArray[np.int64], high: U64, low: U64
    ) -> Iterator[tuple[list[Page], list[npt.NDArray[np.int64]]]]:
        """Pages that may hold some of the tokens, PAGES_AT_ONCE at a time, each with the tokens to look for in it."""
        pages: list[Page] = []
        rows: list[npt.NDArray[np.int64]] = []
        for at, wanted in self.reader.pages_of(generation, high[left], low[left]):
            pages.append(generation.pages[at])
            rows.append(left[wanted])
            if len(pages) == PAGES_AT_ONCE:
                yield pages, rows
                pages, rows = [], []
        if pages:
            yield pages, rows

    def _group(
        self,
        generation: Generation,
        pages: list[Page],
        tokens: Bytes2D,
        rows: list[npt.NDArray[np.int64]],
        within: Within,
    ) -> Iterator[tuple[npt.NDArray[np.int64], Any]]:
        """Rewrite the pages of a group that hold one of the tokens, in one transaction, if there are any."""
        kept: list[Entries] = []
        touched: list[Page] = []
        found: list[npt.NDArray[np.int64]] = []
        born: list[U64] = []
        for page, wanted in zip(pages, rows, strict=True):
            entries = self.reader.whole(page)
            place, hit = _places(entries, tokens[wanted])
            if not hit.any():
                continue
            rest = np.ones(len(entries), np.bool_)
            rest[place[hit]] = False
            kept.append(entries[rest])
            touched.append(page)
            found.append(wanted[hit])
            born.append(entries["born"][place[hit]])
        if touched:
            gone = np.concatenate(found)
            taken = (tokens[gone], np.concatenate(born))
            yield gone, self._swap(generation, touched, kept, taken, within)

    def _swap(
        self,
        generation: Generation,
        old: list[Page],
        kept: list[Entries],
        taken: tuple[Bytes2D, U64],
        within: Within,
    ) -> Any:
        name, epoch = self.writer.new_name(), self.ring.epoch
        left = [entries for entries in kept if len(entries)]
        with self.database.write() as rows:
            rows.execute("INSERT INTO page_object_pending VALUES (?, ?)", (name, self.clock()))
        try:
            pages = self.writer.write(name, left, as_cut=True) if left else []
            with self.database.write() as rows:
                if self.ring.epoch != epoch or not _all_there(rows, old):
                    raise _RacedError("a page changed while it was written")
                said = within(rows, *taken)
                rows.executemany("DELETE FROM page WHERE id = ?", [(page.id,) for page in old])
                insert_pages(rows, generation.id, pages)
                change = "UPDATE generation SET stamp = stamp + 1, subjects = subjects - ? WHERE id = ?"
                rows.execute(change, (len(taken[0]), generation.id))
                rows.execute("DELETE FROM page_object_pending WHERE name = ?", (name,))
                take(rows, "pages")
                take(rows, "removals")
                emptied = [name for name in {page.object for page in old} if not named(rows, name)]
        except BaseException:
            self.store.delete(name)
            with self.database.write() as rows:
                rows.execute("DELETE FROM page_object_pending WHERE name = ?", (name,))
            raise
        for gone in emptied:
            self.store.delete(gone)
        return said


def _all_there(rows: Rows, pages: list[Page]) -> bool:
    """Whether pages are live still: whatever is written anew gets another id."""
    marks = ",".join("?" * len(pages))
    sql = f"SELECT count(*) FROM page WHERE id IN ({marks})"  # noqa: S608 - question marks only
    return int(rows.execute(sql, [page.id for page in pages]).fetchone()[0]) == len(pages)


def _places(entries: Entries, tokens: Bytes2D) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Where sorted tokens u8[n,16] stand among the entries of a page: places i64[n], and which are there bool[n]."""
    own = np.ascontiguousarray(entries).view(np.uint8).reshape(len(entries), -1)[:, :16]
    return places_among(token_text(own), token_text(tokens))
