"""File keys that are kept unwrapped: read again each time, and gone with their row."""

from __future__ import annotations

import sqlite3

import pytest

from strongroom.errors import IntegrityError
from strongroom.keymaster import filekeys
from strongroom.keymaster.filekeys import FileKeys, bound, file_key_rows
from strongroom.keys.hierarchy import KeyRing

ROOM, KEY = bytes(16), b"k" * 32
COLUMNS = "id BLOB, object BLOB, kind INTEGER, table_id BLOB, lease BLOB, state TEXT, wrapped BLOB"


class Counting(KeyRing):
    def __init__(self):
        super().__init__(ROOM, 1, b"e" * 32)
        self.opened = 0

    def unwrap(self, *args, **kwargs):
        self.opened += 1
        return super().unwrap(*args, **kwargs)


@pytest.fixture
def stored():
    """A ring, the rows of two file keys of one table, and what keeps them."""
    ring, rows = Counting(), sqlite3.connect(":memory:")
    rows.execute(f"CREATE TABLE file_key ({COLUMNS})")
    for number in (1, 2):
        ident, own = bytes([number]) * 16, bytes([number + 8]) * 16
        wrapped = ring.wrap("file", ident, KEY, bound(own, 1, b"t" * 16))
        row = (ident, own, 1, b"t" * 16, b"l" * 16, "pending", wrapped)
        rows.execute("INSERT INTO file_key VALUES (?, ?, ?, ?, ?, ?, ?)", row)
    return ring, rows, FileKeys()


def ids(*numbers):
    return [bytes([number]) * 16 for number in numbers]


def test_a_key_is_unwrapped_once(stored):
    """Keys that are asked for again are the same, and no work; one that there is not is left out."""
    ring, rows, keys = stored
    for _ in range(3):
        found = keys.opened(ring, file_key_rows(rows, ids(1, 2, 3)))
        assert {ident: one.key for ident, one in found.items()} == dict.fromkeys(ids(1, 2), KEY)
    assert ring.opened == 2
    keys.forget()
    keys.opened(ring, file_key_rows(rows, ids(1)))
    assert ring.opened == 3


def test_a_destroyed_key_is_gone_at_once(stored):
    """What is kept of a key goes with it, and it is not kept any longer either."""
    ring, rows, keys = stored
    keys.opened(ring, file_key_rows(rows, ids(1, 2)))
    rows.execute("UPDATE file_key SET state = 'destroyed', wrapped = NULL WHERE id = ?", ids(1))
    assert list(keys.opened(ring, file_key_rows(rows, ids(1, 2)))) == ids(2)
    assert list(keys._known) == ids(2)


def test_a_row_that_changed_is_opened_anew(stored):
    """A key that was committed meanwhile says so; one in another's place does not open."""
    ring, rows, keys = stored
    keys.opened(ring, file_key_rows(rows, ids(1, 2)))
    rows.execute("UPDATE file_key SET state = 'committed' WHERE id = ?", ids(1))
    assert keys.opened(ring, file_key_rows(rows, ids(1)))[ids(1)[0]].state == "committed"
    rows.execute("UPDATE file_key SET table_id = ? WHERE id = ?", (b"u" * 16, ids(1)[0]))
    with pytest.raises(IntegrityError):
        keys.opened(ring, file_key_rows(rows, ids(1)))


def test_no_more_are_kept_than_so_many(stored, monkeypatch):
    """What is kept is bounded."""
    monkeypatch.setattr(filekeys, "FILE_KEYS_KEPT_MAX", 1)
    ring, rows, keys = stored
    assert len(keys.opened(ring, file_key_rows(rows, ids(1, 2)))) == 2
    assert len(keys._known) == 1
