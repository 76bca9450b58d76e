"""File keys as they are stored: what each is for, and the key itself.

A key opens only as the key of its object, kind and table: the wrap vouches for all three.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from strongroom.errors import NotFoundError
from strongroom.keys.hierarchy import KeyRing
from strongroom.keys.rows import Rows

FILE_KEYS_KEPT_MAX = 4096


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


_SELECT = "SELECT id, object, kind, table_id, lease, state, wrapped FROM file_key WHERE id"

FileKeyRows = Sequence[tuple[Any, ...]]
"""File keys as they lie in the database."""


def file_key_rows(rows: Rows, key_ids: Sequence[bytes]) -> FileKeyRows:
    """What is stored of the file keys of some ids."""
    if not key_ids:
        return ()
    marks = ", ".join("?" * len(key_ids))
    found: FileKeyRows = rows.execute(f"{_SELECT} IN ({marks})", tuple(key_ids)).fetchall()
    return found


class FileKeys:
    """File keys that are asked for again and again: read each time, unwrapped once as long as they are stored alike."""

    def __init__(self) -> None:
        self._known: dict[bytes, tuple[tuple[object, ...], StoredFileKey]] = {}

    def forget(self) -> None:
        """Drop every key."""
        self._known = {}

    def opened(self, ring: KeyRing, stored: FileKeyRows) -> dict[bytes, StoredFileKey]:
        """The file keys that are stored so, by id, without those that were destroyed.

        Raises:
            IntegrityError: One is not what was stored.
        """
        found, known = {}, self._known
        for row in stored:
            kept = known.get(row[0])
            if kept is None or kept[0] != row:
                if row[-1] is None:
                    known.pop(row[0], None)
                    continue
                kept = (row, _opened(ring, row))
                if len(known) >= FILE_KEYS_KEPT_MAX:
                    known.clear()
                known[row[0]] = kept
            found[row[0]] = kept[1]
        return found


def open_file_key(ring: KeyRing, rows: Rows, key_id: bytes) -> StoredFileKey:
    """The file key of an id.

    Raises:
        NotFoundError: There is none, or it was destroyed.
        IntegrityError: It is not what was stored.
    """
    row = rows.execute(f"{_SELECT} = ?", (key_id,)).fetchone()
    if row is None or row[-1] is None:
        raise no_file_key()
    return _opened(ring, row)


def no_file_key() -> NotFoundError:
    """What is said where there is no key."""
    return NotFoundError("there is no such file key, or it was destroyed")


def _opened(ring: KeyRing, row: Sequence[Any]) -> StoredFileKey:
    key_id, object_id, kind, table_id, lease, state, wrapped = row
    key = ring.unwrap("file", key_id, wrapped, bound(object_id, kind, table_id))
    return StoredFileKey(object_id, kind, table_id, lease, state, key)
