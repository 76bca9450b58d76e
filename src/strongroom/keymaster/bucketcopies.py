"""Remembers which copies of the bucket were made, so that their age can be told.

Rules it keeps:

1. A copy is remembered when it is whole, in the transaction that notes it; the entry tells its snapshot and counts, and
   no address: that lies here alone.
2. Nothing of a copy is trusted because it is remembered here: `restore` verifies every object against its hash.
"""

from __future__ import annotations

from strongroom.errors import UsageError
from strongroom.keymaster.api import BucketCopy, Lease, Receipt
from strongroom.keymaster.core import Answer, Core, end_lease
from strongroom.keymaster.leases import Leases
from strongroom.keys.rows import Rows

URL_LENGTH_MAX = 2000


class BucketCopies:
    """The copies of one room's bucket."""

    def __init__(self, core: Core, leases: Leases) -> None:
        self._core = core
        self._leases = leases

    def note(self, lease: Lease, copy: BucketCopy) -> Receipt:
        """See `Keymaster.note_copy`."""
        core = self._core
        if not 0 < len(copy.url) <= URL_LENGTH_MAX:
            raise UsageError(f"the address of a copy has 1 to {URL_LENGTH_MAX} characters")
        counts = {"snapshot": copy.snapshot, "objects": copy.objects, "bytes": copy.bytes}

        def work(rows: Rows) -> Answer:
            self._leases.check(rows, lease, ("copy",))
            now = core.journal.now(rows)
            rows.execute(
                "INSERT INTO bucket_copy VALUES (?, ?, ?, ?, ?) ON CONFLICT (url) DO UPDATE SET"
                " snapshot = excluded.snapshot, objects = excluded.objects, bytes = excluded.bytes,"
                " made = excluded.made",
                (copy.url, copy.snapshot, copy.objects, copy.bytes, now),
            )
            end_lease(rows, lease.lease_id)
            entry = core.journal.entry(rows, "copy", lease.actor, extras=counts)
            return {"leaf": core.journal.note(rows, entry), "time": now}

        answer = core.act("copy", lease.actor, work)
        return Receipt(answer["leaf"], answer["time"], "copy", counts)

    def all(self) -> list[BucketCopy]:
        """See `Keymaster.bucket_copies`."""
        sql = "SELECT url, snapshot, objects, bytes, made FROM bucket_copy ORDER BY made DESC, url"
        return [BucketCopy(*row) for row in self._core.state.read().execute(sql).fetchall()]
