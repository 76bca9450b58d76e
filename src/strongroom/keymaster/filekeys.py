"""File keys as they are stored: what each is for, and the key itself.

A key opens only as the key of its object, kind and table: the wrap vouches for all three.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from strongroom.errors import NotFoundError
from strongroom.keys.hierarchy import KeyRing
from strongroom.keys.rows import Rows


@dataclass(frozen=True)
class StoredFileKey:
    """One file key that has not been destroyed."""

    object_id: bytes
    kind: int
    table_id: bytes | None
    lease: bytes
    state: str
    key: bytes = field(repr=False)


def bound(object_id: bytes, kind: int, table_id: bytes | None) -> bytes:
    """What the wrap of a file key vouches for besides its id, room and epoch."""
    return object_id + bytes([kind]) + (table_id or bytes(16))


def open_file_key(ring: KeyRing, rows: Rows, key_id: bytes) -> StoredFileKey:
    """The file key of an id.

    Raises:
        NotFoundError: There is none, or it was destroyed.
        IntegrityError: It is not what was stored.
    """
    sql = "SELECT object, kind, table_id, lease, state, wrapped FROM file_key WHERE id = ?"
    row = rows.execute(sql, (key_id,)).fetchone()
    if row is None or row[5] is None:
        raise NotFoundError("there is no such file key, or it was destroyed")
    object_id, kind, table_id, lease, state, wrapped = row
    key = ring.unwrap("file", key_id, wrapped, bound(object_id, kind, table_id))
    return StoredFileKey(object_id, kind, table_id, lease, state, key)
