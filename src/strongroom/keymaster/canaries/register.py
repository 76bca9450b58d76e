"""The register of canary persons: who is one, with which number of which pool; known to this process alone.

Rules it keeps:

1. Pools are registered and noted before any of their persons has records, all of a call in one transaction.
2. A pool never changes. What is known of it lies sealed under keys of its own; nothing in the database's tables tells
   a canary from a person.
3. What is asked here is asked by the keymaster's own parts and goes over no wire. What is opened is kept in memory, and
   read again when there are more pools.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from pyroaring import BitMap64

from strongroom.errors import ConflictError, DeniedError, IntegrityError, UnavailableError, UsageError
from strongroom.evidence.code import members
from strongroom.evidence.coderow import CodeRow
from strongroom.keymaster.canaries.api import POOLS_AT_ONCE_MAX, NewPool, PoolRecord
from strongroom.keymaster.canaries.pool import Pool, check_pool, open_pool, seal_pool
from strongroom.keymaster.core import Answer, Core
from strongroom.keymaster.erasures.api import Buried
from strongroom.keymaster.erasures.tombstones import BURIED_AT_ONCE, buried_at
from strongroom.keymaster.readings import Reading, Readings
from strongroom.keymaster.releasing import agreed
from strongroom.keymaster.seenmaps import bitmap
from strongroom.keys.rows import Rows, counter, put
from strongroom.seal.columns import places_among, sort_entries, token_text
from strongroom.seal.tokens import tokens

VERB = "plant"
POOL = "number, bias, count, persons, root, leaf, at"
ATTEMPTS_MAX = 16
EVERY_BATCH = (1 << 63) - 1
_NOBODY = np.empty((0, 16), np.uint8)

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
class _Book:
    """All canaries of a room, in the order of their tokens."""

    pools: int
    tokens: U8 = field(repr=False)
    pool: U32 = field(repr=False)
    number: U32 = field(repr=False)


class _MovedError(ConflictError):
    """Somebody was put since it was looked who is there; never leaves this module."""


_EMPTY = _Book(0, _NOBODY, np.empty(0, np.uint32), np.empty(0, np.uint32))


class EmbeddedCanaries:
    """See `keymaster.canaries.api.Canaries`; what is not in it is for the keymaster's own parts.

    Args:
        core: Keys and state.
        readings: The open readings.
    """

    def __init__(self, core: Core, readings: Readings) -> None:
        self._core = core
        self._readings = readings
        self._book = _EMPTY
        self._numbered: tuple[tuple[int, int, int], U64] = ((0, 0, 0), np.empty(0, np.uint64))
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return "<EmbeddedCanaries>"

    def forget(self) -> None:
        """Drop what was opened."""
        self._book = _EMPTY
        self._numbered = ((0, 0, 0), np.empty(0, np.uint64))

    # -- registering ----------------------------------------------------------------------------
    def register(self, reading_id: bytes, pools: Sequence[NewPool]) -> list[int]:
        """See `Canaries.register`."""
        core, reading = self._core, self._readings.get(reading_id)
        if not 0 < len(pools) <= POOLS_AT_ONCE_MAX:
            raise UsageError(f"register 1 to {POOLS_AT_ONCE_MAX} pools at once")
        self._readings.decide(reading, (VERB,), next(iter(reading.purpose.tables)), ())
        opened = []
        for given in pools:
            check_pool(given)
            own = tokens(core.subject.inner, core.subject.outer, given.subjects)
            opened.append(Pool(own, given.numbers, given.salts, given.digests))
        everybody = np.concatenate([pool.tokens for pool in opened])
        if len(np.unique(everybody.view("V16"))) != len(everybody):
            raise UsageError("a canary person is named twice")
        roots = [pool.root() for pool in opened]
        biases = [given.bias for given in pools]
        said = reading.said()
        for _ in range(ATTEMPTS_MAX):
            before = counter(core.state.read(), "ordinal")
            taken = int(core.keys.lookup(everybody).found.sum())

            def work(rows: Rows, before: int = before, taken: int = taken) -> Answer:
                self._check_new(rows, everybody, before, taken)
                self._agreed(rows, reading, len(everybody))
                numbers = [self._keep(rows, reading, *one) for one in zip(biases, opened, roots, strict=True)]
                return {"numbers": numbers}

            with suppress(_MovedError):
                numbers: list[int] = core.act(VERB, reading.actor, work, **said)["numbers"]
                return numbers
        raise UnavailableError("persons keep being put: ask again")

    def _check_new(self, rows: Rows, everybody: U8, before: int, taken: int) -> None:
        if counter(rows, "ordinal") != before:
            raise _MovedError("somebody was put meanwhile")
        known = int(self._which(rows, everybody).found.sum())
        gone = int((buried_at(rows, everybody) > 0).sum())
        if known or taken or gone:
            raise ConflictError(
                f"of {len(everybody):,} canary persons {known:,} are registered already, {taken:,} have records and"
                f" {gone:,} were erased",
                hint="a canary is registered once, before it is put, under an identifier that nobody ever had",
            )

    def _agreed(self, rows: Rows, reading: Reading, persons: int) -> None:
        core = self._core
        limits = agreed(rows, core, reading, frozenset())
        if not reading.leave.approval or not limits:
            raise DeniedError("canary persons need another person's agreement", rule="approval.needed")
        core.ledger.apply(rows, core.ledger.plan_count(rows, limits, persons, core.journal.now(rows)))

    def _keep(self, rows: Rows, reading: Reading, bias: int, pool: Pool, root: bytes) -> int:
        core = self._core
        newest = rows.execute("SELECT max(number) FROM canary_pool").fetchone()[0]
        number = 0 if newest is None else int(newest) + 1
        extras = {"pool": number, "bias": bias, "canaries": pool.count, "root": root.hex()}
        said = {**reading.said(), "rule": f"purposes.{reading.purpose.name}", "count": len(pool.tokens)}
        entry = core.journal.entry(rows, VERB, reading.actor, **said, extras=extras)
        leaf = core.journal.note(rows, entry)
        sealed = seal_pool(self._root(rows), core.room_id, number, pool)
        row = (number, bias, pool.count, len(pool.tokens), root, leaf, core.journal.now(rows), sealed)
        rows.execute("INSERT INTO canary_pool VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
        count_pools(rows)
        return number

    def _root(self, rows: Rows) -> bytes:
        row = rows.execute("SELECT wrapped FROM wrapped_key WHERE purpose = 'canaries' AND id = ?", (b"1",)).fetchone()
        if row is None:
            raise IntegrityError("the keymaster's database lacks its root of canary persons")
        return self._core.ring.unwrap("canaries", b"1", row[0])

    # -- looking --------------------------------------------------------------------------------
    def pools(self, actor: str) -> list[PoolRecord]:
        """See `Canaries.pools`."""
        core = self._core
        core.standing.refresh()
        core.standing.require(core.standing.decider.decide_act(actor, "log"))
        return self.records()

    def records(self, rows: Rows | None = None) -> list[PoolRecord]:
        """The pools, by number."""
        source = self._core.state.read() if rows is None else rows
        found = source.execute(f"SELECT {POOL} FROM canary_pool ORDER BY number").fetchall()  # noqa: S608 - own names
        return [
            PoolRecord(number, bias, count, persons, root.hex(), leaf, at)
            for number, bias, count, persons, root, leaf, at in found
        ]

    def hidden(self, reading_id: bytes, table: str, low: bytes, high: bytes) -> Buried:
        """See `Canaries.hidden`."""
        reading = self._readings.get(reading_id)
        if reading.holder.direct or not self.any():
            return Buried(0, _NOBODY, np.empty(0, np.uint64))
        self._readings.decide(reading, ("sql", "rows", "aggregate"), table, ())
        self._readings.within(reading, "sql", table, lambda warrant: warrant.check_counted(table))
        book = self._known(self._core.state.read())
        own = token_text(book.tokens)
        start, end = np.searchsorted(own, low, "left"), np.searchsorted(own, high, "right")
        some = book.tokens[start : min(int(end), int(start) + BURIED_AT_ONCE)]
        return Buried(0, some, np.full(len(some), EVERY_BATCH, np.uint64), book.pools)

    # -- for the keymaster's own parts ----------------------------------------------------------
    def any(self, rows: Rows | None = None) -> bool:
        """Whether the room has canaries: one counter."""
        return counter(self._core.state.read() if rows is None else rows, "canaries") > 0

    def which(self, asked: U8) -> Which:
        """Which of some persons are canaries, by subject tokens u8[n,16] in any order."""
        return self._which(self._core.state.read(), asked)

    def _which(self, rows: Rows, asked: U8) -> Which:
        pool, number = np.zeros(len(asked), np.uint32), np.zeros(len(asked), np.uint64)
        if not len(asked) or not self.any(rows):
            return Which(pool, number, np.zeros(len(asked), np.bool_))
        book = self._known(rows)
        at, found = places_among(token_text(book.tokens), token_text(asked))
        pool[found], number[found] = book.pool[at[found]], book.number[at[found]]
        return Which(pool, number, found)

    def all(self) -> U8:
        """The subject token of every canary, u8[n,16], in order."""
        return self._known(self._core.state.read()).tokens

    def ordinals(self) -> BitMap64:
        """The ordinals of all canaries that have been put."""
        return bitmap(self._ordinals()[self._ordinals() > 0])

    def held(self, row: CodeRow) -> BitMap64:
        """The ordinals of the canaries that an export has by its code row, as far as they have been put."""
        return bitmap(self.persons_of({pool: numbers for pool, numbers in members(row).items() if len(numbers)})[1])

    def persons_of(self, numbers: dict[int, U64]) -> tuple[U8, U64]:
        """Tokens u8[n,16] and ordinals u64[n] of canaries, by pool and numbers; whoever was never put is left out."""
        book, ordinals = self._known(self._core.state.read()), self._ordinals()
        chosen = np.zeros(len(book.tokens), np.bool_)
        for pool, own in numbers.items():
            chosen |= (book.pool == pool) & np.isin(book.number, own)
        chosen &= ordinals > 0
        return book.tokens[chosen], ordinals[chosen]

    @property
    def room_id(self) -> bytes:
        """The room's id, 16 B."""
        return self._core.room_id

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

    def _known(self, rows: Rows) -> _Book:
        pools, book = counter(rows, "canaries"), self._book
        if book.pools == pools:
            return book
        with self._lock:
            root, parts = self._root(rows), []
            for number, sealed in rows.execute("SELECT number, sealed FROM canary_pool ORDER BY number").fetchall():
                pool = open_pool(root, self._core.room_id, number, sealed)
                parts.append((pool.tokens, np.full(len(pool.tokens), number, np.uint32), pool.numbers))
            own, pool_of, number_of = (np.concatenate(column) for column in zip(*parts, strict=True))
            order = sort_entries(own)
            book = _Book(len(parts), own[order], pool_of[order], number_of[order])
            if book.pools == counter(self._core.state.read(), "canaries"):  # what a transaction undoes is not kept
                self._book = book
            return book

    def _ordinals(self) -> U64:
        """The ordinal of each canary, in the order of tokens; 0 for whoever was not put, or erased."""
        core = self._core
        rows = core.state.read()
        book = self._known(rows)
        stamp = (book.pools, counter(rows, "ordinal"), counter(rows, "removals"))
        if self._numbered[0] != stamp:
            found = core.keys.lookup(book.tokens)
            self._numbered = (stamp, np.where(found.found, found.ordinals, 0).astype(np.uint64))
        return self._numbered[1]


def count_pools(rows: Rows) -> None:
    """Say how many pools there are, within the transaction that changed it."""
    put(rows, "canaries", rows.execute("SELECT count(*) FROM canary_pool").fetchone()[0])
