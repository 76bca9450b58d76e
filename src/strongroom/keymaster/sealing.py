"""Tokens and batch keys for what a put seals, under its lease and its budget.

Rules it keeps:

1. Only a batch that was minted for this very lease is sealed for, once: its rows are numbered from 0, and a second
   sealing would use nonces twice.
2. The put's budget is spent in the transaction that makes new persons live and marks the batch sealed. It is given back
   when the lease ends without a commit.
3. Index tokens are handed out once per batch and field, for no more values than the batch has records: a lease to
   put is no oracle for whole number spaces.
4. A put that began before a person was erased leaves nothing of that person alive: such rows are sealed under keys
   that nobody keeps (`racing`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from strongroom.errors import BudgetError, ConflictError, DeniedError, InputError, UsageError
from strongroom.keymaster.api import Lease, SealingKeys
from strongroom.keymaster.core import Answer, Core
from strongroom.keymaster.erasures.racing import ensure_living
from strongroom.keymaster.holder import through
from strongroom.keymaster.leases import LEASE_SECONDS, PUT_VERBS, Leases
from strongroom.keymaster.putagain import mark
from strongroom.keys.rows import Rows
from strongroom.purpose.budget import limits
from strongroom.schema.model import Table
from strongroom.seal.cells import batch_keys
from strongroom.seal.tokens import seal_index_entries, tokens

if TYPE_CHECKING:
    import pyarrow as pa

BATCH_RECORDS_MAX = 1 << 24


@dataclass(frozen=True)
class _Batch:
    sequence: int
    table: Table
    state: str
    records: int | None


class Sealing:
    """Seals for one keymaster's leases."""

    def __init__(self, core: Core, leases: Leases) -> None:
        self._core = core
        self._leases = leases

    def seal_subjects(self, lease: Lease, batch: bytes, identifiers: pa.Array) -> SealingKeys:
        """See `Keymaster.seal_subjects`."""
        core, size = self._core, len(identifiers)
        if not 0 < size <= BATCH_RECORDS_MAX:
            raise UsageError(f"a batch has 1 to {BATCH_RECORDS_MAX} records")
        if identifiers.null_count:
            raise InputError(f"{identifiers.null_count} records of the batch name no subject")
        core.lapse()
        own = self._batch(core.state.read(), lease, batch)
        _must_be(own, "minted")
        subjects = tokens(core.subject.inner, core.subject.outer, identifiers)

        def within(rows: Rows, _new: int, again: npt.NDArray[np.uint64]) -> None:
            _must_be(self._batch(rows, lease, batch), "minted")
            rule = (*through().limits("puts"), *limits(core.standing.policy, lease.actor, None, "puts"))
            plan = core.ledger.plan_count(rows, rule, size, core.journal.now(rows))
            core.ledger.reserve(rows, lease.lease_id, plan)
            core.ledger.flush(rows)
            rows.execute("UPDATE batch SET state = 'sealed', records = ? WHERE sequence = ?", (size, own.sequence))
            if own.table.records == "one":
                mark(rows, own.table.id, again)

        try:
            secrets, new = ensure_living(core, lease, own.sequence, subjects, within)
        except DeniedError as error:
            self._refuse(lease, self._told(error))
            raise
        keys = {klass: batch_keys(secrets, own.table.compartments[klass], batch) for klass in own.table.classes}
        return SealingKeys(subjects, keys, new)

    def _told(self, error: DeniedError) -> DeniedError:
        """The refusal, with what puts under way hold of the budget that refused."""
        if isinstance(error, BudgetError) and error.hint is None:
            held = self._core.ledger.held(self._core.state.read(), error.rule or "")
            if held:
                error.hint = (
                    f"puts that have not ended hold {held:,} of it, this one among them: what they do not commit comes"
                    f" back when they end, and {LEASE_SECONDS / 60:.0f} minutes after they were cut off"
                )
        return error

    def _refuse(self, lease: Lease, error: DeniedError) -> None:
        """Note a refusal; the error itself is the caller's to raise."""

        def work(_rows: Rows) -> Answer:
            raise error

        table = None if lease.table is None else lease.table.name
        self._core.act(lease.verb, lease.actor, work, table=table)

    def seal_index(
        self,
        lease: Lease,
        batch: bytes,
        field_name: str,
        values: pa.Array,
        subject_tokens: npt.NDArray[np.uint8],
        ordinals: npt.NDArray[np.uint32],
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
        """See `Keymaster.seal_index`."""
        core = self._core
        own = self._batch(core.state.read(), lease, batch)
        _must_be(own, "sealed")
        field = own.table.field(field_name)
        if not field.find:
            raise UsageError(f"field {field_name} of table {own.table.name} has no index")
        if len(values) > (own.records or 0) or not len(values) == len(subject_tokens) == len(ordinals):
            raise UsageError("an index takes one value, token and ordinal a record, at most as many as the batch has")
        if values.null_count:
            raise UsageError("an index takes no nulls")

        def job(rows: Rows) -> int:
            _must_be(self._batch(rows, lease, batch), "sealed")
            key = (own.sequence, field.id)
            if rows.execute("SELECT 1 FROM batch_index WHERE sequence = ? AND field = ?", key).fetchone() is not None:
                raise ConflictError(f"field {field_name} of this batch is indexed already")
            rows.execute("INSERT INTO batch_index VALUES (?, ?)", key)
            # from this row on no rotation of the field's outer key is committed until this put has ended
            return core.head(rows).number

        head: int = core.run(job)
        keys, outer = core.standing.field(field.id), core.standing.value_keys(field.id, head)
        if not len(values):
            return np.empty((0, 16), np.uint8), np.empty((0, 44), np.uint8)
        value_tokens = tokens(outer.inner, outer.outer, values)
        entries = seal_index_entries(keys.siv, field.id, value_tokens, subject_tokens, own.sequence, ordinals)
        return value_tokens, entries

    def _batch(self, rows: Rows, lease: Lease, batch: bytes) -> _Batch:
        """The batch, if it is of this lease and the lease runs."""
        self._leases.check(rows, lease, PUT_VERBS)
        sql = "SELECT sequence, table_id, table_version, state, records FROM batch WHERE id = ? AND lease = ?"
        row = rows.execute(sql, (batch, lease.lease_id)).fetchone()
        if row is None:
            raise ConflictError("the batch is not of this lease")
        return _Batch(row[0], self._core.standing.table_version(row[1], row[2]), row[3], row[4])


def _must_be(batch: _Batch, state: str) -> None:
    if batch.state != state:
        raise ConflictError(f"the batch is {batch.state}, not {state}: what is sealed again gets a new batch")
