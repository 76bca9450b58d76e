"""Which outer key the value tokens of an indexed field were made with: by snapshot, switched by one commit.

Rules it keeps:

1. A field starts with the outer key among its own keys, version 1; a rotation makes the next version. Older ones are
   kept: an older snapshot is looked up with the version it was written under.
2. A snapshot has one version for a field. `outer_key_use` says from which snapshot on which version holds; the row is
   written in the transaction that moves the head.
3. That transaction is refused while a put that has sealed entries under the version before may still commit.
"""

from __future__ import annotations

from strongroom.errors import ConflictError, IntegrityError
from strongroom.keymaster.api import Lease
from strongroom.keys.hierarchy import KeyRing
from strongroom.keys.rows import Rows, take

FIRST_VERSION = 1


def outer_key_uses(rows: Rows) -> dict[bytes, list[tuple[int, int]]]:
    """Per field the (first snapshot, version) pairs, in order of snapshots."""
    found: dict[bytes, list[tuple[int, int]]] = {}
    sql = "SELECT field, snapshot, version FROM outer_key_use ORDER BY field, snapshot"
    for field, snapshot, version in rows.execute(sql).fetchall():
        found.setdefault(field, []).append((snapshot, version))
    return found


def outer_version(uses: list[tuple[int, int]], snapshot: int) -> int:
    """The version that holds in a snapshot."""
    return next((version for first, version in reversed(uses) if first <= snapshot), FIRST_VERSION)


def open_outer_key(rows: Rows, ring: KeyRing, field: bytes, version: int, first: bytes) -> bytes:
    """The outer key (32 B) of a version; `first` is that among the field's own keys."""
    if version == FIRST_VERSION:
        return first
    ident = outer_id(field, version)
    row = rows.execute("SELECT wrapped FROM wrapped_key WHERE purpose = 'outer' AND id = ?", (ident,)).fetchone()
    if row is None:
        raise IntegrityError("the keymaster's database lacks an index key")
    return ring.unwrap("outer", ident, row[0])


def outer_id(field: bytes, version: int) -> bytes:
    """The id of a version's key in `wrapped_key`."""
    return field + version.to_bytes(4, "little")


def switch_outer_keys(rows: Rows, lease: Lease, snapshot: int, restored: int | None) -> None:
    """Within the transaction that moves the head: the versions that hold from this snapshot on.

    Args:
        rows: The transaction.
        lease: Whose commit it is: a rotation's plan comes into force.
        snapshot: Number of the new head.
        restored: Number of the snapshot whose content the new head has, for a restore.

    Raises:
        ConflictError: A put under way has sealed entries under a version that ends here.
    """
    changed: list[tuple[bytes, int]] = []
    if lease.verb == "rotate":
        sql = "SELECT field, version FROM outer_key_plan WHERE lease = ?"
        changed = rows.execute(sql, (lease.lease_id,)).fetchall()
        rows.execute("DELETE FROM outer_key_plan WHERE lease = ?", (lease.lease_id,))
    elif restored is not None:
        uses = outer_key_uses(rows)
        changed = [
            (field, outer_version(own, restored))
            for field, own in uses.items()
            if outer_version(own, restored) != outer_version(own, snapshot)
        ]
    for field, version in changed:
        busy = (
            "SELECT 1 FROM batch_index JOIN batch ON batch.sequence = batch_index.sequence"
            " JOIN lease ON lease.id = batch.lease"
            " WHERE batch_index.field = ? AND batch.state = 'sealed' AND lease.state = 'open' LIMIT 1"
        )
        if rows.execute(busy, (field,)).fetchone() is not None:
            raise ConflictError("a put under way has indexed this field", hint="try again when it is through")
        rows.execute("INSERT INTO outer_key_use VALUES (?, ?, ?)", (field, snapshot, version))
    if changed:
        take(rows, "standing")
