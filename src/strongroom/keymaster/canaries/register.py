"""The register of canary persons: who is one, with which number of which pool; known to this process alone.

Rules it keeps:

1. A pool never changes. What is known of it lies sealed under keys of its own; nothing in the database's tables tells
   a canary from a person.
2. What is asked here is asked by the keymaster's own parts and goes over no wire. What is opened is kept in memory, and
   read again when there are more pools.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt
from pyroaring import BitMap64

from strongroom.errors import IntegrityError, UsageError
from strongroom.evidence.code import members
from strongroom.evidence.coderow import CodeRow
from strongroom.keymaster.behind import SMALL
from strongroom.keymaster.canaries.api import PoolRecord
from strongroom.keymaster.canaries.pool import Pool, open_pool, seal_pool
from strongroom.keymaster.core import Core
from strongroom.keymaster.seenmaps import bitmap
from strongroom.keys.rows import Rows, counter, put
from strongroom.seal.columns import places_among, sort_entries, token_text, token_words

POOL = "number, bias, count, persons, root, leaf, at"

U8 = npt.NDArray[np.uint8]
U32 = npt.NDArray[np.uint32]
U64 = npt.NDArray[np.uint64]
Bool = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Which:
    """Which of some persons are canaries.

    Args:
        pool: u32[n], the pool of each; 0 where it is none.
        number: u64[n], its number there; 0 where it is none.
        found: bool[n], whether it is one.
    """

    pool: U32 = field(repr=False)
    number: U64 = field(repr=False)
    found: Bool = field(repr=False)


@dataclass(frozen=True)
class Book:
    """All canaries of a room, in the order of their tokens.

    Args:
        pools: How many pools they are of.
        tokens: u8[n,16].
        pool: u32[n], the pool of each.
        number: u32[n], its number there.
    """

    pools: int
    tokens: U8 = field(repr=False)
    pool: U32 = field(repr=False)
    number: U32 = field(repr=False)

    @cached_property
    def _leading(self) -> U64:
        return np.ascontiguousarray(token_words(self.tokens)[:, 0])

    def has(self, token: bytes) -> bool:
        """Whether a token (16 B) is a canary's: without a column's overhead."""
        word = np.uint64(int.from_bytes(token[:8], "big"))
        at = int(self._leading.searchsorted(word))
        while at < len(self._leading) and self._leading[at] == word:
            if self.tokens[at].tobytes() == token:
                return True
            at += 1
        return False


_EMPTY = Book(0, np.empty((0, 16), np.uint8), np.empty(0, np.uint32), np.empty(0, np.uint32))
_NOT_NUMBERED = ((0, 0, 0), _EMPTY, np.empty(0, np.uint64))


class CanaryRegister:
    """Who is a canary, for the keymaster's own parts.

    Args:
        core: Keys and state.
    """

    def __init__(self, core: Core) -> None:
        self._core = core
        self._book = _EMPTY
        self._numbered: tuple[tuple[int, int, int], Book, U64] = _NOT_NUMBERED
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return "<CanaryRegister>"

    def forget(self) -> None:
        """Drop what was opened."""
        self._book, self._numbered = _EMPTY, _NOT_NUMBERED

    # -- who is one -----------------------------------------------------------------------------
    def any(self, rows: Rows | None = None) -> bool:
        """Whether the room has canaries: one counter."""
        return counter(self._core.state.read() if rows is None else rows, "canaries") > 0

    def which(self, asked: U8, rows: Rows | None = None) -> Which:
        """Which of some persons are canaries, by subject tokens u8[n,16] in any order."""
        pool, number = np.zeros(len(asked), np.uint32), np.zeros(len(asked), np.uint64)
        if not len(asked) or not self.any(rows):
            return Which(pool, number, np.zeros(len(asked), np.bool_))
        book = self.book(rows)
        at, found = places_among(token_text(book.tokens), token_text(asked))
        pool[found], number[found] = book.pool[at[found]], book.number[at[found]]
        return Which(pool, number, found)

    def found_in(self, rows: Rows, asked: U8) -> list[int]:
        """See `canaries.alarm.Register.found_in`: of few persons without a column's overhead, as each find pays it."""
        if not len(asked) or not self.any(rows):
            return []
        if len(asked) > SMALL:
            found: list[int] = np.flatnonzero(self.which(asked, rows).found).tolist()
            return found
        book, data = self.book(rows), asked.tobytes()
        return [at for at in range(len(asked)) if book.has(data[16 * at : 16 * at + 16])]

    def book(self, rows: Rows | None = None) -> Book:
        """All canaries."""
        source = self._core.state.read() if rows is None else rows
        pools, book = counter(source, "canaries"), self._book
        if book.pools == pools:
            return book
        with self._lock:
            root, parts = self._root(source), []
            for number, sealed in source.execute("SELECT number, sealed FROM canary_pool ORDER BY number").fetchall():
                pool = open_pool(root, self._core.room_id, number, sealed)
                parts.append((pool.tokens, np.full(len(pool.tokens), number, np.uint32), pool.numbers))
            own, pool_of, number_of = (np.concatenate(column) for column in zip(*parts, strict=True))
            order = sort_entries(own)
            book = Book(len(parts), own[order], pool_of[order], number_of[order])
            if book.pools == counter(self._core.state.read(), "canaries"):  # what a transaction undoes is not kept
                self._book = book
            return book

    def all(self) -> U8:
        """The subject token of every canary, u8[n,16], in order."""
        return self.book().tokens

    # -- who has records ------------------------------------------------------------------------
    def numbered(self) -> tuple[Book, U64]:
        """All canaries, and the ordinal of each: 0 for whoever was not put, or erased."""
        core = self._core
        rows = core.state.read()
        book = self.book(rows)
        stamp = (book.pools, counter(rows, "ordinal"), counter(rows, "removals"))
        kept = self._numbered
        if kept[0] != stamp:
            found = core.keys.lookup(book.tokens)
            kept = self._numbered = (stamp, book, np.where(found.found, found.ordinals, 0).astype(np.uint64))
        return kept[1:]

    def ordinals(self) -> BitMap64:
        """The ordinals of all canaries that have been put."""
        _, ordinals = self.numbered()
        return bitmap(ordinals[ordinals > 0])

    def held(self, row: CodeRow) -> BitMap64:
        """The ordinals of the canaries that an export has by its code row, as far as they have been put."""
        return bitmap(self.persons_of({pool: numbers for pool, numbers in members(row).items() if len(numbers)})[1])

    def persons_of(self, numbers: dict[int, U64]) -> tuple[U8, U64]:
        """Tokens u8[n,16] and ordinals u64[n] of canaries, by pool and numbers; whoever was never put is left out."""
        book, ordinals = self.numbered()
        chosen = np.zeros(len(book.tokens), np.bool_)
        for pool, own in numbers.items():
            chosen |= (book.pool == pool) & np.isin(book.number, own)
        chosen &= ordinals > 0
        return book.tokens[chosen], ordinals[chosen]

    # -- pools ----------------------------------------------------------------------------------
    @property
    def room_id(self) -> bytes:
        """The room's id, 16 B."""
        return self._core.room_id

    def records(self, rows: Rows | None = None) -> list[PoolRecord]:
        """The pools, by number, and whether all their persons were put."""
        source = self._core.state.read() if rows is None else rows
        whole = {row[0] for row in source.execute("SELECT number FROM canary_planted").fetchall()}
        found = source.execute(f"SELECT {POOL} FROM canary_pool ORDER BY number").fetchall()  # noqa: S608 - own names
        return [
            PoolRecord(number, bias, count, persons, root.hex(), leaf, at, number in whole)
            for number, bias, count, persons, root, leaf, at in found
        ]

    def keep(self, rows: Rows, number: int, bias: int, pool: Pool, root: bytes, leaf: int) -> None:
        """Write a pool, within the transaction that notes it as entry `leaf`."""
        core = self._core
        sealed = seal_pool(self._root(rows), core.room_id, number, pool)
        row = (number, bias, pool.count, len(pool.tokens), root, leaf, core.journal.now(rows), sealed)
        rows.execute("INSERT INTO canary_pool VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
        count_pools(rows)

    def root(self, number: int, count: int) -> bytes:
        """The root over what commits to the first so many canaries of a pool."""
        sql = "SELECT root FROM canary_pool WHERE number = ? AND count = ?"
        whole = self._core.state.read().execute(sql, (number, count)).fetchone()
        return self.pool(number).root(count) if whole is None else bytes(whole[0])

    def pool(self, number: int) -> Pool:
        """A pool with what commits to its contents.

        Raises:
            UsageError: There is none of this number.
        """
        rows = self._core.state.read()
        row = rows.execute("SELECT sealed FROM canary_pool WHERE number = ?", (number,)).fetchone()
        if row is None:
            raise UsageError(f"the room has no pool {number} of canary persons")
        return open_pool(self._root(rows), self._core.room_id, number, row[0])

    def _root(self, rows: Rows) -> bytes:
        row = rows.execute("SELECT wrapped FROM wrapped_key WHERE purpose = 'canaries' AND id = ?", (b"1",)).fetchone()
        if row is None:
            raise IntegrityError("the keymaster's database lacks its root of canary persons")
        return self._core.ring.unwrap("canaries", b"1", row[0])


def count_pools(rows: Rows) -> None:
    """Say how many pools there are, within the transaction that changed it."""
    put(rows, "canaries", rows.execute("SELECT count(*) FROM canary_pool").fetchone()[0])
