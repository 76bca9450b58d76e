"""What the room may ask of a keymaster, embedded or on another host.

Rules every keymaster keeps (DESIGN sections 4 to 6):

1. Subject secrets, class keys and index keys never cross this interface; batch keys, block keys and tokens do.
2. Batch ids and file keys are minted here, one per attempt; a caller's batch id is never accepted for sealing.
3. One transaction holds the request id, the decision, the spend in every window and scope, and the log leaf;
   what is released is returned after its commit. The same request id gets the same answer and is charged once.
4. The head of the room moves by one compare-and-swap, noted in the log.

Arrays are numpy: tokens u8[n,16], keys u8[n,32], ordinals u32[n] or u64[n].
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import msgspec
import numpy as np
import numpy.typing as npt

from strongroom.keymaster.canaries.api import Canaries
from strongroom.keymaster.erasures.api import Buried, Erasures
from strongroom.keymaster.exports.api import Exports
from strongroom.keymaster.log.api import Logs
from strongroom.keymaster.log.personapi import Persons
from strongroom.keymaster.log.tailapi import Tails
from strongroom.keymaster.readapi import Ask, AtOnce, Hits, Released
from strongroom.keymaster.tracing.api import Traces
from strongroom.purpose.model import FieldView
from strongroom.purpose.sealed import SealedRule

if TYPE_CHECKING:
    import pyarrow as pa

    from strongroom.keymaster.credentials import OwnCredential
    from strongroom.purpose.policy import Policy
    from strongroom.schema.model import Schema, Table

Bytes2D = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Head:
    """The newest snapshot of the room: one row at the keymaster.

    `number` counts up from 0 (an empty room has number 0 and no object).
    """

    number: int
    object_id: bytes
    sha256: bytes
    length: int
    key_id: bytes


@dataclass(frozen=True)
class FileKey:
    """A key that seals one object, once. Objects hold only the id."""

    key_id: bytes
    key: bytes = field(repr=False)


@dataclass(frozen=True)
class Lease:
    """Leave to write for a while: a put, a compaction, or a re-put of rejects."""

    lease_id: bytes
    actor: str
    verb: str
    table: Table | None
    base: Head
    expires_at: float


@dataclass(frozen=True)
class SealingKeys:
    """Tokens and batch keys of the rows of one batch, in row order; `new` counts subjects first seen."""

    tokens: Bytes2D = field(repr=False)
    keys: Mapping[str, Bytes2D] = field(repr=False)
    new: int


@dataclass(frozen=True)
class Receipt:
    """Proof that an act is in the log: its leaf number and, once published, a checkpoint that covers it.

    `asked` is the id under which it waits for another person, where it was not done yet.
    """

    leaf: int
    time: float
    verb: str
    counts: Mapping[str, int]
    asked: str = ""


@dataclass(frozen=True)
class BucketCopy:
    """A copy of the bucket that somebody made: where, of which snapshot, what it held, when (seconds since 1970)."""

    url: str
    snapshot: int
    objects: int
    bytes: int
    made: float


class ReadingGrant(msgspec.Struct, frozen=True):
    """One open, purposeful session of reads."""

    reading_id: bytes
    actor: str
    purpose: str
    expires_at: float
    views: Mapping[str, Mapping[str, FieldView]]
    sql_min_group: int | None
    sql_rows: bool
    sql_step: int = 1
    sealed: Mapping[str, SealedRule] = msgspec.field(default_factory=dict)


class Keymaster(Protocol):
    """Decide, spend, note, release. See the module's rules."""

    room_id: bytes
    erasures: Erasures
    tails: Tails
    logs: Logs
    persons: Persons
    exports: Exports
    canaries: Canaries
    traces: Traces

    @property
    def credentials(self) -> OwnCredential:
        """The credentials that sign what is asked."""

    def close(self) -> None:
        """Publish what is noted, then forget the keys."""

    def schema(self) -> Schema:
        """The schema in force."""

    def table_version(self, table_id: bytes, version: int) -> Table:
        """A table as it was at a schema version that a record was sealed under."""

    def policy(self) -> Policy:
        """The policy in force."""

    def set_schema(self, actor: str, text: str) -> Receipt:
        """Keep a new schema version, from TOML text; noted in the log."""

    def set_policy(self, actor: str, text: str) -> Receipt:
        """Keep a new policy version, from TOML text; noted in the log."""

    def head(self) -> Head:
        """The newest snapshot."""

    def head_at(self, number: int) -> Head:
        """The head row of an older snapshot; NotFoundError if there never was one of that number."""

    # -- copies ---------------------------------------------------------------------------------
    def note_copy(self, lease: Lease, copy: BucketCopy) -> Receipt:
        """Remember a finished copy of the bucket and note it; ends the lease to copy."""

    def bucket_copies(self) -> list[BucketCopy]:
        """The copies that were made, newest first."""

    # -- writing --------------------------------------------------------------------------------
    def begin_put(self, *, actor: str, table: str, request_id: bytes, verb: str = "put") -> Lease:
        """Decide whether this actor may put into this table now, and grant a lease."""

    def begin_maintenance(self, *, actor: str, verb: str) -> Lease:
        """Grant a lease to compact, check, copy or restore, or to read the log."""

    def renew(self, lease: Lease) -> Lease:
        """Extend a lease that still runs; ConflictError when it has ended."""

    def seen_source(self, lease: Lease, digest: bytes) -> bool:
        """Whether a source with this SHA-256 digest was put into the lease's table by a committed put."""

    def mint_batch(self, lease: Lease) -> bytes:
        """A fresh batch id (16 B), bound to the lease."""

    def mint_file_key(self, lease: Lease, kind: int, object_id: bytes, table: str | None) -> FileKey:
        """A fresh file key for one object."""

    def seal_subjects(self, lease: Lease, batch: bytes, identifiers: pa.Array) -> SealingKeys:
        """Tokens and batch keys for the rows of a batch; makes secrets for subjects not seen before.

        Raises ConflictError when the batch is not of this running lease, BudgetError when the put budget is spent.
        """

    def seal_index(
        self,
        lease: Lease,
        batch: bytes,
        field_name: str,
        values: pa.Array,
        subject_tokens: Bytes2D,
        ordinals: npt.NDArray[np.uint32],
    ) -> tuple[Bytes2D, Bytes2D]:
        """Value tokens u8[n,16] and index entries u8[n,44] for normalised values without nulls."""

    def file_keys(self, lease: Lease, key_ids: Sequence[bytes]) -> dict[bytes, bytes]:
        """File keys of stored objects, for the lease's own maintenance or rebase; noted once per lease."""

    def ended_objects(self, lease: Lease, object_ids: Sequence[bytes]) -> list[bytes]:
        """Of some objects those whose file key was minted under a lease that has ended: nobody is writing them."""

    def commit(
        self,
        lease: Lease,
        base: Head,
        new: Head,
        counts: Mapping[str, int],
        digests: Sequence[bytes] = (),
        dropped_keys: Sequence[bytes] = (),
    ) -> Receipt:
        """Move the head from base to new and note it, in one transaction; ConflictError if the head moved."""

    def rotate_index(
        self, lease: Lease, table: str, field_name: str, value_tokens: Bytes2D, entries: Bytes2D
    ) -> tuple[Bytes2D, Bytes2D]:
        """Value tokens u8[n,16] and entries u8[n,44] under a field's next outer key; the lease's commit switches to it.

        Raises IntegrityError when an entry does not open, ConflictError when the lease is for another field.
        """

    def abandon(self, lease: Lease) -> None:
        """End a lease without a commit; its file keys are destroyed and its batches stay unused."""

    # -- reading --------------------------------------------------------------------------------
    def begin_reading(
        self, *, actor: str, purpose: str, reason: str, approval: str | None = None, break_glass: bool = False
    ) -> ReadingGrant:
        """Open a reading; a refusal is noted too. Purpose and reason are required.

        Args:
            actor: Who reads.
            purpose: What for.
            reason: Case or ticket.
            approval: Id of what another person agreed to, where the purpose needs that.
            break_glass: Read without that, where the purpose lets the actor; it is told, and reviewed.
        """

    def end_reading(self, reading_id: bytes) -> None:
        """Close a reading: reserved look-ups that were not used come back."""

    def block_keys(
        self, reading_id: bytes, key_id: bytes, kind: int, numbers: Sequence[int], table: str | None
    ) -> list[bytes]:
        """Block keys of one object under a reading; noted once per reading, table and kind.

        table is None for manifests and snapshots, which name no person.
        """

    def subject_tokens(self, reading_id: bytes, table: str, identifiers: Sequence[str]) -> Bytes2D:
        """Subject tokens of canonical identifiers; metered as look-ups."""

    def value_tokens(
        self, reading_id: bytes, table: str, field_name: str, values: Sequence[str], snapshot: int | None = None
    ) -> Bytes2D:
        """Value tokens of normalised values of an indexed field; metered as look-ups, hits and misses alike.

        `snapshot` is the one they are looked up in, None for the newest: older ones may have other tokens.
        """

    def open_hits(
        self, reading_id: bytes, table: str, field_name: str, value_tokens: Bytes2D, entries: Bytes2D,
        at_once: AtOnce | None = None,
    ) -> Hits:  # fmt: skip
        """Open index entries found under value tokens this reading asked for; others are refused.

        With `at_once` what they name is released as by `release`, if it is certain that all of it is live.
        """

    def release(self, reading_id: bytes, ask: Ask) -> Released:
        """Decide, spend, note, then release batch keys for the rows asked for."""

    def stand_ins(self, reading_id: bytes, table: str, field_name: str, values: Sequence[str]) -> list[str]:
        """Stand-ins (hex) of opened values of a field that the purpose shows as a token."""

    def note_sql(
        self, reading_id: bytes, request_id: bytes, table: str, fields: Sequence[str], groups: int, persons: int = 0
    ) -> int:
        """Note an aggregate; returns the leaf. Over sealed fields it is planned, for so many persons at most."""

    # -- log ------------------------------------------------------------------------------------
    def publish(self) -> str:
        """Derive tiles from noted leaves and sign a checkpoint; returns the checkpoint's text."""

    def is_checkpoint(self, text: str) -> bool:
        """Whether a text is a checkpoint that this room's log has signed, of whatever age."""

    def log_key(self) -> str:
        """The log's public key in force, as the line that C2SP verifiers read: name+id+key."""

    def log_entries(
        self,
        actor: str,
        start: int = 0,
        stop: int | None = None,
        *,
        of: str | None = None,
        since: float | None = None,
        until: float | None = None,
    ) -> list[dict[str, object]]:
        """Log entries as dictionaries, in order, each with its number under `leaf`.

        Args:
            actor: Who asks; needs the act `log`, except for their own entries.
            start: The first number.
            stop: The number after the last; None for all there are.
            of: Only entries of this actor.
            since: Only entries of this time and later, seconds since 1970.
            until: Only entries before this time.

        Raises:
            DeniedError: The actor has no right to them.
        """

    def check_checkpoint(self, text: str) -> None:
        """Check a checkpoint kept elsewhere; IntegrityError if the log is shorter, another, or did not sign it."""

    def verify_log(self, *, known: Sequence[str] = (), maps: bool = False) -> dict[str, object]:
        """Recompute tiles and roots from entries, check signatures, known checkpoints, and that every day was closed.

        With `maps` the map of each day is made again from its entries' lists of labels.
        Raises IntegrityError that names the first entry, tile or day at fault.
        """


__all__ = [
    "Ask",
    "AtOnce",
    "BucketCopy",
    "Buried",
    "Bytes2D",
    "Erasures",
    "FieldView",
    "FileKey",
    "Head",
    "Hits",
    "Keymaster",
    "Lease",
    "ReadingGrant",
    "Receipt",
    "Released",
    "SealingKeys",
]
