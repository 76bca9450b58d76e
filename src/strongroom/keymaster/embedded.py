"""The keymaster in the caller's own process: a folder, SQLite and a passphrase file.

It binds honest software only: whoever controls the process controls the keys. Its interface, store and database are its
own, so that it can move to another host without a change above.

    keys/
      keymaster.db          state: budgets, policy, wrapped keys, leaves, the head
      slots/                the epoch key, under a passphrase (Argon2id) or a token's key
      pages/                key pages
      log/                  tiles and checkpoint of the read log
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from strongroom.audit.note import verifier_key
from strongroom.closing import Closing
from strongroom.keymaster.api import (
    Ask,
    AtOnce,
    BucketCopy,
    Bytes2D,
    FileKey,
    Head,
    Hits,
    Lease,
    ReadingGrant,
    Receipt,
    Released,
    SealingKeys,
)
from strongroom.keymaster.approvals import Approvals
from strongroom.keymaster.behind import Behind
from strongroom.keymaster.bucketcopies import BucketCopies
from strongroom.keymaster.canaries.api import Canaries
from strongroom.keymaster.canaries.asking import EmbeddedCanaries
from strongroom.keymaster.canaries.register import CanaryRegister
from strongroom.keymaster.changes import Changes
from strongroom.keymaster.core import Core, note_own
from strongroom.keymaster.credentials import Credentials
from strongroom.keymaster.erasures.api import Erasures
from strongroom.keymaster.erasures.erasures import EmbeddedErasures
from strongroom.keymaster.erasures.turning import Turning
from strongroom.keymaster.exports.api import Exports
from strongroom.keymaster.exports.exporting import EmbeddedExports
from strongroom.keymaster.finding import Finding
from strongroom.keymaster.freezing import Freezing
from strongroom.keymaster.holder import HERE, Holder
from strongroom.keymaster.identities import Identities
from strongroom.keymaster.keycopies import KeyCopies
from strongroom.keymaster.leases import Leases
from strongroom.keymaster.log.answers import EmbeddedLogs
from strongroom.keymaster.log.api import Logs, Which
from strongroom.keymaster.log.catchup import EmbeddedTails
from strongroom.keymaster.log.daychecks import check_chain, check_maps
from strongroom.keymaster.log.days import Days
from strongroom.keymaster.log.personapi import Persons
from strongroom.keymaster.log.persons import EmbeddedPersons
from strongroom.keymaster.log.publishing import Publishing
from strongroom.keymaster.log.resigning import Resigning
from strongroom.keymaster.log.tailapi import Tails
from strongroom.keymaster.lookups import Lookups
from strongroom.keymaster.notices import Notices
from strongroom.keymaster.readings import Readings
from strongroom.keymaster.reindexing import Reindexing
from strongroom.keymaster.releasing import Releasing
from strongroom.keymaster.reviews import Reviews
from strongroom.keymaster.rotating import Rotating
from strongroom.keymaster.sealing import Sealing
from strongroom.keymaster.serving import Serving
from strongroom.keymaster.servingtokens import ServingTokens
from strongroom.keymaster.slotting import Slots
from strongroom.keymaster.standins import StandIns
from strongroom.keymaster.stepping import Stepping
from strongroom.keymaster.tracing.api import Traces
from strongroom.keymaster.tracing.tracing import EmbeddedTraces
from strongroom.keymaster.unlocking import Unlocking
from strongroom.keys.hierarchy import KeyRing

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

    from strongroom.purpose.policy import Policy
    from strongroom.schema.model import Schema, Table
    from strongroom.store.base import Store


class EmbeddedKeymaster(Closing):
    """See `keymaster.api.Keymaster`. Made by `create_keymaster` and `open_keymaster`; close it with `with`.

    Args:
        core: Keys and state.
        publishing: The published side of its log.
        folder: Where it lies.
        pages: The store of its key pages.
        log: The store of its log.
    """

    def __init__(self, core: Core, publishing: Publishing, folder: Path, pages: Store, log: Store) -> None:
        self.room_id, self.folder = core.room_id, folder
        self._core = core
        self._publishing = publishing
        self._leases = Leases(core)
        self._bucket_copies = BucketCopies(core, self._leases)
        self._sealing = Sealing(core, self._leases)
        self._reindexing = Reindexing(core, self._leases)
        self.approvals = Approvals(core)
        self.changes = Changes(core, self.approvals)
        self.reviews = Reviews(core)
        self.freezing = Freezing(core, self.approvals)
        self._readings = Readings(core, self.approvals, self.reviews)
        self._lookups = Lookups(core, self._readings)
        self._unlocking = Unlocking(core, self._readings)
        behind = Behind(core)
        self._canaries = canaries = CanaryRegister(core)
        self.canaries: Canaries = EmbeddedCanaries(core, self._readings, self._lookups, canaries)
        self.traces: Traces = EmbeddedTraces(core, self._readings, behind, canaries)
        self._releasing = Releasing(core, self._readings, behind, canaries)
        self.exports: Exports = EmbeddedExports(
            core, self._readings, behind, canaries, self.approvals, publishing
        )
        self.serving = Serving(core, self._readings, self._lookups, self._unlocking, self._leases)
        self.serving_tokens = ServingTokens(core, self._readings, self.exports)
        finding = Finding(core, self._lookups, self._releasing, behind)
        self.stepping = Stepping(core, self._readings, self._releasing, finding)
        self._stand_ins = StandIns(core, self._readings)
        self.slots = Slots(core, folder / "slots")
        self.key_copies = KeyCopies(core, self.slots, pages, log, folder)
        self.tails: Tails = EmbeddedTails(core, publishing, self.key_copies.needed_from)
        self.turning = Turning(core, self.slots, self.key_copies)
        self.erasures: Erasures = EmbeddedErasures(core, self._leases, self._readings, publishing, self.turning)
        self.rotating = Rotating(core, self.slots)
        self.resigning = Resigning(core, self.slots, publishing)
        self.credentials = Credentials(core, self.approvals)
        self._readings.in_force = self.credentials.in_force
        self.identities = Identities(core, self.approvals)
        self._logs = logs = EmbeddedLogs(core)
        self.logs: Logs = logs
        self.notices = Notices(core)
        self._days = Days(core)
        publishing.before = self._days.close_due
        self.persons: Persons = EmbeddedPersons(core, self._readings, self._lookups, publishing, self._days, canaries)

    @property
    def ring(self) -> KeyRing:
        """The epoch key in force, for whoever tests a slot or a copy of the key store against it."""
        return self._core.ring

    def __repr__(self) -> str:
        return f"<EmbeddedKeymaster of room {self.room_id.hex()[:8]}>"

    def close(self) -> None:
        """Publish what is noted, then forget the keys."""
        core = self._core
        if core.state.closed:
            return
        try:
            self._publishing.stop()
        finally:
            self._readings.forget()
            self._canaries.forget()
            core.close()

    # -- for whoever serves it ------------------------------------------------------------------
    def note(self, act: str, **extras: int | str) -> None:
        """Note what happened to the process that serves it."""
        note_own(self._core, act, extras)

    def lease_of(self, lease_id: bytes) -> Lease:
        """A lease as it was granted, by its id."""
        return self._leases.held(lease_id)

    def holder_of(self, reading_id: bytes) -> Holder:
        """Through which credential an open reading was opened."""
        return self._readings.get(reading_id).holder

    @property
    def log_size(self) -> int:
        """Number of entries noted."""
        return self._publishing.size()

    def require_one_of(self, actor: str, acts: Sequence[str]) -> None:
        """See `Standing.require_one_of`."""
        self._core.standing.require_one_of(actor, acts)

    @property
    def standing_number(self) -> int:
        """Counts every change of schema, policy, credentials and index keys."""
        return self._core.standing.refresh()

    # -- what it keeps --------------------------------------------------------------------------
    def schema(self) -> Schema:
        """See `Keymaster.schema`."""
        self._core.standing.refresh()
        return self._core.standing.schema

    def table_version(self, table_id: bytes, version: int) -> Table:
        """See `Keymaster.table_version`."""
        return self._core.standing.table_version(table_id, version)

    def policy(self) -> Policy:
        """See `Keymaster.policy`."""
        self._core.standing.refresh()
        return self._core.standing.policy

    def set_schema(self, actor: str, text: str) -> Receipt:
        """See `Keymaster.set_schema`."""
        return self.changes.make(actor, "schema", text)

    def set_policy(self, actor: str, text: str) -> Receipt:
        """See `Keymaster.set_policy`."""
        return self.changes.make(actor, "policy", text)

    def head(self) -> Head:
        """See `Keymaster.head`."""
        return self._core.head()

    def head_at(self, number: int) -> Head:
        """See `Keymaster.head_at`."""
        return self._leases.head_at(number)

    # -- copies ---------------------------------------------------------------------------------
    def note_copy(self, lease: Lease, copy: BucketCopy) -> Receipt:
        """See `Keymaster.note_copy`."""
        return self._bucket_copies.note(lease, copy)

    def bucket_copies(self) -> list[BucketCopy]:
        """See `Keymaster.bucket_copies`."""
        return self._bucket_copies.all()

    # -- writing --------------------------------------------------------------------------------
    def begin_put(self, *, actor: str, table: str, request_id: bytes, verb: str = "put") -> Lease:
        """See `Keymaster.begin_put`."""
        return self._leases.begin_put(actor, table, request_id, verb)

    def begin_maintenance(self, *, actor: str, verb: str) -> Lease:
        """See `Keymaster.begin_maintenance`."""
        return self._leases.begin_maintenance(actor, verb)

    def renew(self, lease: Lease) -> Lease:
        """See `Keymaster.renew`."""
        return self._leases.renew(lease)

    def seen_source(self, lease: Lease, digest: bytes) -> bool:
        """See `Keymaster.seen_source`."""
        return self._leases.seen_source(lease, digest)

    def mint_batch(self, lease: Lease) -> bytes:
        """See `Keymaster.mint_batch`."""
        return self._leases.mint_batch(lease)

    def mint_file_key(self, lease: Lease, kind: int, object_id: bytes, table: str | None) -> FileKey:
        """See `Keymaster.mint_file_key`."""
        return self._leases.mint_file_key(lease, kind, object_id, table)

    def seal_subjects(self, lease: Lease, batch: bytes, identifiers: pa.Array) -> SealingKeys:
        """See `Keymaster.seal_subjects`."""
        return self._sealing.seal_subjects(lease, batch, identifiers)

    def seal_index(
        self,
        lease: Lease,
        batch: bytes,
        field_name: str,
        values: pa.Array,
        subject_tokens: Bytes2D,
        ordinals: npt.NDArray[np.uint32],
    ) -> tuple[Bytes2D, Bytes2D]:
        """See `Keymaster.seal_index`."""
        return self._sealing.seal_index(lease, batch, field_name, values, subject_tokens, ordinals)

    def file_keys(self, lease: Lease, key_ids: Sequence[bytes]) -> dict[bytes, bytes]:
        """See `Keymaster.file_keys`."""
        return self._leases.file_keys(lease, key_ids)

    def ended_objects(self, lease: Lease, object_ids: Sequence[bytes]) -> list[bytes]:
        """See `Keymaster.ended_objects`."""
        return self._leases.ended_objects(lease, object_ids)

    def commit(
        self,
        lease: Lease,
        base: Head,
        new: Head,
        counts: Mapping[str, int],
        digests: Sequence[bytes] = (),
        dropped_keys: Sequence[bytes] = (),
    ) -> Receipt:
        """See `Keymaster.commit`."""
        return self._leases.commit(lease, base, new, counts, digests, dropped_keys)

    def rotate_index(
        self, lease: Lease, table: str, field_name: str, value_tokens: Bytes2D, entries: Bytes2D
    ) -> tuple[Bytes2D, Bytes2D]:
        """See `Keymaster.rotate_index`."""
        return self._reindexing.rotate(lease, table, field_name, value_tokens, entries)

    def abandon(self, lease: Lease) -> None:
        """See `Keymaster.abandon`."""
        self._leases.abandon(lease)

    # -- reading --------------------------------------------------------------------------------
    def begin_reading(
        self,
        *,
        actor: str,
        purpose: str,
        reason: str,
        approval: str | None = None,
        break_glass: bool = False,
        holder: Holder = HERE,
    ) -> ReadingGrant:
        """See `Keymaster.begin_reading`; `holder` is the credential it is opened through."""
        begun = self._readings.beginning(actor, purpose, reason, approval, break_glass=break_glass, holder=holder)
        return self._core.finish(begun)

    def end_reading(self, reading_id: bytes) -> None:
        """See `Keymaster.end_reading`."""
        self._core.finish(self._readings.ending(reading_id))

    def block_keys(
        self, reading_id: bytes, key_id: bytes, kind: int, numbers: Sequence[int], table: str | None
    ) -> list[bytes]:
        """See `Keymaster.block_keys`."""
        return self._unlocking.block_keys(reading_id, key_id, kind, numbers, table)

    def subject_tokens(self, reading_id: bytes, table: str, identifiers: Sequence[str]) -> Bytes2D:
        """See `Keymaster.subject_tokens`."""
        return self._lookups.subject_tokens(reading_id, table, identifiers)

    def value_tokens(
        self, reading_id: bytes, table: str, field_name: str, values: Sequence[str], snapshot: int | None = None
    ) -> Bytes2D:
        """See `Keymaster.value_tokens`."""
        return self._lookups.value_tokens(reading_id, table, field_name, values, snapshot)

    def open_hits(
        self, reading_id: bytes, table: str, field_name: str, value_tokens: Bytes2D, entries: Bytes2D,
        at_once: AtOnce | None = None,
    ) -> Hits:  # fmt: skip
        """See `Keymaster.open_hits`."""
        wanted = (table, field_name, value_tokens, entries, at_once)
        return self._core.finish(self.stepping.open_hits(reading_id, *wanted))

    def release(self, reading_id: bytes, ask: Ask) -> Released:
        """See `Keymaster.release`."""
        return self._core.finish(self._releasing.releasing(reading_id, ask))

    def stand_ins(self, reading_id: bytes, table: str, field_name: str, values: Sequence[str]) -> list[str]:
        """See `Keymaster.stand_ins`."""
        return self._stand_ins.of(reading_id, table, field_name, values)

    def note_sql(
        self, reading_id: bytes, request_id: bytes, table: str, fields: Sequence[str], groups: int, persons: int = 0
    ) -> int:
        """See `Keymaster.note_sql`."""
        return self._releasing.note_sql(reading_id, request_id, table, fields, groups, persons)

    # -- log ------------------------------------------------------------------------------------
    def publish(self) -> str:
        """See `Keymaster.publish`."""
        return self._publishing.publish()

    def check_checkpoint(self, text: str) -> None:
        """See `Keymaster.check_checkpoint`."""
        self._publishing.check_known(text)

    def is_checkpoint(self, text: str) -> bool:
        """See `Keymaster.is_checkpoint`."""
        return self._publishing.is_known(text)

    def log_key(self) -> str:
        """See `Keymaster.log_key`."""
        return verifier_key(self._publishing.origin, self._publishing.keys[-1].public_key)

    def log_entries(
        self,
        actor: str,
        start: int = 0,
        stop: int | None = None,
        *,
        of: str | None = None,
        since: float | None = None,
        until: float | None = None,
        most: int = 1 << 62,
    ) -> list[dict[str, object]]:
        """See `Keymaster.log_entries`; `most` of them."""
        return self._logs.entries(actor, Which(of, None, since, until), start, stop, most)

    def verify_log(self, *, known: Sequence[str] = (), maps: bool = False) -> dict[str, object]:
        """See `Keymaster.verify_log`."""
        report = self._publishing.verify(known)
        days = check_maps(self._core, self._days) if maps else {"days": len(check_chain(self._core))}
        return {**report, **days, "entries": report["size"], "checkpoints": 1 + len(known)}
