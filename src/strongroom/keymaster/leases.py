"""Leave to write: leases, batch ids, file keys, and the one step that moves the head of the room.

Rules it keeps:

1. Batch ids and file keys are minted for a lease, once; nothing minted is ever minted again, whatever happens to the
   lease. A batch id is a persisted sequence (u64) and 8 random bytes, so that a keymaster restored from a backup
   repeats none.
2. After its lease's commit, abandonment or expiry, a batch or file key seals nothing any more.
3. The head moves from the base that the caller saw, or not at all.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace

from strongroom.errors import ConflictError, DeniedError, IntegrityError, NotFoundError, UsageError
from strongroom.keymaster.api import FileKey, Head, Lease, Receipt
from strongroom.keymaster.core import Answer, Core, Request, end_lease
from strongroom.keymaster.filekeys import bound, open_file_key
from strongroom.keymaster.outerkeys import switch_outer_keys
from strongroom.keys.hierarchy import KEY_BYTES
from strongroom.keys.rows import Rows, take
from strongroom.seal.blocks import (
    KIND_MANIFEST,
    KIND_RECORDS,
    KIND_REJECTS,
    KIND_SNAPSHOT,
    KIND_TOMBSTONES,
)

LEASE_SECONDS = 15 * 60.0
PUT_VERBS = ("put", "rejects")
MAINTENANCE_VERBS = ("compact", "check", "log", "copy", "restore", "rotate", "erase")
BLIND_VERBS = ("log", "copy", "restore")  # they open what names objects, and no object that holds a record
COMMIT_VERBS = (*PUT_VERBS, "compact", "restore", "rotate")
NOTED_AS = {"erase": "plan"}  # the erasure itself has an entry of its own
SHARED_KINDS = (KIND_MANIFEST, KIND_SNAPSHOT, KIND_TOMBSTONES)
DIGEST_BYTES = 32
LENGTH_MAX = 1 << 53


class Leases:
    """Leases of one keymaster."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._tidied = False

    def _tidy(self) -> None:
        """Clear up, once a process and not before somebody writes: look-ups must start fast."""
        if not self._tidied:
            self._tidied = True
            self._core.tidy()
            self._core.keys.clean()

    # -- beginning ------------------------------------------------------------------------------
    def begin_put(self, actor: str, table: str, request_id: bytes, verb: str, said: bytes = b"") -> Lease:
        """See `Keymaster.begin_put`; `said` is the digest of what its caller signed, the same for what is repeated."""
        if verb not in PUT_VERBS:
            raise UsageError(f"a put is one of {', '.join(PUT_VERBS)}")
        core = self._core
        self._tidy()
        core.standing.refresh()
        model = core.standing.schema.table(table)
        parts = (actor, table, verb, model.version.to_bytes(4, "little"))
        request = Request.of(request_id, (*parts, said) if said else parts)

        def work(rows: Rows) -> Answer:
            decider = core.standing.decider
            core.standing.require(decider.decide_act(actor, "put", table))
            if verb == "rejects":
                core.standing.require(decider.decide_act(actor, "rejects"))
            return self._grant(rows, actor, verb, table, (model.id, model.version))

        answer = core.act(verb, actor, work, once=request, table=table)
        return self._lease(answer, actor, verb, table)

    def forget_abandoned(self, request_id: bytes) -> None:
        """Forget a request whose lease was abandoned: the next one under this id is granted anew."""

        def job(rows: Rows) -> None:
            row = rows.execute("SELECT answer FROM request WHERE id = ?", (request_id,)).fetchone()
            lease = None if row is None else json.loads(row[0]).get("lease")
            if lease is not None and self.abandoned(rows, bytes.fromhex(lease)):
                rows.execute("DELETE FROM request WHERE id = ?", (request_id,))

        self._core.run(job)

    def abandoned(self, rows: Rows, lease_id: bytes) -> bool:
        """Whether a lease was abandoned, and not committed."""
        sql = "SELECT 1 FROM lease WHERE id = ? AND state = 'abandoned'"
        return rows.execute(sql, (lease_id,)).fetchone() is not None

    def begin_maintenance(self, actor: str, verb: str) -> Lease:
        """See `Keymaster.begin_maintenance`."""
        if verb not in MAINTENANCE_VERBS:
            raise UsageError(f"maintenance is one of {', '.join(MAINTENANCE_VERBS)}")
        core = self._core
        self._tidy()

        def work(rows: Rows) -> Answer:
            core.standing.require(core.standing.decider.decide_act(actor, verb))
            return self._grant(rows, actor, verb, None, (None, None))

        return self._lease(core.act(verb, actor, work), actor, verb, None)

    def _grant(
        self, rows: Rows, actor: str, verb: str, table: str | None, version: tuple[bytes | None, int | None]
    ) -> Answer:
        core = self._core
        now, lease, head = core.journal.now(rows), core.entropy(16), core.head(rows)
        leaf = core.journal.note(rows, core.journal.entry(rows, NOTED_AS.get(verb, verb), actor, table=table))
        rows.execute(
            "INSERT INTO lease VALUES (?, ?, ?, ?, ?, ?, ?, 'open', 0, ?)",
            (lease, actor, verb, *version, head.number, now + LEASE_SECONDS, leaf),
        )
        return {"lease": lease.hex(), "expires": now + LEASE_SECONDS, "base": head.number, "leaf": leaf}

    def _lease(self, answer: Answer, actor: str, verb: str, table: str | None) -> Lease:
        core = self._core
        lease = bytes.fromhex(answer["lease"])
        sql = "SELECT table_id, table_version, expires FROM lease WHERE id = ?"
        table_id, version, expires = core.state.read().execute(sql, (lease,)).fetchone()
        model = None if table is None else core.standing.table_version(table_id, version)
        return Lease(lease, actor, verb, model, self.head_at(answer["base"]), expires)

    def held(self, lease_id: bytes) -> Lease:
        """The lease of an id, as it was granted; ConflictError when there never was one."""
        sql = "SELECT actor, verb, table_id, table_version, base, expires FROM lease WHERE id = ?"
        row = self._core.state.read().execute(sql, (lease_id,)).fetchone()
        if row is None:
            raise ConflictError("the lease has ended", hint="begin again; nothing of it was kept")
        actor, verb, table_id, version, base, expires = row
        model = None if table_id is None else self._core.standing.table_version(table_id, version)
        return Lease(lease_id, actor, verb, model, self.head_at(base), expires)

    def head_at(self, number: int) -> Head:
        """The head of a number."""
        if number == 0:
            return Head(0, bytes(16), bytes(32), 0, bytes(16))
        sql = "SELECT number, object, sha256, length, key FROM head WHERE number = ?"
        row = self._core.state.read().execute(sql, (number,)).fetchone()
        if row is None:
            raise NotFoundError(f"there is no snapshot {number}")
        return Head(*row)

    # -- while it runs --------------------------------------------------------------------------
    def check(self, rows: Rows, lease: Lease, verbs: Sequence[str] = (*PUT_VERBS, *MAINTENANCE_VERBS)) -> None:
        """Refuse a lease that has ended.

        Raises:
            ConflictError: It was committed, abandoned, has expired, or never was.
            UsageError: It is a lease for something else.
            DeniedError: The room, or the actor it was granted to, is frozen.
        """
        row = rows.execute("SELECT verb, state, expires, actor FROM lease WHERE id = ?", (lease.lease_id,)).fetchone()
        if row is not None and row[1] == "committed":
            raise ConflictError("what the lease was for is done", hint=_done_as(rows, lease))
        if row is None or row[1] != "open" or row[2] <= self._core.clock():
            raise ConflictError("the lease has ended", hint="begin again; nothing of it was kept")
        if row[0] not in verbs:
            raise UsageError(f"a lease to {row[0]} does not allow this")
        self._core.standing.refresh(rows)
        stopped = self._core.standing.decider.stopped(row[3], act=row[0])
        if stopped is not None:
            raise DeniedError(stopped.reason, rule=stopped.rule)

    def renew(self, lease: Lease) -> Lease:
        """See `Keymaster.renew`."""

        def job(rows: Rows) -> float:
            self.check(rows, lease)
            expires = self._core.journal.now(rows) + LEASE_SECONDS
            rows.execute("UPDATE lease SET expires = ? WHERE id = ?", (expires, lease.lease_id))
            return expires

        return replace(lease, expires_at=self._core.run(job))

    def mint_batch(self, lease: Lease) -> bytes:
        """See `Keymaster.mint_batch`."""

        def job(rows: Rows) -> bytes:
            self.check(rows, lease)
            table_id, version = self._table_of(rows, lease)
            if table_id is None:
                raise UsageError(f"a lease to {lease.verb} has no table to seal for")
            sequence = take(rows, "batch")
            batch = sequence.to_bytes(8, "little") + self._core.entropy(8)
            sql = "INSERT INTO batch VALUES (?, ?, ?, ?, ?, NULL, 'minted', ?)"
            rows.execute(sql, (sequence, batch, lease.lease_id, table_id, version, self._core.journal.now(rows)))
            return batch

        minted: bytes = self._core.run(job)
        return minted

    def _table_of(self, rows: Rows, lease: Lease) -> tuple[bytes | None, int | None]:
        sql = "SELECT table_id, table_version FROM lease WHERE id = ?"
        found: tuple[bytes | None, int | None] = rows.execute(sql, (lease.lease_id,)).fetchone()
        return found

    def mint_file_key(self, lease: Lease, kind: int, object_id: bytes, table: str | None) -> FileKey:
        """See `Keymaster.mint_file_key`."""
        if not KIND_RECORDS <= kind <= KIND_TOMBSTONES or len(object_id) != 16:
            raise UsageError("an object has a known kind and an id of 16 bytes")
        core = self._core
        core.standing.refresh()
        table_id = None if table is None else core.standing.schema.table(table).id

        def job(rows: Rows) -> FileKey:
            self.check(rows, lease)
            own = self._table_of(rows, lease)[0]
            if own is not None and table_id not in {own, None}:
                raise DeniedError("the lease is for another table", rule="room.lease-table")
            if rows.execute("SELECT 1 FROM file_key WHERE object = ?", (object_id,)).fetchone() is not None:
                raise ConflictError("this object has a file key: what is built again gets a new object id")
            key_id, key = core.entropy(16), core.entropy(KEY_BYTES)
            wrapped = core.ring.wrap("file", key_id, key, bound(object_id, kind, table_id))
            # a put or compaction leaves out whoever was erased before it began; what only moves entries, nobody
            sql = (
                "INSERT INTO file_key SELECT ?, ?, ?, ?, id, 'pending', NULL, ?,"
                " CASE WHEN verb IN ('put', 'rejects', 'compact') THEN leaf ELSE -1 END FROM lease WHERE id = ?"
            )
            rows.execute(sql, (key_id, object_id, kind, table_id, wrapped, lease.lease_id))
            return FileKey(key_id, key)

        minted: FileKey = core.run(job)
        return minted

    def file_keys(self, lease: Lease, key_ids: Sequence[bytes]) -> dict[bytes, bytes]:
        """See `Keymaster.file_keys`."""
        core = self._core
        rows = core.state.read()
        self.check(rows, lease)
        found = {key_id: open_file_key(core.ring, rows, key_id) for key_id in key_ids}
        if lease.verb in PUT_VERBS:
            kinds = SHARED_KINDS if lease.verb == "put" else (*SHARED_KINDS, KIND_REJECTS)
            own = self._table_of(rows, lease)[0]
            for key in found.values():
                if key.lease != lease.lease_id and (key.kind not in kinds or key.table_id not in {own, None}):
                    raise DeniedError("a put opens no stored records", rule="room.put-reads-nothing")
        if lease.verb == "erase" and any(key.kind not in (*SHARED_KINDS, KIND_RECORDS) for key in found.values()):
            raise DeniedError("a lease to erase counts records and opens nothing else", rule="room.erase-reads-nothing")
        if lease.verb in BLIND_VERBS and any(key.kind not in SHARED_KINDS for key in found.values()):
            rule = f"room.{lease.verb}-reads-nothing"
            raise DeniedError(f"a lease to {lease.verb} opens no stored records", rule=rule)
        if any(key.lease != lease.lease_id for key in found.values()):
            self._note_keys(lease)
        return {key_id: key.key for key_id, key in found.items()}

    def kinds_of(self, key_ids: Sequence[bytes]) -> list[tuple[int, bytes | None]]:
        """Of what kind, and of which table, the objects of some file keys are, as far as there are such keys."""
        rows, sql = self._core.state.read(), "SELECT kind, table_id FROM file_key WHERE id = ?"
        found = (rows.execute(sql, (key_id,)).fetchone() for key_id in key_ids)
        return [(row[0], row[1]) for row in found if row is not None]

    def _note_keys(self, lease: Lease) -> None:
        sql = "SELECT noted FROM lease WHERE id = ?"
        if self._core.state.read().execute(sql, (lease.lease_id,)).fetchone()[0]:
            return

        def job(rows: Rows) -> None:
            self.check(rows, lease)
            row = rows.execute("UPDATE lease SET noted = 1 WHERE id = ? AND noted = 0 RETURNING 1", (lease.lease_id,))
            if row.fetchone() is not None:
                table = None if lease.table is None else lease.table.name
                entry = self._core.journal.entry(rows, "keys", lease.actor, table=table, extras={"for": lease.verb})
                self._core.journal.note(rows, entry)

        self._core.run(job)
        self._core.noted.set()

    def ended_objects(self, lease: Lease, object_ids: Sequence[bytes]) -> list[bytes]:
        """See `Keymaster.ended_objects`."""
        rows = self._core.state.read()
        self.check(rows, lease, ("compact",))
        sql = (
            "SELECT 1 FROM file_key JOIN lease ON lease.id = file_key.lease"
            " WHERE object = ? AND (lease.state != 'open' OR lease.expires < ?)"
        )
        now = self._core.clock()
        return [ident for ident in object_ids if rows.execute(sql, (ident, now)).fetchone() is not None]

    def seen_source(self, lease: Lease, digest: bytes) -> bool:
        """See `Keymaster.seen_source`."""
        rows = self._core.state.read()
        self.check(rows, lease)
        sql = "SELECT 1 FROM source WHERE table_id = ? AND digest = ?"
        return rows.execute(sql, (self._table_of(rows, lease)[0], digest)).fetchone() is not None

    # -- ending ---------------------------------------------------------------------------------
    def commit(
        self,
        lease: Lease,
        base: Head,
        new: Head,
        counts: Mapping[str, int],
        digests: Sequence[bytes],
        dropped_keys: Sequence[bytes],
    ) -> Receipt:
        """See `Keymaster.commit`."""
        core = self._core
        _check_commit(lease, base, new, digests)

        def work(rows: Rows) -> Answer:
            self.check(rows, lease)
            _check_head(rows, lease, base, new, core.head(rows))
            table = None if lease.table is None else lease.table.name
            extras = {"snapshot": new.number, **{name: int(count) for name, count in counts.items()}}
            entry = core.journal.entry(rows, "commit", lease.actor, table=table, extras=extras)
            sql = "INSERT INTO head VALUES (?, ?, ?, ?, ?)"
            rows.execute(sql, (new.number, new.object_id, new.sha256, new.length, new.key_id))
            self._settle(rows, lease, new, digests, dropped_keys)
            switch_outer_keys(rows, lease, new.number, counts.get("restored") if lease.verb == "restore" else None)
            return {"leaf": core.journal.note(rows, entry), "time": core.journal.now(rows)}

        answer = core.act("commit", lease.actor, work)
        return Receipt(answer["leaf"], answer["time"], lease.verb, dict(counts))

    def _settle(
        self, rows: Rows, lease: Lease, new: Head, digests: Sequence[bytes], dropped_keys: Sequence[bytes]
    ) -> None:
        ident = lease.lease_id
        self._core.ledger.keep(rows, ident)
        rows.execute("UPDATE lease SET state = 'committed' WHERE id = ?", (ident,))
        rows.execute("UPDATE batch SET state = 'committed' WHERE lease = ? AND state = 'sealed'", (ident,))
        rows.execute("UPDATE batch SET state = 'dead' WHERE lease = ? AND state = 'minted'", (ident,))
        rows.execute("UPDATE file_key SET state = 'live' WHERE lease = ? AND state = 'pending'", (ident,))
        drop = "UPDATE file_key SET state = 'dropped', dropped_at = ? WHERE id = ? AND state = 'live'"
        rows.executemany(drop, [(new.number, key_id) for key_id in dropped_keys])
        table_id = self._table_of(rows, lease)[0]
        remember = "INSERT INTO source VALUES (?, ?) ON CONFLICT (table_id, digest) DO NOTHING"
        rows.executemany(remember, [(table_id, digest) for digest in digests if table_id is not None])

    def abandon(self, lease: Lease) -> None:
        """See `Keymaster.abandon`."""

        def job(rows: Rows) -> None:
            row = rows.execute("SELECT state FROM lease WHERE id = ?", (lease.lease_id,)).fetchone()
            if row is None or row[0] != "open":
                return
            table = None if lease.table is None else lease.table.name
            entry = self._core.journal.entry(rows, "abandon", lease.actor, table=table, extras={"of": lease.verb})
            end_lease(rows, lease.lease_id)
            if lease.verb not in NOTED_AS:
                self._core.journal.note(rows, entry)
            self._core.ledger.give_back(rows, lease.lease_id, self._core.journal.now(rows))

        self._core.run(job)
        self._core.noted.set()


