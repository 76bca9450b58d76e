"""Who was put into a table more than once: of anybody else there is one record at most, and no older one beside it.

Rules it keeps:

1. Whoever was known when a batch was sealed, and whoever has several rows in it, is marked in the transaction that
   seals it: before anything of it can be committed, and looked up.
2. A mark is never taken back. A put that ended without a commit, and a person who was known from another table, are
   marked too: a mark says that somebody may have an older record.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from pyroaring import BitMap64

from strongroom.keymaster.seenmaps import bitmap, read_bitmap
from strongroom.keys.rows import Rows, counter, take

CHUNK_BITS = 16
"""A row holds the marks of persons whose ordinals differ in so many lower bits only: 8 KiB at most."""
_READ = "SELECT persons FROM put_again WHERE table_id = ? AND chunk = ?"
_WRITE = (
    "INSERT INTO put_again VALUES (?, ?, ?) ON CONFLICT (table_id, chunk) DO UPDATE SET persons = excluded.persons"
)


def mark(rows: Rows, table_id: bytes, ordinals: npt.NDArray[np.uint64]) -> None:
    """Mark persons, by ordinal, in any order, as put into a table more than once."""
    if not len(ordinals):
        return
    ordered = np.sort(ordinals)
    chunks, starts = np.unique(ordered >> np.uint64(CHUNK_BITS), return_index=True)
    marked_more = False
    for chunk, part in zip(chunks.tolist(), np.split(ordered, starts[1:]), strict=True):
        before = _marked(rows, table_id, chunk)
        marked = before | bitmap(part)
        if len(marked) != len(before):
            rows.execute(_WRITE, (table_id, chunk, marked.serialize()))
            marked_more = True
    if marked_more:
        take(rows, "marked")


def put_once(rows: Rows, table_id: bytes, ordinals: Sequence[int]) -> bool:
    """Whether it is certain of a few persons, by ordinal, that none was put into a table more than once."""
    if not counter(rows, "marked"):  # nobody ever was, and that is known without a statement
        return True
    return not any(one in _marked(rows, table_id, one >> CHUNK_BITS) for one in ordinals)


def _marked(rows: Rows, table_id: bytes, chunk: int) -> BitMap64:
    row = rows.execute(_READ, (table_id, chunk)).fetchone()
    return BitMap64() if row is None else read_bitmap(row[0])
