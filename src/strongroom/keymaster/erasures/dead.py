"""Which entries are dead, told to readers and to compaction, each what it needs; and keys of objects that go for good.

Rules it keeps:

1. A reader is told tombstones of a token range for tables that its purpose reads; a compaction for every table.
2. Of an index a compaction learns which entries are dead and nothing else: not whose they are.
3. Whether somebody was erased is told to purposes that may know; the others get the same look and a no.
4. In a caller's name a server is told of persons whom the signed request asks for, or of a table that it adds up.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from strongroom.errors import IntegrityError, NotFoundError, UsageError
from strongroom.keymaster.api import Lease
from strongroom.keymaster.core import Core
from strongroom.keymaster.erasures.api import Buried
from strongroom.keymaster.erasures.tombstones import buried_at, buried_between, buried_of, horizon
from strongroom.keymaster.leases import Leases
from strongroom.keymaster.readings import Readings
from strongroom.keymaster.warrant import Warrant
from strongroom.keys.pages import Bytes2D
from strongroom.keys.rows import Rows
from strongroom.schema.model import Retention

HOLDERS = ("erase", "compact", "rotate")
KEYS_AT_ONCE = 500
TOKEN_BYTES = 16


class Dead:
    """Answers for one keymaster.

    Args:
        core: Keys and state.
        leases: Checks leases.
        readings: The open readings.
    """

    def __init__(self, core: Core, leases: Leases, readings: Readings) -> None:
        self._core = core
        self._leases = leases
        self._readings = readings

    def buried(
        self,
        holder: bytes | Lease,
        table: str,
        low: bytes,
        high: bytes,
        since: int,
        among: Collection[bytes] | None = None,
    ) -> Buried:
        """See `Erasures.buried`; `among` names the only persons of whom anything is told."""
        core = self._core
        rows = core.state.read()
        core.standing.refresh()
        model = core.standing.schema.table(table)
        if not isinstance(holder, Lease):
            if table not in self._readings.get(holder).purpose.tables:
                raise NotFoundError(f"the purpose does not read table {table}")
            self._within(holder, table, lambda warrant: warrant.check_buried(table, low, high))
        self._check(rows, holder)
        if among is not None:
            own = b"".join(token for token in among if low <= token <= high)
            return buried_of(rows, model, np.frombuffer(own, np.uint8).reshape(-1, 16), core.clock())
        return buried_between(rows, low, high, horizon(rows, model, core.clock()), since)

    def clean_through(self, holder: bytes | Lease, object_ids: Sequence[bytes]) -> list[int]:
        """See `Erasures.clean_through`."""
        rows = self._core.state.read()
        if not isinstance(holder, Lease):
            self._within(holder, "-", lambda warrant: warrant.check_clean())
        self._check(rows, holder)
        sql = "SELECT clean FROM file_key WHERE object = ?"
        found = [rows.execute(sql, (ident,)).fetchone() for ident in object_ids]
        return [-1 if row is None else int(row[0]) for row in found]

    def _check(self, rows: Rows, holder: bytes | Lease) -> None:
        if isinstance(holder, Lease):
            self._leases.check(rows, holder, HOLDERS)
        else:
            self._readings.get(holder)

    def _within(self, reading_id: bytes, table: str, check: Callable[[Warrant], None]) -> None:
        """Check what a server asks in a caller's name."""
        reading = self._readings.get(reading_id)
        if reading.warrant is not None:
            self._readings.within(reading, reading.warrant.verb, table, check)

    def horizon(self, lease: Lease, table: str, days: int) -> int:
        """See `Erasures.horizon`."""
        core = self._core
        self._leases.check(core.state.read(), lease, HOLDERS)
        core.standing.refresh()
        asked = replace(core.standing.schema.table(table), retention=Retention(days))
        return horizon(core.state.read(), asked, core.clock())

    def erased(self, reading_id: bytes, token: bytes) -> bool:
        """See `Erasures.erased`."""
        reading = self._readings.get(reading_id)
        if len(token) != TOKEN_BYTES:
            raise UsageError(f"a subject token has {TOKEN_BYTES} bytes")
        self._within(reading_id, "-", lambda warrant: warrant.check_person(token))
        found = buried_at(self._core.state.read(), np.frombuffer(token, np.uint8).reshape(1, 16))
        return bool(found[0] > 0) & reading.purpose.may_know_erased

    def dead_entries(
        self, lease: Lease, table: str, field_name: str, value_tokens: Bytes2D, entries: Bytes2D
    ) -> npt.NDArray[np.bool_]:
        """See `Erasures.dead_entries`."""
        core = self._core
        rows = core.state.read()
        self._leases.check(rows, lease, ("compact",))
        model = core.standing.schema.table(table)
        opener = core.standing.opener(model.field(field_name).id)
        subjects, sequences, _ordinals, bad = opener.open(value_tokens, entries)
        if bad.any():
            raise IntegrityError(f"{int(bad.sum())} entries of the index of {table}.{field_name} do not open")
        limit = np.maximum(buried_at(rows, subjects), np.uint64(horizon(rows, model, core.clock())))
        dead: npt.NDArray[np.bool_] = sequences <= limit
        return dead

    # -- objects --------------------------------------------------------------------------------
    def unclean(self, lease: Lease, object_ids: Sequence[bytes]) -> list[bytes]:
        """See `Erasures.unclean`."""
        rows = self._core.state.read()
        self._leases.check(rows, lease, ("compact",))
        newest = rows.execute("SELECT max(leaf) FROM tombstone").fetchone()[0]
        if newest is None:
            return []
        sql = "SELECT 1 FROM file_key WHERE object = ? AND clean < ?"
        return [ident for ident in object_ids if rows.execute(sql, (ident, newest)).fetchone() is not None]

    def cleaned(self, lease: Lease, object_ids: Sequence[bytes]) -> None:
        """See `Erasures.cleaned`."""

        def job(rows: Rows) -> None:
            self._leases.check(rows, lease, ("compact",))
            sql = "UPDATE file_key SET clean = (SELECT leaf FROM lease WHERE id = ?) WHERE object = ?"
            rows.executemany(sql, [(lease.lease_id, ident) for ident in object_ids])

        self._core.run(job)

    def destroy_keys(self, lease: Lease, object_ids: Sequence[bytes]) -> None:
        """See `Erasures.destroy_keys`."""
        ended = set(self._leases.ended_objects(lease, object_ids))

        def job(rows: Rows) -> None:
            self._leases.check(rows, lease, ("compact",))
            sql = "UPDATE file_key SET state = 'destroyed', wrapped = NULL WHERE object = ?"
            rows.executemany(sql, [(ident,) for ident in object_ids if ident in ended])

        if ended:
            self._core.run(job)
