"""The keymaster of another host, as rooms see it: every call signed, errors as if they had happened here."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

from strongroom.closing import Closing
from strongroom.errors import UsageError
from strongroom.identity.credential import Credential, read_credential
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
from strongroom.keymaster.canaries.api import Canaries
from strongroom.keymaster.erasures.api import Erasures
from strongroom.keymaster.exports.api import Exports
from strongroom.keymaster.log.api import Logs
from strongroom.keymaster.log.personapi import Persons
from strongroom.keymaster.log.tailapi import Tails
from strongroom.keymaster.tracing.api import Traces
from strongroom.keyserver.asking import Asking
from strongroom.keyserver.calls import LOG_ENTRIES_AT_ONCE, LeaseSaid
from strongroom.keyserver.client_canaries import RemoteCanaries
from strongroom.keyserver.client_exports import RemoteExports
from strongroom.keyserver.client_logs import RemoteLogs
from strongroom.keyserver.client_parts import (
    RemoteCredentials,
    RemoteErasures,
    RemoteIdentities,
    RemotePersons,
    RemoteTails,
)
from strongroom.keyserver.client_traces import RemoteTraces
from strongroom.keyserver.client_twos import RemoteApprovals, RemoteFreezing, RemoteReviews
from strongroom.purpose.model import Policy
from strongroom.schema.model import Schema
from strongroom.schema.stored import table_from_json
from strongroom.seal.entropy import random_bytes

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

    from strongroom.schema.model import Table


class RemoteKeymaster(Closing):
    """See `keymaster.api.Keymaster`. Made by `connect`; close it with `with`.

    Args:
        asking: Makes the calls.
    """

    def __init__(self, asking: Asking) -> None:
        self.room_id = asking.room_id
        self.actor = asking.actor
        self.asking = asking
        self._ask = asking.ask
        self.greet = asking.greet
        self._schema: tuple[int, Schema | None] = (-1, None)
        self._policy: tuple[int, Policy | None] = (-1, None)
        self._tables: dict[tuple[bytes, int], Table] = {}
        self.erasures: Erasures = RemoteErasures(self._ask)
        self.tails: Tails = RemoteTails(self._ask)
        self.persons: Persons = RemotePersons(self._ask)
        self.exports: Exports = RemoteExports(self._ask)
        self.canaries: Canaries = RemoteCanaries(self._ask)
        self.traces: Traces = RemoteTraces(self._ask)
        self.credentials = RemoteCredentials(self._ask)
        self.identities = RemoteIdentities(self._ask)
        self.approvals, self.freezing = RemoteApprovals(self._ask), RemoteFreezing(self._ask)
        self.reviews = RemoteReviews(self._ask)
        self.logs: Logs = RemoteLogs(self._ask)

    def __repr__(self) -> str:
        return f"<RemoteKeymaster of room {self.room_id.hex()[:8]} for {self.actor}>"

    def close(self) -> None:
        """See `Keymaster.close`: the server goes on."""
        self.asking.close()

    # -- what it keeps --------------------------------------------------------------------------
    def schema(self) -> Schema:
        """See `Keymaster.schema`."""
        number, known = self._schema
        if known is None or number != self.asking.standing:
            known = Schema.from_json(self._ask("schema"))
            self._schema = (self.asking.told, known)
        return known

    def table_version(self, table_id: bytes, version: int) -> Table:
        """See `Keymaster.table_version`."""
        known = self._tables.get((table_id, version))
        if known is None:
            known = table_from_json(self._ask("table_version", table_id=table_id, version=version))
            self._tables[table_id, version] = known
        return known

    def policy(self) -> Policy:
        """See `Keymaster.policy`."""
        number, known = self._policy
        if known is None or number != self.asking.standing:
            known = Policy.from_json(self._ask("policy"))
            self._policy = (self.asking.told, known)
        return known

    def set_schema(self, actor: str, text: str) -> Receipt:
        """See `Keymaster.set_schema`."""
        self._own(actor)
        return cast("Receipt", self._ask("set_schema", text=text))

    def set_policy(self, actor: str, text: str) -> Receipt:
        """See `Keymaster.set_policy`."""
        self._own(actor)
        return cast("Receipt", self._ask("set_policy", text=text))

    def _own(self, actor: str) -> None:
        """A credential speaks for one actor."""
        if actor != self.actor:
            raise UsageError(f"the credential is {self.actor}'s, and this is asked for {actor}")

    def head(self) -> Head:
        """See `Keymaster.head`."""
        return cast("Head", self._ask("head"))

    def head_at(self, number: int) -> Head:
        """See `Keymaster.head_at`."""
        return cast("Head", self._ask("head_at", number=number))

    # -- copies ---------------------------------------------------------------------------------
    def note_copy(self, lease: Lease, copy: BucketCopy) -> Receipt:
        """See `Keymaster.note_copy`."""
        return cast("Receipt", self._ask("note_copy", lease=lease.lease_id, copy=copy))

    def bucket_copies(self) -> list[BucketCopy]:
        """See `Keymaster.bucket_copies`."""
        return cast("list[BucketCopy]", self._ask("bucket_copies"))

    # -- writing --------------------------------------------------------------------------------
    def begin_put(self, *, actor: str, table: str, request_id: bytes, verb: str = "put") -> Lease:
        """See `Keymaster.begin_put`."""
        self._own(actor)
        return lease_of(self._ask("begin_put", table=table, request_id=request_id, verb=verb))

    def begin_maintenance(self, *, actor: str, verb: str) -> Lease:
        """See `Keymaster.begin_maintenance`."""
        self._own(actor)
        return lease_of(self._ask("begin_maintenance", verb=verb))

    def renew(self, lease: Lease) -> Lease:
        """See `Keymaster.renew`."""
        return lease_of(self._ask("renew", lease=lease.lease_id))

    def seen_source(self, lease: Lease, digest: bytes) -> bool:
        """See `Keymaster.seen_source`."""
        return bool(self._ask("seen_source", lease=lease.lease_id, digest=digest))

    def mint_batch(self, lease: Lease) -> bytes:
        """See `Keymaster.mint_batch`."""
        return cast("bytes", self._ask("mint_batch", lease=lease.lease_id))

    def mint_file_key(self, lease: Lease, kind: int, object_id: bytes, table: str | None) -> FileKey:
        """See `Keymaster.mint_file_key`."""
        asked = self._ask("mint_file_key", lease=lease.lease_id, kind=kind, object_id=object_id, table=table)
        return cast("FileKey", asked)

    def seal_subjects(self, lease: Lease, batch: bytes, identifiers: pa.Array) -> SealingKeys:
        """See `Keymaster.seal_subjects`."""
        asked = self._ask("seal_subjects", lease=lease.lease_id, batch=batch, identifiers=identifiers)
        # a view would keep the whole answer for as long as somebody keeps the tokens
        return replace(cast("SealingKeys", asked), tokens=asked.tokens.copy())

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
        asked = self._ask(
            "seal_index",
            lease=lease.lease_id,
            batch=batch,
            field_name=field_name,
            values=values,
            subject_tokens=subject_tokens,
            ordinals=ordinals,
        )
        return cast("tuple[Bytes2D, Bytes2D]", asked)

    def file_keys(self, lease: Lease, key_ids: Sequence[bytes]) -> dict[bytes, bytes]:
        """See `Keymaster.file_keys`."""
        return cast("dict[bytes, bytes]", self._ask("file_keys", lease=lease.lease_id, key_ids=list(key_ids)))

    def ended_objects(self, lease: Lease, object_ids: Sequence[bytes]) -> list[bytes]:
        """See `Keymaster.ended_objects`."""
        return cast("list[bytes]", self._ask("ended_objects", lease=lease.lease_id, object_ids=list(object_ids)))

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
        asked = self._ask(
            "commit",
            lease=lease.lease_id,
            base=base,
            new=new,
            counts=dict(counts),
            digests=list(digests),
            dropped_keys=list(dropped_keys),
        )
        return cast("Receipt", asked)

    def rotate_index(
        self, lease: Lease, table: str, field_name: str, value_tokens: Bytes2D, entries: Bytes2D
    ) -> tuple[Bytes2D, Bytes2D]:
        """See `Keymaster.rotate_index`."""
        asked = self._ask(
            "rotate_index",
            lease=lease.lease_id,
            table=table,
            field_name=field_name,
            value_tokens=value_tokens,
            entries=entries,
        )
        return cast("tuple[Bytes2D, Bytes2D]", asked)

    def abandon(self, lease: Lease) -> None:
        """See `Keymaster.abandon`."""
        self._ask("abandon", lease=lease.lease_id)

    # -- reading --------------------------------------------------------------------------------
    def begin_reading(
        self, *, actor: str, purpose: str, reason: str, approval: str | None = None, break_glass: bool = False
    ) -> ReadingGrant:
        """See `Keymaster.begin_reading`."""
        self._own(actor)
        asked = self._ask(
            "begin_reading", purpose=purpose, reason=reason, approval=approval, break_glass=break_glass
        )
        return cast("ReadingGrant", asked)

    def end_reading(self, reading_id: bytes) -> None:
        """See `Keymaster.end_reading`."""
        self._ask("end_reading", reading=reading_id)

    def block_keys(
        self, reading_id: bytes, key_id: bytes, kind: int, numbers: Sequence[int], table: str | None
    ) -> list[bytes]:
        """See `Keymaster.block_keys`."""
        asked = self._ask(
            "block_keys", reading=reading_id, key_id=key_id, kind=kind, numbers=[int(n) for n in numbers], table=table
        )
        return cast("list[bytes]", asked)

    def subject_tokens(self, reading_id: bytes, table: str, identifiers: Sequence[str]) -> Bytes2D:
        """See `Keymaster.subject_tokens`."""
        asked = self._ask("subject_tokens", reading=reading_id, table=table, identifiers=list(identifiers))
        return cast("Bytes2D", asked)

    def value_tokens(
        self, reading_id: bytes, table: str, field_name: str, values: Sequence[str], snapshot: int | None = None
    ) -> Bytes2D:
        """See `Keymaster.value_tokens`."""
        asked = self._ask(
            "value_tokens",
            reading=reading_id,
            table=table,
            field_name=field_name,
            values=list(values),
            snapshot=snapshot,
        )
        return cast("Bytes2D", asked)

    def open_hits(
        self, reading_id: bytes, table: str, field_name: str, value_tokens: Bytes2D, entries: Bytes2D,
        at_once: AtOnce | None = None,
    ) -> Hits:  # fmt: skip
        """See `Keymaster.open_hits`."""
        said = {"value_tokens": value_tokens, "entries": entries, "at_once": at_once}
        asked = self._ask("open_hits", reading=reading_id, table=table, field_name=field_name, **said)
        return cast("Hits", asked)

    def release(self, reading_id: bytes, ask: Ask) -> Released:
        """See `Keymaster.release`."""
        return cast("Released", self._ask("release", reading=reading_id, ask=ask))

    def stand_ins(self, reading_id: bytes, table: str, field_name: str, values: Sequence[str]) -> list[str]:
        """See `Keymaster.stand_ins`."""
        asked = self._ask("stand_ins", reading=reading_id, table=table, field_name=field_name, values=list(values))
        return cast("list[str]", asked)

    def note_sql(
        self, reading_id: bytes, request_id: bytes, table: str, fields: Sequence[str], groups: int, persons: int = 0
    ) -> int:
        """See `Keymaster.note_sql`."""
        said = {"table": table, "fields": list(fields), "groups": groups, "persons": persons}
        return int(self._ask("note_sql", reading=reading_id, request_id=request_id, **said))

    # -- log ------------------------------------------------------------------------------------
    def publish(self) -> str:
        """See `Keymaster.publish`."""
        return str(self._ask("publish"))

    def is_checkpoint(self, text: str) -> bool:
        """See `Keymaster.is_checkpoint`."""
        return bool(self._ask("is_checkpoint", text=text))

    def log_key(self) -> str:
        """See `Keymaster.log_key`."""
        return str(self._ask("log_key"))

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
        """See `Keymaster.log_entries`."""
        self._own(actor)
        found: list[dict[str, object]] = []
        while True:
            some = self._ask("log_entries", start=start, stop=stop, of=of, since=since, until=until)
            found += some
            if len(some) < LOG_ENTRIES_AT_ONCE:
                return found
            start = some[-1]["leaf"] + 1

    def check_checkpoint(self, text: str) -> None:
        """See `Keymaster.check_checkpoint`."""
        self._ask("check_checkpoint", text=text)

    def verify_log(self, *, known: Sequence[str] = (), maps: bool = False) -> dict[str, object]:
        """See `Keymaster.verify_log`."""
        return cast("dict[str, object]", self._ask("verify_log", known=list(known), maps=maps))


def connect(
    url: str, *, credential: str | Path | Credential, authorities: str | Path | None = None
) -> RemoteKeymaster:
    """Connect to a keymaster on another host.

    Args:
        url: As `https://keys.example`; plain http is for this machine only.
        credential: A credential, or its file.
        authorities: File with the certificates that the server's must lead to; None for those of the machine.

    Raises:
        DeniedError: The credential is not let in.
        IntegrityError: The keymaster is of another room or version.
        NotFoundError: There is no credential file.
        UnavailableError: Nobody answers, or with a certificate that does not hold.
    """
    own = credential if isinstance(credential, Credential) else read_credential(Path(credential))
    trusted = None if authorities is None else Path(authorities)
    made = RemoteKeymaster(Asking(url, own, trusted, time.time, random_bytes))
    try:
        made.greet()
    except BaseException:
        made.close()
        raise
    return made


def lease_of(said: LeaseSaid) -> Lease:
    """A lease as it came over the wire."""
    table = None if said.table is None else table_from_json(said.table)
    return Lease(said.lease_id, said.actor, said.verb, table, said.base, said.expires_at)
