"""The secrets of all persons: find them by token, make them for persons not seen before, take one away.

Rules it keeps:

1. A secret is in exactly one live page. Rows swap in one transaction; an object goes only when no row names it.
2. Two processes that meet the same new person agree on one secret: what was prepared outside the write lock is
   checked again inside it, and prepared anew if somebody was first.
3. At most 16 generations lie beside each other; the smallest are merged, each person a few times in a room's life.
4. Memory is bounded: fences, some filters and some chunks (see `reader`), one slice of a merge (see `writer`).

Layout of a page is in `pages`. Who may have a secret is for the keymaster to say.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from strongroom.errors import IntegrityError, NotFoundError, UnavailableError
from strongroom.keys import pagetable, removal
from strongroom.keys.hierarchy import KEY_BYTES, KeyRing
from strongroom.keys.pages import U64, Bytes2D, halves, joined, make_entries, secrets_of, tokens_of
from strongroom.keys.pagetable import Generation, Page, PageTable
from strongroom.keys.reader import PageReader, Subject
from strongroom.keys.removal import Removal, Removed, _RacedError
from strongroom.keys.rows import Database, Rows, counter, named, take
from strongroom.keys.writer import PageWriter, distinct, insert_generation, insert_pages, merged

if TYPE_CHECKING:
    from strongroom.store.base import Store

GENERATIONS_MAX = 16
MERGE_LEAST = 8
ATTEMPTS_MAX = 16
PENDING_SECONDS = 3600.0
SMALL_LOOKUP = 8

Within = Callable[[Rows, int, U64], None]
Swapped = Callable[[Rows, int], None]


@dataclass(frozen=True)
class Found:
    """What was found, in the order asked: found bool[n], secrets u8[n,32], ordinals u64[n], born u64[n]."""

    found: npt.NDArray[np.bool_]
    secrets: Bytes2D = field(repr=False)
    ordinals: U64
    born: U64


@dataclass(frozen=True)
class Ensured:
    """Secrets u8[n,32] and ordinals u64[n] in the order asked; `new` counts persons first seen."""

    secrets: Bytes2D = field(repr=False)
    ordinals: U64
    new: int


def _nothing(_rows: Rows, _new: int, _again: U64) -> None:
    """Do nothing within the transaction."""


def _swap_nothing(_rows: Rows, _pages: int) -> None:
    """Do nothing within the transaction that swaps pages."""


def _bury_nothing(_rows: Rows, _tokens: Bytes2D, _born: U64) -> None:
    """Do nothing within the transaction that takes secrets away."""


class KeyStore:
    """Key pages of one room.

    Args:
        database: Holds the rows of `rows.PAGE_TABLES`.
        store: Holds the page objects, and nothing else.
        ring: The epoch key.
        entropy: Source of randomness.
        clock: Seconds since 1970.
    """

    def __init__(
        self,
        database: Database,
        store: Store,
        ring: KeyRing,
        entropy: Callable[[int], bytes],
        clock: Callable[[], float],
    ) -> None:
        self._database = database
        self._store = store
        self._entropy = entropy
        self._clock = clock
        self._ring = ring
        self._reader = PageReader(store, ring)
        self._writer = PageWriter(store, ring, entropy)
        self._removal = Removal(database, store, ring, self._reader, self._writer, clock)
        self._table = pagetable.EMPTY
        self._table_lock = threading.Lock()
        self._insert_lock = threading.Lock()
        self._merge_lock = threading.Lock()

    def __repr__(self) -> str:
        return f"<KeyStore of {self._table.subjects} subjects>"

    def close(self) -> None:
        """Drop decrypted chunks and page keys."""
        self._reader.forget()
        self._store.close()

    # -- finding --------------------------------------------------------------------------------
    def refresh(self, rows: Rows | None = None) -> PageTable:
        """The page table as the database has it now (or as `rows`, a transaction, sees it)."""
        source = self._database.read() if rows is None else rows
        if counter(source, "pages") == self._table.version:
            return self._table
        with self._table_lock:
            old, table = self._table, pagetable.load(source, self._table)
            if rows is None:
                # outside a transaction the rows may have moved between two statements: read until they stand still
                while counter(source, "pages") != table.version:
                    table = pagetable.load(source, pagetable.EMPTY)
                self._table = table
        if table.removals != old.removals:
            self._reader.forget()
        return table

    @contextlib.contextmanager
    def _moving(self) -> Iterator[None]:
        """Let an attempt end quietly when what it read was merged away or wrapped anew; the caller looks again."""
        epoch = self._ring.epoch
        try:
            yield
        except NotFoundError:
            return
        except IntegrityError:
            if self._ring.epoch == epoch:
                raise

    def one(self, token: bytes) -> Subject | None:
        """The secret of one person, or None for a token no page has."""
        return self.few([token])[1][0]

    def few(self, tokens: Sequence[bytes], *, lately: bool = False) -> tuple[int, list[Subject | None]]:
        """The secrets of a few persons, and the number of removals when they were looked up.

        Args:
            tokens: 16 B each.
            lately: As things stood a moment ago, where another process changes them (`Database.recent_counter`): for
                who sees, in a transaction, that nobody was removed since. Whoever is not found is looked for anew.
        """
        for _ in range(ATTEMPTS_MAX):
            table = self._lately() if lately else self.refresh()
            with self._moving():  # an object was merged away since the table was read
                found = [self._one(table, token) for token in tokens]
                if not (lately and None in found):
                    return table.removals, found
            lately = False
        raise UnavailableError("the key pages keep moving")

    def _lately(self) -> PageTable:
        table = self._table
        return table if self._database.recent_counter("pages") == table.version else self.refresh()

    def _one(self, table: PageTable, token: bytes) -> Subject | None:
        for generation in table.generations:
            subject = self._reader.one(generation, token)
            if subject is not None:
                return subject
        return None

    def lookup(self, tokens: Bytes2D) -> Found:
        """The secrets of many persons.

        Args:
            tokens: u8[n,16], in any order, repeats allowed.
        """
        if len(tokens) <= SMALL_LOOKUP:
            return _found(self.few([token.tobytes() for token in tokens])[1])
        for _ in range(ATTEMPTS_MAX):
            with self._moving():
                return self._lookup(self.refresh().generations, tokens)
        raise UnavailableError("the key pages keep moving")

    def _lookup(self, generations: tuple[Generation, ...], tokens: Bytes2D, *, ordered: bool = False) -> Found:
        size = len(tokens)
        result = Found(
            np.zeros(size, np.bool_),
            np.zeros((size, KEY_BYTES), np.uint8),
            np.zeros(size, np.uint64),
            np.zeros(size, np.uint64),
        )
        if not generations:
            return result
        high, low = halves(tokens)
        ordered = ordered or not (high[1:] < high[:-1]).any()
        left = np.arange(size) if ordered else np.argsort(high)
        if not ordered:
            high, low = high[left], low[left]
        for generation in generations:
            if not left.size:
                break
            place, entries = self._reader.many(generation, high, low)
            if not place.size:
                continue
            rows = left[place]
            result.found[rows] = True
            result.secrets.view("V32")[rows, 0] = secrets_of(entries)
            result.ordinals[rows] = entries["ordinal"]
            result.born[rows] = entries["born"]
            rest = np.ones(len(left), np.bool_)
            rest[place] = False
            left, high, low = left[rest], high[rest], low[rest]
        return result

    def tokens(self, pages: int) -> Iterator[Bytes2D]:
        """The tokens of all persons, u8[n,16], those of some pages at a time.

        Pages that move meanwhile are read where they went: nobody is left out, somebody may come twice.
        """
        done = pagetable.EMPTY
        for _ in range(ATTEMPTS_MAX):
            table = self.refresh()
            whole = False
            with self._moving():
                for generation in table.beyond(done):
                    for start in range(0, len(generation.pages), pages):
                        some = [self._reader.whole(page) for page in generation.pages[start : start + pages]]
                        yield tokens_of(joined(some))
                whole = True
            if whole and self.refresh().version == table.version:
                return
            done = table if whole else done
        raise UnavailableError("the key pages keep moving")

    # -- making ---------------------------------------------------------------------------------
    def ensure(self, tokens: Bytes2D, born: int, within: Within = _nothing) -> Ensured:
        """Secrets of persons, made now for those not seen before.

        Args:
            tokens: u8[n,16], repeats allowed.
            born: Batch sequence that new persons get.
            within: Called with the open transaction, the number of new persons, and the ordinals u64[k] of those who
                are not new or are there several times, before anything is released; what it raises undoes everything.
        """
        own, place = distinct(tokens, *halves(tokens))
        looked, found = self._lookup_now(own)
        missing = np.flatnonzero(~found.found)
        if not missing.size:
            with self._database.write() as rows:
                within(rows, 0, found.ordinals)
        else:
            several = np.bincount(place, minlength=len(own)) > 1
            with self._insert_lock:
                self._make(own, born, within, looked, found, several)
            self.merge()
        new = int(np.count_nonzero(found.born[missing] == born)) if missing.size else 0
        return Ensured(np.take(found.secrets, place, axis=0), found.ordinals[place], new)

    def _lookup_now(self, tokens: Bytes2D, looked: PageTable = pagetable.EMPTY) -> tuple[PageTable, Found]:
        """Look sorted tokens up in the generations that `looked` did not have; returns the page table they are of."""
        for _ in range(ATTEMPTS_MAX):
            table = self.refresh()
            with self._moving():
                return table, self._lookup(table.beyond(looked), tokens, ordered=True)
        raise UnavailableError("the key pages keep moving")

    def _make(
        self,
        own: Bytes2D,
        born: int,
        within: Within,
        looked: PageTable,
        found: Found,
        several: npt.NDArray[np.bool_],
    ) -> None:
        """Make secrets for what is not found among distinct sorted tokens; fills `found`."""
        for _ in range(ATTEMPTS_MAX):
            # somebody may have made some of them since: look only where this process has not looked
            missing = np.flatnonzero(~found.found)
            table = self.refresh()
            if table.version != looked.version:
                looked, more = self._lookup_now(own[missing], looked)
                self._fill(found, (missing, more))
                missing = np.flatnonzero(~found.found)
            if self._make_once(own, born, within, looked, found, several):
                return
        raise UnavailableError("other writers keep adding the same persons: try again")

    def _fill(self, found: Found, again: tuple[npt.NDArray[np.int64], Found]) -> None:
        rows, more = again
        rows, hit = rows[more.found], more.found
        found.found[rows] = True
        found.secrets[rows] = more.secrets[hit]
        found.ordinals[rows] = more.ordinals[hit]
        found.born[rows] = more.born[hit]

    def _make_once(
        self,
        own: Bytes2D,
        born: int,
        within: Within,
        table: PageTable,
        found: Found,
        several: npt.NDArray[np.bool_],
    ) -> bool:
        missing = np.flatnonzero(~found.found)
        size, name = len(missing), self._writer.new_name()
        fresh = own if size == len(own) else own[missing]
        with self._database.write() as rows:
            first = take(rows, "ordinal", size) if size else 0
            rows.execute("INSERT INTO page_object_pending VALUES (?, ?)", (name, self._clock()))
        secrets = np.frombuffer(self._entropy(KEY_BYTES * size), np.uint8).reshape(size, KEY_BYTES)
        ordinals = np.arange(first, first + size, dtype=np.uint64)
        mine = slice(None) if size == len(own) else missing
        every = found.ordinals.copy()
        every[mine] = ordinals
        pages: list[Page] = []
        epoch = self._ring.epoch
        try:
            if size:
                pages = self._writer.write(name, [make_entries(fresh, secrets, ordinals, born)])
            with self._database.write() as rows:
                self._same(epoch)
                if not self._still_missing(rows, table, fresh):
                    raise _RacedError("somebody else added one of these persons")
                within(rows, size, every[found.found | several])
                if size:
                    insert_generation(rows, pages)
                else:
                    rows.execute("DELETE FROM page_object_pending WHERE name = ?", (name,))
        except BaseException as error:
            self._discard(name)
            if isinstance(error, _RacedError):
                return False
            raise
        found.found[mine] = True
        found.secrets[mine] = secrets
        found.ordinals[mine] = ordinals
        found.born[mine] = born
        return True

    def _same(self, epoch: int) -> None:
        """Within a transaction: what was wrapped under an epoch goes in only while that epoch is in force."""
        if self._ring.epoch != epoch:
            raise _RacedError("the epoch was turned meanwhile")

    def _still_missing(self, rows: Rows, table: PageTable, tokens: Bytes2D) -> bool:
        if not len(tokens) or counter(rows, "pages") == table.version:
            return True
        fresh = pagetable.load(rows, table).beyond(table)
        return not self._lookup(fresh, tokens, ordered=True).found.any()

    def _discard(self, name: str) -> None:
        self._store.delete(name)
        with self._database.write() as rows:
            rows.execute("DELETE FROM page_object_pending WHERE name = ?", (name,))

    # -- merging --------------------------------------------------------------------------------
    def merge(self) -> int:
        """Merge the smallest generations when there are more than 16; returns how many were merged."""
        if len(self.refresh().generations) <= GENERATIONS_MAX or not self._merge_lock.acquire(blocking=False):
            return 0
        try:
            return self._merge(_to_merge(self.refresh().generations))
        finally:
            self._merge_lock.release()

    def _merge(self, inputs: tuple[Generation, ...]) -> int:
        if not inputs:
            return 0
        name = self._writer.new_name()
        with self._database.write() as rows:
            rows.execute("INSERT INTO page_object_pending VALUES (?, ?)", (name, self._clock()))
        epoch = self._ring.epoch
        try:
            pages = self._writer.write(name, merged(self._reader, inputs))
            with self._database.write() as rows:
                self._same(epoch)
                if not all(_unchanged(rows, generation) for generation in inputs):
                    raise _RacedError("a generation changed while it was merged")
                emptied = self._drop(rows, inputs)
                insert_generation(rows, pages)
        except (_RacedError, NotFoundError, IntegrityError) as error:
            self._discard(name)
            if isinstance(error, IntegrityError) and self._ring.epoch == epoch:
                raise
            return 0  # another process merged or rewrote one of them: its work stands
        except BaseException:
            self._discard(name)
            raise
        for old in emptied:
            self._store.delete(old)
        return len(inputs)

    def _drop(self, rows: Rows, inputs: tuple[Generation, ...]) -> list[str]:
        """Delete the rows of generations; returns objects that no row names any more."""
        idents = [(generation.id,) for generation in inputs]
        rows.executemany("DELETE FROM page WHERE generation = ?", idents)
        rows.executemany("DELETE FROM generation WHERE id = ?", idents)
        names = {page.object for generation in inputs for page in generation.pages}
        return [name for name in names if not named(rows, name)]

    # -- removing -------------------------------------------------------------------------------
    def remove(self, token: bytes) -> bool:
        """Take one person's secret away; see `remove_many`. Returns whether there was one."""
        return bool(self.remove_many(np.frombuffer(token, np.uint8).reshape(1, 16)).gone[0])

    def remove_many(self, tokens: Bytes2D, within: removal.Within = _bury_nothing) -> Removed:
        """Take persons' secrets away: each page that holds one is written anew without them under a new key and id.

        Args:
            tokens: u8[n,16], sorted and distinct.
            within: Called in each transaction with the tokens it takes away and when they were first seen; what it
                raises undoes that transaction, and ends the call: those before it stand.
        """
        gone, said = np.zeros(len(tokens), np.bool_), []
        for _ in range(ATTEMPTS_MAX):
            left = np.flatnonzero(~gone)
            with self._moving(), contextlib.suppress(_RacedError):
                for places, word in self._removal.once(self.refresh(), tokens[left], within):
                    gone[left[places]] = True
                    said.append(word)
                self.refresh()
                return Removed(gone, said)
        raise UnavailableError("the key pages keep moving")

    # -- renewing -------------------------------------------------------------------------------
    def renew(self, most: int, within: Swapped = _swap_nothing) -> tuple[int, int]:
        """Write pages that are due (rows of `page_due`) anew, each under a new key and id, its persons as they were.

        Args:
            most: Pages at most; memory is that of one page.
            within: Called with each transaction and the number of pages it swaps.

        Returns:
            Pages written, and pages still due.
        """
        done = 0
        for generation in self.refresh().generations:
            due = {row[0] for row in self._database.read().execute("SELECT id FROM page_due").fetchall()}
            pages = [page for page in generation.pages if page.id in due][: most - done]
            if not pages:
                continue
            with self._moving(), contextlib.suppress(_RacedError):
                self._renew(generation, pages, within)
                done += len(pages)
        with self._database.write() as rows:
            rows.execute("DELETE FROM page_due WHERE NOT EXISTS (SELECT 1 FROM page WHERE page.id = page_due.id)")
            left: int = rows.execute("SELECT count(*) FROM page_due").fetchone()[0]
        return done, left

    def _renew(self, generation: Generation, pages: list[Page], within: Swapped) -> None:
        name, epoch = self._writer.new_name(), self._ring.epoch
        with self._database.write() as rows:
            rows.execute("INSERT INTO page_object_pending VALUES (?, ?)", (name, self._clock()))
        try:
            renewed = self._writer.write(name, (self._reader.whole(page) for page in pages), as_cut=True)
            with self._database.write() as rows:
                self._same(epoch)
                if not _unchanged(rows, generation):
                    raise _RacedError("a page changed while it was written")
                within(rows, len(pages))
                rows.executemany("DELETE FROM page WHERE id = ?", [(page.id,) for page in pages])
                insert_pages(rows, generation.id, renewed)
                rows.execute("UPDATE generation SET stamp = stamp + 1 WHERE id = ?", (generation.id,))
                rows.execute("DELETE FROM page_object_pending WHERE name = ?", (name,))
                take(rows, "pages")
                emptied = [old for old in {page.object for page in pages} if not named(rows, old)]
        except BaseException:
            self._discard(name)
            raise
        for old in emptied:
            self._store.delete(old)

    # -- cleaning -------------------------------------------------------------------------------
    def clean(self) -> int:
        """Remove objects that a crash left; returns how many.

        Objects are listed before rows are read: one that is being written has its pending row already.
        """
        names = [name for name, _size in self._store.list()]
        with self._database.write() as rows:
            rows.execute("DELETE FROM page_object_pending WHERE made < ?", (self._clock() - PENDING_SECONDS,))
            pending = {row[0] for row in rows.execute("SELECT name FROM page_object_pending").fetchall()}
            stray = [name for name in names if name not in pending and not named(rows, name)]
        for name in stray:
            self._store.delete(name)
        return len(stray)


def _unchanged(rows: Rows, generation: Generation) -> bool:
    row = rows.execute("SELECT stamp FROM generation WHERE id = ?", (generation.id,)).fetchone()
    return row is not None and row[0] == generation.stamp


def _to_merge(generations: tuple[Generation, ...]) -> tuple[Generation, ...]:
    """The smallest generations: at least 8, and every further one no larger than all before it together."""
    if len(generations) <= GENERATIONS_MAX:
        return ()
    chosen: list[Generation] = []
    total = 0
    for generation in sorted(generations, key=lambda g: g.subjects):
        if len(chosen) >= MERGE_LEAST and generation.subjects > total:
            break
        chosen.append(generation)
        total += generation.subjects
    return tuple(chosen)


def _found(subjects: list[Subject | None]) -> Found:
    size = len(subjects)
    secrets = b"".join(bytes(KEY_BYTES) if s is None else s.secret for s in subjects)
    return Found(
        np.array([s is not None for s in subjects], np.bool_),
        np.frombuffer(secrets, np.uint8).reshape(size, KEY_BYTES).copy(),
        np.array([0 if s is None else s.ordinal for s in subjects], np.uint64),
        np.array([0 if s is None else s.born for s in subjects], np.uint64),
    )