def _done_as(rows: Rows, lease: Lease) -> str:
    """As what a lease was committed."""
    sql = "SELECT number FROM head JOIN file_key ON file_key.id = head.key WHERE file_key.lease = ?"
    row = rows.execute(sql, (lease.lease_id,)).fetchone()
    which = "" if row is None else f" as snapshot {row[0]}, which `strongroom log` shows"
    return f"it was committed{which}: nothing is done twice, and there is nothing to repeat"


def _check_commit(lease: Lease, base: Head, new: Head, digests: Sequence[bytes]) -> None:
    if lease.verb not in COMMIT_VERBS:
        raise UsageError(f"a lease to {lease.verb} commits nothing")
    if new.number != base.number + 1 or not 0 < new.number <= LENGTH_MAX:
        raise UsageError("a snapshot's number follows its base's")
    if len(new.object_id) != 16 or len(new.sha256) != 32 or not 0 < new.length <= LENGTH_MAX:
        raise UsageError("a snapshot has an object id, a hash and a length")
    if any(len(digest) != DIGEST_BYTES for digest in digests):
        raise UsageError("a source's digest has 32 bytes")


def _check_head(rows: Rows, lease: Lease, base: Head, new: Head, current: Head) -> None:
    if current != base:
        raise ConflictError(
            f"the head is snapshot {current.number} by now, and this put began from {base.number}",
            hint="rebase on the newest snapshot and commit again",
        )
    row = rows.execute("SELECT object, kind, lease, state FROM file_key WHERE id = ?", (new.key_id,)).fetchone()
    if row != (new.object_id, KIND_SNAPSHOT, lease.lease_id, "pending"):
        raise IntegrityError("the new snapshot is not sealed with a file key of this lease")
