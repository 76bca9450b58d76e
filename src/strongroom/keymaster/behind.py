"""Who stands behind rows that somebody wants opened: which are alive, whose they are, and are their batches real."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from strongroom.errors import ConflictError, DeniedError, UnavailableError
from strongroom.keymaster.core import Core
from strongroom.keymaster.erasures.tombstones import buried_at, horizon
from strongroom.keymaster.steps import Steps
from strongroom.keys.rows import Rows, counter
from strongroom.schema.model import Table

ATTEMPTS_MAX = 16
BATCHES_KEPT_MAX = 65_536
SMALL = 64
STRETCHES_MAX = 1024
"""Stretches of rows of one batch, beyond which rows are sorted by batch first."""

P = TypeVar("P")
T = TypeVar("T")


@dataclass(frozen=True)
class PersonsBehind:
    """Who stands behind some rows: which rows were found, their secrets, distinct ordinals (u64) and tokens.

    `removals` is the number of removals when they were looked up; `born`, of a few rows, the sequence of the batch that
    each row's person first came with (0 where nobody was found).
    """

    removals: int
    found: npt.NDArray[np.bool_]
    secrets: npt.NDArray[np.uint8] = field(repr=False)
    distinct: npt.NDArray[np.uint64]
    tokens: npt.NDArray[np.uint8] = field(repr=False)
    row_ordinals: npt.NDArray[np.uint64] = field(repr=False)
    born: list[int] | None = None

    @cached_property
    def everybody(self) -> bool:
        """Whether every row was found."""
        return int(np.count_nonzero(self.found)) == len(self.found)

    @cached_property
    def ordinals(self) -> list[int]:
        """The distinct ordinals as numbers."""
        found: list[int] = self.distinct.tolist()
        return found

    def without(self, gone: npt.NDArray[np.bool_], tokens: npt.NDArray[np.uint8]) -> PersonsBehind:
        """The same without some rows, bool[n]; `tokens` u8[n,16] are those that it was asked by."""
        if not (self.found & gone).any():
            return self
        found = self.found & ~gone
        rows = np.flatnonzero(found)
        distinct, first = np.unique(self.row_ordinals[rows], return_index=True)
        return replace(self, found=found, distinct=distinct, tokens=np.ascontiguousarray(tokens[rows[first]]))


class _ErasedError(ConflictError):
    """A person was erased since the secrets were looked up; never leaves `settling`."""


def settling(look_up: Callable[[], P], acting: Callable[[P], Steps[T]]) -> Steps[tuple[P, T]]:
    """Look persons up, then act on them; both again where `check_nobody_erased` found that somebody was meanwhile.

    Raises:
        UnavailableError: Persons keep being erased.
    """
    for _ in range(ATTEMPTS_MAX):
        found = look_up()
        with suppress(_ErasedError):
            return found, (yield from acting(found))
    raise UnavailableError("persons keep being erased: ask again")


def check_nobody_erased(rows: Rows, removals: int) -> None:
    """See that the number of removals is still the one of the look-up; within the transaction of `settling`."""
    if counter(rows, "removals") != removals:
        raise _ErasedError("somebody was erased meanwhile")


class Behind:
    """Finds persons by rows, for one keymaster."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._batches: dict[bytes, bytes] = {}
        self._numbered: dict[int, bytes] = {}

    def persons(
        self, tokens: npt.NDArray[np.uint8], batches: npt.NDArray[np.uint8], model: Table, *, lately: bool = False
    ) -> PersonsBehind:
        """Whose rows these are.

        Args:
            tokens: Subject token per row, u8[n,16].
            batches: Batch id per row, u8[n,16].
            model: The table.
            lately: See `KeyStore.few`: for who calls `check_nobody_erased` before anything is released.
        """
        if len(tokens) <= SMALL:
            return self._few(tokens, batches, model, lately)
        removals = self._core.keys.refresh().removals
        many = self._core.keys.lookup(tokens)
        living = self._living(tokens, batches, model, removals)
        alive = many.found if living is None else many.found & living
        rows = np.flatnonzero(alive)
        ordinals = many.ordinals[rows]
        order = np.argsort(ordinals)
        ordinals = ordinals[order]
        fresh = np.ones(len(ordinals), np.bool_)
        np.not_equal(ordinals[1:], ordinals[:-1], out=fresh[1:])
        return PersonsBehind(
            removals, alive, many.secrets, ordinals[fresh], tokens[rows[order[fresh]]], many.ordinals
        )

    def _few(
        self, tokens: npt.NDArray[np.uint8], batches: npt.NDArray[np.uint8], model: Table, lately: bool
    ) -> PersonsBehind:
        secrets, found, own, numbers, born = bytearray(), [], dict[int, bytes](), [], []
        asked = [row.tobytes() for row in tokens]
        removals, subjects = self._core.keys.few(asked, lately=lately)
        living = self._living(tokens, batches, model, removals)
        for at, (token, subject) in enumerate(zip(asked, subjects, strict=True)):
            here = subject if living is None or living[at] else None
            found.append(here is not None)
            secrets += bytes(32) if here is None else here.secret
            numbers.append(0 if here is None else here.ordinal)
            born.append(0 if here is None else here.born)
            if here is not None:
                own[here.ordinal] = token
        distinct = np.frombuffer(b"".join(own.values()), np.uint8).reshape(-1, 16)
        matrix = np.frombuffer(bytes(secrets), np.uint8).reshape(-1, 32)
        rows = np.array(numbers, np.uint64)
        ordinals = np.fromiter(own, np.uint64, len(own))
        return PersonsBehind(removals, np.array(found, np.bool_), matrix, ordinals, distinct, rows, born)

    def _living(
        self, tokens: npt.NDArray[np.uint8], batches: npt.NDArray[np.uint8], model: Table, removals: int
    ) -> npt.NDArray[np.bool_] | None:
        """Which rows are neither of an erasure nor past their retention, bool[n]; None where nobody is."""
        if not removals and model.retention is None:
            return None
        rows = self._core.state.read()
        limit = np.maximum(buried_at(rows, tokens), np.uint64(horizon(rows, model, self._core.clock())))
        return np.ascontiguousarray(batches[:, :8]).view("<u8")[:, 0] > limit

    def batch_of(self, sequence: int) -> bytes | None:
        """The id of the committed batch of a sequence number; None where there is none."""
        found = self._numbered.get(sequence)
        if found is None:
            sql = "SELECT id FROM batch WHERE sequence = ? AND state = 'committed'"
            row = self._core.state.read().execute(sql, (sequence,)).fetchone()
            if row is None:
                return None
            if len(self._numbered) >= BATCHES_KEPT_MAX:
                self._numbered.clear()
            found = self._numbered[sequence] = bytes(row[0])
        return found

    def check_batches(self, rows: Rows, batches: npt.NDArray[np.uint8], model: Table) -> None:
        """Every batch asked for is a committed one of the table.

        Raises:
            DeniedError: One is not.
        """
        size = len(batches)
        own = {row.tobytes() for row in batches} if size <= SMALL else _distinct(batches)
        for batch in own:
            table_id = self._batches.get(batch)
            if table_id is None:
                sql = "SELECT table_id FROM batch WHERE id = ? AND state = 'committed'"
                row = rows.execute(sql, (batch,)).fetchone()
                if row is None:
                    raise DeniedError("a batch asked for was never committed", rule="room.foreign-batch")
                if len(self._batches) >= BATCHES_KEPT_MAX:
                    self._batches.clear()
                table_id = self._batches[batch] = row[0]
            if table_id != model.id:
                raise DeniedError(f"a batch asked for is not of table {model.name}", rule="room.foreign-batch")


def _distinct(batches: npt.NDArray[np.uint8]) -> set[bytes]:
    pairs = np.ascontiguousarray(batches).view(np.uint64).reshape(-1, 2)
    other = _changes(pairs)
    if len(other) > STRETCHES_MAX:
        pairs = pairs[np.argsort(pairs[:, 0])]
        other = _changes(pairs)
    data = pairs[np.concatenate([[0], other])].tobytes()
    return {data[at : at + 16] for at in range(0, len(data), 16)}


def _changes(pairs: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
    """Where u64[n,2] is another than before."""
    halves = np.ascontiguousarray(pairs.T)
    return np.flatnonzero((halves[0, 1:] != halves[0, :-1]) | (halves[1, 1:] != halves[1, :-1])) + 1
