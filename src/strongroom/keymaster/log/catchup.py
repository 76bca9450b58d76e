"""Catch up: what a keymaster that was set back does again, from the pieces of its log's tail, before any key works.

The order, and what a crash after each step leaves:

1. *judge*: every piece is opened, and the log they continue is compared with the signed checkpoint. Nothing changed.
2. *shut*: the number of entries to be reached is stored. From here on nothing but this works, in any process.
3. *each piece*: the secrets of the erased leave the key pages, with their tombstones in the same transactions; then the
   entries and the rows they wrote, in one transaction. A crash leaves it shut; catching up again goes on where it was.
4. *open*: an entry says what was done again.

Rules it keeps:

1. Rows only rise: a tombstone's sequence, a spent count, a counter never goes back. Spent persons are not told apart
   any more, so that somebody seen before counts once more.
2. Counters leave a gap, so that nothing that was given out and never noted is given out again.
3. Keys that were made in the missing part are gone: snapshots of that time are known, and do not open.
4. Lists of labels of the missing part are gone, and counted: who was read then is not known, and days say so.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from strongroom.audit.entry import logged
from strongroom.errors import IntegrityError, UsageError
from strongroom.keymaster.canaries.register import count_pools
from strongroom.keymaster.core import Core
from strongroom.keymaster.erasures.tombstones import bury
from strongroom.keymaster.log import tail
from strongroom.keymaster.log.days import take_over
from strongroom.keymaster.log.gaps import accept_gap, leap
from strongroom.keymaster.log.publishing import Publishing
from strongroom.keymaster.log.tailapi import CaughtUp, Gap, Piece, span_of
from strongroom.keys.pages import halves
from strongroom.keys.rows import Rows, counter, put, take
from strongroom.keys.writer import distinct
from strongroom.schema.model import Schema
from strongroom.schema.stored import table_to_json

if TYPE_CHECKING:
    from strongroom.audit.note import Checkpoint
    from strongroom.keymaster.log.tail import Content
    from strongroom.keys.pages import U64, Bytes2D

_OTHER = (
    "what this keymaster did since it was set back is not in that history: make it again from its copy "
    "(`strongroom keys restore`) and open the room with it before anything else"
)
_EXPORTED = (
    "INSERT INTO export VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (id) DO UPDATE SET state = excluded.state,"
    " records = excluded.records, root = excluded.root, ended = excluded.ended,"
    " ended_leaf = excluded.ended_leaf, opened = excluded.opened"
)


class EmbeddedTails:
    """See `keymaster.log.tailapi.Tails`.

    Args:
        core: Keys and state.
        publishing: The log.
        known_copies: First entry that the oldest known copy of the keymaster lacks.
    """

    def __init__(self, core: Core, publishing: Publishing, known_copies: Callable[[], int]) -> None:
        self._core = core
        self._publishing = publishing
        self._known_copies = known_copies

    def next(self) -> Piece | None:
        """See `Tails.next`."""
        return tail.next_piece(self._core, self._publishing)

    def placed(self, end: int) -> None:
        """See `Tails.placed`."""
        tail.placed(self._core, end)

    def needed_from(self) -> int:
        """See `Tails.needed_from`."""
        return self._known_copies()

    def openable(self) -> int:
        """See `Tails.openable`."""
        sql = "SELECT max(number) FROM head JOIN file_key ON file_key.id = head.key WHERE wrapped IS NOT NULL"
        return int(self._core.state.read().execute(sql).fetchone()[0] or 0)

    def accept_gap(self, actor: str, checkpoint: str | None) -> Gap:
        """See `Tails.accept_gap`."""
        return accept_gap(self._core, self._publishing, actor, checkpoint)

    def is_behind(self, checkpoint: str) -> bool:
        """See `Tails.is_behind`."""
        shut = counter(self._core.state.read(), "behind") > 0
        known = self._publishing.is_known(checkpoint)
        return known and (shut or self._publishing.checkpoint_of(checkpoint).size > self._publishing.size())

    def chosen(self, checkpoint: str, pieces: Sequence[str]) -> list[str]:
        """Of some pieces, by name, those that lead from this keymaster's entries to the checkpoint's, in order."""
        return _chosen(pieces, self._publishing.size(), self._publishing.checkpoint_of(checkpoint).size)

    def catch_up(self, checkpoint: str, pieces: Sequence[str], fetch: Callable[[str], bytes]) -> CaughtUp:
        """See `Tails.catch_up`."""
        if not self.is_behind(checkpoint):
            raise UsageError("this keymaster is not behind that checkpoint")
        core, start = self._core, self._publishing.size()
        known = self._publishing.checkpoint_of(checkpoint)
        chosen = _chosen(pieces, start, known.size)
        self._judge(known, chosen, fetch)
        with core.catching_up():
            # not as one of a group (`Core.run`): nobody else's part may come along
            with core.state.write() as rows:
                put(rows, "behind", known.size)
            erased = snapshots = 0
            for name in chosen:
                content = tail.open_piece(core, name, fetch(name))
                erased += self._bury(content)
                snapshots += len(content.rows["head"])
                with core.state.write() as rows:
                    self._apply(rows, content)
                self._forget()
            with core.state.write() as rows:
                leaf = self._open(rows, start, erased)
        self._forget()
        core.noted.set()
        return CaughtUp(start, max(start, known.size), erased, snapshots, leaf)

    # -- judging --------------------------------------------------------------------------------
    def _judge(self, known: Checkpoint, chosen: Sequence[str], fetch: Callable[[str], bytes]) -> None:
        """Compare the log as it would be with the checkpoint, before anything changes."""
        own = self._publishing.size()
        if own >= known.size:  # nothing is missing, or a crash came between
            self._publishing.check_holds(known)
            return

        def entries() -> Iterator[list[bytes]]:
            at = own
            for name in chosen:
                content = tail.open_piece(self._core, name, fetch(name))
                mine = self._publishing.read_entries(content.start, min(own, content.end))
                theirs = [logged(entry) for entry in content.entries]
                if theirs[: len(mine)] != mine:
                    raise IntegrityError(f"{name} tells another history than this keymaster", hint=_OTHER)
                upto = min(content.end, known.size)
                yield theirs[at - content.start : upto - content.start]
                at = upto

        if self._publishing.continued(entries()) != known:
            raise IntegrityError("the tail of the log is not the one that its checkpoint was signed over", hint=_OTHER)

    # -- doing it again -------------------------------------------------------------------------
    def _bury(self, content: Content) -> int:
        """Take the secrets of the erased away, where they are; returns how many there were."""
        rows = [tail.blobs(row, 0) for row in content.rows["tombstone"]]
        if not rows:
            return 0
        tombs = {row[0]: row for row in rows}
        tokens = np.frombuffer(b"".join(tombs), np.uint8).reshape(-1, 16)
        own, _place = distinct(tokens, *halves(tokens))

        def within(inside: Rows, some: Bytes2D, _born: U64) -> int:
            _raise_tombs(inside, [tombs[token.tobytes()] for token in some])
            return len(some)

        return sum(self._core.keys.remove_many(own, within).said)

    def _apply(self, rows: Rows, content: Content) -> None:
        """Entries of a piece and what they wrote, in one transaction."""
        core, given = self._core, content.rows
        have = self._publishing.size()
        leaves = enumerate(zip(content.times, content.entries, strict=True), content.start)
        fresh = [(n, t, e) for n, (t, e) in leaves if n >= have]
        rows.executemany("INSERT INTO leaf VALUES (?, ?, ?)", fresh)
        take_over(rows, [(number, entry) for number, _time, entry in fresh])
        _raise_tombs(rows, [tail.blobs(row, 0) for row in given["tombstone"]])
        rows.executemany("INSERT INTO erasure VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING", given["erasure"])
        rows.execute("DELETE FROM hold")
        rows.executemany("INSERT INTO hold VALUES (?, ?, ?, ?)", [tail.blobs(row, 0) for row in given["hold"]])
        review = (
            "INSERT INTO review VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, NULL, NULL) ON CONFLICT (id) DO UPDATE SET"
            " closed_by = excluded.closed_by, closed = excluded.closed"
        )
        rows.executemany(review, [(*row[:5], b"", b"", *row[5:]) for row in given["review"]])  # texts are gone
        rows.execute("DELETE FROM frozen")
        rows.executemany("INSERT INTO frozen VALUES (?, ?, ?, ?, ?)", given["freeze"])
        rows.execute("DELETE FROM credential")
        known = "INSERT INTO credential VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, '')"
        rows.executemany(known, [tail.blobs(row, 2) for row in given["credential"]])
        rows.execute("DELETE FROM identity")
        person = "INSERT INTO identity VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
        rows.executemany(person, given["identity"])
        heads = [tail.blobs(row, 1, 2, 4) for row in given["head"]]
        rows.executemany("INSERT INTO head VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING", heads)
        rows.executemany(_EXPORTED, [tail.blobs(row, *tail.EXPORT_BLOBS) for row in given["export"]])
        pool = "INSERT INTO canary_pool VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
        rows.executemany(pool, [tail.blobs(row, *tail.POOL_BLOBS) for row in given["canary_pool"]])
        planted = "INSERT INTO canary_planted VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
        rows.executemany(planted, given["canary_planted"])
        count_pools(rows)
        for row in given["schema_version"]:
            rows.execute("INSERT INTO schema_version VALUES (?, ?, ?) ON CONFLICT DO NOTHING", row)
            self._tables(rows, Schema.from_json(row[2]))
        policy = "INSERT INTO policy_version VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
        rows.executemany(policy, given["policy_version"])
        core.ledger.raise_counts(rows, given["spent"])
        for name, value in content.counters.items():
            put(rows, name, max(counter(rows, name), value))
        take(rows, "standing")
        take(rows, "pages")  # whoever holds a table of pages compares the number of removals in it
        core.journal.undone()

    def _tables(self, rows: Rows, schema: Schema) -> None:
        for table in schema.tables.values():
            sql = "INSERT INTO table_version VALUES (?, ?, ?) ON CONFLICT (id, version) DO NOTHING"
            rows.execute(sql, (table.id, table.version, table_to_json(table)))
        self._core.standing.new_fields(rows, schema)

    def _open(self, rows: Rows, start: int, erased: int) -> int:
        core = self._core
        leap(rows)
        core.standing.refresh(rows)
        extras: dict[str, Any] = {"from": start, "erased": erased}
        leaf = core.journal.note(rows, core.journal.entry(rows, "catch-up", "keymaster", extras=extras))
        put(rows, "behind", 0)
        return leaf

    def _forget(self) -> None:
        """What was cached of the rows that changed."""
        self._core.journal.undone()
        self._core.ledger.forget()


def _chosen(pieces: Sequence[str], start: int, size: int) -> list[str]:
    """The pieces that lead from `start` to `size` entries, in order."""
    spans = sorted((span, name) for name in pieces if (span := span_of(name)) is not None)
    found, at, reach = [], start, (start, "")
    for (first, end), name in [*spans, ((size, size), "")]:
        # past the last piece that goes on where we are: of those, the one that reaches farthest is taken
        if at < first and at < reach[0]:
            found.append(reach[1])
            at = reach[0]
        if at >= size or first > at:
            break
        reach = max(reach, (end, name))
    if at < size:
        raise IntegrityError(
            f"the keymaster was set back: it has {start} of {size} entries, and no second place has entry {at}",
            hint="bring the newest copy of the keymaster: `strongroom keys restore`",
        )
    return found


def _raise_tombs(rows: Rows, tombs: Sequence[tuple[Any, ...]]) -> None:
    by_act: dict[tuple[int, int, float], list[bytes]] = {}
    for token, sequence, leaf, at in tombs:
        by_act.setdefault((sequence, leaf, at), []).append(token)
    for (sequence, leaf, at), tokens in by_act.items():
        bury(rows, tokens, sequence, leaf, at)


def shut(rows: Rows, replayer: int | None) -> None:
    """Raise unless the keymaster is whole, or it is the thread that makes it whole who asks."""
    if counter(rows, "behind") and replayer != threading.get_ident():
        raise IntegrityError(
            "the keymaster came home from a copy or was set back, and has not caught up",
            hint="open the room with it first, or restore the room: it catches up from there",
        )
