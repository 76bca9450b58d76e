"""Which entries are whose: numbers by actor and by credential, so that a question does not read all of a long log.

Rules it keeps:

1. It is derived from committed entries, in whole chunks of CHUNK_LEAVES, and may be made again. What it does not cover
   yet is read through.
2. Each chunk is done once, in one transaction; memory is that of one chunk.

A row holds the positions of one actor's (or credential's) entries in one chunk, as little-endian u16.
"""

from __future__ import annotations

import msgspec
import numpy as np
import numpy.typing as npt

from strongroom.audit.entry import as_one
from strongroom.keymaster.core import Core
from strongroom.keys.rows import Rows, counter, put

CHUNK_LEAVES = 65_536
ACTOR, CREDENTIAL = "actor", "credential"


class Names(msgspec.Struct):
    """Whose an entry is."""

    actor: str
    credential: str = ""


read_names = msgspec.json.Decoder(Names).decode


def index_more(core: Core) -> int:
    """Index the chunks that are complete; returns how many were done."""
    chunks = 0
    while True:
        rows = core.state.read()
        start = counter(rows, "indexed")
        stop = start + CHUNK_LEAVES
        sql = "SELECT entry FROM leaf WHERE number >= ? AND number < ? ORDER BY number"
        newest = rows.execute("SELECT max(number) FROM leaf").fetchone()[0]
        if newest is None or newest + 1 < stop:
            return chunks
        found = _positions([row[0] for row in rows.execute(sql, (start, stop)).fetchall()])

        def job(
            inside: Rows,
            start: int = start,
            stop: int = stop,
            found: dict[tuple[str, str], npt.NDArray[np.uint16]] = found,
        ) -> None:
            if counter(inside, "indexed") != start:
                return  # another process did it
            insert = "INSERT INTO leaf_of VALUES (?, ?, ?, ?)"
            chunk = start // CHUNK_LEAVES
            inside.executemany(insert, [(*key, chunk, own.tobytes()) for key, own in found.items()])
            put(inside, "indexed", stop)

        core.run(job)
        chunks += 1


def _positions(entries: list[bytes]) -> dict[tuple[str, str], npt.NDArray[np.uint16]]:
    found: dict[tuple[str, str], list[int]] = {}
    for at, entry in enumerate(entries):
        names = read_names(as_one(entry))
        found.setdefault((ACTOR, names.actor), []).append(at)
        if names.credential:
            found.setdefault((CREDENTIAL, names.credential), []).append(at)
    return {key: np.array(own, "<u2") for key, own in found.items()}


def indexed(rows: Rows, kind: str, name: str, chunk: int) -> npt.NDArray[np.int64]:
    """Numbers of the entries of an actor, or of a credential, in a chunk that is indexed: i64[n], in order."""
    sql = "SELECT offsets FROM leaf_of WHERE kind = ? AND name = ? AND chunk = ?"
    row = rows.execute(sql, (kind, name, chunk)).fetchone()
    positions = np.frombuffer(b"" if row is None else row[0], "<u2")
    return positions.astype(np.int64) + chunk * CHUNK_LEAVES
